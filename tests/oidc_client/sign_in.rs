//! Signing in when the provider behaves: algorithms, ways of authentication, claims, time.

use authlog::oidc::{CallbackParams, EmailVerified, ExchangeProblem, OidcError, VerifiedIdentity};
use chrono::{TimeDelta, Utc};
use devidp::{Algorithm, ClaimsIn, Fault, Options, Rotation};

use crate::house::{House, NONCE, Outcome, REDIRECT_URI, VERIFIER, config, outcome, quick};

#[tokio::test]
async fn every_algorithm_signs_in_the_same_person() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
        let options = Options { algorithm, ..Options::default() };
        let house = House::with(options, &quick());
        let alice = VerifiedIdentity {
            issuer: house.issuer(),
            subject: "alice-1".to_owned(),
            email: Some("alice@example.com".to_owned()),
            email_verified: EmailVerified::True,
            name: Some("Alice Example".to_owned()),
            picture: Some("https://pictures.example.com/alice.png".to_owned()),
        };
        assert!(house.sign_in("alice").await.unwrap() == alice, "{algorithm:?}");
        assert_eq!(house.idp.served().userinfo, 0, "the ID token says it all");
    }
}

#[tokio::test]
async fn a_provider_with_an_rsa_key_of_8192_bits_is_configured_and_signs_people_in() {
    let house = House::new();
    house.idp.set_fault(Fault::RsaLongest);
    house.client.discover(&house.issuer()).await.unwrap();
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::Verified);
}

#[tokio::test]
async fn every_way_of_client_authentication_is_spoken() {
    let announced = |methods: &[&str]| methods.iter().map(ToString::to_string).collect();
    for (client_id, methods) in [
        ("authlog-test", announced(&["client_secret_basic", "client_secret_post"])),
        ("authlog-test-basic", announced(&["client_secret_post", "client_secret_basic"])),
        ("authlog-test-odd", announced(&["client_secret_basic"])),
        ("authlog-test-post", announced(&["client_secret_post"])),
        ("authlog-test-post", announced(&["client_secret_basic", "client_secret_post"])),
        ("authlog-test-public", announced(&["client_secret_basic", "none"])),
    ] {
        let options = Options { announced_auth_methods: methods, ..Options::default() };
        let mut house = House::with(options, &quick());
        house.config = config(&house.idp, client_id);
        let result = house.sign_in("bob").await;
        assert_eq!(outcome(&result), Outcome::Verified, "{client_id}: {result:?}");
    }
}

#[tokio::test]
async fn the_way_of_client_authentication_that_led_in_is_remembered() {
    let mut house = House::new();
    house.config = config(&house.idp, "authlog-test-post");
    for (login, token_requests) in [("alice", 2), ("bob", 3), ("alice", 4)] {
        assert_eq!(outcome(&house.sign_in(login).await), Outcome::Verified);
        assert_eq!(house.idp.served().token, token_requests, "one is refused, and none after it");
    }
    // New keys do not make it forgotten.
    house.idp.rotate_keys(Rotation::Replace).unwrap();
    for token_requests in [5, 6] {
        assert_eq!(outcome(&house.sign_in("bob").await), Outcome::Verified);
        assert_eq!(house.idp.served().token, token_requests);
    }
}

#[tokio::test]
async fn a_code_is_shown_twice_only_to_a_provider_that_did_not_let_the_client_in() {
    for fault in [Fault::TokenInvalidGrant, Fault::TokenServerError, Fault::TokenNotJson, Fault::TokenSlow] {
        let house = House::new();
        house.idp.set_fault(fault);
        assert_eq!(outcome(&house.sign_in("alice").await), Outcome::TokenExchange);
        assert_eq!(house.idp.served().token, 1, "{fault}");
    }
    let only_header = Options { announced_auth_methods: vec!["client_secret_basic".to_owned()], ..Options::default() };
    let mut house = House::with(only_header, &quick());
    house.config = config(&house.idp, "authlog-test-post");
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::TokenExchange);
    assert_eq!(house.idp.served().token, 1, "the body was not announced");
    let mut house = House::new();
    house.config.client_secret = None;
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::TokenExchange);
    assert_eq!(house.idp.served().token, 1, "there is no secret to send in another way");
}

