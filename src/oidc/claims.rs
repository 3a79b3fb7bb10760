//! What a verified ID token and userinfo say about a person.
//!
//! Only the claims that authlog uses are read, each by its exact type; others may be of any form,
//! because providers disagree about many of them (an `updated_at` in words, a `locale` that is an object).

use std::fmt;

use serde_json::{Map, Value};
use url::Url;

use super::error::IdTokenProblem;
use super::issuer::{IssuerUrl, has_credentials};

/// Longest name kept, in characters.
const MAX_NAME_CHARS: usize = 200;

/// Longest picture address kept, in bytes.
const MAX_PICTURE_BYTES: usize = 2048;

/// The members of a JSON object of claims.
pub(super) type Claims = Map<String, Value>;

/// Whether the provider says that it has verified the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailVerified {
    /// `email_verified` is the boolean true.
    True,
    /// It is there and anything else: also `"true"`, `1` and `null`, which vouch for nothing.
    False,
    /// It is not there.
    Absent,
}

/// Whom the provider vouches for.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedIdentity {
    /// The issuer: an identity is (issuer, subject).
    pub issuer: IssuerUrl,
    /// `sub`: 1 to 255 printable ASCII characters.
    pub subject: String,
    /// `email` as the provider wrote it; `None` if neither the ID token nor userinfo has one.
    pub email: Option<String>,
    /// Of the same document as `email`.
    pub email_verified: EmailVerified,
    /// At most 200 characters, no control character among them.
    pub name: Option<String>,
    /// An http(s) URL of at most 2048 bytes without credentials.
    pub picture: Option<String>,
}

/// Shows nothing about the person: this may end up in the service's output.
impl fmt::Debug for VerifiedIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VerifiedIdentity")
            .field("issuer", &self.issuer.as_str())
            .field("email_verified", &self.email_verified)
            .finish_non_exhaustive()
    }
}

/// An address and what is said about it, always from one document: otherwise one document's word could
/// be taken for another's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Email {
    pub(super) address: Option<String>,
    pub(super) verified: EmailVerified,
}

impl Email {
    pub(super) const NONE: Self = Self { address: None, verified: EmailVerified::Absent };

    /// Reads the address of one document. An empty or null one counts as left out (Core, section 5.3.2).
    pub(super) fn of(claims: &Claims) -> Result<Self, IdTokenProblem> {
        let address = match claims.get("email") {
            None | Some(Value::Null) => return Ok(Self::NONE),
            Some(Value::String(address)) if address.is_empty() => return Ok(Self::NONE),
            Some(Value::String(address)) => address.clone(),
            Some(_) => return Err(IdTokenProblem::Claim("email")),
        };
        let verified = match claims.get("email_verified") {
            None => EmailVerified::Absent,
            Some(Value::Bool(true)) => EmailVerified::True,
            Some(_) => EmailVerified::False,
        };
        Ok(Self { address: Some(address), verified })
    }
}

/// The name to show, unless it is odd: then it is as if it were not there.
pub(super) fn name(claims: &Claims) -> Option<String> {
    let name = claims.get("name")?.as_str()?.trim();
    let odd = name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control);
    (!odd).then(|| name.to_owned())
}

/// The address of the picture, unless it is odd.
pub(super) fn picture(claims: &Claims) -> Option<String> {
    let text = claims.get("picture")?.as_str()?;
    if text.len() > MAX_PICTURE_BYTES {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let usable = matches!(url.scheme(), "https" | "http") && !has_credentials(&url);
    let written = String::from(url);
    (usable && written.len() <= MAX_PICTURE_BYTES).then_some(written)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::{Claims, Email, EmailVerified, name, picture};

    fn claims(value: Value) -> Claims {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_the_boolean_true_verifies_an_address() {
        let verified = |value: Value| {
            let document = claims(json!({"email": "a@example.org", "email_verified": value}));
            Email::of(&document).unwrap().verified
        };
        assert_eq!(verified(json!(true)), EmailVerified::True);
        for other in
            [json!(false), json!("true"), json!("True"), json!(1), json!(null), json!([true]), json!({"value": true})]
        {
            assert_eq!(verified(other.clone()), EmailVerified::False, "{other}");
        }
        let silent = Email::of(&claims(json!({"email": "a@example.org"}))).unwrap();
        assert_eq!(silent.verified, EmailVerified::Absent);
    }

    #[test]
    fn a_document_without_an_address_says_nothing_about_one() {
        for document in [
            json!({"email_verified": true}),
            json!({"email": null, "email_verified": true}),
            json!({"email": "", "email_verified": true}),
        ] {
            assert_eq!(Email::of(&claims(document)).unwrap(), Email::NONE);
        }
        assert!(Email::of(&claims(json!({"email": ["a@example.org"]}))).is_err());
    }

    #[test]
    fn odd_names_are_dropped() {
        let named = |value: Value| name(&claims(json!({ "name": value })));
        assert_eq!(named(json!(" Ada Lovelace ")).unwrap(), "Ada Lovelace");
        assert_eq!(named(json!("ä".repeat(200))).unwrap(), "ä".repeat(200));
        for odd in
            [json!("a".repeat(201)), json!(""), json!("  "), json!("a\nb"), json!("a\u{1b}[31m"), json!(7), json!(null)]
        {
            assert_eq!(named(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn odd_pictures_are_dropped() {
        let pictured = |value: Value| picture(&claims(json!({ "picture": value })));
        let usual = "https://cdn.example/a.png?s=1";
        assert_eq!(pictured(json!(usual)).unwrap(), usual);
        for odd in [
            json!("javascript:alert(1)"),
            json!("data:image/png;base64,AAAA"),
            json!("/a.png"),
            json!("https://user:secret@cdn.example/a.png"),
            json!(format!("https://cdn.example/{}", "a".repeat(2048))),
            json!(format!("https://cdn.example/{}", "ä".repeat(900))),
            json!({"url": usual}),
        ] {
            assert_eq!(pictured(odd.clone()), None, "{odd}");
        }
    }
}
