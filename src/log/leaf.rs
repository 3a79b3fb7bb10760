//! The hash of one event: a leaf of a Merkle tree as in RFC 6962, section 2.1.
//!
//! `leaf_hash = SHA-256(0x00 || encoding)`, where the encoding is the concatenation of the nine fields below in this order, each
//! preceded by its length in bytes as an unsigned 64-bit big-endian integer. Integers are written as signed 64-bit big-endian;
//! texts as the UTF-8 that the table holds.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The row of an event as the table holds it, without its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeafInput<'a> {
    pub position: i64,
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    pub sequence: i64,
    pub event_type: &'a str,
    pub event_version: &'a str,
    pub payload: &'a str,
    pub metadata: &'a str,
    /// Microseconds since 1970.
    pub recorded_at: i64,
}

/// RFC 6962: a leaf is hashed with this byte before it, an inner node with another.
const LEAF_PREFIX: u8 = 0;

/// A hash as the tools of the log show it.
pub fn hex_digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The leaf hash of an event.
pub fn leaf_hash(row: &LeafInput<'_>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix([LEAF_PREFIX]);
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    field(&row.position.to_be_bytes());
    field(row.aggregate_type.as_bytes());
    field(row.aggregate_id.as_bytes());
    field(&row.sequence.to_be_bytes());
    field(row.event_type.as_bytes());
    field(row.event_version.as_bytes());
    field(row.payload.as_bytes());
    field(row.metadata.as_bytes());
    field(&row.recorded_at.to_be_bytes());
    hash.finalize().into()
}
