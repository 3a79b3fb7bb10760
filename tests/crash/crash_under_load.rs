//! `kill -9` in the middle of everything, fifty times on each database.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::on_both_databases;
use crate::support::model;
use crate::support::rules::assert_lawful;
use crate::support::server::{Instance, Server};
use crate::support::tables::{self, StoredEvent};
use crate::support::{Backend, TestDatabase};

const KILLS: usize = 50;
const WORKERS: usize = 8;
/// The rules are checked on the whole log after so many kills; the rest after each.
const CHECK_RULES_EVERY: usize = 10;

/// What a call was told has happened: the type of an event, and the id of its stream or the hash of its token.
type Acknowledged = (&'static str, String);

/// What all workers of a round share.
struct Round {
    server: Server,
    owner: String,
    name: String,
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// Calls that were sent and not answered yet.
    in_flight: AtomicUsize,
}

impl Round {
    /// Sends a call; `None` when the server went before it answered. Any refusal is a fault: nothing here conflicts.
    async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Option<Value> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let answer = self.server.try_call(method, path, Some(token), body).await.ok()?;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        Some(answer.body)
    }

    fn acknowledge(&self, event_type: &'static str, key: &str) {
        self.acknowledged.lock().unwrap().push((event_type, key.to_owned()));
    }

    /// One person's whole story, and the next one's, until the server is gone.
    async fn manage_people(&self, worker: usize) -> Option<()> {
        for number in 0.. {
            let email = format!("{}-{worker}-{number}@example.com", self.name);
            let body = json!({ "email": email, "role": "developer" });
            let user = self.call(Method::POST, "/v1/users/invite", &self.owner, Some(body)).await?;
            let id = user["user"]["id"].as_str().unwrap();
            self.acknowledge("UserInvited", id);
            let path = format!("/v1/users/{id}/role");
            self.call(Method::PATCH, &path, &self.owner, Some(json!({ "role": "admin" }))).await?;
            self.acknowledge("RoleChanged", id);
            self.call(Method::DELETE, &format!("/v1/users/{id}"), &self.owner, None).await?;
            self.acknowledge("UserDisabled", id);
        }
        None
    }

    async fn manage_tokens(&self) -> Option<()> {
        loop {
            let body = json!({ "name": "ci", "role": "developer" });
            let token = self.call(Method::POST, "/v1/api-tokens", &self.owner, Some(body)).await?;
            let id = token["id"].as_str().unwrap();
            self.acknowledge("ApiTokenIssued", id);
            self.call(Method::DELETE, &format!("/v1/api-tokens/{id}"), &self.owner, None).await?;
            self.acknowledge("ApiTokenRevoked", id);
        }
    }

    /// Signs in with what the provider gave before the round; every other session is ended again.
    async fn sign_in(&self, callbacks: Vec<Value>) -> Option<()> {
        for (number, callback) in callbacks.into_iter().enumerate() {
            let opened = self.call(Method::POST, "/v1/auth/oidc/callback", "none", Some(callback)).await?;
            let token = opened["session_token"].as_str().unwrap();
            let hash = hex::encode(Sha256::digest(token));
            self.acknowledge("SessionOpened", &hash);
            if number.is_multiple_of(2) {
                self.call(Method::POST, "/v1/auth/logout", token, Some(json!({}))).await?;
                self.acknowledge("SessionSignedOut", &hash);
            }
        }
        None
    }
}

