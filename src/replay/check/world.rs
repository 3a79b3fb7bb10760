//! Everything that is alive at a point of the log, and what its streams together allow.

use std::collections::{BTreeSet, HashMap};

use aggregates::{
    Actor, ApiToken, ApiTokenEvent, ApiTokenId, Circumstances, Credential, Event, INSTANCE_STREAM, IdentityProvider,
    IdentityProviderEvent, Role, Session, SessionEvent, SessionId, SessionKind, Setup, SetupEvent, SetupState,
    StreamId, UnixSeconds, User, UserEvent, UserId,
};
use cqrs_es::Aggregate as _;
use projections::{ActorRef, KeyedHasher, ReadModels, Recorded};
use uuid::Uuid;

use super::Reason;
use super::causes::{Cause, causes, is_of_a_sign_in};

/// An event may have been decided so long before it was recorded: a unit waits for the head of the log, and the clocks of nodes
/// differ. Whatever runs out is held against an event only after this.
pub const DECIDED_BEFORE_SECONDS: i64 = 60;

/// The unit that the last event belongs to, and who did it by the state before its first event: a unit may end the very session
/// that it is done with.
#[derive(Clone, Copy)]
struct Unit {
    id: Uuid,
    by: ActorRef,
    actor: Option<Actor>,
}

/// What is alive. Sessions and API tokens that have ended are not here.
pub(super) struct World {
    setup: Setup,
    provider: IdentityProvider,
    users: HashMap<UserId, User>,
    owner: Option<UserId>,
    sessions: HashMap<SessionId, Session>,
    /// By user; ids are in the order of time.
    sessions_of: HashMap<UserId, BTreeSet<SessionId>>,
    api_tokens: HashMap<ApiTokenId, ApiToken>,
    /// Which address and which identity belongs to whom.
    claims: ReadModels,
    unit: Option<Unit>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            setup: Setup::default(),
            provider: IdentityProvider::default(),
            users: HashMap::new(),
            owner: None,
            sessions: HashMap::new(),
            sessions_of: HashMap::new(),
            api_tokens: HashMap::new(),
            claims: ReadModels::only(&["unique_keys"]),
            unit: None,
        }
    }
}

impl World {
    /// Whether this state allows an event.
    pub(super) fn judge(&mut self, recorded: &Recorded<'_>, hasher: &KeyedHasher) -> Result<(), Reason> {
        // Whatever else is wrong with the event: what it claims is claimed from now on.
        let claimed = self.claim(recorded, hasher);
        if !is_in_its_place(recorded.stream, recorded.event) {
            return Err(Reason::Misplaced);
        }
        let by = recorded.metadata.actor;
        if !causes(recorded.event).contains(&Cause::from(by)) {
            return Err(Reason::Cause(by));
        }
        let now = recorded.recorded_at().plus(-DECIDED_BEFORE_SECONDS);
        let actor = self.actor(recorded, now)?;
        let circumstances = Circumstances { actor, now };
        match recorded.event {
            Event::Setup(event) => {
                self.setup.allows(event, now)?;
                self.around_setup(event)?;
            }
            Event::Session(event) => {
                let id = SessionId(id(recorded.stream));
                let session = self.sessions.get(&id).cloned().unwrap_or_default();
                session.allows(event)?;
                self.around_session(id, &session, event, by, actor)?;
            }
            Event::User(event) => {
                let id = UserId(id(recorded.stream));
                let user = self.users.get(&id).cloned().unwrap_or_default();
                user.allows(id, event, &circumstances)?;
                self.around_user(id, event, by)?;
            }
            Event::ApiToken(event) => {
                let token = self.api_tokens.get(&ApiTokenId(id(recorded.stream))).cloned().unwrap_or_default();
                token.allows(event, &circumstances)?;
                self.around_api_token(&token, event, actor)?;
            }
            Event::IdentityProvider(event) => {
                self.provider_or_refusals(event).allows(event)?;
                around_provider(event, actor)?;
            }
        }
        claimed
    }

    fn claim(&mut self, recorded: &Recorded<'_>, hasher: &KeyedHasher) -> Result<(), Reason> {
        self.claims.need(recorded, hasher);
        // There is no store: what no event has claimed is free.
        for key in self.claims.unique_keys.missing() {
            self.claims.unique_keys.supply(key, None);
        }
        Ok(self.claims.fold(std::slice::from_ref(recorded), hasher)?)
    }

