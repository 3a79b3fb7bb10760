//! `authlog replay` as of a moment: everything, one stream, what differs.

use crate::support::Backend;
use crate::support::server::{Instance, run};
use crate::{document, head, lines, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

/// Everything as the API shows it now; when a session was last seen is not in the log.
async fn now(instance: &Instance, users: &[String]) -> Value {
    let server = &instance.server;
    let get = async |path: &str| server.get(path, Some(&instance.owner)).await.ok(200);
    let mut sessions = Vec::new();
    for user in users {
        sessions.extend(get(&format!("/v1/sessions?user_id={user}")).await["sessions"].as_array().unwrap().clone());
    }
    for session in &mut sessions {
        session["last_seen_at"] = session["created_at"].clone();
        session["current"] = json!(false);
    }
    let by_age = |mut items: Vec<Value>| {
        items.sort_by_key(|item| (item["created_at"].as_i64().unwrap(), item["id"].as_str().unwrap().to_owned()));
        items
    };
    let listed = async |path: &str, name: &str| by_age(get(path).await[name].as_array().unwrap().clone());
    json!({
        "setup": server.get("/v1/public/setup-status", None).await.ok(200),
        "users": listed("/v1/users", "users").await,
        "sessions": by_age(sessions),
        "api_tokens": listed("/v1/api-tokens", "tokens").await,
    })
}

fn without_moment(mut shown: Value) -> Value {
    let shown = shown.as_object_mut().unwrap();
    for name in ["position", "at", "identity_provider"] {
        shown.remove(name).unwrap();
    }
    Value::Object(shown.clone())
}

async fn any_past_position_shows_what_the_api_showed_then(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let me = server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    let mut users = vec![me["user"]["id"].as_str().unwrap().to_owned()];
    let mut moments = vec![(head(server).await, now(&instance, &users).await)];
    let (bob, _) = server.join(&instance.owner, "bob", "developer").await;
    users.push(bob.clone());
    moments.push((head(server).await, now(&instance, &users).await));
    let token = json!({ "name": "ci", "role": "developer" });
    server.post("/v1/api-tokens", Some(&instance.owner), token).await.ok(201);
    moments.push((head(server).await, now(&instance, &users).await));
    server.sign_in("bob").await.ok(200);
    let role = format!("/v1/users/{bob}/role");
    server.call(Method::PATCH, &role, Some(&instance.owner), Some(json!({ "role": "admin" }))).await.ok(200);
    moments.push((head(server).await, now(&instance, &users).await));
    server.delete(&format!("/v1/users/{bob}"), Some(&instance.owner)).await.ok(200);
    moments.push((head(server).await, now(&instance, &users).await));
    for (position, then) in &moments {
        let shown = document(server, &["--position", position]).await;
        assert_eq!(shown["position"].to_string(), *position);
        assert_eq!(shown["identity_provider"]["issuer_url"], instance.provider.issuer());
        assert_eq!(without_moment(shown), *then, "at {position}");
    }
    let present = document(server, &[]).await;
    assert_eq!(without_moment(present), moments.last().unwrap().1);
}

async fn a_stream_is_stepped_through_with_what_each_event_changed(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let (bob, _) = server.join(&instance.owner, "bob", "developer").await;
    let role = format!("/v1/users/{bob}/role");
    server.call(Method::PATCH, &role, Some(&instance.owner), Some(json!({ "role": "admin" }))).await.ok(200);
    let stream = format!("user/{bob}");
    let steps = lines(server, &["--stream", &stream, "--step"]).await;
    let types: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap()).collect();
    assert_eq!((types.first(), types.last()), (Some(&"UserInvited"), Some(&"RoleChanged")));
    assert_eq!(steps[0]["changes"][0]["appeared"]["status"], "invited");
    let changed = &steps.last().unwrap()["changes"][0];
    assert_eq!((&changed["kind"], &changed["id"]), (&json!("user"), &json!(bob)));
    assert_eq!(changed["changed"]["role"], json!(["developer", "admin"]));
    let shown = document(server, &["--stream", &stream]).await;
    assert_eq!(shown["state"], server.get("/v1/users?q=bob", Some(&instance.owner)).await.ok(200)["users"][0]);
    let first = steps[0]["position"].to_string();
    let shown = document(server, &["--stream", &stream, "--position", &first]).await;
    assert_eq!((&shown["state"]["status"], &shown["state"]["role"]), (&json!("invited"), &json!("developer")));
}

async fn two_moments_differ_by_what_happened_between_them(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let (bob, _) = server.join(&instance.owner, "bob", "developer").await;
    let before = head(server).await;
    server.delete(&format!("/v1/users/{bob}"), Some(&instance.owner)).await.ok(200);
    let after = head(server).await;
    let found = lines(server, &["--diff", &before, &after]).await;
    let kinds: Vec<&Value> = found.iter().map(|difference| &difference["kind"]).collect();
    assert_eq!(kinds, ["session", "user"]);
    assert_eq!(found[0]["vanished"]["user_id"], json!(bob));
    assert_eq!(found[1]["changed"]["status"], json!(["active", "disabled"]));
    assert_eq!(lines(server, &["--diff", &after, &after]).await, Vec::<Value>::new());
    let back = lines(server, &["--diff", &after, &before]).await;
    assert_eq!(back[1]["changed"]["status"], json!(["disabled", "active"]));
}

async fn a_moment_that_there_is_not_is_refused_in_one_line(backend: Backend) {
    let instance = Instance::ready(backend).await;
    for (arguments, code, said) in [
        (&["--at", "2999-01-01T00:00:00Z"][..], 2, "lies in the future"),
        (&["--at", "yesterday"], 2, "2026-11-17T14:00:00Z"),
        (&["--position", "0"], 2, "--position"),
        (&["--position", "1000000"], 2, "the log ends at"),
        (&["--diff", "1", "1000000"], 2, "the log ends at"),
        (&["--stream", "nothing/x"], 2, "--stream"),
        (&["--stream", "user/0198c5a2-0000-7000-8000-000000000000"], 1, "has no event"),
        (&["--step"], 2, "--stream"),
    ] {
        let (exit, stdout, stderr) = run(&instance.server.flags, &[&["replay"][..], arguments].concat()).await;
        assert_eq!((exit, stdout.as_str(), stderr.contains(said)), (code, "", true), "{arguments:?}: {stderr}");
    }
    // Before there was anything, there was nothing.
    let shown = document(&instance.server, &["--at", "1000000000"]).await;
    assert_eq!((&shown["position"], &shown["setup"], &shown["users"]), (&json!(0), &Value::Null, &json!([])));
}

on_both_databases!(
    any_past_position_shows_what_the_api_showed_then,
    a_stream_is_stepped_through_with_what_each_event_changed,
    two_moments_differ_by_what_happened_between_them,
    a_moment_that_there_is_not_is_refused_in_one_line,
);
