//! The relying party of OIDC: finding a provider, sending people to it, and judging what it says
//! about those who come back.
//!
//! It knows nothing of the database, of HTTP servers or of the log: who the person is to authlog, and
//! whether they may come in, is decided elsewhere. State, nonce and PKCE verifier are derived by the
//! caller, and so is the time at which tokens are judged. The clock of the machine decides here only how
//! long a provider's documents are remembered and how long an answer may take.
//!
//! Architecture invariant: everything a provider sends is foreign. It comes through `http`, is bounded, and
//! nothing of it is passed on that `verify` and `claims` have not looked at.

mod addresses;
mod cache;
mod claims;
mod client_secret;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod issuer;
mod json;
mod keys;
mod provider;
mod token;
mod userinfo;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openidconnect::OAuth2TokenResponse;
use url::Url;

pub use self::addresses::Refusal;
use self::cache::ProviderCache;
use self::claims::{Claims, Email};
pub use self::claims::{EmailVerified, VerifiedIdentity};
use self::error::FetchFailure;
pub use self::error::{
    ConfigProblem, DiscoveryProblem, ExchangeProblem, HttpClientProblem, HttpProblem, IdTokenProblem, JsonProblem,
    OidcError,
};
use self::http::HttpClient;
pub use self::issuer::{IssuerUrl, IssuerUrlError, MAX_CLIENT_ID_BYTES, ProviderConfig};
pub use self::provider::Discovered;
use self::provider::Provider;
use self::token::TokenAnswer;
use self::verify::{Expected, UnverifiedToken, VerifiedToken};

/// How providers are spoken to.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// PEM file of certificate authorities accepted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Longest time for one whole answer, connecting included.
    pub timeout_seconds: u64,
    /// Longest answer read.
    pub max_answer_bytes: usize,
    /// How long a provider's documents are used before they are fetched again.
    pub metadata_lifetime_seconds: u64,
    /// Shortest time between two fetches of the keys for an unknown key id.
    pub key_refetch_interval_seconds: u64,
}

impl Default for OidcOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            timeout_seconds: 10,
            max_answer_bytes: 1024 * 1024,
            metadata_lifetime_seconds: 15 * 60,
            key_refetch_interval_seconds: 60,
        }
    }
}

/// What a person brings back from the provider, and what was kept since they were sent there.
///
/// No `Debug`: it is all secrets.
#[derive(Clone, Copy)]
pub struct CallbackParams<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// The redirect URI of the authorization request.
    pub redirect_uri: &'a str,
    /// The PKCE verifier of the authorization request.
    pub pkce_verifier: &'a str,
    /// The nonce of the authorization request.
    pub nonce: &'a str,
    /// `iss` of the authorization answer (RFC 9207), if it came.
    pub iss: Option<&'a str>,
}

/// Speaks with providers. One for a process; calls may run at the same time.
pub struct OidcClient {
    http: Arc<HttpClient>,
    cache: ProviderCache,
}

impl OidcClient {
    /// Builds the HTTP client; reads the CA file. Errors: [`OidcError::HttpClient`].
    pub fn new(options: &OidcOptions) -> Result<Self, OidcError> {
        let http = HttpClient::new(options);
        Ok(Self {
            http: Arc::new(http.map_err(|problem| OidcError::HttpClient(Arc::new(problem)))?),
            cache: ProviderCache::new(
                Duration::from_secs(options.metadata_lifetime_seconds),
                Duration::from_secs(options.key_refetch_interval_seconds),
            ),
        })
    }

    /// Fetches and checks a provider's documents, remembered ones notwithstanding: for configuring it.
    ///
    /// Only here must there be a usable key. At a sign-in a set without one says no more than that the ID
    /// token does not verify, as it does for a set without the right one.
    ///
    /// Errors: [`OidcError::Discovery`], [`OidcError::HttpClient`].
    pub async fn discover(&self, issuer: &IssuerUrl) -> Result<Discovered, OidcError> {
        let provider = provider::fetch(&self.http, issuer).await?;
        if provider.keys.is_empty() {
            return Err(FetchFailure::from(DiscoveryProblem::NoUsableKey).into());
        }
        Ok(provider.discovered)
    }

    /// The endpoints of the configured provider, remembered for a while.
    ///
    /// Errors: [`OidcError::Discovery`], [`OidcError::HttpClient`].
    pub async fn metadata(&self, config: &ProviderConfig) -> Result<Discovered, OidcError> {
        Ok(self.provider(config).await?.discovered.clone())
    }

