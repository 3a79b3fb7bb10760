//! The group `system`: the machine fails, and the service says so and goes on.

use devidp::Client as OidcClient;
use serde_json::json;

use crate::support::Backend;
use crate::support::server::{Instance, Server};
use crate::{Fresh, start_path, text};

async fn store_error_when_the_database_is_gone(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    instance.database.take_away().await;
    server.get("/v1/public/setup-status", None).await.refused(500, "store_error");
    server.get(&start_path(), None).await.refused(500, "store_error");
    assert_eq!(server.get("/readyz", None).await.ok(503)["database"], false);
    assert_eq!(server.get("/healthz", None).await.ok(200)["ok"], true);
    instance.database.give_back().await;
    server.get("/v1/public/setup-status", None).await.ok(200);
    server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
}

async fn store_error_when_a_change_cannot_be_written(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    server.get("/v1/users/me", Some(owner)).await.ok(200);
    let before = server.events().await.len();
    let bob = json!({ "email": "bob@example.com", "role": "developer" });
    instance.database.sql("ALTER TABLE unique_keys_1 RENAME TO keys_away").await;
    server.post("/v1/users/invite", Some(owner), bob.clone()).await.refused(500, "store_error");
    instance.database.sql("ALTER TABLE keys_away RENAME TO unique_keys_1").await;
    instance.database.sql("ALTER TABLE audit_1 RENAME TO audit_away").await;
    server.get("/v1/audit-logs", Some(owner)).await.refused(500, "store_error");
    instance.database.sql("ALTER TABLE audit_away RENAME TO audit_1").await;
    assert_eq!(server.events().await.len(), before, "nothing of it was kept");
    server.post("/v1/users/invite", Some(owner), bob).await.ok(201);
}

async fn session_error_when_a_session_cannot_be_checked(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    // A session that no node has seen yet: a remembered one needs no database on SQLite.
    let session = server.sign_in("alice").await.ok(200);
    let setup = Fresh::start(backend).await;
    let setup_session = setup.server.open_setup_session().await;
    for database in [&instance.database, &setup.database] {
        database.sql("ALTER TABLE sessions_1 RENAME TO sessions_away").await;
    }
    server.get("/v1/users/me", Some(text(&session, "session_token"))).await.refused(500, "session_error");
    setup.server.get("/v1/setup/summary", Some(&setup_session)).await.refused(500, "session_error");
    for database in [&instance.database, &setup.database] {
        database.sql("ALTER TABLE sessions_away RENAME TO sessions_1").await;
    }
    server.get("/v1/users/me", Some(text(&session, "session_token"))).await.ok(200);
    setup.server.get("/v1/setup/summary", Some(&setup_session)).await.ok(200);
}

async fn encryption_error_when_the_instance_key_is_damaged(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = fresh.server.open_setup_session().await;
    let damage = "UPDATE data_keys SET wrapped = 'AAAA' || substr(wrapped, 5) WHERE id = 'instance'";
    assert_eq!(fresh.database.sql(damage).await, 1);
    fresh.server.configure(&setup, fresh.provider.issuer()).await.refused(500, "encryption_error");
    let public = json!({ "issuer_url": fresh.provider.issuer(), "client_id": "authlog-test-public" });
    fresh.server.post("/v1/setup/oidc/configure", Some(&setup), public).await.ok(200);
}

async fn decryption_error_when_the_sealed_client_secret_is_damaged(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let callback = instance.server.callback_body("alice").await;
    let damage = "UPDATE identity_provider_1 SET client_secret = substr(client_secret, 1, 20) || 'AAAA' || \
                  substr(client_secret, 25)";
    assert_eq!(instance.database.sql(damage).await, 1);
    instance.server.get(&start_path(), None).await.refused(500, "decryption_error");
    instance.server.post("/v1/auth/oidc/callback", None, callback).await.refused(500, "decryption_error");
    let shown = instance.server.get("/v1/settings/external-access/oidc", Some(&instance.owner)).await;
    shown.refused(500, "decryption_error");
    let output = instance.server.output.lock().unwrap().clone();
    assert!(!output.contains(OidcClient::SECRET));
}

async fn http_client_error_when_the_ca_file_went_bad(backend: Backend) {
    const GOOD: &str = include_str!("../../../src/oidc/testdata/localhost.pem");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, GOOD).unwrap();
    let fresh = Fresh::start_with(backend, &[("AUTHLOG_CA_FILE", ca_file.to_str().unwrap())]).await;
    let setup = fresh.server.open_setup_session().await;
    fresh.server.configure(&setup, fresh.provider.issuer()).await.ok(200);
    std::fs::write(&ca_file, "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n").unwrap();
    fresh.server.configure(&setup, fresh.provider.issuer()).await.refused(500, "http_client_error");
    let start = json!({ "redirect_uri": crate::support::server::REDIRECT_URI });
    let begun = fresh.server.post("/v1/setup/owner/start-oidc", Some(&setup), start.clone()).await;
    begun.refused(500, "http_client_error");
    std::fs::write(&ca_file, GOOD).unwrap();
    fresh.server.post("/v1/setup/owner/start-oidc", Some(&setup), start).await.ok(200);
}

async fn the_causes_of_failures_stay_in_the_services_own_output(backend: Backend) {
    let instance = Instance::ready(backend).await;
    instance.database.sql("ALTER TABLE setup_1 RENAME TO setup_away").await;
    let answer = instance.server.get("/v1/public/setup-status", None).await;
    answer.refused(500, "store_error");
    let said = answer.body.to_string();
    assert!(!said.contains("setup_1") && !said.contains("SELECT"), "{said}");
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let told = |output: &str| output.lines().any(|line| line.contains(&id) && line.contains("setup_1"));
    instance.server.says(told).await;
}

/// What is damaged on disk stays refused after a restart.
async fn a_damaged_secret_is_still_refused_after_a_restart(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    instance.database.sql("UPDATE identity_provider_1 SET client_secret = 'instance:AAAA'").await;
    assert_eq!(instance.server.stop().await, 0);
    let server = Server::start(&instance.database).await;
    server.get(&start_path(), None).await.refused(500, "decryption_error");
}

on_both_databases!(
    store_error_when_the_database_is_gone,
    store_error_when_a_change_cannot_be_written,
    session_error_when_a_session_cannot_be_checked,
    encryption_error_when_the_instance_key_is_damaged,
    decryption_error_when_the_sealed_client_secret_is_damaged,
    http_client_error_when_the_ca_file_went_bad,
    the_causes_of_failures_stay_in_the_services_own_output,
    a_damaged_secret_is_still_refused_after_a_restart,
);
