//! Asking the provider for what the ID token leaves out (Core, section 5.3).
//!
//! Not by the crate's request: it panics at an access token with a line end in it, and refuses an answer
//! for claims of no importance.

use openidconnect::http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use openidconnect::http::{Request, StatusCode};
use openidconnect::{AccessToken, HttpRequest};
use serde_json::Value;
use url::Url;

use super::claims::Claims;
use super::error::{ExchangeProblem, IdTokenProblem, OidcError};
use super::http::HttpClient;
use super::provider::Provider;

/// The claims of userinfo, which must be about this subject (Core, section 5.3.4).
///
/// No answer is [`OidcError::TokenExchange`]; an answer that must not be used is
/// [`OidcError::IdTokenVerification`].
pub(super) async fn fetch(
    http: &HttpClient,
    provider: &Provider,
    endpoint: &Url,
    access_token: &AccessToken,
    subject: &str,
) -> Result<Claims, OidcError> {
    let request = request(endpoint, access_token)?;
    let answer = http.send(request, provider.plain_http()).await.map_err(ExchangeProblem::Http)?;
    if answer.status() != StatusCode::OK {
        return Err(ExchangeProblem::UserinfoStatus(answer.status().as_u16()).into());
    }
    let claims: Claims =
        serde_json::from_slice(answer.body()).map_err(|_| IdTokenProblem::Userinfo("it is not a JSON object"))?;
    match claims.get("sub") {
        Some(Value::String(found)) if found == subject => Ok(claims),
        _ => Err(IdTokenProblem::Userinfo("it is about another subject").into()),
    }
}

fn request(endpoint: &Url, access_token: &AccessToken) -> Result<HttpRequest, ExchangeProblem> {
    let credentials = format!("Bearer {}", access_token.secret());
    let mut credentials = HeaderValue::from_str(&credentials).map_err(|_| ExchangeProblem::AccessToken)?;
    credentials.set_sensitive(true);
    Request::get(endpoint.as_str())
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(AUTHORIZATION, credentials)
        .body(Vec::new())
        .map_err(|_| ExchangeProblem::AccessToken)
}
