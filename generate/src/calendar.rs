//! The made-up time: when it begins, how busy which hour is.

use aggregates::UnixSeconds;

use crate::chance::Chance;

/// 2021-01-01T00:00:00Z. A log of [`crate::MOST_EVENTS`] ends before 2025.
const BEGINS_AT: UnixSeconds = UnixSeconds(1_609_459_200);

const MICROS: i64 = 1_000_000;
const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
/// From seven to nineteen o'clock people work.
const WORKING_HOURS: std::ops::Range<i64> = 7..19;
const WORKING_DAYS: i64 = 5;
/// 1970 began on a Thursday.
const DAYS_SINCE_MONDAY_IN_1970: i64 = 3;
/// For each person something begins by itself so often, on average: three times in two working days.
const PAUSE_AT_WORK_SECONDS: i64 = 8 * HOUR_SECONDS;
const PAUSE_ELSE_SECONDS: i64 = 72 * HOUR_SECONDS;

/// The clock of the made-up world, in microseconds since 1970. It runs forwards only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    pub(crate) fn beginning() -> Self {
        Self(BEGINS_AT.0 * MICROS)
    }

    pub(crate) fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, for ids.
    pub(crate) fn millis(self) -> u64 {
        (self.0 / 1000).cast_unsigned()
    }

    pub(crate) fn seconds(self) -> UnixSeconds {
        UnixSeconds(self.0 / MICROS)
    }

    pub(crate) fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0 + seconds * MICROS)
    }

    /// When the next thing begins by itself, among so many people.
    pub(crate) fn next(self, people: usize, chance: &mut Chance) -> Self {
        let pause = if self.is_at_work() { PAUSE_AT_WORK_SECONDS } else { PAUSE_ELSE_SECONDS };
        let people = i64::try_from(people).unwrap_or(i64::MAX).max(1);
        Self(self.0 + 1 + chance.between(&(0..2 * pause * MICROS / people)))
    }

    fn is_at_work(self) -> bool {
        let since = self.seconds().0;
        let (day, hour) = (since / DAY_SECONDS + DAYS_SINCE_MONDAY_IN_1970, since % DAY_SECONDS / HOUR_SECONDS);
        day % 7 < WORKING_DAYS && WORKING_HOURS.contains(&hour)
    }
}

/// The calendar month, as the keys of strangers are named: `2018-01`.
pub(crate) fn month_of(time: UnixSeconds) -> String {
    chrono::DateTime::from_timestamp(time.0, 0).unwrap_or_default().format("%Y-%m").to_string()
}
