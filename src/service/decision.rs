//! Deciding: load streams, let aggregates decide, hand the events over as one unit, and again if something moved.

use std::sync::Arc;

use aggregates::{Event, KeyId, Protected, StreamId, UnixSeconds, UserId};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use projections::{ActorRef, ClaimKind, Metadata, ReadModels};
use uuid::Uuid;

use super::{
    CallContext, MAX_USER_AGENT_CHARACTERS, Memory, RememberedStreams, Service, encryption_error, overloaded,
    store_error,
};
use crate::error::{ApiError, ErrorCode};
use crate::keys::Key;
use crate::log::{AppendError, CodecError, LoadError, Loaded, Log, Own, StreamVersion, Unit, keys_of, seal};

/// A call that loses the race so often is told to come back later. Every round at least one caller gets through, so this is
/// reached only by a crowd of more than this many on one stream.
pub const MAX_ROUNDS: usize = 128;

/// A call that changes something.
pub trait Decide: Send + Sync + 'static {
    type Answer: Send + 'static;
    /// Stands in the metadata of the events, in snake case.
    const COMMAND: &'static str;
    /// Whether a call that changed nothing, having been done before, waits as the first one does until every node has heard of it.
    const WAITS_WHEN_REPEATED: bool = true;

    /// Decides on what the streams say now. May be called again when something moved meanwhile, so it must not have effects
    /// of its own.
    fn decide(
        &self,
        service: &Service,
        decision: &mut Decision,
    ) -> impl Future<Output = Result<Self::Answer, ApiError>> + Send;
}

/// One round of deciding: what was read, what is to be written.
pub struct Decision {
    log: Log,
    streams: Arc<RememberedStreams>,
    /// Whether every stream is read from the log, whatever is remembered of it.
    fresh: bool,
    /// Whether a stream was taken from memory.
    remembered: bool,
    pub now: UnixSeconds,
    reads: Vec<StreamVersion>,
    begun: Vec<StreamId>,
    events: Vec<(StreamId, i64, Event)>,
    keys_made: Vec<(KeyId, Key, String)>,
    keys_destroyed: Vec<KeyId>,
    actor: ActorRef,
    metadata_key: Option<KeyId>,
}

impl Decision {
    /// Folds a stream and notes its version: should it move before the unit is written, the call is decided again.
    pub async fn load<A>(&mut self, stream: StreamId) -> Result<Loaded<A>, ApiError>
    where
        A: Aggregate + Clone + 'static,
        A::Event: DomainEvent,
    {
        let remembered = if self.fresh { None } else { self.streams.get::<A>(&stream) };
        let loaded = if let Some(loaded) = remembered {
            self.remembered = true;
            loaded
        } else {
            let loaded = self.log.load::<A>(stream).await.map_err(load_error)?;
            self.streams.keep(&loaded);
            loaded
        };
        self.reads.push(StreamVersion { stream: loaded.stream.clone(), version: loaded.version });
        Ok(loaded)
    }

    /// A stream that begins with this unit, its id being new. Nothing is read; the log writer makes sure that it is empty.
    pub fn begin<A: Default>(&mut self, stream: StreamId) -> Loaded<A> {
        self.begun.push(stream.clone());
        Loaded { aggregate: A::default(), stream, version: 0 }
    }

    /// Lets an aggregate decide and keeps its events for the unit; answers them.
    pub async fn handle<A>(&mut self, loaded: &mut Loaded<A>, command: A::Command) -> Result<Vec<A::Event>, A::Error>
    where
        A: Aggregate<Services = ()>,
        A::Event: Into<Event>,
    {
        let sink = EventSink::default();
        loaded.aggregate.handle(command, &(), &sink).await?;
        let events = sink.collect().await;
        for event in &events {
            loaded.version += 1;
            self.events.push((loaded.stream.clone(), loaded.version, event.clone().into()));
        }
        Ok(events)
    }

    /// Says who acts. Source address and user agent are sealed for that person; a stranger's for a month.
    pub fn acts(&mut self, actor: ActorRef) {
        self.actor = actor;
        self.metadata_key = actor.user_id().map(KeyId::Person);
    }

