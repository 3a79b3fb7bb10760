//! One line and two numbers about each request. Method, route and status come from closed sets, so
//! that nobody can grow the metrics by inventing them; the path, the query and the headers are not
//! looked at, so that nothing secret in them can be written down.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use super::request_log::Request as Labels;
use super::{HttpState, PROBES, RequestId};

pub(super) const OTHER: &str = "other";

/// The two numbers of one method, route and status class.
struct Tally {
    method: &'static str,
    class: &'static str,
    answered: Counter,
    seconds: Histogram,
}

/// All of them, by route: once they have been made they are found without making any text.
#[derive(Default)]
pub(super) struct Tallies(RwLock<HashMap<String, Vec<Tally>>>);

impl Tally {
    fn new(method: &'static str, route: &str, class: &'static str) -> Self {
        let route = route.to_owned();
        Self {
            method,
            class,
            seconds: metrics::histogram!("authlog_http_request_seconds", "method" => method, "route" => route.clone()),
            answered: metrics::counter!(
                "authlog_http_requests_total", "method" => method, "route" => route, "status" => class
            ),
        }
    }

    fn add(&self, elapsed: Duration) {
        self.seconds.record(elapsed);
        self.answered.increment(1);
    }
}

impl Tallies {
    fn add(&self, method: &'static str, route: &str, class: &'static str, elapsed: Duration) {
        let is_it = |tally: &&Tally| tally.method == method && tally.class == class;
        if let Some(tally) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(route)
            && let Some(tally) = tally.iter().find(is_it)
        {
            return tally.add(elapsed);
        }
        let tally = Tally::new(method, route, class);
        tally.add(elapsed);
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let tallies = routes.entry(route.to_owned()).or_default();
        // Another request may have made it meanwhile; both lead to the same numbers.
        if !tallies.iter().any(|tally| is_it(&tally)) {
            tallies.push(tally);
        }
    }
}

/// A request being answered. Dropped before its end, it says that nobody waited for the answer.
pub(super) struct Observed {
    labels: Labels,
    started: Instant,
    ended: bool,
    http: HttpState,
}

impl Observed {
    pub(super) fn begin(http: &HttpState, request_id: RequestId, request: &Request) -> Self {
        Self {
            labels: Labels {
                id: request_id,
                method: known_method(request.method()),
                route: request.extensions().get::<MatchedPath>().cloned(),
            },
            started: Instant::now(),
            ended: false,
            http: http.clone(),
        }
    }

    /// What lines about the request name.
    pub(super) fn labels(&self) -> Labels {
        self.labels.clone()
    }

    pub(super) fn end(mut self, status: StatusCode) {
        self.record(status_class(status), status.as_u16());
    }

    /// Whether the line is told only on request: nobody asks later who has read something, and a line costs as much as the
    /// rest of such a call, with a lock that all calls share.
    fn is_quiet(&self, status: u16) -> bool {
        let has_read = matches!(self.labels.method, "GET" | "HEAD") && (200..300).contains(&status);
        has_read || PROBES.contains(&self.labels.route())
    }

    fn record(&mut self, class: &'static str, status: u16) {
        self.ended = true;
        let elapsed = self.started.elapsed();
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if self.is_quiet(status) {
            tracing::debug!(status, class, elapsed_us, "answered");
        } else {
            tracing::info!(status, class, elapsed_us, "answered");
        }
        self.http.0.tallies.add(self.labels.method, self.labels.route(), class, elapsed);
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
