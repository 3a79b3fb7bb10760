//! A node that is stopped while it holds the log's head, or has handed over what it holds: the others go on, and it finds its way
//! back.

use devidp::DevIdp;

use crate::ledger::{Ledger, assert_ready, invitation, is_not_known};
use crate::support::proxy::{Fault, Proxy, Side};
use crate::support::server::{Answer, Server, send};
use crate::support::{Backend, TestDatabase};

const APPEND: &str = "FROM log_head FOR UPDATE";

/// Two nodes; the messages of one of them can be held.
struct Nodes {
    _provider: DevIdp,
    database: TestDatabase,
    proxy: Proxy,
    frozen: Server,
    other: Server,
    owner: String,
    ledger: Ledger,
}

impl Nodes {
    async fn new() -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(Backend::Postgres).await;
        let proxy = Proxy::before(database.url.as_ref().unwrap()).await;
        let other = Server::start(&database).await;
        let frozen = Server::start_by(&proxy.url, &database, &[]).await;
        let owner = other.set_up(&provider).await;
        let nodes = Self { _provider: provider, database, proxy, frozen, other, owner, ledger: Ledger::default() };
        nodes.ledger.invited(&nodes.frozen, &nodes.owner, "first").await;
        nodes
    }

    /// Stops the one node at a step of an invitation, lets the other one work meanwhile, and answers what became of it.
    async fn freeze_at(&self, step: usize, side: Side, name: &str, meanwhile: impl Future<Output = ()>) -> Answer {
        let mut held = self.proxy.trap_after(APPEND, step, side, Fault::Hold);
        let call = tokio::spawn(send(invitation(&self.frozen, &self.owner, name)));
        held.sprung().await;
        self.frozen.freeze().await;
        meanwhile.await;
        assert!(!call.is_finished());
        self.frozen.thaw().await;
        held.let_go();
        let answer = call.await.unwrap().unwrap();
        self.ledger.note(name, Some(&answer));
        answer
    }

    async fn end(self) {
        for node in [&self.frozen, &self.other] {
            self.ledger.invited(node, &self.owner, &format!("last{}", node.pid())).await;
            assert_ready(node, true, true, true).await;
        }
        self.ledger.agrees_with(&self.database).await;
    }
}

/// Who waits for the head gives up after five seconds (`lock_timeout`); that the other node gets through shows that the head was
/// taken from the frozen one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_freezes_with_the_head_in_its_hand_loses_it_and_its_call_is_refused() {
    let nodes = Nodes::new().await;
    let others = async {
        for number in 0..3 {
            nodes.ledger.invited(&nodes.other, &nodes.owner, &format!("other{number}")).await;
        }
        assert_ready(&nodes.other, true, true, true).await;
    };
    let answer = nodes.freeze_at(1, Side::BeforeTheServer, "frozen", others).await;
    answer.refused(500, "store_error");
    assert!(!is_not_known(&answer), "{answer:?}");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_freezes_before_it_has_the_head_decides_again_about_what_moved_meanwhile() {
    let nodes = Nodes::new().await;
    let others = nodes.ledger.invited(&nodes.other, &nodes.owner, "both");
    let mut held = nodes.proxy.trap(APPEND, Side::BeforeTheServer, Fault::Hold);
    let call = tokio::spawn(send(invitation(&nodes.frozen, &nodes.owner, "both")));
    held.sprung().await;
    nodes.frozen.freeze().await;
    others.await;
    nodes.frozen.thaw().await;
    held.let_go();
    call.await.unwrap().unwrap().refused(409, "already_exists");
    nodes.end().await;
}

/// The COMMIT was done, and its answer does not reach the node before others have gone on; then it is lost as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_freezes_before_it_hears_of_its_commit_finds_it_in_the_log() {
    let nodes = Nodes::new().await;
    let mut lost = nodes.proxy.trap("COMMIT\0", Side::BeforeTheClient, Fault::HalfClose);
    let freezes = async {
        lost.sprung().await;
        nodes.frozen.freeze().await;
        for number in 0..3 {
            nodes.ledger.invited(&nodes.other, &nodes.owner, &format!("other{number}")).await;
        }
        nodes.frozen.thaw().await;
    };
    let ((), ()) = tokio::join!(nodes.ledger.invited(&nodes.frozen, &nodes.owner, "frozen"), freezes);
    nodes.end().await;
}
