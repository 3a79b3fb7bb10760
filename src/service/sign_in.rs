//! The authorization code flow, up to the point where a decision is due: begin at the provider, come back with a code.
//!
//! Nonce, PKCE verifier and cookie are derived from the state by HMAC, so the table of pending requests holds no secret.

use aggregates::{SessionId, SetupState};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use projections::SetupRow;
use sha2::{Digest, Sha256};

use super::setup::{SetupCaller, setup_error};
use super::sign_in_decision::{OwnerVerified, SignedIn};
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::keys::hmac_sha256;
use crate::log::pending::{Begun, PendingRequest, Purpose};
use crate::oidc::{CallbackParams, OidcError, ProviderConfig, VerifiedIdentity};

/// Cookies that bind a state to a browser are named so, with the state's hash behind.
pub const STATE_COOKIE_PREFIX: &str = "authlog_state_";

/// Where to send the browser.
#[derive(Debug)]
pub struct Begin {
    pub authorization_url: String,
    /// Opaque; guards against cross-site request forgery (RFC 6749, section 10.12).
    pub state: String,
    pub cookie: StateCookie,
}

/// The cookie that binds a state to the browser that began.
#[derive(Debug, PartialEq, Eq)]
pub struct StateCookie {
    pub name: String,
    pub value: String,
    pub max_age_seconds: i64,
}

/// What the provider's redirect brought back.
#[derive(Clone, Debug)]
pub struct Callback {
    pub code: String,
    pub state: String,
    /// RFC 9207.
    pub iss: Option<String>,
}

impl Service {
    /// Begins to find out who becomes owner.
    ///
    /// # Errors
    /// `oidc_not_configured`, `oidc_discovery_error`, `too_many_pending`.
    pub async fn start_owner(
        &self,
        context: &CallContext,
        caller: &SetupCaller,
        redirect_uri: &str,
        source: &str,
    ) -> Result<Begin, ApiError> {
        self.run(context, super::setup::Slide { session: caller.session }).await?;
        self.begin(Purpose::Setup, Some(caller.session), redirect_uri, source).await
    }

    /// Begins a sign-in.
    ///
    /// # Errors
    /// `setup_incomplete`, `oidc_not_configured`, `oidc_discovery_error`, `too_many_pending`.
    pub async fn start_sign_in(&self, redirect_uri: &str, source: &str) -> Result<Begin, ApiError> {
        self.require_ready().await?;
        self.begin(Purpose::SignIn, None, redirect_uri, source).await
    }

