//! Slow and stuck clients, over HTTP/1: each is sent away when its time is over, and costs nobody else anything.

use std::net::{Ipv4Addr, SocketAddr};

use authlog::settings::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::wire;
use crate::support::server::Server;
use crate::support::{Backend, TestDatabase};

const HEAD: &str =
    "POST /v1/setup/bootstrap-token/verify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

#[tokio::test]
async fn a_head_and_a_body_that_come_byte_by_byte_have_their_time_and_others_are_served_meanwhile() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (head, body) = (wire::connect(&server, "127.0.0.2").await, wire::connect(&server, "127.0.0.3").await);
        slow.spawn(wire::drip(head, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", "x"));
        slow.spawn(async move { wire::drip(body, &format!("{HEAD}Content-Length: 60000\r\n\r\n"), " ").await });
    }
    let mut other = wire::connect(&server, "127.0.0.4").await;
    for _ in 0..100 {
        assert!(wire::get(&mut other, "/v1/public/setup-status").await.starts_with("HTTP/1.1 200"));
    }
    let (mut silent, mut told) = (0, 0);
    while let Some(answer) = slow.join_next().await {
        let answer = answer.unwrap();
        assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
        silent += usize::from(answer.is_empty() || answer.starts_with("HTTP/1.1 408"));
        told += usize::from(answer.starts_with("HTTP/1.1 400") && answer.contains("The body did not arrive in time."));
    }
    assert_eq!((silent, told), (100, 100));
}

#[tokio::test]
async fn a_head_or_a_body_that_is_too_large_is_refused_before_it_is_whole() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let line = |length: usize| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}", "y".repeat(length));
    let lines = "X: y\r\n".repeat(limits::HEADER_LINES);
    for (head, status) in [
        (line(limits::HEAD_BYTES), "HTTP/1.1 431"),
        (format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"), "HTTP/1.1 431"),
        (format!("{HEAD}Content-Length: 1000000\r\n\r\n{{{}", " ".repeat(limits::BODY_BYTES)), "HTTP/1.1 413"),
        (
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{{{}", 1 << 20, " ".repeat(limits::BODY_BYTES)),
            "HTTP/1.1 413",
        ),
    ] {
        let mut stream = wire::connect(&server, "127.0.0.2").await;
        // The server may close before it has read everything.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut status_line = vec![0; status.len()];
        stream.read_exact(&mut status_line).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status_line), status);
    }
}

/// Answers that nobody reads are the same bytes for all, and not a copy each.
#[tokio::test]
async fn clients_that_never_read_their_answers_take_no_memory_and_no_calls_from_others() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let mut other = wire::connect(&server, "127.0.0.4").await;
    let document = server.get("/openapi.json", None).await.ok(200).to_string();
    let before = wire::resident_kib(&server);
    let pipelined = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut stuck = Vec::new();
    for _ in 0..400 {
        let mut stream = wire::connect(&server, "127.0.0.2").await;
        stream.write_all(pipelined.as_bytes()).await.unwrap();
        // The first answer has begun; the next ones wait behind it.
        stream.read_exact(&mut [0; 64]).await.unwrap();
        stuck.push(stream);
        assert!(wire::get(&mut other, "/v1/public/setup-status").await.starts_with("HTTP/1.1 200"));
    }
    let grown = wire::resident_kib(&server).saturating_sub(before);
    let copies = u64::try_from(400 * document.len() / 1024).unwrap();
    assert!(grown < copies / 2, "{grown} KiB for 400 stuck clients; a copy of the answer for each is {copies} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_ten_thousand_idle_connections_cost_nobody_who_is_served_anything() {
    const IDLE: u32 = 10_000;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();
    let enough = files.maximum.is_none_or(|files| files > u64::from(IDLE) + 500);
    assert!(enough, "this test opens {IDLE} connections: raise `ulimit -Hn`, which is {:?}", files.maximum);
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let mut served = Vec::new();
    for _ in 0..32 {
        let mut stream = wire::connect(&server, "127.0.0.4").await;
        assert!(wire::get(&mut stream, "/v1/public/setup-status").await.starts_with("HTTP/1.1 200"));
        served.push(stream);
    }
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let source = Ipv4Addr::from_bits(0x7f02_0000 + number);
        idle.push(wire::connect_from(&server, SocketAddr::new(source.into(), 0)).await);
        // In turns, so that none of them is idle long enough to be closed for that.
        let stream = &mut served[usize::try_from(number).unwrap() % 32];
        assert!(wire::get(stream, "/v1/public/setup-status").await.starts_with("HTTP/1.1 200"), "after {number}");
    }
    let mut newcomer = wire::connect(&server, "127.0.0.5").await;
    assert!(wire::get(&mut newcomer, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(wire::rest(&mut idle[0]).await, b"", "the oldest of them has made room");
}
