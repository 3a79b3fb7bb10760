use crate::relying_party::{IdToken, RelyingParty};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devidp::{Algorithm, Client, DevIdp, Fault, Options};
use ring::hmac;
use serde_json::{Value, json};

/// A provider with the fault, its relying party, a token of alice and the published keys.
async fn with(fault: Fault, algorithm: Algorithm) -> (DevIdp, RelyingParty, IdToken, Vec<Value>) {
    let provider = DevIdp::start(Options { algorithm, fault: Some(fault), ..Options::default() }).unwrap();
    let party = RelyingParty::new(provider.issuer());
    let token = party.id_token("alice").await;
    let keys = party.keys().await;
    (provider, party, token, keys)
}

const ALGORITHMS: [Algorithm; 4] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

fn is_hmac(token: &IdToken, secret: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, token.signed.as_bytes(), &token.signature).is_ok()
}

#[tokio::test]
async fn a_broken_or_foreign_signature_stands_under_the_right_key_id() {
    for algorithm in ALGORITHMS {
        for fault in [Fault::SignatureBroken, Fault::SignatureByStranger] {
            let (_provider, _, token, keys) = with(fault, algorithm).await;
            assert_eq!(token.header(), json!({"alg": algorithm.name(), "kid": keys[0]["kid"], "typ": "JWT"}));
            assert!(!token.is_signed_by(&keys[0]), "{fault} {algorithm:?}");
        }
    }
}

#[tokio::test]
async fn alg_none_has_no_signature() {
    for (fault, name) in [(Fault::AlgNone, "none"), (Fault::AlgNoneMixedCase, "nOnE")] {
        let (_provider, _, token, _) = with(fault, Algorithm::Es256).await;
        assert_eq!((token.header()["alg"].as_str(), token.signature.len()), (Some(name), 0));
        assert_eq!(token.claims()["sub"], "alice-1");
    }
}

#[tokio::test]
async fn hs256_is_signed_with_the_public_key_the_client_secret_or_a_published_secret() {
    let (_provider, _, token, keys) = with(Fault::Hs256PublicKey, Algorithm::EdDsa).await;
    assert_eq!(token.header(), json!({"alg": "HS256", "kid": keys[0]["kid"], "typ": "JWT"}));
    let pem = include_str!("../../keys/rsa-2048-a.pub.pem");
    assert!(is_hmac(&token, pem.as_bytes()));
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let modulus = URL_SAFE_NO_PAD.decode(keys[0]["n"].as_str().unwrap()).unwrap();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    assert!(der.windows(modulus.len()).any(|window| window == modulus), "the secret is another key than the published");

    let (_provider, _, token, _) = with(Fault::Hs256ClientSecret, Algorithm::Rs256).await;
    assert_eq!(token.header(), json!({"alg": "HS256", "typ": "JWT"}));
    assert!(is_hmac(&token, Client::SECRET.as_bytes()));

    let (_provider, _, token, keys) = with(Fault::JwksSymmetricKey, Algorithm::Rs256).await;
    let symmetric = keys.iter().find(|key| key["kty"] == "oct").unwrap();
    assert_eq!(token.header(), json!({"alg": "HS256", "kid": symmetric["kid"], "typ": "JWT"}));
    assert!(is_hmac(&token, &URL_SAFE_NO_PAD.decode(symmetric["k"].as_str().unwrap()).unwrap()));
}

#[tokio::test]
async fn a_stranger_brings_the_key_along_or_says_where_it_is() {
    for algorithm in ALGORITHMS {
        let (_provider, _, token, keys) = with(Fault::EmbeddedJwk, algorithm).await;
        let embedded = &token.header()["jwk"];
        assert!(token.is_signed_by(embedded) && !keys.contains(embedded), "{algorithm:?}");

        let (provider, party, token, keys) = with(Fault::JkuHeader, algorithm).await;
        let jku = token.header()["jku"].as_str().unwrap().to_owned();
        assert_eq!(provider.served().trapped, 0);
        let foreign = party.get(jku.strip_prefix(provider.issuer()).unwrap()).await.json().unwrap()["keys"][0].clone();
        assert!(token.is_signed_by(&foreign) && !keys.contains(&foreign), "{algorithm:?}");
        assert_eq!((provider.served().trapped, &token.header()["kid"]), (1, &foreign["kid"]));
    }
}

