//! The claims of an ID token (OpenID Connect Core 1.0 section 2) and what the faults make of them.

use crate::account::Account;
use crate::answer::with_duplicate;
use crate::client::Client;
use crate::discovery::other_issuer;
use crate::fault::Fault;
use crate::jose;
use crate::keys::KeyError;
use crate::profile::{self, Document};
use crate::state::{Grant, Provider, now_seconds};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// The ID token for a redeemed code, signed and serialized.
pub(crate) fn mint(
    provider: &Provider,
    grant: &Grant,
    account: &Account,
    client: &Client,
    access_token: &str,
    fault: Option<Fault>,
) -> Result<String, KeyError> {
    let mut claims = profile::claims(account, &grant.scope, Document::IdToken, provider.claims_in, fault);
    let now = now_seconds();
    let standard = json!({
        "iss": provider.issuer,
        "sub": account.subject,
        "aud": client.id,
        "iat": now,
        "exp": now + provider.id_token_ttl_seconds,
        "at_hash": access_token_hash(access_token),
    });
    if let Value::Object(standard) = standard {
        claims.extend(standard);
    }
    if let Some(nonce) = &grant.nonce {
        claims.insert("nonce".to_owned(), json!(nonce));
    }
    if let Some(fault) = fault {
        spoil_parties(&mut claims, fault, &provider.issuer, &client.id);
        spoil_times(&mut claims, fault, now, provider.id_token_ttl_seconds);
        spoil_binding(&mut claims, fault);
    }
    let mut payload = Value::Object(claims).to_string();
    if fault == Some(Fault::PayloadDuplicateKeys) {
        payload = with_duplicate(&payload, "sub", "mallory-1");
    }
    jose::sign(provider, client, &payload, fault)
}

/// The left half of the hash (section 3.1.3.6). All four algorithms get SHA-256: for `EdDSA` the specification names
/// no hash.
fn access_token_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, access_token.as_bytes()).as_ref()[..16])
}

fn spoil_parties(claims: &mut Map<String, Value>, fault: Fault, issuer: &str, client_id: &str) {
    match fault {
        Fault::WrongIssuer => set(claims, "iss", json!(other_issuer(issuer))),
        Fault::WrongAudience => set(claims, "aud", json!("somebody-else")),
        Fault::MissingAudience => remove(claims, "aud"),
        Fault::ManyAudiencesNoAzp => set(claims, "aud", json!([client_id, "somebody-else"])),
        Fault::WrongAzp => set(claims, "azp", json!("somebody-else")),
        Fault::MissingSubject => remove(claims, "sub"),
        Fault::EmptySubject => set(claims, "sub", json!("")),
        Fault::SubjectNotAText => set(claims, "sub", json!(1)),
        Fault::SubjectTooLong => set(claims, "sub", json!("x".repeat(300))),
        _ => {}
    }
}

fn spoil_times(claims: &mut Map<String, Value>, fault: Fault, now: i64, ttl_seconds: i64) {
    match fault {
        Fault::MissingExpiry => remove(claims, "exp"),
        Fault::Expired => {
            set(claims, "iat", json!(now - HOUR_SECONDS - ttl_seconds));
            set(claims, "exp", json!(now - HOUR_SECONDS));
        }
        Fault::ExpiryNotANumber => set(claims, "exp", json!((now + ttl_seconds).to_string())),
        Fault::MissingIssuedAt => remove(claims, "iat"),
        Fault::IssuedInFuture => {
            set(claims, "iat", json!(now + DAY_SECONDS));
            set(claims, "exp", json!(now + DAY_SECONDS + ttl_seconds));
        }
        Fault::NotYetValid => {
            set(claims, "nbf", json!(now + DAY_SECONDS));
            set(claims, "exp", json!(now + DAY_SECONDS + ttl_seconds));
        }
        _ => {}
    }
}

fn spoil_binding(claims: &mut Map<String, Value>, fault: Fault) {
    match fault {
        Fault::WrongNonce => set(claims, "nonce", json!("another-nonce")),
        Fault::MissingNonce => remove(claims, "nonce"),
        Fault::WrongAccessTokenHash => set(claims, "at_hash", json!(access_token_hash("another-access-token"))),
        _ => {}
    }
}

fn set(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

fn remove(claims: &mut Map<String, Value>, name: &str) {
    claims.remove(name);
}
