//! The step `contract` of `cargo xtask test`: Schemathesis makes up calls from the service's own OpenAPI document and holds every
//! answer to it, on a real instance on each database. No 500, no status, content type or body that the document does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::demo::{self, Build};
use crate::failure::{Failure, While};
use crate::guard::Guard;
use crate::postgres::free_port;
use crate::walk;
use crate::workspace::Workspace;

const CONFIGURATION: &str = "tests/schemathesis/schemathesis.toml";
const REQUIREMENTS: &str = "tests/schemathesis/requirements.txt";
/// One seed makes one set of calls.
const SEED: &str = "1";

/// Not among them: that valid data is accepted and invalid refused with 400. The contract ignores unknown fields and parameters,
/// and what is right also depends on what there is.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance";

/// What a run calls, and as whom.
struct Run {
    about: &'static str,
    as_owner: bool,
    /// Beside those that each bound of the document makes.
    examples: &'static str,
    filters: &'static [&'static str],
}

/// A stream has no end that could be waited for; `tests/api/audit_stream.rs` is about it.
const STREAM: &str = "GET /v1/audit-logs/stream";
const SIGN_OUT: &str = "POST /v1/auth/logout";
const END_SESSION: &str = "DELETE /v1/sessions/{id}";

/// Ids are made up from what a run has been told: where no list tells the owner's session, none ends it.
const RUNS: [Run; 4] = [
    Run { about: "as nobody", as_owner: false, examples: "5", filters: &["--exclude-name", STREAM] },
    Run {
        about: "as the owner, ending sessions",
        as_owner: true,
        examples: "20",
        filters: &["--include-name", END_SESSION],
    },
    Run {
        about: "as the owner",
        as_owner: true,
        examples: "12",
        filters: &["--exclude-name", STREAM, "--exclude-name", SIGN_OUT, "--exclude-name", END_SESSION],
    },
    Run { about: "as the owner, signing out", as_owner: true, examples: "20", filters: &["--include-name", SIGN_OUT] },
];

/// Runs it on SQLite and on the empty database of this URL; the answer is a note for the summary.
pub(crate) fn run(workspace: &Workspace, guard: &Guard, database_url: &str) -> Result<String, Failure> {
    let schemathesis = find_or_install(workspace, guard)?;
    let [authlog, devidp] = demo::build(workspace, guard, Build::WithTests)?;
    for (name, database_url) in [("SQLite", None), ("PostgreSQL", Some(database_url))] {
        println!("on {name}");
        let folder = guard.folder("contract")?;
        let provider = demo::start_provider(guard, &devidp, &folder.path)?;
        // One caller makes all the calls.
        let mut settings = vec![("AUTHLOG_PUBLIC_CALLS_PER_MINUTE", "0".to_owned())];
        settings.extend(database_url.map(|url| ("AUTHLOG_DATABASE_URL", url.to_owned())));
        let service = demo::start_service(guard, &authlog, &folder.path, free_port()?, settings)?;
        let owner = walk::set_up(&service.about, &provider.about).map_err(|failure| service.explain(&failure))?;
        for run in &RUNS {
            println!("\ncalls made up from the document, {} on {name}", run.about);
            let mut command = workspace.tool(&schemathesis);
            // Where it leaves nothing that the next run would begin with.
            command
                .current_dir(&folder.path)
                .arg("--config-file")
                .arg(workspace.root.join(CONFIGURATION))
                .arg("run")
                .arg(format!("{}/openapi.json", service.about.url));
            command.args(["--seed", SEED, "--phases", "coverage,fuzzing", "--max-examples", run.examples]);
            command.args(["--checks", CHECKS, "--request-timeout", "10"]);
            command.args(["--generation-database", "none", "--no-color"]).args(run.filters);
            if run.as_owner {
                command.args(["--header", &format!("Authorization: Bearer {owner}")]);
            } else {
                command.args(["--warnings", "off"]);
            }
            let log = folder.path.join("schemathesis.log");
            guard.run_logged(&mut command, &log).map_err(|failure| service.explain(&failure))?;
            println!("{}", last_line(&log)?);
        }
    }
    Ok(String::new())
}

fn last_line(log: &Path) -> Result<String, Failure> {
    let output = fs::read_to_string(log).while_doing("reading what Schemathesis said")?;
    Ok(output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim_matches([' ', '=']).to_owned())
}

/// Schemathesis in an environment of its own, with exactly what the requirements name; it is installed first if need be.
fn find_or_install(workspace: &Workspace, guard: &Guard) -> Result<PathBuf, Failure> {
    let home = workspace.target.join("tools/schemathesis");
    let (program, installed) = (home.join("bin/schemathesis"), home.join("requirements.txt"));
    let wanted = workspace.root.join(REQUIREMENTS);
    let text = fs::read(&wanted).while_doing(format!("reading {REQUIREMENTS}"))?;
    if program.exists() && fs::read(&installed).is_ok_and(|present| present == text) {
        return Ok(program);
    }
    println!("installing Schemathesis into {}", home.display());
    let python =
        || Failure::new("Python 3.11 or later with its module venv is missing: install python3 and python3-venv");
    let mut version = workspace.tool("python3");
    version.args(["-c", "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"]).stderr(Stdio::null());
    guard.run(&mut version).map_err(|_| python())?;
    if home.exists() {
        fs::remove_dir_all(&home).while_doing(format!("removing {}", home.display()))?;
    }
    guard.run(workspace.tool("python3").args(["-m", "venv"]).arg(&home))?;
    let mut pip = workspace.tool(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "-r"]);
    guard.run(pip.arg(&wanted))?;
    fs::write(&installed, text).while_doing("noting what was installed")?;
    Ok(program)
}
