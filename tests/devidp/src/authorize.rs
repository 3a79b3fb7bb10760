//! The authorization endpoint (OpenID Connect Core 1.0 section 3.1.2): a page with one button an account.

use crate::answer::see_other;
use crate::discovery::other_issuer;
use crate::fault::Fault;
use crate::form_page::{self, Choice};
use crate::loopback::is_loopback;
use crate::params::Params;
use crate::state::{Endpoint, Grant, Provider};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use std::sync::Arc;
use std::time::Instant;
use url::Url;

/// An authorization request that passed every check.
struct Request {
    client_id: String,
    redirect_uri: Url,
    /// As it was sent: the token request must repeat it to the letter.
    redirect_uri_text: String,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: String,
    scope: String,
    login_hint: Option<String>,
    /// Ours: answer at once for `login_hint`, without the page.
    auto: bool,
}

impl Request {
    fn parse(provider: &Provider, query: &str) -> Result<Self, String> {
        let params = Params::parse(query)?;
        let client_id = params.require("client_id")?;
        provider.client(client_id).ok_or("unknown client")?;
        let redirect_uri_text = params.require("redirect_uri")?;
        let redirect_uri = Url::parse(redirect_uri_text).map_err(|error| format!("redirect_uri: {error}"))?;
        if !is_loopback(&redirect_uri) || !matches!(redirect_uri.scheme(), "http" | "https") {
            return Err("redirect_uri: only http and https on loopback are answered".to_owned());
        }
        if params.require("response_type")? != "code" {
            return Err("response_type: only code is supported".to_owned());
        }
        let scope = params.require("scope")?;
        if !scope.split(' ').any(|word| word == "openid") {
            return Err("scope: openid is missing".to_owned());
        }
        if params.require("code_challenge_method")? != "S256" {
            return Err("code_challenge_method: only S256 is supported".to_owned());
        }
        Ok(Self {
            client_id: client_id.to_owned(),
            redirect_uri,
            redirect_uri_text: redirect_uri_text.to_owned(),
            state: params.get("state").map(str::to_owned),
            nonce: params.get("nonce").map(str::to_owned),
            code_challenge: params.require("code_challenge")?.to_owned(),
            scope: scope.to_owned(),
            login_hint: params.get("login_hint").map(str::to_owned),
            auto: params.get("auto") == Some("1"),
        })
    }
}

/// The page, or with `auto=1` the answer for the account of `login_hint`.
pub(crate) async fn page(State(provider): State<Arc<Provider>>, RawQuery(query): RawQuery) -> Response {
    provider.count(Endpoint::Authorize);
    let query = query.unwrap_or_default();
    let request = match Request::parse(&provider, &query) {
        Ok(request) => request,
        Err(why) => return form_page::refused(&why),
    };
    if request.auto
        && let Some(login) = request.login_hint.clone()
    {
        return redirect(&provider, &request, Some(&login));
    }
    let choices: Vec<Choice> = provider
        .accounts()
        .into_iter()
        .map(|account| {
            let verified = match account.email_verified {
                Some(true) => "",
                Some(false) => " (not verified)",
                None => " (verified or not: unknown)",
            };
            let note = account.email.map_or_else(|| "no address".to_owned(), |email| format!("{email}{verified}"));
            Choice { login: account.login, note }
        })
        .collect();
    form_page::picker(&request.client_id, &format!("/authorize?{query}"), &choices)
}

/// What the page posts: the account, or that the person does not want to.
pub(crate) async fn answer(State(provider): State<Arc<Provider>>, RawQuery(query): RawQuery, body: String) -> Response {
    provider.count(Endpoint::Authorize);
    let parsed = Request::parse(&provider, &query.unwrap_or_default())
        .and_then(|request| Params::parse(&body).map(|answer| (request, answer)));
    match parsed {
        Ok((request, answer)) => redirect(&provider, &request, answer.get("account")),
        Err(why) => form_page::refused(&why),
    }
}

/// Back to the client: with a code for the account, without an account as `access_denied`.
fn redirect(provider: &Provider, request: &Request, login: Option<&str>) -> Response {
    let fault = provider.fault();
    let mut target = request.redirect_uri.clone();
    let error = match (fault, login) {
        (Some(Fault::AccessDenied), _) | (_, None) => Some(("access_denied", "the person said no")),
        (Some(Fault::AuthorizationScriptError), _) => {
            Some(("server_error", "<script>alert(document.domain)</script>\r\n\u{1b}[2Jroot"))
        }
        _ => None,
    };
    if let Some((error, description)) = error {
        target.query_pairs_mut().append_pair("error", error).append_pair("error_description", description);
    } else if fault != Some(Fault::AuthorizationNoCode) {
        match issue_code(provider, request, login.unwrap_or_default()) {
            Ok(code) => target.query_pairs_mut().append_pair("code", &code),
            Err(why) => return form_page::refused(&why),
        };
    }
    append_state_and_issuer(&mut target, provider, request, fault);
    see_other(target.as_str())
}

fn append_state_and_issuer(target: &mut Url, provider: &Provider, request: &Request, fault: Option<Fault>) {
    let mut query = target.query_pairs_mut();
    if let Some(state) = &request.state {
        match fault {
            Some(Fault::AuthorizationNoState) => {}
            Some(Fault::AuthorizationWrongState) => {
                query.append_pair("state", "another-state");
            }
            _ => {
                query.append_pair("state", state);
            }
        }
    }
    match fault {
        Some(Fault::AuthorizationNoIssuer) => {}
        Some(Fault::AuthorizationWrongIssuer) => {
            query.append_pair("iss", &other_issuer(&provider.issuer));
        }
        _ => {
            query.append_pair("iss", &provider.issuer);
        }
    }
}

fn issue_code(provider: &Provider, request: &Request, login: &str) -> Result<String, String> {
    provider.account(login).ok_or_else(|| format!("there is no account {login}"))?;
    let grant = Grant {
        client_id: request.client_id.clone(),
        redirect_uri: request.redirect_uri_text.clone(),
        code_challenge: request.code_challenge.clone(),
        nonce: request.nonce.clone(),
        scope: request.scope.clone(),
        login: login.to_owned(),
        issued: Instant::now(),
    };
    provider.issue_code(grant).map_err(|error| error.to_string())
}
