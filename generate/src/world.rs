//! The made-up instance as it stands at a moment, and the units that it has written so far.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use aggregates::{
    Actor, ApiToken, ApiTokenId, Credential, IdentityProvider, InstanceId, KeyId, Profile, Session, SessionCommand,
    SessionId, SessionKind, Setup, SetupCommand, Status, StreamId, TokenHash, UnixSeconds, User, UserCommand, UserId,
};
use authlog::log::fill::PastUnit;
use authlog::log::{Beginning, Loaded};
use cqrs_es::Aggregate as _;
use cqrs_es::event_sink::EventSink;
use projections::ActorRef;
use uuid::Uuid;

use crate::GenerateError;
use crate::calendar::{Moment, month_of};
use crate::chance::Chance;
use crate::draft::{Draft, Keys};
use crate::looks::{self, Looks, Origin};
use crate::mix::Deed;

/// As the setting `session_ttl` has it by default.
const SESSION_SECONDS: i64 = 24 * 3600;
/// The service writes down once a minute what has run out.
const EXPIRY_NOTICED_SECONDS: Range<i64> = 1..60;
/// How long somebody stays who leaves.
const VISIT_SECONDS: Range<i64> = 600..36_000;
/// Somebody who is looked for by chance is given up after so many tries.
const TRIES: usize = 50;

/// A person with an account, or who had one.
#[derive(Debug)]
pub(crate) struct Person {
    pub id: UserId,
    pub user: Loaded<User>,
    pub address: String,
    /// Who they are at the provider, while that is linked.
    pub subject: Option<String>,
    looks: Looks,
    origin: Origin,
    /// Not ended by their own streams, the newest last.
    pub sessions: Vec<SessionId>,
    pub tokens: Vec<ApiTokenId>,
}

impl Person {
    /// What the provider says of them.
    pub(crate) fn profile(&self) -> Profile {
        self.looks.profile(self.id)
    }
}

/// A session that its own stream has not ended.
#[derive(Debug)]
pub(crate) struct OpenSession {
    pub of: usize,
    pub session: Loaded<Session>,
}

/// Something that will happen at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    SignOut(SessionId),
    Revoke(SessionId),
    Expire(SessionId),
    Accept(usize),
    Enable(usize),
}

#[derive(Debug)]
pub(crate) struct World {
    pub chance: Chance,
    pub now: Moment,
    keys: Keys,
    pub setup: Loaded<Setup>,
    pub provider: Loaded<IdentityProvider>,
    /// By the order in which they came; an index is never used again.
    pub people: Vec<Person>,
    pub owner: usize,
    pub sessions: HashMap<SessionId, OpenSession>,
    pub tokens: HashMap<ApiTokenId, Loaded<ApiToken>>,
    pub refusals_written: UnixSeconds,
    due: BinaryHeap<Reverse<(Moment, u64, Due)>>,
    planned: u64,
    next_deed: Moment,
    units: Vec<PastUnit>,
}

/// How the log of this seed begins.
pub(crate) fn beginning(chance: &mut Chance) -> Beginning {
    let at = Moment::beginning();
    Beginning { instance_id: InstanceId(id(chance, at)), unit_id: id(chance, at), at_micros: at.micros() }
}

/// A `UUIDv7` of that moment.
fn id(chance: &mut Chance, at: Moment) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(at.millis(), &chance.bytes()).into_uuid()
}

/// A stream before its first event.
pub(crate) fn begin<A: Default>(stream: StreamId) -> Loaded<A> {
    Loaded { aggregate: A::default(), stream, version: 0 }
}

impl World {
    /// The instance right after its first event.
    pub(crate) async fn new(chance: Chance, beginning: &Beginning, keys: Keys) -> Result<Self, GenerateError> {
        let mut setup = begin::<Setup>(StreamId::setup());
        let create = SetupCommand::CreateInstance { instance_id: beginning.instance_id };
        let created = setup.aggregate.handle(create, &(), &EventSink::default()).await;
        created.map_err(|error| GenerateError::Refused { command: "create_instance", reason: error.to_string() })?;
        setup.version = 1;
        let now = Moment::beginning();
        Ok(Self {
            chance,
            now,
            keys,
            setup,
            provider: begin(StreamId::identity_provider()),
            people: Vec::new(),
            owner: 0,
            sessions: HashMap::new(),
            tokens: HashMap::new(),
            refusals_written: now.seconds(),
            due: BinaryHeap::new(),
            planned: 0,
            next_deed: now,
            units: Vec::new(),
        })
    }

