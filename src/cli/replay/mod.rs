//! `authlog replay`: how things stood at a moment of the past, why, and whether it could have come so.

mod check;
mod print;
mod why;

use aggregates::StreamId;
use clap::Args;
use serde_json::json;

use super::output::{Failure, line, note, precise_time};
use super::show::past;
use crate::clock::Clock;
use crate::log::past::Past;
use crate::replay::{AsOf, Moment, Name, OneStream, ReplayError, Shown, State, Time, differences};
use crate::settings::Settings;
use print::{print, print_difference, print_item, print_json};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog replay --at 2026-11-17T14:00:00Z\n  authlog replay --position 1200 --json\n  authlog replay --stream user/0198c5a2-0000-7000-8000-000000000000 --step\n  authlog replay --diff 2026-11-17T14:00:00Z 1200\n  authlog replay --why alice@example.com --at 2026-11-17T14:00:00Z\n  authlog replay --check\n\nWhat has been erased is erased in every past moment, too."
)]
pub(super) struct ReplayArgs {
    /// As of this time: RFC 3339, or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "position")]
    at: Option<Time>,
    /// As of the event at this position
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    position: Option<i64>,
    /// Only what this stream has made
    #[arg(long, value_name = "TYPE/ID")]
    stream: Option<StreamId>,
    /// Event by event, with what each changed
    #[arg(long, requires = "stream")]
    step: bool,
    /// What differs between two moments, each an RFC 3339 time or a position
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], conflicts_with_all = ["at", "position", "stream"])]
    diff: Option<Vec<Moment>>,
    /// Which events decide how a user, a session or an API token is: its stream, its id, or a user's address
    #[arg(long, value_name = "USER|SESSION|TOKEN", conflicts_with_all = ["stream", "step", "diff"])]
    why: Option<Name>,
    /// Fold the whole log by the rules its events were decided by; tell of every event they do not allow (exit code 3)
    #[arg(long, conflicts_with_all = ["at", "position", "stream", "diff", "why"])]
    check: bool,
    /// Print one JSON document; with --step, --diff or --check one object a line
    #[arg(long)]
    json: bool,
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::BeyondTheHead { .. } | ReplayError::InTheFuture(_) => Self::usage(error.to_string()),
            ReplayError::Store(_)
            | ReplayError::History(_)
            | ReplayError::Fold(_)
            | ReplayError::Rows(_)
            | ReplayError::Missing { .. }
            | ReplayError::NoSuchStream(_)
            | ReplayError::NoSuchSubject => Self::failed(error.to_string()),
        }
    }
}

pub(super) async fn replay(settings: &Settings, args: ReplayArgs) -> Result<(), Failure> {
    let past = past(settings).await?;
    if args.check {
        return check::check(&past, args.json).await;
    }
    if let Some(moments) = &args.diff {
        return diff(&past, moments, args.json).await;
    }
    let moment = match (args.at, args.position) {
        (Some(at), _) => Moment::Time(at),
        (None, Some(position)) => Moment::Position(position),
        (None, None) => Moment::Time(Time(Clock.now())),
    };
    let as_of = moment.resolve(&past, Clock.now()).await?;
    if let Some(name) = &args.why {
        return why::why(&past, name, as_of, args.json).await;
    }
    if let Some(stream) = &args.stream {
        return if args.step {
            steps(&past, stream, as_of, args.json).await
        } else {
            one_stream(&past, stream, as_of, args.json).await
        };
    }
    let shown = shown(&past, as_of).await?;
    if args.json { print_json(&json!(shown)) } else { print(&shown) }
}

async fn shown(past: &Past, as_of: AsOf) -> Result<Shown, Failure> {
    Ok(Shown::of(&State::as_of(past, as_of.position, as_of.at).await?))
}

async fn diff(past: &Past, moments: &[Moment], json: bool) -> Result<(), Failure> {
    let [from, to] = moments else { return Err(Failure::usage("--diff takes two moments")) };
    let before = shown(past, from.resolve(past, Clock.now()).await?).await?;
    let after = shown(past, to.resolve(past, Clock.now()).await?).await?;
    let differences = differences(&before, &after);
    for difference in &differences {
        print_difference(difference, json)?;
    }
    if differences.is_empty() {
        note("No difference.");
    }
    Ok(())
}

async fn one_stream(past: &Past, stream: &StreamId, as_of: AsOf, json: bool) -> Result<(), Failure> {
    let shown = OneStream::as_of(past, stream, as_of).await?;
    if json { print_json(&json!(shown)) } else { print_item(&shown.stream, &shown.state) }
}

/// Event by event, with what each changed.
async fn steps(past: &Past, stream: &StreamId, as_of: AsOf, json: bool) -> Result<(), Failure> {
    let events = past.stream(stream, as_of.position).await.map_err(ReplayError::from)?;
    if events.is_empty() {
        return Err(ReplayError::NoSuchStream(stream.clone()).into());
    }
    let mut state = State::before_everything(as_of.at);
    for event in &events {
        let before = Shown::of_one_stream(&state);
        state.fold(&[event.recorded()], past.hasher())?;
        let changes = differences(&before, &Shown::of_one_stream(&state));
        if json {
            print_json(&json!({
                "position": event.position,
                "sequence": event.sequence,
                "type": event.event_type,
                "recorded_at": event.recorded_at,
                "changes": changes,
            }))?;
            continue;
        }
        line(&format!("{:>8}  {}  {}", event.position, precise_time(event.recorded_at), event.event_type))?;
        for difference in &changes {
            print_difference(difference, false)?;
        }
    }
    Ok(())
}
