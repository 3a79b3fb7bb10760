//! `authlog projections`: how the read models stand, and making them anew.

use clap::Args;
use projections::{TABLES, Table};
use serde::Serialize;
use serde_json::{Value, json};

use super::change::{carry_out_and_report, unexpected};
use super::output::{Failure, json_line, line, note};
use super::progress::ProgressShown;
use super::show::{database_failed, past, reader};
use crate::log::verify::{NAMED_DIFFERENCES, RowDifference, VerifyError};
use crate::log::{Head, TableSize};
use crate::operator::{OperatorAnswer, OperatorCommand};
use crate::settings::Settings;

#[derive(Args)]
pub(super) struct RebuildArgs {
    /// The read models to rebuild, as `authlog projections status` names them
    #[arg(value_name = "NAME", conflicts_with = "all", value_parser = model_name)]
    names: Vec<String>,
    /// Rebuild all of them
    #[arg(long)]
    all: bool,
    /// Print one JSON object a line: progress, then the outcome
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The read models to compare [default: all]
    #[arg(value_name = "NAME", value_parser = model_name)]
    names: Vec<String>,
    /// Print one JSON object a line: each row that differs, then the outcome
    #[arg(long)]
    json: bool,
}

pub(super) async fn verify(settings: &Settings, args: VerifyArgs) -> Result<(), Failure> {
    let past = past(settings).await?;
    let all = TABLES.map(|table| table.name);
    let names: Vec<&str> =
        if args.names.is_empty() { all.to_vec() } else { args.names.iter().map(String::as_str).collect() };
    let lost = reader(settings).await?.lost().await.map_err(|error| database_failed(&error))?;
    let lost: Vec<&str> = lost.into_iter().filter(|name| names.contains(name)).collect();
    if !lost.is_empty() {
        return Err(Failure::differs(lost_tables(&lost)));
    }
    // Rows that differ are the answer, and progress is not.
    let shown = ProgressShown::new(false);
    let verified = past.verify(&names, &|progress| shown.report(progress)).await;
    shown.end();
    let verified = verified.map_err(|error| match error {
        VerifyError::History(error) if error.is_damage() => Failure::differs(error.to_string()),
        error => Failure::failed(error.to_string()),
    })?;
    for RowDifference { model, key, live, fresh } in &verified.differences {
        if args.json {
            json_line(&json!({ "model": model, "key": key, "live": live, "fresh": fresh }))?;
        } else {
            line(&format!("{model} {key}: {}", difference(live.as_ref(), fresh.as_ref())))?;
        }
    }
    let equal = verified.differences.is_empty();
    if args.json {
        json_line(&json!({ "compared": names, "position": verified.position, "equal": equal }))?;
    }
    if !equal {
        return Err(Failure::differs(format!(
            "read models are not what the log says (the first {NAMED_DIFFERENCES} rows of each are shown); `authlog projections rebuild --all` mends them"
        )));
    }
    note(&format!("Equal to a fresh fold up to position {}: {}.", verified.position, names.join(", ")));
    Ok(())
}

/// Names tables that somebody has dropped, and what brings them back.
fn lost_tables(lost: &[&str]) -> String {
    let (names, command) = (lost.join(", "), lost.join(" "));
    format!("the tables of {names} are gone; `authlog projections rebuild {command}` makes them anew")
}

/// In words: which columns differ, and how.
fn difference(live: Option<&Value>, fresh: Option<&Value>) -> String {
    let (Some(Value::Object(live)), Some(Value::Object(fresh))) = (live, fresh) else {
        return if live.is_some() { "is in the table and not in the log" } else { "is missing" }.to_owned();
    };
    let columns = live.iter().filter(|(name, value)| fresh.get(*name) != Some(value));
    let columns = columns.map(|(name, value)| format!("{name} is {value}, should be {}", fresh[name]));
    columns.collect::<Vec<_>>().join("; ")
}

fn model_name(name: &str) -> Result<String, String> {
    if TABLES.iter().any(|table| table.name == name) {
        return Ok(name.to_owned());
    }
    Err(format!("there are {}", TABLES.map(|table| table.name).join(", ")))
}

