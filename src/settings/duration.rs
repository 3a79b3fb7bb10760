//! Durations as people write them: a number and one unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::log::LONGEST_LEASE;

/// Ten years: longer is a slip of the pen.
const MAX_SECONDS: u32 = 3650 * 24 * 60 * 60;

/// A duration in whole seconds, from one second to ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(u32);

impl Seconds {
    /// The seconds, to be added to Unix seconds.
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }

    /// The same for timers.
    pub fn as_duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, letter) = [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
            .into_iter()
            .find(|(unit, _)| self.0.is_multiple_of(*unit))
            .unwrap_or((1, 's'));
        write!(f, "{}{letter}", self.0 / unit)
    }
}

/// A text that is no duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not digits followed by one unit.
    #[error("it is not a number followed by s, m, h or d")]
    Form,
    /// Zero, or more than ten years.
    #[error("it is out of range")]
    Range,
}

impl FromStr for Seconds {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let unit = match text.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3_600,
            Some(b'd') => 86_400,
            _ => return Err(DurationError::Form),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DurationError::Form);
        }
        let seconds =
            digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit)).ok_or(DurationError::Range)?;
        if (1..=MAX_SECONDS).contains(&seconds) { Ok(Self(seconds)) } else { Err(DurationError::Range) }
    }
}

/// A duration that can be `off`.
pub(super) struct MaybeSeconds(pub(super) Option<Seconds>);

impl FromStr for MaybeSeconds {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|seconds| Self(Some(seconds))) }
    }
}

/// How long a memory may answer by itself: nothing, or 50 ms to 5 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(Duration);

impl Lease {
    const SHORTEST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = LONGEST_LEASE;

    pub fn as_duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Lease {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let (digits, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(digits), _) => (digits, 1),
            (None, Some(digits)) => (digits, 1000),
            (None, None) => return Err(DurationError::Form),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DurationError::Form);
        }
        let millis = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        let lease = Duration::from_millis(millis.ok_or(DurationError::Range)?);
        if (Self::SHORTEST..=Self::LONGEST).contains(&lease) { Ok(Self(lease)) } else { Err(DurationError::Range) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_unit_is_read_and_shown_again() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)] {
            assert_eq!(text.parse::<Seconds>().unwrap().get(), seconds);
        }
        assert_eq!("900s".parse::<Seconds>().unwrap().to_string(), "15m");
        assert_eq!("24h".parse::<Seconds>().unwrap().to_string(), "1d");
        assert_eq!("90s".parse::<Seconds>().unwrap().to_string(), "90s");
    }

    #[test]
    fn a_lease_is_nothing_or_from_50_milliseconds_to_5_seconds() {
        for (text, millis) in [("0", 0), ("50ms", 50), ("250ms", 250), ("1s", 1000), ("5s", 5000)] {
            assert_eq!(text.parse::<Lease>().unwrap().as_duration(), Duration::from_millis(millis));
        }
        for text in ["", "ms", "250", "250 ms", "1m", "off", "-1ms", "0.5s", "é"] {
            assert_eq!(text.parse::<Lease>(), Err(DurationError::Form), "{text}");
        }
        for text in ["0ms", "49ms", "5001ms", "6s", "0s", "99999999999999999999s", "18446744073709551615s"] {
            assert_eq!(text.parse::<Lease>(), Err(DurationError::Range), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "m", "15", "15 m", "+15m", "-1m", "1.5h", "1h30m", "15M", "1w", "１m", "é"] {
            assert_eq!(text.parse::<Seconds>(), Err(DurationError::Form), "{text}");
        }
        for text in ["0s", "3651d", "4294967296s", "4294967295h", "99999999999999999999s"] {
            assert_eq!(text.parse::<Seconds>(), Err(DurationError::Range), "{text}");
        }
    }
}
