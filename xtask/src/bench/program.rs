//! The programs that are measured and the ones that measure, each on its core.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::fill;
use crate::failure::{Failure, While};
use crate::guard::{Folder, Guard, StopSignal, Ward, wait_until};
use crate::http::{self, Request};
use crate::postgres::free_port;
use crate::workspace::Workspace;

const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How often a starting server is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// What `getconf CLK_TCK` says on every Linux there is: the unit of times in /proc.
const CLOCK_TICKS_A_SECOND: f64 = 100.0;

/// A core of this machine.
#[derive(Clone, Copy)]
pub(super) struct Core(usize);

/// The release binaries, and one core for servers and one for load.
pub(super) struct Programs<'g> {
    pub(super) authlog: PathBuf,
    bench: PathBuf,
    pub(super) guard: &'g Guard,
    server_core: Core,
    load_core: Core,
}

impl<'g> Programs<'g> {
    pub(super) fn build(workspace: &Workspace, guard: &'g Guard) -> Result<Self, Failure> {
        let [server_core, load_core] = two_cores()?;
        let mut command = workspace.cargo();
        command.args(["build", "--release", "--locked", "--package", "authlog", "--package", "bench", "--bins"]);
        guard.run(command.stdout(Stdio::null()))?;
        let folder = workspace.target.join("release");
        Ok(Self { authlog: folder.join("authlog"), bench: folder.join("bench"), guard, server_core, load_core })
    }

    /// Runs a subcommand of `bench` to its end, on both cores, and reads the JSON object it prints.
    pub(super) fn bench(&self, arguments: &[&str]) -> Result<Value, Failure> {
        self.answer(Command::new(&self.bench).args(arguments))
    }

    /// The same on the load generator's core.
    pub(super) fn load(&self, arguments: &[&str]) -> Result<Value, Failure> {
        self.answer(pinned(self.load_core, &self.bench).args(arguments))
    }

    /// Starts a subcommand of `bench` on the load generator's core, which says in a line when it is where it should be, and stays
    /// until this is dropped. It may open as many files as this machine allows.
    pub(super) fn stay(&self, arguments: &[&str]) -> Result<Ward<'g>, Failure> {
        let mut command = pinned(self.load_core, Path::new("sh"));
        command.args(["-c", "ulimit -n $(ulimit -Hn) && exec \"$0\" \"$@\""]).arg(&self.bench).args(arguments);
        let mut process =
            self.guard.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), StopSignal::Terminate)?;
        let mut line = String::new();
        if let Some(output) = process.take_stdout() {
            BufReader::new(output).read_line(&mut line).while_doing("reading what bench prints")?;
        }
        if line.is_empty() {
            return Err(Failure::new(format!("`{}` did not get there", crate::guard::spoken(&command))));
        }
        Ok(process)
    }

    fn answer(&self, command: &mut Command) -> Result<Value, Failure> {
        let mut process =
            self.guard.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), StopSignal::Terminate)?;
        let mut answer = String::new();
        if let Some(output) = process.take_stdout() {
            for line in BufReader::new(output).lines() {
                answer = line.while_doing("reading what bench prints")?;
            }
        }
        let status = process.wait()?;
        if !status.success() {
            return Err(Failure::new(format!("`{}` ended with {status}", crate::guard::spoken(command))));
        }
        serde_json::from_str(&answer).while_doing("reading what bench prints")
    }

    /// Starts `authlog serve` on its core and waits until it is ready.
    pub(super) fn serve(&self, folder: &Path, database_url: Option<&str>) -> Result<Server<'g>, Failure> {
        self.serve_by(pinned(self.server_core, &self.authlog), folder, database_url)
    }

    /// The same on whatever cores there are.
    pub(super) fn serve_on_all_cores(&self, folder: &Path, database_url: Option<&str>) -> Result<Server<'g>, Failure> {
        self.serve_by(Command::new(&self.authlog), folder, database_url)
    }

    fn serve_by(&self, mut command: Command, folder: &Path, database_url: Option<&str>) -> Result<Server<'g>, Failure> {
        let address = format!("127.0.0.1:{}", free_port()?);
        command.args(["serve", "--listen", &address, "--data-dir"]).arg(folder);
        if let Some(url) = database_url {
            command.args(["--database-url", url]);
        }
        // What the service says goes to a file, as under a service manager, with the level it has by default.
        command.env_remove("RUST_LOG").env("AUTHLOG_PUBLIC_CALLS_PER_MINUTE", "0").current_dir(folder);
        let mut server = self.start(command, address, &folder.join("server.log"))?;
        let url = format!("http://{}/readyz", server.address);
        server.wait(|_| {
            let ready = Request { method: "GET", url: &url, bearer: None, body: None };
            http::send(ready).is_ok_and(|answer| answer.status == 200).then_some(())
        })?;
        Ok(server)
    }

    /// Starts the bare route.
    pub(super) fn route(&self, folder: &Path, body: &str) -> Result<Server<'g>, Failure> {
        let mut command = pinned(self.server_core, &self.bench);
        command.args(["route", "--body", body]);
        let mut server = self.start(command, String::new(), &folder.join("route.log"))?;
        server.address = server.wait(|log| {
            let (_, rest) = log.split_once("listens on http://")?;
            rest.split_once('\n').map(|(address, _)| address.to_owned())
        })?;
        Ok(server)
    }

    fn start(&self, mut command: Command, address: String, log: &Path) -> Result<Server<'g>, Failure> {
        let file = File::create(log).while_doing("making a server's log")?;
        let second = file.try_clone().while_doing("making a server's log")?;
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let started = Instant::now();
        let process = self.guard.spawn(&mut command, StopSignal::Terminate)?;
        Ok(Server { address, process, log: log.to_owned(), started, ready_after: Duration::ZERO })
    }
}

