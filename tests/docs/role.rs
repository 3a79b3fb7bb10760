//! The runtime role of `docs/operations.md`: the SQL is run as it stands there.

use authlog::log::Location;
use devidp::DevIdp;
use sqlx::{Connection as _, Executor as _, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::markdown::text_of;
use crate::support::server::{Server, run};
use crate::support::{TestDatabase, postgres_server};

const PAGE: &str = "docs/operations.md";

/// Roles belong to the whole cluster, so the page's names become names of this run.
struct Names {
    run: String,
}

impl Names {
    fn in_sql(&self, kind: &str) -> String {
        let sql = text_of(PAGE, kind);
        assert!(!sql.is_empty(), "{PAGE} has no block of the kind {kind}");
        let database = format!("DATABASE {} OWNER", self.database());
        sql.replace("DATABASE authlog OWNER", &database)
            .replace("authlog_owner", &self.owner())
            .replace("authlog_run", &self.service())
    }

    fn owner(&self) -> String {
        format!("owner_{}", self.run)
    }

    fn service(&self) -> String {
        format!("service_{}", self.run)
    }

    /// Where the cluster asks for a password, the roles get the superuser's.
    fn passwords(&self) -> String {
        let server = Url::parse(&postgres_server()).unwrap();
        let Some(password) = server.password() else { return String::new() };
        [self.owner(), self.service()].map(|role| format!("ALTER ROLE {role} PASSWORD '{password}';")).concat()
    }

    fn database(&self) -> String {
        format!("docs_{}", self.run)
    }

    fn url(&self, role: &str) -> String {
        let mut url = Url::parse(&postgres_server()).unwrap();
        url.set_username(role).unwrap();
        url.set_path(&self.database());
        url.to_string()
    }
}

async fn run_sql(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
        connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_role_of_the_docs_serves_and_cannot_change_the_log() {
    let names = Names { run: Uuid::now_v7().simple().to_string() };
    let folder = tempfile::tempdir().unwrap();
    run_sql(&postgres_server(), &names.in_sql("sql roles")).await;

    run_sql(&postgres_server(), &names.passwords()).await;

    let owner = text_of(PAGE, "sh owner").replace("\"$OWNER_URL\"", &names.url(&names.owner()));
    let words: Vec<&str> = owner.split_whitespace().skip(1).collect();
    let flags = ["--data-dir".to_owned(), folder.path().display().to_string()];
    let (code, _, stderr) = run(&flags, &words).await;
    assert_eq!(code, 0, "{stderr}");
    run_sql(&names.url(&names.owner()), &names.in_sql("sql grants")).await;

    let url = names.url(&names.service());
    let database =
        TestDatabase { location: Location::Postgres { url: url.clone().into() }, url: Some(url.clone()), folder };
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let mut server = Server::start(&database).await;
    let session = server.set_up(&provider).await;
    server.join(&session, "bob", "developer").await;
    assert!(server.events().await.len() > 10);

    let mut connection = PgConnection::connect(&url).await.unwrap();
    for forbidden in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "DROP TRIGGER events_never_change ON events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TABLE events",
    ] {
        let refused = connection.execute(forbidden).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        // insufficient_privilege: refused before any trigger is asked.
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
    // Tables of the other role are emptied, or replaced so that the service can read them.
    let count = async |table: &str| {
        let url = names.url(&names.owner());
        let mut owner = PgConnection::connect(&url).await.unwrap();
        let count: i64 =
            sqlx::query_scalar(&format!("SELECT count(*) FROM {table}")).fetch_one(&mut owner).await.unwrap();
        count
    };
    assert_eq!(count("users_1").await, 2);
    // As a rebuild of the owner leaves it that was cut off.
    run_sql(&names.url(&names.owner()), "CREATE TABLE users_2 AS SELECT * FROM users_1").await;
    for (url, tables) in [(&url, 3), (&names.url(&names.owner()), 1)] {
        let flags = ["--data-dir", database.folder.path().to_str().unwrap(), "--database-url", url].map(str::to_owned);
        let (code, _, stderr) = run(&flags, &["projections", "rebuild", "users", "sessions"]).await;
        assert_eq!(code, 0, "{stderr}");
        server.get("/v1/users", Some(&session)).await.ok(200);
        let left = connection.fetch_all("SELECT tablename FROM pg_tables WHERE tablename ~ '^users_'").await.unwrap();
        assert_eq!(left.len(), tables);
        if tables == 3 {
            assert_eq!((count("users_1").await, count("users_2").await), (0, 0));
        }
    }
    connection.close().await.unwrap();
    assert_eq!(server.stop().await, 0);
    let clean = format!(
        "DROP DATABASE {} WITH (FORCE); DROP ROLE {}; DROP ROLE {}",
        names.database(),
        names.service(),
        names.owner()
    );
    run_sql(&postgres_server(), &clean).await;
}
