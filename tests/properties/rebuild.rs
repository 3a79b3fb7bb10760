//! P6: state is disposable.

use std::sync::Once;

use aggregates::KeyId;
use authlog::error::ErrorCode;
use authlog::log::history::PAGE_EVENTS;
use authlog::log::rebuild::{Pace, RebuildError, rebuild};
use authlog::log::{Layout, Reader};
use authlog::runtime::Runtime;
use authlog::service::erase::Eraser;
use projections::{TABLES, UserRow};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::on_both_databases;
use crate::story::tell;
use crate::support::second_connection::SecondConnection;
use crate::support::{Backend, TestDatabase};
use crate::world::{World, all_names, context, execute, layout, tables};

/// What PostgreSQL knows the right to rebuild by.
const TURN: i64 = 0x6175_7468_6c6f_6701;

fn sets(layout: &Layout) -> Vec<i64> {
    TABLES.iter().map(|table| layout.set_of(table.name)).collect()
}

async fn record_layout(database: &TestDatabase, layout: &Layout) {
    let text = serde_json::to_string(layout).unwrap();
    execute(database, &format!("UPDATE log_head SET layout = '{text}'")).await.unwrap();
}

/// Which of the tables `name_1`, `name_2` ... of the read models there are.
async fn existing_tables(database: &TestDatabase) -> Vec<String> {
    let reader = Reader::open(&database.location).await.unwrap();
    let sql = match database.url {
        None => "SELECT name FROM sqlite_schema WHERE type = 'table'",
        Some(_) => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
    };
    let mut found = reader.database().texts(sql, &[]).await.unwrap();
    reader.database().close().await;
    found.retain(|name| TABLES.iter().any(|table| name.starts_with(&format!("{}_", table.name))));
    // The log's own tables do not end in a number.
    found.retain(|name| name.ends_with(|last: char| last.is_ascii_digit()));
    found.sort();
    found
}

async fn dropping_every_read_model_and_rebuilding_gives_byte_equal_tables(backend: Backend) {
    let mut world = World::new(backend).await;
    tell(&world).await;
    let position = world.service().log.read().read_head().await.unwrap().position;
    assert!(position > i64::from(PAGE_EVENTS), "the log has only {position} events");
    let before = tables(&world.database).await;
    assert!(before.values().all(|rows| !rows.is_empty()), "a read model holds nothing");

    let mut damage: Vec<String> = TABLES.iter().map(|table| format!("DROP TABLE {}_1", table.name)).collect();
    // As a rebuild leaves it that was cut off.
    damage.push("CREATE TABLE users_2 (id TEXT)".to_owned());
    world.rebuild_after(&damage, &all_names()).await;

    assert_eq!(tables(&world.database).await, before);
    assert_eq!(sets(&layout(&world.database).await), [2; 7]);
    world.open().await;
    world.rebuild_after(&[], &all_names()).await;
    assert_eq!(tables(&world.database).await, before);
    let mut expected: Vec<String> = TABLES.iter().map(|table| format!("{}_3", table.name)).collect();
    expected.sort();
    assert_eq!(existing_tables(&world.database).await, expected);
}

async fn tables_of_another_version_are_rebuilt_at_start_and_the_others_stay(backend: Backend) {
    let mut world = World::new(backend).await;
    tell(&world).await;
    let before = tables(&world.database).await;
    let whole = layout(&world.database).await;
    world.close().await;
    let mut older = whole.clone();
    older.0.get_mut("users").unwrap().version = 0;
    older.0.remove("sessions");
    record_layout(&world.database, &older).await;
    execute(&world.database, "UPDATE users_1 SET address = 'stale'").await.unwrap();

    world.open().await;

    assert_eq!(tables(&world.database).await, before);
    let mut expected = whole;
    expected.0.get_mut("users").unwrap().set = 2;
    assert_eq!(layout(&world.database).await, expected);
    // The service reads and writes the new tables.
    let users: Vec<UserRow> =
        world.service().log.read().rows("WHERE t.address = 'bob@example.com'", &[]).await.unwrap();
    assert_eq!(users.len(), 1);
    world.close().await;
}

async fn what_a_destroyed_key_had_sealed_is_in_no_rebuilt_table(backend: Backend) {
    let mut world = World::new(backend).await;
    let cast = tell(&world).await;
    let before = tables(&world.database).await;
    let bob = KeyId::Person(cast.bob);
    let erase = format!("DELETE FROM data_keys WHERE id = '{bob}'");
    world.keys().0.forget(&bob);
    world.rebuild_after(&[erase], &all_names()).await;
    let after = tables(&world.database).await;

    assert!(format!("{before:?}").contains("bob@example.com"));
    for trace in ["bob@example.com", "Robert", "Bobs"] {
        assert!(!format!("{after:?}").contains(trace), "{trace} is still there");
    }
    let of_bob = |row: &&String| row.contains(&cast.bob.to_string());
    for table in TABLES {
        let others = |rows: &[String]| rows.iter().filter(|row| !of_bob(row)).cloned().collect::<Vec<_>>();
        assert_eq!(others(&after[table.name]), others(&before[table.name]), "{}", table.name);
    }
    let user: Value = serde_json::from_str(after["users"].iter().find(of_bob).unwrap()).unwrap();
    assert_eq!(user["address"], "");
    assert_eq!((&user["linked"], &user["status"]), (&1.into(), &"active".into()));
    assert_eq!(after["unique_keys"].iter().filter(of_bob).count(), 0);

    world.open().await;
    world.rebuild_after(&[], &all_names()).await;
    assert_eq!(tables(&world.database).await, after);
}

