//! The command line: reads arguments, asks the service or the read models, prints.
//!
//! Answers go to stdout, messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a check found a difference.

mod audit;
mod backup;
mod change;
mod csv;
mod events;
mod follow;
mod keys;
mod output;
mod progress;
mod projections;
mod replay;
mod serve;
mod show;
mod users;

use std::pin::Pin;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::settings::{GlobalArgs, ServeArgs, Settings};
use output::Failure;

/// authlog: event-sourced authentication service
#[derive(Parser)]
#[command(name = "authlog", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve(ServeArgs),
    /// First-run setup: issue a bootstrap token, see where setup stands, start over
    #[command(subcommand)]
    Setup(SetupCommand),
    /// The identity provider: break-glass commands for when nobody can sign in
    #[command(subcommand)]
    Idp(IdpCommand),
    /// The owner: break-glass commands for when the owner cannot sign in
    #[command(subcommand)]
    Owner(OwnerCommand),
    /// People: what the law lets them ask for
    #[command(subcommand)]
    Users(UsersCommand),
    /// The audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Read the log
    Events(events::EventsArgs),
    /// See how things stood at a moment of the past, folded from the log alone
    Replay(replay::ReplayArgs),
    /// The keys that personal data and secrets are sealed with
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The read models that are folded from the log
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// Copy the log and the wrapped keys into files, while the service goes on; the master key is not in them
    Backup(backup::BackupArgs),
    /// Make a log from a backup where there is none, and prove that it is the same
    Restore(backup::RestoreArgs),
}

#[derive(Subcommand)]
enum SetupCommand {
    /// Issue a bootstrap token and print it once; the token before it no longer works
    #[command(after_help = "Example:\n  authlog setup token --ttl 30m --owner alice@example.com")]
    Token(change::TokenArgs),
    /// Show where setup stands
    #[command(after_help = "Example:\n  authlog setup status --json")]
    Status(JsonArgs),
    /// Before setup is complete only: discard provider and owner and begin again
    #[command(after_help = "Example:\n  authlog setup restart --yes")]
    Restart(change::RestartArgs),
}

#[derive(Subcommand)]
enum IdpCommand {
    /// Show the configured provider; the secret is never shown
    #[command(after_help = "Example:\n  authlog idp show --json")]
    Show(JsonArgs),
    /// Set the provider; when the issuer changes, every session ends
    #[command(
        after_help = "Example:\n  authlog idp set --issuer-url https://login.example.com --client-id authlog --client-secret-file secret.txt"
    )]
    Set(change::SetProviderArgs),
    /// Remove the provider: nobody signs in until another is set, sessions stay
    #[command(after_help = "Example:\n  authlog idp remove --yes")]
    Remove(change::ConfirmArgs),
}

#[derive(Subcommand)]
enum OwnerCommand {
    /// Let the next sign-in with this subject, or this verified address, become the owner's identity
    #[command(after_help = "Example:\n  authlog owner recover --email alice@example.com --ttl 10m --yes")]
    Recover(change::RecoverArgs),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Print the audit trail, oldest entry first, folded from the log
    Export(audit::ExportArgs),
}

#[derive(Subcommand)]
enum UsersCommand {
    /// Print everything that the log holds about a person as one JSON document
    Export(users::ExportArgs),
    /// Erase a person for good: account, sessions, API tokens, and all that the log says of them
    #[command(
        after_help = "Examples:\n  authlog users erase alice@example.com --dry-run\n  authlog users erase 0198d5f0-1c5e-7d9a-8a4e-1f2d3c4b5a69 --yes"
    )]
    Erase(users::EraseArgs),
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Show which master key is in force and how many keys each master key wraps
    #[command(after_help = "Example:\n  authlog keys status --json")]
    Status(JsonArgs),
    /// Exchange the master key while the service goes on: every key is wrapped anew with the next one
    #[command(
        after_help = "Examples:\n  authlog keys rotate --yes\n  authlog keys rotate --prepare     (several nodes: copy the next key to each, then rotate)"
    )]
    Rotate(keys::RotateArgs),
}

#[derive(Subcommand)]
enum ProjectionsCommand {
    /// Show each read model's position, version, state and size
    #[command(after_help = "Example:\n  authlog projections status --json")]
    Status(JsonArgs),
    /// Compare read models with a fresh fold of the log and show the first rows that differ (exit code 3)
    #[command(
        after_help = "Examples:\n  authlog projections verify\n  authlog projections verify users sessions --json"
    )]
    Verify(projections::VerifyArgs),
    /// Fold the log into new tables beside the live ones, while the service goes on, and switch to them
    #[command(
        after_help = "Examples:\n  authlog projections rebuild --all\n  authlog projections rebuild audit users --json"
    )]
    Rebuild(projections::RebuildArgs),
}

/// Output for machines.
#[derive(Args, Clone, Copy)]
struct JsonArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Help and the version as they are. A refusal repeats what was typed, which may have been pasted from anywhere.
fn not_understood(said: &clap::Error) -> ExitCode {
    if !said.use_stderr() {
        said.exit();
    }
    said.to_string().trim_end().lines().for_each(output::note);
    ExitCode::from(2)
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return not_understood(&said),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            // The runtime has three loops that poll what it is given; each would hold a copy of the whole program.
            let program: Pin<Box<dyn Future<Output = Result<(), Failure>>>> = Box::pin(run(cli));
            runtime.block_on(program)
        }
        Err(error) => Err(Failure::failed(format!("the runtime cannot be started: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let serve_args = match &cli.command {
        Command::Serve(args) => Some(args),
        _ => None,
    };
    let settings = Settings::of_process(&cli.global, serve_args).map_err(|error| Failure::usage(error.to_string()))?;
    match cli.command {
        Command::Serve(_) => serve::serve(settings).await,
        Command::Setup(SetupCommand::Token(args)) => change::issue_token(settings, args).await,
        Command::Setup(SetupCommand::Status(args)) => show::setup_status(&settings, args.json).await,
        Command::Setup(SetupCommand::Restart(args)) => change::restart_setup(settings, args).await,
        Command::Idp(IdpCommand::Show(args)) => show::provider(&settings, args.json).await,
        Command::Idp(IdpCommand::Set(args)) => change::set_provider(settings, args).await,
        Command::Idp(IdpCommand::Remove(args)) => change::remove_provider(settings, args).await,
        Command::Owner(OwnerCommand::Recover(args)) => change::recover_owner(settings, args).await,
        Command::Users(UsersCommand::Export(args)) => users::export(&settings, args).await,
        Command::Users(UsersCommand::Erase(args)) => users::erase(settings, args).await,
        Command::Audit(AuditCommand::Export(args)) => audit::export(&settings, args).await,
        Command::Events(args) => events::events(&settings, args).await,
        Command::Replay(args) => replay::replay(&settings, args).await,
        Command::Keys(KeysCommand::Status(args)) => keys::status(&settings, args.json).await,
        Command::Keys(KeysCommand::Rotate(args)) => keys::rotate(settings, args).await,
        Command::Backup(args) => backup::backup(&settings, args).await,
        Command::Restore(args) => backup::restore(&settings, args).await,
        Command::Projections(ProjectionsCommand::Status(args)) => projections::status(&settings, args.json).await,
        Command::Projections(ProjectionsCommand::Verify(args)) => projections::verify(&settings, args).await,
        Command::Projections(ProjectionsCommand::Rebuild(args)) => projections::rebuild(settings, args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
