//! How the instance was set up: with a token that was locked by wrong guesses, and a first try that was discarded.

use std::ops::Range;

use aggregates::{
    IdentityProviderCommand, KeyId, PinnedOwner, Protected, RemoteAuthMode, Role, RuntimeMode, Session, SessionCommand,
    SessionEnd, SessionId, SetupCommand, StreamId, TokenHash, UserCommand,
};
use authlog::log::Loaded;
use projections::ActorRef;

use crate::GenerateError;
use crate::draft::Draft;
use crate::looks::{self, CLIENT_ID, ISSUER};
use crate::world::{Person, World, begin};

/// As the setting `setup_session_ttl` has it by default.
const SETUP_SESSION_SECONDS: i64 = 1800;
const BOOTSTRAP_TOKEN_SECONDS: i64 = 900;
/// A call of setup follows the one before it.
const NEXT_CALL_SECONDS: Range<i64> = 20..120;
const NEXT_GUESS_SECONDS: Range<i64> = 1..5;
/// After so many wrong guesses a bootstrap token is locked.
const ALL_GUESSES: usize = 5;
/// Who is invited in the first hour, admins first.
const FIRST_ADMINS: usize = 3;
const FIRST_PEOPLE: usize = 30;

type SetupSession = (SessionId, Loaded<Session>);

impl World {
    /// From the first event to an instance with its first people.
    pub(crate) async fn set_up(&mut self) -> Result<(), GenerateError> {
        self.issue_bootstrap_token(None).await?;
        self.guess(ALL_GUESSES).await?;
        self.try_in_vain().await?;

        let token = self.issue_bootstrap_token(None).await?;
        self.guess(2).await?;
        let mut session = self.open_setup_session(token).await?;
        self.set_preferences(&mut session).await?;
        self.accept_provider(&mut session, true).await?;
        let owner = self.stranger();
        let owner = self.verify_owner(&mut session, owner, true).await?;
        self.people.push(owner);
        self.complete(session).await?;

        self.seat(self.owner).await?;
        self.issue_provisioning_token().await?;
        for number in 0..FIRST_PEOPLE {
            self.pass(20..90);
            let role = if number < FIRST_ADMINS { Role::Admin } else { self.junior_role() };
            self.invite_by(self.owner, role).await?;
        }
        Ok(())
    }

    /// The operator says who must become owner, and takes it all back.
    async fn try_in_vain(&mut self) -> Result<(), GenerateError> {
        let owner = self.stranger();
        let token = self.issue_bootstrap_token(Some(&owner)).await?;
        let mut session = self.open_setup_session(token).await?;
        self.set_preferences(&mut session).await?;
        self.accept_provider(&mut session, false).await?;
        let mut owner = self.verify_owner(&mut session, owner, false).await?;

        self.pass(NEXT_CALL_SECONDS);
        let mut draft = Draft::from_within(ActorRef::Operator, "restart_setup");
        draft.decide(&mut self.setup, SetupCommand::Restart).await?;
        draft.decide(&mut session.1, SessionCommand::EndSetup { reason: SessionEnd::SetupOver }).await?;
        draft.decide(&mut self.provider, IdentityProviderCommand::Remove).await?;
        let address = Protected::of_person(owner.id, owner.address.clone());
        let identity = looks::identity(owner.id, owner.subject.as_deref().unwrap_or_default());
        draft.decide(&mut owner.user, UserCommand::DiscardOwner { address, identity }).await?;
        draft.destroy_key_of(owner.id);
        self.commit(draft)
    }

    async fn issue_bootstrap_token(&mut self, pinned: Option<&Person>) -> Result<TokenHash, GenerateError> {
        self.pass(NEXT_CALL_SECONDS);
        let token_hash = self.token_hash();
        let mut draft = Draft::from_within(ActorRef::Operator, "issue_bootstrap_token");
        let owner = pinned.map(|person| {
            draft.make_key(KeyId::Person(person.id));
            PinnedOwner { user_id: person.id, address: Protected::of_person(person.id, person.address.clone()) }
        });
        let expires_at = self.seconds().plus(BOOTSTRAP_TOKEN_SECONDS);
        draft.decide(&mut self.setup, SetupCommand::IssueBootstrapToken { token_hash, expires_at, owner }).await?;
        self.commit(draft)?;
        Ok(token_hash)
    }

