//! What callers were told, against the log: everything acknowledged is there once (P2, P5), nothing that was refused is there
//! (P3), nothing secret or personal is there in clear (P9), and strangers have not made it grow (P10).

use std::collections::{BTreeMap, HashMap};

use super::Event;

/// Collects what a run was told, then looks whether the log agrees.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By the type of the event and what it is about.
    facts: BTreeMap<&'static str, HashMap<Box<str>, Counts>>,
    /// Calls of unknown outcome that would have made something new, whose id nobody was told.
    lost_new: BTreeMap<&'static str, u64>,
    secrets: Vec<(String, String)>,
    /// How many processes have written, restarts counted; 0 when nobody has said.
    processes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    acknowledged: u64,
    lost: u64,
}

impl Told {
    /// A call was answered with success, and its event is about this: the id of the stream, or for a session or an API token the
    /// SHA-256 of its token in hex. From the first time that a type is named here every event of that type has to be told.
    pub fn acknowledged(&mut self, event_type: &'static str, about: &str) {
        self.counts(event_type, about).acknowledged += 1;
    }

    /// Nobody knows whether the call took effect: at most one event more.
    pub fn lost(&mut self, event_type: &'static str, about: &str) {
        self.counts(event_type, about).lost += 1;
    }

    /// The same of a call whose event begins a stream whose id only the answer would have told.
    pub fn lost_new(&mut self, event_type: &'static str) {
        self.watch(event_type);
        *self.lost_new.entry(event_type).or_default() += 1;
    }

    /// Every event of that type has to be told, from the first one on.
    pub fn watch(&mut self, event_type: &'static str) {
        self.facts.entry(event_type).or_default();
    }

    /// A text that must not be in the log: an address, a token, a secret of the run.
    pub fn secret(&mut self, what: &str, text: &str) {
        self.secrets.push((what.to_owned(), text.to_owned()));
    }

    /// How many processes have written to the log, each start counted. Each writes refused sign-ins once a minute and once when it
    /// stops.
    pub fn processes(&mut self, processes: u64) {
        self.processes = processes;
    }

    fn counts(&mut self, event_type: &'static str, about: &str) -> &mut Counts {
        self.facts.entry(event_type).or_default().entry(about.into()).or_default()
    }

    /// What in the log does not agree with what was told, in words.
    pub fn check(&self, log: &[Event]) -> Vec<String> {
        let mut found = self.compare(log);
        found.extend(self.clear(log));
        found.extend(self.refused_sign_ins(log));
        found
    }

    fn compare(&self, log: &[Event]) -> Vec<String> {
        let (mut found, mut written) = (Vec::new(), BTreeMap::new());
        let sessions: HashMap<&str, &str> = log.iter().filter_map(token_hash).collect();
        for event in log.iter().filter(|event| self.facts.contains_key(event.event_type.as_str())) {
            // Sessions and API tokens are known by their ids to some callers, and by their tokens to others.
            let facts = &self.facts[event.event_type.as_str()];
            let by_token = sessions.get(event.stream.as_str()).copied().filter(|hash| facts.contains_key(*hash));
            let about = by_token.unwrap_or_else(|| event.id());
            *written.entry((event.event_type.as_str(), about)).or_insert(0_u64) += 1;
        }
        for (event_type, facts) in &self.facts {
            for (about, Counts { acknowledged, lost }) in facts {
                let there = written.remove(&(*event_type, &**about)).unwrap_or(0);
                if there < *acknowledged {
                    found.push(format!("lost: {event_type} of {about} was acknowledged {acknowledged} times, and is there {there} times"));
                }
                if there > acknowledged + lost {
                    found.push(format!(
                        "doubled or refused: {event_type} of {about} is there {there} times, and was acknowledged {acknowledged} \
                         times, with {lost} of unknown outcome"
                    ));
                }
            }
            let untold: Vec<(&str, u64)> = written
                .iter()
                .filter(|((of, _), _)| of == event_type)
                .map(|((_, about), there)| (*about, *there))
                .collect();
            let (count, lost) = (
                untold.iter().map(|(_, there)| there).sum::<u64>(),
                self.lost_new.get(event_type).copied().unwrap_or(0),
            );
            if count > lost {
                let about: Vec<&str> = untold.iter().take(5).map(|(about, _)| *about).collect();
                found.push(format!(
                    "untold: {count} events {event_type} that nobody was told of, where {lost} calls are of unknown outcome: {about:?}"
                ));
            }
        }
        found
    }

    fn clear(&self, log: &[Event]) -> Vec<String> {
        let mut found = Vec::new();
        for event in log {
            let text =
                format!("{} {} {} {}", event.stream, event.event_type, event.payload, event.metadata).to_lowercase();
            for (what, secret) in &self.secrets {
                if text.contains(&secret.to_lowercase()) {
                    found.push(format!("{event}: {what} stands there in clear"));
                }
            }
        }
        found
    }

    /// One counted event a minute and reason, of each process.
    fn refused_sign_ins(&self, log: &[Event]) -> Vec<String> {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for event in log.iter().filter(|event| event.event_type == "SignInsRefused") {
            *counts.entry((&event.stream, event.fields()["reason"].as_str().unwrap_or_default())).or_default() += 1;
        }
        let most = 2 * self.processes;
        let too_many = counts.into_iter().filter(|(_, count)| most > 0 && *count > most);
        too_many
            .map(|((stream, reason), count)| {
                format!("{stream}: {count} events for the reason {reason}, of {} processes", self.processes)
            })
            .collect()
    }
}

/// The stream of a session or an API token, and the hash of its token.
fn token_hash(event: &Event) -> Option<(&str, &str)> {
    ["SessionOpened", "SetupSessionOpened", "ApiTokenIssued"].contains(&event.event_type.as_str()).then_some(())?;
    Some((event.stream.as_str(), event.fields()["token_hash"].as_str()?))
}
