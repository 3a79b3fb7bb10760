//! `/v1/settings/external-access/oidc`: the provider once setup is complete.

use devidp::{Client as OidcClient, DevIdp, Options};
use reqwest::Method;
use serde_json::{Value, json};

use crate::house::{CALLERS, House};
use crate::support::Backend;
use crate::support::server::Server;

const OIDC: &str = "/v1/settings/external-access/oidc";

fn body(provider: &DevIdp, client_id: &str, secret: Option<&str>) -> Value {
    let mut body = json!({ "issuer_url": provider.issuer(), "client_id": client_id });
    if let Some(secret) = secret {
        body["client_secret"] = secret.into();
    }
    body
}

async fn owner_and_admin_see_the_provider_and_only_the_owner_exchanges_it(backend: Backend) {
    let house = House::new(backend).await;
    let issuer = house.instance.provider.issuer().to_owned();
    for (caller, show, exchange) in [
        ("owner", 200, 200),
        ("admin", 200, 403),
        ("developer", 403, 403),
        ("qa_viewer", 403, 403),
        ("token", 200, 403),
    ] {
        let shown = house.get(caller, OIDC).await;
        assert_eq!(shown.status, show, "{caller}");
        let configured = body(&house.instance.provider, "authlog-test", Some(OidcClient::SECRET));
        let exchanged = house.call(caller, Method::PUT, OIDC, Some(configured)).await;
        assert_eq!(exchanged.status, exchange, "{caller}: {exchanged:?}");
        // The role comes before the body.
        let refused = house.call(caller, Method::PUT, OIDC, Some(json!({}))).await;
        assert_eq!(refused.status, if exchange == 200 { 400 } else { 403 }, "{caller}");
    }
    let shown = house.get("admin", OIDC).await.ok(200);
    assert_eq!(
        shown,
        json!({
            "issuer_url": issuer, "client_id": "authlog-test", "has_client_secret": true,
            "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"), "jwks_uri": format!("{issuer}/jwks"),
            "configured_at": shown["configured_at"].as_i64().unwrap(),
        })
    );
}

async fn changing_the_issuer_ends_every_session_but_the_callers(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let other_session = server.sign_in("alice").await.ok(200);
    let other = DevIdp::start(Options::default()).unwrap();
    let exchange = body(&other, "authlog-test", Some(OidcClient::SECRET));
    let exchanged = house.call("owner", Method::PUT, OIDC, Some(exchange)).await.ok(200);
    assert_eq!(
        exchanged,
        json!({
            "discovered_issuer": other.issuer(), "has_client_secret": true,
            "configured_at": exchanged["configured_at"].as_i64().unwrap(),
        })
    );
    house.get("owner", "/v1/users/me").await.ok(200);
    for caller in ["admin", "developer", "qa_viewer"] {
        house.get(caller, "/v1/users/me").await.refused(401, "invalid_session");
    }
    let other_session = other_session["session_token"].as_str().unwrap();
    server.get("/v1/users/me", Some(other_session)).await.refused(401, "invalid_session");
    // The same subject and address of another issuer is somebody else.
    for account in ["alice", "bob"] {
        server.sign_in(account).await.refused(403, "user_not_found");
    }
    // Back again: the old identities are known again, the ended sessions stay ended.
    let back = body(&house.instance.provider, "authlog-test", Some(OidcClient::SECRET));
    house.call("owner", Method::PUT, OIDC, Some(back)).await.ok(200);
    house.get("admin", "/v1/users/me").await.refused(401, "invalid_session");
    server.sign_in("admin").await.ok(200);
}

async fn the_stored_secret_stays_only_while_issuer_and_client_id_stay(backend: Backend) {
    let house = House::new(backend).await;
    let provider = &house.instance.provider;
    let exchange = async |body: Value| house.call("owner", Method::PUT, OIDC, Some(body)).await.ok(200);
    assert_eq!(exchange(body(provider, "authlog-test", None)).await["has_client_secret"], true);
    house.instance.server.sign_in("alice").await.ok(200);
    assert_eq!(exchange(body(provider, "authlog-test-public", None)).await["has_client_secret"], false);
    house.instance.server.sign_in("alice").await.ok(200);
    assert_eq!(exchange(body(provider, "authlog-test", None)).await["has_client_secret"], false);
    house.instance.server.sign_in("alice").await.refused(502, "token_exchange_error");
    assert_eq!(exchange(body(provider, "authlog-test", Some(OidcClient::SECRET))).await["has_client_secret"], true);
    house.instance.server.sign_in("alice").await.ok(200);
    for caller in CALLERS {
        assert_eq!(house.get(caller, "/v1/users/me").await.status, 200, "{caller}: the issuer stayed");
    }
}

async fn an_exchange_voids_the_sign_ins_that_were_begun_before(backend: Backend) {
    let house = House::new(backend).await;
    let begun = house.instance.server.callback_body("alice").await;
    let same = body(&house.instance.provider, "authlog-test", Some(OidcClient::SECRET));
    house.call("owner", Method::PUT, OIDC, Some(same)).await.ok(200);
    house.instance.server.post("/v1/auth/oidc/callback", None, begun).await.refused(400, "invalid_state");
}

async fn a_provider_that_cannot_be_used_changes_nothing(backend: Backend) {
    let house = House::new(backend).await;
    let before = house.instance.server.events().await.len();
    let other = DevIdp::start(Options { fault: Some(devidp::Fault::JwksEmpty), ..Options::default() }).unwrap();
    let refused = house.call("owner", Method::PUT, OIDC, Some(body(&other, "authlog-test", None))).await;
    refused.refused(400, "oidc_discovery_failed");
    assert_eq!(house.instance.server.events().await.len(), before);
    house.get("admin", "/v1/users/me").await.ok(200);
}

/// A session that is older than 15 minutes: its row and its event are older than that, as they would be by then.
async fn an_old_session_exchanges_nothing_until_its_owner_signs_in_again(backend: Backend) {
    let mut house = House::new(backend).await;
    assert_eq!(house.instance.server.stop().await, 0);
    house.instance.database.sql("UPDATE sessions_1 SET created_at = created_at - 900").await;
    house.instance.server = Server::start(&house.instance.database).await;
    let same = body(&house.instance.provider, "authlog-test", Some(OidcClient::SECRET));
    let refused = house.call("owner", Method::PUT, OIDC, Some(same.clone())).await;
    refused.refused(403, "forbidden");
    let fresh = house.instance.server.sign_in("alice").await.ok(200);
    let fresh = fresh["session_token"].as_str();
    house.instance.server.call(Method::PUT, OIDC, fresh, Some(same)).await.ok(200);
}

on_both_databases!(
    owner_and_admin_see_the_provider_and_only_the_owner_exchanges_it,
    changing_the_issuer_ends_every_session_but_the_callers,
    the_stored_secret_stays_only_while_issuer_and_client_id_stay,
    an_exchange_voids_the_sign_ins_that_were_begun_before,
    a_provider_that_cannot_be_used_changes_nothing,
    an_old_session_exchanges_nothing_until_its_owner_signs_in_again,
);
