//! `GET /v1/users/me` of authlog beside a bare axum route that answers the same body.
//!
//! The two take turns, round by round, on the same core, under the same load from the other core; the ratio is taken within
//! each pair of rounds.

use std::path::Path;

use serde_json::Value;

use super::program::{Programs, Server};
use super::report::{Report, Row, Target, median, spread};
use super::{Plan, progress};
use crate::failure::Failure;
use crate::http::{self, Request};

const LEAST_RATIO: f64 = 0.7;
const CONNECTIONS: &str = "64";

pub(super) fn measure(
    programs: &Programs<'_>,
    plan: Plan,
    server_url: Option<&str>,
    report: &mut Report,
) -> Result<(), Failure> {
    let made = server_url.map(|url| programs.bench(&["create-database", url])).transpose()?;
    let database_url = made.as_ref().and_then(|made| made["url"].as_str());
    let name = if database_url.is_some() { "PostgreSQL" } else { "SQLite" };
    progress(&format!("GET /v1/users/me on {name} beside a bare route"));
    let folder = programs.guard.folder("bench-http")?;
    let token = fill(programs, &folder.path, database_url, 1)?;
    let ours = programs.serve(&folder.path, database_url)?;
    let body = body(&ours, &token)?;
    let bare = programs.route(&folder.path, &body)?;

    let seconds = plan.round_seconds.to_string();
    // Once without counting: connections, caches and the clock of the processor.
    for server in [&ours, &bare] {
        round(programs, server, &token, "0.5")?;
    }
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        rounds.push([round(programs, &ours, &token, &seconds)?, round(programs, &bare, &token, &seconds)?]);
    }
    let each = |figure: &dyn Fn(&[Round; 2]) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let ours_a_second = each(&|[ours, _]| ours.calls_a_second);
    let bare_a_second = each(&|[_, bare]| bare.calls_a_second);
    let ratios = each(&|[ours, bare]| ours.calls_a_second / bare.calls_a_second);
    let cpu_ratios = each(&|[ours, bare]| bare.cpu_micros_a_call / ours.cpu_micros_a_call);
    report.add(Row::new(format!("users/me, {name}"), median(&ours_a_second), "/s").note(format!(
        "{}; {:.1} us of processor a call, p99 {:.1} ms",
        spread(&ours_a_second),
        median(&each(&|[ours, _]| ours.cpu_micros_a_call)),
        median(&each(&|[ours, _]| ours.p99_millis))
    )));
    report.add(Row::new("users/me, bare axum route", median(&bare_a_second), "/s").note(format!(
        "{}; {:.1} us of processor a call, p99 {:.1} ms",
        spread(&bare_a_second),
        median(&each(&|[_, bare]| bare.cpu_micros_a_call)),
        median(&each(&|[_, bare]| bare.p99_millis))
    )));
    let ratio = Row::new(format!("users/me, {name}: ratio of calls a second"), median(&ratios), "");
    report.add(ratio.target(Target::AtLeast(LEAST_RATIO)).note(spread(&ratios)));
    let cpu_ratio = Row::new(format!("users/me, {name}: ratio by processor time"), median(&cpu_ratios), "");
    report.add(cpu_ratio.note(spread(&cpu_ratios)));
    Ok(())
}

/// Makes a log that is set up; answers the owner's session token.
pub(super) fn fill(
    programs: &Programs<'_>,
    folder: &Path,
    database_url: Option<&str>,
    events: u64,
) -> Result<String, Failure> {
    let (folder, events) = (folder.display().to_string(), events.to_string());
    let mut arguments = vec!["fill", "--data-dir", &folder, "--events", &events];
    if let Some(url) = database_url {
        arguments.extend(["--database-url", url]);
    }
    let filled = programs.bench(&arguments)?;
    Ok(filled["token"].as_str().unwrap_or_default().to_owned())
}

fn body(server: &Server<'_>, token: &str) -> Result<String, Failure> {
    let url = format!("http://{}/v1/users/me", server.address);
    let answer = http::send(Request { method: "GET", url: &url, bearer: Some(token), body: None })?;
    if answer.status == 200 {
        return Ok(answer.body);
    }
    Err(Failure::new(format!("GET /v1/users/me was answered with {}: {}", answer.status, answer.body)))
}

/// One server under load for a while.
struct Round {
    calls_a_second: f64,
    cpu_micros_a_call: f64,
    p99_millis: f64,
}

fn round(programs: &Programs<'_>, server: &Server<'_>, token: &str, seconds: &str) -> Result<Round, Failure> {
    let cpu_before = server.cpu_seconds()?;
    let seen = programs.load(&load_arguments(server, token, seconds))?;
    let cpu_seconds = server.cpu_seconds()? - cpu_before;
    let number = |name: &str| seen[name].as_f64().unwrap_or(f64::NAN);
    nothing_refused(&seen)?;
    Ok(Round {
        calls_a_second: number("calls") / number("seconds"),
        cpu_micros_a_call: cpu_seconds * 1e6 / number("calls"),
        p99_millis: number("p99_us") / 1e3,
    })
}

pub(super) fn load_arguments<'a>(server: &'a Server<'_>, token: &'a str, seconds: &'a str) -> [&'a str; 9] {
    ["load", "--address", &server.address, "--token", token, "--connections", CONNECTIONS, "--seconds", seconds]
}

/// A figure made of refusals would be a fine one.
pub(super) fn nothing_refused(seen: &Value) -> Result<(), Failure> {
    match seen["refused"].as_u64() {
        Some(0) => Ok(()),
        _ => Err(Failure::new(format!("the server refused calls under load: {seen}"))),
    }
}
