//! Looking back, for owners and admins: folds of the log as of a moment.
//!
//! A fold of a long log costs seconds and memory, so only [`LOOKS_BACK`] run at once in a process. It stops with the call: a
//! caller who hangs up drops it between two pages. One stream is short, and read by whoever asks.

use aggregates::{StreamId, UnixSeconds, UserId};
use serde::Serialize;
use tokio::sync::SemaphorePermit;
use utoipa::ToSchema;

use super::{Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::log::history::HistoryError;
use crate::log::past::Past;
use crate::replay::{AsOf, Difference, Moment, OneStream, ReplayError, Shown, State, Subject, Time, Why, differences};
use crate::settings::limits::LOOKS_BACK;

/// When a caller may ask again who found somebody else looking back.
const ASK_AGAIN_SECONDS: u32 = 5;

/// What differs between two moments.
#[derive(Serialize, ToSchema)]
pub struct Compared {
    pub from: AsOf,
    pub to: AsOf,
    pub differences: Vec<Difference>,
}

fn replay_error(error: ReplayError) -> ApiError {
    let not_found = || ApiError::new(ErrorCode::NotFound);
    match error {
        ReplayError::InTheFuture(_) => ApiError::invalid_input("That time lies in the future: the log cannot tell it."),
        ReplayError::BeyondTheHead { head, .. } => {
            ApiError::invalid_input(format!("There is no such position: the log ends at {head}."))
        }
        ReplayError::NoSuchStream(_) => not_found().with_message("The stream has no event up to then."),
        ReplayError::NoSuchSubject => not_found().with_message("There was no such user then."),
        ReplayError::Store(_) | ReplayError::History(HistoryError::Store(_)) => store_error(error),
        ReplayError::History(_) | ReplayError::Fold(_) | ReplayError::Rows(_) | ReplayError::Missing { .. } => {
            ApiError::new(ErrorCode::InternalError).with_message("The log could not be folded.").caused_by(error)
        }
    }
}

impl Service {
    /// How everything stood; without a moment, how it stands now.
    ///
    /// # Errors
    /// `invalid_input` for a moment that there is not, `unavailable` while somebody else looks back, `store_error`.
    pub async fn replay(&self, moment: Option<Moment>) -> Result<Shown, ApiError> {
        let _turn = self.turn_to_look_back()?;
        let past = self.log.past();
        let as_of = self.as_of(&past, moment).await?;
        self.shown(&past, as_of).await
    }

    /// What one stream had made.
    ///
    /// # Errors
    /// `invalid_input` for a moment that there is not; `not_found` for a stream without an event up to then; `store_error`.
    pub async fn replay_stream(&self, stream: &StreamId, moment: Option<Moment>) -> Result<OneStream, ApiError> {
        let past = self.log.past();
        let as_of = self.as_of(&past, moment).await?;
        OneStream::as_of(&past, stream, as_of).await.map_err(replay_error)
    }

    /// What differs between two moments.
    ///
    /// # Errors
    /// As [`Service::replay`].
    pub async fn compare_moments(&self, from: Moment, to: Moment) -> Result<Compared, ApiError> {
        let _turn = self.turn_to_look_back()?;
        let past = self.log.past();
        let from = self.as_of(&past, Some(from)).await?;
        let to = self.as_of(&past, Some(to)).await?;
        let before = self.shown(&past, from).await?;
        let differences = differences(&before, &self.shown(&past, to).await?);
        Ok(Compared { from, to, differences })
    }

    /// Which events decide how a user is, or was.
    ///
    /// # Errors
    /// `invalid_input` for a moment that there is not; `not_found` for a user without an event up to then; `store_error`.
    pub async fn why(&self, user: UserId, moment: Option<Moment>) -> Result<Why, ApiError> {
        let past = self.log.past();
        let as_of = self.as_of(&past, moment).await?;
        Why::of(&past, Subject::User(user), as_of).await.map_err(replay_error)
    }

    fn turn_to_look_back(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.looks_back.try_acquire().map_err(|_| {
            ApiError::new(ErrorCode::Unavailable)
                .with_message(format!("{LOOKS_BACK} at once may look back, and somebody does; try again."))
                .with_retry_after(ASK_AGAIN_SECONDS)
        })
    }

    async fn as_of(&self, past: &Past, moment: Option<Moment>) -> Result<AsOf, ApiError> {
        let now: UnixSeconds = self.now();
        moment.unwrap_or(Moment::Time(Time(now))).resolve(past, now).await.map_err(replay_error)
    }

    async fn shown(&self, past: &Past, as_of: AsOf) -> Result<Shown, ApiError> {
        let state = State::as_of(past, as_of.position, as_of.at).await.map_err(replay_error)?;
        Ok(Shown::of(&state))
    }
}
