//! Where a provider may send a browser back to. An address that slips through here hands somebody
//! else's sign-in away, so nothing is repaired: it is one of the few forms, or it is refused.

use crate::error::{ApiError, ErrorCode};
use crate::settings::{Origin, Scheme, Settings};

const PATH: &str = "/auth/callback";

/// A redirect URI that was accepted, in its one normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// `scheme://host[:port]/auth/callback`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a redirect URI is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefused {
    /// Not an origin followed by the one path.
    #[error("The redirect URI must be an http or https origin followed by /auth/callback, and nothing more.")]
    Form,
    /// Plain http to another machine.
    #[error("The redirect URI may use plain http on loopback only.")]
    PlainHttp,
    /// Not one of the origins that are allowed.
    #[error("The redirect URI's origin is not allowed here.")]
    Origin,
}

impl From<RedirectRefused> for ApiError {
    fn from(refused: RedirectRefused) -> Self {
        Self::new(ErrorCode::InvalidRedirectUri).with_message(refused.to_string())
    }
}

/// Which origins may be redirected to.
#[derive(Debug, Clone)]
pub struct RedirectPolicy {
    allowed: Vec<Origin>,
    loopback: bool,
}

impl RedirectPolicy {
    /// By these settings: `allowed_origins`, `public_url`'s, and loopback on any port while
    /// `public_url` is unset or itself loopback.
    pub fn new(settings: &Settings) -> Self {
        Self {
            allowed: settings.allowed_origins.iter().chain(&settings.public_url).cloned().collect(),
            loopback: settings.public_url.as_ref().is_none_or(Origin::is_loopback),
        }
    }

