//! `/v1/auth/...` and `/auth/callback`: who comes in, and as whom.

use devidp::{Account, Fault};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::server::{Answer, Instance, REDIRECT_URI, at_the_provider, run, send};
use crate::{Fresh, start_path, text};

const CALLBACK: &str = "/v1/auth/oidc/callback";

async fn invite(instance: &Instance, account: &str) -> Value {
    let body = json!({ "email": format!("{account}@example.com"), "role": "developer" });
    instance.server.post("/v1/users/invite", Some(&instance.owner), body).await.ok(201)["user"].clone()
}

async fn the_answer_of_a_sign_in_is_whole_and_never_stored(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let user = invite(&instance, "bob").await;
    let begun = instance.server.get(&start_path(), None).await;
    assert_eq!(begun.headers["cache-control"], "no-store");
    let begun = begun.ok(200);
    let url = reqwest::Url::parse(text(&begun, "authorization_url")).unwrap();
    let of = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap();
    assert_eq!(of("response_type"), "code");
    assert_eq!(of("scope"), "openid email profile");
    assert_eq!(of("code_challenge_method"), "S256");
    assert_eq!((of("state").as_str(), of("redirect_uri").as_str()), (text(&begun, "state"), REDIRECT_URI));
    assert!(of("nonce").len() >= 43 && of("code_challenge").len() == 43);

    let back = at_the_provider(&begun, "bob").await;
    let signed_in = instance.server.post(CALLBACK, None, back).await;
    assert_eq!(signed_in.headers["cache-control"], "no-store");
    let mut signed_in = signed_in.ok(200);
    let token = signed_in.as_object_mut().unwrap().remove("session_token").unwrap();
    assert_eq!(token.as_str().unwrap().len(), 64);
    let expires_at = signed_in.as_object_mut().unwrap().remove("expires_at").unwrap();
    assert!(expires_at.as_i64().unwrap() > user["created_at"].as_i64().unwrap() + 86_000);
    assert_eq!(
        signed_in,
        json!({ "user": {
            "user_id": user["id"], "email": "bob@example.com", "oidc_subject": "bob-1", "role": "developer",
            "avatar_url": "https://pictures.example.com/bob.png",
        } })
    );
}

async fn an_invitation_is_claimed_only_by_an_address_that_the_provider_verified(backend: Backend) {
    let instance = Instance::ready(backend).await;
    for account in ["eve", "dave", "bob"] {
        invite(&instance, account).await;
    }
    for account in ["eve", "dave"] {
        instance.server.sign_in(account).await.refused(403, "user_not_found");
    }
    for fault in [
        Fault::EmailVerifiedText,
        Fault::EmailVerifiedNumber,
        Fault::EmailElsewhere,
        Fault::EmailDoubleAt,
        Fault::EmailLineBreak,
        Fault::EmailNul,
        Fault::EmailLookAlikeLocal,
        Fault::EmailLookAlikeDomain,
        Fault::EmailTooLong,
    ] {
        instance.provider.set_fault(fault);
        let answer = instance.server.sign_in("bob").await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "user_not_found"), "{fault}");
    }
    instance.provider.set_fault(Fault::EmailUpperCase);
    instance.server.sign_in("bob").await.ok(200);
}

async fn without_require_verified_email_an_absent_claim_is_enough_and_false_is_not(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_REQUIRE_VERIFIED_EMAIL", "false")]).await;
    for account in ["eve", "dave", "bob"] {
        invite(&instance, account).await;
    }
    instance.server.sign_in("dave").await.ok(200);
    instance.server.sign_in("eve").await.refused(403, "user_not_found");
    instance.provider.set_fault(Fault::EmailVerifiedText);
    instance.server.sign_in("bob").await.refused(403, "user_not_found");
}

async fn an_identity_is_issuer_and_subject_and_an_address_never_changes_by_signing_in(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (bob, _) = instance.server.join(&instance.owner, "bob", "developer").await;
    // Somebody else who now has bob's address gets nowhere.
    let thief = Account { subject: "mallory-1".to_owned(), ..Account::new("bob") };
    instance.provider.add_account(Account { login: "mallory".to_owned(), ..thief });
    instance.server.sign_in("mallory").await.refused(403, "user_not_found");
    // Bob stays bob under another address, without one, and unverified.
    let other =
        Account { email: Some("robert@example.com".to_owned()), email_verified: Some(false), ..Account::new("bob") };
    instance.provider.add_account(other);
    let signed_in = instance.server.sign_in("bob").await.ok(200);
    assert_eq!(signed_in["user"]["user_id"], bob.as_str());
    assert_eq!(signed_in["user"]["email"], "bob@example.com");
    instance.provider.add_account(Account { email: None, ..Account::new("bob") });
    instance.server.sign_in("bob").await.ok(200);
}

