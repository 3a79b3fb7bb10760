//! `/v1/users...`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::house::{CALLERS, House};
use crate::support::Backend;
use crate::text;

const YES: (u16, &str) = (200, "");
const NO: (u16, &str) = (403, "forbidden");

async fn who_may_list_and_invite_whom(backend: Backend) {
    let house = House::new(backend).await;
    for (caller, list, invite_admin, invite_developer) in [
        ("owner", YES, (201, ""), (201, "")),
        ("admin", YES, NO, (201, "")),
        ("developer", NO, NO, NO),
        ("qa_viewer", NO, NO, NO),
        ("token", YES, NO, (201, "")),
    ] {
        House::came_to(&house.get(caller, "/v1/users/me").await, YES, caller);
        House::came_to(&house.get(caller, "/v1/users").await, list, caller);
        for (role, expected) in
            [("admin", invite_admin), ("developer", invite_developer), ("qa_viewer", invite_developer)]
        {
            let body = json!({ "email": format!("{role}.by.{caller}@example.com"), "role": role });
            let invited = house.call(caller, Method::POST, "/v1/users/invite", Some(body)).await;
            House::came_to(&invited, expected, &format!("{caller} invites {role}"));
        }
        let king = json!({ "email": "king@example.com", "role": "owner" });
        let expected = if list == YES { (400, "invalid_input") } else { NO };
        let invited = house.call(caller, Method::POST, "/v1/users/invite", Some(king)).await;
        House::came_to(&invited, expected, caller);
    }
}

async fn who_may_change_disable_and_enable_whom(backend: Backend) {
    let house = House::new(backend).await;
    let (admin, developer) = (house.newcomer("other.admin", "admin").await, house.newcomer("other", "developer").await);
    let owner = house.id("owner").to_owned();
    for (caller, may_admin, may_developer) in
        [("owner", YES, YES), ("admin", NO, YES), ("developer", NO, NO), ("qa_viewer", NO, NO), ("token", NO, YES)]
    {
        let own = house.id(caller).to_owned();
        for (target, expected) in [(&admin, may_admin), (&developer, may_developer), (&owner, NO), (&own, NO)] {
            let what = format!("{caller} on {target}");
            let body = Some(json!({ "role": "qa_viewer" }));
            let path = format!("/v1/users/{target}/role");
            House::came_to(&house.call(caller, Method::PATCH, &path, body).await, expected, &what);
            let path = format!("/v1/users/{target}");
            House::came_to(&house.call(caller, Method::DELETE, &path, None).await, expected, &what);
            let path = format!("/v1/users/{target}/enable");
            House::came_to(&house.call(caller, Method::POST, &path, None).await, expected, &what);
        }
        for (target, role) in [(&admin, "admin"), (&developer, "developer")] {
            let path = format!("/v1/users/{target}/role");
            house.call("owner", Method::PATCH, &path, Some(json!({ "role": role }))).await.ok(200);
        }
        let promote = format!("/v1/users/{developer}/role");
        let promoted = house.call(caller, Method::PATCH, &promote, Some(json!({ "role": "admin" }))).await;
        House::came_to(&promoted, if caller == "owner" { YES } else { NO }, caller);
        house.call("owner", Method::PATCH, &promote, Some(json!({ "role": "developer" }))).await.ok(200);
    }
}

async fn role_comes_before_path_path_before_body_and_existence_before_rule(backend: Backend) {
    let house = House::new(backend).await;
    let patch = async |caller: &str, id: &str, body: Value| {
        house.call(caller, Method::PATCH, &format!("/v1/users/{id}/role"), Some(body)).await
    };
    let (nobody, bad) = (uuid::Uuid::now_v7().to_string(), json!({ "role": "king" }));
    patch("developer", "not-a-uuid", bad.clone()).await.refused(403, "forbidden");
    patch("admin", "not-a-uuid", bad.clone()).await.refused(404, "not_found");
    patch("admin", &nobody, bad).await.refused(400, "invalid_input");
    patch("admin", &nobody, json!({ "role": "developer" })).await.refused(404, "not_found");
    patch("admin", house.id("owner"), json!({ "role": "developer" })).await.refused(403, "forbidden");
    let path = format!("/v1/users/{}/role", house.id("owner"));
    house.instance.server.call(Method::PATCH, &path, None, None).await.refused(401, "missing_auth");
}

async fn repeating_a_change_is_answered_alike_and_leaves_no_event(backend: Backend) {
    let house = House::new(backend).await;
    let id = house.newcomer("other", "developer").await;
    let role = format!("/v1/users/{id}/role");
    for (method, path, body, field, value) in [
        (Method::PATCH, role, Some(json!({ "role": "qa_viewer" })), "role", "qa_viewer"),
        (Method::DELETE, format!("/v1/users/{id}"), None, "status", "disabled"),
        (Method::POST, format!("/v1/users/{id}/enable"), None, "status", "invited"),
    ] {
        let first = house.call("owner", method.clone(), &path, body.clone()).await.ok(200);
        assert_eq!(text(&first["user"], field), value);
        let events = house.instance.server.events().await.len();
        assert_eq!(house.call("owner", method, &path, body).await.ok(200), first);
        assert_eq!(house.instance.server.events().await.len(), events, "{path}");
    }
}

