//! P11: one log, folded in two processes, one of them ten years later and in another time zone, gives the same bytes.
//!
//! The test runs its own program again, twice; there it finds the exported log named in its environment and folds that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use aggregates::{ApiToken, Event, IdentityProvider, Session, Setup, StreamId, User};
use authlog::keys::Key;
use authlog::log::{EventRecord, Keys};
use cqrs_es::Aggregate;
use projections::{KeyedHasher, Metadata, ReadModels, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::story::tell;
use crate::support::Backend;
use crate::world::{World, tables};

/// Names the folder of the exported log, in the process that folds it.
const FOLDER: &str = "AUTHLOG_TEST_FOLD";
/// Makes that process put its clock into what it folds.
const READS_THE_CLOCK: &str = "AUTHLOG_TEST_FOLD_READS_THE_CLOCK";
/// Kathmandu's zone, written out: it needs no zone database.
const ZONE: &str = "<+0545>-05:45";
const ZONE_SECONDS: i64 = (5 * 60 + 45) * 60;
const TEN_YEARS_SECONDS: i64 = 315_576_000;
/// How far the processes' clocks may be from what they should show.
const TOLERANCE_SECONDS: i64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_folds_to_the_same_bytes_ten_years_later_in_another_time_zone() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return fold_exported(Path::new(&folder));
    }
    let mut world = World::new(Backend::Sqlite).await;
    tell(&world).await;
    let [folded, elsewhere] = folded_here_and_elsewhere(&world, &[]).await;
    world.close().await;
    assert!(folded == elsewhere, "the folds differ");

    let folded: Folded = serde_json::from_slice(&folded).unwrap();
    assert!(folded.streams.len() > 20, "only {} streams were folded", folded.streams.len());
    for (name, rows) in tables(&world.database).await {
        let live: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(folded.rows[name], live, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_reads_the_clock_is_noticed() {
    let mut world = World::new(Backend::Sqlite).await;
    let [here, elsewhere] = folded_here_and_elsewhere(&world, &[(READS_THE_CLOCK, "1".into())]).await;
    world.close().await;
    assert!(here != elsewhere, "what depends on the clock was the same ten years later");
}

/// What two processes fold the world's log to, the second ten years later and in another time zone.
async fn folded_here_and_elsewhere(world: &World, environment: &[(&str, PathBuf)]) -> [Vec<u8>; 2] {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    export(world, here.path()).await;
    export(world, elsewhere.path()).await;
    run_again(here.path(), &[environment, &[("TZ", "UTC0".into())]].concat());
    let moved = [("TZ", ZONE.into()), ("LD_PRELOAD", compiled_clock(elsewhere.path()))];
    run_again(elsewhere.path(), &[environment, &moved].concat());

    let (now, then) = (ProcessClock::read(here.path()), ProcessClock::read(elsewhere.path()));
    assert_eq!((now.utc_offset_seconds, then.utc_offset_seconds), (0, ZONE_SECONDS));
    let between = then.unix_seconds - now.unix_seconds - TEN_YEARS_SECONDS;
    assert!(between.abs() < TOLERANCE_SECONDS, "the clocks are {between} s away from ten years");
    [here, elsewhere].map(|folder| std::fs::read(folder.path().join("folded.json")).unwrap())
}

/// What a process sees of time.
#[derive(Serialize, Deserialize)]
struct ProcessClock {
    unix_seconds: i64,
    utc_offset_seconds: i64,
}

impl ProcessClock {
    fn read(folder: &Path) -> Self {
        serde_json::from_slice(&std::fs::read(folder.join("clock.json")).unwrap()).unwrap()
    }
}

/// What the whole log folds to.
#[derive(Serialize, Deserialize)]
struct Folded {
    rows: BTreeMap<String, Vec<Value>>,
    streams: BTreeMap<String, Value>,
}

/// The keys that open the log's events, in hex.
#[derive(Serialize, Deserialize)]
struct ExportedKeys {
    hashes: String,
    persons: BTreeMap<String, String>,
}

/// Writes the events, one JSON object a line, and the keys that there still are.
async fn export(world: &World, folder: &Path) {
    let log = &world.service().log;
    let database = log.read().database();
    let lines =
        database.texts(&format!("{} ORDER BY position", database.dialect().select_events()), &[]).await.unwrap();
    let mut wanted = Vec::new();
    for line in &lines {
        let mut event = serde_json::from_str::<EventRecord>(line).unwrap().decode().unwrap();
        wanted.extend(event.keys());
    }
    let found = log.keyring().find(&wanted).await.unwrap();
    let keys = ExportedKeys {
        hashes: hex::encode(log.instance_keys().unique.bytes()),
        persons: found.iter().map(|(id, key)| (id.to_string(), hex::encode(key.bytes()))).collect(),
    };
    std::fs::write(folder.join("events.jsonl"), lines.join("\n")).unwrap();
    std::fs::write(folder.join("keys.json"), serde_json::to_vec(&keys).unwrap()).unwrap();
}

fn run_again(folder: &Path, environment: &[(&str, PathBuf)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "elsewhere::a_log_folds_to_the_same_bytes_ten_years_later_in_another_time_zone";
    command.args(["--exact", name]).env_remove("LD_PRELOAD").env(FOLDER, folder);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
}

fn compiled_clock(folder: &Path) -> PathBuf {
    let (source, library) = ("tests/properties/ten_years_later.c", folder.join("ten_years_later.so"));
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    let done = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let done = done.unwrap_or_else(|error| panic!("a C compiler, `cc`, is needed to move the clock: {error}"));
    assert!(done.status.success(), "{done:?}");
    library
}

/// The other process: folds what was exported and says what time it is.
fn fold_exported(folder: &Path) {
    let clock = ProcessClock {
        unix_seconds: chrono::Utc::now().timestamp(),
        utc_offset_seconds: chrono::Local::now().offset().local_minus_utc().into(),
    };
    std::fs::write(folder.join("clock.json"), serde_json::to_vec(&clock).unwrap()).unwrap();
    let keys: ExportedKeys = serde_json::from_slice(&std::fs::read(folder.join("keys.json")).unwrap()).unwrap();
    let events = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
    let mut folded = fold(&events, &keys);
    if std::env::var_os(READS_THE_CLOCK).is_some() {
        folded.streams.insert("folded in".to_owned(), chrono::Utc::now().format("%Y").to_string().into());
    }
    std::fs::write(folder.join("folded.json"), serde_json::to_vec_pretty(&folded).unwrap()).unwrap();
}

struct Opened {
    record: EventRecord,
    stream: StreamId,
    event: Event,
    metadata: Metadata,
}

impl Opened {
    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.record.position,
            recorded_at_micros: self.record.recorded_at,
            stream: &self.stream,
            sequence: self.record.sequence,
            event: &self.event,
            metadata: &self.metadata,
        }
    }
}

fn fold(events: &str, keys: &ExportedKeys) -> Folded {
    let key = |text: &String| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let persons: Keys = keys.persons.iter().map(|(id, text)| (id.parse().unwrap(), Key::new(key(text)))).collect();
    let opened = |line| {
        let record: EventRecord = serde_json::from_str(line).unwrap();
        let sealed = record.clone().decode().unwrap();
        let stream = sealed.stream.clone();
        let (event, metadata) = sealed.open(&persons).unwrap();
        Opened { record, stream, event, metadata }
    };
    let events: Vec<Opened> = events.lines().map(opened).collect();
    let streams = fold_streams(&events);
    Folded { rows: fold_rows(&events, &KeyedHasher::new(&key(&keys.hashes))), streams }
}

fn fold_rows(events: &[Opened], hasher: &KeyedHasher) -> BTreeMap<String, Vec<Value>> {
    let mut models = ReadModels::new();
    for event in events {
        models.need(&event.recorded(), hasher);
    }
    for rows in models.tables() {
        rows.supply_json("[]").unwrap();
    }
    for event in events {
        models.fold(&[event.recorded()], hasher).unwrap();
    }
    let rows = models.tables().map(|rows| {
        let folded = rows.inserts_json().unwrap_or_else(|| "[]".to_owned());
        assert_eq!(rows.updates_json(), None);
        (rows.table().name.to_owned(), serde_json::from_str(&folded).unwrap())
    });
    rows.into_iter().collect()
}

#[derive(Default)]
struct Aggregates {
    setup: BTreeMap<StreamId, Setup>,
    sessions: BTreeMap<StreamId, Session>,
    users: BTreeMap<StreamId, User>,
    api_tokens: BTreeMap<StreamId, ApiToken>,
    providers: BTreeMap<StreamId, IdentityProvider>,
}

fn fold_streams(events: &[Opened]) -> BTreeMap<String, Value> {
    let mut all = Aggregates::default();
    for Opened { stream, event, .. } in events {
        let stream = stream.clone();
        match event.clone() {
            Event::Setup(event) => all.setup.entry(stream).or_default().apply(event),
            Event::Session(event) => all.sessions.entry(stream).or_default().apply(event),
            Event::User(event) => all.users.entry(stream).or_default().apply(event),
            Event::ApiToken(event) => all.api_tokens.entry(stream).or_default().apply(event),
            Event::IdentityProvider(event) => all.providers.entry(stream).or_default().apply(event),
        }
    }
    let mut states = BTreeMap::new();
    add(&mut states, &all.setup);
    add(&mut states, &all.sessions);
    add(&mut states, &all.users);
    add(&mut states, &all.api_tokens);
    add(&mut states, &all.providers);
    states
}

fn add<A: Serialize>(states: &mut BTreeMap<String, Value>, aggregates: &BTreeMap<StreamId, A>) {
    states.extend(aggregates.iter().map(|(stream, state)| (stream.to_string(), serde_json::to_value(state).unwrap())));
}
