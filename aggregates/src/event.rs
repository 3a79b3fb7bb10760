//! Any event of any aggregate, for those who read the whole log.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

use crate::upcast::{self, LIFTS, Lift};
use crate::{ApiTokenEvent, IdentityProviderEvent, Protected, ProtectedFields, SessionEvent, SetupEvent, UserEvent};

/// An event of the log. Type names are unique across the aggregates, because upcasters see nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Setup(SetupEvent),
    Session(SessionEvent),
    User(UserEvent),
    ApiToken(ApiTokenEvent),
    IdentityProvider(IdentityProviderEvent),
}

/// A stored event that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum EventDecodeError {
    #[error("no aggregate has the type {0:?}")]
    UnknownAggregate(String),
    #[error("the {event_type} event (version {event_version}) cannot be read: {source}")]
    Payload { event_type: String, event_version: String, source: serde_json::Error },
}

impl Event {
    /// Reads a stored event and lifts it to its present version.
    ///
    /// # Errors
    /// When the type or the version is unknown, or the payload is not what they say: a version from a later release is
    /// refused, not read as the present one.
    pub fn decode(
        aggregate_type: &str,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Self, EventDecodeError> {
        Self::decode_with(LIFTS, aggregate_type, event_type, event_version, payload)
    }

    /// The same with steps of versions before the first, which those there are follow.
    ///
    /// # Errors
    /// As [`Event::decode`].
    pub fn decode_by(
        earlier: &[Lift],
        aggregate_type: &str,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Self, EventDecodeError> {
        Self::decode_with(&[earlier, LIFTS].concat(), aggregate_type, event_type, event_version, payload)
    }

    fn decode_with(
        lifts: &[Lift],
        aggregate_type: &str,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Self, EventDecodeError> {
        let unreadable = |source| EventDecodeError::Payload {
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
            source,
        };
        let (event, present_version) = if upcast::applies_to(lifts, event_type, event_version) {
            let payload = serde_json::from_str(payload).map_err(unreadable)?;
            let (version, payload) = upcast::lift(lifts, event_type, event_version, payload);
            (Self::parse(aggregate_type, payload)?.map_err(unreadable)?, version)
        } else {
            let payload = &mut serde_json::Deserializer::from_str(payload);
            (Self::parse(aggregate_type, payload)?.map_err(unreadable)?, event_version)
        };
        if event.kind() != (event_type, present_version) {
            return Err(unreadable(serde_json::Error::custom("the payload is not of this type and version")));
        }
        Ok(event)
    }

    fn parse<'de, D: Deserializer<'de>>(
        aggregate_type: &str,
        payload: D,
    ) -> Result<Result<Self, D::Error>, EventDecodeError> {
        Ok(match aggregate_type {
            "setup" => SetupEvent::deserialize(payload).map(Self::Setup),
            "session" => SessionEvent::deserialize(payload).map(Self::Session),
            "user" => UserEvent::deserialize(payload).map(Self::User),
            "api_token" => ApiTokenEvent::deserialize(payload).map(Self::ApiToken),
            "identity_provider" => IdentityProviderEvent::deserialize(payload).map(Self::IdentityProvider),
            other => return Err(EventDecodeError::UnknownAggregate(other.to_owned())),
        })
    }

    /// The payload as the log stores it.
    ///
    /// # Errors
    /// When a protected value has not been sealed.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Setup(event) => serde_json::to_string(event),
            Self::Session(event) => serde_json::to_string(event),
            Self::User(event) => serde_json::to_string(event),
            Self::ApiToken(event) => serde_json::to_string(event),
            Self::IdentityProvider(event) => serde_json::to_string(event),
        }
    }

    /// The names of all event types.
    pub fn types() -> impl Iterator<Item = &'static str> {
        Self::versions().map(|(name, _)| name)
    }

    /// All event types with their present version.
    pub fn versions() -> impl Iterator<Item = (&'static str, &'static str)> {
        let all = [
            SetupEvent::TYPES,
            SessionEvent::TYPES,
            UserEvent::TYPES,
            ApiTokenEvent::TYPES,
            IdentityProviderEvent::TYPES,
        ];
        all.into_iter().flatten().copied()
    }

    pub fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    pub fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }

    /// Type and present version.
    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Setup(event) => event.kind(),
            Self::Session(event) => event.kind(),
            Self::User(event) => event.kind(),
            Self::ApiToken(event) => event.kind(),
            Self::IdentityProvider(event) => event.kind(),
        }
    }
}

impl ProtectedFields for Event {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        match self {
            Self::Setup(event) => event.protected_fields(),
            Self::Session(event) => event.protected_fields(),
            Self::User(event) => event.protected_fields(),
            Self::ApiToken(event) => event.protected_fields(),
            Self::IdentityProvider(event) => event.protected_fields(),
        }
    }
}

macro_rules! event_from {
    ($($source:ident => $variant:ident),+) => {
        $(impl From<$source> for Event {
            fn from(event: $source) -> Self {
                Self::$variant(event)
            }
        })+
    };
}
event_from!(SetupEvent => Setup, SessionEvent => Session, UserEvent => User, ApiTokenEvent => ApiToken, IdentityProviderEvent => IdentityProvider);

/// Implements `DomainEvent` for an enum of struct variants, all of the version given; `TYPES` lists them for golden files.
macro_rules! domain_event {
    ($name:ident { $($variant:ident => $version:literal),+ $(,)? }) => {
        impl cqrs_es::DomainEvent for $name {
            fn event_type(&self) -> String {
                self.kind().0.to_owned()
            }

            fn event_version(&self) -> String {
                self.kind().1.to_owned()
            }
        }

        impl $name {
            /// Every event type of this aggregate with its present version.
            pub const TYPES: &'static [(&'static str, &'static str)] = &[$((stringify!($variant), $version)),+];

            /// Type and present version.
            pub(crate) fn kind(&self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant { .. } => (stringify!($variant), $version),)+
                }
            }
        }
    };
}
pub(crate) use domain_event;
