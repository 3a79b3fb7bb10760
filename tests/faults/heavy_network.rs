//! The network between the service and PostgreSQL, cut in every way at every step of an append, and as a whole.

use std::sync::Arc;

use devidp::DevIdp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::copy_of;
use crate::ledger::{Ledger, assert_ready, invitation};
use crate::support::proxy::{Fault, Network, Proxy, Side};
use crate::support::server::{REDIRECT_URI, Server, send};
use crate::support::tables::texts;
use crate::support::{Backend, TestDatabase};

/// What the first message of an append carries; the last one carries the COMMIT.
const APPEND: &str = "FROM log_head FOR UPDATE";
/// More steps than an append has.
const STEPS_AT_MOST: usize = 60;
/// Calls that find no answer at once: as many as a node has connections that read.
const READERS: usize = 16;
/// Servers that a test has at once.
const SERVERS: usize = 12;

/// An instance that is set up, to be copied.
struct Original {
    provider: Arc<DevIdp>,
    database: TestDatabase,
    owner: String,
}

impl Original {
    async fn new() -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(Backend::Postgres).await;
        let mut server = Server::start(&database).await;
        let owner = server.set_up(&provider).await;
        assert_eq!(server.stop().await, 0);
        Self { provider: Arc::new(provider), database, owner }
    }

    async fn copy(&self) -> Behind {
        let database = copy_of(&self.database).await;
        let proxy = Proxy::before(database.url.as_ref().unwrap()).await;
        let server = Server::start_by(&proxy.url, &database, &[]).await;
        let (provider, owner) = (Arc::clone(&self.provider), self.owner.clone());
        Behind { _provider: provider, database, proxy, server, owner, ledger: Ledger::default() }
    }
}

/// A server behind a proxy.
struct Behind {
    _provider: Arc<DevIdp>,
    database: TestDatabase,
    proxy: Proxy,
    server: Server,
    owner: String,
    ledger: Ledger,
}

impl Behind {
    /// Somebody is invited over a network that is well; afterwards the connection knows all its statements.
    async fn invited(&self, name: &str) {
        self.ledger.invited(&self.server, &self.owner, name).await;
    }

    /// Lets a fault happen at one step of an invitation, and answers whether there was such a step. Then the network is well.
    async fn at_step(&self, step: usize, last: usize, side: Side, fault: Fault) -> bool {
        let name = format!("step{step}-{side:?}-{fault:?}").to_lowercase();
        self.invited(&format!("before-{name}")).await;
        let mut trap = self.proxy.trap_after(APPEND, step, side, fault);
        let call = self.ledger.invite(&self.server, &self.owner, &name);
        let meanwhile = async {
            let sprung = trap.sprung_before_the_commit().await;
            // The network is cut in one place: the database does answer, and whoever reads gets what there is.
            if fault != Fault::Hold {
                assert_ready(&self.server, true, true, true).await;
                self.server.get("/v1/users", Some(&self.owner)).await.ok(200);
            }
            trap.let_go();
            sprung
        };
        let (answer, sprung) = tokio::join!(call, meanwhile);
        let answer = answer.unwrap();
        // A connection that is found dead before anything was asked is made anew; of a commit that was done it is found that it was.
        let gets_through =
            !sprung || fault == Fault::Hold || step == 0 || step == last && side == Side::BeforeTheClient;
        if gets_through {
            assert_eq!(answer.status, 201, "{name}: {answer:?}\n{}", self.server.output.lock().unwrap());
        } else {
            answer.refused(500, "store_error");
            assert!(!crate::ledger::is_not_known(&answer), "{name}: {answer:?}");
        }
        self.invited(&format!("after-{name}")).await;
        assert_ready(&self.server, true, true, true).await;
        sprung
    }

