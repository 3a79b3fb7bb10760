//! `/v1/api-tokens...`, and what a token may be used for.

use reqwest::Method;
use serde_json::{Value, json};

use crate::house::{CALLERS, House};
use crate::support::Backend;
use crate::{clock_reaches, text};

const TOKENS: &str = "/v1/api-tokens";
const NO: (u16, &str) = (403, "forbidden");
const MADE: (u16, &str) = (201, "");

async fn issue(house: &House, caller: &str, role: &str) -> Value {
    house.call(caller, Method::POST, TOKENS, Some(json!({ "name": "ci", "role": role }))).await.ok(201)
}

async fn who_may_issue_a_token_of_which_role(backend: Backend) {
    let house = House::new(backend).await;
    for (caller, admin, developer, viewer) in [
        ("owner", MADE, MADE, MADE),
        ("admin", MADE, MADE, MADE),
        ("developer", NO, MADE, MADE),
        ("qa_viewer", NO, NO, NO),
        ("token", NO, NO, NO),
    ] {
        for (role, expected) in [("admin", admin), ("developer", developer), ("qa_viewer", viewer)] {
            let body = json!({ "name": "ci", "role": role });
            let made = house.call(caller, Method::POST, TOKENS, Some(body)).await;
            House::came_to(&made, expected, &format!("{caller} makes a {role} token"));
        }
        let king = house.call(caller, Method::POST, TOKENS, Some(json!({ "name": "ci", "role": "owner" }))).await;
        let may = viewer == MADE;
        House::came_to(&king, if may { (400, "invalid_input") } else { NO }, caller);
    }
}

async fn a_token_is_shown_whole_in_clear_once_and_listed_without(backend: Backend) {
    let house = House::new(backend).await;
    let body = json!({ "name": "n\u{e4}me \u{1f511}", "role": "qa_viewer", "expires_at": 4_102_444_800_i64 });
    let issued = house.call("developer", Method::POST, TOKENS, Some(body)).await;
    assert_eq!(issued.headers["cache-control"], "no-store");
    let mut issued = issued.ok(201);
    let token = issued.as_object_mut().unwrap().remove("token").unwrap();
    let token = token.as_str().unwrap();
    let digits = token.strip_prefix("alog_").unwrap();
    assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    assert_eq!(
        issued,
        json!({
            "id": text(&issued, "id"), "name": "n\u{e4}me \u{1f511}", "prefix": &token[..12], "role": "qa_viewer",
            "user_id": house.id("developer"), "created_at": issued["created_at"].as_i64().unwrap(),
            "expires_at": 4_102_444_800_i64,
        })
    );
    assert_eq!(house.get("developer", TOKENS).await.ok(200), json!({ "tokens": [issued], "total": 1 }));
    house.instance.server.get("/v1/users/me", Some(token)).await.ok(200);
    let listed = house.get("developer", TOKENS).await.ok(200);
    assert!(listed["tokens"][0]["last_used_at"].as_i64().unwrap() >= issued["created_at"].as_i64().unwrap());
    assert!(!listed.to_string().contains(token));
    assert_eq!(house.get("admin", TOKENS).await.ok(200)["total"], 2);
    assert_eq!(house.get("owner", TOKENS).await.ok(200)["total"], 2);
    for caller in ["qa_viewer", "token"] {
        house.get(caller, TOKENS).await.refused(403, "forbidden");
    }
}

