//! People: invited, changed, disabled, enabled, erased.

use std::ops::Range;

use aggregates::{Actor, Credential, KeyId, Protected, Role, Status, UserCommand};

use super::DAY_SECONDS;
use crate::GenerateError;
use crate::draft::Draft;
use crate::looks;
use crate::world::{Due, World};

/// Somebody who was invited comes within a week, if at all.
pub(super) const ACCEPTED_SECONDS: Range<i64> = 300..7 * DAY_SECONDS;
const ENABLED_SECONDS: Range<i64> = DAY_SECONDS..20 * DAY_SECONDS;

impl World {
    pub(crate) fn junior_role(&mut self) -> Role {
        if self.chance.one_in(3) { Role::Developer } else { Role::QaViewer }
    }

    pub(super) async fn invite(&mut self) -> Result<(), GenerateError> {
        let role = self.junior_role();
        if self.chance.one_in(4)
            && let Some(token) = self.provisioning_token()
        {
            let actor = self.actor(self.owner, Credential::ApiToken(token))?;
            let draft = self.call_with(actor.user_id, token, "invite_user");
            // A token never acts as owner.
            return self.invite_with(draft, Actor { role: Role::Admin, ..actor }, role).await;
        }
        let by = self.manager();
        self.invite_by(by, role).await
    }

    pub(crate) async fn invite_by(&mut self, by: usize, role: Role) -> Result<(), GenerateError> {
        let (actor, _) = self.seat(by).await?;
        let draft = self.call_by(by, "invite_user");
        self.invite_with(draft, actor, role).await
    }

    async fn invite_with(&mut self, mut draft: Draft, actor: Actor, role: Role) -> Result<(), GenerateError> {
        let mut person = self.stranger();
        draft.make_key(KeyId::Person(person.id));
        let address = Protected::of_person(person.id, person.address.clone());
        draft.decide(&mut person.user, UserCommand::Invite { actor, address, role }).await?;
        self.commit(draft)?;
        self.people.push(person);
        if !self.chance.one_in(12) {
            self.plan(ACCEPTED_SECONDS, Due::Accept(self.people.len() - 1));
        }
        Ok(())
    }

    pub(super) async fn accept(&mut self, who: usize) -> Result<(), GenerateError> {
        if self.user(who).status() != Some(Status::Invited) {
            return Ok(());
        }
        let subject = looks::subject(&mut self.chance);
        let mut draft = self.call_by(who, "sign_in");
        let person = &mut self.people[who];
        let (identity, profile) = (looks::identity(person.id, &subject), person.profile());
        person.subject = Some(subject);
        draft.decide(&mut person.user, UserCommand::AcceptInvitation { identity, profile }).await?;
        self.open_session(who, draft).await?;
        Ok(())
    }

    /// The owner, or an admin when one is met.
    fn manager(&mut self) -> usize {
        self.meet(|world, who| world.user(who).acting_role() == Some(Role::Admin)).unwrap_or(self.owner)
    }

    /// Who may change this user: the owner an admin, an admin anybody else.
    pub(super) fn manager_of(&mut self, who: usize) -> usize {
        if self.user(who).role == Some(Role::Admin) { self.owner } else { self.manager() }
    }

    pub(super) fn meet_active_but_owner(&mut self) -> Option<usize> {
        self.meet(|world, who| who != world.owner && world.is_active(who))
    }

    pub(super) async fn change_role(&mut self) -> Result<(), GenerateError> {
        let Some(who) = self.meet_active_but_owner() else { return Ok(()) };
        let role = if self.chance.one_in(12) { Role::Admin } else { self.junior_role() };
        if self.user(who).role == Some(role) {
            return Ok(());
        }
        let by = if role == Role::Admin { self.owner } else { self.manager_of(who) };
        let (actor, _) = self.seat(by).await?;
        let mut draft = self.call_by(by, "change_user");
        let person = &mut self.people[who];
        draft.decide(&mut person.user, UserCommand::ChangeRole { actor, user_id: person.id, role }).await?;
        self.commit(draft)
    }

    pub(super) async fn disable(&mut self) -> Result<(), GenerateError> {
        let Some(who) = self.meet_active_but_owner() else { return Ok(()) };
        let by = self.manager_of(who);
        let (actor, _) = self.seat(by).await?;
        let mut draft = self.call_by(by, "change_user");
        let person = &mut self.people[who];
        draft.decide(&mut person.user, UserCommand::Disable { actor, user_id: person.id }).await?;
        self.commit(draft)?;
        if self.chance.below(5) < 3 {
            self.plan(ENABLED_SECONDS, Due::Enable(who));
        }
        Ok(())
    }

    pub(super) async fn enable(&mut self, who: usize) -> Result<(), GenerateError> {
        if self.user(who).status() != Some(Status::Disabled) {
            return Ok(());
        }
        let by = self.manager_of(who);
        let (actor, _) = self.seat(by).await?;
        let mut draft = self.call_by(by, "change_user");
        let person = &mut self.people[who];
        draft.decide(&mut person.user, UserCommand::Enable { actor, user_id: person.id }).await?;
        self.commit(draft)
    }

    pub(super) async fn erase(&mut self) -> Result<(), GenerateError> {
        let Some(who) = self.meet(|world, who| who != world.owner && world.user(who).status().is_some()) else {
            return Ok(());
        };
        let (actor, _) = self.seat(self.owner).await?;
        let mut draft = self.call_by(self.owner, "erase_user");
        let person = &mut self.people[who];
        let address = Protected::of_person(person.id, person.address.clone());
        let identity = person.subject.take().map(|subject| looks::identity(person.id, &subject));
        draft.decide(&mut person.user, UserCommand::Erase { actor: Some(actor), address, identity }).await?;
        draft.destroy_key_of(person.id);
        for session in std::mem::take(&mut person.sessions) {
            self.sessions.remove(&session);
        }
        for token in std::mem::take(&mut person.tokens) {
            self.tokens.remove(&token);
        }
        self.commit(draft)
    }
}
