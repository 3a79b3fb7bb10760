//! Connections: how many, how long, and how they end. Behind this, `layers` sees requests only.
//!
//! `axum::serve` has no bound on any of it, so the loop is ours. Every connection is one task that
//! ends when the client is done, when it dawdles, when it grows old, when it is quiet and its room is
//! wanted for another one, or when the service stops. When all of them work, the next ones get answers to
//! probes, and to anything else that there is no room.

mod arriving;
mod room;
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
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use self::arriving::Arriving;
use self::room::{Place, Room};
pub(super) use self::seats::Activity;
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
    upkeep: Duration,
    connections: usize,
    probes: usize,
    per_source: u32,
}

/// In the extensions of a request whose connection came when every other one was at work.
#[derive(Clone, Copy)]
pub(super) struct ProbesOnly;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: limits::HEAD_TIMEOUT,
            age: limits::CONNECTION_AGE,
            drain: limits::DRAIN,
            upkeep: Duration::from_secs(5),
            connections: limits::CONNECTIONS,
            probes: limits::PROBE_CONNECTIONS,
            per_source: limits::CONNECTIONS_PER_SOURCE,
        }
    }
}

struct Server {
    router: Router,
    state: HttpState,
    bounds: Bounds,
    protocol: Arc<Builder<TokioExecutor>>,
    room: Room,
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
            room: Room::new(bounds.connections, bounds.probes, bounds.per_source),
            tasks: TaskTracker::new(),
            finish: CancellationToken::new(),
            leave: CancellationToken::new(),
        }
    }

    async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Stopped {
        // Beside the loop and not in it: a connection that waits for its place is not dropped when the time for this has come.
        let upkeep = async {
            let mut times = tokio::time::interval(self.bounds.upkeep);
            loop {
                times.tick().await;
                metrics::upkeep();
            }
        };
        let accepting = async {
            loop {
                let (stream, peer) = self.next(&listener).await;
                self.let_in(stream, peer).await;
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = upkeep => {}
            () = accepting => {}
        }
        drop(listener);
        self.drain().await
    }

    async fn next(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors: asking again at once would only heat the room.
                    tracing::warn!(%error, "no connection can be accepted; trying again in a second");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn let_in(&self, stream: TcpStream, peer: SocketAddr) {
        let trusted = self.state.0.trusted_proxies.contains(peer.ip());
        let source = (!trusted).then(|| SourceAddress::new(peer.ip()).rate_key());
        let Some(place) = self.room.place(source).await else {
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
            connection.run(stream, peer, &place).await;
            drop(place);
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
        .initial_stream_window_size(limits::UNREAD_BYTES)
        .initial_connection_window_size(limits::UNREAD_BYTES)
        .max_pending_accept_reset_streams(limits::RESET_STREAMS)
        .max_local_error_reset_streams(limits::REFUSED_STREAMS)
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
    async fn run(self, stream: TcpStream, peer: SocketAddr, place: &Place) {
        let activity = &place.seat.activity;
        let spoke = AtomicBool::new(false);
        let finish = Finishing::one_of(&self.finish, activity);
        let router = self.router;
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            spoke.store(true, Ordering::Relaxed);
            let closes = place.probes_only && request.version() < Version::HTTP_2;
            let mut request = request.map(|body| Body::new(Arriving::new(body, activity)));
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(finish.clone());
            if place.probes_only {
                request.extensions_mut().insert(ProbesOnly);
                // Whoever goes on asking finds another place.
                finish.ask();
            }
            let works = activity.begin();
            // A router is always ready.
            let answer = router.clone().call(request);
            async move {
                let mut answer = answer.await;
                drop(works);
                if let (true, Ok(answer)) = (closes, &mut answer) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
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
