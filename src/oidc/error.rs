//! What can go wrong between authlog and its provider, and which answer it leads to.
//!
//! The variants of [`OidcError`] are the answers of the contract; the problems inside say why, for the
//! service's own output. None of them holds a code, a token, a secret or a verifier: texts that a
//! provider wrote are kept only where they are an identifier (an error code, a key id), and those are
//! quoted and cut.

use std::path::PathBuf;
use std::sync::Arc;

use openidconnect::SignatureVerificationError;

use super::addresses::Refusal;
use super::issuer::IssuerUrlError;

/// Why a sign-in, or the configuration of a provider, was refused.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The discovery document or the keys cannot be fetched or used: `oidc_discovery_failed` while a
    /// provider is being configured, `oidc_discovery_error` at a sign-in.
    #[error("the provider's discovery data cannot be fetched or used")]
    Discovery(#[source] Arc<DiscoveryProblem>),
    /// `token_exchange_error`: the code could not be exchanged, or userinfo not be asked for an address.
    #[error("the code could not be exchanged")]
    TokenExchange(#[source] ExchangeProblem),
    /// `missing_id_token`.
    #[error("the provider's answer holds no ID token")]
    MissingIdToken,
    /// `id_token_verification_error`: what the provider vouches for does not verify.
    #[error("the ID token does not verify")]
    IdTokenVerification(#[source] IdTokenProblem),
    /// `oidc_config_error`: the stored configuration cannot be used.
    #[error("the stored provider configuration cannot be used")]
    Config(#[source] ConfigProblem),
    /// `http_client_error`: the outgoing HTTP client could not be built.
    #[error("the outgoing HTTP client cannot be built")]
    HttpClient(#[source] Arc<HttpClientProblem>),
}

impl From<ExchangeProblem> for OidcError {
    fn from(problem: ExchangeProblem) -> Self {
        Self::TokenExchange(problem)
    }
}

impl From<IdTokenProblem> for OidcError {
    fn from(problem: IdTokenProblem) -> Self {
        Self::IdTokenVerification(problem)
    }
}

impl From<ConfigProblem> for OidcError {
    fn from(problem: ConfigProblem) -> Self {
        Self::Config(problem)
    }
}

/// Why fetching a provider's data failed. Cheap to clone: callers that waited for one fetch share it.
#[derive(Clone, Debug)]
pub(super) enum FetchFailure {
    Discovery(Arc<DiscoveryProblem>),
    HttpClient(Arc<HttpClientProblem>),
}

impl From<DiscoveryProblem> for FetchFailure {
    fn from(problem: DiscoveryProblem) -> Self {
        Self::Discovery(Arc::new(problem))
    }
}

impl From<HttpClientProblem> for FetchFailure {
    fn from(problem: HttpClientProblem) -> Self {
        Self::HttpClient(Arc::new(problem))
    }
}

impl From<FetchFailure> for OidcError {
    fn from(failure: FetchFailure) -> Self {
        match failure {
            FetchFailure::Discovery(problem) => Self::Discovery(problem),
            FetchFailure::HttpClient(problem) => Self::HttpClient(problem),
        }
    }
}

/// Why the outgoing HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientProblem {
    /// The file of additional certificate authorities cannot be read.
    #[error("the CA file {path:?} cannot be read")]
    UnreadableCaFile {
        /// The configured path.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file holds no certificate, or something that is none.
    #[error("the CA file {path:?} holds no usable certificate: {reason}")]
    BadCaFile {
        /// The configured path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS settings were refused.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP library refused the settings.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// Why one HTTP call to the provider brought no answer that can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HttpProblem {
    /// Only https is spoken, and http with a loopback provider.
    #[error("the URL is neither https nor http on loopback of a loopback issuer")]
    PlainHttp,
    /// The URL has no host or carries credentials.
    #[error("the URL has no host or carries credentials")]
    UnusableUrl,
    /// The URL names an address that is never connected to.
    #[error("the address {address} is refused: {refusal}")]
    RefusedAddress {
        /// The address in the URL.
        address: std::net::IpAddr,
        /// The class of addresses it belongs to.
        refusal: Refusal,
    },
    /// No whole answer within the time allowed.
    #[error("no whole answer within {seconds} s")]
    TimedOut {
        /// The time allowed.
        seconds: u64,
    },
    /// The answer is longer than allowed.
    #[error("the answer is longer than {limit_bytes} bytes")]
    TooLong {
        /// The length allowed.
        limit_bytes: usize,
    },
    /// Resolving, connecting, TLS or HTTP itself failed.
    #[error("the provider cannot be reached")]
    Transport(#[source] reqwest::Error),
    /// The answer's JSON is ambiguous or broken.
    #[error("the answer's JSON is refused")]
    Json(#[source] JsonProblem),
}

/// Why a JSON text is refused before anything is read from it.
#[derive(Debug, thiserror::Error)]
#[error("the JSON text is malformed or names a member twice (line {line}, column {column})")]
pub struct JsonProblem {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Why a provider's discovery document or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryProblem {
    /// A document could not be fetched.
    #[error("a document could not be fetched")]
    Fetch(#[source] HttpProblem),
    /// A document was answered with another status than 200, or is no document of its kind.
    #[error("a document is not as OpenID Connect Discovery describes it: {0}")]
    Malformed(String),
    /// The document speaks for another issuer, or for a placeholder.
    #[error("the document's issuer is not the configured one: {0}")]
    Issuer(String),
    /// The document lacks something that signing in needs.
    #[error("the document has no {0}")]
    Missing(&'static str),
    /// An endpoint is not https (or http on loopback of a loopback issuer), or carries more than it may.
    #[error("the document's {0} is not a usable URL")]
    Endpoint(&'static str),
    /// The provider signs ID tokens with none of the accepted algorithms.
    #[error("the provider offers none of the accepted signing algorithms")]
    Algorithms,
    /// Among the keys is none that could verify an ID token.
    #[error("the provider publishes no usable signing key")]
    NoUsableKey,
}

/// Why a code was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeProblem {
    /// The authorization answer names another issuer (RFC 9207, section 2.4): the code is not sent.
    #[error("the authorization answer comes from another issuer")]
    ResponseIssuer,
    /// The provider promises `iss` in its answers (RFC 9207, section 2.4), and it is not there.
    #[error("the authorization answer lacks the promised `iss`")]
    MissingResponseIssuer,
    /// The token or userinfo endpoint could not be called.
    #[error("the provider's endpoint gave no answer")]
    Http(#[source] HttpProblem),
    /// The token endpoint refused with this error code (RFC 6749, section 5.2).
    #[error("the token endpoint refused: {0:?}")]
    Refused(String),
    /// The token endpoint's answer is no token answer (RFC 6749, section 5.1).
    #[error("the token endpoint's answer is not a token answer")]
    Malformed,
    /// The address is only to be had from userinfo, and that was answered with this status.
    #[error("userinfo answered with status {0}")]
    UserinfoStatus(u16),
    /// The access token cannot be put into a header.
    #[error("the access token is malformed")]
    AccessToken,
}

/// Why an ID token, or userinfo beside it, is refused.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenProblem {
    /// Not three base64url parts with JSON objects in the first two.
    #[error("the ID token is malformed: {0}")]
    Malformed(&'static str),
    /// Header or claims are ambiguous or broken JSON.
    #[error("the ID token's JSON is refused")]
    Json(#[source] JsonProblem),
    /// `none`, an HMAC, or an algorithm nobody has heard of.
    #[error("the algorithm {0:?} is not accepted")]
    Algorithm(String),
    /// A header parameter that would bring its own key, or its own meaning.
    #[error("the header parameter `{0}` is refused")]
    HeaderParameter(&'static str),
    /// No published key has this id and fits the algorithm.
    #[error("no usable published key with the id {0:?} fits the algorithm")]
    UnknownKey(Option<String>),
    /// The header has no key id, and several published keys fit.
    #[error("several published keys fit the ID token")]
    AmbiguousKey,
    /// The signature is wrong.
    #[error("the signature does not verify")]
    Signature(#[source] SignatureVerificationError),
    /// A claim that must be there is not.
    #[error("the claim `{0}` is missing")]
    MissingClaim(&'static str),
    /// A claim is of the wrong type, or of a value that is never accepted.
    #[error("the claim `{0}` is not acceptable")]
    Claim(&'static str),
    /// The token's time has run out.
    #[error("the ID token has expired")]
    Expired,
    /// The token comes from the future.
    #[error("the ID token is not valid yet")]
    NotYetValid,
    /// Userinfo is about somebody else, or is no JSON object.
    #[error("userinfo is refused: {0}")]
    Userinfo(&'static str),
}

/// Why a stored configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigProblem {
    /// The issuer is not one.
    #[error("the issuer is not usable")]
    Issuer(#[source] IssuerUrlError),
    /// The client id is empty or longer than 255 characters.
    #[error("the client id is empty or too long")]
    ClientId,
    /// The redirect URI is no URL.
    #[error("the redirect URI is not a URL")]
    RedirectUri,
    /// The PKCE verifier is not one of RFC 7636, section 4.1.
    #[error("the PKCE verifier has not 43 to 128 unreserved characters")]
    PkceVerifier,
    /// The provider takes client secrets neither by `client_secret_basic` nor by `client_secret_post`.
    #[error("the provider takes client secrets neither in a header nor in the body")]
    ClientAuthentication,
}
