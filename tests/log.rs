//! The log itself: order, atomicity, conflicts, force.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use aggregates::{
    Event, InstanceId, KeyId, Protected, SetupEvent, StreamId, TokenHash, UnixSeconds, UserEvent, UserId,
};
use authlog::clock::Clock;
use authlog::keys::MasterKeySource;
use authlog::log::fill::{FillError, Filling, PastUnit};
use authlog::log::leaf::{LeafInput, leaf_hash};
use authlog::log::rebuild::rebuild;
use authlog::log::{
    AppendError, Beginning, CommitObserver, EventRecord, Head, Log, OpenError, StreamVersion, Unit, WriterHandle, open,
    seal,
};
use projections::{ActorRef, ClaimKind, Metadata, ReadModels, Row as _, SetupRow, UserRow};
use sqlx::Connection as _;
use support::proxy::{Fault, Proxy, Side};
use support::second_connection::SecondConnection;
use support::{Backend, TestDatabase};
use uuid::Uuid;

struct Nobody;

impl CommitObserver for Nobody {
    fn committed(&self, _: &ReadModels, _: &Head) {}
}

/// Breaks the writer down when it has committed.
struct Breaks;

impl CommitObserver for Breaks {
    #[expect(clippy::panic, reason = "what this is for")]
    fn committed(&self, _: &ReadModels, _: &Head) {
        panic!("the writer breaks down");
    }
}

/// Takes its time to hear of a commit.
struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl CommitObserver for Slow {
    fn committed(&self, _: &ReadModels, _: &Head) {
        self.0.lock().unwrap().recv().unwrap();
    }
}

async fn opened(database: &TestDatabase) -> (Log, WriterHandle) {
    opened_for(database, Arc::new(Nobody)).await
}

async fn opened_for(database: &TestDatabase, observer: Arc<dyn CommitObserver>) -> (Log, WriterHandle) {
    let master = MasterKeySource::File(database.folder.path().join("master.key"));
    open(&database.location, &master, Clock, observer).await.unwrap()
}

fn metadata(unit_id: Uuid) -> Metadata {
    Metadata {
        actor: ActorRef::System,
        request_id: None,
        unit_id,
        command: "test".to_owned(),
        source_address: None,
        user_agent: None,
    }
}

/// A unit that invites one person.
fn invitation(log: &Log, address: &str) -> Unit {
    invitation_of(log, UserId(Uuid::now_v7()), address)
}

fn invitation_of(log: &Log, user: UserId, address: &str) -> Unit {
    let id = Uuid::now_v7();
    let key_id = KeyId::Person(user);
    let (key, wrapped) = log.keyring().make(&key_id).unwrap();
    let event = Event::from(UserEvent::UserInvited {
        address: Protected::of_person(user, address),
        role: aggregates::Role::Developer,
        invited_by: user,
    });
    let keys = [(key_id.clone(), key)].into_iter().collect();
    let sealed = seal(StreamId::user(user), 1, event, &metadata(id), &keys).unwrap();
    Unit {
        id,
        reads: vec![StreamVersion { stream: StreamId::user(user), version: 0 }],
        begun: Vec::new(),
        events: vec![sealed],
        keys_made: vec![(key_id, wrapped)],
        keys_destroyed: Vec::new(),
    }
}

/// A unit that issues a bootstrap token, if the setup stream has `version` events.
fn issue(version: i64) -> Unit {
    let id = Uuid::now_v7();
    let event = Event::from(SetupEvent::BootstrapTokenIssued {
        token_hash: TokenHash::of(&id.to_string()),
        expires_at: UnixSeconds(4_000_000_000),
        owner: None,
    });
    let sealed = seal(StreamId::setup(), version + 1, event, &metadata(id), &authlog::log::Keys::new()).unwrap();
    Unit {
        id,
        reads: vec![StreamVersion { stream: StreamId::setup(), version }],
        begun: Vec::new(),
        events: vec![sealed],
        keys_made: Vec::new(),
        keys_destroyed: Vec::new(),
    }
}

