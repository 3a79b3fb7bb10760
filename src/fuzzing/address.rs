//! E-mail addresses.

use aggregates::{EmailAddress, MAX_ADDRESS_BYTES};

/// An address that is accepted is one of plain letters, and its own normal form.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(address) = EmailAddress::parse(text) else { return };
    let normal = address.as_str();
    assert_eq!(EmailAddress::parse(normal).as_ref(), Ok(&address), "{normal} is not its own normal form");
    assert!(normal.len() <= MAX_ADDRESS_BYTES, "{normal} is too long");
    assert!(normal.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{normal:?}");
    assert_eq!(normal.matches('@').count(), 1, "{normal}");
    // Nobody takes part of somebody else's address for theirs: what stands before the @ is what was written.
    let (local, _) = text.trim_matches([' ', '\t']).rsplit_once('@').unwrap_or_default();
    assert!(normal.starts_with(&format!("{}@", local.to_ascii_lowercase())), "{normal} is not {text:?}");
}
