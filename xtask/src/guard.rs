//! Ends what was started and removes what was made, however this process ends.
//!
//! The standard library has no signal handlers, and no handler would run after `kill -9` anyway.
//! So a second process, this same binary as `xtask guard`, reads a pipe that only we hold open.
//! We write there which process groups and folders are ours. Whatever ends us, Ctrl-C, a panic
//! or SIGKILL, closes the pipe, and the guard then ends those groups and removes those folders,
//! the latest first. It has a process group of its own, so Ctrl-C does not reach it.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::failure::{Failure, While};

/// How long a process may take to end by itself before it is killed. A test runner gives its
/// tests ten seconds of their own.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// What asks a program to end in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// For everything that has no say in it.
    Terminate,
    /// For PostgreSQL, where SIGTERM would wait for every client to leave.
    Interrupt,
}

impl StopSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

/// The guard process, seen from the process it watches.
pub(crate) struct Guard {
    process: Child,
    /// Taken when dropped: closing it is what tells the guard to act.
    orders: RefCell<Option<ChildStdin>>,
}

impl Guard {
    pub(crate) fn start() -> Result<Self, Failure> {
        // Early, and by this path: a later build may put another file in its place.
        let own_binary = std::env::current_exe().while_doing("finding the xtask binary")?;
        let mut process = Command::new(own_binary)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .while_doing("starting the guard process")?;
        let orders = RefCell::new(process.stdin.take());
        Ok(Self { process, orders })
    }

    /// Starts a command in a process group of its own, which ends with the returned [`Ward`].
    pub(crate) fn spawn(&self, command: &mut Command, stop: StopSignal) -> Result<Ward<'_>, Failure> {
        let process = command.process_group(0).spawn().map_err(|error| {
            let program = command.get_program().display();
            Failure::new(match error.kind() {
                io::ErrorKind::NotFound => format!("{program} is not installed"),
                _ => format!("{program} could not be started: {error}"),
            })
        })?;
        let ward = Ward { process, stop, guard: self };
        self.order(format_args!("group {} {}", stop.name(), ward.process.id()))?;
        Ok(ward)
    }

    /// Runs a command to its end; anything but success is a failure that names it.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), Failure> {
        let status = self.spawn(command, StopSignal::Terminate)?.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("`{}` ended with {status}", spoken(command))))
    }

    /// Runs a command whose output goes to a file and, if it fails, into the failure.
    pub(crate) fn run_logged(&self, command: &mut Command, log: &Path) -> Result<(), Failure> {
        let opening = || format!("opening {}", log.display());
        let file = fs::File::create(log).while_doing(opening())?;
        let second = file.try_clone().while_doing(opening())?;
        self.run(command.stdout(file).stderr(second)).map_err(|failure| {
            let output = fs::read_to_string(log).unwrap_or_default();
            Failure::new(format!("{failure}\n{}", output.trim_end()))
        })
    }

    /// Makes an empty folder that only this user may enter and that goes with the [`Folder`].
    pub(crate) fn folder(&self, purpose: &str) -> Result<Folder<'_>, Failure> {
        let moment = SystemTime::UNIX_EPOCH.elapsed().while_doing("reading the clock")?;
        let name = format!("authlog-{purpose}-{}-{}", std::process::id(), moment.as_nanos());
        let path = std::env::temp_dir().join(name);
        let making = || format!("making {}", path.display());
        DirBuilder::new().mode(0o700).create(&path).while_doing(making())?;
        let folder = Folder { path, guard: self };
        self.order(format_args!("folder {}", folder.path.display()))?;
        Ok(folder)
    }

    fn order(&self, line: fmt::Arguments<'_>) -> Result<(), Failure> {
        match self.orders.borrow_mut().as_mut() {
            Some(pipe) => writeln!(pipe, "{line}").while_doing("speaking to the guard process"),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.borrow_mut().take());
        // It may have nothing left to do, but when we return, everything is tidy.
        let _ended = self.process.wait();
    }
}

/// A running process with everything it starts in its process group.
pub(crate) struct Ward<'g> {
    process: Child,
    stop: StopSignal,
    guard: &'g Guard,
}

