//! One broken promise after the other, P1 to P11: each is planted, and each is caught by what checks it. A checker that lets one
//! through makes every run that it passes worth nothing.
//!
//! What is planted in answers is caught by the history of calls, what is planted in the log by `history::log`, by
//! `authlog replay --check` or by `authlog projections verify`. Every instance here is a real one, and passes before it is spoiled.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use history::log::rules::broken_rules;
use history::log::told::Told;
use history::log::{Event, read};
use history::{Answer, Failure, Key, Object, Op, Recorder, Role, Status};
use reqwest::Method;
use serde_json::json;

use support::forgery::{Forged, Forgery};
use support::second_connection::SecondConnection;
use support::server::{Instance, Server, run};
use support::tables::log;
use support::{Backend, TestDatabase};

const BOB: &str = "bob@example.com";

/// An instance with a user, and what its callers were told.
struct Lived {
    instance: Instance,
    bob: String,
    session: String,
    told: Told,
}

impl Lived {
    async fn on(backend: Backend) -> Self {
        let instance = Instance::ready(backend).await;
        let (bob, session) = instance.server.join(&instance.owner, "bob", "developer").await;
        let mut told = Told::default();
        told.acknowledged("UserInvited", &bob);
        told.secret("an address", BOB);
        told.secret("a session token", &session);
        told.processes(1);
        let mut lived = Self { instance, bob, session, told };
        lived.change_role("admin").await;
        lived.told.acknowledged("RoleChanged", &lived.bob);
        lived.passes().await;
        lived
    }

    fn server(&self) -> &Server {
        &self.instance.server
    }

    async fn change_role(&self, role: &str) {
        let (path, body) = (format!("/v1/users/{}/role", self.bob), json!({ "role": role }));
        self.server().call(Method::PATCH, &path, Some(&self.instance.owner), Some(body)).await.ok(200);
    }

    async fn passes(&self) {
        assert_eq!(self.broken().await, Vec::<String>::new());
        assert_eq!(self.untrue().await, Vec::<String>::new());
        self.check(0, "").await;
        self.verify(0).await;
    }

    /// The rules that the printed log breaks.
    async fn broken(&self) -> Vec<String> {
        broken_rules(&printed(self.server()).await)
    }

    /// What callers were told and the printed log does not say.
    async fn untrue(&self) -> Vec<String> {
        self.told.check(&printed(self.server()).await)
    }

    async fn check(&self, code: i32, found: &str) {
        check(self.server(), code, found).await;
    }

    async fn verify(&self, code: i32) {
        let (ended, stdout, stderr) = run(&self.server().flags, &["projections", "verify"]).await;
        assert_eq!(ended, code, "{stdout}{stderr}");
    }

    async fn forgery(&self) -> Forgery<'_> {
        Forgery::begin(&self.instance.database).await
    }

    /// Where the first event of that type is.
    async fn position(&self, event_type: &str) -> i64 {
        let written = log(&self.instance.database).await;
        written.iter().find(|event| event.event_type == event_type).unwrap().position
    }
}

