//! What people may ask for: everything that is held about them, and to be forgotten.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aggregates::{EmailAddress, Role, UserId};
use clap::Args;
use projections::{ApiTokenRow, SessionRow, UserRow};
use serde_json::json;

use super::change::{carry_out, confirm, unexpected};
use super::output::{Failure, counted, json_line, note, print_whole, printable_json};
use super::show;
use crate::operator::{OperatorAnswer, OperatorCommand};
use crate::replay::{find_by_address, held};
use crate::settings::Settings;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  authlog users export alice@example.com\n  authlog users export 0198d5f0-1c5e-7d9a-8a4e-1f2d3c4b5a69 --output alice.json"
)]
pub(super) struct ExportArgs {
    /// The user's id or email address
    #[arg(value_name = "USER|ADDRESS", value_parser = person)]
    who: Person,
    /// A new file, readable by you alone [default: stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct EraseArgs {
    /// The user's id or email address
    #[arg(value_name = "USER|ADDRESS", value_parser = person)]
    who: Person,
    /// Only say what would be erased
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How a person is named on the command line.
#[derive(Clone)]
enum Person {
    Id(UserId),
    Address(EmailAddress),
}

fn person(text: &str) -> Result<Person, String> {
    if let Ok(id) = text.parse() {
        return Ok(Person::Id(id));
    }
    EmailAddress::parse(text).map(Person::Address).map_err(|_| "neither a user's id nor an email address".to_owned())
}

pub(super) async fn export(settings: &Settings, args: ExportArgs) -> Result<(), Failure> {
    let past = show::past(settings).await?;
    let failed = |error: crate::replay::ReplayError| Failure::failed(error.to_string());
    let user = match &args.who {
        Person::Id(id) => Some(*id),
        Person::Address(address) => find_by_address(&past, address).await.map_err(failed)?,
    };
    let held = match user {
        Some(user) => held(&past, user).await.map_err(failed)?,
        None => None,
    };
    let Some(held) = held else {
        return Err(Failure::failed("there is no such user; `authlog replay` lists those that there are"));
    };
    let json = serde_json::to_string_pretty(&held);
    let json = json.map_err(|error| Failure::failed(format!("the document cannot be written: {error}")))?;
    let document = format!("{}\n", printable_json(&json));
    match &args.output {
        None => print_whole(&document).map(drop),
        Some(file) => {
            write_new(file, &document)?;
            note(&format!("Written to {}.", file.display()));
            Ok(())
        }
    }
}

fn write_new(file: &Path, document: &str) -> Result<(), Failure> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = created.and_then(|mut file| file.write_all(document.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        let file = file.display();
        Failure::failed(match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{file} is there already; name a new file"),
            _ => format!("{file} cannot be written: {error}"),
        })
    })
}

pub(super) async fn erase(settings: Settings, args: EraseArgs) -> Result<(), Failure> {
    let reader = show::reader(&settings).await?;
    let failed = |error: sqlx::Error| show::database_failed(&error);
    let user: Option<UserRow> = match &args.who {
        Person::Id(id) => reader.row("WHERE t.id = $1", &[id.to_string().into()]).await,
        Person::Address(address) => reader.row("WHERE t.address = $1", &[address.as_str().into()]).await,
    }
    .map_err(failed)?;
    let Some(user) = user else {
        return Err(Failure::failed("there is no such user, or they were erased before; see `authlog replay`"));
    };
    let theirs = [user.id.to_string().into()];
    let sessions = reader.count::<SessionRow>("WHERE t.user_id = $1", &theirs).await.map_err(failed)?;
    let api_tokens = reader.count::<ApiTokenRow>("WHERE t.user_id = $1", &theirs).await.map_err(failed)?;
    let what = format!(
        "the {} {} ({}, {}), {} and {}",
        user.role.as_str(),
        if user.address.is_empty() { "without an address" } else { &user.address },
        user.status.as_str(),
        user.id,
        counted(sessions, "session"),
        counted(api_tokens, "API token")
    );
    if user.role == Role::Owner {
        return Err(Failure::failed("The owner is not erased: there is always one."));
    }
    if args.dry_run {
        note(&format!("Would erase {what}. Nothing was changed."));
        return erased(&args, &user, sessions, api_tokens, None);
    }
    confirm(
        args.yes,
        &format!(
            "This erases {what}. Their key is destroyed: what the log says of them can never be read again. Give them what is theirs \
             first, with `authlog users export`."
        ),
    )?;
    let answer = carry_out(settings, OperatorCommand::EraseUser { user_id: user.id }).await?;
    let OperatorAnswer::UserErased { sessions, api_tokens, wiped } = answer else { return Err(unexpected()) };
    let count = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
    note(&format!(
        "Erased: the user {}. What backups hold can be read until the next one takes the place of their keys: see \"Erasing a person\" \
         in docs/operations.md.",
        user.id
    ));
    if !wiped {
        note(
            "The database still holds old pages or tables, because a rebuild is going on or somebody is reading an older state; a \
             running server gets rid of them within a minute after that has ended, any other command that erases or rebuilds too.",
        );
    }
    erased(&args, &user, count(sessions), count(api_tokens), Some(wiped))
}

fn erased(
    args: &EraseArgs,
    user: &UserRow,
    sessions: i64,
    api_tokens: i64,
    wiped: Option<bool>,
) -> Result<(), Failure> {
    if args.json {
        let erased = wiped.is_some();
        let mut answer =
            json!({ "user_id": user.id, "erased": erased, "sessions": sessions, "api_tokens": api_tokens });
        if let Some(wiped) = wiped {
            answer["wiped"] = wiped.into();
        }
        json_line(&answer)?;
    }
    Ok(())
}
