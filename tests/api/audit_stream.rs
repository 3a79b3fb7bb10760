//! `/v1/audit-logs/stream`: history and what happens now on one cursor, for as long as one may read it.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::house::House;
use crate::support::Backend;
use crate::support::server::{Instance, Server, send};
use crate::text;

const PATH: &str = "/v1/audit-logs/stream";
/// What must come comes long before.
const DEADLINE: Duration = Duration::from_secs(25);

/// A client that reads one stream.
struct Stream {
    response: reqwest::Response,
    unread: String,
}

impl Stream {
    async fn after(server: &Server, bearer: &str, position: i64) -> Self {
        let request = server.request(Method::GET, PATH).bearer_auth(bearer);
        let response = request.header("last-event-id", position.to_string()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, unread: String::new() }
    }

    /// More bytes; `false` at the end, which is never in the middle of an event.
    async fn read(&mut self) -> bool {
        let bytes = timeout(DEADLINE, self.response.chunk()).await.expect("nothing came").unwrap();
        match &bytes {
            Some(bytes) => self.unread.push_str(std::str::from_utf8(bytes).unwrap()),
            None => assert_eq!(self.unread, "", "the stream ends in the middle of an event"),
        }
        bytes.is_some()
    }

    /// The events that have come whole; comments and `retry` are passed over.
    fn whole(&mut self) -> Vec<Value> {
        let mut entries = Vec::new();
        while let Some((event, rest)) = self.unread.split_once("\n\n") {
            entries.extend(entry(event));
            self.unread = rest.to_owned();
        }
        entries
    }

    /// Entries until there is one at this position or behind.
    async fn up_to(&mut self, position: i64) -> Vec<Value> {
        let mut entries = self.whole();
        while entries.last().is_none_or(|entry| id(entry) < position) {
            assert!(self.read().await, "the stream ended before position {position}");
            entries.extend(self.whole());
        }
        entries
    }

    /// What comes before the stream ends.
    async fn rest(mut self) -> Vec<Value> {
        let read = async {
            let mut entries = self.whole();
            while self.read().await {
                entries.extend(self.whole());
            }
            entries
        };
        timeout(DEADLINE, read).await.expect("the stream goes on")
    }
}

/// An event's entry, its fields being what they should be.
fn entry(event: &str) -> Option<Value> {
    if event.starts_with(':') || event.starts_with("retry: ") {
        return None;
    }
    let fields: Vec<(&str, &str)> = event.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let [("id", position), ("event", "audit_entry"), ("data", data)] = fields[..] else { panic!("{event}") };
    let entry: Value = serde_json::from_str(data).unwrap();
    assert_eq!(entry["id"].to_string(), position);
    Some(entry)
}

fn id(entry: &Value) -> i64 {
    entry["id"].as_i64().unwrap()
}

/// How many entries there are up to a position.
fn count(position: i64) -> usize {
    usize::try_from(position).unwrap()
}

async fn listed(server: &Server, owner: &str) -> Vec<Value> {
    let list = server.get("/v1/audit-logs?direction=asc&limit=200", Some(owner)).await.ok(200);
    assert!(list["total"].as_i64().unwrap() <= 200);
    list["entries"].as_array().unwrap().clone()
}

async fn head(server: &Server) -> i64 {
    server.get("/readyz", None).await.ok(200)["position"].as_i64().unwrap()
}

async fn invite(server: &Server, by: &str, name: &str) {
    let body = json!({ "email": format!("{name}@example.com"), "role": "qa_viewer" });
    server.post("/v1/users/invite", Some(by), body).await.ok(201);
}

/// A second node, where there can be one.
async fn other_node(instance: &Instance, backend: Backend) -> Option<Server> {
    match backend {
        Backend::Sqlite => None,
        Backend::Postgres => Some(Server::start(&instance.database).await),
    }
}

async fn history_and_what_happens_are_one_stream_of_the_entries_of_the_list(backend: Backend) {
    let house = House::new(backend).await;
    let (server, owner) = (&house.instance.server, house.bearer("owner"));
    let other = other_node(&house.instance, backend).await;
    let history = listed(server, owner).await;
    let request = other.as_ref().unwrap_or(server).request(Method::GET, PATH).bearer_auth(house.bearer("admin"));
    let response = request.send().await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("no-store"));
    assert_eq!((header("content-encoding"), header("content-length")), (None, None));
    let mut stream = Stream { response, unread: String::new() };
    assert_eq!(stream.up_to(id(history.last().unwrap())).await, history);

    // Written on one node, shown by the other: also when that one has looked since and found nothing.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    invite(server, owner, "newcomer").await;
    let new = stream.up_to(id(history.last().unwrap()) + 1).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(new, listed(server, owner).await[history.len()..]);
    assert_eq!(text(&new[0], "action"), "user_invited");
}

