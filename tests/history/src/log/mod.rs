//! Reads a log afterwards, as `authlog events --json` prints it, and says what in it cannot be.
//!
//! Three questions, each of its own: does the log obey its own rules ([`rules`]); does it hold what callers were told, once, and
//! nothing that they were refused ([`told`]); and who is who at its end ([`model`], for comparison with the read models).

pub mod model;
pub mod rules;
pub mod told;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// An event as the command line prints it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    pub position: i64,
    /// `user/0198...`.
    pub stream: String,
    pub sequence: i64,
    #[serde(rename = "type")]
    pub event_type: String,
    pub version: String,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    pub payload: Value,
    pub metadata: Value,
}

impl Event {
    /// The type of its stream.
    pub fn kind(&self) -> &str {
        self.stream.split_once('/').map_or("", |(kind, _)| kind)
    }

    /// The id of its stream.
    pub fn id(&self) -> &str {
        self.stream.split_once('/').map_or("", |(_, id)| id)
    }

    pub fn fields(&self) -> &Value {
        &self.payload[&self.event_type]
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.position, self.event_type, self.stream)
    }
}

/// Reads the lines of `authlog events --json`.
///
/// # Errors
///
/// The first line that is no event.
pub fn read(lines: &str) -> Result<Vec<Event>, serde_json::Error> {
    lines.lines().map(serde_json::from_str).collect()
}
