#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::http::rate_limit::limit_public_calls;
use crate::http::testing::settings;
use crate::http::{Json, PathId, json_lines, metrics, readable_lines};

const SETTINGS: &str = "public_url = 'https://auth.example'\n\
     allowed_origins = ['https://dash.example:8443']\n\
     public_calls_per_minute = 2";

fn app() -> Router {
    let state = HttpState::new(&settings(SETTINGS));
    let public = Router::new().route("/v1/public/setup-status", get(async || "open"));
    let routes = Router::new()
        .route("/healthz", get(async || "up"))
        .route("/metrics", get(metrics::scrape))
        .route(
            "/page",
            get(async || ([("content-security-policy", "default-src 'self'"), ("cache-control", "max-age=5")], "page")),
        )
        .route("/panic", get(async || -> () { panic!("geheim") }))
        .route("/fails", get(async || ApiError::new(ErrorCode::StoreError).caused_by("disk\nfull\u{1b}[31m")))
        .route("/id", get(async |id: RequestId| id.to_string()))
        .route("/source", get(async |source: SourceAddress| source.to_string()))
        .route("/echo", post(async |Json(value): Json<Value>| Json(value)))
        .route("/v1/users/{id}", get(async |PathId(id): PathId| id.to_string()).delete(async || "gone"));
    layers(routes.merge(limit_public_calls(public, &state)), &state)
}

fn get_request(uri: &str) -> axum::http::request::Builder {
    Request::get(uri).header("host", "localhost")
}

