//! What callers were told, and whether the log says the same.

use std::collections::BTreeSet;
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::rules::assert_lawful;
use crate::support::server::{Answer, Server, flags, run, send};
use crate::support::{TestDatabase, tables};

/// Invitations by their addresses.
#[derive(Default)]
pub struct Ledger {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    /// Not answered, or with the words that it is not known.
    open: Vec<String>,
}

/// The words by which the service says that it cannot tell.
const NOT_KNOWN: &str = "It is not known whether this was done; look before you try again.";

/// Whether the service itself cannot tell what became of a call.
pub fn is_not_known(answer: &Answer) -> bool {
    answer.body["error"] == NOT_KNOWN
}

fn address(name: &str) -> String {
    format!("{name}@example.com")
}

pub fn invitation(server: &Server, by: &str, name: &str) -> reqwest::RequestBuilder {
    let body = json!({ "email": address(name), "role": "developer" });
    server.request(Method::POST, "/v1/users/invite").bearer_auth(by).json(&body)
}

impl Ledger {
    /// Invites somebody and writes down what was said; `None` when nothing was.
    pub async fn invite(&self, server: &Server, by: &str, name: &str) -> Option<Answer> {
        let answer = send(invitation(server, by, name)).await.ok();
        self.note(name, answer.as_ref());
        answer
    }

    /// The same for somebody who is to get in.
    pub async fn invited(&self, server: &Server, by: &str, name: &str) {
        let answer = self.invite(server, by, name).await;
        let answer = answer.unwrap_or_else(|| panic!("{name}: no answer\n{}", server.output.lock().unwrap()));
        assert_eq!(answer.status, 201, "{name}: {answer:?}\n{}", server.output.lock().unwrap());
    }

    pub fn note(&self, name: &str, answer: Option<&Answer>) {
        let mut told = self.told.lock().unwrap();
        match answer {
            Some(answer) if answer.status == 201 => told.acknowledged.push(address(name)),
            Some(answer) if is_not_known(answer) => told.open.push(address(name)),
            Some(_) => told.refused.push(address(name)),
            None => told.open.push(address(name)),
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.told.lock().unwrap().acknowledged.len()
    }

    /// Asserts that the log obeys its rules, by the tests' own and by the command line's, and that of the invitations in the
    /// ledger those are in it that were acknowledged, once, and none that was refused.
    pub async fn agrees_with(&self, database: &TestDatabase) {
        assert_lawful(database).await;
        let (code, found, said) = run(&flags(database), &["replay", "--check"]).await;
        assert_eq!((code, found.as_str()), (0, ""), "{said}");
        let log = tables::log(database).await;
        let invited = log.iter().filter(|event| event.event_type == "UserInvited");
        let invited: Vec<&str> = invited.map(|event| event.aggregate_id.as_str()).collect();
        let users = tables::read_model(database, "users", &["id", "address"]).await;
        let address_of = |id: &&str| {
            let row = users.iter().find(|row| row["id"] == **id);
            row.and_then(|row| row["address"].as_str()).unwrap_or_else(|| panic!("no row of {id}")).to_owned()
        };
        let there: Vec<String> = invited.iter().map(address_of).collect();
        let once: BTreeSet<&String> = there.iter().collect();
        assert_eq!(once.len(), there.len(), "somebody was invited twice: {there:?}");
        let told = self.told.lock().unwrap();
        let lost: Vec<&String> = told.acknowledged.iter().filter(|name| !once.contains(name)).collect();
        assert!(lost.is_empty(), "acknowledged and not in the log: {lost:?}");
        let came_true: Vec<&String> = told.refused.iter().filter(|name| once.contains(name)).collect();
        assert!(came_true.is_empty(), "refused and in the log: {came_true:?}");
    }
}

/// Asserts what `/readyz` says: whether all is well, and of database and writer.
pub async fn assert_ready(server: &Server, ok: bool, database: bool, writer: bool) -> Value {
    let answer = server.get("/readyz", None).await;
    let body = answer.clone().ok(if ok { 200 } else { 503 });
    assert_eq!((&body["ok"], &body["database"], &body["writer"]), (&ok.into(), &database.into(), &writer.into()));
    body
}
