//! `authlog projections`: how the read models stand.

use projections::TABLES;
use serde_json::json;

use super::output::{Failure, line};
use super::show::{database_failed, reader};
use crate::settings::Settings;

pub(super) async fn status(settings: &Settings, json: bool) -> Result<(), Failure> {
    let head = reader(settings).await?.read_head().await.map_err(|error| database_failed(&error))?;
    let mut shown = Vec::new();
    for table in TABLES {
        let state = head.layout.0.get(table.name);
        let (version, set) = state.map_or((0, 0), |state| (state.version, state.set));
        let (word, position) = match state {
            None => ("missing", 0),
            Some(state) if state.version != table.version => ("outdated", head.position),
            Some(state) => match state.aside_since {
                Some(since) => ("aside", since - 1),
                None => ("live", head.position),
            },
        };
        shown.push((table.name, word, version, set, position));
    }
    if json {
        let projections: Vec<_> = shown
            .iter()
            .map(|(name, state, version, set, position)| {
                json!({ "name": name, "state": state, "version": version, "set": set, "position": position })
            })
            .collect();
        line(&json!({ "head": head.position, "projections": projections }).to_string())?;
        return Ok(());
    }
    line(&format!("{:<18} {:<9} {:>7} {:>4} {:>12}", "name", "state", "version", "set", "position"))?;
    for (name, state, version, set, position) in shown {
        line(&format!("{name:<18} {state:<9} {version:>7} {set:>4} {position:>12}"))?;
    }
    Ok(())
}
