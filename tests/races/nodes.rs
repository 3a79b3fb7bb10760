//! Nodes that check sessions from memory (P4): whatever one has answered, no other contradicts, wherever it was stopped meanwhile.

use std::time::{Duration, Instant};

use aggregates::TokenHash;
use devidp::DevIdp;
use serde_json::json;

use crate::stage::at_once;
use crate::support::proxy::{Fault, Proxy, Side};
use crate::support::rules::assert_lawful;
use crate::support::server::Server;
use crate::support::tables::texts;
use crate::support::{Backend, TestDatabase};

/// What the argument of the statement carries by which a node raises its beat and reads the head.
const BEAT: &str = "\",\"position\":";
/// Of the statement that reads what has changed.
const MOVED: &str = "\"after\":";

/// Two nodes, one of them behind a proxy.
struct Pair {
    _provider: DevIdp,
    database: TestDatabase,
    proxy: Proxy,
    /// Its sessions are revoked on the other one.
    watched: Server,
    other: Server,
    owner: String,
}

impl Pair {
    async fn with(settings: &[(&str, &str)]) -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(Backend::Postgres).await;
        let proxy = Proxy::before(database.url.as_ref().unwrap()).await;
        let other = Server::start_with(&database, settings).await;
        let watched = Server::start_by(&proxy.url, &database, settings).await;
        let owner = other.set_up(&provider).await;
        Self { _provider: provider, database, proxy, watched, other, owner }
    }

    async fn ready() -> Self {
        Self::with(&[]).await
    }

    /// A session of the owner that the watched node has in memory; answers its token and its id.
    async fn session_in_memory(&self) -> (String, String) {
        let signed_in = self.other.sign_in("alice").await.ok(200);
        let token = signed_in["session_token"].as_str().unwrap().to_owned();
        self.wait_for_nodes(2).await;
        self.watched.get("/v1/users/me", Some(&token)).await.ok(200);
        let sessions = self.other.get("/v1/sessions", Some(&token)).await.ok(200);
        let present = sessions["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true);
        (token, present.unwrap()["id"].as_str().unwrap().to_owned())
    }

    /// Until so many nodes have looked at the log since they were registered.
    async fn wait_for_nodes(&self, nodes: usize) {
        let begun = Instant::now();
        while self.beating().await.len() < nodes {
            assert!(begun.elapsed() < Duration::from_secs(20), "{nodes} nodes were to look at the log");
            tokio::task::yield_now().await;
        }
    }

    /// The nodes that have looked at the log.
    async fn beating(&self) -> Vec<String> {
        texts(&self.database, "", "SELECT id FROM nodes WHERE beat > 1 ORDER BY id").await
    }

    async fn revoke(&self, id: &str) {
        self.other.delete(&format!("/v1/sessions/{id}"), Some(&self.owner)).await.ok(200);
    }

    /// Writes an event that changes nothing in any memory.
    async fn write(&self, number: usize) {
        let body = json!({ "email": format!("user{number}@example.com"), "role": "developer" });
        self.other.post("/v1/users/invite", Some(&self.owner), body).await.ok(201);
    }
}

