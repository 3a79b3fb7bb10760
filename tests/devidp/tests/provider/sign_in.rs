use crate::relying_party::{IdToken, NONCE, REDIRECT_URI, RelyingParty, STATE, query};
use devidp::browser::{self, BrowserError};
use devidp::wire::Request;
use devidp::{Account, Algorithm, ClaimsIn, DevIdp, Options, Served, StartError};
use serde_json::{Value, json};
use std::time::Duration;

fn claims_without_times(token: &IdToken) -> Value {
    let mut claims = token.claims();
    for name in ["iat", "exp", "at_hash"] {
        assert!(!claims.as_object_mut().unwrap().remove(name).unwrap().is_null(), "{name}");
    }
    claims
}

#[tokio::test]
async fn every_algorithm_signs_alice_in() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
        let provider = DevIdp::start(Options { algorithm, ..Options::default() }).unwrap();
        let party = RelyingParty::new(provider.issuer());
        let discovered = party.discover().await;
        assert_eq!(discovered["issuer"], provider.issuer());
        assert_eq!(discovered["id_token_signing_alg_values_supported"], json!([algorithm.name()]));

        let url = party.authorization_url(discovered["authorization_endpoint"].as_str().unwrap());
        let signed_in = provider.sign_in(url.as_str(), "alice").await.unwrap();
        assert!(signed_in.redirect_url.as_str().starts_with(REDIRECT_URI));
        assert_eq!((signed_in.state.as_str(), signed_in.iss.as_deref()), (STATE, Some(provider.issuer())));

        let answer = party.exchange(&signed_in.code, &[]).await.json().unwrap();
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3600)));
        let token = IdToken::read(answer["id_token"].as_str().unwrap());
        let keys = party.keys().await;
        assert_eq!(token.header(), json!({"alg": algorithm.name(), "kid": keys[0]["kid"], "typ": "JWT"}));
        assert!(token.is_signed_by(&keys[0]), "{algorithm:?}");
        assert_eq!(
            claims_without_times(&token),
            json!({
                "iss": provider.issuer(), "sub": "alice-1", "aud": "authlog-test", "nonce": NONCE,
                "email": "alice@example.com", "email_verified": true,
                "name": "Alice Example", "picture": "https://pictures.example.com/alice.png",
            })
        );
        let expected = Served { discovery: 2, jwks: 1, authorize: 2, token: 1, ..Served::default() };
        assert_eq!(provider.served(), expected);
    }
}

#[tokio::test]
async fn accounts_say_what_they_are_said_to_say() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    provider.add_account(Account { name: None, picture: None, ..Account::new("frank") });
    for (login, email, verified) in [
        ("bob", json!("bob@example.com"), json!(true)),
        ("carol", Value::Null, Value::Null),
        ("eve", json!("eve@example.com"), json!(false)),
        ("dave", json!("dave@example.com"), Value::Null),
        ("frank", json!("frank@example.com"), json!(true)),
    ] {
        let claims = party.id_token(login).await.claims();
        assert_eq!((&claims["email"], &claims["email_verified"]), (&email, &verified), "{login}");
        assert_eq!(claims["sub"], format!("{login}-1"));
    }
}

#[tokio::test]
async fn email_and_profile_can_be_in_userinfo_only() {
    let provider = DevIdp::start(Options { claims_in: ClaimsIn::Userinfo, ..Options::default() }).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let answer = party.sign_in("alice").await;
    let token = IdToken::read(answer.json().unwrap()["id_token"].as_str().unwrap());
    let expected = json!({"iss": provider.issuer(), "sub": "alice-1", "aud": "authlog-test", "nonce": NONCE});
    assert_eq!(claims_without_times(&token), expected);
    assert_eq!(
        party.userinfo(&answer).await.json().unwrap(),
        json!({
            "sub": "alice-1", "email": "alice@example.com", "email_verified": true,
            "name": "Alice Example", "picture": "https://pictures.example.com/alice.png",
        })
    );
    let without_token = party.get("/userinfo").await;
    assert_eq!((without_token.status, without_token.json().unwrap()), (401, json!({"error": "invalid_token"})));
}

