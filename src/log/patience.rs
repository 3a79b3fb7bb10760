//! How long PostgreSQL is waited for. The server ends by itself what takes too long, but says so over a network that may have
//! gone silent: without an end here, whoever asked over it would wait for as long as the kernel keeps the connection.
//!
//! Architecture invariant: an answer that was not waited for says nothing about what the server has done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::connection::STATEMENT_TIMEOUT_SECONDS;
use super::database::ACQUIRE_TIMEOUT_SECONDS;
use crate::clock::boot_micros;

/// A statement's answer is waited for so long: longer than the server lets a statement run.
pub const ANSWER_TIMEOUT_SECONDS: u64 = STATEMENT_TIMEOUT_SECONDS + 2;
/// A new connection is waited for so long.
pub const CONNECT_TIMEOUT_SECONDS: u64 = 5;
/// What a pool is asked may wait for one of its connections first, as long as the pool allows.
const POOL_ANSWER_TIMEOUT: Duration = Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS);
/// A connection that has been idle has so long to show that it is still one.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections are tested for so long when they come back, after somebody has not waited for an answer.
const DOUBT: Duration = Duration::from_secs(5);

/// How long one connection is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience(Option<Duration>);

impl Patience {
    pub const USUAL: Self = Self(Some(Duration::from_secs(ANSWER_TIMEOUT_SECONDS)));
    pub const WHILE_CONNECTING: Self = Self(Some(Duration::from_secs(CONNECT_TIMEOUT_SECONDS)));
    /// For statements that may run as long as they need.
    pub const ENDLESS: Self = Self(None);

    pub async fn wait<T>(self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        match self.0 {
            Some(limit) => timeout(limit, answer).await.unwrap_or_else(|_| Err(silent())),
            None => answer.await,
        }
    }
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"))
}

/// Whether a connection of a pool answers.
pub async fn shows_life(connection: &mut PgConnection) -> sqlx::Result<bool> {
    timeout(SIGN_OF_LIFE_TIMEOUT, connection.ping()).await.unwrap_or_else(|_| Err(silent())).map(|()| true)
}

/// Whether connections that come back to a pool may be silent ones. The pool itself waits for them without an end, and would have
/// one connection less each time.
#[derive(Clone, Debug, Default)]
pub struct Doubt(Arc<AtomicU64>);

impl Doubt {
    fn begin(&self) {
        let until = boot_micros() + u64::try_from(DOUBT.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(until, Ordering::AcqRel);
    }

    pub fn is_there(&self) -> bool {
        boot_micros() < self.0.load(Ordering::Acquire)
    }

    /// Asks over a connection of a pool, and waits as long as a connection and a statement may take.
    pub async fn wait<T>(&self, question: impl Future<Output = T>) -> sqlx::Result<T> {
        let mut asked = Asked { question: Box::pin(question), doubt: self, answered: false };
        let answer = timeout(POOL_ANSWER_TIMEOUT, asked.question.as_mut()).await;
        asked.answered = answer.is_ok();
        answer.map_err(|_| silent())
    }
}

/// A question under way. Not waited for to its end, it leaves doubt before it lets go of its connection.
struct Asked<'a, F> {
    question: Pin<Box<F>>,
    doubt: &'a Doubt,
    answered: bool,
}

impl<F> Drop for Asked<'_, F> {
    fn drop(&mut self) {
        if !self.answered {
            self.doubt.begin();
        }
    }
}
