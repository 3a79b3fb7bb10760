//! A client of the service behind a plain load balancer: each call goes to any node, and to another when that one is not there.

use std::sync::Arc;
use std::time::Duration;

use history::Op;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::dice::Dice;
use crate::tally::Promise;
use crate::world::World;

/// A caller gives up on an answer after this; longer than a frozen node stays so, mostly.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two looks for a node that is there.
const LOOKS_AGAIN: Duration = Duration::from_millis(50);
/// Calls of a hundred that hang up before they are answered.
const HANGS_UP: usize = 2;

/// A call to be made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Option<Value>,
    /// What it is in the history that is judged; `None` for what no object of it knows.
    pub(crate) op: Option<Op>,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>, token: Option<&str>) -> Self {
        Self { method, path: path.into(), token: token.map(str::to_owned), body: None, op: None }
    }

    pub(crate) fn get(path: impl Into<String>, token: &str) -> Self {
        Self::new(Method::GET, path, Some(token))
    }

    pub(crate) fn post(path: impl Into<String>, token: Option<&str>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, path, token) }
    }

    pub(crate) fn delete(path: impl Into<String>, token: &str) -> Self {
        Self::new(Method::DELETE, path, Some(token))
    }

    pub(crate) fn for_op(self, op: Op) -> Self {
        Self { op: Some(op), ..self }
    }

    pub(crate) fn words(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What became of a call that reached a node.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Answered(Answer),
    /// It may have happened, or not, or happen later.
    Unknown,
}

/// An answer that says what happened, after as many tries as it took.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) answer: Answer,
    /// Whether it is the answer to the only try that reached a node.
    pub(crate) first: bool,
}

pub(crate) struct Caller {
    pub(crate) world: Arc<World>,
    pub(crate) name: String,
    /// Of the callers of one world.
    number: u32,
    pub(crate) dice: Dice,
    http: Client,
    /// Calls of a hundred that it hangs up before they are answered.
    hangs_up: usize,
}

impl Caller {
    pub(crate) fn new(world: &Arc<World>, name: &str, seed: u64) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(Vec::<reqwest::Certificate>::new())
            .timeout(PATIENCE)
            .build()?;
        let (world, name, number) = (Arc::clone(world), name.to_owned(), world.next_caller());
        Ok(Self { world, dice: Dice::of(seed, &name), name, number, http, hangs_up: HANGS_UP })
    }

    /// The same, but never hanging up.
    pub(crate) fn who_waits(self) -> Self {
        Self { hangs_up: 0, ..self }
    }

    /// Makes a call at one node; `None` when it could not be reached, so that nothing can have happened.
    pub(crate) async fn at(&mut self, node: usize, call: &Call) -> Option<Outcome> {
        let base = self.world.base(node)?;
        let mut request = self.http.request(call.method.clone(), format!("{base}{}", call.path));
        if let Some(token) = &call.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        // While a change is on its way nodes may learn of it one after the other; P4 is about the time after it was answered, and
        // whoever made the change asks every node then.
        let is_ordered = |op: &Op| op.changes() || self.world.nodes() == 1;
        let in_history = call.op.clone().filter(is_ordered).map(|op| self.world.recorder.begin(self.number, op));
        let begun = self.world.clock();
        let hangs_up = self.dice.chance(self.hangs_up).then(|| self.dice.millis(0, 20));
        let answered = async { Answer::read(request.send().await?).await };
        let answered: Option<reqwest::Result<_>> = match hangs_up {
            Some(after) => tokio::time::timeout(after, answered).await.ok(),
            None => Some(answered.await),
        };
        let ended = self.world.clock();
        let tally = &self.world.tally;
        // Without an answer its outcome is unknown.
        if let (Some(begun), Some(op)) = (in_history, &call.op) {
            match &answered {
                Some(Ok((answer, _))) => begun.end(answer.in_history(op)),
                Some(Err(error)) if error.is_connect() => begun.end(history::Answer::NotTried),
                _ => begun.unknown(),
            }
        }
        let (outcome, told) = match answered {
            Some(Err(error)) if error.is_connect() => return None,
            Some(Ok((answer, judged))) => {
                tally.called();
                if !answer.is_success() {
                    tally.refused(answer.status, answer.code());
                    tally.checked(Promise::ErrorsAsDocumented);
                }
                if let Err(what) = judged {
                    tally.broken(Promise::ErrorsAsDocumented, format!("{} at node {node}: {what}", call.words()));
                }
                let told = json!({ "status": answer.status, "code": answer.code(), "request": answer.request_id });
                let outcome = if answer.is_trouble() { Outcome::Unknown } else { Outcome::Answered(answer) };
                (outcome, told)
            }
            Some(Err(error)) => {
                tally.called();
                tally.unanswered();
                (Outcome::Unknown, json!(error.to_string()))
            }
            None => {
                tally.called();
                tally.hung_up();
                (Outcome::Unknown, json!("hung up"))
            }
        };
        self.world.note(&json!({
            "at": begun, "until": ended, "by": self.name, "node": node, "call": call.words(),
            "with": call.body, "bearer": call.token.as_deref().map(shortened), "told": told,
        }));
        Some(outcome)
    }

    /// Makes a call at any node that is there; `None` when the round ends first.
    pub(crate) async fn anywhere(&mut self, call: &Call) -> Option<Outcome> {
        while self.world.goes_on() {
            let node = self.dice.below(self.world.nodes());
            if let Some(outcome) = self.at(node, call).await {
                return Some(outcome);
            }
            tokio::time::sleep(LOOKS_AGAIN).await;
        }
        None
    }

    /// Repeats a call until an answer says what happened; `None` when the round ends first.
    pub(crate) async fn settle(&mut self, call: &Call) -> Option<Settled> {
        let mut first = true;
        loop {
            if let Outcome::Answered(answer) = self.anywhere(call).await? {
                return Some(Settled { answer, first });
            }
            first = false;
            tokio::time::sleep(self.dice.millis(20, 200)).await;
        }
    }

    /// Says that an answer is not one of those that keep the promise.
    pub(crate) fn broken(&self, promise: Promise, call: &Call, answer: &Answer, why: &str) {
        let Answer { status, body, request_id } = answer;
        let what = format!(
            "{why}: {} by {} was answered {status} {body} (request {request_id}, {} us after the beginning)",
            call.words(),
            self.name,
            self.world.clock()
        );
        self.world.tally.broken(promise, what);
    }
}

/// Enough of a token to find it again.
fn shortened(token: &str) -> String {
    token.chars().take(12).collect()
}
