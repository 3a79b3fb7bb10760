//! What a command says when it cannot go on: one sentence for a person, already complete.

use std::fmt;

/// Why a command stopped. Printed once, by `main`, which then exits with 1.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Turns any error into a [`Failure`] that says what was being done.
pub(crate) trait While<T> {
    /// `doing` completes the sentence "... failed", as in "reading deny.toml".
    fn while_doing(self, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> While<T> for Result<T, E> {
    fn while_doing(self, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{doing} failed: {error}")))
    }
}
