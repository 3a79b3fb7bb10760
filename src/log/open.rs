//! Opening a log for writing: migrations, keys, the first event, the writer.

use std::path::PathBuf;
use std::sync::Arc;

use aggregates::{Event, InstanceId, KeyId, SetupEvent, StreamId};
use projections::{ActorRef, KeyedHasher, Metadata, TABLES};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

use super::beside::Beside;
use super::codec::{self, CodecError, Keys};
use super::connection::{WriteConnection, WriteTarget, postgres_options, sqlite_options};
use super::database::{Database, POSTGRES_CONNECTIONS, SQLITE_READERS};
use super::group::{Dated, Group, GroupError};
use super::head::Head;
use super::keyring::{Keyring, KeyringError};
use super::nodes::Nodes;
use super::reader::{Reader, read_head};
use super::rebuild::{Company, RebuildError, drop_leftovers, is_outdated, next_set, rebuild_outdated};
use super::unit::{AppendError, StreamVersion, Unit};
use super::wipe::Remains;
use super::writer::{CommitObserver, QUEUED_UNITS, Writer, count_aside};
use super::{Log, WriterHandle};
use crate::clock::Clock;
use crate::keys::{InstanceKeys, Key, MasterKeyError, MasterKeySource, MasterKeys};

/// Where a log lives.
#[derive(Clone, Debug)]
pub enum Location {
    /// A file in the data directory.
    Sqlite {
        file: PathBuf,
    },
    Postgres {
        url: SecretString,
    },
}

/// How a log begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    pub instance_id: InstanceId,
    /// Of the unit of the first event.
    pub unit_id: Uuid,
    /// When that is recorded, in microseconds since 1970.
    pub at_micros: i64,
}

