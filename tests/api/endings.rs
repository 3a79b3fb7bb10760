//! What was ended stays ended, and what was begun is finished, also when the server or the caller goes away meanwhile.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::house::House;
use crate::support::Backend;
use crate::support::second_connection::SecondConnection;
use crate::support::server::Server;
use crate::text;

async fn what_was_revoked_stays_revoked_when_the_server_is_killed_and_starts_again(backend: Backend) {
    let mut house = House::new(backend).await;
    let own = house.get("developer", "/v1/sessions").await.ok(200);
    let session = text(&own["sessions"][0], "id").to_owned();
    let tokens = house.get("admin", "/v1/api-tokens").await.ok(200);
    let token = text(&tokens["tokens"][0], "id").to_owned();
    let gone = ["developer", "token", "qa_viewer"];
    for caller in gone {
        house.get(caller, "/v1/users/me").await.ok(200);
    }
    house.call("owner", Method::DELETE, &format!("/v1/sessions/{session}"), None).await.ok(200);
    house.call("owner", Method::DELETE, &format!("/v1/api-tokens/{token}"), None).await.ok(200);
    house.call("owner", Method::DELETE, &format!("/v1/users/{}", house.id("qa_viewer")), None).await.ok(200);
    house.instance.server.kill().await;
    house.instance.server = Server::start(&house.instance.database).await;
    house.get("owner", "/v1/users/me").await.ok(200);
    house.get("admin", "/v1/users/me").await.ok(200);
    for caller in gone {
        house.get(caller, "/v1/users/me").await.refused(401, "invalid_session");
    }
}

/// Sends a call of the owner and does not wait for its answer.
async fn impatient(house: &House, call: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let request = format!(
        "{call} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        house.bearer("owner"),
        body.len()
    );
    let mut caller = TcpStream::connect(house.instance.server.base.trim_start_matches("http://")).await.unwrap();
    caller.write_all(request.as_bytes()).await.unwrap();
    caller
}

/// Waits until this metric has this value.
async fn counted(server: &Server, name: &str, value: &str) {
    let has_it = async || {
        let metrics = server.get("/metrics", None).await.ok(200);
        let mut values = metrics.as_str().unwrap().lines().filter_map(|line| line.strip_prefix(name));
        values.any(|found| found.trim() == value)
    };
    while !has_it().await {}
}

fn abandoned(method: &str, route: &str) -> String {
    format!("authlog_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"abandoned\"}}")
}

/// Of two changes of one role the log takes one, and the other must be decided again, by whoever is still there.
async fn a_call_that_must_be_decided_again_is_finished_though_nobody_waits_for_it(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let mut other = SecondConnection::open(&house.instance.database).await;
    other.hold_the_log().await;
    let call = format!("PATCH /v1/users/{}/role", house.id("developer"));
    let callers = [
        impatient(&house, &call, &json!({ "role": "admin" })).await,
        impatient(&house, &call, &json!({ "role": "qa_viewer" })).await,
    ];
    counted(server, "authlog_log_units_waiting", "2").await;
    drop(callers);
    counted(server, &abandoned("PATCH", "/v1/users/{id}/role"), "2").await;
    other.let_go().await;
    let both = async {
        while house.get("owner", "/v1/audit-logs?action=role_changed").await.ok(200)["total"] != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("a change is lost");
}

async fn a_call_whose_caller_hangs_up_is_finished_and_recorded_whole(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let mut other = SecondConnection::open(&house.instance.database).await;
    other.hold_the_log().await;
    let body = json!({ "email": "impatient@example.com", "role": "developer" });
    let caller = impatient(&house, "POST /v1/users/invite", &body).await;
    // Hung up on too early, a call does not even begin.
    counted(server, "authlog_log_units_waiting", "1").await;
    drop(caller);
    counted(server, &abandoned("POST", "/v1/users/invite"), "1").await;
    other.let_go().await;

    // Whoever comes next waits behind it.
    house.newcomer("patient", "developer").await;
    let listed = house.get("owner", "/v1/users?q=impatient").await.ok(200);
    assert_eq!(listed["total"], 1);
    let id = text(&listed["users"][0], "id");
    let events = server.events().await;
    let of_the_call = |event: &&Value| event["stream"] == format!("user/{id}");
    assert_eq!(events.iter().filter(of_the_call).count(), 1);
    let trail = house.get("owner", "/v1/audit-logs?action=user_invited").await.ok(200);
    let entries = trail["entries"].as_array().unwrap();
    assert_eq!(entries.iter().filter(|entry| entry["resource_id"] == id).count(), 1);
}

async fn a_revocation_tried_again_is_not_answered_before_the_first_is_in_force(backend: Backend) {
    let house = House::new(backend).await;
    let own = house.get("developer", "/v1/sessions").await.ok(200);
    let path = format!("/v1/sessions/{}", text(&own["sessions"][0], "id"));
    let mut other = SecondConnection::open(&house.instance.database).await;
    other.hold_the_log().await;
    let revoke = async || {
        house.call("owner", Method::DELETE, &path, None).await.ok(200);
        house.get("developer", "/v1/users/me").await.refused(401, "invalid_session");
    };
    let hold = async {
        // Nothing is in force while the log is held, however long it takes the calls to arrive.
        for _ in 0..100 {
            house.get("developer", "/v1/users/me").await.ok(200);
        }
        other.let_go().await;
    };
    tokio::join!(revoke(), revoke(), revoke(), revoke(), hold);
}

on_both_databases!(
    what_was_revoked_stays_revoked_when_the_server_is_killed_and_starts_again,
    a_call_whose_caller_hangs_up_is_finished_and_recorded_whole,
    a_call_that_must_be_decided_again_is_finished_though_nobody_waits_for_it,
    a_revocation_tried_again_is_not_answered_before_the_first_is_in_force,
);