    /// Makes the key of a new person; it comes into being with the unit.
    pub fn make_person_key(&mut self, user: UserId) -> Result<(), ApiError> {
        let id = KeyId::Person(user);
        let made = self.log.keyring().make(&id);
        let (key, wrapped) = made.map_err(|error| {
            ApiError::new(ErrorCode::EncryptionError).with_message("A key could not be made.").caused_by(error)
        })?;
        self.keys_made.push((id, key, wrapped));
        Ok(())
    }

    /// Destroys the key of a person with the unit: what was sealed with it is erased.
    pub fn destroy_person_key(&mut self, user: UserId) {
        self.keys_destroyed.push(KeyId::Person(user));
    }

    /// The inner error says that a person's key is gone.
    async fn into_unit(
        mut self,
        service: &Service,
        context: &CallContext,
        command: &str,
    ) -> Result<Result<Unit, CodecError>, ApiError> {
        let id = Uuid::now_v7();
        let mut metadata = self.metadata(service, context, id, command).await?;
        let wanted: Vec<KeyId> =
            self.events.iter_mut().flat_map(|(_, _, event)| keys_of(event, &mut metadata)).collect();
        let mut keys: crate::log::Keys = self.keys_made.iter().map(|(id, key, _)| (id.clone(), key.clone())).collect();
        let stored: Vec<KeyId> = wanted.into_iter().filter(|id| !keys.contains_key(id)).collect();
        keys.extend(self.log.keyring().find(&stored).await.map_err(encryption_error)?);
        let sealed =
            self.events.into_iter().map(|(stream, sequence, event)| seal(stream, sequence, event, &metadata, &keys));
        let events = match sealed.collect::<Result<Vec<_>, CodecError>>() {
            Ok(events) => events,
            Err(error @ CodecError::NoKey(KeyId::Person(_))) => return Ok(Err(error)),
            Err(error) => return Err(unsealable(error)),
        };
        let keys_made = self.keys_made.into_iter().map(|(id, _, wrapped)| (id, wrapped)).collect();
        let (reads, begun, keys_destroyed) = (self.reads, self.begun, self.keys_destroyed);
        Ok(Ok(Unit { id, reads, begun, events, keys_made, keys_destroyed }))
    }

    async fn metadata(
        &self,
        service: &Service,
        context: &CallContext,
        unit_id: Uuid,
        command: &str,
    ) -> Result<Metadata, ApiError> {
        let mut metadata = Metadata {
            actor: self.actor,
            request_id: context.request_id,
            unit_id,
            command: command.to_owned(),
            source_address: None,
            user_agent: None,
        };
        if context.source_address.is_none() && context.user_agent.is_none() {
            return Ok(metadata);
        }
        let key = match &self.metadata_key {
            Some(key) => key.clone(),
            None => service.strangers_key().await?,
        };
        let protect = |text: String| Protected::Clear { key: key.clone(), text };
        metadata.source_address = context.source_address.clone().map(protect);
        metadata.user_agent =
            context.user_agent.as_ref().map(|agent| protect(agent.chars().take(MAX_USER_AGENT_CHARACTERS).collect()));
        Ok(metadata)
    }
}

impl Service {
    /// Decides until the unit is taken or the call is refused. Once begun it runs to its end, also when the caller hangs up.
    ///
    /// # Errors
    /// What the decision refuses with, or what the log answers.
    pub async fn run<D: Decide>(&self, context: &CallContext, call: D) -> Result<D::Answer, ApiError> {
        self.run_for_rows(context, call).await.map(|(answer, _)| answer)
    }

