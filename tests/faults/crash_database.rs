//! PostgreSQL is killed, stopped and started again while a crowd calls: nothing acknowledged is lost, nothing refused comes true, and
//! nobody lifts a hand at the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devidp::DevIdp;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, End};
use crate::ledger::{Ledger, assert_ready};
use crate::support::server::Server;

const CALLERS: usize = 8;
const ENDS: [End; 6] = [End::Killed, End::Immediate, End::Fast, End::Killed, End::Immediate, End::Fast];

/// Invites one after the other; what is refused is refused for the database.
async fn call(caller: usize, server: &Server, owner: &str, ledger: &Ledger, stop: &AtomicBool) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("caller{caller}-{number}");
        let answer = ledger.invite(server, owner, &name).await.unwrap();
        let code = if answer.status == 201 { "invited" } else { answer.code() };
        assert!(["invited", "store_error", "session_error"].contains(&code), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_stopped_or_restarted_under_load_loses_nothing_that_was_acknowledged() {
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let mut cluster = Cluster::new().await;
    let database = cluster.database().await;
    let server = Arc::new(Server::start(&database).await);
    let owner = server.set_up(&provider).await;
    let (ledger, stop) = (Arc::new(Ledger::default()), Arc::new(AtomicBool::new(false)));
    let mut crowd = JoinSet::new();
    for caller in 0..CALLERS {
        let (server, owner, ledger, stop) = (server.clone(), owner.clone(), ledger.clone(), stop.clone());
        crowd.spawn(async move { call(caller, &server, &owner, &ledger, &stop).await });
    }
    // Panics of callers come up here.
    let until = async |done: &dyn Fn() -> bool, crowd: &mut JoinSet<()>| {
        while !done() {
            tokio::select! {
                Some(ended) = crowd.join_next() => ended.unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
            }
        }
    };
    for (round, how) in ENDS.into_iter().enumerate() {
        let acknowledged = ledger.acknowledged() + 20 + 7 * round;
        until(&|| ledger.acknowledged() >= acknowledged, &mut crowd).await;
        cluster.end(how);
        // Backends of a killed server live a moment longer than it.
        while server.get("/readyz", None).await.status == 200 {}
        let mut me = server.get("/v1/users/me", Some(&owner)).await;
        while me.status == 200 {
            me = server.get("/v1/users/me", Some(&owner)).await;
        }
        me.refused(500, "session_error");
        assert_ready(&server, false, false, true).await;
        cluster.start().await;
        let acknowledged = ledger.acknowledged() + CALLERS;
        until(&|| ledger.acknowledged() >= acknowledged, &mut crowd).await;
        assert_ready(&server, true, true, true).await;
    }
    stop.store(true, Ordering::Relaxed);
    crowd.join_all().await;
    ledger.invited(&server, &owner, "last").await;
    ledger.agrees_with(&database).await;
}
