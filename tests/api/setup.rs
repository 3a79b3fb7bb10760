//! `/v1/setup/...`: the rules of first-run setup that have no code of their own.

use devidp::Fault;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::server::{Answer, REDIRECT_URI, Server, at_the_provider, send};
use crate::{Fresh, clock_reaches, text};

const START: &str = "/v1/setup/owner/start-oidc";
const VERIFY: &str = "/v1/setup/owner/verify-oidc";

async fn start(server: &Server, setup: &str) -> Answer {
    server.post(START, Some(setup), json!({ "redirect_uri": REDIRECT_URI })).await
}

/// A setup session on a configured provider.
async fn configured(fresh: &Fresh) -> String {
    let setup = fresh.server.open_setup_session().await;
    fresh.server.configure(&setup, fresh.provider.issuer()).await.ok(200);
    setup
}

/// Begins and comes back from the provider as `account`: the body for `verify-oidc`.
async fn callback(fresh: &Fresh, setup: &str, account: &str) -> Value {
    at_the_provider(&start(&fresh.server, setup).await.ok(200), account).await
}

async fn state(server: &Server) -> String {
    text(&server.get("/v1/public/setup-status", None).await.ok(200), "state").to_owned()
}

async fn each_answer_says_what_it_promises_from_the_first_state_to_the_last(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let server = &fresh.server;
    let status = server.get("/v1/public/setup-status", None).await.ok(200);
    let id = text(&status, "instance_id").to_owned();
    let expected = |state: &str| {
        let ready = state == "ready";
        json!({
            "instance_id": id, "state": state, "setup_mode": !ready, "is_configured": ready,
            "runtime_mode": "remote", "remote_auth_mode": "oidc",
        })
    };
    assert_eq!(status, expected("uninitialized"));
    let token = server.bootstrap_token().await;
    assert_eq!(server.get("/v1/public/setup-status", None).await.ok(200), expected("bootstrap_pending"));
    let opened = server.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token })).await;
    assert_eq!(opened.headers["cache-control"], "no-store");
    let opened = opened.ok(200);
    let setup = text(&opened, "session_token");
    assert_eq!(setup.len(), 64);
    let expires_at = &opened["expires_at"];
    let modes = json!({ "runtime_mode": "remote", "remote_auth_mode": "oidc" });
    let set = server.post("/v1/setup/preferences", Some(setup), modes).await.ok(200);
    assert_eq!(set, json!({ "runtime_mode": "remote", "remote_auth_mode": "oidc", "session_expires_at": expires_at }));
    for (runtime_mode, remote_auth_mode) in [("local", "oidc"), ("remote", "password")] {
        let modes = json!({ "runtime_mode": runtime_mode, "remote_auth_mode": remote_auth_mode });
        server.post("/v1/setup/preferences", Some(setup), modes).await.refused(400, "invalid_input");
    }
    let summary = server.get("/v1/setup/summary", Some(setup)).await.ok(200);
    assert_eq!(summary, json!({ "instance_id": id, "state": "bootstrap_pending", "has_client_secret": false }));

    let issuer = fresh.provider.issuer();
    let done = server.configure(setup, issuer).await.ok(200);
    assert_eq!(
        done,
        json!({ "state": "idp_configured", "discovered_issuer": issuer, "session_expires_at": expires_at })
    );
    let begun = start(server, setup).await;
    let cookie = begun.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    let back = at_the_provider(&begun.ok(200), "alice").await;
    let owner = server.post(VERIFY, Some(setup), back).await.ok(200);
    assert_eq!(
        owner,
        json!({
            "state": "owner_created", "owner_email": "alice@example.com", "oidc_subject": "alice-1",
            "session_expires_at": expires_at,
        })
    );
    let summary = server.get("/v1/setup/summary", Some(setup)).await.ok(200);
    assert_eq!(
        summary,
        json!({
            "instance_id": id, "state": "owner_created", "issuer_url": issuer, "client_id": "authlog-test",
            "has_client_secret": true, "owner_email": "alice@example.com",
        })
    );
    server.configure(setup, issuer).await.refused(409, "invalid_state");
    let complete = server.post("/v1/setup/complete", Some(setup), json!({})).await.ok(200);
    assert_eq!(complete, json!({ "state": "ready", "instance_id": id }));
    assert_eq!(server.get("/v1/public/setup-status", None).await.ok(200), expected("ready"));
    server.get("/v1/users/me", Some(setup)).await.refused(401, "invalid_session");
}

