use crate::relying_party::{RelyingParty, VERIFIER, basic};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devidp::wire::Request;
use devidp::{Client, DevIdp, Options};
use serde_json::json;

#[tokio::test]
async fn each_client_may_authenticate_as_it_is_registered_and_no_other_way() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let secret = Some(Client::SECRET);
    for (suffix, secret, in_body, status) in [
        ("", secret, false, 200),
        ("", secret, true, 200),
        ("", None, true, 401),
        ("", Some("wrong"), false, 401),
        ("-basic", secret, false, 200),
        ("-basic", secret, true, 401),
        ("-post", secret, true, 200),
        ("-post", secret, false, 401),
        ("-odd", Some(Client::ODD_SECRET), false, 200),
        ("-public", None, true, 200),
        ("-public", secret, true, 401),
    ] {
        let party = RelyingParty::client(provider.issuer(), suffix, secret, in_body);
        let answer = party.sign_in("alice").await;
        assert_eq!(
            answer.status,
            status,
            "authlog-test{suffix}, {secret:?}, in the body: {in_body}: {}",
            answer.text()
        );
        if status == 401 {
            assert_eq!(answer.json().unwrap()["error"], "invalid_client");
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"devidp\""));
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_not_form_encoded_inside_basic_is_refused() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::client(provider.issuer(), "-odd", None, false);
    let code = party.code("alice").await;
    let raw = STANDARD.encode(format!("authlog-test-odd:{}", Client::ODD_SECRET));
    let answer = party
        .token_request(&party.url("/token"), &code, &[])
        .header("Authorization", &format!("Basic {raw}"))
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status, &answer.json().unwrap()["error"]), (401, &json!("invalid_client")));
}

#[tokio::test]
async fn two_ways_at_once_repeated_parameters_and_foreign_codes_are_refused() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let code = party.code("alice").await;
    let both = party.exchange(&code, &[("client_secret", Client::SECRET)]).await;
    assert_eq!((both.status, &both.json().unwrap()["error"]), (401, &json!("invalid_client")));

    let fields = ["first", "second"].map(|code| ("code".to_owned(), code.to_owned()));
    let repeated = Request::post_form(&party.url("/token"), &fields)
        .header("Authorization", &basic("authlog-test", Client::SECRET))
        .send()
        .await
        .unwrap();
    let expected = json!({"error": "invalid_request", "error_description": "parameter code is repeated"});
    assert_eq!((repeated.status, repeated.json().unwrap()), (400, expected));

    let other = RelyingParty::client(provider.issuer(), "-post", Some(Client::SECRET), true);
    let foreign = other.exchange(&code, &[("code_verifier", VERIFIER)]).await;
    let expected = json!({"error": "invalid_grant", "error_description": "the code was issued to another client"});
    assert_eq!((foreign.status, foreign.json().unwrap()), (400, expected));
}