async fn send(app: &Router, request: axum::http::request::Builder) -> (u16, HeaderMap, String) {
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn code(body: &str) -> String {
    let envelope: Value = serde_json::from_str(body).unwrap();
    assert!(!envelope["error"].as_str().unwrap().is_empty());
    envelope["code"].as_str().unwrap().to_owned()
}

/// What every answer must carry, whatever became of the request.
fn assert_complete(headers: &HeaderMap) {
    let id: uuid::Uuid = headers["x-request-id"].to_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert!(headers.contains_key("content-security-policy"));
    assert!(headers.contains_key("cache-control"));
    assert!(headers.get_all("vary").iter().any(|value| value == "Origin"));
}

#[tokio::test]
async fn every_refusal_uses_the_envelope_and_carries_every_header() {
    let app = app();
    let unknown_method = Method::from_bytes(b"BREW").unwrap();
    for (request, status, expected) in [
        (get_request("/nowhere"), 404, "not_found"),
        (get_request("/v1/users/me"), 404, "not_found"),
        (get_request("/v1/users/me").method(Method::POST), 405, "method_not_allowed"),
        (get_request("/v1/users/me").method(Method::OPTIONS), 405, "method_not_allowed"),
        (get_request("/v1/users/me").method(unknown_method), 405, "method_not_allowed"),
        (get_request("/echo").method(Method::POST), 415, "unsupported_media_type"),
        (Request::get("/id").header("host", "evil.example"), 421, "misdirected_request"),
        (get_request("/panic"), 500, "internal_error"),
        (get_request("/fails"), 500, "store_error"),
    ] {
        let from_dashboard = request.header("origin", "https://dash.example:8443");
        let (answered, headers, body) = send(&app, from_dashboard).await;
        assert_eq!((answered, code(&body).as_str()), (status, expected));
        assert_complete(&headers);
        assert_eq!(headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["access-control-allow-origin"], "https://dash.example:8443");
        assert!(!body.contains("geheim") && !body.contains("disk"), "{body}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_ones() {
    let (_, headers, _) = send(&app(), get_request("/v1/users/me").method(Method::PUT)).await;
    let mut allowed: Vec<&str> = headers["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
}

#[tokio::test]
async fn the_request_id_is_ours_and_not_the_clients() {
    let mine = "0198c0de-0000-7000-8000-000000000001";
    let (status, headers, body) = send(&app(), get_request("/id").header("x-request-id", mine)).await;
    assert_eq!(status, 200);
    assert_ne!(body, mine);
    assert_eq!(headers["x-request-id"], body);
    assert_complete(&headers);
}

#[tokio::test]
async fn a_handler_may_say_its_own_policy() {
    let (_, headers, _) = send(&app(), get_request("/page")).await;
    assert_eq!(headers["content-security-policy"], "default-src 'self'");
    assert_eq!(headers["cache-control"], "max-age=5");
    assert_complete(&headers);
}

#[tokio::test]
async fn only_allowed_origins_are_named_and_null_never() {
    let app = app();
    for (origin, named) in [
        ("https://dash.example:8443", Some("https://dash.example:8443")),
        ("https://auth.example", Some("https://auth.example")),
        ("null", None),
        ("*", None),
        ("https://dash.example", None),
        ("http://auth.example", None),
        ("https://auth.example/", None),
        ("https://auth.example.evil.example", None),
        ("https://auth.example@evil.example", None),
        ("http://localhost:8787", None),
    ] {
        for request in [get_request("/id"), preflight("/v1/users/me")] {
            let (_, headers, _) = send(&app, request.header("origin", origin)).await;
            let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value("access-control-allow-origin"), named, "{origin}");
            assert_eq!(value("access-control-allow-credentials"), named.map(|_| "true"), "{origin}");
            assert_complete(&headers);
        }
    }
    let two = get_request("/id").header("origin", "https://auth.example").header("origin", "https://evil.example");
    assert!(!send(&app, two).await.1.contains_key("access-control-allow-origin"));
}

fn preflight(uri: &str) -> axum::http::request::Builder {
    get_request(uri)
        .method(Method::OPTIONS)
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization")
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_handler_and_only_on_our_own_host() {
    let app = app();
    let from_dashboard = preflight("/v1/users/me").header("origin", "https://dash.example:8443");
    let (status, headers, body) = send(&app, from_dashboard).await;
    assert_eq!((status, body.as_str()), (204, ""));
    assert_eq!(headers["access-control-allow-methods"], "GET, HEAD, POST, PUT, PATCH, DELETE");
    assert_eq!(headers["access-control-allow-headers"], "authorization, content-type, last-event-id");
    assert_eq!(headers["access-control-max-age"], "600");

    let rebound = Request::options("/v1/users/me")
        .header("host", "evil.example")
        .header("origin", "https://dash.example:8443")
        .header("access-control-request-method", "DELETE");
    assert_eq!(send(&app, rebound).await.0, 421);
}

#[tokio::test]
async fn public_calls_are_counted_and_others_are_not() {
    let app = app();
    for expected in [200, 200, 429, 429] {
        let (status, headers, body) = send(&app, get_request("/v1/public/setup-status")).await;
        assert_eq!(status, expected);
        assert_complete(&headers);
        if status == 429 {
            assert_eq!(code(&body), "rate_limited");
            assert_eq!(headers["retry-after"], "30");
        }
    }
    assert_eq!(send(&app, get_request("/id")).await.0, 200);
}

#[tokio::test]
async fn health_is_answered_by_any_name() {
    assert_eq!(send(&app(), Request::get("/healthz").header("host", "10.1.2.3:8787")).await.0, 200);
}

#[tokio::test]
async fn labels_come_from_closed_sets_however_odd_the_requests() {
    metrics::install();
    let app = app();
    send(&app, get_request("/v1/users/0198c0de-0000-7000-8000-000000000001?token=geheim")).await;
    for odd in 0..500 {
        let method = Method::from_bytes(format!("M{odd}").as_bytes()).unwrap();
        send(&app, get_request(&format!("/odd/{odd}")).method(method)).await;
        send(&app, get_request(&format!("/v1/users/{odd}"))).await;
    }
    let (_, _, text) = send(&app, get_request("/metrics")).await;
    let counters: Vec<&str> = text.lines().filter(|line| line.starts_with("authlog_http_requests_total{")).collect();
    let counted = |labels: &str| counters.iter().any(|line| line.contains(labels));
    assert!(counted(r#"method="GET",route="/v1/users/{id}",status="2xx""#), "{text}");
    assert!(counted(r#"method="other",route="other",status="4xx""#), "{text}");
    assert!(counters.len() < 40, "{text}");
    assert!(text.contains("authlog_http_request_seconds_bucket"), "{text}");
    assert!(!text.contains("geheim") && !text.contains("M499") && !text.contains("/499"), "{text}");
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_unavailable() {
    let response = within(Duration::from_millis(1), std::future::pending()).await;
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
}

/// Everything that was logged while it was the subscriber's writer.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_request_is_one_line_with_its_id_and_without_what_the_client_sent() {
    let log = Log::default();
    let subscriber = {
        let (lines, fields) = json_lines();
        tracing_subscriber::fmt().event_format(lines).fmt_fields(fields).with_writer(log.clone()).finish()
    };
    let guard = tracing::subscriber::set_default(subscriber);
    let request = get_request("/v1/users/geheim?token=geheim")
        .header("authorization", "Bearer geheim")
        .header("user-agent", "geheim")
        .header("origin", "https://geheim.example");
    let (_, headers, _) = send(&app(), request).await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("geheim"), "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["fields"]["message"], "answered");
    assert_eq!(line["fields"]["status"], 404);
    assert_eq!(
        line["request"],
        json!({
            "request_id": headers["x-request-id"].to_str().unwrap(),
            "method": "GET",
            "route": "/v1/users/{id}",
        })
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_cause_is_logged_with_the_request_id_and_its_control_characters_escaped() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::ERROR)
        .event_format(readable_lines())
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let (_, headers, _) = send(&app(), get_request("/fails")).await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(headers["x-request-id"].to_str().unwrap()), "{text}");
    assert!(text.contains(r#"cause="disk\nfull\u{1b}[31m""#), "{text}");
    assert!(text.contains(r#"code="store_error""#), "{text}");
}
