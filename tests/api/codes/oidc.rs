//! The group `oidc`.

use devidp::{Client as OidcClient, Fault};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::server::{Answer, Instance, run};
use crate::{Fresh, clock_reaches, start_path};

const PROVIDER: &str = "/v1/settings/external-access/oidc";

fn provider_body(instance: &Instance) -> Value {
    json!({ "issuer_url": instance.provider.issuer(), "client_id": "authlog-test", "client_secret": OidcClient::SECRET })
}

async fn oidc_discovery_failed_when_the_provider_to_be_cannot_be_used(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = fresh.server.open_setup_session().await;
    for fault in [Fault::DiscoveryServerError, Fault::DiscoveryWrongIssuer, Fault::DiscoveryPlaceholderIssuer] {
        fresh.provider.set_fault(fault);
        fresh.server.configure(&setup, fresh.provider.issuer()).await.refused(400, "oidc_discovery_failed");
    }
    fresh.server.configure(&setup, "http://127.0.0.1:9").await.refused(400, "oidc_discovery_failed");
    fresh.provider.clear_fault();
    fresh.server.configure(&setup, fresh.provider.issuer()).await.ok(200);
}

async fn oidc_discovery_error_when_the_provider_fails_at_a_sign_in(backend: Backend) {
    let instance = Instance::ready(backend).await;
    // A new version of the configuration: what was remembered of the one before no longer counts.
    instance.server.call(Method::PUT, PROVIDER, Some(&instance.owner), Some(provider_body(&instance))).await.ok(200);
    instance.provider.set_fault(Fault::DiscoveryServerError);
    instance.server.get(&start_path(), None).await.refused(502, "oidc_discovery_error");
    instance.server.get(PROVIDER, Some(&instance.owner)).await.refused(502, "oidc_discovery_error");
    instance.provider.clear_fault();
    instance.server.get(&start_path(), None).await.ok(200);
}

async fn oidc_not_configured_after_the_operator_removed_the_provider(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let callback = instance.server.callback_body("alice").await;
    let (code, _, stderr) = run(&instance.server.flags, &["idp", "remove", "--yes"]).await;
    assert_eq!(code, 0, "{stderr}");
    instance.server.get(&start_path(), None).await.refused(500, "oidc_not_configured");
    instance.server.post("/v1/auth/oidc/callback", None, callback).await.refused(500, "oidc_not_configured");
    instance.server.get(PROVIDER, Some(&instance.owner)).await.refused(500, "oidc_not_configured");
}

async fn oidc_config_error_when_the_stored_configuration_no_longer_parses(backend: Backend) {
    let instance = Instance::ready(backend).await;
    assert_eq!(instance.database.sql("UPDATE identity_provider_1 SET issuer_url = 'not a URL'").await, 1);
    instance.server.get(&start_path(), None).await.refused(500, "oidc_config_error");
    instance.server.get(PROVIDER, Some(&instance.owner)).await.refused(500, "oidc_config_error");
}

async fn auth_expired_when_the_provider_was_left_waiting(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_AUTH_REQUEST_TTL", "3s")]).await;
    let callback = instance.server.callback_body("alice").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    clock_reaches(&json!(now.as_secs() + 3)).await;
    let expired = instance.server.post("/v1/auth/oidc/callback", None, callback.clone()).await;
    expired.refused(400, "auth_expired");
    instance.server.post("/v1/auth/oidc/callback", None, callback).await.refused(400, "invalid_state");
}

/// A sign-in of the owner through a provider that misbehaves.
async fn signing_in_with(instance: &Instance, fault: Fault) -> Answer {
    instance.provider.set_fault(fault);
    instance.server.sign_in("alice").await
}

async fn token_exchange_error_when_the_provider_does_not_take_the_code(backend: Backend) {
    let instance = Instance::ready(backend).await;
    for fault in
        [Fault::TokenInvalidGrant, Fault::TokenServerError, Fault::TokenNotJson, Fault::AuthorizationWrongIssuer]
    {
        signing_in_with(&instance, fault).await.refused(502, "token_exchange_error");
    }
}

async fn missing_id_token_when_the_provider_sends_none(backend: Backend) {
    let instance = Instance::ready(backend).await;
    signing_in_with(&instance, Fault::NoIdToken).await.refused(502, "missing_id_token");
}

async fn id_token_verification_error_when_the_id_token_does_not_verify(backend: Backend) {
    let instance = Instance::ready(backend).await;
    for fault in [Fault::SignatureBroken, Fault::AlgNone, Fault::WrongNonce, Fault::WrongAudience, Fault::Expired] {
        signing_in_with(&instance, fault).await.refused(502, "id_token_verification_error");
    }
    instance.provider.clear_fault();
    instance.server.sign_in("alice").await.ok(200);
}

async fn missing_email_when_the_provider_names_none(backend: Backend) {
    let instance = Instance::ready(backend).await;
    instance.server.sign_in("carol").await.refused(502, "missing_email");
}

async fn too_many_pending_when_the_table_is_full(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_MAX_PENDING_AUTH_REQUESTS", "2")]).await;
    instance.server.get(&start_path(), None).await.ok(200);
    let callback = instance.server.callback_body("alice").await;
    instance.server.get(&start_path(), None).await.refused(429, "too_many_pending");
    // One that is answered makes room again.
    instance.server.post("/v1/auth/oidc/callback", None, callback).await.ok(200);
    instance.server.get(&start_path(), None).await.ok(200);
    instance.server.get(&start_path(), None).await.refused(429, "too_many_pending");
}

on_both_databases!(
    oidc_discovery_failed_when_the_provider_to_be_cannot_be_used,
    oidc_discovery_error_when_the_provider_fails_at_a_sign_in,
    oidc_not_configured_after_the_operator_removed_the_provider,
    oidc_config_error_when_the_stored_configuration_no_longer_parses,
    auth_expired_when_the_provider_was_left_waiting,
    token_exchange_error_when_the_provider_does_not_take_the_code,
    missing_id_token_when_the_provider_sends_none,
    id_token_verification_error_when_the_id_token_does_not_verify,
    missing_email_when_the_provider_names_none,
    too_many_pending_when_the_table_is_full,
);
