//! The contract over HTTP, on both databases: one module a part of it, named after the paths. `codes` brings about every
//! code there is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod api_tokens;
mod audit_logs;
mod audit_stream;
mod auth;
mod codes;
mod documents;
mod edges;
mod endings;
mod erasure;
mod exports;
mod headers;
mod house;
mod lost_tables;
mod npm;
mod origins;
mod overload;
mod replay;
mod sessions;
mod settings;
mod setup;
mod users;

use serde_json::Value;
use support::TestDatabase;
use support::server::Server;

/// A provider, an empty database and a server on it.
pub(crate) struct Fresh {
    pub(crate) provider: devidp::DevIdp,
    pub(crate) database: TestDatabase,
    pub(crate) server: Server,
}

impl Fresh {
    pub(crate) async fn start(backend: support::Backend) -> Self {
        Self::start_with(backend, &[]).await
    }

    pub(crate) async fn start_with(backend: support::Backend, settings: &[(&str, &str)]) -> Self {
        let provider = devidp::DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(backend).await;
        let server = Server::start_with(&database, settings).await;
        Self { provider, database, server }
    }
}

/// Waits until the clock that everybody here shares has come to this Unix second.
pub(crate) async fn clock_reaches(unix_seconds: &Value) {
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_seconds.as_u64().unwrap());
    while let Ok(left) = then.duration_since(std::time::SystemTime::now()) {
        tokio::time::sleep(left + std::time::Duration::from_millis(1)).await;
    }
}

/// A text field of an answer.
pub(crate) fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}"))
}

/// `GET /v1/auth/oidc/start` with the redirect URI of the tests.
pub(crate) fn start_path() -> String {
    start_path_with(support::server::REDIRECT_URI)
}

pub(crate) fn start_path_with(redirect_uri: &str) -> String {
    let query: String = url::form_urlencoded::byte_serialize(redirect_uri.as_bytes()).collect();
    format!("/v1/auth/oidc/start?redirect_uri={query}")
}