#[tokio::test]
async fn odd_headers_come_with_a_right_signature() {
    for algorithm in ALGORITHMS {
        let (_provider, _, token, keys) = with(Fault::CritHeader, algorithm).await;
        let extension = token.header()["crit"][0].as_str().unwrap().to_owned();
        assert_eq!(token.header()[&extension], true);
        assert!(token.is_signed_by(&keys[0]));

        let (_provider, _, token, keys) = with(Fault::HeaderDuplicateKeys, algorithm).await;
        assert!(token.header_text.starts_with(r#"{"alg":"none","#), "{}", token.header_text);
        assert_eq!(token.header_text.matches(r#""alg":"#).count(), 2);
        assert!(token.is_signed_by(&keys[0]));

        let (_provider, party, token, keys) = with(Fault::UnknownKeyId, algorithm).await;
        let next = party.id_token("alice").await;
        assert_eq!((&token.header()["kid"], &next.header()["kid"]), (&json!("unknown-0"), &json!("unknown-1")));
        assert!(token.is_signed_by(&keys[0]) && keys[0]["kid"] != "unknown-0");

        let (_provider, _, token, keys) = with(Fault::NoKeyId, algorithm).await;
        assert_eq!(token.header(), json!({"alg": algorithm.name(), "typ": "JWT"}));
        assert!(token.is_signed_by(&keys[0]));
    }
}

#[tokio::test]
async fn rsa_keys_of_odd_sizes_sign_rightly() {
    for (fault, bits) in [(Fault::RsaTooWeak, 1024), (Fault::RsaLongest, 8192), (Fault::RsaTooLarge, 8200)] {
        let (_provider, _, token, keys) = with(fault, Algorithm::Es256).await;
        assert_eq!((keys.len(), keys[0]["kid"].as_str()), (1, Some(format!("rsa-{bits}").as_str())));
        assert_eq!(token.header(), json!({"alg": "RS256", "kid": keys[0]["kid"], "typ": "JWT"}));
        let modulus = URL_SAFE_NO_PAD.decode(keys[0]["n"].as_str().unwrap()).unwrap();
        assert_eq!(modulus.len() * 8 - modulus[0].leading_zeros() as usize, bits);
        assert!(verifies_at_any_size(&token, &keys[0]), "{fault}");
    }
}

/// ring stops at 8192 bits.
fn verifies_at_any_size(token: &IdToken, jwk: &Value) -> bool {
    let part = |name: &str| rsa::BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap());
    let key = rsa::RsaPublicKey::new_with_max_size(part("n"), part("e"), 16384).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, token.signed.as_bytes());
    let mut digest_info = URL_SAFE_NO_PAD.decode("MDEwDQYJYIZIAWUDBAIBBQAEIA").unwrap();
    digest_info.extend_from_slice(digest.as_ref());
    key.verify(rsa::Pkcs1v15Sign::new_unprefixed(), &digest_info, &token.signature).is_ok()
}

#[tokio::test]
async fn published_keys_can_be_unfit() {
    let (_provider, _, token, keys) = with(Fault::JwksEncryptionKeys, Algorithm::Es256).await;
    assert_eq!(keys[0]["use"], "enc");
    assert!(token.is_signed_by(&keys[0]));
    let (_provider, _, token, keys) = with(Fault::JwksOtherAlgorithm, Algorithm::Es256).await;
    assert_eq!((&keys[0]["alg"], &token.header()["alg"]), (&json!("ES384"), &json!("ES256")));
    assert!(token.is_signed_by(&keys[0]));
    let (_provider, _, _, keys) = with(Fault::JwksEmpty, Algorithm::Es256).await;
    assert_eq!(keys, Vec::<Value>::new());
    let (_provider, party, token, keys) = with(Fault::JwksDuplicateKeys, Algorithm::Es256).await;
    let text = party.get("/jwks").await.text();
    assert!(text.starts_with(r#"{"keys":[{"kid":"somebody-elses","#), "{text}");
    assert_eq!(text.matches(r#""kid":"#).count(), 2);
    assert!(token.is_signed_by(&keys[0]) && keys[0]["kid"] == token.header()["kid"]);
}
