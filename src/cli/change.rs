//! Commands that change something: through the running server's socket, or by themselves when none runs.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use aggregates::EmailAddress;
use clap::Args;
use serde_json::json;

use super::output::{Failure, json_line, line, note, time};
use super::show::reader;
use crate::data_dir::DataDirError;
use crate::log::rebuild::Pace;
use crate::operator::{OperatorAnswer, OperatorCommand, socket};
use crate::runtime::{Runtime, RuntimeError, data_dir};
use crate::settings::{Database, Seconds, Settings};

/// How long an owner's recovery stays open unless `--ttl` says otherwise.
const RECOVERY_TTL: &str = "15m";

#[derive(Args)]
pub(super) struct TokenArgs {
    /// How long the token can be used, for example 15m [default: the setting `bootstrap_token_ttl`]
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Seconds>,
    /// Only whoever signs in with this email address may become owner
    #[arg(long, value_name = "EMAIL", value_parser = email_address)]
    owner: Option<EmailAddress>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RestartArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub(super) struct ConfirmArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub(super) struct SetProviderArgs {
    /// The provider's issuer: https, or http on loopback
    #[arg(long, value_name = "URL")]
    issuer_url: String,
    /// The client id that the provider gave
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// A file with the client secret; without one the client is public, or keeps its secret if issuer and client id stay
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false, id = "who")]
pub(super) struct Who {
    /// The subject that the provider knows them by
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// The email address that the provider knows them by, and says is verified
    #[arg(long, value_name = "EMAIL", value_parser = email_address)]
    email: Option<EmailAddress>,
}

