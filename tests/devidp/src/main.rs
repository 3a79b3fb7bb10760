//! `devidp`: the provider as a program, for the demo and for trying things by hand.

use clap::Parser;
use devidp::{Account, Algorithm, ClaimsIn, Client, DevIdp, Fault, Options, StartError};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// An OpenID Connect provider for the demo and for fault tests. It listens on loopback only, its keys and secrets are
/// public, and whoever asks is signed in: never use it for anything else.
#[derive(Parser)]
#[command(name = "devidp", version)]
struct Arguments {
    /// Where to listen; refused unless loopback. Port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// How ID tokens are signed
    #[arg(long, value_enum, default_value_t)]
    algorithm: Algorithm,
    /// Where email and profile are found
    #[arg(long, value_enum, default_value_t)]
    claims_in: ClaimsIn,
    /// Misbehave in this one way
    #[arg(long, value_enum, value_name = "NAME")]
    fault: Option<Fault>,
    /// How long the slow and the dripping faults take
    #[arg(long, default_value_t = 30)]
    stall_seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        listen: arguments.listen,
        algorithm: arguments.algorithm,
        claims_in: arguments.claims_in,
        fault: arguments.fault,
        stall: Duration::from_secs(arguments.stall_seconds),
        ..Options::default()
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("devidp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), StartError> {
    let (listen, fault) = (options.listen, options.fault);
    let failed = |error| StartError::Listen(listen, error);
    let accounts: Vec<String> = options.accounts.iter().map(|Account { login, .. }| login.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let provider = DevIdp::start(options)?;
    eprintln!("accounts: {}", accounts.join(", "));
    eprintln!("client: authlog-test, secret {}", Client::SECRET);
    if let Some(fault) = fault {
        eprintln!("fault: {fault}");
    }
    println!("devidp ready: {}", provider.issuer());
    runtime.block_on(tokio::signal::ctrl_c()).map_err(failed)
}
