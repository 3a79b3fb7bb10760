//! Every bound that is not a setting: what no client, however many, can make the service exceed.

use std::time::Duration;

/// A request body. 64 KiB.
pub const BODY_BYTES: usize = 64 * 1024;
/// A request body must have arrived after this. 15 s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// A call must have been answered after this. 60 s: above what a slow provider's four answers of
/// 10 s each may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A request's head must have arrived after this; an idle HTTP/1 connection is closed by it. 10 s.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's head. 16 KiB.
pub const HEAD_BYTES: usize = 16 * 1024;
/// The header lines of an HTTP/1 request. 64.
pub const HEADER_LINES: usize = 64;
/// The requests in flight on one HTTP/2 connection. 64.
pub const STREAMS_PER_CONNECTION: u32 = 64;
/// Bytes of bodies that an HTTP/2 connection may send before they are read, all its requests together. 64 KiB.
pub const UNREAD_BYTES: u32 = 64 * 1024;
/// Requests of an HTTP/2 connection that were taken back before they were looked at; one more and it is closed. 20.
pub const RESET_STREAMS: usize = 20;
/// Requests of an HTTP/2 connection that were refused because they broke the protocol; one more and it is closed. 128.
pub const REFUSED_STREAMS: usize = 128;
/// Open connections; the next one takes the place of one of which nothing is asked. 2048.
pub const CONNECTIONS: usize = 2048;
/// Open connections beyond those, while something is asked of each of them: health calls and metrics are answered, every other
/// call is refused. 64.
pub const PROBE_CONNECTIONS: usize = 64;
/// Open connections of one source, trusted proxies excepted; the next is closed at once. 512.
pub const CONNECTIONS_PER_SOURCE: u32 = 512;
/// A connection finishes what it is doing and is closed after this. 10 min.
pub const CONNECTION_AGE: Duration = Duration::from_secs(10 * 60);
/// How long a stopping service waits for calls in flight. 20 s.
pub const DRAIN: Duration = Duration::from_secs(20);
/// Sources whose rate is counted one by one; beyond that, neighbours are counted together. 20,000.
pub const RATE_SOURCES: usize = 20_000;
/// The database has so long to answer `/readyz`. 1 s.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Hops of `X-Forwarded-For` that are looked at, from the right. 32.
pub const FORWARDED_HOPS: usize = 32;
/// A bearer token. 512 bytes.
pub const BEARER_BYTES: usize = 512;
/// Items on a page when the call does not say. 50.
pub const PAGE_DEFAULT: u32 = 50;
/// Items on a page at most. 200.
pub const PAGE_MAX: u32 = 200;
/// Streams of the audit trail, a process; the next is refused. 32.
pub const AUDIT_STREAMS: usize = 32;
/// A stream of the audit trail that has nothing to tell sends a comment, and looks whether its caller may still listen, after
/// this. 5 s.
pub const AUDIT_STREAM_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Calls that fold the past at once; the next is told to come back. 1.
pub const LOOKS_BACK: usize = 1;
/// Commands that the running server takes from the command line at once; the next ones wait. 16.
pub const OPERATOR_COMMANDS: usize = 16;