async fn somebody_erased_while_read_models_are_compared_makes_no_difference(backend: Backend) {
    let world = World::new(backend).await;
    let cast = tell(&world).await;
    let (service, once) = (world.service(), Once::new());
    // After the first page; Bob signs in on the next one, too.
    let erase_bob = |_| {
        let erasing = async { service.erase_user(&context(), Eraser::Operator, cast.bob).await.unwrap() };
        once.call_once(|| {
            block_in_place(|| Handle::current().block_on(erasing));
        });
    };
    let verified = service.log.past().verify(&all_names(), &erase_bob).await.unwrap();
    assert!(once.is_completed());
    assert_eq!(verified.differences, []);
}

async fn an_audit_trail_that_was_set_aside_is_whole_after_a_rebuild(backend: Backend) {
    let mut world = World::new(backend).await;
    tell(&world).await;
    let before = tables(&world.database).await;
    let mut aside = layout(&world.database).await;
    aside.0.get_mut("audit").unwrap().aside_since = Some(20);
    record_layout(&world.database, &aside).await;
    world.rebuild_after(&["DELETE FROM audit_1 WHERE id >= 20".to_owned()], &["audit"]).await;
    assert_eq!(tables(&world.database).await, before);
    let mended = layout(&world.database).await;
    assert_eq!(sets(&mended), [1, 1, 1, 1, 1, 1, 2]);
    assert!(!mended.is_aside("audit"));
}

/// The tables that are in force, and no others.
async fn live_tables(database: &TestDatabase) -> Vec<String> {
    let layout = layout(database).await;
    let mut names: Vec<_> =
        TABLES.iter().map(|table| format!("{}_{}", table.name, layout.set_of(table.name))).collect();
    names.sort();
    names
}

async fn what_a_cut_off_rebuild_has_left_goes_with_the_next_erasure_and_at_the_next_start(backend: Backend) {
    let mut world = World::new(backend).await;
    let cast = tell(&world).await;
    let live = live_tables(&world.database).await;
    for (copy, of) in [("users_2", "users_1"), ("sessions_7", "sessions_1")] {
        execute(&world.database, &format!("CREATE TABLE {copy} AS SELECT * FROM {of}")).await.unwrap();
    }
    let erased = world.service().erase_user(&context(), Eraser::Operator, cast.bob).await.unwrap();
    assert!(erased.wiped);
    assert_eq!(existing_tables(&world.database).await, live);

    world.close().await;
    execute(&world.database, "CREATE TABLE users_2 AS SELECT * FROM users_1").await.unwrap();
    world.open().await;
    assert_eq!(existing_tables(&world.database).await, live);
    world.close().await;
}

async fn an_erasure_beside_a_rebuild_is_whole_when_the_rebuild_has_ended(backend: Backend) {
    let world = World::new(backend).await;
    let cast = tell(&world).await;
    let (service, once) = (world.service(), Once::new());
    // After the first page, which Bob is in.
    let erase_bob = |_| {
        let erasing = async { service.erase_user(&context(), Eraser::Operator, cast.bob).await.unwrap() };
        once.call_once(|| {
            let erased = block_in_place(|| Handle::current().block_on(erasing));
            assert!(!erased.wiped, "the half-made tables hold him");
        });
    };
    service.log.rebuild(&all_names(), Pace::InTurns, &erase_bob).await.unwrap();
    assert!(once.is_completed());
    assert_eq!(existing_tables(&world.database).await, live_tables(&world.database).await);
    let rows = format!("{:?}", tables(&world.database).await);
    let mut holdings = vec![("the tables".to_owned(), rows.into_bytes())];
    if backend == Backend::Sqlite {
        let files = std::fs::read_dir(world.database.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        holdings.extend(files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())));
    }
    for (name, bytes) in holdings {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("bob@example.com") && !text.contains("Robert"), "{name}");
    }
    assert!(service.log.wipe_remains().await.unwrap());
}

async fn a_read_model_that_there_is_not_cannot_be_rebuilt(backend: Backend) {
    let world = World::new(backend).await;
    let (keyring, hasher) = world.keys();
    let refused = rebuild(&world.database.location, &keyring, &hasher, &["users", "dreams"]).await;
    assert!(matches!(refused, Err(RebuildError::UnknownModel(name)) if name == "dreams"));
    assert_eq!(sets(&layout(&world.database).await), [1; 7]);
}

