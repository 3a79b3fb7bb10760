//! Sessions that one node revokes, and every node is asked about in the very next call.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authlog::service::Service;
use clap::Args;
use reqwest::{Client, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::Failure;
use crate::instance::{self, OWNER_TOKEN, Place};

/// A node that goes on has looked at the log again after this.
const LOOKS_AGAIN_WITHIN: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    place: Place,
    /// Address and port of a node; several times, once for each.
    #[arg(long = "address", required = true)]
    addresses: Vec<String>,
    #[arg(long, default_value_t = 1000)]
    tries: u64,
    /// Sessions that are revoked at once.
    #[arg(long, default_value_t = 8)]
    callers: u64,
    /// The process of the last node, which is stopped before each revocation and continued after it.
    #[arg(long)]
    freeze: Option<u32>,
}

struct Nodes {
    http: Client,
    bases: Vec<String>,
    frozen: Option<u32>,
    service: Service,
    begun: AtomicU64,
    tries: u64,
}

/// What one caller has seen.
#[derive(Default)]
struct Seen {
    revoked_micros: Vec<u64>,
    slipped: u64,
}

pub(crate) async fn run(args: RevokeArgs) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = instance::ready(&args.place, 0).await?;
    let nodes = Arc::new(Nodes {
        http: Client::builder().tls_certs_only(Vec::<reqwest::Certificate>::new()).build()?,
        bases: args.addresses.iter().map(|address| format!("http://{address}")).collect(),
        frozen: args.freeze,
        service: runtime.service.clone(),
        begun: AtomicU64::new(0),
        tries: args.tries,
    });
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..if args.freeze.is_some() { 1 } else { args.callers } {
        let nodes = Arc::clone(&nodes);
        callers.spawn(async move { nodes.revoke_again_and_again().await });
    }
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let seen = seen??;
        all.revoked_micros.extend(seen.revoked_micros);
        all.slipped += seen.slipped;
    }
    drop(nodes);
    runtime.close().await;
    all.revoked_micros.sort_unstable();
    let last = all.revoked_micros.len().saturating_sub(1);
    let at = |of_thousand: usize| all.revoked_micros.get(last * of_thousand / 1000).copied();
    println!(
        "{}",
        json!({
            "tries": all.revoked_micros.len(), "slipped": all.slipped, "p50_us": at(500), "p99_us": at(990), "most_us": at(1000),
        })
    );
    Ok(())
}

impl Nodes {
    async fn revoke_again_and_again(&self) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.tries {
                return Ok(seen);
            }
            let token = format!("bench-{}", Uuid::now_v7().simple());
            let session = instance::open_session_of_owner(&self.service, &token).await?;
            for base in &self.bases {
                self.ask(base, &token, StatusCode::OK).await?.then_some(()).ok_or("a session was refused")?;
            }
            self.signal("STOP")?;
            // The one that may be frozen is the last.
            let well = self.bases.len() - usize::from(self.frozen.is_some());
            let by = usize::try_from(number)? % well;
            let url = format!("{}/v1/sessions/{}", self.bases[by], session.0);
            let sent = Instant::now();
            let answer = self.http.delete(url).bearer_auth(OWNER_TOKEN).send().await?;
            seen.revoked_micros.push(u64::try_from(sent.elapsed().as_micros())?);
            answer.error_for_status()?;
            self.signal("CONT")?;
            for base in &self.bases {
                seen.slipped += u64::from(!self.ask(base, &token, StatusCode::UNAUTHORIZED).await?);
            }
            if self.frozen.is_some() {
                tokio::time::sleep(LOOKS_AGAIN_WITHIN).await;
            }
        }
    }

    async fn ask(&self, base: &str, token: &str, expected: StatusCode) -> Result<bool, Failure> {
        let answer = self.http.get(format!("{base}/v1/users/me")).bearer_auth(token).send().await?;
        Ok(answer.status() == expected)
    }

    fn signal(&self, signal: &str) -> Result<(), Failure> {
        let Some(process) = self.frozen else { return Ok(()) };
        let sent = Command::new("kill").args(["-s", signal, &process.to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err("a node cannot be stopped".into()) }
    }
}
