#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A working directory, perhaps with an `authlog.toml`, and what a process would be given.
struct Given {
    directory: TempDir,
    global: GlobalArgs,
    serve: ServeArgs,
    variables: Vec<(OsString, OsString)>,
}

impl Given {
    fn nothing() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            global: GlobalArgs::default(),
            serve: ServeArgs::default(),
            variables: Vec::new(),
        }
    }

    fn file(self, text: &str) -> Self {
        std::fs::write(self.directory.path().join("authlog.toml"), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(&self.global, Some(&self.serve), self.variables.clone(), self.directory.path())
    }

    /// The line that stops the start, with the directory's name taken out.
    fn refusal(&self) -> String {
        let line = self.load().unwrap_err().to_string();
        assert!(!line.contains('\n'), "one line: {line}");
        line.replace(&self.directory.path().display().to_string(), ".")
    }
}

#[test]
fn without_anything_given_every_default_holds() {
    let settings = Given::nothing().load().unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8787");
    assert_eq!(settings.database.redacted(), "sqlite in \"./authlog-data\"");
    assert_eq!(settings.data_dir, Path::new("./authlog-data"));
    assert_eq!(settings.public_url, None);
    assert_eq!(settings.allowed_origins, []);
    assert_eq!(settings.allowed_hosts, []);
    assert_eq!(settings.trusted_proxies, TrustedProxies::default());
    assert_eq!(settings.bootstrap_token_ttl.get(), 15 * 60);
    assert_eq!(settings.setup_session_ttl.get(), 30 * 60);
    assert_eq!(settings.auth_request_ttl.get(), 10 * 60);
    assert_eq!(settings.session_ttl.get(), 24 * 60 * 60);
    assert_eq!(settings.session_idle_ttl, None);
    assert_eq!(settings.cache_lease.as_duration(), Duration::from_millis(250));
    assert_eq!(settings.max_pending_auth_requests.get(), 1000);
    assert_eq!(settings.public_calls_per_minute.unwrap().get(), 120);
    assert!(settings.require_verified_email);
    assert_eq!(settings.ca_file, None);
    assert_eq!(settings.master_key_file, None);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let mut given = Given::nothing().file("listen = '127.0.0.1:1'");
    assert_eq!(given.load().unwrap().listen.port(), 1);
    given = given.variable("AUTHLOG_LISTEN", "127.0.0.1:2");
    assert_eq!(given.load().unwrap().listen.port(), 2);
    given.serve.listen = Some("127.0.0.1:3".into());
    assert_eq!(given.load().unwrap().listen.port(), 3);
}

#[test]
fn lists_are_arrays_in_the_file_commas_in_the_environment_and_repeated_flags() {
    let mut given = Given::nothing().file("allowed_origins = ['https://a.example', 'https://b.example']");
    let shown = |given: &Given| -> Vec<String> {
        given.load().unwrap().allowed_origins.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(&given), ["https://a.example", "https://b.example"]);
    given = given.variable("AUTHLOG_ALLOWED_ORIGINS", "https://c.example, https://d.example");
    assert_eq!(shown(&given), ["https://c.example", "https://d.example"]);
    given.serve.allowed_origins = vec!["https://e.example".into()];
    assert_eq!(shown(&given), ["https://e.example"]);
    given = Given::nothing().variable("AUTHLOG_ALLOWED_ORIGINS", "");
    assert_eq!(shown(&given), [""; 0]);
}

