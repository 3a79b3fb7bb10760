//! Starts the npm provider of `tests/provider`: a certified implementation that is not ours.

use crate::wire::{Request, WireError};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

const START_DEADLINE: Duration = Duration::from_secs(30);
const READY: &str = "OP ready: ";

/// The password of all its accounts.
pub const PASSWORD: &str = "password";

/// How the provider is set up. Its clients are those of its `server.js`; their ids and secrets are those of
/// [`crate::Client::defaults`].
#[derive(Clone, Debug, Default)]
pub struct NpmOptions {
    /// The redirect URIs of every client, to the letter; none: those of authlog's default address.
    pub redirect_uris: Vec<String>,
    /// Whether email and profile are in userinfo only.
    pub claims_in_userinfo: bool,
}

/// Why the provider did not start or did not obey.
#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    /// Its packages are not installed.
    #[error("{} is missing: run npm ci in tests/provider", .0.display())]
    NotInstalled(PathBuf),
    /// `node` cannot be run.
    #[error("cannot run node: {0}")]
    Node(#[source] io::Error),
    /// It ended, or was not ready within 30 seconds; its standard error says more.
    #[error("the npm provider did not say that it is ready: {0}")]
    NotReady(&'static str),
    /// An administrative call failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An administrative call was refused.
    #[error("the npm provider refused {path}: {body}")]
    Refused {
        /// What was called.
        path: &'static str,
        /// The answer.
        body: String,
    },
}

/// A running npm provider. Dropping it kills the process; it also ends by itself when this process is killed.
pub struct NpmProvider {
    issuer: Url,
    // read and written by nobody any more: closing them would end the child or break its output
    _child: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl NpmProvider {
    /// Runs `node server.js` in `folder` on a free port and waits for its ready line. What it says on standard error goes
    /// to ours.
    pub async fn start(folder: &Path, options: &NpmOptions) -> Result<Self, NpmError> {
        let packages = folder.join("node_modules").join("oidc-provider");
        if !packages.is_dir() {
            return Err(NpmError::NotInstalled(packages));
        }
        let mut command = Command::new("node");
        command
            // Node 20 sometimes waits for itself for ever when it collects garbage while it exports a new key: there is none
            // to collect as long as the young objects have room.
            .args(["--min-semi-space-size=64", "--max-semi-space-size=64", "server.js"])
            .current_dir(folder)
            .env("OP_PORT", "0")
            .env("OP_EXIT_WITH_PARENT", "true")
            .env("OP_CLAIMS_IN", if options.claims_in_userinfo { "userinfo" } else { "id_token" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if !options.redirect_uris.is_empty() {
            command.env("OP_REDIRECT_URIS", options.redirect_uris.join(" "));
        }
        let mut child = command.spawn().map_err(NpmError::Node)?;
        let output = child.stdout.take().ok_or(NpmError::NotReady("its output cannot be read"))?;
        let mut lines = BufReader::new(output).lines();
        let issuer = tokio::time::timeout(START_DEADLINE, ready_line(&mut lines))
            .await
            .map_err(|_| NpmError::NotReady("30 seconds have passed"))??;
        Ok(Self { issuer, _child: child, _output: lines })
    }

    /// The issuer, `http://127.0.0.1:PORT` without a slash at the end.
    pub fn issuer(&self) -> &str {
        // a URL without a path is written with one slash
        self.issuer.as_str().trim_end_matches('/')
    }

    /// Signs with new keys from now on.
    pub async fn rotate_keys(&self, rotation: crate::Rotation) -> Result<(), NpmError> {
        let mode = match rotation {
            crate::Rotation::Add => "add",
            crate::Rotation::Replace => "replace",
            crate::Rotation::SameKeyId => "same_kid",
        };
        self.admin("/__admin/rotate-keys", &json!({"mode": mode})).await
    }

    /// Changes claims of an account, or makes a new one (subject `LOGIN-1`); a null removes the claim.
    pub async fn set_claims(&self, account: &str, claims: &Value) -> Result<(), NpmError> {
        self.admin("/__admin/account", &json!({"account": account, "claims": claims})).await
    }

    async fn admin(&self, path: &'static str, document: &Value) -> Result<(), NpmError> {
        let mut url = self.issuer.clone();
        url.set_path(path);
        let answer = Request::post_json(&url, document).send().await?;
        if answer.status == 200 { Ok(()) } else { Err(NpmError::Refused { path, body: answer.text() }) }
    }
}

async fn ready_line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Url, NpmError> {
    while let Some(line) = lines.next_line().await.map_err(NpmError::Node)? {
        if let Some(issuer) = line.strip_prefix(READY) {
            return Url::parse(issuer.trim()).map_err(|_| NpmError::NotReady("its ready line holds no URL"));
        }
    }
    Err(NpmError::NotReady("it has ended"))
}
