//! More than can be done: whether the service says how it is meanwhile, what slow and silent clients cost the others, and what odd
//! requests leave behind.

use serde_json::Value;

use super::http::{fill, load_arguments, nothing_refused};
use super::program::{Programs, Server};
use super::report::{Report, Row, Target, median, spread};
use super::{Plan, progress};
use crate::failure::Failure;

const HEALTH_MILLISECONDS: f64 = 100.0;
const GROWN_MEBIBYTES: f64 = 5.0;
const EVENTS: u64 = 10_000;
const IDLE: &str = "10000";
const DRIPPING: &str = "200";
const ODD_REQUESTS: &str = "100000";
/// Enough for what is made when it is first needed.
const WARMING_REQUESTS: &str = "5000";

pub(super) fn measure(programs: &Programs<'_>, plan: Plan, report: &mut Report) -> Result<(), Failure> {
    let folder = programs.guard.folder("bench-overload")?;
    let token = fill(programs, &folder.path, None, EVENTS)?;
    let server = programs.serve(&folder.path, None)?;
    odd_requests(programs, &server, report)?;
    crowd(programs, &server, &token, plan, report)?;
    past_capacity(programs, &server, &token, plan, report)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn odd_requests(programs: &Programs<'_>, server: &Server<'_>, report: &mut Report) -> Result<(), Failure> {
    progress(&format!("{ODD_REQUESTS} odd requests"));
    let strange = |first, requests| {
        programs.load(&["strange", "--address", &server.address, "--first", first, "--requests", requests])
    };
    strange("0", WARMING_REQUESTS)?;
    let before = server.memory()?;
    let seen = strange(WARMING_REQUESTS, ODD_REQUESTS)?;
    let after = server.memory()?;
    let grown = Row::new("memory, grown by odd requests", after.now - before.now, "MiB");
    let note = format!("{ODD_REQUESTS} of them, {} answered; {:.1} MiB before", seen["answered"], before.now);
    report.add(grown.target(Target::AtMost(GROWN_MEBIBYTES)).note(note));
    Ok(())
}

/// Ordinary callers alone and beside a crowd, in turns.
fn crowd(
    programs: &Programs<'_>,
    server: &Server<'_>,
    token: &str,
    plan: Plan,
    report: &mut Report,
) -> Result<(), Failure> {
    progress(&format!("users/me beside {IDLE} idle connections and {DRIPPING} dripping ones"));
    let seconds = plan.round_seconds.to_string();
    let load = || {
        let seen = programs.load(&load_arguments(server, token, &seconds))?;
        nothing_refused(&seen)?;
        Ok::<_, Failure>([number(&seen["calls"]) / number(&seen["seconds"]), number(&seen["p99_us"]) / 1e3])
    };
    load()?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        alone.push(load()?);
        let crowd = programs.stay(&["crowd", "--address", &server.address, "--idle", IDLE, "--dripping", DRIPPING])?;
        beside.push(load()?);
        drop(crowd);
    }
    let figures = |rounds: &[[f64; 2]], which: usize| rounds.iter().map(|round| round[which]).collect::<Vec<f64>>();
    for (name, rounds) in [("alone", &alone), ("beside the crowd", &beside)] {
        let calls = figures(rounds, 0);
        let note = format!("{}; p99 {:.1} ms", spread(&calls), median(&figures(rounds, 1)));
        report.add(Row::new(format!("users/me, {name}"), median(&calls), "/s").note(note));
    }
    for (name, which) in [("calls a second", 0), ("p99", 1)] {
        let ratios: Vec<f64> = alone.iter().zip(&beside).map(|(alone, beside)| beside[which] / alone[which]).collect();
        let row = Row::new(format!("users/me beside the crowd, times alone: {name}"), median(&ratios), "");
        report.add(row.note(spread(&ratios)));
    }
    Ok(())
}

fn past_capacity(
    programs: &Programs<'_>,
    server: &Server<'_>,
    token: &str,
    plan: Plan,
    report: &mut Report,
) -> Result<(), Failure> {
    progress("more readers and writers than there is room for");
    let seconds = (plan.round_seconds * 2.0).to_string();
    let seen = programs.load(&["capacity", "--address", &server.address, "--token", token, "--seconds", &seconds])?;
    let p99 = Row::new("past capacity: p99 of a health call", number(&seen["p99_us"]) / 1e3, "ms");
    let note = format!(
        "half within {:.1} ms, the longest {:.1} ms, of {}",
        number(&seen["p50_us"]) / 1e3,
        number(&seen["most_us"]) / 1e3,
        seen["probes"]
    );
    report.add(p99.target(Target::AtMost(HEALTH_MILLISECONDS)).note(note));
    let failed = Row::new("past capacity: health calls not answered with 200", number(&seen["probes_failed"]), "");
    report.add(failed.target(Target::AtMost(0.0)));
    for (name, of) in [("reads", &seen["reads"]), ("writes", &seen["writes"])] {
        let refused =
            Row::new(format!("past capacity: {name} refused with 503 and Retry-After"), number(&of["refused"]), "");
        report.add(refused.target(Target::AtLeast(1.0)).note(format!("{} answered", of["answered"])));
        let otherwise = Row::new(format!("past capacity: {name} that ended otherwise"), number(&of["otherwise"]), "");
        report.add(otherwise.target(Target::AtMost(0.0)));
    }
    Ok(())
}