    /// Who did an event, if a user did: by what was alive before its unit.
    fn actor(&mut self, recorded: &Recorded<'_>, now: UnixSeconds) -> Result<Option<Actor>, Reason> {
        let (id, by) = (recorded.metadata.unit_id, recorded.metadata.actor);
        if let Some(unit) = self.unit.filter(|unit| unit.id == id && unit.by == by) {
            return Ok(unit.actor);
        }
        self.unit = None;
        let actor = match by {
            ActorRef::User(_) if is_of_a_sign_in(recorded.event) => None,
            ActorRef::User(user) => Some(self.by_session(user, now).ok_or(Reason::NoSessionAlive)?),
            ActorRef::ApiToken { user, token } => {
                Some(self.by_token(user, token, now).ok_or(Reason::ApiTokenNotAlive)?)
            }
            ActorRef::SetupSession(session) if !self.holds_setup(session, now) => {
                return Err(Reason::SetupSessionNotAlive);
            }
            ActorRef::SetupSession(_) | ActorRef::Operator | ActorRef::System | ActorRef::Anonymous => None,
        };
        self.unit = Some(Unit { id, by, actor });
        Ok(actor)
    }

    /// The log does not say which session a user acted with: that one was alive is all that can be asked.
    fn by_session(&self, user_id: UserId, now: UnixSeconds) -> Option<Actor> {
        let user = self.users.get(&user_id)?;
        self.sessions_of.get(&user_id)?.iter().rev().find_map(|id| {
            let role = self.sessions.get(id)?.acting_role(user, &self.provider, now).ok()?;
            Some(Actor { user_id, role, credential: Credential::Session(*id) })
        })
    }

    fn by_token(&self, user_id: UserId, id: ApiTokenId, now: UnixSeconds) -> Option<Actor> {
        let token = self.api_tokens.get(&id).filter(|token| token.user_id == Some(user_id))?;
        let role = token.acting_role(self.users.get(&user_id)?, now).ok()?;
        Some(Actor { user_id, role, credential: Credential::ApiToken(id) })
    }

    fn holds_setup(&self, id: SessionId, now: UnixSeconds) -> bool {
        let session = self.sessions.get(&id);
        self.setup.state != SetupState::Ready
            && self.setup.session == Some(id)
            && session.is_some_and(|session| session.check(SessionKind::Setup, now).is_ok())
    }

    fn around_setup(&self, event: &SetupEvent) -> Result<(), Reason> {
        match event {
            SetupEvent::SetupProviderAccepted { provider_version } if *provider_version != self.provider.version => {
                Err(Reason::Contradicts("the provider's configuration has another version"))
            }
            SetupEvent::OwnerVerified { user_id } => {
                let pinned = self.setup.token.as_ref().and_then(|token| token.pinned_owner);
                if pinned.is_some_and(|pinned| pinned != *user_id) {
                    return Err(Reason::Contradicts("another user is pinned as the owner"));
                }
                Ok(())
            }
            SetupEvent::InstanceCreated { .. }
            | SetupEvent::BootstrapTokenIssued { .. }
            | SetupEvent::VerificationFailed { .. }
            | SetupEvent::BootstrapTokenVerified { .. }
            | SetupEvent::PreferencesSet { .. }
            | SetupEvent::SetupProviderAccepted { .. }
            | SetupEvent::SetupCompleted {}
            | SetupEvent::SetupRestarted {} => Ok(()),
        }
    }