#[tokio::test]
async fn a_secret_that_the_provider_cannot_be_given_is_a_configuration_error() {
    let options = Options { announced_auth_methods: vec!["private_key_jwt".to_owned()], ..Options::default() };
    let result = House::with(options, &quick()).sign_in("alice").await;
    assert_eq!(outcome(&result), Outcome::Config);
}

#[tokio::test]
async fn a_wrong_secret_is_a_failed_exchange_that_does_not_show_it() {
    let mut house = House::new();
    house.config.client_secret = Some("wrong-horse".into());
    let error = house.sign_in("alice").await.unwrap_err();
    let refused = matches!(
        &error,
        OidcError::TokenExchange(ExchangeProblem::Refused(code)) if code == "invalid_client"
    );
    assert!(refused, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("horse"));
}

#[tokio::test]
async fn what_the_id_token_leaves_out_comes_from_userinfo() {
    let options = Options { claims_in: ClaimsIn::Userinfo, ..Options::default() };
    let house = House::with(options, &quick());
    let bob = house.sign_in("bob").await.unwrap();
    assert_eq!(bob.email.as_deref(), Some("bob@example.com"));
    assert_eq!(bob.email_verified, EmailVerified::True);
    assert_eq!(bob.name.as_deref(), Some("Bob Example"));
    assert_eq!(bob.picture.as_deref(), Some("https://pictures.example.com/bob.png"));
    assert_eq!(outcome(&house.sign_in("carol").await), Outcome::NoEmail);
    assert_eq!(outcome(&house.sign_in("eve").await), Outcome::Unverified);
    assert_eq!(outcome(&house.sign_in("dave").await), Outcome::NoWord);
}

#[tokio::test]
async fn odd_names_and_pictures_are_dropped() {
    for (fault, has_name, has_picture) in [
        (Fault::NameTooLong, false, true),
        (Fault::NameControlCharacters, false, true),
        (Fault::PictureScript, true, false),
    ] {
        let house = House::new();
        house.idp.set_fault(fault);
        let alice = house.sign_in("alice").await.unwrap();
        let kept = (alice.name.is_some(), alice.picture.is_some());
        assert_eq!(kept, (has_name, has_picture), "{fault}");
    }
}

#[tokio::test]
async fn the_authorization_url_asks_for_a_code_with_pkce() {
    let house = House::new();
    let url: url::Url = house.authorization_url().await.unwrap().parse().unwrap();
    assert!(url.as_str().starts_with(&format!("{}/authorize?", house.idp.issuer())));
    let mut asked: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    asked.sort();
    let expected = [
        ("client_id", "authlog-test"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
        ("nonce", NONCE),
        ("redirect_uri", REDIRECT_URI),
        ("response_type", "code"),
        ("scope", "openid email profile"),
        ("state", "the-state"),
    ];
    assert_eq!(asked, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn a_code_of_another_issuers_answer_is_not_sent() {
    let house = House::new();
    for iss in [Some("https://evil.example"), None] {
        let result = house.exchange("a-code", iss).await;
        assert_eq!(outcome(&result), Outcome::TokenExchange);
    }
    assert_eq!(house.idp.served().token, 0);
}

#[tokio::test]
async fn an_id_token_is_judged_at_the_time_that_is_passed_in() {
    let house = House::new();
    for (shift_seconds, expected) in [
        (0, Outcome::Verified),
        (200, Outcome::Verified),
        (400, Outcome::IdToken),
        (-30, Outcome::Verified),
        (-120, Outcome::IdToken),
    ] {
        let url = house.authorization_url().await.unwrap();
        let back = house.idp.sign_in(&url, "alice").await.unwrap();
        let params = CallbackParams {
            code: &back.code,
            redirect_uri: REDIRECT_URI,
            pkce_verifier: VERIFIER,
            nonce: NONCE,
            iss: back.iss.as_deref(),
        };
        let now = Utc::now() + TimeDelta::seconds(shift_seconds);
        let result = house.client.exchange(&house.config, params, now).await;
        assert_eq!(outcome(&result), expected, "{shift_seconds} s: {result:?}");
    }
}

#[tokio::test]
async fn what_the_caller_must_bring_is_checked() {
    let house = House::new();
    let short = house.client.authorization_url(&house.config, REDIRECT_URI, "state", NONCE, "too-short").await;
    assert!(matches!(short, Err(OidcError::Config(_))));
    let nowhere = house.client.authorization_url(&house.config, "not a URL", "state", NONCE, VERIFIER).await;
    assert!(matches!(nowhere, Err(OidcError::Config(_))));
}
