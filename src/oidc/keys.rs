//! The provider's published keys: which are admitted, and which one a token must be verified with.
//!
//! A key is admitted only if it could verify an ID token soundly; everything else in the set (keys for
//! encryption, symmetric keys, weak or odd ones) is as if it were not there. A token's `alg` picks among
//! keys of that algorithm's own type and curve, so a public key is never used as anything else.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessToken, AccessTokenHash, JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyUse, SignatureVerificationError,
};
use ring::signature as ring_signature;
use ring::signature::{RsaParameters, RsaPublicKeyComponents};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::IdTokenProblem;

/// Shortest RSA modulus admitted, in bits.
const MIN_RSA_BITS: usize = 2048;

/// Longest RSA modulus admitted, in bits.
const MAX_RSA_BITS: usize = 8192;

/// The accepted algorithms: asymmetric ones only.
const ALGORITHMS: [(&str, CoreJwsSigningAlgorithm, Shape); 9] = {
    use CoreJwsSigningAlgorithm as A;
    [
        ("RS256", A::RsaSsaPkcs1V15Sha256, Shape::Rsa),
        ("RS384", A::RsaSsaPkcs1V15Sha384, Shape::Rsa),
        ("RS512", A::RsaSsaPkcs1V15Sha512, Shape::Rsa),
        ("PS256", A::RsaSsaPssSha256, Shape::Rsa),
        ("PS384", A::RsaSsaPssSha384, Shape::Rsa),
        ("PS512", A::RsaSsaPssSha512, Shape::Rsa),
        ("ES256", A::EcdsaP256Sha256, Shape::P256),
        ("ES384", A::EcdsaP384Sha384, Shape::P384),
        ("EdDSA", A::EdDsa, Shape::Ed25519),
    ]
};

/// What kind of key an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// One accepted algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Algorithm {
    jws: CoreJwsSigningAlgorithm,
    shape: Shape,
}

impl Algorithm {
    /// The algorithm of this name (RFC 7518, section 3.1; RFC 8037), if it is accepted.
    pub(super) fn named(name: &str) -> Option<Self> {
        ALGORITHMS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, jws, shape)| Self { jws: jws.clone(), shape: *shape })
    }

    /// Whether this algorithm of a discovery document is an accepted one.
    pub(super) fn is_accepted(jws: &CoreJwsSigningAlgorithm) -> bool {
        ALGORITHMS.iter().any(|(_, known, _)| known == jws)
    }
}

/// A published key that may verify ID tokens.
#[derive(Clone, Debug)]
pub(super) struct SigningKey {
    key: CoreJsonWebKey,
    shape: Shape,
    /// The numbers of an RSA key.
    rsa: Option<RsaNumbers>,
}

/// Modulus and exponent of an RSA key, without leading zeros.
type RsaNumbers = RsaPublicKeyComponents<Vec<u8>>;

impl SigningKey {
    /// Admits a key, or not.
    pub(super) fn admit(key: &CoreJsonWebKey) -> Option<Self> {
        if key.key_use().is_some_and(|usage| !usage.allows_signature()) {
            return None;
        }
        if matches!(key.signing_alg(), JsonWebKeyAlgorithm::Unsupported) {
            return None;
        }
        // The crate keeps the numbers to itself; written out, they can be measured.
        let written = serde_json::to_value(key).ok()?;
        let shape = shape_of(&written)?;
        let rsa = if shape == Shape::Rsa { Some(sound_rsa(&written)?) } else { None };
        Some(Self { key: key.clone(), shape, rsa })
    }

    /// Verifies a signature.
    ///
    /// RSA by `ring`: the crate below `openidconnect` stops at 4096 bits.
    pub(super) fn verify(&self, algorithm: &Algorithm, message: &[u8], signature: &[u8]) -> Result<(), IdTokenProblem> {
        let verified = match (&self.rsa, rsa_parameters(&algorithm.jws)) {
            (Some(numbers), Some(parameters)) => numbers
                .verify(parameters, message, signature)
                .map_err(|_| SignatureVerificationError::CryptoError("bad signature".to_owned())),
            _ => self.key.verify_signature(&algorithm.jws, message, signature),
        };
        verified.map_err(IdTokenProblem::Signature)
    }