    /// Accepts a redirect URI, or says why not.
    pub fn accept(&self, text: &str) -> Result<RedirectUri, RedirectRefused> {
        // What is left of the path must be an origin to the letter, so a query, a fragment, another
        // path, credentials or a backslash have no place to stand.
        let origin = text.strip_suffix(PATH).and_then(Origin::from_header);
        let origin = origin.ok_or(RedirectRefused::Form)?;
        if origin.scheme() == Scheme::Http && !origin.is_loopback() {
            return Err(RedirectRefused::PlainHttp);
        }
        if self.allowed.contains(&origin) || (self.loopback && origin.is_loopback()) {
            Ok(RedirectUri(format!("{origin}{PATH}")))
        } else {
            Err(RedirectRefused::Origin)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use RedirectRefused as No;

    use super::*;
    use crate::http::testing::settings;

    fn policy(text: &str) -> RedirectPolicy {
        RedirectPolicy::new(&settings(text))
    }

    fn public() -> RedirectPolicy {
        policy(
            "public_url = 'https://auth.example'\n\
             allowed_origins = ['https://dash.example', 'https://dash.example:8443', 'http://plain.example']",
        )
    }

    #[test]
    fn an_allowed_origin_with_the_one_path_is_accepted() {
        for (text, normal) in [
            ("https://auth.example/auth/callback", "https://auth.example/auth/callback"),
            ("https://dash.example/auth/callback", "https://dash.example/auth/callback"),
            ("https://dash.example:443/auth/callback", "https://dash.example/auth/callback"),
            ("https://dash.example:8443/auth/callback", "https://dash.example:8443/auth/callback"),
            ("HTTPS://Dash.EXAMPLE/auth/callback", "https://dash.example/auth/callback"),
        ] {
            assert_eq!(public().accept(text).unwrap().as_str(), normal);
        }
    }

    #[test]
    fn loopback_is_accepted_on_any_port_unless_the_service_is_public() {
        for text in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:65535", "https://localhost"] {
            let uri = format!("{text}/auth/callback");
            assert!(policy("").accept(&uri).is_ok(), "{uri}");
            assert!(policy("public_url = 'http://localhost:8787'").accept(&uri).is_ok(), "{uri}");
            assert_eq!(public().accept(&uri), Err(No::Origin), "{uri}");
        }
        let named = policy("public_url = 'https://auth.example'\nallowed_origins = ['http://localhost:3000']");
        assert!(named.accept("http://localhost:3000/auth/callback").is_ok());
        assert_eq!(named.accept("http://localhost:3001/auth/callback"), Err(No::Origin));
    }

    #[test]
    fn every_trick_is_refused() {
        for (text, refused) in [
            // Hosts that look like an allowed one.
            ("https://dash.example.evil.example/auth/callback", No::Origin),
            ("https://evil-dash.example/auth/callback", No::Origin),
            ("https://sub.dash.example/auth/callback", No::Origin),
            ("https://dash.example./auth/callback", No::Form),
            ("https://dаsh.example/auth/callback", No::Form),
            ("https://dash%2eexample/auth/callback", No::Form),
            ("https://dash.example%00.evil.example/auth/callback", No::Form),
            ("https://localhost.evil.example/auth/callback", No::Origin),
            ("http://localhost.evil.example/auth/callback", No::PlainHttp),
            ("http://2130706433/auth/callback", No::Form),
            ("http://0x7f.0.0.1/auth/callback", No::Form),
            ("http://127.1/auth/callback", No::Form),
            ("http://0.0.0.0/auth/callback", No::PlainHttp),
            // Credentials and parser disagreements.
            ("https://dash.example@evil.example/auth/callback", No::Form),
            ("https://dash.example:443@evil.example/auth/callback", No::Form),
            ("https://@dash.example/auth/callback", No::Form),
            ("https://evil.example\\@dash.example/auth/callback", No::Form),
            ("https://evil.example\\.dash.example/auth/callback", No::Form),
            ("https:\\\\dash.example/auth/callback", No::Form),
            ("https:/dash.example/auth/callback", No::Form),
            ("https:///dash.example/auth/callback", No::Form),
            ("//dash.example/auth/callback", No::Form),
            ("/auth/callback", No::Form),
            ("", No::Form),
            (" https://dash.example/auth/callback", No::Form),
            ("https://dash.example/auth/callback ", No::Form),
            ("https://dash.\nexample/auth/callback", No::Form),
            // Ports.
            ("https://dash.example:444/auth/callback", No::Origin),
            ("https://dash.example:80/auth/callback", No::Origin),
            ("https://dash.example:/auth/callback", No::Form),
            ("https://dash.example:0443/auth/callback", No::Form),
            ("https://dash.example:65979/auth/callback", No::Form),
            // Schemes.
            ("http://dash.example/auth/callback", No::PlainHttp),
            ("http://plain.example/auth/callback", No::PlainHttp),
            ("http://dash.example:443/auth/callback", No::PlainHttp),
            ("javascript://dash.example/auth/callback", No::Form),
            ("ws://dash.example/auth/callback", No::Form),
            ("authlog:/auth/callback", No::Form),
            ("null/auth/callback", No::Form),
            // Paths.
            ("https://dash.example", No::Form),
            ("https://dash.example/", No::Form),
            ("https://dash.example/auth/callback/", No::Form),
            ("https://dash.example//auth/callback", No::Form),
            ("https://dash.example/AUTH/callback", No::Form),
            ("https://dash.example/x/../auth/callback", No::Form),
            ("https://dash.example/./auth/callback", No::Form),
            ("https://dash.example/auth/%63allback", No::Form),
            ("https://dash.example/auth%2Fcallback", No::Form),
            ("https://dash.example/auth/callback?x=1", No::Form),
            ("https://dash.example/auth/callback?", No::Form),
            ("https://dash.example/auth/callback#x", No::Form),
            ("https://dash.example/auth/callback#", No::Form),
            ("https://dash.example?/auth/callback", No::Form),
            ("https://dash.example#/auth/callback", No::Form),
            ("https://dash.example/other?/auth/callback", No::Form),
            ("https://dash.example;/auth/callback", No::Form),
            ("https://*/auth/callback", No::Form),
        ] {
            assert_eq!(public().accept(text), Err(refused), "{text}");
        }
    }

    #[test]
    fn a_refusal_is_invalid_redirect_uri() {
        let error = ApiError::from(RedirectRefused::Origin);
        assert_eq!((error.code(), error.status().as_u16()), (ErrorCode::InvalidRedirectUri, 400));
    }
}
