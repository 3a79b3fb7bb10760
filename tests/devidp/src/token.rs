//! The token endpoint (RFC 6749 section 4.1.3, PKCE of RFC 7636).

use crate::account::Account;
use crate::answer::{self, Trouble, troubled, with_duplicate};
use crate::client::{self, Client};
use crate::fault::Fault;
use crate::id_token;
use crate::keys::KeyError;
use crate::params::Params;
use crate::state::{Access, Endpoint, Grant, Provider};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::json;
use std::sync::Arc;

/// A refusal in the words of RFC 6749 section 5.2.
struct Refusal {
    error: &'static str,
    description: String,
}

fn refuse(error: &'static str, description: impl Into<String>) -> Refusal {
    Refusal { error, description: description.into() }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        refuse("server_error", error.to_string())
    }
}

impl Refusal {
    fn into_answer(self) -> Response {
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let document = json!({"error": self.error, "error_description": self.description}).to_string();
        let mut answer = answer::json(status, document);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"devidp\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

pub(crate) async fn endpoint(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    provider.count(Endpoint::Token);
    let fault = provider.fault();
    let trouble = match fault {
        Some(Fault::TokenRedirect) => return answer::redirect(&format!("{}/trap/token", provider.issuer)),
        Some(Fault::TokenInvalidGrant) => return refuse("invalid_grant", "no code is good enough").into_answer(),
        Some(Fault::TokenServerError) => Some(Trouble::ServerError),
        Some(Fault::TokenNotJson) => Some(Trouble::NotJson),
        Some(Fault::TokenOversized) => Some(Trouble::Oversized),
        Some(Fault::TokenSlow) => Some(Trouble::Slow(provider.stall)),
        Some(Fault::TokenDrip) => Some(Trouble::Drip(provider.stall)),
        _ => None,
    };
    match redeem(&provider, &headers, &body, fault) {
        Ok(document) => troubled(trouble, document).await,
        Err(refusal) => refusal.into_answer(),
    }
}

/// Where the redirect fault leads: it takes the code like the real one.
pub(crate) async fn trapped(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    provider.count(Endpoint::Trap);
    match redeem(&provider, &headers, &body, None) {
        Ok(document) => answer::json(StatusCode::OK, document),
        Err(refusal) => refusal.into_answer(),
    }
}

fn redeem(provider: &Provider, headers: &HeaderMap, body: &str, fault: Option<Fault>) -> Result<String, Refusal> {
    let params = Params::parse(body).map_err(|why| refuse("invalid_request", why))?;
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let client =
        client::authenticate(&provider.clients, authorization, &params).map_err(|why| refuse("invalid_client", why))?;
    let require = |name| params.require(name).map_err(|why| refuse("invalid_request", why));
    if require("grant_type")? != "authorization_code" {
        return Err(refuse("unsupported_grant_type", "only authorization_code is supported"));
    }
    let code = require("code")?;
    let (redirect_uri, verifier) = (require("redirect_uri")?, require("code_verifier")?);
    let grant = provider.take_code(code).ok_or_else(|| refuse("invalid_grant", "the code is unknown or was used"))?;
    check(&grant, client, redirect_uri, verifier)?;
    let account = provider.account(&grant.login).ok_or_else(|| refuse("invalid_grant", "the account is gone"))?;
    answer_document(provider, &grant, &account, client, fault).map_err(Refusal::from)
}

fn check(grant: &Grant, client: &Client, redirect_uri: &str, verifier: &str) -> Result<(), Refusal> {
    if grant.client_id != client.id {
        return Err(refuse("invalid_grant", "the code was issued to another client"));
    }
    if grant.redirect_uri != redirect_uri {
        return Err(refuse("invalid_grant", "redirect_uri differs from the authorization request's"));
    }
    if URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) != grant.code_challenge {
        return Err(refuse("invalid_grant", "code_verifier does not fit the code_challenge"));
    }
    Ok(())
}

fn answer_document(
    provider: &Provider,
    grant: &Grant,
    account: &Account,
    client: &Client,
    fault: Option<Fault>,
) -> Result<String, KeyError> {
    let access = Access { login: grant.login.clone(), scope: grant.scope.clone() };
    let access_token = provider.issue_access(access)?;
    let mut document =
        json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 3600, "scope": grant.scope});
    match fault {
        Some(Fault::NoIdToken) => {}
        Some(Fault::IdTokenGarbage) => document["id_token"] = json!("not-a-token"),
        _ => document["id_token"] = json!(id_token::mint(provider, grant, account, client, &access_token, fault)?),
    }
    if fault == Some(Fault::TokenDuplicateKeys) {
        let other = Account { subject: "mallory-1".to_owned(), ..account.clone() };
        let other = id_token::mint(provider, grant, &other, client, &access_token, None)?;
        return Ok(with_duplicate(&document.to_string(), "id_token", &other));
    }
    Ok(document.to_string())
}
