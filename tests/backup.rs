//! Backups: copied beside a service, restored into an empty database of either kind, refused when they are not whole.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use authlog::keys::random_bytes;
use authlog::log::history::PAGE_EVENTS;
use reqwest::Method;
use serde_json::{Value, json};
use support::rules::assert_lawful;
use support::server::{Instance, Server, flags, run};
use support::{Backend, TestDatabase, tables};
use tempfile::TempDir;

const KILLS: usize = 8;
/// People whose invitations make a log that takes a while to restore.
const PEOPLE: usize = 600;

/// A folder for backups, and what they are called there.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// The last line of a command's JSON.
fn outcome(stdout: &str) -> Value {
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

async fn backed_up(flags: &[String], folder: &str) -> Value {
    let (code, stdout, stderr) = run(flags, &["backup", folder, "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    outcome(&stdout)
}

/// An empty database whose folder has the master key of another.
async fn empty_like(source: &TestDatabase, backend: Backend) -> TestDatabase {
    let database = TestDatabase::new(backend).await;
    fs::copy(source.folder.path().join("master.key"), database.folder.path().join("master.key")).unwrap();
    database
}

async fn restored(database: &TestDatabase, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(&flags(database), &[&["restore", "--json"], arguments].concat()).await;
    assert_eq!(code, 0, "{stderr}");
    outcome(&stdout)
}

/// Asserts that a command fails with exactly one line, and answers that line.
async fn refused(database: &TestDatabase, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(&flags(database), arguments).await;
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{arguments:?}: {stderr}");
    stderr
}

async fn invite(server: &Server, owner: &str, name: &str, people: std::ops::Range<usize>) {
    for number in people {
        let body = json!({ "email": format!("{name}{number}@example.com"), "role": "qa_viewer" });
        server.post("/v1/users/invite", Some(owner), body).await.ok(201);
    }
}

async fn a_backup_beside_a_service_comes_back_on_either_database(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    let (shelf, server, owner) = (Shelf::new(), &instance.server, &instance.owner);
    let (_, bob) = server.join(owner, "bob", "developer").await;
    let token = server.post("/v1/api-tokens", Some(&bob), json!({ "name": "ci", "role": "developer" })).await.ok(201);
    let token = token["token"].as_str().unwrap();
    let before = tables::head(&instance.database).await.0;

    let folder = shelf.text("backup");
    let backing_up = backed_up(&server.flags, &folder);
    let (taken, ()) = tokio::join!(backing_up, invite(server, owner, "meanwhile", 0..150));

    let position = taken["position"].as_i64().unwrap();
    let written = tables::log(&instance.database).await;
    assert!((before..=tables::head(&instance.database).await.0).contains(&position), "{taken}");
    instance.server.kill().await;
    for target in [Backend::Sqlite, Backend::Postgres] {
        let database = empty_like(&instance.database, target).await;
        let outcome = restored(&database, &[&folder]).await;
        let last = &written[usize::try_from(position).unwrap() - 1];
        assert_eq!((&outcome["position"], &outcome["leaf_hash"]), (&taken["position"], &json!(last.leaf_hash)));
        assert_eq!((&outcome["keys"], &outcome["equal"]), (&taken["keys"], &json!(true)));
        assert_eq!(outcome["erased_since"], json!([]));
        assert_eq!(tables::log(&database).await, written[..usize::try_from(position).unwrap()]);
        assert_eq!(tables::head(&database).await.0, position);
        let (code, stdout, stderr) = run(&flags(&database), &["projections", "verify"]).await;
        assert_eq!(code, 0, "{stdout}{stderr}");

        let mut server = Server::start(&database).await;
        for token in [owner.as_str(), &bob, token] {
            server.get("/v1/users/me", Some(token)).await.ok(200);
        }
        server.sign_in("alice").await.ok(200);
        invite(&server, owner, "afterwards", 0..3).await;
        assert_lawful(&database).await;
        assert_eq!(server.stop().await, 0);
        assert_eq!(database.forge("nothing has this text", "").await, 0, "the triggers are there to be dropped");
    }
}

async fn an_old_log_with_the_newest_keys_does_not_bring_back_who_was_erased(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (shelf, server, owner) = (Shelf::new(), &instance.server, &instance.owner);
    let (bob, bob_session) = server.join(owner, "bob", "developer").await;
    let body = json!({ "name": "ci", "role": "developer" });
    let bob_token = server.post("/v1/api-tokens", Some(&bob_session), body).await.ok(201);
    let bob_token = bob_token["token"].as_str().unwrap();
    let (old, keys) = (shelf.text("old"), shelf.text("keys.jsonl"));
    backed_up(&server.flags, &old).await;
    server.call(Method::DELETE, &format!("/v1/users/{bob}?erase=true"), Some(owner), None).await.ok(200);
    let (code, _, stderr) = run(&server.flags, &["backup", &shelf.text("new"), "--keys", &keys]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(!shelf.path("new/keys.jsonl").exists());

    let database = empty_like(&instance.database, backend).await;
    let outcome = restored(&database, &[&old, "--keys", &keys]).await;
    assert_eq!((&outcome["erased_since"], &outcome["equal"]), (&json!([bob]), &json!(true)));
    for command in [&["replay", "--json"][..], &["audit", "export"], &["events", "--json"]] {
        let (code, stdout, stderr) = run(&flags(&database), command).await;
        // Sealed values are letters of any kind: a name by itself may be among them.
        let tells_of = |who: &str| [format!("{who}@"), format!("\"{who}\"")].iter().any(|text| stdout.contains(text));
        assert_eq!((code, tells_of("bob"), tells_of("alice")), (0, false, command[0] != "events"), "{stderr}");
    }
    let users = tables::read_model(&database, "users", &["id", "address", "subject", "display_name"]).await;
    assert!(users.contains(&json!({ "id": bob, "address": "" })), "{users:?}");
    // The account is as old as the log. Erased once more it is gone, and the address is free.
    let server = Server::start(&database).await;
    let outside = async || {
        for bearer in [&*bob_session, bob_token] {
            // From the rows, and from memory.
            for path in ["/v1/users/me", "/v1/users", "/v1/users/me"] {
                server.get(path, Some(bearer)).await.refused(401, "invalid_session");
            }
        }
        server.sign_in("bob").await.refused(403, "user_not_found");
    };
    outside().await;
    server.call(Method::DELETE, &format!("/v1/users/{bob}?erase=true"), Some(owner), None).await.ok(200);
    outside().await;
    server.join(owner, "bob", "developer").await;
    let (code, stdout, stderr) = run(&flags(&database), &["projections", "verify"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");

    // What the newest keys are for: with those of then he is back.
    let database = empty_like(&instance.database, backend).await;
    assert_eq!(restored(&database, &[&old]).await["erased_since"], json!([]));
    let users = tables::read_model(&database, "users", &["address"]).await;
    assert!(users.contains(&json!({ "address": "bob@example.com" })), "{users:?}");
}

/// A log goes on in two places after it was copied: the keys of one are not those of the other.
async fn keys_of_another_line_do_not_bring_back_who_was_erased(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (shelf, server, owner) = (Shelf::new(), &instance.server, &instance.owner);
    let (bob, _) = server.join(owner, "bob", "developer").await;
    let (here, there) = (shelf.text("here"), shelf.text("there"));
    let copied = backed_up(&server.flags, &here).await["position"].as_i64().unwrap();

    let other = empty_like(&instance.database, backend).await;
    restored(&other, &[&here]).await;
    let mut other_server = Server::start(&other).await;
    other_server.call(Method::DELETE, &format!("/v1/users/{bob}?erase=true"), Some(owner), None).await.ok(200);
    assert_eq!(backed_up(&other_server.flags, &there).await["position"], copied + 1);
    other_server.stop().await;

    let keys = shelf.text("here/keys.jsonl");
    let database = empty_like(&instance.database, backend).await;
    invite(server, owner, "onlyhere", 0..1).await;
    assert_eq!(backed_up(&server.flags, &here).await["position"], copied + 1);
    let line = refused(&database, &["restore", &there, "--keys", &keys]).await;
    assert!(line.contains("with different events"), "{line}");

    invite(server, owner, "onlyhere", 1..3).await;
    backed_up(&server.flags, &here).await;
    let outcome = restored(&database, &[&there, "--keys", &keys]).await;
    assert_eq!((&outcome["keys_left_out"], &outcome["erased_since"]), (&json!(4), &json!([])));
    let sql = "SELECT id FROM data_keys WHERE id LIKE 'person/%'";
    assert_eq!(tables::texts(&database, sql, sql).await.len(), 1, "the owner's alone");
    for position in [copied, copied + 1] {
        let arguments = ["replay", "--json", "--position", &position.to_string()];
        let (code, stdout, stderr) = run(&flags(&database), &arguments).await;
        assert_eq!((code, stdout.contains("bob@"), stdout.contains("alice@")), (0, false, true), "{stderr}");
    }
    assert_lawful(&database).await;
}

/// Whoever is slow and has looked already must not put older keys in the place of newer ones.
async fn a_second_backup_into_the_same_file_is_refused_until_the_first_has_ended(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (shelf, flags) = (Shelf::new(), &instance.server.flags);
    let (slow, quick, keys) = (shelf.text("slow"), shelf.text("quick"), shelf.text("keys.jsonl"));
    fs::create_dir(&slow).unwrap();
    // It waits for the log of before, which does not come.
    let pipe = shelf.path("slow/log.jsonl");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (opened, is_waiting) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || opened.send(fs::OpenOptions::new().write(true).open(pipe)));
    let first = ["backup", &slow, "--keys", &keys];
    let mut first = std::pin::pin!(run(flags, &first));
    let pipe = tokio::select! {
        pipe = is_waiting => pipe.unwrap().unwrap(),
        done = &mut first => panic!("{done:?}"),
    };
    let line = refused(&instance.database, &["backup", &quick, "--keys", &keys]).await;
    assert!(line.contains("another backup is being written"), "{line}");
    drop(pipe);
    let (code, _, stderr) = first.await;
    assert_eq!((code, stderr.contains("is no log of an authlog backup")), (1, true), "{stderr}");
    let (code, _, stderr) = run(flags, &["backup", &quick, "--keys", &keys]).await;
    assert_eq!(code, 0, "{stderr}");
}

async fn a_backup_goes_where_nothing_else_is_and_its_files_not_in_each_other_s_way(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (shelf, database) = (Shelf::new(), &instance.database);
    let (folder, victim) = (shelf.text("backup"), shelf.path("victim"));
    backed_up(&instance.server.flags, &folder).await;
    let log = fs::read(shelf.path("backup/log.jsonl")).unwrap();
    let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, shelf.path(to)).unwrap();
    fs::write(&victim, "something of somebody's").unwrap();
    link(&victim, "planted.jsonl.part");
    // Keys that are kept elsewhere by a link would stay there as they were.
    fs::copy(shelf.path("backup/keys.jsonl"), shelf.path("kept.jsonl")).unwrap();
    link(&shelf.path("kept.jsonl"), "linked.jsonl");
    link(&shelf.path("backup"), "alias");
    let cases = [
        ("planted.jsonl", "something else is in the way"),
        ("linked.jsonl", "is a symbolic link"),
        ("backup/log.jsonl", "name another file for the keys"),
        ("backup/log.jsonl.part", "name another file for the keys"),
        ("alias/log.jsonl.part", "name another file for the keys"),
    ];
    for (keys, named) in cases {
        let line = refused(database, &["backup", &folder, "--keys", &shelf.text(keys)]).await;
        assert!(line.contains(named), "{keys}: {line}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "something of somebody's");
    assert!(fs::symlink_metadata(shelf.path("linked.jsonl")).unwrap().is_symlink());
    assert_eq!(fs::read(shelf.path("backup/log.jsonl")).unwrap(), log);
    assert_eq!(names_in(&shelf.path("backup")), ["keys.jsonl", "log.jsonl"]);
}

/// A copy of a backup with one of its files changed.
fn changed(shelf: &Shelf, name: &str, file: &str, change: impl FnOnce(String) -> String) -> String {
    let folder = shelf.path(name);
    fs::create_dir(&folder).unwrap();
    for file in ["log.jsonl", "keys.jsonl"] {
        fs::copy(shelf.path("whole").join(file), folder.join(file)).unwrap();
    }
    let text = fs::read_to_string(folder.join(file)).unwrap();
    fs::write(folder.join(file), change(text)).unwrap();
    folder.display().to_string()
}

fn without_line(text: &str, number: usize) -> String {
    let kept = text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != number);
    kept.map(|(_, line)| line).collect()
}

/// The line of this number with a leaf hash that is not its own.
fn with_another_hash(text: &str, number: usize) -> String {
    let lines = text.split_inclusive('\n').enumerate();
    let change = |(at, line): (usize, &str)| {
        if at == number { line.replacen("\"leaf_hash\":\"", "\"leaf_hash\":\"0", 1) } else { line.to_owned() }
    };
    lines.map(change).collect()
}

async fn a_backup_that_is_not_whole_is_refused_and_leaves_nothing(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let shelf = Shelf::new();
    let older = backed_up(&instance.server.flags, &shelf.text("older")).await["position"].clone();
    invite(&instance.server, &instance.owner, "person", 0..5).await;
    let whole = shelf.text("whole");
    let taken = backed_up(&instance.server.flags, &whole).await;
    let stranger = Instance::ready(backend).await;
    invite(&stranger.server, &stranger.owner, "stranger", 0..30).await;
    backed_up(&stranger.server.flags, &shelf.text("stranger")).await;
    let log = |name, change: &dyn Fn(String) -> String| changed(&shelf, name, "log.jsonl", change);
    let keys = |name, change: &dyn Fn(String) -> String| changed(&shelf, name, "keys.jsonl", change);
    let copied = |from: &str| fs::read_to_string(shelf.path(from)).unwrap();
    let cases = [
        (log("byte", &|text| text.replacen("SetupCompleted\\\"", "SetupCompletes\\\"", 1)), "leaf hash is another"),
        (log("hash", &|text| with_another_hash(&text, 1)), "leaf hash is another"),
        (log("head", &|text| with_another_hash(&text, 0)), "with different events"),
        (log("gap", &|text| without_line(&text, 4)), "the event at position 4 is missing"),
        (log("header", &|text| text.replacen("\"taken_at\":1", "\"taken_at\":2", 1)), "SHA-256 is another"),
        (log("cut", &|text| text[..text.len() / 2].to_owned()), "is damaged at line"),
        (log("end", &|text| without_line(&text, text.lines().count() - 1)), "ends too early"),
        (log("more", &|text| text + "x\n"), "there is more behind it"),
        (log("later", &|text| text.replacen("\"format\":1", "\"format\":2", 1)), "a later release"),
        (log("nothing", &|_| "nothing".to_owned()), "is no log of an authlog backup"),
        (keys("key", &|text| text.replacen("person/0", "person/1", 1)), "SHA-256 is another"),
        (keys("keys cut", &|text| without_line(&text, 2)), "is damaged at line"),
        (keys("foreign", &|_| copied("stranger/keys.jsonl")), "is of another instance"),
        (keys("old keys", &|_| copied("older/keys.jsonl")), &format!("is older (position {older}) than the log")),
        (keys("swapped", &|_| copied("whole/log.jsonl")), "is no file of keys of an authlog backup"),
        (shelf.text("absent"), "log.jsonl is missing"),
    ];
    let database = empty_like(&instance.database, backend).await;
    for (folder, named) in &cases {
        let line = refused(&database, &["restore", folder]).await;
        assert!(line.contains(named), "{folder}: {line}");
    }
    let master_key = database.folder.path().join("master.key");
    fs::copy(stranger.database.folder.path().join("master.key"), &master_key).unwrap();
    let line = refused(&database, &["restore", &whole]).await;
    assert!(line.contains("the master key is not the one of this log"), "{line}");
    fs::remove_file(&master_key).unwrap();
    let line = refused(&database, &["restore", &whole]).await;
    assert!(line.contains("is missing, and one is made only for a new log"), "{line}");
    assert!(!master_key.exists());
    fs::copy(instance.database.folder.path().join("master.key"), &master_key).unwrap();
    let left: Vec<_> = fs::read_dir(database.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "master.key" || name == "authlog.lock"), "{left:?}");

    assert_eq!(restored(&database, &[&whole]).await["position"], taken["position"]);
    let line = refused(&database, &["restore", &whole]).await;
    assert!(line.contains("already"), "{line}");
    let line = refused(&instance.database, &["restore", &whole]).await;
    assert!(line.contains(if backend == Backend::Sqlite { "another authlog is running" } else { "already" }), "{line}");
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn a_backup_takes_the_place_of_its_own_past_and_of_nothing_else(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (shelf, database, server) = (Shelf::new(), &instance.database, &instance.server);
    let folder = shelf.text("backup");
    // No key is needed.
    let (key, away) = (database.folder.path().join("master.key"), database.folder.path().join("away"));
    fs::rename(&key, &away).unwrap();
    let first = backed_up(&server.flags, &folder).await;
    fs::rename(&away, &key).unwrap();
    invite(server, &instance.owner, "person", 0..3).await;
    // What a backup that was killed has left.
    fs::write(shelf.path("backup/log.jsonl.part"), "half").unwrap();
    let second = backed_up(&server.flags, &folder).await;
    assert!(second["position"].as_i64() > first["position"].as_i64());
    assert_eq!(names_in(&shelf.path("backup")), ["keys.jsonl", "log.jsonl"]);
    for file in ["log.jsonl", "keys.jsonl"] {
        let mode = fs::metadata(shelf.path("backup").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let kept = fs::read(shelf.path("backup/log.jsonl")).unwrap();

    // A log that ends earlier, or another one, does not take its place.
    let earlier = empty_like(database, backend).await;
    let cut = shelf.text("earlier");
    let stranger = Instance::ready(backend).await;
    backed_up(&stranger.server.flags, &cut).await;
    let line = refused(database, &["backup", &cut]).await;
    assert!(line.contains("is of another instance"), "{line}");
    let line = refused(&stranger.database, &["backup", &folder]).await;
    assert!(line.contains("is of another instance"), "{line}");
    restored(&earlier, &[&folder]).await;
    invite(server, &instance.owner, "later", 0..2).await;
    backed_up(&server.flags, &folder).await;
    let line = refused(&earlier, &["backup", &folder]).await;
    assert!(line.contains("would be lost"), "{line}");
    assert_ne!(fs::read(shelf.path("backup/log.jsonl")).unwrap(), kept);

    fs::create_dir(shelf.path("photos")).unwrap();
    fs::write(shelf.path("photos/one.jpg"), "x").unwrap();
    let line = refused(database, &["backup", &shelf.text("photos")]).await;
    assert!(line.contains("holds something else than a backup"), "{line}");
    assert_eq!(names_in(&shelf.path("photos")), ["one.jpg"]);
    let nothing = TestDatabase::new(backend).await;
    let line = refused(&nothing, &["backup", &shelf.text("of nothing")]).await;
    assert!(line.contains("`authlog serve` makes one") && !shelf.path("of nothing").exists(), "{line}");
    for arguments in [&["backup"][..], &["restore"], &["restore", "x", "--key", "y"]] {
        assert_eq!(run(&server.flags, arguments).await.0, 2, "{arguments:?}");
    }
}

/// Runs a command and kills it at a random moment of the time that it takes.
async fn killed(flags: &[String], arguments: &[&str], whole: Duration) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authlog"));
    command.args(arguments).args(flags).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    let within = f64::from(u32::from_be_bytes(random_bytes().unwrap())) / f64::from(u32::MAX);
    tokio::time::sleep(Duration::mul_f64(whole, within)).await;
    running.kill().unwrap();
    running.wait().unwrap();
}

async fn a_log_that_is_damaged_far_behind_leaves_nothing_of_what_came_before(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let shelf = Shelf::new();
    invite(&instance.server, &instance.owner, "person", 0..PEOPLE).await;
    let taken = backed_up(&instance.server.flags, &shelf.text("whole")).await;
    let last = usize::try_from(taken["position"].as_i64().unwrap()).unwrap();
    assert!(last > usize::from(PAGE_EVENTS), "one page alone is read before anything is written");
    let damaged = changed(&shelf, "damaged", "log.jsonl", |text| without_line(&text, last - 1));
    let database = empty_like(&instance.database, backend).await;
    let (code, _, stderr) = run(&flags(&database), &["restore", &damaged]).await;
    let named = format!("the event at position {} is missing", last - 1);
    assert_eq!((code, stderr.lines().last().unwrap().contains(&named)), (1, true), "{stderr}");
    assert_eq!(restored(&database, &[&shelf.text("whole")]).await["leaf_hash"], taken["leaf_hash"]);
    let everybody = tables::read_model(&database, "users", &["id"]).await;
    assert_eq!(everybody.len(), PEOPLE + 1);
}

async fn what_was_killed_half_way_is_repeated(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (shelf, server) = (Shelf::new(), &instance.server);
    let folder = shelf.text("backup");
    invite(server, &instance.owner, "person", 0..PEOPLE).await;
    let begun = Instant::now();
    backed_up(&server.flags, &folder).await;
    let backing_up = begun.elapsed();
    let whole = empty_like(&instance.database, backend).await;
    let begun = Instant::now();
    let log = restored(&whole, &[&folder]).await["leaf_hash"].clone();
    let restoring = begun.elapsed();
    let mut cut_off = 0;
    for _ in 0..KILLS {
        killed(&server.flags, &["backup", &folder], backing_up).await;
        let database = empty_like(&instance.database, backend).await;
        killed(&flags(&database), &["restore", &folder], restoring).await;
        let (code, stdout, stderr) = run(&flags(&database), &["restore", &folder, "--json"]).await;
        if code == 0 {
            cut_off += 1;
            assert_eq!(outcome(&stdout)["leaf_hash"], log);
        } else {
            assert!(stderr.contains("already"), "{stderr}");
        }
        let (code, stdout, stderr) = run(&flags(&database), &["projections", "verify"]).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert_eq!(tables::log(&database).await, tables::log(&whole).await);
    }
    assert!(cut_off > 0, "no kill came before the end");
    backed_up(&server.flags, &folder).await;
    assert_eq!(names_in(&shelf.path("backup")), ["keys.jsonl", "log.jsonl"]);
}

on_both_databases!(
    keys_of_another_line_do_not_bring_back_who_was_erased,
    a_second_backup_into_the_same_file_is_refused_until_the_first_has_ended,
    a_backup_goes_where_nothing_else_is_and_its_files_not_in_each_other_s_way,
    a_backup_beside_a_service_comes_back_on_either_database,
    an_old_log_with_the_newest_keys_does_not_bring_back_who_was_erased,
    a_backup_that_is_not_whole_is_refused_and_leaves_nothing,
    a_backup_takes_the_place_of_its_own_past_and_of_nothing_else,
    a_log_that_is_damaged_far_behind_leaves_nothing_of_what_came_before,
    what_was_killed_half_way_is_repeated,
);
