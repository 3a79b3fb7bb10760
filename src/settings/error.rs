//! Why a start was stopped. Each is one line for the operator, and shows no secret.

use std::path::PathBuf;

/// A setting that cannot be used. `Display` is one line: the name, the source, the value unless it
/// is secret, and what is accepted.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A name that is no setting, in the file or the environment.
    #[error("unknown setting {name:?} from {origin}; known are: {}", known_names())]
    Unknown {
        /// The name as it was written, without the `AUTHLOG_` of a variable.
        name: String,
        /// The variable or the file.
        origin: String,
    },
    /// A value that is not accepted, by itself or together with the others.
    #[error("setting {name}{} from {origin} is not accepted: {problem}; wanted is {accepted}", shown(.value.as_deref()))]
    NotAccepted {
        /// The setting.
        name: &'static str,
        /// The flag, the variable or the file.
        origin: String,
        /// The value, unless it may hold a secret.
        value: Option<String>,
        /// What is wrong with it.
        problem: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// A settings file that cannot be read, or is not TOML.
    #[error("the settings file {} cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, without the file's text: a line of it may hold a password.
        reason: String,
    },
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!(" = {value:?}"))
}

fn known_names() -> String {
    let names: Vec<&str> = super::SETTINGS.iter().map(|setting| setting.name).collect();
    names.join(", ")
}
