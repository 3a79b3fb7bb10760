//! Whether a sign-in costs the same when the log is long: the same sign-ins on a short log and on a long one, taking turns.

use super::program::{Place, Programs};
use super::report::{Report, Row, Target, median, spread};
use super::{Plan, progress};
use crate::failure::Failure;

const FEW_EVENTS: u64 = 10_000;
const MOST_TIMES_DEARER: f64 = 1.1;

pub(super) fn measure(
    programs: &Programs<'_>,
    plan: Plan,
    server_url: Option<&str>,
    report: &mut Report,
) -> Result<(), Failure> {
    let name = if server_url.is_some() { "PostgreSQL" } else { "SQLite" };
    let lengths = [FEW_EVENTS, plan.most_events];
    progress(&format!("sign-ins on {name}, with logs of {} and {} events", lengths[0], lengths[1]));
    let places = [Place::filled(programs, server_url, lengths[0])?, Place::filled(programs, server_url, lengths[1])?];
    let mut servers = Vec::new();
    for place in &places {
        servers.push((programs.serve_on_all_cores(&place.folder.path, place.url.as_deref())?, &place.token));
    }
    let sign_ins = plan.sign_ins.to_string();
    let mut millis = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds {
        for ((server, token), millis) in servers.iter().zip(&mut millis) {
            let arguments = ["sign-ins", "--address", &server.address, "--token", token, "--sign-ins", &sign_ins];
            let seen = programs.bench(&arguments)?;
            millis.push(seen["p50_us"].as_f64().unwrap_or(f64::NAN) / 1e3);
        }
    }
    for (length, millis) in lengths.iter().zip(&millis) {
        let row = Row::new(format!("sign-in, {name}, {length} events: half within"), median(millis), "ms");
        report.add(row.note(spread(millis)));
    }
    let [few, many] = &millis;
    let ratios = few.iter().zip(many).map(|(few, many)| many / few).collect::<Vec<f64>>();
    let dearer = Row::new(format!("sign-in, {name}: times as long with the long log"), median(&ratios), "");
    report.add(dearer.target(Target::AtMost(MOST_TIMES_DEARER)).note(spread(&ratios)));
    Ok(())
}
