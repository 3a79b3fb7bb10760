//! The one list of settings. `--help`, the docs page and the defaults all come from it.

/// A setting: how it is called, what it is when nobody sets it, what it accepts and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key of the file; the variable is `AUTHLOG_` and this in upper case.
    pub name: &'static str,
    /// The flag that sets it, for those that have one.
    pub flag: Option<&'static str>,
    /// The default as one would write it; `None` is "not set", or an empty list.
    pub default: Option<&'static str>,
    /// What is accepted.
    pub accepts: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Whether the value is kept out of messages.
    pub secret: bool,
}

impl Setting {
    /// The setting of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("AUTHLOG_{}", self.name.to_ascii_uppercase())
    }
}

const DURATION: &str = "a number from 1 with its unit: 90s, 15m, 24h, 30d; at most 3650d";

const fn setting(
    name: &'static str,
    default: Option<&'static str>,
    accepts: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, flag: None, default, accepts, meaning, secret: false }
}

impl Setting {
    const fn by_flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        Some("127.0.0.1:8787"),
        "an IP address and a port, such as 127.0.0.1:8787 or [::1]:8787",
        "where the service listens; port 0 takes a free one",
    )
    .by_flag("--listen"),
    setting(
        "database_url",
        Some("sqlite"),
        "sqlite (in the data directory) or postgres://USER:PASSWORD@HOST:PORT/NAME",
        "where the log lives",
    )
    .by_flag("--database-url")
    .secret(),
    setting(
        "data_dir",
        Some("./authlog-data"),
        "a directory; it is made when it does not exist",
        "the SQLite database, the master key and the command socket",
    )
    .by_flag("--data-dir"),
    setting(
        "public_url",
        None,
        "https://HOST or https://HOST:PORT, plain http on loopback only; no path, no credentials",
        "where browsers reach the service; its links come from here",
    )
    .by_flag("--public-url"),
    setting(
        "allowed_origins",
        None,
        "origins such as https://dashboard.example, without a path; never * or null",
        "dashboards elsewhere that may call with credentials and receive redirects",
    )
    .by_flag("--allowed-origin"),
    setting(
        "allowed_hosts",
        None,
        "host names or IP addresses without a port",
        "names besides loopback and public_url's that the service answers to",
    ),
    setting(
        "trusted_proxies",
        None,
        "IP addresses or networks such as 10.0.0.0/8 or fd00::/8, never all addresses",
        "whose X-Forwarded-For is believed",
    ),
    setting("bootstrap_token_ttl", Some("15m"), DURATION, "how long a bootstrap token can be used"),
    setting(
        "setup_session_ttl",
        Some("30m"),
        DURATION,
        "how long a setup session lives after its last accepted call, counted in steps of a minute",
    ),
    setting("auth_request_ttl", Some("10m"), DURATION, "how long a pending authorization request can be answered"),
    setting("session_ttl", Some("24h"), DURATION, "how long a user session lives, used or not"),
    setting(
        "session_idle_ttl",
        Some("off"),
        "off, or a number from 1 with its unit: 90s, 15m, 24h, 30d; at most session_ttl",
        "how long a user session lives unused; its last use is known to a tenth of this time or a minute, whichever is less, and it ends so much later at most",
    ),
    setting(
        "cache_lease",
        Some("250ms"),
        "0, or a number with ms or s, from 50ms to 5s; the same on every node",
        "on PostgreSQL, how long a node may check sessions from memory after it has looked at the log; 0 reads the rows at every call, for hosts that are suspended and continued as virtual machines",
    ),
    setting(
        "max_pending_auth_requests",
        Some("1000"),
        "a whole number from 1",
        "how many authorization requests may be pending at once",
    ),
    setting(
        "public_calls_per_minute",
        Some("120"),
        "a whole number; 0 is unlimited",
        "calls without a token that one source may make in a minute",
    ),
    setting(
        "require_verified_email",
        Some("true"),
        "true or false",
        "whether only a verified address claims an invitation; false accepts an absent claim",
    ),
    setting(
        "ca_file",
        None,
        "the path of a PEM file",
        "further authorities that the provider's certificate may come from",
    ),
    setting(
        "master_key_file",
        None,
        "the path of a file, or env:NAME for an environment variable; without it, master.key in the data directory",
        "the master key",
    ),
];