#[tokio::test]
async fn a_code_is_taken_once() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let code = party.code("alice").await;
    assert_eq!(party.exchange(&code, &[]).await.status, 200);
    let again = party.exchange(&code, &[]).await;
    let expected = json!({"error": "invalid_grant", "error_description": "the code is unknown or was used"});
    assert_eq!((again.status, again.json().unwrap()), (400, expected));
}

#[tokio::test]
async fn a_code_goes_with_its_verifier_and_its_redirect_uri() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    for (changed, error) in [
        (("code_verifier", "another-verifier-of-at-least-forty-three-characters"), "invalid_grant"),
        (("code_verifier", ""), "invalid_request"),
        (("redirect_uri", "http://127.0.0.1:8787/auth/elsewhere"), "invalid_grant"),
        (("grant_type", "password"), "unsupported_grant_type"),
    ] {
        let code = party.code("alice").await;
        let answer = party.exchange(&code, &[changed]).await;
        assert_eq!((answer.status, &answer.json().unwrap()["error"]), (400, &json!(error)), "{changed:?}");
    }
}

#[tokio::test]
async fn a_request_without_pkce_or_off_loopback_gets_no_page() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let good = party.authorization_url(party.url("/authorize").as_str());
    for (name, value) in [
        ("code_challenge", None),
        ("code_challenge_method", Some("plain")),
        ("redirect_uri", Some("https://mallory.example/callback")),
        ("redirect_uri", Some("http://127.0.0.1@mallory.example/callback")),
        ("redirect_uri", Some("javascript://127.0.0.1/%0aalert(1)")),
        ("client_id", Some("somebody-else")),
        ("response_type", Some("token")),
        ("scope", Some("email")),
    ] {
        let mut url = good.clone();
        let kept: Vec<_> = good.query_pairs().filter(|(key, _)| key != name).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
        let answer = Request::get(&url).send().await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (400, None), "{name}={value:?}");
    }
}

#[tokio::test]
async fn the_page_has_no_script_and_escapes_what_it_shows() {
    let provider = DevIdp::start(Options::default()).unwrap();
    provider.add_account(Account::new("<script>\"'&"));
    let party = RelyingParty::new(provider.issuer());
    let page = Request::get(&party.authorization_url(party.url("/authorize").as_str())).send().await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(!page.text().contains("<script"), "{}", page.text());
    assert_eq!(party.id_token("<script>\"'&").await.claims()["sub"], "<script>\"'&-1");
}

#[tokio::test]
async fn a_hint_with_auto_is_answered_at_once_and_cancel_is_access_denied() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let url = party.authorization_url(party.url("/authorize").as_str());
    let denied = browser::cancel(url.as_str()).await.unwrap();
    assert_eq!(query(&denied, "error").as_deref(), Some("access_denied"));
    assert_eq!(query(&denied, "state").as_deref(), Some(STATE));

    let mut auto = url.clone();
    auto.query_pairs_mut().append_pair("login_hint", "bob").append_pair("auto", "1");
    let answer = Request::get(&auto).send().await.unwrap();
    assert_eq!(answer.status, 303);
    let code = query(&url.join(answer.header("location").unwrap()).unwrap(), "code").unwrap();
    assert_eq!(party.exchange(&code, &[]).await.status, 200);

    let stuck = browser::sign_in(url.as_str(), "nobody", "").await.unwrap_err();
    assert!(matches!(stuck, BrowserError::Stuck { status: 200, .. }), "{stuck}");
}

#[tokio::test]
async fn it_listens_on_loopback_only_and_is_gone_when_dropped() {
    let everywhere = Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() };
    assert!(matches!(DevIdp::start(everywhere), Err(StartError::NotLoopback(_))));

    let provider = DevIdp::start(Options::default()).unwrap();
    let address = provider.issuer().strip_prefix("http://").unwrap().to_owned();
    let mut kept_alive = tokio::net::TcpStream::connect(&address).await.unwrap();
    drop(provider);
    let mut nothing = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut kept_alive, &mut nothing);
    let read = tokio::time::timeout(Duration::from_secs(10), read).await.expect("the connection is still open");
    assert!(matches!(read, Ok(0) | Err(_)), "the connection is open");
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}