    /// # Errors
    /// `setup_incomplete`.
    pub async fn require_ready(&self) -> Result<(), ApiError> {
        if self.setup_row().await?.state == SetupState::Ready {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::SetupIncomplete).with_message("Setup is not complete yet."))
    }

    async fn begin(
        &self,
        purpose: Purpose,
        setup_session: Option<SessionId>,
        redirect_uri: &str,
        source: &str,
    ) -> Result<Begin, ApiError> {
        let provider = self.provider_config().await?;
        let state = super::setup::random_token()?;
        let derived = self.derived(&state);
        let url = self.oidc.authorization_url(&provider, redirect_uri, &state, &derived.nonce, &derived.pkce_verifier);
        let authorization_url = url.await.map_err(sign_in_error)?.to_string();
        let now = self.now();
        let ttl_seconds = self.settings.auth_request_ttl.get();
        let request = PendingRequest {
            purpose,
            source: source.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            setup_session,
            provider_version: provider.version,
            created_at: now,
            expires_at: now.plus(ttl_seconds),
        };
        let begun =
            self.log.begin_request(&state, &request, i64::from(self.settings.max_pending_auth_requests.get())).await;
        match begun.map_err(store_error)? {
            Begun::Pending => {
                let cookie =
                    StateCookie { name: cookie_name(&state), value: derived.cookie, max_age_seconds: ttl_seconds };
                Ok(Begin { authorization_url, state, cookie })
            }
            Begun::TooMany => Err(ApiError::new(ErrorCode::TooManyPending)
                .with_message("Too many sign-ins are pending from your address.")),
        }
    }

    /// Whether the browser that brings `cookies` began the sign-in of this state.
    pub fn cookie_fits(&self, state: &str, cookies: &[(String, String)]) -> bool {
        let (name, expected) = (cookie_name(state), self.derived(state).cookie);
        let digest = |value: &str| Sha256::digest(value.as_bytes());
        cookies.iter().any(|(given, value)| *given == name && digest(value) == digest(&expected))
    }

    /// The owner comes back from the provider. `caller` is the setup session of the Authorization header, if there was one; else
    /// `has_cookie` must say that the browser's cookie came back.
    ///
    /// # Errors
    /// `missing_auth`, `invalid_state` (400), `auth_expired`, and whatever makes a sign-in fail.
    pub async fn verify_owner(
        &self,
        context: &CallContext,
        caller: Option<SetupCaller>,
        has_cookie: bool,
        callback: Callback,
    ) -> Result<OwnerVerified, ApiError> {
        if caller.is_none() && !has_cookie {
            return Err(ApiError::new(ErrorCode::MissingAuth)
                .with_message("Bring the setup session's token, or the cookie of the browser that began."));
        }
        let request = self.take(Purpose::Setup, &callback.state).await?;
        let session = request.setup_session.ok_or_else(ApiError::unknown_state)?;
        if caller.is_some_and(|caller| caller.session != session) {
            return Err(ApiError::unknown_state());
        }
        let identity = self.exchange(&request, &callback).await?;
        self.register_owner(context, session, request.provider_version, identity).await
    }

    /// Somebody comes back from the provider.
    ///
    /// # Errors
    /// `setup_incomplete`, `invalid_state` (400), `auth_expired`, `user_not_found`, and whatever makes a sign-in fail.
    pub async fn finish_sign_in(&self, context: &CallContext, callback: Callback) -> Result<SignedIn, ApiError> {
        self.require_ready().await?;
        let request = self.take(Purpose::SignIn, &callback.state).await?;
        let signed_in = match self.exchange(&request, &callback).await {
            Ok(identity) => self.sign_in(context, request.provider_version, identity).await,
            Err(error) => Err(error),
        };
        signed_in.inspect_err(|error| self.refusals.count(error.code()))
    }

    /// Takes the pending request out of the table: from now on its state is used up.
    async fn take(&self, purpose: Purpose, state: &str) -> Result<PendingRequest, ApiError> {
        let request = self.log.take_request(state).await.map_err(store_error)?.ok_or_else(ApiError::unknown_state)?;
        if request.purpose != purpose {
            return Err(ApiError::unknown_state());
        }
        if request.expires_at <= self.now() {
            return Err(ApiError::new(ErrorCode::AuthExpired).with_message("The sign-in took too long; begin again."));
        }
        Ok(request)
    }

    async fn exchange(&self, request: &PendingRequest, callback: &Callback) -> Result<VerifiedIdentity, ApiError> {
        let provider = self.provider_config().await?;
        if provider.version != request.provider_version {
            return Err(ApiError::unknown_state());
        }
        let derived = self.derived(&callback.state);
        let params = CallbackParams {
            code: &callback.code,
            redirect_uri: &request.redirect_uri,
            pkce_verifier: &derived.pkce_verifier,
            nonce: &derived.nonce,
            iss: callback.iss.as_deref(),
        };
        let now = chrono::DateTime::from_timestamp(self.now().0, 0).unwrap_or_default();
        self.oidc.exchange(&provider, params, now).await.map_err(sign_in_error)
    }

    fn derived(&self, state: &str) -> Derived {
        let key = &self.log.instance_keys().pending;
        let derive = |purpose: &str| URL_SAFE_NO_PAD.encode(hmac_sha256(key, &[purpose.as_bytes(), state.as_bytes()]));
        Derived { nonce: derive("nonce"), pkce_verifier: derive("pkce verifier"), cookie: derive("cookie") }
    }

    /// The setup's row for calls that must check the state of the instance before anything else.
    ///
    /// # Errors
    /// `already_configured`.
    pub async fn require_setup_open(&self) -> Result<SetupRow, ApiError> {
        let row = self.setup_row().await?;
        if row.state == SetupState::Ready {
            return Err(setup_error(&aggregates::SetupError::AlreadyConfigured));
        }
        Ok(row)
    }

    /// The provider's configuration with its secret opened.
    ///
    /// # Errors
    /// `oidc_not_configured`, `oidc_config_error`, `decryption_error`.
    pub async fn provider_config(&self) -> Result<ProviderConfig, ApiError> {
        super::provider::config(self).await
    }
}

/// What belongs to one state and is stored nowhere.
struct Derived {
    nonce: String,
    pkce_verifier: String,
    cookie: String,
}

/// The name of a state's cookie; the name tells nothing of the state.
fn cookie_name(state: &str) -> String {
    format!("{STATE_COOKIE_PREFIX}{}", &hex::encode(Sha256::digest(state.as_bytes()))[..16])
}

/// What goes wrong between here and the provider, in a sign-in.
pub(crate) fn sign_in_error(error: OidcError) -> ApiError {
    provider_error(error, ErrorCode::OidcDiscoveryError)
}

/// `discovery` is the code for a discovery that failed: it differs between configuring and signing in.
pub(crate) fn provider_error(error: OidcError, discovery: ErrorCode) -> ApiError {
    let code = match &error {
        OidcError::Discovery(_) => discovery,
        OidcError::TokenExchange(_) => ErrorCode::TokenExchangeError,
        OidcError::MissingIdToken => ErrorCode::MissingIdToken,
        OidcError::IdTokenVerification(_) => ErrorCode::IdTokenVerificationError,
        OidcError::Config(_) => ErrorCode::OidcConfigError,
        OidcError::HttpClient(_) => ErrorCode::HttpClientError,
    };
    ApiError::new(code).caused_by(error)
}

/// Whether any state's cookie came along.
pub fn has_state_cookie(cookies: &[(String, String)]) -> bool {
    cookies.iter().any(|(name, _)| name.starts_with(STATE_COOKIE_PREFIX))
}