    /// The units written since this was last asked.
    pub(crate) fn take_units(&mut self) -> Vec<PastUnit> {
        std::mem::take(&mut self.units)
    }

    /// Goes on to the next thing that happens.
    pub(crate) async fn go_on(&mut self) -> Result<(), GenerateError> {
        let due = self.due.peek().map(|Reverse((at, ..))| *at).filter(|at| *at <= self.next_deed);
        if let Some(at) = due
            && let Some(Reverse((_, _, due))) = self.due.pop()
        {
            self.now = self.now.max(at);
            return self.happen(due).await;
        }
        self.now = self.now.max(self.next_deed);
        let deed = Deed::by_chance(&mut self.chance);
        self.do_deed(deed).await?;
        self.next_deed = self.now.next(self.people.len(), &mut self.chance);
        Ok(())
    }

    pub(crate) fn seconds(&self) -> UnixSeconds {
        self.now.seconds()
    }

    /// Lets so much time go by.
    pub(crate) fn pass(&mut self, seconds: Range<i64>) {
        self.now = self.now.plus_seconds(self.chance.between(&seconds));
    }

    pub(crate) fn plan(&mut self, in_seconds: Range<i64>, due: Due) {
        let at = self.now.plus_seconds(self.chance.between(&in_seconds));
        self.planned += 1;
        self.due.push(Reverse((at, self.planned, due)));
    }

    pub(crate) fn new_id(&mut self) -> Uuid {
        id(&mut self.chance, self.now)
    }

    /// The hash of a token that nobody has.
    pub(crate) fn token_hash(&mut self) -> TokenHash {
        TokenHash(self.chance.bytes())
    }

    /// A call by somebody who is known, from where they usually are or, now and then, from elsewhere.
    pub(crate) fn call_by(&mut self, who: usize, command: &'static str) -> Draft {
        let elsewhere = self.chance.one_in(10);
        let origin = if elsewhere { Origin::by_chance(&mut self.chance) } else { self.people[who].origin.clone() };
        let user = self.people[who].id;
        let request_id = self.new_id();
        Draft::call(ActorRef::User(user), command, origin, KeyId::Person(user), request_id)
    }

    /// A call by a program with an API token.
    pub(crate) fn call_with(&mut self, user: UserId, token: ApiTokenId, command: &'static str) -> Draft {
        let origin = Origin::of_a_program(&mut self.chance);
        let request_id = self.new_id();
        Draft::call(ActorRef::ApiToken { user, token }, command, origin, KeyId::Person(user), request_id)
    }

    /// A call by somebody who is not known yet.
    pub(crate) fn call_by_stranger(&mut self, actor: ActorRef, command: &'static str) -> Draft {
        let (origin, request_id) = (Origin::by_chance(&mut self.chance), self.new_id());
        let key = KeyId::Strangers(month_of(self.seconds()));
        let is_new = !self.keys.present.contains_key(&key);
        let mut draft = Draft::call(actor, command, origin, key.clone(), request_id);
        if is_new {
            draft.make_key(key);
        }
        draft
    }

    /// Writes down what a call has decided.
    pub(crate) fn commit(&mut self, draft: Draft) -> Result<(), GenerateError> {
        let id = self.new_id();
        self.units.extend(draft.into_unit(id, self.now, &mut self.keys)?);
        Ok(())
    }

    /// Somebody new, without an account yet.
    pub(crate) fn stranger(&mut self) -> Person {
        let id = UserId(self.new_id());
        Person {
            id,
            user: begin(StreamId::user(id)),
            address: looks::address(&mut self.chance, self.people.len()),
            subject: None,
            looks: Looks::by_chance(&mut self.chance),
            origin: Origin::by_chance(&mut self.chance),
            sessions: Vec::new(),
            tokens: Vec::new(),
        }
    }

