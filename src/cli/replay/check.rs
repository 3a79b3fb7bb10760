//! `authlog replay --check`.

use serde_json::json;

use super::print::print_json;
use crate::cli::output::{Failure, counted, line, note};
use crate::cli::progress::ProgressShown;
use crate::log::past::Past;
use crate::replay::{self, Checked, Finding};

/// # Errors
/// Exit code 3 when there is a finding.
pub(super) async fn check(past: &Past, json: bool) -> Result<(), Failure> {
    // Findings are the answer, and progress is not.
    let progress = ProgressShown::new(false);
    let checked = replay::check(past, &mut |finding| tell(&finding, json), &|done| progress.report(done)).await;
    progress.end();
    let checked = checked?;
    if json {
        print_json(&json!(checked))?;
    }
    let Checked { events, position, findings } = checked;
    if findings > 0 {
        return Err(Failure::differs(format!(
            "{} in {}: the log was not written by the rules, or was changed since",
            counted(findings, "finding"),
            counted(events, "event")
        )));
    }
    note(&format!("{events} events up to position {position}: the rules allow every one."));
    Ok(())
}

fn tell(finding: &Finding, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&json!(finding));
    }
    let stream = finding.stream.as_deref().unwrap_or("the log");
    Ok(line(&format!("{:>8}  {stream}  {}", finding.position, finding.reason))?)
}
