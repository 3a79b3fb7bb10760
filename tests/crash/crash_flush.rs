//! That what is acknowledged has been flushed to the disk. `kill -9` cannot show it: the kernel keeps what a killed process wrote.

use std::path::{Path, PathBuf};

use devidp::DevIdp;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::support::server::{Server, send};
use crate::support::{Backend, TestDatabase};
use crate::trace::{Seen, read, require_strace, strace};

const ONE_BY_ONE: usize = 20;
const CROWDS: usize = 4;
const CROWD: usize = 16;

fn invitation(server: &Server, owner: &str, name: &str) -> RequestBuilder {
    let body = json!({ "email": format!("{name}@example.com"), "role": "developer" });
    server.request(Method::POST, "/v1/users/invite").bearer_auth(owner).json(&body)
}

/// A call in the trace.
struct Traced {
    request_line: String,
    status: u16,
    /// What was seen between its arrival and its answer.
    meanwhile: Vec<Seen>,
}

fn calls(seen: &[Seen]) -> Vec<Traced> {
    let mut calls = Vec::new();
    for (index, event) in seen.iter().enumerate() {
        let Seen::Arrived { socket, request_line } = event else { continue };
        let answered = seen[index..].iter().enumerate().find_map(|(length, event)| match event {
            Seen::Answered { socket: to, status } if to == socket => Some((length, *status)),
            _ => None,
        });
        let (length, status) = answered.unwrap_or_else(|| panic!("{request_line} was not answered"));
        let meanwhile = seen[index..index + length].to_vec();
        calls.push(Traced { request_line: request_line.clone(), status, meanwhile });
    }
    calls
}

/// Whether the write-ahead log was written and then flushed, by a flush that began after the last write.
fn flushed_after_last_write(meanwhile: &[Seen]) -> bool {
    let last_write = meanwhile.iter().rposition(|seen| *seen == Seen::WalWritten);
    last_write.is_some_and(|last_write| flushed(&meanwhile[last_write..]))
}

/// Whether a flush of the write-ahead log began and succeeded.
fn flushed(meanwhile: &[Seen]) -> bool {
    meanwhile.iter().enumerate().any(|(begin, seen)| match seen {
        Seen::FlushBegun { thread } => meanwhile[begin..].contains(&Seen::Flushed { thread: thread.clone() }),
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_every_answer_to_a_change_follows_a_flush() {
    require_strace();
    let database = TestDatabase::new(Backend::Sqlite).await;
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let trace = database.folder.path().join("trace");
    let wrapper = strace(&trace);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut server = Server::start_under(&wrapper, &database).await;
    let owner = server.set_up(&provider).await;
    for number in 0..ONE_BY_ONE {
        assert_eq!(send(invitation(&server, &owner, &format!("single{number}"))).await.unwrap().status, 201);
    }
    for round in 0..CROWDS {
        let mut crowd = JoinSet::new();
        for caller in 0..CROWD {
            crowd.spawn(send(invitation(&server, &owner, &format!("crowd{round}-{caller}"))));
        }
        assert!(crowd.join_all().await.into_iter().all(|answer| answer.unwrap().status == 201));
    }
    assert_eq!(server.stop().await, 0);

    let calls = calls(&read(&trace));
    // Setup and the invitations of one caller: nobody else's flush is in between.
    let changing = ["POST /v1/setup/bootstrap-token/verify", "POST /v1/setup/complete", "POST /v1/users/invite"];
    let changing = |call: &&Traced| changing.iter().any(|line| line.starts_with(&call.request_line));
    let changes: Vec<&Traced> = calls.iter().filter(changing).collect();
    assert_eq!(changes.len(), 2 + ONE_BY_ONE + CROWDS * CROWD);
    for call in &changes[..2 + ONE_BY_ONE] {
        assert!(flushed_after_last_write(&call.meanwhile), "{}: {:?}", call.request_line, call.meanwhile);
    }
    // Callers of a crowd share flushes: each waits for one that began after it came and after something was written.
    for call in &changes[2 + ONE_BY_ONE..] {
        let written = call.meanwhile.iter().position(|seen| *seen == Seen::WalWritten);
        let flushed = written.is_some_and(|written| flushed(&call.meanwhile[written..]));
        assert!(flushed, "{}: {:?}", call.request_line, call.meanwhile);
    }
    // The trace can tell a flush from none: a call that changes nothing is answered without one.
    let status = calls.iter().find(|call| call.request_line.starts_with("GET /v1/auth/oidc/start"));
    assert_eq!(status.map(|call| call.status), Some(200));
}

/// PostgreSQL flushes in a process of its own. What can be seen from here: the flush has passed everything that was written
/// when the call began, although this database's default is not to wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_every_answer_to_a_change_follows_a_flush() {
    let database = TestDatabase::new(Backend::Postgres).await;
    let mut connection = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on", "the server that the tests run on does not flush at all");
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut connection).await.unwrap();
    let unsafe_default = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    sqlx::query(&unsafe_default).execute(&mut connection).await.unwrap();

    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let server = Server::start(&database).await;
    let owner = server.set_up(&provider).await;
    for number in 0..4 * ONE_BY_ONE {
        let before = "SELECT pg_current_wal_insert_lsn()::text";
        let before: String = sqlx::query_scalar(before).fetch_one(&mut connection).await.unwrap();
        assert_eq!(send(invitation(&server, &owner, &format!("single{number}"))).await.unwrap().status, 201);
        let flushed = "SELECT pg_current_wal_flush_lsn() > $1::pg_lsn";
        let flushed: bool = sqlx::query_scalar(flushed).bind(&before).fetch_one(&mut connection).await.unwrap();
        assert!(flushed, "invitation {number} was answered before it was flushed");
    }
}

/// A commit that cannot be flushed is refused, and stays away: it must not be found in the write-ahead file after a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_change_that_was_refused_for_its_flush_is_not_there_after_a_crash() {
    require_strace();
    let database = TestDatabase::new(Backend::Sqlite).await;
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let mut server = Server::start(&database).await;
    let owner = server.set_up(&provider).await;
    assert_eq!(send(invitation(&server, &owner, "before")).await.unwrap().status, 201);
    // Only the threads that there are: the connection that looks the change up afterwards flushes well.
    let threads = writing_threads(server.pid());
    let mut strace = std::process::Command::new("strace");
    strace.args(["-q", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=1"]);
    strace.args(["-o", &database.folder.path().join("injected").display().to_string()]);
    for thread in &threads {
        strace.args(["-p", thread.file_name().unwrap().to_str().unwrap()]);
    }
    let mut strace = strace.spawn().unwrap();
    while !threads.iter().all(|thread| is_traced(thread)) {
        tokio::task::yield_now().await;
    }
    let refused = send(invitation(&server, &owner, "refused")).await.unwrap();
    refused.refused(500, "store_error");
    server.kill().await;
    strace.wait().unwrap();
    let addresses = server.events().await.into_iter().filter(|event| event["type"] == "UserInvited").count();
    assert_eq!(addresses, 1, "what was refused came true");
}

/// The threads of a process that own a SQLite connection for writing.
fn writing_threads(pid: u32) -> Vec<PathBuf> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap().path());
    let writes = |thread: &PathBuf| std::fs::read_to_string(thread.join("comm")).unwrap().trim() == "sqlite-writer";
    let found: Vec<PathBuf> = threads.filter(writes).collect();
    assert!(!found.is_empty());
    found
}

fn is_traced(thread: &Path) -> bool {
    let status = std::fs::read_to_string(thread.join("status")).unwrap();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}
