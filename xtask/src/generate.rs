//! `cargo xtask generate`: a made-up log of a realistic mix. The program `generate` makes it; here it is built, optimized, and
//! called.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::failure::Failure;
use crate::guard::Guard;
use crate::workspace::Workspace;

/// What `cargo xtask generate` takes, and hands on.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask generate --events 1000000 --data-dir big\n  cargo xtask generate --events 20000 --seed 7 --data-dir keys --database-url postgres://localhost/made_up\n\nOne seed gives one story: streams, ids, types, times and clear values are the same each time. A longer log begins with the shorter one."
)]
pub(crate) struct GenerateArgs {
    /// Events at least, ten million at most: the log ends with the unit that reaches this number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    events: i64,
    /// Another number, another story.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where the log is made, and on PostgreSQL its master key.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// An empty PostgreSQL database; SQLite in the data directory without it.
    #[arg(long, value_name = "URL", env = "AUTHLOG_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(workspace: &Workspace, guard: &Guard, args: &GenerateArgs) -> Result<(), Failure> {
    eprintln!("building the optimized program (minutes the first time)");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--locked", "--quiet", "--package", "generate", "--bins"]);
    guard.run(build.stdout(Stdio::null()))?;
    let mut program = Command::new(workspace.target.join("release/generate"));
    program.args(["--events", &args.events.to_string(), "--seed", &args.seed.to_string(), "--data-dir"]);
    program.arg(&args.data_dir).stdin(Stdio::null());
    if let Some(url) = &args.database_url {
        // Not as an argument: a failure names the command with its arguments, and the URL may hold a password.
        program.env("AUTHLOG_DATABASE_URL", url);
    }
    if args.json {
        program.arg("--json");
    }
    guard.run(&mut program)
}
