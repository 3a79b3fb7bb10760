//! Header and signature of an ID token (RFC 7515), and what the faults make of them.

use crate::answer::with_duplicate;
use crate::client::Client;
use crate::fault::Fault;
use crate::keys::{KeyError, KeyRing, RSA_PUBLIC_PEM, SigningKey};
use crate::state::Provider;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use std::sync::Arc;

const SYMMETRIC_KEY: &[u8] = b"a published secret is not one...";
const SYMMETRIC_KEY_ID: &str = "symmetric-1";

/// The keys published under the fault, as JWKs with `use` and `alg`.
pub(crate) fn published(provider: &Provider, fault: Option<Fault>) -> Result<Vec<Value>, KeyError> {
    if let Some(key) = replacement(fault)? {
        return Ok(vec![key.jwk()]);
    }
    let mut keys: Vec<Value> = provider.with_keys(|keys| keys.published().iter().map(|key| key.jwk()).collect());
    if fault == Some(Fault::JwksSymmetricKey) {
        let secret = URL_SAFE_NO_PAD.encode(SYMMETRIC_KEY);
        keys.push(json!({"kty": "oct", "k": secret, "kid": SYMMETRIC_KEY_ID, "use": "sig", "alg": "HS256"}));
    }
    Ok(keys)
}

/// The key that takes the place of the provider's own under the fault.
fn replacement(fault: Option<Fault>) -> Result<Option<SigningKey>, KeyError> {
    match fault {
        Some(Fault::RsaTooWeak) => SigningKey::weak_rsa().map(Some),
        Some(Fault::RsaLongest) => SigningKey::longest_rsa().map(Some),
        Some(Fault::RsaTooLarge) => SigningKey::large_rsa().map(Some),
        Some(Fault::Hs256PublicKey) => SigningKey::known_rsa().map(Some),
        _ => Ok(None),
    }
}

enum Signature {
    None,
    By(Arc<SigningKey>),
    Broken(Arc<SigningKey>),
    Hmac(Vec<u8>),
}

/// The payload as a signed compact JWS.
pub(crate) fn sign(
    provider: &Provider,
    client: &Client,
    payload: &str,
    fault: Option<Fault>,
) -> Result<String, KeyError> {
    let key = match replacement(fault)? {
        Some(key) => Arc::new(key),
        None => provider.with_keys(KeyRing::current),
    };
    let stranger = provider.with_keys(KeyRing::stranger);
    let mut header = json!({"alg": key.algorithm.name(), "kid": key.id, "typ": "JWT"});
    let signature = match fault {
        Some(Fault::SignatureBroken) => Signature::Broken(key),
        Some(Fault::SignatureByStranger) => Signature::By(stranger),
        Some(Fault::AlgNone) => {
            header["alg"] = json!("none");
            Signature::None
        }
        Some(Fault::AlgNoneMixedCase) => {
            header["alg"] = json!("nOnE");
            Signature::None
        }
        Some(Fault::Hs256PublicKey) => {
            header["alg"] = json!("HS256");
            Signature::Hmac(RSA_PUBLIC_PEM.to_vec())
        }
        Some(Fault::Hs256ClientSecret) => {
            header = json!({"alg": "HS256", "typ": "JWT"});
            Signature::Hmac(client.secret().unwrap_or_default().as_bytes().to_vec())
        }
        Some(Fault::JwksSymmetricKey) => {
            header["alg"] = json!("HS256");
            header["kid"] = json!(SYMMETRIC_KEY_ID);
            Signature::Hmac(SYMMETRIC_KEY.to_vec())
        }
        Some(Fault::EmbeddedJwk) => {
            header["jwk"] = stranger.jwk();
            header["kid"] = json!(stranger.id);
            Signature::By(stranger)
        }
        Some(Fault::JkuHeader) => {
            header["jku"] = json!(format!("{}/trap/stranger-jwks", provider.issuer));
            header["kid"] = json!(stranger.id);
            Signature::By(stranger)
        }
        Some(Fault::CritHeader) => {
            header["crit"] = json!(["https://devidp.invalid/must-be-understood"]);
            header["https://devidp.invalid/must-be-understood"] = json!(true);
            Signature::By(key)
        }
        Some(Fault::UnknownKeyId) => {
            header["kid"] = json!(format!("unknown-{}", provider.next_serial()));
            Signature::By(key)
        }
        Some(Fault::NoKeyId) => {
            header = json!({"alg": key.algorithm.name(), "typ": "JWT"});
            Signature::By(key)
        }
        _ => Signature::By(key),
    };
    let mut header = header.to_string();
    if fault == Some(Fault::HeaderDuplicateKeys) {
        header = with_duplicate(&header, "alg", "none");
    }
    serialize(&header, payload, signature)
}

fn serialize(header: &str, payload: &str, signature: Signature) -> Result<String, KeyError> {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let message = signed.as_bytes();
    let bytes = match signature {
        Signature::None => Vec::new(),
        Signature::By(key) => key.sign(message)?,
        Signature::Broken(key) => {
            let mut bytes = key.sign(message)?;
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            bytes
        }
        Signature::Hmac(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message).as_ref().to_vec(),
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes)))
}
