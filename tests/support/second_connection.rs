//! A second connection to a test's database, for what an operator with a shell could do to it: damage it, lock it, take it away.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection};

use super::{Location, TestDatabase, postgres_server};

/// A connection that is nobody's but the test's.
pub enum SecondConnection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl SecondConnection {
    pub async fn open(database: &TestDatabase) -> Self {
        match (&database.location, &database.url) {
            (_, Some(url)) => Self::Postgres(PgConnection::connect(url).await.unwrap()),
            (Location::Sqlite { file }, None) => {
                Self::Sqlite(SqliteConnectOptions::new().filename(file).connect().await.unwrap())
            }
            (Location::Postgres { .. }, None) => panic!("a PostgreSQL database without its URL"),
        }
    }

    /// Runs a statement without arguments; answers how many rows it touched.
    pub async fn run(&mut self, sql: &str) -> u64 {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same of a statement that may be refused.
    pub async fn try_run(&mut self, sql: &str) -> sqlx::Result<u64> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(|done| done.rows_affected()),
            Self::Postgres(connection) => connection.execute(sql).await.map(|done| done.rows_affected()),
        }
    }

    /// Locks the log against every other writer, until [`SecondConnection::let_go`].
    pub async fn hold_the_log(&mut self) {
        match self {
            Self::Sqlite(_) => self.run("BEGIN IMMEDIATE").await,
            Self::Postgres(_) => {
                self.run("BEGIN").await;
                self.run("SELECT 1 FROM log_head FOR UPDATE").await
            }
        };
    }

    pub async fn let_go(&mut self) {
        self.run("ROLLBACK").await;
    }
}

impl TestDatabase {
    /// Runs one statement beside the service; answers how many rows it touched.
    pub async fn sql(&self, sql: &str) -> u64 {
        SecondConnection::open(self).await.run(sql).await
    }

    /// Writes something else into the log's payloads, as only the owner of the database can: past the trigger that forbids it.
    /// Answers how many events it touched.
    pub async fn forge(&self, written: &str, forged: &str) -> u64 {
        let mut connection = SecondConnection::open(self).await;
        match &connection {
            SecondConnection::Sqlite(_) => {
                connection.run("DROP TRIGGER events_never_change").await;
                let sql = format!(
                    "UPDATE events SET payload = replace(payload, '{written}', '{forged}') WHERE instr(payload, '{written}') > 0"
                );
                connection.run(&sql).await
            }
            SecondConnection::Postgres(_) => {
                connection.run("ALTER TABLE events DISABLE TRIGGER events_never_change").await;
                let sql = format!(
                    "UPDATE events SET payload = replace(payload::text, '{written}', '{forged}')::json \
                     WHERE strpos(payload::text, '{written}') > 0"
                );
                connection.run(&sql).await
            }
        }
    }

    /// Takes one event out of the log, as only the owner of the database can.
    pub async fn cut_out(&self, position: i64) {
        let mut connection = SecondConnection::open(self).await;
        connection
            .run(match &connection {
                SecondConnection::Sqlite(_) => "DROP TRIGGER events_never_vanish",
                SecondConnection::Postgres(_) => "ALTER TABLE events DISABLE TRIGGER events_never_change",
            })
            .await;
        assert_eq!(connection.run(&format!("DELETE FROM events WHERE position = {position}")).await, 1);
    }

    /// Takes the whole database away from the service: PostgreSQL ends and refuses its connections; a SQLite file
    /// loses every table that the service asks for.
    pub async fn take_away(&self) {
        match self.postgres_name() {
            Some(name) => {
                let mut server = PgConnection::connect(&postgres_server()).await.unwrap();
                server.execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false").as_str()).await.unwrap();
                let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
                server.execute(end.as_str()).await.unwrap();
            }
            None => self.rename_tables("", "_away").await,
        }
    }

    /// Gives back what [`TestDatabase::take_away`] took.
    pub async fn give_back(&self) {
        match self.postgres_name() {
            Some(name) => {
                let mut server = PgConnection::connect(&postgres_server()).await.unwrap();
                server.execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true").as_str()).await.unwrap();
            }
            None => self.rename_tables("_away", "").await,
        }
    }

    fn postgres_name(&self) -> Option<String> {
        let url = url::Url::parse(self.url.as_deref()?).unwrap();
        Some(url.path().trim_start_matches('/').to_owned())
    }

    async fn rename_tables(&self, from: &str, to: &str) {
        let mut connection = SecondConnection::open(self).await;
        for table in ["setup_1", "sessions_1", "users_1", "log_head", "pending_requests"] {
            connection.run(&format!("ALTER TABLE {table}{from} RENAME TO {table}{to}")).await;
        }
    }
}
