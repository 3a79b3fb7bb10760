//! Every error a client can see. Which status, which code and which words belong to an error is
//! decided in one match, `ErrorCode::facts`, and nowhere else.
//!
//! What a client reads is ours, word for word. What really happened, the cause, goes to the service's
//! own log, in a line that names the request, and is never sent.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A code of the contract: stable, one per class of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is explained by its message in `facts`")]
pub enum ErrorCode {
    MissingAuth,
    InvalidSession,
    SessionExpired,
    NoSession,
    Forbidden,
    UserNotFound,
    AlreadyConfigured,
    InvalidState,
    SetupIncomplete,
    InvalidToken,
    TokenConsumed,
    TokenExpired,
    NoBootstrapToken,
    TooManyAttempts,
    OidcDiscoveryFailed,
    OidcDiscoveryError,
    OidcNotConfigured,
    OidcConfigError,
    AuthExpired,
    TokenExchangeError,
    MissingIdToken,
    IdTokenVerificationError,
    MissingEmail,
    TooManyPending,
    InvalidInput,
    InvalidRedirectUri,
    StoreError,
    EncryptionError,
    DecryptionError,
    HttpClientError,
    SessionError,
    NotFound,
    AlreadyExists,
    MethodNotAllowed,
    PayloadTooLarge,
    UnsupportedMediaType,
    MisdirectedRequest,
    RateLimited,
    InternalError,
    Unavailable,
}

impl ErrorCode {
    /// Every code: first the documented ones in the order of the contract, then those beyond them.
    pub const ALL: [Self; 40] = [
        Self::MissingAuth,
        Self::InvalidSession,
        Self::SessionExpired,
        Self::NoSession,
        Self::Forbidden,
        Self::UserNotFound,
        Self::AlreadyConfigured,
        Self::InvalidState,
        Self::SetupIncomplete,
        Self::InvalidToken,
        Self::TokenConsumed,
        Self::TokenExpired,
        Self::NoBootstrapToken,
        Self::TooManyAttempts,
        Self::OidcDiscoveryFailed,
        Self::OidcDiscoveryError,
        Self::OidcNotConfigured,
        Self::OidcConfigError,
        Self::AuthExpired,
        Self::TokenExchangeError,
        Self::MissingIdToken,
        Self::IdTokenVerificationError,
        Self::MissingEmail,
        Self::TooManyPending,
        Self::InvalidInput,
        Self::InvalidRedirectUri,
        Self::StoreError,
        Self::EncryptionError,
        Self::DecryptionError,
        Self::HttpClientError,
        Self::SessionError,
        Self::NotFound,
        Self::AlreadyExists,
        Self::MethodNotAllowed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::RateLimited,
        Self::InternalError,
        Self::Unavailable,
    ];

    /// The status an answer with this code has; `ApiError::unknown_state` is the one exception.
    pub fn status(self) -> StatusCode {
        self.facts().0
    }

