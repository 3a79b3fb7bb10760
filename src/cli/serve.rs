//! `authlog serve`: the service, until it is told to stop.

use std::io::IsTerminal as _;
use std::time::Duration;

use aggregates::SetupState;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

use super::output::{Failure, note};
use crate::error::ApiError;
use crate::http::{self, HttpState};
use crate::operator::socket::OperatorSocket;
use crate::runtime::{Runtime, data_dir};
use crate::service::Service;
use crate::settings::Settings;
use crate::settings::limits::{CONNECTIONS, PROBE_CONNECTIONS};

/// What is told unless `RUST_LOG` says otherwise: of the database driver, what went wrong and not what PostgreSQL remarks.
const USUAL_FILTER: &str = "info,sqlx=warn";
/// How often sessions that have run out and refused sign-ins are written down.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);
/// Sessions whose end is written down at once.
const EXPIRED_SESSIONS_AT_ONCE: i64 = 500;
/// Files that are open besides connections, at most: the database, its connections, those to the provider.
const OTHER_FILES: usize = 256;
/// The writer has so long to finish when the service stops.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn serve(settings: Settings) -> Result<(), Failure> {
    take_small_pages();
    start_tracing();
    make_room_for_connections();
    http::metrics::install();
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    let state = HttpState::new(&settings);
    let listen = settings.listen;
    let socket_file = data_dir(&settings).socket();
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::failed(format!("cannot listen on {listen}: {error}; choose another address with --listen"))
    })?;
    let address = listener.local_addr()?;
    let runtime = Runtime::open(settings).await.map_err(|error| failed(&error))?;

    let stop = CancellationToken::new();
    let background = TaskTracker::new();
    if runtime.lock.is_some() {
        let socket = OperatorSocket::bind(&socket_file)
            .map_err(|error| Failure::failed(format!("the socket {}: {error}", socket_file.display())))?;
        background.spawn(socket.serve(runtime.service.clone(), stop.clone()));
    }
    background.spawn(keep_house(runtime.service.clone(), stop.clone()));
    background.spawn(keep_lease(runtime.service.clone(), stop.clone()));
    background.close();

    // Before anybody is told that it listens: who is told may ask it to stop in the same moment.
    let asked = asked_to_stop()?;
    note(&format!("authlog {} listens on http://{address}", env!("CARGO_PKG_VERSION")));
    say_how_to_begin(&runtime.service).await;
    let router = http::router(runtime.service.clone(), &state);
    let log = runtime.service.log.clone();
    let stopping = async move {
        tokio::select! {
            () = asked => {}
            () = log.broken_down() => note("the log writer broke down: authlog stops, and wants to be started again"),
        }
    };
    let stopped = http::serve(listener, router, &state, stopping).await;
    if stopped.abandoned > 0 {
        note(&format!("{} connections did not end in time and were dropped", stopped.abandoned));
    }
    let broke_down = !runtime.service.log.takes_units();
    stop.cancel();
    background.wait().await;
    if tokio::time::timeout(CLOSING_TIMEOUT, runtime.close()).await.is_err() {
        note("the log writer did not finish in time; what it was given last is not acknowledged");
    }
    if broke_down {
        return Err(Failure::failed("stopped, because the log writer broke down"));
    }
    note("authlog has stopped");
    Ok(())
}

/// What one node does for all of them.
async fn clean_up_for_all(service: &Service) -> Result<(), ApiError> {
    // A little less than the time between two looks, so that the node that did it last is not just too early.
    if service.is_to_do("clean_up", HOUSEKEEPING_EVERY * 9 / 10).await? {
        service.expire_sessions(EXPIRED_SESSIONS_AT_ONCE).await?;
        service.forget_strangers().await?;
    }
    Ok(())
}

/// Structured lines on stderr; on a terminal in a form for people. `RUST_LOG` chooses what is told.
fn start_tracing() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL_FILTER));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        lines.with_ansi(true).event_format(http::readable_lines()).try_init()
    } else {
        let (lines_of_json, fields) = http::json_lines();
        lines.event_format(lines_of_json).fmt_fields(fields).try_init()
    };
    if let Err(error) = started {
        note(&format!("tracing was started before: {error}"));
    }
}

async fn say_how_to_begin(service: &Service) {
    match service.setup_status().await.map(|status| status.state) {
        Ok(SetupState::Uninitialized) => {
            note(
                "This instance is not set up yet: `authlog setup token`, with the same settings, prints a bootstrap token.",
            );
        }
        Ok(SetupState::Ready) => {}
        Ok(state) => note(&format!(
            "Setup is not complete yet (`{}`): it goes on with the bootstrap token that was printed, or with another one of `authlog setup token`.",
            state.as_str()
        )),
        Err(error) => note(&format!("the state of setup cannot be read: {error}")),
    }
}

/// Done at the first SIGTERM or SIGINT.
fn asked_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        note("authlog is stopping: calls in flight are finished first");
    })
}

/// Memory in pages of 2 MiB would make a service that is idle half as large again, for no speed that can be measured.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the kernel may give out huge pages");
    }
}

/// Every connection is an open file, of which a process may have 1024 by default, and more if it asks.
fn make_room_for_connections() {
    let wanted = (CONNECTIONS + PROBE_CONNECTIONS + OTHER_FILES) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: limit.maximum });
    if raised.is_err() || possible < wanted {
        note(&format!(
            "only {possible} files may be open, {wanted} are wanted for all connections: raise `ulimit -Hn`"
        ));
    }
}

/// Keeps the right to check sessions from memory where other nodes write too.
async fn keep_lease(service: Service, stop: CancellationToken) {
    let lease = service.settings.cache_lease.as_duration();
    if let Some(nodes) = service.log.nodes().filter(|_| !lease.is_zero()) {
        nodes.keep_lease(lease, &*service.memory, stop).await;
    }
}

/// What is done once a minute, and once more at the end.
async fn keep_house(service: Service, stop: CancellationToken) {
    let mut minutes = tokio::time::interval(HOUSEKEEPING_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            _ = minutes.tick() => false,
        };
        if let Err(error) = service.write_refusals().await {
            error.log();
        }
        if stopping {
            return;
        }
        if let Err(error) = clean_up_for_all(&service).await {
            error.log();
        }
        if let Err(error) = service.wipe_remains().await {
            error.log();
        }
    }
}
