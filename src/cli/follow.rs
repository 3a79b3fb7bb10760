//! Going on with a log that others write, until Ctrl-C.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often a log that another process writes is looked at again.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Hears Ctrl-C from when it is made, so that whoever prints ends between two lines.
pub(super) struct Follow {
    interrupt: Signal,
}

impl Follow {
    /// # Errors
    /// When the operating system gives no handler.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())? })
    }

    /// What `work` comes to; `None` when Ctrl-C was faster.
    pub(super) async fn unless_interrupted<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => None,
            done = work => Some(done),
        }
    }

    /// Waits until it is time to look again; `None` at Ctrl-C.
    pub(super) async fn pause(&mut self) -> Option<()> {
        self.unless_interrupted(tokio::time::sleep(FOLLOW_EVERY)).await
    }
}
