//! What the black-box tests share: databases of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "each test binary uses a part of it")]

pub mod forgery;
pub mod model;
pub mod odd;
pub mod proxy;
pub mod rules;
pub mod second_connection;
pub mod server;
pub mod tables;

use std::path::PathBuf;

use authlog::log::Location;
use sqlx::Connection as _;
use tempfile::TempDir;

/// A database that one test has for itself; dropped with it.
pub struct TestDatabase {
    pub location: Location,
    /// What `--database-url` takes; `None` for SQLite.
    pub url: Option<String>,
    pub folder: TempDir,
}

/// Which database a case runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The superuser URL of the cluster that `cargo xtask test` starts; `cargo xtask postgres` starts one for a single test.
pub fn postgres_server() -> String {
    std::env::var("AUTHLOG_TEST_POSTGRES").expect(
        "AUTHLOG_TEST_POSTGRES names no server: run `cargo xtask test`, or `cargo xtask postgres -- cargo nextest run`",
    )
}

impl TestDatabase {
    pub async fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        match backend {
            Backend::Sqlite => {
                let file: PathBuf = folder.path().join("authlog.db");
                Self { location: Location::Sqlite { file }, url: None, folder }
            }
            Backend::Postgres => {
                let url = create_postgres_database().await;
                let location = Location::Postgres { url: url.clone().into() };
                Self { location, url: Some(url), folder }
            }
        }
    }
}

async fn create_postgres_database() -> String {
    let server = postgres_server();
    let name = format!("t_{}", uuid::Uuid::now_v7().simple());
    let mut connection = sqlx::PgConnection::connect(&server).await.unwrap();
    sqlx::query(&format!("CREATE DATABASE {name}")).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    url.to_string()
}

/// Makes a module with one test for each database from an async function that takes a [`Backend`].
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::support::Backend::Sqlite).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::support::Backend::Postgres).await;
            })+
        }
    };
}