async fn unknown_uninvited_and_disabled_people_get_the_same_answer(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let uninvited = instance.server.sign_in("bob").await;
    let (bob, _) = instance.server.join(&instance.owner, "bob", "developer").await;
    let invited = text(&invite(&instance, "dave").await, "id").to_owned();
    for id in [&bob, &invited] {
        instance.server.delete(&format!("/v1/users/{id}"), Some(&instance.owner)).await.ok(200);
    }
    let disabled = instance.server.sign_in("bob").await;
    let never_verified = instance.server.sign_in("dave").await;
    let without_its_own = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        assert!(headers.remove("x-request-id").is_some());
        headers.remove("date");
        headers
    };
    for answer in [&uninvited, &disabled, &never_verified] {
        answer.refused(403, "user_not_found");
        assert_eq!(answer.body, uninvited.body);
        assert_eq!(without_its_own(answer), without_its_own(&uninvited));
    }
}

async fn every_sign_in_makes_a_fresh_token_and_takes_none_from_the_client(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let chosen = "f".repeat(64);
    let mut body = instance.server.callback_body("alice").await;
    body["session_token"] = json!(chosen);
    let request = instance.server.request(Method::POST, CALLBACK).bearer_auth(&chosen).json(&body);
    let request = request.header("cookie", format!("session={chosen}; session_token={chosen}"));
    let signed_in = send(request).await.unwrap().ok(200);
    let token = text(&signed_in, "session_token");
    assert!(token != chosen && token != instance.owner);
    let again = instance.server.sign_in("alice").await.ok(200);
    assert_ne!(text(&again, "session_token"), token);
    instance.server.get("/v1/users/me", Some(&chosen)).await.refused(401, "invalid_session");
    instance.server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    let log = format!("{:?}", instance.server.events().await);
    assert!(!log.contains(token) && !log.contains("alice@example.com") && !log.contains("Alice Example"));
}

async fn a_state_is_used_once_and_only_for_what_it_was_begun_for(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let back = instance.server.callback_body("alice").await;
    instance.server.post(CALLBACK, None, back.clone()).await.ok(200);
    instance.server.post(CALLBACK, None, back).await.refused(400, "invalid_state");
    let mut other_issuer = instance.server.callback_body("alice").await;
    other_issuer["iss"] = json!("https://other.example");
    instance.server.post(CALLBACK, None, other_issuer.clone()).await.refused(502, "token_exchange_error");
    other_issuer["iss"] = json!(instance.provider.issuer());
    instance.server.post(CALLBACK, None, other_issuer).await.refused(400, "invalid_state");

    let fresh = Fresh::start(backend).await;
    let setup = fresh.server.open_setup_session().await;
    fresh.server.configure(&setup, fresh.provider.issuer()).await.ok(200);
    let start = json!({ "redirect_uri": REDIRECT_URI });
    let begun = fresh.server.post("/v1/setup/owner/start-oidc", Some(&setup), start).await.ok(200);
    let of_setup = at_the_provider(&begun, "alice").await;
    // Signing in before ready leaves the state of setup alone.
    fresh.server.post(CALLBACK, None, of_setup.clone()).await.refused(409, "setup_incomplete");
    fresh.server.post("/v1/setup/owner/verify-oidc", Some(&setup), of_setup.clone()).await.ok(200);
    fresh.server.post("/v1/setup/complete", Some(&setup), json!({})).await.ok(200);
    fresh.server.post(CALLBACK, None, of_setup).await.refused(400, "invalid_state");

    // Nothing that is begun now is for setup, but what was begun while the owner came back may still be there.
    let back = fresh.server.callback_body("alice").await;
    assert_eq!(fresh.database.sql("UPDATE pending_requests SET purpose = 'setup'").await, 1);
    fresh.server.post(CALLBACK, None, back).await.refused(400, "invalid_state");
}

/// Sends the callback as a page somewhere would, with the cookie or without.
async fn from_a_page(instance: &Instance, headers: &[(&str, &str)], with_cookie: bool) -> Answer {
    let begun = instance.server.get(&start_path(), None).await;
    let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let body = at_the_provider(&begun.ok(200), "alice").await;
    let mut request = instance.server.request(Method::POST, CALLBACK).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if with_cookie {
        request = request.header("cookie", cookie);
    }
    send(request).await.unwrap()
}

