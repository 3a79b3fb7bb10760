//! Made-up logs: one seed gives one story, and the story is one that could have happened.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use authlog::settings::{GlobalArgs, Settings};
use generate::{GenerateError, Made, Plan};
use serde_json::Value;
use support::server::{flags, run};
use support::{Backend, TestDatabase};

async fn make(database: &TestDatabase, events: i64, seed: u64) -> Result<Made, GenerateError> {
    let global = GlobalArgs {
        data_dir: Some(database.folder.path().display().to_string()),
        database_url: database.url.clone().map(Into::into),
        config: None,
    };
    let settings = Settings::load(&global, None, [], Path::new("/")).unwrap();
    generate::generate(&settings, Plan { events, seed }, |_, _| {}).await
}

async fn made(backend: Backend, events: i64, seed: u64) -> (TestDatabase, Made) {
    let database = TestDatabase::new(backend).await;
    let made = make(&database, events, seed).await.unwrap();
    (database, made)
}

async fn lines(database: &TestDatabase, arguments: &[&str]) -> Vec<Value> {
    let (code, stdout, stderr) = run(&flags(database), arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each event by position, stream, type, time, and what is not sealed of who did it.
async fn events(database: &TestDatabase) -> Vec<Value> {
    let shown = |event: Value| {
        let metadata = &event["metadata"];
        serde_json::json!([
            event["position"],
            event["stream"],
            event["sequence"],
            event["type"],
            event["recorded_at"],
            metadata["actor"],
            metadata["command"],
            metadata["unit_id"],
        ])
    };
    lines(database, &["events", "--json"]).await.into_iter().map(shown).collect()
}

/// How things stand at a position, personal data clear.
async fn state(database: &TestDatabase, position: usize) -> Value {
    lines(database, &["replay", "--json", "--position", &position.to_string()]).await.remove(0)
}

async fn one_seed_gives_one_story_and_another_seed_another(backend: Backend) {
    let (first, of_first) = made(backend, 2_000, 7).await;
    // A log of SQLite holds what one of PostgreSQL does.
    let (second, of_second) = made(Backend::Sqlite, 2_000, 7).await;
    assert_eq!(of_first, of_second);
    let (told, again) = (events(&first).await, events(&second).await);
    assert_eq!(told, again);
    assert_eq!(state(&first, told.len()).await, state(&second, told.len()).await);
    let (other, _) = made(Backend::Sqlite, 2_000, 8).await;
    assert_ne!(events(&other).await[..50], told[..50]);
}

async fn a_longer_log_begins_with_the_shorter_one(backend: Backend) {
    let (short, of_short) = made(backend, 1_000, 3).await;
    let (long, of_long) = made(backend, 6_000, 3).await;
    assert!((1_000..1_005).contains(&of_short.events) && (6_000..6_005).contains(&of_long.events));
    let (told, longer) = (events(&short).await, events(&long).await);
    assert_eq!(told[..], longer[..told.len()]);
    assert_eq!(state(&short, told.len()).await, state(&long, told.len()).await);
}

async fn a_made_up_log_is_one_that_the_rules_allow_and_its_read_models_are_those_of_a_fresh_fold(backend: Backend) {
    let (database, made) = made(backend, 10_000, 1).await;
    let (code, stdout, stderr) = run(&flags(&database), &["projections", "verify", "--json"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let (code, stdout, stderr) = run(&flags(&database), &["replay", "--check"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let told = events(&database).await;
    assert_eq!(made.events, i64::try_from(told.len()).unwrap());
    for (name, count) in &made.types {
        let of_type = told.iter().filter(|event| event[3] == **name).count();
        assert_eq!(*count, i64::try_from(of_type).unwrap(), "{name}");
    }
    let state = state(&database, told.len()).await;
    assert_eq!(state["users"].as_array().unwrap().len(), usize::try_from(made.users.values().sum::<i64>()).unwrap());
    // As in life: most of what happens is that somebody comes and goes.
    let sessions = ["SessionOpened", "SessionSignedOut", "SessionExpired", "SessionRevoked"];
    let of_sessions: i64 = sessions.iter().map(|name| made.types[*name]).sum();
    assert!(of_sessions * 10 > made.events * 8, "{made:?}");
}

async fn what_holds_a_log_is_refused_and_stays_as_it_is(backend: Backend) {
    let (database, first) = made(backend, 100, 1).await;
    let told = events(&database).await;
    let refused = make(&database, 100, 1).await.unwrap_err();
    assert!(refused.is_not_empty(), "{refused}");
    let said = format!("there is a log of {} events already; name an empty data directory or database", first.events);
    assert_eq!(refused.to_string(), said);
    assert_eq!(events(&database).await, told);
}

on_both_databases!(
    one_seed_gives_one_story_and_another_seed_another,
    a_longer_log_begins_with_the_shorter_one,
    a_made_up_log_is_one_that_the_rules_allow_and_its_read_models_are_those_of_a_fresh_fold,
    what_holds_a_log_is_refused_and_stays_as_it_is,
);
