//! `kill -9` in the middle of a rebuild, twenty times: the live tables stay as they are, and the next rebuild runs to its end.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use authlog::keys::random_bytes;
use authlog::log::Reader;
use projections::TABLES;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::on_both_databases;
use crate::support::model;
use crate::support::server::{Instance, Server, flags, run};
use crate::support::{Backend, TestDatabase};

const KILLS: u32 = 20;
/// People who come and go, so that a rebuild has more than a page to fold, and more than a batch in turns.
const CALLERS: usize = 8;
const INVITATIONS_A_CALLER: usize = 75;

/// Every row of every read model in force, as JSON text in the order of keys.
async fn tables(database: &TestDatabase) -> BTreeMap<&'static str, Vec<String>> {
    let reader = Reader::open(&database.location).await.unwrap();
    let layout = reader.read_head().await.unwrap().layout;
    let mut tables = BTreeMap::new();
    for table in TABLES {
        let name = format!("{}_{}", table.name, layout.set_of(table.name));
        let select = reader.database().dialect().select_rows(table, &name);
        let rows = reader.database().texts(&format!("{select} ORDER BY t.{}", table.key), &[]).await.unwrap();
        tables.insert(table.name, rows);
    }
    reader.database().close().await;
    tables
}

/// Invites, promotes, disables and erases: all kinds of changes to rows that are there.
async fn come_and_go(server: &Server, owner: &str) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (owner, base, http) = (owner.to_owned(), server.base.clone(), server.http());
        callers.spawn(async move {
            let call = async |method: Method, path: String, body: Value| -> Value {
                let request = http.request(method, format!("{base}{path}")).bearer_auth(&owner).json(&body);
                let answer = request.send().await.unwrap();
                assert!(answer.status().is_success(), "{path}: {answer:?}");
                answer.json().await.unwrap()
            };
            for number in 0..INVITATIONS_A_CALLER {
                let invitation = json!({ "email": format!("p{caller}.{number}@example.com"), "role": "developer" });
                let invited = call(Method::POST, "/v1/users/invite".to_owned(), invitation).await;
                let path = format!("/v1/users/{}", invited["user"]["id"].as_str().unwrap());
                match number % 5 {
                    0 => drop(call(Method::DELETE, format!("{path}?erase=true"), json!({})).await),
                    1 | 2 => drop(call(Method::PATCH, format!("{path}/role"), json!({ "role": "admin" })).await),
                    3 => drop(call(Method::DELETE, path, json!({})).await),
                    _ => {}
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

fn begin_to_rebuild(database: &TestDatabase) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authlog"));
    command.args(["projections", "rebuild", "--all"]).args(flags(database));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Somewhere in the share `number` of `KILLS` of the time that a rebuild takes, another place each time.
async fn a_moment_of(whole: Duration, number: u32) {
    let within = f64::from(u32::from_be_bytes(random_bytes().unwrap())) / f64::from(u32::MAX);
    tokio::time::sleep(whole.mul_f64((f64::from(number) + within) / f64::from(KILLS))).await;
}

async fn a_log_of_many_kinds(backend: Backend) -> (Instance, BTreeMap<&'static str, Vec<String>>) {
    let instance = Instance::ready(backend).await;
    come_and_go(&instance.server, &instance.owner).await;
    let before = tables(&instance.database).await;
    model::agrees_with(&instance.database).await;
    (instance, before)
}

async fn stands_as_before(database: &TestDatabase, before: &BTreeMap<&'static str, Vec<String>>) {
    assert_eq!(&tables(database).await, before);
    model::agrees_with(database).await;
}

async fn runs_to_its_end(database: &TestDatabase, before: &BTreeMap<&'static str, Vec<String>>) {
    let (code, _, stderr) = run(&flags(database), &["projections", "rebuild", "--all"]).await;
    assert_eq!(code, 0, "{stderr}");
    stands_as_before(database, before).await;
    let (code, stdout, stderr) = run(&flags(database), &["projections", "verify"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
}

async fn a_rebuild_killed_at_twenty_moments_harms_nothing_and_is_done_in_the_end(backend: Backend) {
    let (mut instance, before) = a_log_of_many_kinds(backend).await;
    assert_eq!(instance.server.stop().await, 0);
    let database = &instance.database;
    let begun = Instant::now();
    runs_to_its_end(database, &before).await;
    let whole = begun.elapsed();
    let mut cut_off = 0;
    for number in 0..KILLS {
        let mut rebuilding = begin_to_rebuild(database);
        a_moment_of(whole, number).await;
        cut_off += u32::from(rebuilding.try_wait().unwrap().is_none());
        rebuilding.kill().unwrap();
        rebuilding.wait().unwrap();
        stands_as_before(database, &before).await;
    }
    assert!(cut_off >= KILLS / 4, "only {cut_off} of {KILLS} kills hit a rebuild");
    runs_to_its_end(database, &before).await;
}

/// On SQLite it is the server that rebuilds, asked by the command.
async fn a_server_killed_while_it_rebuilds_starts_again_with_the_tables_it_had(backend: Backend) {
    let (mut instance, mut before) = a_log_of_many_kinds(backend).await;
    let begun = Instant::now();
    let (code, _, stderr) = run(&instance.server.flags, &["projections", "rebuild", "--all"]).await;
    assert_eq!(code, 0, "{stderr}");
    let whole = begun.elapsed();
    for number in 0..KILLS {
        let mut rebuilding = begin_to_rebuild(&instance.database);
        a_moment_of(whole, number).await;
        instance.server.kill().await;
        rebuilding.kill().unwrap();
        rebuilding.wait().unwrap();
        stands_as_before(&instance.database, &before).await;
        instance.server = Server::start(&instance.database).await;
        let invitation = json!({ "email": format!("guest{number}@example.com"), "role": "qa_viewer" });
        instance.server.post("/v1/users/invite", Some(&instance.owner), invitation).await.ok(201);
        before = tables(&instance.database).await;
    }
    runs_to_its_end(&instance.database, &before).await;
}

on_both_databases!(
    a_rebuild_killed_at_twenty_moments_harms_nothing_and_is_done_in_the_end,
    a_server_killed_while_it_rebuilds_starts_again_with_the_tables_it_had,
);
