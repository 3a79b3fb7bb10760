//! The tables of the docs say what the code says.

use std::collections::BTreeSet;

use aggregates::{ApiTokenEvent, IdentityProviderEvent, SessionEvent, SetupEvent, UserEvent};
use authlog::settings::{SETTINGS, limits};
use projections::TABLES;
use serde_json::Value;

use crate::markdown::{quoted, read, rows};

#[test]
fn every_setting_stands_in_the_docs_as_in_the_table_of_the_code() {
    let optional = |text: Option<&str>, absent: &str| text.map_or(absent.to_owned(), |text| format!("`{text}`"));
    let wanted: Vec<Vec<String>> = SETTINGS
        .iter()
        .map(|setting| {
            vec![
                format!("`{}`", setting.name),
                format!("`{}`", setting.variable()),
                optional(setting.flag, ""),
                optional(setting.default, "none"),
                setting.meaning.to_owned(),
                setting.accepts.to_owned(),
            ]
        })
        .collect();
    let written: Vec<Vec<String>> =
        rows("docs/settings.md").into_iter().filter(|row| row[1].contains("AUTHLOG_")).collect();
    assert_eq!(written, wanted);
}

#[test]
fn every_bound_stands_in_the_docs_with_its_value() {
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
    let wanted = [
        ("BODY_BYTES", kib(limits::BODY_BYTES)),
        ("BODY_TIMEOUT", seconds(limits::BODY_TIMEOUT)),
        ("CALL_TIMEOUT", seconds(limits::CALL_TIMEOUT)),
        ("HEAD_TIMEOUT", seconds(limits::HEAD_TIMEOUT)),
        ("HEAD_BYTES", kib(limits::HEAD_BYTES)),
        ("HEADER_LINES", limits::HEADER_LINES.to_string()),
        ("STREAMS_PER_CONNECTION", limits::STREAMS_PER_CONNECTION.to_string()),
        ("PROBE_TIMEOUT", seconds(limits::PROBE_TIMEOUT)),
        ("UNREAD_BYTES", kib(limits::UNREAD_BYTES as usize)),
        ("RESET_STREAMS", limits::RESET_STREAMS.to_string()),
        ("REFUSED_STREAMS", limits::REFUSED_STREAMS.to_string()),
        ("CONNECTIONS", limits::CONNECTIONS.to_string()),
        ("PROBE_CONNECTIONS", limits::PROBE_CONNECTIONS.to_string()),
        ("CONNECTIONS_PER_SOURCE", limits::CONNECTIONS_PER_SOURCE.to_string()),
        ("CONNECTION_AGE", seconds(limits::CONNECTION_AGE)),
        ("DRAIN", seconds(limits::DRAIN)),
        ("RATE_SOURCES", limits::RATE_SOURCES.to_string()),
        ("FORWARDED_HOPS", limits::FORWARDED_HOPS.to_string()),
        ("BEARER_BYTES", limits::BEARER_BYTES.to_string()),
        ("PAGE_DEFAULT", limits::PAGE_DEFAULT.to_string()),
        ("PAGE_MAX", limits::PAGE_MAX.to_string()),
        ("AUDIT_STREAMS", limits::AUDIT_STREAMS.to_string()),
        ("AUDIT_STREAM_KEEP_ALIVE", seconds(limits::AUDIT_STREAM_KEEP_ALIVE)),
        ("LOOKS_BACK", limits::LOOKS_BACK.to_string()),
        ("OPERATOR_COMMANDS", limits::OPERATOR_COMMANDS.to_string()),
    ]
    .map(|(name, value)| (format!("`{name}`"), value));
    let source = read("src/settings/limits.rs");
    assert_eq!(source.matches("pub const ").count(), wanted.len(), "a bound is in the code and not in this test");
    let written: Vec<(String, String)> = rows("docs/settings.md")
        .into_iter()
        .filter(|row| row.len() == 3 && row[0].starts_with('`'))
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    assert_eq!(written, wanted);
}

