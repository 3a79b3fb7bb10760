//! The project's own commands; `cargo xtask --help` lists them.
//!
//! This crate is compiled before everything else, so it stays small: the standard library, clap
//! and `serde_json`, and nothing from the service itself. What it starts, it also ends: every
//! process and folder is known to a [`guard`], which outlives even a killed `xtask`.

mod bench;
mod contract;
mod demo;
mod failure;
mod fuzz;
mod generate;
mod guard;
mod http;
mod postgres;
mod soak;
mod steps;
mod tools;
mod walk;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::guard::Guard;
use crate::steps::StepName;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check everything, in order, and stop at the first step that fails.
    Test {
        /// Run only this step; may be given several times, the order stays.
        #[arg(long = "step", value_name = "NAME")]
        steps: Vec<StepName>,
        /// List the steps instead of running them.
        #[arg(long)]
        list: bool,
    },
    /// Walk setup, sign-in and an invitation on an empty instance, over real HTTP.
    Demo {
        /// End after the walk instead of leaving the servers running until Ctrl-C.
        #[arg(long)]
        once: bool,
    },
    /// Start a throw-away PostgreSQL cluster and keep it until Ctrl-C, or for one command.
    Postgres {
        /// Print nothing but the superuser's URL on standard output.
        #[arg(long, conflicts_with = "command")]
        print_url: bool,
        /// Run this with `AUTHLOG_TEST_POSTGRES` set, then stop the cluster.
        #[arg(last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Measure speed, memory, start and size, each beside its target.
    Bench(bench::BenchArgs),
    /// Play with nodes, faults and load together, and check that every promise holds.
    Soak(soak::SoakArgs),
    /// Make up the log of an instance that has run for months, in an empty directory or database.
    Generate(generate::GenerateArgs),
    /// Feed made-up input to everything that reads what strangers send, a minute each.
    Fuzz(fuzz::FuzzArgs),
    /// Compare the dependencies with the public advisory database (needs the network).
    Audit,
    /// Internal: wait for the starting process to end, then tidy up after it.
    #[command(hide = true)]
    Guard,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    if matches!(command, Command::Guard) {
        guard::keep_watch();
        return Ok(ExitCode::SUCCESS);
    }
    let guard = Guard::start()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Test { list: true, .. } => steps::list(),
        Command::Test { steps, list: false } => steps::run(&workspace, &guard, &steps)?,
        Command::Demo { once } => demo::run(&workspace, &guard, demo::Build::Alone, demo::End::new(once))?,
        Command::Postgres { print_url, command } => {
            return postgres::run(&guard, print_url, &command);
        }
        Command::Bench(args) => bench::run(&workspace, &guard, &args)?,
        Command::Soak(args) => return soak::run(&workspace, &guard, &args),
        Command::Generate(args) => generate::run(&workspace, &guard, &args)?,
        Command::Fuzz(args) => return fuzz::run(&workspace, &guard, &args),
        Command::Audit => {
            let deny = tools::CARGO_DENY.find_or_install(&workspace, &guard)?;
            guard.run(workspace.tool(&deny).args(["check", "advisories"]))?;
        }
        Command::Guard => unreachable!("answered before a guard is started"),
    }
    Ok(ExitCode::SUCCESS)
}