async fn a_stream_begins_after_the_position_that_one_names(backend: Backend) {
    let house = House::new(backend).await;
    let (server, owner) = (&house.instance.server, house.bearer("owner"));
    let head = head(server).await;
    let ask = |query: &str| server.request(Method::GET, &format!("{PATH}{query}")).bearer_auth(owner);
    let first = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        id(&Stream { response, unread: String::new() }.up_to(1).await[0])
    };
    assert_eq!(first(ask("")).await, 1);
    assert_eq!(first(ask("?since_position=0")).await, 1);
    assert_eq!(first(ask("?since_position=3")).await, 4);
    assert_eq!(first(ask("?since_position=3").header("last-event-id", "5")).await, 6);
    assert_eq!(first(ask("?since_position=nonsense").header("last-event-id", "5")).await, 6);
    for odd in
        [(head + 1).to_string(), "-1".into(), "+1".into(), "1.0".into(), "one".into(), String::new(), "9".repeat(20)]
    {
        let query: String = url::form_urlencoded::byte_serialize(odd.as_bytes()).collect();
        send(ask(&format!("?since_position={query}"))).await.unwrap().refused(400, "invalid_input");
        send(ask("").header("last-event-id", &odd)).await.unwrap().refused(400, "invalid_input");
    }
    let twice = ask("").header("last-event-id", "1").header("last-event-id", "2");
    send(twice).await.unwrap().refused(400, "invalid_input");
    for caller in ["developer", "qa_viewer"] {
        house.get(caller, &format!("{PATH}?since_position=x")).await.refused(403, "forbidden");
    }
    server.get(PATH, None).await.refused(401, "missing_auth");
    assert_eq!(Stream::after(server, house.bearer("token"), 0).await.up_to(head).await.len(), count(head));
}

async fn a_reader_cut_off_anywhere_goes_on_with_nothing_lost_or_doubled(backend: Backend) {
    const WRITERS: usize = 3;
    const INVITATIONS: usize = 25;
    let instance = Instance::ready(backend).await;
    let other = other_node(&instance, backend).await;
    let nodes: Vec<&Server> = [&instance.server].into_iter().chain(&other).collect();
    let owner = instance.owner.as_str();
    let last = head(nodes[0]).await + i64::try_from(WRITERS * INVITATIONS).unwrap();
    let write = async |writer: usize| {
        for number in 0..INVITATIONS {
            invite(nodes[(writer + number) % nodes.len()], owner, &format!("w{writer}-{number}")).await;
        }
    };
    let read = async {
        let (mut positions, mut connections) = (Vec::new(), 0_usize);
        while positions.last() != Some(&last) {
            let after = positions.last().copied().unwrap_or(0);
            let mut stream = Stream::after(nodes[connections % nodes.len()], owner, after).await;
            // Cut at any byte: in the first event, or some pages later.
            let cut = connections * 7919 % 2500;
            while stream.unread.len() < cut && !stream.unread.contains(&format!("id: {last}\n")) {
                assert!(stream.read().await);
            }
            stream.unread.truncate(cut);
            positions.extend(stream.whole().iter().map(id));
            connections += 1;
        }
        (positions, connections)
    };
    let (written, (positions, connections)) =
        tokio::join!(async { tokio::join!(write(0), write(1), write(2)) }, async {
            timeout(DEADLINE * 2, read).await.expect("the reader never came to the end")
        });
    assert_eq!(written, ((), (), ()));
    assert_eq!(positions, (1..=last).collect::<Vec<_>>());
    assert!(connections > 10, "{connections}");
}

/// Opens a stream with what `bearer` holds, takes that away, writes on, and reads to the end.
async fn ends(house: &House, node: &Server, bearer: &str, what: &str, take_away: impl AsyncFnOnce()) {
    let (server, owner) = (&house.instance.server, house.bearer("owner"));
    let before = head(server).await;
    let mut stream = Stream::after(node, bearer, before - 1).await;
    stream.up_to(before).await;
    take_away().await;
    let taken_away = head(server).await;
    for number in 0..3 {
        invite(server, owner, &format!("after-{}-{number}", what.replace(' ', "-"))).await;
    }
    let begun = Instant::now();
    let late: Vec<i64> = stream.rest().await.iter().map(id).filter(|position| *position >= taken_away).collect();
    assert_eq!(late, Vec::<i64>::new(), "{what}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{what}: {:?}", begun.elapsed());
}

