//! Signing keys and their published halves. EC and Ed25519 keys are made at start; RSA keys are the public test keys
//! of `keys/`, because ring does not make RSA keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use std::sync::Arc;

const RSA_OWN: [&[u8]; 2] = [include_bytes!("../keys/rsa-2048-a.der"), include_bytes!("../keys/rsa-2048-b.der")];
const RSA_STRANGER: &[u8] = include_bytes!("../keys/rsa-2048-stranger.der");
const RSA_WEAK: &[u8] = include_bytes!("../keys/rsa-1024.der");
const RSA_LONGEST: &[u8] = include_bytes!("../keys/rsa-8192.der");
const RSA_LARGE: &[u8] = include_bytes!("../keys/rsa-8200.der");
/// The public half of the first of the provider's RSA keys, as a careless verifier would hold it.
pub(crate) const RSA_PUBLIC_PEM: &[u8] = include_bytes!("../keys/rsa-2048-a.pub.pem");

/// What precedes a SHA-256 digest in an RSA PKCS#1 v1.5 signature (RFC 8017 section 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// A signature algorithm for ID tokens (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256
    #[default]
    #[value(name = "RS256")]
    Rs256,
    /// RSA PSS with SHA-256
    #[value(name = "PS256")]
    Ps256,
    /// ECDSA on P-256 with SHA-256
    #[value(name = "ES256")]
    Es256,
    /// Ed25519
    #[value(name = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Its name in a JOSE header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// How [`crate::DevIdp::rotate_keys`] changes the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// A new key signs; the old ones stay published.
    Add,
    /// A new key signs; the old ones vanish.
    Replace,
    /// A new key signs under the key id of the old one, which vanishes.
    SameKeyId,
}

/// A key could not be made or could not sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a usable private key.
    #[error("the key was rejected: {0}")]
    Rejected(String),
    /// The system's random source or the signing operation failed.
    #[error("making a key or a signature failed")]
    Failed,
}

impl From<ring::error::KeyRejected> for KeyError {
    fn from(rejected: ring::error::KeyRejected) -> Self {
        Self::Rejected(rejected.to_string())
    }
}

impl From<ring::error::Unspecified> for KeyError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self::Failed
    }
}

enum Pair {
    Rsa(RsaKeyPair),
    OddRsa(Box<rsa::RsaPrivateKey>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A private key with the id and the algorithm it signs under.
pub(crate) struct SigningKey {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    pair: Pair,
}

impl SigningKey {
    fn make(algorithm: Algorithm, id: String, rsa: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => Pair::Rsa(RsaKeyPair::from_pkcs8(rsa)?),
            Algorithm::Es256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
                Pair::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)?)
            }
            Algorithm::EdDsa => {
                Pair::Ed(Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random)?.as_ref())?)
            }
        };
        Ok(Self { id, algorithm, pair })
    }

    /// The RS256 key whose public half is [`RSA_PUBLIC_PEM`].
    pub(crate) fn known_rsa() -> Result<Self, KeyError> {
        Self::make(Algorithm::Rs256, "rsa-known".to_owned(), RSA_OWN[0])
    }

    /// An RS256 key of 1024 bits.
    pub(crate) fn weak_rsa() -> Result<Self, KeyError> {
        Self::odd_rsa("rsa-1024", RSA_WEAK)
    }

    /// An RS256 key of 8192 bits.
    pub(crate) fn longest_rsa() -> Result<Self, KeyError> {
        Self::odd_rsa("rsa-8192", RSA_LONGEST)
    }

    /// An RS256 key of 8200 bits.
    pub(crate) fn large_rsa() -> Result<Self, KeyError> {
        Self::odd_rsa("rsa-8200", RSA_LARGE)
    }

    fn odd_rsa(id: &str, der: &[u8]) -> Result<Self, KeyError> {
        let key = rsa::RsaPrivateKey::from_pkcs8_der(der).map_err(|error| KeyError::Rejected(error.to_string()))?;
        Ok(Self { id: id.to_owned(), algorithm: Algorithm::Rs256, pair: Pair::OddRsa(Box::new(key)) })
    }

    /// The signature over `message`, as it stands in a JWS before base64url.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn ring::signature::RsaEncoding =
                    if self.algorithm == Algorithm::Ps256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)?;
                Ok(signature)
            }
            Pair::OddRsa(key) => {
                let mut digest_info = SHA256_DIGEST_INFO.to_vec();
                digest_info.extend_from_slice(ring::digest::digest(&ring::digest::SHA256, message).as_ref());
                key.sign(rsa::Pkcs1v15Sign::new_unprefixed(), &digest_info).map_err(|_| KeyError::Failed)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// The published half (RFC 7517), with `use` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let base64url = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": base64url(&public.n), "e": base64url(&public.e)})
            }
            Pair::OddRsa(key) => {
                json!({"kty": "RSA", "n": base64url(&key.n().to_bytes_be()), "e": base64url(&key.e().to_bytes_be())})
            }
            Pair::Ec(pair) => {
                // an uncompressed point: the byte 4, then 32 bytes of x and 32 of y
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())}),
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.name());
        jwk
    }
}

/// The provider's keys; the newest signs.
pub(crate) struct KeyRing {
    algorithm: Algorithm,
    serial: usize,
    published: Vec<Arc<SigningKey>>,
    current: Arc<SigningKey>,
    stranger: Arc<SigningKey>,
}

impl KeyRing {
    pub(crate) fn new(algorithm: Algorithm) -> Result<Self, KeyError> {
        let current = Self::key(algorithm, 1, format!("{}-1", algorithm.name().to_ascii_lowercase()))?;
        let stranger = Arc::new(SigningKey::make(algorithm, "stranger".to_owned(), RSA_STRANGER)?);
        Ok(Self { algorithm, serial: 1, published: vec![Arc::clone(&current)], current, stranger })
    }

    fn key(algorithm: Algorithm, serial: usize, id: String) -> Result<Arc<SigningKey>, KeyError> {
        // RSA keys come round again, under new ids
        Ok(Arc::new(SigningKey::make(algorithm, id, RSA_OWN[(serial - 1) % RSA_OWN.len()])?))
    }

    pub(crate) fn rotate(&mut self, rotation: Rotation) -> Result<(), KeyError> {
        let serial = self.serial + 1;
        let id = match rotation {
            Rotation::SameKeyId => self.current.id.clone(),
            Rotation::Add | Rotation::Replace => format!("{}-{serial}", self.algorithm.name().to_ascii_lowercase()),
        };
        let key = Self::key(self.algorithm, serial, id)?;
        match rotation {
            Rotation::Add => {}
            Rotation::Replace => self.published.clear(),
            Rotation::SameKeyId => self.published.retain(|published| published.id != key.id),
        }
        self.serial = serial;
        self.published.insert(0, Arc::clone(&key));
        self.current = key;
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.current)
    }

    /// The key of somebody else, never published as the provider's.
    pub(crate) fn stranger(&self) -> Arc<SigningKey> {
        Arc::clone(&self.stranger)
    }

    pub(crate) fn published(&self) -> Vec<Arc<SigningKey>> {
        self.published.clone()
    }
}
