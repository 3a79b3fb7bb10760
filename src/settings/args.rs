//! The flags that set something. Their values stay text here, so that a bad one is refused by the
//! same rule and the same line as a bad variable or a bad line of the file.

use std::fmt::Write as _;
use std::path::PathBuf;

use secrecy::SecretString;

use super::SETTINGS;

/// What `--help` calls them.
const COMMON: &str = "Common options";

/// The flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct GlobalArgs {
    /// The directory of the SQLite database and the master key [default: ./authlog-data]
    #[arg(long, global = true, value_name = "DIRECTORY", help_heading = COMMON, display_order = 100)]
    pub data_dir: Option<String>,
    /// Where the log lives: sqlite or postgres://... [default: sqlite, in the data directory]
    #[arg(long, global = true, value_name = "URL", help_heading = COMMON, display_order = 101)]
    pub database_url: Option<SecretString>,
    /// The settings file [default: authlog.toml in the working directory, when there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = COMMON, display_order = 102)]
    pub config: Option<PathBuf>,
}

/// The flags of `authlog serve`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_long_help = settings_help())]
pub struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Where browsers reach the service: `https://HOST`, or http on loopback
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// A dashboard on another origin; may be given several times
    #[arg(long = "allowed-origin", value_name = "ORIGIN")]
    pub allowed_origins: Vec<String>,
}

/// The settings as `--help` shows them: two lines each, from the table.
pub fn settings_help() -> String {
    let mut help = String::from(
        "Examples:\n  authlog serve\n  authlog serve --listen 0.0.0.0:8787 --public-url https://auth.example.com\n\n\
         Settings (a flag, else AUTHLOG_ and the name in upper case, else the settings file, which is\n\
         what --config or AUTHLOG_CONFIG names, else authlog.toml in the working directory):\n",
    );
    for setting in SETTINGS {
        let default = setting.default.unwrap_or("none");
        // Writing to a String cannot fail.
        let _ =
            write!(help, "\n  {} [default: {default}]\n      {}; {}\n", setting.name, setting.meaning, setting.accepts);
    }
    help
}