    fn around_session(
        &self,
        id: SessionId,
        session: &Session,
        event: &SessionEvent,
        by: ActorRef,
        actor: Option<Actor>,
    ) -> Result<(), Reason> {
        match event {
            SessionEvent::SetupSessionOpened { .. } if self.setup.session != Some(id) => {
                Err(Reason::Contradicts("no bootstrap token was verified for this setup session"))
            }
            SessionEvent::SetupSessionExtended { .. } if by != ActorRef::SetupSession(id) => Err(Reason::SomebodyElse),
            SessionEvent::SessionOpened { user_id, user_epoch, provider_epoch, .. } => {
                is_about(by, *user_id)?;
                if self.user(*user_id).acting_role().is_none() {
                    return Err(Reason::Contradicts("only an active user signs in"));
                }
                self.has_present_epochs(*user_id, *user_epoch, *provider_epoch)
            }
            SessionEvent::SessionKept { user_epoch, provider_epoch } => {
                let user_id = session.user_id.unwrap_or(UserId(Uuid::nil()));
                is_about(by, user_id)?;
                self.has_present_epochs(user_id, *user_epoch, *provider_epoch)
            }
            SessionEvent::SessionSignedOut {} => is_about(by, session.user_id.unwrap_or(UserId(Uuid::nil()))),
            SessionEvent::SessionRevoked {} => self.may_be_ended(session.user_id, actor),
            SessionEvent::SetupSessionOpened { .. }
            | SessionEvent::SetupSessionExtended { .. }
            | SessionEvent::SetupSessionEnded { .. }
            | SessionEvent::SessionExpired {} => Ok(()),
        }
    }

    fn around_user(&self, id: UserId, event: &UserEvent, by: ActorRef) -> Result<(), Reason> {
        match event {
            UserEvent::OwnerRegistered { .. } if self.owner.is_some() => {
                Err(Reason::Contradicts("there is an owner already"))
            }
            UserEvent::OwnerRegistered { .. } if self.setup.owner != Some(id) => {
                Err(Reason::Contradicts("setup has verified no such owner"))
            }
            UserEvent::OwnerDiscarded { .. } if self.setup.state != SetupState::Uninitialized => {
                Err(Reason::Contradicts("an owner is discarded only when setup is restarted"))
            }
            UserEvent::InvitationAccepted { .. }
            | UserEvent::ProfileChanged { .. }
            | UserEvent::OwnerIdentityReplaced { .. } => is_about(by, id),
            UserEvent::OwnerRegistered { .. }
            | UserEvent::OwnerDiscarded { .. }
            | UserEvent::UserInvited { .. }
            | UserEvent::RoleChanged { .. }
            | UserEvent::UserDisabled { .. }
            | UserEvent::UserEnabled { .. }
            | UserEvent::UserErased { .. }
            | UserEvent::SessionsRevoked { .. }
            | UserEvent::OwnerRecoveryOpened { .. }
            | UserEvent::IdentityUnlinked { .. } => Ok(()),
        }
    }

    fn around_api_token(&self, token: &ApiToken, event: &ApiTokenEvent, actor: Option<Actor>) -> Result<(), Reason> {
        match event {
            ApiTokenEvent::ApiTokenIssued { user_id, token_epoch, .. } => {
                if self.user(*user_id).token_epoch != *token_epoch {
                    return Err(Reason::Contradicts("its epoch is not its user's present one"));
                }
                Ok(())
            }
            ApiTokenEvent::ApiTokenRevoked { .. } => self.may_be_ended(token.user_id, actor),
        }
    }

    fn may_be_ended(&self, owner: Option<UserId>, actor: Option<Actor>) -> Result<(), Reason> {
        let (Some(owner), Some(actor)) = (owner, actor) else { return Ok(()) };
        let refused = self.user(owner).may_be_ended_by(actor, owner);
        refused.map_err(|error| aggregates::NotAllowed::Refused(error.to_string()).into())
    }

    fn has_present_epochs(&self, user: UserId, user_epoch: u64, provider_epoch: u64) -> Result<(), Reason> {
        if (user_epoch, provider_epoch) == (self.user(user).session_epoch, self.provider.session_epoch) {
            return Ok(());
        }
        Err(Reason::Contradicts("its epochs are not the present ones of its user and of the provider"))
    }

    fn user(&self, id: UserId) -> User {
        self.users.get(&id).cloned().unwrap_or_default()
    }

    /// Minutes of refused sign-ins have streams of their own, with nothing to remember.
    fn provider_or_refusals(&self, event: &IdentityProviderEvent) -> IdentityProvider {
        match event {
            IdentityProviderEvent::SignInsRefused { .. } => IdentityProvider::default(),
            IdentityProviderEvent::ProviderConfigured { .. } | IdentityProviderEvent::ProviderRemoved { .. } => {
                self.provider.clone()
            }
        }
    }

