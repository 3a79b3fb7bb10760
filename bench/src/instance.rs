//! An instance of authlog in this process, on a log that was made up.

use std::path::{Path, PathBuf};

use aggregates::{Event, SessionEvent, SessionId, StreamId, TokenHash};
use authlog::log::past::Past;
use authlog::log::{Keys, Location, Unit, seal};
use authlog::runtime::{self, Runtime, location};
use authlog::service::Service;
use authlog::settings::{GlobalArgs, Settings};
use clap::Args;
use generate::{DEFAULT_SEED, Plan};
use projections::{ActorRef, IdentityProviderRow, Metadata};
use uuid::Uuid;

use crate::Failure;
use crate::units::context;

/// An instance of so many events is set up and has its first people.
pub(crate) const SET_UP_EVENTS: i64 = 100;
/// The token of the owner's session.
pub(crate) const OWNER_TOKEN: &str = "bench-owner-0000000000000000000000000000000000000000000000000000";
/// Longer than any measurement, so that nothing runs out while one is going on.
const SESSION_TTL_SECONDS: i64 = 365 * 24 * 3600;

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

/// An instance whose owner is signed in with [`OWNER_TOKEN`]. Where there is no log, one with at least so many events is made up.
pub(crate) async fn ready(place: &Place, events: i64) -> Result<Runtime, Failure> {
    let plan = Plan { events: events.max(SET_UP_EVENTS), seed: DEFAULT_SEED };
    let report = |events, before| {
        if events / 100_000 > before / 100_000 {
            eprintln!("  {events} events");
        }
    };
    match generate::generate(&place.settings()?, plan, report).await {
        Ok(_) => {}
        Err(error) if error.is_not_empty() => {}
        Err(error) => return Err(error.into()),
    }
    let runtime = place.open().await?;
    if runtime.service.authenticate(&context(), OWNER_TOKEN).await.is_err() {
        open_session_of_owner(&runtime.service, OWNER_TOKEN).await?;
    }
    Ok(runtime)
}

/// Opens a session of the owner with this token.
pub(crate) async fn open_session_of_owner(service: &Service, token: &str) -> Result<SessionId, Failure> {
    let owner = generate::owner(service.log.read()).await?;
    let provider = service.log.read().row::<IdentityProviderRow>("", &[]).await?.ok_or("there is no provider")?;
    let now = service.now();
    let opened = SessionEvent::SessionOpened {
        user_id: owner.id,
        token_hash: TokenHash::of(token),
        opened_at: now,
        expires_at: now.plus(SESSION_TTL_SECONDS),
        user_epoch: owner.session_epoch,
        provider_epoch: provider.session_epoch,
    };
    let metadata = Metadata {
        actor: ActorRef::User(owner.id),
        request_id: None,
        unit_id: Uuid::now_v7(),
        command: "sign_in".to_owned(),
        source_address: None,
        user_agent: None,
    };
    let session = SessionId(Uuid::now_v7());
    let stream = StreamId::session(session);
    let event = seal(stream.clone(), 1, Event::from(opened), &metadata, &Keys::new())?;
    let unit = Unit {
        id: metadata.unit_id,
        reads: Vec::new(),
        begun: vec![stream],
        events: vec![event],
        keys_made: Vec::new(),
        keys_destroyed: Vec::new(),
    };
    service.log.append(unit).await?;
    Ok(session)
}
