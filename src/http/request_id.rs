//! The id of a request: ours, never the client's, so that nobody can make two requests look like one.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use uuid::Uuid;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the present request, answered as `x-request-id`. `UUIDv7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

impl RequestId {
    pub(super) fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    pub(super) fn write(self, response: &mut Response) {
        // The hyphenated form of a UUID is visible ASCII, which every header value accepts.
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    /// The id that `layers` gave; a router without the layers gets one here.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(*parts.extensions.get_or_insert_with(Self::generate))
    }
}
