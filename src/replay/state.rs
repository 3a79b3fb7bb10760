//! Folding up to a position.

use aggregates::{StreamId, UnixSeconds};
use chrono::DateTime;
use projections::{FoldError, KeyedHasher, ReadModels, Recorded};

use crate::log::history::HistoryError;
use crate::log::past::Past;

/// The read models that say how things stand; the audit trail only tells what happened.
const MODELS: [&str; 6] = ["setup", "identity_provider", "users", "unique_keys", "sessions", "api_tokens"];

/// The past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("the log cannot be folded: {0}")]
    Fold(#[from] FoldError),
    #[error("the rows of a read model cannot be kept: {0}")]
    Rows(#[from] serde_json::Error),
    #[error("there is no position {asked}: the log ends at {head}")]
    BeyondTheHead { asked: i64, head: i64 },
    #[error("the log is damaged: it lacks the event at position {position}, before {last}")]
    Missing { position: i64, last: i64 },
    #[error("{} lies in the future: the log cannot tell it", written(*.0))]
    InTheFuture(UnixSeconds),
    #[error("the stream {0} has no event up to there")]
    NoSuchStream(StreamId),
    #[error("no user, session or API token of that name had an event up to there")]
    NoSuchSubject,
}

fn written(time: UnixSeconds) -> String {
    DateTime::from_timestamp(time.0, 0).map_or_else(|| time.0.to_string(), |time| time.to_rfc3339())
}

/// How things stood right after an event.
#[derive(Debug)]
pub struct State {
    /// Position of that event; 0 is before the first.
    pub position: i64,
    /// The moment that is asked about: what has run out by then is no longer alive.
    pub at: UnixSeconds,
    pub models: ReadModels,
}

impl State {
    /// Nothing has happened yet.
    pub fn before_everything(at: UnixSeconds) -> Self {
        Self { position: 0, at, models: ReadModels::only(&MODELS) }
    }

    /// The same for users alone: events of some of them fold without the others'.
    pub(super) fn of_users(at: UnixSeconds) -> Self {
        Self { position: 0, at, models: ReadModels::only(&["users"]) }
    }

    /// Folds the whole log up to a position.
    ///
    /// # Errors
    /// [`ReplayError::BeyondTheHead`]; when the log cannot be read or folded.
    pub async fn as_of(past: &Past, position: i64, at: UnixSeconds) -> Result<Self, ReplayError> {
        let head = past.head().await?;
        if position > head {
            return Err(ReplayError::BeyondTheHead { asked: position, head });
        }
        let mut state = Self::before_everything(at);
        let mut history = past.history(0).await?;
        while state.position < position
            && let Some(page) = history.next().await
        {
            let page = page?;
            let events = page.events.iter().take_while(|event| event.position <= position);
            let events: Vec<Recorded<'_>> = events.map(|event| event.recorded()).collect();
            state.fold(&events, past.hasher())?;
        }
        Ok(state)
    }

    /// Folds events that follow, in their order.
    ///
    /// # Errors
    /// When an event contradicts what was before it.
    pub fn fold(&mut self, events: &[Recorded<'_>], hasher: &KeyedHasher) -> Result<(), ReplayError> {
        for event in events {
            self.models.need(event, hasher);
        }
        // There is no store: what no event has made is not there.
        for rows in self.models.tables() {
            rows.supply_json("[]")?;
        }
        for event in events {
            self.models.fold(std::slice::from_ref(event), hasher)?;
            self.position = event.position;
        }
        Ok(())
    }
}
