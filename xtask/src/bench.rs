//! `cargo xtask bench`: how fast, how small, how soon ready. Everything is measured in one run on one machine, and what depends
//! on the machine is a ratio to something measured beside it, taking turns, so that a busy neighbour slows both.
//!
//! Nothing here fails because a number is bad: the table says `miss`, and somebody reads it.

mod http;
mod memory;
mod nodes;
mod overload;
mod program;
mod rebuild;
mod report;
mod sign_ins;
mod units;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::failure::{Failure, While};
use crate::guard::Guard;
use crate::postgres::Cluster;
use crate::workspace::Workspace;
use program::Programs;
use report::{Report, Row, Target};

/// What `cargo xtask bench` takes.
#[derive(Args, Clone)]
pub(crate) struct BenchArgs {
    /// Short rounds and a small log: for trying it out, not for figures.
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    json: bool,
    /// Also time a release build from nothing, in a target folder of its own (minutes).
    #[arg(long)]
    cold_build: bool,
    /// Measure only this part; may be given several times.
    #[arg(long = "part", value_name = "NAME")]
    parts: Vec<Part>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The size of the release binary
    Size,
    /// GET /v1/users/me on SQLite, beside a bare axum route
    Http,
    /// Start to ready, and memory
    Memory,
    /// Past capacity, beside silent and slow clients, and after odd requests
    Overload,
    /// Units a second on SQLite, beside sqlite-es
    Units,
    /// Rebuilding read models on SQLite, alone and beside a service
    Rebuild,
    /// What a sign-in takes on SQLite, with a short and a long log
    SignIns,
    /// GET /v1/users/me on PostgreSQL
    HttpPostgres,
    /// Units a second on PostgreSQL, beside postgres-es
    UnitsPostgres,
    /// Revoking sessions on several nodes on one PostgreSQL
    Nodes,
    /// Rebuilding read models on PostgreSQL, alone and beside a service
    RebuildPostgres,
    /// What a sign-in takes on PostgreSQL, with a short and a long log
    SignInsPostgres,
}

/// How long and how often to measure.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    round_seconds: f64,
    /// Events of the large log.
    events: u64,
    /// Of the longest log, on which sign-ins are compared with those on a short one.
    most_events: u64,
    sign_ins: u64,
    /// Before memory is read again after load.
    rest: Duration,
    /// Sessions revoked on several nodes.
    revocations: u64,
}

impl Plan {
    fn new(quick: bool) -> Self {
        if quick {
            Self {
                rounds: 1,
                round_seconds: 1.0,
                events: 20_000,
                most_events: 40_000,
                sign_ins: 20,
                rest: Duration::from_secs(5),
                revocations: 200,
            }
        } else {
            Self {
                rounds: 5,
                round_seconds: 4.0,
                events: 1_000_000,
                most_events: 3_000_000,
                sign_ins: 100,
                rest: Duration::from_secs(30),
                revocations: 10_000,
            }
        }
    }
}

/// Events of the small log, with which the large one is compared.
const FEW_EVENTS: u64 = 1_000;
const LONGEST_BINARY_MEGABYTES: f64 = 25.0;
const LONGEST_BUILD_MINUTES: f64 = 8.0;

/// Says on standard error what is being done.
fn progress(line: &str) {
    eprintln!("bench: {line}");
}

pub(crate) fn run(workspace: &Workspace, guard: &Guard, args: &BenchArgs) -> Result<(), Failure> {
    let plan = Plan::new(args.quick);
    let mut report = Report::new(args.quick);
    if args.cold_build {
        report.add(cold_build(workspace, guard)?);
    }
    progress("building the release binaries (minutes the first time)");
    let programs = Programs::build(workspace, guard)?;
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    if wanted(Part::Size) {
        report.add(binary_size(&programs)?);
    }
    if wanted(Part::Http) {
        http::measure(&programs, plan, None, &mut report)?;
    }
    if wanted(Part::Memory) {
        memory::measure(&programs, plan, &mut report)?;
    }
    if wanted(Part::Overload) {
        overload::measure(&programs, plan, &mut report)?;
    }
    if wanted(Part::Units) {
        units::measure(&programs, plan, None, &mut report)?;
    }
    if wanted(Part::Rebuild) {
        rebuild::measure(&programs, plan, None, &mut report)?;
    }
    if wanted(Part::SignIns) {
        sign_ins::measure(&programs, plan, None, &mut report)?;
    }
    let on_postgres =
        [Part::HttpPostgres, Part::UnitsPostgres, Part::Nodes, Part::RebuildPostgres, Part::SignInsPostgres];
    if on_postgres.into_iter().any(wanted) {
        progress("starting a PostgreSQL cluster");
        let cluster = Cluster::start(guard)?;
        if wanted(Part::HttpPostgres) {
            http::measure(&programs, plan, Some(&cluster.url), &mut report)?;
        }
        if wanted(Part::UnitsPostgres) {
            units::measure(&programs, plan, Some(&cluster.url), &mut report)?;
        }
        if wanted(Part::Nodes) {
            nodes::measure(&programs, plan, &cluster.url, &mut report)?;
        }
        if wanted(Part::RebuildPostgres) {
            rebuild::measure(&programs, plan, Some(&cluster.url), &mut report)?;
        }
        if wanted(Part::SignInsPostgres) {
            sign_ins::measure(&programs, plan, Some(&cluster.url), &mut report)?;
        }
    }
    if args.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.table());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a binary is far smaller than 2^52 bytes")]
fn binary_size(programs: &Programs<'_>) -> Result<Row, Failure> {
    let bytes = fs::metadata(&programs.authlog).while_doing("looking at the release binary")?.len();
    let size = Row::new("release binary", bytes as f64 / 1e6, "MB");
    Ok(size.target(Target::AtMost(LONGEST_BINARY_MEGABYTES)))
}

fn cold_build(workspace: &Workspace, guard: &Guard) -> Result<Row, Failure> {
    progress("a release build from nothing");
    let folder = guard.folder("cold-build")?;
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--locked", "--quiet", "--package", "authlog"]);
    command.env("CARGO_TARGET_DIR", &folder.path).stdout(Stdio::null());
    let begun = Instant::now();
    guard.run(&mut command)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let row = Row::new("cold release build", begun.elapsed().as_secs_f64() / 60.0, "min");
    Ok(row.target(Target::AtMost(LONGEST_BUILD_MINUTES)).note(format!("{cores} cores")))
}