async fn whole_log(log: &Log) -> Vec<EventRecord> {
    log.read().events(0, 1_000_000, None, None).await.unwrap()
}

fn assert_dense(events: &[EventRecord]) {
    let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=i64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
    assert!(events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
    for event in events {
        let leaf = leaf_hash(&LeafInput {
            position: event.position,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: &event.payload,
            metadata: &event.metadata,
            recorded_at: event.recorded_at,
        });
        assert_eq!(event.leaf_hash, hex::encode(leaf), "leaf hash at position {}", event.position);
    }
}

async fn a_new_log_begins_with_the_instance(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    let events = whole_log(&log).await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].event_type.as_str(), events[0].sequence), ("InstanceCreated", 1));
    assert_eq!(events[0].clone().decode().unwrap().stream, StreamId::setup());
    assert_eq!(log.read().rows::<SetupRow>("", &[]).await.unwrap().len(), 1);
}

async fn positions_are_dense_when_a_crowd_appends_at_once(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, writer) = opened(&database).await;
    let callers = (0..200).map(|n| {
        let log = log.clone();
        tokio::spawn(async move {
            log.append(invitation(&log, &format!("u{n}@example.com"))).await.unwrap().committed.position
        })
    });
    let mut positions = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        positions.push(caller.await.unwrap());
    }
    positions.sort_unstable();
    assert_eq!(positions, (2..=201).collect::<Vec<_>>());
    let events = whole_log(&log).await;
    assert_eq!(events.len(), 201);
    assert_dense(&events);
    assert_eq!(log.read().count::<UserRow>("", &[]).await.unwrap(), 200);
    assert_eq!(log.read().read_head().await.unwrap().position, 201);
    drop(log);
    writer.finished().await;
}

async fn of_units_that_read_one_version_one_gets_through(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move { log.append(issue(1)).await })
        })
        .collect();
    let mut taken = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => taken += 1,
            Err(AppendError::Moved(stream)) => assert_eq!(stream, StreamId::setup()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(taken, 1);
    assert_dense(&whole_log(&log).await);
}

async fn an_address_is_claimed_once_and_the_neighbours_of_the_loser_get_through(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let log = log.clone();
            let address = if n % 2 == 0 { "same@example.com".to_owned() } else { format!("u{n}@example.com") };
            tokio::spawn(async move { (n % 2, log.append(invitation(&log, &address)).await) })
        })
        .collect();
    let mut taken = [0, 0];
    for caller in callers {
        match caller.await.unwrap() {
            (kind, Ok(_)) => taken[kind] += 1,
            (0, Err(AppendError::Claimed(claim))) => assert_eq!(claim, ClaimKind::Address),
            (kind, Err(error)) => panic!("{kind}: {error}"),
        }
    }
    assert_eq!(taken, [1, 20]);
    assert_eq!(whole_log(&log).await.len(), 22);
}

/// The same as an invitation whose stream nobody has looked for.
fn beginning(log: &Log, user: UserId, address: &str) -> Unit {
    let mut unit = invitation_of(log, user, address);
    unit.begun = unit.reads.drain(..).map(|read| read.stream).collect();
    unit
}

async fn a_stream_begins_once_and_the_neighbours_of_the_second_beginning_get_through(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    let user = UserId(Uuid::now_v7());
    let units = (0..20).map(|n| {
        let user = if n % 2 == 0 { user } else { UserId(Uuid::now_v7()) };
        beginning(&log, user, &format!("u{n}@example.com"))
    });
    let mut taken = [0, 0];
    for half in [units.clone().take(10).collect::<Vec<_>>(), units.skip(10).collect()] {
        let appended = half.into_iter().enumerate().map(|(n, unit)| {
            let log = log.clone();
            tokio::spawn(async move { (n % 2, log.append(unit).await) })
        });
        for caller in appended.collect::<Vec<_>>() {
            match caller.await.unwrap() {
                (kind, Ok(_)) => taken[kind] += 1,
                (0, Err(AppendError::Refused(_))) => {}
                (kind, Err(error)) => panic!("{kind}: {error}"),
            }
        }
    }
    assert_eq!(taken, [1, 10]);
    let events = whole_log(&log).await;
    assert_eq!(events.len(), 12);
    assert_dense(&events);
}

