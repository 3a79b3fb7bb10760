//! More than can be done: what is too much is refused at once, and the rest goes on.

use std::time::Duration;

use authlog::log::READS_AT_ONCE;
use reqwest::{Client, Method};
use tokio::task::JoinSet;

use crate::support::Backend;
use crate::support::second_connection::SecondConnection;
use crate::support::server::{Answer, Instance, send};

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
