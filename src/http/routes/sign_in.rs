//! `/v1/auth/...`: signing in and out.

use axum::http::HeaderMap;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Ok as Done, secret};
use crate::error::{ApiError, ErrorCode};
use crate::http::RedirectPolicy;
use crate::http::call::Call;
use crate::http::{Json, Query};
use crate::service::sign_in::{Begin, Callback, StateCookie};
use crate::settings::{Origin, Scheme, Settings};

#[derive(Serialize, ToSchema)]
pub struct BeginAnswer {
    /// Send the browser there.
    authorization_url: String,
    /// Compare it with what comes back.
    state: String,
}

impl From<Begin> for BeginAnswer {
    fn from(begun: Begin) -> Self {
        Self { authorization_url: begun.authorization_url, state: begun.state }
    }
}

#[derive(Deserialize, ToSchema)]
pub struct CallbackBody {
    code: String,
    state: String,
    /// RFC 9207: the issuer, if the provider sent it along.
    #[serde(default)]
    iss: Option<String>,
}

impl CallbackBody {
    pub fn into_callback(self) -> Callback {
        Callback { code: self.code, state: self.state, iss: self.iss }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StartQuery {
    /// Where the provider sends the browser back to; by default authlog's own page.
    redirect_uri: Option<String>,
}

/// Begin a sign-in
#[utoipa::path(
    get, path = "/v1/auth/oidc/start", tag = "sign-in", params(StartQuery), responses((status = 200, body = BeginAnswer))
)]
pub async fn start(call: Call, query: Result<Query<StartQuery>, ApiError>) -> Result<Response, ApiError> {
    call.service.require_ready().await?;
    let Query(query) = query?;
    let redirect_uri = match (query.redirect_uri, &call.service.settings.public_url) {
        (Some(given), _) => given,
        (None, Some(public_url)) => format!("{public_url}/auth/callback"),
        (None, None) => {
            return Err(ApiError::new(ErrorCode::InvalidRedirectUri).with_message(
                "Give a redirect_uri: the setting public_url, which the default is made from, is not set.",
            ));
        }
    };
    let redirect_uri = RedirectPolicy::new(&call.service.settings).accept(&redirect_uri)?;
    let begun = call.service.start_sign_in(redirect_uri.as_str(), &call.source.rate_key().ip().to_string()).await?;
    let cookie = set_cookie(&call.service.settings, &begun.cookie);
    Ok(([(SET_COOKIE, cookie)], secret(BeginAnswer::from(begun))).into_response())
}

#[derive(Serialize, ToSchema)]
pub struct SignedInUser {
    user_id: Uuid,
    email: String,
    oidc_subject: String,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct SignedInAnswer {
    /// A bearer token, shown once.
    session_token: String,
    /// Unix seconds.
    expires_at: i64,
    user: SignedInUser,
}

/// Finish a sign-in
#[utoipa::path(
    post, path = "/v1/auth/oidc/callback", tag = "sign-in", request_body = CallbackBody,
    responses((status = 200, body = SignedInAnswer))
)]
pub async fn callback(
    call: Call,
    headers: HeaderMap,
    body: Result<Json<CallbackBody>, ApiError>,
) -> Result<Response, ApiError> {
    call.service.require_ready().await?;
    let (service, context) = (&call.service, &call.context);
    let own_site = is_own_site(&service.settings, &headers);
    let cookies = cookies(&headers);
    let callback = body?.0.into_callback();
    if own_site && !service.cookie_fits(&callback.state, &cookies) {
        return Err(ApiError::unknown_state());
    }
    let signed_in = service.finish_sign_in(context, callback).await?;
    Ok(secret(SignedInAnswer {
        session_token: signed_in.session_token,
        expires_at: signed_in.expires_at.0,
        user: SignedInUser {
            user_id: signed_in.user.id.0,
            email: signed_in.user.address,
            oidc_subject: signed_in.oidc_subject,
            role: signed_in.user.role.as_str(),
            avatar_url: signed_in.user.picture,
        },
    }))
}

/// Whether a page of `public_url`'s own site calls: by `Sec-Fetch-Site`, which scripts cannot set, or by `Origin`.
fn is_own_site(settings: &Settings, headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if matches!(header("sec-fetch-site"), Some("same-origin" | "same-site")) {
        return true;
    }
    let origin = header("origin").and_then(Origin::from_header);
    origin.is_some() && origin == settings.public_url
}

/// The cookies the browser sent, as name and value (RFC 6265, section 5.4).
pub(super) fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let values = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The cookie that binds a state to this browser. `Secure` unless the service is reached by plain http, on loopback.
pub fn set_cookie(settings: &Settings, cookie: &StateCookie) -> String {
    let secure = match &settings.public_url {
        Some(public_url) if public_url.scheme() == Scheme::Https => "; Secure",
        Some(_) | None => "",
    };
    format!(
        "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
        cookie.name, cookie.value, cookie.max_age_seconds
    )
}

/// Sign out
#[utoipa::path(
    post, path = "/v1/auth/logout", tag = "sign-in", security(("bearer" = [])), responses((status = 200, body = Done))
)]
pub async fn logout(call: Call) -> Result<Json<Done>, ApiError> {
    let caller = call.caller().await?;
    call.service.sign_out(&call.context, &caller).await?;
    Ok(Done::yes())
}
