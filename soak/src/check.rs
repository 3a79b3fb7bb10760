//! What is checked of the log when everything is well again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::Failure;
use crate::command::run;
use crate::tally::{Promise, Tally};
use crate::world::{Acknowledged, World};

/// An event as `authlog events --json` prints it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    position: u64,
    stream: String,
    sequence: u64,
    #[serde(rename = "type")]
    kind: String,
    recorded_at: i64,
    metadata: BTreeMap<String, Value>,
}

impl Event {
    fn about(&self, name: &str) -> &str {
        self.metadata.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Reads the whole log through the command line; answers it as it was printed too.
async fn read_log(world: &World) -> Result<(Vec<Event>, String), Failure> {
    let done = run(world, &["events", "--json"]).await?;
    if done.code != 0 {
        return Err(format!("authlog events ended with {}: {}", done.code, done.stderr).into());
    }
    let events: Result<Vec<Event>, _> = done.stdout.lines().map(serde_json::from_str).collect();
    Ok((events?, done.stdout))
}

/// A fault of the checked log that is planted to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plant {
    /// An acknowledged event is missing
    Lost,
    /// An event is there twice
    Doubled,
}

/// Checks everything at rest; what is broken goes into the tally.
pub(crate) async fn check(world: &World, plant: Option<Plant>) -> Result<String, Failure> {
    let (mut events, printed) = read_log(world).await?;
    let acknowledged = world.acknowledged.lock().map(|all| all.clone()).unwrap_or_default();
    match plant {
        Some(Plant::Lost) => lose(&mut events, &acknowledged),
        Some(Plant::Doubled) => double(&mut events),
        None => {}
    }
    let tally = &world.tally;
    tally.read(events.len());
    in_order(&events, tally);
    nothing_lost(&events, &acknowledged, tally);
    exactly_once(&events, tally);
    five_failures_a_token(&events, tally);
    no_secret(world, &printed);
    an_order_explains_all(world);
    by_command(world, Promise::Order, &["replay", "--check"]).await?;
    by_command(world, Promise::ExactlyOnce, &["projections", "verify"]).await?;
    Ok(printed)
}

fn lose(events: &mut Vec<Event>, acknowledged: &[Acknowledged]) {
    if let Some(last) = acknowledged.last() {
        events.retain(|event| event.about("request_id") != last.request_id);
    }
}

fn double(events: &mut Vec<Event>) {
    if let Some(mut again) = events.iter().rfind(|event| !event.about("request_id").is_empty()).cloned() {
        again.position = u64::try_from(events.len()).unwrap_or(u64::MAX) + 1;
        again.sequence += 1;
        again.metadata.insert("unit_id".to_owned(), "another".into());
        events.push(again);
    }
}

/// Positions are 1, 2, 3, and so are the sequences of each stream; time does not go back.
fn in_order(events: &[Event], tally: &Tally) {
    tally.checked_many(Promise::Order, events.len());
    let (mut expected, mut last, mut sequences) = (1, i64::MIN, BTreeMap::new());
    for event in events {
        let sequence: &mut u64 = sequences.entry(&event.stream).or_default();
        *sequence += 1;
        if event.position != expected || event.sequence != *sequence || event.recorded_at < last {
            let what = format!("position {expected}, sequence {sequence}, not before {last}, should be at {event:?}");
            return tally.broken(Promise::Order, what);
        }
        (expected, last) = (expected + 1, event.recorded_at);
    }
}

fn nothing_lost(events: &[Event], acknowledged: &[Acknowledged], tally: &Tally) {
    tally.checked_many(Promise::NothingLost, acknowledged.len());
    let there: BTreeSet<(&str, &str)> =
        events.iter().map(|event| (event.about("request_id"), event.kind.as_str())).collect();
    for told in acknowledged {
        if !there.contains(&(told.request_id.as_str(), told.event_type)) {
            let Acknowledged { request_id, event_type, call } = told;
            tally.lost(format!("{event_type} of {call}, request {request_id}, is not in the log"));
        }
    }
}

/// One request is one unit, whatever became of its answer.
fn exactly_once(events: &[Event], tally: &Tally) {
    let mut units: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for event in events.iter().filter(|event| !event.about("request_id").is_empty()) {
        units.entry((event.about("request_id"), event.kind.as_str())).or_default().insert(event.about("unit_id"));
    }
    tally.checked_many(Promise::ExactlyOnce, units.len());
    for ((request, event_type), units) in units.iter().filter(|(_, units)| units.len() > 1) {
        tally.doubled(format!("{event_type} of request {request} is in the log by the units {units:?}"));
    }
}

fn five_failures_a_token(events: &[Event], tally: &Tally) {
    let (mut failures, mut opened) = (0, 0);
    for event in events {
        match event.kind.as_str() {
            "BootstrapTokenIssued" => {
                tally.checked(Promise::StrangersBounded);
                (failures, opened) = (0, 0);
            }
            "VerificationFailed" => failures += 1,
            "BootstrapTokenVerified" => opened += 1,
            _ => continue,
        }
        if failures > 5 || opened > 1 {
            let what = format!("{failures} failures and {opened} sessions of one token at {event:?}");
            return tally.broken(Promise::StrangersBounded, what);
        }
    }
}

fn no_secret(world: &World, printed: &str) {
    let secrets = world.secrets.lock().map(|all| all.clone()).unwrap_or_default();
    world.tally.checked_many(Promise::NoSecretInTheLog, secrets.len().min(SECRETS_LOOKED_FOR));
    for secret in secrets.iter().rev().take(SECRETS_LOOKED_FOR).filter(|secret| printed.contains(*secret)) {
        world.tally.broken(Promise::NoSecretInTheLog, format!("{secret} is in the log"));
    }
}

/// There is an order of all calls in which one caller after the other would have been told the same. An object on which the search
/// gave up is counted as such and left out from then on: it is neither a pass nor a broken promise.
fn an_order_explains_all(world: &World) {
    loop {
        let (object, violation) = match world.recorder.check_settled() {
            Ok(verdict) => return world.judged(verdict.calls),
            Err(history::Failure::GaveUp(gave_up)) => (gave_up.object, None),
            Err(history::Failure::Violation(violation)) => (violation.object, Some(violation)),
        };
        if world.is_unjudged(object) {
            // What it was before the calls that are left is not known.
        } else if let Some(violation) = violation {
            return world.tally.broken(Promise::Linearizable, violation.to_string());
        }
        world.leave_unjudged(object);
    }
}

/// Each is looked for in the whole log.
const SECRETS_LOOKED_FOR: usize = 40;

/// A check of authlog's own.
async fn by_command(world: &World, promise: Promise, arguments: &[&str]) -> Result<(), Failure> {
    let done = run(world, arguments).await?;
    world.tally.checked(promise);
    if done.code != 0 {
        let found: Vec<&str> = done.stdout.lines().chain(done.stderr.lines()).take(20).collect();
        let what = format!("authlog {} ended with {}: {}", arguments.join(" "), done.code, found.join("\n"));
        world.tally.broken(promise, what);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::{Event, exactly_once, five_failures_a_token, in_order, nothing_lost};
    use crate::tally::Tally;
    use crate::world::Acknowledged;

    fn event(position: u64, event_type: &str, request: &str, unit: &str) -> Event {
        serde_json::from_value(json!({
            "position": position, "stream": "user/1", "sequence": position, "type": event_type, "version": "1",
            "recorded_at": position, "payload": {}, "metadata": { "request_id": request, "unit_id": unit },
        }))
        .unwrap()
    }

    fn log() -> Vec<Event> {
        vec![event(1, "UserInvited", "r1", "u1"), event(2, "RoleChanged", "r2", "u2")]
    }

    fn told(request: &str) -> Vec<Acknowledged> {
        vec![Acknowledged { request_id: request.to_owned(), event_type: "RoleChanged", call: "PATCH".to_owned() }]
    }

    fn is_broken(check: impl FnOnce(&Tally)) -> bool {
        let tally = Tally::default();
        check(&tally);
        tally.is_broken()
    }

    #[test]
    fn a_log_as_it_should_be_passes() {
        assert!(!is_broken(|tally| {
            in_order(&log(), tally);
            nothing_lost(&log(), &told("r2"), tally);
            exactly_once(&log(), tally);
        }));
    }

    #[test]
    fn what_is_missing_from_the_log_is_found() {
        assert!(is_broken(|tally| nothing_lost(&log(), &told("r3"), tally)));
        assert!(is_broken(|tally| nothing_lost(&log()[..1], &told("r2"), tally)));
        assert!(is_broken(|tally| in_order(&log()[1..], tally)));
    }

    #[test]
    fn what_is_in_the_log_twice_is_found() {
        let mut log = log();
        log.push(event(3, "RoleChanged", "r2", "u3"));
        assert!(is_broken(|tally| exactly_once(&log, tally)));
    }

    #[test]
    fn a_sixth_failure_of_a_token_is_found() {
        let log: Vec<Event> = (1..=6).map(|number| event(number, "VerificationFailed", "r", "u")).collect();
        assert!(!is_broken(|tally| five_failures_a_token(&log[..5], tally)));
        assert!(is_broken(|tally| five_failures_a_token(&log, tally)));
    }
}
