//! Keyed hashes: what an address or an identity is called where it must be found but not read.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The block of SHA-256: HMAC fills a shorter key up with zeros (RFC 2104, section 2).
const BLOCK_BYTES: usize = 64;

/// HMAC-SHA256 under a key of the instance, which never changes.
///
/// What is hashed are a domain and its parts, each with its length before it, so that no two different things are ever one
/// message.
#[derive(Clone)]
pub struct KeyedHasher(Hmac<Sha256>);

impl KeyedHasher {
    pub fn new(key: &[u8; 32]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// The hash of an address in its normal form, in hex.
    pub fn address(&self, normal_form: &str) -> String {
        self.hash(&["authlog address", normal_form])
    }

    /// The hash of an identity, in hex.
    pub fn identity(&self, issuer: &str, subject: &str) -> String {
        self.hash(&["authlog identity", issuer, subject])
    }

    /// The hash of a subject at whichever issuer, in hex.
    pub fn subject(&self, subject: &str) -> String {
        self.hash(&["authlog subject", subject])
    }

    fn hash(&self, parts: &[&str]) -> String {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

/// The key does not get into logs.
impl fmt::Debug for KeyedHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHasher(..)")
    }
}