async fn printed(server: &Server) -> Vec<Event> {
    let (code, stdout, stderr) = run(&server.flags, &["events", "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    read(&stdout).unwrap()
}

/// What `authlog replay --check` finds.
async fn check(server: &Server, code: i32, found: &str) {
    let (ended, stdout, stderr) = run(&server.flags, &["replay", "--check"]).await;
    assert!(ended == code && stdout.contains(found), "ended with {ended}: {stdout}{stderr}");
}

#[track_caller]
fn names(found: &[String], what: &str) {
    assert!(found.iter().any(|found| found.contains(what)), "{what}: {found:#?}");
}

/// Asserts that these calls have no order, and which object is broken.
#[track_caller]
fn no_order(recorder: &Recorder, object: Object) {
    match recorder.finish() {
        Err(Failure::Violation(violation)) => assert_eq!(violation.object, object, "{violation}"),
        other => panic!("{other:?}"),
    }
}

async fn p1_a_reader_that_skips_an_event_and_a_log_with_a_gap_are_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let mut read = printed(lived.server()).await;
    let skipped = read.remove(read.len() / 2);
    names(&broken_rules(&read), &format!("{} ", skipped.position + 1));
    names(&broken_rules(&read), "positions are 1, 2, 3, ...");
    read.insert(0, skipped);
    names(&broken_rules(&read), "positions are 1, 2, 3, ...");

    let changed = lived.position("RoleChanged").await;
    lived.change_role("developer").await;
    lived.forgery().await.remove(changed).await;
    names(&lived.broken().await, "positions are 1, 2, 3, ...");
    lived.check(3, "there is a gap").await;
}

/// A log whose end was cut off with all that points to it is whole: only who was told of it knows better.
async fn p2_an_acknowledged_change_that_is_gone_is_caught_although_the_log_is_whole(backend: Backend) {
    let lived = Lived::on(backend).await;
    let written = log(&lived.instance.database).await;
    let [.., before, last] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!(last.event_type, "RoleChanged");
    let mut forgery = lived.forgery().await;
    forgery.remove(last.position).await;
    let (position, recorded_at) = (before.position, before.recorded_at);
    forgery.run(&format!("UPDATE log_head SET position = {position}, recorded_at = {recorded_at}")).await;
    assert_eq!(lived.broken().await, Vec::<String>::new());
    lived.check(0, "").await;
    names(&lived.untrue().await, "lost: RoleChanged");
    lived.verify(3).await;
}

async fn p3_an_address_that_became_two_users_is_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let (address, role) = (Key::of("guest@example.com"), Role::Developer);
    for lie in [false, true] {
        let recorder = Recorder::new();
        let email = format!("guest{lie}@example.com");
        for client in 0..3 {
            let begun = recorder.begin(client, Op::Invite { address, role });
            let body = json!({ "email": email, "role": "developer" });
            let answer = lived.server().post("/v1/users/invite", Some(&lived.instance.owner), body).await;
            begun.end(match answer.status.as_u16() {
                201 => Answer::Invited { user: Key::of(answer.body["user"]["id"].as_str().unwrap()) },
                409 if lie && client == 2 => Answer::Invited { user: Key::of("another") },
                409 => Answer::AlreadyExists,
                _ => panic!("{answer:?}"),
            });
        }
        if lie {
            no_order(&recorder, Object::Address(address));
        } else {
            recorder.finish().unwrap();
        }
    }
}

async fn p4_a_session_that_is_accepted_after_its_revocation_is_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let user = Key::of(&lived.bob);
    for lie in [false, true] {
        let recorder = Recorder::new();
        recorder.begin(0, Op::Found { user, role: Role::Admin, status: Status::Active }).end(Answer::Done);
        let sign_in = recorder.begin(0, Op::SignIn { user, subject: Key::of("bob"), state: Key::of("state") });
        let opened = lived.server().sign_in("bob").await.ok(200);
        let token = opened["session_token"].as_str().unwrap();
        let session = Key::of(token);
        sign_in.end(Answer::Opened { user: Some(user), session });
        let asked = async |client, lie| {
            let begun = recorder.begin(client, Op::Check { user, session });
            let answer = lived.server().get("/v1/users/me", Some(token)).await;
            let role = answer.body["user"]["role"].as_str().and_then(Role::named);
            begun.end(match role {
                Some(role) => Answer::Alive { role },
                None if lie => Answer::Alive { role: Role::Admin },
                None => Answer::Dead,
            });
        };
        asked(1, false).await;
        let revoke = recorder.begin(0, Op::Revoke { user, session });
        lived.server().post("/v1/auth/logout", Some(token), json!({})).await.ok(200);
        revoke.end(Answer::Done);
        asked(1, lie).await;
        if lie {
            no_order(&recorder, Object::User(user));
        } else {
            recorder.finish().unwrap();
        }
    }
}

async fn p5_a_change_that_happened_twice_and_read_models_that_lag_are_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let me = lived.server().get("/v1/users/me", Some(&lived.instance.owner)).await.ok(200);
    let me = me["user"]["id"].as_str().unwrap();
    let payload = json!({ "role": "admin", "changed_by": me });
    let stream = format!("user/{}", lived.bob);
    let again = Forged { stream, event_type: "RoleChanged", payload, actor: format!("user/{me}") };
    lived.forgery().await.append(again, 10).await;
    names(&lived.untrue().await, "doubled or refused: RoleChanged");
    names(&lived.broken().await, "a change changes something");
    lived.check(3, "it changes nothing: it was so already").await;
    lived.verify(3).await;
}

async fn p6_a_row_that_the_log_does_not_say_is_caught_and_a_rebuild_mends_it(backend: Backend) {
    let lived = Lived::on(backend).await;
    let changed = format!("UPDATE users_1 SET role = 'developer' WHERE id = '{}'", lived.bob);
    assert_eq!(lived.instance.database.sql(&changed).await, 1);
    lived.verify(3).await;
    // The log is as it was.
    assert_eq!(lived.broken().await, Vec::<String>::new());
    let (code, _, stderr) = run(&lived.server().flags, &["projections", "rebuild", "users"]).await;
    assert_eq!(code, 0, "{stderr}");
    lived.passes().await;
}