    /// The code as clients read it.
    pub fn as_str(self) -> &'static str {
        self.facts().1
    }

    /// What people read when the one who refused has nothing more exact to say.
    pub fn message(self) -> &'static str {
        self.facts().2
    }

    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MissingAuth => (S::UNAUTHORIZED, "missing_auth", "This call needs a bearer token."),
            Self::InvalidSession => (S::UNAUTHORIZED, "invalid_session", "The session is not known, or was ended."),
            Self::SessionExpired => (S::UNAUTHORIZED, "session_expired", "The session's time has run out."),
            Self::NoSession => (S::UNAUTHORIZED, "no_session", "No setup session has been opened."),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "The caller's role does not permit this call."),
            Self::UserNotFound => (S::FORBIDDEN, "user_not_found", "There is no account here for this person."),
            Self::AlreadyConfigured => {
                (S::CONFLICT, "already_configured", "Setup is complete; it cannot be done again.")
            }
            Self::InvalidState => (S::CONFLICT, "invalid_state", "The present state does not allow this call."),
            Self::SetupIncomplete => {
                (S::CONFLICT, "setup_incomplete", "Setup is not complete; nobody can sign in yet.")
            }
            Self::InvalidToken => (S::UNAUTHORIZED, "invalid_token", "The bootstrap token is wrong."),
            Self::TokenConsumed => (S::GONE, "token_consumed", "The bootstrap token was used before."),
            Self::TokenExpired => (S::GONE, "token_expired", "The bootstrap token's time has run out."),
            Self::NoBootstrapToken => (
                S::INTERNAL_SERVER_ERROR,
                "no_bootstrap_token",
                "No bootstrap token was issued yet: run `authlog setup token`.",
            ),
            Self::TooManyAttempts => (
                S::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "Five verifications have failed; issue a new bootstrap token.",
            ),
            Self::OidcDiscoveryFailed => (
                S::BAD_REQUEST,
                "oidc_discovery_failed",
                "The provider's discovery document cannot be fetched or used.",
            ),
            Self::OidcDiscoveryError => {
                (S::BAD_GATEWAY, "oidc_discovery_error", "The provider's discovery request failed.")
            }
            Self::OidcNotConfigured => {
                (S::INTERNAL_SERVER_ERROR, "oidc_not_configured", "No identity provider is configured.")
            }
            Self::OidcConfigError => {
                (S::INTERNAL_SERVER_ERROR, "oidc_config_error", "The stored provider configuration cannot be used.")
            }
            Self::AuthExpired => (S::BAD_REQUEST, "auth_expired", "The sign-in took too long; start again."),
            Self::TokenExchangeError => {
                (S::BAD_GATEWAY, "token_exchange_error", "The provider did not exchange the code.")
            }
            Self::MissingIdToken => (S::BAD_GATEWAY, "missing_id_token", "The provider's answer holds no ID token."),
            Self::IdTokenVerificationError => {
                (S::BAD_GATEWAY, "id_token_verification_error", "The provider's ID token does not verify.")
            }
            Self::MissingEmail => (S::BAD_GATEWAY, "missing_email", "The provider did not name an email address."),
            Self::TooManyPending => {
                (S::TOO_MANY_REQUESTS, "too_many_pending", "Too many sign-ins are pending; try again later.")
            }
            Self::InvalidInput => (S::BAD_REQUEST, "invalid_input", "The request is not valid."),
            Self::InvalidRedirectUri => {
                (S::BAD_REQUEST, "invalid_redirect_uri", "The redirect URI is malformed or not allowed.")
            }
            Self::StoreError => (S::INTERNAL_SERVER_ERROR, "store_error", "A database operation failed."),
            Self::EncryptionError => (S::INTERNAL_SERVER_ERROR, "encryption_error", "A secret could not be sealed."),
            Self::DecryptionError => {
                (S::INTERNAL_SERVER_ERROR, "decryption_error", "A stored secret could not be opened.")
            }
            Self::HttpClientError => {
                (S::INTERNAL_SERVER_ERROR, "http_client_error", "The outgoing HTTP client could not be built.")
            }
            Self::SessionError => {
                (S::INTERNAL_SERVER_ERROR, "session_error", "The session could not be created or checked.")
            }
            Self::NotFound => (S::NOT_FOUND, "not_found", "There is nothing here."),
            Self::AlreadyExists => (S::CONFLICT, "already_exists", "It exists already."),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method_not_allowed", "This path does not take this method.")
            }
            Self::PayloadTooLarge => (S::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is larger than 64 KiB."),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be sent as application/json.")
            }
            Self::MisdirectedRequest => {
                (S::MISDIRECTED_REQUEST, "misdirected_request", "This service does not answer to that host name.")
            }
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate_limited", "Too many calls; try again later."),
            Self::InternalError => (S::INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong here."),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "The service cannot answer now; try again."),
        }
    }
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ErrorEnvelope {
    /// For people, never empty.
    pub error: String,
    /// For programs, stable.
    pub code: ErrorCode,
    /// Left out when there is nothing to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

/// What caused an error; for the service's log, never for a client.
type Cause = Box<dyn Error + Send + Sync>;

/// An error on its way to a client.
#[derive(Debug)]
pub struct ApiError {
    code: ErrorCode,
    status: StatusCode,
    message: Cow<'static, str>,
    details: Option<String>,
    retry_after_seconds: Option<u32>,
    source: Option<Cause>,
}

impl ApiError {
    /// An error with its code's own words.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            status: code.status(),
            message: Cow::Borrowed(code.message()),
            details: None,
            retry_after_seconds: None,
            source: None,
        }
    }

    /// `invalid_input` with what is wrong with it. The words must not repeat what the client sent.
    pub fn invalid_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidInput).with_message(message)
    }

    /// A `state` value that is not known: `invalid_state`, but with 400, since it is the request and
    /// not the instance that is in the wrong.
    pub fn unknown_state() -> Self {
        let mut error = Self::new(ErrorCode::InvalidState)
            .with_message("The state value is not known, was used before, or belongs to another browser.");
        error.status = StatusCode::BAD_REQUEST;
        error
    }

    /// More exact words than the code's own.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        debug_assert!(!message.is_empty(), "the contract promises words");
        self.message = message;
        self
    }

    /// The words of an error of ours, as a sentence.
    #[must_use]
    pub fn worded(self, error: &impl std::fmt::Display) -> Self {
        let words = error.to_string();
        let mut characters = words.chars();
        let sentence: String =
            characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).chain(['.']).collect();
        self.with_message(sentence)
    }

    /// Something to add for people.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// When the client may try again, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// What really happened, for the service's log. It must hold no secret.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Cause>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What people read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Seconds to wait; the answers that ask to try again always say when.
    fn retry_after(&self) -> Option<u32> {
        let asks_again = matches!(self.code, ErrorCode::RateLimited | ErrorCode::Unavailable);
        self.retry_after_seconds.or(asks_again.then_some(1))
    }

    /// What really happened, for people on the host: what caused it, and what caused that.
    pub fn cause(&self) -> Option<String> {
        self.source.as_deref().map(|source| chain(source))
    }

    /// Writes the cause, if there is one, to the service's log.
    pub fn log(&self) {
        // Debug form: control characters of a foreign message stay escaped.
        let Some(cause) = self.cause() else { return };
        if self.status.is_server_error() {
            tracing::error!(code = self.code.as_str(), ?cause, "a call failed");
        } else {
            tracing::info!(code = self.code.as_str(), ?cause, "a call was refused");
        }
    }
}

/// An error and what lies below it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        // Writing to a String cannot fail.
        let _ = write!(line, ": {error}");
        next = error.source();
    }
    line
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let retry_after = self.retry_after();
        let envelope = ErrorEnvelope { error: self.message.into_owned(), code: self.code, details: self.details };
        let mut response = (self.status, Json(envelope)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests;