/// A made-up log with its owner signed in.
pub(super) struct Place<'g> {
    pub(super) folder: Folder<'g>,
    pub(super) url: Option<String>,
    pub(super) token: String,
}

impl<'g> Place<'g> {
    pub(super) fn filled(programs: &Programs<'g>, server_url: Option<&str>, events: u64) -> Result<Self, Failure> {
        let folder = programs.guard.folder("bench")?;
        let made = server_url.map(|url| programs.bench(&["create-database", url])).transpose()?;
        let url = made.and_then(|made| made["url"].as_str().map(str::to_owned));
        let token = fill(programs, &folder.path, url.as_deref(), events)?;
        Ok(Self { folder, url, token })
    }
}

/// The first two cores this process may use.
fn two_cores() -> Result<[Core; 2], Failure> {
    let status = fs::read_to_string("/proc/self/status").while_doing("reading /proc/self/status (Linux is needed)")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let mut cores = allowed.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse().unwrap_or(1), last.parse().unwrap_or(0));
        first..=last
    });
    let (Some(first), Some(second)) = (cores.next(), cores.next()) else {
        return Err(Failure::new("two cores are needed, one for the server and one for the load generator"));
    };
    let found = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return Err(Failure::new("taskset is missing: install util-linux"));
    }
    Ok([Core(first), Core(second)])
}

/// A program on one core. `taskset` becomes the program, so that its process id is the program's.
fn pinned(core: Core, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.0.to_string()]).arg(program);
    command
}

/// A server that is being measured; it ends when this is dropped.
pub(super) struct Server<'g> {
    pub(super) address: String,
    process: Ward<'g>,
    log: PathBuf,
    started: Instant,
    /// From the start of the process to its first answer.
    pub(super) ready_after: Duration,
}

impl Server<'_> {
    fn wait<R>(&mut self, mut ready: impl FnMut(&str) -> Option<R>) -> Result<R, Failure> {
        let mut found = None;
        let end = self.started + STARTS_WITHIN;
        wait_until("a server", STARTS_WITHIN, || {
            // More often than `wait_until` asks: the time is what is measured.
            while found.is_none() && Instant::now() < end {
                let output = fs::read_to_string(&self.log).unwrap_or_default();
                if let Some(status) = self.process.ended()? {
                    return Err(Failure::new(format!("a server ended with {status}:\n{output}")));
                }
                found = ready(&output);
                if found.is_none() {
                    std::thread::sleep(ASK_EVERY);
                }
            }
            Ok(found.is_some())
        })?;
        self.ready_after = self.started.elapsed();
        found.ok_or_else(|| Failure::new("a server is not ready"))
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory now, and the most it has been.
    pub(super) fn memory(&self) -> Result<Memory, Failure> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).while_doing(format!("reading {path}"))?;
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let kibibytes: f64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap_or(f64::NAN);
            kibibytes / 1024.0
        };
        Ok(Memory { now: mebibytes("VmRSS"), most: mebibytes("VmHWM") })
    }

    /// Processor time the server has used, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = fs::read_to_string(&path).while_doing(format!("reading {path}"))?;
        // The name may hold anything; what follows its last bracket is the third field, and 14 and 15 are the times.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0.0));
        Ok(ticks.sum::<f64>() / CLOCK_TICKS_A_SECOND)
    }
}

/// Resident memory in MiB.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) now: f64,
    pub(super) most: f64,
}
