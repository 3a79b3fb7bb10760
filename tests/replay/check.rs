//! `authlog replay --check`: what the rules do not allow is found, and nothing else is.

use authlog::replay::DECIDED_BEFORE_SECONDS;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::forgery::{Forged, Forgery};
use crate::support::server::{Instance, Server, at_the_provider, run};
use crate::support::tables::log;
use crate::support::{Backend, TestDatabase};

/// Asserts that the check finds this, and nothing else: the position, the stream, the reason.
async fn finds(server: &Server, expected: &[(i64, &str, &str)]) {
    let (code, stdout, stderr) = run(&server.flags, &["replay", "--check", "--json"]).await;
    let mut lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    let told = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (line["position"].as_i64().unwrap(), text("stream"), text("reason"))
    };
    let found: Vec<_> = lines.iter().map(told).collect();
    let expected: Vec<_> = expected.iter().map(|(at, stream, why)| (*at, (*stream).into(), (*why).into())).collect();
    assert_eq!(found, expected, "{stderr}");
    assert_eq!(summary["findings"], expected.len());
    assert_eq!(code, if expected.is_empty() { 0 } else { 3 }, "{stderr}");
    // For people: the same on a line each.
    let (code, stdout, _) = run(&server.flags, &["replay", "--check"]).await;
    assert_eq!((code, stdout.lines().count()), (if expected.is_empty() { 0 } else { 3 }, expected.len()));
    for (line, (position, _, reason)) in stdout.lines().zip(&expected) {
        assert!(line.trim_start().starts_with(&position.to_string()) && line.ends_with(reason.as_str()), "{line}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// An invitation whose address nobody can read.
fn invitation(by: &str) -> (String, Value) {
    let user = Uuid::now_v7();
    let payload = json!({ "address": format!("person/{user}:AAAA"), "role": "qa_viewer", "invited_by": by });
    (format!("user/{user}"), payload)
}

async fn session_of(server: &Server, token: &str) -> String {
    let listed = server.get("/v1/sessions", Some(token)).await.ok(200);
    text(&listed["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap()["id"])
}

/// A log in which much has happened, and all of it rightly.
async fn lived_in(backend: Backend) -> (Instance, String, String) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let (bob, session) = server.join(&instance.owner, "bob", "developer").await;
    let role = format!("/v1/users/{bob}/role");
    server.call(Method::PATCH, &role, owner, Some(json!({ "role": "admin" }))).await.ok(200);
    (instance, bob, session)
}

async fn a_log_that_the_service_wrote_passes(backend: Backend) {
    let (instance, bob, session) = lived_in(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let issued = server.post("/v1/api-tokens", Some(&session), json!({ "name": "ci", "role": "admin" })).await.ok(201);
    let invited = json!({ "email": "dora@example.com", "role": "developer" });
    server.post("/v1/users/invite", issued["token"].as_str(), invited).await.ok(201);
    server.delete(&format!("/v1/api-tokens/{}", text(&issued["id"])), owner).await.ok(200);
    server.sign_in("bob").await.ok(200);
    server.delete("/v1/sessions", Some(&session)).await.ok(200);
    server.post("/v1/auth/logout", Some(&session), json!({})).await.ok(200);
    server.delete(&format!("/v1/users/{bob}"), owner).await.ok(200);
    server.post(&format!("/v1/users/{bob}/enable"), owner, json!({})).await.ok(200);
    server.delete(&format!("/v1/users/{bob}?erase=true"), owner).await.ok(200);
    finds(server, &[]).await;
}

async fn what_its_state_did_not_allow_is_found_and_the_check_goes_on(backend: Backend) {
    let (instance, bob, session) = lived_in(backend).await;
    let (server, owner) = (&instance.server, Some(instance.owner.as_str()));
    let me = text(&server.get("/v1/users/me", owner).await.ok(200)["user"]["id"]);
    let token = server.post("/v1/api-tokens", Some(&session), json!({ "name": "ci", "role": "admin" })).await.ok(201);
    instance.provider.add_account(devidp::Account::new("dora"));
    let (dora, _) = server.join(&instance.owner, "dora", "developer").await;
    let bobs = session_of(server, &session).await;
    server.delete(&format!("/v1/sessions/{bobs}"), owner).await.ok(200);

    let mut forgery = Forgery::begin(&instance.database).await;
    let mut expected: Vec<(i64, String, &str)> = Vec::new();
    let user = |id: &str| format!("user/{id}");
    let by_token = format!("api_token/{}/user/{bob}", text(&token["id"]));
    let (first, invited_by_bob) = invitation(&bob);
    let (second, invited_by_token) = invitation(&bob);
    let (third, invited_by_dora) = invitation(&dora);
    let (fourth, invited_by_nobody) = invitation(&me);
    let (last, invited_too_late) = invitation(&me);
    let disabled_by_dora = json!({ "disabled_by": dora });
    let disabled = json!({ "disabled_by": me });
    let no_session = "no session of the user who did it was alive";
    let no_role = "your role does not permit managing users";
    let planted = [
        (first, "UserInvited", invited_by_bob, user(&bob), no_session),
        (
            format!("session/{bobs}"),
            "SessionRevoked",
            json!({}),
            user(&me),
            "it has the sequence 3, and its stream has ended or never began",
        ),
        (user(&bob), "UserEnabled", json!({ "enabled_by": me }), user(&me), "it changes nothing: it was so already"),
        (third, "UserInvited", invited_by_dora, user(&dora), no_role),
        (user(&bob), "UserDisabled", disabled_by_dora, user(&dora), no_role),
        (user(&bob), "UserDisabled", disabled.clone(), user(&me), "it changes nothing: it was so already"),
        (second, "UserInvited", invited_by_token, by_token, "the API token that did it was not alive"),
        (user(&me), "UserDisabled", disabled, user(&me), "nobody changes or disables themselves"),
        (fourth, "UserInvited", invited_by_nobody, "operator".into(), "operator does not do this"),
        (last, "UserInvited", invited_too_late, user(&me), no_session),
    ];
    let count = planted.len();
    for (index, (stream, event_type, payload, actor, reason)) in planted.into_iter().enumerate() {
        // A session lives 24 hours.
        let later = if index + 1 == count { 25 * 3600 } else { 0 };
        let forged = Forged { stream: stream.clone(), event_type, payload, actor };
        expected.push((forgery.append(forged, later).await, stream, reason));
    }
    let expected: Vec<_> = expected.iter().map(|(at, stream, why)| (*at, stream.as_str(), *why)).collect();
    finds(server, &expected).await;
}

async fn what_runs_out_is_held_against_an_event_a_minute_later(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let me = instance.server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    let me = text(&me["user"]["id"]);
    let mut forgery = Forgery::begin(&instance.database).await;
    let mut invite = async |seconds_later| {
        let (stream, payload) = invitation(&me);
        let forged = Forged { stream: stream.clone(), event_type: "UserInvited", payload, actor: format!("user/{me}") };
        (forgery.append(forged, seconds_later).await, stream)
    };
    // A session lives 24 hours; this one is a few seconds old at most.
    invite(24 * 3600 + DECIDED_BEFORE_SECONDS - 10).await;
    finds(&instance.server, &[]).await;
    let (position, stream) = invite(10).await;
    finds(&instance.server, &[(position, &stream, "no session of the user who did it was alive")]).await;
}

async fn a_sixth_guess_is_found(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    server.bootstrap_token().await;
    for _ in 0..5 {
        server
            .post("/v1/setup/bootstrap-token/verify", None, json!({ "token": "wrong" }))
            .await
            .refused(401, "invalid_token");
    }
    finds(&server, &[]).await;
    let forged = Forged {
        stream: "setup/instance".to_owned(),
        event_type: "VerificationFailed",
        payload: json!({ "failures": 6 }),
        actor: "anonymous".to_owned(),
    };
    let position = Forgery::begin(&database).await.append(forged, 0).await;
    let reason = "the bootstrap token is locked after 5 failed verifications";
    finds(&server, &[(position, "setup/instance", reason)]).await;
}

async fn a_second_owner_is_found(backend: Backend) {
    let provider = devidp::DevIdp::start(devidp::Options::default()).unwrap();
    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    let setup = server.open_setup_session().await;
    server.configure(&setup, provider.issuer()).await.ok(200);
    let redirect = json!({ "redirect_uri": crate::support::server::REDIRECT_URI });
    let begun = server.post("/v1/setup/owner/start-oidc", Some(&setup), redirect).await.ok(200);
    let callback = at_the_provider(&begun, "alice").await;
    server.post("/v1/setup/owner/verify-oidc", Some(&setup), callback).await.ok(200);
    finds(&server, &[]).await;

    let opened = log(&database).await.into_iter().find(|event| event.event_type == "SetupSessionOpened").unwrap();
    let (actor, usurper) = (format!("setup_session/{}", opened.aggregate_id), Uuid::now_v7());
    let sealed = format!("person/{usurper}:AAAA");
    let identity = json!({ "issuer": provider.issuer(), "subject": sealed });
    let owner = json!({ "address": sealed, "identity": identity, "profile": {} });
    let mut forgery = Forgery::begin(&database).await;
    let verified = Forged {
        stream: "setup/instance".to_owned(),
        event_type: "OwnerVerified",
        payload: json!({ "user_id": usurper }),
        actor: actor.clone(),
    };
    let at = forgery.append(verified, 0).await;
    let stream = format!("user/{usurper}");
    forgery.append(Forged { stream: stream.clone(), event_type: "OwnerRegistered", payload: owner, actor }, 0).await;
    let expected = [
        (at, "setup/instance", "this is not possible while setup is owner_created"),
        (at + 1, stream.as_str(), "there is an owner already"),
    ];
    finds(&server, &expected).await;
}

async fn rows_that_are_damaged_or_out_of_step_are_found(backend: Backend) {
    let (instance, bob, _) = lived_in(backend).await;
    let server = &instance.server;
    let written = log(&instance.database).await;
    let at = |event_type: &str| {
        let event = written.iter().find(|event| event.event_type == event_type).unwrap();
        (event.position, format!("{}/{}", event.aggregate_type, event.aggregate_id))
    };
    let (invited, user) = at("UserInvited");
    let (completed, _) = at("SetupCompleted");
    let (accepted, _) = at("InvitationAccepted");
    let (changed, _) = at("RoleChanged");
    let opened = accepted + 1;
    assert_eq!(written[usize::try_from(accepted).unwrap()].event_type, "SessionOpened");

    let mut forgery = Forgery::begin(&instance.database).await;
    // The row, and not its hash.
    forgery.run(&format!("UPDATE events SET recorded_at = recorded_at + 1 WHERE position = {completed}")).await;
    // Sealed values are base64url: another letter is another value.
    forgery
        .rewrite(invited, |event| {
            let (before, sealed) = event.payload.split_once(&format!("person/{bob}:")).unwrap();
            let other = if sealed.starts_with('A') { 'B' } else { 'A' };
            event.payload = format!("{before}person/{bob}:{other}{}", &sealed[1..]);
        })
        .await;
    forgery.rewrite(accepted, |event| "InvitationDreamt".clone_into(&mut event.event_type)).await;
    forgery.rewrite(opened, |event| r#"{"SessionOpened":{"user_id":7}}"#.clone_into(&mut event.payload)).await;
    let last = written.last().unwrap().position;
    assert_eq!(changed, last);
    forgery
        .rewrite(last, |event| {
            event.position += 2;
            event.sequence += 3;
            event.recorded_at = 1;
        })
        .await;
    let (_, stdout, _) = run(&server.flags, &["replay", "--check", "--json"]).await;
    let found: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons = |position: i64| -> Vec<&str> {
        found
            .iter()
            .filter(|found| found["position"] == position)
            .filter_map(|found| found["reason"].as_str())
            .collect()
    };
    assert_eq!(reasons(completed), ["the leaf hash is not that of the row"]);
    let field = format!("the field address of {user} event 1");
    assert!(matches!(reasons(invited).as_slice(), [reason] if reason.starts_with(&field)), "{:?}", reasons(invited));
    assert!(matches!(reasons(accepted).as_slice(), [reason] if reason.contains("cannot be read")), "{found:?}");
    assert!(matches!(reasons(opened).as_slice(), [reason] if reason.contains("cannot be read")), "{found:?}");
    let expected = [
        format!("position {last} should follow: there is a gap"),
        "it is recorded before the event at the position before it".to_owned(),
        "it has the sequence 6, and 3 should follow".to_owned(),
    ];
    assert_eq!(reasons(last + 2)[..3], expected);
}

async fn a_log_whose_end_was_cut_off_is_found(backend: Backend) {
    let (instance, ..) = lived_in(backend).await;
    let last = log(&instance.database).await.last().unwrap().position;
    Forgery::begin(&instance.database).await.remove(last).await;
    let reason = format!("the log's head says that it ends at position {last}");
    finds(&instance.server, &[(last - 1, "", &reason)]).await;
}

on_both_databases!(
    a_log_that_the_service_wrote_passes,
    what_its_state_did_not_allow_is_found_and_the_check_goes_on,
    what_runs_out_is_held_against_an_event_a_minute_later,
    a_sixth_guess_is_found,
    a_second_owner_is_found,
    rows_that_are_damaged_or_out_of_step_are_found,
    a_log_whose_end_was_cut_off_is_found,
);

/// On SQLite the position is the key of the table, and two rows cannot have the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_position_is_found() {
    let (instance, bob, _) = lived_in(Backend::Postgres).await;
    let last = log(&instance.database).await.last().unwrap().position;
    let mut forgery = Forgery::begin(&instance.database).await;
    forgery.run("ALTER TABLE events DROP CONSTRAINT events_position_key").await;
    forgery.rewrite(last, |event| event.position -= 1).await;
    finds(&instance.server, &[(last - 1, &format!("user/{bob}"), "another event has the same position")]).await;
}
