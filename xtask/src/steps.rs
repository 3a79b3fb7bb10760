//! `cargo xtask test`: every check of the project, in one order, stopping at the first that fails.

use std::fs;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::contract;
use crate::demo;
use crate::failure::{Failure, While};
use crate::guard::Guard;
use crate::postgres::{self, Cluster};
use crate::tools::{self, CARGO_DENY, CARGO_NEXTEST};
use crate::workspace::Workspace;

/// The steps in the order they are run: what is quick, and what the later ones need, comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StepName {
    /// The cargo tools in their pinned versions, installed under target/tools if need be
    Tools,
    /// cargo fmt --check
    Fmt,
    /// cargo clippy, warnings are errors
    Clippy,
    /// cargo deny: licences, bans, sources (advisories: cargo xtask audit)
    Deny,
    /// npm ci for the OpenID provider the tests start
    Provider,
    /// A throw-away PostgreSQL cluster for the tests
    Postgres,
    /// cargo nextest, every case on SQLite and on PostgreSQL
    Tests,
    /// The examples in doc comments
    Doctests,
    /// cargo xtask demo --once
    Demo,
    /// Schemathesis: calls made up from the OpenAPI document, on both databases, answered as it says
    Contract,
}

impl StepName {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn about(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
    }
}

pub(crate) fn list() {
    for step in StepName::value_variants() {
        println!("{:<9} {}", step.name(), step.about());
    }
}

/// Runs the chosen steps, all if none is chosen.
pub(crate) fn run(workspace: &Workspace, guard: &Guard, chosen: &[StepName]) -> Result<(), Failure> {
    let steps: Vec<StepName> =
        StepName::value_variants().iter().copied().filter(|step| chosen.is_empty() || chosen.contains(step)).collect();
    let mut session = Session { workspace, guard, cluster: None };
    let mut summary = Vec::new();
    let begun = Instant::now();
    for (index, &step) in steps.iter().enumerate() {
        let name = step.name();
        println!("[{}/{}] {name}: {}", index + 1, steps.len(), step.about());
        let started = Instant::now();
        let outcome = session.take(step);
        let seconds = seconds(started.elapsed());
        match outcome {
            Ok(note) => summary.push(format!("ok      {name:<9} {seconds:>8}  {note}")),
            Err(failure) => {
                summary.push(format!("FAILED  {name:<9} {seconds:>8}"));
                let left = steps[index + 1..].iter();
                summary.extend(left.map(|step| format!("not run {}", step.name())));
                println!("\n{}\n", summary.join("\n"));
                return Err(Failure::new(format!(
                    "{name}: {failure}\nrepeat this step alone: cargo xtask test --step {name}"
                )));
            }
        }
        println!("{}", summary[index]);
    }
    println!("\n{}\nall in {}", summary.join("\n"), seconds(begun.elapsed()));
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What the steps share: a cluster that one started serves the next.
struct Session<'a> {
    workspace: &'a Workspace,
    guard: &'a Guard,
    cluster: Option<Cluster<'a>>,
}

impl Session<'_> {
    /// Runs one step; the answer is a note for the summary.
    fn take(&mut self, step: StepName) -> Result<String, Failure> {
        match step {
            StepName::Tools => self.tools(),
            StepName::Fmt => self.cargo(&["fmt", "--all", "--check"]),
            StepName::Clippy => self.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
            StepName::Deny => self.deny(),
            StepName::Provider => self.provider(),
            StepName::Postgres => {
                let cluster = self.cluster()?;
                Ok(format!("PostgreSQL {} is running", cluster.version))
            }
            StepName::Tests => self.tests(),
            StepName::Doctests => self.cargo(&["test", "--quiet", "--workspace", "--doc"]),
            StepName::Demo => {
                demo::run(self.workspace, self.guard, demo::Build::WithTests, demo::End::AfterTheWalk)?;
                Ok(String::new())
            }
            StepName::Contract => {
                let (workspace, guard) = (self.workspace, self.guard);
                contract::run(workspace, guard, &self.cluster()?.url)
            }
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.guard.run(self.workspace.cargo().args(arguments))?;
        Ok(String::new())
    }

    fn tools(&self) -> Result<String, Failure> {
        tools::check_components(self.workspace)?;
        tools::check_strace()?;
        for tool in [CARGO_NEXTEST, CARGO_DENY] {
            tool.find_or_install(self.workspace, self.guard)?;
        }
        Ok(String::new())
    }

    fn deny(&self) -> Result<String, Failure> {
        let deny = CARGO_DENY.find_or_install(self.workspace, self.guard)?;
        // Not --offline: a machine that has built nothing yet still has to fetch the crates whose
        // licences are read. None of these three checks needs more than that.
        let mut command = self.workspace.tool(deny);
        command.args(["--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
        self.guard.run(&mut command)?;
        Ok(String::new())
    }

    fn provider(&self) -> Result<String, Failure> {
        let folder = self.workspace.root.join("tests/provider");
        let Ok(wanted) = fs::read(folder.join("package-lock.json")) else {
            return Ok("there is no tests/provider/package-lock.json".to_owned());
        };
        self.guard
            .run(self.workspace.tool("node").arg("--version"))
            .map_err(|failure| Failure::new(format!("{failure} (Node.js 20 or later, with npm)")))?;
        let installed = folder.join("node_modules/.installed-package-lock.json");
        if fs::read(&installed).is_ok_and(|present| present == wanted) {
            return Ok("already installed".to_owned());
        }
        let mut command = self.workspace.tool("npm");
        command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
        self.guard.run(command.current_dir(&folder))?;
        fs::write(&installed, wanted).while_doing("noting what was installed")?;
        Ok(String::new())
    }

    fn cluster(&mut self) -> Result<&Cluster<'_>, Failure> {
        let cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => Cluster::start(self.guard)?,
        };
        Ok(self.cluster.insert(cluster))
    }

    fn tests(&mut self) -> Result<String, Failure> {
        let nextest = CARGO_NEXTEST.find_or_install(self.workspace, self.guard)?;
        let (workspace, guard) = (self.workspace, self.guard);
        let cluster = self.cluster()?;
        let mut command = workspace.tool(nextest);
        command.args(["nextest", "run", "--workspace", "--profile", "ci"]).env(postgres::URL_VARIABLE, &cluster.url);
        guard.run(&mut command)?;
        Ok(String::new())
    }
}
