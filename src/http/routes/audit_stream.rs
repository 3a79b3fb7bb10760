//! `GET /v1/audit-logs/stream`: the audit trail as server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aggregates::Role;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Bytes, Frame};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::audit::Entry;
use crate::error::{ApiError, ErrorCode};
use crate::http::call::Call;
use crate::http::{Finishing, Query, in_present_request};
use crate::service::audit::AuditEntry;
use crate::service::trail::Follower;

const LAST_EVENT_ID: &str = "last-event-id";
/// Keeps nginx from holding events back.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");
/// What every stream begins with: how many milliseconds a client waits before it comes back.
const BEGINNING: &str = "retry: 1000\n\n";
/// Says nothing, to whoever wonders whether the connection is alive.
const KEEP_ALIVE: &str = ": keep-alive\n\n";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Entries after this position; 0, the default, is all of them. `Last-Event-ID` goes before it.
    #[param(minimum = 0, value_type = Option<i64>)]
    since_position: Option<String>,
}

/// Follow the audit trail: what has happened and what happens
#[utoipa::path(
    get, path = "/v1/audit-logs/stream", tag = "audit", security(("bearer" = [])),
    params(StreamQuery, ("Last-Event-ID" = Option<i64>, Header, description = "The `id` of the last entry one has.")),
    responses((status = 200, content_type = "text/event-stream", body = String, description =
        "Events `audit_entry`: `id` is the position, `data` an entry as `GET /v1/audit-logs` has it."))
)]
pub async fn stream(
    call: Call,
    finishing: Finishing,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, ApiError>,
) -> Result<Response, ApiError> {
    call.caller().await?.require_role(Role::Admin)?;
    let position = begin_after(&headers, query?.0)?;
    let token = call.bearer()?.ok_or(ErrorCode::MissingAuth)?;
    let follower = call.service.follow_audit(call.context.clone(), token, position).await?;
    // One chunk waits to be taken: what is not taken is not read from the log.
    let (sender, chunks) = mpsc::channel(1);
    tokio::spawn(in_present_request(deliver(follower, sender, finishing)));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), UNBUFFERED];
    Ok((headers, Body::new(Chunks(chunks))).into_response())
}

/// The position that the caller has come to.
pub(super) fn begin_after(headers: &HeaderMap, query: StreamQuery) -> Result<i64, ApiError> {
    let mut ids = headers.get_all(LAST_EVENT_ID).iter();
    match (ids.next(), ids.next(), query.since_position) {
        (Some(id), None, _) => position(id.to_str().ok()).ok_or("`Last-Event-ID`"),
        (Some(_), Some(_), _) => Err("`Last-Event-ID`"),
        (None, _, Some(text)) => position(Some(&text)).ok_or("`since_position`"),
        (None, _, None) => Ok(0),
    }
    .map_err(|name| ApiError::invalid_input(format!("{name} must be one position, a whole number from 0.")))
}

/// Digits only: no sign, no blanks.
fn position(text: Option<&str>) -> Option<i64> {
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Sends what the follower has until the caller leaves or may no longer listen, or the connection is to be closed: always
/// between two events.
async fn deliver(mut follower: Follower, chunks: mpsc::Sender<Bytes>, finishing: Finishing) {
    let mut chunk = Bytes::from_static(BEGINNING.as_bytes());
    loop {
        let round = async {
            if chunks.send(chunk).await.is_err() {
                return None;
            }
            Some(follower.next().await)
        };
        let next = tokio::select! {
            next = round => next,
            () = chunks.closed() => None,
            () = finishing.asked() => None,
        };
        chunk = match next {
            Some(Ok(entries)) => Bytes::from(events(entries)),
            Some(Err(error)) => return error.log(),
            None => return,
        };
    }
}

fn events(entries: Vec<AuditEntry>) -> String {
    if entries.is_empty() {
        return KEEP_ALIVE.to_owned();
    }
    entries.into_iter().map(event).collect()
}

#[expect(clippy::expect_used, reason = "texts and integers under fixed names")]
fn event(entry: AuditEntry) -> String {
    let id = entry.row.id;
    // JSON has no line ends: they are escaped in its strings.
    let data = serde_json::to_string(&Entry::from(entry)).expect("texts and integers are JSON");
    format!("id: {id}\nevent: audit_entry\ndata: {data}\n\n")
}

/// A body of chunks as they come.
struct Chunks(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
