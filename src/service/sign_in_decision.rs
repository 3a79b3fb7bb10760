//! Who somebody is here, once the provider has vouched for them.
//!
//! An identity is (issuer, subject). Nobody gets an account by signing in: a first sign-in may claim an invitation whose address
//! equals the verified email. Unknown, disabled and uninvited people get the same answer.

use aggregates::{
    EmailAddress, IdentityProvider, LinkedIdentity, Profile, Protected, Session, SessionCommand, SessionId,
    SetupCommand, Status, StreamId, TokenHash, UnixSeconds, User, UserCommand, UserId,
};
use projections::{ActorRef, RecoveryKind, UniqueKeyRow, UserRow};
use uuid::Uuid;

use super::authenticate::{of_session, session_error};
use super::decision::{Decide, Decision};
use super::setup::{random_token, setup_error};
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::log::Loaded;
use crate::oidc::{EmailVerified, VerifiedIdentity};

/// The owner is known.
#[derive(Clone, Debug)]
pub struct OwnerVerified {
    pub owner_email: String,
    pub oidc_subject: String,
    pub session_expires_at: UnixSeconds,
}

/// Somebody has signed in.
pub struct SignedIn {
    /// Shown once.
    pub session_token: String,
    pub expires_at: UnixSeconds,
    pub user: UserRow,
    pub oidc_subject: String,
}

impl Service {
    /// Decides who this identity, verified under that version of the provider's configuration, is here, and opens a session.
    ///
    /// # Errors
    /// `user_not_found`, `missing_email`; `invalid_state` (400) when the provider has been configured anew meanwhile.
    pub async fn sign_in(
        &self,
        context: &CallContext,
        provider_version: u64,
        identity: VerifiedIdentity,
    ) -> Result<SignedIn, ApiError> {
        let session_token = random_token()?;
        let oidc_subject = identity.subject.clone();
        let call = SignIn { provider_version, identity, token_hash: TokenHash::of(&session_token) };
        let opened = self.run(context, call).await.map_err(of_session)?;
        let user = self.user(opened.user_id).await.map_err(session_error)?.ok_or_else(nobody)?;
        Ok(SignedIn { session_token, expires_at: opened.expires_at, user: (*user).clone(), oidc_subject })
    }

    /// Makes this identity, verified under that version of the provider's configuration, the owner that setup asks for.
    ///
    /// # Errors
    /// As [`Service::setup_caller`]; `user_not_found` for anybody but a pinned owner, `missing_email`,
    /// `id_token_verification_error` for an email that the provider says is not verified.
    pub async fn register_owner(
        &self,
        context: &CallContext,
        session: SessionId,
        provider_version: u64,
        identity: VerifiedIdentity,
    ) -> Result<OwnerVerified, ApiError> {
        self.run(context, VerifyOwner { session, provider_version, identity }).await
    }
}

fn nobody() -> ApiError {
    ApiError::new(ErrorCode::UserNotFound)
        .with_message("Nobody with an account or an invitation here signs in this way.")
}

fn missing_email() -> ApiError {
    ApiError::new(ErrorCode::MissingEmail)
        .with_message("The provider gives no usable email address; ask for one to be set there.")
}

fn linked(user: UserId, identity: &VerifiedIdentity) -> (LinkedIdentity, Profile) {
    let protect = |text: &String| Protected::of_person(user, text.clone());
    let linked = LinkedIdentity { issuer: identity.issuer.as_str().to_owned(), subject: protect(&identity.subject) };
    let profile =
        Profile { display_name: identity.name.as_ref().map(protect), picture: identity.picture.as_ref().map(protect) };
    (linked, profile)
}

/// The owner comes back from the provider.
struct VerifyOwner {
    session: SessionId,
    provider_version: u64,
    identity: VerifiedIdentity,
}

