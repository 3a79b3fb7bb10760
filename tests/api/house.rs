//! An instance with somebody of every role, for the tables of who may do what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::server::{Answer, Instance};
use crate::text;

/// The callers: a session of each role, and an API token that acts as admin.
pub(crate) const CALLERS: [&str; 5] = ["owner", "admin", "developer", "qa_viewer", "token"];

pub(crate) struct House {
    pub(crate) instance: Instance,
    /// Id and session by role; the token is the admin's.
    people: Vec<(&'static str, String, String)>,
}

impl House {
    pub(crate) async fn new(backend: Backend) -> Self {
        Self::with(backend, &[]).await
    }

    pub(crate) async fn with(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let instance = Instance::ready_with(backend, settings).await;
        let (server, owner) = (&instance.server, instance.owner.clone());
        let me = server.get("/v1/users/me", Some(&owner)).await.ok(200);
        let mut people = vec![("owner", text(&me["user"], "id").to_owned(), owner.clone())];
        for role in ["admin", "developer", "qa_viewer"] {
            instance.provider.add_account(devidp::Account::new(role));
            let (id, session) = server.join(&owner, role, role).await;
            people.push((role, id, session));
        }
        let (admin, session) = (people[1].1.clone(), people[1].2.clone());
        let body = json!({ "name": "matrix", "role": "admin" });
        let token = server.post("/v1/api-tokens", Some(&session), body).await.ok(201);
        people.push(("token", admin, text(&token, "token").to_owned()));
        Self { instance, people }
    }

    fn person(&self, caller: &str) -> &(&'static str, String, String) {
        self.people.iter().find(|(name, ..)| *name == caller).unwrap()
    }

    pub(crate) fn id(&self, caller: &str) -> &str {
        &self.person(caller).1
    }

    /// The session of a role, or the API token.
    pub(crate) fn bearer(&self, caller: &str) -> &str {
        &self.person(caller).2
    }

    pub(crate) async fn call(&self, caller: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.instance.server.call(method, path, Some(self.bearer(caller)), body).await
    }

    pub(crate) async fn get(&self, caller: &str, path: &str) -> Answer {
        self.call(caller, Method::GET, path, None).await
    }

    /// Invites a new person by the owner; answers the id.
    pub(crate) async fn newcomer(&self, name: &str, role: &str) -> String {
        let body = json!({ "email": format!("{name}@example.com"), "role": role });
        let invited = self.call("owner", Method::POST, "/v1/users/invite", Some(body)).await.ok(201);
        text(&invited["user"], "id").to_owned()
    }

    /// Asserts what a caller's call came to: the status, and for refusals the code.
    #[track_caller]
    pub(crate) fn came_to(answer: &Answer, expected: (u16, &str), what: &str) {
        if expected.0 < 300 {
            assert_eq!(answer.status.as_u16(), expected.0, "{what}: {answer:?}");
        } else {
            assert_eq!((answer.status.as_u16(), answer.code()), expected, "{what}: {answer:?}");
        }
    }
}
