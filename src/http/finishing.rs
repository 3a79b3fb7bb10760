//! What tells an answer without an end that it has to come to one.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

/// Whether the connection of a call is to be closed, because it has grown old or the service stops. A call that is answered at
/// once need not ask.
#[derive(Clone, Debug, Default)]
pub struct Finishing(CancellationToken);

impl Finishing {
    /// For a connection that is closed when `all` of them are, or by itself before.
    pub(super) fn one_of(all: &CancellationToken) -> Self {
        Self(all.child_token())
    }

    pub(super) fn ask(&self) {
        self.0.cancel();
    }

    /// Returns when the connection is to be closed.
    pub async fn asked(&self) {
        self.0.cancelled().await;
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Finishing {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