/// Loads the server, kills it in the middle, and answers what it had acknowledged and how many calls were cut off.
async fn kill_under_load(server: Server, owner: &str, number: usize) -> (Vec<Acknowledged>, usize) {
    let mut callbacks = Vec::new();
    for _ in 0..4 {
        callbacks.push(server.callback_body("bob").await);
    }
    let round = Arc::new(Round {
        server,
        owner: owner.to_owned(),
        name: format!("round{number}"),
        acknowledged: Mutex::default(),
        in_flight: AtomicUsize::new(0),
    });
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS - 2 {
        let round = Arc::clone(&round);
        workers.spawn(async move { round.manage_people(worker).await });
    }
    let (tokens, sessions) = (Arc::clone(&round), Arc::clone(&round));
    workers.spawn(async move { tokens.manage_tokens().await });
    workers.spawn(async move { sessions.sign_in(callbacks).await });

    // Not before the first calls are through, and then at another moment each time.
    let loaded = Instant::now() + Duration::from_secs(30);
    while round.acknowledged.lock().unwrap().len() < 5 + number % 40 {
        assert!(Instant::now() < loaded, "the server does not answer:\n{}", round.server.output.lock().unwrap());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let pid = round.server.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let mut round = Arc::into_inner(round).unwrap();
    round.server.kill().await;
    (round.acknowledged.into_inner().unwrap(), round.in_flight.into_inner())
}

/// What the log says has happened, in the same words.
fn written(log: &[StoredEvent]) -> BTreeSet<Acknowledged> {
    let known = ["UserInvited", "RoleChanged", "UserDisabled", "ApiTokenIssued", "ApiTokenRevoked"];
    let sessions: std::collections::BTreeMap<&str, String> = log
        .iter()
        .filter(|event| event.event_type == "SessionOpened")
        .map(|event| {
            let hash = event.payload()["SessionOpened"]["token_hash"].as_str().unwrap().to_owned();
            (event.aggregate_id.as_str(), hash)
        })
        .collect();
    let word = |event: &StoredEvent| match event.event_type.as_str() {
        "SessionOpened" => Some(("SessionOpened", sessions[event.aggregate_id.as_str()].clone())),
        "SessionSignedOut" => Some(("SessionSignedOut", sessions[event.aggregate_id.as_str()].clone())),
        other => known.into_iter().find(|known| *known == other).map(|known| (known, event.aggregate_id.clone())),
    };
    log.iter().filter_map(word).collect()
}

async fn assert_nothing_is_lost(database: &TestDatabase, acknowledged: &[Acknowledged], number: usize) {
    let log = tables::log(database).await;
    let positions: Vec<i64> = log.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=i64::try_from(log.len()).unwrap()).collect::<Vec<_>>(), "after kill {number}");
    let written = written(&log);
    let lost: Vec<&Acknowledged> = acknowledged.iter().filter(|unit| !written.contains(unit)).collect();
    assert!(lost.is_empty(), "after kill {number} of what was acknowledged this is not in the log: {lost:?}");
    if number.is_multiple_of(CHECK_RULES_EVERY) {
        assert_lawful(database).await;
    } else {
        model::agrees_with(database).await;
    }
}

async fn fifty_kills_under_load_lose_nothing_that_was_acknowledged(backend: Backend) {
    let Instance { provider: _provider, database, mut server, owner } = Instance::ready(backend).await;
    server.join(&owner, "bob", "developer").await;
    let (mut all, mut cut_off) = (Vec::new(), 0);
    for number in 1..=KILLS {
        let (acknowledged, in_flight) = kill_under_load(server, &owner, number).await;
        all.extend(acknowledged);
        cut_off += in_flight;
        server = Server::start(&database).await;
        server.get("/readyz", None).await.ok(200);
        assert_eq!(server.get("/v1/users/me", Some(&owner)).await.ok(200)["user"]["role"], "owner");
        assert_nothing_is_lost(&database, &all, number).await;
        let complaints = server.output.lock().unwrap().clone();
        assert!(!complaints.contains("\"ERROR\"") && !complaints.contains("\"WARN\""), "{complaints}");
    }
    let kinds: BTreeSet<&str> = all.iter().map(|(event_type, _)| *event_type).collect();
    assert_eq!(kinds.len(), 7, "the load was to make every kind of event: {kinds:?}");
    assert!(cut_off >= KILLS, "only {cut_off} calls were cut off by {KILLS} kills: that is no load");
    assert_eq!(server.stop().await, 0);
}

on_both_databases!(fifty_kills_under_load_lose_nothing_that_was_acknowledged);
