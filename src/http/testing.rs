#![allow(clippy::unwrap_used)]
//! What the tests of this room share: settings from the text of a settings file.

use std::ffi::OsString;

use crate::settings::{GlobalArgs, Settings};

pub(super) fn settings(file: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("authlog.toml"), file).unwrap();
    let no_variables = Vec::<(OsString, OsString)>::new();
    Settings::load(&GlobalArgs::default(), None, no_variables, directory.path()).unwrap()
}
