//! Values that are written as one text.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a value from a text where it lies, without a copy.
///
/// # Errors
/// When there is no text, or `parse` refuses it.
pub fn deserialize_text<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    struct Text<P>(P);

    impl<T, E: fmt::Display, P: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<R: Error>(self, text: &str) -> Result<T, R> {
            (self.0)(text).map_err(Error::custom)
        }
    }

    deserializer.deserialize_str(Text(parse))
}
