//! What has been counted so far, and which promises were found broken.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Descriptions of broken promises that are kept; the first ones tell the most.
const DESCRIBED: usize = 50;

/// What a check is about. In the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    Order,
    NothingLost,
    RacesSafely,
    Linearizable,
    ReadYourWrites,
    ExactlyOnce,
    NoSecretInTheLog,
    StrangersBounded,
    ErrorsAsDocumented,
    LiarsSignNobodyIn,
    RecoversByItself,
}

impl Promise {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Order => "P1 total order: positions and sequences are dense, the rules allow every event",
            Self::NothingLost => "P2 nothing acknowledged is lost",
            Self::RacesSafely => "P3 decisions race safely",
            Self::Linearizable => "P3, P4 one order explains every answer about setup, addresses, users and sessions",
            Self::ReadYourWrites => "P4 read your writes, on every node",
            Self::ExactlyOnce => "P5 exactly once: no call is there twice, read models equal a fresh fold",
            Self::NoSecretInTheLog => "P9 no address and no token in the log",
            Self::StrangersBounded => "P10 five failures a token",
            Self::ErrorsAsDocumented => "errors are documented ones in the envelope",
            Self::LiarsSignNobodyIn => "a lying provider signs nobody in",
            Self::RecoversByItself => "every node is ready again without a hand",
        }
    }
}

#[derive(Default)]
struct Counts {
    calls: u64,
    unknown: u64,
    hung_up: u64,
    events: u64,
    lost: u64,
    doubled: u64,
    codes: BTreeMap<String, u64>,
    faults: BTreeMap<(Kind, &'static str), u64>,
    checks: BTreeMap<Promise, u64>,
    /// Objects on which the search for an order gave up.
    gave_up: u64,
    broken: Vec<String>,
    broken_count: u64,
    rounds: u64,
}

/// What sort of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `kill -9` of a node.
    Kill,
    /// Of PostgreSQL or the network to it.
    Database,
    /// Of a node, other than a kill.
    Node,
    Provider,
    Caller,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Kill => "kills",
            Self::Database => "database",
            Self::Node => "nodes",
            Self::Provider => "provider",
            Self::Caller => "callers",
        }
    }
}

/// Shared by everything that runs.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Counts>);

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No section under the lock leaves half a change behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn called(&self) {
        self.counts().calls += 1;
    }

    /// An answer never came.
    pub(crate) fn unanswered(&self) {
        self.counts().unknown += 1;
    }

    pub(crate) fn hung_up(&self) {
        self.counts().hung_up += 1;
        self.fault(Kind::Caller, "hang up in mid-call");
    }

    pub(crate) fn refused(&self, status: u16, code: &str) {
        *self.counts().codes.entry(format!("{status} {code}")).or_default() += 1;
    }

    pub(crate) fn fault(&self, kind: Kind, name: &'static str) {
        *self.counts().faults.entry((kind, name)).or_default() += 1;
    }

    pub(crate) fn checked(&self, promise: Promise) {
        self.checked_many(promise, 1);
    }

    pub(crate) fn checked_many(&self, promise: Promise, times: usize) {
        *self.counts().checks.entry(promise).or_default() += u64::try_from(times).unwrap_or(u64::MAX);
    }

    pub(crate) fn read(&self, events: usize) {
        self.counts().events += u64::try_from(events).unwrap_or(u64::MAX);
    }

    pub(crate) fn round(&self) {
        self.counts().rounds += 1;
    }

    pub(crate) fn gave_up(&self) {
        self.counts().gave_up += 1;
    }

    pub(crate) fn lost(&self, what: String) {
        self.counts().lost += 1;
        self.broken(Promise::NothingLost, what);
    }

    pub(crate) fn doubled(&self, what: String) {
        self.counts().doubled += 1;
        self.broken(Promise::ExactlyOnce, what);
    }

    /// A promise does not hold.
    pub(crate) fn broken(&self, promise: Promise, what: String) {
        let mut counts = self.counts();
        counts.broken_count += 1;
        if counts.broken.len() < DESCRIBED {
            let mut described = what;
            described.insert_str(0, ": ");
            described.insert_str(0, promise.words());
            eprintln!("\nsoak: BROKEN: {described}");
            counts.broken.push(described);
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.counts().broken_count > 0
    }

    /// One line for who waits.
    pub(crate) fn progress(&self) -> String {
        let counts = self.counts();
        format!(
            "{} calls, {} kills, {} database faults, {} others, {} unanswered, lost {}, doubled {}",
            counts.calls,
            counts.of(Kind::Kill),
            counts.of(Kind::Database),
            counts.of(Kind::Node) + counts.of(Kind::Provider) + counts.of(Kind::Caller),
            counts.unknown,
            counts.lost,
            counts.doubled,
        )
    }

    pub(crate) fn json(&self) -> Value {
        let counts = self.counts();
        let mut faults = serde_json::Map::new();
        for kind in [Kind::Kill, Kind::Database, Kind::Node, Kind::Provider, Kind::Caller] {
            let named = counts.faults.iter().filter(|((of, _), _)| *of == kind);
            let named: BTreeMap<&str, u64> = named.map(|((_, name), count)| (*name, *count)).collect();
            faults.insert(kind.words().to_owned(), json!({ "total": counts.of(kind), "by_name": named }));
        }
        let promises: BTreeMap<&str, u64> =
            counts.checks.iter().map(|(promise, times)| (promise.words(), *times)).collect();
        json!({
            "rounds": counts.rounds,
            "calls": counts.calls,
            "unanswered": counts.unknown,
            "hung_up": counts.hung_up,
            "events": counts.events,
            "faults": faults,
            "errors": counts.codes,
            "gave_up": counts.gave_up,
            "lost": counts.lost,
            "doubled": counts.doubled,
            "promises_checked": promises,
            "broken": counts.broken,
            "broken_total": counts.broken_count,
        })
    }

    /// The same for people.
    pub(crate) fn table(&self) -> String {
        let counts = self.counts();
        let mut lines = vec![
            format!("{:<10} {:>9}  ({} rounds)", "calls", counts.calls, counts.rounds),
            format!("{:<10} {:>9}  (and {} where the caller hung up)", "unanswered", counts.unknown, counts.hung_up),
            format!("{:<10} {:>9}", "events", counts.events),
            "faults".to_owned(),
        ];
        for kind in [Kind::Kill, Kind::Database, Kind::Node, Kind::Provider, Kind::Caller] {
            lines.push(format!("  {:<8} {:>9}", kind.words(), counts.of(kind)));
            for ((_, name), count) in counts.faults.iter().filter(|((of, _), _)| *of == kind) {
                lines.push(format!("    {count:>8}  {name}"));
            }
        }
        lines.push("errors answered".to_owned());
        lines.extend(counts.codes.iter().map(|(code, count)| format!("    {count:>8}  {code}")));
        lines.push("promises checked".to_owned());
        lines.extend(counts.checks.iter().map(|(promise, times)| format!("    {times:>8}  {}", promise.words())));
        lines.push(format!("{:<10} {:>9}  (objects with too many orders to search)", "gave up", counts.gave_up));
        lines.push(format!("{:<10} {:>9}", "lost", counts.lost));
        lines.push(format!("{:<10} {:>9}", "doubled", counts.doubled));
        lines.push(format!("{:<10} {:>9}", "broken", counts.broken_count));
        lines.extend(counts.broken.iter().map(|what| format!("  {what}")));
        lines.join("\n")
    }
}

impl Counts {
    fn of(&self, kind: Kind) -> u64 {
        self.faults.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum()
    }
}
