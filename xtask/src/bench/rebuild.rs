//! How many events a second become read models, beside how many can be read and parsed at all; and what callers notice of it.

use std::path::Path;

use serde_json::Value;

use super::program::{Place, Programs};
use super::report::{Report, Row, Target, median, spread};
use super::{Plan, progress};
use crate::failure::Failure;

const LEAST_EVENTS_A_SECOND_SQLITE: f64 = 100_000.0;
const LEAST_EVENTS_A_SECOND_POSTGRES: f64 = 60_000.0;
const LEAST_RATIO: f64 = 0.4;
const MOST_MEBIBYTES: f64 = 200.0;
const MOST_TIMES_SLOWER: f64 = 2.0;
/// Rounds beside a scan; each takes as long as a few of the others.
const ROUNDS: usize = 3;
/// Beside a service a rebuild takes its time, so the log is shorter by so much.
const SHORTER_BESIDE: u64 = 5;

pub(super) fn measure(
    programs: &Programs<'_>,
    plan: Plan,
    server_url: Option<&str>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (name, least) = match server_url {
        None => ("SQLite", LEAST_EVENTS_A_SECOND_SQLITE),
        Some(_) => ("PostgreSQL", LEAST_EVENTS_A_SECOND_POSTGRES),
    };
    progress(&format!("rebuilding {} events on {name}", plan.events));
    let place = Place::filled(programs, server_url, plan.events)?;
    let (folder, url) = (&place.folder.path, place.url.as_deref());

    let (mut rates, mut ratios, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS.min(plan.rounds) {
        let scanned = run(programs, folder, url, &["--scan"])?;
        let rebuilt = run(programs, folder, url, &[])?;
        rates.push(rebuilt.events_a_second);
        ratios.push(rebuilt.events_a_second / scanned.events_a_second);
        peaks.push(rebuilt.peak_mebibytes);
    }
    let rate = Row::new(format!("rebuild, {name}: events a second"), median(&rates), "/s");
    report.add(rate.target(Target::AtLeast(least)).note(spread(&rates)));
    let ratio = Row::new(format!("rebuild, {name}: ratio to reading and parsing"), median(&ratios), "");
    report.add(ratio.target(Target::AtLeast(LEAST_RATIO)).note(spread(&ratios)));
    let peak = Row::new(format!("rebuild, {name}: memory (the most)"), median(&peaks), "MiB");
    report.add(peak.target(Target::AtMost(MOST_MEBIBYTES)).note(spread(&peaks)));
    drop(place);
    beside(programs, plan, server_url, name, report)
}

struct Run {
    events_a_second: f64,
    peak_mebibytes: f64,
}

fn run(programs: &Programs<'_>, folder: &Path, url: Option<&str>, more: &[&str]) -> Result<Run, Failure> {
    let folder = folder.display().to_string();
    let mut arguments = vec!["rebuild", "--data-dir", &folder];
    arguments.extend(url.into_iter().flat_map(|url| ["--database-url", url]));
    arguments.extend(more);
    let seen = programs.bench(&arguments)?;
    let number = |name: &str| seen[name].as_f64().unwrap_or(f64::NAN);
    Ok(Run { events_a_second: number("events") / number("seconds"), peak_mebibytes: number("peak_kib") / 1024.0 })
}

/// The same beside a service that takes 200 units a second.
fn beside(
    programs: &Programs<'_>,
    plan: Plan,
    server_url: Option<&str>,
    name: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let events = plan.events / SHORTER_BESIDE;
    progress(&format!("rebuilding {events} events on {name} beside a service with 200 units a second"));
    let place = Place::filled(programs, server_url, events)?;
    let (folder, url, token) = (&place.folder.path, place.url.as_deref(), &*place.token);
    let server = programs.serve_on_all_cores(folder, url)?;
    let (path, seconds) = (folder.display().to_string(), (plan.round_seconds * 5.0).to_string());
    let program = programs.authlog.display().to_string();
    let mut arguments = vec!["beside", "--address", &server.address, "--token", token, "--program", &program];
    arguments.extend(["--data-dir", &path, "--seconds", &seconds]);
    arguments.extend(url.into_iter().flat_map(|url| ["--database-url", url]));
    let seen = programs.bench(&arguments)?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let failed = number(&seen["usual"]["failed"]) + number(&seen["beside"]["failed"]);
    let row = Row::new(format!("rebuild beside a service, {name}: failed calls"), failed, "");
    let failure = seen["beside"]["failure"].as_str().or(seen["usual"]["failure"].as_str()).unwrap_or_default();
    report.add(row.target(Target::AtMost(0.0)).note(format!("of {} {failure}", seen["beside"]["calls"])));
    let p99 = |when: &str| number(&seen[when]["sign_in_us"]["p99"]) / 1e3;
    let slower = Row::new(
        format!("rebuild beside a service, {name}: p99 of a sign-in, times the usual"),
        p99("beside") / p99("usual"),
        "",
    );
    let note = format!("{:.1} ms, usually {:.1} ms", p99("beside"), p99("usual"));
    report.add(slower.target(Target::AtMost(MOST_TIMES_SLOWER)).note(note));
    let seconds = number(&seen["rebuild_seconds"]);
    #[expect(clippy::cast_precision_loss, reason = "a log of the benches is far shorter than 2^52 events")]
    let rate = events as f64 / seconds;
    let rate = Row::new(format!("rebuild beside a service, {name}: events a second"), rate, "/s");
    report.add(rate.note(format!("{events} events in {seconds:.0} s")));
    Ok(())
}
