//! What the events of a few streams have told: the last of them that decides each thing.
//!
//! An event decides what no later one has decided anew. What a state holds is compared before and after each event, so that an
//! event type that is added is seen by what it changes.

use std::collections::BTreeMap;

use aggregates::{
    ApiToken, ApiTokenEvent, Event, IdentityProvider, Session, SessionEnd, SessionEvent, SessionKind, Status, User,
    UserEvent,
};
use cqrs_es::Aggregate as _;

use super::{Decider, Decides, Ending, Subject};
use crate::log::history::OpenedEvent;
use crate::replay::AsOf;

/// What the events so far have told.
#[derive(Default)]
pub(super) struct Told {
    user: User,
    provider: IdentityProvider,
    session: Session,
    token: ApiToken,
    /// Which event, by its place among those heard, decides what.
    decided: BTreeMap<Decides, usize>,
    /// Events that ended all sessions of the user, or all API tokens, with the epoch that began then.
    user_epochs: Vec<(usize, u64)>,
    /// Events that ended all sessions, likewise.
    provider_epochs: Vec<(usize, u64)>,
}

impl Told {
    /// Takes in the event at the place `index` of those that are heard.
    pub(super) fn hear(&mut self, index: usize, subject: Subject, event: &Event) {
        let decides = match event {
            Event::User(event) => self.hear_of_user(index, subject, event),
            Event::IdentityProvider(event) => {
                let before = self.provider.session_epoch;
                self.provider.apply(event.clone());
                if self.provider.session_epoch == before {
                    return;
                }
                self.provider_epochs.push((index, self.provider.session_epoch));
                let concerns = matches!(subject, Subject::User(_)) && self.user.status().is_some();
                if concerns { vec![Decides::SessionsEnded] } else { Vec::new() }
            }
            Event::Session(event) => {
                self.session.apply(event.clone());
                vec![of_session(event)]
            }
            Event::ApiToken(event) => {
                self.token.apply(event.clone());
                vec![match event {
                    ApiTokenEvent::ApiTokenIssued { .. } => Decides::Opened,
                    ApiTokenEvent::ApiTokenRevoked { .. } => Decides::Ended,
                }]
            }
            // No stream of setup is read.
            Event::Setup(_) => Vec::new(),
        };
        self.decided.extend(decides.into_iter().map(|what| (what, index)));
    }

    fn hear_of_user(&mut self, index: usize, subject: Subject, event: &UserEvent) -> Vec<Decides> {
        let before = self.user.clone();
        self.user.apply(event.clone());
        let after = &self.user;
        let mut decides = Vec::new();
        let mut when = |changed: bool, what| decides.extend(changed.then_some(what));
        when(before.role != after.role, Decides::Role);
        when(before.status() != after.status(), Decides::Status);
        let epochs = match subject {
            Subject::User(_) => {
                when(before.status().is_some() != after.status().is_some(), Decides::Account);
                when(before.session_epoch != after.session_epoch, Decides::SessionsEnded);
                when(before.token_epoch != after.token_epoch, Decides::ApiTokensEnded);
                when(before.recovery != after.recovery, Decides::Recovery);
                let (identity, profile) = of_person(event);
                when(identity, Decides::Identity);
                when(profile, Decides::Profile);
                return decides;
            }
            Subject::Session(_) => (before.session_epoch, after.session_epoch),
            Subject::ApiToken(_) => (before.token_epoch, after.token_epoch),
        };
        if epochs.0 != epochs.1 {
            self.user_epochs.push((index, epochs.1));
        }
        decides
    }

