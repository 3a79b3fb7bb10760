//! Everything that happens once the instance is set up, one method each. A deed that finds nobody it fits does nothing.

mod api_tokens;
mod people;
mod provider;

use std::collections::BTreeMap;
use std::ops::Range;

use aggregates::{
    Actor, Credential, IdentityProvider, IdentityProviderCommand, SessionCommand, SessionId, StreamId, UnixSeconds,
    UserCommand,
};
use authlog::error::ErrorCode;
use projections::ActorRef;

use crate::GenerateError;
use crate::draft::Draft;
use crate::mix::Deed;
use crate::world::{Due, World, begin};

const DAY_SECONDS: i64 = 24 * 3600;
/// Reads or types something, then goes on.
const A_MOMENT_SECONDS: Range<i64> = 20..400;
/// Why sign-ins are refused, the most frequent first.
const REASONS: [ErrorCode; 3] = [ErrorCode::UserNotFound, ErrorCode::AuthExpired, ErrorCode::MissingEmail];
const REFUSED_IN_A_MINUTE: u64 = 6;

impl World {
    pub(crate) async fn do_deed(&mut self, deed: Deed) -> Result<(), GenerateError> {
        match deed {
            Deed::SignIn => self.somebody_signs_in().await,
            Deed::Refusals => self.refusals().await,
            Deed::Invite => self.invite().await,
            Deed::IssueApiToken => self.issue_api_token().await,
            Deed::RevokeApiToken => self.revoke_api_token().await,
            Deed::EndOtherSessions => self.end_other_sessions().await,
            Deed::ChangeRole => self.change_role().await,
            Deed::Disable => self.disable().await,
            Deed::Erase => self.erase().await,
            Deed::NewClientSecret => self.new_client_secret().await,
            Deed::WrongIssuer => self.wrong_issuer().await,
            Deed::ProviderAway => self.provider_away().await,
            Deed::RecoverOwner => self.recover_owner().await,
        }
    }

    /// What was planned, if it is still possible.
    pub(crate) async fn happen(&mut self, due: Due) -> Result<(), GenerateError> {
        match due {
            Due::SignOut(session) => self.sign_out(session).await,
            Due::Revoke(session) => self.revoke_session(session).await,
            Due::Expire(session) => self.expire(session).await,
            Due::Accept(who) => self.accept(who).await,
            Due::Enable(who) => self.enable(who).await,
        }
    }

    async fn somebody_signs_in(&mut self) -> Result<(), GenerateError> {
        if let Some(who) = self.meet(Self::is_active) {
            self.sign_in(who).await?;
        }
        Ok(())
    }

    async fn sign_out(&mut self, id: SessionId) -> Result<(), GenerateError> {
        if !self.is_alive(id) {
            return Ok(());
        }
        let who = self.sessions[&id].of;
        let draft = self.call_by(who, "sign_out");
        self.end_session(draft, id, SessionCommand::SignOut).await
    }

    /// Ended by their own doing from another session, one time in four by the owner of the instance.
    async fn revoke_session(&mut self, id: SessionId) -> Result<(), GenerateError> {
        if !self.is_alive(id) {
            return Ok(());
        }
        let of = self.sessions[&id].of;
        let by = if self.chance.one_in(4) { self.owner } else { of };
        if by == of {
            self.sign_in(by).await?;
            self.pass(A_MOMENT_SECONDS);
        } else {
            self.seat(by).await?;
        }
        let draft = self.call_by(by, "revoke_session");
        self.end_session(draft, id, SessionCommand::Revoke).await
    }

    /// The service writes down what has run out, also of sessions that their user's or the provider's epoch has ended.
    async fn expire(&mut self, id: SessionId) -> Result<(), GenerateError> {
        let draft = Draft::from_within(ActorRef::System, "expire_session");
        self.end_session(draft, id, SessionCommand::Expire).await
    }

    async fn refusals(&mut self) -> Result<(), GenerateError> {
        let minute = UnixSeconds(self.seconds().0 / 60 * 60);
        if minute <= self.refusals_written {
            return Ok(());
        }
        self.refusals_written = minute;
        let mut counts = BTreeMap::new();
        for reason in REASONS {
            if counts.is_empty() || self.chance.one_in(4) {
                counts.insert(reason.as_str(), 1 + self.chance.below(REFUSED_IN_A_MINUTE));
            }
        }
        let mut stream = begin::<IdentityProvider>(StreamId::refused_sign_ins(minute));
        let mut draft = Draft::from_within(ActorRef::System, "count_refused_sign_ins");
        for (reason, count) in counts {
            let command = IdentityProviderCommand::CountRefusals { reason: reason.to_owned(), count };
            draft.decide(&mut stream, command).await?;
        }
        self.commit(draft)
    }

    async fn end_other_sessions(&mut self) -> Result<(), GenerateError> {
        if self.chance.one_in(3) {
            let Some(who) = self.meet(|world, who| who != world.owner && world.has_live_session(who)) else {
                return Ok(());
            };
            let by = self.manager_of(who);
            let (actor, _) = self.seat(by).await?;
            // Getting there may have taken some time.
            if by == who || !self.has_live_session(who) {
                return Ok(());
            }
            return self.end_sessions(by, actor, who, None).await;
        }
        let Some(who) = self.meet(Self::has_live_session) else { return Ok(()) };
        let own = self.sign_in(who).await?;
        self.pass(A_MOMENT_SECONDS);
        let others = self.people[who].sessions.iter().any(|session| *session != own && self.is_alive(*session));
        if !others {
            return Ok(());
        }
        let actor = self.actor(who, Credential::Session(own))?;
        self.end_sessions(who, actor, who, Some(own)).await
    }

    async fn end_sessions(
        &mut self,
        by: usize,
        actor: Actor,
        who: usize,
        kept: Option<SessionId>,
    ) -> Result<(), GenerateError> {
        let mut draft = self.call_by(by, "revoke_sessions");
        let person = &mut self.people[who];
        draft.decide(&mut person.user, UserCommand::RevokeSessions { actor, user_id: person.id, kept }).await?;
        if let Some(kept) = kept {
            self.keep(&mut draft, kept).await?;
        }
        self.commit(draft)
    }

    /// Moves a session to the present epochs.
    async fn keep(&mut self, draft: &mut Draft, id: SessionId) -> Result<(), GenerateError> {
        let provider_epoch = self.provider.aggregate.session_epoch;
        let Some(open) = self.sessions.get_mut(&id) else { return Ok(()) };
        let user_epoch = self.people[open.of].user.aggregate.session_epoch;
        draft.decide(&mut open.session, SessionCommand::Keep { user_epoch, provider_epoch }).await
    }
}
