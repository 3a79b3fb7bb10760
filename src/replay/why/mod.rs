//! Why a user, a session or an API token is as it is: which events decide the answer.
//!
//! Only the few streams that have a say are read.

mod told;

use std::str::FromStr;

use aggregates::{
    ApiTokenEvent, ApiTokenId, EmailAddress, Event, Protected, ProtectedFields as _, SessionEvent, SessionId, StreamId,
    UserId,
};
use projections::{Key, Recorded, shows_caller};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AsOf, ReplayError, State};
use crate::items;
use crate::log::history::OpenedEvent;
use crate::log::past::Past;
use told::Told;

/// Of what it is asked why it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    User(UserId),
    Session(SessionId),
    ApiToken(ApiTokenId),
}

/// How people name a subject: `user/ID`, `session/ID`, `api_token/ID`, an id alone, or a user's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Subject(Subject),
    Id(Uuid),
    Address(EmailAddress),
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = "this is user/ID, session/ID, api_token/ID, such an ID alone, or a user's address";
        if text.contains('@') {
            return EmailAddress::parse(text).map(Self::Address).map_err(|_| unknown);
        }
        let Some((kind, id)) = text.split_once('/') else {
            return text.parse().map(Self::Id).map_err(|_| unknown);
        };
        let id: Uuid = id.parse().map_err(|_| unknown)?;
        match kind {
            "user" => Ok(Self::Subject(Subject::User(UserId(id)))),
            "session" => Ok(Self::Subject(Subject::Session(SessionId(id)))),
            "api_token" => Ok(Self::Subject(Subject::ApiToken(ApiTokenId(id)))),
            _ => Err(unknown),
        }
    }
}

impl Name {
    /// Finds who or what is meant. An address is known as long as its user has it and has not been erased.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchSubject`]; when the log cannot be read.
    pub async fn find(&self, past: &Past, as_of: AsOf) -> Result<Subject, ReplayError> {
        match self {
            Self::Subject(subject) => Ok(*subject),
            Self::Id(id) => {
                let all =
                    [Subject::User(UserId(*id)), Subject::Session(SessionId(*id)), Subject::ApiToken(ApiTokenId(*id))];
                for subject in all {
                    if !past.stream(&subject.stream(), as_of.position).await?.is_empty() {
                        return Ok(subject);
                    }
                }
                Err(ReplayError::NoSuchSubject)
            }
            Self::Address(address) => {
                let state = State::as_of(past, as_of.position, as_of.at).await?;
                let users = state.models.users.upserts();
                let user = users.into_iter().find(|row| row.address == address.as_str());
                user.map(|row| Subject::User(row.id)).ok_or(ReplayError::NoSuchSubject)
            }
        }
    }
}

impl Subject {
    fn stream(self) -> StreamId {
        match self {
            Self::User(id) => StreamId::user(id),
            Self::Session(id) => StreamId::session(id),
            Self::ApiToken(id) => StreamId::api_token(id),
        }
    }
}

/// What an event decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decides {
    /// That there is such an account, or no longer.
    Account,
    Role,
    Status,
    /// Which identity at the provider signs in.
    Identity,
    /// Name and picture.
    Profile,
    Recovery,
    /// That the sessions opened before it are over.
    SessionsEnded,
    /// That the API tokens issued before it are over.
    ApiTokensEnded,
    /// That there is this session or API token.
    Opened,
    /// Until when a setup session lives, or that a session stays when all others of its user end.
    Kept,
    /// That this session or API token is over.
    Ended,
}

/// Why a session or an API token is not alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A newer setup session took its place.
    Replaced,
    SetupOver,
    SignedOut,
    Revoked,
    /// Its time has run out.
    Expired,
    /// All sessions, or API tokens, of its user were ended.
    UserEnded,
    /// The provider was exchanged for another one.
    ProviderExchanged,
    /// Its user is disabled, waits to be claimed again, or is no more.
    UserNotActive,
}

