//! What tells an answer without an end that it has to come to one.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::server::Activity;

/// Whether the connection of a call is to be closed, because it has grown old or the service stops. A call that is answered at
/// once need not ask.
#[derive(Clone, Debug, Default)]
pub struct Finishing {
    asked: CancellationToken,
    activity: Arc<Activity>,
}

impl Finishing {
    /// For a connection that is closed when `all` of them are, or by itself before.
    pub(super) fn one_of(all: &CancellationToken, activity: &Arc<Activity>) -> Self {
        Self { asked: all.child_token(), activity: Arc::clone(activity) }
    }

    pub(super) fn ask(&self) {
        self.asked.cancel();
    }

    /// Returns when the connection is to be closed.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Finishing {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let finishing = parts.extensions.get::<Self>().cloned().unwrap_or_default();
        // Only an answer without an end asks.
        finishing.activity.streams();
        Ok(finishing)
    }
}
