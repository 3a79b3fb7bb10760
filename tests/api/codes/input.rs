//! The group `input`.

use serde_json::json;

use crate::start_path_with;
use crate::support::Backend;
use crate::support::server::{Instance, send};

async fn invalid_input_for_a_body_or_a_query_that_fails_validation(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    let invite = "/v1/users/invite";
    for body in [
        json!([]),
        json!(null),
        json!({ "email": "bob@example.com" }),
        json!({ "email": 1, "role": "admin" }),
        json!({ "email": "bob@example.com", "role": "owner" }),
        json!({ "email": "bob@example.com", "role": "king" }),
        json!({ "email": "bob@@example.com", "role": "admin" }),
        json!({ "email": "b\u{f6}b@example.com", "role": "admin" }),
        json!({ "email": "\"bob\"@example.com", "role": "admin" }),
    ] {
        server.post(invite, Some(owner), body).await.refused(400, "invalid_input");
    }
    let request = server.request(reqwest::Method::POST, invite).bearer_auth(owner);
    let broken = request.header("content-type", "application/json").body("{\"email\": ");
    send(broken).await.unwrap().refused(400, "invalid_input");
    for query in ["limit=0", "limit=201", "limit=x", "offset=-1", "sort=password", "direction=up"] {
        server.get(&format!("/v1/users?{query}"), Some(owner)).await.refused(400, "invalid_input");
    }
    let twice = server.request(reqwest::Method::GET, "/v1/users/me").bearer_auth(owner).bearer_auth(owner);
    send(twice).await.unwrap().refused(400, "invalid_input");
    server.post(invite, Some(owner), json!({ "email": "bob@example.com", "role": "admin", "x": 1 })).await.ok(201);
}

async fn invalid_redirect_uri_for_one_that_is_malformed_or_not_allowed(backend: Backend) {
    let settings =
        [("AUTHLOG_PUBLIC_URL", "https://auth.example"), ("AUTHLOG_ALLOWED_ORIGINS", "https://dash.example")];
    let instance = {
        // Setup comes back to loopback, which is allowed only while public_url is not elsewhere.
        let mut instance = Instance::ready(backend).await;
        assert_eq!(instance.server.stop().await, 0);
        instance.server = crate::support::server::Server::start_with(&instance.database, &settings).await;
        instance
    };
    let start = async |redirect_uri: &str| instance.server.get(&start_path_with(redirect_uri), None).await;
    for refused in [
        "",
        "/auth/callback",
        "javascript:alert(1)",
        "https://evil.example/auth/callback",
        "https://dash.example.evil.example/auth/callback",
        "https://dash.example@evil.example/auth/callback",
        "https://user:pw@dash.example/auth/callback",
        "https://dash.example:444/auth/callback",
        "http://dash.example/auth/callback",
        "https://dash.example/auth/callback?next=https://evil.example",
        "https://dash.example/auth/callback#x",
        "https://dash.example/auth/other",
        "https://dash.example/auth/callback/../other",
        "http://127.0.0.1:4173/auth/callback",
    ] {
        start(refused).await.refused(400, "invalid_redirect_uri");
    }
    for allowed in ["https://dash.example/auth/callback", "HTTPS://DASH.example:443/auth/callback"] {
        let begun = start(allowed).await.ok(200);
        assert!(begun["authorization_url"].as_str().unwrap().starts_with(instance.provider.issuer()));
    }
    let default = instance.server.get("/v1/auth/oidc/start", None).await.ok(200);
    let url = reqwest::Url::parse(default["authorization_url"].as_str().unwrap()).unwrap();
    let redirect = url.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(redirect, "https://auth.example/auth/callback");
}

on_both_databases!(
    invalid_input_for_a_body_or_a_query_that_fails_validation,
    invalid_redirect_uri_for_one_that_is_malformed_or_not_allowed,
);
