//! API tokens: made and revoked.

use aggregates::{ApiToken, ApiTokenCommand, ApiTokenId, Protected, Role, StreamId};

use super::DAY_SECONDS;
use crate::GenerateError;
use crate::world::{World, begin};

impl World {
    pub(super) async fn issue_api_token(&mut self) -> Result<(), GenerateError> {
        let fits = |world: &Self, who| world.user(who).acting_role().is_some_and(|role| role >= Role::Developer);
        let Some(who) = self.meet(fits) else { return Ok(()) };
        let role = self.junior_role().min(self.user(who).acting_role().unwrap_or(Role::QaViewer));
        let name = self.chance.pick(&["ci", "nightly build", "grafana", "backup check", "release"]);
        let days = self.chance.pick(&[None, Some(30), Some(90), Some(365)]);
        self.issue_token_to(who, name, role, days).await
    }

    /// The owner's token for the program that invites people.
    pub(crate) async fn issue_provisioning_token(&mut self) -> Result<(), GenerateError> {
        self.issue_token_to(self.owner, "provisioning", Role::Admin, None).await
    }

    async fn issue_token_to(
        &mut self,
        who: usize,
        name: &str,
        role: Role,
        days: Option<i64>,
    ) -> Result<(), GenerateError> {
        let (actor, _) = self.seat(who).await?;
        let id = ApiTokenId(self.new_id());
        let mut token = begin::<ApiToken>(StreamId::api_token(id));
        let issue = ApiTokenCommand::Issue {
            actor,
            name: Protected::of_person(actor.user_id, name),
            prefix: format!("alog_{:07x}", self.chance.below(1 << 28)),
            token_hash: self.token_hash(),
            role,
            now: self.seconds(),
            expires_at: days.map(|days| self.seconds().plus(days * DAY_SECONDS)),
            token_epoch: self.user(who).token_epoch,
        };
        let mut draft = self.call_by(who, "issue_api_token");
        draft.decide(&mut token, issue).await?;
        self.commit(draft)?;
        self.tokens.insert(id, token);
        self.people[who].tokens.push(id);
        Ok(())
    }

    /// Whether a program can act with this token of that user now.
    fn works(&self, who: usize, token: ApiTokenId) -> bool {
        let user = self.user(who);
        let token = self.tokens.get(&token).map(|token| &token.aggregate);
        let works = |token: &ApiToken| token.check(self.seconds()).is_ok() && token.token_epoch == user.token_epoch;
        user.acting_role().is_some() && token.is_some_and(works)
    }

    /// The owner's token that may invite.
    pub(super) fn provisioning_token(&self) -> Option<ApiTokenId> {
        let is_admin = |token: &ApiTokenId| self.tokens[token].aggregate.role == Some(Role::Admin);
        self.people[self.owner].tokens.iter().copied().find(|token| is_admin(token) && self.works(self.owner, *token))
    }

    /// A token that works is revoked by its user, one time in four by the owner of the instance.
    pub(super) async fn revoke_api_token(&mut self) -> Result<(), GenerateError> {
        let has_one = |world: &Self, who: usize| {
            who != world.owner && world.people[who].tokens.last().is_some_and(|token| world.works(who, *token))
        };
        let Some(who) = self.meet(has_one) else { return Ok(()) };
        let by = if self.chance.one_in(4) { self.owner } else { who };
        let (actor, _) = self.seat(by).await?;
        let mut draft = self.call_by(by, "revoke_api_token");
        let Some(id) = self.people[who].tokens.pop() else { return Ok(()) };
        let Some(mut token) = self.tokens.remove(&id) else { return Ok(()) };
        draft.decide(&mut token, ApiTokenCommand::Revoke { actor }).await?;
        self.commit(draft)
    }
}
