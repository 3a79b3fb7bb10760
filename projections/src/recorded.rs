//! An event with all that the log knows about it.

use std::fmt;
use std::str::FromStr;

use aggregates::{
    ApiTokenId, Event, Protected, ProtectedFields, SessionId, StreamId, UnixSeconds, UserId, deserialize_text,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// An event as folds see it: personal data clear where the person's key exists, [`Protected::Erased`] where it was
/// destroyed, the secrets of the instance still sealed.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// 1 is the first event of the log.
    pub position: i64,
    pub recorded_at_micros: i64,
    pub stream: &'a StreamId,
    /// 1 is the first event of the stream.
    pub sequence: i64,
    pub event: &'a Event,
    pub metadata: &'a Metadata,
}

impl Recorded<'_> {
    /// When the log took the event, in whole seconds, rounded down.
    pub fn recorded_at(&self) -> UnixSeconds {
        UnixSeconds(self.recorded_at_micros.div_euclid(1_000_000))
    }
}

/// Who did something, from where and in which call. The log stores it as a flat JSON object of strings; what is absent is
/// left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub actor: ActorRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// Common to all events of a unit.
    pub unit_id: Uuid,
    /// What was asked for.
    pub command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<Protected>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Protected>,
}

impl Metadata {
    /// The JSON object that the log stores, its keys always in the order of the fields.
    ///
    /// # Errors
    /// When a protected value has not been sealed.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads what [`Metadata::encode`] wrote; keys it does not know are passed over.
    ///
    /// # Errors
    /// When `text` is no such object.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl ProtectedFields for Metadata {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        let fields = [
            ("metadata.source_address", self.source_address.as_mut()),
            ("metadata.user_agent", self.user_agent.as_mut()),
        ];
        fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    }
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorRef {
    User(UserId),
    /// Whoever holds the setup session.
    SetupSession(SessionId),
    /// A program with a token of `user`.
    ApiToken {
        user: UserId,
        token: ApiTokenId,
    },
    /// Somebody on the host, by the command line.
    Operator,
    /// The service itself.
    System,
    /// A caller nobody knows.
    Anonymous,
}

impl ActorRef {
    /// The user who did it, themselves or by a token.
    pub fn user_id(self) -> Option<UserId> {
        match self {
            Self::User(user) | Self::ApiToken { user, .. } => Some(user),
            Self::SetupSession(_) | Self::Operator | Self::System | Self::Anonymous => None,
        }
    }
}

impl fmt::Display for ActorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user/{user}"),
            Self::SetupSession(session) => write!(f, "setup_session/{session}"),
            Self::ApiToken { user, token } => write!(f, "api_token/{token}/user/{user}"),
            Self::Operator => f.write_str("operator"),
            Self::System => f.write_str("system"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// A text that names no actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no actor")]
pub struct ActorRefError(String);

impl FromStr for ActorRef {
    type Err = ActorRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ActorRefError(text.to_owned());
        let mut parts = text.splitn(4, '/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("user"), Some(user), None, None) => user.parse().map(Self::User).map_err(|_| refused()),
            (Some("setup_session"), Some(session), None, None) => {
                session.parse().map(Self::SetupSession).map_err(|_| refused())
            }
            (Some("api_token"), Some(token), Some("user"), Some(user)) => Ok(Self::ApiToken {
                user: user.parse().map_err(|_| refused())?,
                token: token.parse().map_err(|_| refused())?,
            }),
            (Some("operator"), None, None, None) => Ok(Self::Operator),
            (Some("system"), None, None, None) => Ok(Self::System),
            (Some("anonymous"), None, None, None) => Ok(Self::Anonymous),
            _ => Err(refused()),
        }
    }
}

impl Serialize for ActorRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ActorRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, str::parse)
    }
}
