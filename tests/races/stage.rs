//! Where the races are run, and how a crowd is made to call at once.

use std::sync::Arc;

use devidp::DevIdp;
use history::log::model::Model;
use history::{Key, Op, Recorder};
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::rules::assert_lawful;
use crate::support::server::{Answer, Server, run, send};
use crate::support::{Backend, TestDatabase, tables};

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    Sqlite,
    Postgres,
    /// Two processes on one PostgreSQL database.
    TwoNodes,
}

/// A provider, a database and the servers on it.
pub struct Stage {
    pub provider: DevIdp,
    pub database: TestDatabase,
    nodes: Vec<Server>,
    /// What the callers were told.
    history: Recorder,
}

impl Stage {
    /// Nothing is set up yet.
    pub async fn empty(cast: Cast) -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let backend = if cast == Cast::Sqlite { Backend::Sqlite } else { Backend::Postgres };
        let database = TestDatabase::new(backend).await;
        // Nodes share the data directory, and with it the master key.
        let nodes = match cast {
            Cast::Sqlite | Cast::Postgres => vec![Server::start(&database).await],
            Cast::TwoNodes => {
                let (one, other) = tokio::join!(Server::start(&database), Server::start(&database));
                vec![one, other]
            }
        };
        Self { provider, database, nodes, history: Recorder::new() }
    }

    /// Set up; answers the owner's session token too.
    pub async fn ready(cast: Cast) -> (Self, String) {
        let stage = Self::empty(cast).await;
        let owner = stage.node(0).set_up(&stage.provider).await;
        (stage, owner)
    }

    /// The node that the `caller`th of a crowd turns to.
    pub fn node(&self, caller: usize) -> &Server {
        &self.nodes[caller % self.nodes.len()]
    }

    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Stops every node and starts it again.
    pub async fn restart(&mut self) {
        for node in &mut self.nodes {
            assert_eq!(node.stop().await, 0);
            *node = Server::start(&self.database).await;
        }
    }

    /// Issues a bootstrap token on the host.
    pub async fn bootstrap_token(&self) -> String {
        let begun = self.history.begin(0, Op::IssueToken);
        let token = self.node(0).bootstrap_token().await;
        begun.end(history::Answer::Issued { token: Key::of(&token) });
        token
    }

    /// Sends all at the same moment and notes what each is told; answers in their order.
    pub async fn at_once(&self, calls: Vec<(Op, RequestBuilder)>) -> Vec<Answer> {
        let start = Arc::new(Barrier::new(calls.len()));
        let mut crowd = JoinSet::new();
        for (caller, (op, request)) in calls.into_iter().enumerate() {
            let (start, history) = (Arc::clone(&start), self.history.clone());
            crowd.spawn(async move {
                start.wait().await;
                (caller, noted(&history, caller, op, request).await)
            });
        }
        let mut answers = crowd.join_all().await;
        answers.sort_by_key(|(caller, _)| *caller);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Notes something that is known and was not told.
    pub fn note(&self, op: Op, answer: history::Answer) {
        self.history.begin(0, op).end(answer);
    }

    /// Asserts that what the callers were told is what one after the other could have been told, that the log obeys its rules, by the tests' own and by the command line's check, that the command line prints what the table holds, and that the read models agree
    /// with the independent model, which is answered.
    pub async fn lawful(&self) -> Model {
        self.history.finish().unwrap_or_else(|failure| panic!("{failure}"));
        let model = assert_lawful(&self.database).await;
        let stored: Vec<Value> = tables::log(&self.database).await.iter().map(tables::StoredEvent::printed).collect();
        assert_eq!(self.node(0).events().await, stored);
        let (code, found, _) = run(&self.node(0).flags, &["replay", "--check"]).await;
        assert_eq!((code, found.as_str()), (0, ""));
        model
    }

    /// How many events of that type there are.
    pub async fn count(&self, event_type: &str) -> usize {
        tables::log(&self.database).await.iter().filter(|event| event.event_type == event_type).count()
    }
}

async fn noted(history: &Recorder, caller: usize, op: Op, request: RequestBuilder) -> Answer {
    let begun = history.begin(u32::try_from(caller).unwrap(), op.clone());
    let answer = send(request).await.unwrap();
    let told = history::Answer::read(&op, answer.status.as_u16(), &answer.body);
    // Nothing fails here, and nobody is without the right to what they ask for.
    assert!(!matches!(told, history::Answer::Unknown | history::Answer::NotTried), "{op}: {answer:?}");
    begun.end(told);
    answer
}

/// Sends all requests at the same moment; answers in the order of the requests.
pub async fn at_once(requests: Vec<RequestBuilder>) -> Vec<Answer> {
    let (start, count) = (Arc::new(Barrier::new(requests.len())), requests.len());
    let mut crowd = JoinSet::new();
    for (caller, request) in requests.into_iter().enumerate() {
        let start = Arc::clone(&start);
        crowd.spawn(async move {
            start.wait().await;
            (caller, send(request).await.unwrap())
        });
    }
    let mut answers = crowd.join_all().await;
    answers.sort_by_key(|(caller, _)| *caller);
    assert_eq!(answers.len(), count);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// How many answers have each status and code; `200 ok` for those that are no refusal.
pub fn tally(answers: &[Answer]) -> Vec<(String, usize)> {
    let mut tally = std::collections::BTreeMap::new();
    for answer in answers {
        let code = if answer.status.is_success() { "ok" } else { answer.code() };
        *tally.entry(format!("{} {code}", answer.status.as_u16())).or_default() += 1;
    }
    tally.into_iter().collect()
}

/// Asserts how many answers have each status and code.
#[track_caller]
pub fn assert_tally(answers: &[Answer], expected: &[(&str, usize)]) {
    let expected: Vec<(String, usize)> = expected.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
    assert_eq!(tally(answers), expected, "{answers:#?}");
}

/// Makes one test for each cast from an async function that takes a [`Cast`].
#[macro_export]
macro_rules! with_every_cast {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::stage::Cast::Sqlite).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::stage::Cast::Postgres).await;
            })+
        }
        mod on_two_nodes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::stage::Cast::TwoNodes).await;
            })+
        }
    };
}