/// Where a node is when it is held back: about to look at the head, having looked, about to read what changed, having read it.
const STEPS: [(&str, Side); 4] = [
    (BEAT, Side::BeforeTheServer),
    (BEAT, Side::BeforeTheClient),
    (MOVED, Side::BeforeTheServer),
    (MOVED, Side::BeforeTheClient),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_at_any_step_says_yes_to_nothing_that_was_revoked_meanwhile() {
    let pair = Pair::ready().await;
    for (number, (text, side)) in STEPS.into_iter().cycle().take(2 * STEPS.len()).enumerate() {
        let frozen = number >= STEPS.len();
        let (token, id) = pair.session_in_memory().await;
        let mut held = pair.proxy.trap(text, side, Fault::Hold);
        pair.write(number).await;
        held.sprung().await;
        if frozen {
            pair.watched.freeze().await;
        }
        pair.revoke(&id).await;
        let (answer, ()) = tokio::join!(pair.watched.get("/v1/users/me", Some(&token)), async {
            if frozen {
                pair.watched.thaw().await;
            }
        });
        answer.refused(401, "invalid_session");
        held.let_go();
        // While what was held is worked off.
        for _ in 0..20 {
            pair.watched.get("/v1/users/me", Some(&token)).await.refused(401, "invalid_session");
        }
    }
    assert_lawful(&pair.database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_given_up_begins_anew() {
    let pair = Pair::ready().await;
    let (_, id) = pair.session_in_memory().await;
    let before = pair.beating().await;
    pair.watched.freeze().await;
    pair.revoke(&id).await;
    let left = texts(&pair.database, "", "SELECT id FROM nodes").await;
    assert!(left.len() == 1 && before.contains(&left[0]), "{left:?} of {before:?}");
    pair.watched.thaw().await;
    pair.wait_for_nodes(2).await;
    let after = pair.beating().await;
    assert_eq!(after.iter().filter(|id| before.contains(id)).count(), 1, "{after:?} after {before:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_already_is_answered_only_when_every_node_has_heard_of_it() {
    // A lease that is long over when nobody waits for it would show nothing.
    let pair = Pair::with(&[("AUTHLOG_CACHE_LEASE", "3s")]).await;
    let (token, id) = pair.session_in_memory().await;
    // The watched node does not look at the log any more; what it knows holds until its lease ends.
    let held = pair.proxy.trap(BEAT, Side::BeforeTheServer, Fault::Hold);
    let first = pair.other.request(reqwest::Method::DELETE, &format!("/v1/sessions/{id}")).bearer_auth(&pair.owner);
    let first = tokio::spawn(first.send());
    let revoked = "SELECT event_type FROM events WHERE event_type = 'SessionRevoked'";
    while texts(&pair.database, "", revoked).await.is_empty() {
        tokio::task::yield_now().await;
    }
    pair.revoke(&id).await;
    pair.watched.get("/v1/users/me", Some(&token)).await.refused(401, "invalid_session");
    assert_eq!(first.await.unwrap().unwrap().status().as_u16(), 200);
    held.let_go();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_in_good_order_is_waited_for_by_nobody() {
    let mut pair = Pair::ready().await;
    pair.wait_for_nodes(2).await;
    assert_eq!(pair.watched.stop().await, 0);
    assert_eq!(texts(&pair.database, "", "SELECT id FROM nodes").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_lease_of_nothing_reads_rows_and_stands_in_no_list() {
    let pair = Pair::with(&[("AUTHLOG_CACHE_LEASE", "0")]).await;
    let hash = TokenHash::of(&pair.owner).to_string();
    for _ in 0..2 {
        let mut asked = pair.proxy.trap(&hash, Side::BeforeTheServer, Fault::Hold);
        let (answer, ()) = tokio::join!(pair.watched.get("/v1/users/me", Some(&pair.owner)), async {
            asked.sprung().await;
            asked.let_go();
        });
        answer.ok(200);
    }
    assert_eq!(texts(&pair.database, "", "SELECT id FROM nodes").await, Vec::<String>::new());
}

/// What other nodes change of users and of the provider is in no session's own stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_or_status_that_another_node_changes_counts_in_the_next_call() {
    let pair = Pair::ready().await;
    let (bob, session) = pair.other.join(&pair.owner, "bob", "admin").await;
    pair.wait_for_nodes(2).await;
    pair.watched.get("/v1/users", Some(&session)).await.ok(200);
    let change = async |role: &str| {
        let (path, body) = (format!("/v1/users/{bob}/role"), Some(json!({ "role": role })));
        pair.other.call(reqwest::Method::PATCH, &path, Some(&pair.owner), body).await.ok(200);
    };
    for _ in 0..20 {
        change("developer").await;
        pair.watched.get("/v1/users", Some(&session)).await.refused(403, "forbidden");
        change("admin").await;
        pair.watched.get("/v1/users", Some(&session)).await.ok(200);
    }
    pair.other.delete(&format!("/v1/users/{bob}"), Some(&pair.owner)).await.ok(200);
    pair.watched.get("/v1/users/me", Some(&session)).await.refused(401, "invalid_session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_revokes_no_node_accepts_in_the_very_next_call() {
    let pair = Pair::ready().await;
    let third = Server::start(&pair.database).await;
    pair.wait_for_nodes(3).await;
    let nodes = [&pair.other, &pair.watched, &third];
    for _ in 0..100 {
        let (token, id) = pair.session_in_memory().await;
        third.get("/v1/users/me", Some(&token)).await.ok(200);
        pair.revoke(&id).await;
        let calls = nodes.map(|node| node.request(reqwest::Method::GET, "/v1/users/me").bearer_auth(&token));
        for answer in at_once(calls.into()).await {
            answer.refused(401, "invalid_session");
        }
    }
}
