//! What callers ask for, one method a call: HTTP and the command line come in here, and nowhere else.
//!
//! A call that changes something is a [`decision::Decide`]: it loads the streams it needs, lets the aggregates decide, and its
//! events go to the log as one unit together with the version of every stream it read. If anything has moved by the time the
//! unit is written, the call is decided again, permission included.
//!
//! Architecture invariant: rules live in the aggregates; this folder finds the right streams and words the answers.
//! Architecture invariant: nothing here knows axum.

pub mod api_tokens;
pub mod audit;
pub mod authenticate;
pub mod decision;
pub mod erase;
pub mod looking_back;
mod memory;
pub mod provider;
pub mod recover;
pub mod refusals;
pub mod sessions;
pub mod setup;
pub mod sign_in;
mod sign_in_decision;
mod streams;
pub mod trail;
pub mod users;

use std::ops::Deref;
use std::sync::Arc;

use aggregates::{KeyId, UnixSeconds};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock::Clock;
use crate::error::{ApiError, ErrorCode};
use crate::log::{Log, Overloaded};
use crate::oidc::OidcClient;
use crate::settings::Settings;

pub use authenticate::Caller;
pub use decision::Decide;
pub use memory::Memory;
pub use streams::RememberedStreams;

/// The service around the core. Cheap to clone: every request does.
#[derive(Clone)]
pub struct Service(Arc<Parts>);

/// What a [`Service`] is made of.
pub struct Parts {
    pub log: Log,
    pub oidc: Arc<OidcClient>,
    pub settings: Arc<Settings>,
    pub clock: Clock,
    /// Sessions, users and tokens that were looked at lately.
    pub memory: Arc<Memory>,
    /// Streams that decisions were taken on lately.
    pub streams: Arc<RememberedStreams>,
    pub refusals: refusals::Refusals,
    /// Room for those that follow the audit trail.
    pub followers: Arc<Semaphore>,
    /// The right to fold the past.
    pub looks_back: Arc<Semaphore>,
}

impl From<Parts> for Service {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Service {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// From where a call comes, for the metadata of its events.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    pub request_id: Option<Uuid>,
    pub source_address: Option<String>,
    pub user_agent: Option<String>,
}

/// Which way a list runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Order {
    fn sql(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }

    /// The comparison that holds for what comes later in the list.
    fn beyond(self) -> &'static str {
        match self {
            Self::Ascending => ">",
            Self::Descending => "<",
        }
    }
}

/// The part of a list that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub limit: i64,
    pub offset: i64,
    pub order: Order,
}

/// Source addresses and user agents of callers nobody knows can be read for so long, and until the end of their month.
pub const STRANGERS_KEPT_DAYS: i64 = 90;
/// A user agent is kept up to this length.
pub const MAX_USER_AGENT_CHARACTERS: usize = 256;

impl Service {
    pub fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// The key of this month for what is known of strangers.
    async fn strangers_key(&self) -> Result<KeyId, ApiError> {
        let id = KeyId::Strangers(month_of(self.now()));
        self.log.strangers_key(&id).await.map_err(encryption_error)?;
        Ok(id)
    }

    /// Whether this process is the one to do what one of all nodes does, `every` so often.
    ///
    /// # Errors
    /// `store_error`.
    pub async fn is_to_do(&self, chore: &str, every: std::time::Duration) -> Result<bool, ApiError> {
        match self.log.nodes() {
            Some(nodes) => nodes.is_to_do(chore, every).await.map_err(store_error),
            None => Ok(true),
        }
    }

    /// Destroys the keys of months that ended more than [`STRANGERS_KEPT_DAYS`] ago.
    ///
    /// # Errors
    /// `store_error`.
    pub async fn forget_strangers(&self) -> Result<(), ApiError> {
        let oldest_kept = month_of(self.now().plus(-STRANGERS_KEPT_DAYS * 24 * 60 * 60));
        self.log.destroy_strangers_keys_before(&oldest_kept).await.map_err(store_error)
    }
}

/// The calendar month of a time, in UTC: `2026-11`.
fn month_of(time: UnixSeconds) -> String {
    chrono::DateTime::from_timestamp(time.0, 0).unwrap_or_default().format("%Y-%m").to_string()
}

/// A database that failed while a call needed it.
pub(crate) fn store_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    let error = error.into();
    if error.downcast_ref().is_some_and(Overloaded::is_cause_of) {
        return overloaded();
    }
    ApiError::new(ErrorCode::StoreError).with_message("The database failed; try again.").caused_by(error)
}

/// More calls than can be answered in a reasonable time. Each has its line in the access log; none has one more.
pub(crate) fn overloaded() -> ApiError {
    ApiError::new(ErrorCode::Unavailable).with_message("The service is busy; try again.")
}

/// A key that could not be found or used for sealing.
pub(crate) fn encryption_error(error: crate::log::KeyringError) -> ApiError {
    match error {
        crate::log::KeyringError::Store(error) => store_error(error),
        error => {
            ApiError::new(ErrorCode::EncryptionError).with_message("A secret could not be sealed.").caused_by(error)
        }
    }
}
