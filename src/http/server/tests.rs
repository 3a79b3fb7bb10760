#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::extract::State;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::http::layers;
use crate::http::testing::settings;

const SHORT: Duration = Duration::from_millis(500);

/// A running server, the signal that stops it, and the two moments of its slow call.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Stopped>,
    slow: Arc<Slow>,
}

/// `GET /slow` says when it began and ends when it is told to.
#[derive(Default)]
struct Slow {
    began: Notify,
    go_on: Notify,
}

async fn start(bounds: Bounds) -> Running {
    let slow = Arc::new(Slow::default());
    let router = Router::new()
        .route("/source", get(async |source: SourceAddress| source.to_string()))
        .route(
            "/slow",
            get(async |State(slow): State<Arc<Slow>>| {
                slow.began.notify_one();
                slow.go_on.notified().await;
                "done"
            }),
        )
        .route(
            "/endless",
            get(async |finishing: Finishing| {
                finishing.asked().await;
                "asked to end"
            }),
        )
        .route("/healthz", get(async || "up"))
        .route(
            "/metrics",
            get(async |State(slow): State<Arc<Slow>>| {
                slow.began.notify_one();
                slow.go_on.notified().await;
                "done"
            }),
        )
        .route(
            "/body",
            post(async |State(slow): State<Arc<Slow>>, body: Body| {
                slow.began.notify_one();
                axum::body::to_bytes(body, 100).await.map_or("cut", |_| "whole")
            }),
        )
        .with_state(Arc::clone(&slow));
    let state = HttpState::new(&settings("trusted_proxies = ['127.0.0.2']"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = Server::new(layers(router, &state), &state, bounds);
    let ended = tokio::spawn(server.run(listener, async { stopped.await.unwrap() }));
    Running { address, stop, ended, slow }
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

/// Connects from a loopback address of one's own choice.
async fn connect_from(running: &Running, local: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(local.parse().unwrap(), 0)).unwrap();
    socket.connect(running.address).await.unwrap()
}

async fn ask(stream: &mut TcpStream, path: &str, more: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Everything until the server closes the connection; a reset is a close, too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The answer on a connection that stays open, as far as it is there.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes).await.unwrap();
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}

async fn finish(running: Running) -> Stopped {
    running.stop.send(()).unwrap();
    timeout(Duration::from_secs(10), running.ended).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_call_in_flight_is_answered_while_the_server_stops_and_idle_connections_are_closed() {
    let running = start(Bounds::default()).await;
    let (mut idle, mut silent, mut busy) = (connect(&running).await, connect(&running).await, connect(&running).await);
    ask(&mut idle, "/source", "").await;
    assert!(answer(&mut idle).await.starts_with("HTTP/1.1 200"));
    ask(&mut busy, "/slow", "").await;
    running.slow.began.notified().await;

    running.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody is let in any more");
    running.slow.go_on.notify_one();
    assert!(rest(&mut busy).await.ends_with("done"));
    assert_eq!(running.ended.await.unwrap(), Stopped { abandoned: 0 });
}

#[tokio::test]
async fn an_answer_without_an_end_comes_to_one_when_its_connection_is_old_or_the_server_stops() {
    let running = start(Bounds { age: SHORT, ..Bounds::default() }).await;
    let mut old = connect(&running).await;
    ask(&mut old, "/endless", "").await;
    assert!(rest(&mut old).await.ends_with("asked to end"));
    finish(running).await;

    let running = start(Bounds::default()).await;
    let mut open = connect(&running).await;
    ask(&mut open, "/endless", "").await;
    // It has begun when a second answer on another connection has come.
    let mut other = connect(&running).await;
    ask(&mut other, "/source", "").await;
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 200"));
    assert_eq!(finish(running).await, Stopped { abandoned: 0 });
    assert!(rest(&mut open).await.ends_with("asked to end"));
}

#[tokio::test]
async fn a_call_that_does_not_end_is_dropped_after_the_drain() {
    let running = start(Bounds { drain: SHORT, ..Bounds::default() }).await;
    let mut busy = connect(&running).await;
    ask(&mut busy, "/slow", "").await;
    running.slow.began.notified().await;
    assert_eq!(finish(running).await, Stopped { abandoned: 1 });
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn clients_that_dawdle_are_closed() {
    let running = start(Bounds { head: SHORT, ..Bounds::default() }).await;
    let beginnings = [
        "",
        "P",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /source HTTP/1.1\r\n",
        "GET /source HTTP/1.1\r\nHost: localhost\r\nX-",
    ];
    let mut streams = Vec::new();
    for beginning in beginnings {
        let mut stream = connect(&running).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        streams.push((beginning, stream));
    }
    for (beginning, mut stream) in streams {
        let mut bytes = Vec::new();
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect(beginning);
        assert!(!String::from_utf8_lossy(&bytes).contains("200 OK"), "{beginning:?}");
    }
    let mut idle = connect(&running).await;
    ask(&mut idle, "/source", "").await;
    assert!(rest(&mut idle).await.contains("200 OK"), "answered, and closed when idle");
    assert_eq!(finish(running).await, Stopped { abandoned: 0 });
}

#[tokio::test]
async fn a_slow_answer_is_not_dawdling() {
    let running = start(Bounds { head: SHORT, ..Bounds::default() }).await;
    let (mut busy, mut clock) = (connect(&running).await, connect(&running).await);
    ask(&mut busy, "/slow", "Connection: close\r\n").await;
    running.slow.began.notified().await;
    assert_eq!(rest(&mut clock).await, "", "the time to speak is over");
    running.slow.go_on.notify_one();
    assert!(rest(&mut busy).await.ends_with("done"));
}

#[tokio::test]
async fn an_old_connection_finishes_its_call_and_is_closed() {
    let running = start(Bounds { age: 4 * SHORT, ..Bounds::default() }).await;
    let (mut busy, mut idle) = (connect(&running).await, connect(&running).await);
    ask(&mut busy, "/slow", "").await;
    running.slow.began.notified().await;
    ask(&mut idle, "/source", "").await;
    assert!(rest(&mut idle).await.contains("200 OK"));
    running.slow.go_on.notify_one();
    assert!(rest(&mut busy).await.ends_with("done"));
}

#[tokio::test]
async fn a_source_with_too_many_connections_is_refused_and_others_are_not() {
    let running = start(Bounds { per_source: 1, ..Bounds::default() }).await;
    let mut first = connect(&running).await;
    ask(&mut first, "/source", "").await;
    assert!(answer(&mut first).await.contains("127.0.0.1"));
    assert_eq!(rest(&mut connect(&running).await).await, "");
    // A trusted proxy speaks for many.
    let mut by_proxy = [connect_from(&running, "127.0.0.2").await, connect_from(&running, "127.0.0.2").await];
    for stream in &mut by_proxy {
        ask(stream, "/source", "X-Forwarded-For: 192.0.2.1\r\n").await;
        assert!(answer(stream).await.ends_with("192.0.2.1"));
    }
    let mut other = connect_from(&running, "127.0.0.3").await;
    ask(&mut other, "/source", "X-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n").await;
    assert!(rest(&mut other).await.ends_with("127.0.0.3"));
}

#[tokio::test]
async fn while_every_other_place_is_taken_probes_are_answered_and_other_calls_refused() {
    let running = start(Bounds { connections: 2, probes: 2, ..Bounds::default() }).await;
    let mut busy = [connect(&running).await, connect(&running).await];
    for stream in &mut busy {
        ask(stream, "/slow", "").await;
        running.slow.began.notified().await;
    }
    // Whoever stands there and says nothing is in nobody's way.
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(connect(&running).await);
    }
    for _ in 0..3 {
        let mut probe = connect(&running).await;
        ask(&mut probe, "/healthz", "").await;
        let answered = rest(&mut probe).await;
        assert!(answered.starts_with("HTTP/1.1 200") && answered.ends_with("up"), "{answered}");
        let mut other = connect(&running).await;
        ask(&mut other, "/source", "").await;
        let refused = rest(&mut other).await.to_ascii_lowercase();
        assert!(refused.starts_with("http/1.1 503") && refused.contains(r#""code":"unavailable""#), "{refused}");
        assert!(refused.contains("retry-after: 1\r\n") && refused.contains("connection: close\r\n"), "{refused}");
    }
    assert_eq!(rest(&mut silent[0]).await, "");
    for stream in &mut busy {
        running.slow.go_on.notify_one();
        assert!(answer(stream).await.ends_with("done"));
    }
    let mut next = connect(&running).await;
    ask(&mut next, "/source", "Connection: close\r\n").await;
    assert!(rest(&mut next).await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn a_connection_that_waits_for_its_place_is_kept_however_long_that_takes() {
    let upkeep = Duration::from_millis(1);
    let running = start(Bounds { connections: 1, probes: 1, upkeep, ..Bounds::default() }).await;
    let mut first = connect(&running).await;
    ask(&mut first, "/slow", "").await;
    running.slow.began.notified().await;
    // Stands where probes are answered, and works as well.
    let mut second = connect(&running).await;
    ask(&mut second, "/metrics", "").await;
    running.slow.began.notified().await;
    let mut third = connect(&running).await;
    ask(&mut third, "/healthz", "").await;
    let mut clock = tokio::time::interval(upkeep);
    for _ in 0..50 {
        clock.tick().await;
    }
    running.slow.go_on.notify_waiters();
    assert!(rest(&mut second).await.ends_with("done"));
    assert!(rest(&mut third).await.ends_with("up"));
}

#[tokio::test]
async fn who_never_asks_or_sends_a_body_byte_by_byte_makes_room_before_anybody_who_had_an_answer() {
    let running = start(Bounds { connections: 6, ..Bounds::default() }).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(&running, "127.0.0.3").await;
        ask(&mut stream, "/source", "").await;
        assert!(answer(&mut stream).await.ends_with("127.0.0.3"));
        kept.push(stream);
    }
    let mut dripping = connect_from(&running, "127.0.0.4").await;
    let head = "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx";
    dripping.write_all(head.as_bytes()).await.unwrap();
    running.slow.began.notified().await;
    let mut silent = Vec::new();
    for last in 5..100 {
        // Each from another source, of which none holds more than one.
        silent.push(connect_from(&running, &format!("127.0.0.{last}")).await);
        for stream in &mut kept {
            ask(stream, "/source", "").await;
            assert!(answer(stream).await.ends_with("127.0.0.3"));
        }
    }
    assert_eq!(rest(&mut dripping).await, "");
}

#[tokio::test]
async fn who_has_too_many_connections_costs_nobody_a_place() {
    let running = start(Bounds { connections: 2, per_source: 1, ..Bounds::default() }).await;
    let mut first = connect_from(&running, "127.0.0.3").await;
    ask(&mut first, "/source", "").await;
    assert!(answer(&mut first).await.ends_with("127.0.0.3"));
    let mut second = connect_from(&running, "127.0.0.4").await;
    for _ in 0..5 {
        assert_eq!(rest(&mut connect_from(&running, "127.0.0.3").await).await, "");
    }
    for (stream, source) in [(&mut first, "127.0.0.3"), (&mut second, "127.0.0.4")] {
        ask(stream, "/source", "").await;
        assert!(answer(stream).await.ends_with(source));
    }
}

#[tokio::test]
async fn a_connection_of_which_nothing_is_asked_makes_room_for_the_next_one() {
    let running = start(Bounds { connections: 5, ..Bounds::default() }).await;
    let mut busy = connect_from(&running, "127.0.0.3").await;
    ask(&mut busy, "/slow", "").await;
    running.slow.began.notified().await;
    let mut streams = connect_from(&running, "127.0.0.4").await;
    ask(&mut streams, "/endless", "").await;
    let mut old = connect_from(&running, "127.0.0.5").await;
    ask(&mut old, "/source", "").await;
    assert!(answer(&mut old).await.ends_with("127.0.0.5"));
    // This source holds more than any other, so it is its own connections that go, the oldest first.
    let mut heavy = Vec::new();
    for _ in 0..20 {
        let mut stream = connect_from(&running, "127.0.0.6").await;
        ask(&mut stream, "/source", "").await;
        assert!(answer(&mut stream).await.ends_with("127.0.0.6"));
        heavy.push(stream);
    }
    assert_eq!(rest(&mut heavy[17]).await, "");
    for stream in heavy[18..].iter_mut().chain([&mut old]) {
        ask(stream, "/source", "").await;
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    running.slow.go_on.notify_one();
    assert!(answer(&mut busy).await.ends_with("done"));
    finish(running).await;
    assert!(rest(&mut streams).await.ends_with("asked to end"));
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let running = start(Bounds::default()).await;
    let many = "X: y\r\n".repeat(limits::HEADER_LINES + 1);
    let long = format!("X: {}\r\n", "y".repeat(limits::HEAD_BYTES));
    for more in [many, long] {
        let mut stream = connect(&running).await;
        // The server may close before it has read everything.
        let request = format!("GET /source HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        assert!(!rest(&mut stream).await.contains("200 OK"));
    }
}

#[tokio::test]
async fn http_2_is_spoken_and_its_authority_checked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let running = start(Bounds::default()).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let port = running.address.port();
    let ours = client.get(format!("http://127.0.0.1:{port}/source")).send().await.unwrap();
    assert_eq!((ours.version(), ours.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    assert_eq!(ours.text().await.unwrap(), "127.0.0.1");
    let rebound = client.get(format!("http://127.0.0.1:{port}/source")).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status().as_u16(), 421);
    // The client's idle connection is told to go, and goes.
    assert_eq!(finish(running).await, Stopped { abandoned: 0 });
}
