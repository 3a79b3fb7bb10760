//! Setup and sign-in through `oidc-provider` of npm, an implementation that is certified and not ours.

use std::path::Path;

use devidp::Client as OidcClient;
use devidp::npm::{NpmOptions, NpmProvider};
use serde_json::{Value, json};

use crate::support::server::{REDIRECT_URI, Server, at_the_provider};
use crate::support::{Backend, TestDatabase};
use crate::text;

async fn provider(claims_in_userinfo: bool) -> NpmProvider {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider");
    let options = NpmOptions { redirect_uris: vec![REDIRECT_URI.to_owned()], claims_in_userinfo };
    NpmProvider::start(&folder, &options).await.unwrap_or_else(|error| panic!("{error}"))
}

fn client(provider: &NpmProvider, suffix: &str, secret: Option<&str>) -> Value {
    let mut body = json!({ "issuer_url": provider.issuer(), "client_id": format!("authlog-test{suffix}") });
    if let Some(secret) = secret {
        body["client_secret"] = secret.into();
    }
    body
}

/// Walks setup with alice as owner and signs her in; answers the server and her session.
async fn set_up(backend: Backend, provider: &NpmProvider) -> (TestDatabase, Server, String) {
    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    let setup = server.open_setup_session().await;
    let body = client(provider, "", Some(OidcClient::SECRET));
    let configured = server.post("/v1/setup/oidc/configure", Some(&setup), body).await.ok(200);
    assert_eq!(configured["discovered_issuer"], provider.issuer());
    let start = json!({ "redirect_uri": REDIRECT_URI });
    let begun = server.post("/v1/setup/owner/start-oidc", Some(&setup), start).await.ok(200);
    let callback = at_the_provider(&begun, "alice").await;
    let owner = server.post("/v1/setup/owner/verify-oidc", Some(&setup), callback).await.ok(200);
    assert_eq!(owner["oidc_subject"], "alice-1");
    server.post("/v1/setup/complete", Some(&setup), json!({})).await.ok(200);
    let signed_in = server.sign_in("alice").await.ok(200);
    let session = text(&signed_in, "session_token").to_owned();
    (database, server, session)
}

async fn every_kind_of_client_and_algorithm_signs_in(backend: Backend) {
    let provider = provider(false).await;
    let (_database, server, owner) = set_up(backend, &provider).await;
    server.join(&owner, "bob", "developer").await;
    for (suffix, secret) in [
        ("", Some(OidcClient::SECRET)),
        ("-post", Some(OidcClient::SECRET)),
        ("-odd", Some(OidcClient::ODD_SECRET)),
        ("-ps256", Some(OidcClient::SECRET)),
        ("-es256", Some(OidcClient::SECRET)),
        ("-eddsa", Some(OidcClient::SECRET)),
        ("-public", None),
    ] {
        let path = "/v1/settings/external-access/oidc";
        let stored = server.call(reqwest::Method::PUT, path, Some(&owner), Some(client(&provider, suffix, secret)));
        let stored = stored.await.ok(200);
        assert_eq!(stored["has_client_secret"], secret.is_some(), "{suffix}");
        let signed_in = server.sign_in("bob").await;
        assert_eq!(signed_in.status, 200, "{suffix}: {signed_in:?}");
        let user = &signed_in.body["user"];
        assert_eq!((text(user, "email"), text(user, "oidc_subject")), ("bob@example.com", "bob-1"), "{suffix}");
        assert_eq!(text(user, "avatar_url"), format!("{}/pic/bob.png", provider.issuer()), "{suffix}");
        let session = text(&signed_in.body, "session_token");
        let me = server.get("/v1/users/me", Some(session)).await.ok(200);
        assert_eq!(me["user"]["display_name"], "Bob Example", "{suffix}");
    }
    // The issuer stayed the same all along: nobody's session ended.
    server.get("/v1/users/me", Some(&owner)).await.ok(200);
}

async fn an_id_token_signed_with_the_client_secret_is_refused(backend: Backend) {
    let provider = provider(false).await;
    let (_database, server, owner) = set_up(backend, &provider).await;
    let body = client(&provider, "-hs256", Some(OidcClient::SECRET));
    let path = "/v1/settings/external-access/oidc";
    server.call(reqwest::Method::PUT, path, Some(&owner), Some(body)).await.ok(200);
    server.sign_in("alice").await.refused(502, "id_token_verification_error");
}

async fn email_and_name_are_taken_from_userinfo_when_the_id_token_leaves_them_out(backend: Backend) {
    let provider = provider(true).await;
    let (_database, server, owner) = set_up(backend, &provider).await;
    let me = server.get("/v1/users/me", Some(&owner)).await.ok(200);
    assert_eq!(text(&me["user"], "email"), "alice@example.com");
    assert_eq!(text(&me["user"], "display_name"), "Alice Example");
    server.join(&owner, "bob", "developer").await;
    server.sign_in("carol").await.refused(502, "missing_email");
    let invite = json!({ "email": "eve@example.com", "role": "developer" });
    server.post("/v1/users/invite", Some(&owner), invite).await.ok(201);
    server.sign_in("eve").await.refused(403, "user_not_found");
}

async fn new_keys_of_the_provider_are_fetched_when_they_are_needed(backend: Backend) {
    let provider = provider(false).await;
    let (_database, server, _) = set_up(backend, &provider).await;
    provider.rotate_keys(devidp::Rotation::Replace).await.unwrap();
    server.sign_in("alice").await.ok(200);
}

on_both_databases!(
    every_kind_of_client_and_algorithm_signs_in,
    an_id_token_signed_with_the_client_secret_is_refused,
    email_and_name_are_taken_from_userinfo_when_the_id_token_leaves_them_out,
    new_keys_of_the_provider_are_fetched_when_they_are_needed,
);
