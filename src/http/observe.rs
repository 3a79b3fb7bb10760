//! One line and two numbers about each request. Method, route and status come from closed sets, so
//! that nobody can grow the metrics by inventing them; the path, the query and the headers are not
//! looked at, so that nothing secret in them can be written down.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use tracing::Span;

use super::RequestId;

const OTHER: &str = "other";
/// Routes that are called every few seconds by machines.
const QUIET: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A request being answered. Dropped before its end, it says that nobody waited for the answer.
pub(super) struct Observed {
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    ended: bool,
}

impl Observed {
    pub(super) fn begin(request: &Request) -> Self {
        Self {
            method: known_method(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            started: Instant::now(),
            ended: false,
        }
    }

    /// The span of the request. Its level is that of errors, so that no filter that shows an error
    /// hides whose it is.
    pub(super) fn span(&self, request_id: RequestId) -> Span {
        tracing::error_span!("request", %request_id, method = self.method, route = self.route())
    }

    pub(super) fn end(mut self, status: StatusCode) {
        self.record(status_class(status), status.as_u16());
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or(OTHER, MatchedPath::as_str)
    }

    /// Whether the line is told only on request: nobody asks later who has read something, and a line costs as much as the
    /// rest of such a call, with a lock that all calls share.
    fn is_quiet(&self, status: u16) -> bool {
        let has_read = matches!(self.method, "GET" | "HEAD") && (200..300).contains(&status);
        has_read || QUIET.contains(&self.route())
    }

    fn record(&mut self, class: &'static str, status: u16) {
        self.ended = true;
        let elapsed = self.started.elapsed();
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let route = self.route().to_owned();
        if self.is_quiet(status) {
            tracing::debug!(status, class, elapsed_us, "answered");
        } else {
            tracing::info!(status, class, elapsed_us, "answered");
        }
        metrics::histogram!("authlog_http_request_seconds", "method" => self.method, "route" => route.clone())
            .record(elapsed);
        metrics::counter!("authlog_http_requests_total", "method" => self.method, "route" => route, "status" => class)
            .increment(1);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.ended {
            self.record("abandoned", 0);
        }
    }
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => OTHER,
    }
}