async fn p7_an_event_that_nobody_can_read_any_more_is_caught(backend: Backend) {
    for (version, payload) in [(Some("9"), None), (None, Some(r#"{"RoleChanged":{"rank":"admin"}}"#))] {
        let lived = Lived::on(backend).await;
        let position = lived.position("RoleChanged").await;
        let mut forgery = lived.forgery().await;
        forgery
            .rewrite(position, |event| {
                version.unwrap_or(&event.event_version.clone()).clone_into(&mut event.event_version);
                payload.unwrap_or(&event.payload.clone()).clone_into(&mut event.payload);
            })
            .await;
        lived.check(3, "cannot be read").await;
    }
}

/// Who takes the triggers away can change a row. That is noticed by its hash, unless the hash is forged with it.
async fn p8_a_row_that_was_changed_past_the_triggers_is_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let changed = "UPDATE events SET recorded_at = recorded_at + 1 WHERE event_type = 'RoleChanged'";
    let refused =
        SecondConnection::open(&lived.instance.database).await.try_run(changed).await.unwrap_err().to_string();
    assert!(refused.contains("the log is append-only"), "{refused}");
    lived.passes().await;
    lived.forgery().await.run(changed).await;
    lived.check(3, "the leaf hash is not that of the row").await;
    names(&support::rules::broken_rules(&log(&lived.instance.database).await), "the leaf hash is that of the row");
}

async fn p9_an_address_that_stands_in_the_log_in_clear_is_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let position = lived.position("UserInvited").await;
    lived
        .forgery()
        .await
        .rewrite(position, |event| {
            let mut payload = event.payload();
            payload["UserInvited"]["address"] = json!(BOB);
            event.payload = payload.to_string();
        })
        .await;
    names(&lived.untrue().await, "an address stands there in clear");
    names(&lived.broken().await, "address is sealed");
    lived.check(3, &position.to_string()).await;
    // A token, wherever it stands.
    let position = lived.position("RoleChanged").await;
    lived
        .forgery()
        .await
        .rewrite(position, |event| {
            let mut metadata = event.metadata();
            metadata["request_id"] = json!(lived.session);
            event.metadata = metadata.to_string();
        })
        .await;
    names(&lived.untrue().await, "a session token stands there in clear");
}

async fn p10_a_sixth_failure_and_a_flood_of_refusals_are_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let minute = log(&lived.instance.database).await.last().unwrap().recorded_at.div_euclid(60_000_000) * 60;
    for _ in 0..3 {
        let refused = Forged {
            stream: format!("identity_provider/refused-{minute}"),
            event_type: "SignInsRefused",
            payload: json!({ "reason": "user_not_found", "count": 1 }),
            actor: "system".to_owned(),
        };
        lived.forgery().await.append(refused, 0).await;
    }
    names(&lived.untrue().await, "3 events for the reason user_not_found, of 1 processes");

    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    server.bootstrap_token().await;
    for failures in 1..=6 {
        let failed = Forged {
            stream: "setup/instance".to_owned(),
            event_type: "VerificationFailed",
            payload: json!({ "failures": failures }),
            actor: "anonymous".to_owned(),
        };
        assert_eq!(broken_rules(&printed(&server).await), Vec::<String>::new());
        Forgery::begin(&database).await.append(failed, 0).await;
    }
    names(&broken_rules(&printed(&server).await), "after five failures a bootstrap token is locked");
    check(&server, 3, "the bootstrap token is locked after 5 failed verifications").await;
}

/// That a fold reads no clock is the matter of two processes with other clocks: `a_fold_that_reads_the_clock_is_noticed`.
async fn p11_a_log_whose_time_runs_backwards_is_caught(backend: Backend) {
    let lived = Lived::on(backend).await;
    let position = lived.position("RoleChanged").await;
    lived.forgery().await.rewrite(position, |event| event.recorded_at = 1).await;
    names(&lived.broken().await, "recorded_at never runs backwards");
    lived.check(3, "it is recorded before the event at the position before it").await;
}

on_both_databases!(
    p1_a_reader_that_skips_an_event_and_a_log_with_a_gap_are_caught,
    p2_an_acknowledged_change_that_is_gone_is_caught_although_the_log_is_whole,
    p3_an_address_that_became_two_users_is_caught,
    p4_a_session_that_is_accepted_after_its_revocation_is_caught,
    p5_a_change_that_happened_twice_and_read_models_that_lag_are_caught,
    p6_a_row_that_the_log_does_not_say_is_caught_and_a_rebuild_mends_it,
    p7_an_event_that_nobody_can_read_any_more_is_caught,
    p8_a_row_that_was_changed_past_the_triggers_is_caught,
    p9_an_address_that_stands_in_the_log_in_clear_is_caught,
    p10_a_sixth_failure_and_a_flood_of_refusals_are_caught,
    p11_a_log_whose_time_runs_backwards_is_caught,
);
