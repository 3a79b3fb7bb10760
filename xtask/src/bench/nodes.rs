//! How long a revocation takes until every node refuses, and that none lets it slip.

use serde_json::Value;

use super::http::fill;
use super::program::{Programs, Server};
use super::report::{Report, Row, Target};
use super::{Plan, progress};
use crate::failure::Failure;

const MOST_MILLISECONDS: f64 = 50.0;
/// A lease, and what it takes to notice.
const MOST_MILLISECONDS_WITH_ONE_FROZEN: f64 = 250.0 + 100.0;
const EVENTS: u64 = 1000;

pub(super) fn measure(
    programs: &Programs<'_>,
    plan: Plan,
    server_url: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let folder = programs.guard.folder("bench-nodes")?;
    let made = programs.bench(&["create-database", server_url])?;
    let url = made["url"].as_str().unwrap_or_default();
    fill(programs, &folder.path, Some(url), EVENTS)?;
    let mut nodes: Vec<Server<'_>> = Vec::new();
    for count in [2, 3] {
        while nodes.len() < count {
            nodes.push(programs.serve_on_all_cores(&folder.path, Some(url))?);
        }
        let tries = plan.revocations.to_string();
        progress(&format!("{tries} revocations on {count} nodes"));
        let seen = revoke(programs, &folder.path.display().to_string(), url, &nodes, &["--tries", &tries])?;
        let slipped =
            Row::new(format!("{count} nodes: revoked sessions that were accepted"), number(&seen, "slipped"), "");
        report.add(slipped.target(Target::AtMost(0.0)).note(format!("of {tries}, each asked on every node")));
        let p99 = Row::new(format!("{count} nodes: p99 of a revoking call"), number(&seen, "p99_us") / 1e3, "ms");
        report.add(p99.target(Target::AtMost(MOST_MILLISECONDS)).note(spread(&seen)));
    }
    let Some(last) = nodes.last() else { return Ok(()) };
    let (process, tries) = (last.process_id().to_string(), (plan.revocations / 100).to_string());
    progress(&format!("{tries} revocations on {} nodes, one of them stopped before each", nodes.len()));
    let more = ["--tries", &tries, "--freeze", &process];
    let seen = revoke(programs, &folder.path.display().to_string(), url, &nodes, &more)?;
    let slipped = Row::new("one node frozen: revoked sessions that were accepted", number(&seen, "slipped"), "");
    report.add(
        slipped
            .target(Target::AtMost(0.0))
            .note(format!("of {tries}, each asked on every node, the frozen one when it goes on")),
    );
    let p99 = Row::new("one node frozen: p99 of a revoking call", number(&seen, "p99_us") / 1e3, "ms");
    report.add(p99.target(Target::AtMost(MOST_MILLISECONDS_WITH_ONE_FROZEN)).note(spread(&seen)));
    Ok(())
}

fn revoke(
    programs: &Programs<'_>,
    folder: &str,
    url: &str,
    nodes: &[Server<'_>],
    more: &[&str],
) -> Result<Value, Failure> {
    let mut arguments = vec!["revoke", "--data-dir", folder, "--database-url", url];
    arguments.extend(nodes.iter().flat_map(|node| ["--address", &node.address]));
    arguments.extend(more);
    programs.bench(&arguments)
}

fn number(seen: &Value, name: &str) -> f64 {
    seen[name].as_f64().unwrap_or(f64::NAN)
}

fn spread(seen: &Value) -> String {
    format!("half within {:.1} ms, the longest {:.1} ms", number(seen, "p50_us") / 1e3, number(seen, "most_us") / 1e3)
}
