//! `cargo xtask fuzz`: runs the targets under `fuzz/`, each for a while, beginning with its corpus.
//!
//! The corpus that is committed stays small; what a run finds on its way is kept under `target/`, and the next run begins there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use crate::failure::{Failure, While};
use crate::guard::{Guard, StopSignal};
use crate::tools::{self, CARGO_FUZZ};
use crate::workspace::Workspace;

/// A target found something: as for any check that finds a difference.
const FOUND: u8 = 3;
/// One input takes longer than this many seconds: that is found, too.
const SLOW_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 2048;
const LONGEST_INPUT_BYTES: u32 = 8192;

/// What `cargo xtask fuzz` takes.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz --seconds 600 id_token provider_documents\n\nNeeds a nightly toolchain and a C++ compiler. Exit code 3: a target found something, and the file it found it with is named."
)]
pub(crate) struct FuzzArgs {
    /// Only these targets; all if none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// List the targets instead of running them.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(workspace: &Workspace, guard: &Guard, args: &FuzzArgs) -> Result<ExitCode, Failure> {
    let known = targets(workspace)?;
    if args.list {
        println!("{}", known.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = args.targets.iter().find(|target| !known.contains(target)) {
        return Err(Failure::new(format!("there is no target {unknown}; there are {}", known.join(", "))));
    }
    let chosen = if args.targets.is_empty() { &known } else { &args.targets };
    tools::check_nightly(workspace)?;
    tools::check_cpp_compiler()?;
    let fuzzer = Fuzzer { workspace, guard, tool: CARGO_FUZZ.find_or_install(workspace, guard)? };
    println!("building the targets (minutes the first time)");
    fs::create_dir_all(fuzzer.home()).while_doing(format!("making {}", fuzzer.home().display()))?;
    guard.run_logged(&mut fuzzer.command("build"), &fuzzer.home().join("build.log"))?;
    let mut found = Vec::new();
    for target in chosen {
        let outcome = fuzzer.run(target, args.seconds)?;
        println!("{target:<20} {}", outcome.line());
        found.extend(outcome.found.into_iter().map(|file| (target, file)));
    }
    for (target, file) in &found {
        eprintln!("found: {}; keep it: cp it to fuzz/corpus/{target}/", file.display());
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// The names of the targets: their folder is the list.
fn targets(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for file in files(&folder)? {
        names.extend(file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let reading = || format!("reading {}", folder.display());
    let entries = fs::read_dir(folder).while_doing(reading())?;
    entries.map(|entry| entry.map(|entry| entry.path()).while_doing(reading())).collect()
}

struct Fuzzer<'a> {
    workspace: &'a Workspace,
    guard: &'a Guard,
    tool: PathBuf,
}

/// What a run of a target came to.
struct Outcome {
    /// Inputs tried.
    runs: u64,
    /// Inputs that reached something new.
    units: u64,
    found: Vec<PathBuf>,
    /// What the target said when it broke.
    complaint: Option<String>,
}

impl Fuzzer<'_> {
    fn command(&self, subcommand: &str) -> Command {
        let mut command = self.workspace.tool(&self.tool);
        command
            .arg(subcommand)
            // Nothing here is unsafe code of ours: what a sanitizer would look for the compiler has excluded, and without one
            // a target runs several times as often.
            .args(["--sanitizer", "none", "--target-dir"])
            .arg(self.home())
            .env("RUSTUP_TOOLCHAIN", "nightly")
            .env_remove("CARGO")
            .env_remove("CARGO_TARGET_DIR");
        command
    }

    fn home(&self) -> PathBuf {
        self.workspace.target.join("fuzz")
    }

    fn run(&self, target: &str, seconds: u32) -> Result<Outcome, Failure> {
        let grown = self.home().join("corpus").join(target);
        let artifacts = self.home().join("artifacts").join(target);
        for folder in [&grown, &artifacts] {
            fs::create_dir_all(folder).while_doing(format!("making {}", folder.display()))?;
        }
        let before = files(&artifacts)?;
        let log = self.home().join(format!("{target}.log"));
        let opening = || format!("opening {}", log.display());
        let file = File::create(&log).while_doing(opening())?;
        let second = file.try_clone().while_doing(opening())?;
        let mut command = self.command("run");
        command.arg(target).arg(&grown).arg(self.workspace.root.join("fuzz/corpus").join(target)).arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={SLOW_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={LONGEST_INPUT_BYTES}"),
            format!("-artifact_prefix={}/", artifacts.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let status = self.guard.spawn(&mut command, StopSignal::Terminate)?.wait()?;
        let output = fs::read(&log).while_doing(format!("reading {}", log.display()))?;
        let output = String::from_utf8_lossy(&output);
        let found: Vec<PathBuf> = files(&artifacts)?.into_iter().filter(|file| !before.contains(file)).collect();
        if found.is_empty() && !status.success() {
            return Err(Failure::new(format!("{target} ended with {status}; its output is in {}", log.display())));
        }
        Ok(Outcome::read(&output, found))
    }
}

impl Outcome {
    fn read(output: &str, found: Vec<PathBuf>) -> Self {
        let number = |name: &str| {
            let line = output.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let panicked = output.lines().skip_while(|line| !line.contains(" panicked at ")).take(2);
        let complaint: Vec<&str> = panicked.map(str::trim).collect();
        Self {
            runs: number("stat::number_of_executed_units:").unwrap_or_default(),
            units: number("stat::new_units_added:").unwrap_or_default(),
            found,
            complaint: Some(complaint.join(" ")).filter(|complaint| !complaint.is_empty()),
        }
    }

    fn line(&self) -> String {
        let Self { runs, units, found, complaint } = self;
        let crashes = match (found.len(), complaint) {
            (0, _) => "0 crashes".to_owned(),
            (number, Some(complaint)) => format!("{number} crashes: {complaint}"),
            (number, None) => format!("{number} crashes (too slow, or too much memory)"),
        };
        format!("{runs:>10} runs {units:>6} new units  {crashes}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Outcome;

    #[test]
    fn the_figures_of_a_run_are_read_from_what_the_fuzzer_prints() {
        let output = "INFO: Seed: 1\nDone 1200 runs in 61 second(s)\nstat::number_of_executed_units: 1200\n\
                      stat::average_exec_per_sec:     19\nstat::new_units_added:          34\n";
        assert_eq!(Outcome::read(output, Vec::new()).line(), "      1200 runs     34 new units  0 crashes");
    }

    #[test]
    fn what_a_target_said_when_it_broke_is_told() {
        let output = "thread '<unnamed>' (7) panicked at src/fuzzing/address.rs:12:5:\nbob is too long\nnote: x\n";
        let line = Outcome::read(output, vec![PathBuf::from("crash-1")]).line();
        assert!(
            line.ends_with(
                "1 crashes: thread '<unnamed>' (7) panicked at src/fuzzing/address.rs:12:5: bob is too long"
            )
        );
    }
}
