//! The provider is changed, and the owner recovered.

use std::ops::Range;

use aggregates::{IdentityProviderCommand, Protected, UserCommand};
use projections::ActorRef;

use super::A_MOMENT_SECONDS;
use super::people::ACCEPTED_SECONDS;
use crate::GenerateError;
use crate::draft::Draft;
use crate::looks::{self, CLIENT_ID, ISSUER, WRONG_ISSUER};
use crate::world::{Due, World};

const RECOVERY_SECONDS: i64 = 900;
/// Notices that something is wrong and mends it.
const MENDED_SECONDS: Range<i64> = 300..1800;

impl World {
    pub(crate) fn client_secret(&mut self) -> Protected {
        Protected::of_instance(looks::subject(&mut self.chance))
    }

    fn configuration(&mut self, issuer: &str) -> IdentityProviderCommand {
        IdentityProviderCommand::Configure {
            issuer_url: issuer.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(self.client_secret()),
        }
    }

    /// The owner sets the provider, which takes a session that was just opened and is kept.
    async fn exchange_provider(&mut self, issuer: &str) -> Result<(), GenerateError> {
        let session = self.sign_in(self.owner).await?;
        self.pass(A_MOMENT_SECONDS);
        let mut draft = self.call_by(self.owner, "exchange_provider");
        let before = self.provider.aggregate.session_epoch;
        let configuration = self.configuration(issuer);
        draft.decide(&mut self.provider, configuration).await?;
        if self.provider.aggregate.session_epoch != before {
            self.keep(&mut draft, session).await?;
        }
        self.commit(draft)
    }

    async fn set_provider_by_operator(&mut self) -> Result<(), GenerateError> {
        self.pass(MENDED_SECONDS);
        let mut draft = Draft::from_within(ActorRef::Operator, "exchange_provider");
        let configuration = self.configuration(ISSUER);
        draft.decide(&mut self.provider, configuration).await?;
        self.commit(draft)
    }

    pub(super) async fn new_client_secret(&mut self) -> Result<(), GenerateError> {
        self.exchange_provider(ISSUER).await
    }

    pub(super) async fn wrong_issuer(&mut self) -> Result<(), GenerateError> {
        self.exchange_provider(WRONG_ISSUER).await?;
        self.set_provider_by_operator().await
    }

    pub(super) async fn provider_away(&mut self) -> Result<(), GenerateError> {
        let mut draft = Draft::from_within(ActorRef::Operator, "remove_provider");
        draft.decide(&mut self.provider, IdentityProviderCommand::Remove).await?;
        self.commit(draft)?;
        self.set_provider_by_operator().await
    }

    /// The owner's next sign-in is with another subject, which may have been somebody else's.
    pub(super) async fn recover_owner(&mut self) -> Result<(), GenerateError> {
        let holder = if self.chance.one_in(3) { self.meet_active_but_owner() } else { None };
        let holders = holder.and_then(|holder| self.people[holder].subject.take());
        let subject = match &holders {
            Some(subject) => subject.clone(),
            None => looks::subject(&mut self.chance),
        };
        let (owner, owner_id) = (self.owner, self.people[self.owner].id);
        let mut draft = Draft::from_within(ActorRef::Operator, "recover_owner");
        let open = UserCommand::OpenRecovery {
            subject: Some(Protected::of_person(owner_id, subject.clone())),
            address: None,
            expires_at: self.seconds().plus(RECOVERY_SECONDS),
        };
        draft.decide(&mut self.people[owner].user, open).await?;
        self.commit(draft)?;

        self.pass(A_MOMENT_SECONDS);
        let mut draft = self.call_by(owner, "sign_in");
        if let (Some(holder), Some(subject)) = (holder, holders) {
            let person = &mut self.people[holder];
            let released = looks::identity(person.id, &subject);
            draft.decide(&mut person.user, UserCommand::UnlinkIdentity { released }).await?;
            self.plan(ACCEPTED_SECONDS, Due::Accept(holder));
        }
        let now = self.seconds();
        let person = &mut self.people[owner];
        let released = person.subject.replace(subject.clone()).map(|old| looks::identity(owner_id, &old));
        let (identity, profile) = (looks::identity(owner_id, &subject), person.profile());
        let replace = UserCommand::ReplaceOwnerIdentity { identity, profile, released, now };
        draft.decide(&mut person.user, replace).await?;
        self.open_session(owner, draft).await?;
        self.pass(A_MOMENT_SECONDS);
        self.issue_provisioning_token().await
    }
}
