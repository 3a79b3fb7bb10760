use crate::relying_party::{IdToken, NONCE, RelyingParty};
use devidp::{DevIdp, Fault, Options};
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_SECONDS: i64 = 86_400;

/// Alice's claims with and without the fault: what is in the first and not in the second, and the other way round.
struct Difference {
    gone: Map<String, Value>,
    come: Map<String, Value>,
}

fn difference(before: &Value, after: &Value) -> Difference {
    let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
    let only = |one: &Map<String, Value>, other: &Map<String, Value>| {
        one.iter()
            // these change from token to token; the faults about them have tests of their own
            .filter(|(name, value)| {
                !["iat", "exp", "at_hash"].contains(&name.as_str()) && other.get(*name) != Some(value)
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    Difference { gone: only(before, after), come: only(after, before) }
}

async fn claims(party: &RelyingParty) -> (Value, Value) {
    let answer = party.sign_in("alice").await;
    let token = IdToken::read(answer.json().unwrap()["id_token"].as_str().unwrap());
    assert!(token.is_signed_by(&party.keys().await[0]));
    (token.claims(), party.userinfo(&answer).await.json().unwrap())
}

/// A fault of the ID token alone, with the claims it takes out and those it puts in (both for a change).
#[tokio::test]
async fn a_fault_of_the_id_token_changes_what_it_names_and_nothing_else() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let issuer = provider.issuer();
    let (right, right_userinfo) = claims(&party).await;
    for (fault, gone, come) in [
        (Fault::WrongIssuer, json!({"iss": issuer}), json!({"iss": format!("{issuer}/other")})),
        (Fault::WrongAudience, json!({"aud": "authlog-test"}), json!({"aud": "somebody-else"})),
        (Fault::MissingAudience, json!({"aud": "authlog-test"}), json!({})),
        (Fault::ManyAudiencesNoAzp, json!({"aud": "authlog-test"}), json!({"aud": ["authlog-test", "somebody-else"]})),
        (Fault::WrongAzp, json!({}), json!({"azp": "somebody-else"})),
        (Fault::MissingSubject, json!({"sub": "alice-1"}), json!({})),
        (Fault::EmptySubject, json!({"sub": "alice-1"}), json!({"sub": ""})),
        (Fault::SubjectNotAText, json!({"sub": "alice-1"}), json!({"sub": 1})),
        (Fault::SubjectTooLong, json!({"sub": "alice-1"}), json!({"sub": "x".repeat(300)})),
        (Fault::WrongNonce, json!({"nonce": NONCE}), json!({"nonce": "another-nonce"})),
        (Fault::MissingNonce, json!({"nonce": NONCE}), json!({})),
        (Fault::EmailOnlyInUserinfo, json!({"email": "alice@example.com", "email_verified": true}), json!({})),
        (Fault::EmailVerifiedElsewhere, json!({"email_verified": true}), json!({})),
    ] {
        provider.set_fault(fault);
        let (faulty, userinfo) = claims(&party).await;
        let found = difference(&right, &faulty);
        assert_eq!((Value::Object(found.gone), Value::Object(found.come)), (gone, come), "{fault}");
        assert_eq!(userinfo, right_userinfo, "{fault}");
    }
    provider.clear_fault();
    let found = difference(&right, &claims(&party).await.0);
    assert!(found.gone.is_empty() && found.come.is_empty());
}

/// The same in both documents.
#[tokio::test]
async fn a_fault_of_address_or_profile_is_in_the_id_token_and_in_userinfo() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let right = claims(&party).await;
    let email = "alice@example.com";
    let script = "\"><script>alert(document.domain)</script>";
    let long_domain = "a23456789.".repeat(26);
    for (fault, name, value) in [
        (Fault::EmailVerifiedText, "email_verified", json!("true")),
        (Fault::EmailVerifiedNumber, "email_verified", json!(1)),
        (Fault::EmailNotAText, "email", json!([email])),
        (Fault::EmailLineBreak, "email", json!("alice@example.com\r\nBcc: mallory@mallory.example")),
        (Fault::EmailNul, "email", json!("alice@example.com\0@mallory.example")),
        (Fault::EmailDoubleAt, "email", json!("alice@example.com@mallory.example")),
        (Fault::EmailLookAlikeLocal, "email", json!("\u{430}lice@example.com")),
        (Fault::EmailLookAlikeDomain, "email", json!("alice@\u{435}xample.com")),
        (Fault::EmailTooLong, "email", json!(format!("alice@{long_domain}example.com"))),
        (Fault::EmailUpperCase, "email", json!("ALICE@EXAMPLE.COM")),
        (Fault::NameScript, "name", json!(script)),
        (Fault::NameControlCharacters, "name", json!("Alice\r\n\u{1b}[2J\u{9b}31mroot\u{202e}\0")),
        (Fault::NameTooLong, "name", json!("x".repeat(100_000))),
        (Fault::PictureScript, "picture", json!("javascript:alert(document.domain)//")),
    ] {
        provider.set_fault(fault);
        let faulty = claims(&party).await;
        for (right, faulty) in [(&right.0, &faulty.0), (&right.1, &faulty.1)] {
            let found = difference(right, faulty);
            assert_eq!(Value::Object(found.gone), json!({name: right[name]}), "{fault}");
            assert_eq!(Value::Object(found.come), json!({name: value}), "{fault}");
        }
    }
    provider.set_fault(Fault::EmailMissing);
    let faulty = claims(&party).await;
    for (right, faulty) in [(&right.0, &faulty.0), (&right.1, &faulty.1)] {
        let found = difference(right, faulty);
        assert_eq!(Value::Object(found.gone), json!({"email": email, "email_verified": true}));
        assert_eq!(Value::Object(found.come), json!({}));
    }
    provider.set_fault(Fault::EmailElsewhere);
    let (id_token, userinfo) = claims(&party).await;
    assert_eq!((id_token.get("email"), &id_token["email_verified"]), (None, &json!(true)));
    assert_eq!((&userinfo["email"], &userinfo["email_verified"]), (&json!(email), &json!(false)));
}

#[tokio::test]
async fn a_fault_of_time_moves_or_removes_one_claim() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    // the table's offsets from now, in seconds; the test has a minute to get there
    let near = |value: &Value, offset: i64| value.as_i64().is_some_and(|at| (0..60).contains(&(at - now - offset)));
    for (fault, issued, expires) in [
        (None, Some(0), Some(300)),
        (Some(Fault::MissingIssuedAt), None, Some(300)),
        (Some(Fault::MissingExpiry), Some(0), None),
        (Some(Fault::Expired), Some(-3900), Some(-3600)),
        (Some(Fault::IssuedInFuture), Some(DAY_SECONDS), Some(DAY_SECONDS + 300)),
        (Some(Fault::NotYetValid), Some(0), Some(DAY_SECONDS + 300)),
    ] {
        fault.map_or_else(|| provider.clear_fault(), |fault| provider.set_fault(fault));
        let claims = party.id_token("alice").await.claims();
        for (name, offset) in [("iat", issued), ("exp", expires)] {
            let right = offset.map_or_else(|| claims.get(name).is_none(), |offset| near(&claims[name], offset));
            assert!(right, "{fault:?}: {name} in {claims}");
        }
        assert_eq!(near(&claims["nbf"], DAY_SECONDS), fault == Some(Fault::NotYetValid));
    }
    provider.set_fault(Fault::ExpiryNotANumber);
    let claims = party.id_token("alice").await.claims();
    assert!(near(&json!(claims["exp"].as_str().unwrap().parse::<i64>().unwrap()), 300));
}

