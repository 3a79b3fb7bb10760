//! `/v1/sessions...` and signing out.

use reqwest::Method;
use serde_json::{Value, json};

use crate::house::House;
use crate::support::Backend;
use crate::text;

const NO: (u16, &str) = (403, "forbidden");

/// The ids of somebody's live sessions, as `caller` sees them.
async fn sessions(house: &House, caller: &str, query: &str) -> Vec<Value> {
    let listed = house.get(caller, &format!("/v1/sessions{query}")).await.ok(200);
    listed["sessions"].as_array().unwrap().clone()
}

async fn a_session_is_shown_whole_and_the_callers_own_is_marked(backend: Backend) {
    let house = House::new(backend).await;
    house.instance.server.sign_in("developer").await.ok(200);
    let listed = sessions(&house, "developer", "").await;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        listed.iter().map(|session| session["current"].clone()).collect::<Vec<_>>(),
        [json!(false), json!(true)]
    );
    let own = &listed[1];
    let at = own["created_at"].as_i64().unwrap();
    assert_eq!(
        *own,
        json!({
            "id": text(own, "id"), "user_id": house.id("developer"), "created_at": at, "last_seen_at": at,
            "expires_at": at + 86_400, "ip": "127.0.0.1", "current": true,
        })
    );
    let seen_by_admin = sessions(&house, "admin", &format!("?user_id={}", house.id("developer"))).await;
    assert!(seen_by_admin.iter().all(|session| session["current"] == false));
    house.get("admin", "/v1/sessions?user_id=x").await.refused(400, "invalid_input");
}

async fn who_may_list_and_end_whose_sessions(backend: Backend) {
    let house = House::new(backend).await;
    for (caller, list, end_owner, end_admin, end_developer) in [
        ("owner", 200, (200, ""), (200, ""), (200, "")),
        ("admin", 200, NO, (200, ""), (200, "")),
        ("developer", 403, NO, NO, (200, "")),
        ("qa_viewer", 403, NO, NO, NO),
        ("token", 403, NO, NO, NO),
    ] {
        for (target, expected) in [("owner", end_owner), ("admin", end_admin), ("developer", end_developer)] {
            let own = caller == target;
            let query = format!("?user_id={}", house.id(target));
            let listed = house.get(caller, &format!("/v1/sessions{query}")).await;
            assert_eq!(listed.status, if own { 200 } else { list }, "{caller} lists {target}");
            let account = if target == "owner" { "alice" } else { target };
            let signed_in = house.instance.server.sign_in(account).await.ok(200);
            let session = text(&signed_in, "session_token");
            let newest = house.instance.server.get("/v1/sessions", Some(session)).await.ok(200);
            let id = text(&newest["sessions"][0], "id").to_owned();
            let ended = house.call(caller, Method::DELETE, &format!("/v1/sessions/{id}"), None).await;
            House::came_to(&ended, expected, &format!("{caller} ends a session of {target}"));
            let me = house.instance.server.get("/v1/users/me", Some(session)).await;
            assert_eq!(me.status, if expected.0 == 200 { 401 } else { 200 }, "{caller} on {target}");
            if ended.status == 200 {
                assert_eq!(ended.body, json!({ "revoked": true }));
                let events = house.instance.server.events().await.len();
                let again = house.call(caller, Method::DELETE, &format!("/v1/sessions/{id}"), None).await.ok(200);
                assert_eq!(again, json!({ "revoked": true }));
                assert_eq!(house.instance.server.events().await.len(), events);
            }
        }
    }
}

async fn ending_all_of_ones_own_keeps_the_present_one_and_counts(backend: Backend) {
    let house = House::new(backend).await;
    for _ in 0..3 {
        house.instance.server.sign_in("developer").await.ok(200);
    }
    let ended = house.call("developer", Method::DELETE, "/v1/sessions", None).await.ok(200);
    assert_eq!(ended, json!({ "revoked": 3 }));
    let events = house.instance.server.events().await.len();
    let again = house.call("developer", Method::DELETE, "/v1/sessions", None).await.ok(200);
    assert_eq!(again, json!({ "revoked": 0 }));
    assert_eq!(house.instance.server.events().await.len(), events);
    assert_eq!(sessions(&house, "developer", "").await.len(), 1);

    house.instance.server.sign_in("developer").await.ok(200);
    let all = format!("/v1/sessions?user_id={}", house.id("developer"));
    house.call("qa_viewer", Method::DELETE, &all, None).await.refused(403, "forbidden");
    house.call("token", Method::DELETE, &all, None).await.refused(403, "forbidden");
    assert_eq!(house.call("admin", Method::DELETE, &all, None).await.ok(200), json!({ "revoked": 2 }));
    house.get("developer", "/v1/users/me").await.refused(401, "invalid_session");
    let owners = format!("/v1/sessions?user_id={}", house.id("owner"));
    house.call("admin", Method::DELETE, &owners, None).await.refused(403, "forbidden");
    let nobody = format!("/v1/sessions?user_id={}", uuid::Uuid::now_v7());
    house.call("admin", Method::DELETE, &nobody, None).await.refused(404, "not_found");
}

async fn signing_out_ends_the_session_at_once_and_is_not_for_tokens(backend: Backend) {
    let house = House::new(backend).await;
    house.call("token", Method::POST, "/v1/auth/logout", None).await.refused(403, "forbidden");
    let out = house.call("developer", Method::POST, "/v1/auth/logout", None).await.ok(200);
    assert_eq!(out, json!({ "ok": true }));
    house.call("developer", Method::POST, "/v1/auth/logout", None).await.refused(401, "invalid_session");
}

async fn an_idle_session_is_refused_and_the_log_says_so(backend: Backend) {
    let instance = crate::support::server::Instance::ready_with(backend, &[("AUTHLOG_SESSION_IDLE_TTL", "2s")]).await;
    let signed_in = instance.server.sign_in("alice").await.ok(200);
    let at = signed_in["expires_at"].as_i64().unwrap() - 86_400;
    crate::clock_reaches(&json!(at + 3)).await;
    let session = text(&signed_in, "session_token");
    instance.server.get("/v1/users/me", Some(session)).await.refused(401, "session_expired");
    assert!(instance.server.event_types().await.contains(&"SessionExpired".to_owned()));
}

on_both_databases!(
    a_session_is_shown_whole_and_the_callers_own_is_marked,
    who_may_list_and_end_whose_sessions,
    ending_all_of_ones_own_keeps_the_present_one_and_counts,
    signing_out_ends_the_session_at_once_and_is_not_for_tokens,
    an_idle_session_is_refused_and_the_log_says_so,
);