async fn setup_calls_are_checked_in_the_order_of_the_contract(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let server = &fresh.server;
    let bad = json!({ "nothing": "that fits" });
    // No header, then no session ever, then a wrong one, then the state, then the body.
    server.post(START, None, bad.clone()).await.refused(401, "missing_auth");
    server.post(START, Some("x"), bad.clone()).await.refused(401, "no_session");
    let setup = server.open_setup_session().await;
    server.post(START, Some("x"), bad.clone()).await.refused(401, "invalid_session");
    server.post(START, Some(&setup), bad.clone()).await.refused(409, "invalid_state");
    server.configure(&setup, fresh.provider.issuer()).await.ok(200);
    server.post(START, Some(&setup), bad).await.refused(400, "invalid_input");
    let elsewhere = json!({ "redirect_uri": "https://evil.example/auth/callback" });
    server.post(START, Some(&setup), elsewhere).await.refused(400, "invalid_redirect_uri");
}

async fn a_newer_bootstrap_token_takes_the_session_and_what_it_began(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let first = configured(&fresh).await;
    let back = callback(&fresh, &first, "alice").await;
    let token = fresh.server.bootstrap_token().await;
    fresh.server.get("/v1/setup/summary", Some(&first)).await.ok(200);
    let opened = fresh.server.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token })).await.ok(200);
    let second = text(&opened, "session_token");
    fresh.server.get("/v1/setup/summary", Some(&first)).await.refused(401, "invalid_session");
    fresh.server.post(VERIFY, Some(&first), back.clone()).await.refused(401, "invalid_session");
    fresh.server.post(VERIFY, Some(second), back).await.refused(400, "invalid_state");
    let back = callback(&fresh, second, "alice").await;
    fresh.server.post(VERIFY, Some(second), back).await.ok(200);
}

async fn a_newer_start_or_configuration_voids_what_was_begun(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = configured(&fresh).await;
    let older = callback(&fresh, &setup, "alice").await;
    start(&fresh.server, &setup).await.ok(200);
    fresh.server.post(VERIFY, Some(&setup), older).await.refused(400, "invalid_state");
    let older = callback(&fresh, &setup, "alice").await;
    fresh.server.configure(&setup, fresh.provider.issuer()).await.ok(200);
    fresh.server.post(VERIFY, Some(&setup), older).await.refused(400, "invalid_state");
    assert_eq!(state(&fresh.server).await, "idp_configured");
}

async fn each_state_is_used_once_whatever_follows(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = configured(&fresh).await;
    let back = callback(&fresh, &setup, "alice").await;
    fresh.provider.set_fault(Fault::TokenServerError);
    fresh.server.post(VERIFY, Some(&setup), back.clone()).await.refused(502, "token_exchange_error");
    fresh.provider.clear_fault();
    fresh.server.post(VERIFY, Some(&setup), back).await.refused(400, "invalid_state");
    // One of setup does not sign anybody in, and one of a sign-in makes nobody owner: see `auth`.
    let mut other = callback(&fresh, &setup, "alice").await;
    other["code"] = json!("another code");
    fresh.server.post(VERIFY, Some(&setup), other).await.refused(502, "token_exchange_error");
}

async fn the_cookie_of_the_browser_that_began_stands_in_for_the_header(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = configured(&fresh).await;
    let begun = start(&fresh.server, &setup).await;
    let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let back = at_the_provider(&begun.ok(200), "alice").await;
    let verify = async |cookie: Option<&str>| {
        let request = fresh.server.request(Method::POST, VERIFY).json(&back);
        let request = cookie.iter().fold(request, |request, cookie| request.header("cookie", *cookie));
        send(request).await.unwrap()
    };
    verify(None).await.refused(401, "missing_auth");
    let (name, _) = cookie.split_once('=').unwrap();
    for foreign in ["other=1", "authlog_state_0123456789abcdef=1", &format!("{name}=1")] {
        verify(Some(foreign)).await.refused(401, "missing_auth");
    }
    let owner = verify(Some(&format!("a=b; {cookie}; c=d"))).await.ok(200);
    assert_eq!(owner["owner_email"], "alice@example.com");
}

async fn a_pinned_owner_is_the_only_one_who_may_become_owner(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let pinned = ["setup", "token", "--owner", "ALICE@Example.com", "--json"];
    let issued = fresh.server.cli_json(&pinned).await;
    let token = json!({ "token": issued["token"] });
    let opened = fresh.server.post("/v1/setup/bootstrap-token/verify", None, token).await.ok(200);
    let setup = text(&opened, "session_token");
    fresh.server.configure(setup, fresh.provider.issuer()).await.ok(200);
    let bob = callback(&fresh, setup, "bob").await;
    fresh.server.post(VERIFY, Some(setup), bob).await.refused(403, "user_not_found");
    assert_eq!(state(&fresh.server).await, "idp_configured");
    let alice = callback(&fresh, setup, "alice").await;
    fresh.server.post(VERIFY, Some(setup), alice).await.ok(200);
}

