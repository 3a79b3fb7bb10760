//! Verifying an ID token (OIDC Core, section 3.1.3.7; RFC 8725).
//!
//! The signatures are the `openidconnect` crate's. Its claims verifier is not used: it does not look at
//! `azp`, ignores `jwk`, `jku` and `x5u`, does not bound subjects or keys, reads the claims before the
//! signature, and refuses a whole token for a claim of no importance (an `updated_at` in words, which
//! some large providers send). So the rules are here, one function each, in the order of the section.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use openidconnect::AccessToken;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::claims::Claims;
use super::error::IdTokenProblem;
use super::json::read_object;
use super::keys::{Algorithm, SigningKey, select};

/// How far the provider's clock may be ahead of ours, in seconds: for `iat` and `nbf`. `exp` has no grace.
pub(super) const MAX_CLOCK_SKEW_SECONDS: i64 = 60;

/// Longest `sub`, in characters (Core, section 2).
const MAX_SUBJECT_CHARS: usize = 255;

/// Longest `kid` looked for, in bytes.
const MAX_KEY_ID_BYTES: usize = 256;

/// What an ID token must say to be the answer to this request.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) access_token: &'a AccessToken,
    pub(super) now: DateTime<Utc>,
}

/// An ID token whose header is acceptable and whose signature has not been looked at.
#[derive(Debug)]
pub(super) struct UnverifiedToken<'a> {
    signing_input: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart and judges its header.
    pub(super) fn parse(token: &'a str) -> Result<Self, IdTokenProblem> {
        let not_three = IdTokenProblem::Malformed("it has not three parts");
        let (signing_input, signature) = token.rsplit_once('.').ok_or(not_three)?;
        let not_three = IdTokenProblem::Malformed("it has not three parts");
        let (header, payload) = signing_input.split_once('.').ok_or(not_three)?;
        if payload.contains('.') {
            return Err(IdTokenProblem::Malformed("it has not three parts"));
        }
        let header = read_object(&decode(header)?).map_err(IdTokenProblem::Json)?;
        Ok(Self {
            signing_input,
            payload,
            signature: decode(signature)?,
            algorithm: check_header(&header)?,
            key_id: key_id(&header)?,
        })
    }

    /// Verifies the signature, then the claims.
    pub(super) fn verify(&self, keys: &[SigningKey], expected: &Expected<'_>) -> Result<VerifiedToken, IdTokenProblem> {
        let key = select(keys, self.key_id.as_deref(), &self.algorithm)?;
        key.verify(&self.algorithm, self.signing_input.as_bytes(), &self.signature)?;
        let claims = read_object(&decode(self.payload)?).map_err(IdTokenProblem::Json)?;
        check_issuer(&claims, expected.issuer)?;
        check_audience(&claims, expected.client_id)?;
        check_times(&claims, expected.now.timestamp())?;
        check_nonce(&claims, expected.nonce)?;
        // It may be left out in the code flow (section 3.1.3.6); a wrong one is another answer's.
        let is_right = |hash: &str| key.is_hash_of(expected.access_token, &self.algorithm, hash);
        if claims.get("at_hash").is_some_and(|hash| !hash.as_str().is_some_and(is_right)) {
            return Err(IdTokenProblem::Claim("at_hash"));
        }
        Ok(VerifiedToken { subject: subject(&claims)?.to_owned(), claims })
    }
}

/// The claims of an ID token that has passed every check.
#[derive(Debug)]
pub(super) struct VerifiedToken {
    pub(super) subject: String,
    pub(super) claims: Claims,
}

fn decode(part: &str) -> Result<Vec<u8>, IdTokenProblem> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| IdTokenProblem::Malformed("a part is not base64url"))
}

