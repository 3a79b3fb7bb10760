//! The provider as it is configured: its issuer, and authlog's registration there.

use std::fmt;

use secrecy::SecretString;
use url::{Host, Url};

use super::error::{ConfigProblem, OidcError};

/// Longest issuer accepted, in bytes.
const MAX_ISSUER_BYTES: usize = 2048;

/// Longest client id accepted, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 255;

/// An issuer identifier: https, or http on loopback; no credentials, query or fragment.
///
/// Kept as it was written, because OIDC compares issuers as strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerUrl {
    text: String,
    plain_http: bool,
}

/// Why a text is not an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerUrlError {
    /// No absolute URL with a host, too long, or with blanks around or control characters inside.
    #[error("the issuer is not an absolute URL")]
    Malformed,
    /// Another scheme, or http to another host than this one.
    #[error("the issuer must be https (http only on loopback)")]
    Scheme,
    /// A user name or password.
    #[error("the issuer must not carry credentials")]
    Credentials,
    /// A query or a fragment.
    #[error("the issuer must not have a query or a fragment")]
    QueryOrFragment,
    /// A placeholder such as `{tenantid}`: the issuer of many tenants is nobody's in particular.
    #[error("the issuer must not contain a placeholder")]
    Placeholder,
}

impl IssuerUrl {
    /// Reads an issuer.
    pub fn parse(text: &str) -> Result<Self, IssuerUrlError> {
        // The URL parser drops blanks, tabs and line ends; the comparison as strings would not.
        // It also reads a backslash as a slash.
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if text.len() > MAX_ISSUER_BYTES || !printable {
            return Err(IssuerUrlError::Malformed);
        }
        let (_, rest) = text.split_once("://").ok_or(IssuerUrlError::Malformed)?;
        let url = Url::parse(text).map_err(|_| IssuerUrlError::Malformed)?;
        if !is_https_or_loopback(&url) {
            return Err(IssuerUrlError::Scheme);
        }
        // The parser forgets an empty user name, so the text is asked, too.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if has_credentials(&url) || authority.contains('@') {
            return Err(IssuerUrlError::Credentials);
        }
        if text.contains(['?', '#']) {
            return Err(IssuerUrlError::QueryOrFragment);
        }
        if contains_placeholder(text) {
            return Err(IssuerUrlError::Placeholder);
        }
        Ok(Self { text: text.to_owned(), plain_http: url.scheme() == "http" })
    }

    /// The issuer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the provider itself is on loopback and speaks plain http; only then may its endpoints.
    pub(super) fn is_plain_http(&self) -> bool {
        self.plain_http
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Whether the text holds a brace, as it is or percent-encoded.
pub(super) fn contains_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["{", "}", "%7b", "%7d"].iter().any(|brace| lower.contains(brace))
}

/// Whether the URL is https, or http to a loopback address or `localhost`.
pub(super) fn is_https_or_loopback(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        },
        _ => false,
    }
}

/// Whether the URL carries a user name or a password.
pub(super) fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The stored configuration of the provider.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Who vouches.
    pub issuer: IssuerUrl,
    /// authlog's name there.
    pub client_id: String,
    /// Absent for a public client.
    pub client_secret: Option<SecretString>,
    /// Grows with every change of the configuration; what was cached under an older one is not used.
    pub version: u64,
}

impl ProviderConfig {
    /// Reads a stored configuration. Errors: [`OidcError::Config`].
    pub fn parse(
        issuer: &str,
        client_id: &str,
        client_secret: Option<SecretString>,
        version: u64,
    ) -> Result<Self, OidcError> {
        let issuer = IssuerUrl::parse(issuer).map_err(ConfigProblem::Issuer)?;
        let config = Self { issuer, client_id: client_id.to_owned(), client_secret, version };
        config.check()?;
        Ok(config)
    }

    pub(super) fn check(&self) -> Result<(), ConfigProblem> {
        if self.client_id.is_empty() || self.client_id.len() > MAX_CLIENT_ID_BYTES {
            return Err(ConfigProblem::ClientId);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{IssuerUrl, IssuerUrlError, ProviderConfig};
    use crate::oidc::OidcError;

    #[test]
    fn an_issuer_is_kept_as_it_was_written() {
        for text in [
            "https://idp.example",
            "https://idp.example/",
            "https://idp.example:8443/realms/one",
            "https://idp.example/@one",
            "http://127.0.0.1:9000",
            "http://127.8.8.8/a",
            "http://[::1]:9000",
            "http://localhost:9000/",
        ] {
            assert_eq!(IssuerUrl::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_not_an_issuer_is_refused_with_its_reason() {
        use IssuerUrlError::{Credentials, Malformed, Placeholder, QueryOrFragment, Scheme};
        for (text, error) in [
            ("", Malformed),
            ("idp.example", Malformed),
            (" https://idp.example", Malformed),
            ("https://idp.example\n", Malformed),
            ("https://idp.exa\tmple", Malformed),
            ("https://", Malformed),
            ("mailto:idp@example", Malformed),
            ("https:/idp.example", Malformed),
            ("https:\\\\idp.example", Malformed),
            ("http://idp.example", Scheme),
            ("http://localhost.example", Scheme),
            ("http://127.0.0.1.example", Scheme),
            ("http://10.0.0.1", Scheme),
            ("http://[::ffff:127.0.0.1]", Scheme),
            ("ftp://idp.example", Scheme),
            ("https://user@idp.example", Credentials),
            ("https://user:secret@idp.example", Credentials),
            ("https://@idp.example", Credentials),
            ("https://idp.example?tenant=1", QueryOrFragment),
            ("https://idp.example?", QueryOrFragment),
            ("https://idp.example#top", QueryOrFragment),
            ("https://idp.example/{tenantid}/v2.0", Placeholder),
            ("https://idp.example/%7Btenantid%7D/v2.0", Placeholder),
        ] {
            assert_eq!(IssuerUrl::parse(text), Err(error), "{text:?}");
        }
        let long = format!("https://idp.example/{}", "a".repeat(2048));
        assert_eq!(IssuerUrl::parse(&long), Err(Malformed));
    }

    #[test]
    fn a_stored_configuration_that_no_longer_parses_is_a_configuration_error() {
        let broken = ProviderConfig::parse("http://idp.example", "authlog", None, 1);
        assert!(matches!(broken, Err(OidcError::Config(_))));
        let nameless = ProviderConfig::parse("https://idp.example", "", None, 1);
        assert!(matches!(nameless, Err(OidcError::Config(_))));
    }

    #[test]
    fn a_configuration_does_not_show_its_secret() {
        let secret = Some("correct horse".into());
        let config = ProviderConfig::parse("https://idp.example", "authlog", secret, 1).unwrap();
        assert!(!format!("{config:?}").contains("horse"));
    }
}