async fn the_database_refuses_to_change_the_log(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, writer) = opened(&database).await;
    let before = whole_log(&log).await;
    drop(log);
    writer.finished().await;
    let copy = "SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, \
                recorded_at, leaf_hash FROM events";
    let mut statements = vec!["UPDATE events SET event_type = 'Forged'".to_owned(), "DELETE FROM events".to_owned()];
    match backend {
        Backend::Sqlite => statements.push(format!("INSERT OR REPLACE INTO events {copy}")),
        Backend::Postgres => {
            statements.push("TRUNCATE events".to_owned());
            statements
                .push(format!("INSERT INTO events {copy} ON CONFLICT (position) DO UPDATE SET event_type = 'Forged'"));
        }
    }
    for statement in statements {
        let refused = execute(&database, &statement).await.unwrap_err().to_string();
        assert!(refused.contains("the log is append-only"), "{statement}: {refused}");
    }
    let (log, _writer) = opened(&database).await;
    assert_eq!(whole_log(&log).await, before);
}

async fn execute(database: &TestDatabase, statement: &str) -> sqlx::Result<()> {
    if let Some(url) = &database.url {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        return sqlx::query(statement).execute(&mut connection).await.map(drop);
    }
    let file = database.folder.path().join("authlog.db");
    let mut connection = sqlx::SqliteConnection::connect(&file.display().to_string()).await?;
    sqlx::query(statement).execute(&mut connection).await.map(drop)
}

async fn a_log_opens_again_with_its_key_and_not_without(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, writer) = opened(&database).await;
    log.append(invitation(&log, "bob@example.com")).await.unwrap();
    let before = whole_log(&log).await;
    drop(log);
    writer.finished().await;
    let (log, writer) = opened(&database).await;
    assert_eq!(whole_log(&log).await, before);
    drop(log);
    writer.finished().await;

    let file = database.folder.path().join("master.key");
    let other = MasterKeySource::File(database.folder.path().join("other.key"));
    let missing = open(&database.location, &other, Clock, Arc::new(Nobody)).await.err().unwrap().to_string();
    assert!(missing.contains("is missing, and one is made only for a new log"), "{missing}");
    std::fs::write(&file, "11".repeat(32)).unwrap();
    let master = MasterKeySource::File(file);
    let wrong = open(&database.location, &master, Clock, Arc::new(Nobody)).await.err().unwrap().to_string();
    assert!(wrong.contains("the master key is not the one of this log"), "{wrong}");
}

async fn no_address_stands_in_the_log_in_clear(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    log.append(invitation(&log, "bob@example.com")).await.unwrap();
    for event in whole_log(&log).await {
        assert!(!format!("{event:?}").contains("bob"), "{event:?}");
    }
    let users: Vec<UserRow> = log.read().rows("", &[]).await.unwrap();
    assert_eq!(users.iter().map(|user| user.address.as_str()).collect::<Vec<_>>(), ["bob@example.com"]);
    assert_eq!(UserRow::TABLE.name, "users");
}

async fn a_read_model_that_refuses_a_unit_refuses_it_alone(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    let mut orphan = invitation(&log, "carol@example.com");
    let event = Event::from(UserEvent::RoleChanged { role: aggregates::Role::Admin, changed_by: UserId(orphan.id) });
    let stream = orphan.events[0].stream.clone();
    orphan.events = vec![seal(stream, 1, event, &metadata(orphan.id), &authlog::log::Keys::new()).unwrap()];
    let neighbour = invitation(&log, "bob@example.com");
    let (refused, taken) = tokio::join!(log.append(orphan), log.append(neighbour));
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    taken.unwrap();
    assert_dense(&whole_log(&log).await);
}