#[tokio::test]
async fn the_payload_can_name_two_subjects_and_the_hash_another_access_token() {
    let provider = DevIdp::start(Options { fault: Some(Fault::PayloadDuplicateKeys), ..Options::default() }).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let token = party.id_token("alice").await;
    assert!(token.payload_text.starts_with(r#"{"sub":"mallory-1","#), "{}", token.payload_text);
    assert_eq!(token.payload_text.matches(r#""sub":"#).count(), 2);
    assert_eq!(token.claims()["sub"], "alice-1");

    for (fault, right) in [(Fault::NoKeyId, true), (Fault::WrongAccessTokenHash, false)] {
        provider.set_fault(fault);
        let answer = party.sign_in("alice").await.json().unwrap();
        let hash = ring::digest::digest(&ring::digest::SHA256, answer["access_token"].as_str().unwrap().as_bytes());
        let left_half = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &hash.as_ref()[..16]);
        let claims = IdToken::read(answer["id_token"].as_str().unwrap()).claims();
        assert_eq!(claims["at_hash"] == left_half, right, "{fault}");
    }
}

#[tokio::test]
async fn a_fault_of_userinfo_leaves_the_address_out_of_the_id_token() {
    let provider = DevIdp::start(Options::default()).unwrap();
    let party = RelyingParty::new(provider.issuer());
    for (fault, subject) in [
        (Fault::UserinfoOtherSubject, json!("mallory-1")),
        (Fault::UserinfoNoSubject, Value::Null),
        (Fault::UserinfoDuplicateKeys, json!("alice-1")),
    ] {
        provider.set_fault(fault);
        let answer = party.sign_in("alice").await;
        let token = IdToken::read(answer.json().unwrap()["id_token"].as_str().unwrap());
        assert_eq!((token.claims()["sub"].as_str(), token.claims().get("email")), (Some("alice-1"), None), "{fault}");
        let userinfo = party.userinfo(&answer).await;
        let document = userinfo.json().unwrap();
        assert_eq!((&document["sub"], &document["email"]), (&subject, &json!("alice@example.com")), "{fault}");
        let twice = userinfo.text().matches(r#""sub":"#).count() == 2;
        assert_eq!(twice, fault == Fault::UserinfoDuplicateKeys, "{}", userinfo.text());
    }
}