    /// The same, and the rows as the unit left them; none when nothing was written.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub(super) async fn run_for_rows<D: Decide>(
        &self,
        context: &CallContext,
        call: D,
    ) -> Result<(D::Answer, Option<Arc<ReadModels>>), ApiError> {
        let (service, context) = (self.clone(), context.clone());
        tokio::spawn(async move { service.decide(&context, &call).await }).await.unwrap_or_else(|error| {
            Err(ApiError::new(ErrorCode::InternalError).with_message("The call failed.").caused_by(error))
        })
    }

    async fn decide<D: Decide>(
        &self,
        context: &CallContext,
        call: &D,
    ) -> Result<(D::Answer, Option<Arc<ReadModels>>), ApiError> {
        let mut fresh = false;
        let mut unsealed = None;
        for _ in 0..MAX_ROUNDS {
            let mut decision = Decision {
                log: self.log.clone(),
                streams: Arc::clone(&self.streams),
                fresh,
                remembered: false,
                now: self.now(),
                reads: Vec::new(),
                begun: Vec::new(),
                events: Vec::new(),
                keys_made: Vec::new(),
                keys_destroyed: Vec::new(),
                actor: ActorRef::Anonymous,
                metadata_key: None,
            };
            let decided = call.decide(self, &mut decision).await;
            let writes = decided.is_ok() && !decision.events.is_empty();
            if decision.remembered && !writes {
                // No version will be checked, so what was remembered must not decide.
                fresh = true;
                continue;
            }
            let answer = decided?;
            if !writes {
                // What it saw may have been committed this moment: by the answer, memory has heard of it, too.
                self.log.settled().await;
                if let Some(nodes) = self.log.nodes().filter(|_| D::WAITS_WHEN_REPEATED) {
                    let head = self.log.read().read_head().await.map_err(store_error)?;
                    nodes.folded_by_all(head.position, Own::Unknown).await;
                }
                return Ok((answer, None));
            }
            let streams: Vec<StreamId> = decision.reads.iter().map(|read| read.stream.clone()).collect();
            let unit = match decision.into_unit(self, context, D::COMMAND).await? {
                Ok(unit) => unit,
                // Whoever destroys a person's key moves that person's stream.
                Err(key_gone) => {
                    unsealed = Some(key_gone);
                    self.streams.forget(&streams);
                    continue;
                }
            };
            let destroyed = unit.keys_destroyed.clone();
            let written: Vec<StreamId> = unit.events.iter().map(|event| event.stream.clone()).collect();
            let changed = unit.events.iter().any(|event| event.sequence > 1 && Memory::may_hold(&event.stream));
            match self.log.append(unit).await {
                Ok(appended) => {
                    self.streams.forget(&written);
                    for key in &destroyed {
                        self.log.keyring().forget(key);
                    }
                    if let Some(nodes) = self.log.nodes().filter(|_| changed) {
                        nodes.folded_by_all(appended.committed.position, Own::Told).await;
                    }
                    return Ok((answer, Some(appended.rows)));
                }
                Err(AppendError::Moved(_) | AppendError::Claimed(ClaimKind::Identity)) => self.streams.forget(&streams),
                Err(AppendError::MasterKeyExchanged(id)) => {
                    self.log.keyring().use_master(&id).map_err(encryption_error)?;
                }
                Err(error) => return Err(append_error(error)),
            }
        }
        Err(unsealed.map_or_else(
            || {
                ApiError::new(ErrorCode::Unavailable)
                    .with_message("Too many calls change the same thing at once; try again.")
            },
            unsealable,
        ))
    }
}

fn unsealable(error: CodecError) -> ApiError {
    ApiError::new(ErrorCode::EncryptionError).with_message("An event could not be sealed.").caused_by(error)
}

fn append_error(error: AppendError) -> ApiError {
    match error {
        AppendError::Claimed(ClaimKind::Address) => ApiError::new(ErrorCode::AlreadyExists)
            .with_message("Somebody with this address is invited or known already."),
        AppendError::Moved(_) | AppendError::Claimed(ClaimKind::Identity) | AppendError::MasterKeyExchanged(_) => {
            ApiError::new(ErrorCode::Unavailable).with_message("Something changed meanwhile; try again.")
        }
        AppendError::Refused(_) => {
            ApiError::new(ErrorCode::InternalError).with_message("The change could not be written.").caused_by(error)
        }
        AppendError::Store(_) => store_error(error),
        AppendError::Unknown => {
            store_error(error).with_message("It is not known whether this was done; look before you try again.")
        }
        AppendError::Overloaded => overloaded(),
        AppendError::Superseded => ApiError::new(ErrorCode::Unavailable)
            .with_message("Another release of authlog has taken over; this one takes no more changes."),
        AppendError::Closed => ApiError::new(ErrorCode::Unavailable).with_message("The service is shutting down."),
    }
}

pub(crate) fn load_error(error: LoadError) -> ApiError {
    match error {
        LoadError::Store(_) => store_error(error),
        LoadError::Overloaded(_) => overloaded(),
        LoadError::Unreadable { .. } => {
            ApiError::new(ErrorCode::InternalError).with_message("A record could not be read.").caused_by(error)
        }
    }
}
