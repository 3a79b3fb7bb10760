//! `authlog replay`: how things stood at a moment of the past.

use std::str::FromStr;

use aggregates::{StreamId, UnixSeconds};
use chrono::DateTime;
use clap::Args;
use serde_json::{Value, json};

use super::output::{Failure, line, precise_time, time};
use super::show::past;
use crate::clock::Clock;
use crate::log::history::HistoryError;
use crate::log::past::Past;
use crate::replay::{Change, Difference, ReplayError, Shown, State, differences};
use crate::settings::Settings;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog replay --at 2026-11-17T14:00:00Z\n  authlog replay --position 1200 --json\n  authlog replay --stream user/0198c5a2-0000-7000-8000-000000000000 --step\n  authlog replay --diff 2026-11-17T14:00:00Z 1200\n\nWhat has been erased is erased in every past moment, too."
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
    /// Print one JSON document; with --step or --diff one object a line
    #[arg(long)]
    json: bool,
}

/// A time as people write it, in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) i64);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(seconds) = text.parse::<i64>() {
            return Ok(Self(seconds));
        }
        let time = DateTime::parse_from_rfc3339(text);
        time.map(|time| Self(time.timestamp()))
            .map_err(|_| "a time is written 2026-11-17T14:00:00Z, or as Unix seconds")
    }
}

/// A time or a position.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Time(Time),
    Position(i64),
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>() {
            Ok(position) if position >= 1 => Ok(Self::Position(position)),
            Ok(_) => Err("a position is 1 or more"),
            Err(_) => {
                text.parse().map(Self::Time).map_err(|_| "a moment is a position, or a time like 2026-11-17T14:00:00Z")
            }
        }
    }
}

/// A position of the log and the time that counts for what runs out.
#[derive(Clone, Copy)]
struct AsOf {
    position: i64,
    at: UnixSeconds,
}

pub(super) async fn replay(settings: &Settings, args: ReplayArgs) -> Result<(), Failure> {
    let past = past(settings).await?;
    if let Some(moments) = &args.diff {
        return diff(&past, moments, args.json).await;
    }
    let moment = match (args.at, args.position) {
        (Some(at), _) => Moment::Time(at),
        (None, Some(position)) => Moment::Position(position),
        (None, None) => Moment::Time(Time(now())),
    };
    let as_of = resolve(&past, moment).await?;
    if let Some(stream) = &args.stream {
        return one_stream(&past, stream, as_of, &args).await;
    }
    let shown = shown(&past, as_of).await?;
    if args.json { print_json(&json!(shown)) } else { print(&shown) }
}

pub(super) fn now() -> i64 {
    Clock.now_micros().div_euclid(1_000_000)
}

/// # Errors
/// Exit code 2 for a time that has not come and a position that there is not.
async fn resolve(past: &Past, moment: Moment) -> Result<AsOf, Failure> {
    match moment {
        Moment::Time(Time(at)) => {
            if at > now() {
                return Err(Failure::usage(format!("{} lies in the future: the log cannot tell it", time(at))));
            }
            let end_of_second = at.saturating_mul(1_000_000).saturating_add(999_999);
            let position = past.position_at(end_of_second).await.map_err(|error| failed(error.into()))?;
            Ok(AsOf { position, at: UnixSeconds(at) })
        }
        Moment::Position(position) => {
            let head = past.head().await.map_err(|error| failed(error.into()))?;
            if position > head {
                return Err(failed(ReplayError::BeyondTheHead { asked: position, head }));
            }
            let recorded_at = past.recorded_at(position).await.map_err(|error| failed(error.into()))?;
            Ok(AsOf { position, at: UnixSeconds(recorded_at.div_euclid(1_000_000)) })
        }
    }
}

fn failed(error: ReplayError) -> Failure {
    match error {
        ReplayError::BeyondTheHead { .. } => Failure::usage(error.to_string()),
        error => Failure::failed(error.to_string()),
    }
}

