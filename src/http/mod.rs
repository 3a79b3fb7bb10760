//! What every call passes through before and after its handler: who calls from where, which host they
//! meant, how much they may send, and what an answer always carries.
//!
//! `layers` stacks it, `serve` runs it. Handlers get at the rest through extractors, each of which
//! answers with an `ApiError`. A handler that must check something first (the contract's order is
//! state, authentication, role, path, body) takes `Result<Extractor, ApiError>` and opens it later.
//!
//! No business rule enters here: this room knows no user, no session and no database.

pub mod bearer;
pub mod body;
pub mod call;
pub mod codes;
pub mod cors;
mod docs_page;
mod fallback;
mod finishing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
pub mod metrics;
mod observe;
pub mod page;
mod pipeline;
pub mod query;
pub mod rate_limit;
pub mod redirect;
mod request_id;
mod request_log;
mod response_headers;
mod router;
pub mod routes;
mod serde_message;
mod server;
mod source;

use std::sync::Arc;

pub use self::bearer::Bearer;
pub use self::body::Json;
pub use self::finishing::Finishing;
pub use self::page::{Direction, Page, Sorting};
pub use self::pipeline::layers;
pub use self::query::{PathId, Query};
pub use self::redirect::{RedirectPolicy, RedirectUri};
pub use self::request_id::RequestId;
pub use self::request_log::{json_lines, readable_lines};
pub use self::router::{openapi, router};
pub use self::server::{Stopped, serve};
pub use self::source::{RateKey, SourceAddress};

use self::cors::Cors;
use self::host::Hosts;
use self::observe::Tallies;
use self::rate_limit::RateLimit;
use self::request_log::in_present_request;
use crate::settings::{Settings, TrustedProxies};

/// What machines ask every few seconds, to learn whether the service is well. Answered under any name and wherever there is no
/// room for other calls.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What the layers know. Cheap to clone.
#[derive(Clone)]
pub struct HttpState(Arc<Inner>);

struct Inner {
    hosts: Hosts,
    cors: Cors,
    trusted_proxies: TrustedProxies,
    public_calls: RateLimit,
    tallies: Tallies,
}

impl HttpState {
    /// The state by these settings.
    pub fn new(settings: &Settings) -> Self {
        Self(Arc::new(Inner {
            hosts: Hosts::new(settings),
            cors: Cors::new(settings),
            trusted_proxies: settings.trusted_proxies.clone(),
            public_calls: RateLimit::new(settings.public_calls_per_minute),
            tallies: Tallies::default(),
        }))
    }
}

#[cfg(test)]
mod testing;