    /// Somebody guesses wrong.
    async fn guess(&mut self, times: usize) -> Result<(), GenerateError> {
        for _ in 0..times {
            self.pass(NEXT_GUESS_SECONDS);
            let (token_hash, session_id) = (self.token_hash(), SessionId(self.new_id()));
            let mut draft = self.call_by_stranger(ActorRef::Anonymous, "verify_bootstrap_token");
            let verify = SetupCommand::VerifyBootstrapToken { token_hash, session_id, now: self.seconds() };
            draft.decide(&mut self.setup, verify).await?;
            self.commit(draft)?;
        }
        Ok(())
    }

    async fn open_setup_session(&mut self, token_hash: TokenHash) -> Result<SetupSession, GenerateError> {
        self.pass(NEXT_CALL_SECONDS);
        let id = SessionId(self.new_id());
        let mut session = begin::<Session>(StreamId::session(id));
        let mut draft = self.call_by_stranger(ActorRef::Anonymous, "verify_bootstrap_token");
        let now = self.seconds();
        draft.decide(&mut self.setup, SetupCommand::VerifyBootstrapToken { token_hash, session_id: id, now }).await?;
        let token_hash = self.token_hash();
        let open = SessionCommand::OpenSetup { token_hash, now, expires_at: now.plus(SETUP_SESSION_SECONDS) };
        draft.decide(&mut session, open).await?;
        self.commit(draft)?;
        Ok((id, session))
    }

    fn call_of_setup(&mut self, session: &SetupSession, command: &'static str) -> Draft {
        self.pass(NEXT_CALL_SECONDS);
        self.call_by_stranger(ActorRef::SetupSession(session.0), command)
    }

    /// An accepted call slides the session.
    async fn slide(&mut self, mut draft: Draft, session: &mut SetupSession) -> Result<(), GenerateError> {
        let now = self.seconds();
        let slide = SessionCommand::Slide { now, expires_at: now.plus(SETUP_SESSION_SECONDS) };
        draft.decide(&mut session.1, slide).await?;
        self.commit(draft)
    }

    async fn set_preferences(&mut self, session: &mut SetupSession) -> Result<(), GenerateError> {
        let mut draft = self.call_of_setup(session, "set_preferences");
        let (runtime_mode, remote_auth_mode) = (RuntimeMode::Remote, RemoteAuthMode::Oidc);
        draft.decide(&mut self.setup, SetupCommand::SetPreferences { runtime_mode, remote_auth_mode }).await?;
        self.slide(draft, session).await
    }

    async fn accept_provider(&mut self, session: &mut SetupSession, with_secret: bool) -> Result<(), GenerateError> {
        let mut draft = self.call_of_setup(session, "configure_provider");
        let client_secret = if with_secret { Some(self.client_secret()) } else { None };
        let (issuer_url, client_id) = (ISSUER.to_owned(), CLIENT_ID.to_owned());
        let configure = IdentityProviderCommand::Configure { issuer_url, client_id, client_secret };
        draft.decide(&mut self.provider, configure).await?;
        let provider_version = self.provider.aggregate.version;
        draft.decide(&mut self.setup, SetupCommand::AcceptProvider { provider_version }).await?;
        self.slide(draft, session).await
    }

    async fn verify_owner(
        &mut self,
        session: &mut SetupSession,
        mut owner: Person,
        new: bool,
    ) -> Result<Person, GenerateError> {
        let mut draft = self.call_of_setup(session, "verify_owner");
        if new {
            draft.make_key(KeyId::Person(owner.id));
        }
        draft.decide(&mut self.setup, SetupCommand::VerifyOwner { user_id: owner.id }).await?;
        let subject = looks::subject(&mut self.chance);
        let register = UserCommand::RegisterOwner {
            address: Protected::of_person(owner.id, owner.address.clone()),
            identity: looks::identity(owner.id, &subject),
            profile: owner.profile(),
        };
        draft.decide(&mut owner.user, register).await?;
        owner.subject = Some(subject);
        self.slide(draft, session).await?;
        Ok(owner)
    }

    async fn complete(&mut self, mut session: SetupSession) -> Result<(), GenerateError> {
        let mut draft = self.call_of_setup(&session, "complete_setup");
        draft.decide(&mut self.setup, SetupCommand::Complete).await?;
        draft.decide(&mut session.1, SessionCommand::EndSetup { reason: SessionEnd::SetupOver }).await?;
        self.commit(draft)?;
        self.pass(NEXT_CALL_SECONDS);
        Ok(())
    }
}
