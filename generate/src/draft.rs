//! A unit in the making: what the aggregates have decided for one call.

use std::collections::HashMap;

use aggregates::{Event, KeyId, Protected, StreamId, UserId};
use authlog::keys::Key;
use authlog::log::fill::PastUnit;
use authlog::log::{Keyring, Loaded, StreamVersion, Unit, seal};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use projections::{ActorRef, Metadata};
use uuid::Uuid;

use crate::GenerateError;
use crate::calendar::Moment;
use crate::looks::Origin;

/// Every key that there is, of the instance, of persons, of months.
#[derive(Debug)]
pub(crate) struct Keys {
    pub keyring: Keyring,
    pub present: HashMap<KeyId, Key>,
}

/// A call, and what it is going to write.
#[derive(Debug)]
pub(crate) struct Draft {
    command: &'static str,
    actor: ActorRef,
    /// From where it comes, for whom that is sealed, and the call's id.
    origin: Option<(Origin, KeyId, Uuid)>,
    reads: Vec<StreamVersion>,
    begun: Vec<StreamId>,
    events: Vec<(StreamId, i64, Event)>,
    keys_made: Vec<KeyId>,
    keys_destroyed: Vec<KeyId>,
}

impl Draft {
    /// Something that the operator or the service itself does.
    pub(crate) fn from_within(actor: ActorRef, command: &'static str) -> Self {
        Self {
            command,
            actor,
            origin: None,
            reads: Vec::new(),
            begun: Vec::new(),
            events: Vec::new(),
            keys_made: Vec::new(),
            keys_destroyed: Vec::new(),
        }
    }

    /// A call over the network; from where is sealed with that key.
    pub(crate) fn call(actor: ActorRef, command: &'static str, origin: Origin, key: KeyId, request_id: Uuid) -> Self {
        Self { origin: Some((origin, key, request_id)), ..Self::from_within(actor, command) }
    }

    /// Lets an aggregate decide and keeps its events.
    pub(crate) async fn decide<A>(&mut self, held: &mut Loaded<A>, command: A::Command) -> Result<(), GenerateError>
    where
        A: Aggregate<Services = ()>,
        A::Event: Into<Event>,
    {
        let sink = EventSink::default();
        let refused = |error: A::Error| GenerateError::Refused { command: self.command, reason: error.to_string() };
        held.aggregate.handle(command, &(), &sink).await.map_err(refused)?;
        if !self.events.iter().any(|(stream, ..)| *stream == held.stream) {
            if held.version == 0 {
                self.begun.push(held.stream.clone());
            } else {
                self.reads.push(StreamVersion { stream: held.stream.clone(), version: held.version });
            }
        }
        for event in sink.collect().await {
            held.version += 1;
            self.events.push((held.stream.clone(), held.version, event.into()));
        }
        Ok(())
    }

    pub(crate) fn make_key(&mut self, id: KeyId) {
        self.keys_made.push(id);
    }

    pub(crate) fn destroy_key_of(&mut self, user: UserId) {
        self.keys_destroyed.push(KeyId::Person(user));
    }

    /// The unit, sealed; `None` when nothing was decided.
    pub(crate) fn into_unit(self, id: Uuid, at: Moment, keys: &mut Keys) -> Result<Option<PastUnit>, GenerateError> {
        if self.events.is_empty() {
            return Ok(None);
        }
        let mut keys_made = Vec::with_capacity(self.keys_made.len());
        for key_id in self.keys_made {
            let (key, wrapped) = keys.keyring.make(&key_id)?;
            keys.present.insert(key_id.clone(), key);
            keys_made.push((key_id, wrapped));
        }
        let (origin, request_id) = match self.origin {
            Some((origin, key, request_id)) => (Some((origin, key)), Some(request_id)),
            None => (None, None),
        };
        let protect =
            |text: &str| origin.as_ref().map(|(_, key)| Protected::Clear { key: key.clone(), text: text.to_owned() });
        let metadata = Metadata {
            actor: self.actor,
            request_id,
            unit_id: id,
            command: self.command.to_owned(),
            source_address: origin.as_ref().and_then(|(origin, _)| protect(&origin.source_address)),
            user_agent: origin.as_ref().and_then(|(origin, _)| protect(origin.user_agent)),
        };
        let events = self.events.into_iter();
        let events = events.map(|(stream, sequence, event)| seal(stream, sequence, event, &metadata, &keys.present));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        for key_id in &self.keys_destroyed {
            keys.present.remove(key_id);
        }
        let unit =
            Unit { id, reads: self.reads, begun: self.begun, events, keys_made, keys_destroyed: self.keys_destroyed };
        Ok(Some(PastUnit { recorded_at_micros: at.micros(), unit }))
    }
}
