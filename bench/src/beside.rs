//! Sign-ins and invitations at a steady rate, first alone and then beside a rebuild: what callers notice of it.
//!
//! Calls are sent when they are due, whether or not the ones before have been answered, so that a server that stands still is
//! seen by every call that comes meanwhile.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::Failure;
use crate::visitor::{ServiceArgs, Visitor};

/// One unit of so many is a sign-in; the others are invitations.
const SIGN_IN_EVERY: u64 = 10;
/// Visits to the provider that are done ahead; the service lets so many sign-ins wait, and codes live a minute.
const AHEAD: usize = 16;

#[derive(Args, Clone)]
pub(crate) struct BesideArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The program `authlog`.
    #[arg(long)]
    program: PathBuf,
    #[arg(long)]
    data_dir: String,
    #[arg(long)]
    database_url: Option<String>,
    /// Units a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// For how long the usual is looked at.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
}

/// What became of the calls of one stretch of time.
#[derive(Default)]
struct Seen {
    sign_in_micros: Vec<u64>,
    invitation_micros: Vec<u64>,
    failures: Vec<String>,
}

impl Seen {
    fn json(mut self) -> Value {
        let calls = self.sign_in_micros.len() + self.invitation_micros.len();
        let mut percentiles = |micros: fn(&mut Self) -> &mut Vec<u64>| {
            let micros = micros(&mut self);
            micros.sort_unstable();
            let at = |of_thousand: usize| micros.get(micros.len().saturating_sub(1) * of_thousand / 1000).copied();
            json!({ "p50": at(500), "p99": at(990), "most": at(1000) })
        };
        let sign_in = percentiles(|seen| &mut seen.sign_in_micros);
        let invitation = percentiles(|seen| &mut seen.invitation_micros);
        json!({
            "calls": calls, "failed": self.failures.len(), "failure": self.failures.first(), "sign_in_us": sign_in,
            "invitation_us": invitation,
        })
    }
}

enum Call {
    SignIn(Value),
    Invitation,
}

pub(crate) async fn run(args: BesideArgs) -> Result<(), Failure> {
    let visitor = Arc::new(Visitor::arrive(&args.service).await?);
    let (ahead, mut visits) = mpsc::channel(AHEAD);
    let visiting = Arc::clone(&visitor);
    tokio::spawn(async move { while ahead.send(visiting.go_to_the_provider().await).await.is_ok() {} });

    let done = Arc::new(AtomicBool::new(false));
    let usual = Duration::from_secs_f64(args.seconds);
    let usual = steadily(&visitor, &mut visits, args.rate, |begun| begun.elapsed() >= usual).await?;
    let rebuilding = tokio::spawn(rebuild(args.clone(), Arc::clone(&done)));
    let beside = steadily(&visitor, &mut visits, args.rate, |_| done.load(Ordering::SeqCst)).await?;
    let seconds = rebuilding.await??;
    println!("{}", json!({ "usual": usual.json(), "beside": beside.json(), "rebuild_seconds": seconds }));
    Ok(())
}

/// Sends calls at a rate until it is over, then waits for their answers.
async fn steadily(
    visitor: &Arc<Visitor>,
    visits: &mut mpsc::Receiver<Result<Value, Failure>>,
    rate: u32,
    is_over: impl Fn(Instant) -> bool,
) -> Result<Seen, Failure> {
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut under_way, mut seen) = (Instant::now(), JoinSet::new(), Seen::default());
    for number in 0_u64.. {
        if is_over(begun) {
            break;
        }
        due.tick().await;
        let visit = if number.is_multiple_of(SIGN_IN_EVERY) { visits.try_recv().ok() } else { None };
        let call = visit.transpose()?.map_or(Call::Invitation, Call::SignIn);
        let visitor = Arc::clone(visitor);
        under_way.spawn(async move {
            let sent = Instant::now();
            let is_sign_in = matches!(call, Call::SignIn(_));
            let outcome = match call {
                Call::SignIn(callback) => visitor.sign_in(callback).await,
                Call::Invitation => visitor.invite(&format!("{}@bench.example", Uuid::now_v7().simple())).await,
            };
            (is_sign_in, u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX), outcome)
        });
        while let Some(answered) = under_way.try_join_next() {
            note(&mut seen, answered?);
        }
    }
    while let Some(answered) = under_way.join_next().await {
        note(&mut seen, answered?);
    }
    Ok(seen)
}

fn note(seen: &mut Seen, (is_sign_in, micros, outcome): (bool, u64, Result<(), Failure>)) {
    match outcome {
        Ok(()) if is_sign_in => seen.sign_in_micros.push(micros),
        Ok(()) => seen.invitation_micros.push(micros),
        Err(failure) => seen.failures.push(failure.to_string()),
    }
}

/// Rebuilds everything by command, as an operator does; answers how many seconds it took.
async fn rebuild(args: BesideArgs, done: Arc<AtomicBool>) -> Result<f64, Failure> {
    let mut command = Command::new(&args.program);
    command.args(["projections", "rebuild", "--all", "--data-dir", &args.data_dir]);
    if let Some(url) = &args.database_url {
        command.args(["--database-url", url]);
    }
    let begun = Instant::now();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).output();
    let ended = ended.await;
    done.store(true, Ordering::SeqCst);
    let ended = ended?;
    if !ended.status.success() {
        return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
    }
    Ok(begun.elapsed().as_secs_f64())
}