#[test]
fn every_event_stands_in_the_docs_with_its_fields_and_what_is_sealed() {
    let types =
        [SetupEvent::TYPES, SessionEvent::TYPES, UserEvent::TYPES, ApiTokenEvent::TYPES, IdentityProviderEvent::TYPES];
    let rows: Vec<Vec<String>> =
        rows("docs/events.md").into_iter().filter(|row| row.len() == 5 && row[0].starts_with('`')).collect();
    let written: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].trim_matches('`'), row[1].as_str())).collect();
    assert_eq!(written, types.concat());
    for row in &rows {
        let (name, version) = (row[0].trim_matches('`'), &row[1]);
        let golden = read(&format!("tests/golden/{name}.{version}.json"));
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let fields: BTreeSet<&str> = golden[name].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(quoted(&row[3]).into_iter().collect::<BTreeSet<_>>(), fields, "the fields of {name}");
        let shape = read(&format!("tests/golden/{name}.{version}.shape"));
        let optional: Vec<&str> = shape
            .lines()
            .filter_map(|line| line.split_once(": optional ").map(|(field, _)| field))
            .filter(|field| !field.contains('.'))
            .collect();
        let italic: Vec<&str> = row[3].split(", ").filter_map(|field| quoted_in_italics(field)).collect();
        assert_eq!(
            italic.into_iter().collect::<BTreeSet<_>>(),
            BTreeSet::from_iter(optional),
            "what {name} may leave out"
        );
        let mut sealed = BTreeSet::new();
        sealed_paths(&golden[name], "", &mut sealed);
        let written: BTreeSet<String> = quoted(&row[4]).into_iter().map(str::to_owned).collect();
        assert_eq!(written, sealed, "what {name} has sealed");
    }
}

fn quoted_in_italics(field: &str) -> Option<&str> {
    field.strip_prefix("*`")?.strip_suffix("`*")
}

/// A sealed value of a golden file names its key first.
fn sealed_paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                sealed_paths(value, &path, found);
            }
        }
        Value::String(text) if text.starts_with("person/") || text.starts_with("instance:") => {
            found.insert(path.to_owned());
        }
        _ => {}
    }
}

#[test]
fn every_read_model_stands_in_the_docs_with_its_key() {
    let written: Vec<(String, String)> =
        rows("docs/read-models.md").into_iter().skip(1).map(|row| (row[0].clone(), row[1].clone())).collect();
    let wanted = TABLES.map(|table| (format!("`{}`", table.name), format!("`{}`", table.key)));
    assert_eq!(written, wanted);
}

#[test]
fn every_column_of_the_log_stands_in_the_docs() {
    let written: Vec<String> =
        rows("docs/log.md").into_iter().skip(1).map(|row| row[0].trim_matches('`').to_owned()).collect();
    for database in ["sqlite", "postgres"] {
        let sql = read(&format!("migrations/{database}/0001_log.sql"));
        let table = sql.split("CREATE TABLE events (").nth(1).unwrap().lines().skip(1).map(str::trim);
        let columns: Vec<&str> = table
            .take_while(|line| line.starts_with(char::is_lowercase))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(written, columns, "{database}");
    }
}

#[test]
fn what_the_page_on_the_log_says_of_the_writer_is_what_the_code_does() {
    let page = read("docs/log.md");
    let (group, queue) = (authlog::log::GROUP_UNITS, authlog::log::QUEUED_UNITS);
    assert!(page.contains(&format!("up to {group} units at once from a queue of {queue}")));
    let connection = read("src/log/connection.rs");
    for constant in [
        "IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: u64 = 2;",
        "STATEMENT_TIMEOUT_SECONDS: u64 = 10;",
        "LOCK_TIMEOUT_SECONDS: u64 = 5;",
    ] {
        assert!(connection.contains(constant), "{constant} has changed: change docs/log.md and this test");
    }
    let patience = read("src/log/patience.rs");
    for constant in
        ["ANSWER_TIMEOUT_SECONDS: u64 = STATEMENT_TIMEOUT_SECONDS + 2;", "CONNECT_TIMEOUT_SECONDS: u64 = 5;"]
    {
        assert!(
            patience.contains(constant),
            "{constant} has changed: change docs/log.md, docs/operations.md and this test"
        );
    }
    assert!(read("src/log/writer.rs").contains("LOOK_UP_SECONDS: u64 = 30;"), "change docs/log.md and this test");
}

#[test]
fn what_a_made_up_log_is_mixed_of_stands_in_the_docs() {
    let page = rows("docs/performance.md");
    let written = page.iter().skip_while(|row| row[0] != "what happens").skip(1).take_while(|row| row.len() == 2);
    let written: Vec<(String, String)> = written.map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(written, generate::MIX.map(|(_, weight, what)| (what.to_owned(), weight.to_string())));
    assert!(read("docs/performance.md").contains(&format!("| what happens | of {} |", generate::ALL)));
}