async fn disabling_ends_sessions_and_tokens_and_enabling_gives_back_what_was(backend: Backend) {
    let house = House::new(backend).await;
    let developer = house.id("developer").to_owned();
    let body = json!({ "name": "ci", "role": "developer" });
    let token = house.call("developer", Method::POST, "/v1/api-tokens", Some(body)).await.ok(201);
    let disabled = house.call("admin", Method::DELETE, &format!("/v1/users/{developer}"), None).await.ok(200);
    assert_eq!(disabled["user"]["status"], "disabled");
    let server = &house.instance.server;
    for bearer in [house.bearer("developer"), text(&token, "token")] {
        server.get("/v1/users/me", Some(bearer)).await.refused(401, "invalid_session");
    }
    let enable = format!("/v1/users/{developer}/enable");
    let enabled = house.call("admin", Method::POST, &enable, None).await.ok(200);
    assert_eq!(enabled["user"]["status"], "active");
    for bearer in [house.bearer("developer"), text(&token, "token")] {
        server.get("/v1/users/me", Some(bearer)).await.refused(401, "invalid_session");
    }
    server.sign_in("developer").await.ok(200);
    let invited = house.newcomer("bob", "developer").await;
    house.call("admin", Method::DELETE, &format!("/v1/users/{invited}"), None).await.ok(200);
    server.sign_in("bob").await.refused(403, "user_not_found");
    let enable = format!("/v1/users/{invited}/enable");
    assert_eq!(house.call("admin", Method::POST, &enable, None).await.ok(200)["user"]["status"], "invited");
    server.sign_in("bob").await.ok(200);
}

async fn a_changed_role_counts_from_the_next_call_on(backend: Backend) {
    let house = House::new(backend).await;
    house.get("admin", "/v1/users").await.ok(200);
    house.get("token", "/v1/users").await.ok(200);
    let role = format!("/v1/users/{}/role", house.id("admin"));
    house.call("owner", Method::PATCH, &role, Some(json!({ "role": "developer" }))).await.ok(200);
    house.get("admin", "/v1/users").await.refused(403, "forbidden");
    house.get("token", "/v1/users").await.refused(403, "forbidden");
    let me = house.get("token", "/v1/users/me").await.ok(200);
    assert_eq!(me["user"]["role"], "developer");
}

async fn a_list_is_sorted_cut_and_searched_from_closed_sets(backend: Backend) {
    let house = House::new(backend).await;
    let emails = async |query: &str| {
        let listed = house.get("owner", &format!("/v1/users?{query}")).await.ok(200);
        let emails: Vec<String> =
            listed["users"].as_array().unwrap().iter().map(|user| text(user, "email").to_owned()).collect();
        (
            emails.iter().map(|email| email.split('@').next().unwrap().to_owned()).collect::<Vec<_>>(),
            listed["total"].clone(),
        )
    };
    let by_name = ["admin", "alice", "developer", "qa_viewer"].map(str::to_owned).to_vec();
    assert_eq!(emails("sort=email&direction=asc").await, (by_name.clone(), json!(4)));
    let backwards: Vec<String> = by_name.iter().rev().cloned().collect();
    assert_eq!(emails("sort=email").await.0, backwards);
    assert_eq!(emails("").await.0, ["qa_viewer", "developer", "admin", "alice"]);
    assert_eq!(emails("direction=asc").await.0, ["alice", "admin", "developer", "qa_viewer"]);
    assert_eq!(emails("sort=email&direction=asc&limit=2&offset=1").await, (by_name[1..3].to_vec(), json!(4)));
    assert_eq!(emails("limit=200&offset=4").await, (vec![], json!(4)));
    assert_eq!(emails("q=ALICE").await, (vec!["alice".to_owned()], json!(1)));
    assert_eq!(emails("q=Developer%20Ex").await.0, ["developer"]);
    for nothing in ["q=%25", "q=_x_", "q=%5C", "q='%20OR%201=1--"] {
        assert_eq!(emails(nothing).await, (vec![], json!(0)), "{nothing}");
    }
    assert_eq!(emails("q=a_v").await.0, ["qa_viewer"]);
    for sort in ["role", "status"] {
        assert_eq!(emails(&format!("sort={sort}&direction=asc")).await.1, 4);
    }
    let too_long = format!("q={}", "x".repeat(257));
    house.get("owner", &format!("/v1/users?{too_long}")).await.refused(400, "invalid_input");
}

async fn a_user_is_shown_whole(backend: Backend) {
    let house = House::new(backend).await;
    for caller in CALLERS {
        let user = house.get(caller, "/v1/users/me").await.ok(200)["user"].clone();
        let role = if caller == "token" { "admin" } else { caller };
        let name = if caller == "owner" { "alice" } else { role };
        let initial = name[..1].to_uppercase();
        assert_eq!(
            user,
            json!({
                "id": house.id(caller), "email": format!("{name}@example.com"), "role": role, "status": "active",
                "display_name": format!("{initial}{} Example", &name[1..]),
                "avatar_url": format!("https://pictures.example.com/{name}.png"),
                "created_at": user["created_at"].as_i64().unwrap(), "updated_at": user["updated_at"].as_i64().unwrap(),
            })
        );
    }
    let body = json!({ "email": " New.Body+x@EXAMPLE.com ", "role": "qa_viewer" });
    let invited = house.call("admin", Method::POST, "/v1/users/invite", Some(body)).await.ok(201)["user"].clone();
    let at = invited["created_at"].as_i64().unwrap();
    assert_eq!(
        invited,
        json!({
            "id": text(&invited, "id"), "email": "new.body+x@example.com", "role": "qa_viewer", "status": "invited",
            "created_at": at, "updated_at": at,
        })
    );
}

on_both_databases!(
    who_may_list_and_invite_whom,
    who_may_change_disable_and_enable_whom,
    role_comes_before_path_path_before_body_and_existence_before_rule,
    repeating_a_change_is_answered_alike_and_leaves_no_event,
    disabling_ends_sessions_and_tokens_and_enabling_gives_back_what_was,
    a_changed_role_counts_from_the_next_call_on,
    a_list_is_sorted_cut_and_searched_from_closed_sets,
    a_user_is_shown_whole,
);
