//! The group `setup`.

use serde_json::json;

use crate::support::Backend;
use crate::support::server::{Instance, Server, run};
use crate::{Fresh, clock_reaches, start_path, text};

const VERIFY: &str = "/v1/setup/bootstrap-token/verify";

async fn already_configured_for_every_setup_call_once_ready(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    for every_user_is_gone in [false, true] {
        if every_user_is_gone {
            // As nobody should; ready is ready, whoever is left.
            assert_eq!(instance.server.stop().await, 0);
            instance.database.sql("DELETE FROM users_1").await;
            instance.server = Server::start(&instance.database).await;
        }
        // The state comes before everything: before the token, and before the body.
        for path in [
            VERIFY,
            "/v1/setup/preferences",
            "/v1/setup/oidc/configure",
            "/v1/setup/owner/start-oidc",
            "/v1/setup/owner/verify-oidc",
            "/v1/setup/complete",
        ] {
            instance.server.post(path, None, json!([])).await.refused(409, "already_configured");
            instance.server.post(path, Some("anything"), json!({})).await.refused(409, "already_configured");
        }
        instance.server.get("/v1/setup/summary", None).await.refused(409, "already_configured");
        for command in [&["setup", "token"][..], &["setup", "restart", "--yes"]] {
            let (code, stdout, stderr) = run(&instance.server.flags, command).await;
            assert_eq!((code, stdout.as_str(), stderr.contains("already_configured")), (1, "", true), "{stderr}");
        }
    }
}

async fn invalid_state_for_a_call_out_of_turn_and_400_for_an_unknown_state_value(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let server = &fresh.server;
    let setup = server.open_setup_session().await;
    for path in ["/v1/setup/owner/start-oidc", "/v1/setup/owner/verify-oidc", "/v1/setup/complete"] {
        server.post(path, Some(&setup), json!({})).await.refused(409, "invalid_state");
    }
    server.configure(&setup, fresh.provider.issuer()).await.ok(200);
    server.post("/v1/setup/complete", Some(&setup), json!({})).await.refused(409, "invalid_state");
    let unknown = json!({ "code": "c", "state": "nobody began with this" });
    server.post("/v1/setup/owner/verify-oidc", Some(&setup), unknown.clone()).await.refused(400, "invalid_state");

    let instance = Instance::ready(backend).await;
    instance.server.post("/v1/auth/oidc/callback", None, unknown).await.refused(400, "invalid_state");
}

async fn setup_incomplete_for_signing_in_before_ready(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    fresh.server.get(&start_path(), None).await.refused(409, "setup_incomplete");
    // The state of the instance comes before the query and the body.
    fresh.server.get("/v1/auth/oidc/start?redirect_uri=:", None).await.refused(409, "setup_incomplete");
    fresh.server.post("/v1/auth/oidc/callback", None, json!([])).await.refused(409, "setup_incomplete");
}

async fn verify(server: &Server, token: &str) -> crate::support::server::Answer {
    server.post(VERIFY, None, json!({ "token": token })).await
}

async fn invalid_token_for_a_wrong_bootstrap_token(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let token = fresh.server.bootstrap_token().await;
    for wrong in ["", "x", &token[1..], &token.to_uppercase()] {
        verify(&fresh.server, wrong).await.refused(401, "invalid_token");
    }
    verify(&fresh.server, &token).await.ok(200);
}

async fn token_consumed_the_second_time(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let token = fresh.server.bootstrap_token().await;
    verify(&fresh.server, &token).await.ok(200);
    verify(&fresh.server, &token).await.refused(410, "token_consumed");
    verify(&fresh.server, "any other").await.refused(410, "token_consumed");
}

async fn token_expired_once_its_time_has_run_out(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let issued = fresh.server.cli_json(&["setup", "token", "--ttl", "1s", "--json"]).await;
    clock_reaches(&issued["expires_at"]).await;
    verify(&fresh.server, text(&issued, "token")).await.refused(410, "token_expired");
}

async fn no_bootstrap_token_while_none_was_issued(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    verify(&fresh.server, "anything").await.refused(500, "no_bootstrap_token");
}

async fn too_many_attempts_from_the_sixth_on_also_with_the_right_token(backend: Backend) {
    let mut fresh = Fresh::start(backend).await;
    let token = fresh.server.bootstrap_token().await;
    for _ in 0..5 {
        verify(&fresh.server, "wrong").await.refused(401, "invalid_token");
    }
    verify(&fresh.server, &token).await.refused(429, "too_many_attempts");
    assert_eq!(fresh.server.stop().await, 0);
    let restarted = Server::start(&fresh.database).await;
    verify(&restarted, &token).await.refused(429, "too_many_attempts");
    let next = restarted.bootstrap_token().await;
    verify(&restarted, &token).await.refused(401, "invalid_token");
    verify(&restarted, &next).await.ok(200);
}

on_both_databases!(
    already_configured_for_every_setup_call_once_ready,
    invalid_state_for_a_call_out_of_turn_and_400_for_an_unknown_state_value,
    setup_incomplete_for_signing_in_before_ready,
    invalid_token_for_a_wrong_bootstrap_token,
    token_consumed_the_second_time,
    token_expired_once_its_time_has_run_out,
    no_bootstrap_token_while_none_was_issued,
    too_many_attempts_from_the_sixth_on_also_with_the_right_token,
);
