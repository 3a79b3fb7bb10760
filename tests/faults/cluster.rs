//! A PostgreSQL of a test's own, which it may kill, and whose disk it may fill.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};

use crate::shim::Shim;
use crate::support::TestDatabase;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// How the server is ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// `kill -9` of the postmaster; its children find that it is gone.
    Killed,
    /// All at once, as after a crash.
    Immediate,
    /// In good order, but waiting for nobody.
    Fast,
}

pub struct Cluster {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    /// PostgreSQL does not run as root.
    account: Option<(u32, u32)>,
    port: u16,
    preloaded: Vec<(String, String)>,
    postmaster: Option<Child>,
}

fn id(what: &str, name: &[&str]) -> u32 {
    let output = Command::new("id").arg(what).args(name).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Where the server is that the tests themselves run on.
async fn binaries() -> PathBuf {
    let mut shared = PgConnection::connect(&crate::support::postgres_server()).await.unwrap();
    let sql = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
    let folder: String = sqlx::query_scalar(sql).fetch_one(&mut shared).await.unwrap();
    folder.into()
}

impl Cluster {
    /// Makes one and starts it.
    pub async fn new() -> Self {
        let mut cluster = Self::made().await;
        cluster.start().await;
        cluster
    }

    /// The same with a shim that is compiled into the cluster's folder, where its account can read it.
    pub async fn under(name: &str) -> (Self, Shim) {
        let mut cluster = Self::made().await;
        let place = cluster.folder.path().join("shim");
        fs::create_dir(&place).unwrap();
        // A fault that happens once is taken away by the server.
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let shim = Shim::compile(name, &place);
        cluster.preloaded = shim.environment().map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        cluster.start().await;
        (cluster, shim)
    }

    async fn made() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let account = (id("-u", &[]) == 0).then(|| (id("-u", &["postgres"]), id("-g", &["postgres"])));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster =
            Self { folder, binaries: binaries().await, account, port, preloaded: Vec::new(), postmaster: None };
        for place in ["data", "socket"] {
            let place = cluster.folder.path().join(place);
            fs::create_dir(&place).unwrap();
            if let Some((user, group)) = account {
                chown(&place, Some(user), Some(group)).unwrap();
            }
        }
        let mut command = cluster.command("initdb");
        command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        let done = command.arg(cluster.data()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").current_dir(self.folder.path());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server and waits until it takes connections: for as long as children of one that was killed hold its memory, it
    /// ends at once and is started again.
    pub async fn start(&mut self) {
        let begun = Instant::now();
        loop {
            self.spawn();
            while self.is_running() {
                if let Ok(connection) = PgConnection::connect(&self.url("postgres")).await {
                    drop(connection.close().await);
                    return;
                }
                assert!(begun.elapsed() < STARTS_WITHIN, "{}", fs::read_to_string(self.log()).unwrap());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(begun.elapsed() < STARTS_WITHIN, "{}", fs::read_to_string(self.log()).unwrap());
        }
    }

    fn is_running(&mut self) -> bool {
        self.postmaster.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path().join("socket"));
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=on"]);
        command.args(["-c", "shared_buffers=16MB", "-c", "max_connections=60"]);
        command.envs(self.preloaded.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.postmaster = Some(command.spawn().unwrap());
    }

    /// Ends the server and waits for it.
    pub fn end(&mut self, how: End) {
        let mut postmaster = self.postmaster.take().unwrap();
        let signal = match how {
            End::Killed => "KILL",
            End::Immediate => "QUIT",
            End::Fast => "INT",
        };
        let sent = Command::new("kill").args(["-s", signal, &postmaster.id().to_string()]).status().unwrap();
        assert!(sent.success());
        postmaster.wait().unwrap();
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database in it.
    pub async fn database(&self) -> TestDatabase {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::query("CREATE DATABASE authlog").execute(&mut connection).await.unwrap();
        let (url, folder) = (self.url("authlog"), tempfile::tempdir().unwrap());
        let location = authlog::log::Location::Postgres { url: url.clone().into() };
        TestDatabase { location, url: Some(url), folder }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.postmaster.is_some() {
            self.end(End::Immediate);
        }
    }
}

/// A database that begins as a copy of another, which nobody is connected to, and has the same master key.
pub async fn copy_of(original: &TestDatabase) -> TestDatabase {
    let name = |url: &str| url::Url::parse(url).unwrap().path().trim_start_matches('/').to_owned();
    let original_url = original.url.as_ref().unwrap();
    let copied = format!("t_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&crate::support::postgres_server()).await.unwrap();
    let sql = format!("CREATE DATABASE {copied} TEMPLATE {}", name(original_url));
    sqlx::query(&sql).execute(&mut connection).await.unwrap();
    let mut url = url::Url::parse(original_url).unwrap();
    url.set_path(&copied);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(original.folder.path().join("master.key"), folder.path().join("master.key")).unwrap();
    let location = authlog::log::Location::Postgres { url: url.to_string().into() };
    TestDatabase { location, url: Some(url.to_string()), folder }
}
