//! Whatever strangers make up leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::wire;
use crate::support::server::Server;
use crate::support::{Backend, TestDatabase, odd};

const ODD_REQUESTS: usize = 100_000;
const CALLERS: usize = 16;
const MOST_KIB: u64 = 5 * 1024;

/// Sends the odd requests of these connections; answers how many were answered.
async fn send(server: &Arc<Server>, connections: std::ops::Range<usize>) -> usize {
    let (next, end) = (Arc::new(AtomicUsize::new(connections.start)), connections.end);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (server, next) = (Arc::clone(server), Arc::clone(&next));
        callers.spawn(async move {
            let mut answered = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return answered;
                }
                let stream = wire::connect_from(&server, odd::source(number)).await;
                let (mut read, mut write) = stream.into_split();
                let sending = tokio::spawn(async move {
                    // The server closes after what is no HTTP, perhaps before it has read all of it.
                    let _ = write.write_all(&odd::connection(number)).await;
                    // Or it waits for what is missing: the end of a body, of a head.
                    let _ = write.shutdown().await;
                    write
                });
                let mut answers = Vec::new();
                let _ = read.read_to_end(&mut answers).await;
                drop(sending.await);
                answered += answers.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
            }
        });
    }
    callers.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_hundred_thousand_odd_requests_leave_memory_within_five_mebibytes() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Arc::new(Server::start_with(&database, &[("AUTHLOG_PUBLIC_CALLS_PER_MINUTE", "120")]).await);
    let connections = ODD_REQUESTS / odd::ON_A_CONNECTION;
    // A few of the same mix first: what is made when it is first needed (counters, connections to the database, the room that the
    // allocator keeps for so many callers at once) is there once and for all, and is not what is asked about.
    let warm = connections / 20;
    send(&server, 0..warm).await;
    let before = wire::resident_kib(&server);
    let answered = send(&server, warm..warm + connections).await;
    let after = wire::resident_kib(&server);
    // A connection ends early where a body is left unread: not every request of it is answered, but most are.
    assert!(answered >= ODD_REQUESTS / 2, "only {answered} of {ODD_REQUESTS} were answered");
    assert!(after <= before + MOST_KIB, "{before} KiB before and {after} KiB after");
}
