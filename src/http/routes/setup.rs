//! `/v1/public/setup-status` and `/v1/setup/...`: first-run setup.

use aggregates::SetupState::{BootstrapPending, IdpConfigured, OwnerCreated};
use aggregates::{InstanceId, RemoteAuthMode, RuntimeMode, SetupState};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::secret;
use super::sign_in::{BeginAnswer, CallbackBody, cookies, set_cookie};
use crate::error::{ApiError, ErrorCode};
use crate::http::Json;
use crate::http::RedirectPolicy;
use crate::http::call::Call;
use crate::items::StatusAnswer;
use crate::service::Service;
use crate::service::setup::NewProvider;

/// Where setup stands
#[utoipa::path(get, path = "/v1/public/setup-status", tag = "setup", responses((status = 200, body = StatusAnswer)))]
pub async fn status(State(service): State<Service>) -> Result<Json<StatusAnswer>, ApiError> {
    let status = service.setup_status().await?;
    Ok(Json(StatusAnswer::of(status.instance_id, status.state)))
}

#[derive(Deserialize, ToSchema)]
pub struct VerifyBody {
    /// As `authlog setup token` printed it.
    token: String,
}

#[derive(Serialize, ToSchema)]
pub struct SessionTokenAnswer {
    /// A bearer token, shown once.
    session_token: String,
    /// Unix seconds.
    expires_at: i64,
}

/// Open a setup session with a bootstrap token
#[utoipa::path(
    post, path = "/v1/setup/bootstrap-token/verify", tag = "setup", request_body = VerifyBody,
    responses((status = 200, body = SessionTokenAnswer))
)]
pub async fn verify_bootstrap_token(
    call: Call,
    body: Result<Json<VerifyBody>, ApiError>,
) -> Result<Response, ApiError> {
    call.service.require_setup_open().await?;
    let (service, context) = (&call.service, &call.context);
    let Json(body) = body?;
    let opened = service.verify_bootstrap_token(context, &body.token).await?;
    Ok(secret(SessionTokenAnswer { session_token: opened.token, expires_at: opened.expires_at.0 }))
}

#[derive(Deserialize, ToSchema)]
pub struct PreferencesBody {
    /// `remote`.
    runtime_mode: String,
    /// `oidc`.
    remote_auth_mode: String,
}

#[derive(Serialize, ToSchema)]
pub struct PreferencesAnswer {
    runtime_mode: &'static str,
    remote_auth_mode: &'static str,
    /// Unix seconds.
    session_expires_at: i64,
}

/// Say how the product runs
#[utoipa::path(
    post, path = "/v1/setup/preferences", tag = "setup", request_body = PreferencesBody, security(("bearer" = [])),
    responses((status = 200, body = PreferencesAnswer))
)]
pub async fn preferences(
    call: Call,
    body: Result<Json<PreferencesBody>, ApiError>,
) -> Result<Json<PreferencesAnswer>, ApiError> {
    let caller = call.setup_caller(&[]).await?;
    let (service, context) = (&call.service, &call.context);
    let Json(body) = body?;
    if (body.runtime_mode.as_str(), body.remote_auth_mode.as_str()) != ("remote", "oidc") {
        return Err(ApiError::new(ErrorCode::InvalidInput)
            .with_message("`runtime_mode` is `remote` and remote_auth_mode is `oidc`: nothing else is offered."));
    }
    let expires_at = service.set_preferences(context, &caller, RuntimeMode::Remote, RemoteAuthMode::Oidc).await?;
    Ok(Json(PreferencesAnswer { runtime_mode: "remote", remote_auth_mode: "oidc", session_expires_at: expires_at.0 }))
}

#[derive(Deserialize, ToSchema)]
pub struct ProviderBody {
    /// https, or http on loopback; without credentials, query and fragment.
    pub issuer_url: String,
    pub client_id: String,
    /// Left out for a public client, and to keep the stored secret while issuer and client id stay.
    #[serde(default)]
    pub client_secret: Option<String>,
}

impl ProviderBody {
    pub fn parse(self) -> Result<NewProvider, ApiError> {
        NewProvider::parse(&self.issuer_url, self.client_id, self.client_secret)
    }
}

#[derive(Serialize, ToSchema)]
pub struct ConfiguredAnswer {
    state: &'static str,
    discovered_issuer: String,
    /// Unix seconds.
    session_expires_at: i64,
}

/// Set the identity provider
#[utoipa::path(
    post, path = "/v1/setup/oidc/configure", tag = "setup", request_body = ProviderBody, security(("bearer" = [])),
    responses((status = 200, body = ConfiguredAnswer))
)]
pub async fn configure(
    call: Call,
    body: Result<Json<ProviderBody>, ApiError>,
) -> Result<Json<ConfiguredAnswer>, ApiError> {
    let caller = call.setup_caller(&[BootstrapPending, IdpConfigured]).await?;
    let (service, context) = (&call.service, &call.context);
    let provider = body?.0.parse()?;
    let discovered = service.discover(&provider).await?;
    let expires_at = service.configure_provider_in_setup(context, &caller, provider).await?;
    Ok(Json(ConfiguredAnswer {
        state: IdpConfigured.as_str(),
        discovered_issuer: discovered.issuer.as_str().to_owned(),
        session_expires_at: expires_at.0,
    }))
}

