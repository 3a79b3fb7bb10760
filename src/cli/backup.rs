//! `authlog backup` and `authlog restore`: the log in two files, and the way back.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::{Failure, counted, json_line, note};
use super::progress::ProgressShown;
use super::show::reader;
use crate::backup::Place;
use crate::backup::restore::{BackError, Backup};
use crate::backup::take::{TakeError, take};
use crate::clock::Clock;
use crate::runtime::{self, location};
use crate::settings::Settings;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog backup /var/backups/authlog\n  authlog backup /var/backups/authlog/2026-11-23 --keys /var/backups/authlog-keys.jsonl\n\nKeep only the newest keys: older ones bring back people who have been erased since. Keep the master key elsewhere."
)]
pub(super) struct BackupArgs {
    /// The directory of the backup: new, empty, or with an earlier one of this log, whose place it takes
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the wrapped keys go [default: keys.jsonl in DIR]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Print one JSON object a line: progress, then the outcome
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog restore /var/backups/authlog --data-dir restored\n  authlog restore /var/backups/authlog/2026-11-23 --keys /var/backups/authlog-keys.jsonl --database-url postgres://authlog@db.example.com/restored\n\nThe master key has to be in its place before. An old log with the newest keys does not bring back who was erased."
)]
pub(super) struct RestoreArgs {
    /// The directory of the backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the wrapped keys are; take the newest there are [default: keys.jsonl in DIR]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Print one JSON object a line: progress, then the outcome
    #[arg(long)]
    json: bool,
}

pub(super) async fn backup(settings: &Settings, args: BackupArgs) -> Result<(), Failure> {
    // What is not there is said in the words of every command that reads.
    reader(settings).await?;
    let place = Place::new(&args.folder, args.keys);
    let shown = ProgressShown::new(args.json);
    let taken = take(&location(settings), &place, Clock.now(), &|progress| shown.report(progress)).await;
    shown.end();
    let taken = taken.map_err(|error: TakeError| Failure::failed(error.to_string()))?;
    if args.json {
        json_line(&json!(taken))?;
        return Ok(());
    }
    note(&format!(
        "Wrote {} to {} and {} to {}. Keep the newest keys only, and the master key elsewhere.",
        counted(taken.position, "event"),
        taken.log_file.display(),
        counted(taken.keys, "wrapped key"),
        taken.keys_file.display()
    ));
    Ok(())
}

pub(super) async fn restore(settings: &Settings, args: RestoreArgs) -> Result<(), Failure> {
    let failed = |error: BackError| Failure::failed(error.to_string());
    let backup = Backup::open(&Place::new(&args.folder, args.keys)).map_err(failed)?;
    let shown = ProgressShown::new(args.json);
    let restored = runtime::restore(settings, backup, &|progress| shown.report(progress)).await;
    shown.end();
    let restored = restored.map_err(|error| Failure::failed(error.to_string()))?;
    if args.json {
        json_line(&json!(restored))?;
    } else {
        note(&format!(
            "Restored {} and {}; every leaf hash is the one of its event.",
            counted(restored.position, "event"),
            counted(restored.keys, "key")
        ));
        if restored.keys_left_out > 0 {
            note(&format!(
                "Left out {} of persons whom this log erases or does not know.",
                counted(restored.keys_left_out, "key")
            ));
        }
        for user in &restored.erased_since {
            note(&format!(
                "{user} was erased after this log was copied, and is not let in: `authlog users erase {user}` ends the account, too."
            ));
        }
    }
    if !restored.equal {
        return Err(Failure::differs(
            "the log is restored, but read models are not what it says; `authlog projections rebuild --all` mends them",
        ));
    }
    Ok(())
}
