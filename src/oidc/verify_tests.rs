#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{AccessToken, JsonWebKeyId, PrivateSigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::{Expected, UnverifiedToken, VerifiedToken};
use crate::oidc::error::IdTokenProblem;
use crate::oidc::keys::SigningKey;

const NOW: i64 = 1_700_000_000;

fn signer(seed: u8) -> CoreEdDsaPrivateSigningKey {
    // PKCS #8 around a seed of 32 equal bytes (RFC 8410, section 7).
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    let body = BASE64_STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let key_id = Some(JsonWebKeyId::new("k1".to_owned()));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, key_id).unwrap()
}

fn sign_text(header: &str, payload: &str) -> String {
    let input = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = signer(1).sign(&CoreJwsSigningAlgorithm::EdDsa, input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "sub": "248289761001", "aud": "authlog", "nonce": "n-0S6",
        "iat": NOW - 5, "exp": NOW + 300, "updated_at": "2024-01-01T00:00:00Z", "locale": {"a": 1},
    })
}

fn verify(token: &str) -> Result<VerifiedToken, IdTokenProblem> {
    let keys = [SigningKey::admit(&signer(1).as_verification_key()).unwrap()];
    let expected = Expected {
        issuer: "https://idp.example",
        client_id: "authlog",
        nonce: "n-0S6",
        access_token: &AccessToken::new("opaque".to_owned()),
        now: DateTime::from_timestamp(NOW, 0).unwrap(),
    };
    UnverifiedToken::parse(token)?.verify(&keys, &expected)
}

/// Verifies a token with one claim set, or taken away.
fn with_claim(name: &str, value: Option<Value>) -> Result<VerifiedToken, IdTokenProblem> {
    let mut claims = claims();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    verify(&sign_text(&header().to_string(), &claims.to_string()))
}

fn with_header(name: &str, value: Value) -> Result<VerifiedToken, IdTokenProblem> {
    let mut header = header();
    header[name] = value;
    verify(&sign_text(&header.to_string(), &claims().to_string()))
}

#[test]
fn a_sound_token_is_accepted_whatever_its_unimportant_claims_are() {
    let token = verify(&sign_text(&header().to_string(), &claims().to_string())).unwrap();
    assert_eq!(token.subject, "248289761001");
    assert_eq!(Value::Object(token.claims), claims());
}

#[test]
fn a_required_claim_that_is_missing_is_named() {
    for name in ["iss", "sub", "aud", "exp", "iat", "nonce"] {
        let problem = with_claim(name, None).unwrap_err();
        assert!(matches!(problem, IdTokenProblem::MissingClaim(found) if found == name));
    }
}

