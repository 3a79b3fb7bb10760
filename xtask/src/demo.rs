//! `cargo xtask demo`: authlog and an OpenID provider on an empty folder, walked through setup,
//! sign-in and an invitation. Needs nothing but Rust and a C compiler.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, While};
use crate::guard::{Guard, StopSignal, Ward, wait_until};
use crate::http::{self, Request};
use crate::postgres::free_port;
use crate::walk::{self, Provider, Service};
use crate::workspace::Workspace;

/// Where the service is documented to listen; another port is taken when it is in use.
const USUAL_PORT: u16 = 8787;
/// The client devidp knows.
const CLIENT_ID: &str = "authlog-test";
const CLIENT_SECRET: &str = "authlog-test-secret-0123456789abcdef";
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// What happens after the walk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    AfterTheWalk,
    AtCtrlC,
}

impl End {
    pub(crate) fn new(once: bool) -> Self {
        if once { Self::AfterTheWalk } else { Self::AtCtrlC }
    }
}

/// How the two binaries are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Only what they need.
    Alone,
    /// As the tests were: the tests' own dependencies turn on features of shared crates, and building without them now
    /// would compile those crates a second time.
    WithTests,
}

impl Build {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Alone => &["--package", "authlog", "--package", "devidp", "--bins"],
            Self::WithTests => &["--workspace", "--bins", "--tests"],
        }
    }
}

pub(crate) fn run(workspace: &Workspace, guard: &Guard, how: Build, end: End) -> Result<(), Failure> {
    let [authlog, devidp] = build(workspace, guard, how)?;
    let folder = guard.folder("demo")?;
    let provider = start_provider(guard, &devidp, &folder.path)?;
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let port = match end {
        End::AtCtrlC if is_free(USUAL_PORT) => USUAL_PORT,
        _ => free_port()?,
    };
    let service = start_service(guard, &authlog, &folder.path, port, Vec::new())?;
    walk::walk(&service.about, &provider.about).map_err(|failure| service.explain(&failure))?;
    if end == End::AtCtrlC {
        keep_running(service, &provider)?;
    }
    Ok(())
}

fn keep_running(mut service: Running<Service>, provider: &Running<Provider>) -> Result<(), Failure> {
    let Service { url, data_folder, .. } = &service.about;
    println!("\nBoth are running; Ctrl-C stops them and removes all they wrote, {} too.", data_folder.display());
    println!("  the service    {url}/docs");
    println!("  a sign-in      {url}/v1/auth/oidc/start (open its authorization_url)");
    println!("  the provider   {}", provider.about.issuer);
    println!("  its output     {}", service.server.log.display());
    let status = service.server.process.wait()?;
    Err(Failure::new(format!("authlog ended by itself with {status}")))
}

/// The dev profile: a cold release build of the same takes several times as long.
pub(crate) fn build(workspace: &Workspace, guard: &Guard, how: Build) -> Result<[PathBuf; 2], Failure> {
    println!("building authlog and devidp (minutes the first time)");
    let mut command = workspace.cargo();
    command
        .args(["build", "--locked"])
        .args(how.arguments())
        .args(["--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped());
    let mut cargo = guard.spawn(&mut command, StopSignal::Terminate)?;
    let mut found = [None, None];
    if let Some(output) = cargo.take_stdout() {
        for line in BufReader::new(output).lines() {
            let line = line.while_doing("reading cargo's messages")?;
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            for (name, place) in ["authlog", "devidp"].iter().zip(&mut found) {
                if message["target"]["name"] == *name && message["profile"]["test"] == false {
                    *place = message["executable"].as_str().map(PathBuf::from).or(place.take());
                }
            }
        }
    }
    let status = cargo.wait()?;
    match found {
        [Some(authlog), Some(devidp)] if status.success() => Ok([authlog, devidp]),
        _ if status.success() => Err(Failure::new("cargo built no authlog or no devidp")),
        _ => Err(Failure::new(format!("building authlog and devidp ended with {status}"))),
    }
}

/// A server of ours, and what the walk has to know about it.
pub(crate) struct Running<'g, T> {
    pub(crate) about: T,
    server: Server<'g>,
}

impl<T> Running<'_, T> {
    /// A failure, and what the server said before it.
    pub(crate) fn explain(&self, failure: &Failure) -> Failure {
        let log = fs::read_to_string(&self.server.log).unwrap_or_default();
        Failure::new(format!("{failure}\nthe end of the service's own output:\n{}", tail(&log)))
    }
}