async fn a_stream_ends_when_the_right_to_it_does_and_tells_nothing_later(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let other = other_node(&house.instance, backend).await;
    let node = other.as_ref().unwrap_or(server);
    let admin = house.id("admin");
    let call = async |method: Method, path: String, body: Option<Value>| {
        house.call("owner", method, &path, body).await.ok(200);
    };
    let session = async || text(&server.sign_in("admin").await.ok(200), "session_token").to_owned();

    let mine = session().await;
    ends(&house, node, &mine, "signed out", async || {
        server.post("/v1/auth/logout", Some(&mine), json!({})).await.ok(200);
    })
    .await;
    ends(&house, node, &session().await, "sessions revoked", async || {
        call(Method::DELETE, format!("/v1/sessions?user_id={admin}"), None).await;
    })
    .await;
    let tokens = house.get("owner", "/v1/api-tokens").await.ok(200);
    ends(&house, node, house.bearer("token"), "token revoked", async || {
        call(Method::DELETE, format!("/v1/api-tokens/{}", text(&tokens["tokens"][0], "id")), None).await;
    })
    .await;
    ends(&house, node, &session().await, "demoted", async || {
        call(Method::PATCH, format!("/v1/users/{admin}/role"), Some(json!({ "role": "developer" }))).await;
    })
    .await;
    call(Method::PATCH, format!("/v1/users/{admin}/role"), Some(json!({ "role": "admin" }))).await;
    ends(&house, node, &session().await, "disabled", async || {
        call(Method::DELETE, format!("/v1/users/{admin}"), None).await;
    })
    .await;
}

async fn a_stream_does_not_outlive_its_session_and_does_not_keep_it_from_being_idle(backend: Backend) {
    for settings in [[("AUTHLOG_SESSION_TTL", "4s")], [("AUTHLOG_SESSION_IDLE_TTL", "7s")]] {
        let instance = Instance::ready_with(backend, &settings).await;
        let session = instance.server.sign_in("alice").await.ok(200);
        let session = text(&session, "session_token");
        Stream::after(&instance.server, session, 0).await.rest().await;
        instance.server.get("/v1/users/me", Some(session)).await.refused(401, "session_expired");
    }
}

async fn so_many_streams_are_open_at_once_and_the_next_is_told_to_wait(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let mut open = Vec::new();
    for _ in 0..authlog::settings::limits::AUDIT_STREAMS {
        open.push(Stream::after(&instance.server, &instance.owner, 0).await);
    }
    let refused = timeout(DEADLINE, instance.server.get(PATH, Some(&instance.owner))).await;
    refused.expect("there is room for one more").refused(503, "unavailable");
    instance.server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    drop(open.pop());
    let again = async {
        let ask = || instance.server.request(Method::GET, PATH).bearer_auth(&instance.owner).send();
        while ask().await.unwrap().status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, again).await.expect("a place that was given back stays taken");
}

async fn a_reader_that_does_not_read_holds_nobody_up_and_gets_everything(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let address: std::net::SocketAddr = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut slow = socket.connect(address).await.unwrap();
    let ask = format!("GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", instance.owner);
    slow.write_all(ask.as_bytes()).await.unwrap();
    for number in 0..60 {
        invite(server, &instance.owner, &format!("while-nobody-reads-{number}")).await;
    }
    let last = head(server).await;
    let mut quick = Stream::after(server, &instance.owner, 0).await;
    assert_eq!(quick.up_to(last).await.len(), count(last));

    let (mut read, mut buffer) = (String::new(), vec![0; 512]);
    while !read.contains(&format!("\nid: {last}\n")) || !read.ends_with("\n\n\r\n") {
        let bytes = timeout(DEADLINE, slow.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(bytes, 0, "{read}");
        read.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
    }
    let ids: Vec<i64> = read.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(ids, (1..=last).collect::<Vec<_>>());
}

async fn a_stream_ends_between_two_events_when_the_service_stops(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    let mut stream = Stream::after(&instance.server, &instance.owner, 0).await;
    stream.up_to(head(&instance.server).await).await;
    let begun = Instant::now();
    let (stopped, rest) = tokio::join!(instance.server.stop(), stream.rest());
    assert_eq!((stopped, rest), (0, Vec::new()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!instance.server.output.lock().unwrap().contains("did not end in time"));
}

on_both_databases!(
    history_and_what_happens_are_one_stream_of_the_entries_of_the_list,
    a_stream_begins_after_the_position_that_one_names,
    a_reader_cut_off_anywhere_goes_on_with_nothing_lost_or_doubled,
    a_stream_ends_when_the_right_to_it_does_and_tells_nothing_later,
    a_stream_does_not_outlive_its_session_and_does_not_keep_it_from_being_idle,
    so_many_streams_are_open_at_once_and_the_next_is_told_to_wait,
    a_reader_that_does_not_read_holds_nobody_up_and_gets_everything,
    a_stream_ends_between_two_events_when_the_service_stops,
);
