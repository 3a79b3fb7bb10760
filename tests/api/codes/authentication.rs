//! The group `authentication`.

use serde_json::json;

use crate::support::Backend;
use crate::support::server::Instance;
use crate::{Fresh, clock_reaches, text};

async fn missing_auth_without_an_authorization_header(backend: Backend) {
    let instance = Instance::ready(backend).await;
    instance.server.get("/v1/users/me", None).await.refused(401, "missing_auth");
    let in_the_query = format!("/v1/users/me?access_token={0}&token={0}&session_token={0}", instance.owner);
    instance.server.get(&in_the_query, None).await.refused(401, "missing_auth");
}

async fn invalid_session_for_a_token_that_is_unknown_or_was_revoked(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    let unknown = "0".repeat(64);
    server.get("/v1/users/me", Some(&unknown)).await.refused(401, "invalid_session");
    let issued = json!({ "name": "ci", "role": "developer" });
    let issued = server.post("/v1/api-tokens", Some(owner), issued).await.ok(201);
    for token in [owner, text(&issued, "token")] {
        let (first, last) = (&token[1..], &token[..token.len() - 1]);
        let of_another_case = token.to_uppercase();
        assert_ne!(of_another_case, token);
        for odd in [first, last, &format!("{token}0"), &format!("{token}="), &format!("0{token}"), &of_another_case] {
            server.get("/v1/users/me", Some(odd)).await.refused(401, "invalid_session");
        }
        server.get("/v1/users/me", Some(token)).await.ok(200);
    }
    server.post("/v1/auth/logout", Some(owner), json!({})).await.ok(200);
    server.get("/v1/users/me", Some(owner)).await.refused(401, "invalid_session");
}

async fn session_expired_once_its_time_has_run_out(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_SESSION_TTL", "2s")]).await;
    let signed_in = instance.server.sign_in("alice").await.ok(200);
    let session = text(&signed_in, "session_token");
    clock_reaches(&signed_in["expires_at"]).await;
    instance.server.get("/v1/users/me", Some(session)).await.refused(401, "session_expired");
}

async fn no_session_while_no_setup_session_was_ever_opened(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    fresh.server.bootstrap_token().await;
    fresh.server.get("/v1/setup/summary", Some("anything")).await.refused(401, "no_session");
}

async fn forbidden_for_a_role_that_does_not_permit_the_call(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (_, bob) = instance.server.join(&instance.owner, "bob", "qa_viewer").await;
    instance.server.get("/v1/users", Some(&bob)).await.refused(403, "forbidden");
}

async fn user_not_found_for_somebody_without_an_account_here(backend: Backend) {
    let instance = Instance::ready(backend).await;
    instance.server.sign_in("bob").await.refused(403, "user_not_found");
}

on_both_databases!(
    missing_auth_without_an_authorization_header,
    invalid_session_for_a_token_that_is_unknown_or_was_revoked,
    session_expired_once_its_time_has_run_out,
    no_session_while_no_setup_session_was_ever_opened,
    forbidden_for_a_role_that_does_not_permit_the_call,
    user_not_found_for_somebody_without_an_account_here,
);
