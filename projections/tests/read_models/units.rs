use aggregates::{SessionEvent, StreamId, UserEvent};
use projections::{ClaimKind, FoldError, Key, ReadModels, Rows, TABLES, UniqueKeyRow};

use crate::samples::{accepted, identity, invited, one_of_each, session, session_opened, user};
use crate::store::{Log, Store, changes, hasher};

#[test]
fn a_refused_unit_leaves_its_neighbours_alone() {
    let mut log = Log::default();
    let mut write = |n, event| log.write(StreamId::user(user(n)), event);
    let before = [write(1, invited(1, "ann@example.com"))];
    let refused =
        [write(1, accepted(1, "s1")), write(2, invited(2, "bob@example.com")), write(3, invited(3, "ann@example.com"))];
    let after = [write(4, invited(4, "bob@example.com")), write(4, accepted(4, "s1"))];
    let mut store = Store::default();
    let outcomes = store.take_batch(&[&before, &refused, &after]);
    assert_eq!(outcomes, [Ok(()), Err(FoldError::Claimed(ClaimKind::Address)), Ok(())]);
    assert_eq!(store, Store::of(&[&before, &after]));
}

#[test]
fn an_event_that_contradicts_the_rows_is_refused() {
    let refused = |table, reason| Err(FoldError::Broken { table, position: 1, reason });
    for (stream, event, table) in [
        (StreamId::user(user(1)), UserEvent::UserDisabled { disabled_by: user(2) }.into(), "users"),
        (StreamId::session(session(1)), aggregates::Event::from(SessionEvent::SessionSignedOut {}), "sessions"),
    ] {
        let unit = [Log::default().write(stream, event)];
        assert_eq!(Store::default().take(&unit), refused(table, "the row it changes is not there"));
        let recorded = [unit[0].recorded()];
        let outcome = ReadModels::new().fold(&recorded, &hasher());
        assert_eq!(outcome, refused(table, "a row it needs was not loaded"));
    }
    let stream = StreamId::of("user", "ann").unwrap();
    let unit = [Log::default().write(stream, invited(1, "ann@example.com"))];
    assert_eq!(Store::default().take(&unit), refused("users", "the id of its stream is no UUID"));
}

#[test]
fn only_the_selected_tables_need_rows_and_fold() {
    let mut log = Log::default();
    for table in TABLES {
        let mut models = ReadModels::only(&[table.name]);
        let mut touched = false;
        for (stream, event) in one_of_each() {
            let entry = log.write(stream, event);
            models.need(&entry.recorded(), &hasher());
            for rows in models.tables() {
                assert!(rows.table().name == table.name || !rows.has_missing());
                rows.supply_json("[]").unwrap();
            }
            // Alone many contradict the empty table; what matters is that no other one is asked.
            match models.fold(&[entry.recorded()], &hasher()) {
                Err(FoldError::Broken { table: refused, .. }) => assert_eq!(refused, table.name),
                outcome => assert_eq!(outcome, Ok(())),
            }
            for rows in models.tables() {
                let changed =
                    [rows.inserts_json(), rows.updates_json(), rows.deletes_json()].iter().any(Option::is_some);
                touched |= changed;
                assert!(rows.table().name == table.name || !changed);
            }
        }
        assert!(touched, "{} folded nothing", table.name);
    }
}

#[test]
fn a_row_made_and_ended_in_one_batch_is_never_written() {
    let mut log = Log::default();
    let mut write = |event| log.write(StreamId::session(session(1)), event);
    let (opened, ended) = (write(session_opened(1, 1)), write(SessionEvent::SessionSignedOut {}));
    let mut models = ReadModels::only(&["sessions"]);
    for entry in [&opened, &ended] {
        models.need(&entry.recorded(), &hasher());
        assert!(models.tables().iter().all(|rows| !rows.has_missing()), "a new row needs no loading");
        assert_eq!(models.fold(&[entry.recorded()], &hasher()), Ok(()));
    }
    assert!(changes(&mut models).iter().all(|change| *change == [None, None, None]));
}

#[test]
fn a_row_that_ends_as_it_was_is_not_written() {
    let mut log = Log::default();
    let mut write = |event| log.write(StreamId::user(user(1)), event);
    let mut store = Store::of(&[&[write(invited(1, "ann@example.com")), write(accepted(1, "s1"))]]);
    let keys = store.table("unique_keys");
    // The store of the tests refuses a row that it has already.
    assert_eq!(
        store.take(&[write(UserEvent::IdentityUnlinked { released: identity(1, "s1") }), write(accepted(1, "s1"))]),
        Ok(())
    );
    assert_eq!(store.table("unique_keys"), keys);
}

fn row(key: &str, n: u128) -> UniqueKeyRow {
    UniqueKeyRow { key: key.to_owned(), kind: ClaimKind::Address, user_id: user(n) }
}

fn key(key: &str) -> Key {
    Key::Text(key.to_owned())
}

#[test]
fn rows_leave_in_the_order_of_their_keys_and_only_those_that_changed() {
    let mut rows = Rows::<UniqueKeyRow>::default();
    for name in ["d", "c", "b", "a", "d"] {
        rows.need(key(name));
    }
    assert_eq!(rows.missing(), [key("a"), key("b"), key("c"), key("d")]);
    for name in ["a", "b", "c"] {
        rows.supply(key(name), Some(row(name, 1)));
    }
    assert_eq!(rows.missing(), [key("d")]);
    rows.supply(key("d"), None);
    rows.put(row("f", 2));
    rows.put(row("b", 2));
    rows.put(row("a", 1));
    rows.remove(key("c"));
    rows.remove(key("d"));
    assert_eq!(rows.upserts(), [&row("b", 2), &row("f", 2)]);
    assert_eq!(rows.deletes(), [&key("c")]);
    assert_eq!((rows.get(&key("b")), rows.get(&key("c"))), (Some(&row("b", 2)), None));
}

#[test]
fn what_folds_have_built_on_is_not_supplied_again() {
    let mut rows = Rows::<UniqueKeyRow>::default();
    rows.need(key("a"));
    rows.supply(key("a"), None);
    rows.put(row("a", 1));
    rows.supply(key("a"), Some(row("a", 2)));
    assert_eq!(rows.upserts(), [&row("a", 1)]);
}

#[test]
fn a_row_of_another_shape_is_not_supplied() {
    let mut models = ReadModels::new();
    models.users.need(Key::Id(user(1).0));
    let [_, _, users, ..] = models.tables();
    assert!(users.supply_json("[{\"id\":1}]").is_err());
    assert_eq!(users.missing_json(), format!("[\"{}\"]", user(1)));
}

#[test]
fn every_table_is_described_once() {
    let mut models = ReadModels::new();
    assert_eq!(models.tables().map(|rows| rows.table().name), TABLES.map(|table| table.name));
    for table in TABLES {
        let has = |name: &str| table.columns.iter().filter(|column| column.name == name).count() == 1;
        assert!(table.columns.iter().all(|column| has(column.name)), "{}", table.name);
        assert!(has(table.key), "{}", table.name);
        assert!(table.indexes.iter().flat_map(|index| index.columns).all(|column| has(column)), "{}", table.name);
    }
}