    /// Whether a session or API token is alive, and if not, why; notes which event of its user or of the provider ended it.
    pub(super) fn judge(&mut self, subject: Subject, as_of: AsOf) -> (Option<bool>, Vec<Ending>) {
        let (mut endings, own_epoch, ended) = match subject {
            Subject::User(_) => return (None, Vec::new()),
            Subject::Session(_) => {
                (of_session_alone(&self.session, as_of), self.session.user_epoch, Decides::SessionsEnded)
            }
            Subject::ApiToken(_) => {
                (of_token_alone(&self.token, as_of), self.token.token_epoch, Decides::ApiTokensEnded)
            }
        };
        if self.session.kind == Some(SessionKind::Setup) {
            return (Some(endings.is_empty()), endings);
        }
        let first_above = |epochs: &[(usize, u64)], own| epochs.iter().find(|(_, epoch)| *epoch > own).copied();
        if let Some((index, _)) = first_above(&self.user_epochs, own_epoch) {
            endings.push(Ending::UserEnded);
            self.decided.insert(ended, index);
        }
        let provider_epoch = self.session.provider_epoch;
        if matches!(subject, Subject::Session(_))
            && let Some((index, _)) = first_above(&self.provider_epochs, provider_epoch)
        {
            endings.push(Ending::ProviderExchanged);
            self.decided.entry(ended).or_insert(index);
        }
        if self.user.status() != Some(Status::Active) {
            endings.push(Ending::UserNotActive);
        }
        (Some(endings.is_empty()), endings)
    }

    /// The events that decide, in the order in which they were heard.
    pub(super) fn deciders(&self, events: &[OpenedEvent]) -> Vec<Decider> {
        let mut by_event: BTreeMap<usize, Vec<Decides>> = BTreeMap::new();
        for (what, index) in &self.decided {
            by_event.entry(*index).or_default().push(*what);
        }
        let decider = |(index, decides): (usize, Vec<Decides>)| {
            let opened = &events[index];
            Decider {
                position: opened.position,
                recorded_at: opened.recorded_at,
                stream: opened.stream.to_string(),
                event_type: opened.event_type.clone(),
                decides,
                actor: opened.metadata.actor.to_string(),
            }
        };
        by_event.into_iter().map(decider).collect()
    }
}

/// Whether an event decides which identity signs in, and what the provider says of the person.
fn of_person(event: &UserEvent) -> (bool, bool) {
    match event {
        UserEvent::OwnerRegistered { .. }
        | UserEvent::OwnerDiscarded { .. }
        | UserEvent::UserErased { .. }
        | UserEvent::InvitationAccepted { .. }
        | UserEvent::OwnerIdentityReplaced { .. }
        | UserEvent::IdentityUnlinked { .. } => (true, true),
        UserEvent::ProfileChanged { .. } => (false, true),
        UserEvent::UserInvited { .. }
        | UserEvent::RoleChanged { .. }
        | UserEvent::UserDisabled { .. }
        | UserEvent::UserEnabled { .. }
        | UserEvent::SessionsRevoked { .. }
        | UserEvent::OwnerRecoveryOpened { .. } => (false, false),
    }
}

fn of_session(event: &SessionEvent) -> Decides {
    match event {
        SessionEvent::SetupSessionOpened { .. } | SessionEvent::SessionOpened { .. } => Decides::Opened,
        SessionEvent::SetupSessionExtended { .. } | SessionEvent::SessionKept { .. } => Decides::Kept,
        SessionEvent::SetupSessionEnded { .. }
        | SessionEvent::SessionSignedOut {}
        | SessionEvent::SessionRevoked {}
        | SessionEvent::SessionExpired {} => Decides::Ended,
    }
}

fn of_session_alone(session: &Session, as_of: AsOf) -> Vec<Ending> {
    let ended = session.end.map(|end| match end {
        SessionEnd::Replaced => Ending::Replaced,
        SessionEnd::SetupOver => Ending::SetupOver,
        SessionEnd::SignedOut => Ending::SignedOut,
        SessionEnd::Revoked => Ending::Revoked,
        SessionEnd::Expired => Ending::Expired,
    });
    let has_run_out = (ended.is_none() && session.expires_at <= as_of.at).then_some(Ending::Expired);
    ended.into_iter().chain(has_run_out).collect()
}

fn of_token_alone(token: &ApiToken, as_of: AsOf) -> Vec<Ending> {
    let revoked = token.revoked.then_some(Ending::Revoked);
    let has_run_out = token.expires_at.filter(|expires_at| *expires_at <= as_of.at).map(|_| Ending::Expired);
    revoked.into_iter().chain(has_run_out).collect()
}
