//! The provider is slow, dead or lies while people sign in: they are refused within bounds, and nobody else hears of it.

use std::net::SocketAddr;
use std::time::Duration;

use devidp::{DevIdp, Fault, Options};
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

use crate::ledger::{Ledger, assert_ready};
use crate::on_both_databases;
use crate::support::server::{Answer, Server, send};
use crate::support::{Backend, TestDatabase};

/// Longer than any test: who answers so late does not answer.
const STALL: Duration = Duration::from_secs(3600);
const SIGN_INS: usize = 8;

struct House {
    provider: Option<DevIdp>,
    database: TestDatabase,
    server: Server,
    owner: String,
    ledger: Ledger,
}

impl House {
    async fn new(backend: Backend) -> Self {
        let provider = DevIdp::start(Options { stall: STALL, ..Options::default() }).unwrap();
        let database = TestDatabase::new(backend).await;
        let server = Server::start(&database).await;
        let owner = server.set_up(&provider).await;
        Self { provider: Some(provider), database, server, owner, ledger: Ledger::default() }
    }

    fn provider(&self) -> &DevIdp {
        self.provider.as_ref().unwrap()
    }

    /// As many as come back from the provider.
    async fn callbacks(&self) -> Vec<Value> {
        let mut callbacks = Vec::new();
        for _ in 0..SIGN_INS {
            callbacks.push(self.server.callback_body("alice").await);
        }
        callbacks
    }

    /// They all sign in at once.
    fn sign_in(&self, callbacks: Vec<Value>) -> JoinHandle<Vec<Answer>> {
        let mut crowd = JoinSet::new();
        for callback in callbacks {
            let call = self.server.request(reqwest::Method::POST, "/v1/auth/oidc/callback").json(&callback);
            crowd.spawn(async move { send(call).await.unwrap() });
        }
        tokio::spawn(crowd.join_all())
    }

    /// The others' calls, which need no provider.
    async fn others(&self, name: &str) {
        for number in 0..20 {
            self.ledger.invited(&self.server, &self.owner, &format!("{name}{number}")).await;
            self.server.get("/v1/users/me", Some(&self.owner)).await.ok(200);
        }
        assert_ready(&self.server, true, true, true).await;
    }

    async fn end(self) {
        self.server.sign_in("alice").await.ok(200);
        self.ledger.agrees_with(&self.database).await;
    }
}

async fn a_provider_that_does_not_answer_hurts_only_those_who_sign_in(backend: Backend) {
    let house = House::new(backend).await;
    let callbacks = house.callbacks().await;
    house.provider().set_fault(Fault::TokenSlow);
    let signing_in = house.sign_in(callbacks);
    house.others("slow").await;
    assert!(!signing_in.is_finished(), "the others' calls were to be done while nobody had heard from the provider");
    for answer in signing_in.await.unwrap() {
        answer.refused(502, "token_exchange_error");
    }
    house.provider().clear_fault();
    house.end().await;
}

async fn a_provider_that_is_dead_is_missed_by_nobody_but_those_who_sign_in(backend: Backend) {
    let mut house = House::new(backend).await;
    let callbacks = house.callbacks().await;
    let listen: SocketAddr = house.provider().issuer().trim_start_matches("http://").parse().unwrap();
    house.provider = None;
    for answer in house.sign_in(callbacks).await.unwrap() {
        answer.refused(502, "token_exchange_error");
    }
    house.others("dead").await;
    // It comes back where it was, with other keys.
    house.provider = Some(DevIdp::start(Options { listen, stall: STALL, ..Options::default() }).unwrap());
    house.end().await;
}

async fn a_provider_that_lies_is_believed_by_nobody_and_believed_again_when_it_does_not(backend: Backend) {
    let house = House::new(backend).await;
    let lies = [
        (Fault::SignatureByStranger, "id_token_verification_error"),
        (Fault::WrongNonce, "id_token_verification_error"),
        (Fault::TokenOversized, "token_exchange_error"),
        (Fault::NoIdToken, "missing_id_token"),
    ];
    for (lie, code) in lies {
        let callbacks = house.callbacks().await;
        house.provider().set_fault(lie);
        for answer in house.sign_in(callbacks).await.unwrap() {
            answer.refused(502, code);
        }
        house.others(&format!("{lie:?}").to_lowercase()).await;
        house.provider().clear_fault();
        house.server.sign_in("alice").await.ok(200);
    }
    house.end().await;
}

on_both_databases!(
    a_provider_that_does_not_answer_hurts_only_those_who_sign_in,
    a_provider_that_is_dead_is_missed_by_nobody_but_those_who_sign_in,
    a_provider_that_lies_is_believed_by_nobody_and_believed_again_when_it_does_not,
);