impl Beginning {
    fn now(clock: &Clock) -> Self {
        Self { instance_id: InstanceId(Uuid::now_v7()), unit_id: Uuid::now_v7(), at_micros: clock.now_micros() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database cannot be used: {0}")]
    Store(#[from] sqlx::Error),
    #[error("the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the key of the instance is missing from the database")]
    NoInstanceKey,
    #[error("the first event cannot be written: {0}")]
    FirstEvent(AppendError),
    #[error("the read models of another version cannot be rebuilt: {0}")]
    Rebuild(#[from] RebuildError),
    #[error("a later release of authlog has written to this database; start that release, or a newer one")]
    LaterRelease,
    #[error("the thread that writes cannot be started: {0}")]
    Writer(#[from] std::io::Error),
}

impl From<GroupError> for OpenError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Store(error) | GroupError::Audit(error) | GroupError::CommitLost { error, .. } => {
                Self::Store(error)
            }
            GroupError::Superseded => Self::LaterRelease,
        }
    }
}

impl Location {
    pub(super) fn target(&self) -> sqlx::Result<WriteTarget> {
        match self {
            Self::Sqlite { file } => Ok(WriteTarget::Sqlite(file.clone())),
            Self::Postgres { url } => {
                postgres_options(url.expose_secret()).map(|options| WriteTarget::Postgres(Box::new(options)))
            }
        }
    }

    /// Connects and lets go again, for whoever wants to know at once why that is not possible.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn reach(&self) -> sqlx::Result<()> {
        self.target()?.connect().await?.close().await;
        Ok(())
    }

    /// The database, for reading only.
    ///
    /// # Errors
    /// When the URL is not one of PostgreSQL.
    pub fn database(&self) -> sqlx::Result<Database> {
        match self {
            Self::Sqlite { file } => Ok(Database::sqlite(file, SQLITE_READERS)),
            Self::Postgres { url } => Database::postgres(url.expose_secret(), POSTGRES_CONNECTIONS),
        }
    }

    /// One connection of its own, for whoever asks whether the database is there and must not wait behind others.
    fn probe(&self) -> sqlx::Result<Database> {
        match self {
            Self::Sqlite { file } => Ok(Database::sqlite(file, 1)),
            Self::Postgres { url } => Database::postgres(url.expose_secret(), 1),
        }
    }
}

/// Opens a log for writing; makes it if it is not there. Read models that another version of their fold filled are rebuilt
/// first. On SQLite the caller holds the data directory's lock.
///
/// # Errors
/// An [`OpenError`] with one clear line.
pub async fn open(
    location: &Location,
    master_key: &MasterKeySource,
    clock: Clock,
    observer: Arc<dyn CommitObserver>,
) -> Result<(Log, WriterHandle), OpenError> {
    let target = location.target()?;
    migrate(&target).await?;
    let mut connection = target.connect().await?;
    let head = prepare_tables(&target, &mut connection).await?;
    let database = location.database()?;
    let keyring = Keyring::new(MasterKeys::load(master_key, head.position == 0)?, database.clone());
    if head.layout.is_of_later_release() {
        return Err(OpenError::LaterRelease);
    }
    if head.position == 0 {
        create_instance(&target, &mut connection, &keyring, &Beginning::now(&clock)).await?;
    }
    // Another node may have made the instance, or exchange the master key.
    keyring.use_master(&read_head(&database).await?.master_key)?;
    let instance_key = keyring.read(&KeyId::Instance).await?.ok_or(OpenError::NoInstanceKey)?;
    let instance_keys = InstanceKeys::derive(&instance_key);
    let hasher = KeyedHasher::new(instance_keys.unique.bytes());
    let head = if TABLES.into_iter().any(|table| is_outdated(&head.layout, table)) {
        tracing::info!("read models were filled by another version of authlog; rebuilding them from the log");
        rebuild_outdated(&target, &keyring, &hasher).await?.head
    } else {
        head
    };
    // Of a rebuild that was cut off. What cannot be dropped now is tried again with the next erasure.
    if let Err(error) = drop_leftovers(Company::NONE, &target).await {
        tracing::warn!(%error, "tables that are not in force could not be dropped");
    }

    count_aside(&head.layout);
    let (queue, jobs) = mpsc::channel(QUEUED_UNITS);
    let (head_sender, head_receiver) = watch::channel(head.position.max(1));
    let gate = Arc::new(Mutex::new(()));
    let beside = Beside::new(target.clone(), Arc::clone(&gate));
    let nodes = matches!(location, Location::Postgres { .. })
        .then(|| Arc::new(Nodes::new(database.clone(), beside.clone(), head.position)));
    let writer = Writer {
        target,
        connection: None,
        hasher: hasher.clone(),
        clock,
        observer,
        nodes: nodes.clone(),
        head: head_sender,
        gate,
    };
    connection.close().await;
    let handle = writer.start(jobs)?;
    let log = Log {
        reader: Reader::new(database, head.layout),
        probe: location.probe()?,
        keyring,
        hasher,
        instance_keys: Arc::new(instance_keys),
        beside,
        queue,
        head: head_receiver,
        nodes,
        rebuilding: Arc::default(),
        rotating: Arc::default(),
        remains: Remains::default(),
    };
    Ok((log, handle))
}

/// Brings the schema up to date. Nodes that start together wait for each other: on PostgreSQL by an advisory lock, on SQLite
/// there is only one.
pub(super) async fn migrate(target: &WriteTarget) -> Result<(), OpenError> {
    match target {
        WriteTarget::Sqlite(file) => {
            let mut connection = sqlite_options(file).connect().await?;
            sqlx::migrate!("migrations/sqlite").run(&mut connection).await?;
            connection.close().await?;
        }
        WriteTarget::Postgres(options) => {
            let mut connection = options.connect().await?;
            sqlx::migrate!("migrations/postgres").run(&mut connection).await?;
            connection.close().await?;
        }
    }
    Ok(())
}

/// Makes the read models' tables in an empty log. In any other they are there, or are rebuilt once the keys are at hand.
pub(super) async fn prepare_tables(target: &WriteTarget, connection: &mut WriteConnection) -> Result<Head, OpenError> {
    let dialect = target.dialect();
    let mut head = connection.begin_with_head().await?;
    if head.position > 0 {
        connection.rollback().await?;
        return Ok(head);
    }
    for table in TABLES.into_iter().filter(|table| is_outdated(&head.layout, table)).collect::<Vec<_>>() {
        let state = next_set(&head.layout, table);
        for statement in dialect.create(table, state.set) {
            connection.simple(&statement).await?;
        }
        head.layout.0.insert(table.name.to_owned(), state);
    }
    let argument = head.encode().map_err(|error| sqlx::Error::Decode(error.into()))?;
    connection.run(dialect.set_head(), &argument).await?;
    connection.commit().await?;
    Ok(head)
}

/// Writes the first event of the log together with the instance's key. When another node was faster, its instance stands.
pub(super) async fn create_instance(
    target: &WriteTarget,
    connection: &mut WriteConnection,
    keyring: &Keyring,
    beginning: &Beginning,
) -> Result<(), OpenError> {
    let (instance_key, wrapped) = keyring.make(&KeyId::Instance)?;
    let unit = first_unit(beginning, wrapped)?;
    let hasher = hasher_of(&instance_key);
    let mut head = connection.begin_with_head().await?;
    if head.position == 0 {
        head.master_key = keyring.in_force();
        let argument = head.encode().map_err(|error| sqlx::Error::Decode(error.into()))?;
        connection.run(target.dialect().set_head(), &argument).await?;
    }
    let group = Group { connection, head, dialect: target.dialect(), hasher: &hasher, without_audit: false };
    let written = group.write(&[Dated { unit: &unit, at_micros: beginning.at_micros }]).await?;
    match written.outcomes.into_iter().next() {
        Some(Ok(_) | Err(AppendError::Moved(_))) | None => Ok(()),
        Some(Err(error)) => Err(OpenError::FirstEvent(error)),
    }
}

pub(super) fn hasher_of(instance_key: &Key) -> KeyedHasher {
    KeyedHasher::new(InstanceKeys::derive(instance_key).unique.bytes())
}

fn first_unit(beginning: &Beginning, wrapped_instance_key: String) -> Result<Unit, CodecError> {
    let id = beginning.unit_id;
    let metadata = Metadata {
        actor: ActorRef::System,
        request_id: None,
        unit_id: id,
        command: "create_instance".to_owned(),
        source_address: None,
        user_agent: None,
    };
    let event = Event::from(SetupEvent::InstanceCreated { instance_id: beginning.instance_id });
    let sealed = codec::seal(StreamId::setup(), 1, event, &metadata, &Keys::new())?;
    Ok(Unit {
        id,
        reads: vec![StreamVersion { stream: StreamId::setup(), version: 0 }],
        begun: Vec::new(),
        events: vec![sealed],
        keys_made: vec![(KeyId::Instance, wrapped_instance_key)],
        keys_destroyed: Vec::new(),
    })
}
