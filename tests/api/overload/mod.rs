//! More than can be done: what is too much is refused at once, and the rest goes on.

mod clients;
mod http2;
mod memory;
mod wire;

use std::time::Duration;

use authlog::log::{QUEUED_UNITS, READS_AT_ONCE};
use authlog::settings::limits::OPERATOR_COMMANDS;
use reqwest::{Client, Method};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::second_connection::SecondConnection;
use crate::support::server::{Answer, Instance, Server, run, send};
use crate::support::{Backend, TestDatabase};

/// A client has 64 calls under way at once over HTTP/2.
const CALLS_OF_A_CLIENT: usize = 60;
const CLIENTS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_capacity_calls_are_refused_at_once_and_probes_are_answered() {
    let instance = Instance::ready(Backend::Postgres).await;
    let server = &instance.server;
    server.get("/v1/users", Some(&instance.owner)).await.ok(200);
    let mut other = SecondConnection::open(&instance.database).await;
    other.run("BEGIN").await;
    other.run("LOCK TABLE users_1 IN ACCESS EXCLUSIVE MODE").await;

    let mut calls = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Client::builder().http2_prior_knowledge().build().unwrap();
        for _ in 0..CALLS_OF_A_CLIENT {
            let call = client.get(format!("{}/v1/users", server.base)).bearer_auth(&instance.owner);
            calls.spawn(async move { send(call).await.unwrap() });
        }
    }
    let refused = CLIENTS * CALLS_OF_A_CLIENT - READS_AT_ONCE;
    for _ in 0..refused {
        let answer: Answer = calls.join_next().await.unwrap().unwrap();
        answer.refused(503, "unavailable");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let probe = server.http().get(format!("{}/readyz", server.base)).timeout(Duration::from_secs(2));
    assert_eq!(probe.send().await.unwrap().status(), 200);
    server.call(Method::GET, "/healthz", None, None).await.ok(200);
    other.run("ROLLBACK").await;
    for answer in calls.join_all().await {
        answer.ok(200);
    }
}

/// Units that wait for the log writer or are being written, as the metrics tell.
async fn units_waiting(instance: &Instance) -> usize {
    let told = instance.server.get("/metrics", None).await.ok(200);
    let mut lines = told.as_str().unwrap().lines();
    let waiting = lines.find_map(|line| line.strip_prefix("authlog_log_units_waiting "));
    waiting.map_or(0, |waiting| waiting.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_probes_are_answered_while_writes_are_past_capacity() {
    let instance = Instance::ready(Backend::Postgres).await;
    let server = &instance.server;
    server.get("/v1/users", Some(&instance.owner)).await.ok(200);
    let mut log = SecondConnection::open(&instance.database).await;
    log.hold_the_log().await;
    let (mut writes, mut refused) = (JoinSet::new(), 0);
    while refused == 0 || units_waiting(&instance).await < QUEUED_UNITS {
        let client = Client::builder().http2_prior_knowledge().build().unwrap();
        for _ in 0..CALLS_OF_A_CLIENT {
            let body =
                json!({ "email": format!("{}@example.com", uuid::Uuid::now_v7().simple()), "role": "developer" });
            let call = client.post(format!("{}/v1/users/invite", server.base)).bearer_auth(&instance.owner).json(&body);
            writes.spawn(send(call));
        }
        while let Some(answer) = writes.try_join_next() {
            refused += usize::from(answer.unwrap().unwrap().code() == "unavailable");
        }
    }
    for _ in 0..20 {
        server.get("/healthz", None).await.ok(200);
        server.get("/readyz", None).await.ok(200);
    }
    log.let_go().await;
    for answer in writes.join_all().await {
        let answer = answer.unwrap();
        // The writer gives up waiting for the log after a while.
        assert!(answer.status == 201 || ["unavailable", "store_error"].contains(&answer.code()), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_commands_are_taken_from_the_command_line_at_once_and_the_next_one_waits() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let socket = database.folder.path().join("authlog.sock");
    let mut silent = Vec::new();
    for _ in 0..OPERATOR_COMMANDS {
        silent.push(tokio::net::UnixStream::connect(&socket).await.unwrap());
    }
    let command = run(&server.flags, &["setup", "token"]);
    tokio::pin!(command);
    // Nothing that could be waited for says that it waits; were it not to, it would be done long before.
    let early = tokio::time::timeout(Duration::from_secs(2), &mut command).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    drop(silent);
    let (code, token, _) = command.await;
    assert_eq!((code, token.trim().len()), (0, 64));
}