#[derive(Args)]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    who: Who,
    /// How long the recovery stays open
    #[arg(long, value_name = "DURATION", default_value = RECOVERY_TTL)]
    ttl: Seconds,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn email_address(text: &str) -> Result<EmailAddress, String> {
    EmailAddress::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn issue_token(settings: Settings, args: TokenArgs) -> Result<(), Failure> {
    let ttl_seconds = args.ttl.map(Seconds::get);
    let owner = args.owner.map(|owner| owner.as_str().to_owned());
    let command = OperatorCommand::IssueBootstrapToken { ttl_seconds, owner: owner.clone() };
    let OperatorAnswer::BootstrapToken { token, expires_at } = carry_out(settings, command).await? else {
        return Err(unexpected());
    };
    if args.json {
        json_line(&json!({ "token": token, "expires_at": expires_at }))?;
    } else {
        let whose = owner.map(|owner| format!(" Only {owner} can become owner with it.")).unwrap_or_default();
        note(&format!("The bootstrap token, shown once. It can be used until {}.{whose}", time(expires_at.0)));
        line(&token)?;
    }
    Ok(())
}

pub(super) async fn restart_setup(settings: Settings, args: RestartArgs) -> Result<(), Failure> {
    // Only a bootstrap token makes a log.
    reader(&settings).await?;
    confirm(args.yes, "This discards the provider and the owner that setup has so far.")?;
    let OperatorAnswer::SetupRestarted { anything_discarded } =
        carry_out(settings, OperatorCommand::RestartSetup).await?
    else {
        return Err(unexpected());
    };
    note(if anything_discarded {
        "Setup begins again: issue a bootstrap token with `authlog setup token`."
    } else {
        "Setup had not begun: nothing to discard."
    });
    Ok(())
}

pub(super) async fn set_provider(settings: Settings, args: SetProviderArgs) -> Result<(), Failure> {
    reader(&settings).await?;
    let client_secret = args.client_secret_file.as_deref().map(read_secret).transpose()?;
    let has_secret = client_secret.is_some();
    confirm(args.yes, "When the issuer changes, every session ends and nobody's old identity signs in any more.")?;
    let command =
        OperatorCommand::SetProvider { issuer_url: args.issuer_url, client_id: args.client_id, client_secret };
    let OperatorAnswer::ProviderSet { discovered_issuer } = carry_out(settings, command).await? else {
        return Err(unexpected());
    };
    note(&format!("The provider is {discovered_issuer}."));
    if !has_secret {
        note(
            "No secret was given: the client is public, or keeps its secret if issuer and client id stayed. See `authlog idp show`.",
        );
    }
    Ok(())
}

fn read_secret(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("the client secret file {}: {error}", path.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub(super) async fn remove_provider(settings: Settings, args: ConfirmArgs) -> Result<(), Failure> {
    // Only a bootstrap token makes a log.
    reader(&settings).await?;
    confirm(args.yes, "Nobody can sign in until another provider is set. Sessions stay.")?;
    match carry_out(settings, OperatorCommand::RemoveProvider).await? {
        OperatorAnswer::ProviderRemoved => {
            note("The provider is removed. Set another with `authlog idp set`.");
            Ok(())
        }
        _ => Err(unexpected()),
    }
}

pub(super) async fn recover_owner(settings: Settings, args: RecoverArgs) -> Result<(), Failure> {
    // Only a bootstrap token makes a log.
    reader(&settings).await?;
    let Who { subject, email } = args.who;
    let email = email.map(|email| email.as_str().to_owned());
    let who = match (&subject, &email) {
        (Some(subject), _) => format!("the subject {subject}"),
        (None, email) => format!("the verified address {}", email.as_deref().unwrap_or_default()),
    };
    let consequence = format!(
        "The next sign-in with {who} becomes the owner's identity: whoever that is owns the instance. The identity before it is \
         unlinked, its sessions and tokens end."
    );
    confirm(args.yes, &consequence)?;
    let command = OperatorCommand::RecoverOwner { subject, email, ttl_seconds: args.ttl.get() };
    let OperatorAnswer::RecoveryOpened { expires_at } = carry_out(settings, command).await? else {
        return Err(unexpected());
    };
    if args.json {
        json_line(&json!({ "expires_at": expires_at }))?;
    } else {
        note(&format!("The next sign-in that fits becomes the owner's identity, until {}.", time(expires_at.0)));
    }
    Ok(())
}

/// Asks before what cannot be undone. Where nobody can answer, `--yes` must have been given.
pub(super) fn confirm(yes: bool, consequence: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    note(consequence);
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nothing was changed: repeat the command with --yes"));
    }
    write!(io::stderr(), "Go on? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::failed("nothing was changed")) }
}

/// Carries a command out where the writing is done.
pub(super) async fn carry_out(settings: Settings, command: OperatorCommand) -> Result<OperatorAnswer, Failure> {
    carry_out_and_report(settings, command, &|_| {}).await
}

/// The same; `report` hears how far it has come.
pub(super) async fn carry_out_and_report(
    settings: Settings,
    command: OperatorCommand,
    report: &(dyn Fn(OperatorAnswer) + Sync),
) -> Result<OperatorAnswer, Failure> {
    let sqlite = matches!(settings.database, Database::Sqlite { .. });
    let data = data_dir(&settings);
    let is_new = sqlite && !data.has_database();
    let socket_file = data.socket();
    let answer = match Runtime::open(settings).await {
        Ok(runtime) => {
            let answer = command.execute(&runtime.service, Pace::Alone, report).await;
            runtime.close().await;
            if is_new {
                let path = data.path().display();
                note(&format!(
                    "There was no log in {path}: a new one was made. --data-dir or --database-url name another."
                ));
            }
            answer
        }
        Err(RuntimeError::DataDir(busy @ DataDirError::Busy { .. })) if sqlite => {
            let sent = socket::send(&socket_file, &command, report).await;
            sent.map_err(|error| Failure::failed(format!("{busy}; it does not answer the command line: {error}")))?
        }
        Err(error) => return Err(Failure::failed(error.to_string())),
    };
    match answer {
        OperatorAnswer::Refused { code, message, cause } => {
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            Err(Failure::failed(format!("{message} ({code}){cause}")))
        }
        answer => Ok(answer),
    }
}

pub(super) fn unexpected() -> Failure {
    Failure::failed("the running server answered something else; is it of the same version?")
}
