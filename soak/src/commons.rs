//! Several callers that do what they like with one user at the same time, at whichever node. No one of them knows what has to be
//! answered: that is for the history to judge.

use std::sync::{Mutex, PoisonError};

use devidp::Account;
use history::{Key, Op, Role};
use reqwest::Method;
use serde_json::json;

use crate::caller::{Call, Caller, Outcome};
use crate::person::at_the_provider;

/// Calls about one user: the more are of unknown outcome, the more orders there are.
const CALLS_EACH: usize = 12;

/// A user whom everybody deals with.
struct Common {
    owner: String,
    login: String,
    id: String,
    /// Sessions that were once opened: token and id.
    sessions: Mutex<Vec<(String, String)>>,
}

/// One user after the other, until the round ends.
pub(crate) async fn share(mut callers: [Caller; 3], owner: String) -> [Caller; 3] {
    while callers[0].world.goes_on() {
        if let Some(common) = Common::invited(&mut callers[0], &owner).await {
            let [one, two, three] = &mut callers;
            tokio::join!(common.deal(one), common.deal(two), common.deal(three));
        }
        let pause = callers[0].dice.millis(50, 300);
        tokio::time::sleep(pause).await;
    }
    callers
}

impl Common {
    async fn invited(caller: &mut Caller, owner: &str) -> Option<Self> {
        let login = format!("c{}", caller.world.next_person());
        caller.world.provider.add_account(Account::new(&login));
        let email = format!("{login}@example.com");
        let op = Op::Invite { address: Key::of(&email), role: Role::Developer };
        let body = json!({ "email": email, "role": "developer" });
        let invited = caller.settle(&Call::post("/v1/users/invite", Some(owner), body).for_op(op)).await?.answer;
        // Where somebody else was told, or nobody, there are others to invite.
        (invited.status == 201).then(|| Self {
            owner: owner.to_owned(),
            login,
            id: invited.text("/user/id"),
            sessions: Mutex::default(),
        })
    }

    fn key(&self) -> Key {
        Key::of(&self.id)
    }

    async fn deal(&self, caller: &mut Caller) -> Option<()> {
        self.open_session(caller).await?;
        for _ in 0..CALLS_EACH {
            match caller.dice.below(10) {
                0 => self.open_session(caller).await?,
                1 => self.change_role(caller).await?,
                2 => self.revoke(caller).await?,
                3 if caller.dice.chance(30) => self.end_all(caller).await?,
                _ => self.check(caller).await?,
            }
        }
        Some(())
    }

    fn a_session(&self, caller: &mut Caller) -> Option<(String, String)> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        (!sessions.is_empty()).then(|| sessions[caller.dice.below(sessions.len())].clone())
    }

    async fn open_session(&self, caller: &mut Caller) -> Option<()> {
        let callback = at_the_provider(caller, &self.login, Some(self.key())).await?;
        let Outcome::Answered(answer) = caller.anywhere(&callback).await? else { return Some(()) };
        if !answer.is_success() {
            return Some(());
        }
        let token = answer.text("/session_token");
        let Outcome::Answered(listed) = caller.anywhere(&Call::get("/v1/sessions", &token)).await? else {
            return Some(());
        };
        let sessions = listed.body["sessions"].as_array().cloned().unwrap_or_default();
        let present = sessions.iter().find(|session| session["current"] == true);
        if let Some(id) = present.and_then(|session| session["id"].as_str()) {
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push((token, id.to_owned()));
        }
        Some(())
    }

    async fn change_role(&self, caller: &mut Caller) -> Option<()> {
        let (name, role) = caller.dice.one_of(&[
            ("developer", Role::Developer),
            ("admin", Role::Admin),
            ("qa_viewer", Role::QaViewer),
        ]);
        let call = Call::new(Method::PATCH, format!("/v1/users/{}/role", self.id), Some(&self.owner));
        let call =
            Call { body: Some(json!({ "role": name })), ..call }.for_op(Op::ChangeRole { user: self.key(), role });
        caller.anywhere(&call).await.map(drop)
    }

    async fn revoke(&self, caller: &mut Caller) -> Option<()> {
        let Some((token, id)) = self.a_session(caller) else { return Some(()) };
        let op = Op::Revoke { user: self.key(), session: Key::of(&token) };
        caller.anywhere(&Call::delete(format!("/v1/sessions/{id}"), &self.owner).for_op(op)).await.map(drop)
    }

    async fn end_all(&self, caller: &mut Caller) -> Option<()> {
        let path = format!("/v1/sessions?user_id={}", self.id);
        let op = Op::RevokeAll { user: self.key(), keep: None };
        caller.anywhere(&Call::delete(path, &self.owner).for_op(op)).await.map(drop)
    }

    async fn check(&self, caller: &mut Caller) -> Option<()> {
        let Some((token, _)) = self.a_session(caller) else { return self.open_session(caller).await };
        let op = Op::Check { user: self.key(), session: Key::of(&token) };
        caller.anywhere(&Call::get("/v1/users/me", &token).for_op(op)).await.map(drop)
    }
}
