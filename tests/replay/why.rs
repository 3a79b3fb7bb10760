//! `authlog replay --why`: which events decide how a user, a session or an API token is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::server::{Instance, Server, run};
use crate::{document, head, on_both_databases};

async fn why(server: &Server, name: &str) -> Value {
    document(server, &["--why", name]).await
}

/// Type and what it decides of each event, in order.
fn deciders(why: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let decides = |decider: &Value| decider["decides"].as_array().unwrap().iter().map(text).collect();
    why["because"].as_array().unwrap().iter().map(|decider| (text(&decider["type"]), decides(decider))).collect()
}

fn decides(event_type: &str, what: &[&str]) -> (String, Vec<String>) {
    (event_type.to_owned(), what.iter().map(|what| (*what).to_owned()).collect())
}

async fn set_role(instance: &Instance, user: &str, role: &str) {
    let path = format!("/v1/users/{user}/role");
    instance.server.call(Method::PATCH, &path, Some(&instance.owner), Some(json!({ "role": role }))).await.ok(200);
}

async fn a_user_is_what_the_last_events_made_of_them(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let me = server.get("/v1/users/me", owner).await.ok(200)["user"]["id"].as_str().unwrap().to_owned();
    let (bob, _) = server.join(&instance.owner, "bob", "qa_viewer").await;
    set_role(&instance, &bob, "developer").await;
    set_role(&instance, &bob, "admin").await;
    let before = head(server).await;
    server.delete(&format!("/v1/users/{bob}"), owner).await.ok(200);

    let told = why(server, &format!("user/{bob}")).await;
    let shown = server.get("/v1/users?q=bob", owner).await.ok(200)["users"][0].clone();
    assert_eq!((&told["answer"], told.get("alive")), (&shown, None));
    let expected = [
        decides("UserInvited", &["account"]),
        decides("InvitationAccepted", &["identity", "profile"]),
        decides("RoleChanged", &["role"]),
        decides("UserDisabled", &["status", "sessions_ended", "api_tokens_ended"]),
    ];
    assert_eq!(deciders(&told), expected);
    let actors: Vec<&Value> = told["because"].as_array().unwrap().iter().map(|decider| &decider["actor"]).collect();
    let (owner_did, bob_did) = (json!(format!("user/{me}")), json!(format!("user/{bob}")));
    assert_eq!(actors, [&owner_did, &bob_did, &owner_did, &owner_did]);

    // By the id alone, and by the address, it is the same answer.
    assert_eq!(why(server, &bob).await["because"], told["because"]);
    assert_eq!(why(server, "Bob@example.com").await["because"], told["because"]);
    let earlier = document(server, &["--why", &bob, "--position", &before]).await;
    assert_eq!(earlier["answer"]["status"], "active");
    assert_eq!(deciders(&earlier)[1], decides("InvitationAccepted", &["status", "identity", "profile"]));
}

async fn a_session_is_over_because_of_its_end_its_user_or_the_provider(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let (bob, session) = server.join(&instance.owner, "bob", "qa_viewer").await;
    let sessions = server.get("/v1/sessions", Some(&session)).await.ok(200)["sessions"].clone();
    let id = sessions[0]["id"].as_str().unwrap();
    let told = why(server, id).await;
    assert_eq!((&told["alive"], &told["answer"]["user_id"]), (&json!(true), &json!(bob)));
    let opened = decides("SessionOpened", &["opened"]);
    let (invited, accepted) = (decides("UserInvited", &["role"]), decides("InvitationAccepted", &["status"]));
    assert_eq!(deciders(&told), [invited.clone(), accepted.clone(), opened.clone()]);

    server.delete(&format!("/v1/sessions?user_id={bob}"), owner).await.ok(200);
    let told = why(server, &format!("session/{id}")).await;
    assert_eq!((&told["alive"], &told["ended_by"]), (&json!(false), &json!(["user_ended"])));
    assert_eq!(deciders(&told), [invited, accepted, opened, decides("SessionsRevoked", &["sessions_ended"])]);

    let second = server.sign_in("bob").await.ok(200)["session_token"].as_str().unwrap().to_owned();
    let sessions = server.get("/v1/sessions", Some(&second)).await.ok(200)["sessions"].clone();
    server.post("/v1/auth/logout", Some(&second), json!({})).await.ok(200);
    let told = why(server, sessions[0]["id"].as_str().unwrap()).await;
    assert_eq!((&told["alive"], &told["ended_by"]), (&json!(false), &json!(["signed_out"])));
    assert_eq!(deciders(&told).last(), Some(&decides("SessionSignedOut", &["ended"])));
    assert_eq!(told.get("answer"), None);
}

async fn an_api_token_is_over_because_of_its_end_or_its_user(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let (bob, session) = server.join(&instance.owner, "bob", "developer").await;
    let issue = async |name: &str| {
        let body = json!({ "name": name, "role": "developer" });
        let issued = server.post("/v1/api-tokens", Some(&session), body).await.ok(201);
        issued["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (issue("one").await, issue("two").await);
    assert_eq!(why(server, &first).await["alive"], true);
    server.delete(&format!("/v1/api-tokens/{first}"), owner).await.ok(200);
    server.delete(&format!("/v1/users/{bob}"), owner).await.ok(200);
    let told = why(server, &format!("api_token/{second}")).await;
    assert_eq!(told["answer"]["name"], "two");
    assert_eq!(told["ended_by"], json!(["user_ended", "user_not_active"]));
    let last = deciders(&told).pop().unwrap();
    assert_eq!(last, decides("UserDisabled", &["status", "api_tokens_ended"]));
    let told = why(server, &first).await;
    assert_eq!(told["ended_by"], json!(["revoked", "user_ended", "user_not_active"]));
}

async fn of_somebody_erased_it_is_told_that_they_were_and_nothing_of_them(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let (bob, _) = server.join(&instance.owner, "bob", "developer").await;
    let before = head(server).await;
    server.delete(&format!("/v1/users/{bob}?erase=true"), owner).await.ok(200);
    let told = why(server, &bob).await;
    assert_eq!(told.get("answer"), None);
    let last = deciders(&told).pop().unwrap();
    let gone = ["account", "status", "identity", "profile", "sessions_ended", "api_tokens_ended"];
    assert_eq!(last, decides("UserErased", &gone));
    // Not at any moment of the past, either.
    let earlier = document(server, &["--why", &bob, "--position", &before]).await;
    assert_eq!((&earlier["answer"]["status"], &earlier["answer"]["email"]), (&json!("active"), &json!("")));
    let erased: Vec<&str> = earlier["erased"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(erased.contains(&"address") && erased.contains(&"identity.subject"), "{erased:?}");
    let (code, stdout, stderr) =
        run(&server.flags, &["replay", "--why", "bob@example.com", "--position", &before]).await;
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
}

async fn for_people_it_is_told_in_lines(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (_, stdout, stderr) = run(&instance.server.flags, &["replay", "--why", "alice@example.com"]).await;
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("as of "), "{stdout}{stderr}");
    assert!(lines[1].starts_with("user/") && lines[1].contains("email=alice@example.com"), "{stdout}");
    assert!(lines[2].contains("OwnerRegistered by setup_session/"), "{stdout}");
    assert!(lines[2].ends_with("decides account, role, status, identity, profile"), "{stdout}");
}

on_both_databases!(
    a_user_is_what_the_last_events_made_of_them,
    a_session_is_over_because_of_its_end_its_user_or_the_provider,
    an_api_token_is_over_because_of_its_end_or_its_user,
    of_somebody_erased_it_is_told_that_they_were_and_nothing_of_them,
    for_people_it_is_told_in_lines,
);
