//! How soon the server is ready with a small and a large log, and how much memory it keeps: idle, under load, and after.

use std::thread::sleep;
use std::time::Duration;

use super::http::{fill, load_arguments, nothing_refused};
use super::program::Programs;
use super::report::{Report, Row, Target, median, spread};
use super::{FEW_EVENTS, Plan, progress};
use crate::failure::Failure;

const READY_WITHIN_SECONDS: f64 = 1.0;
/// A start that takes longer with the large log than with the small one by more than this grows with the log.
const GROWTH_SECONDS: f64 = 0.05;
const IDLE_MEBIBYTES: f64 = 25.0;
const LOAD_MEBIBYTES: f64 = 80.0;
const AFTER_MEBIBYTES: f64 = 15.0;
/// A server that has just started has not done its housekeeping yet.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn measure(programs: &Programs<'_>, plan: Plan, report: &mut Report) -> Result<(), Failure> {
    let (small, large) = (programs.guard.folder("bench-small")?, programs.guard.folder("bench-large")?);
    progress(&format!("filling logs with {FEW_EVENTS} and {} events", plan.events));
    fill(programs, &small.path, None, FEW_EVENTS)?;
    let token = fill(programs, &large.path, None, plan.events)?;

    let mut starts = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds {
        for (folder, starts) in [&small.path, &large.path].into_iter().zip(&mut starts) {
            starts.push(programs.serve(folder, None)?.ready_after.as_secs_f64());
        }
    }
    let [few, many] = starts;
    report.add(Row::new(format!("start to ready, {FEW_EVENTS} events"), median(&few), "s").note(spread(&few)));
    let ready = Row::new(format!("start to ready, {} events", plan.events), median(&many), "s");
    report.add(ready.target(Target::AtMost(READY_WITHIN_SECONDS)).note(spread(&many)));
    let growth = Row::new("start to ready, growth with the log", median(&many) - median(&few), "s");
    report.add(growth.target(Target::AtMost(GROWTH_SECONDS)));

    progress("memory, on the large log");
    let server = programs.serve(&large.path, None)?;
    sleep(SETTLES_WITHIN);
    let idle = server.memory()?;
    report.add(Row::new("memory, idle", idle.now, "MiB").target(Target::AtMost(IDLE_MEBIBYTES)));

    let seconds = (plan.round_seconds * 2.0).to_string();
    let reading = programs.load(&load_arguments(&server, &token, &seconds))?;
    nothing_refused(&reading)?;
    let after_reading = server.memory()?;
    let mut inviting = load_arguments(&server, &token, &seconds).to_vec();
    inviting.push("--invite");
    nothing_refused(&programs.load(&inviting)?)?;
    let loaded = server.memory()?;
    let under_load = Row::new("memory, under load (the most)", loaded.most, "MiB");
    report.add(
        under_load
            .target(Target::AtMost(LOAD_MEBIBYTES))
            .note(format!("64 connections reading ({:.1} MiB), then inviting", after_reading.most)),
    );
    progress(&format!("waiting {} s", plan.rest.as_secs()));
    sleep(plan.rest);
    let after = server.memory()?;
    let above =
        Row::new(format!("memory, {} s after load, above idle", plan.rest.as_secs()), after.now - idle.now, "MiB");
    report.add(above.target(Target::AtMost(AFTER_MEBIBYTES)));
    Ok(())
}
