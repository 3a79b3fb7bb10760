//! A disk without room, and one that does not flush: what cannot be written is refused, what can be read is, and when there is room
//! again the service goes on by itself.

use devidp::DevIdp;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::ledger::{Ledger, assert_ready, invitation, is_not_known};
use crate::shim::Shim;
use crate::support::server::{REDIRECT_URI, Server, send};
use crate::support::{Backend, TestDatabase};

/// Writes of one invitation to SQLite, at most.
const WRITES_AT_MOST: usize = 200;
const CROWD: usize = 8;

/// A server on SQLite whose disk can be filled.
struct OnSqlite {
    _provider: DevIdp,
    database: TestDatabase,
    shim: Shim,
    server: Server,
    owner: String,
    ledger: Ledger,
}

impl OnSqlite {
    async fn new() -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(Backend::Sqlite).await;
        let shim = Shim::compile("full_disk", database.folder.path());
        let server = Server::start_with(&database, &shim.environment()).await;
        let owner = server.set_up(&provider).await;
        Self { _provider: provider, database, shim, server, owner, ledger: Ledger::default() }
    }

    async fn invited(&self, name: &str) {
        self.ledger.invited(&self.server, &self.owner, name).await;
    }

    /// What the log holds when the process and all that it had not flushed is gone.
    async fn end(mut self) {
        self.server.kill().await;
        let server = Server::start(&self.database).await;
        self.ledger.invited(&server, &self.owner, "after-the-crash").await;
        self.ledger.agrees_with(&self.database).await;
    }
}

/// What a full disk has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    Nothing,
    /// What goes into pages that are there.
    Some,
}

/// What only reads goes on, and what writes is refused with certainty.
async fn only_reading_goes_on(server: &Server, owner: &str, token: &str, ledger: &Ledger, fits: Fits) {
    let mut crowd = JoinSet::new();
    for caller in 0..CROWD {
        let name = format!("crowd{caller}");
        let call = send(invitation(server, owner, &name));
        crowd.spawn(async move { (name, call.await.unwrap()) });
    }
    for (name, answer) in crowd.join_all().await {
        ledger.note(&name, Some(&answer));
        if fits == Fits::Some && answer.status == 201 {
            continue;
        }
        answer.refused(500, "store_error");
        assert!(!is_not_known(&answer), "{answer:?}");
    }
    server.get("/v1/users/me", Some(owner)).await.ok(200);
    // Its first use, which cannot be written down.
    server.get("/v1/users", Some(token)).await.ok(200);
    server.get("/v1/audit-logs", Some(owner)).await.ok(200);
    server.get("/healthz", None).await.ok(200);
    // The database answers and the writer works on what it gets; that it finds no room is in the answers and in the output.
    assert_ready(server, true, true, true).await;
}

async fn api_token(server: &Server, owner: &str) -> String {
    let issued = server.post("/v1/api-tokens", Some(owner), json!({ "name": "ci", "role": "admin" })).await.ok(201);
    issued["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_full_disk_refuses_what_writes_and_nothing_else() {
    let on = OnSqlite::new().await;
    let token = api_token(&on.server, &on.owner).await;
    let begin = format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}");
    on.invited("before").await;
    on.shim.tell("full authlog.db 0");
    only_reading_goes_on(&on.server, &on.owner, &token, &on.ledger, Fits::Nothing).await;
    on.server.get(&begin, None).await.refused(500, "store_error");
    on.shim.be_silent();
    on.invited("afterwards").await;
    on.server.get(&begin, None).await.ok(200);
    assert_ready(&on.server, true, true, true).await;
    on.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_disk_that_fills_up_at_any_write_of_a_commit_leaves_nothing_half_written() {
    let on = OnSqlite::new().await;
    let mut refused = 0;
    for writes in 0..WRITES_AT_MOST {
        on.shim.tell(&format!("full authlog.db {writes}"));
        let name = format!("after{writes}");
        let answer = on.ledger.invite(&on.server, &on.owner, &name).await.unwrap();
        on.shim.be_silent();
        if answer.status == 201 {
            break;
        }
        answer.refused(500, "store_error");
        assert!(!is_not_known(&answer), "{answer:?}");
        refused += 1;
        on.invited(&format!("then{writes}")).await;
    }
    assert!((3..WRITES_AT_MOST).contains(&refused), "{refused} writes in a commit?");
    on.end().await;
}

/// A commit that was not flushed may be found after a crash, unless another one has taken its place: so it is refused only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_disk_that_does_not_flush_refuses_what_it_did_not_keep() {
    let on = OnSqlite::new().await;
    on.invited("before").await;
    on.shim.tell("flush authlog.db");
    let mut call = tokio::spawn(send(invitation(&on.server, &on.owner, "unflushed")));
    let said = || on.server.output.lock().unwrap().matches("cannot be looked up yet").count();
    while said() < 2 {
        tokio::select! {
            answer = &mut call => panic!("{answer:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    on.server.get("/v1/users/me", Some(&on.owner)).await.ok(200);
    assert_ready(&on.server, true, true, true).await;
    on.shim.be_silent();
    let answer = call.await.unwrap().unwrap();
    on.ledger.note("unflushed", Some(&answer));
    answer.refused(500, "store_error");
    assert!(!is_not_known(&answer), "{answer:?}");
    on.end().await;
}

async fn on_postgres() -> (DevIdp, Cluster, Shim, TestDatabase, Server, String) {
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let (cluster, shim) = Cluster::under("full_disk").await;
    let database = cluster.database().await;
    let server = Server::start(&database).await;
    let owner = server.set_up(&provider).await;
    (provider, cluster, shim, database, server, owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_full_disk_refuses_what_writes_and_nothing_else() {
    let (_provider, _cluster, shim, database, server, owner) = on_postgres().await;
    let ledger = Ledger::default();
    let token = api_token(&server, &owner).await;
    shim.tell("full /base/ 0");
    // As long as there is room in the pages that the tables have.
    let mut fitted = 0;
    while ledger.invite(&server, &owner, &format!("fits{fitted}")).await.unwrap().status == 201 {
        fitted += 1;
        assert!(fitted < 1000, "the disk is not full");
    }
    only_reading_goes_on(&server, &owner, &token, &ledger, Fits::Some).await;
    shim.be_silent();
    ledger.invited(&server, &owner, "afterwards").await;
    assert_ready(&server, true, true, true).await;
    ledger.agrees_with(&database).await;
}

/// PostgreSQL breaks down when its log cannot be flushed, and recovers by itself: what it had written by then is there or not, and the
/// call whose commit it was is answered accordingly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_flush_that_fails_is_answered_by_what_recovery_finds() {
    let (_provider, _cluster, shim, database, server, owner) = on_postgres().await;
    let ledger = Ledger::default();
    ledger.invited(&server, &owner, "before").await;
    for round in 0..3 {
        shim.tell("flush-once /pg_wal/");
        let answer = ledger.invite(&server, &owner, &format!("unflushed{round}")).await.unwrap();
        assert!(!shim.is_waiting(), "nothing was flushed");
        while server.get("/readyz", None).await.status != 200 {}
        assert!(answer.status == 201 || answer.code() == "store_error" && !is_not_known(&answer), "{answer:?}");
        ledger.invited(&server, &owner, &format!("then{round}")).await;
        assert_ready(&server, true, true, true).await;
    }
    ledger.agrees_with(&database).await;
}
