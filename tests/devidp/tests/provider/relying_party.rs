//! A small relying party that believes everything and shows what it got. Signatures are checked with ring, not with
//! the provider's own code.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use devidp::wire::{Answer, Request, WireError};
use devidp::{Client, browser};
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;
use std::time::Duration;
use url::Url;

pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:8787/auth/callback";
pub(crate) const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-length";
pub(crate) const STATE: &str = "state-0123456789";
pub(crate) const NONCE: &str = "nonce-0123456789";

/// What a token endpoint gave, taken apart but not judged.
pub(crate) struct IdToken {
    pub(crate) header_text: String,
    pub(crate) payload_text: String,
    pub(crate) signed: String,
    pub(crate) signature: Vec<u8>,
}

impl IdToken {
    pub(crate) fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.split('.').collect();
        assert_eq!(parts.len(), 3, "not a compact JWS: {text}");
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        Self {
            header_text: String::from_utf8(decode(parts[0])).unwrap(),
            payload_text: String::from_utf8(decode(parts[1])).unwrap(),
            signed: format!("{}.{}", parts[0], parts[1]),
            signature: decode(parts[2]),
        }
    }

    pub(crate) fn header(&self) -> Value {
        serde_json::from_str(&self.header_text).unwrap()
    }

    pub(crate) fn claims(&self) -> Value {
        serde_json::from_str(&self.payload_text).unwrap()
    }

    /// Whether the signature is that of the key, whatever the header says but for telling PS256 from RS256.
    pub(crate) fn is_signed_by(&self, jwk: &Value) -> bool {
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap_or_default()).unwrap();
        let message = self.signed.as_bytes();
        match jwk["kty"].as_str().unwrap() {
            "RSA" => {
                let (n, e) = (part("n"), part("e"));
                let parameters: &RsaParameters = match (n.len(), jwk["alg"].as_str()) {
                    (_, Some("PS256")) => &RSA_PSS_2048_8192_SHA256,
                    (128, _) => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, &self.signature).is_ok()
            }
            "EC" => {
                let point = [vec![4], part("x"), part("y")].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &self.signature).is_ok()
            }
            "OKP" => UnparsedPublicKey::new(&ED25519, part("x")).verify(message, &self.signature).is_ok(),
            other => panic!("a key of type {other}"),
        }
    }
}

/// One client's dealings with one provider.
pub(crate) struct RelyingParty {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) secret: Option<String>,
    pub(crate) in_body: bool,
}

impl RelyingParty {
    pub(crate) fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: "authlog-test".to_owned(),
            secret: Some(Client::SECRET.to_owned()),
            in_body: false,
        }
    }

    pub(crate) fn client(issuer: &str, suffix: &str, secret: Option<&str>, in_body: bool) -> Self {
        let client_id = format!("authlog-test{suffix}");
        Self { issuer: issuer.to_owned(), client_id, secret: secret.map(str::to_owned), in_body }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.issuer)).unwrap()
    }

    pub(crate) async fn try_get(&self, path: &str, deadline: Duration) -> Result<Answer, WireError> {
        Request::get(&self.url(path)).within(deadline).send().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path, Duration::from_secs(30)).await.unwrap()
    }

    pub(crate) async fn discover(&self) -> Value {
        self.get("/.well-known/openid-configuration").await.json().unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<Value> {
        let discovered = self.discover().await;
        let jwks_uri = Url::parse(discovered["jwks_uri"].as_str().unwrap()).unwrap();
        let answer = Request::get(&jwks_uri).send().await.unwrap();
        answer.json().unwrap()["keys"].as_array().unwrap().clone()
    }

    pub(crate) fn authorization_url(&self, endpoint: &str) -> Url {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let mut url = Url::parse(endpoint).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("scope", "openid email profile"),
            ("state", STATE),
            ("nonce", NONCE),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ]);
        url
    }

    /// Where `account` is sent back to.
    pub(crate) async fn walk(&self, account: &str) -> Url {
        let endpoint = self.url("/authorize");
        browser::walk(self.authorization_url(endpoint.as_str()).as_str(), account, "").await.unwrap()
    }

    pub(crate) async fn code(&self, account: &str) -> String {
        query(&self.walk(account).await, "code").unwrap()
    }

    pub(crate) fn token_request(&self, endpoint: &Url, code: &str, changed: &[(&str, &str)]) -> Request {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        if self.in_body || self.secret.is_none() {
            fields.push(("client_id", &self.client_id));
        }
        if self.in_body
            && let Some(secret) = &self.secret
        {
            fields.push(("client_secret", secret));
        }
        for (name, value) in changed {
            fields.retain(|(field, _)| field != name);
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let request = Request::post_form(endpoint, &fields);
        match &self.secret {
            Some(secret) if !self.in_body => request.header("Authorization", &basic(&self.client_id, secret)),
            _ => request,
        }
    }

    pub(crate) async fn exchange(&self, code: &str, changed: &[(&str, &str)]) -> Answer {
        self.token_request(&self.url("/token"), code, changed).send().await.unwrap()
    }

    /// Signs `account` in and redeems the code: the answer of the token endpoint.
    pub(crate) async fn sign_in(&self, account: &str) -> Answer {
        let code = self.code(account).await;
        self.exchange(&code, &[]).await
    }

    pub(crate) async fn id_token(&self, account: &str) -> IdToken {
        let answer = self.sign_in(account).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        IdToken::read(answer.json().unwrap()["id_token"].as_str().unwrap())
    }

    pub(crate) async fn userinfo(&self, token_answer: &Answer) -> Answer {
        let bearer = format!("Bearer {}", token_answer.json().unwrap()["access_token"].as_str().unwrap());
        Request::get(&self.url("/userinfo")).header("Authorization", &bearer).send().await.unwrap()
    }
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

pub(crate) fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