    /// Whether this is the `at_hash` of an access token (OIDC Core, section 3.1.3.6).
    ///
    /// For `EdDSA` no document names the hash: most take Ed25519's own SHA-512, some SHA-256.
    pub(super) fn is_hash_of(&self, token: &AccessToken, algorithm: &Algorithm, hash: &str) -> bool {
        let expected = AccessTokenHash::from_token(token, &algorithm.jws, &self.key);
        let by_the_algorithm = expected.is_ok_and(|expected| expected.as_str() == hash);
        let left_half = &Sha256::digest(token.secret())[..16];
        let by_sha256 = BASE64_URL_SAFE_NO_PAD.encode(left_half) == hash;
        by_the_algorithm || (self.shape == Shape::Ed25519 && by_sha256)
    }

    fn fits(&self, algorithm: &Algorithm) -> bool {
        let bound_elsewhere = matches!(
            self.key.signing_alg(),
            JsonWebKeyAlgorithm::Algorithm(bound) if *bound != algorithm.jws
        );
        self.shape == algorithm.shape && !bound_elsewhere
    }
}

/// The keys of a set that are admitted.
pub(super) fn admitted(set: &CoreJsonWebKeySet) -> Vec<SigningKey> {
    set.keys().iter().filter_map(SigningKey::admit).collect()
}

/// The one key for a token's `kid` and `alg` (OIDC Core, section 10.1).
pub(super) fn select<'keys>(
    keys: &'keys [SigningKey],
    key_id: Option<&str>,
    algorithm: &Algorithm,
) -> Result<&'keys SigningKey, IdTokenProblem> {
    let has_id =
        |key: &&SigningKey| key_id.is_none_or(|wanted| key.key.key_id().is_some_and(|id| id.as_str() == wanted));
    let mut fitting = keys.iter().filter(has_id).filter(|key| key.fits(algorithm));
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => Err(IdTokenProblem::AmbiguousKey),
        (None, _) => Err(IdTokenProblem::UnknownKey(key_id.map(str::to_owned))),
    }
}

/// The kind of a key that is written out, if the points on its curve are of the right length.
fn shape_of(written: &Value) -> Option<Shape> {
    let text = |name: &str| written.get(name)?.as_str();
    let is_long = |name: &str, bytes| number(written, name).is_some_and(|number| number.len() == bytes);
    match (text("kty")?, text("crv")) {
        ("RSA", _) => Some(Shape::Rsa),
        ("EC", Some("P-256")) => (is_long("x", 32) && is_long("y", 32)).then_some(Shape::P256),
        ("EC", Some("P-384")) => (is_long("x", 48) && is_long("y", 48)).then_some(Shape::P384),
        ("OKP", Some("Ed25519")) => is_long("x", 32).then_some(Shape::Ed25519),
        _ => None,
    }
}

/// The numbers of an RSA key that is written out, if they are neither weak nor odd.
fn sound_rsa(written: &Value) -> Option<RsaNumbers> {
    let numbers = RsaNumbers { n: significant(&number(written, "n")?), e: significant(&number(written, "e")?) };
    let sound = (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(&numbers.n)) && is_sound(&numbers.e);
    sound.then_some(numbers)
}

