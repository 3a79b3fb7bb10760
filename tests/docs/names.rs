//! The tests that the docs name are there.

use std::collections::HashSet;

use crate::markdown::{quoted, rows, rust_files};

/// Every function that a test harness could run.
fn functions() -> HashSet<String> {
    let mut found = HashSet::new();
    for file in rust_files() {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("fn ") {
                found.insert(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect());
            }
        }
    }
    found
}

fn assert_named_tests_exist(page: &str, cells: impl Iterator<Item = String>) {
    let functions = functions();
    let mut missing = Vec::new();
    for cell in cells {
        let tests = quoted(&cell).into_iter().filter(|name| name.contains('_') && !name.contains(' '));
        let names: Vec<&str> = tests.collect();
        let admitted = cell.contains("no test yet") || cell.contains("not shown yet") || cell.contains("cargo xtask");
        assert!(!names.is_empty() || admitted, "{page}: a row names no test: {cell}");
        missing.extend(names.into_iter().filter(|name| !functions.contains(*name)).map(str::to_owned));
    }
    assert!(missing.is_empty(), "{page} names tests that are not there: {missing:#?}");
}

#[test]
fn the_tests_of_the_promises_are_there_and_no_promise_is_left_out() {
    let promises: Vec<Vec<String>> = rows("README.md").into_iter().filter(|row| row[0].starts_with('P')).collect();
    let numbers: Vec<&str> = promises.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(numbers, ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11"]);
    assert_named_tests_exist("README.md", promises.into_iter().map(|row| row[2].clone()));
}

#[test]
fn the_tests_of_the_security_table_are_there() {
    let classes: Vec<Vec<String>> = rows("docs/security.md").into_iter().skip(1).collect();
    assert!(classes.len() > 40, "{}", classes.len());
    assert_named_tests_exist("docs/security.md", classes.into_iter().map(|row| row[3].clone()));
}

#[test]
fn the_tests_of_queues_and_caches_are_there() {
    let table = rows("docs/settings.md").into_iter().skip_while(|row| row[0] != "what").skip(1);
    let tests: Vec<String> = table.map(|row| row[3].clone()).collect();
    assert!(tests.len() > 10, "{tests:?}");
    assert_named_tests_exist("docs/settings.md", tests.into_iter());
}

#[test]
fn the_tests_that_guard_events_are_there() {
    let told = rows("docs/changing-an-event.md").into_iter().skip_while(|row| row[0] != "forgotten").skip(1);
    assert_named_tests_exist("docs/changing-an-event.md", told.map(|row| row[1].clone()));
}

#[test]
fn a_violation_of_every_promise_is_planted_and_the_tests_that_catch_them_are_there() {
    let planted: Vec<Vec<String>> =
        rows("docs/testing-promises.md").into_iter().filter(|row| row[0].starts_with('P')).collect();
    let numbers: Vec<&str> = planted.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(numbers, ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11"]);
    assert_named_tests_exist("docs/testing-promises.md", planted.into_iter().map(|row| row[3].clone()));
}
