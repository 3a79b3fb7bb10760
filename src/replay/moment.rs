//! Which moment of the past is meant.

use std::str::FromStr;

use aggregates::UnixSeconds;
use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::ReplayError;
use crate::log::past::Past;

/// A time as people write it: RFC 3339, or Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub UnixSeconds);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(seconds) = text.parse::<i64>() {
            return Ok(Self(UnixSeconds(seconds)));
        }
        let time = DateTime::parse_from_rfc3339(text);
        time.map(|time| Self(UnixSeconds(time.timestamp())))
            .map_err(|_| "a time is written 2026-11-17T14:00:00Z, or as Unix seconds")
    }
}

/// A time or a position. As a text, an integer is a position, and a time RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Time(Time),
    Position(i64),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>() {
            Ok(position) if position >= 1 => Ok(Self::Position(position)),
            Ok(_) => Err("a position is 1 or more"),
            Err(_) => {
                text.parse().map(Self::Time).map_err(|_| "a moment is a position, or a time like 2026-11-17T14:00:00Z")
            }
        }
    }
}

/// A position of the log and the time that counts for what runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AsOf {
    pub position: i64,
    /// Unix seconds.
    #[schema(value_type = i64)]
    pub at: UnixSeconds,
}

impl Moment {
    /// Finds it in the log. A time means the end of its second.
    ///
    /// # Errors
    /// [`ReplayError::InTheFuture`] for a time after `now`, [`ReplayError::BeyondTheHead`]; when the log cannot be read.
    pub async fn resolve(self, past: &Past, now: UnixSeconds) -> Result<AsOf, ReplayError> {
        match self {
            Self::Time(Time(at)) => {
                if at > now {
                    return Err(ReplayError::InTheFuture(at));
                }
                let end_of_second = at.0.saturating_mul(1_000_000).saturating_add(999_999);
                Ok(AsOf { position: past.position_at(end_of_second).await?, at })
            }
            Self::Position(position) => {
                let head = past.head().await?;
                if position > head {
                    return Err(ReplayError::BeyondTheHead { asked: position, head });
                }
                let recorded_at = past.recorded_at(position).await?;
                Ok(AsOf { position, at: UnixSeconds(recorded_at.div_euclid(1_000_000)) })
            }
        }
    }
}
