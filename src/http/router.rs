//! Every route, and the OpenAPI document that describes them.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rate_limit::limit_public_calls;
use super::routes::page::content_security_policy;
use super::routes::{api_tokens, audit, audit_stream, page, provider, replay, sessions, setup, sign_in, system, users};
use super::{HttpState, codes, layers, metrics};
use crate::error::{ErrorCode, ErrorEnvelope};
use crate::service::Service;

/// The whole service behind its layers.
pub fn router(service: Service, state: &HttpState) -> Router {
    let (routes, document) = described(state);
    // Anybody may ask for these two, and need not read the answer: they are made once, and all answers share their bytes.
    let page = Bytes::from(super::docs_page::render(&document));
    // Its keys are strings, so nothing in it could not be written.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let json = [(CONTENT_TYPE, "application/json")];
    let undescribed = Router::new()
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(move || async move { (json, document) }))
        .route("/docs", get(move || async move { ([content_security_policy()], Html(page)) }));
    layers(routes.merge(undescribed).with_state(service), state)
}

/// The OpenAPI document of this version.
pub fn openapi(state: &HttpState) -> OpenApi {
    described(state).1
}

fn described(state: &HttpState) -> (Router<Service>, OpenApi) {
    let (public, mut document) = OpenApiRouter::with_openapi(head())
        .routes(routes!(setup::status))
        .routes(routes!(setup::verify_bootstrap_token))
        .routes(routes!(setup::verify_owner))
        .routes(routes!(sign_in::start))
        .routes(routes!(sign_in::callback))
        .routes(routes!(page::callback))
        .split_for_parts();
    let (protected, more) = OpenApiRouter::new()
        .routes(routes!(setup::preferences))
        .routes(routes!(setup::configure))
        .routes(routes!(setup::start_owner))
        .routes(routes!(setup::summary))
        .routes(routes!(setup::complete))
        .routes(routes!(sign_in::logout))
        .routes(routes!(users::me))
        .routes(routes!(users::list))
        .routes(routes!(users::invite))
        .routes(routes!(users::change_role))
        .routes(routes!(users::disable))
        .routes(routes!(users::enable))
        .routes(routes!(sessions::list, sessions::revoke_all))
        .routes(routes!(sessions::revoke))
        .routes(routes!(api_tokens::list, api_tokens::issue))
        .routes(routes!(api_tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(audit_stream::stream))
        .routes(routes!(replay::replay))
        .routes(routes!(replay::diff))
        .routes(routes!(replay::why))
        .routes(routes!(provider::show, provider::exchange))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .split_for_parts();
    document.merge(more);
    codes::describe(&mut document);
    (limit_public_calls(public, state).merge(protected), document)
}

fn head() -> OpenApi {
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let components = ComponentsBuilder::new()
        .schema_from::<ErrorEnvelope>()
        .schema_from::<ErrorCode>()
        .security_scheme("bearer", bearer)
        .build();
    let info = InfoBuilder::new()
        .title("authlog")
        .description(Some(
            "Event-sourced authentication: setup, sign-in through OpenID Connect, users, sessions, API tokens.",
        ))
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}
