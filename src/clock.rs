//! The one place that asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use aggregates::UnixSeconds;
use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the host was started, counting those in which it was suspended: how long ago something was, whatever is done
/// to the clock on the wall.
pub fn boot_micros() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Elsewhere this one counts them too.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let time = clock_gettime(CLOCK);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000_000 + part(time.tv_nsec) / 1000
}

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
