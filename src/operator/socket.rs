//! The Unix socket between the command line and the running server: one line of JSON there, one line back. Before that line others
//! may say how far a long command has come; a command of that kind ends when its caller goes away.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{OperatorAnswer, OperatorCommand};
use crate::log::rebuild::Pace;
use crate::service::Service;
use crate::settings::limits::OPERATOR_COMMANDS;

/// Bytes of a command at most.
const MAX_COMMAND_BYTES: u64 = 64 * 1024;
/// Notes on how far a command has come that wait to be sent; what is more is left out.
const NOTES_WAITING: usize = 64;
/// A caller that says nothing for so long is sent away.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure to accept.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);
const SOCKET_MODE: u32 = 0o600;

/// Listens for the command line. The socket file is gone when this is dropped.
#[derive(Debug)]
pub struct OperatorSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl OperatorSocket {
    /// Makes the socket; one that a killed server left is replaced, because whoever calls this holds the directory's lock.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until `stop`; commands that have begun run to their end.
    pub async fn serve(self, service: Service, stop: CancellationToken) {
        let commands = TaskTracker::new();
        let room = Arc::new(Semaphore::new(OPERATOR_COMMANDS));
        loop {
            let next = async {
                // The semaphore is never closed, so the permit is always there.
                let permit = Arc::clone(&room).acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, _)) => {
                    let service = service.clone();
                    commands.spawn(async move {
                        if let Err(error) = answer(stream, &service).await {
                            tracing::debug!(%error, "a command on the socket was not answered");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors: asking again at once would only heat the room, and fill the output.
                    tracing::warn!(%error, "the operator's socket does not accept; trying again in a second");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
        commands.close();
        commands.wait().await;
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, service: &Service) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut bounded = BufReader::new(read.take(MAX_COMMAND_BYTES));
    tokio::time::timeout(COMMAND_TIMEOUT, bounded.read_line(&mut line)).await??;
    let (note, mut notes) = mpsc::channel(NOTES_WAITING);
    let report = move |answer| drop(note.try_send(answer));
    let answer = match serde_json::from_str::<OperatorCommand>(&line) {
        Ok(command) => {
            let mut executing = pin!(command.execute(service, Pace::InTurns, &report));
            loop {
                tokio::select! {
                    biased;
                    Some(note) = notes.recv() => write_line(&mut write, &note).await?,
                    answer = &mut executing => break answer,
                }
            }
        }
        Err(error) => {
            OperatorAnswer::Refused { code: "invalid_input".to_owned(), message: error.to_string(), cause: None }
        }
    };
    write_line(&mut write, &answer).await
}

async fn write_line(write: &mut OwnedWriteHalf, answer: &OperatorAnswer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

/// Sends a command to the running server; `report` hears how far a long one has come.
///
/// # Errors
/// When nobody listens or the answer does not come.
pub async fn send(
    path: &Path,
    command: &OperatorCommand,
    report: &(dyn Fn(OperatorAnswer) + Sync),
) -> io::Result<OperatorAnswer> {
    let mut stream = UnixStream::connect(path).await?;
    let mut text = serde_json::to_vec(command)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match serde_json::from_str(&line)? {
            note @ (OperatorAnswer::Rebuilding(_) | OperatorAnswer::Rotating(_)) => report(note),
            answer => return Ok(answer),
        }
    }
}
