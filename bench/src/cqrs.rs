//! The framework to compare with, as its own documentation puts it together: `CqrsFramework::execute` over sqlite-es or
//! postgres-es, on their own tables, with a pool of 32.
//!
//! It decides the same command on the same aggregate and stores the same texts: the address is sealed beforehand, and so are
//! source address and user agent, so that none of that costs it time. It keeps no read model, checks no other stream, gives no
//! position and takes no hash. SQLite runs with `synchronous=FULL` as ours does, not with the `NORMAL` of its default pool.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aggregates::{Actor, Credential, KeyId, Protected, Role, SessionId, User, UserCommand, UserId};
use authlog::keys::Key;
use cqrs_es::CqrsFramework;
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use postgres_es::postgres_cqrs;
use sqlite_es::sqlite_cqrs;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Executor as _};
use uuid::Uuid;

use crate::Failure;
use crate::units::{UnitsArgs, context, measure};

const POOL: u32 = 32;
/// Longer than a caller ever waited; a shorter one turns waiting into errors.
const WAIT: Duration = Duration::from_secs(60);

/// The table of sqlite-es' own migrations.
const SQLITE_TABLE: &str = "CREATE TABLE IF NOT EXISTS events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
    sequence integer CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL, \
    payload text NOT NULL, metadata text NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence)) STRICT";
/// The table of postgres-es' own `init.sql`.
const POSTGRES_TABLE: &str = "CREATE TABLE IF NOT EXISTS events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
    sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL, \
    payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

pub(crate) async fn by_framework(args: UnitsArgs) -> Result<(), Failure> {
    match &args.place.database_url {
        None => {
            std::fs::create_dir_all(&args.place.data_dir)?;
            let options = SqliteConnectOptions::new()
                .filename(args.place.data_dir.join("framework.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(WAIT)
                .disable_statement_logging();
            let pool =
                SqlitePoolOptions::new().max_connections(POOL).acquire_timeout(WAIT).connect_with(options).await?;
            pool.execute(SQLITE_TABLE).await?;
            invite(&args, sqlite_cqrs(pool, Vec::new(), ())).await
        }
        Some(url) => {
            let options =
                url.parse::<PgConnectOptions>()?.options([("synchronous_commit", "on")]).disable_statement_logging();
            let pool = PgPoolOptions::new().max_connections(POOL).acquire_timeout(WAIT).connect_with(options).await?;
            pool.execute(POSTGRES_TABLE).await?;
            invite(&args, postgres_cqrs(pool, Vec::new(), ())).await
        }
    }
}

async fn invite<R>(
    args: &UnitsArgs,
    framework: CqrsFramework<User, PersistedEventStore<R, User>>,
) -> Result<(), Failure>
where
    R: PersistedEventRepository + Send + Sync + 'static,
{
    let framework = Arc::new(framework);
    let sealed = Sealed::new()?;
    let call = move || {
        let (framework, sealed) = (Arc::clone(&framework), sealed.clone());
        async move {
            let id = UserId(Uuid::now_v7());
            let command = sealed.command(id);
            framework.execute_with_metadata(&id.to_string(), command, sealed.metadata()).await?;
            Ok(())
        }
    };
    measure(args, call).await
}

/// Texts as our log would have sealed them.
#[derive(Clone)]
struct Sealed {
    actor: Actor,
    address: String,
    source_address: String,
    user_agent: String,
}

impl Sealed {
    fn new() -> Result<Self, Failure> {
        let key = Key::random()?;
        let seal = |text: &str| key.seal(b"bench", text.as_bytes());
        let user_id = UserId(Uuid::now_v7());
        let credential = Credential::Session(SessionId(Uuid::now_v7()));
        let prefix = KeyId::Person(user_id).to_string();
        let context = context();
        Ok(Self {
            actor: Actor { user_id, role: Role::Owner, credential },
            address: seal(&format!("{}@bench.example", Uuid::now_v7().simple()))?,
            source_address: format!("{prefix}:{}", seal(&context.source_address.unwrap_or_default())?),
            user_agent: format!("{prefix}:{}", seal(&context.user_agent.unwrap_or_default())?),
        })
    }

    fn command(&self, user: UserId) -> UserCommand {
        let address = Protected::Sealed { key: KeyId::Person(user), sealed: self.address.clone() };
        UserCommand::Invite { actor: self.actor, address, role: Role::QaViewer }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let pairs = [
            ("actor", format!("user/{}", self.actor.user_id)),
            ("request_id", Uuid::now_v7().to_string()),
            ("unit_id", Uuid::now_v7().to_string()),
            ("command", "invite_user".to_owned()),
            ("source_address", self.source_address.clone()),
            ("user_agent", self.user_agent.clone()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
