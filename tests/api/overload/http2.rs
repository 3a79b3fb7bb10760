//! Floods of HTTP/2 frames, each over a connection of its own, while others are served.

use authlog::settings::limits::{HEAD_BYTES, RESET_STREAMS, STREAMS_PER_CONNECTION, UNREAD_BYTES};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire;
use super::wire::http2::{
    CONTINUATION, END_HEADERS, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame, get_block, get_frame, go_away,
    read_frame,
};
use crate::support::server::Server;
use crate::support::{Backend, TestDatabase};

const ENHANCE_YOUR_CALM: u32 = 0xb;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// What a server that has just started may grow by for reasons of its own; a flood that is kept is a multiple.
const GROWS_BY_ITSELF_KIB: u64 = 16 * 1024;

async fn connect(server: &Server, settings: &[(u16, u32)]) -> TcpStream {
    let mut stream = wire::connect(server, "127.0.0.2").await;
    let settings: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await.unwrap();
    stream
}

async fn started() -> (TestDatabase, Server) {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    (database, server)
}

/// Streams of clients have odd numbers.
fn stream_ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

#[tokio::test]
async fn the_bounds_of_an_http_2_connection_are_told_to_it() {
    let (_database, server) = started().await;
    let mut stream = connect(&server, &[]).await;
    let (kind, _, _, payload) = read_frame(&mut stream).await.unwrap();
    assert_eq!(kind, SETTINGS);
    let told = |id: u16| {
        let found = payload.chunks(6).find(|setting| setting[..2] == id.to_be_bytes());
        found.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    assert_eq!(told(3), Some(STREAMS_PER_CONNECTION));
    assert_eq!(told(INITIAL_WINDOW_SIZE), Some(UNREAD_BYTES));
    assert_eq!(told(6), Some(u32::try_from(HEAD_BYTES).unwrap()));
}

/// CVE-2023-44487.
#[tokio::test]
async fn a_client_that_takes_its_requests_back_again_and_again_is_sent_away() {
    let (_database, server) = started().await;
    let mut stream = connect(&server, &[]).await;
    let cancel = 8_u32.to_be_bytes();
    let flood: Vec<u8> = stream_ids(u32::try_from(RESET_STREAMS).unwrap() * 50)
        .flat_map(|id| [get_frame(id, "/openapi.json"), frame(RST_STREAM, 0, id, &cancel)].concat())
        .collect();
    let _ = stream.write_all(&flood).await;
    assert_eq!(go_away(&mut stream).await, Some(ENHANCE_YOUR_CALM));
    server.get("/healthz", None).await.ok(200);
}

/// CVE-2024-27316.
#[tokio::test]
async fn a_head_without_an_end_is_cut_off() {
    let (_database, server) = started().await;
    let before = wire::resident_kib(&server);
    let mut stream = connect(&server, &[]).await;
    stream.write_all(&frame(HEADERS, 0, 1, &get_block("/"))).await.unwrap();
    // A field of a kilobyte, never indexed; 64 MiB of them.
    let field = [&[0x10, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'y'; 1024]].concat();
    let more = frame(CONTINUATION, 0, 1, &field);
    for _ in 0..64 * 1024 {
        if stream.write_all(&more).await.is_err() {
            break;
        }
    }
    let _ = stream.write_all(&frame(CONTINUATION, END_HEADERS, 1, &[])).await;
    wire::rest(&mut stream).await;
    let grown = wire::resident_kib(&server).saturating_sub(before);
    assert!(grown < GROWS_BY_ITSELF_KIB, "{grown} KiB");
    server.get("/healthz", None).await.ok(200);
}

/// The answers to pings and settings that nobody reads do not pile up: the server reads no further.
#[tokio::test]
async fn pings_and_settings_whose_answers_are_not_read_are_not_taken_for_ever() {
    for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        let (_database, server) = started().await;
        let before = wire::resident_kib(&server);
        let mut stream = connect(&server, &[]).await;
        let many = flood.repeat(64 * 1024 / flood.len());
        let mut taken = 0;
        // Until nothing more is taken: the send buffers of both sides are full. Or the server has closed the connection.
        while let Ok(Ok(())) = timeout(std::time::Duration::from_secs(1), stream.write_all(&many)).await {
            taken += 1;
            assert!(taken < 4096, "256 MiB of frames were taken and their answers not read");
        }
        let grown = wire::resident_kib(&server).saturating_sub(before);
        assert!(grown < GROWS_BY_ITSELF_KIB, "{grown} KiB");
        server.get("/healthz", None).await.ok(200);
    }
}

#[tokio::test]
async fn clients_without_a_window_hold_no_copy_of_their_answers() {
    let (_database, server) = started().await;
    let document = server.get("/openapi.json", None).await.ok(200).to_string();
    let before = wire::resident_kib(&server);
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let mut stream = connect(&server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        let calls: Vec<u8> = stream_ids(STREAMS_PER_CONNECTION).flat_map(|id| get_frame(id, "/openapi.json")).collect();
        stream.write_all(&calls).await.unwrap();
        let mut answered = 0;
        while answered < STREAMS_PER_CONNECTION {
            let (kind, ..) = read_frame(&mut stream).await.expect("the server closed the connection");
            answered += u32::from(kind == HEADERS);
        }
        stuck.push(stream);
    }
    let grown = wire::resident_kib(&server).saturating_sub(before);
    let copies = u64::from(10 * STREAMS_PER_CONNECTION) * u64::try_from(document.len() / 1024).unwrap();
    assert!(grown < copies / 2, "{grown} KiB for 640 stuck calls; a copy of the answer for each is {copies} KiB");
    server.get("/healthz", None).await.ok(200);
}
