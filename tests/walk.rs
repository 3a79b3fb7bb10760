//! The main job from beginning to end: setup, sign-in, an invitation, the log.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::json;
use support::Backend;
use support::server::Instance;

async fn a_new_instance_is_set_up_people_sign_in_and_the_log_tells_it(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    let me = server.get("/v1/users/me", Some(owner)).await.ok(200);
    assert_eq!(me["user"]["email"], "alice@example.com");
    assert_eq!(me["user"]["role"], "owner");

    let (bob, bob_session) = server.join(owner, "bob", "developer").await;
    let users = server.get("/v1/users?sort=email&direction=asc", Some(owner)).await.ok(200);
    assert_eq!(users["total"], 2);
    assert_eq!(users["users"][1]["id"], bob.as_str());
    assert_eq!(users["users"][1]["status"], "active");
    server.get("/v1/users", Some(&bob_session)).await.refused(403, "forbidden");

    let token = server.post("/v1/api-tokens", Some(&bob_session), json!({ "name": "ci", "role": "qa_viewer" })).await;
    let token = token.ok(201)["token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("/v1/users/me", Some(&token)).await.ok(200)["user"]["id"], bob.as_str());

    server.delete(&format!("/v1/users/{bob}"), Some(owner)).await.ok(200);
    server.get("/v1/users/me", Some(&bob_session)).await.refused(401, "invalid_session");
    server.get("/v1/users/me", Some(&token)).await.refused(401, "invalid_session");
    server.sign_in("bob").await.refused(403, "user_not_found");

    let audit = server.get("/v1/audit-logs?limit=1&action=user_disabled", Some(owner)).await.ok(200);
    assert_eq!(audit["entries"][0]["actor_email"], "alice@example.com");
    assert_eq!(audit["entries"][0]["resource_id"], bob.as_str());

    server.post("/v1/auth/logout", Some(owner), json!({})).await.ok(200);
    server.get("/v1/users/me", Some(owner)).await.refused(401, "invalid_session");
    let types = server.event_types().await;
    assert_eq!(
        types,
        [
            "InstanceCreated",
            "BootstrapTokenIssued",
            "BootstrapTokenVerified",
            "SetupSessionOpened",
            "ProviderConfigured",
            "SetupProviderAccepted",
            "OwnerVerified",
            "OwnerRegistered",
            "SetupCompleted",
            "SetupSessionEnded",
            "SessionOpened",
            "UserInvited",
            "InvitationAccepted",
            "SessionOpened",
            "ApiTokenIssued",
            "UserDisabled",
            "SessionSignedOut",
        ]
    );
    assert_eq!(instance.server.stop().await, 0);
}

on_both_databases!(a_new_instance_is_set_up_people_sign_in_and_the_log_tells_it);
