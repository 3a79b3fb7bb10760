//! The numbers of the process, for Prometheus. Any part of the service counts with the macros of
//! `metrics`; labels come from closed sets only.

use std::future::{Ready, ready};
use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The bounds of every histogram in seconds, from a cached read to a slow provider.
const SECONDS: [f64; 13] = [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// There is one recorder a process, as there is one process to measure.
static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting. A second call changes nothing.
pub fn install() {
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix(String::from("_seconds")), &SECONDS)
            // Refused are empty bounds only.
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder was installed first; /metrics stays empty");
        }
        describe();
        handle
    });
}

fn describe() {
    metrics::describe_counter!("authlog_http_requests_total", "Requests by method, route and status class");
    metrics::describe_gauge!("authlog_log_units_waiting", "Units handed to the log writer and not yet answered");
    metrics::describe_histogram!("authlog_http_request_seconds", "Time to answer by method and route");
}

/// Moves recorded times into their histograms. Without it they would pile up between two scrapes, or
/// for ever when nobody scrapes; `serve` calls it every five seconds.
pub(super) fn upkeep() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

/// `GET /metrics`.
pub fn scrape() -> Ready<Response> {
    let text = HANDLE.get().map(PrometheusHandle::render).unwrap_or_default();
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    ready((content_type, text).into_response())
}
