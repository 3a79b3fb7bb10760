//! `/healthz`, `/readyz`: whether the service is up, and whether it can do its work.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Json;
use crate::service::Service;
use crate::settings::limits::PROBE_TIMEOUT;

#[derive(Serialize, ToSchema)]
pub struct HealthAnswer {
    ok: bool,
    version: &'static str,
    package_version: &'static str,
    /// Always null.
    channel: Option<String>,
    /// Always null.
    github_repo: Option<String>,
}

/// Whether the process is up
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = HealthAnswer)))]
pub async fn healthz() -> Json<HealthAnswer> {
    let version = env!("CARGO_PKG_VERSION");
    Json(HealthAnswer { ok: true, version, package_version: version, channel: None, github_repo: None })
}

#[derive(Serialize, ToSchema)]
pub struct ReadyAnswer {
    ok: bool,
    /// Whether the database answers.
    database: bool,
    /// Whether the log writer takes what is decided.
    writer: bool,
    /// Position of the last event, while the database answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
    /// Read models that are not kept up, or not by this release, or whose tables are gone.
    aside: Vec<String>,
}

/// Whether the database answers, the log takes events and the read models are whole
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, body = ReadyAnswer), (status = 503, body = ReadyAnswer))
)]
pub async fn readyz(State(service): State<Service>) -> Response {
    let writer = service.log.takes_units();
    let probed = match service.log.probe(PROBE_TIMEOUT).await {
        Ok(head) => service.log.probe_for_lost(PROBE_TIMEOUT).await.map(|lost| (head, lost)),
        Err(error) => Err(error),
    };
    let answer = match probed {
        Ok((head, lost)) => {
            for name in &lost {
                tracing::error!("the table of {name} is gone; `authlog projections rebuild {name}` makes it anew");
            }
            let mut aside: BTreeSet<String> =
                lost.into_iter().chain(head.layout.foreign()).map(str::to_owned).collect();
            aside.extend(head.layout.0.keys().filter(|name| head.layout.is_aside(name)).cloned());
            let aside = Vec::from_iter(aside);
            ReadyAnswer { ok: writer && aside.is_empty(), database: true, writer, position: Some(head.position), aside }
        }
        Err(error) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            ReadyAnswer { ok: false, database: false, writer, position: None, aside: Vec::new() }
        }
    };
    let status = if answer.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer)).into_response()
}
