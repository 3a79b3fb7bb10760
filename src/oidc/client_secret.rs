//! How the client secret is sent to the token endpoint (RFC 6749, section 2.3.1).
//!
//! A provider says which ways it takes; which one of them this client is registered for, it says nowhere. So
//! the header is tried first, and the body when the provider refuses with `invalid_client`. That second try is
//! sound: a client is judged before its code is (section 4.1.3), so whoever was refused by that error has not
//! used the code up. After any other refusal, or no answer, nothing is tried again.
//!
//! The way that led in is remembered as long as the provider's documents are, so that not every sign-in begins
//! with a refusal.

use std::sync::atomic::{AtomicBool, Ordering};

use openidconnect::AuthType;
use openidconnect::core::CoreClientAuthMethod;

/// The error of a token endpoint that does not let the client in (RFC 6749, section 5.2).
pub(super) const NOT_LET_IN: &str = "invalid_client";

/// The ways known here that a provider takes.
#[derive(Debug)]
pub(super) struct Ways {
    header: bool,
    body: bool,
    body_led_in: AtomicBool,
}

impl Ways {
    /// What `token_endpoint_auth_methods_supported` says; if nothing, it is the header (Discovery, section 3).
    pub(super) fn announced(methods: Option<&[CoreClientAuthMethod]>) -> Self {
        let takes = |method| methods.is_some_and(|methods| methods.contains(&method));
        Self {
            header: methods.is_none() || takes(CoreClientAuthMethod::ClientSecretBasic),
            body: takes(CoreClientAuthMethod::ClientSecretPost),
            body_led_in: AtomicBool::new(false),
        }
    }

    /// The ways, in the order in which to try them; none if the provider takes a secret in no way known here.
    pub(super) fn in_turn(&self) -> Vec<AuthType> {
        let mut ways = Vec::with_capacity(2);
        if self.header {
            ways.push(AuthType::BasicAuth);
        }
        if self.body {
            ways.push(AuthType::RequestBody);
        }
        if self.body_led_in.load(Ordering::Relaxed) {
            ways.reverse();
        }
        ways
    }

    /// Notes which way led in.
    pub(super) fn led_in(&self, way: &AuthType) {
        self.body_led_in.store(matches!(way, AuthType::RequestBody), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use openidconnect::AuthType;
    use openidconnect::core::CoreClientAuthMethod;

    use super::Ways;

    fn in_turn(ways: &Ways) -> Vec<&'static str> {
        let name = |way: &AuthType| if matches!(way, AuthType::BasicAuth) { "header" } else { "body" };
        ways.in_turn().iter().map(name).collect()
    }

    #[test]
    fn the_header_is_tried_first_until_the_body_has_led_in() {
        use CoreClientAuthMethod::{ClientSecretBasic, ClientSecretPost, None as Public, PrivateKeyJwt};
        for (methods, expected) in [
            (None, vec!["header"]),
            (Some(vec![ClientSecretPost, ClientSecretBasic]), vec!["header", "body"]),
            (Some(vec![ClientSecretPost, Public]), vec!["body"]),
            (Some(vec![PrivateKeyJwt, Public]), vec![]),
        ] {
            assert_eq!(in_turn(&Ways::announced(methods.as_deref())), expected, "{methods:?}");
        }
        let ways = Ways::announced(Some(&[ClientSecretBasic, ClientSecretPost]));
        ways.led_in(&AuthType::RequestBody);
        assert_eq!(in_turn(&ways), ["body", "header"]);
        ways.led_in(&AuthType::BasicAuth);
        assert_eq!(in_turn(&ways), ["header", "body"]);
    }
}