/// An event that decides.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Decider {
    pub position: i64,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    pub stream: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub decides: Vec<Decides>,
    /// As in the event's metadata.
    pub actor: String,
}

/// A user, a session or an API token as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Answer {
    User(items::User),
    Session(items::Session),
    ApiToken(items::ApiToken),
}

/// An answer and the events that decide it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Why {
    /// Position of the last event that counts.
    pub position: i64,
    /// Unix seconds: what had run out by then was no longer alive.
    pub at: i64,
    pub stream: String,
    /// Absent when there is no such item any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Whether a session or an API token was alive; absent for a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended_by: Vec<Ending>,
    /// The fields of the item's events that can no longer be read, their key being destroyed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<String>,
    /// In the order of positions.
    pub because: Vec<Decider>,
}

impl Why {
    /// Answers as of a moment.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchSubject`] when the subject had no event by then; when the log cannot be read or folded.
    pub async fn of(past: &Past, subject: Subject, as_of: AsOf) -> Result<Self, ReplayError> {
        let own = past.stream(&subject.stream(), as_of.position).await?;
        if own.is_empty() {
            return Err(ReplayError::NoSuchSubject);
        }
        let erased = erased_fields(&own);
        let user = own.iter().find_map(|opened| user_of(subject, &opened.event));
        let mut events = own;
        if let Some(user) = user {
            events.extend(past.stream(&StreamId::user(user), as_of.position).await?);
        }
        if !matches!(subject, Subject::ApiToken(_)) {
            events.extend(past.stream(&StreamId::identity_provider(), as_of.position).await?);
        }
        events.sort_by_key(|opened| opened.position);
        let mut told = Told::default();
        for (index, opened) in events.iter().enumerate() {
            told.hear(index, subject, &opened.event);
        }
        let (alive, ended_by) = told.judge(subject, as_of);
        Ok(Self {
            position: as_of.position,
            at: as_of.at.0,
            stream: subject.stream().to_string(),
            answer: answer(past, subject, as_of, &events)?,
            alive,
            ended_by,
            erased,
            because: told.deciders(&events),
        })
    }
}

/// Whose session or API token it is.
fn user_of(subject: Subject, event: &Event) -> Option<UserId> {
    match (subject, event) {
        (Subject::Session(_), Event::Session(SessionEvent::SessionOpened { user_id, .. }))
        | (Subject::ApiToken(_), Event::ApiToken(ApiTokenEvent::ApiTokenIssued { user_id, .. })) => Some(*user_id),
        _ => None,
    }
}

fn erased_fields(events: &[OpenedEvent]) -> Vec<String> {
    let mut names = Vec::new();
    for opened in events {
        let (mut event, mut metadata) = (opened.event.clone(), opened.metadata.clone());
        let caller = if shows_caller(&event) { metadata.protected_fields() } else { Vec::new() };
        let gone = event.protected_fields().into_iter().chain(caller);
        let gone = gone.filter(|(_, value)| matches!(value, Protected::Erased));
        names.extend(gone.map(|(name, _)| name.to_owned()));
    }
    names.sort();
    names.dedup();
    names
}

fn answer(past: &Past, subject: Subject, as_of: AsOf, events: &[OpenedEvent]) -> Result<Option<Answer>, ReplayError> {
    let mut state = State::before_everything(as_of.at);
    let events: Vec<Recorded<'_>> = events.iter().map(OpenedEvent::recorded).collect();
    state.fold(&events, past.hasher())?;
    let models = &state.models;
    Ok(match subject {
        Subject::User(id) => models.users.get(&Key::Id(id.0)).map(|row| Answer::User(row.clone().into())),
        Subject::Session(id) => {
            let row = models.sessions.get(&Key::Id(id.0)).cloned();
            row.and_then(items::Session::as_recorded).map(Answer::Session)
        }
        Subject::ApiToken(id) => {
            let row = models.api_tokens.get(&Key::Id(id.0)).cloned();
            row.map(|row| Answer::ApiToken(items::ApiToken::of(row, None)))
        }
    })
}