impl Ward<'_> {
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, Failure> {
        self.process.wait().while_doing("waiting for a process")
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.try_wait().while_doing("watching a process")
    }

    /// The process id, which is its group's too.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }
}

impl Drop for Ward<'_> {
    fn drop(&mut self) {
        let group = self.process.id();
        let ended = |process: &mut Child| !matches!(process.try_wait(), Ok(None));
        if !ended(&mut self.process) {
            signal(self.stop.name(), group);
            if !within(PATIENCE, || ended(&mut self.process)) {
                signal("KILL", group);
                let _reaped = self.process.wait();
            }
        }
        // Were the guard gone too, there would be nobody left to tell.
        let _told = self.guard.order(format_args!("done {group}"));
    }
}

/// A folder that is removed with everything in it when this is dropped.
pub(crate) struct Folder<'g> {
    pub(crate) path: PathBuf,
    guard: &'g Guard,
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        remove(&self.path);
        let _told = self.guard.order(format_args!("done {}", self.path.display()));
    }
}

/// What the guard has been told to look after.
#[derive(Debug, PartialEq, Eq)]
enum Charge {
    Group { stop: StopSignal, id: u32 },
    Folder(PathBuf),
}

impl Charge {
    /// What `done` calls it: a group by its number, a folder by its path.
    fn name(&self) -> String {
        match self {
            Self::Group { id, .. } => id.to_string(),
            Self::Folder(path) => path.display().to_string(),
        }
    }
}

/// The guard's own work: reads orders until the pipe closes, then tidies up.
pub(crate) fn keep_watch() {
    let mut charges = Vec::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        follow(&mut charges, &line);
    }
    for charge in charges.into_iter().rev() {
        match charge {
            Charge::Group { stop, id } => {
                signal(stop.name(), id);
                if !within(PATIENCE, || !signal("0", id)) {
                    signal("KILL", id);
                }
            }
            Charge::Folder(path) => remove(&path),
        }
    }
}

fn follow(charges: &mut Vec<Charge>, order: &str) {
    let Some((verb, object)) = order.split_once(' ') else {
        return;
    };
    match (verb, object.split_once(' ')) {
        ("group", Some((stop, id))) => {
            let stop = match stop {
                "INT" => StopSignal::Interrupt,
                _ => StopSignal::Terminate,
            };
            charges.extend(id.parse().map(|id| Charge::Group { stop, id }));
        }
        ("folder", _) => charges.push(Charge::Folder(PathBuf::from(object))),
        ("done", _) => charges.retain(|charge| charge.name() != object),
        _ => {}
    }
}

/// Signals a whole process group; false when there is no such group any more. By the shell's
/// built-in, because the standard library cannot, and not every system has a `kill` program.
fn signal(name: &str, group: u32) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"-$1\"", name, &group.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

/// Waits until `ready` says so; an error, or the time running out, is a failure.
pub(crate) fn wait_until(
    what: &str,
    time: Duration,
    mut ready: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut outcome = Ok(false);
    let done = || {
        outcome = ready();
        !matches!(outcome, Ok(false))
    };
    if within(time, done) {
        outcome.map(|_| ())
    } else {
        Err(Failure::new(format!("{what} was not ready within {} s", time.as_secs())))
    }
}

fn remove(folder: &Path) {
    // A process that is just ending may still write: look again for a moment.
    within(Duration::from_secs(2), || {
        let _again = fs::remove_dir_all(folder);
        !folder.exists()
    });
}

/// A command as a person would type it.
pub(crate) fn spoken(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Charge, StopSignal, follow};

    #[test]
    fn what_is_done_needs_no_looking_after() {
        let mut charges = Vec::new();
        for order in ["folder /tmp/a folder", "group INT 41", "group TERM 42", "done 42", "nonsense"] {
            follow(&mut charges, order);
        }
        let group = Charge::Group { stop: StopSignal::Interrupt, id: 41 };
        assert_eq!(charges, [Charge::Folder(PathBuf::from("/tmp/a folder")), group]);
        follow(&mut charges, "done 41");
        follow(&mut charges, "done /tmp/a folder");
        assert_eq!(charges, []);
    }
}
