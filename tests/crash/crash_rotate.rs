//! Exchanging the master key: beside a service under load, killed at any moment, with nodes that have the next key and one that has
//! not. Whatever happens, every key opens, and what was destroyed stays destroyed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use authlog::clock::Clock;
use authlog::keys::{MasterKey, MasterKeySource, random_bytes};
use authlog::log::rotate::TURN;
use authlog::log::{CommitObserver, Head, open};
use projections::ReadModels;
use reqwest::Method;
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::rules::assert_lawful;
use crate::support::second_connection::SecondConnection;
use crate::support::server::{Instance, Server, flags, run};
use crate::support::tables;
use crate::support::{Backend, TestDatabase};

const KILLS: u32 = 15;
/// People who are there before: more than one transaction wraps anew.
const PEOPLE: usize = 620;

fn master_key(database: &TestDatabase, ending: &str) -> PathBuf {
    database.folder.path().join(format!("master.key{ending}"))
}

async fn status(flags: &[String]) -> Value {
    let (code, stdout, stderr) = run(flags, &["keys", "status", "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

async fn rotated(flags: &[String]) -> Value {
    let (code, stdout, stderr) = run(flags, &["keys", "rotate", "--yes", "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

async fn prepared(flags: &[String]) {
    let (code, _, stderr) = run(flags, &["keys", "rotate", "--prepare"]).await;
    assert_eq!(code, 0, "{stderr}");
}

/// Invites people by eight callers at once; every fifth is erased again.
async fn invite(server: &Server, owner: &str, name: &str, people: usize) {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (owner, base, http, name) = (owner.to_owned(), server.base.clone(), server.http(), name.to_owned());
        callers.spawn(async move {
            for number in (caller..people).step_by(8) {
                let body = json!({ "email": format!("{name}{number}@example.com"), "role": "qa_viewer" });
                let request = http.post(format!("{base}/v1/users/invite")).bearer_auth(&owner).json(&body);
                let invited = request.send().await.unwrap();
                assert_eq!(invited.status(), 201, "{}", invited.text().await.unwrap());
                let invited: Value = invited.json().await.unwrap();
                if number.is_multiple_of(5) {
                    let path = format!("{base}/v1/users/{}?erase=true", invited["user"]["id"].as_str().unwrap());
                    let erased = http.delete(path).bearer_auth(&owner).send().await.unwrap();
                    assert_eq!(erased.status(), 200, "{}", erased.text().await.unwrap());
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

/// Every value opens, nobody who was erased has a key, and read models come out of the log as they were.
async fn everything_opens(database: &TestDatabase) {
    let flags = flags(database);
    for arguments in [&["projections", "verify"][..], &["projections", "rebuild", "--all"], &["projections", "verify"]]
    {
        let (code, stdout, stderr) = run(&flags, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    }
    assert_lawful(database).await;
    let users = tables::read_model(database, "users", &["id", "address"]).await;
    assert!(users.iter().all(|user| user["address"] != ""), "{users:?}");
    let persons = "SELECT id FROM data_keys WHERE id LIKE 'person/%' ORDER BY id";
    let persons = tables::texts(database, persons, persons).await;
    let mut expected: Vec<String> =
        users.iter().map(|user| format!("person/{}", user["id"].as_str().unwrap())).collect();
    expected.sort();
    assert_eq!(persons, expected);
}

async fn the_master_key_is_exchanged_beside_a_service_under_load(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, database) = (&instance.server, &instance.database);
    let flags = flags(database);
    invite(server, &instance.owner, "early", PEOPLE).await;
    let before = status(&flags).await;
    assert_eq!((&before["exchange"], &before["present"]), (&json!("none"), &before["in_force"]));
    let old_key = fs::read(master_key(database, "")).unwrap();
    if backend == Backend::Postgres {
        let (code, _, stderr) = run(&flags, &["keys", "rotate", "--yes"]).await;
        assert_eq!((code, stderr.contains("--prepare")), (1, true), "{stderr}");
    }
    prepared(&flags).await;
    assert_eq!(status(&flags).await["exchange"], "prepared");

    let (outcome, ()) = tokio::join!(rotated(&flags), invite(server, &instance.owner, "late", PEOPLE));

    let after = status(&flags).await;
    assert_eq!((&after["exchange"], &after["present"]), (&json!("none"), &outcome["master_key"]));
    assert_ne!(after["present"], before["present"]);
    let wrapped = after["wrapped"].as_array().unwrap();
    assert!(wrapped.iter().all(|count| count["master_key"] == after["present"]), "{after}");
    everything_opens(database).await;
    invite(server, &instance.owner, "latest", 5).await;

    // The old key opens nothing any more.
    let old = master_key(database, &format!(".old-{}", before["present"].as_str().unwrap()));
    assert_eq!(fs::read(&old).unwrap(), old_key);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(&old, elsewhere.path().join("key")).unwrap();
    let config = elsewhere.path().join("authlog.toml");
    fs::write(&config, format!("master_key_file = \"{}\"\n", elsewhere.path().join("key").display())).unwrap();
    let config = config.display().to_string();
    let (code, stdout, stderr) = run(&flags, &["replay", "--json", "--config", &config]).await;
    assert_eq!((code, &*stdout, stderr.contains("not at hand")), (1, "", true), "{stderr}");
}

async fn an_exchange_killed_at_any_moment_goes_on_from_there(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    let flags = flags(&instance.database);
    invite(&instance.server, &instance.owner, "early", PEOPLE).await;
    prepared(&flags).await;
    let begun = Instant::now();
    rotated(&flags).await;
    let whole = begun.elapsed();
    for number in 0..KILLS {
        if !master_key(&instance.database, ".next").exists() {
            prepared(&flags).await;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_authlog"));
        command.args(["keys", "rotate", "--yes"]).args(&flags).stdout(Stdio::null()).stderr(Stdio::null());
        let mut rotating = command.spawn().unwrap();
        let within = f64::from(u32::from_be_bytes(random_bytes().unwrap())) / f64::from(u32::MAX);
        tokio::time::sleep(Duration::mul_f64(whole, within)).await;
        // On SQLite the server does the work.
        if number.is_multiple_of(2) {
            instance.server.kill().await;
        }
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        if number.is_multiple_of(2) {
            instance.server = Server::start(&instance.database).await;
        }
        invite(&instance.server, &instance.owner, &format!("round{number}x"), 6).await;
        let standing = status(&flags).await;
        let wrapped = standing["wrapped"].as_array().unwrap();
        assert!(wrapped.iter().all(|count| count["at_hand"] == true), "{standing}");
    }
    if master_key(&instance.database, ".next").exists() {
        rotated(&flags).await;
    }
    let standing = status(&flags).await;
    assert_eq!((&standing["exchange"], &standing["present"]), (&json!("none"), &standing["in_force"]));
    everything_opens(&instance.database).await;
}

async fn every_state_between_the_steps_is_one_to_go_on_from(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    let database = &instance.database;
    let flags = flags(database);
    let of = |ending: &str| master_key(database, ending);
    prepared(&flags).await;
    let (old, next) = (fs::read(of("")).unwrap(), fs::read(of(".next")).unwrap());
    let put = |path: &Path, key: &[u8]| {
        let _ = fs::remove_file(path);
        fs::write(path, key).unwrap();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    let id = rotated(&flags).await["master_key"].clone();
    // Everything is wrapped anew, and the files are as before the last steps.
    put(&of(""), &old);
    put(&of(".next"), &next);
    assert_eq!(status(&flags).await["exchange"], "done");
    instance.server.kill().await;
    instance.server = Server::start(database).await;
    invite(&instance.server, &instance.owner, "between", 5).await;
    let finished = rotated(&flags).await;
    assert_eq!((&finished["master_key"], &finished["rewrapped"]), (&id, &json!(0)));
    assert_eq!((fs::read(of("")).unwrap(), of(".next").exists()), (next.clone(), false));

    // Without the key that wraps everything nothing starts, and says which one is missing.
    instance.server.kill().await;
    put(&of(""), &old);
    let (code, _, stderr) = run(&flags, &["setup", "token"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("the master key {} is not at hand", id.as_str().unwrap())), "{stderr}");
    put(&of(""), &next);
    instance.server = Server::start(database).await;
    everything_opens(database).await;
}

/// Whoever moves files of the master key does so alone.
async fn a_second_command_waits_until_the_files_are_in_order(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let flags = flags(&instance.database);
    let turn = fs::File::create(master_key(&instance.database, ".lock")).unwrap();
    turn.try_lock().unwrap();
    for arguments in [&["keys", "rotate", "--yes"][..], &["keys", "rotate", "--prepare"]] {
        let (code, _, stderr) = run(&flags, arguments).await;
        assert_eq!((code, stderr.contains("another command is at work on")), (1, true), "{stderr}");
    }
    assert!(!master_key(&instance.database, ".next").exists());
    drop(turn);
    prepared(&flags).await;
    rotated(&flags).await;
    everything_opens(&instance.database).await;
}

/// A copy of the log of before, with the key of after: what is asked for is beside it.
async fn a_key_that_was_kept_is_found_again(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (database, flags) = (&instance.database, flags(&instance.database));
    let shelf = tempfile::tempdir().unwrap();
    let before = shelf.path().join("before").display().to_string();
    let (code, _, stderr) = run(&flags, &["backup", &before]).await;
    assert_eq!(code, 0, "{stderr}");
    prepared(&flags).await;
    let old = status(&flags).await["present"].as_str().unwrap().to_owned();
    rotated(&flags).await;

    let restored = TestDatabase::new(backend).await;
    let flags = crate::support::server::flags(&restored);
    let kept = format!(".old-{old}");
    for ending in ["", &kept] {
        fs::copy(master_key(database, ending), master_key(&restored, ending)).unwrap();
    }
    let (code, _, stderr) = run(&flags, &["restore", &before]).await;
    let said = format!("it is kept in {}; copy that to where", master_key(&restored, &kept).display());
    assert_eq!((code, stderr.contains(&said)), (1, true), "{stderr}");
    fs::rename(master_key(&restored, &kept), master_key(&restored, "")).unwrap();
    let (code, _, stderr) = run(&flags, &["restore", &before]).await;
    assert_eq!(code, 0, "{stderr}");

    // What stands where is told without a key, too.
    fs::rename(master_key(&restored, ""), master_key(&restored, &kept)).unwrap();
    let standing = status(&flags).await;
    assert_eq!((&standing["present"], &standing["exchange"]), (&Value::Null, &json!("not_here")));
    assert_eq!(standing["in_force"], old.as_str());
    let (code, stdout, stderr) = run(&flags, &["keys", "status"]).await;
    let said = format!("The one in force is kept in {}.", master_key(&restored, &kept).display());
    assert_eq!((code, stdout.contains("present    none"), stderr.contains(&said)), (0, true, true), "{stdout}{stderr}");
}

on_both_databases!(
    a_second_command_waits_until_the_files_are_in_order,
    a_key_that_was_kept_is_found_again,
    the_master_key_is_exchanged_beside_a_service_under_load,
    an_exchange_killed_at_any_moment_goes_on_from_there,
    every_state_between_the_steps_is_one_to_go_on_from,
);

/// A node without the next key says so, and goes on when it is put beside its own, without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_learns_of_the_next_key_when_it_is_put_beside_its_own() {
    let instance = Instance::ready(Backend::Postgres).await;
    let database = &instance.database;
    let flags = flags(database);
    let elsewhere = tempfile::tempdir().unwrap();
    let its_own = elsewhere.path().join("key");
    fs::copy(master_key(database, ""), &its_own).unwrap();
    let other = Server::start_with(database, &[("AUTHLOG_MASTER_KEY_FILE", &its_own.display().to_string())]).await;
    prepared(&flags).await;
    let next = fs::read(master_key(database, ".next")).unwrap();
    rotated(&flags).await;

    let body = json!({ "email": "somebody@example.com", "role": "qa_viewer" });
    let refused = other.call(Method::POST, "/v1/users/invite", Some(&instance.owner), Some(body.clone())).await;
    refused.refused(500, "encryption_error");
    other.says(|output| output.contains("is not at hand")).await;
    let its_next = elsewhere.path().join("key.next");
    fs::copy(&its_own, &its_next).unwrap();
    fs::write(&its_next, next).unwrap();
    other.call(Method::POST, "/v1/users/invite", Some(&instance.owner), Some(body)).await.ok(201);
    everything_opens(database).await;
}

/// Two nodes that have prepared a next key each: one exchanges the master key, the other is refused, and no key is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_exchange_the_master_key_at_once_one_is_refused() {
    let instance = Instance::ready(Backend::Postgres).await;
    let (database, flags) = (&instance.database, flags(&instance.database));
    invite(&instance.server, &instance.owner, "early", PEOPLE).await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(master_key(database, ""), elsewhere.path().join("master.key")).unwrap();
    let mut others = flags.clone();
    others[1] = elsewhere.path().display().to_string();
    prepared(&flags).await;
    prepared(&others).await;
    let arguments = ["keys", "rotate", "--yes"];
    let (one, other) = tokio::join!(run(&flags, &arguments), run(&others, &arguments));

    let mut codes = [one.0, other.0];
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "{one:?} {other:?}");
    let (winner, loser) = if one.0 == 0 { (&flags, &others) } else { (&others, &flags) };
    let standing = status(winner).await;
    assert_eq!(standing["present"], standing["in_force"]);
    let wrapped = standing["wrapped"].as_array().unwrap();
    assert!(wrapped.iter().all(|count| count["master_key"] == standing["present"]), "{standing}");

    assert_eq!(status(loser).await["exchange"], "not_here");
    for arguments in [&arguments[..], &["keys", "rotate", "--prepare"]] {
        let (code, _, stderr) = run(loser, arguments).await;
        assert_eq!((code, stderr.contains("copy that node's to")), (1, true), "{stderr}");
    }
    // The winner's key takes the place of the one that nobody uses.
    fs::copy(Path::new(&winner[1]).join("master.key"), Path::new(&loser[1]).join("master.key.next")).unwrap();
    rotated(loser).await;
    let standing = status(loser).await;
    assert_eq!((&standing["exchange"], &standing["present"]), (&json!("none"), &standing["in_force"]));
    everything_opens(database).await;
}

/// A node that found the log as it was before another exchanged the master key does not put its own next key in force after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_present_key_gives_way_to_the_next_and_to_one_node_at_a_time() {
    let instance = Instance::ready(Backend::Postgres).await;
    let (database, flags) = (&instance.database, flags(&instance.database));
    let elsewhere = tempfile::tempdir().unwrap();
    let its_own = elsewhere.path().join("master.key");
    fs::copy(master_key(database, ""), &its_own).unwrap();
    let source = MasterKeySource::File(its_own.clone());
    let (log, writer) = open(&database.location, &source, Clock, Arc::new(Nobody)).await.unwrap();
    MasterKey::make(&elsewhere.path().join("master.key.next")).unwrap();
    prepared(&flags).await;

    let mut node = SecondConnection::open(database).await;
    node.run(&format!("SELECT pg_advisory_lock({TURN})")).await;
    let (code, _, stderr) = run(&flags, &["keys", "rotate", "--yes"]).await;
    assert_eq!((code, stderr.contains("is being exchanged already")), (1, true), "{stderr}");
    node.run(&format!("SELECT pg_advisory_unlock({TURN})")).await;

    let id = rotated(&flags).await["master_key"].clone();
    assert!(log.rotate_master_key(&|_| {}).await.is_err());
    let standing = status(&flags).await;
    assert_eq!((&standing["in_force"], &standing["exchange"]), (&id, &json!("none")));
    let wrapped = standing["wrapped"].as_array().unwrap();
    assert!(wrapped.iter().all(|count| count["master_key"] == id), "{standing}");
    drop(log);
    writer.finished().await;
    everything_opens(database).await;
}

struct Nobody;

impl CommitObserver for Nobody {
    fn committed(&self, _: &ReadModels, _: &Head) {}
}
