//! Commands that only look: the database is opened read-only, no key is needed.

use std::fs::File;
use std::io;

use aggregates::SetupState;
use projections::{IdentityProviderRow, SetupRow};
use serde_json::json;

use super::output::{Failure, json_line, line, time};
use crate::log::past::Past;
use crate::log::{Location, OpenError, Reader};
use crate::runtime::{self, data_dir, location};
use crate::settings::Settings;

/// Opens the log for reading.
pub(super) async fn reader(settings: &Settings) -> Result<Reader, Failure> {
    require_log(settings).await?;
    Reader::open(&location(settings)).await.map_err(|error| unreadable(&error))
}

/// Opens the log for looking back.
pub(super) async fn past(settings: &Settings) -> Result<Past, Failure> {
    require_log(settings).await?;
    runtime::past(settings).await.map_err(|error| match error {
        OpenError::Store(error) => unreadable(&error),
        error => Failure::failed(error.to_string()),
    })
}

async fn require_log(settings: &Settings) -> Result<(), Failure> {
    let location = location(settings);
    let Location::Sqlite { file } = &location else {
        // A pool would try again until its time is over, and not say why.
        return location.reach().await.map_err(|error| database_failed(&error));
    };
    match File::open(file).and_then(|file| file.metadata()) {
        Ok(file) if file.len() > 0 => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Failure::failed(format!(
            "{} cannot be read: {error}; run this as the user who runs `authlog serve`",
            file.display()
        ))),
        _ => {
            let path = data_dir(settings).path().display().to_string();
            Err(Failure::failed(format!("there is no log in {path}; `authlog serve` makes one")))
        }
    }
}

fn unreadable(error: &sqlx::Error) -> Failure {
    if is_undefined_table(error) {
        return Failure::failed("there is no log in this database; `authlog serve` makes one");
    }
    database_failed(error)
}

/// What PostgreSQL says in a database that authlog has never written to.
fn is_undefined_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("42P01"))
}

pub(super) fn database_failed(error: &sqlx::Error) -> Failure {
    Failure::failed(format!("the database cannot be read: {error}"))
}

pub(super) async fn setup_status(settings: &Settings, json: bool) -> Result<(), Failure> {
    let row = reader(settings).await?.row::<SetupRow>("", &[]).await.map_err(|error| database_failed(&error))?;
    let row = row.ok_or_else(|| Failure::failed("the log is empty; `authlog serve` writes its first event"))?;
    let ready = row.state == SetupState::Ready;
    if json {
        let status = json!({
            "instance_id": row.instance_id,
            "state": row.state.as_str(),
            "setup_mode": !ready,
            "is_configured": ready,
            "runtime_mode": "remote",
            "remote_auth_mode": "oidc",
        });
        json_line(&status)?;
        return Ok(());
    }
    line(&format!("instance  {}", row.instance_id))?;
    line(&format!("state     {}", row.state.as_str()))?;
    if let Some(next) = next_step(row.state) {
        super::output::note(next);
    }
    Ok(())
}

/// What setup waits for.
fn next_step(state: SetupState) -> Option<&'static str> {
    match state {
        SetupState::Uninitialized => Some("Setup has not begun: `authlog setup token` issues a bootstrap token."),
        SetupState::BootstrapPending => Some(
            "A bootstrap token was issued: verify it, then configure the provider with its session. `authlog setup token` \
             issues another, and the first no longer works.",
        ),
        SetupState::IdpConfigured => Some("The provider is configured: now the owner signs in."),
        SetupState::OwnerCreated => Some("The owner is known: POST /v1/setup/complete ends setup."),
        SetupState::Ready => None,
    }
}

pub(super) async fn provider(settings: &Settings, json: bool) -> Result<(), Failure> {
    let row =
        reader(settings).await?.row::<IdentityProviderRow>("", &[]).await.map_err(|error| database_failed(&error))?;
    let Some((row, issuer_url)) = row.and_then(|row| row.issuer_url.clone().map(|issuer| (row, issuer))) else {
        return Err(Failure::failed("no identity provider is configured; set one with `authlog idp set`"));
    };
    let client_id = row.client_id.unwrap_or_default();
    if json {
        let shown = json!({
            "issuer_url": issuer_url,
            "client_id": client_id,
            "has_client_secret": row.client_secret.is_some(),
            "configured_at": row.configured_at,
        });
        json_line(&shown)?;
        return Ok(());
    }
    line(&format!("issuer         {issuer_url}"))?;
    line(&format!("client id      {client_id}"))?;
    line(&format!("client secret  {}", if row.client_secret.is_some() { "set" } else { "none (public client)" }))?;
    line(&format!("configured at  {}", time(row.configured_at.unwrap_or_default().0)))?;
    Ok(())
}
