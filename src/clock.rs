//! The one place that asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use aggregates::UnixSeconds;

/// The clock of this process.
#[derive(Clone, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Microseconds since 1970; 0 for a clock that is set before that.
    pub fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    pub fn now(&self) -> UnixSeconds {
        UnixSeconds(self.now_micros() / 1_000_000)
    }
}
