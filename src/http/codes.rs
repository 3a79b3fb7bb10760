//! Which codes each operation may answer: the one table that the OpenAPI document is made from.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ContentBuilder, Object, ObjectBuilder, OpenApi, Ref, RefOr, ResponseBuilder};

use crate::error::ErrorCode;

use ErrorCode as C;

/// What every call may answer that reaches the service under one of its names.
const ALWAYS: &[C] = &[C::MisdirectedRequest, C::InternalError, C::Unavailable];
/// What a call with a body may answer because of the body alone.
const BODY: &[C] = &[C::InvalidInput, C::PayloadTooLarge, C::UnsupportedMediaType];
/// What a call with a session or an API token may answer before it is even looked at.
const CALLER: &[C] = &[C::InvalidInput, C::MissingAuth, C::InvalidSession, C::SessionExpired, C::SessionError];
/// What a change may answer because of the log.
const CHANGE: &[C] = &[C::StoreError, C::EncryptionError];
/// What a call of the setup session may answer before its body is looked at.
const SETUP: &[C] = &[
    C::InvalidInput,
    C::AlreadyConfigured,
    C::MissingAuth,
    C::NoSession,
    C::InvalidSession,
    C::SessionExpired,
    C::InvalidState,
    C::SessionError,
];
/// What talking to the provider at a sign-in may answer.
const PROVIDER: &[C] =
    &[C::OidcNotConfigured, C::OidcConfigError, C::OidcDiscoveryError, C::HttpClientError, C::DecryptionError];
/// What coming back from the provider may answer.
const COMING_BACK: &[C] = &[
    C::InvalidState,
    C::AuthExpired,
    C::TokenExchangeError,
    C::MissingIdToken,
    C::IdTokenVerificationError,
    C::MissingEmail,
    C::UserNotFound,
    C::SessionError,
];

/// The one operation that answers with a page.
const PAGE: &str = "/auth/callback";