#[derive(Deserialize, ToSchema)]
pub struct StartOwnerBody {
    /// Where the provider sends the browser back to; its path is `/auth/callback`.
    redirect_uri: String,
}

/// Begin to sign the owner in
#[utoipa::path(
    post, path = "/v1/setup/owner/start-oidc", tag = "setup", request_body = StartOwnerBody, security(("bearer" = [])),
    responses((status = 200, body = BeginAnswer))
)]
pub async fn start_owner(call: Call, body: Result<Json<StartOwnerBody>, ApiError>) -> Result<Response, ApiError> {
    let caller = call.setup_caller(&[IdpConfigured]).await?;
    let (service, context) = (&call.service, &call.context);
    let Json(body) = body?;
    let redirect_uri = RedirectPolicy::new(&service.settings).accept(&body.redirect_uri)?;
    let begun =
        service.start_owner(context, &caller, redirect_uri.as_str(), &call.source.rate_key().ip().to_string()).await?;
    let cookie = set_cookie(&service.settings, &begun.cookie);
    Ok(([(SET_COOKIE, cookie)], secret(BeginAnswer::from(begun))).into_response())
}

#[derive(Serialize, ToSchema)]
pub struct OwnerAnswer {
    state: &'static str,
    owner_email: String,
    oidc_subject: String,
    /// Unix seconds.
    session_expires_at: i64,
}

/// Finish signing the owner in
#[utoipa::path(
    post, path = "/v1/setup/owner/verify-oidc", tag = "setup", request_body = CallbackBody,
    security(("bearer" = []), ()), responses((status = 200, body = OwnerAnswer))
)]
pub async fn verify_owner(
    call: Call,
    headers: HeaderMap,
    body: Result<Json<CallbackBody>, ApiError>,
) -> Result<Json<OwnerAnswer>, ApiError> {
    let setup = call.service.require_setup_open().await?;
    let cookies = cookies(&headers);
    let caller = match call.bearer()? {
        Some(_) => Some(call.setup_caller(&[IdpConfigured]).await?),
        None if crate::service::sign_in::has_state_cookie(&cookies) => None,
        None => {
            return Err(ApiError::new(ErrorCode::MissingAuth)
                .with_message("Bring the setup session's token, or the cookie of the browser that began."));
        }
    };
    if setup.state != IdpConfigured {
        return Err(ApiError::new(ErrorCode::InvalidState)
            .with_message(format!("This is not possible while setup is {}.", setup.state.as_str())));
    }
    let (service, context) = (&call.service, &call.context);
    let callback = body?.0.into_callback();
    let has_cookie = service.cookie_fits(&callback.state, &cookies);
    let owner = service.verify_owner(context, caller, has_cookie, callback).await?;
    Ok(Json(OwnerAnswer {
        state: OwnerCreated.as_str(),
        owner_email: owner.owner_email,
        oidc_subject: owner.oidc_subject,
        session_expires_at: owner.session_expires_at.0,
    }))
}

#[derive(Serialize, ToSchema)]
pub struct SummaryAnswer {
    instance_id: Uuid,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    has_client_secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_email: Option<String>,
}

/// What setup has so far
#[utoipa::path(
    get, path = "/v1/setup/summary", tag = "setup", security(("bearer" = [])),
    responses((status = 200, body = SummaryAnswer))
)]
pub async fn summary(call: Call) -> Result<Json<SummaryAnswer>, ApiError> {
    let caller = call.setup_caller(&[]).await?;
    let summary = call.service.setup_summary(&call.context, &caller).await?;
    Ok(Json(SummaryAnswer {
        instance_id: summary.instance_id.0,
        state: summary.state.as_str(),
        issuer_url: summary.issuer_url,
        client_id: summary.client_id,
        has_client_secret: summary.has_client_secret,
        owner_email: summary.owner_email,
    }))
}

#[derive(Serialize, ToSchema)]
pub struct CompleteAnswer {
    state: &'static str,
    instance_id: Uuid,
}

/// Complete setup, for good
#[utoipa::path(
    post, path = "/v1/setup/complete", tag = "setup", security(("bearer" = [])),
    responses((status = 200, body = CompleteAnswer))
)]
pub async fn complete(call: Call) -> Result<Json<CompleteAnswer>, ApiError> {
    let caller = call.setup_caller(&[OwnerCreated]).await?;
    let InstanceId(instance_id) = call.service.complete_setup(&call.context, &caller).await?;
    Ok(Json(CompleteAnswer { state: SetupState::Ready.as_str(), instance_id }))
}
