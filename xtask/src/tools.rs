//! The cargo tools the checks need, each in one pinned version: the one on PATH if it is that
//! version, else one installed under `target/tools`, never into the user's own cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, While};
use crate::guard::Guard;
use crate::workspace::Workspace;

/// A cargo subcommand from the package registry, and the version that is used.
pub(crate) struct Tool {
    package: &'static str,
    version: &'static str,
    default_features: bool,
}

pub(crate) const CARGO_NEXTEST: Tool = Tool {
    package: "cargo-nextest",
    version: "0.9.143",
    // Without the part that replaces its own binary.
    default_features: false,
};

pub(crate) const CARGO_DENY: Tool = Tool { package: "cargo-deny", version: "0.20.2", default_features: true };

pub(crate) const CARGO_FUZZ: Tool = Tool { package: "cargo-fuzz", version: "0.13.2", default_features: true };

impl Tool {
    /// Where the tool is; it is compiled first if need be, which takes minutes, once.
    pub(crate) fn find_or_install(&self, workspace: &Workspace, guard: &Guard) -> Result<PathBuf, Failure> {
        let home = workspace.target.join("tools");
        let installed = home.join("bin").join(self.package);
        for candidate in [PathBuf::from(self.package), installed.clone()] {
            if self.is(&candidate, workspace) {
                return Ok(candidate);
            }
        }
        self.install(workspace, guard, &home)?;
        if self.is(&installed, workspace) {
            return Ok(installed);
        }
        let Self { package, version, .. } = self;
        Err(Failure::new(format!("{package} was installed but is not version {version}")))
    }

    fn is(&self, candidate: &Path, workspace: &Workspace) -> bool {
        // "cargo-nextest 0.9.143 (60fa45f63 2026-08-04)", with more lines after it.
        workspace.tool(candidate).arg("--version").stderr(Stdio::null()).output().is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.split_whitespace().take(2).eq([self.package, self.version])
        })
    }

    /// Compiled for a short build, not for a fast tool: it runs for a second or two.
    fn install(&self, workspace: &Workspace, guard: &Guard, home: &Path) -> Result<(), Failure> {
        println!("installing {} {} into {}", self.package, self.version, home.display());
        let build = home.join("build");
        let mut command = workspace.cargo();
        command
            .args(["install", "--locked", self.package, "--version", self.version, "--root"])
            .arg(home)
            .env("CARGO_TARGET_DIR", &build)
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        if !self.default_features {
            command.arg("--no-default-features").args(["--features", "default-no-update"]);
        }
        guard.run(&mut command)?;
        fs::remove_dir_all(&build).while_doing(format!("removing {}", build.display()))
    }
}

/// Names what rustup should add, because a toolchain is the user's own.
pub(crate) fn check_components(workspace: &Workspace) -> Result<(), Failure> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let mut command = workspace.cargo();
        command.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            return Err(Failure::new(format!("{component} is missing: rustup component add {component}")));
        }
    }
    Ok(())
}

/// Fuzzing instruments what it compiles, which only a nightly compiler does.
pub(crate) fn check_nightly(workspace: &Workspace) -> Result<(), Failure> {
    let mut command = workspace.tool("rustup");
    command.args(["run", "nightly", "rustc", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if command.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Failure::new("a nightly toolchain is missing: rustup toolchain install nightly --profile minimal"))
}

/// libFuzzer is C++.
pub(crate) fn check_cpp_compiler() -> Result<(), Failure> {
    let runs = Command::new("c++").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if runs.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Failure::new("a C++ compiler is missing: install the package g++"))
}

/// Names the package to install: it belongs to the system. The tests of crashes watch what the server asks of the kernel.
pub(crate) fn check_strace() -> Result<(), Failure> {
    let runs = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if runs.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Failure::new("strace is missing: install the package strace"))
}
