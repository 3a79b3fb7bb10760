//! One `authlog serve`: started, waited for, killed, stopped as it is and continued.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::signal;
use crate::tally::{Promise, Tally};

/// How long a node may take to say that it listens, or to stop when it is asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a node, again and again.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    /// Which instance it serves.
    pub(crate) flags: Vec<String>,
    /// Where all that it says goes.
    pub(crate) output: PathBuf,
    pub(crate) tally: Arc<Tally>,
}

/// A running process. Killed when dropped.
pub(crate) struct Node {
    pub(crate) base: String,
    child: Child,
}

/// Why a node is not there.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// It ended by itself, as it may while its database is away.
    Ended(ExitStatus),
    Hangs,
    Io(std::io::Error),
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => write!(f, "it ended with {status}"),
            Self::Hangs => write!(f, "it does not say that it listens"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// The program with none of our own settings.
pub(crate) fn command(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AUTHLOG_") || text == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

impl Recipe {
    /// Starts a node and waits until it listens.
    pub(crate) async fn start(&self) -> Result<Node, NotStarted> {
        let mut command = command(&self.program);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(&self.flags);
        // All calls come from one source.
        command.env("AUTHLOG_PUBLIC_CALLS_PER_MINUTE", "0").env("AUTHLOG_AUTH_REQUEST_TTL", "2m");
        command.env("RUST_BACKTRACE", "1").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(NotStarted::Io)?;
        let mut file = OpenOptions::new().create(true).append(true).open(&self.output).map_err(NotStarted::Io)?;
        let (heard, mut listens) = mpsc::unbounded_channel();
        let tally = Arc::clone(&self.tally);
        if let Some(stderr) = child.stderr.take() {
            let mut lines = BufReader::new(stderr).lines();
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some((_, base)) = line.split_once(" listens on ") {
                        let _nobody_waits = heard.send(base.to_owned());
                    }
                    if line.contains("panicked at") {
                        tally.broken(Promise::ErrorsAsDocumented, format!("a node panicked: {line}"));
                    }
                    // A full disk ends the run elsewhere.
                    let _not_written = writeln!(file, "{line}");
                }
            });
        }
        let base = tokio::select! {
            base = listens.recv() => base,
            () = tokio::time::sleep(PATIENCE) => return Err(NotStarted::Hangs),
        };
        match base {
            Some(base) => Ok(Node { base, child }),
            None => Err(child.wait().await.map_or_else(NotStarted::Io, NotStarted::Ended)),
        }
    }
}

impl Node {
    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        // An error says that it is gone already.
        let _gone = self.child.kill().await;
    }

    /// Asks it to stop; `None` when it did not within its time.
    pub(crate) async fn stop(mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        tokio::time::timeout(PATIENCE, self.child.wait()).await.ok()?.ok()
    }

    /// Stops the process as it is, in the middle of whatever it does.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.child.id() {
            signal::send(process, signal);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}
