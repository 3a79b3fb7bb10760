//! `authlog replay` as of a moment: everything, one stream, what differs.

use crate::support::Backend;
use crate::support::server::{Instance, run};
use crate::support::tables::texts;
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

/// Nobody.
const USER: &str = "user/0198c5a2-0000-7000-8000-000000000000";

async fn a_moment_that_there_is_not_is_refused_in_one_line(backend: Backend) {
    let instance = Instance::ready(backend).await;
    for (arguments, code, said) in [
        (&["--at", "2999-01-01T00:00:00Z"][..], 2, "lies in the future"),
        (&["--at", "99999999999999"], 2, "lies in the future"),
        (&["--at", "yesterday"], 2, "2026-11-17T14:00:00Z"),
        (&["--at", "2026-13-01T00:00:00Z"], 2, "2026-11-17T14:00:00Z"),
        (&["--at", ""], 2, "2026-11-17T14:00:00Z"),
        (&["--position", "0"], 2, "--position"),
        (&["--position", "five"], 2, "--position"),
        (&["--position", "1000000"], 2, "the log ends at"),
        (&["--position", "1", "--at", "5"], 2, "cannot be used with"),
        (&["--diff", "1"], 2, "--diff"),
        (&["--diff", "1", "1000000"], 2, "the log ends at"),
        (&["--diff", "0", "1"], 2, "a position is 1 or more"),
        (&["--diff", "1", "soon"], 2, "a moment is a position"),
        (&["--diff", "1", "2999-01-01T00:00:00Z"], 2, "lies in the future"),
        (&["--diff", "1", "2", "--position", "1"], 2, "cannot be used with"),
        (&["--stream", "nothing/x"], 2, "there is no aggregate type"),
        (&["--stream", "user"], 2, "TYPE/ID"),
        (&["--stream", USER], 1, "has no event"),
        (&["--step"], 2, "--stream"),
        (&["--why", "nobody"], 2, "or a user's address"),
        (&["--why", "setup/instance"], 2, "or a user's address"),
        (&["--why", "a@b@c"], 2, "or a user's address"),
        (&["--why", USER], 1, "no user, session or API token"),
        (&["--why", &USER[5..]], 1, "no user, session or API token"),
        (&["--why", "nobody@example.com"], 1, "no user, session or API token"),
        (&["--why", USER, "--stream", USER], 2, "cannot be used with"),
        (&["--why", USER, "--position", "1000000"], 2, "the log ends at"),
        (&["--check", "--position", "1"], 2, "cannot be used with"),
        (&["--check", "--why", USER], 2, "cannot be used with"),
    ] {
        let (exit, stdout, stderr) = run(&instance.server.flags, &[&["replay"][..], arguments].concat()).await;
        assert_eq!((exit, stdout.as_str(), stderr.contains(said)), (code, "", true), "{arguments:?}: {stderr}");
        // A wrong argument is followed by how it is used.
        let words = stderr.lines().filter(|line| line.starts_with("authlog: ") || line.starts_with("error: "));
        assert_eq!(words.count(), 1, "{arguments:?}: {stderr}");
    }
    // Before there was anything, there was nothing.
    let shown = document(&instance.server, &["--at", "1000000000"]).await;
    assert_eq!((&shown["position"], &shown["setup"], &shown["users"]), (&json!(0), &Value::Null, &json!([])));
}

async fn a_log_that_cannot_be_read_is_told_in_one_line(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (database, flags) = (&instance.database, &instance.server.flags);
    let said = async |arguments: &[&str]| {
        let (code, stdout, stderr) = run(flags, &[&["replay"][..], arguments].concat()).await;
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{arguments:?}: {stderr}");
        stderr
    };
    database.forge("\"ProviderConfigured\"", "\"ProviderDreamt\"").await;
    for arguments in [&[][..], &["--diff", "1", "12"], &["--stream", "identity_provider/instance"]] {
        assert!(said(arguments).await.contains("is damaged"), "{arguments:?}");
    }
    let key = database.folder.path().join("master.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    for arguments in [&[][..], &["--check"], &["--why", "alice@example.com"]] {
        assert!(said(arguments).await.contains("master.key"), "{arguments:?}");
    }
    std::fs::write(&key, kept).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let flags = ["--data-dir".to_owned(), empty.path().display().to_string()];
    let (code, stdout, stderr) = run(&flags, &["replay", "--check"]).await;
    assert_eq!((code, stdout.as_str(), stderr.contains("there is no log")), (1, "", true), "{stderr}");
}

/// Nothing is made of a log that was changed, and nobody is told to.
async fn a_log_that_is_damaged_is_folded_by_nobody(backend: Backend) {
    for cut in [false, true] {
        let instance = Instance::ready(backend).await;
        let (database, flags) = (&instance.database, &instance.server.flags);
        if cut {
            database.cut_out(7).await;
        } else {
            assert!(database.forge("authlog-test", "authlog-tost").await > 0);
        }
        let layout = async || texts(database, "SELECT layout FROM log_head", "SELECT layout FROM log_head").await;
        let before = layout().await;
        for (code, arguments) in [
            (3, &["projections", "verify"][..]),
            (1, &["projections", "rebuild", "--all"]),
            (1, &["replay"]),
            (3, &["replay", "--check"]),
        ] {
            let (ended, _, stderr) = run(flags, arguments).await;
            assert_eq!(ended, code, "{arguments:?}: {stderr}");
            assert!(code == 3 && arguments[0] == "replay" || stderr.contains("`authlog replay --check`"), "{stderr}");
        }
        assert_eq!(layout().await, before);
    }
}

on_both_databases!(
    a_log_that_is_damaged_is_folded_by_nobody,
    any_past_position_shows_what_the_api_showed_then,
    a_stream_is_stepped_through_with_what_each_event_changed,
    two_moments_differ_by_what_happened_between_them,
    a_moment_that_there_is_not_is_refused_in_one_line,
    a_log_that_cannot_be_read_is_told_in_one_line,
);
