//! More readers and writers at once than the service has room for, and somebody who asks how it is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Failure;

/// Calls that one connection has under way at once over HTTP/2.
const ON_A_CONNECTION: usize = 60;
/// Twice as many as may read at once.
const READERS: usize = 18;
/// As many as wait for the log writer and are written, and half of them again.
const WRITERS: usize = 27;
/// Whoever is refused comes back after this, sooner than it is told.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const PROBE_EVERY: Duration = Duration::from_millis(10);

#[derive(Args, Clone)]
pub(crate) struct CapacityArgs {
    /// Address and port.
    #[arg(long)]
    address: SocketAddr,
    /// A session's token.
    #[arg(long)]
    token: String,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// What became of calls.
#[derive(Default)]
struct Seen {
    answered: u64,
    /// With 503 and `Retry-After`.
    refused: u64,
    otherwise: u64,
}

pub(crate) async fn exceed(args: CapacityArgs) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let end = Instant::now() + Duration::from_secs_f64(args.seconds);
    // On a thread of its own: the time that its answers wait behind those of the others is not the service's.
    let address = args.address;
    let probing = thread::spawn(move || probe_until(address, end));
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    for connection in 0..READERS + WRITERS {
        let client = Client::builder()
            .http2_prior_knowledge()
            .tls_certs_only(Vec::<reqwest::Certificate>::new())
            .timeout(Duration::from_secs(60))
            .build()?;
        for _ in 0..ON_A_CONNECTION {
            let (client, args) = (client.clone(), args.clone());
            if connection < READERS {
                let call =
                    move || client.get(format!("http://{}/v1/users?limit=200", args.address)).bearer_auth(&args.token);
                readers.spawn(call_until(end, call));
            } else {
                let invite = move || {
                    let body =
                        json!({ "email": format!("{}@bench.example", Uuid::now_v7().simple()), "role": "qa_viewer" });
                    let call = client.post(format!("http://{}/v1/users/invite", args.address));
                    call.bearer_auth(&args.token).json(&body)
                };
                writers.spawn(call_until(end, invite));
            }
        }
    }
    let (reads, writes) = (sum(readers).await?, sum(writers).await?);
    let mut probes = probing.join().map_err(|_| "the probe broke down")?;
    probes.micros.sort_unstable();
    let at =
        |of_thousand: usize| probes.micros.get(probes.micros.len().saturating_sub(1) * of_thousand / 1000).copied();
    let json = |seen: Seen| json!({ "answered": seen.answered, "refused": seen.refused, "otherwise": seen.otherwise });
    println!(
        "{}",
        json!({
            "reads": json(reads), "writes": json(writes),
            "probes": probes.micros.len(), "probes_failed": probes.failed, "p50_us": at(500), "p99_us": at(990), "most_us": at(1000),
        })
    );
    Ok(())
}

async fn sum(mut callers: JoinSet<Seen>) -> Result<Seen, Failure> {
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let seen = seen?;
        all.answered += seen.answered;
        all.refused += seen.refused;
        all.otherwise += seen.otherwise;
    }
    Ok(all)
}

async fn call_until(end: Instant, call: impl Fn() -> RequestBuilder) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < end {
        let Ok(answer) = call().send().await else {
            seen.otherwise += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        };
        let refused = answer.status() == 503 && answer.headers().contains_key("retry-after");
        if answer.status().is_success() {
            seen.answered += 1;
        } else if refused {
            seen.refused += 1;
        } else {
            seen.otherwise += 1;
        }
        let _ = answer.bytes().await;
        if refused {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
    seen
}

#[derive(Default)]
struct Probes {
    micros: Vec<u64>,
    failed: u64,
}

/// Asks both health calls in turn, each over a connection of its own, as load balancers do.
fn probe_until(address: SocketAddr, end: Instant) -> Probes {
    let mut probes = Probes::default();
    for path in ["/healthz", "/readyz"].into_iter().cycle() {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        if !probe(address, path).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
            probes.failed += 1;
        }
        probes.micros.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        thread::sleep(PROBE_EVERY);
    }
    probes
}

fn probe(address: SocketAddr, path: &str) -> Result<Vec<u8>, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