    pub(crate) fn user(&self, who: usize) -> &User {
        &self.people[who].user.aggregate
    }

    /// Somebody who fits; `None` when nobody was met by chance.
    pub(crate) fn meet(&mut self, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        (0..TRIES).find_map(|_| {
            let who = self.chance.index(self.people.len());
            fits(self, who).then_some(who)
        })
    }

    pub(crate) fn is_active(&self, who: usize) -> bool {
        self.user(who).status() == Some(Status::Active)
    }

    /// Whether somebody can act with this session now.
    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        let Some(open) = self.sessions.get(&session) else { return false };
        let (user, session) = (self.user(open.of), &open.session.aggregate);
        user.acting_role().is_some()
            && session.check(SessionKind::User, self.seconds()).is_ok()
            && session.user_epoch == user.session_epoch
            && session.provider_epoch == self.provider.aggregate.session_epoch
    }

    pub(crate) fn has_live_session(&self, who: usize) -> bool {
        self.people[who].sessions.iter().any(|session| self.is_alive(*session))
    }

    /// Somebody active acts with a session of theirs; they sign in first if they have none.
    pub(crate) async fn seat(&mut self, who: usize) -> Result<(Actor, SessionId), GenerateError> {
        let alive = self.people[who].sessions.iter().rev().copied().find(|session| self.is_alive(*session));
        let session = if let Some(session) = alive {
            session
        } else {
            let session = self.sign_in(who).await?;
            self.pass(10..300);
            session
        };
        Ok((self.actor(who, Credential::Session(session))?, session))
    }

    pub(crate) fn actor(&self, who: usize, credential: Credential) -> Result<Actor, GenerateError> {
        let role = self.user(who).acting_role().ok_or(GenerateError::NobodyActs)?;
        Ok(Actor { user_id: self.people[who].id, role, credential })
    }

    /// An active user signs in; one in fifty with another name or picture.
    pub(crate) async fn sign_in(&mut self, who: usize) -> Result<SessionId, GenerateError> {
        let mut draft = self.call_by(who, "sign_in");
        if self.chance.one_in(50) {
            self.people[who].looks = Looks::by_chance(&mut self.chance);
            let profile = self.people[who].profile();
            draft.decide(&mut self.people[who].user, UserCommand::ChangeProfile { profile }).await?;
        }
        self.open_session(who, draft).await
    }

    /// Opens a session as the last part of a sign-in, and plans how it ends.
    pub(crate) async fn open_session(&mut self, who: usize, mut draft: Draft) -> Result<SessionId, GenerateError> {
        let id = SessionId(self.new_id());
        let mut session = begin::<Session>(StreamId::session(id));
        let open = SessionCommand::Open {
            user_id: self.people[who].id,
            token_hash: self.token_hash(),
            now: self.seconds(),
            expires_at: self.seconds().plus(SESSION_SECONDS),
            user_epoch: self.user(who).session_epoch,
            provider_epoch: self.provider.aggregate.session_epoch,
        };
        draft.decide(&mut session, open).await?;
        self.commit(draft)?;
        self.sessions.insert(id, OpenSession { of: who, session });
        self.people[who].sessions.push(id);
        match self.chance.below(100) {
            0..45 => self.plan(VISIT_SECONDS, Due::SignOut(id)),
            45..49 => self.plan(VISIT_SECONDS, Due::Revoke(id)),
            _ => {}
        }
        let noticed = EXPIRY_NOTICED_SECONDS;
        self.plan(SESSION_SECONDS + noticed.start..SESSION_SECONDS + noticed.end, Due::Expire(id));
        Ok(id)
    }

    /// Ends a session by its own stream.
    pub(crate) async fn end_session(
        &mut self,
        mut draft: Draft,
        id: SessionId,
        command: SessionCommand,
    ) -> Result<(), GenerateError> {
        let Some(mut open) = self.sessions.remove(&id) else { return Ok(()) };
        draft.decide(&mut open.session, command).await?;
        self.people[open.of].sessions.retain(|session| *session != id);
        self.commit(draft)
    }
}
