//! `cargo xtask soak`: nodes, faults and load together, on SQLite and on three nodes of one PostgreSQL at once. The crate `soak`
//! plays; here it is built, given a cluster that nobody serves yet, and ended with all that it has started.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::SystemTime;

use clap::Args;

use crate::failure::{Failure, While};
use crate::guard::{Guard, StopSignal};
use crate::postgres::Unserved;
use crate::workspace::Workspace;

/// What the program answers when a promise was broken; ours too.
const BROKEN: u8 = 3;

/// What `cargo xtask soak` takes.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask soak --minutes 10\n  cargo xtask soak --minutes 60 --json > soak.json\n  cargo xtask soak --minutes 1 --seed 42\n\nExit codes: 0 every promise held, 1 the soak could not go on, 3 a promise was broken: what shows why is kept in a folder under target/soak that the last line names."
)]
pub(crate) struct SoakArgs {
    /// How long to play, in minutes
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Chooses faults and calls; two runs with one seed choose the same, and time decides what meets what [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Damage what is checked, to show that the check finds it: `lost` or `doubled`
    #[arg(long, value_name = "WHAT", value_parser = ["lost", "doubled"])]
    plant: Option<String>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes".to_owned())?;
    if minutes > 0.0 && minutes <= 10_000.0 { Ok(minutes) } else { Err("more than 0, at most 10000".to_owned()) }
}

pub(crate) fn run(workspace: &Workspace, guard: &Guard, args: &SoakArgs) -> Result<ExitCode, Failure> {
    let mut build = workspace.cargo();
    // As the tests build it: with the features of fewer packages its dependencies would be built again.
    build.args(["build", "--locked", "--quiet", "--workspace", "--bins", "--tests"]);
    eprintln!("building authlog and soak (minutes the first time)");
    guard.run(build.stdout(Stdio::null()))?;
    let programs = workspace.target.join("debug");
    let moment = SystemTime::UNIX_EPOCH.elapsed().while_doing("reading the clock")?;
    let seed = args.seed.unwrap_or_else(|| u64::from(moment.subsec_nanos()));
    let cluster = Unserved::make(guard)?;
    let folder = guard.folder("soak")?;
    let made = folder.path.join("postgres.json");
    fs::write(&made, cluster.how.to_string()).while_doing("writing down how the cluster is started")?;
    let keep: PathBuf = workspace.target.join(format!("soak/{}-seed-{seed}", moment.as_secs()));
    let mut command = Command::new(programs.join("soak"));
    command.args(["--minutes", &args.minutes.to_string(), "--seed", &seed.to_string()]);
    command.arg("--authlog").arg(programs.join("authlog"));
    command.arg("--postgres").arg(&made).arg("--work").arg(&folder.path).arg("--keep").arg(&keep);
    command.args(args.json.then_some("--json"));
    if let Some(plant) = &args.plant {
        command.args(["--plant", plant]);
    }
    // All that it starts is in its process group.
    let status = guard.spawn(command.stdin(Stdio::null()), StopSignal::Terminate)?.wait()?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code @ (0 | BROKEN)) => Ok(ExitCode::from(code)),
        _ => Err(Failure::new(format!("the soak ended with {status}"))),
    }
}
