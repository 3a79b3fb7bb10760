//! The program behind `cargo xtask generate`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use authlog::settings::{GlobalArgs, Settings};
use clap::Parser;
use generate::{DEFAULT_SEED, Made, Plan};
use serde_json::json;

/// How many lines tell of the way to the end.
const PROGRESS_LINES: i64 = 20;

/// Makes up the log of an instance that has run for months
#[derive(Parser)]
#[command(name = "generate")]
struct Arguments {
    /// Events at least: the log ends with the unit that reaches this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=generate::MOST_EVENTS))]
    events: i64,
    /// Another number, another story
    #[arg(long, value_name = "S", default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// Where the log is made, and on PostgreSQL its master key
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// An empty PostgreSQL database; SQLite in the data directory without it
    #[arg(long, value_name = "URL", env = "AUTHLOG_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let global = GlobalArgs {
        data_dir: Some(arguments.data_dir.display().to_string()),
        database_url: arguments.database_url.clone().map(Into::into),
        config: None,
    };
    let settings = Settings::load(&global, None, [], Path::new("/"))?;
    let plan = Plan { events: arguments.events, seed: arguments.seed };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let progress = Progress { begun: Instant::now(), events: plan.events };
    let made =
        runtime.block_on(generate::generate(&settings, plan, |events, before| progress.report(events, before)))?;
    let seconds = progress.begun.elapsed().as_secs_f64();
    let text = if arguments.json {
        let mut document = json!(made);
        document["seed"] = plan.seed.into();
        document["seconds"] = seconds.into();
        document.to_string()
    } else {
        summary(&made, seconds)
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// How far it has come, on standard error.
struct Progress {
    begun: Instant,
    events: i64,
}

impl Progress {
    #[expect(clippy::cast_precision_loss, reason = "a log has fewer than 2^52 events")]
    fn report(&self, events: i64, before: i64) {
        let done = |events: i64| events.saturating_mul(PROGRESS_LINES) / self.events;
        if done(events) == done(before) {
            return;
        }
        let rate = events as f64 / self.begun.elapsed().as_secs_f64();
        let left = (self.events - events).max(0) as f64 / rate;
        eprintln!("{events} of {} events, {rate:.0} a second, {left:.0} s left", self.events);
    }
}

fn summary(made: &Made, seconds: f64) -> String {
    let mut text = String::new();
    for (name, events) in &made.types {
        text.push_str(&format!("{events:>10} {name}\n"));
    }
    let users: Vec<String> = made.users.iter().map(|(status, users)| format!("{users} {status}")).collect();
    text.push_str(&format!(
        "{} events from {} to {} in {seconds:.1} s; users: {}; sessions alive: {}",
        made.events,
        day(made.from.0),
        day(made.to.0),
        users.join(", "),
        made.sessions
    ));
    text
}

fn day(unix_seconds: i64) -> String {
    chrono::DateTime::from_timestamp(unix_seconds, 0).unwrap_or_default().format("%Y-%m-%d").to_string()
}
