//! An instance of authlog in this process, set up without a browser: the events of a setup, written as units.

use std::path::{Path, PathBuf};

use aggregates::{
    Event, IdentityProviderEvent, KeyId, LinkedIdentity, Profile, Protected, SessionEnd, SessionEvent, SessionId,
    SetupEvent, StreamId, TokenHash, UnixSeconds, UserEvent, UserId,
};
use authlog::log::past::Past;
use authlog::log::{Keys, Location, Log, StreamVersion, Unit, seal};
use authlog::runtime::{self, Runtime, location};
use authlog::settings::{GlobalArgs, Settings};
use clap::Args;
use projections::{ActorRef, Metadata};
use uuid::Uuid;

use crate::Failure;

/// The issuer of the made-up provider; nobody listens there and nobody is asked.
pub(crate) const ISSUER: &str = "http://127.0.0.1:9/";
/// Sessions are opened under it.
pub(crate) const PROVIDER_EPOCH: u64 = 1;
/// Longer than any measurement, so that nothing runs out while one is going on.
pub(crate) const SESSION_TTL_SECONDS: i64 = 365 * 24 * 3600;
/// The token of the made-up owner's session.
pub(crate) const OWNER_TOKEN: &str = "bench-owner-0000000000000000000000000000000000000000000000000000";

/// Where the instance lives, as authlog's own flags name it.
#[derive(Args, Clone)]
pub(crate) struct Place {
    #[arg(long)]
    pub data_dir: PathBuf,
    /// A PostgreSQL database; SQLite in the data directory without it.
    #[arg(long)]
    pub database_url: Option<String>,
}

impl Place {
    pub(crate) async fn open(&self) -> Result<Runtime, Failure> {
        Ok(Runtime::open(self.settings()?).await?)
    }

    pub(crate) async fn past(&self) -> Result<Past, Failure> {
        Ok(runtime::past(&self.settings()?).await?)
    }

    pub(crate) fn location(&self) -> Result<Location, Failure> {
        Ok(location(&self.settings()?))
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let global = GlobalArgs {
            data_dir: Some(self.data_dir.display().to_string()),
            database_url: self.database_url.clone().map(Into::into),
            config: None,
        };
        Ok(Settings::load(&global, None, [], Path::new("/"))?)
    }
}

/// Events on their way into a unit.
pub(crate) struct Draft {
    reads: Vec<StreamVersion>,
    events: Vec<(StreamId, i64, Event)>,
    keys: Keys,
    keys_made: Vec<(KeyId, String)>,
    metadata: Metadata,
}

impl Draft {
    pub(crate) fn new(actor: ActorRef, command: &str) -> Self {
        let metadata = Metadata {
            actor,
            request_id: Some(Uuid::now_v7()),
            unit_id: Uuid::now_v7(),
            command: command.to_owned(),
            source_address: None,
            user_agent: None,
        };
        Self { reads: Vec::new(), events: Vec::new(), keys: Keys::new(), keys_made: Vec::new(), metadata }
    }

    /// Makes the key of a new person, whose doing the unit is: source address and user agent are sealed with it.
    pub(crate) fn person(&mut self, log: &Log, user: UserId) -> Result<(), Failure> {
        let id = KeyId::Person(user);
        let (key, wrapped) = log.keyring().make(&id)?;
        self.keys.insert(id.clone(), key);
        self.keys_made.push((id, wrapped));
        self.metadata.source_address = Some(Protected::of_person(user, "192.0.2.17"));
        self.metadata.user_agent = Some(Protected::of_person(user, "Mozilla/5.0 (X11; Linux x86_64) bench"));
        Ok(())
    }

    /// The next events of a stream that has `version` events before this unit.
    pub(crate) fn events(&mut self, stream: StreamId, version: i64, events: impl IntoIterator<Item = Event>) {
        let numbered = events.into_iter().zip(version + 1..);
        self.events.extend(numbered.map(|(event, sequence)| (stream.clone(), sequence, event)));
        self.reads.push(StreamVersion { stream, version });
    }

    pub(crate) async fn append(self, log: &Log) -> Result<(), Failure> {
        let Self { reads, events, keys, keys_made, metadata } = self;
        let events =
            events.into_iter().map(|(stream, sequence, event)| seal(stream, sequence, event, &metadata, &keys));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        log.append(Unit {
            id: metadata.unit_id,
            reads,
            begun: Vec::new(),
            events,
            keys_made,
            keys_destroyed: Vec::new(),
        })
        .await?;
        Ok(())
    }
}

pub(crate) fn new_user() -> UserId {
    UserId(Uuid::now_v7())
}

pub(crate) fn new_session() -> StreamId {
    StreamId::session(SessionId(Uuid::now_v7()))
}

pub(crate) fn session_opened(user_id: UserId, token: &str, now: UnixSeconds) -> Event {
    Event::from(SessionEvent::SessionOpened {
        user_id,
        token_hash: TokenHash::of(token),
        opened_at: now,
        expires_at: now.plus(SESSION_TTL_SECONDS),
        user_epoch: 0,
        provider_epoch: PROVIDER_EPOCH,
    })
}

/// Takes a new log to `ready`, with an owner who has a session with [`OWNER_TOKEN`]. Setup has `InstanceCreated` already.
pub(crate) async fn set_up(log: &Log, now: UnixSeconds) -> Result<(), Failure> {
    let owner = new_user();
    let setup_session = SessionId(Uuid::now_v7());
    let mut draft = Draft::new(ActorRef::System, "bench_set_up");
    draft.person(log, owner)?;
    draft.events(
        StreamId::setup(),
        1,
        [
            SetupEvent::BootstrapTokenIssued {
                token_hash: TokenHash::of("bench-bootstrap"),
                expires_at: now.plus(900),
                owner: None,
            },
            SetupEvent::BootstrapTokenVerified { session_id: setup_session },
            SetupEvent::SetupProviderAccepted { provider_version: 1 },
            SetupEvent::OwnerVerified { user_id: owner },
            SetupEvent::SetupCompleted {},
        ]
        .map(Event::from),
    );
    draft.events(
        StreamId::session(setup_session),
        0,
        [
            SessionEvent::SetupSessionOpened {
                token_hash: TokenHash::of("bench-setup"),
                opened_at: now,
                expires_at: now.plus(1800),
            },
            SessionEvent::SetupSessionEnded { reason: SessionEnd::SetupOver },
        ]
        .map(Event::from),
    );
    let configured = IdentityProviderEvent::ProviderConfigured {
        issuer_url: ISSUER.to_owned(),
        client_id: "bench".to_owned(),
        client_secret: None,
        version: 1,
        session_epoch: PROVIDER_EPOCH,
    };
    draft.events(StreamId::identity_provider(), 0, [Event::from(configured)]);
    let registered = UserEvent::OwnerRegistered {
        address: Protected::of_person(owner, "owner@bench.example"),
        identity: identity(owner, "owner"),
        profile: profile(owner, "Olivia Owner"),
    };
    draft.events(StreamId::user(owner), 0, [Event::from(registered)]);
    draft.events(new_session(), 0, [session_opened(owner, OWNER_TOKEN, now)]);
    draft.append(log).await
}

pub(crate) fn identity(user: UserId, subject: &str) -> LinkedIdentity {
    LinkedIdentity { issuer: ISSUER.to_owned(), subject: Protected::of_person(user, subject) }
}

pub(crate) fn profile(user: UserId, name: &str) -> Profile {
    Profile { display_name: Some(Protected::of_person(user, name)), picture: None }
}