#[test]
fn every_setting_can_be_written_in_the_file_and_in_the_environment() {
    let values = [
        ("listen", "[::1]:0"),
        ("database_url", "postgres://a:b@c/d"),
        ("data_dir", "/srv/authlog"),
        ("public_url", "https://auth.example"),
        ("allowed_origins", "https://dash.example"),
        ("allowed_hosts", "auth.internal"),
        ("trusted_proxies", "10.0.0.0/8"),
        ("bootstrap_token_ttl", "1m"),
        ("setup_session_ttl", "2m"),
        ("auth_request_ttl", "3m"),
        ("session_ttl", "4m"),
        ("session_idle_ttl", "4m"),
        ("cache_lease", "0"),
        ("max_pending_auth_requests", "5"),
        ("public_calls_per_minute", "0"),
        ("require_verified_email", "false"),
        ("ca_file", "ca.pem"),
        ("master_key_file", "key"),
    ];
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(values.map(|(name, _)| name).as_slice(), names);

    let by_file = values.map(|(name, value)| format!("{name} = {value:?}\n")).concat();
    let by_variable = values.iter().fold(Given::nothing(), |given, (name, value)| {
        given.variable(&Setting::named(name).unwrap().variable(), value)
    });
    for given in [Given::nothing().file(&by_file), by_variable] {
        let settings = given.load().unwrap();
        assert_eq!(settings.database.redacted(), "postgres://a:***@c/d");
        assert_eq!(settings.public_calls_per_minute, None);
        assert!(settings.cache_lease.as_duration().is_zero());
        assert!(!settings.require_verified_email);
        assert_eq!(settings.session_idle_ttl, Some(settings.session_ttl));
        assert_eq!(settings.master_key_file.as_deref(), Some(Path::new("key")));
        assert!(!format!("{settings:?}").contains(":b@"), "a password in {settings:?}");
    }
}

#[test]
fn numbers_and_truth_values_need_no_quotes_in_the_file() {
    let file = "cache_lease = 0\nmax_pending_auth_requests = 7\nrequire_verified_email = false\n";
    let settings = Given::nothing().file(file).load().unwrap();
    assert!(settings.cache_lease.as_duration().is_zero());
    assert_eq!(settings.max_pending_auth_requests.get(), 7);
    assert!(!settings.require_verified_email);
}

#[test]
fn an_unknown_name_stops_the_start_and_is_named() {
    let known = SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
    assert_eq!(
        Given::nothing().file("sesion_ttl = '1h'").refusal(),
        format!("unknown setting \"sesion_ttl\" from ./authlog.toml; known are: {known}")
    );
    assert_eq!(
        Given::nothing().variable("AUTHLOG_SESION_TTL", "1h").refusal(),
        format!("unknown setting \"SESION_TTL\" from the environment (AUTHLOG_SESION_TTL); known are: {known}")
    );
}

#[test]
fn variables_of_others_and_of_the_tests_are_left_alone() {
    let given =
        Given::nothing().variable("AUTHLOGIN", "x").variable("LISTEN", "x").variable("AUTHLOG_TEST_DATABASE", "x");
    assert!(given.load().is_ok());
}

#[test]
fn a_bad_value_is_named_with_its_source_and_with_what_is_accepted() {
    let duration = "wanted is a number from 1 with its unit: 90s, 15m, 24h, 30d; at most 3650d";
    assert_eq!(
        Given::nothing().file("session_ttl = 24").refusal(),
        format!(
            "setting session_ttl = \"24\" from ./authlog.toml is not accepted: \
             it is not a number followed by s, m, h or d; {duration}"
        )
    );
    assert_eq!(
        Given::nothing().variable("AUTHLOG_SESSION_TTL", "1\nh").refusal(),
        format!(
            "setting session_ttl = \"1\\nh\" from AUTHLOG_SESSION_TTL is not accepted: \
             it is not a number followed by s, m, h or d; {duration}"
        )
    );
    let mut given = Given::nothing();
    given.serve.allowed_origins = vec!["https://a.example".into(), "*".into()];
    assert_eq!(
        given.refusal(),
        "setting allowed_origins = \"https://a.example, *\" from --allowed-origin is not accepted: it is \
         not an absolute http or https URL; wanted is origins such as https://dashboard.example, \
         without a path; never * or null"
    );
}

