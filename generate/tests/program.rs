//! The program as `cargo xtask generate` calls it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn generate(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_generate"));
    program.env_remove("AUTHLOG_DATABASE_URL").arg("--data-dir").arg(folder).args(arguments).output().unwrap()
}

#[test]
fn it_says_what_is_there_and_refuses_to_write_to_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let made = generate(folder.path(), &["--events", "300", "--json"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let said: Value = serde_json::from_slice(&made.stdout).unwrap();
    let types = said["types"].as_object().unwrap();
    assert_eq!(said["events"].as_i64(), Some(types.values().map(|events| events.as_i64().unwrap()).sum()));
    assert!(said["events"].as_i64() >= Some(300), "{said}");
    assert_eq!((&types["OwnerRegistered"], &said["seed"]), (&2.into(), &1.into()));

    let again = generate(folder.path(), &["--events", "300"]);
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert_eq!(
        (again.status.code(), again.stdout.as_slice(), stderr.lines().count()),
        (Some(1), &[][..], 1),
        "{stderr}"
    );
    assert!(stderr.contains("events already; name an empty data directory or database"), "{stderr}");
}

#[test]
fn the_last_line_for_people_counts_events_users_and_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let made = generate(folder.path(), &["--events", "300", "--seed", "7"]);
    let stdout = String::from_utf8(made.stdout).unwrap();
    let last = stdout.lines().last().unwrap();
    assert!(last.starts_with("30") && last.contains("events from 2021-01-01 to "), "{last}");
    assert!(last.contains("active") && last.contains("sessions alive: "), "{last}");
    let stderr = String::from_utf8(made.stderr).unwrap();
    assert!(stderr.contains("of 300 events, ") && stderr.contains(" a second, 0 s left"), "{stderr}");
}

#[test]
fn a_number_of_events_that_cannot_be_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for events in ["0", "10000001", "many"] {
        assert_eq!(generate(folder.path(), &["--events", events]).status.code(), Some(2), "{events}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
