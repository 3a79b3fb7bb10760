//! Corners of the contract where it was once otherwise.

use devidp::{Account, DevIdp};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::House;
use crate::support::second_connection::SecondConnection;
use crate::support::server::{Instance, REDIRECT_URI, Server, at_the_provider, send};
use crate::support::{Backend, TestDatabase};
use crate::{clock_reaches, text};

async fn somebody_who_was_demoted_still_revokes_their_own_token(backend: Backend) {
    let house = House::new(backend).await;
    let token = json!({ "name": "left behind", "role": "developer" });
    let issued = house.call("developer", Method::POST, "/v1/api-tokens", Some(token)).await.ok(201);
    let role = format!("/v1/users/{}/role", house.id("developer"));
    house.call("owner", Method::PATCH, &role, Some(json!({ "role": "qa_viewer" }))).await.ok(200);
    let path = format!("/v1/api-tokens/{}", text(&issued, "id"));
    house.call("qa_viewer", Method::DELETE, &path, None).await.refused(403, "forbidden");
    house.call("developer", Method::DELETE, &path, None).await.ok(200);
    house.instance.server.get("/v1/users/me", Some(text(&issued, "token"))).await.refused(401, "invalid_session");
}

async fn a_client_id_that_could_not_be_used_is_refused(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let path = "/v1/settings/external-access/oidc";
    let provider = |client_id: String| json!({ "issuer_url": instance.provider.issuer(), "client_id": client_id });
    let put = async |body| instance.server.call(Method::PUT, path, Some(&instance.owner), Some(body)).await;
    put(provider("x".repeat(256))).await.refused(400, "invalid_input");
    instance.server.sign_in("alice").await.ok(200);
    put(provider("x".repeat(255))).await.ok(200);
    instance.server.get(path, Some(&instance.owner)).await.ok(200);
}

