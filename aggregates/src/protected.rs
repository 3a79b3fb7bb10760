//! Values that may stand in the log only sealed: personal data under the key of that person, the client secret under the
//! instance key.
//!
//! Architecture invariant: a clear value cannot be serialized. An event that still holds one does not reach the log, because
//! turning it into JSON fails (promise P9). The log's codec replaces clear values with sealed ones first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{UserId, deserialize_text};

/// Names the key that a value is sealed with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyId {
    /// The key of one person; destroying it erases what is sealed with it.
    Person(UserId),
    /// The key of the instance, for its own secrets.
    Instance,
    /// The key of one calendar month (`2026-11`), for source addresses and user agents of callers nobody knows.
    Strangers(String),
}

/// A key id that has none of the known forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key id")]
pub struct KeyIdError(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(user) => write!(f, "person/{user}"),
            Self::Instance => f.write_str("instance"),
            Self::Strangers(month) => write!(f, "strangers/{month}"),
        }
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || KeyIdError(text.to_owned());
        match text.split_once('/') {
            None if text == "instance" => Ok(Self::Instance),
            Some(("person", user)) => user.parse().map(Self::Person).map_err(|_| refused()),
            Some(("strangers", month)) if !month.is_empty() => Ok(Self::Strangers(month.to_owned())),
            _ => Err(refused()),
        }
    }
}

/// A value that is clear in memory and sealed in the log.
#[derive(Clone, PartialEq, Eq)]
pub enum Protected {
    /// Not sealed yet, or opened again.
    Clear { key: KeyId, text: String },
    /// As the log holds it: `sealed` is base64url of nonce and ciphertext.
    Sealed { key: KeyId, sealed: String },
    /// It was sealed with a key that has been destroyed.
    Erased,
}

impl Protected {
    /// A value about `user`, to be sealed with that person's key.
    pub fn of_person(user: UserId, text: impl Into<String>) -> Self {
        Self::Clear { key: KeyId::Person(user), text: text.into() }
    }

    /// A secret of the instance itself.
    pub fn of_instance(text: impl Into<String>) -> Self {
        Self::Clear { key: KeyId::Instance, text: text.into() }
    }

    /// The key that the value is or will be sealed with.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Clear { key, .. } | Self::Sealed { key, .. } => Some(key),
            Self::Erased => None,
        }
    }

    /// The clear text, when it is at hand.
    pub fn clear(&self) -> Option<&str> {
        match self {
            Self::Clear { text, .. } => Some(text),
            Self::Sealed { .. } | Self::Erased => None,
        }
    }
}

impl fmt::Debug for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear { key, .. } => write!(f, "Protected(clear, {key})"),
            Self::Sealed { key, .. } => write!(f, "Protected(sealed, {key})"),
            Self::Erased => f.write_str("Protected(erased)"),
        }
    }
}

/// Written `KEY:SEALED`, for example `person/0198...:AAEC...`.
impl Serialize for Protected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sealed { key, sealed } => serializer.collect_str(&format_args!("{key}:{sealed}")),
            Self::Clear { .. } => {
                Err(serde::ser::Error::custom("a protected value must be sealed before it is written"))
            }
            Self::Erased => Err(serde::ser::Error::custom("an erased value cannot be written")),
        }
    }
}

impl<'de> Deserialize<'de> for Protected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| {
            let (key, sealed) = text.split_once(':').ok_or("a sealed value is written KEY:SEALED".to_owned())?;
            let key = key.parse().map_err(|error: KeyIdError| error.to_string())?;
            Ok::<_, String>(Self::Sealed { key, sealed: sealed.to_owned() })
        })
    }
}

/// Gives the log's codec every protected value of an event with the name of its field, in a fixed order.
pub trait ProtectedFields {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)>;
}

/// Collects the protected fields that are there.
pub(crate) fn present<'a, const N: usize>(
    fields: [(&'static str, Option<&'a mut Protected>); N],
) -> Vec<(&'static str, &'a mut Protected)> {
    fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clear_value_cannot_be_written() {
        let clear = Protected::of_instance("hunter2");
        assert!(serde_json::to_string(&clear).is_err());
        assert!(!format!("{clear:?}").contains("hunter2"));
    }

    #[test]
    fn a_sealed_value_reads_back_as_it_was_written() {
        let sealed = Protected::Sealed { key: KeyId::Strangers("2026-11".into()), sealed: "AAEC".into() };
        let text = serde_json::to_string(&sealed).unwrap();
        assert_eq!(text, r#""strangers/2026-11:AAEC""#);
        assert_eq!(serde_json::from_str::<Protected>(&text).unwrap(), sealed);
    }
}
