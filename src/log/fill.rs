//! Filling an empty log with units of other times, many in one transaction: made-up logs to measure and to test with.
//!
//! Units pass the same checks, folds and hashes as those of the log writer. What is different is that each brings the time at
//! which it is recorded, and that nobody else may write meanwhile.
//!
//! Architecture invariant: only a log that this has begun is filled; one that holds anything is refused.

use aggregates::KeyId;
use projections::KeyedHasher;

use super::connection::{WriteConnection, WriteTarget};
use super::group::{Dated, Group};
use super::keyring::Keyring;
use super::open::{create_instance, hasher_of, migrate, prepare_tables};
use super::reader::Reader;
use super::unit::{AppendError, Unit};
use super::{Beginning, Location, OpenError};
use crate::keys::{Key, MasterKeySource, MasterKeys};

/// A log was not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error("there is a log of {0} events already; name an empty data directory or database")]
    NotEmpty(i64),
    #[error("somebody else writes to this log")]
    NotAlone,
    #[error("the log does not take a unit: {0}")]
    Refused(AppendError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<sqlx::Error> for FillError {
    fn from(error: sqlx::Error) -> Self {
        Self::Open(error.into())
    }
}

/// A unit and the time at which it is recorded.
#[derive(Clone, Debug)]
pub struct PastUnit {
    /// Microseconds since 1970; times run forwards.
    pub recorded_at_micros: i64,
    pub unit: Unit,
}

/// A log that is being filled.
#[derive(Debug)]
pub struct Filling {
    target: WriteTarget,
    connection: WriteConnection,
    keyring: Keyring,
    instance_key: Key,
    hasher: KeyedHasher,
    position: i64,
}

impl Filling {
    /// Makes a log with its first event. On SQLite the caller holds the data directory's lock.
    ///
    /// # Errors
    /// [`FillError::NotEmpty`] when there is one, which stays as it is.
    pub async fn begin(
        location: &Location,
        master_key: &MasterKeySource,
        beginning: &Beginning,
    ) -> Result<Self, FillError> {
        // Before anything is made. A database that does not answer says so again below.
        if let Ok(reader) = Reader::open(location).await {
            is_empty(reader.read_head().await?.position)?;
        }
        let target = location.target()?;
        migrate(&target).await?;
        let mut connection = target.connect().await?;
        is_empty(prepare_tables(&target, &mut connection).await?.position)?;
        let master_keys = MasterKeys::load(master_key, true).map_err(OpenError::from)?;
        let keyring = Keyring::new(master_keys, location.database()?);
        create_instance(&target, &mut connection, &keyring, beginning).await?;
        let instance_key = keyring.read(&KeyId::Instance).await.map_err(OpenError::from)?;
        let instance_key = instance_key.ok_or(OpenError::NoInstanceKey)?;
        let hasher = hasher_of(&instance_key);
        Ok(Self { target, connection, keyring, instance_key, hasher, position: 1 })
    }

    /// Position of the last event.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Makes the keys of persons.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// What the instance's own secrets are sealed with.
    pub fn instance_key(&self) -> &Key {
        &self.instance_key
    }

    /// Writes units in one transaction, in their order.
    ///
    /// # Errors
    /// When one is not taken, those before it may be in the log: it is of no use any more.
    pub async fn write(&mut self, units: &[PastUnit]) -> Result<(), FillError> {
        let head = self.connection.begin_with_head().await?;
        if head.position != self.position {
            self.connection.rollback().await?;
            return Err(FillError::NotAlone);
        }
        let dated = units.iter().map(|past| Dated { unit: &past.unit, at_micros: past.recorded_at_micros });
        let dialect = self.target.dialect();
        let connection = &mut self.connection;
        let group = Group { connection, head, dialect, hasher: &self.hasher, without_audit: false };
        let written = group.write(&dated.collect::<Vec<_>>()).await.map_err(OpenError::from)?;
        for outcome in written.outcomes {
            outcome.map_err(FillError::Refused)?;
        }
        self.position = written.head.position;
        Ok(())
    }

    /// Lets the database go.
    pub async fn end(self) {
        self.connection.close().await;
    }
}

fn is_empty(position: i64) -> Result<(), FillError> {
    if position > 0 { Err(FillError::NotEmpty(position)) } else { Ok(()) }
}
