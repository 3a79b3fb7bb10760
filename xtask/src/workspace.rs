//! Where the project is, and how its commands are called there.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::{Failure, While};

/// The folders everything else is relative to.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo, because only cargo knows about a target folder that was configured elsewhere.
    pub(crate) fn find() -> Result<Self, Failure> {
        // `cargo run` names the manifest's folder; without cargo it is where this was compiled.
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let output = cargo(&manifest)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .output()
            .while_doing("starting cargo metadata")?;
        if !output.status.success() {
            return Err(Failure::new(format!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).while_doing("reading cargo metadata")?;
        let folder = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .ok_or_else(|| Failure::new(format!("cargo metadata names no {key}")))
        };
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")? })
    }

    /// A cargo command in the root.
    pub(crate) fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// Any other program in the root, also free of what `cargo run` put into the environment.
    pub(crate) fn tool(&self, program: impl AsRef<OsStr>) -> Command {
        clean_command(program.as_ref(), &self.root)
    }
}

fn cargo(folder: &Path) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    clean_command(&program, folder)
}

/// Build scripts (ring's, for one) ask to run again when `CARGO_PKG_NAME` and its like change.
/// `cargo run` sets them for `xtask`, so without this a build from here and a build from the
/// shell would take turns recompiling each other's dependencies.
fn clean_command(program: &OsStr, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let from_cargo_run =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix))
                || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&text.as_ref());
        if from_cargo_run {
            command.env_remove(name);
        }
    }
    command
}