async fn the_audit_trail_alone_may_be_set_aside_and_says_so(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    execute(&database, "INSERT INTO audit_1 (id, action, resource_type, created_at) VALUES (3, 'x', 'x', 0)")
        .await
        .unwrap();
    execute(&database, "CREATE UNIQUE INDEX one_action ON audit_1 (action)").await.unwrap();
    log.append(invitation(&log, "bob@example.com")).await.unwrap();
    assert!(log.read().read_head().await.unwrap().layout.0["audit"].aside_since.is_none());
    log.append(invitation(&log, "carol@example.com")).await.unwrap();
    let head = log.read().read_head().await.unwrap();
    assert_eq!((head.position, head.layout.0["audit"].aside_since), (3, Some(3)));
    assert_eq!(log.read().count::<UserRow>("", &[]).await.unwrap(), 2);
    log.append(invitation(&log, "dave@example.com")).await.unwrap();
    assert_eq!(log.read().read_head().await.unwrap().layout.0["audit"].aside_since, Some(3));
    assert_dense(&whole_log(&log).await);
}

async fn an_audit_trail_whose_table_is_gone_is_set_aside(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    execute(&database, "DROP TABLE audit_1").await.unwrap();
    log.append(invitation(&log, "bob@example.com")).await.unwrap();
    let head = log.read().read_head().await.unwrap();
    assert_eq!((head.position, head.layout.0["audit"].aside_since), (2, Some(2)));
    assert_eq!(log.read().count::<UserRow>("", &[]).await.unwrap(), 1);
}

