//! One address is one user, one subject one identity, one `state` one sign-in.

use std::collections::BTreeSet;

use history::{Key, Op, Role};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::stage::{Cast, Stage, assert_tally, at_once};
use crate::with_every_cast;

impl Stage {
    pub fn invitation(&self, caller: usize, by: &str, email: &str, role: &str) -> RequestBuilder {
        let request = self.node(caller).request(Method::POST, "/v1/users/invite").bearer_auth(by);
        request.json(&json!({ "email": email, "role": role }))
    }

    pub fn return_from_provider(&self, caller: usize, callback: &Value) -> RequestBuilder {
        self.node(caller).request(Method::POST, "/v1/auth/oidc/callback").json(callback)
    }

    /// The same as what it should be: a sign-in of that user.
    pub fn sign_in(&self, caller: usize, user: Key, account: &str, callback: &Value) -> (Op, RequestBuilder) {
        let state = Key::of(callback["state"].as_str().unwrap());
        (Op::SignIn { user, subject: Key::of(account), state }, self.return_from_provider(caller, callback))
    }

    pub fn me(&self, caller: usize, user: Key, token: &str) -> (Op, RequestBuilder) {
        let request = self.node(caller).request(Method::GET, "/v1/users/me").bearer_auth(token);
        (Op::Check { user, session: Key::of(token) }, request)
    }

    /// Invites `{account}@example.com` as a developer.
    pub async fn invite(&self, by: &str, account: &str) -> Key {
        let email = format!("{account}@example.com");
        let op = Op::Invite { address: Key::of(&email), role: Role::Developer };
        let call = (op, self.invitation(0, by, &email, "developer"));
        let invited = self.at_once(vec![call]).await.remove(0).ok(201);
        Key::of(invited["user"]["id"].as_str().unwrap())
    }
}

async fn twenty_invitations_of_one_address_at_once_are_one_user(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    for round in 0..5 {
        // The same address in twenty spellings.
        let spelling = |caller: usize| match caller % 3 {
            0 => format!("bob{round}@example.com"),
            1 => format!("  BOB{round}@Example.COM "),
            _ => format!("Bob{round}@EXAMPLE.com"),
        };
        let op = Op::Invite { address: Key::of(&format!("bob{round}@example.com")), role: Role::Developer };
        let calls =
            (0..20).map(|caller| (op.clone(), stage.invitation(caller, &owner, &spelling(caller), "developer")));
        stage.at_once(calls.collect()).await;
        assert_eq!(stage.count("UserInvited").await, round + 1);
    }
    for node in stage.nodes() {
        let users = node.get("/v1/users?limit=200", Some(&owner)).await.ok(200);
        let emails: Vec<&Value> = users["users"].as_array().unwrap().iter().map(|user| &user["email"]).collect();
        let distinct: BTreeSet<&str> = emails.iter().map(|email| email.as_str().unwrap()).collect();
        assert_eq!((users["total"].as_u64(), emails.len(), distinct.len()), (Some(6), 6, 6), "{emails:?}");
    }
    stage.lawful().await;
}

/// `crowd` people come back from the provider as one and the same, none of whom was here before.
async fn first_sign_ins(stage: &Stage, owner: &str, account: &str, crowd: usize) {
    stage.provider.add_account(devidp::Account::new(account));
    let user = stage.invite(owner, account).await;
    let mut callbacks = Vec::new();
    for caller in 0..crowd {
        callbacks.push(stage.node(caller).callback_body(account).await);
    }
    // Whoever began at one node comes back to another.
    let calls =
        callbacks.iter().enumerate().map(|(caller, callback)| stage.sign_in(caller + 1, user, account, callback));
    let answers = stage.at_once(calls.collect()).await;
    for answer in answers {
        let token = answer.ok(200)["session_token"].as_str().unwrap().to_owned();
        stage.at_once((0..stage.nodes().len()).map(|node| stage.me(node, user, &token)).collect()).await;
    }
}

async fn first_sign_ins_of_one_subject_at_once_are_one_identity(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    for (round, crowd) in [2, 10, 2, 10].into_iter().enumerate() {
        first_sign_ins(&stage, &owner, &format!("first{round}"), crowd).await;
        assert_eq!(stage.count("InvitationAccepted").await, round + 1);
    }
    let model = stage.lawful().await;
    assert_eq!(model.users.len(), 5);
    assert_eq!(model.claims.iter().filter(|(kind, _)| kind == "identity").count(), 5);
}

async fn sign_ins_at_once_recover_the_owner_once(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    for (round, account) in ["zoe", "yve", "xia"].into_iter().enumerate() {
        stage.provider.add_account(devidp::Account::new(account));
        let mut callbacks = Vec::new();
        for caller in 0..6 {
            callbacks.push(stage.node(caller).callback_body(account).await);
        }
        stage.node(0).cli_json(&["owner", "recover", "--subject", &format!("{account}-1"), "--yes", "--json"]).await;
        let calls = callbacks.iter().enumerate().map(|(caller, body)| stage.return_from_provider(caller, body));
        let answers = at_once(calls.collect()).await;
        assert_tally(&answers, &[("200 ok", 6)]);
        assert_eq!(stage.count("OwnerIdentityReplaced").await, round + 1);
        for answer in &answers {
            let token = answer.body["session_token"].as_str().unwrap();
            let me = stage.node(round).get("/v1/users/me", Some(token)).await.ok(200);
            assert_eq!((&me["user"]["role"], &me["user"]["email"]), (&json!("owner"), &json!("alice@example.com")));
        }
    }
    for node in stage.nodes() {
        node.get("/v1/users/me", Some(&owner)).await.refused(401, "invalid_session");
        node.sign_in("alice").await.refused(403, "user_not_found");
    }
    stage.lawful().await;
}

async fn one_state_used_by_a_crowd_is_one_sign_in(cast: Cast) {
    let (stage, owner) = Stage::ready(cast).await;
    let bob = stage.invite(&owner, "bob").await;
    for round in 0..5 {
        let sessions_before = stage.count("SessionOpened").await;
        let callback = stage.node(round).callback_body("bob").await;
        stage.at_once((0..20).map(|caller| stage.sign_in(caller, bob, "bob", &callback)).collect()).await;
        assert_eq!(stage.count("SessionOpened").await - sessions_before, 1);
    }
    stage.lawful().await;
}

with_every_cast!(
    twenty_invitations_of_one_address_at_once_are_one_user,
    first_sign_ins_of_one_subject_at_once_are_one_identity,
    sign_ins_at_once_recover_the_owner_once,
    one_state_used_by_a_crowd_is_one_sign_in,
);
