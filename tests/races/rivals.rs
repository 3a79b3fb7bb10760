//! Calls that take from each other what they stand on. Who wins is open; that the log obeys its rules is not.

use std::collections::BTreeMap;

use history::{Key, Op, Role, Status};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::stage::{Cast, Stage, at_once, tally};
use crate::support::server::Answer;
use crate::with_every_cast;

const ROUNDS: usize = 24;

impl Stage {
    fn role_change(&self, caller: usize, by: &str, user: &str, role: &str) -> RequestBuilder {
        let request = self.node(caller).request(Method::PATCH, &format!("/v1/users/{user}/role")).bearer_auth(by);
        request.json(&json!({ "role": role }))
    }

    fn removal(&self, caller: usize, by: &str, path: &str) -> RequestBuilder {
        self.node(caller).request(Method::DELETE, path).bearer_auth(by)
    }

    /// Somebody who is there when the noting begins.
    async fn known(&self, owner: &str, account: &str) -> (String, Key, String) {
        let (id, session) = self.node(0).join(owner, account, "developer").await;
        let user = Key::of(&id);
        self.note(Op::Found { user, role: Role::Developer, status: Status::Active }, history::Answer::Done);
        (id, user, session)
    }

    /// As [`rivals`], noted.
    async fn rivals(&self, round: usize, first: (Op, RequestBuilder), second: (Op, RequestBuilder)) -> Vec<Answer> {
        let turned = !round.is_multiple_of(2);
        let mut answers = self.at_once(if turned { vec![second, first] } else { vec![first, second] }).await;
        if turned {
            answers.reverse();
        }
        answers
    }

    /// Every node is asked about a session, and what they say is noted.
    async fn ask_every_node(&self, user: Key, token: &str) -> Vec<Answer> {
        self.at_once((0..self.nodes().len()).map(|node| self.me(node, user, token)).collect()).await
    }

    /// Asserts that every node gives `token` the same answer, and that it is the one the log gives that session.
    async fn assert_session_is_as_the_log_says(&self, token: &str) {
        let model = self.lawful().await;
        let hash = sha256(token);
        let id = model.sessions.iter().find(|(_, session)| session.token_hash == hash).map(|(id, _)| id);
        let alive = id.is_some_and(|id| model.session_is_alive(id, 0));
        for node in self.nodes() {
            let me = node.get("/v1/users/me", Some(token)).await;
            if alive {
                me.ok(200);
            } else {
                me.refused(401, "invalid_session");
            }
        }
    }
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text.as_bytes()))
}

/// Lets the second of two calls come later by a little more each round, so that both orders happen.
async fn rivals(round: usize, first: RequestBuilder, second: RequestBuilder) -> Vec<Answer> {
    let (first, second) = if round.is_multiple_of(2) { (first, second) } else { (second, first) };
    let mut answers = at_once(vec![first, second]).await;
    if !round.is_multiple_of(2) {
        answers.reverse();
    }
    answers
}

async fn a_sign_in_racing_a_disable_leaves_no_session_behind(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    let (bob, user, _) = stage.known(&owner, "bob").await;
    let path = format!("/v1/users/{bob}");
    let mut outcomes = BTreeMap::new();
    for round in 0..ROUNDS {
        let callback = stage.node(round).callback_body("bob").await;
        let disable = (Op::Disable { user }, stage.removal(round + 1, &owner, &path));
        let answers = stage.rivals(round, stage.sign_in(round, user, "bob", &callback), disable).await;
        answers[1].clone().ok(200);
        *outcomes.entry(tally(&answers[..1])).or_insert(0) += 1;
        if let Some(token) = answers[0].body["session_token"].as_str() {
            stage.ask_every_node(user, token).await;
        }
        let enable = stage.node(round).request(Method::POST, &format!("{path}/enable")).bearer_auth(&owner);
        stage.at_once(vec![(Op::Enable { user }, enable.json(&json!({})))]).await.remove(0).ok(200);
    }
    println!("{outcomes:?}");
    let model = stage.lawful().await;
    assert!(
        model.sessions.keys().all(|id| {
            model.sessions[id].user_id.as_deref() != Some(bob.as_str()) || !model.session_is_alive(id, 0)
        })
    );
    assert_eq!(stage.count("UserDisabled").await, ROUNDS);
}

async fn an_invitation_racing_the_inviters_demotion_is_in_the_log_before_it_or_not_at_all(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    let (bob, session) = stage.node(0).join(&owner, "bob", "admin").await;
    let mut invited = 0;
    for round in 0..ROUNDS {
        let email = format!("guest{round}@example.com");
        let invitation = stage.invitation(round, &session, &email, "developer");
        let answers = rivals(round, invitation, stage.role_change(round + 1, &owner, &bob, "developer")).await;
        answers[1].clone().ok(200);
        if answers[0].status == 201 {
            invited += 1;
        } else {
            answers[0].refused(403, "forbidden");
        }
        // Once the demotion has been answered, it holds at every node.
        for node in stage.nodes() {
            let late = json!({ "email": format!("late{round}@example.com"), "role": "qa_viewer" });
            node.post("/v1/users/invite", Some(&session), late).await.refused(403, "forbidden");
        }
        at_once(vec![stage.role_change(round, &owner, &bob, "admin")]).await.remove(0).ok(200);
    }
    assert_eq!(stage.count("UserInvited").await, invited + 1);
    stage.lawful().await;
}

