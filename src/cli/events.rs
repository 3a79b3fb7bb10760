//! `authlog events`: the log itself, as it is stored.

use aggregates::{Event, StreamId};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::follow::Follow;
use super::output::{Failure, note, precise_time, print_whole, printable, printable_json};
use super::show::{database_failed, reader};
use crate::log::EventRecord;
use crate::settings::Settings;

/// Events read at once.
const PAGE_EVENTS: i64 = 1000;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog events\n  authlog events --type VerificationFailed --json\n  authlog events --stream user/0198c5a2-0000-7000-8000-000000000000\n  authlog events --from 1000 --follow"
)]
pub(super) struct EventsArgs {
    /// First position
    #[arg(long, value_name = "POSITION", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Last position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "follow")]
    to: Option<i64>,
    /// Only this stream
    #[arg(long, value_name = "TYPE/ID")]
    stream: Option<StreamId>,
    /// Only events of this type
    #[arg(long = "type", value_name = "NAME", value_parser = event_type)]
    event_type: Option<String>,
    /// Go on with new events until stopped
    #[arg(long)]
    follow: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

fn event_type(name: &str) -> Result<String, String> {
    if Event::types().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    Err("no event has this type; docs/events.md lists all there are, and `authlog events` shows those of this log"
        .to_owned())
}

#[derive(Serialize)]
struct ShownEvent<'a> {
    position: i64,
    stream: String,
    sequence: i64,
    #[serde(rename = "type")]
    event_type: &'a str,
    version: &'a str,
    /// Microseconds since 1970.
    recorded_at: i64,
    payload: &'a RawValue,
    metadata: &'a RawValue,
}

pub(super) async fn events(settings: &Settings, args: EventsArgs) -> Result<(), Failure> {
    let reader = reader(settings).await?;
    if let Some(to) = args.to.filter(|to| *to < args.from) {
        return Err(Failure::usage(format!("--to {to} lies before --from {}", args.from)));
    }
    let mut follow = Follow::new()?;
    let (mut after, mut printed) = (args.from - 1, 0_u64);
    loop {
        let page = reader.events(after, PAGE_EVENTS, args.stream.as_ref(), args.event_type.as_deref());
        let Some(page) = follow.unless_interrupted(page).await else { return Ok(()) };
        let page = page.map_err(|error| database_failed(&error))?;
        let past_the_end = |event: &&EventRecord| args.to.is_none_or(|to| event.position <= to);
        for event in page.iter().take_while(past_the_end) {
            if !print(event, args.json)? {
                return Ok(());
            }
            printed += 1;
        }
        after = page.last().map_or(after, |event| event.position);
        let done = page.len() < usize::try_from(PAGE_EVENTS).unwrap_or(usize::MAX);
        if args.to.is_some_and(|to| after >= to) || (done && !args.follow) {
            if printed == 0 {
                note("No event fits.");
            }
            return Ok(());
        }
        if done && follow.pause().await.is_none() {
            return Ok(());
        }
    }
}

/// Prints one event; `false` when nobody reads any more.
fn print(event: &EventRecord, json: bool) -> Result<bool, Failure> {
    let text = if json { as_json(event)? } else { as_line(event) };
    print_whole(&format!("{text}\n"))
}

fn as_json(event: &EventRecord) -> Result<String, Failure> {
    let unreadable = |error| Failure::failed(format!("the event at position {} is no JSON: {error}", event.position));
    let shown = ShownEvent {
        position: event.position,
        stream: format!("{}/{}", event.aggregate_type, event.aggregate_id),
        sequence: event.sequence,
        event_type: &event.event_type,
        version: &event.event_version,
        recorded_at: event.recorded_at,
        payload: serde_json::from_str(&event.payload).map_err(unreadable)?,
        metadata: serde_json::from_str(&event.metadata).map_err(unreadable)?,
    };
    serde_json::to_string(&shown).map(|json| printable_json(&json)).map_err(unreadable)
}

fn as_line(event: &EventRecord) -> String {
    printable(&format!(
        "{:>8}  {}  {}/{} {}  {}  {}",
        event.position,
        precise_time(event.recorded_at),
        event.aggregate_type,
        event.aggregate_id,
        event.sequence,
        event.event_type,
        event.payload
    ))
}
