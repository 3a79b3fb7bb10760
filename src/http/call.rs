//! What every handler needs of a call: who makes it, from where, and the service to ask.

use std::convert::Infallible;

use aggregates::SetupState;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;

use super::{Bearer, RequestId, SourceAddress};
use crate::error::{ApiError, ErrorCode};
use crate::service::setup::SetupCaller;
use crate::service::{CallContext, Caller, Service};

/// A call on its way through a handler. It refuses nothing by itself: a handler asks in the contract's order.
pub struct Call {
    pub service: Service,
    pub context: CallContext,
    pub source: SourceAddress,
    bearer: Result<Option<Bearer>, ApiError>,
}

impl<S> FromRequestParts<S> for Call
where
    Service: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let source = SourceAddress::from_request_parts(parts, state).await?;
        let user_agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let context = CallContext {
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0),
            source_address: Some(source.to_string()),
            user_agent: user_agent.map(str::to_owned),
        };
        let bearer = <Option<Bearer> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        Ok(Self { service: Service::from_ref(state), context, source, bearer })
    }
}

impl Call {
    /// The token of the one Authorization header, if there is one.
    ///
    /// # Errors
    /// `invalid_input` for two headers, `invalid_session` for a token that cannot be one.
    pub fn bearer(&self) -> Result<Option<&str>, ApiError> {
        match &self.bearer {
            Ok(bearer) => Ok(bearer.as_ref().map(Bearer::expose)),
            Err(refused) => Err(ApiError::new(refused.code()).with_message(refused.message().to_owned())),
        }
    }

    /// Who calls.
    ///
    /// # Errors
    /// `missing_auth`, `invalid_session`, `session_expired`, `session_error`.
    pub async fn caller(&self) -> Result<Caller, ApiError> {
        let token = self.bearer()?.ok_or(ErrorCode::MissingAuth)?;
        self.service.authenticate(&self.context, token).await
    }

    /// The holder of the setup session, in one of the states given; in every state but `ready` if none is given.
    ///
    /// # Errors
    /// `already_configured`, `missing_auth`, `no_session`, `invalid_session`, `session_expired`, `invalid_state`.
    pub async fn setup_caller(&self, allowed: &[SetupState]) -> Result<SetupCaller, ApiError> {
        self.service.require_setup_open().await?;
        // A token that cannot be one is an unknown one: whether there was a session at all is asked before.
        let bearer = match self.bearer() {
            Err(error) if error.code() == ErrorCode::InvalidSession => Some(""),
            bearer => bearer?,
        };
        self.service.setup_caller(bearer, allowed).await
    }
}