pub(super) async fn rebuild(settings: Settings, args: RebuildArgs) -> Result<(), Failure> {
    if args.names.is_empty() && !args.all {
        let names = TABLES.map(|table| table.name).join(", ");
        return Err(Failure::usage(format!("name the read models to rebuild ({names}), or all of them by --all")));
    }
    // A rebuild makes no log.
    reader(&settings).await?;
    let names = if args.all { TABLES.iter().map(|table| table.name.to_owned()).collect() } else { args.names.clone() };
    let shown = ProgressShown::new(args.json);
    let report = |answer| {
        if let OperatorAnswer::Rebuilding(progress) = answer {
            shown.report(progress);
        }
    };
    let command = OperatorCommand::RebuildProjections { names: names.clone() };
    let answer = carry_out_and_report(settings, command, &report).await;
    shown.end();
    let OperatorAnswer::ProjectionsRebuilt { position, left } = answer? else { return Err(unexpected()) };
    if args.json {
        json_line(&json!({ "rebuilt": names, "position": position, "left": left }))?;
    } else {
        note(&format!("Rebuilt up to position {position}: {}.", names.join(", ")));
    }
    if !left.is_empty() {
        let tables = left.join(", ");
        return Err(Failure::failed(format!(
            "{tables} could not be dropped nor emptied and still hold what they held: as the owner of the schema, DROP TABLE {tables}"
        )));
    }
    Ok(())
}

/// A read model as `status` shows it.
#[derive(Serialize)]
struct ModelStatus {
    name: &'static str,
    state: &'static str,
    version: i64,
    set: i64,
    position: i64,
    /// Null for one that is missing.
    rows: Option<i64>,
    /// Of the table and its indexes.
    bytes: Option<i64>,
}

impl ModelStatus {
    /// Without a size when the table is not there.
    fn new(table: &'static Table, head: &Head, size: Option<TableSize>) -> Self {
        let state = head.layout.0.get(table.name);
        let (version, set) = state.map_or((0, 0), |state| (state.version, state.set));
        let (word, position) = match state {
            None => ("missing", 0),
            Some(_) if size.is_none() => ("missing", 0),
            Some(state) if state.version != table.version => ("outdated", head.position),
            Some(state) => match state.aside_since {
                Some(since) => ("aside", since - 1),
                None => ("live", head.position),
            },
        };
        let (rows, bytes) = (size.map(|size| size.rows), size.map(|size| size.bytes));
        Self { name: table.name, state: word, version, set, position, rows, bytes }
    }
}

pub(super) async fn status(settings: &Settings, json: bool) -> Result<(), Failure> {
    let reader = reader(settings).await?;
    let head = reader.read_head().await.map_err(|error| database_failed(&error))?;
    let lost = reader.lost().await.map_err(|error| database_failed(&error))?;
    let mut shown = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let size = match head.layout.0.get(table.name) {
            Some(_) if !lost.contains(&table.name) => {
                Some(reader.size(table).await.map_err(|error| database_failed(&error))?)
            }
            _ => None,
        };
        shown.push(ModelStatus::new(table, &head, size));
    }
    if !lost.is_empty() {
        note(&lost_tables(&lost));
    }
    if json {
        json_line(&json!({ "head": head.position, "projections": shown }))?;
        return Ok(());
    }
    let [name, state, version, set] = ["name", "state", "version", "set"];
    let [position, rows, kib] = ["position", "rows", "KiB"];
    line(&format!("{name:<18} {state:<9} {version:>7} {set:>4} {position:>12} {rows:>12} {kib:>10}"))?;
    for model in shown {
        let ModelStatus { name, state, version, set, position, rows, bytes } = model;
        let (rows, kib) = (rows.unwrap_or_default(), bytes.unwrap_or_default() / 1024);
        line(&format!("{name:<18} {state:<9} {version:>7} {set:>4} {position:>12} {rows:>12} {kib:>10}"))?;
    }
    Ok(())
}
