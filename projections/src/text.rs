//! Text on its way from an event into a row.

use aggregates::{KeyId, Protected};

/// Why a personal value that is still sealed is refused: a row without it would look like an erased one.
pub(crate) const STILL_SEALED: &str = "a personal value has not been opened";

/// A text as both databases can hold it: PostgreSQL has no U+0000.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The clear value, `None` when it has been erased.
pub(crate) fn opened(value: &Protected) -> Result<Option<&str>, &'static str> {
    match value {
        Protected::Clear { text, .. } => Ok(Some(text)),
        Protected::Erased => Ok(None),
        Protected::Sealed { .. } => Err(STILL_SEALED),
    }
}

/// The value for a column, `None` when it is absent or has been erased.
pub(crate) fn column(value: Option<&Protected>) -> Result<Option<String>, &'static str> {
    Ok(value.map(opened).transpose()?.flatten().map(storable))
}

/// [`column`], but only of what was sealed for a person. A stranger's key is destroyed after a while without an event: a row
/// that had kept what it sealed could not be folded again.
pub(crate) fn column_of_person(value: Option<&Protected>) -> Result<Option<String>, &'static str> {
    match value {
        Some(Protected::Clear { key, .. } | Protected::Sealed { key, .. }) if !matches!(key, KeyId::Person(_)) => {
            Ok(None)
        }
        value => column(value),
    }
}