async fn who_may_end_whose_tokens(backend: Backend) {
    let house = House::new(backend).await;
    for (caller, of_owner, of_admin, of_developer) in [
        ("owner", 200, 200, 200),
        ("admin", 403, 200, 200),
        ("developer", 403, 403, 200),
        ("qa_viewer", 403, 403, 403),
        ("token", 403, 403, 403),
    ] {
        for (holder, expected) in [("owner", of_owner), ("admin", of_admin), ("developer", of_developer)] {
            let issued = issue(&house, holder, "qa_viewer").await;
            let ended = house.call(caller, Method::DELETE, &format!("{TOKENS}/{}", text(&issued, "id")), None).await;
            let code = if expected == 200 { "" } else { "forbidden" };
            House::came_to(&ended, (expected, code), &format!("{caller} ends a token of {holder}"));
            let me = house.instance.server.get("/v1/users/me", Some(text(&issued, "token"))).await;
            assert_eq!(me.status, if expected == 200 { 401 } else { 200 }, "{caller} on {holder}");
        }
    }
}

async fn a_token_never_acts_as_owner_and_cannot_reach_for_more(backend: Backend) {
    let house = House::new(backend).await;
    let token = issue(&house, "owner", "admin").await;
    let token = text(&token, "token");
    let server = &house.instance.server;
    server.get("/v1/users/me", Some(token)).await.ok(200);
    server.get("/v1/users", Some(token)).await.ok(200);
    let admin = json!({ "email": "x@example.com", "role": "admin" });
    server.post("/v1/users/invite", Some(token), admin).await.refused(403, "forbidden");
    let provider = json!({ "issuer_url": house.instance.provider.issuer(), "client_id": "authlog-test" });
    for (method, path, body) in [
        (Method::PUT, "/v1/settings/external-access/oidc", Some(provider)),
        (Method::POST, TOKENS, Some(json!({ "name": "x", "role": "qa_viewer" }))),
        (Method::GET, TOKENS, None),
        (Method::DELETE, TOKENS, None),
        (Method::GET, "/v1/sessions", None),
        (Method::DELETE, "/v1/sessions", None),
        (Method::POST, "/v1/auth/logout", None),
    ] {
        let answer = server.call(method.clone(), path, Some(token), body).await;
        if (method.as_str(), path) == ("DELETE", TOKENS) {
            answer.refused(405, "method_not_allowed");
        } else {
            House::came_to(&answer, NO, &format!("{method} {path}"));
        }
    }
    let viewer = issue(&house, "owner", "qa_viewer").await;
    server.get("/v1/users", Some(text(&viewer, "token"))).await.refused(403, "forbidden");
}

async fn a_token_ends_by_its_own_time_and_bad_ones_are_not_made(backend: Backend) {
    let house = House::new(backend).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let body = json!({ "name": "short", "role": "qa_viewer", "expires_at": now + 3 });
    let issued = house.call("developer", Method::POST, TOKENS, Some(body)).await.ok(201);
    clock_reaches(&issued["expires_at"]).await;
    let me = house.instance.server.get("/v1/users/me", Some(text(&issued, "token"))).await;
    me.refused(401, "session_expired");
    for body in [
        json!({ "name": "", "role": "qa_viewer" }),
        json!({ "name": "x".repeat(101), "role": "qa_viewer" }),
        json!({ "name": "a\u{1b}[2J", "role": "qa_viewer" }),
        json!({ "name": "x", "role": "qa_viewer", "expires_at": now - 1 }),
        json!({ "name": "x", "role": "qa_viewer", "expires_at": "tomorrow" }),
        json!({ "name": "x" }),
    ] {
        house.call("developer", Method::POST, TOKENS, Some(body)).await.refused(400, "invalid_input");
    }
    let longest = json!({ "name": "\u{e4}".repeat(100), "role": "qa_viewer" });
    house.call("developer", Method::POST, TOKENS, Some(longest)).await.ok(201);
    for caller in CALLERS {
        assert_eq!(house.get(caller, "/v1/users/me").await.status, 200, "{caller}");
    }
}

on_both_databases!(
    who_may_issue_a_token_of_which_role,
    a_token_is_shown_whole_in_clear_once_and_listed_without,
    who_may_end_whose_tokens,
    a_token_never_acts_as_owner_and_cannot_reach_for_more,
    a_token_ends_by_its_own_time_and_bad_ones_are_not_made,
);
