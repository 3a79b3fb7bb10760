//! Whose line it is: what is logged while a request is answered names the request.
//!
//! A span would do the same, but writes its fields as text when it begins, and most requests log nothing: that was a tenth of a
//! short call.

use std::fmt;

use axum::extract::MatchedPath;
use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::RequestId;
use super::observe::OTHER;

tokio::task_local! {
    static PRESENT: Request;
}

/// A request as lines name it.
#[derive(Clone)]
pub(super) struct Request {
    pub id: RequestId,
    pub method: &'static str,
    pub route: Option<MatchedPath>,
}

impl Request {
    pub(super) fn route(&self) -> &str {
        self.route.as_ref().map_or(OTHER, MatchedPath::as_str)
    }

    /// What is logged by `work`, or while it is dropped, names this request.
    pub(super) fn around<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        PRESENT.scope(self, work)
    }
}

/// Lets work that goes on by itself name the request that began it.
pub(super) async fn in_present_request<F: Future>(work: F) -> F::Output {
    match PRESENT.try_with(Request::clone) {
        Ok(request) => request.around(work).await,
        Err(_) => work.await,
    }
}

/// Lines that name the request they belong to.
#[derive(Debug)]
pub struct Lines<F>(F);

/// A JSON object a line, with the request as its `request`.
pub fn json_lines() -> (Lines<Format<Json>>, JsonFields) {
    (Lines(Format::default().json().with_span_list(false).with_current_span(false)), JsonFields::new())
}

/// Lines for people, which begin with the request.
pub fn readable_lines() -> Lines<Format<Full>> {
    Lines(Format::default())
}

impl<S, N> FormatEvent<S, N> for Lines<Format<Json>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let request = PRESENT.try_with(|request| {
            json!({ "request_id": request.id.to_string(), "method": request.method, "route": request.route() })
        });
        match (request, line.trim_end().strip_suffix('}')) {
            (Ok(request), Some(fields)) => writeln!(writer, "{fields},\"request\":{request}}}"),
            _ => writer.write_str(&line),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines<Format<Full>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let request = PRESENT.try_with(|request| format!("{} {} {} ", request.id, request.method, request.route()));
        writer.write_str(&request.unwrap_or_default())?;
        self.0.format_event(context, writer, event)
    }
}
