use crate::relying_party::{IdToken, NONCE, REDIRECT_URI, RelyingParty, STATE};
use devidp::npm::{NpmError, NpmOptions, NpmProvider, PASSWORD};
use devidp::{Client, Rotation, browser};
use serde_json::json;
use std::path::Path;
use url::Url;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../provider"))
}

#[tokio::test]
async fn the_browser_signs_in_at_the_npm_provider() {
    let provider = NpmProvider::start(folder(), &NpmOptions::default()).await.unwrap_or_else(|error| panic!("{error}"));
    let clients = [
        ("", Some(Client::SECRET), false, "RS256"),
        ("-post", Some(Client::SECRET), true, "RS256"),
        ("-odd", Some(Client::ODD_SECRET), false, "RS256"),
        ("-public", None, true, "RS256"),
        ("-ps256", Some(Client::SECRET), false, "PS256"),
        ("-es256", Some(Client::SECRET), false, "ES256"),
        ("-eddsa", Some(Client::SECRET), false, "EdDSA"),
    ];
    for (suffix, secret, in_body, algorithm) in clients {
        let party = RelyingParty::client(provider.issuer(), suffix, secret, in_body);
        let discovered = party.discover().await;
        assert_eq!(discovered["issuer"], provider.issuer());
        let url = party.authorization_url(discovered["authorization_endpoint"].as_str().unwrap());
        let signed_in = browser::sign_in(url.as_str(), "alice", PASSWORD).await.unwrap();
        assert!(signed_in.redirect_url.as_str().starts_with(REDIRECT_URI));
        assert_eq!((signed_in.state.as_str(), signed_in.iss.as_deref()), (STATE, Some(provider.issuer())));

        let token_endpoint = Url::parse(discovered["token_endpoint"].as_str().unwrap()).unwrap();
        let answer = party.token_request(&token_endpoint, &signed_in.code, &[]).send().await.unwrap();
        assert_eq!(answer.status, 200, "{suffix}: {}", answer.text());
        let token = IdToken::read(answer.json().unwrap()["id_token"].as_str().unwrap());
        let keys = party.keys().await;
        let key = keys.iter().find(|key| key["kid"] == token.header()["kid"]).unwrap();
        assert!(token.is_signed_by(key), "{suffix}");
        assert_eq!(token.header()["alg"], algorithm);
        let claims = token.claims();
        let found = ["sub", "nonce", "email", "email_verified"].map(|name| claims[name].clone());
        assert_eq!(found, [json!("alice-1"), json!(NONCE), json!("alice@example.com"), json!(true)]);
    }
}

#[tokio::test]
async fn the_npm_provider_is_cancelled_rotated_and_changed() {
    let options = NpmOptions { claims_in_userinfo: true, ..NpmOptions::default() };
    let provider = NpmProvider::start(folder(), &options).await.unwrap_or_else(|error| panic!("{error}"));
    let party = RelyingParty::new(provider.issuer());
    let endpoint = party.discover().await["authorization_endpoint"].as_str().unwrap().to_owned();
    let url = party.authorization_url(&endpoint);

    let denied = browser::cancel(url.as_str()).await.unwrap();
    assert!(denied.query().unwrap().contains("error=access_denied"), "{denied}");
    let wrong = browser::sign_in(url.as_str(), "alice", "wrong").await;
    assert!(matches!(wrong, Err(browser::BrowserError::Stuck { status: 401, .. })), "{wrong:?}");

    let before = party.keys().await;
    provider.rotate_keys(Rotation::Replace).await.unwrap();
    assert!(party.keys().await.iter().all(|key| !before.contains(key)));

    provider.set_claims("alice", &json!({"email": "new@example.com"})).await.unwrap();
    let signed_in = browser::sign_in(url.as_str(), "alice", PASSWORD).await.unwrap();
    let answer = party.exchange(&signed_in.code, &[]).await;
    let claims = IdToken::read(answer.json().unwrap()["id_token"].as_str().unwrap()).claims();
    assert_eq!(claims.get("email"), None);
    let bearer = format!("Bearer {}", answer.json().unwrap()["access_token"].as_str().unwrap());
    let userinfo = devidp::wire::Request::get(&party.url("/me")).header("Authorization", &bearer).send().await.unwrap();
    assert_eq!(userinfo.json().unwrap()["email"], "new@example.com");
}

#[tokio::test]
async fn missing_packages_are_named_with_the_remedy() {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let error = NpmProvider::start(empty, &NpmOptions::default()).await.err().unwrap();
    assert!(matches!(error, NpmError::NotInstalled(_)));
    assert!(error.to_string().ends_with("is missing: run npm ci in tests/provider"), "{error}");
}
