//! Where settings come from: four layers, the first that names a setting wins, and each knows what
//! to call itself when its value is refused.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use secrecy::ExposeSecret;

use super::{GlobalArgs, SETTINGS, ServeArgs, Setting, SettingsError};

const PREFIX: &str = "AUTHLOG_";
/// Variables that belong to the project's own tests.
const TEST_PREFIX: &str = "AUTHLOG_TEST_";
/// Names the settings file; a variable without being a setting.
const CONFIG_VARIABLE: &str = "AUTHLOG_CONFIG";
const DEFAULT_FILE: &str = "authlog.toml";

/// The values of one layer.
struct Layer {
    values: Dict,
    metadata: Metadata,
}

impl Layer {
    fn new(
        values: Dict,
        name: &'static str,
        origin: impl Fn(&Setting) -> String + Clone + Send + Sync + 'static,
    ) -> Self {
        let metadata = Metadata::named(name).interpolater(move |_: &Profile, keys: &[&str]| {
            keys.first().and_then(|key| Setting::named(key)).map_or_else(String::new, &origin)
        });
        Self { values, metadata }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The four layers as one.
pub(super) struct Sources {
    figment: Figment,
}

impl Sources {
    pub(super) fn collect(
        global: &GlobalArgs,
        serve: Option<&ServeArgs>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        directory: &Path,
    ) -> Result<Self, SettingsError> {
        let (variables, config_variable) = read_environment(environment)?;
        let mut figment = Figment::from(defaults());
        let file = match global.config.clone().or(config_variable) {
            Some(named) => Some(named),
            None => Some(directory.join(DEFAULT_FILE)).filter(|file| file.exists()),
        };
        if let Some(file) = file {
            figment = figment.merge(read_file(&file)?);
        }
        Ok(Self { figment: figment.merge(variables).merge(flags(global, serve)) })
    }

    /// A setting that has a default.
    pub(super) fn one<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<T, SettingsError> {
        let text = self.text(name)?.unwrap_or_default();
        self.parsed(name, &text)
    }

    /// A setting that may be absent.
    pub(super) fn optional<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<Option<T>, SettingsError> {
        self.text(name)?.map(|text| self.parsed(name, &text)).transpose()
    }

    /// A list: an array in the file, else separated by commas. An empty text is an empty list.
    pub(super) fn many<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<Vec<T>, SettingsError> {
        let items = match self.value(name) {
            Some(Value::Array(_, items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<String>>>()
                .ok_or_else(|| self.refuse(name, "one of its items is not a text"))?,
            _ => match self.text(name)? {
                Some(text) if !text.trim().is_empty() => text.split(',').map(|item| item.trim().to_owned()).collect(),
                _ => Vec::new(),
            },
        };
        items.iter().map(|item| self.parsed(name, item)).collect()
    }

    /// The line that refuses this setting's value, for a reason that the value alone does not show.
    pub(super) fn refuse(&self, name: &'static str, problem: &str) -> SettingsError {
        let setting = Setting::named(name);
        let origin = self
            .figment
            .find_metadata(name)
            .map_or_else(|| String::from("nowhere"), |metadata| metadata.interpolate(&Profile::Default, &[name]));
        SettingsError::NotAccepted {
            name,
            origin,
            value: self
                .value(name)
                .filter(|_| setting.is_some_and(|setting| !setting.secret))
                .map(|value| shown(&value)),
            problem: problem.to_owned(),
            accepted: setting.map_or("", |setting| setting.accepts),
        }
    }

    fn value(&self, name: &str) -> Option<Value> {
        self.figment.find_value(name).ok()
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, SettingsError> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match scalar(&value) {
                Some(text) => Ok(Some(text)),
                None => Err(self.refuse(name, "it is not a single value")),
            },
        }
    }

    fn parsed<T: FromStr<Err: Display>>(&self, name: &'static str, text: &str) -> Result<T, SettingsError> {
        if text.is_empty() {
            return Err(self.refuse(name, "it is empty"));
        }
        text.parse().map_err(|problem: T::Err| self.refuse(name, &problem.to_string()))
    }
}

/// A text, a whole number or a truth value, as one would write it in the environment.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, truth) => Some(truth.to_string()),
        Value::Num(_, number) => number.to_i128().map(|number| number.to_string()),
        Value::Char(..) | Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_, items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Dict(..) => String::from("a table"),
        other => scalar(other).map_or_else(|| String::from("?"), |text| without_credentials(&text)),
    }
}

/// A URL with credentials is refused, and the line that refuses it is not the place to show them.
fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        _ => text.to_owned(),
    }
}

fn defaults() -> Layer {
    let values =
        SETTINGS.iter().filter_map(|setting| Some((setting.name.to_owned(), Value::from(setting.default?)))).collect();
    Layer::new(values, "the defaults", |_| String::from("the defaults"))
}

fn flags(global: &GlobalArgs, serve: Option<&ServeArgs>) -> Layer {
    let mut values = Dict::new();
    let mut set = |name: &str, value: Option<&str>| {
        values.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    };
    set("data_dir", global.data_dir.as_deref());
    set("database_url", global.database_url.as_ref().map(ExposeSecret::expose_secret));
    set("listen", serve.and_then(|serve| serve.listen.as_deref()));
    set("public_url", serve.and_then(|serve| serve.public_url.as_deref()));
    if let Some(serve) = serve.filter(|serve| !serve.allowed_origins.is_empty()) {
        values.insert(String::from("allowed_origins"), Value::from(serve.allowed_origins.clone()));
    }
    Layer::new(values, "the command line", |setting| setting.flag.unwrap_or_default().to_owned())
}

/// The layer of the environment, and the settings file it names.
fn read_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Layer, Option<PathBuf>), SettingsError> {
    let mut values = Dict::new();
    let mut config = None;
    for (variable, value) in environment {
        let variable = variable.to_string_lossy();
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if variable.starts_with(TEST_PREFIX) {
            continue;
        }
        if variable == CONFIG_VARIABLE {
            config = Some(PathBuf::from(value));
            continue;
        }
        let known = SETTINGS.iter().find(|setting| setting.variable() == variable);
        let setting = known.ok_or_else(|| SettingsError::Unknown {
            name: rest.to_owned(),
            origin: format!("the environment ({})", variable.escape_debug()),
        })?;
        let value = value.into_string().map_err(|_| SettingsError::NotAccepted {
            name: setting.name,
            origin: setting.variable(),
            value: None,
            problem: String::from("it is not UTF-8"),
            accepted: setting.accepts,
        })?;
        values.insert(setting.name.to_owned(), Value::from(value));
    }
    Ok((Layer::new(values, "the environment", Setting::variable), config))
}

fn read_file(path: &Path) -> Result<Layer, SettingsError> {
    let unusable = |reason: String| SettingsError::File { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let values: Dict = Toml::from_str(&text).map_err(|error| unusable(without_source(&error.to_string())))?;
    let origin = path.display().to_string();
    for name in values.keys() {
        if Setting::named(name).is_none() {
            return Err(SettingsError::Unknown { name: name.clone(), origin });
        }
    }
    Ok(Layer::new(values, "the settings file", move |_| origin.clone()))
}

/// The parser's message without the line it quotes, which may hold a password: its first line says
/// where, its last one what.
fn without_source(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(what)) => format!("{place}: {what}"),
        (Some(only), None) => only.to_owned(),
        (None, _) => String::from("it is not TOML"),
    }
}
