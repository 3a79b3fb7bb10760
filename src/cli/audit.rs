//! `authlog audit export`: the audit trail, as a whole or from where the last export ended.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};

use super::csv;
use super::follow::Follow;
use super::output::{Failure, print_whole, printable_json, time};
use super::progress::ProgressShown;
use super::show::past;
use crate::clock::Clock;
use crate::http::routes::audit::Entry;
use crate::log::past::Past;
use crate::log::rebuild::Progress;
use crate::replay::{ReplayError, Time, Trail};
use crate::service::audit::AuditEntry;
use crate::settings::Settings;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog audit export > trail.jsonl\n  authlog audit export --since-position 1200 >> trail.jsonl\n  authlog audit export --format csv --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z\n  authlog audit export --follow\n\nWhat stands in whole lines is exported: whoever goes on after the last of them with --since-position misses nothing and\ngets nothing twice. CSV begins with a line of names, but for one that goes on."
)]
pub(super) struct ExportArgs {
    /// jsonl: one JSON object a line, as the API shows entries; csv: for spreadsheets
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Entries of this time and later: RFC 3339, or Unix seconds
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Entries before this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    to: Option<Time>,
    /// Entries after this position: the `id` of the last entry one has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    since_position: Option<i64>,
    /// Go on with new entries until stopped
    #[arg(long)]
    follow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

impl Format {
    /// What stands before the first entry.
    fn heading(self) -> String {
        let names =
            ["id", "actor_id", "actor_email", "action", "resource_type", "resource_id", "details", "created_at"];
        match self {
            Self::Jsonl => String::new(),
            Self::Csv => csv::line(names.map(Cow::from)),
        }
    }

    fn line(self, entry: AuditEntry) -> Result<String, Failure> {
        if self == Self::Jsonl {
            let json = serde_json::to_string(&Entry::from(entry));
            let json = json.map_err(|error| Failure::failed(format!("an entry cannot be written: {error}")))?;
            return Ok(format!("{}\n", printable_json(&json)));
        }
        let AuditEntry { row, actor_email } = entry;
        Ok(csv::line([
            row.id.to_string().into(),
            row.actor_id.map(|actor| actor.to_string()).unwrap_or_default().into(),
            actor_email.unwrap_or_default().into(),
            row.action,
            row.resource_type,
            row.resource_id.unwrap_or_default().into(),
            row.details.unwrap_or_default().into(),
            row.created_at.0.to_string().into(),
        ]))
    }
}

/// The stretch of the log that is asked for. Times never run backwards in it, so a stretch of time is one of positions.
struct Stretch {
    after: i64,
    /// The last position; `None` goes on with new ones.
    last: Option<i64>,
}

impl Stretch {
    async fn find(past: &Past, args: &ExportArgs) -> Result<Self, Failure> {
        for Time(asked) in args.from.iter().chain(&args.to) {
            if *asked > Clock.now() {
                return Err(ReplayError::InTheFuture(*asked).into());
            }
        }
        if let (Some(Time(from)), Some(Time(to))) = (args.from, args.to)
            && to < from
        {
            return Err(Failure::usage(format!("--to {} lies before --from {}", time(to.0), time(from.0))));
        }
        let head = past.head().await.map_err(store_failed)?;
        let mut after = args.since_position.unwrap_or(0);
        if after > head {
            return Err(Failure::usage(ReplayError::BeyondTheHead { asked: after, head }.to_string()));
        }
        if let Some(from) = args.from {
            after = after.max(last_before(past, from).await?);
        }
        let last = match (args.to, args.follow) {
            (Some(to), _) => Some(last_before(past, to).await?),
            (None, true) => None,
            (None, false) => Some(head),
        };
        Ok(Self { after, last })
    }
}

/// The position of the last event before a time.
async fn last_before(past: &Past, Time(time): Time) -> Result<i64, Failure> {
    past.position_at(time.0.saturating_mul(1_000_000).saturating_sub(1)).await.map_err(store_failed)
}

fn store_failed(error: sqlx::Error) -> Failure {
    failed(&error.into())
}

fn failed(error: &ReplayError) -> Failure {
    Failure::failed(error.to_string())
}

pub(super) async fn export(settings: &Settings, args: ExportArgs) -> Result<(), Failure> {
    let mut follow = Follow::new()?;
    let past = past(settings).await?;
    let Stretch { after, last } = Stretch::find(&past, &args).await?;
    // On a terminal the entries themselves show how far it has come.
    let mut progress = (!io::stdout().is_terminal()).then(|| ProgressShown::new(false));
    let head = past.head().await.map_err(store_failed)?;
    let mut text = if args.since_position.unwrap_or(0) == 0 { args.format.heading() } else { String::new() };
    let mut trail = Trail::after(&past, after);
    loop {
        let asked_from = trail.position();
        let Some(entries) = follow.unless_interrupted(trail.next()).await else { return stopped(&args, asked_from) };
        let entries = entries.map_err(|error| failed(&error))?;
        let wanted = |entry: &AuditEntry| last.is_none_or(|last| entry.row.id <= last);
        if let Some(last) = last.filter(|last| entries.is_empty() && asked_from < *last) {
            return Err(failed(&ReplayError::Missing { position: asked_from + 1, last }));
        }
        let at_the_end = entries.is_empty() || last.is_some_and(|last| trail.position() >= last);
        for entry in entries.into_iter().filter(wanted) {
            text.push_str(&args.format.line(entry)?);
        }
        if !print_whole(&std::mem::take(&mut text))? {
            return Ok(());
        }
        if let Some(shown) = &progress {
            shown.report(Progress { position: trail.position().min(last.unwrap_or(head)), head: last.unwrap_or(head) });
        }
        if !at_the_end {
            continue;
        }
        if let Some(shown) = progress.take() {
            shown.end();
        }
        if last.is_some() || follow.pause().await.is_none() {
            return Ok(());
        }
    }
}

/// Ctrl-C ends what would not end by itself; anything else it leaves incomplete, and whoever asked must hear of it.
fn stopped(args: &ExportArgs, position: i64) -> Result<(), Failure> {
    if args.follow {
        return Ok(());
    }
    Err(Failure::failed(format!("stopped after position {position}: go on with --since-position {position}")))
}
