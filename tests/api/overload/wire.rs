//! Connections as a hostile client makes them: bytes by hand, from a loopback address of its choice.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::server::Server;

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn address(server: &Server) -> SocketAddr {
    server.base.strip_prefix("http://").unwrap().parse().unwrap()
}

pub(super) async fn connect(server: &Server, from: &str) -> TcpStream {
    connect_from(server, SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).await
}

pub(super) async fn connect_from(server: &Server, from: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    timeout(DEADLINE, socket.connect(address(server))).await.unwrap().unwrap()
}

/// Everything until the server closes the connection; a reset is a close, too.
pub(super) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the server does not close the connection");
    bytes
}

/// Sends `GET` over a connection that stays open and reads the answer's head; it has one of few bytes behind it.
pub(super) async fn get(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 16 * 1024];
    let read = timeout(DEADLINE, stream.read(&mut bytes)).await.expect("no answer").unwrap();
    assert!(read > 0, "the server closed the connection");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// Sends one byte after another until the server closes the connection; answers what it said.
pub(super) async fn drip(mut stream: TcpStream, beginning: &str, byte: &str) -> String {
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let byte = byte.to_owned().into_bytes();
    let dripping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if write.write_all(&byte).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    let _ = timeout(DEADLINE, read.read_to_end(&mut bytes)).await.expect("the server waits for ever");
    dripping.abort();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Resident memory of the server, in KiB.
pub(super) fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// HTTP/2 (RFC 9113), as far as a flood needs it.
pub(super) mod http2 {
    use super::*;

    pub(in super::super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GO_AWAY: u8 = 7;
    pub(in super::super) const CONTINUATION: u8 = 9;
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;

    pub(in super::super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// `GET path` of localhost, in HPACK without a table of its own.
    pub(in super::super) fn get_block(path: &str) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
        [&[0x82, 0x86, 0x04][..], &text(path), &[0x01], &text("localhost")].concat()
    }

    pub(in super::super) fn get_frame(stream: u32, path: &str) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_block(path))
    }

    /// The next frame of the server: type, flags, stream, payload; none when the connection is closed.
    pub(in super::super) async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        timeout(DEADLINE, stream.read_exact(&mut head)).await.expect("the server says nothing").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        timeout(DEADLINE, stream.read_exact(&mut payload)).await.expect("the server stops in a frame").ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The error code of the server's GOAWAY; none when it closes without.
    pub(in super::super) async fn go_away(stream: &mut TcpStream) -> Option<u32> {
        while let Some((kind, _, _, payload)) = read_frame(stream).await {
            if kind == GO_AWAY {
                return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        None
    }
}