fn check_header(header: &Claims) -> Result<Algorithm, IdTokenProblem> {
    // Each would change what is verified, or with which key. `b64` and `zip` mean something only with
    // `crit` or encryption; `x5c` and thumbprints are left unread.
    for refused in ["crit", "jwk", "jku", "x5u", "cty", "enc"] {
        if header.contains_key(refused) {
            return Err(IdTokenProblem::HeaderParameter(refused));
        }
    }
    // An access token (`at+jwt`) or a logout token of the same provider is no ID token (RFC 8725, 3.11).
    let is_jwt = match header.get("typ") {
        None => true,
        Some(Value::String(kind)) => {
            let kind = kind.to_ascii_lowercase();
            matches!(kind.as_str(), "jwt" | "application/jwt" | "jose" | "application/jose")
        }
        Some(_) => false,
    };
    if !is_jwt {
        return Err(IdTokenProblem::HeaderParameter("typ"));
    }
    let Some(Value::String(name)) = header.get("alg") else {
        return Err(IdTokenProblem::HeaderParameter("alg"));
    };
    Algorithm::named(name).ok_or_else(|| IdTokenProblem::Algorithm(name.chars().take(32).collect()))
}

fn key_id(header: &Claims) -> Result<Option<String>, IdTokenProblem> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(id)) if id.len() <= MAX_KEY_ID_BYTES => Ok(Some(id.clone())),
        Some(_) => Err(IdTokenProblem::HeaderParameter("kid")),
    }
}

fn required<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a Value, IdTokenProblem> {
    claims.get(name).ok_or(IdTokenProblem::MissingClaim(name))
}

fn check_issuer(claims: &Claims, issuer: &str) -> Result<(), IdTokenProblem> {
    match required(claims, "iss")?.as_str() {
        Some(found) if found == issuer => Ok(()),
        _ => Err(IdTokenProblem::Claim("iss")),
    }
}

/// `aud` must name this client; several audiences need `azp`; an `azp` must name this client, too.
fn check_audience(claims: &Claims, client_id: &str) -> Result<(), IdTokenProblem> {
    let audiences = match required(claims, "aud")? {
        one @ Value::String(_) => std::slice::from_ref(one),
        Value::Array(several) => several.as_slice(),
        _ => return Err(IdTokenProblem::Claim("aud")),
    };
    let all_texts = audiences.iter().all(Value::is_string);
    if !all_texts || !audiences.iter().any(|audience| audience == client_id) {
        return Err(IdTokenProblem::Claim("aud"));
    }
    match claims.get("azp") {
        None if audiences.len() > 1 => Err(IdTokenProblem::MissingClaim("azp")),
        None => Ok(()),
        Some(party) if party == client_id => Ok(()),
        Some(_) => Err(IdTokenProblem::Claim("azp")),
    }
}

fn check_times(claims: &Claims, now: i64) -> Result<(), IdTokenProblem> {
    let latest_start = now.saturating_add(MAX_CLOCK_SKEW_SECONDS);
    if seconds("exp", required(claims, "exp")?)? <= now {
        return Err(IdTokenProblem::Expired);
    }
    if seconds("iat", required(claims, "iat")?)? > latest_start {
        return Err(IdTokenProblem::NotYetValid);
    }
    match claims.get("nbf") {
        Some(start) if seconds("nbf", start)? > latest_start => Err(IdTokenProblem::NotYetValid),
        _ => Ok(()),
    }
}

/// A number of seconds since 1970 (RFC 7519, section 2), a fraction rounded down.
fn seconds(name: &'static str, value: &Value) -> Result<i64, IdTokenProblem> {
    let Value::Number(number) = value else {
        return Err(IdTokenProblem::Claim(name));
    };
    if let Some(whole) = number.as_i64() {
        return Ok(whole);
    }
    let number = number.as_f64().ok_or(IdTokenProblem::Claim(name))?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and that far away is far enough")]
    Ok(number.floor() as i64)
}

fn check_nonce(claims: &Claims, nonce: &str) -> Result<(), IdTokenProblem> {
    let found = required(claims, "nonce")?.as_str();
    // Digests are compared, so that the time taken says nothing about the nonce.
    match found {
        Some(found) if Sha256::digest(found) == Sha256::digest(nonce) => Ok(()),
        _ => Err(IdTokenProblem::Claim("nonce")),
    }
}

fn subject(claims: &Claims) -> Result<&str, IdTokenProblem> {
    let subject = required(claims, "sub")?.as_str();
    subject
        .filter(|subject| (1..=MAX_SUBJECT_CHARS).contains(&subject.len()))
        .filter(|subject| subject.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        .ok_or(IdTokenProblem::Claim("sub"))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
