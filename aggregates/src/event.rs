//! Any event of any aggregate, for those who read the whole log.

use cqrs_es::DomainEvent;
use serde::de::Error as _;

use crate::{
    ApiTokenEvent, IdentityProviderEvent, Protected, ProtectedFields, SessionEvent, SetupEvent, UserEvent, upcast,
};

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
        let unreadable = |source| EventDecodeError::Payload {
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
            source,
        };
        let payload: serde_json::Value = serde_json::from_str(payload).map_err(unreadable)?;
        let lifted = upcast::lift(aggregate_type, event_type, event_version, payload);
        let payload = lifted.payload;
        let event = match aggregate_type {
            "setup" => Self::Setup(serde_json::from_value(payload).map_err(unreadable)?),
            "session" => Self::Session(serde_json::from_value(payload).map_err(unreadable)?),
            "user" => Self::User(serde_json::from_value(payload).map_err(unreadable)?),
            "api_token" => Self::ApiToken(serde_json::from_value(payload).map_err(unreadable)?),
            "identity_provider" => Self::IdentityProvider(serde_json::from_value(payload).map_err(unreadable)?),
            other => return Err(EventDecodeError::UnknownAggregate(other.to_owned())),
        };
        if event.event_type() != lifted.event_type || event.event_version() != lifted.event_version {
            return Err(unreadable(serde_json::Error::custom("the payload is not of this type and version")));
        }
        Ok(event)
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

    pub fn event_type(&self) -> String {
        match self {
            Self::Setup(event) => event.event_type(),
            Self::Session(event) => event.event_type(),
            Self::User(event) => event.event_type(),
            Self::ApiToken(event) => event.event_type(),
            Self::IdentityProvider(event) => event.event_type(),
        }
    }

    pub fn event_version(&self) -> String {
        match self {
            Self::Setup(event) => event.event_version(),
            Self::Session(event) => event.event_version(),
            Self::User(event) => event.event_version(),
            Self::ApiToken(event) => event.event_version(),
            Self::IdentityProvider(event) => event.event_version(),
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
                match self {
                    $(Self::$variant { .. } => stringify!($variant).to_owned(),)+
                }
            }

            fn event_version(&self) -> String {
                match self {
                    $(Self::$variant { .. } => $version.to_owned(),)+
                }
            }
        }

        impl $name {
            /// Every event type of this aggregate with its present version.
            pub const TYPES: &'static [(&'static str, &'static str)] = &[$((stringify!($variant), $version)),+];
        }
    };
}
pub(crate) use domain_event;
