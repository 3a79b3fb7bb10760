//! A PostgreSQL cluster for one run: made from the local binaries, on a free port of 127.0.0.1,
//! as durable as the real one (`fsync=on`), and gone afterwards.

mod account;
mod binaries;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use account::Account;
use binaries::Binaries;
use serde_json::{Value, json};

use crate::failure::{Failure, While};
use crate::guard::{Folder, Guard, StopSignal, Ward, wait_until};

/// Names the superuser's URL for the tests, each of which makes a database of its own.
pub(crate) const URL_VARIABLE: &str = "AUTHLOG_TEST_POSTGRES";

/// Between choosing a free port and taking it, somebody else may have been quicker.
const PORTS_TRIED: usize = 3;
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running cluster. Dropping it stops the server first, then removes the folder.
pub(crate) struct Cluster<'g> {
    server: Ward<'g>,
    pub(crate) url: String,
    pub(crate) version: u32,
    _folder: Folder<'g>,
}

impl<'g> Cluster<'g> {
    pub(crate) fn start(guard: &'g Guard) -> Result<Self, Failure> {
        let binaries = Binaries::find_or_install(guard)?;
        let account = Account::choose()?;
        let folder = guard.folder("postgres")?;
        account.own(&folder.path)?;
        let password = random_hex()?;
        let maker = Maker { guard, binaries: &binaries, account, folder: &folder.path };
        maker.initialize(&password)?;
        let (server, port) = maker.serve_on_a_free_port()?;
        Ok(Self { server, url: url(&password, port), version: binaries.version, _folder: folder })
    }
}

/// A cluster that is made and not served: somebody else starts its server, ends it and starts it again. Dropping it removes the
/// folder.
pub(crate) struct Unserved<'g> {
    /// How it is started, as JSON.
    pub(crate) how: Value,
    _folder: Folder<'g>,
}

impl<'g> Unserved<'g> {
    pub(crate) fn make(guard: &'g Guard) -> Result<Self, Failure> {
        let binaries = Binaries::find_or_install(guard)?;
        let account = Account::choose()?;
        let folder = guard.folder("postgres")?;
        account.own(&folder.path)?;
        let password = random_hex()?;
        let maker = Maker { guard, binaries: &binaries, account, folder: &folder.path };
        maker.initialize(&password)?;
        let port = lasting_port()?;
        let command = maker.server(port);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let environment = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        let (user, group) = account.ids().unzip();
        let how = json!({
            "command": words.map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
            "environment": environment.collect::<BTreeMap<_, _>>(),
            "folder": folder.path,
            "user": user,
            "group": group,
            "url": url(&password, port),
            "state_file": maker.state_file(),
            "log_file": maker.log_file(),
        });
        Ok(Self { how, _folder: folder })
    }
}

fn url(password: &str, port: u16) -> String {
    format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres")
}

/// What every step of making a cluster needs.
struct Maker<'g, 'a> {
    guard: &'g Guard,
    binaries: &'a Binaries,
    account: Account,
    folder: &'a Path,
}

impl<'g> Maker<'g, '_> {
    fn initialize(&self, password: &str) -> Result<(), Failure> {
        let password_file = self.folder.join("password");
        fs::write(&password_file, password).while_doing("writing the cluster's password")?;
        self.account.own(&password_file)?;
        let socket_folder = self.folder.join("socket");
        fs::create_dir(&socket_folder).while_doing("making the socket's folder")?;
        self.account.own(&socket_folder)?;
        let mut command = self.command("initdb");
        command
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8"])
            // Only the making is not flushed: it is done again after a power cut.
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(self.folder.join("data"))
            .arg("--pwfile")
            .arg(&password_file);
        self.guard.run_logged(&mut command, &self.folder.join("initdb.log"))
    }

    fn serve_on_a_free_port(&self) -> Result<(Ward<'g>, u16), Failure> {
        let mut tried = 0;
        loop {
            let port = free_port()?;
            tried += 1;
            match self.serve(port) {
                Ok(server) => return Ok((server, port)),
                Err(_) if tried < PORTS_TRIED && self.log().contains("could not bind") => {}
                Err(failure) => {
                    return Err(Failure::new(format!("{failure}\n{}", self.log().trim_end())));
                }
            }
        }
    }

    fn serve(&self, port: u16) -> Result<Ward<'g>, Failure> {
        let log = File::create(self.log_file()).while_doing("making the cluster's log")?;
        let second = log.try_clone().while_doing("making the cluster's log")?;
        let mut command = self.server(port);
        command.stdout(log).stderr(second);
        let mut server = self.guard.spawn(&mut command, StopSignal::Interrupt)?;
        // What pg_ctl itself waits for: the eighth line is the server's state.
        let state = self.state_file();
        wait_until("PostgreSQL", STARTS_WITHIN, || {
            if let Some(status) = server.ended()? {
                return Err(Failure::new(format!("PostgreSQL ended at once with {status}")));
            }
            let text = fs::read_to_string(&state).unwrap_or_default();
            Ok(text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
        })?;
        Ok(server)
    }

    fn server(&self, port: u16) -> Command {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(self.folder.join("socket"));
        command.args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            "max_connections=300",
        ] {
            command.args(["-c", setting]);
        }
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.folder.join(program));
        // Nobody's PGDATA, PGPORT or language may reach the cluster.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").current_dir(self.folder);
        self.account.take_on(&mut command);
        command
    }

    fn state_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

/// `cargo xtask postgres`: a cluster for one command, or until Ctrl-C.
pub(crate) fn run(guard: &Guard, print_url: bool, command: &[OsString]) -> Result<ExitCode, Failure> {
    let mut cluster = Cluster::start(guard)?;
    if let Some((program, arguments)) = command.split_first() {
        // In our own process group and on our terminal, so that a shell or psql works too.
        let status = Command::new(program)
            .args(arguments)
            .env(URL_VARIABLE, &cluster.url)
            .status()
            .while_doing(format!("starting {}", program.display()))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        return Ok(ExitCode::from(code));
    }
    if print_url {
        println!("{}", cluster.url);
    } else {
        println!("export {URL_VARIABLE}={}", cluster.url);
    }
    eprintln!("PostgreSQL {} is running; Ctrl-C stops and removes it", cluster.version);
    let status = cluster.server.wait()?;
    Err(Failure::new(format!("PostgreSQL ended by itself with {status}")))
}

/// A port nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16, Failure> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .while_doing("looking for a free port")
}

/// The same for a server that will be down for a moment: below those that the system gives to whoever connects meanwhile.
fn lasting_port() -> Result<u16, Failure> {
    let start = 15_000 + u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    let mut ports = start..start + 1_000;
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| Failure::new(format!("no port is free from {start} on")))
}

fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .while_doing("reading /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