impl Decide for VerifyOwner {
    type Answer = OwnerVerified;
    const COMMAND: &'static str = "verify_owner";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<OwnerVerified, ApiError> {
        let (mut setup, mut session) = decision.setup_by_session(self.session).await?;
        let provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?.aggregate;
        if provider.version != self.provider_version {
            return Err(ApiError::unknown_state());
        }
        let email = self.identity.email.as_deref().ok_or_else(missing_email)?;
        if self.identity.email_verified == EmailVerified::False {
            return Err(ApiError::new(ErrorCode::IdTokenVerificationError)
                .with_message("The provider says that the email is not verified."));
        }
        let address = EmailAddress::parse(email).map_err(|error| missing_email().caused_by(error))?;
        let user_id = self.owner_id(service, decision, &address).await?;
        decision
            .handle(&mut setup, SetupCommand::VerifyOwner { user_id })
            .await
            .map_err(|error| setup_error(&error))?;
        let mut user = decision.load::<User>(StreamId::user(user_id)).await?;
        let (identity, profile) = linked(user_id, &self.identity);
        let register =
            UserCommand::RegisterOwner { address: Protected::of_person(user_id, address.as_str()), identity, profile };
        decision.handle(&mut user, register).await.map_err(|error| {
            ApiError::new(ErrorCode::InternalError).with_message("The owner could not be registered.").caused_by(error)
        })?;
        let session_expires_at = decision.slide(service, &mut session).await?;
        Ok(OwnerVerified {
            owner_email: address.as_str().to_owned(),
            oidc_subject: self.identity.subject.clone(),
            session_expires_at,
        })
    }
}

impl VerifyOwner {
    /// The id of the owner to be: the one kept for the pinned address, else a new one.
    async fn owner_id(
        &self,
        service: &Service,
        decision: &mut Decision,
        address: &EmailAddress,
    ) -> Result<UserId, ApiError> {
        let row = service.setup_row().await?;
        if let Some(pinned) = row.pinned_owner_id {
            let fits = row.pinned_owner_hash == Some(service.log.hasher().address(address.as_str()));
            return if fits {
                Ok(pinned)
            } else {
                Err(nobody().with_message("The bootstrap token was issued for another owner."))
            };
        }
        let user_id = UserId(Uuid::now_v7());
        decision.make_person_key(user_id)?;
        Ok(user_id)
    }
}

struct SignIn {
    provider_version: u64,
    identity: VerifiedIdentity,
    token_hash: TokenHash,
}

struct Opened {
    user_id: UserId,
    expires_at: UnixSeconds,
}

impl Decide for SignIn {
    type Answer = Opened;
    const COMMAND: &'static str = "sign_in";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<Opened, ApiError> {
        let provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?.aggregate;
        if provider.version != self.provider_version {
            return Err(ApiError::unknown_state());
        }
        let user = match self.recovered_owner(service, decision).await? {
            Some(owner) => owner,
            None => match self.holder(service, &self.identity_hash(service)).await? {
                Some(known) => self.known(service, decision, known).await?,
                None => self.invited(service, decision).await?,
            },
        };
        let user_id: UserId = user.stream.aggregate_id.parse().map_err(|error| {
            ApiError::new(ErrorCode::InternalError).with_message("The user has no id.").caused_by(error)
        })?;
        let mut session = decision.begin::<Session>(StreamId::session(SessionId(Uuid::now_v7())));
        let expires_at = decision.now.plus(service.settings.session_ttl.get());
        let open = SessionCommand::Open {
            user_id,
            token_hash: self.token_hash,
            now: decision.now,
            expires_at,
            user_epoch: user.aggregate.session_epoch,
            provider_epoch: provider.session_epoch,
        };
        decision.handle(&mut session, open).await.map_err(|error| {
            ApiError::new(ErrorCode::SessionError).with_message("The session could not be opened.").caused_by(error)
        })?;
        Ok(Opened { user_id, expires_at })
    }
}

impl SignIn {
    fn identity_hash(&self, service: &Service) -> String {
        service.log.hasher().identity(self.identity.issuer.as_str(), &self.identity.subject)
    }

    async fn holder(&self, service: &Service, key: &str) -> Result<Option<UserId>, ApiError> {
        let row =
            service.log.read().row::<UniqueKeyRow>("WHERE t.key = $1", &[key.into()]).await.map_err(session_error)?;
        Ok(row.map(|row| row.user_id))
    }

    /// Somebody whose identity is linked; disabled people are nobody.
    async fn known(&self, service: &Service, decision: &mut Decision, id: UserId) -> Result<Loaded<User>, ApiError> {
        let mut user = decision.load::<User>(StreamId::user(id)).await?;
        if user.aggregate.status() != Some(Status::Active) {
            return Err(nobody());
        }
        decision.acts(ActorRef::User(id));
        let row = service.user(id).await.map_err(session_error)?.ok_or_else(nobody)?;
        if row.display_name != self.identity.name || row.picture != self.identity.picture {
            let (_, profile) = linked(id, &self.identity);
            let changed = decision.handle(&mut user, UserCommand::ChangeProfile { profile }).await;
            changed.map_err(|_| nobody())?;
        }
        Ok(user)
    }

