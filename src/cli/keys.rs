//! `authlog keys`: which master key wraps what, and putting another one in its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::change::{carry_out_and_report, confirm, unexpected};
use super::output::{Failure, json_line, line, note};
use super::progress::ProgressShown;
use super::show::{database_failed, reader};
use crate::keys::{MasterKey, MasterKeyId, MasterKeySource, MasterKeys};
use crate::log::rebuild::Progress;
use crate::log::rotate::{KeyCount, count_keys};
use crate::operator::{OperatorAnswer, OperatorCommand};
use crate::runtime::master_key;
use crate::settings::{Database, Settings};

#[derive(Args)]
pub(super) struct RotateArgs {
    /// Only make the next master key, to be copied to every node
    #[arg(long, conflicts_with = "yes")]
    prepare: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON object a line: progress, then the outcome
    #[arg(long)]
    json: bool,
}

/// How far an exchange of the master key has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// None is going on.
    None,
    /// The next key is there, and wraps nothing yet.
    Prepared,
    /// Both are needed.
    UnderWay,
    /// The next key wraps everything, and is not in its place yet.
    Done,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prepared => "prepared",
            Self::UnderWay => "under_way",
            Self::Done => "done",
        }
    }
}

/// What there is to know without opening a key.
struct Standing {
    source: MasterKeySource,
    keys: MasterKeys,
    in_force: MasterKeyId,
    counts: Vec<KeyCount>,
}

impl Standing {
    async fn read(settings: &Settings) -> Result<Self, Failure> {
        let reader = reader(settings).await?;
        let source = master_key(settings);
        let keys = MasterKeys::load(&source, false).map_err(|error| Failure::failed(error.to_string()))?;
        let in_force = reader.read_head().await.map_err(|error| database_failed(&error))?.master_key;
        let counts = count_keys(reader.database()).await.map_err(|error| database_failed(&error))?;
        Ok(Self { source, keys, in_force, counts })
    }

    /// Keys that another than the master key in force wraps.
    fn behind(&self) -> u64 {
        self.counts.iter().filter(|count| count.master_key != self.in_force).map(|count| count.keys).sum()
    }

    fn stage(&self) -> Stage {
        match self.keys.next() {
            None => Stage::None,
            Some(next) if *next != self.in_force => Stage::Prepared,
            Some(_) if self.behind() > 0 => Stage::UnderWay,
            Some(_) => Stage::Done,
        }
    }
}

pub(super) async fn status(settings: &Settings, as_json: bool) -> Result<(), Failure> {
    let standing = Standing::read(settings).await?;
    let Standing { source, keys, in_force, counts } = &standing;
    let (stage, next) = (standing.stage(), keys.next());
    if as_json {
        let wrapped = counts.iter().map(|KeyCount { master_key, kind, keys: number }| {
            let at_hand = keys.get(master_key).is_some();
            json!({ "master_key": master_key, "kind": kind, "keys": number, "at_hand": at_hand })
        });
        let status = json!({
            "source": source.to_string(), "present": keys.present(), "next": next, "in_force": in_force,
            "exchange": stage.as_str(), "wrapped": wrapped.collect::<Vec<_>>(),
        });
        json_line(&status)?;
        return Ok(());
    }
    line(&format!("present    {}  {source}", keys.present()))?;
    if let Some(next) = next {
        line(&format!("next       {next}  {}", source.next()))?;
    }
    line(&format!("in force   {in_force}"))?;
    for KeyCount { master_key, kind, keys: number } in counts {
        let at_hand = if keys.get(master_key).is_some() { "" } else { "  not at hand" };
        line(&format!("wraps      {master_key}  {number} {kind}{at_hand}"))?;
    }
    match stage {
        Stage::None => {}
        Stage::Prepared => {
            note("An exchange is prepared; `authlog keys rotate` begins it once every node has the next key.");
        }
        Stage::UnderWay => {
            note("An exchange is under way, and both keys are needed; `authlog keys rotate` goes on with it.");
        }
        Stage::Done => note("The next key wraps everything; `authlog keys rotate` puts it in its place."),
    }
    Ok(())
}