async fn a_request_that_has_expired_holds_no_place(backend: Backend) {
    let settings = [
        ("AUTHLOG_MAX_PENDING_AUTH_REQUESTS", "3"),
        ("AUTHLOG_AUTH_REQUEST_TTL", "2s"),
        ("AUTHLOG_TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let instance = Instance::ready_with(backend, &settings).await;
    let path = format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}");
    let start = async |source: &str| {
        send(instance.server.request(Method::GET, &path).header("x-forwarded-for", source)).await.unwrap()
    };
    for _ in 0..3 {
        start("203.0.113.1").await.ok(200);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    clock_reaches(&json!(now + 3)).await;
    for _ in 0..3 {
        start("203.0.113.1").await.ok(200);
    }
    start("203.0.113.1").await.refused(429, "too_many_pending");
    for other in 2..5 {
        // Each takes the place of one that is pending, until nobody holds more than another.
        start(&format!("203.0.113.{other}")).await;
    }
    let mut database = SecondConnection::open(&instance.database).await;
    let newer = format!("UPDATE pending_requests SET expires_at = expires_at WHERE expires_at > {}", now + 4);
    assert!(database.run(&newer).await <= 3);
}

async fn a_full_table_costs_the_source_that_holds_the_most(backend: Backend) {
    let settings = [("AUTHLOG_MAX_PENDING_AUTH_REQUESTS", "4"), ("AUTHLOG_TRUSTED_PROXIES", "127.0.0.0/8")];
    let instance = Instance::ready_with(backend, &settings).await;
    let path = format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}");
    let start = async |source: &str| {
        send(instance.server.request(Method::GET, &path).header("x-forwarded-for", source)).await.unwrap()
    };
    // One source fills the table, and for IPv6 that is a /64.
    let mut heavy = Vec::new();
    for host in 1..=4 {
        heavy.push(start(&format!("2001:db8::{host}")).await.ok(200));
    }
    start("2001:db8::5").await.refused(429, "too_many_pending");
    let light = [start("203.0.113.2").await.ok(200), start("203.0.113.3").await.ok(200)];
    start("2001:db8::6").await.refused(429, "too_many_pending");
    // Two of its own have made room; nobody else's has.
    let mut answers = Vec::new();
    for begun in light.iter().chain(&heavy) {
        let back = at_the_provider(begun, "alice").await;
        answers.push(instance.server.post("/v1/auth/oidc/callback", None, back).await);
    }
    assert!(answers[..2].iter().all(|answer| answer.status == 200), "{answers:?}");
    let (came_in, displaced): (Vec<_>, Vec<_>) = answers[2..].iter().partition(|answer| answer.status == 200);
    assert_eq!((came_in.len(), displaced.len()), (2, 2));
    for answer in displaced {
        answer.refused(400, "invalid_state");
    }
}

async fn ending_sessions_counts_all_of_them(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (bob, _) = instance.server.join(&instance.owner, "bob", "developer").await;
    for _ in 0..204 {
        instance.server.sign_in("bob").await.ok(200);
    }
    let ended = instance.server.delete(&format!("/v1/sessions?user_id={bob}"), Some(&instance.owner)).await.ok(200);
    assert_eq!(ended, json!({ "revoked": 205 }));
}

async fn a_name_is_found_as_it_is_written(backend: Backend) {
    let instance = Instance::ready(backend).await;
    instance.provider.add_account(Account { name: Some("Änne Öztürk".to_owned()), ..Account::new("aenne") });
    instance.server.join(&instance.owner, "aenne", "developer").await;
    for q in ["%C3%84nne", "zt%C3%BCrk", "AENNE@"] {
        let found = instance.server.get(&format!("/v1/users?q={q}"), Some(&instance.owner)).await.ok(200);
        assert_eq!(found["total"], 1, "{q}");
    }
}

async fn whether_there_was_a_session_is_asked_before_what_the_token_looks_like(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    for header in ["Bearer abc", "Bearer a b", "Bearer "] {
        let asked = server.request(Method::GET, "/v1/setup/summary").header("authorization", header);
        send(asked).await.unwrap().refused(401, "no_session");
    }
    server.open_setup_session().await;
    let asked = server.request(Method::GET, "/v1/setup/summary").header("authorization", "Bearer a b");
    send(asked).await.unwrap().refused(401, "invalid_session");
}

async fn looking_at_the_head_of_the_callback_page_uses_nothing_up(backend: Backend) {
    let instance = Instance::ready_with(backend, &[("AUTHLOG_PUBLIC_URL", "http://127.0.0.1:4173")]).await;
    let server = &instance.server;
    let begun = send(server.request(Method::GET, "/v1/auth/oidc/start")).await.unwrap();
    let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let body = at_the_provider(&begun.ok(200), "alice").await;
    let before = server.event_types().await.len();
    let path = format!("/auth/callback?code={}&state={}", text(&body, "code"), text(&body, "state"));
    let path = body["iss"].as_str().map_or(path.clone(), |iss| format!("{path}&iss={iss}"));
    let ask = async |method: Method| send(server.request(method, &path).header("cookie", &cookie)).await.unwrap();
    let head = ask(Method::HEAD).await;
    assert_eq!((head.status.as_u16(), head.headers["allow"].to_str().unwrap()), (405, "GET"));
    assert_eq!(server.event_types().await.len(), before);
    assert_eq!(ask(Method::GET).await.status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_cannot_be_written_is_a_session_error() {
    let instance = Instance::ready(Backend::Postgres).await;
    let body = instance.server.callback_body("alice").await;
    let mut other = SecondConnection::open(&instance.database).await;
    other.hold_the_log().await;
    instance.server.post("/v1/auth/oidc/callback", None, body).await.refused(500, "session_error");
    other.let_go().await;
    instance.server.sign_in("alice").await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_token_for_somebody_else_says_so() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let token = server.cli_json(&["setup", "token", "--owner", "carol@example.com", "--json"]).await;
    let opened =
        server.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token["token"] })).await.ok(200);
    let setup = text(&opened, "session_token");
    server.configure(setup, provider.issuer()).await.ok(200);
    let begun = server.post("/v1/setup/owner/start-oidc", Some(setup), json!({ "redirect_uri": REDIRECT_URI })).await;
    let body = at_the_provider(&begun.ok(200), "alice").await;
    let refused = server.post("/v1/setup/owner/verify-oidc", Some(setup), body).await;
    refused.refused(403, "user_not_found");
    assert_eq!(refused.body["error"], "The bootstrap token was issued for another owner.");
}

on_both_databases!(
    somebody_who_was_demoted_still_revokes_their_own_token,
    a_client_id_that_could_not_be_used_is_refused,
    a_request_that_has_expired_holds_no_place,
    a_full_table_costs_the_source_that_holds_the_most,
    ending_sessions_counts_all_of_them,
    a_name_is_found_as_it_is_written,
    whether_there_was_a_session_is_asked_before_what_the_token_looks_like,
    looking_at_the_head_of_the_callback_page_uses_nothing_up,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_are_served_than_files_may_be_open_by_default() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start_under(&["prlimit", "--nofile=64:4096"], &database).await;
    let address = server.base.trim_start_matches("http://");
    let mut connections = Vec::new();
    for _ in 0..200 {
        connections.push(TcpStream::connect(address).await.unwrap());
    }
    // The last ones first: none has had to make room for another.
    for connection in connections.iter_mut().rev() {
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}
