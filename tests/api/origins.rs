//! Pages of other origins, through the real server: who may read answers, and what every answer carries.

use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::Fresh;
use crate::support::Backend;
use crate::support::server::{Answer, send};

const STATUS: &str = "/v1/public/setup-status";

async fn asked(fresh: &Fresh, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = fresh.server.request(method, path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    send(request).await.unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

async fn allowed_origins_are_named_with_credentials_and_others_never(backend: Backend) {
    let settings =
        [("AUTHLOG_PUBLIC_URL", "https://auth.example"), ("AUTHLOG_ALLOWED_ORIGINS", "https://dash.example")];
    let fresh = Fresh::start_with(backend, &settings).await;
    for origin in ["https://dash.example", "https://auth.example"] {
        for (path, status) in [(STATUS, 200), ("/v1/users/me", 401), ("/nothing", 404)] {
            let answer = asked(&fresh, Method::GET, path, &[("origin", origin)]).await;
            assert_eq!(answer.status, status);
            assert_eq!(header(&answer.headers, "access-control-allow-origin"), Some(origin), "{path}");
            assert_eq!(header(&answer.headers, "access-control-allow-credentials"), Some("true"));
            assert_eq!(header(&answer.headers, "vary"), Some("Origin"));
        }
    }
    for origin in [
        "null",
        "https://evil.example",
        "https://dash.example.evil.example",
        "http://dash.example",
        "https://dash.example:8443",
        "https://sub.dash.example",
        "*",
    ] {
        let answer = asked(&fresh, Method::GET, STATUS, &[("origin", origin)]).await;
        assert_eq!(header(&answer.headers, "access-control-allow-origin"), None, "{origin}");
        assert_eq!(header(&answer.headers, "access-control-allow-credentials"), None, "{origin}");
        assert_eq!(header(&answer.headers, "vary"), Some("Origin"), "{origin}");
    }
}

async fn a_preflight_is_answered_before_anything_is_asked_of_it(backend: Backend) {
    let fresh = Fresh::start_with(backend, &[("AUTHLOG_ALLOWED_ORIGINS", "https://dash.example")]).await;
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "authorization, content-type"),
        ];
        asked(&fresh, Method::OPTIONS, "/v1/users/x/role", &headers).await
    };
    let allowed = preflight("https://dash.example").await;
    assert_eq!(allowed.status, 204);
    assert_eq!(header(&allowed.headers, "access-control-allow-origin"), Some("https://dash.example"));
    assert!(header(&allowed.headers, "access-control-allow-methods").unwrap().contains("PATCH"));
    assert!(header(&allowed.headers, "access-control-allow-headers").unwrap().contains("authorization"));
    let foreign = preflight("https://evil.example").await;
    assert_eq!(header(&foreign.headers, "access-control-allow-origin"), None);
}

async fn every_answer_carries_the_headers_that_protect_it(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    for (path, status) in [(STATUS, 200), ("/v1/users/me", 401), ("/nothing", 404), ("/healthz", 200), ("/docs", 200)] {
        let answer = asked(&fresh, Method::GET, path, &[]).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(header(&answer.headers, "x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header(&answer.headers, "referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(header(&answer.headers, "cache-control"), Some("no-store"), "{path}");
        assert!(header(&answer.headers, "content-security-policy").unwrap().contains("default-src 'none'"), "{path}");
    }
}

async fn the_service_tells_its_health_readiness_and_numbers(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let version = env!("CARGO_PKG_VERSION");
    let health = fresh.server.get("/healthz", None).await.ok(200);
    assert_eq!(
        health,
        serde_json::json!({
            "ok": true, "version": version, "package_version": version, "channel": null, "github_repo": null,
        })
    );
    let ready = fresh.server.get("/readyz", None).await.ok(200);
    assert_eq!((ready["ok"].as_bool(), ready["database"].as_bool()), (Some(true), Some(true)));
    fresh.server.get("/v1/users/me", None).await.refused(401, "missing_auth");
    for path in ["/a/b/c", "/secret-in-a-path"] {
        fresh.server.get(path, None).await.refused(404, "not_found");
    }
    let metrics = fresh.server.get("/metrics", None).await.ok(200);
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("route=\"/v1/users/me\""), "{metrics}");
    assert!(!metrics.contains("secret-in-a-path"));
}

on_both_databases!(
    allowed_origins_are_named_with_credentials_and_others_never,
    a_preflight_is_answered_before_anything_is_asked_of_it,
    every_answer_carries_the_headers_that_protect_it,
    the_service_tells_its_health_readiness_and_numbers,
);
