//! What a provider says about itself: its endpoints, its ways, its keys.

use std::sync::Arc;

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, DiscoveryError, HttpRequest, HttpResponse, JsonWebKeySetUrl, ProviderMetadata,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::client_secret;
use super::error::{DiscoveryProblem, FetchFailure, HttpProblem};
use super::http::{HttpClient, PlainHttp};
use super::issuer::{IssuerUrl, contains_placeholder, has_credentials, is_https_or_loopback};
use super::keys::{Algorithm, SigningKey, admitted};

/// Longest endpoint accepted, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2048;

/// The provider's endpoints, as its discovery document names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Exactly the configured issuer.
    pub issuer: IssuerUrl,
    /// Where people are sent to sign in.
    pub authorization_endpoint: Url,
    /// Where codes are exchanged.
    pub token_endpoint: Url,
    /// Where more is said about a person.
    pub userinfo_endpoint: Option<Url>,
    /// Where the keys are.
    pub jwks_uri: Url,
}

/// A provider whose documents have been fetched and found usable.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) discovered: Discovered,
    /// How a client secret is sent.
    pub(super) secret_ways: Arc<client_secret::Ways>,
    /// Whether every authorization answer carries `iss` (RFC 9207, section 3).
    pub(super) names_issuer_in_answers: bool,
    pub(super) keys: Vec<SigningKey>,
}

impl Provider {
    pub(super) fn plain_http(&self) -> PlainHttp {
        plain_http(&self.discovered.issuer)
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct AnswerIssuer {
    authorization_response_iss_parameter_supported: Option<bool>,
}

impl AdditionalProviderMetadata for AnswerIssuer {}

type Metadata = ProviderMetadata<
    AnswerIssuer,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Fetches the discovery document and the keys. The endpoints are usable; whether a key is, may be asked.
pub(super) async fn fetch(http: &Arc<HttpClient>, issuer: &IssuerUrl) -> Result<Provider, FetchFailure> {
    http.reload().await?;
    Ok(discover(issuer, http.caller(plain_http(issuer))).await?)
}

/// The same by whatever brings the documents.
pub(super) async fn discover<S, A>(issuer: &IssuerUrl, send: S) -> Result<Provider, DiscoveryProblem>
where
    S: Fn(HttpRequest) -> A + Send + 'static,
    A: Future<Output = Result<HttpResponse, HttpProblem>> + Send + 'static,
{
    let expected = openidconnect::IssuerUrl::new(issuer.as_str().to_owned())
        .map_err(|error| DiscoveryProblem::Issuer(error.to_string()))?;
    let metadata = Metadata::discover_async(expected, &send).await.map_err(problem)?;
    judge(issuer, &metadata)
}

/// Fetches the keys alone.
pub(super) async fn fetch_keys(http: &Arc<HttpClient>, provider: &Provider) -> Result<Vec<SigningKey>, FetchFailure> {
    http.reload().await?;
    let url = JsonWebKeySetUrl::from_url(provider.discovered.jwks_uri.clone());
    let send = http.caller(provider.plain_http());
    let set = CoreJsonWebKeySet::fetch_async(&url, &send).await.map_err(problem)?;
    Ok(admitted(&set))
}

fn plain_http(issuer: &IssuerUrl) -> PlainHttp {
    if issuer.is_plain_http() { PlainHttp::OnLoopback } else { PlainHttp::Refused }
}

fn judge(issuer: &IssuerUrl, metadata: &Metadata) -> Result<Provider, DiscoveryProblem> {
    let url = |name: &'static str, url: &Url| endpoint(name, url, plain_http(issuer));
    let token_endpoint = metadata.token_endpoint().ok_or(DiscoveryProblem::Missing("token_endpoint"))?;
    let userinfo_endpoint =
        metadata.userinfo_endpoint().map(|userinfo| url("userinfo_endpoint", userinfo.url())).transpose()?;
    let discovered = Discovered {
        issuer: issuer.clone(),
        authorization_endpoint: url("authorization_endpoint", metadata.authorization_endpoint().url())?,
        token_endpoint: url("token_endpoint", token_endpoint.url())?,
        userinfo_endpoint,
        jwks_uri: url("jwks_uri", metadata.jwks_uri().url())?,
    };
    let mut algorithms = metadata.id_token_signing_alg_values_supported().iter();
    if !algorithms.any(Algorithm::is_accepted) {
        return Err(DiscoveryProblem::Algorithms);
    }
    Ok(Provider {
        discovered,
        secret_ways: Arc::new(client_secret::Ways::announced(
            metadata.token_endpoint_auth_methods_supported().map(Vec::as_slice),
        )),
        names_issuer_in_answers: metadata
            .additional_metadata()
            .authorization_response_iss_parameter_supported
            .unwrap_or(false),
        keys: admitted(metadata.jwks()),
    })
}

fn endpoint(name: &'static str, url: &Url, plain: PlainHttp) -> Result<Url, DiscoveryProblem> {
    let secure = url.scheme() == "https" || plain == PlainHttp::OnLoopback;
    let usable = secure
        && is_https_or_loopback(url)
        && !has_credentials(url)
        && url.fragment().is_none()
        && !contains_placeholder(url.as_str())
        && url.as_str().len() <= MAX_ENDPOINT_BYTES;
    if usable { Ok(url.clone()) } else { Err(DiscoveryProblem::Endpoint(name)) }
}

fn problem(error: DiscoveryError<HttpProblem>) -> DiscoveryProblem {
    match error {
        DiscoveryError::Request(problem) => DiscoveryProblem::Fetch(problem),
        DiscoveryError::Validation(reason) => DiscoveryProblem::Issuer(quoted(&reason)),
        DiscoveryError::Response(status, _, reason) => {
            let reason = format!("{reason} (status {})", status.as_u16());
            DiscoveryProblem::Malformed(quoted(&reason))
        }
        DiscoveryError::Parse(error) => DiscoveryProblem::Malformed(quoted(&error.to_string())),
        other => DiscoveryProblem::Malformed(quoted(&other.to_string())),
    }
}

/// The reasons quote the provider: without control characters, and not at any length.
fn quoted(reason: &str) -> String {
    reason.escape_debug().take(300).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{PlainHttp, endpoint};

    #[test]
    fn an_endpoint_is_https_or_on_the_loopback_of_a_loopback_issuer() {
        let usable = |url: &str, plain| endpoint("jwks_uri", &url.parse().unwrap(), plain).is_ok();
        assert!(usable("https://keys.example/jwks?v=1", PlainHttp::Refused));
        assert!(usable("http://127.0.0.1:9000/jwks", PlainHttp::OnLoopback));
        assert!(!usable("http://127.0.0.1:9000/jwks", PlainHttp::Refused));
        for url in [
            "http://keys.example/jwks",
            "https://user:secret@keys.example/jwks",
            "https://keys.example/jwks#key",
            "https://keys.example/{tenantid}/jwks",
            "file:///etc/passwd",
        ] {
            assert!(!usable(url, PlainHttp::OnLoopback), "{url}");
        }
    }
}
