//! Userinfo (OpenID Connect Core 1.0 section 5.3).

use crate::answer::{self, Trouble, troubled, with_duplicate};
use crate::fault::Fault;
use crate::profile::{self, ClaimsIn, Document};
use crate::state::{Endpoint, Provider};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn endpoint(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    provider.count(Endpoint::Userinfo);
    let fault = provider.fault();
    let trouble = match fault {
        Some(Fault::UserinfoRedirect) => return answer::redirect(&format!("{}/trap/userinfo", provider.issuer)),
        Some(Fault::UserinfoServerError) => Some(Trouble::ServerError),
        Some(Fault::UserinfoNotJson) => Some(Trouble::NotJson),
        Some(Fault::UserinfoOversized) => Some(Trouble::Oversized),
        Some(Fault::UserinfoSlow) => Some(Trouble::Slow(provider.stall)),
        _ => None,
    };
    match document(&provider, &headers, fault) {
        Some(document) => troubled(trouble, document).await,
        None => unauthorized(),
    }
}

pub(crate) async fn trapped(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    provider.count(Endpoint::Trap);
    match document(&provider, &headers, None) {
        Some(document) => answer::json(StatusCode::OK, document),
        None => unauthorized(),
    }
}

fn unauthorized() -> Response {
    let mut answer = answer::json(StatusCode::UNAUTHORIZED, json!({"error": "invalid_token"}).to_string());
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

/// The claims behind the bearer token; `None` without a good one.
fn document(provider: &Provider, headers: &HeaderMap, fault: Option<Fault>) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let access = provider.access(token).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    let account = provider.account(&access.login)?;
    let mut claims = profile::claims(&account, &access.scope, Document::Userinfo, ClaimsIn::Userinfo, fault);
    let subject = match fault {
        Some(Fault::UserinfoNoSubject) => None,
        Some(Fault::UserinfoOtherSubject) => Some("mallory-1".to_owned()),
        _ => Some(account.subject),
    };
    if let Some(subject) = subject {
        claims.insert("sub".to_owned(), json!(subject));
    }
    let document = Value::Object(claims).to_string();
    if fault == Some(Fault::UserinfoDuplicateKeys) {
        return Some(with_duplicate(&document, "sub", "mallory-1"));
    }
    Some(document)
}
