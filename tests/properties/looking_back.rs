//! Looking back to a position shows what a log would be folded to that ends there.

use std::collections::BTreeMap;

use aggregates::UnixSeconds;
use authlog::log::past::Past;
use authlog::log::rebuild::rebuild;
use authlog::replay::State;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use crate::commands::{Command, case};
use crate::machine::lived_in;
use crate::on_both_databases;
use crate::story::tell;
use crate::support::{Backend, TestDatabase};
use crate::world::{World, all_names, execute, findings, tables};

/// Positions that are looked back to in each case.
const POSITIONS: usize = 3;

type Rows = BTreeMap<&'static str, Vec<Value>>;

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(ToString::to_string);
    rows
}

async fn replayed(past: &Past, position: i64) -> Rows {
    let mut state = State::as_of(past, position, UnixSeconds(0)).await.unwrap();
    let rows = |json: Option<String>| json.map_or_else(Vec::new, |json| serde_json::from_str(&json).unwrap());
    let models = state.models.tables();
    models.into_iter().map(|table| (table.table().name, sorted(rows(table.inserts_json())))).collect()
}

/// Takes everything after a position away, as if it had never been written.
async fn cut_off(database: &TestDatabase, position: i64) {
    let let_go = match database.url {
        None => "DROP TRIGGER IF EXISTS events_never_vanish",
        Some(_) => "ALTER TABLE events DISABLE TRIGGER ALL",
    };
    let cut = format!("DELETE FROM events WHERE position > {position}");
    let head = format!(
        "UPDATE log_head SET position = {position}, \
         recorded_at = (SELECT recorded_at FROM events WHERE position = {position})"
    );
    for statement in [let_go, &cut, &head] {
        execute(database, statement).await.unwrap();
    }
}

async fn folded(database: &TestDatabase) -> Rows {
    let tables = tables(database).await.into_iter();
    let parse = |row: &String| serde_json::from_str(row).unwrap();
    tables.map(|(name, rows)| (name, sorted(rows.iter().map(parse).collect()))).collect()
}

async fn run(backend: Backend, commands: &[Command], positions: &[Index]) -> Result<(), String> {
    let mut world = lived_in(backend, commands).await?;
    let (past, (keyring, hasher)) = (world.service().log.past(), world.keys());
    let head = usize::try_from(past.head().await.unwrap()).unwrap();
    // The later ones first, so that each cut leaves the next one whole.
    let mut positions: Vec<i64> = positions.iter().map(|at| i64::try_from(at.index(head)).unwrap() + 1).collect();
    positions.sort_by_key(|position| std::cmp::Reverse(*position));
    let mut expected = Vec::new();
    for position in &positions {
        expected.push(replayed(&past, *position).await);
    }
    world.close().await;
    for (position, mut expected) in positions.into_iter().zip(expected) {
        cut_off(&world.database, position).await;
        rebuild(&world.database.location, &keyring, &hasher, &all_names()).await.unwrap();
        let mut found = folded(&world.database).await;
        // It only tells what happened, and is not looked back to.
        found.remove("audit");
        expected.remove("audit");
        if found != expected {
            return Err(format!("as of {position} of {head}: found {found:#?}, expected {expected:#?}"));
        }
    }
    Ok(())
}

fn random_cases(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let strategy = (case(), prop::collection::vec(any::<Index>(), POSITIONS));
    let outcome = TestRunner::new(config).run(&strategy, |(commands, positions)| {
        runtime.block_on(run(backend, &commands, &positions)).map_err(TestCaseError::fail)
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_random_past_position_is_a_fold_of_the_log_cut_off_there_on_sqlite() {
    random_cases(Backend::Sqlite, 32);
}

#[test]
fn a_random_past_position_is_a_fold_of_the_log_cut_off_there_on_postgres() {
    random_cases(Backend::Postgres, 8);
}

async fn a_long_day_was_by_the_rules(backend: Backend) {
    let world = World::new(backend).await;
    tell(&world).await;
    let head = world.service().log.past().head().await.unwrap();
    assert_eq!(findings(world.service()).await, (Vec::new(), head));
}

on_both_databases!(a_long_day_was_by_the_rules);
