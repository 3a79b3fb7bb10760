//! The settings of the service: what can be set, where it may come from, and what it means.
//!
//! A setting comes from a flag, else from its `AUTHLOG_*` variable, else from the settings file,
//! else from its default. The file is the one `--config` (or `AUTHLOG_CONFIG`) names, which must
//! exist, else `authlog.toml` in the working directory, when there is one. Relative paths are
//! relative to the working directory, wherever they are written.
//!
//! Nothing is guessed: an unknown name or a value that cannot be used stops the start with one line.
//! No setting is read anywhere but here, and no value that may hold a secret is printed from here.

mod args;
mod database;
mod duration;
mod error;
pub mod limits;
mod network;
mod origin;
mod sources;
mod table;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

pub use self::args::{GlobalArgs, ServeArgs, settings_help};
pub use self::database::{Database, PostgresUrl};
pub use self::duration::{Lease, Seconds};
pub use self::error::SettingsError;
pub(crate) use self::network::masked;
pub use self::network::{Network, TrustedProxies};
pub use self::origin::{HostName, Origin, OriginError, Scheme};
pub use self::table::{SETTINGS, Setting};

use self::database::DatabaseText;
use self::duration::MaybeSeconds;
use self::sources::Sources;

/// Every setting of the service, parsed and checked. `SETTINGS` describes each of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the service listens. Default 127.0.0.1:8787; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the log lives. Default: SQLite in the data directory.
    pub database: Database,
    /// The directory of the SQLite database, the master key and the command socket. Default `./authlog-data`.
    pub data_dir: PathBuf,
    /// Where browsers reach the service. Its links come from here and from nowhere else. Default: not set.
    pub public_url: Option<Origin>,
    /// Dashboards on other origins: they may call with credentials and receive redirects. Default: none.
    pub allowed_origins: Vec<Origin>,
    /// Names besides loopback and `public_url`'s that the service answers to. Default: none.
    pub allowed_hosts: Vec<HostName>,
    /// Whose `X-Forwarded-For` is believed. Default: nobody's.
    pub trusted_proxies: TrustedProxies,
    /// How long a bootstrap token can be used. Default 15 minutes.
    pub bootstrap_token_ttl: Seconds,
    /// How long a setup session lives after its last accepted call. Default 30 minutes.
    pub setup_session_ttl: Seconds,
    /// How long a pending authorization request can be answered. Default 10 minutes.
    pub auth_request_ttl: Seconds,
    /// How long a user session lives, used or not. Default 24 hours.
    pub session_ttl: Seconds,
    /// How long a user session lives unused. Default: as long as `session_ttl`.
    pub session_idle_ttl: Option<Seconds>,
    /// On PostgreSQL, how long a node may check sessions from memory after it has looked at the log. Default 250 ms; 0 never.
    pub cache_lease: Lease,
    /// How many authorization requests may be pending at once. Default 1000.
    pub max_pending_auth_requests: NonZeroU32,
    /// Calls without a token that one source may make in a minute. Default 120; `None` is unlimited.
    pub public_calls_per_minute: Option<NonZeroU32>,
    /// Whether a sign-in may claim an invitation only with a verified address. Default true.
    pub require_verified_email: bool,
    /// A PEM file of further authorities that the provider's certificate may come from. Default: none.
    pub ca_file: Option<PathBuf>,
    /// The file of the master key. Default: `master.key` in the data directory.
    pub master_key_file: Option<PathBuf>,
}

impl Settings {
    /// The settings of this process: its flags, its environment, its working directory.
    pub fn of_process(global: &GlobalArgs, serve: Option<&ServeArgs>) -> Result<Self, SettingsError> {
        Self::load(global, serve, std::env::vars_os(), Path::new("."))
    }

    /// The settings from what is given: flags, environment variables, and the directory in which
    /// `authlog.toml` is looked for.
    pub fn load(
        global: &GlobalArgs,
        serve: Option<&ServeArgs>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        directory: &Path,
    ) -> Result<Self, SettingsError> {
        let sources = Sources::collect(global, serve, environment, directory)?;
        let data_dir: PathBuf = sources.one("data_dir")?;
        let settings = Self {
            listen: sources.one("listen")?,
            database: sources.one::<DatabaseText>("database_url")?.within(&data_dir),
            data_dir,
            public_url: sources.optional("public_url")?,
            allowed_origins: sources.many("allowed_origins")?,
            allowed_hosts: sources.many("allowed_hosts")?,
            trusted_proxies: TrustedProxies::new(sources.many("trusted_proxies")?),
            bootstrap_token_ttl: sources.one("bootstrap_token_ttl")?,
            setup_session_ttl: sources.one("setup_session_ttl")?,
            auth_request_ttl: sources.one("auth_request_ttl")?,
            session_ttl: sources.one("session_ttl")?,
            session_idle_ttl: sources.one::<MaybeSeconds>("session_idle_ttl")?.0,
            cache_lease: sources.one("cache_lease")?,
            max_pending_auth_requests: sources.one("max_pending_auth_requests")?,
            public_calls_per_minute: NonZeroU32::new(sources.one("public_calls_per_minute")?),
            require_verified_email: sources.one("require_verified_email")?,
            ca_file: sources.optional("ca_file")?,
            master_key_file: sources.optional("master_key_file")?,
        };
        settings.check_together(&sources)?;
        Ok(settings)
    }

    /// What each setting allows by itself and the settings together do not.
    fn check_together(&self, sources: &Sources) -> Result<(), SettingsError> {
        if let Some(public_url) = &self.public_url
            && public_url.scheme() == Scheme::Http
            && !public_url.is_loopback()
        {
            return Err(sources.refuse("public_url", "plain http sends tokens in the clear; it is for loopback only"));
        }
        if self.session_idle_ttl > Some(self.session_ttl) {
            return Err(sources
                .refuse("session_idle_ttl", &format!("it is longer than session_ttl, which is {}", self.session_ttl)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
