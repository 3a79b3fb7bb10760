//! The one normal form of an email address. It decides everywhere what is the same address.

use std::fmt;

/// RFC 5321 section 4.5.3.1.3 less the angle brackets.
pub const MAX_ADDRESS_BYTES: usize = 254;

/// An address in normal form: ASCII local part in lower case, domain as A-labels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress(String);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address has exactly one @ with text on both sides")]
    Form,
    #[error("the part before the @ may hold only ASCII letters, digits, dots and !#$%&'*+/=?^_`{{|}}~-")]
    LocalPart,
    #[error("the part after the @ is not a valid domain name")]
    Domain,
    #[error("an address has at most {MAX_ADDRESS_BYTES} bytes")]
    TooLong,
}

impl EmailAddress {
    /// Brings `text` into normal form: trimmed, exactly one `@`, ASCII local part in lower case (RFC 5322 dot-atom; quoted and
    /// non-ASCII refused), domain by strict UTS 46 to A-labels, at most [`MAX_ADDRESS_BYTES`] bytes, no plus folding.
    ///
    /// # Errors
    /// An [`AddressError`] that says which part is wrong; it never repeats the text.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_matches(|c: char| c == ' ' || c == '\t');
        if text.len() > 4 * MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong);
        }
        let (local, domain) = text.split_once('@').ok_or(AddressError::Form)?;
        if local.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(AddressError::Form);
        }
        if !is_dot_atom(local) {
            return Err(AddressError::LocalPart);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| AddressError::Domain)?;
        if !is_host_name(&domain) {
            return Err(AddressError::Domain);
        }
        let address = format!("{}@{domain}", local.to_ascii_lowercase());
        if address.len() > MAX_ADDRESS_BYTES || local.len() > 64 {
            return Err(AddressError::TooLong);
        }
        Ok(Self(address))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 5322 section 3.2.3.
fn is_dot_atom(local: &str) -> bool {
    local.split('.').all(|atom| {
        !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    })
}

/// Labels of letters, digits and inner hyphens; no trailing dot, no address literal, not digits alone at the end.
fn is_host_name(domain: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    domain.len() <= 253
        && domain.split('.').all(label)
        && domain.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Addresses are personal data: they do not get into logs by way of `{:?}`.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str) -> Result<String, AddressError> {
        EmailAddress::parse(text).map(|a| a.as_str().to_owned())
    }

    #[test]
    fn spellings_of_one_address_have_one_normal_form() {
        for text in ["Bob@Example.COM", " bob@example.com\t", "BOB@EXAMPLE.COM"] {
            assert_eq!(normal(text).as_deref(), Ok("bob@example.com"));
        }
        assert_eq!(normal("bob@BÜCHER.example").as_deref(), Ok("bob@xn--bcher-kva.example"));
        assert_eq!(normal("bob@bu\u{308}cher.example").as_deref(), Ok("bob@xn--bcher-kva.example"));
        assert_eq!(normal("bob+ci@example.com").as_deref(), Ok("bob+ci@example.com"));
    }

    #[test]
    fn malformed_addresses_are_refused_by_their_part() {
        for text in ["", "bob", "@example.com", "bob@", "bob@evil.com@example.com", "bob@@example.com"] {
            assert_eq!(normal(text), Err(AddressError::Form), "{text:?}");
        }
        for text in [
            "\"bob\"@example.com",
            "b ob@example.com",
            "böb@example.com",
            ".bob@example.com",
            "b..ob@example.com",
            "bob\r\n@example.com",
            "bob\0@example.com",
            "bob<x>@example.com",
            "b\u{200b}ob@example.com",
        ] {
            assert_eq!(normal(text), Err(AddressError::LocalPart), "{text:?}");
        }
        for text in [
            "bob@exa mple.com",
            "bob@example.com\r\nBcc: x",
            "bob@-a.com",
            "bob@a..com",
            "bob@example.com.",
            "bob@[127.0.0.1]",
            "bob@127.0.0.1",
            "bob@xn--a.com",
            "bob@exa_mple.com",
            "bob@example.com\n",
        ] {
            assert_eq!(normal(text), Err(AddressError::Domain), "{text:?}");
        }
        assert_eq!(normal(&format!("{}@example.com", "a".repeat(65))), Err(AddressError::TooLong));
        assert_eq!(normal(&format!("bob@{}.com", "a.".repeat(150))), Err(AddressError::Domain));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own_normal_form(text in "\\PC{0,40}@\\PC{1,30}") {
            if let Ok(once) = normal(&text) {
                prop_assert_eq!(normal(&once), Ok(once.clone()));
                prop_assert!(once.is_ascii());
                prop_assert_eq!(once.matches('@').count(), 1);
            }
        }
    }
}
