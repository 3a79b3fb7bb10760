//! The real service in this process, on a database of its own.

use std::collections::BTreeMap;

use authlog::log::rebuild::rebuild;
use authlog::log::{Keyring, Layout, Reader};
use authlog::oidc::{EmailVerified, IssuerUrl, VerifiedIdentity};
use authlog::replay::{ReplayError, check};
use authlog::runtime::Runtime;
use authlog::service::{CallContext, Service};
use authlog::settings::{GlobalArgs, Settings};
use projections::{IdentityProviderRow, KeyedHasher, TABLES};
use sqlx::Connection as _;

use crate::support::{Backend, TestDatabase};

pub struct World {
    pub database: TestDatabase,
    runtime: Option<Runtime>,
}

impl World {
    pub async fn new(backend: Backend) -> Self {
        let mut world = Self { database: TestDatabase::new(backend).await, runtime: None };
        world.open().await;
        world
    }

    pub fn settings(&self) -> Settings {
        let global = GlobalArgs {
            data_dir: Some(self.database.folder.path().display().to_string()),
            database_url: self.database.url.clone().map(Into::into),
            config: None,
        };
        Settings::load(&global, None, [], self.database.folder.path()).unwrap()
    }

    pub async fn open(&mut self) {
        self.runtime = Some(Runtime::open(self.settings()).await.unwrap());
    }

    /// Stops the service as a shutdown does.
    pub async fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.close().await;
        }
    }

    pub fn service(&self) -> &Service {
        &self.runtime.as_ref().unwrap().service
    }

    /// The version of the provider's configuration in force.
    pub async fn provider_version(&self) -> u64 {
        let row = self.service().log.read().row::<IdentityProviderRow>("", &[]).await.unwrap();
        row.map_or(0, |row| row.version)
    }

    /// Stops the service, lets `damage` happen to the database, and rebuilds the read models named.
    pub async fn rebuild_after(&mut self, damage: &[String], names: &[&str]) {
        let (keyring, hasher) = self.keys();
        self.close().await;
        for statement in damage {
            execute(&self.database, statement).await.unwrap();
        }
        rebuild(&self.database.location, &keyring, &hasher, names).await.unwrap();
    }

    pub fn keys(&self) -> (Keyring, KeyedHasher) {
        let log = &self.service().log;
        (log.keyring().clone(), log.hasher().clone())
    }
}

/// The names of all read models.
pub fn all_names() -> Vec<&'static str> {
    TABLES.iter().map(|table| table.name).collect()
}

/// Every row of every read model as JSON text, in key order.
pub async fn tables(database: &TestDatabase) -> BTreeMap<&'static str, Vec<String>> {
    let reader = Reader::open(&database.location).await.unwrap();
    let (layout, mut tables) = (layout(database).await, BTreeMap::new());
    for table in TABLES {
        let select =
            reader.database().dialect().select_rows(table, &format!("{}_{}", table.name, layout.set_of(table.name)));
        let rows = reader.database().texts(&format!("{select} ORDER BY t.{}", table.key), &[]).await.unwrap();
        tables.insert(table.name, rows);
    }
    reader.database().close().await;
    tables
}

pub async fn layout(database: &TestDatabase) -> Layout {
    let reader = Reader::open(&database.location).await.unwrap();
    let layout = reader.read_head().await.unwrap().layout;
    reader.database().close().await;
    layout
}

/// Runs a statement past the service.
pub async fn execute(database: &TestDatabase, statement: &str) -> sqlx::Result<()> {
    if let Some(url) = &database.url {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        sqlx::query(statement).execute(&mut connection).await?;
        return connection.close().await;
    }
    let file = database.folder.path().join("authlog.db");
    let mut connection = sqlx::SqliteConnection::connect(&file.display().to_string()).await?;
    sqlx::query(statement).execute(&mut connection).await?;
    connection.close().await
}

/// What a check of the log finds, and up to which position it looked.
pub async fn findings(service: &Service) -> (Vec<String>, i64) {
    let mut found = Vec::new();
    let mut keep = |finding| {
        found.push(format!("{finding:?}"));
        Ok::<(), ReplayError>(())
    };
    let checked = check(&service.log.past(), &mut keep, &|_| {}).await.unwrap();
    (found, checked.position)
}

/// Where calls come from, so that there is something to seal for persons and for strangers.
pub fn context() -> CallContext {
    CallContext {
        request_id: None,
        source_address: Some("203.0.113.7".to_owned()),
        user_agent: Some("\\N Prüfbrowser/1\t(\\t)".to_owned()),
    }
}

/// What the provider vouches for.
pub fn identity(issuer: &str, subject: &str, email: Option<&str>, name: Option<&str>) -> VerifiedIdentity {
    VerifiedIdentity {
        issuer: IssuerUrl::parse(issuer).unwrap(),
        subject: subject.to_owned(),
        email: email.map(str::to_owned),
        email_verified: if email.is_some() { EmailVerified::True } else { EmailVerified::Absent },
        name: name.map(str::to_owned),
        picture: None,
    }
}
