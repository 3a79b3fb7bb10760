//! Headers that claim something: who calls, and by which name the service is reached. None of them is believed.

use reqwest::{Method, RequestBuilder};

use crate::support::Backend;
use crate::support::server::{Instance, send};
use crate::text;

/// What proxies of other services tell them about who calls; some servers take `_` for `-`.
const WHO: [&str; 16] = [
    "authorization_",
    "x_authorization",
    "x-authorization",
    "proxy-authorization",
    "x-access-token",
    "x-api-key",
    "x-auth-token",
    "x-auth-request-email",
    "x-auth-request-user",
    "x-forwarded-access-token",
    "x-forwarded-email",
    "x-forwarded-user",
    "x_forwarded_user",
    "remote-user",
    "remote_user",
    "x-remote-user",
];

/// What proxies tell about the name that the client asked for.
const WHERE: [(&str, &str); 10] = [
    ("x-forwarded-host", "evil.example"),
    ("x_forwarded_host", "evil.example"),
    ("x-forwarded-server", "evil.example"),
    ("x-forwarded-prefix", "//evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "443"),
    ("x-host", "evil.example"),
    ("x-http-host-override", "evil.example"),
    ("x-original-url", "https://evil.example/auth/callback"),
    ("forwarded", "for=192.0.2.1;host=evil.example;proto=https"),
];

async fn no_header_but_the_one_authorization_says_who_calls(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    let (bob, session) = server.join(owner, "bob", "developer").await;
    let me = || server.request(Method::GET, "/v1/users/me");
    let owners = |request: RequestBuilder| {
        let request =
            request.header("cookie", format!("session={owner}; session_token={owner}; authorization={owner}"));
        WHO.iter().fold(request, |request, name| {
            request.header(*name, format!("Bearer {owner}")).header(*name, owner).header(*name, "alice@example.com")
        })
    };
    send(owners(me())).await.unwrap().refused(401, "missing_auth");
    let as_bob = send(owners(me()).bearer_auth(&session)).await.unwrap().ok(200);
    assert_eq!(as_bob["user"]["id"], bob.as_str());

    for second in [owner, session.as_str()] {
        let twice = me().bearer_auth(&session).bearer_auth(second);
        send(twice).await.unwrap().refused(400, "invalid_input");
    }
    let joined = me().header("authorization", format!("Bearer {session}, Bearer {owner}"));
    send(joined).await.unwrap().refused(401, "invalid_session");
}

async fn links_come_from_public_url_whatever_the_headers_say(backend: Backend) {
    let settings = [("AUTHLOG_PUBLIC_URL", "http://127.0.0.1:4173"), ("AUTHLOG_TRUSTED_PROXIES", "127.0.0.0/8")];
    for settings in [&settings[..1], &settings] {
        let instance = Instance::ready_with(backend, settings).await;
        let misled = |path: &str| {
            let request = instance.server.request(Method::GET, path);
            WHERE.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let begun = send(misled("/v1/auth/oidc/start")).await.unwrap();
        let cookie = begun.headers["set-cookie"].to_str().unwrap().to_ascii_lowercase();
        assert!(!cookie.contains("domain") && !cookie.contains("secure"), "{cookie}");
        let url = url::Url::parse(text(&begun.ok(200), "authorization_url")).unwrap();
        assert_eq!(url.origin().ascii_serialization(), instance.provider.issuer());
        let back = url.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
        assert_eq!(back, "http://127.0.0.1:4173/auth/callback");
        for path in ["/docs", "/openapi.json", "/auth/callback", "/v1/public/setup-status", "/nothing"] {
            let answer = send(misled(path)).await.unwrap();
            let told = format!("{:?} {}", answer.headers, answer.body);
            assert!(!told.contains("evil.example"), "{path}: {told}");
        }
        // Nor does any of them make another name ours.
        let host = misled("/v1/public/setup-status").header("host", "evil.example");
        let host = host.header("x-forwarded-host", "localhost");
        send(host).await.unwrap().refused(421, "misdirected_request");
    }
}

on_both_databases!(
    no_header_but_the_one_authorization_says_who_calls,
    links_come_from_public_url_whatever_the_headers_say,
);
