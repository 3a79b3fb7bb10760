//! Authenticated encryption of short texts: XChaCha20-Poly1305 with a random nonce, padded so that the length says little.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroize as _;

const NONCE_BYTES: usize = 24;
/// Clear texts are padded to a multiple of this.
const PADDING_BYTES: usize = 64;
const PADDING_MARK: u8 = 0x80;

/// A symmetric key. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A sealed text that does not open: another key, another place, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open with this key")]
pub struct OpenError;

impl Key {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh random key from the operating system.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        random_bytes().map(Self)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `clear` for one place: `context` is authenticated, and opening needs the same one. The answer is base64url of
    /// nonce and ciphertext.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn seal(&self, context: &[u8], clear: &[u8]) -> Result<String, getrandom::Error> {
        let nonce: [u8; NONCE_BYTES] = random_bytes()?;
        let mut padded = Vec::with_capacity((clear.len() / PADDING_BYTES + 1) * PADDING_BYTES);
        padded.extend_from_slice(clear);
        padded.push(PADDING_MARK);
        padded.resize(padded.len().next_multiple_of(PADDING_BYTES), 0);
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), Payload { msg: &padded, aad: context });
        padded.zeroize();
        #[expect(clippy::expect_used, reason = "encryption fails only beyond 256 GiB")]
        let sealed = sealed.expect("a short text can be encrypted");
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what [`Key::seal`] made with the same context.
    ///
    /// # Errors
    /// [`OpenError`] for anything else.
    pub fn open(&self, context: &[u8], sealed: &str) -> Result<Vec<u8>, OpenError> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| OpenError)?;
        let (nonce, ciphertext) = bytes.split_at_checked(NONCE_BYTES).ok_or(OpenError)?;
        let payload = Payload { msg: ciphertext, aad: context };
        let mut clear = self.cipher().decrypt(XNonce::from_slice(nonce), payload).map_err(|_| OpenError)?;
        let end = clear.iter().rposition(|byte| *byte != 0).ok_or(OpenError)?;
        if clear[end] != PADDING_MARK {
            return Err(OpenError);
        }
        clear.truncate(end);
        Ok(clear)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Random bytes from the operating system.
///
/// # Errors
/// When it has none to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Joins parts so that no two lists of parts give the same bytes: each is preceded by its length.
pub fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else() {
        let key = Key::new([7; 32]);
        for clear in ["", "a", "alice@example.com", &"x".repeat(63), &"y".repeat(64), &"z".repeat(1000), "ends in \0\0"]
        {
            let sealed = key.seal(b"here", clear.as_bytes()).unwrap();
            assert_eq!(key.open(b"here", &sealed).unwrap(), clear.as_bytes());
            assert_eq!(key.open(b"there", &sealed), Err(OpenError));
            assert_eq!(Key::new([8; 32]).open(b"here", &sealed), Err(OpenError));
        }
    }

    #[test]
    fn a_changed_or_cut_value_does_not_open() {
        let key = Key::new([7; 32]);
        let sealed = key.seal(b"", b"secret").unwrap();
        for cut in 0..sealed.len() {
            assert_eq!(key.open(b"", &sealed[..cut]), Err(OpenError));
        }
        let mut changed = sealed.into_bytes();
        changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
        assert_eq!(key.open(b"", &String::from_utf8(changed).unwrap()), Err(OpenError));
    }

    #[test]
    fn short_texts_of_different_lengths_are_sealed_to_one_length() {
        let key = Key::new([7; 32]);
        assert_eq!(key.seal(b"", b"a").unwrap().len(), key.seal(b"", &[b'a'; 63]).unwrap().len());
    }
}
