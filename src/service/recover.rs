//! Break-glass: a new identity for the owner, opened on the host.

use aggregates::{EmailAddress, Protected, Setup, SetupState, StreamId, UnixSeconds, User, UserCommand};
use projections::ActorRef;

use super::decision::{Decide, Decision};
use super::users::user_error;
use super::{CallContext, Service};
use crate::error::{ApiError, ErrorCode};

/// Whom the next sign-in must show to become owner.
#[derive(Clone, Debug)]
pub enum RecoverBy {
    Subject(String),
    Address(EmailAddress),
}

impl Service {
    /// Opens a recovery of the owner; answers until when.
    ///
    /// # Errors
    /// `setup_incomplete` before there is an owner for good.
    pub async fn recover_owner(
        &self,
        context: &CallContext,
        by: RecoverBy,
        ttl_seconds: i64,
    ) -> Result<UnixSeconds, ApiError> {
        self.run(context, RecoverOwner { by, ttl_seconds }).await
    }
}

struct RecoverOwner {
    by: RecoverBy,
    ttl_seconds: i64,
}

impl Decide for RecoverOwner {
    type Answer = UnixSeconds;
    const COMMAND: &'static str = "recover_owner";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<UnixSeconds, ApiError> {
        decision.acts(ActorRef::Operator);
        let setup = decision.load::<Setup>(StreamId::setup()).await?.aggregate;
        let owner = setup.owner.filter(|_| setup.state == SetupState::Ready).ok_or_else(|| {
            ApiError::new(ErrorCode::SetupIncomplete)
                .with_message("Setup is not complete: there is no owner to recover.")
        })?;
        let mut user = decision.load::<User>(StreamId::user(owner)).await?;
        let expires_at = decision.now.plus(self.ttl_seconds);
        let (subject, address) = match &self.by {
            RecoverBy::Subject(subject) => (Some(Protected::of_person(owner, subject.clone())), None),
            RecoverBy::Address(address) => (None, Some(Protected::of_person(owner, address.as_str()))),
        };
        let command = UserCommand::OpenRecovery { subject, address, expires_at };
        decision.handle(&mut user, command).await.map_err(|error| user_error(&error))?;
        Ok(expires_at)
    }
}
