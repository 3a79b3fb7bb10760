//! `authlog replay --why`.

use serde_json::json;

use super::print::{print_item, print_json, word};
use crate::cli::output::{Failure, line, precise_time, time};
use crate::log::past::Past;
use crate::replay::{AsOf, Name, Why};

pub(super) async fn why(past: &Past, name: &Name, as_of: AsOf, json: bool) -> Result<(), Failure> {
    let why = Why::of(past, name.find(past, as_of).await?, as_of).await?;
    if json {
        return print_json(&json!(why));
    }
    line(&format!("as of      {} (position {})", time(why.at), why.position))?;
    print_item(&why.stream, &json!(why.answer))?;
    if let Some(alive) = why.alive {
        let reasons: Vec<String> = why.ended_by.iter().map(word).collect();
        line(&if alive { "alive".to_owned() } else { format!("not alive: {}", reasons.join(", ")) })?;
    }
    if !why.erased.is_empty() {
        line(&format!("erased: {}", why.erased.join(", ")))?;
    }
    for decider in &why.because {
        let (position, when) = (decider.position, precise_time(decider.recorded_at));
        let decides: Vec<String> = decider.decides.iter().map(word).collect();
        let (stream, event_type, actor) = (&decider.stream, &decider.event_type, &decider.actor);
        line(&format!("{position:>8}  {when}  {stream}  {event_type} by {actor}  decides {}", decides.join(", ")))?;
    }
    Ok(())
}
