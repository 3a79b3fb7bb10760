//! The codes beyond the documented ones.

use reqwest::Method;
use serde_json::json;

use crate::Fresh;
use crate::support::Backend;
use crate::support::second_connection::SecondConnection;
use crate::support::server::{Answer, Instance, send};

async fn not_found_for_paths_and_ids_that_are_not_there(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    for path in ["/", "/v1", "/v1/users/me/", "/v2/users", "/v1/users/invite/x"] {
        server.get(path, Some(owner)).await.refused(404, "not_found");
    }
    let nobody = uuid::Uuid::now_v7().to_string();
    for id in ["not-a-uuid", nobody.as_str()] {
        server.delete(&format!("/v1/users/{id}"), Some(owner)).await.refused(404, "not_found");
        server.delete(&format!("/v1/sessions/{id}"), Some(owner)).await.refused(404, "not_found");
        server.delete(&format!("/v1/api-tokens/{id}"), Some(owner)).await.refused(404, "not_found");
        let enable = format!("/v1/users/{id}/enable");
        server.post(&enable, Some(owner), json!({})).await.refused(404, "not_found");
        let role = format!("/v1/users/{id}/role");
        server
            .call(Method::PATCH, &role, Some(owner), Some(json!({ "role": "admin" })))
            .await
            .refused(404, "not_found");
    }
}

async fn already_exists_for_an_address_that_is_invited_or_known(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    let invite = async |email: &str| {
        server.post("/v1/users/invite", Some(owner), json!({ "email": email, "role": "developer" })).await
    };
    invite("alice@example.com").await.refused(409, "already_exists");
    invite("bob@example.com").await.ok(201);
    for same in ["bob@example.com", " BOB@Example.COM ", "bob@EXAMPLE.com"] {
        invite(same).await.refused(409, "already_exists");
    }
    invite("bob+x@example.com").await.ok(201);
}

async fn method_not_allowed_for_a_known_path(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    for (method, path) in [
        (Method::PUT, "/v1/users"),
        (Method::GET, "/v1/setup/complete"),
        (Method::DELETE, "/healthz"),
        (Method::POST, "/v1/public/setup-status"),
    ] {
        let answer = fresh.server.call(method, path, None, None).await;
        answer.refused(405, "method_not_allowed");
        assert!(answer.headers.contains_key("allow"), "{path}");
    }
}

async fn payload_too_large_over_64_kib(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    fresh.server.bootstrap_token().await;
    let body = |bytes: usize| json!({ "token": "x".repeat(bytes - "{\"token\":\"\"}".len()) });
    let verify = "/v1/setup/bootstrap-token/verify";
    fresh.server.post(verify, None, body(64 * 1024)).await.refused(401, "invalid_token");
    fresh.server.post(verify, None, body(64 * 1024 + 1)).await.refused(413, "payload_too_large");
}

async fn unsupported_media_type_for_a_body_that_is_not_sent_as_json(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let request = || fresh.server.request(Method::POST, "/v1/setup/bootstrap-token/verify").body("{\"token\":\"x\"}");
    send(request()).await.unwrap().refused(415, "unsupported_media_type");
    let plain = request().header("content-type", "text/plain");
    send(plain).await.unwrap().refused(415, "unsupported_media_type");
}

async fn misdirected_request_for_a_host_that_is_not_ours(backend: Backend) {
    let fresh = Fresh::start_with(backend, &[("AUTHLOG_ALLOWED_HOSTS", "auth.internal")]).await;
    let asking = async |path: &str, host: &str| {
        send(fresh.server.request(Method::GET, path).header("host", host)).await.unwrap()
    };
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254"] {
        asking("/v1/public/setup-status", host).await.refused(421, "misdirected_request");
        asking("/nothing/here", host).await.refused(421, "misdirected_request");
        asking("/healthz", host).await.ok(200);
        asking("/metrics", host).await.ok(200);
    }
    for host in ["auth.internal:1", "localhost", "127.0.0.1:1", "[::1]:8787"] {
        asking("/v1/public/setup-status", host).await.ok(200);
    }
}

async fn rate_limited_after_so_many_public_calls_a_minute(backend: Backend) {
    let fresh = Fresh::start_with(backend, &[("AUTHLOG_PUBLIC_CALLS_PER_MINUTE", "3")]).await;
    let status = "/v1/public/setup-status";
    for _ in 0..3 {
        fresh.server.get(status, None).await.ok(200);
    }
    let refused = fresh.server.get(status, None).await;
    refused.refused(429, "rate_limited");
    let seconds: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    // Nobody can claim to be another source, and what needs a token is not counted.
    let forged = fresh.server.request(Method::GET, status).header("x-forwarded-for", "192.0.2.1");
    send(forged).await.unwrap().refused(429, "rate_limited");
    fresh.server.get("/v1/users/me", None).await.refused(401, "missing_auth");
    fresh.server.get("/healthz", None).await.ok(200);
}

async fn internal_error_when_a_record_is_damaged(backend: Backend) {
    let instance = Instance::ready(backend).await;
    assert_eq!(instance.database.sql("DELETE FROM setup_1").await, 1);
    instance.server.get("/v1/public/setup-status", None).await.refused(500, "internal_error");
}

/// The log is held by somebody else while more changes come in than may wait.
async fn heavy_unavailable_when_more_changes_wait_than_the_queue_holds(backend: Backend) {
    const CLIENTS: usize = 24;
    const CALLS_EACH: usize = 60;
    let fresh = Fresh::start(backend).await;
    fresh.server.bootstrap_token().await;
    let url = format!("{}/v1/setup/bootstrap-token/verify", fresh.server.base);
    let verify = move |client: &reqwest::Client| {
        let request = client.post(&url).json(&json!({ "token": "wrong" }));
        async move { send(request).await.unwrap() }
    };
    let client = || reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    verify(&client()).await.refused(401, "invalid_token");
    let mut other = SecondConnection::open(&fresh.database).await;
    other.hold_the_log().await;
    let mut calls = tokio::task::JoinSet::<Answer>::new();
    for _ in 0..CLIENTS {
        let client = client();
        for _ in 0..CALLS_EACH {
            calls.spawn(verify(&client));
        }
    }
    // Those that wait are not answered, so the first answers are refusals.
    calls.join_next().await.unwrap().unwrap().refused(503, "unavailable");
    other.let_go().await;
    let mut codes = std::collections::BTreeSet::new();
    while let Some(answer) = calls.join_next().await {
        codes.insert(answer.unwrap().code().to_owned());
    }
    let known = ["invalid_token", "store_error", "too_many_attempts", "unavailable"];
    assert!(codes.iter().all(|code| known.contains(&code.as_str())), "{codes:?}");
    let failures = fresh.server.event_types().await.iter().filter(|name| *name == "VerificationFailed").count();
    assert_eq!(failures, 5);
}

on_both_databases!(
    not_found_for_paths_and_ids_that_are_not_there,
    already_exists_for_an_address_that_is_invited_or_known,
    method_not_allowed_for_a_known_path,
    payload_too_large_over_64_kib,
    unsupported_media_type_for_a_body_that_is_not_sent_as_json,
    misdirected_request_for_a_host_that_is_not_ours,
    rate_limited_after_so_many_public_calls_a_minute,
    internal_error_when_a_record_is_damaged,
    heavy_unavailable_when_more_changes_wait_than_the_queue_holds,
);
