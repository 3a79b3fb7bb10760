//! Puts the service together from its settings.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::Semaphore;

use crate::backup::restore::{BackError, Backup, Restored};
use crate::clock::Clock;
use crate::data_dir::{DataDir, DataDirError, DataDirLock};
use crate::keys::MasterKeySource;
use crate::log::fill::{FillError, Filling};
use crate::log::past::Past;
use crate::log::rebuild::Progress;
use crate::log::{self, Beginning, Location, OpenError, WriterHandle};
use crate::oidc::{OidcClient, OidcError, OidcOptions};
use crate::service::refusals::Refusals;
use crate::service::{Memory, Parts, Service};
use crate::settings::{Database, Settings, limits};

/// A service that may write, and what has to be kept or waited for.
pub struct Runtime {
    pub service: Service,
    pub writer: WriterHandle,
    /// On SQLite: the right to write to the data directory.
    pub lock: Option<DataDirLock>,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error("{error}: {}", with_causes(.error))]
    Oidc { error: OidcError },
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Where the settings put the log.
pub fn location(settings: &Settings) -> Location {
    match &settings.database {
        Database::Sqlite { .. } => Location::Sqlite { file: data_dir(settings).database_file() },
        Database::Postgres(url) => Location::Postgres { url: SecretString::from(url.expose().to_owned()) },
    }
}

/// The data directory of the settings.
pub fn data_dir(settings: &Settings) -> DataDir {
    DataDir::new(settings.data_dir.clone())
}

/// The log of the settings, for looking back.
///
/// # Errors
/// One clear line.
pub async fn past(settings: &Settings) -> Result<Past, OpenError> {
    Past::open(&location(settings), &master_key(settings)).await
}

/// Makes a log where the settings put one, to be filled with units of other times.
///
/// # Errors
/// One clear line; [`FillError::NotEmpty`] when there is a log.
pub async fn fill(settings: &Settings, beginning: &Beginning) -> Result<(Filling, Option<DataDirLock>), RuntimeError> {
    let lock = take_data_dir(settings)?;
    let filling = Filling::begin(&location(settings), &master_key(settings), beginning).await?;
    Ok((filling, lock))
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreIntoError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Back(#[from] BackError),
}

/// Restores a backup where the settings put a log and there is none. On SQLite a database is made beside that place and put there
/// when it is whole.
///
/// # Errors
/// One clear line; nothing is there then.
pub async fn restore(
    settings: &Settings,
    backup: Backup,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<Restored, RestoreIntoError> {
    let master_key = master_key(settings);
    if matches!(settings.database, Database::Postgres(_)) {
        return Ok(backup.restore(&location(settings), &master_key, report).await?);
    }
    let data = data_dir(settings);
    data.create()?;
    let _lock = data.lock()?;
    if data.has_database() {
        return Err(DataDirError::Occupied { path: data.path().to_owned() }.into());
    }
    data.create_restored_file()?;
    let beside = Location::Sqlite { file: data.restored_file() };
    match backup.restore(&beside, &master_key, report).await {
        Ok(restored) => {
            data.put_restored_in_place()?;
            Ok(restored)
        }
        Err(error) => {
            data.discard_restored()?;
            Err(error.into())
        }
    }
}

/// Makes the data directory and, on SQLite, takes the right to write to it.
fn take_data_dir(settings: &Settings) -> Result<Option<DataDirLock>, DataDirError> {
    let data = data_dir(settings);
    data.create()?;
    if matches!(settings.database, Database::Postgres(_)) {
        return Ok(None);
    }
    let lock = data.lock()?;
    data.create_database_file()?;
    Ok(Some(lock))
}

/// The master key's place: `env:NAME` names an environment variable, anything else a file.
pub fn master_key(settings: &Settings) -> MasterKeySource {
    match &settings.master_key_file {
        None => MasterKeySource::File(data_dir(settings).master_key_file()),
        Some(path) => match path.to_str().and_then(|text| text.strip_prefix("env:")) {
            Some(variable) => MasterKeySource::Environment(variable.to_owned()),
            None => MasterKeySource::File(path.clone()),
        },
    }
}

impl Runtime {
    /// Opens the log for writing and everything that stands on it.
    ///
    /// # Errors
    /// One clear line. [`DataDirError::Busy`] when another process writes to the same SQLite directory.
    pub async fn open(settings: Settings) -> Result<Self, RuntimeError> {
        let lock = take_data_dir(&settings)?;
        let options = OidcOptions { ca_file: settings.ca_file.clone(), ..OidcOptions::default() };
        let oidc = OidcClient::new(&options).map_err(|error| RuntimeError::Oidc { error })?;
        let memory = Arc::new(Memory::default());
        let observer = Arc::clone(&memory);
        let (log, writer) = log::open(&location(&settings), &master_key(&settings), Clock, observer).await?;
        let service = Service::from(Parts {
            log,
            oidc: Arc::new(oidc),
            settings: Arc::new(settings),
            clock: Clock,
            memory,
            streams: Arc::default(),
            refusals: Refusals::default(),
            followers: Arc::new(Semaphore::new(limits::AUDIT_STREAMS)),
            looks_back: Arc::new(Semaphore::new(limits::LOOKS_BACK)),
        });
        Ok(Self { service, writer, lock })
    }

    /// Lets the writer finish what it was given, then gives the directory back.
    pub async fn close(self) {
        let Self { service, writer, lock } = self;
        drop(service);
        writer.finished().await;
        drop(lock);
    }
}
