//! Printing: control characters escaped, failures with their exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::Value;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    /// Exit code 1.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// Exit code 2.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }

    /// Exit code 3: a check found a difference.
    pub(super) fn differs(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 3 }
    }

    /// Prints the message and answers the exit code. A reader that went away is no failure worth a word.
    pub(super) fn report(self) -> ExitCode {
        note(&format!("authlog: {}", self.message));
        ExitCode::from(self.exit_code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(format!("the output cannot be written: {error}"))
    }
}

/// How many there are, in words: `1 session`, `2 sessions`.
pub(super) fn counted(count: impl TryInto<i64>, of_what: &str) -> String {
    let count = count.try_into().unwrap_or(i64::MAX);
    if count == 1 { format!("1 {of_what}") } else { format!("{count} {of_what}s") }
}

/// A message for people, on stderr.
pub(super) fn note(message: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{}", printable(message));
}

/// A line of the answer, on stdout.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", printable(text))
}

/// A JSON document as a line of the answer.
pub(super) fn json_line(document: &Value) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", printable_json(&document.to_string()))
}

/// Text with its line ends on stdout, all of it before this returns; `false` when nobody reads any more.
pub(super) fn print_whole(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// JSON with what could steer a terminal as JSON's own escapes: it reads back as it was. Such characters are in strings only, but
/// for the line ends of a document that is spread over lines.
pub(super) fn printable_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && (character.is_control() || is_direction_mark(character)) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Control characters, line ends included, as escapes: what comes from outside must not steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_direction_mark(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Marks that turn the direction of text around, and so what a line seems to say.
fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time for people.
pub(super) fn time(unix_seconds: i64) -> String {
    chrono::DateTime::from_timestamp(unix_seconds, 0)
        .map_or_else(|| unix_seconds.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A time with microseconds, for people.
pub(super) fn precise_time(unix_micros: i64) -> String {
    chrono::DateTime::from_timestamp_micros(unix_micros)
        .map_or_else(|| unix_micros.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d\u{61c}"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{61c}");
        assert_eq!(printable("Zoë 한"), "Zoë 한");
    }

    #[test]
    fn json_is_escaped_so_that_it_reads_back_as_it_was() {
        let text = "a\u{9b}2J\u{7f}\u{202e}b\nZoë";
        let json = serde_json::json!([text]).to_string();
        assert_eq!(printable_json(&json), r#"["a\u009b2J\u007f\u202eb\nZoë"]"#);
        assert_eq!(serde_json::from_str::<Vec<String>>(&printable_json(&json)).unwrap(), [text]);
    }
}