async fn shown(past: &Past, as_of: AsOf) -> Result<Shown, Failure> {
    let state = State::as_of(past, as_of.position, as_of.at).await.map_err(failed)?;
    Ok(Shown::of(&state))
}

async fn diff(past: &Past, moments: &[Moment], json: bool) -> Result<(), Failure> {
    let [from, to] = moments else { return Err(Failure::usage("--diff takes two moments")) };
    let before = shown(past, resolve(past, *from).await?).await?;
    let after = shown(past, resolve(past, *to).await?).await?;
    for difference in differences(&before, &after) {
        print_difference(&difference, json)?;
    }
    Ok(())
}

async fn one_stream(past: &Past, stream: &StreamId, as_of: AsOf, args: &ReplayArgs) -> Result<(), Failure> {
    let events = past.stream(stream, as_of.position).await.map_err(|error: HistoryError| failed(error.into()))?;
    if events.is_empty() {
        return Err(failed(ReplayError::NoSuchStream(stream.clone())));
    }
    let mut state = State::before_everything(as_of.at);
    for event in &events {
        let before = Shown::of_one_stream(&state);
        state.fold(&[event.recorded()], past.hasher()).map_err(failed)?;
        if args.step {
            let changes = differences(&before, &Shown::of_one_stream(&state));
            if args.json {
                print_json(&json!({
                    "position": event.record.position,
                    "sequence": event.record.sequence,
                    "type": event.record.event_type,
                    "recorded_at": event.record.recorded_at,
                    "changes": changes,
                }))?;
                continue;
            }
            let (position, when) = (event.record.position, precise_time(event.record.recorded_at));
            line(&format!("{position:>8}  {when}  {}", event.record.event_type))?;
            for difference in &changes {
                print_difference(difference, false)?;
            }
        }
    }
    if args.step {
        return Ok(());
    }
    let shown = Shown::of_one_stream(&state);
    let shown = shown.items().into_values().next().cloned().unwrap_or_default();
    let document = json!({ "position": as_of.position, "at": as_of.at, "stream": stream.to_string(), "state": shown });
    if args.json { print_json(&document) } else { print_item(&stream.to_string(), &document["state"]) }
}

fn print_json(document: &Value) -> Result<(), Failure> {
    Ok(line(&document.to_string())?)
}

fn print(shown: &Shown) -> Result<(), Failure> {
    line(&format!("as of      {} (position {})", time(shown.at), shown.position))?;
    print_item("setup", &shown.setup)?;
    print_item("provider", &shown.identity_provider)?;
    for (heading, items) in [("users", &shown.users), ("sessions", &shown.sessions), ("API tokens", &shown.api_tokens)]
    {
        line(&format!("{heading}: {}", items.len()))?;
        for item in items {
            print_item(" ", item)?;
        }
    }
    Ok(())
}

/// An item on one line: its fields in their order.
fn print_item(name: &str, item: &Value) -> Result<(), Failure> {
    let Some(fields) = item.as_object() else {
        return Ok(line(&format!("{name:<10} not there"))?);
    };
    let text = |(name, value): (&String, &Value)| format!("{name}={}", plain(value));
    let fields: Vec<String> = fields.iter().map(text).collect();
    Ok(line(&format!("{name:<10} {}", fields.join("  ")))?)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn print_difference(difference: &Difference, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&json!(difference));
    }
    let id = difference.item.id.as_deref().unwrap_or_default();
    let name = format!("{} {id}", difference.item.kind);
    match &difference.change {
        Change::Appeared(value) => print_item(&format!("+ {name}"), value),
        Change::Vanished(value) => print_item(&format!("- {name}"), value),
        Change::Changed(fields) => {
            let text =
                |(field, [from, to]): (&String, &[Value; 2])| format!("{field}: {} -> {}", plain(from), plain(to));
            let fields: Vec<String> = fields.iter().map(text).collect();
            Ok(line(&format!("~ {name}  {}", fields.join("  ")))?)
        }
    }
}
