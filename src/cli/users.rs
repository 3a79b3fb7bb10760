//! `authlog users export`: what is held about a person, for that person.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::change::{Person, person};
use super::output::{Failure, note, print_whole, printable_json};
use super::show::past;
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

pub(super) async fn export(settings: &Settings, args: ExportArgs) -> Result<(), Failure> {
    let past = past(settings).await?;
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
    written.map_err(|error| Failure::failed(format!("{} cannot be written: {error}", file.display())))
}
