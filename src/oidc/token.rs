//! The two ends of the code flow: where a person is sent, and what the code they bring back is worth.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJsonWebKeySet,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreResponseType, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessToken, AuthType, AuthUrl, AuthenticationFlow, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyAdditionalClaims, EndpointNotSet, EndpointSet, ExtraTokenFields, IdToken, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardErrorResponse,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::CallbackParams;
use super::client_secret::NOT_LET_IN;
use super::error::{ConfigProblem, ExchangeProblem, HttpProblem, IdTokenProblem, OidcError};
use super::http::HttpClient;
use super::issuer::ProviderConfig;
use super::provider::Provider;

type RelyingParty = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;

/// The URL a person is sent to (Core, section 3.1.2.1; PKCE by RFC 7636, method S256).
pub(super) fn authorization_url(
    provider: &Provider,
    config: &ProviderConfig,
    redirect_uri: &str,
    state: &str,
    nonce: &str,
    pkce_verifier: &str,
) -> Result<Url, OidcError> {
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier(pkce_verifier)?);
    let (state, nonce) = (state.to_owned(), nonce.to_owned());
    ways(provider, config)?;
    let (url, _, _) = relying_party(provider, config, redirect_uri)?
        .authorize_url(
            AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
            move || CsrfToken::new(state),
            move || Nonce::new(nonce),
        )
        .add_scope(Scope::new("email".to_owned()))
        .add_scope(Scope::new("profile".to_owned()))
        .set_pkce_challenge(challenge)
        .url();
    Ok(url)
}

/// Exchanges a code for the provider's answer; see [`super::client_secret`] for why that may take two tries.
pub(super) async fn exchange_code(
    http: &Arc<HttpClient>,
    provider: &Provider,
    config: &ProviderConfig,
    params: &CallbackParams<'_>,
) -> Result<TokenAnswer, OidcError> {
    let mut refused = ConfigProblem::ClientAuthentication.into();
    for way in ways(provider, config)? {
        match redeem(http, provider, config, params, way.as_ref()).await {
            Ok(answer) => {
                if let Some(way) = &way {
                    provider.secret_ways.led_in(way);
                }
                return Ok(answer);
            }
            Err(OidcError::TokenExchange(ExchangeProblem::Refused(code))) if code == NOT_LET_IN => {
                refused = ExchangeProblem::Refused(code).into();
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// How to authenticate at the token endpoint, in the order in which to try; without a way for a public client.
fn ways(provider: &Provider, config: &ProviderConfig) -> Result<Vec<Option<AuthType>>, ConfigProblem> {
    if config.client_secret.is_none() {
        return Ok(vec![None]);
    }
    let ways: Vec<_> = provider.secret_ways.in_turn().into_iter().map(Some).collect();
    if ways.is_empty() { Err(ConfigProblem::ClientAuthentication) } else { Ok(ways) }
}

async fn redeem(
    http: &Arc<HttpClient>,
    provider: &Provider,
    config: &ProviderConfig,
    params: &CallbackParams<'_>,
    way: Option<&AuthType>,
) -> Result<TokenAnswer, OidcError> {
    let mut client = relying_party(provider, config, params.redirect_uri)?;
    if let (Some(secret), Some(way)) = (&config.client_secret, way) {
        let secret = ClientSecret::new(secret.expose_secret().to_owned());
        client = client.set_client_secret(secret).set_auth_type(way.clone());
    }
    let send = http.caller(provider.plain_http());
    let answer = client
        .exchange_code(AuthorizationCode::new(params.code.to_owned()))
        .set_pkce_verifier(verifier(params.pkce_verifier)?)
        .request_async(&send)
        .await;
    answer.map_err(|error| problem(error).into())
}

/// The client, not authenticated yet.
fn relying_party(provider: &Provider, config: &ProviderConfig, redirect_uri: &str) -> Result<RelyingParty, OidcError> {
    config.check()?;
    let issuer = openidconnect::IssuerUrl::new(config.issuer.as_str().to_owned())
        .map_err(|_| ConfigProblem::Issuer(super::IssuerUrlError::Malformed))?;
    let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| ConfigProblem::RedirectUri)?;
    let discovered = &provider.discovered;
    let client_id = ClientId::new(config.client_id.clone());
    // The crate's own verifier is not used, so it gets no keys.
    Ok(Client::new(client_id, issuer, CoreJsonWebKeySet::default())
        .set_auth_uri(AuthUrl::from_url(discovered.authorization_endpoint.clone()))
        .set_token_uri(TokenUrl::from_url(discovered.token_endpoint.clone()))
        .set_redirect_uri(redirect))
}

/// The crate panics at a verifier of another length.
fn verifier(text: &str) -> Result<PkceCodeVerifier, ConfigProblem> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) {
        Ok(PkceCodeVerifier::new(text.to_owned()))
    } else {
        Err(ConfigProblem::PkceVerifier)
    }
}

type ExchangeError = RequestTokenError<HttpProblem, StandardErrorResponse<CoreErrorResponseType>>;

/// Keeps of a refusal only its code, and of a malformed answer nothing: it may hold tokens.
fn problem(error: ExchangeError) -> ExchangeProblem {
    match error {
        RequestTokenError::ServerResponse(refusal) => {
            let code = refusal.error().to_string();
            ExchangeProblem::Refused(code.chars().take(64).collect())
        }
        RequestTokenError::Request(problem) => ExchangeProblem::Http(problem),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => ExchangeProblem::Malformed,
    }
}

/// A token answer whose ID token has not been taken apart: the crate would report a malformed one as a
/// failed exchange, and could not say whether there is one.
#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct TokenAnswer(StandardTokenResponse<RawIdToken, CoreTokenType>);

#[derive(Deserialize, Serialize)]
struct RawIdToken {
    #[serde(default)]
    id_token: Option<Value>,
}

impl fmt::Debug for RawIdToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RawIdToken([redacted])")
    }
}

impl ExtraTokenFields for RawIdToken {}

impl TokenAnswer {
    /// The ID token as it came.
    pub(super) fn id_token(&self) -> Result<&str, OidcError> {
        match &self.0.extra_fields().id_token {
            None | Some(Value::Null) => Err(OidcError::MissingIdToken),
            Some(Value::String(token)) => Ok(token),
            Some(_) => Err(IdTokenProblem::Malformed("it is not a string").into()),
        }
    }
}

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        self.0.access_token()
    }

    fn token_type(&self) -> &CoreTokenType {
        self.0.token_type()
    }

    fn expires_in(&self) -> Option<Duration> {
        self.0.expires_in()
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.0.refresh_token()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.0.scopes()
    }
}

type CrateIdToken =
    IdToken<EmptyAdditionalClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

impl TokenResponse<EmptyAdditionalClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>
    for TokenAnswer
{
    /// None: see [`TokenAnswer::id_token`].
    fn id_token(&self) -> Option<&CrateIdToken> {
        None
    }
}