    /// Where to send a person: code flow, scopes `openid email profile`, PKCE S256.
    ///
    /// Errors: [`OidcError::Discovery`], [`OidcError::HttpClient`], and [`OidcError::Config`] for a
    /// configuration, redirect URI or verifier that cannot be used.
    pub async fn authorization_url(
        &self,
        config: &ProviderConfig,
        redirect_uri: &str,
        state: &str,
        nonce: &str,
        pkce_verifier: &str,
    ) -> Result<Url, OidcError> {
        let provider = self.provider(config).await?;
        token::authorization_url(&provider, config, redirect_uri, state, nonce, pkce_verifier)
    }

    /// Exchanges a code and verifies whom the provider vouches for.
    ///
    /// Userinfo is asked when the ID token leaves out the address, the name or the picture. It is needed
    /// for the address only: without one, a userinfo endpoint that gives no answer is
    /// [`OidcError::TokenExchange`], and one that speaks of somebody else is
    /// [`OidcError::IdTokenVerification`]; with one, the person comes in without a name or a picture.
    ///
    /// Errors: every variant of [`OidcError`].
    pub async fn exchange(
        &self,
        config: &ProviderConfig,
        params: CallbackParams<'_>,
        now: DateTime<Utc>,
    ) -> Result<VerifiedIdentity, OidcError> {
        let provider = self.provider(config).await?;
        check_response_issuer(&provider, params.iss)?;
        let answer = token::exchange_code(&self.http, &provider, config, &params).await?;
        let expected = Expected {
            issuer: config.issuer.as_str(),
            client_id: &config.client_id,
            nonce: params.nonce,
            access_token: answer.access_token(),
            now,
        };
        let token = UnverifiedToken::parse(answer.id_token()?)?;
        let token = self.verify(config, &provider, &token, &expected).await?;
        self.identity(&provider, &answer, token).await
    }

    async fn provider(&self, config: &ProviderConfig) -> Result<Arc<Provider>, OidcError> {
        let fetch = || provider::fetch(&self.http, &config.issuer);
        Ok(self.cache.get(&cache_key(config), fetch).await?)
    }

    /// Verifies with the keys at hand, and if none is the token's, with newer ones.
    ///
    /// A wrong signature may be that of a new key under an old id, so it counts as an unknown key, too.
    async fn verify(
        &self,
        config: &ProviderConfig,
        provider: &Arc<Provider>,
        token: &UnverifiedToken<'_>,
        expected: &Expected<'_>,
    ) -> Result<VerifiedToken, OidcError> {
        let unknown = match token.verify(&provider.keys, expected) {
            Err(unknown @ (IdTokenProblem::UnknownKey(_) | IdTokenProblem::Signature(_))) => unknown,
            other => return Ok(other?),
        };
        let fetch = || provider::fetch_keys(&self.http, provider);
        let key = cache_key(config);
        match self.cache.newer_keys(&key, provider, fetch).await? {
            Some(newer) => Ok(token.verify(&newer.keys, expected)?),
            None => Err(unknown.into()),
        }
    }

    async fn identity(
        &self,
        provider: &Provider,
        answer: &TokenAnswer,
        token: VerifiedToken,
    ) -> Result<VerifiedIdentity, OidcError> {
        let VerifiedToken { subject, claims } = token;
        let mut email = Email::of(&claims)?;
        let mut name = claims::name(&claims);
        let mut picture = claims::picture(&claims);
        let incomplete = email.address.is_none() || name.is_none() || picture.is_none();
        if incomplete && let Some(endpoint) = &provider.discovered.userinfo_endpoint {
            let userinfo = userinfo::fetch(&self.http, provider, endpoint, answer.access_token(), &subject);
            let userinfo = match userinfo.await {
                Err(error) if email.address.is_none() => return Err(error),
                Err(error) => {
                    tracing::warn!(?error, "userinfo is left out of a sign-in");
                    Claims::new()
                }
                Ok(userinfo) => userinfo,
            };
            if email.address.is_none() {
                email = Email::of(&userinfo)?;
            }
            name = name.or_else(|| claims::name(&userinfo));
            picture = picture.or_else(|| claims::picture(&userinfo));
        }
        Ok(VerifiedIdentity {
            issuer: provider.discovered.issuer.clone(),
            subject,
            email: email.address,
            email_verified: email.verified,
            name,
            picture,
        })
    }
}

fn cache_key(config: &ProviderConfig) -> cache::Key {
    (config.issuer.as_str().to_owned(), config.version)
}

/// RFC 9207, section 2.4: the code of another issuer's answer must not be sent anywhere.
fn check_response_issuer(provider: &Provider, iss: Option<&str>) -> Result<(), ExchangeProblem> {
    match iss {
        Some(iss) if iss == provider.discovered.issuer.as_str() => Ok(()),
        Some(_) => Err(ExchangeProblem::ResponseIssuer),
        None if provider.names_issuer_in_answers => Err(ExchangeProblem::MissingResponseIssuer),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