async fn behind_a_proxy() -> (TestDatabase, Proxy, Log, WriterHandle) {
    let mut database = TestDatabase::new(Backend::Postgres).await;
    let proxy = Proxy::before(database.url.as_ref().unwrap()).await;
    database.location = authlog::log::Location::Postgres { url: proxy.url.clone().into() };
    let (log, writer) = opened(&database).await;
    (database, proxy, log, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_whose_commit_answer_was_lost_is_found_in_the_log_and_acknowledged() {
    let (_database, proxy, log, _writer) = behind_a_proxy().await;
    let mut lost = proxy.trap("COMMIT\0", Side::BeforeTheClient, Fault::Reset);
    let appended = log.append(invitation(&log, "bob@example.com")).await.unwrap();
    assert_eq!(appended.committed.position, 2);
    lost.sprung().await;
    log.append(invitation(&log, "carol@example.com")).await.unwrap();
    let events = whole_log(&log).await;
    assert_eq!(events.len(), 3);
    assert_dense(&events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_whose_commit_never_arrived_is_refused_and_leaves_no_trace() {
    let (_database, proxy, log, _writer) = behind_a_proxy().await;
    let mut lost = proxy.trap("COMMIT\0", Side::BeforeTheServer, Fault::Reset);
    let refused = log.append(invitation(&log, "bob@example.com")).await;
    assert!(matches!(refused, Err(AppendError::Store(_))), "{refused:?}");
    lost.sprung().await;
    assert_eq!(log.append(invitation(&log, "bob@example.com")).await.unwrap().committed.position, 2);
    assert_dense(&whole_log(&log).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_on_an_empty_database_agree_on_one_instance() {
    let database = TestDatabase::new(Backend::Postgres).await;
    let (first, second, third) = tokio::join!(opened(&database), opened(&database), opened(&database));
    let nodes = [first, second, third];
    let events = whole_log(&nodes[0].0).await;
    assert_eq!(events.len(), 1);
    for (node, (log, _)) in nodes.iter().enumerate() {
        log.append(invitation(log, &format!("u{node}@example.com"))).await.unwrap();
    }
    assert_dense(&whole_log(&nodes[0].0).await);
    assert_eq!(nodes[0].0.read().count::<UserRow>("", &[]).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_somebody_else_writes_to_is_filled_no_further() {
    let database = TestDatabase::new(Backend::Postgres).await;
    let master = MasterKeySource::File(database.folder.path().join("master.key"));
    let beginning = Beginning { instance_id: InstanceId(Uuid::now_v7()), unit_id: Uuid::now_v7(), at_micros: 1 };
    let mut filling = Filling::begin(&database.location, &master, &beginning).await.unwrap();
    let (log, _writer) = opened(&database).await;
    let past = |unit| PastUnit { recorded_at_micros: 2, unit };
    filling.write(&[past(invitation(&log, "ann@example.com"))]).await.unwrap();
    log.append(invitation(&log, "bob@example.com")).await.unwrap();
    let refused = filling.write(&[past(invitation(&log, "carol@example.com"))]).await;
    assert!(matches!(refused, Err(FillError::NotAlone)), "{refused:?}");
    assert_dense(&whole_log(&log).await);
    assert_eq!(log.read().count::<UserRow>("", &[]).await.unwrap(), 2);
}

async fn old_months_of_strangers_are_forgotten_and_nothing_else(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, _writer) = opened(&database).await;
    log.append(invitation(&log, "bob@example.com")).await.unwrap();
    for month in ["2025-12", "2026-07", "2026-08"] {
        log.strangers_key(&KeyId::Strangers(month.to_owned())).await.unwrap();
    }
    log.destroy_strangers_keys_before("2026-08").await.unwrap();
    let keys = log.read().database().texts("SELECT id FROM data_keys ORDER BY id", &[]).await.unwrap();
    assert_eq!((keys.len(), keys[0].as_str(), keys[2].as_str()), (3, "instance", "strangers/2026-08"), "{keys:?}");
}

/// Follows the log until `last`; every page must go on exactly where the one before ended.
async fn follow(log: Log, last: i64) {
    let mut seen = 0;
    while seen < last {
        for event in log.read().events(seen, 1000, None, None).await.unwrap() {
            assert_eq!(event.position, seen + 1, "a reader skipped an event");
            seen = event.position;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_ask_one_is_to_do_what_one_does_for_all() {
    let database = TestDatabase::new(Backend::Postgres).await;
    let (first, second, third) = tokio::join!(opened(&database), opened(&database), opened(&database));
    let nodes = [first, second, third].map(|(log, _)| Arc::clone(log.nodes().unwrap()));
    let asked = async |every| {
        let [first, second, third] = &nodes;
        let answers = tokio::join!(first.is_to_do("x", every), second.is_to_do("x", every), third.is_to_do("x", every));
        [answers.0, answers.1, answers.2].into_iter().filter(|answer| *answer.as_ref().unwrap()).count()
    };
    let hour = Duration::from_secs(3600);
    assert_eq!((asked(hour).await, asked(hour).await), (1, 0));
    let at = async |due: &str| execute(&database, &format!("UPDATE chores SET due_at = {due}")).await.unwrap();
    at("clock_timestamp()").await;
    assert_eq!((asked(hour).await, asked(hour).await), (1, 0));
    // The server's clock was set back by a day.
    at("clock_timestamp() + interval '25 hours'").await;
    assert_eq!((asked(hour).await, asked(hour).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_skips_nothing_while_three_nodes_append() {
    let database = TestDatabase::new(Backend::Postgres).await;
    let (first, second, third) = tokio::join!(opened(&database), opened(&database), opened(&database));
    let nodes = [first, second, third];
    let last = 1 + 3 * 150;
    let reader = tokio::spawn(follow(nodes[0].0.clone(), last));
    let mut appending = tokio::task::JoinSet::new();
    for (node, (log, _)) in nodes.iter().enumerate() {
        for n in 0..150 {
            let log = log.clone();
            appending
                .spawn(async move { log.append(invitation(&log, &format!("u{n}@n{node}.example"))).await.unwrap() });
        }
    }
    while let Some(appended) = appending.join_next().await {
        appended.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    let events = whole_log(&nodes[2].0).await;
    assert_eq!(i64::try_from(events.len()).unwrap(), last);
    assert_dense(&events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_rests_on_a_commit_that_memory_has_not_heard_of() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let (hear, heard) = std::sync::mpsc::channel();
    let (log, _writer) = opened_for(&database, Arc::new(Slow(std::sync::Mutex::new(heard)))).await;
    let appending = tokio::spawn({
        let log = log.clone();
        async move { log.append(issue(1)).await }
    });
    while log.read().read_head().await.unwrap().position < 2 {
        tokio::task::yield_now().await;
    }
    // It can be read, and memory does not know.
    let mut settling = Box::pin(log.settled());
    tokio::select! {
        biased;
        () = &mut settling => panic!("settled before memory has heard"),
        () = tokio::task::yield_now() => {}
    }
    hear.send(()).unwrap();
    settling.await;
    appending.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reads_the_tables_that_another_node_has_rebuilt() {
    let database = TestDatabase::new(Backend::Postgres).await;
    let (first, _) = opened(&database).await;
    let (second, _) = opened(&database).await;
    let users = async || first.read().rows::<UserRow>("ORDER BY t.address", &[]).await.unwrap();
    first.append(invitation(&first, "a@example.com")).await.unwrap();
    assert_eq!(users().await.len(), 1);
    for round in 2..5 {
        let names = ["users", "unique_keys", "audit"];
        rebuild(&database.location, second.keyring(), second.hasher(), &names).await.unwrap();
        second.append(invitation(&second, &format!("{round}@example.com"))).await.unwrap();
        let listed = users().await;
        assert_eq!(listed.len(), round, "what the other node wrote is seen at once");
        assert_eq!(listed.last().unwrap().address, "a@example.com", "in the order that was asked for");
        let count = first.read().count::<UserRow>("", &[]).await.unwrap();
        assert_eq!(usize::try_from(count).unwrap(), round);
    }
}

async fn the_tables_of_a_later_release_are_left_alone(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, handle) = opened(&database).await;
    let mut layout = log.read().read_head().await.unwrap().layout;
    layout.0.get_mut("users").unwrap().version += 1;
    let layout = serde_json::to_string(&layout).unwrap();
    let mut other = SecondConnection::open(&database).await;
    other.run(&format!("UPDATE log_head SET layout = '{layout}'")).await;
    let outcome = log.append(invitation(&log, "a@example.com")).await;
    assert!(matches!(outcome, Err(AppendError::Superseded)), "{outcome:?}");
    drop(log);
    handle.finished().await;
    let master = MasterKeySource::File(database.folder.path().join("master.key"));
    let refused = open(&database.location, &master, Clock, Arc::new(Nobody)).await;
    assert!(matches!(refused, Err(OpenError::LaterRelease)));
}

async fn a_writer_that_breaks_down_after_its_commit_says_so_and_promises_nothing(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let (log, writer) = opened_for(&database, Arc::new(Breaks)).await;
    assert!(log.takes_units());
    let outcome = log.append(issue(1)).await;
    assert!(matches!(outcome, Err(AppendError::Unknown)), "{outcome:?}");
    assert_eq!(log.read().read_head().await.unwrap().position, 2, "it was committed");
    writer.finished().await;
    assert!(!log.takes_units());
    let outcome = log.append(issue(2)).await;
    assert!(matches!(outcome, Err(AppendError::Closed)), "{outcome:?}");
}

on_both_databases!(
    the_tables_of_a_later_release_are_left_alone,
    a_writer_that_breaks_down_after_its_commit_says_so_and_promises_nothing,
    old_months_of_strangers_are_forgotten_and_nothing_else,
    a_read_model_that_refuses_a_unit_refuses_it_alone,
    the_audit_trail_alone_may_be_set_aside_and_says_so,
    an_audit_trail_whose_table_is_gone_is_set_aside,
    a_new_log_begins_with_the_instance,
    positions_are_dense_when_a_crowd_appends_at_once,
    of_units_that_read_one_version_one_gets_through,
    an_address_is_claimed_once_and_the_neighbours_of_the_loser_get_through,
    a_stream_begins_once_and_the_neighbours_of_the_second_beginning_get_through,
    the_database_refuses_to_change_the_log,
    a_log_opens_again_with_its_key_and_not_without,
    no_address_stands_in_the_log_in_clear,
);
