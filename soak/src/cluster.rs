//! The PostgreSQL server: started, killed, and started again. How to start it says whoever made its folder.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::{Child, Command};
use url::Url;

use crate::Failure;
use crate::signal;

/// Also for recovery after a crash, on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A cluster that was made and is not served: what `xtask` writes down.
#[derive(Clone, Deserialize)]
pub(crate) struct Made {
    /// The program and its arguments.
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    /// Root steps down to this account.
    user: Option<u32>,
    group: Option<u32>,
    /// The superuser's.
    url: String,
    /// Its first line is the server's process, its eighth says `ready`. It stays when a server is killed, and keeps the next one
    /// from starting beside children of the killed one.
    state_file: PathBuf,
    pub(crate) log_file: PathBuf,
}

impl Made {
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
    }
}

/// A running server. Killed when dropped; its own children see that and end.
pub(crate) struct Cluster {
    pub(crate) made: Made,
    server: Child,
}

impl Cluster {
    pub(crate) async fn start(made: Made) -> Result<Self, Failure> {
        let begun = Instant::now();
        loop {
            let server = spawn(&made)?;
            match wait(&made, server, begun).await? {
                Some(server) => return Ok(Self { made, server }),
                // Children of a killed server may still hold its shared memory; they are about to end.
                None if begun.elapsed() < STARTS_WITHIN => tokio::time::sleep(ASK_EVERY).await,
                None => {
                    let log = fs::read_to_string(&made.log_file).unwrap_or_default();
                    let last: Vec<&str> = log.lines().rev().take(20).collect();
                    return Err(format!("PostgreSQL does not start:\n{}", last.join("\n")).into());
                }
            }
        }
    }

    /// Ends the server by a signal and waits until it is gone.
    pub(crate) async fn end(&mut self, how: Signal) -> Result<(), Failure> {
        if let Some(id) = self.server.id() {
            signal::send(id, how);
        }
        self.server.wait().await?;
        Ok(())
    }

    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        let made = self.made.clone();
        *self = Self::start(made).await?;
        Ok(())
    }

    /// The server's own processes: one for each connection, and its helpers.
    pub(crate) fn backends(&self) -> Vec<u32> {
        self.server.id().map(signal::children).unwrap_or_default()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.server.try_wait(), Ok(None))
    }

    /// An empty database of this name; answers its URL.
    pub(crate) async fn create_database(&self, name: &str) -> Result<String, Failure> {
        self.run(&format!("CREATE DATABASE {name}")).await?;
        let mut url = Url::parse(&self.made.url)?;
        url.set_path(name);
        Ok(url.to_string())
    }

    pub(crate) async fn drop_database(&self, name: &str) -> Result<(), Failure> {
        self.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await
    }

    async fn run(&self, sql: &str) -> Result<(), Failure> {
        let mut connection = PgConnection::connect(&self.made.url).await?;
        connection.execute(sql).await?;
        connection.close().await?;
        Ok(())
    }
}

fn spawn(made: &Made) -> Result<Child, Failure> {
    let log = OpenOptions::new().create(true).append(true).open(&made.log_file)?;
    let [program, arguments @ ..] = made.command.as_slice() else { return Err("there is no command".into()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&made.environment).current_dir(&made.folder);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    if let (Some(user), Some(group)) = (made.user, made.group) {
        command.uid(user).gid(group);
    }
    Ok(command.spawn()?)
}

/// Until the server is ready; `None` when it ended instead.
async fn wait(made: &Made, mut server: Child, begun: Instant) -> Result<Option<Child>, Failure> {
    loop {
        if server.try_wait()?.is_some() {
            return Ok(None);
        }
        let state = fs::read_to_string(&made.state_file).unwrap_or_default();
        let mut lines = state.lines();
        let is_its_own = lines.next().and_then(|line| line.trim().parse().ok()) == server.id();
        if is_its_own && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
            return Ok(Some(server));
        }
        if begun.elapsed() > STARTS_WITHIN {
            return Err("PostgreSQL is not ready in time".into());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
