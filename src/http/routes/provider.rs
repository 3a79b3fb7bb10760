//! `/v1/settings/external-access/oidc`: the identity provider once setup is complete.

use aggregates::Role;
use serde::Serialize;
use utoipa::ToSchema;

use super::setup::ProviderBody;
use crate::error::ApiError;
use crate::http::Json;
use crate::http::call::Call;

#[derive(Serialize, ToSchema)]
pub struct ProviderAnswer {
    issuer_url: String,
    client_id: String,
    has_client_secret: bool,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    userinfo_endpoint: Option<String>,
    jwks_uri: String,
    /// Unix seconds.
    configured_at: i64,
}

/// Show the identity provider
#[utoipa::path(
    get, path = "/v1/settings/external-access/oidc", tag = "identity provider", security(("bearer" = [])),
    responses((status = 200, body = ProviderAnswer))
)]
pub async fn show(call: Call) -> Result<Json<ProviderAnswer>, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let shown = call.service.show_provider().await?;
    Ok(Json(ProviderAnswer {
        issuer_url: shown.row.issuer_url.unwrap_or_default(),
        client_id: shown.row.client_id.unwrap_or_default(),
        has_client_secret: shown.row.client_secret.is_some(),
        authorization_endpoint: shown.discovered.authorization_endpoint.into(),
        token_endpoint: shown.discovered.token_endpoint.into(),
        userinfo_endpoint: shown.discovered.userinfo_endpoint.map(String::from),
        jwks_uri: shown.discovered.jwks_uri.into(),
        configured_at: shown.row.configured_at.unwrap_or_default().0,
    }))
}

#[derive(Serialize, ToSchema)]
pub struct ExchangedAnswer {
    discovered_issuer: String,
    has_client_secret: bool,
    /// Unix seconds.
    configured_at: i64,
}

/// Exchange the identity provider
#[utoipa::path(
    put, path = "/v1/settings/external-access/oidc", tag = "identity provider", request_body = ProviderBody,
    security(("bearer" = [])), responses((status = 200, body = ExchangedAnswer))
)]
pub async fn exchange(
    call: Call,
    body: Result<Json<ProviderBody>, ApiError>,
) -> Result<Json<ExchangedAnswer>, ApiError> {
    let caller = call.caller().await?;
    call.service.may_exchange_provider(&caller)?;
    let (service, context) = (&call.service, &call.context);
    let provider = body?.0.parse()?;
    let stored = service.exchange_provider(context, &caller, provider).await?;
    Ok(Json(ExchangedAnswer {
        discovered_issuer: stored.discovered_issuer,
        has_client_secret: stored.has_client_secret,
        configured_at: stored.configured_at.0,
    }))
}