    /// Folds an event, whatever was said of it; answers which streams have ended with it.
    pub(super) fn apply(&mut self, recorded: &Recorded<'_>) -> Vec<StreamId> {
        if !is_in_its_place(recorded.stream, recorded.event) {
            return Vec::new();
        }
        let id = id(recorded.stream);
        match recorded.event {
            Event::Setup(event) => self.setup.apply(event.clone()),
            Event::IdentityProvider(event) => self.provider.apply(event.clone()),
            Event::User(event) => return self.apply_to_user(UserId(id), event),
            Event::Session(event) => return self.apply_to_session(SessionId(id), event),
            Event::ApiToken(event) => return self.apply_to_api_token(ApiTokenId(id), event),
        }
        Vec::new()
    }

    fn apply_to_user(&mut self, id: UserId, event: &UserEvent) -> Vec<StreamId> {
        let user = self.users.entry(id).or_default();
        user.apply(event.clone());
        if user.gone {
            return self.forget_user(id);
        }
        if user.role == Some(Role::Owner) {
            self.owner.get_or_insert(id);
        }
        Vec::new()
    }

    /// Of somebody who is gone nothing is written any more, not even that a session has run out.
    fn forget_user(&mut self, id: UserId) -> Vec<StreamId> {
        self.users.remove(&id);
        self.owner = self.owner.filter(|owner| *owner != id);
        let sessions = self.sessions_of.remove(&id).unwrap_or_default();
        for session in &sessions {
            self.sessions.remove(session);
        }
        let tokens = self.api_tokens.extract_if(|_, token| token.user_id == Some(id)).map(|(token, _)| token);
        let mut ended: Vec<StreamId> = tokens.map(StreamId::api_token).collect();
        ended.extend(sessions.into_iter().map(StreamId::session));
        ended.push(StreamId::user(id));
        ended
    }

    fn apply_to_session(&mut self, id: SessionId, event: &SessionEvent) -> Vec<StreamId> {
        let session = self.sessions.entry(id).or_default();
        session.apply(event.clone());
        if let SessionEvent::SessionOpened { user_id, .. } = event {
            self.sessions_of.entry(*user_id).or_default().insert(id);
        }
        if session.end.is_none() {
            return Vec::new();
        }
        if let Some(sessions) = session.user_id.and_then(|user| self.sessions_of.get_mut(&user)) {
            sessions.remove(&id);
        }
        self.sessions.remove(&id);
        vec![StreamId::session(id)]
    }

    fn apply_to_api_token(&mut self, id: ApiTokenId, event: &ApiTokenEvent) -> Vec<StreamId> {
        let token = self.api_tokens.entry(id).or_default();
        token.apply(event.clone());
        if !token.revoked {
            return Vec::new();
        }
        self.api_tokens.remove(&id);
        vec![StreamId::api_token(id)]
    }
}

fn around_provider(event: &IdentityProviderEvent, actor: Option<Actor>) -> Result<(), Reason> {
    match event {
        IdentityProviderEvent::ProviderConfigured { .. } if actor.is_some_and(|actor| actor.role != Role::Owner) => {
            Err(Reason::Contradicts("only the owner changes the provider"))
        }
        IdentityProviderEvent::ProviderConfigured { .. }
        | IdentityProviderEvent::ProviderRemoved { .. }
        | IdentityProviderEvent::SignInsRefused { .. } => Ok(()),
    }
}

fn is_about(by: ActorRef, user: UserId) -> Result<(), Reason> {
    if by.user_id() == Some(user) { Ok(()) } else { Err(Reason::SomebodyElse) }
}

/// Whether there can be such an event in such a stream.
fn is_in_its_place(stream: &StreamId, event: &Event) -> bool {
    match event {
        Event::IdentityProvider(IdentityProviderEvent::SignInsRefused { .. }) => {
            stream.aggregate_id.starts_with("refused-")
        }
        Event::Setup(_) | Event::IdentityProvider(_) => stream.aggregate_id == INSTANCE_STREAM,
        Event::Session(_) | Event::User(_) | Event::ApiToken(_) => stream.aggregate_id.parse::<Uuid>().is_ok(),
    }
}

/// The id of a stream that is in its place.
fn id(stream: &StreamId) -> Uuid {
    stream.aggregate_id.parse().unwrap_or_default()
}