on_both_databases!(
    somebody_erased_while_read_models_are_compared_makes_no_difference,
    dropping_every_read_model_and_rebuilding_gives_byte_equal_tables,
    tables_of_another_version_are_rebuilt_at_start_and_the_others_stay,
    what_a_destroyed_key_had_sealed_is_in_no_rebuilt_table,
    an_audit_trail_that_was_set_aside_is_whole_after_a_rebuild,
    what_a_cut_off_rebuild_has_left_goes_with_the_next_erasure_and_at_the_next_start,
    an_erasure_beside_a_rebuild_is_whole_when_the_rebuild_has_ended,
    a_read_model_that_there_is_not_cannot_be_rebuilt,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_rebuild_once() {
    let mut world = World::new(Backend::Postgres).await;
    tell(&world).await;
    let before = tables(&world.database).await;
    world.close().await;
    let mut older = layout(&world.database).await;
    older.0.values_mut().for_each(|state| state.version = 0);
    record_layout(&world.database, &older).await;

    let start = || Runtime::open(world.settings());
    let (first, second, third) = tokio::join!(start(), start(), start());
    for node in [first, second, third] {
        node.unwrap().close().await;
    }
    assert_eq!(tables(&world.database).await, before);
    assert_eq!(sets(&layout(&world.database).await), [2; 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_written_while_a_rebuild_runs_are_in_its_tables() {
    let world = World::new(Backend::Postgres).await;
    tell(&world).await;
    let (keyring, hasher) = world.keys();
    let names = all_names();
    let writing = async {
        for n in 0..60 {
            world.service().refusals.count(ErrorCode::MissingEmail);
            world.service().write_refusals().await.unwrap_or_else(|error| panic!("{n}: {error:?}"));
        }
    };
    let (rebuilt, ()) = tokio::join!(rebuild(&world.database.location, &keyring, &hasher, &names), writing);
    rebuilt.unwrap();
    let live = tables(&world.database).await;
    let head = world.service().log.read().read_head().await.unwrap().position;
    assert_eq!(live["audit"].len(), usize::try_from(head).unwrap());
    rebuild(&world.database.location, &keyring, &hasher, &names).await.unwrap();
    assert_eq!(tables(&world.database).await, live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_erased_while_a_rebuild_runs_is_in_none_of_its_tables() {
    let mut world = World::new(Backend::Postgres).await;
    let bob = KeyId::Person(tell(&world).await.bob);
    let (keyring, hasher) = world.keys();
    world.close().await;
    // After the first page, when indexes are made, another node erases him.
    let erase = format!(
        "CREATE FUNCTION erase() RETURNS event_trigger LANGUAGE plpgsql AS \
         $$ BEGIN DELETE FROM data_keys WHERE id = '{bob}'; END $$"
    );
    execute(&world.database, &erase).await.unwrap();
    let trigger = "CREATE EVENT TRIGGER erase ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION erase()";
    execute(&world.database, trigger).await.unwrap();

    let names = all_names();
    let rebuilding = rebuild(&world.database.location, &keyring, &hasher, &names);
    let forgetting = async {
        loop {
            keyring.forget(&bob);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        rebuilt = rebuilding => drop(rebuilt.unwrap()),
        () = forgetting => {}
    }
    let rebuilt = tables(&world.database).await;
    for trace in ["bob@example.com", "Robert", "Bobs"] {
        assert!(!format!("{rebuilt:?}").contains(trace), "{trace} is still there");
    }
    rebuild(&world.database.location, &keyring, &hasher, &names).await.unwrap();
    assert_eq!(tables(&world.database).await, rebuilt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_asked_for_beside_another_is_told_who_is_at_it() {
    let world = World::new(Backend::Postgres).await;
    let (keyring, hasher) = world.keys();
    let mut other = SecondConnection::open(&world.database).await;
    other.run("SET application_name = 'somebody else'").await;
    other.run(&format!("SELECT pg_advisory_lock({TURN})")).await;
    let refused = rebuild(&world.database.location, &keyring, &hasher, &["users"]).await;
    assert!(matches!(&refused, Err(RebuildError::Elsewhere(who)) if who.starts_with("somebody else, ")), "{refused:?}");
    other.run(&format!("SELECT pg_advisory_unlock({TURN})")).await;
    rebuild(&world.database.location, &keyring, &hasher, &["users"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_freezes_while_it_rebuilds_loses_its_turn() {
    let world = World::new(Backend::Postgres).await;
    let (keyring, hasher) = world.keys();
    execute(&world.database, "CREATE TABLE limits (idle TEXT)").await.unwrap();
    let look = "CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS \
                $$ BEGIN INSERT INTO limits VALUES (current_setting('idle_session_timeout')); END $$";
    execute(&world.database, look).await.unwrap();
    let trigger = "CREATE EVENT TRIGGER look ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION look()";
    execute(&world.database, trigger).await.unwrap();
    rebuild(&world.database.location, &keyring, &hasher, &["users"]).await.unwrap();
    let limits = world.service().log.read().database().texts("SELECT DISTINCT idle FROM limits", &[]).await.unwrap();
    assert_eq!(limits, ["1min"]);
}