    async fn is_lawful(&self) {
        self.ledger.agrees_with(&self.database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_network_does_at_whatever_step_of_an_append_the_log_and_the_answer_agree() {
    let original = Original::new().await;
    // The steps are counted where nothing is lost.
    let behind = original.copy().await;
    let mut steps = 0;
    while behind.at_step(steps, STEPS_AT_MOST, Side::BeforeTheServer, Fault::Hold).await {
        behind.at_step(steps, STEPS_AT_MOST, Side::BeforeTheClient, Fault::Hold).await;
        steps += 1;
    }
    behind.is_lawful().await;
    assert!(steps > 4, "an append has only {steps} steps?");

    let (mut lanes, room) = (JoinSet::new(), Arc::new(Semaphore::new(SERVERS)));
    for side in [Side::BeforeTheServer, Side::BeforeTheClient] {
        // One after the other, each on the connection that was made after the one before.
        for fault in [Fault::Reset, Fault::HalfClose, Fault::Tear] {
            let seat = Arc::clone(&room).acquire_owned().await.unwrap();
            let behind = original.copy().await;
            lanes.spawn(async move {
                let _seat = seat;
                for step in 0..steps {
                    assert!(behind.at_step(step, steps - 1, side, fault).await);
                }
                behind.is_lawful().await;
            });
        }
        // These wait for a long time: all at once.
        for step in 0..steps {
            let seat = Arc::clone(&room).acquire_owned().await.unwrap();
            let behind = original.copy().await;
            lanes.spawn(async move {
                let _seat = seat;
                assert!(behind.at_step(step, steps - 1, side, Fault::Silence).await);
                behind.is_lawful().await;
            });
        }
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
}

/// Where nobody writes: as many calls as there are connections find no answer, and none of these connections is lost to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_only_read_are_refused_by_a_silent_network_and_leave_nothing_behind() {
    let behind = Original::new().await.copy().await;
    let (server, owner) = (&behind.server, &behind.owner);
    let mut silent = JoinSet::new();
    let mut traps = Vec::new();
    for reader in 0..READERS {
        let needle = format!("needle{reader}needle");
        traps.push(behind.proxy.trap(&needle, Side::BeforeTheClient, Fault::Silence));
        let path = format!("/v1/users?q={needle}");
        silent.spawn(send(server.request(reqwest::Method::GET, &path).bearer_auth(owner)));
    }
    for trap in &mut traps {
        trap.sprung().await;
    }
    for answer in silent.join_all().await {
        answer.unwrap().refused(500, "store_error");
    }
    server.get("/v1/users?q=nobody", Some(owner)).await.ok(200);
    behind.invited("afterwards").await;
    behind.is_lawful().await;
}

/// What is written beside the log, and the right to answer from memory, each on a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_beside_the_log_is_given_up_by_itself() {
    let behind = Original::new().await.copy().await;
    let mut beat = behind.proxy.trap("\",\"position\":", Side::BeforeTheClient, Fault::Silence);
    beat.sprung().await;
    let mut pending = behind.proxy.trap("redirect_uri", Side::BeforeTheServer, Fault::Silence);
    let begin = format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}");
    let (refused, ()) = tokio::join!(behind.server.get(&begin, None), pending.sprung());
    refused.refused(500, "store_error");
    behind.server.get(&begin, None).await.ok(200);
    // The node looks at the log again.
    let beats = async || texts(&behind.database, "", "SELECT beat::text FROM nodes ORDER BY id DESC LIMIT 1").await;
    let before = beats().await;
    while beats().await == before {
        tokio::task::yield_now().await;
    }
    behind.invited("afterwards").await;
    behind.is_lawful().await;
}

async fn the_whole_network_is_cut(network: Network) {
    let behind = Original::new().await.copy().await;
    let (server, owner) = (&behind.server, &behind.owner);
    behind.invited("before").await;
    behind.proxy.set_network(network);
    // Until the right to answer from memory has ended.
    while server.get("/v1/users/me", Some(owner)).await.status == 200 {}
    let begin = format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}");
    let (me, invited, begun, _) = tokio::join!(
        server.get("/v1/users/me", Some(owner)),
        behind.ledger.invite(server, owner, "meanwhile"),
        server.get(&begin, None),
        assert_ready(server, false, false, true),
    );
    me.refused(500, "session_error");
    invited.unwrap().refused(500, "session_error");
    begun.refused(500, "store_error");
    server.get("/healthz", None).await.ok(200);
    behind.proxy.set_network(Network::Whole);
    // The very next call: nothing is tried again here.
    behind.invited("afterwards").await;
    assert_ready(server, true, true, true).await;
    server.get(&begin, None).await.ok(200);
    behind.is_lawful().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_refuses_everything_is_said_so_and_forgotten_when_it_is_back() {
    the_whole_network_is_cut(Network::Refusing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_went_silent_is_said_so_and_forgotten_when_it_is_back() {
    the_whole_network_is_cut(Network::Silent).await;
}

/// The answer to a COMMIT is lost, and for a while nobody can be asked what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_commit_is_looked_up_when_the_network_is_back() {
    let behind = Original::new().await.copy().await;
    for (name, side) in [("done", Side::BeforeTheClient), ("undone", Side::BeforeTheServer)] {
        let mut lost = behind.proxy.trap("COMMIT\0", side, Fault::Reset);
        let call = send(invitation(&behind.server, &behind.owner, name));
        let network = async {
            lost.sprung().await;
            behind.proxy.set_network(Network::Refusing);
            let said = || behind.server.output.lock().unwrap().matches("cannot be looked up yet").count();
            let before = said();
            while said() < before + 2 {
                tokio::task::yield_now().await;
            }
            behind.proxy.set_network(Network::Whole);
        };
        let (answer, ()) = tokio::join!(call, network);
        let answer = answer.unwrap();
        behind.ledger.note(name, Some(&answer));
        match side {
            Side::BeforeTheClient => drop(answer.ok(201)),
            Side::BeforeTheServer => answer.refused(500, "store_error"),
        }
    }
    behind.invited("afterwards").await;
    behind.is_lawful().await;
}
