//! The clock of the service's host steps by an hour, forwards and back, while it runs. `docs/operations.md` says what comes of it.

use devidp::DevIdp;
use reqwest::Method;

use crate::ledger::{Ledger, assert_ready};
use crate::on_both_databases;
use crate::shim::Shim;
use crate::support::server::Server;
use crate::support::{Backend, TestDatabase, tables};

const HOUR: i64 = 3600;
const MICROS: i64 = 1_000_000;

struct Host {
    provider: DevIdp,
    database: TestDatabase,
    shim: Shim,
    server: Server,
}

impl Host {
    async fn new(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(backend).await;
        let shim = Shim::compile("stepping_clock", database.folder.path());
        let settings: Vec<(&str, &str)> = shim.environment().into_iter().chain(settings.iter().copied()).collect();
        let server = Server::start_with(&database, &settings).await;
        Self { provider, database, shim, server }
    }

    fn step_to(&self, offset: i64) {
        self.shim.tell(&offset.to_string());
    }
}

async fn a_clock_that_steps_keeps_the_log_in_order_and_whoever_is_signed_in(backend: Backend) {
    let host = Host::new(backend, &[]).await;
    let (server, ledger) = (&host.server, Ledger::default());
    let owner = server.set_up(&host.provider).await;
    // Where it steps to, what becomes of a sign-in that was under way, and of one that begins then: the provider's clock stays.
    let steps = [
        (HOUR, (400, "auth_expired"), Some("id_token_verification_error")),
        (-HOUR, (502, "id_token_verification_error"), Some("id_token_verification_error")),
        (0, (400, "auth_expired"), None),
    ];
    for (offset, under_way, begun) in steps {
        let callback = server.callback_body("alice").await;
        host.step_to(offset);
        server.get("/v1/users/me", Some(&owner)).await.ok(200);
        ledger.invited(server, &owner, &format!("at{offset}")).await;
        let answer = server.post("/v1/auth/oidc/callback", None, callback).await;
        answer.refused(under_way.0, under_way.1);
        let answer = server.sign_in("alice").await;
        match begun {
            Some(code) => answer.refused(502, code),
            None => drop(answer.ok(200)),
        }
        assert_ready(server, true, true, true).await;
    }
    ledger.invited(server, &owner, "last").await;
    ledger.agrees_with(&host.database).await;
    // It did step, and the log's time waited for it instead of going back with it.
    let log = tables::log(&host.database).await;
    let invited: Vec<i64> =
        log.iter().filter(|event| event.event_type == "UserInvited").map(|e| e.recorded_at).collect();
    assert!(invited[0] - log[0].recorded_at > (HOUR - 60) * MICROS, "the clock did not step: {invited:?}");
}

async fn a_session_ends_by_the_clock_also_when_that_steps_over_its_end(backend: Backend) {
    let host = Host::new(backend, &[("AUTHLOG_SESSION_TTL", "30m")]).await;
    let owner = host.server.set_up(&host.provider).await;
    host.step_to(-HOUR);
    host.server.get("/v1/users/me", Some(&owner)).await.ok(200);
    host.step_to(HOUR);
    host.server.get("/v1/users/me", Some(&owner)).await.refused(401, "session_expired");
    host.step_to(0);
    host.server.sign_in("alice").await.ok(200);
    Ledger::default().agrees_with(&host.database).await;
}

/// A lease is measured by a clock that nobody sets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_steps_refuses_what_another_node_has_revoked() {
    let watched = Host::new(Backend::Postgres, &[]).await;
    let other = Server::start(&watched.database).await;
    let owner = other.set_up(&watched.provider).await;
    for offset in [HOUR, -HOUR, 0].into_iter().cycle().take(9) {
        let signed_in = other.sign_in("alice").await.ok(200);
        let token = signed_in["session_token"].as_str().unwrap();
        for _ in 0..2 {
            watched.server.get("/v1/users/me", Some(token)).await.ok(200);
        }
        watched.step_to(offset);
        let sessions = other.get("/v1/sessions", Some(token)).await.ok(200);
        let present = sessions["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true);
        let path = format!("/v1/sessions/{}", present.unwrap()["id"].as_str().unwrap());
        other.call(Method::DELETE, &path, Some(&owner), None).await.ok(200);
        watched.server.get("/v1/users/me", Some(token)).await.refused(401, "invalid_session");
    }
    Ledger::default().agrees_with(&watched.database).await;
}

on_both_databases!(
    a_clock_that_steps_keeps_the_log_in_order_and_whoever_is_signed_in,
    a_session_ends_by_the_clock_also_when_that_steps_over_its_end,
);
