//! Callers that hang up at every byte of what they send and of what they get: an event is there whole or not at all, nothing is done
//! twice, and the server keeps nothing of them.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ledger::{Ledger, assert_ready};
use crate::on_both_databases;
use crate::support::server::{Answer, Instance, Server};
use crate::support::{Backend, TestDatabase, tables};

/// A request byte by byte.
fn request(path: &str, token: Option<&str>, body: &Value) -> Vec<u8> {
    let (body, token) = (body.to_string(), token.map(|token| format!("authorization: Bearer {token}\r\n")));
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        token.unwrap_or_default(),
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

async fn connected(server: &Server) -> TcpStream {
    TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap()
}

/// Sends so many of its bytes and is gone.
async fn hang_up_after(server: &Server, request: &[u8], sent: usize) {
    let mut caller = connected(server).await;
    // The server may be the first to give up.
    let _ = caller.write_all(&request[..sent]).await;
    if sent.is_multiple_of(2) {
        // A reset, where the others say that they are going.
        caller.set_zero_linger().unwrap();
    }
}

/// Sends it all, reads so many bytes of the answer and is gone; answers whether there were so many.
async fn hang_up_while_reading(server: &Server, request: &[u8], read: usize) -> bool {
    let mut caller = connected(server).await;
    caller.write_all(request).await.unwrap();
    let mut answer = vec![0; read];
    let mut there = 0;
    while there < read {
        // The server keeps the connection open after its answer: the end of the head and its length tell.
        let more = caller.read(&mut answer[there..]).await.unwrap();
        assert!(more > 0, "hung up by the server after {}", String::from_utf8_lossy(&answer[..there]));
        there += more;
        if is_whole(&answer[..there]) {
            break;
        }
    }
    caller.set_zero_linger().unwrap();
    there == read
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

async fn count(database: &TestDatabase, event_type: &str) -> usize {
    tables::log(database).await.iter().filter(|event| event.event_type == event_type).count()
}

/// Returns when nobody is connected but the test's own client, and no call is under way.
async fn wait_until_nobody_is_there(server: &Server) {
    while is_busy(server).await || callers(server) > 1 {
        tokio::task::yield_now().await;
    }
}

/// The connections that the server holds, as the kernel lists them: local address, remote address, state, ..., inode.
fn callers(server: &Server) -> usize {
    let port: u16 = server.base.rsplit_once(':').unwrap().1.parse().unwrap();
    let listed = std::fs::read_to_string(format!("/proc/{}/net/tcp", server.pid())).unwrap();
    let of_the_server = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (established, closing) = (fields[3] == "01", fields[3] == "08");
        fields[1].ends_with(&format!(":{port:04X}")) && (established || closing) && fields[9] != "0"
    };
    listed.lines().skip(1).filter(of_the_server).count()
}

async fn is_busy(server: &Server) -> bool {
    let metrics: Answer = server.get("/metrics", None).await;
    let metrics = metrics.ok(200);
    let waiting = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix("authlog_log_units_waiting "));
    waiting.is_some_and(|waiting| waiting.trim() != "0")
}

async fn who_hangs_up_while_inviting_has_invited_whole_or_not_at_all(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let (server, owner) = (&instance.server, instance.owner.as_str());
    let invite = |name: &str| {
        let body = json!({ "email": format!("{name}@example.com"), "role": "developer" });
        request("/v1/users/invite", Some(owner), &body)
    };
    let ledger = Ledger::default();
    ledger.invited(server, owner, "before").await;

    let whole = invite("early");
    for sent in 0..whole.len() {
        hang_up_after(server, &whole, sent).await;
    }
    wait_until_nobody_is_there(server).await;
    assert_eq!(count(&instance.database, "UserInvited").await, 1, "a part of a request was taken for the whole");
    // The same address was free all the time.
    ledger.invited(server, owner, "early").await;

    let mut read = 1;
    while hang_up_while_reading(server, &invite(&format!("late{read}")), read).await {
        read += 1;
    }
    assert!(read > 300, "the answer has only {read} bytes?");
    // What was answered in part was done.
    assert_eq!(count(&instance.database, "UserInvited").await, 2 + read);
    // Who is gone before the answer begins may be too early or not.
    for number in 0..20 {
        hang_up_after(server, &invite(&format!("gone{number}")), invite(&format!("gone{number}")).len()).await;
    }
    wait_until_nobody_is_there(server).await;
    let done = count(&instance.database, "UserInvited").await - 2 - read;
    assert!(done <= 20, "{done} of 20 invitations");
    assert_ready(server, true, true, true).await;
    ledger.agrees_with(&instance.database).await;
}

async fn who_hangs_up_while_signing_in_has_used_up_nothing_or_has_a_session(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let callback = async || request("/v1/auth/oidc/callback", None, &server.callback_body("alice").await);
    let opened = async || count(&instance.database, "SessionOpened").await;
    let before = opened().await;

    let whole = callback().await;
    for sent in 0..whole.len() {
        hang_up_after(server, &whole, sent).await;
    }
    wait_until_nobody_is_there(server).await;
    assert_eq!(opened().await, before);
    // Its `state` is as good as it was, and used up by a byte of an answer.
    assert!(hang_up_while_reading(server, &whole, 1).await);
    assert_eq!(opened().await, before + 1);
    assert!(hang_up_while_reading(server, &whole, 12).await);
    let (mut read, mut sessions) = (1, 1);
    while hang_up_while_reading(server, &callback().await, read).await {
        (read, sessions) = (read + 16, sessions + 1);
    }
    wait_until_nobody_is_there(server).await;
    assert_eq!(opened().await, before + sessions + 1);
    Ledger::default().agrees_with(&instance.database).await;
}

async fn who_hangs_up_while_verifying_a_bootstrap_token_has_used_it_or_not(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    let path = "/v1/setup/bootstrap-token/verify";
    let with_token = async || request(path, None, &json!({ "token": server.bootstrap_token().await }));
    let opened = async || count(&database, "SetupSessionOpened").await;

    let whole = with_token().await;
    for sent in 0..whole.len() {
        hang_up_after(&server, &whole, sent).await;
    }
    wait_until_nobody_is_there(&server).await;
    assert_eq!((opened().await, count(&database, "VerificationFailed").await), (0, 0));
    let (mut read, mut sessions) = (1, 1);
    assert!(hang_up_while_reading(&server, &whole, read).await);
    while hang_up_while_reading(&server, &with_token().await, read).await {
        (read, sessions) = (read + 48, sessions + 1);
    }
    assert_eq!(opened().await, sessions + 1);
    wait_until_nobody_is_there(&server).await;
    Ledger::default().agrees_with(&database).await;
}

on_both_databases!(
    who_hangs_up_while_inviting_has_invited_whole_or_not_at_all,
    who_hangs_up_while_signing_in_has_used_up_nothing_or_has_a_session,
    who_hangs_up_while_verifying_a_bootstrap_token_has_used_it_or_not,
);
