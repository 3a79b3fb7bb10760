//! Refusing JSON that two readers could understand differently.
//!
//! RFC 8259 leaves open what a member named twice means, and parsers disagree; RFC 7515 (section 4) and
//! RFC 7517 (section 4) let a receiver refuse it. Escapes are resolved before names are compared.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::JsonProblem;

/// Reads the whole text and refuses it if it is malformed or names a member twice, at any depth.
pub(super) fn check_unambiguous(text: &[u8]) -> Result<(), JsonProblem> {
    serde_json::from_slice::<Unambiguous>(text)
        .map(|Unambiguous| ())
        .map_err(|error| JsonProblem { line: error.line(), column: error.column() })
}

/// Reads an unambiguous JSON object.
pub(super) fn read_object(text: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, JsonProblem> {
    check_unambiguous(text)?;
    serde_json::from_slice(text).map_err(|error| JsonProblem { line: error.line(), column: error.column() })
}

/// A JSON value that has been walked through and forgotten.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unambiguous;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unambiguous, A::Error> {
        while items.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unambiguous, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a member is named twice"));
            }
            members.next_value::<Unambiguous>()?;
        }
        Ok(Unambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::{check_unambiguous, read_object};

    #[test]
    fn ordinary_json_passes() {
        for text in
            [r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}],"d":null,"e":-1.5e3,"f":true}"#, "[]", "null", r#""text""#]
        {
            assert!(check_unambiguous(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_member_named_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"keys":[{"kid":"1","kid":"2"}]}"#,
            r#"[[{"":0,"":0}]]"#,
        ] {
            assert!(check_unambiguous(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn broken_trailing_and_bottomless_json_is_refused() {
        let bottomless = "[".repeat(10_000);
        for text in ["", "{", r#"{"a":1}x"#, "{'a':1}", bottomless.as_str()] {
            assert!(check_unambiguous(text.as_bytes()).is_err());
        }
        assert!(check_unambiguous(b"\"\xff\"").is_err());
    }

    #[test]
    fn only_an_object_is_read_as_one() {
        assert!(read_object(b"{}").is_ok());
        assert!(read_object(b"[]").is_err());
    }
}
