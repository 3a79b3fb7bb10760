//! Who decides. Each aggregate folds its own stream of events into the state it needs, takes a command and answers with
//! events or a refusal.
//!
//! Architecture invariant: nothing here reads a clock, a random source, a file or the network. Commands bring the time, the
//! ids and the hashes; the same log and the same commands give the same events on every machine and in every year.
//! Architecture invariant: nothing here knows HTTP, SQL, or the read models.

mod address;
mod api_token;
mod count;
mod event;
mod identity_provider;
mod ids;
mod protected;
mod role;
mod rules;
mod session;
mod setup;
mod text;
mod upcast;
mod user;

pub use address::{AddressError, EmailAddress, MAX_ADDRESS_BYTES};
pub use api_token::{ApiToken, ApiTokenCommand, ApiTokenError, ApiTokenEvent};
pub use count::MAX_COUNT;
pub use event::{Event, EventDecodeError};
pub use identity_provider::{
    IdentityProvider, IdentityProviderCommand, IdentityProviderError, IdentityProviderEvent, ProviderState,
};
pub use ids::{
    ApiTokenId, INSTANCE_STREAM, InstanceId, SessionId, StreamId, StreamIdError, TokenHash, UnixSeconds, UserId,
};
pub use protected::{KeyId, KeyIdError, Protected, ProtectedFields};
pub use role::{Actor, Credential, Role, RoleError, Status};
pub use rules::{Circumstances, NotAllowed};
pub use session::{Session, SessionCommand, SessionEnd, SessionError, SessionEvent, SessionKind};
pub use setup::{
    BootstrapToken, MAX_VERIFICATION_FAILURES, PinnedOwner, RemoteAuthMode, RuntimeMode, Setup, SetupCommand,
    SetupError, SetupEvent, SetupState,
};
pub use text::deserialize_text;
pub use upcast::{Fields, Lift, upcasters};
pub use user::{LinkedIdentity, Profile, User, UserCommand, UserError, UserEvent};