/// How `ring` verifies by this algorithm, if it is one of RSA (RFC 7518, sections 3.3 and 3.5).
fn rsa_parameters(jws: &CoreJwsSigningAlgorithm) -> Option<&'static RsaParameters> {
    use CoreJwsSigningAlgorithm as A;
    Some(match jws {
        A::RsaSsaPkcs1V15Sha256 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
        A::RsaSsaPkcs1V15Sha384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
        A::RsaSsaPkcs1V15Sha512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
        A::RsaSsaPssSha256 => &ring_signature::RSA_PSS_2048_8192_SHA256,
        A::RsaSsaPssSha384 => &ring_signature::RSA_PSS_2048_8192_SHA384,
        A::RsaSsaPssSha512 => &ring_signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// A member of a key that is written out: big-endian bytes (RFC 7518, section 6).
fn number(written: &Value, name: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(written.get(name)?.as_str()?).ok()
}

/// Odd, at least 3, and short: with an exponent of 1 every message is its own signature.
fn is_sound(exponent: &[u8]) -> bool {
    (2..=33).contains(&bits(exponent)) && exponent.last().is_some_and(|byte| byte % 2 == 1)
}

/// The number without leading zeros.
fn significant(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// The length of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use openidconnect::JsonWebKey;
    use ring::rand::SystemRandom;
    use ring::signature::{self, RsaEncoding, RsaKeyPair};
    use serde_json::{Value, json};

    use super::{Algorithm, Shape, SigningKey, admitted, select};
    use crate::oidc::error::IdTokenProblem;

    fn number(bytes: usize, first: u8) -> String {
        let mut number = vec![first; 1];
        number.resize(bytes, 0xff);
        BASE64_URL_SAFE_NO_PAD.encode(number)
    }

    fn rsa(bytes: usize, first: u8) -> Value {
        json!({"kty": "RSA", "kid": "r", "n": number(bytes, first), "e": "AQAB"})
    }

    fn shape(key: Value) -> Option<Shape> {
        let key = serde_json::from_value(key).ok()?;
        SigningKey::admit(&key).map(|key| key.shape)
    }

    fn with(mut key: Value, name: &str, value: &str) -> Value {
        key[name] = json!(value);
        key
    }

    #[test]
    fn rsa_keys_are_admitted_from_2048_to_8192_bits() {
        assert_eq!(shape(rsa(256, 0x80)), Some(Shape::Rsa));
        assert_eq!(shape(rsa(1024, 0xff)), Some(Shape::Rsa));
        assert_eq!(shape(rsa(256, 0x7f)), None, "2047 bits");
        assert_eq!(shape(rsa(257, 0x00)), Some(Shape::Rsa), "a leading zero is none of them");
        assert_eq!(shape(rsa(256, 0x00)), None, "padded up to 2048 bits");
        assert_eq!(shape(rsa(128, 0xff)), None, "1024 bits");
        assert_eq!(shape(rsa(1025, 0x01)), None, "8193 bits");
        assert_eq!(shape(json!({"kty": "RSA", "e": "AQAB"})), None);
    }

    #[test]
    fn each_rsa_algorithm_verifies_its_own_signatures_and_those_of_no_other() {
        let signer = RsaKeyPair::from_pkcs8(include_bytes!("../../tests/devidp/keys/rsa-2048-a.der")).unwrap();
        let public: signature::RsaPublicKeyComponents<Vec<u8>> = signer.public().into();
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode([&[0_u8][..], bytes].concat());
        let key = json!({"kty": "RSA", "n": number(&public.n), "e": number(&public.e)});
        let key = SigningKey::admit(&serde_json::from_value(key).unwrap()).unwrap();
        let encodings: [(&str, &dyn RsaEncoding); 6] = [
            ("RS256", &signature::RSA_PKCS1_SHA256),
            ("RS384", &signature::RSA_PKCS1_SHA384),
            ("RS512", &signature::RSA_PKCS1_SHA512),
            ("PS256", &signature::RSA_PSS_SHA256),
            ("PS384", &signature::RSA_PSS_SHA384),
            ("PS512", &signature::RSA_PSS_SHA512),
        ];
        for (signed_by, encoding) in encodings {
            let mut signature = vec![0; signer.public().modulus_len()];
            signer.sign(encoding, &SystemRandom::new(), b"message", &mut signature).unwrap();
            for (name, _) in encodings {
                let algorithm = Algorithm::named(name).unwrap();
                let verified = key.verify(&algorithm, b"message", &signature).is_ok();
                assert_eq!(verified, name == signed_by, "{signed_by} as {name}");
                // The other implementation there is, of a key that both take.
                let elsewhere = key.key.verify_signature(&algorithm.jws, b"message", &signature);
                assert_eq!(elsewhere.is_ok(), verified, "{signed_by} as {name}");
                assert!(key.verify(&algorithm, b"another", &signature).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn rsa_keys_with_an_unsound_exponent_are_not_admitted() {
        for exponent in ["", "AA", "AQ", "Ag", "AQAA", "AQAAAAAB__8"] {
            assert_eq!(shape(with(rsa(256, 0x80), "e", exponent)), None, "{exponent}");
        }
        assert_eq!(shape(with(rsa(256, 0x80), "e", "Aw")), Some(Shape::Rsa));
    }

    #[test]
    fn curves_are_told_apart_and_others_not_admitted() {
        let ec = |crv: &str, bytes| json!({"kty": "EC", "crv": crv, "x": number(bytes, 1), "y": number(bytes, 1)});
        assert_eq!(shape(ec("P-256", 32)), Some(Shape::P256));
        assert_eq!(shape(ec("P-384", 48)), Some(Shape::P384));
        assert_eq!(shape(ec("P-256", 48)), None);
        assert_eq!(shape(ec("P-521", 66)), None);
        let okp = |crv: &str, bytes| json!({"kty": "OKP", "crv": crv, "x": number(bytes, 1)});
        assert_eq!(shape(okp("Ed25519", 32)), Some(Shape::Ed25519));
        assert_eq!(shape(okp("Ed25519", 31)), None);
        assert_eq!(shape(okp("Ed448", 57)), None);
    }

    #[test]
    fn symmetric_keys_and_keys_for_encryption_are_not_admitted() {
        assert_eq!(shape(json!({"kty": "oct", "k": "c2VjcmV0"})), None);
        assert_eq!(shape(with(rsa(256, 0x80), "use", "enc")), None);
        assert_eq!(shape(with(rsa(256, 0x80), "alg", "RSA-OAEP")), None);
        assert_eq!(shape(with(rsa(256, 0x80), "use", "sig")), Some(Shape::Rsa));
    }

    #[test]
    fn only_asymmetric_algorithms_have_a_name_here() {
        for name in ["none", "None", "HS256", "HS384", "HS512", "ES512", "rs256", "", "ES256K"] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
        for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
            assert!(Algorithm::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_key_is_selected_by_id_and_by_what_the_algorithm_needs() {
        let okp = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": number(32, 1), "kid": kid});
        let set = json!({"keys": [
            rsa(256, 0x80),
            with(with(rsa(256, 0x80), "kid", "ps"), "alg", "PS256"),
            okp("one"),
            okp("two"),
            {"kty": "unheard-of"},
        ]});
        let keys = admitted(&serde_json::from_value(set).unwrap());
        assert_eq!(keys.len(), 4);
        let selected = |kid: Option<&str>, alg: &str| {
            select(&keys, kid, &Algorithm::named(alg).unwrap()).map(|key| key.key.key_id().unwrap().to_string())
        };
        assert_eq!(selected(Some("two"), "EdDSA").unwrap(), "two");
        assert_eq!(selected(Some("ps"), "PS256").unwrap(), "ps");
        assert_eq!(selected(None, "RS256").unwrap(), "r", "the other is bound to PS256");
        for (kid, alg) in [
            (Some("ps"), "RS256"),
            (Some("r"), "EdDSA"),
            (Some("r"), "ES256"),
            (Some("three"), "EdDSA"),
            (None, "ES384"),
        ] {
            assert!(matches!(selected(kid, alg), Err(IdTokenProblem::UnknownKey(_))));
        }
        assert!(matches!(selected(None, "EdDSA"), Err(IdTokenProblem::AmbiguousKey)));
    }
}
