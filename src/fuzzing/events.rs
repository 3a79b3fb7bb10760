//! Stored events: decoding, lifting, folding.
#![allow(clippy::expect_used)]

use std::collections::HashMap;

use aggregates::{Event, Fields, KeyId, Lift, Protected, ProtectedFields, StreamId};
use cqrs_es::Aggregate;
use projections::{ActorRef, FoldError, KeyedHasher, Metadata, ReadModels, Recorded};
use uuid::Uuid;

/// As many events are read of one input.
const MAX_EVENTS: usize = 64;

/// An invented version before the first one.
const LIFT: Lift = Lift { event_type: "UserInvited", from: "0", to: "1", fields: by_is_called_invited_by };

fn by_is_called_invited_by(mut fields: Fields) -> Fields {
    if let Some(by) = fields.remove("by") {
        fields.insert("invited_by".to_owned(), by);
    }
    fields
}

/// A log, an event a line: stream, version and payload with a blank between them; or the metadata of one.
///
/// What is read is written again the same and lifted the same; folding it, in the aggregates and the read models, fails without
/// a panic and leaves nothing behind.
pub fn events(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut log = Vec::new();
    for line in text.lines().take(MAX_EVENTS) {
        metadata(line);
        log.extend(event(line));
    }
    decide_from(&log);
    fold(&log);
    for (_, event) in &mut log {
        open(event);
    }
    decide_from(&log);
    fold(&log);
}

fn metadata(line: &str) {
    let Ok(read) = Metadata::decode(line) else { return };
    let written = read.encode().expect("what was read is sealed");
    assert_eq!(Metadata::decode(&written).expect("what was written is read"), read);
}

fn event(line: &str) -> Option<(StreamId, Event)> {
    let mut parts = line.splitn(3, ' ');
    let stream: StreamId = parts.next()?.parse().ok()?;
    let (version, payload) = (parts.next()?, parts.next()?);
    let event_type = payload.split('"').nth(1)?;
    let kind = stream.aggregate_type;
    if let Ok(lifted) = Event::decode_by(&[LIFT], kind, event_type, version, payload) {
        assert_eq!(lifted.event_version(), "1", "{line}");
    }
    let event = Event::decode(kind, event_type, version, payload).ok()?;
    assert_eq!((event.event_type().as_str(), event.event_version().as_str()), (event_type, version));
    let written = event.encode().expect("what was read is sealed");
    let again = Event::decode(kind, event_type, version, &written).expect("what was written is read");
    assert_eq!(again, event, "{written}");
    assert_eq!(again.encode().expect("the same"), written);
    let older = written.replacen("\"invited_by\":", "\"by\":", 1);
    if event_type == LIFT.event_type {
        let lifted = Event::decode_by(&[LIFT], kind, event_type, LIFT.from, &older).expect("an older version is read");
        assert_eq!(lifted, event, "{older}");
    }
    Some((stream, event))
}

/// Personal data as folds see it while the person's key is there.
fn open(event: &mut Event) {
    for (_, value) in event.protected_fields() {
        if let Protected::Sealed { key: key @ (KeyId::Person(_) | KeyId::Strangers(_)), sealed } = value {
            *value = Protected::Clear { key: key.clone(), text: std::mem::take(sealed) };
        }
    }
}

/// Each stream in its aggregate.
fn decide_from(log: &[(StreamId, Event)]) {
    let (mut setup, mut session, mut user) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut token, mut provider) = (HashMap::new(), HashMap::new());
    for (stream, event) in log {
        match event.clone() {
            Event::Setup(event) => apply::<aggregates::Setup>(&mut setup, stream, event),
            Event::Session(event) => apply::<aggregates::Session>(&mut session, stream, event),
            Event::User(event) => apply::<aggregates::User>(&mut user, stream, event),
            Event::ApiToken(event) => apply::<aggregates::ApiToken>(&mut token, stream, event),
            Event::IdentityProvider(event) => apply::<aggregates::IdentityProvider>(&mut provider, stream, event),
        }
    }
}

fn apply<'l, A: Aggregate>(streams: &mut HashMap<&'l StreamId, A>, stream: &'l StreamId, event: A::Event) {
    streams.entry(stream).or_default().apply(event);
}

/// Every event a unit of its own, into empty read models.
fn fold(log: &[(StreamId, Event)]) {
    let (hasher, metadata) = (KeyedHasher::new(&[7; 32]), by_the_system());
    let mut sequences: HashMap<&StreamId, i64> = HashMap::new();
    let recorded: Vec<Recorded<'_>> = (1..)
        .zip(log)
        .map(|(position, (stream, event))| {
            let sequence = sequences.entry(stream).or_default();
            *sequence += 1;
            let recorded_at_micros = 1_795_305_600_000_000 + position;
            Recorded { position, recorded_at_micros, stream, sequence: *sequence, event, metadata: &metadata }
        })
        .collect();
    let mut models = ReadModels::new();
    for event in &recorded {
        models.need(event, &hasher);
    }
    for rows in models.tables() {
        rows.supply_json("[]").expect("no rows are rows");
    }
    for event in &recorded {
        let before = changes(&mut models);
        match models.fold(std::slice::from_ref(event), &hasher) {
            Ok(()) | Err(FoldError::Audit { .. }) => {}
            Err(refused @ (FoldError::Claimed(_) | FoldError::Broken { .. })) => {
                assert_eq!(changes(&mut models), before, "{refused} left something behind");
            }
        }
    }
}

/// All that the batch would write.
fn changes(models: &mut ReadModels) -> Vec<[Option<String>; 3]> {
    models.tables().into_iter().map(|rows| [rows.inserts_json(), rows.updates_json(), rows.deletes_json()]).collect()
}

fn by_the_system() -> Metadata {
    Metadata {
        actor: ActorRef::System,
        request_id: None,
        unit_id: Uuid::from_u128(9),
        command: "fuzz".to_owned(),
        source_address: None,
        user_agent: None,
    }
}