pub(super) async fn rotate(settings: Settings, args: RotateArgs) -> Result<(), Failure> {
    let standing = Standing::read(&settings).await?;
    let (source, next) = (standing.source.clone(), standing.source.next());
    if args.prepare {
        return prepare(&next, args.json);
    }
    let is_alone = matches!(settings.database, Database::Sqlite { .. });
    if standing.keys.next().is_none() {
        let MasterKeySource::File(_) = &source else {
            return Err(Failure::failed(format!(
                "{next} is not set: give it to every node, with 64 hex digits, and start them again"
            )));
        };
        if !is_alone {
            return Err(Failure::failed(
                "there is no next master key: make it with `authlog keys rotate --prepare`, copy it to every node, and repeat this command",
            ));
        }
    }
    confirm(
        args.yes,
        "Every key is wrapped anew with the next master key, while the service goes on. Until that is done both master keys are \
         needed; backups of before need the old one for ever.",
    )?;
    if standing.keys.next().is_none() {
        make(&next)?;
    }
    let shown = ProgressShown::of("keys", args.json);
    let progress = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let report = |answer| {
        if let OperatorAnswer::Rotating(rotation) = answer {
            shown.report(Progress { position: progress(rotation.rewrapped), head: progress(rotation.of) });
        }
    };
    let answer = carry_out_and_report(settings, OperatorCommand::RotateMasterKey, &report).await;
    shown.end();
    let OperatorAnswer::MasterKeyRotated(rotation) = answer? else { return Err(unexpected()) };
    let old = put_in_its_place(&source)?;
    if args.json {
        let outcome = json!({ "master_key": rotation.master_key, "rewrapped": rotation.rewrapped });
        json_line(&outcome)?;
        return Ok(());
    }
    note(&format!("The master key is {} now; {} keys were wrapped anew.", rotation.master_key, rotation.rewrapped));
    note(&match old {
        Some(old) => format!(
            "The one before is kept in {}: move it to where the backups of before are, or delete it with them. Repeat this command on \
             every other node.",
            old.display()
        ),
        None => format!("Set {source} to what {next} holds, unset {next}, and start every node again."),
    });
    Ok(())
}

fn prepare(next: &MasterKeySource, as_json: bool) -> Result<(), Failure> {
    let made = make(next)?;
    if as_json {
        json_line(&json!({ "next": made, "source": next.to_string() }))?;
    } else {
        note(&format!(
            "The next master key is {made}, in {next}. Copy it to the same place on every node; then `authlog keys rotate`."
        ));
    }
    Ok(())
}

/// Makes the next key; the one that is there already stands.
fn make(next: &MasterKeySource) -> Result<MasterKeyId, Failure> {
    let made = match next {
        MasterKeySource::File(path) if !path.exists() => MasterKey::make(path),
        next => MasterKey::load(next, false),
    };
    made.map(|key| key.id()).map_err(|error| Failure::failed(error.to_string()))
}

/// Keeps the present key beside its place and puts the next one there; answers where it is kept. Each step leaves both keys, or the
/// one that wraps everything, where a start looks for them.
fn put_in_its_place(source: &MasterKeySource) -> Result<Option<PathBuf>, Failure> {
    let (MasterKeySource::File(present), MasterKeySource::File(next)) = (source, source.next()) else {
        return Ok(None);
    };
    let replaced = MasterKey::load(source, false).map_err(|error| Failure::failed(error.to_string()))?.id();
    let MasterKeySource::File(old) = source.old(&replaced) else { return Ok(None) };
    exchange_files(present, &next, &old)
        .map_err(|error| Failure::failed(format!("the next master key cannot be put in its place: {error}")))?;
    Ok(Some(old))
}

fn exchange_files(present: &Path, next: &Path, old: &Path) -> io::Result<()> {
    match fs::hard_link(present, old) {
        // Cut off after this step before: it is the same key.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::rename(next, present)?;
    let folder = present.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
