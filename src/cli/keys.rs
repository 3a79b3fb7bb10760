//! `authlog keys`: which master key wraps what, and putting another one in its place.

use clap::Args;
use serde_json::json;

use super::change::{carry_out_and_report, confirm, unexpected};
use super::output::{Failure, counted, json_line, line, note};
use super::progress::ProgressShown;
use super::show::{database_failed, reader};
use crate::keys::exchange::{Exchanged, FilesTurn, put_in_place};
use crate::keys::{MasterKey, MasterKeyError, MasterKeyId, MasterKeySource, MasterKeys};
use crate::log::KeyringError;
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
    /// The key that wraps new keys is not here.
    NotHere,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prepared => "prepared",
            Self::UnderWay => "under_way",
            Self::Done => "done",
            Self::NotHere => "not_here",
        }
    }
}

/// What there is to know without opening a key.
struct Standing {
    source: MasterKeySource,
    /// What is at hand, and when nothing is, why.
    keys: Result<MasterKeys, MasterKeyError>,
    in_force: MasterKeyId,
    counts: Vec<KeyCount>,
}

impl Standing {
    async fn read(settings: &Settings) -> Result<Self, Failure> {
        let reader = reader(settings).await?;
        let source = master_key(settings);
        let keys = MasterKeys::load(&source, false);
        let in_force = reader.read_head().await.map_err(|error| database_failed(&error))?.master_key;
        let counts = count_keys(reader.database()).await.map_err(|error| database_failed(&error))?;
        Ok(Self { source, keys, in_force, counts })
    }

    fn present(&self) -> Option<&MasterKeyId> {
        self.keys.as_ref().ok().map(MasterKeys::present)
    }

    fn next(&self) -> Option<&MasterKeyId> {
        self.keys.as_ref().ok().and_then(MasterKeys::next)
    }

    fn is_at_hand(&self, id: &MasterKeyId) -> bool {
        self.keys.as_ref().is_ok_and(|keys| keys.get(id).is_some())
    }

    /// Keys that another than the master key in force wraps.
    fn behind(&self) -> u64 {
        self.counts.iter().filter(|count| count.master_key != self.in_force).map(|count| count.keys).sum()
    }

    fn stage(&self) -> Stage {
        match self.next() {
            _ if !self.is_at_hand(&self.in_force) => Stage::NotHere,
            None => Stage::None,
            Some(next) if *next != self.in_force => Stage::Prepared,
            Some(_) if self.behind() > 0 => Stage::UnderWay,
            Some(_) => Stage::Done,
        }
    }

    /// The keys at hand, one of which is in force.
    fn in_order(&self) -> Result<&MasterKeys, Failure> {
        let keys = self.keys.as_ref().map_err(|error| Failure::failed(error.to_string()))?;
        if self.is_at_hand(&self.in_force) {
            return Ok(keys);
        }
        Err(Failure::failed(KeyringError::unknown_master(keys, &self.in_force).to_string()))
    }
}

pub(super) async fn status(settings: &Settings, as_json: bool) -> Result<(), Failure> {
    let standing = Standing::read(settings).await?;
    let Standing { source, in_force, counts, .. } = &standing;
    let (stage, present, next) = (standing.stage(), standing.present(), standing.next());
    if as_json {
        let wrapped = counts.iter().map(|KeyCount { master_key, kind, keys: number }| {
            let at_hand = standing.is_at_hand(master_key);
            json!({ "master_key": master_key, "kind": kind, "keys": number, "at_hand": at_hand })
        });
        let status = json!({
            "source": source.to_string(), "present": present, "next": next, "in_force": in_force,
            "exchange": stage.as_str(), "wrapped": wrapped.collect::<Vec<_>>(),
        });
        json_line(&status)?;
        return Ok(());
    }
    match present {
        Some(present) => line(&format!("present    {present}  {source}"))?,
        None => line(&format!("present    none  {source}"))?,
    }
    if let Some(next) = next {
        line(&format!("next       {next}  {}", source.next()))?;
    }
    line(&format!("in force   {in_force}"))?;
    for KeyCount { master_key, kind, keys: number } in counts {
        let at_hand = if standing.is_at_hand(master_key) { "" } else { "  not at hand" };
        line(&format!("wraps      {master_key}  {}{at_hand}", counted(*number, &format!("{kind} key"))))?;
    }
    match stage {
        Stage::None => {}
        Stage::Prepared => {
            note("An exchange is prepared; `authlog keys rotate` begins it once every node has the next key.");
        }
        Stage::UnderWay => {
            note("An exchange is under way, and both keys are needed; `authlog keys rotate` goes on with it.");
        }
        Stage::Done => note(&match source {
            MasterKeySource::File(_) => {
                "The next key wraps everything; `authlog keys rotate` puts it in its place.".to_owned()
            }
            MasterKeySource::Environment(_) => format!("The next key wraps everything. {}", by_hand(source)),
        }),
        Stage::NotHere => note(&match &standing.keys {
            Ok(keys) => format!("{}.", KeyringError::unknown_master(keys, in_force)),
            Err(error) => match source.kept(in_force) {
                Some(kept) => format!("{error}. The one in force is kept in {kept}."),
                None => format!("{error}."),
            },
        }),
    }
    Ok(())
}

/// What is left to do where the keys are in environment variables.
fn by_hand(source: &MasterKeySource) -> String {
    let next = source.next();
    format!("Set {source} to what {next} holds, unset {next}, and start every node again.")
}

pub(super) async fn rotate(settings: Settings, args: RotateArgs) -> Result<(), Failure> {
    let source = master_key(&settings);
    // What is not there is said before anything is made.
    reader(&settings).await?;
    let _turn = FilesTurn::take(&source).map_err(|error| Failure::failed(error.to_string()))?;
    let standing = Standing::read(&settings).await?;
    let next = source.next();
    let is_prepared = standing.in_order()?.next().is_some();
    if args.prepare {
        return prepare(&next, args.json);
    }
    let is_alone = matches!(settings.database, Database::Sqlite { .. });
    if !is_prepared {
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
    if !is_prepared {
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
    let exchanged = put_in_place(&source, &rotation.master_key).map_err(|error| Failure::failed(error.to_string()))?;
    if args.json {
        let outcome = json!({ "master_key": rotation.master_key, "rewrapped": rotation.rewrapped });
        json_line(&outcome)?;
        return Ok(());
    }
    let were = if rotation.rewrapped == 1 { "was" } else { "were" };
    note(&format!(
        "The master key is {} now; {} {were} wrapped anew.",
        rotation.master_key,
        counted(rotation.rewrapped, "key")
    ));
    match exchanged {
        Exchanged::Kept(old) => {
            let elsewhere = if is_alone { "" } else { " Repeat this command on every other node." };
            note(&format!(
                "The one before is kept in {}: move it to where the backups of before are, or delete it with them.{elsewhere}",
                old.display()
            ));
        }
        Exchanged::Already => {}
        Exchanged::ByHand => note(&by_hand(&source)),
    }
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
