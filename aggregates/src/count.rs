//! Numbers that count something: versions, epochs, refusals.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The largest number that every reader of JSON takes for the same (RFC 8259, section 6), and a column for 64 bits with a sign
/// holds also after counting on.
pub const MAX_COUNT: u64 = (1 << 53) - 1;

/// Reads a count of a stored event.
///
/// # Errors
/// For what is no whole number from 0 to [`MAX_COUNT`]: an event that holds it was not written by this service, and no row
/// could be made of it.
pub(crate) fn deserialize_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(deserializer)?;
    if count <= MAX_COUNT { Ok(count) } else { Err(D::Error::custom(format_args!("a count is at most {MAX_COUNT}"))) }
}

#[cfg(test)]
mod tests {
    use crate::Event;

    #[test]
    fn an_event_with_a_count_that_no_row_can_hold_is_refused() {
        let read = |epoch: u64| {
            let payload = format!(r#"{{"SessionKept":{{"user_epoch":{epoch},"provider_epoch":0}}}}"#);
            Event::decode("session", "SessionKept", "1", &payload).is_ok()
        };
        assert!(read(0) && read(super::MAX_COUNT));
        assert!(!read(super::MAX_COUNT + 1) && !read(u64::MAX));
    }
}
