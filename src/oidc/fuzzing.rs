//! What fuzzing needs to see of this room: ID tokens, and the documents of a provider.
#![allow(clippy::expect_used)]

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{AccessToken, HttpRequest, HttpResponse, JsonWebKeyId, PrivateSigningKey};
use serde_json::{Value, json};
use url::Url;

use super::IssuerUrl;
use super::claims::{self, Claims, Email};
use super::error::{HttpProblem, IdTokenProblem};
use super::json::check_unambiguous;
use super::keys::{Algorithm, SigningKey, select};
use super::provider::{self, Provider};
use super::token::TokenAnswer;
use super::verify::{Expected, UnverifiedToken, VerifiedToken};

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://idp.example";
const CLIENT: &str = "authlog";
const NONCE: &str = "n-0S6";

/// The key of the provider, and of somebody else.
struct Keys {
    ours: CoreEdDsaPrivateSigningKey,
    theirs: CoreEdDsaPrivateSigningKey,
    published: Vec<SigningKey>,
    /// A token that was issued.
    issued: String,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let (ours, theirs) = (signer(1), signer(2));
        let rsa = json!({"kty": "RSA", "kid": "k2", "n": BASE64_URL_SAFE_NO_PAD.encode([0x85; 256]), "e": "AQAB"});
        let rsa = serde_json::from_value(rsa).expect("a key");
        let published = [ours.as_verification_key(), rsa].iter().filter_map(SigningKey::admit).collect();
        let claims = json!({
            "iss": ISSUER, "sub": "248289761001", "aud": CLIENT, "nonce": NONCE, "iat": NOW - 5, "exp": NOW + 300,
        });
        let header = json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"});
        let issued = signed(&ours, header.to_string().as_bytes(), claims.to_string().as_bytes());
        Keys { ours, theirs, published, issued }
    })
}

/// Ed25519 by a seed of equal bytes: PKCS #8 (RFC 8410, section 7).
fn signer(seed: u8) -> CoreEdDsaPrivateSigningKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der));
    let key_id = Some(JsonWebKeyId::new("k1".to_owned()));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, key_id).expect("a key")
}

fn signed(signer: &CoreEdDsaPrivateSigningKey, header: &[u8], claims: &[u8]) -> String {
    let input = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
    let signature = signer.sign(&CoreJwsSigningAlgorithm::EdDsa, input.as_bytes()).expect("a signature");
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn verify(token: &str) -> Result<VerifiedToken, IdTokenProblem> {
    let expected = Expected {
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: NONCE,
        access_token: &AccessToken::new("opaque".to_owned()),
        now: DateTime::from_timestamp(NOW, 0).expect("a time"),
    };
    UnverifiedToken::parse(token)?.verify(&keys().published, &expected)
}

/// A token as it comes, of which only the issued one is accepted; or a header and claims, the header in the first line, which
/// the provider signs, and somebody else, and nobody.
pub fn id_token(data: &[u8]) {
    let Keys { ours, theirs, issued, .. } = keys();
    assert!(verify(issued).is_ok(), "the issued token is refused");
    if let Ok(text) = std::str::from_utf8(data)
        && verify(text).is_ok()
    {
        assert_eq!(text, issued, "a token that nobody issued");
    }
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, claims) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let token = signed(ours, header, claims);
    let (unsigned, _) = token.rsplit_once('.').unwrap_or_default();
    assert!(verify(&format!("{unsigned}.")).is_err(), "accepted without a signature");
    if let Ok(token) = verify(&token) {
        judge_header(header);
        judge_claims(&token);
        assert!(verify(&signed(theirs, header, claims)).is_err(), "accepted with another's signature");
    }
}

fn judge_header(header: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("a header");
    assert_eq!(header["alg"], "EdDSA");
    for refused in ["crit", "jwk", "jku", "x5u", "enc"] {
        assert!(header.get(refused).is_none(), "{refused}");
    }
}

fn judge_claims(token: &VerifiedToken) {
    let VerifiedToken { subject, claims } = token;
    let said = Value::Object(claims.clone());
    assert_eq!((&said["iss"], &said["nonce"]), (&json!(ISSUER), &json!(NONCE)));
    let audience = &said["aud"];
    assert!(*audience == CLIENT || audience.as_array().is_some_and(|all| all.contains(&json!(CLIENT))), "{audience}");
    let seconds = |name: &str| said[name].as_f64().expect("a number");
    #[expect(clippy::cast_precision_loss, reason = "it is far from 2^53")]
    let now = NOW as f64;
    assert!(seconds("exp") > now && seconds("iat") < now + 61.0);
    assert_eq!(said["sub"], json!(subject));
    assert!((1..=255).contains(&subject.len()) && subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    person(claims);
}

/// What is kept of a person steers no terminal and no page.
fn person(claims: &Claims) {
    Email::of(claims).ok();
    let name = claims::name(claims).unwrap_or_default();
    assert!(name.chars().count() <= 200 && !name.chars().any(char::is_control), "{name:?}");
    if let Some(picture) = claims::picture(claims) {
        assert!(picture.starts_with("https://") || picture.starts_with("http://"), "{picture:?}");
        assert!(picture.is_ascii() && picture.len() <= 2048, "{picture:?}");
    }
}

/// What a provider answers: in the first line its discovery document, in the second its keys, and each as the answer of the
/// token endpoint and of userinfo.
///
/// Endpoints that are accepted are https, and no key takes a made-up signature.
pub fn provider_documents(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    let (document, keys) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    for line in [&document, &keys] {
        if let Ok(answer) = serde_json::from_slice::<TokenAnswer>(line)
            && let Ok(token) = answer.id_token()
        {
            assert!(verify(token).is_err() || token == self::keys().issued, "a token that nobody issued");
        }
        if let Ok(claims) = serde_json::from_slice::<Claims>(line) {
            person(&claims);
        }
    }
    let issuer = IssuerUrl::parse(ISSUER).expect("an issuer");
    let documents = Arc::new((document, keys));
    let send = move |request: HttpRequest| {
        let is_discovery = request.uri().path().ends_with("/.well-known/openid-configuration");
        let body = if is_discovery { documents.0.clone() } else { documents.1.clone() };
        std::future::ready(check_unambiguous(&body).map_err(HttpProblem::Json).map(|()| HttpResponse::new(body)))
    };
    if let Some(Ok(provider)) = at_once(provider::discover(&issuer, send)) {
        judge_provider(&provider);
    }
}

/// What a future answers that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn judge_provider(provider: &Provider) {
    let discovered = &provider.discovered;
    assert_eq!(discovered.issuer.as_str(), ISSUER);
    let endpoints: [Option<&Url>; 4] = [
        Some(&discovered.authorization_endpoint),
        Some(&discovered.token_endpoint),
        discovered.userinfo_endpoint.as_ref(),
        Some(&discovered.jwks_uri),
    ];
    for url in endpoints.into_iter().flatten() {
        assert_eq!((url.scheme(), url.username(), url.password(), url.fragment()), ("https", "", None, None), "{url}");
    }
    for name in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let algorithm = Algorithm::named(name).expect("an algorithm");
        for key in &provider.keys {
            let Ok(key) = select(std::slice::from_ref(key), None, &algorithm) else { continue };
            for length in [0, 64, 256] {
                assert!(key.verify(&algorithm, b"made up", &vec![0x5a; length]).is_err(), "{name}");
            }
        }
    }
}
