//! The walk of the README and the commands of the docs, run for real by a shell against a server that the README's own line
//! starts, with devidp as the provider and its sign-in page answered as a browser would.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use devidp::{Client, DevIdp};

use crate::markdown::{blocks, text_of};

/// What a person does at the browser, in shell: the provider's page is answered at once, and the page that the service shows at
/// the end is read.
const AS_OWNER: &str = r#"
BACK=$(curl -sS -o page -w '%{redirect_url}' "$(echo "$STARTED" | field authorization_url)&login_hint=alice&auto=1")
ANSWERED=$(curl -sS "$BACK" | sed 's/.*<p><code>\([^<]*\)<.*/\1/; s/&quot;/"/g')
"#;
const SIGN_IN: &str = r#"
URL=$(curl -sS --cookie-jar jar $AUTHLOG/v1/auth/oidc/start | field authorization_url)
BACK=$(curl -sS -o page -w '%{redirect_url}' "$URL&login_hint=alice&auto=1")
SESSION=$(curl -sS --cookie jar "$BACK" | sed 's/.*shown once:<\/p><p><code>\([^<]*\)<.*/\1/')
"#;

/// A command in `folder`, undisturbed by settings of the caller.
fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AUTHLOG_")) {
        command.env_remove(name);
    }
    let ours = Path::new(env!("CARGO_BIN_EXE_authlog")).parent().unwrap();
    let path = std::env::join_paths(
        [ours.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    command.env("PATH", path.unwrap()).current_dir(folder).stdin(Stdio::null());
    command
}

fn shell(script: &str, folder: &Path) -> Output {
    command("sh", folder).args(["-eu", "-c", script]).output().unwrap()
}

#[track_caller]
fn succeeded(output: &Output) -> (String, String) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    (stdout.into_owned(), stderr.into_owned())
}

/// The server as the README starts it, but on a free port. Killed when dropped.
struct Served {
    child: Child,
    base: String,
}

impl Served {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let line = text_of("README.md", "sh serve").replace("8787", &port.to_string());
        let arguments = line.split_once(" -- ").expect("cargo run --release -- serve").1.split_whitespace();
        let mut command = command("authlog", folder);
        command.args(arguments).args(["--listen", &format!("127.0.0.1:{port}")]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let base = lines.find_map(|line| line.split_once(" listens on ").map(|(_, base)| base.to_owned()));
        // Whatever it says later is read, so that it never waits for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { base: base.expect("the server did not start"), child }
    }

    fn stop(mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success() && self.child.wait().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The README's blocks in their order, with the test's values and what is done by hand filled in.
fn readme(values: &str) -> String {
    let fill = |kind: &str, text: String| match kind {
        "sh values" => Some(values.to_owned()),
        "sh walk" => Some(text),
        "sh by-hand owner" => Some(AS_OWNER.to_owned()),
        "sh by-hand sign-in" => Some(SIGN_IN.to_owned()),
        _ => None,
    };
    blocks("README.md").into_iter().filter_map(|block| fill(&block.kind, block.text)).collect()
}

#[test]
fn the_walk_of_the_readme_and_the_commands_of_the_docs_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let server = Served::start(folder);
    let values = format!(
        "AUTHLOG={}\nISSUER={}\nCLIENT_ID=authlog-test\nCLIENT_SECRET={}\nCOLLEAGUE=bob@example.com\n",
        server.base,
        provider.issuer(),
        Client::SECRET
    );
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(names(&text_of("README.md", "sh values"))[1..], names(&values), "the README's values are the test's");

    let (stdout, stderr) = succeeded(&shell(&readme(&values), folder));
    for said in [
        r#""state":"uninitialized""#,
        r#""state":"idp_configured""#,
        r#""owner_email":"alice@example.com""#,
        r#""state":"ready""#,
        r#""role":"owner","status":"active""#,
        r#""status":"invited""#,
        r#""total":2"#,
        r#""action":"user_invited""#,
        "InstanceCreated",
        "SetupCompleted",
        "UserInvited",
    ] {
        assert!(stdout.contains(said), "the walk does not say {said}\n{stdout}\n{stderr}");
    }

    let pages = ["docs/log.md", "docs/looking-back.md", "docs/read-models.md", "docs/operations.md"];
    let operate: String = pages.iter().map(|page| text_of(page, "sh operate")).collect();
    let (stdout, stderr) = succeeded(&shell(&format!("{values}{operate}"), folder));
    assert!(stdout.contains("ready") && stdout.contains("audit"), "{stdout}");
    assert!(stderr.contains("The provider is removed."), "{stderr}");

    server.stop();
    let (stdout, _) = succeeded(&shell(&text_of("docs/operations.md", "sh stopped"), folder));
    assert!(stdout.contains("InstanceCreated"), "{stdout}");
}

#[test]
fn setup_is_started_over_as_the_docs_say_before_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    succeeded(&shell("authlog setup token", folder.path()));
    let (stdout, stderr) = succeeded(&shell(&text_of("docs/operations.md", "sh before-ready"), folder.path()));
    assert_eq!(stdout.trim().len(), 64, "{stdout}\n{stderr}");
}