    /// Somebody whose verified address an invitation waits for.
    async fn invited(&self, service: &Service, decision: &mut Decision) -> Result<Loaded<User>, ApiError> {
        let email = self.identity.email.as_deref().ok_or_else(missing_email)?;
        if !self.address_counts(service) {
            return Err(nobody());
        }
        let address = EmailAddress::parse(email).map_err(|error| nobody().caused_by(error))?;
        let key = service.log.hasher().address(address.as_str());
        let id = self.holder(service, &key).await?.ok_or_else(nobody)?;
        let mut user = decision.load::<User>(StreamId::user(id)).await?;
        if user.aggregate.linked
            && let Some(known) = self.holder(service, &self.identity_hash(service)).await?
        {
            // The same person came in by another door since this round looked for the identity.
            return self.known(service, decision, known).await;
        }
        let (identity, profile) = linked(id, &self.identity);
        let accept = UserCommand::AcceptInvitation { identity, profile };
        decision.handle(&mut user, accept).await.map_err(|_| nobody())?;
        decision.acts(ActorRef::User(id));
        Ok(user)
    }

    /// Only the boolean true; an absent claim where the settings accept that.
    fn address_counts(&self, service: &Service) -> bool {
        match self.identity.email_verified {
            EmailVerified::True => true,
            EmailVerified::Absent => !service.settings.require_verified_email,
            EmailVerified::False => false,
        }
    }

    /// The owner, when a recovery is open that this identity fits.
    async fn recovered_owner(
        &self,
        service: &Service,
        decision: &mut Decision,
    ) -> Result<Option<Loaded<User>>, ApiError> {
        let clause = "WHERE t.role = 'owner' AND t.recovery_expires_at > $1";
        let row = service.log.read().row::<UserRow>(clause, &[decision.now.0.into()]).await.map_err(store_error)?;
        let Some(owner) = row.filter(|row| self.fits(service, row)) else { return Ok(None) };
        let mut user = decision.load::<User>(StreamId::user(owner.id)).await?;
        if user.aggregate.recovery.as_ref().is_none_or(|recovery| recovery.expires_at <= decision.now) {
            // Another sign-in has used it up since the row was read: this one is judged by what that left.
            return Ok(None);
        }
        self.unlink_holder(service, decision, owner.id).await?;
        let (identity, profile) = linked(owner.id, &self.identity);
        let released = match (owner.issuer, owner.subject) {
            (Some(issuer), Some(subject)) => {
                Some(LinkedIdentity { issuer, subject: Protected::of_person(owner.id, subject) })
            }
            _ => None,
        };
        let command = UserCommand::ReplaceOwnerIdentity { identity, profile, released, now: decision.now };
        if decision.handle(&mut user, command).await.is_err() {
            // The recovery ended meanwhile: the round will be decided again, or the stream says no.
            return Err(nobody());
        }
        decision.acts(ActorRef::User(owner.id));
        Ok(Some(user))
    }

    /// Another user's identity that becomes the owner's is that user's no longer.
    async fn unlink_holder(&self, service: &Service, decision: &mut Decision, owner: UserId) -> Result<(), ApiError> {
        let Some(holder) = self.holder(service, &self.identity_hash(service)).await?.filter(|id| *id != owner) else {
            return Ok(());
        };
        let mut user = decision.load::<User>(StreamId::user(holder)).await?;
        let (released, _) = linked(holder, &self.identity);
        decision.handle(&mut user, UserCommand::UnlinkIdentity { released }).await.map(drop).map_err(|_| nobody())
    }

    fn fits(&self, service: &Service, owner: &UserRow) -> bool {
        let Some(wanted) = &owner.recovery_hash else { return false };
        match owner.recovery_kind {
            Some(RecoveryKind::Subject) => *wanted == service.log.hasher().subject(&self.identity.subject),
            Some(RecoveryKind::Address) => {
                let address = self.identity.email.as_deref().and_then(|email| EmailAddress::parse(email).ok());
                self.identity.email_verified == EmailVerified::True
                    && address.is_some_and(|address| *wanted == service.log.hasher().address(address.as_str()))
            }
            None => false,
        }
    }
}
