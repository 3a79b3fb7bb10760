//! Units a second from 64 callers, beside `CqrsFramework::execute` on the same database.
//!
//! Both sides take turns, each round on an empty database of its own, in one process without HTTP.

use super::program::Programs;
use super::report::{Report, Row, Target, median, spread};
use super::{Plan, progress};
use crate::failure::Failure;

const LEAST_RATIO_SQLITE: f64 = 3.0;
const LEAST_RATIO_POSTGRES: f64 = 2.0;

/// The subcommands of `bench units`.
const SIDES: [&str; 3] = ["service", "stream", "framework"];

pub(super) fn measure(
    programs: &Programs<'_>,
    plan: Plan,
    server_url: Option<&str>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (name, least) = match server_url {
        None => ("SQLite", LEAST_RATIO_SQLITE),
        Some(_) => ("PostgreSQL", LEAST_RATIO_POSTGRES),
    };
    progress(&format!("units a second on {name}, 64 callers"));
    let mut rates = SIDES.map(|_| Vec::new());
    for _ in 0..plan.rounds {
        for (side, rates) in SIDES.into_iter().zip(&mut rates) {
            rates.push(round(programs, plan, side, server_url)?);
        }
    }
    let [service, stream, framework] = &rates;
    let names = ["invitations by the service", "decisions on one stream", "CqrsFramework::execute"];
    for (what, rates) in names.into_iter().zip(&rates) {
        report.add(Row::new(format!("units, {name}: {what}"), median(rates), "/s").note(spread(rates)));
    }
    let ratios = |ours: &[f64]| ours.iter().zip(framework).map(|(ours, theirs)| ours / theirs).collect::<Vec<f64>>();
    for (what, ours) in [("invitations", service), ("one stream", stream)] {
        let ratios = ratios(ours);
        let row = Row::new(format!("units, {name}: ratio, {what}"), median(&ratios), "");
        report.add(row.target(Target::AtLeast(least)).note(spread(&ratios)));
    }
    Ok(())
}

fn round(programs: &Programs<'_>, plan: Plan, side: &str, server_url: Option<&str>) -> Result<f64, Failure> {
    let folder = programs.guard.folder("bench-units")?;
    let (path, seconds) = (folder.path.display().to_string(), plan.round_seconds.to_string());
    let made = server_url.map(|url| programs.bench(&["create-database", url])).transpose()?;
    let url = made.as_ref().and_then(|made| made["url"].as_str());
    let mut arguments = vec!["units", side, "--data-dir", &path, "--seconds", &seconds];
    if let Some(url) = url {
        arguments.extend(["--database-url", url]);
    }
    let seen = programs.bench(&arguments)?;
    let failed = seen["failed"].as_u64().unwrap_or(u64::MAX);
    if failed > 0 {
        progress(&format!("{side}: {failed} calls failed, the last with: {}", seen["failure"]));
    }
    let number = |name: &str| seen[name].as_f64().unwrap_or(f64::NAN);
    Ok(number("units") / number("seconds"))
}