async fn a_page_of_the_services_own_site_must_bring_the_states_cookie(backend: Backend) {
    let settings =
        [("AUTHLOG_PUBLIC_URL", "http://127.0.0.1:4173"), ("AUTHLOG_ALLOWED_ORIGINS", "https://dash.example")];
    let instance = Instance::ready_with(backend, &settings).await;
    let own: [&[(&str, &str)]; 3] = [
        &[("origin", "http://127.0.0.1:4173")],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://dash.example")],
    ];
    for headers in own {
        from_a_page(&instance, headers, false).await.refused(400, "invalid_state");
        from_a_page(&instance, headers, true).await.ok(200);
    }
    let elsewhere = [("origin", "https://dash.example"), ("sec-fetch-site", "cross-site")];
    from_a_page(&instance, &elsewhere, false).await.ok(200);
}

async fn the_services_own_page_ends_a_sign_in_that_its_browser_began(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_PUBLIC_URL", "http://127.0.0.1:4173")]).await;
    let begun = instance.server.get("/v1/auth/oidc/start", None).await;
    let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let back = at_the_provider(&begun.ok(200), "alice").await;
    let encoded = |name: &str| url::form_urlencoded::byte_serialize(text(&back, name).as_bytes()).collect::<String>();
    let path = format!("/auth/callback?code={}&state={}&iss={}", encoded("code"), encoded("state"), encoded("iss"));
    let without = instance.server.get(&path, None).await;
    assert_eq!(without.status, 400, "{without:?}");
    assert!(without.body.as_str().unwrap().contains("invalid_state"));
    let page = send(instance.server.request(Method::GET, &path).header("cookie", cookie)).await.unwrap();
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let html = page.ok(200);
    let html = html.as_str().unwrap();
    assert!(html.contains("alice@example.com"), "{html}");
    let token = html.split("<code>").nth(1).unwrap().split("</code>").next().unwrap();
    instance.server.get("/v1/users/me", Some(token)).await.ok(200);
    let refused = instance.server.get("/auth/callback?error=%3Cscript%3Ealert(1)%3C/script%3E", None).await;
    assert_eq!(refused.status, 400);
    assert!(!refused.body.as_str().unwrap().contains("<script>"));
}

async fn what_a_browser_brings_back_is_shown_as_text(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let page = fresh.server.get("/auth/callback?code=%3Cscript%3Ealert(1)%3C/script%3E&state=%22'%26", None).await;
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let html = page.ok(200);
    let html = html.as_str().unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{html}");
    assert!(!html.contains("<script") && !html.contains("\"'"), "{html}");
}

async fn the_owner_is_recovered_from_the_host_and_the_old_identity_is_out(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let token = json!({ "name": "ci", "role": "admin" });
    let token = server.post("/v1/api-tokens", Some(&instance.owner), token).await.ok(201);
    let me = server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    let recover = async |flag: &str, value: &str| {
        let (code, _, stderr) = run(&server.flags, &["owner", "recover", flag, value, "--yes"]).await;
        assert_eq!(code, 0, "{stderr}");
    };
    recover("--subject", "new-subject").await;
    server.sign_in("bob").await.refused(403, "user_not_found");
    server.sign_in("alice").await.ok(200);
    let new = Account { subject: "new-subject".to_owned(), email: None, ..Account::new("alice2") };
    instance.provider.add_account(new);
    let signed_in = server.sign_in("alice2").await.ok(200);
    assert_eq!(signed_in["user"]["user_id"], me["user"]["id"]);
    assert_eq!(signed_in["user"]["role"], "owner");
    for gone in [instance.owner.as_str(), text(&token, "token")] {
        server.get("/v1/users/me", Some(gone)).await.refused(401, "invalid_session");
    }
    server.sign_in("alice").await.refused(403, "user_not_found");

    recover("--email", "dave@example.com").await;
    server.sign_in("dave").await.refused(403, "user_not_found");
    instance.provider.add_account(Account::new("dave"));
    assert_eq!(server.sign_in("dave").await.ok(200)["user"]["role"], "owner");
    instance.provider.add_account(Account { subject: "new-subject".to_owned(), ..Account::new("alice2") });
    server.sign_in("alice2").await.refused(403, "user_not_found");
}

on_both_databases!(
    the_answer_of_a_sign_in_is_whole_and_never_stored,
    an_invitation_is_claimed_only_by_an_address_that_the_provider_verified,
    without_require_verified_email_an_absent_claim_is_enough_and_false_is_not,
    an_identity_is_issuer_and_subject_and_an_address_never_changes_by_signing_in,
    unknown_uninvited_and_disabled_people_get_the_same_answer,
    every_sign_in_makes_a_fresh_token_and_takes_none_from_the_client,
    a_state_is_used_once_and_only_for_what_it_was_begun_for,
    a_page_of_the_services_own_site_must_bring_the_states_cookie,
    the_services_own_page_ends_a_sign_in_that_its_browser_began,
    what_a_browser_brings_back_is_shown_as_text,
    the_owner_is_recovered_from_the_host_and_the_old_identity_is_out,
);
