//! Newtypes for what must not be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::deserialize_text;

/// The id of the streams of which an instance has exactly one: `setup` and `identity_provider`.
pub const INSTANCE_STREAM: &str = "instance";

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One installation of authlog: made once, with the first event of its log.
    InstanceId
);
uuid_id!(
    /// A person with an account or an invitation. A `UUIDv7`, never used again.
    UserId
);
uuid_id!(
    /// A setup session or a user session. A handle, not a secret: the token is another value.
    SessionId
);
uuid_id!(
    /// An API token's handle, not the token.
    ApiTokenId
);

/// Seconds since 1970-01-01T00:00:00Z, the unit of every time in the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// This time and `seconds` more; saturates instead of wrapping.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// SHA-256 of a bearer token: all that is ever kept of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token's text, byte for byte as the caller sent it.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
        })
    }
}

/// A stream of the log, written `TYPE/ID` (`user/0198...`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub aggregate_type: &'static str,
    pub aggregate_id: String,
}

/// A stream was named that cannot exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamIdError {
    #[error("a stream is written TYPE/ID, for example user/0198c5a2-0000-7000-8000-000000000000")]
    Form,
    #[error("there is no aggregate type {0:?}; there are setup, session, user, api_token and identity_provider")]
    UnknownType(String),
}

impl StreamId {
    /// Every aggregate type there is.
    pub const TYPES: [&'static str; 5] = ["setup", "session", "user", "api_token", "identity_provider"];

    pub fn setup() -> Self {
        Self { aggregate_type: "setup", aggregate_id: INSTANCE_STREAM.to_owned() }
    }

    pub fn identity_provider() -> Self {
        Self { aggregate_type: "identity_provider", aggregate_id: INSTANCE_STREAM.to_owned() }
    }

    /// The stream of the sign-ins refused within the minute that begins at `minute`.
    pub fn refused_sign_ins(minute: UnixSeconds) -> Self {
        Self { aggregate_type: "identity_provider", aggregate_id: format!("refused-{}", minute.0) }
    }

    pub fn user(id: UserId) -> Self {
        Self { aggregate_type: "user", aggregate_id: id.to_string() }
    }

    pub fn session(id: SessionId) -> Self {
        Self { aggregate_type: "session", aggregate_id: id.to_string() }
    }

    pub fn api_token(id: ApiTokenId) -> Self {
        Self { aggregate_type: "api_token", aggregate_id: id.to_string() }
    }

    /// The stream with this type and id as a log row spells them.
    ///
    /// # Errors
    /// [`StreamIdError::UnknownType`] for a type that no aggregate has.
    pub fn of(aggregate_type: &str, aggregate_id: impl Into<String>) -> Result<Self, StreamIdError> {
        let aggregate_type = Self::TYPES
            .into_iter()
            .find(|known| *known == aggregate_type)
            .ok_or_else(|| StreamIdError::UnknownType(aggregate_type.to_owned()))?;
        Ok(Self { aggregate_type, aggregate_id: aggregate_id.into() })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (aggregate_type, aggregate_id) = text.split_once('/').ok_or(StreamIdError::Form)?;
        if aggregate_id.is_empty() {
            return Err(StreamIdError::Form);
        }
        Self::of(aggregate_type, aggregate_id)
    }
}