async fn revoking_all_sessions_racing_a_new_one_ends_it_or_comes_before_it(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    let (bob, user, mut session) = stage.known(&owner, "bob").await;
    for round in 0..ROUNDS {
        let callback = stage.node(round).callback_body("bob").await;
        let path = format!("/v1/sessions?user_id={bob}");
        let revoke = (Op::RevokeAll { user, keep: None }, stage.removal(round + 1, &owner, &path));
        let answers = stage.rivals(round, stage.sign_in(round, user, "bob", &callback), revoke).await;
        let ended = answers[1].clone().ok(200)["revoked"].as_u64().unwrap();
        assert!((1..=2).contains(&ended), "{answers:?}");
        stage.ask_every_node(user, &session).await;
        answers[0].clone().ok(200)["session_token"].as_str().unwrap().clone_into(&mut session);
        stage.assert_session_is_as_the_log_says(&session).await;
        let me = stage.ask_every_node(user, &session).await.remove(0);
        // The sign-in that came in between count and commit is ended and not counted.
        assert!(me.status != 200 || ended == 1, "{ended} sessions were ended, and then: {me:?}");
        if me.status != 200 {
            let callback = stage.node(round).callback_body("bob").await;
            let opened = stage.at_once(vec![stage.sign_in(round, user, "bob", &callback)]).await.remove(0).ok(200);
            opened["session_token"].as_str().unwrap().clone_into(&mut session);
        }
    }
    stage.lawful().await;
}

async fn what_an_admin_does_while_being_disabled_is_done_before_it_or_refused(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    let (admin, mut session) = stage.node(0).join(&owner, "bob", "admin").await;
    stage.provider.add_account(devidp::Account::new("frank"));
    let (frank, _) = stage.node(0).join(&owner, "frank", "developer").await;
    for round in 0..ROUNDS {
        let role = if round.is_multiple_of(2) { "qa_viewer" } else { "developer" };
        let calls = vec![
            stage.removal(round, &owner, &format!("/v1/users/{admin}")),
            stage.role_change(round + 1, &session, &frank, role),
            stage.removal(round, &session, &format!("/v1/sessions?user_id={frank}")),
            stage.invitation(round + 1, &session, &format!("guest{round}@example.com"), "developer"),
        ];
        let answers = at_once(calls).await;
        answers[0].clone().ok(200);
        for answer in &answers[1..] {
            if !answer.status.is_success() {
                answer.refused(401, "invalid_session");
            }
        }
        stage.node(round).post(&format!("/v1/users/{admin}/enable"), Some(&owner), json!({})).await.ok(200);
        stage.node(round).get("/v1/users/me", Some(&session)).await.refused(401, "invalid_session");
        session = String::from(stage.node(round).sign_in("bob").await.ok(200)["session_token"].as_str().unwrap());
    }
    stage.lawful().await;
}

async fn what_one_node_has_revoked_every_other_refuses_at_once(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    let (bob, bob_session) = stage.node(0).join(&owner, "bob", "developer").await;
    for round in 0..150 {
        let (here, there) = (stage.node(round), stage.node(round + 1));
        let body = json!({ "name": "ci", "role": "qa_viewer" });
        let issued = here.post("/v1/api-tokens", Some(&bob_session), body).await.ok(201);
        let (id, token) = (issued["id"].as_str().unwrap(), issued["token"].as_str().unwrap());
        there.get("/v1/users/me", Some(token)).await.ok(200);
        here.delete(&format!("/v1/api-tokens/{id}"), Some(&owner)).await.ok(200);
        there.get("/v1/users/me", Some(token)).await.refused(401, "invalid_session");
    }
    for round in 0..75 {
        let (here, there) = (stage.node(round), stage.node(round + 1));
        let opened = here.sign_in("bob").await.ok(200);
        let session = opened["session_token"].as_str().unwrap();
        assert_eq!(there.get("/v1/users/me", Some(session)).await.ok(200)["user"]["id"], bob.as_str());
        match round % 3 {
            0 => here.post("/v1/auth/logout", Some(session), json!({})).await.ok(200),
            1 => {
                let own = here.get("/v1/sessions", Some(session)).await.ok(200);
                let own = own["sessions"].as_array().unwrap();
                let current = own.iter().find(|session| session["current"] == true).unwrap();
                let path = format!("/v1/sessions/{}", current["id"].as_str().unwrap());
                here.delete(&path, Some(&owner)).await.ok(200)
            }
            _ => here.delete(&format!("/v1/sessions?user_id={bob}"), Some(&owner)).await.ok(200),
        };
        there.get("/v1/users/me", Some(session)).await.refused(401, "invalid_session");
    }
    for round in 0..75 {
        let (here, there) = (stage.node(round), stage.node(round + 1));
        let role = if round.is_multiple_of(2) { "admin" } else { "developer" };
        at_once(vec![stage.role_change(round, &owner, &bob, role)]).await.remove(0).ok(200);
        let users = there.get(&format!("/v1/users/me?{round}"), Some(&owner)).await;
        assert_eq!(users.ok(200)["user"]["role"], "owner");
        let shown = there.get("/v1/users?q=bob", Some(&owner)).await.ok(200);
        assert_eq!(shown["users"][0]["role"], role, "{}", here.base);
    }
    stage.lawful().await;
}

with_every_cast!(
    a_sign_in_racing_a_disable_leaves_no_session_behind,
    an_invitation_racing_the_inviters_demotion_is_in_the_log_before_it_or_not_at_all,
    revoking_all_sessions_racing_a_new_one_ends_it_or_comes_before_it,
    what_an_admin_does_while_being_disabled_is_done_before_it_or_refused,
    what_one_node_has_revoked_every_other_refuses_at_once,
);
