//! Email and profile claims, and what the faults make of them (OpenID Connect Core 1.0 section 5.1).

use crate::account::Account;
use crate::fault::Fault;
use serde_json::{Map, Value, json};

/// Where email and profile claims are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ClaimsIn {
    /// In the ID token and in userinfo, as at most large providers
    #[default]
    IdToken,
    /// In userinfo only
    Userinfo,
}

/// The document the claims are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    IdToken,
    Userinfo,
}

/// The email and profile claims of the account that `document` holds, as far as the scope asks for them.
pub(crate) fn claims(
    account: &Account,
    scope: &str,
    document: Document,
    claims_in: ClaimsIn,
    fault: Option<Fault>,
) -> Map<String, Value> {
    let left_out = claims_in == ClaimsIn::Userinfo || fault.is_some_and(Fault::needs_userinfo);
    if document == Document::IdToken && left_out {
        return Map::new();
    }
    let mut claims = Map::new();
    let asked = |name: &str| scope.split(' ').any(|word| word == name);
    if asked("email")
        && let Some(email) = &account.email
    {
        claims.insert("email".to_owned(), json!(email));
        if let Some(verified) = account.email_verified {
            claims.insert("email_verified".to_owned(), json!(verified));
        }
    }
    if asked("profile") {
        for (name, value) in [("name", &account.name), ("picture", &account.picture)] {
            if let Some(value) = value {
                claims.insert(name.to_owned(), json!(value));
            }
        }
    }
    if let Some(fault) = fault {
        spoil_profile(&mut claims, fault);
        spoil_verification(&mut claims, fault, document);
        if let Some(email) = account.email.as_deref().filter(|_| asked("email")) {
            spoil_address(&mut claims, fault, email);
        }
    }
    claims
}

fn spoil_verification(claims: &mut Map<String, Value>, fault: Fault, document: Document) {
    let in_id_token = document == Document::IdToken;
    match fault {
        Fault::EmailVerifiedText => set(claims, "email_verified", json!("true")),
        Fault::EmailVerifiedNumber => set(claims, "email_verified", json!(1)),
        Fault::EmailMissing => {
            claims.remove("email");
            claims.remove("email_verified");
        }
        Fault::EmailOnlyInUserinfo if in_id_token => {
            claims.remove("email");
            claims.remove("email_verified");
        }
        Fault::EmailVerifiedElsewhere if in_id_token => {
            claims.remove("email_verified");
        }
        Fault::EmailVerifiedElsewhere => set(claims, "email_verified", json!(true)),
        Fault::EmailElsewhere if in_id_token => {
            claims.remove("email");
            set(claims, "email_verified", json!(true));
        }
        Fault::EmailElsewhere => set(claims, "email_verified", json!(false)),
        _ => {}
    }
}

fn spoil_address(claims: &mut Map<String, Value>, fault: Fault, email: &str) {
    let (local, domain) = email.split_once('@').unwrap_or((email, ""));
    let address = match fault {
        Fault::EmailNotAText => json!([email]),
        Fault::EmailLineBreak => json!(format!("{email}\r\nBcc: mallory@mallory.example")),
        Fault::EmailNul => json!(format!("{email}\0@mallory.example")),
        Fault::EmailDoubleAt => json!(format!("{email}@mallory.example")),
        Fault::EmailLookAlikeLocal => json!(format!("{}@{domain}", look_alike(local))),
        Fault::EmailLookAlikeDomain => json!(format!("{local}@{}", look_alike(domain))),
        Fault::EmailTooLong => json!(format!("{local}@{}{domain}", "a23456789.".repeat(26))),
        Fault::EmailUpperCase => json!(email.to_uppercase()),
        _ => return,
    };
    set(claims, "email", address);
}

fn spoil_profile(claims: &mut Map<String, Value>, fault: Fault) {
    match fault {
        Fault::NameScript => set(claims, "name", json!("\"><script>alert(document.domain)</script>")),
        Fault::NameControlCharacters => set(claims, "name", json!("Alice\r\n\u{1b}[2J\u{9b}31mroot\u{202e}\0")),
        Fault::NameTooLong => set(claims, "name", json!("x".repeat(100_000))),
        Fault::PictureScript => set(claims, "picture", json!("javascript:alert(document.domain)//")),
        _ => {}
    }
}

fn set(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

/// The text with its first letter that has a Cyrillic twin exchanged for it.
fn look_alike(text: &str) -> String {
    let twins = [('a', '\u{430}'), ('e', '\u{435}'), ('o', '\u{43e}'), ('c', '\u{441}'), ('p', '\u{440}')];
    let found = text
        .char_indices()
        .find_map(|(at, letter)| twins.iter().find(|(latin, _)| *latin == letter).map(|(_, cyrillic)| (at, *cyrillic)));
    match found {
        Some((at, cyrillic)) => format!("{}{cyrillic}{}", &text[..at], &text[at + 1..]),
        None => format!("{text}\u{430}"),
    }
}