#[test]
fn a_claim_of_a_wrong_value_or_type_is_named() {
    for (name, value) in [
        ("iss", json!("https://idp.example/")),
        ("iss", json!(["https://idp.example"])),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
        ("aud", json!([])),
        ("aud", json!(["authlog", 7])),
        ("aud", json!({"authlog": true})),
        ("azp", json!("another")),
        ("azp", json!(null)),
        ("nonce", json!("n-0S7")),
        ("nonce", json!("")),
        ("nonce", json!(7)),
        ("exp", json!("2100-01-01")),
        ("exp", json!(null)),
        ("iat", json!("1")),
        ("nbf", json!("1")),
        ("at_hash", json!("AAAA")),
        ("at_hash", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a".repeat(256))),
        ("sub", json!("naïve")),
        ("sub", json!("a\nb")),
    ] {
        let problem = with_claim(name, Some(value.clone())).unwrap_err();
        let named = matches!(problem, IdTokenProblem::Claim(found) if found == name);
        assert!(named, "{name}: {value}");
    }
    assert!(with_claim("sub", Some(json!("a".repeat(255)))).is_ok());
}

#[test]
fn an_access_token_hash_must_be_that_of_the_access_token() {
    let half = |digest: &[u8]| json!(BASE64_URL_SAFE_NO_PAD.encode(&digest[..digest.len() / 2]));
    assert!(with_claim("at_hash", Some(half(&Sha512::digest("opaque")))).is_ok());
    assert!(with_claim("at_hash", Some(half(&Sha256::digest("opaque")))).is_ok());
    assert!(with_claim("at_hash", Some(half(&Sha512::digest("another")))).is_err());
}

#[test]
fn several_audiences_need_an_authorized_party() {
    let both = Some(json!(["authlog", "another"]));
    let problem = with_claim("aud", both).unwrap_err();
    assert!(matches!(problem, IdTokenProblem::MissingClaim("azp")));
    assert!(with_claim("azp", Some(json!("authlog"))).is_ok());
    assert!(with_claim("aud", Some(json!(["authlog"]))).is_ok());
    let mut claims = claims();
    claims["aud"] = json!(["authlog", "another"]);
    claims["azp"] = json!("authlog");
    assert!(verify(&sign_text(&header().to_string(), &claims.to_string())).is_ok());
}

#[test]
fn times_are_judged_to_the_second() {
    assert!(with_claim("exp", Some(json!(NOW + 1))).is_ok());
    assert!(with_claim("exp", Some(json!(1e20))).is_ok());
    for expired in [json!(NOW), json!(NOW - 1), json!(-1), json!(0)] {
        let problem = with_claim("exp", Some(expired)).unwrap_err();
        assert!(matches!(problem, IdTokenProblem::Expired));
    }
    for name in ["iat", "nbf"] {
        assert!(with_claim(name, Some(json!(NOW + 60))).is_ok());
        assert!(with_claim(name, Some(json!(60.9 + 1_699_999_999.0))).is_ok());
        let problem = with_claim(name, Some(json!(NOW + 61))).unwrap_err();
        assert!(matches!(problem, IdTokenProblem::NotYetValid));
    }
}

#[test]
fn a_header_that_brings_its_own_key_or_meaning_is_refused() {
    for (name, value) in [
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("jwk", json!({"kty": "OKP"})),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
        ("cty", json!("JWT")),
        ("enc", json!("A128GCM")),
        ("typ", json!("at+jwt")),
        ("typ", json!("logout+jwt")),
        ("typ", json!(1)),
        ("kid", json!(7)),
        ("kid", json!("k".repeat(257))),
        ("alg", json!(7)),
    ] {
        let problem = with_header(name, value.clone()).unwrap_err();
        let named = matches!(problem, IdTokenProblem::HeaderParameter(found) if found == name);
        assert!(named, "{name}: {value}");
    }
    assert!(with_header("typ", json!("jwt")).is_ok());
}

#[test]
fn none_and_symmetric_algorithms_are_refused_with_or_without_a_signature() {
    for algorithm in ["none", "NONE", "HS256", "HS512", "ES512", ""] {
        let problem = with_header("alg", json!(algorithm)).unwrap_err();
        assert!(matches!(problem, IdTokenProblem::Algorithm(found) if found == algorithm));
    }
    let token = sign_text(r#"{"alg":"none"}"#, &claims().to_string());
    let unsigned = &token[..=token.rfind('.').unwrap()];
    assert!(matches!(verify(unsigned), Err(IdTokenProblem::Algorithm(_))));
}

#[test]
fn an_algorithm_of_another_kind_of_key_finds_no_key() {
    for algorithm in ["RS256", "ES256", "PS256"] {
        let problem = with_header("alg", json!(algorithm)).unwrap_err();
        assert!(matches!(problem, IdTokenProblem::UnknownKey(Some(id)) if id == "k1"));
    }
    let problem = with_header("kid", json!("k2")).unwrap_err();
    assert!(matches!(problem, IdTokenProblem::UnknownKey(Some(id)) if id == "k2"));
}

#[test]
fn a_member_named_twice_is_refused_in_header_and_claims() {
    let twice = r#"{"alg":"EdDSA","kid":"k1","alg":"EdDSA"}"#;
    let problem = verify(&sign_text(twice, &claims().to_string())).unwrap_err();
    assert!(matches!(problem, IdTokenProblem::Json(_)));
    let claims = claims().to_string().replacen('{', r#"{"sub":"somebody else","#, 1);
    let problem = verify(&sign_text(&header().to_string(), &claims)).unwrap_err();
    assert!(matches!(problem, IdTokenProblem::Json(_)));
}

#[test]
fn a_changed_or_foreign_signature_is_refused_before_the_claims_are_read() {
    let token = sign_text(&header().to_string(), "not even json");
    let foreign = {
        let (input, _) = token.rsplit_once('.').unwrap();
        let signature = signer(2).sign(&CoreJwsSigningAlgorithm::EdDsa, input.as_bytes());
        format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.unwrap()))
    };
    assert!(matches!(verify(&foreign), Err(IdTokenProblem::Signature(_))));
    assert!(matches!(verify(&token), Err(IdTokenProblem::Json(_))));
}

#[test]
fn a_token_that_is_no_signed_token_is_malformed() {
    let token = sign_text(&header().to_string(), &claims().to_string());
    let padded = format!("{token}=");
    let five_parts = format!("{token}.a.b");
    for text in ["", "a", "a.b", "..", five_parts.as_str(), padded.as_str()] {
        let problem = verify(text).unwrap_err();
        let refused = matches!(problem, IdTokenProblem::Malformed(_) | IdTokenProblem::Json(_));
        assert!(refused, "{text:?}: {problem}");
    }
}
