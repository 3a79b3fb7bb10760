//! Keys: the master key, which wraps the key of every person, month and the instance, and nothing else.
//!
//! Architecture invariant: no key and no clear text leaves this folder except to seal and to open. Sealing serves erasure, not
//! theft: whoever holds the database and the master key reads everything.

pub mod exchange;
mod master;
mod masters;
mod seal;

use aggregates::{KeyId, StreamId};
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub use master::{MasterKey, MasterKeyError, MasterKeyId, MasterKeySource};
pub use masters::MasterKeys;
pub use seal::{Key, OpenError, length_prefixed, random_bytes};

/// Where a sealed value stands; opening it anywhere else fails.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub stream: &'a StreamId,
    pub sequence: i64,
    pub event_type: &'a str,
    /// The version the event was stored with, not the one it is lifted to.
    pub event_version: &'a str,
    pub field: &'a str,
}

impl Place<'_> {
    /// The associated data of a value sealed here with the key `key`.
    pub fn context(&self, key: &KeyId) -> Vec<u8> {
        length_prefixed(&[
            b"authlog sealed value 1",
            self.stream.aggregate_type.as_bytes(),
            self.stream.aggregate_id.as_bytes(),
            &self.sequence.to_be_bytes(),
            self.event_type.as_bytes(),
            self.event_version.as_bytes(),
            self.field.as_bytes(),
            key.to_string().as_bytes(),
        ])
    }
}

/// Keys made from the instance key, one a purpose. The instance key never changes, so neither do these.
#[derive(Clone, Debug)]
pub struct InstanceKeys {
    /// Of the keyed hashes that make addresses and identities unique.
    pub unique: Key,
    /// Authenticates page cursors.
    pub cursors: Key,
    /// Derives nonce, verifier and cookie of a pending authorization request from its state.
    pub pending: Key,
}

impl InstanceKeys {
    pub fn derive(instance: &Key) -> Self {
        let derive = |purpose: &str| Key::new(hmac_sha256(instance, &[b"authlog derived key 1", purpose.as_bytes()]));
        Self { unique: derive("unique"), cursors: derive("cursors"), pending: derive("pending") }
    }
}

/// HMAC-SHA256 over the length-prefixed parts.
pub fn hmac_sha256(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes this key");
    mac.update(&length_prefixed(parts));
    mac.finalize().into_bytes().into()
}
