//! A provider, a client of it, and what a sign-in comes to.

use std::time::Duration;

use authlog::oidc::{
    CallbackParams, EmailVerified, IssuerUrl, OidcClient, OidcError, OidcOptions, ProviderConfig, VerifiedIdentity,
};
use chrono::Utc;
use devidp::{Client, DevIdp, Options};

pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:8787/auth/callback";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const NONCE: &str = "n-0S6_WzA2Mj";

/// A provider and a client of it.
pub(crate) struct House {
    pub(crate) idp: DevIdp,
    pub(crate) client: OidcClient,
    pub(crate) config: ProviderConfig,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(Options::default(), &quick())
    }

    pub(crate) fn with(options: Options, client: &OidcOptions) -> Self {
        // Far longer than the client waits, so that a client that waits for all of it is found out.
        let idp = DevIdp::start(Options { stall: Duration::from_secs(20), ..options }).unwrap();
        let client = OidcClient::new(client).unwrap();
        let config = config(&idp, "authlog-test");
        Self { idp, client, config }
    }

    pub(crate) async fn authorization_url(&self) -> Result<String, OidcError> {
        let url = self.client.authorization_url(&self.config, REDIRECT_URI, "the-state", NONCE, VERIFIER).await?;
        Ok(url.into())
    }

    /// Signs somebody in, from the first page to the verified identity.
    pub(crate) async fn sign_in(&self, login: &str) -> Result<VerifiedIdentity, OidcError> {
        let url = self.authorization_url().await?;
        let back = self.idp.sign_in(&url, login).await.unwrap();
        assert_eq!(back.state, "the-state");
        self.exchange(&back.code, back.iss.as_deref()).await
    }

    pub(crate) async fn exchange(&self, code: &str, iss: Option<&str>) -> Result<VerifiedIdentity, OidcError> {
        let params = CallbackParams { code, redirect_uri: REDIRECT_URI, pkce_verifier: VERIFIER, nonce: NONCE, iss };
        self.client.exchange(&self.config, params, Utc::now()).await
    }

    /// Remembers the provider's documents as they are when nothing is wrong.
    pub(crate) async fn warm(&self) {
        self.client.metadata(&self.config).await.unwrap();
    }

    pub(crate) fn issuer(&self) -> IssuerUrl {
        IssuerUrl::parse(self.idp.issuer()).unwrap()
    }
}

/// A client that gives up sooner than a provider that stalls, and later than a busy machine answers.
pub(crate) fn quick() -> OidcOptions {
    OidcOptions { timeout_seconds: 4, ..OidcOptions::default() }
}

pub(crate) fn config(idp: &DevIdp, client_id: &str) -> ProviderConfig {
    let client = Client::defaults().into_iter().find(|client| client.id == client_id);
    let secret = client.unwrap().secret().map(Into::into);
    ProviderConfig::parse(idp.issuer(), client_id, secret, 1).unwrap()
}

/// The variant of an outcome, and for a success what is known of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Verified,
    Unverified,
    NoWord,
    NoEmail,
    Discovery,
    TokenExchange,
    MissingIdToken,
    IdToken,
    Config,
    HttpClient,
}

pub(crate) fn outcome(result: &Result<VerifiedIdentity, OidcError>) -> Outcome {
    match result {
        Ok(identity) if identity.email.is_none() => Outcome::NoEmail,
        Ok(identity) => match identity.email_verified {
            EmailVerified::True => Outcome::Verified,
            EmailVerified::False => Outcome::Unverified,
            EmailVerified::Absent => Outcome::NoWord,
        },
        Err(OidcError::Discovery(_)) => Outcome::Discovery,
        Err(OidcError::TokenExchange(_)) => Outcome::TokenExchange,
        Err(OidcError::MissingIdToken) => Outcome::MissingIdToken,
        Err(OidcError::IdTokenVerification(_)) => Outcome::IdToken,
        Err(OidcError::Config(_)) => Outcome::Config,
        Err(OidcError::HttpClient(_)) => Outcome::HttpClient,
    }
}
