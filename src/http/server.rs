//! Connections: how many, how long, and how they end. Behind this, `layers` sees requests only.
//!
//! `axum::serve` has no bound on any of it, so the loop is ours. Every connection is one task that
//! ends when the client is done, when it dawdles, when it grows old, when it is quiet and its room is
//! wanted for another one, or when the service stops.

mod seats;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

pub(super) use self::seats::Activity;
use self::seats::Seats;
use super::{Finishing, HttpState, SourceAddress, metrics};
use crate::settings::limits;

/// How a service ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections whose calls were still unanswered when the wait was over.
    pub abandoned: usize,
}

/// Serves until `shutdown` is done. Then no connection is accepted any more, those that are idle are
/// closed, those with calls in flight get 20 s to finish them, and the rest is dropped.
///
/// What a dropped call has begun is not undone by that: commands run to their end by themselves.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    state: &HttpState,
    shutdown: impl Future<Output = ()>,
) -> Stopped {
    Server::new(router, state, Bounds::default()).run(listener, shutdown).await
}

/// The bounds of connections, as `limits` has them; shorter in tests.
#[derive(Clone, Copy)]
struct Bounds {
    head: Duration,
    age: Duration,
    drain: Duration,
    connections: usize,
    per_source: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: limits::HEAD_TIMEOUT,
            age: limits::CONNECTION_AGE,
            drain: limits::DRAIN,
            connections: limits::CONNECTIONS,
            per_source: limits::CONNECTIONS_PER_SOURCE,
        }
    }
}

struct Server {
    router: Router,
    state: HttpState,
    bounds: Bounds,
    protocol: Arc<Builder<TokioExecutor>>,
    room: Arc<Semaphore>,
    open: Seats,
    tasks: TaskTracker,
    /// Finish what you are doing.
    finish: CancellationToken,
    /// Leave it.
    leave: CancellationToken,
}

impl Server {
    fn new(router: Router, state: &HttpState, bounds: Bounds) -> Self {
        Self {
            router,
            state: state.clone(),
            bounds,
            protocol: Arc::new(protocol(bounds)),
            room: Arc::new(Semaphore::new(bounds.connections)),
            open: Seats::default(),
            tasks: TaskTracker::new(),
            finish: CancellationToken::new(),
            leave: CancellationToken::new(),
        }
    }

    async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Stopped {
        tokio::pin!(shutdown);
        let mut upkeep = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = upkeep.tick() => metrics::upkeep(),
                (stream, peer, permit) = self.next(&listener) => self.start(stream, peer, permit),
            }
        }
        drop(listener);
        self.drain().await
    }

    /// The next connection, once there is room for it.
    async fn next(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, self.room_for_one().await),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors: asking again at once would only heat the room.
                    tracing::warn!(%error, "no connection can be accepted; trying again in a second");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// When all room is taken, that of a connection of which nothing is asked; when all of them work, the next that is left.
    async fn room_for_one(&self) -> Option<OwnedSemaphorePermit> {
        if self.room.available_permits() == 0 {
            self.open.give_up_a_quiet_one();
        }
        // The semaphore is never closed, so the permit is always there.
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr, permit: Option<OwnedSemaphorePermit>) {
        let trusted = self.state.0.trusted_proxies.contains(peer.ip());
        let source = (!trusted).then(|| SourceAddress::new(peer.ip()).rate_key());
        let Some(seat) = self.open.take(source, self.bounds.per_source) else {
            tracing::debug!("a source has too many connections; its next one is closed");
            return;
        };
        // Without it an answer of two packets waits for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            router: self.router.clone(),
            protocol: Arc::clone(&self.protocol),
            bounds: self.bounds,
            finish: self.finish.clone(),
            leave: self.leave.clone(),
        };
        self.tasks.spawn(async move {
            connection.run(stream, peer, &seat.activity).await;
            drop((permit, seat));
        });
    }

    async fn drain(self) -> Stopped {
        self.finish.cancel();
        self.tasks.close();
        let abandoned = match timeout(self.bounds.drain, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        };
        self.leave.cancel();
        self.tasks.wait().await;
        Stopped { abandoned }
    }
}

fn protocol(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut protocol = Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_headers(limits::HEADER_LINES)
        .max_buf_size(limits::HEAD_BYTES);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.head)
        .keep_alive_timeout(bounds.head)
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION)
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX));
    protocol
}

/// A client that went away before it was accepted is its own affair.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What one connection's task needs.
struct Connection {
    router: Router,
    protocol: Arc<Builder<TokioExecutor>>,
    bounds: Bounds,
    finish: CancellationToken,
    leave: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, peer: SocketAddr, activity: &Arc<Activity>) {
        let spoke = AtomicBool::new(false);
        let finish = Finishing::one_of(&self.finish, activity);
        let router = self.router;
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            spoke.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(finish.clone());
            let works = activity.begin();
            // A router is always ready.
            let answer = router.clone().call(request);
            async move {
                let answer = answer.await;
                drop(works);
                answer
            }
        });
        let serving = self.protocol.serve_connection(TokioIo::new(stream), service);
        // hyper's own timer starts with the protocol known; before that, silence has no end.
        let silence = sleep(self.bounds.head);
        let age = sleep(self.bounds.age);
        tokio::pin!(serving, silence, age);
        let (mut waiting_for_a_word, mut finishing) = (true, false);
        loop {
            tokio::select! {
                ended = &mut serving => {
                    if let Err(error) = ended {
                        tracing::debug!(error = ?error.to_string(), "a connection ended early");
                    }
                    return;
                }
                () = &mut silence, if waiting_for_a_word => {
                    if !spoke.load(Ordering::Relaxed) {
                        return;
                    }
                    waiting_for_a_word = false;
                }
                () = &mut age => {
                    if finishing {
                        return;
                    }
                    finish.ask();
                    age.as_mut().reset(Instant::now() + self.bounds.age);
                }
                () = finish.asked(), if !finishing => {
                    finishing = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = activity.given_up() => return,
                () = self.leave.cancelled() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