/// The codes of one operation, by method and path; `None` for one that is not in the table.
pub fn of(method: &str, path: &str) -> Option<Vec<ErrorCode>> {
    let parts: &[&[C]] = match (method, path) {
        ("GET", "/healthz" | "/readyz") => &[&[C::InternalError, C::Unavailable]],
        ("GET", "/v1/public/setup-status") => &[ALWAYS, &[C::StoreError, C::RateLimited]],
        ("POST", "/v1/setup/bootstrap-token/verify") => &[
            ALWAYS,
            BODY,
            CHANGE,
            &[C::AlreadyConfigured, C::NoBootstrapToken, C::TooManyAttempts, C::TokenConsumed, C::TokenExpired],
            &[C::InvalidToken, C::RateLimited],
        ],
        ("POST", "/v1/setup/preferences") => &[ALWAYS, SETUP, BODY, CHANGE],
        ("POST", "/v1/setup/oidc/configure") => {
            &[ALWAYS, SETUP, BODY, CHANGE, &[C::OidcDiscoveryFailed, C::HttpClientError]]
        }
        ("POST", "/v1/setup/owner/start-oidc") => {
            &[ALWAYS, SETUP, BODY, CHANGE, PROVIDER, &[C::InvalidRedirectUri, C::TooManyPending]]
        }
        ("POST", "/v1/setup/owner/verify-oidc") => {
            &[ALWAYS, SETUP, BODY, CHANGE, PROVIDER, COMING_BACK, &[C::RateLimited]]
        }
        ("GET", "/v1/setup/summary") | ("POST", "/v1/setup/complete") => &[ALWAYS, SETUP, CHANGE],
        ("GET", "/v1/auth/oidc/start") => &[
            ALWAYS,
            PROVIDER,
            &[C::SetupIncomplete, C::InvalidInput, C::InvalidRedirectUri, C::TooManyPending],
            &[C::RateLimited, C::StoreError],
        ],
        ("POST", "/v1/auth/oidc/callback") => {
            &[ALWAYS, BODY, CHANGE, PROVIDER, COMING_BACK, &[C::SetupIncomplete, C::RateLimited]]
        }
        ("GET", PAGE) => {
            &[ALWAYS, CHANGE, PROVIDER, COMING_BACK, &[C::InvalidInput, C::SetupIncomplete, C::RateLimited]]
        }
        ("GET", "/v1/users/me") => &[ALWAYS, CALLER],
        ("POST", "/v1/auth/logout") => &[ALWAYS, CALLER, CHANGE, &[C::Forbidden]],
        ("GET", "/v1/users" | "/v1/sessions" | "/v1/api-tokens" | "/v1/audit-logs" | "/v1/audit-logs/stream") => {
            &[ALWAYS, CALLER, &[C::Forbidden, C::StoreError]]
        }
        ("GET", "/v1/replay/diff") => &[ALWAYS, CALLER, &[C::Forbidden, C::StoreError]],
        ("GET", "/v1/replay" | "/v1/users/{id}/why") => &[ALWAYS, CALLER, &[C::Forbidden, C::NotFound, C::StoreError]],
        ("POST", "/v1/users/invite") => &[ALWAYS, CALLER, BODY, CHANGE, &[C::Forbidden, C::AlreadyExists]],
        ("PATCH", "/v1/users/{id}/role") => &[ALWAYS, CALLER, BODY, CHANGE, &[C::Forbidden, C::NotFound]],
        ("POST", "/v1/api-tokens") => &[ALWAYS, CALLER, BODY, CHANGE, &[C::Forbidden]],
        ("POST", "/v1/users/{id}/enable")
        | ("DELETE", "/v1/users/{id}" | "/v1/sessions/{id}" | "/v1/sessions" | "/v1/api-tokens/{id}") => {
            &[ALWAYS, CALLER, CHANGE, &[C::Forbidden, C::NotFound]]
        }
        ("GET", "/v1/settings/external-access/oidc") => &[ALWAYS, CALLER, PROVIDER, &[C::Forbidden, C::StoreError]],
        ("PUT", "/v1/settings/external-access/oidc") => &[
            ALWAYS,
            CALLER,
            BODY,
            CHANGE,
            &[C::Forbidden, C::SetupIncomplete, C::OidcDiscoveryFailed, C::HttpClientError],
        ],
        _ => return None,
    };
    let mut codes: Vec<ErrorCode> = parts.iter().flat_map(|part| part.iter().copied()).collect();
    codes.sort_by_key(|code| (code.status(), code.as_str()));
    codes.dedup();
    Some(codes)
}

/// Adds to every operation the answers its codes have.
pub fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            for (status, codes) in by_status(method, path) {
                let words = codes.join(", ");
                let content =
                    ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ErrorEnvelope")))).build();
                let mut response = ResponseBuilder::new().description(words).content("application/json", content);
                if path == PAGE {
                    // What the page itself refuses is a page; what is refused before it is JSON.
                    response = response.content("text/html", ContentBuilder::new().schema(Some(text())).build());
                }
                let response = response.build();
                // readyz describes its own 503.
                operation.responses.responses.entry(status).or_insert(RefOr::T(response));
            }
        }
    }
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

/// The codes of an operation by status. `invalid_state` has two: 400 for a state value that is not known.
fn by_status(method: &str, path: &str) -> BTreeMap<String, Vec<&'static str>> {
    let mut statuses: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for code in of(method, path).unwrap_or_default() {
        statuses.entry(code.status().as_str().to_owned()).or_default().push(code.as_str());
    }
    if path.ends_with("verify-oidc") || path.ends_with("/callback") {
        statuses.entry("400".to_owned()).or_default().push(C::InvalidState.as_str());
        if !path.ends_with("verify-oidc")
            && let Some(conflicts) = statuses.get_mut("409")
        {
            conflicts.retain(|code| *code != C::InvalidState.as_str());
        }
    }
    statuses
}

/// The operations of a path with their methods.
pub fn operations(item: &mut PathItem) -> Vec<(&'static str, &mut Operation)> {
    let named = [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    named.into_iter().filter_map(|(name, operation)| operation.as_mut().map(|operation| (name, operation))).collect()
}
