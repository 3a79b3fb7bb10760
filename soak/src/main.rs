//! Nodes, faults and load together, for as long as is wanted, and the checks of what came of it. `cargo xtask soak` builds and starts
//! this and ends whatever it leaves.
//!
//! Architecture invariant: nothing here is linked with the service. It is called over HTTP and by its command line, so what is
//! checked is what anybody would see.

mod answer;
mod caller;
mod check;
mod cluster;
mod command;
mod commons;
mod dice;
mod game;
mod node;
mod person;
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "made for tests, where a failure ends everything")]
mod proxy;
mod rivals;
mod setup;
mod signal;
mod tally;
mod trouble;
mod world;

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use crate::check::Plant;
use crate::cluster::Made;
use crate::game::Game;
use crate::tally::Tally;

/// Anything that keeps the soak itself from going on; what it looks for is in the [`Tally`].
type Failure = Box<dyn Error + Send + Sync>;

/// As authlog's own commands answer when a check found a difference.
const BROKEN: u8 = 3;

#[derive(Parser)]
#[command(name = "soak", about = "What `cargo xtask soak` runs")]
struct Arguments {
    #[arg(long)]
    minutes: f64,
    #[arg(long)]
    seed: u64,
    /// The program that is played with.
    #[arg(long)]
    authlog: PathBuf,
    /// Where it is written how the PostgreSQL server is started.
    #[arg(long)]
    postgres: PathBuf,
    /// An empty folder for what goes when all is done.
    #[arg(long)]
    work: PathBuf,
    /// A folder that is made when a promise was broken, for what shows why.
    #[arg(long)]
    keep: PathBuf,
    #[arg(long)]
    json: bool,
    /// Change what is checked, to show that it is found.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let tally = Arc::new(Tally::default());
    match run(&arguments, &tally).await {
        Ok(()) => report(&arguments, &tally),
        Err(failure) => {
            let (work, keep) = (&arguments.work, &arguments.keep);
            let kept = game::copy(work, keep).map_or_else(|error| error.to_string(), |()| keep.display().to_string());
            eprintln!("\n{}\nerror: {failure}; what was written so far: {kept}", tally.table());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, tally: &Arc<Tally>) -> Result<(), Failure> {
    // The client asks for one even where only http is spoken.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let begun = Instant::now();
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let game = Game {
        tally: Arc::clone(tally),
        seed: arguments.seed,
        program: arguments.authlog.clone(),
        work: arguments.work.clone(),
        keep: arguments.keep.clone(),
        ends: begun + length,
        plant: arguments.plant,
    };
    let made = Made::read(&arguments.postgres)?;
    let progress = tokio::spawn(tell_progress(Arc::clone(tally), begun, length));
    let mut games = tokio::task::JoinSet::new();
    games.spawn(game.clone().play_on_sqlite());
    games.spawn(game.play_on_postgres(made));
    // One that cannot go on ends the other, and with it all that it has started.
    while let Some(game) = games.join_next().await {
        game??;
    }
    progress.abort();
    Ok(())
}

/// One line that changes on a terminal, else a line now and then.
async fn tell_progress(tally: Arc<Tally>, begun: Instant, length: Duration) {
    let on_a_terminal = std::io::stderr().is_terminal();
    let every = Duration::from_secs(if on_a_terminal { 1 } else { 15 });
    let clock = |time: Duration| format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60);
    loop {
        tokio::time::sleep(every).await;
        let line = format!("soak: {} of {}: {}", clock(begun.elapsed()), clock(length), tally.progress());
        if on_a_terminal {
            eprint!("\r\x1b[K{line}");
            let _not_shown = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

fn report(arguments: &Arguments, tally: &Tally) -> ExitCode {
    let broken = tally.is_broken();
    eprintln!();
    let kept = broken.then_some(&arguments.keep);
    if arguments.json {
        let mut report = tally.json();
        report["seed"] = json!(arguments.seed);
        report["minutes"] = json!(arguments.minutes);
        report["kept"] = json!(kept);
        println!("{report}");
    } else {
        println!("soak of {} minutes, seed {}", arguments.minutes, arguments.seed);
        println!("{}", tally.table());
    }
    if let Some(kept) = kept {
        eprintln!("soak: a promise was broken; what shows why is kept in {}", kept.display());
        return ExitCode::from(BROKEN);
    }
    ExitCode::SUCCESS
}
