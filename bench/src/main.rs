//! The measuring ends of `cargo xtask bench`, one subcommand each. Each prints one JSON object on standard output.
//!
//! Architecture invariant: nothing here decides what is good enough; targets and medians are the business of `xtask`.

mod beside;
mod capacity;
mod cqrs;
mod crowd;
mod fill;
mod instance;
mod load;
#[path = "../../tests/support/odd.rs"]
mod odd;
mod postgres;
mod rebuild;
mod revoke;
mod route;
mod sign_ins;
mod strange;
mod units;
mod visitor;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Anything that goes wrong ends the measurement; it is printed and nobody takes it apart.
type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(name = "bench", about = "The measuring ends of `cargo xtask bench`")]
enum Command {
    /// Answer `GET /v1/users/me` with a given body and nothing around it.
    Route(route::RouteArgs),
    /// Call a server over connections that are kept open.
    Load(load::LoadArgs),
    /// Make a log up, with at least so many events, and sign its owner in.
    Fill(fill::FillArgs),
    /// Write units with so many callers at once.
    #[command(subcommand)]
    Units(Side),
    /// Rebuild all read models, with no service beside it.
    Rebuild(rebuild::RebuildArgs),
    /// Call a service at a steady rate, first alone and then beside a rebuild.
    Beside(beside::BesideArgs),
    /// Sign in, one time after the other.
    SignIns(sign_ins::SignInsArgs),
    /// Revoke sessions on one node and ask every node about them.
    Revoke(revoke::RevokeArgs),
    /// Take places on a server and ask for nothing, until it is killed.
    Crowd(crowd::CrowdArgs),
    /// Send requests that no client sends.
    Strange(strange::StrangeArgs),
    /// Send more reads and writes at once than there is room for.
    Capacity(capacity::CapacityArgs),
    /// Make an empty database on a server and print its URL.
    CreateDatabase { server: String },
}

/// Who writes the units.
#[derive(Subcommand)]
enum Side {
    /// The service: a whole invitation, as a call makes it.
    Service(units::UnitsArgs),
    /// The same log, deciding on the invited user's stream alone.
    Stream(units::UnitsArgs),
    /// `CqrsFramework::execute` over sqlite-es or postgres-es.
    Framework(units::UnitsArgs),
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    // The load generator has one core for itself and needs no second thread.
    let runtime = match command {
        Command::Load(_) => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
    };
    runtime.block_on(async {
        match command {
            Command::Route(args) => route::serve(args).await,
            Command::Load(args) => load::load(args).await,
            Command::Fill(args) => fill::fill(args).await,
            Command::Units(Side::Service(args)) => units::by_service(args).await,
            Command::Units(Side::Stream(args)) => units::by_stream(args).await,
            Command::Units(Side::Framework(args)) => cqrs::by_framework(args).await,
            Command::Beside(args) => beside::run(args).await,
            Command::Rebuild(args) => rebuild::run(args).await,
            Command::SignIns(args) => sign_ins::run(args).await,
            Command::Revoke(args) => revoke::run(args).await,
            Command::Crowd(args) => crowd::stay(args).await,
            Command::Strange(args) => strange::send(args).await,
            Command::Capacity(args) => capacity::exceed(args).await,
            Command::CreateDatabase { server } => postgres::create_database(&server).await,
        }
    })
}
