//! Lives of people: invited, signed in, given roles, sessions and tokens, and all of it taken away again. Who plays one knows what
//! each answer has to be, on every node.

use devidp::{Account, Fault};
use history::{Key, Op, Role, Status};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::caller::{Call, Caller, Outcome, Settled};
use crate::tally::Promise;

/// Where browsers are sent back to; nobody listens there.
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:4173/auth/callback";

/// What happens in one life after the first sign-in.
const DEEDS: usize = 8;

/// With these the provider's answers are worth nothing, and nobody may be signed in.
pub(crate) const LIES: [Fault; 8] = [
    Fault::SignatureBroken,
    Fault::SignatureByStranger,
    Fault::AlgNone,
    Fault::WrongNonce,
    Fault::MissingNonce,
    Fault::WrongAudience,
    Fault::WrongIssuer,
    Fault::Expired,
];

/// Status and code; the code of what is no error is empty.
type Expected<'a> = &'a [(u16, &'a str)];

#[derive(Clone, Copy)]
enum Deed {
    ChangeRole,
    RevokeSession,
    SignOut,
    Token,
    Disable,
    RevokeAll,
    Look,
}

const ALL_DEEDS: [Deed; 9] = [
    Deed::ChangeRole,
    Deed::ChangeRole,
    Deed::RevokeSession,
    Deed::RevokeSession,
    Deed::SignOut,
    Deed::Token,
    Deed::Disable,
    Deed::RevokeAll,
    Deed::Look,
];

pub(crate) struct Person<'c> {
    caller: &'c mut Caller,
    owner: String,
    login: String,
    path: String,
    /// In the history that is judged.
    key: Key,
    role: &'static str,
    /// Nothing that was tried before can change it any more.
    role_is_sure: bool,
    status_is_sure: bool,
    /// The tokens of sessions that are alive.
    sessions: Vec<String>,
    api_tokens: Vec<String>,
}

/// Lives one life after the other until the round ends.
pub(crate) async fn live(mut caller: Caller, owner: String) -> Caller {
    while caller.world.goes_on() {
        let _ended_with_the_round = live_once(&mut caller, &owner).await;
    }
    caller
}

/// `None` when the round ends first, when a promise was broken, or when too little is sure for going on.
async fn live_once(caller: &mut Caller, owner: &str) -> Option<()> {
    let mut person = Person::invited(caller, owner).await?;
    person.open_session().await?;
    for _ in 0..DEEDS {
        match person.caller.dice.one_of(&ALL_DEEDS) {
            Deed::ChangeRole => person.change_role().await?,
            Deed::RevokeSession => person.revoke_session().await?,
            Deed::SignOut => person.sign_out().await?,
            Deed::Token => person.use_token().await?,
            Deed::Disable => person.disable_and_enable().await?,
            Deed::RevokeAll => person.revoke_all().await?,
            Deed::Look => person.look().await?,
        }
        tokio::time::sleep(person.caller.dice.millis(0, 60)).await;
    }
    Some(())
}

impl<'c> Person<'c> {
    /// Invites somebody nobody has heard of, twice.
    async fn invited(caller: &'c mut Caller, owner: &str) -> Option<Self> {
        let login = format!("p{}", caller.world.next_person());
        caller.world.provider.add_account(Account::new(&login));
        let email = format!("{login}@example.com");
        caller.world.keep_out_of_the_log(&email);
        let body = json!({ "email": email, "role": "developer" });
        let op = Op::Invite { address: Key::of(&email), role: Role::Developer };
        let invite = Call::post("/v1/users/invite", Some(owner), body).for_op(op);
        let mut person = Self {
            caller,
            owner: owner.to_owned(),
            login,
            path: String::new(),
            key: Key(0),
            role: "developer",
            role_is_sure: true,
            status_is_sure: true,
            sessions: Vec::new(),
            api_tokens: Vec::new(),
        };
        let Settled { answer, .. } =
            person.settle(&invite, Promise::RacesSafely, &[(201, "")], &[(409, "already_exists")]).await?;
        let id = if answer.status == 201 {
            person.acknowledge("UserInvited", &answer, &invite);
            answer.text("/user/id")
        } else {
            // Whoever invited them was not told.
            person.find().await?
        };
        (person.path, person.key) = (format!("/v1/users/{id}"), Key::of(&id));
        if answer.status != 201 {
            let found = Op::Found { user: person.key, role: Role::Developer, status: Status::Invited };
            person.caller.world.recorder.begin(0, found).end(history::Answer::Done);
        }
        person.settle(&invite, Promise::ReadYourWrites, &[(409, "already_exists")], &[]).await?;
        Some(person)
    }

    /// Who is said to exist is found; answers the id.
    async fn find(&mut self) -> Option<String> {
        let call = Call::get(format!("/v1/users?q={}@", self.login), &self.owner);
        let Settled { answer, .. } = self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        let email = format!("{}@example.com", self.login);
        let users = answer.body["users"].as_array().cloned().unwrap_or_default();
        let found: Vec<&Value> = users.iter().filter(|user| user["email"] == email.as_str()).collect();
        if let [one] = found.as_slice() {
            return one["id"].as_str().map(str::to_owned);
        }
        self.caller.broken(Promise::ReadYourWrites, &call, &answer, "somebody who exists is not there once");
        None
    }

    fn acknowledge(&self, event_type: &'static str, answer: &Answer, call: &Call) {
        self.caller.world.acknowledge(event_type, &answer.request_id, &call.words());
    }

    /// Repeats a call until it is answered, with one of these answers; `later` ones are right where an earlier try may have been
    /// taken.
    async fn settle(
        &mut self,
        call: &Call,
        promise: Promise,
        right: Expected<'_>,
        later: Expected<'_>,
    ) -> Option<Settled> {
        let settled = self.caller.settle(call).await?;
        self.caller.world.tally.checked(promise);
        let is = |expected: Expected<'_>| expected.iter().any(|(status, code)| settled.answer.is(*status, code));
        if is(right) || (!settled.first && is(later)) {
            return Some(settled);
        }
        self.caller.broken(promise, call, &settled.answer, "an answer that the calls before it do not allow");
        None
    }

    async fn open_session(&mut self) -> Option<()> {
        let token = sign_in(self.caller, &self.login, Some(self.key)).await?;
        self.sessions.push(token);
        self.accepted(self.sessions.len() - 1).await;
        Some(())
    }

    /// A live session is accepted by every node that can answer, with the role as it is.
    async fn accepted(&mut self, session: usize) {
        let token = &self.sessions[session];
        let check = Op::Check { user: self.key, session: Key::of(token) };
        let call = Call::get("/v1/users/me", token).for_op(check);
        for node in 0..self.caller.world.nodes() {
            let Some(Outcome::Answered(answer)) = self.caller.at(node, &call).await else { continue };
            self.caller.world.tally.checked(Promise::ReadYourWrites);
            let role = self.role_is_sure.then_some(self.role);
            if !answer.is_success() || role.is_some_and(|role| answer.text("/user/role") != role) {
                let why = format!("node {node} should know a live session with the role {role:?}");
                self.caller.broken(Promise::ReadYourWrites, &call, &answer, &why);
            }
        }
    }

    async fn change_role(&mut self) -> Option<()> {
        let role = if self.role == "developer" { "admin" } else { "developer" };
        let path = format!("{}/role", self.path);
        let call = Call { body: Some(json!({ "role": role })), ..Call::new(Method::PATCH, path, Some(&self.owner)) };
        let named = if role == "admin" { Role::Admin } else { Role::Developer };
        let call = call.for_op(Op::ChangeRole { user: self.key, role: named });
        let Settled { answer, first } = self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        if first && self.role_is_sure {
            self.acknowledge("RoleChanged", &answer, &call);
        }
        self.role = role;
        self.accepted(0).await;
        // An earlier try may come through after the next change.
        self.role_is_sure &= first;
        Some(())
    }

    async fn revoke_session(&mut self) -> Option<()> {
        self.open_session().await?;
        let token = self.sessions.pop()?;
        let list = Call::get("/v1/sessions", &token);
        let Settled { answer, .. } = self.settle(&list, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        let sessions = answer.body["sessions"].as_array().cloned().unwrap_or_default();
        let id = sessions.iter().find(|session| session["current"] == true)?["id"].as_str()?.to_owned();
        let revoke = Op::Revoke { user: self.key, session: Key::of(&token) };
        let call = Call::delete(format!("/v1/sessions/{id}"), &self.owner).for_op(revoke);
        let Settled { answer, first } = self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        if first {
            self.acknowledge("SessionRevoked", &answer, &call);
        }
        ended(self.caller, &token, &call.words()).await;
        Some(())
    }

    async fn sign_out(&mut self) -> Option<()> {
        self.open_session().await?;
        let token = self.sessions.pop()?;
        let sign_out = Op::Revoke { user: self.key, session: Key::of(&token) };
        let call = Call::post("/v1/auth/logout", Some(&token), json!({})).for_op(sign_out);
        let Settled { answer, first } =
            self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[(401, "invalid_session")]).await?;
        if first {
            self.acknowledge("SessionSignedOut", &answer, &call);
        }
        ended(self.caller, &token, &call.words()).await;
        Some(())
    }

    async fn use_token(&mut self) -> Option<()> {
        let issue = Call::post(
            "/v1/api-tokens",
            self.sessions.first().map(String::as_str),
            json!({ "name": "ci", "role": "qa_viewer" }),
        );
        let Settled { answer, .. } = self.settle(&issue, Promise::ReadYourWrites, &[(201, "")], &[]).await?;
        self.acknowledge("ApiTokenIssued", &answer, &issue);
        let (token, id) = (answer.text("/token"), answer.text("/id"));
        self.caller.world.keep_out_of_the_log(&token);
        let me = Call::get("/v1/users/me", &token);
        self.settle(&me, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        if self.caller.dice.chance(30) {
            self.api_tokens.push(token);
            return Some(());
        }
        let call = Call::delete(format!("/v1/api-tokens/{id}"), &self.owner);
        let Settled { answer, first } =
            self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[(404, "not_found")]).await?;
        if first {
            self.acknowledge("ApiTokenRevoked", &answer, &call);
        }
        ended(self.caller, &token, &call.words()).await;
        Some(())
    }

    /// Nothing that the person has may work any more.
    async fn all_ended(&mut self, tokens: Vec<String>, how: &str) {
        for token in tokens {
            ended(self.caller, &token, how).await;
        }
    }

    async fn disable_and_enable(&mut self) -> Option<()> {
        if !self.status_is_sure {
            return Some(());
        }
        let call = Call::delete(self.path.clone(), &self.owner).for_op(Op::Disable { user: self.key });
        let Settled { answer, first } = self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        if first {
            self.acknowledge("UserDisabled", &answer, &call);
        }
        let mut tokens = std::mem::take(&mut self.sessions);
        tokens.append(&mut self.api_tokens);
        self.all_ended(tokens.clone(), &call.words()).await;
        if !first {
            // An earlier try may come through after the person was enabled.
            return None;
        }
        let enable = Op::Enable { user: self.key };
        let call = Call::post(format!("{}/enable", self.path), Some(&self.owner), json!({})).for_op(enable);
        let Settled { answer, first } = self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        if first {
            self.acknowledge("UserEnabled", &answer, &call);
        }
        self.status_is_sure &= first;
        self.all_ended(tokens, "disabled, and enabled again").await;
        self.open_session().await
    }

    async fn revoke_all(&mut self) -> Option<()> {
        let id = self.path.rsplit('/').next().unwrap_or_default().to_owned();
        let revoke = Op::RevokeAll { user: self.key, keep: None };
        let call = Call::delete(format!("/v1/sessions?user_id={id}"), &self.owner).for_op(revoke);
        let Settled { answer, first } = self.settle(&call, Promise::ReadYourWrites, &[(200, "")], &[]).await?;
        if first {
            self.acknowledge("SessionsRevoked", &answer, &call);
        }
        let sessions = std::mem::take(&mut self.sessions);
        self.all_ended(sessions, &call.words()).await;
        if !first {
            // An earlier try may come through after the next sign-in.
            return None;
        }
        self.open_session().await
    }

    /// Reads what is not read elsewhere.
    async fn look(&mut self) -> Option<()> {
        self.find().await?;
        let call = Call::get("/v1/audit-logs?limit=50", &self.owner);
        let Settled { answer, .. } = self.settle(&call, Promise::ExactlyOnce, &[(200, "")], &[]).await?;
        let entries = answer.body["entries"].as_array().cloned().unwrap_or_default();
        let positions: Vec<i64> = entries.iter().filter_map(|entry| position(&entry["id"])).collect();
        if positions.len() != entries.len() || positions.windows(2).any(|pair| pair[0] == pair[1]) {
            self.caller.broken(Promise::ExactlyOnce, &call, &answer, "entries of the audit trail are there twice");
        }
        Some(())
    }
}

fn position(id: &Value) -> Option<i64> {
    id.as_i64().or_else(|| id.as_str()?.parse().ok())
}

/// A token that was just ended is refused by every node that can answer, in the next call and for ever.
async fn ended(caller: &mut Caller, token: &str, how: &str) {
    caller.world.has_ended(token, how);
    caller.world.keep_out_of_the_log(token);
    for node in 0..caller.world.nodes() {
        refused(caller, node, token, how).await;
    }
}

/// Asks one node about a token that has ended.
pub(crate) async fn refused(caller: &mut Caller, node: usize, token: &str, how: &str) {
    let call = Call::get("/v1/users/me", token);
    let Some(Outcome::Answered(answer)) = caller.at(node, &call).await else { return };
    caller.world.tally.checked(Promise::ReadYourWrites);
    if !answer.is(401, "invalid_session") {
        let why = format!("node {node} should refuse a token that was ended by {how}");
        caller.broken(Promise::ReadYourWrites, &call, &answer, &why);
    }
}

/// Signs somebody in who may; answers the session's token. `None` when the round ends first. Who is not named as a user stays out
/// of the history.
pub(crate) async fn sign_in(caller: &mut Caller, login: &str, user: Option<Key>) -> Option<String> {
    loop {
        let callback = at_the_provider(caller, login, user).await?;
        let before = caller.world.provider_fault();
        let Outcome::Answered(answer) = caller.anywhere(&callback).await? else { continue };
        let after = caller.world.provider_fault();
        if answer.is_success() {
            if before == after && before.1.is_some_and(|fault| LIES.contains(&fault)) {
                let why = format!("somebody was signed in while the provider answered with {:?}", before.1);
                caller.broken(Promise::LiarsSignNobodyIn, &callback, &answer, &why);
            }
            caller.world.tally.checked(Promise::ReadYourWrites);
            caller.world.acknowledge("SessionOpened", &answer.request_id, &callback.words());
            return Some(answer.text("/session_token"));
        }
        if before.1.is_some_and(|fault| LIES.contains(&fault)) && before == after {
            caller.world.tally.checked(Promise::LiarsSignNobodyIn);
        }
        if !answer.blames_provider() {
            caller.broken(Promise::ReadYourWrites, &callback, &answer, "somebody who may sign in was refused");
            return None;
        }
        tokio::time::sleep(caller.dice.millis(50, 300)).await;
    }
}

/// Begins a sign-in and comes back from the provider; answers the call that ends it.
pub(crate) async fn at_the_provider(caller: &mut Caller, login: &str, user: Option<Key>) -> Option<Call> {
    loop {
        let start = Call::new(Method::GET, format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}"), None);
        let Settled { answer, .. } = caller.settle(&start).await?;
        if answer.is_success() {
            let url = answer.text("/authorization_url");
            if let Ok(back) = caller.world.provider.sign_in(&url, login).await {
                let op = user.map(|user| Op::SignIn { user, subject: Key::of(login), state: Key::of(&back.state) });
                return Some(Call { op, ..Call::post("/v1/auth/oidc/callback", None, callback_body(back)) });
            }
        } else if !answer.blames_provider() && answer.code() != "too_many_pending" {
            caller.broken(Promise::ReadYourWrites, &start, &answer, "a sign-in cannot be begun");
            return None;
        }
        tokio::time::sleep(caller.dice.millis(50, 300)).await;
    }
}

pub(crate) fn callback_body(back: devidp::browser::SignedIn) -> Value {
    let mut body = json!({ "code": back.code, "state": back.state });
    if let Some(issuer) = back.iss {
        body["iss"] = issuer.into();
    }
    body
}