struct Server<'g> {
    process: Ward<'g>,
    log: PathBuf,
}

impl<'g> Server<'g> {
    fn start(guard: &'g Guard, command: &mut Command, log: PathBuf) -> Result<Self, Failure> {
        let making = || format!("making {}", log.display());
        let file = File::create(&log).while_doing(making())?;
        let second = file.try_clone().while_doing(making())?;
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let process = guard.spawn(command, StopSignal::Terminate)?;
        Ok(Self { process, log })
    }

    /// Waits until `ready` finds what it looks for in the server's output or on its port.
    fn wait_until_ready<R>(&mut self, name: &str, mut ready: impl FnMut(&str) -> Option<R>) -> Result<R, Failure> {
        let mut found = None;
        wait_until(name, STARTS_WITHIN, || {
            let output = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(status) = self.process.ended()? {
                let output = tail(&output);
                return Err(Failure::new(format!("{name} ended with {status}:\n{output}")));
            }
            found = ready(&output);
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| Failure::new(format!("{name} is not ready")))
    }
}

pub(crate) fn start_provider<'g>(
    guard: &'g Guard,
    binary: &Path,
    folder: &Path,
) -> Result<Running<'g, Provider>, Failure> {
    let mut command = Command::new(binary);
    command.args(["--listen", "127.0.0.1:0"]);
    let mut server = Server::start(guard, &mut command, folder.join("devidp.log"))?;
    let issuer = server.wait_until_ready("devidp", first_address)?;
    println!("devidp is ready: {issuer}");
    let about = Provider { issuer, client_id: CLIENT_ID, client_secret: CLIENT_SECRET };
    Ok(Running { about, server })
}

/// The first complete http address in what a program printed.
fn first_address(output: &str) -> Option<String> {
    let start = output.find("http://")?;
    let end = output[start..].find(|c: char| c.is_whitespace() || "\",'".contains(c))?;
    Some(output[start..start + end].to_owned())
}

/// With its data in the folder, and settings by their variables.
pub(crate) fn start_service<'g>(
    guard: &'g Guard,
    binary: &Path,
    folder: &Path,
    port: u16,
    settings: Vec<(&'static str, String)>,
) -> Result<Running<'g, Service>, Failure> {
    let url = format!("http://127.0.0.1:{port}");
    let data_folder = folder.join("authlog-data");
    let about = Service { url, binary: binary.to_owned(), data_folder, settings };
    let Service { url, .. } = &about;
    let listen = format!("127.0.0.1:{port}");
    let mut command = about.command(&["serve", "--listen", &listen, "--public-url", url]);
    let mut server = Server::start(guard, &mut command, folder.join("authlog.log"))?;
    let ready = Request { method: "GET", url: &format!("{url}/readyz"), bearer: None, body: None };
    server.wait_until_ready("authlog", |_| http::send(ready).ok().filter(|response| response.status == 200))?;
    println!("authlog is ready: {url}");
    Ok(Running { about, server })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::first_address;

    #[test]
    fn the_address_is_read_once_its_line_is_complete() {
        assert_eq!(first_address("ready http://127.0.0.1:40"), None);
        let ready = "devidp ready issuer=http://127.0.0.1:4011\n";
        assert_eq!(first_address(ready).as_deref(), Some("http://127.0.0.1:4011"));
        let json = r#"{"issuer":"http://127.0.0.1:4011"}"#;
        assert_eq!(first_address(json).as_deref(), Some("http://127.0.0.1:4011"));
    }
}