#[test]
fn a_refused_database_url_is_not_repeated() {
    for url in ["mysql://ann:geheim@db/log", "postgres://ann:ge/heim@db/log"] {
        let line = Given::nothing().variable("AUTHLOG_DATABASE_URL", url).refusal();
        assert!(line.starts_with("setting database_url from AUTHLOG_DATABASE_URL is not accepted: "), "{line}");
        assert!(!line.contains("heim"), "{line}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    for (file, name) in [
        ("listen = ['127.0.0.1:1']", "listen"),
        ("listen = ''", "listen"),
        ("[session_ttl]\nhours = 1", "session_ttl"),
        ("allowed_hosts = [1]", "allowed_hosts"),
        ("max_pending_auth_requests = 1.5", "max_pending_auth_requests"),
        ("max_pending_auth_requests = 0", "max_pending_auth_requests"),
        ("public_calls_per_minute = -1", "public_calls_per_minute"),
        ("require_verified_email = 'yes'", "require_verified_email"),
        ("trusted_proxies = '0.0.0.0/0'", "trusted_proxies"),
        ("public_url = 'https://auth.example/app'", "public_url"),
        ("public_url = 'https://me:geheim@auth.example'", "public_url"),
        ("session_ttl = 1979-05-27T07:32:00Z", "session_ttl"),
    ] {
        let line = Given::nothing().file(file).refusal();
        assert!(line.starts_with(&format!("setting {name}")), "{file}: {line}");
        assert!(!line.contains("geheim"), "{line}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let line = Given::nothing().variable("AUTHLOG_PUBLIC_URL", "http://auth.example").refusal();
    assert!(line.contains("plain http sends tokens in the clear"), "{line}");
    let loopback = Given::nothing().variable("AUTHLOG_PUBLIC_URL", "http://localhost:8787");
    assert!(loopback.load().is_ok());
    let line = Given::nothing().variable("AUTHLOG_SESSION_IDLE_TTL", "25h").refusal();
    assert!(line.contains("it is longer than session_ttl, which is 1d"), "{line}");
}

#[test]
fn a_variable_that_is_not_text_is_refused() {
    let mut given = Given::nothing();
    given.variables.push(("AUTHLOG_LISTEN".into(), OsString::from_vec(vec![0xff])));
    assert!(given.refusal().starts_with("setting listen from AUTHLOG_LISTEN is not accepted: it is not UTF-8"));
}

#[test]
fn a_named_settings_file_must_exist_and_wins_over_the_one_in_the_directory() {
    let mut given = Given::nothing().file("listen = '127.0.0.1:1'");
    let other = given.directory.path().join("other.toml");
    given = given.variable("AUTHLOG_CONFIG", &other.display().to_string());
    let line = given.refusal();
    assert!(line.starts_with("the settings file ./other.toml cannot be used: "), "{line}");
    std::fs::write(&other, "listen = '127.0.0.1:2'").unwrap();
    assert_eq!(given.load().unwrap().listen.port(), 2);
    given.global.config = Some(given.directory.path().join("authlog.toml"));
    assert_eq!(given.load().unwrap().listen.port(), 1);
}

#[test]
fn a_settings_file_that_is_no_toml_is_refused_without_its_text() {
    let line = Given::nothing().file("database_url = 'postgres://ann:geheim@db/log\n").refusal();
    assert!(line.starts_with("the settings file ./authlog.toml cannot be used: "), "{line}");
    assert!(line.contains("line 1"), "{line}");
    assert!(!line.contains("geheim"), "{line}");
}

#[test]
fn help_names_every_setting_with_its_default() {
    let help = settings_help();
    for setting in SETTINGS {
        let default = setting.default.unwrap_or("none");
        assert!(help.contains(&format!("  {} [default: {default}]\n", setting.name)), "{help}");
        assert!(help.contains(setting.meaning), "{help}");
    }
}

#[test]
fn the_flags_of_the_table_are_those_of_the_command_line() {
    use clap::{Args as _, Command};
    let command = ServeArgs::augment_args(GlobalArgs::augment_args(Command::new("authlog")));
    let mut flags: Vec<String> =
        command.get_arguments().filter_map(|flag| flag.get_long()).map(|flag| format!("--{flag}")).collect();
    let mut named: Vec<String> = SETTINGS.iter().filter_map(|setting| setting.flag).map(str::to_owned).collect();
    named.push("--config".into());
    flags.sort();
    named.sort();
    assert_eq!(flags, named);
}