async fn the_owners_address_may_come_without_a_word_on_it_but_not_as_unverified(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = configured(&fresh).await;
    let eve = callback(&fresh, &setup, "eve").await;
    fresh.server.post(VERIFY, Some(&setup), eve).await.refused(502, "id_token_verification_error");
    let carol = callback(&fresh, &setup, "carol").await;
    fresh.server.post(VERIFY, Some(&setup), carol).await.refused(502, "missing_email");
    let dave = callback(&fresh, &setup, "dave").await;
    let owner = fresh.server.post(VERIFY, Some(&setup), dave).await.ok(200);
    assert_eq!(owner["owner_email"], "dave@example.com");
}

/// A session slides once a minute at most: this one was opened two minutes ago, as far as the log and the read model know.
async fn a_setup_session_slides_with_each_accepted_call(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let token = fresh.server.bootstrap_token().await;
    let opened = fresh.server.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token })).await.ok(200);
    let (setup, until) = (text(&opened, "session_token"), opened["expires_at"].as_i64().unwrap());
    let at = until - 30 * 60;
    let fields = |at: i64, until: i64| format!("\"opened_at\":{at},\"expires_at\":{until}");
    assert_eq!(fresh.database.forge(&fields(at, until), &fields(at - 120, until - 120)).await, 1);
    assert_eq!(fresh.database.sql("UPDATE sessions_1 SET expires_at = expires_at - 120").await, 1);
    let modes = json!({ "runtime_mode": "remote", "remote_auth_mode": "oidc" });
    let slid = fresh.server.post("/v1/setup/preferences", Some(setup), modes).await.ok(200);
    assert!(slid["session_expires_at"].as_i64().unwrap() >= until, "{slid} after {until}");
    let slides = async || {
        let types = fresh.server.event_types().await;
        types.iter().filter(|name| *name == "SetupSessionExtended").count()
    };
    assert_eq!(slides().await, 1);
    fresh.server.get("/v1/setup/summary", Some(setup)).await.ok(200);
    assert_eq!(slides().await, 1, "once a minute at most");
    fresh.server.configure("wrong", fresh.provider.issuer()).await.refused(401, "invalid_session");
}

async fn a_setup_session_ends_when_nobody_uses_it(backend: Backend) {
    let fresh = Fresh::start_with(backend, &[("AUTHLOG_SETUP_SESSION_TTL", "2s")]).await;
    let token = fresh.server.bootstrap_token().await;
    let opened = fresh.server.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token })).await.ok(200);
    clock_reaches(&opened["expires_at"]).await;
    let setup = Some(text(&opened, "session_token"));
    fresh.server.get("/v1/setup/summary", setup).await.refused(401, "session_expired");
    // It comes before the state and the body.
    fresh.server.post(START, setup, json!([])).await.refused(401, "session_expired");
}

async fn issuers_that_cannot_be_trusted_are_not_configured(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let setup = fresh.server.open_setup_session().await;
    for issuer in [
        "",
        "no url",
        "ftp://127.0.0.1/",
        "http://login.example.com",
        "https://user:pw@login.example.com",
        "https://login.example.com/?x=1",
        "https://login.example.com/#x",
    ] {
        fresh.server.configure(&setup, issuer).await.refused(400, "invalid_input");
    }
    fresh.server.configure(&setup, "https://169.254.169.254").await.refused(400, "oidc_discovery_failed");
    assert_eq!(state(&fresh.server).await, "bootstrap_pending");
}

on_both_databases!(
    each_answer_says_what_it_promises_from_the_first_state_to_the_last,
    setup_calls_are_checked_in_the_order_of_the_contract,
    a_newer_bootstrap_token_takes_the_session_and_what_it_began,
    a_newer_start_or_configuration_voids_what_was_begun,
    each_state_is_used_once_whatever_follows,
    the_cookie_of_the_browser_that_began_stands_in_for_the_header,
    a_pinned_owner_is_the_only_one_who_may_become_owner,
    the_owners_address_may_come_without_a_word_on_it_but_not_as_unverified,
    a_setup_session_slides_with_each_accepted_call,
    a_setup_session_ends_when_nobody_uses_it,
    issuers_that_cannot_be_trusted_are_not_configured,
);
