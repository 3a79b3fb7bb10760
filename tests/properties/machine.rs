//! Random commands through the real service, each compared with what the model answers; after each case the read models are
//! compared with the model, the log is dense, and a rebuild gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use aggregates::{EmailAddress, RemoteAuthMode, Role, RuntimeMode, SessionId, SetupState, UserId};
use authlog::error::ApiError;
use authlog::oidc::{EmailVerified, VerifiedIdentity};
use authlog::service::erase::Eraser;
use authlog::service::recover::RecoverBy;
use authlog::service::setup::{NewProvider, SetupCaller};
use authlog::service::{Caller, Service};
use projections::{AuditRow, IdentityProviderRow, SessionRow, SetupRow, UniqueKeyRow, UserRow};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use uuid::Uuid;

use crate::commands::{By, Claim, Command, Guess, Person, SetupBy, case};
use crate::model::{Model, Provider, Said, Shown};
use crate::support::Backend;
use crate::world::{World, all_names, context, findings, identity, tables};

const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn issuer(number: u8) -> String {
    format!("https://id{number}.example.com")
}

fn client(number: u8) -> String {
    format!("client{number}")
}

fn email(number: u8) -> String {
    format!("p{number}@example.com")
}

fn address(number: u8) -> EmailAddress {
    EmailAddress::parse(&email(number)).unwrap()
}

fn name(number: u8) -> String {
    format!("Näme {number}")
}

/// The number at the end of a name, or before the @ of an address.
fn number(text: &str) -> u8 {
    text.split('@').next().unwrap().trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// The service, and which ids and bearer values stand for the model's numbers.
struct Driver {
    world: World,
    bootstrap_tokens: Vec<String>,
    setup_sessions: Vec<String>,
    users: Vec<UserId>,
    sessions: Vec<(String, SessionId)>,
}

impl Driver {
    fn service(&self) -> &Service {
        self.world.service()
    }

    async fn head(&self) -> i64 {
        self.service().log.read().read_head().await.unwrap().position
    }

    async fn perform(&mut self, command: &Command, model: &Model) -> Result<Said, ApiError> {
        match *command {
            Command::IssueToken { expired, pinned } => {
                let ttl_seconds = if expired { 0 } else { 900 };
                let issued = self.service().issue_bootstrap_token(&context(), ttl_seconds, pinned.map(address)).await?;
                self.bootstrap_tokens.push(issued.token);
                Ok(Said::Done)
            }
            Command::Verify(guess) => {
                let token = self.guess(guess);
                let opened = self.service().verify_bootstrap_token(&context(), &token).await?;
                self.setup_sessions.push(opened.token);
                Ok(Said::Done)
            }
            Command::GuessFiveTimes => {
                for _ in 0..4 {
                    let _ = self.service().verify_bootstrap_token(&context(), UNKNOWN).await;
                }
                self.service().verify_bootstrap_token(&context(), UNKNOWN).await.map(|_| Said::Done)
            }
            Command::Preferences(by) => {
                let caller = self.setup_caller(by, &[]).await?;
                let (mode, auth) = (RuntimeMode::Remote, RemoteAuthMode::Oidc);
                self.service().set_preferences(&context(), &caller, mode, auth).await?;
                Ok(Said::Done)
            }
            Command::Configure { by, issuer: i, client: c, secret } => {
                let allowed = [SetupState::BootstrapPending, SetupState::IdpConfigured];
                let caller = self.setup_caller(by, &allowed).await?;
                let provider = NewProvider::parse(&issuer(i), client(c), secret.then(|| "hunter2".to_owned()))?;
                self.service().configure_provider_in_setup(&context(), &caller, provider).await?;
                Ok(Said::Done)
            }
            Command::RegisterOwner { by, who } => {
                let caller = self.setup_caller(by, &[SetupState::IdpConfigured]).await?;
                let (version, who) = (self.world.provider_version().await, vouched_for(model, who));
                self.service().register_owner(&context(), caller.session, version, who).await?;
                self.users.push(self.service().setup_row().await?.owner_id.unwrap());
                Ok(Said::Done)
            }
            Command::Summary(by) => self.summary(by).await,
            Command::Complete(by) => {
                let caller = self.setup_caller(by, &[SetupState::OwnerCreated]).await?;
                self.service().complete_setup(&context(), &caller).await?;
                Ok(Said::Done)
            }
            Command::RestartSetup => self.service().restart_setup(&context()).await.map(|_| Said::Done),
            Command::StopAndStart => {
                self.world.close().await;
                self.world.open().await;
                Ok(Said::Done)
            }
            Command::SignIn(who) => self.sign_in(model, who).await,
            Command::Recover { by_subject, number, expired } => {
                let by =
                    if by_subject { RecoverBy::Subject(subject(number)) } else { RecoverBy::Address(address(number)) };
                self.service().recover_owner(&context(), by, if expired { 0 } else { 900 }).await?;
                Ok(Said::Done)
            }
            _ => self.perform_as_caller(command, model).await,
        }
    }

    /// The calls that bring a user's session.
    async fn perform_as_caller(&mut self, command: &Command, model: &Model) -> Result<Said, ApiError> {
        let (Command::Me(by)
        | Command::Invite { by, .. }
        | Command::ChangeRole { by, .. }
        | Command::Disable { by, .. }
        | Command::Enable { by, .. }
        | Command::Erase { by, .. }
        | Command::RevokeSession { by, .. }
        | Command::RevokeSessions { by, .. }
        | Command::SignOut(by)) = *command
        else {
            unreachable!("{command:?} brings no session")
        };
        let caller = self.caller(by, model).await?;
        let (service, context) = (self.service(), context());
        let user = match *command {
            Command::Me(_) => (*caller.user).clone(),
            Command::Invite { email, role, .. } => {
                let user = service.invite_user(&context, &caller, address(email), role).await?;
                self.users.push(user.id);
                user
            }
            Command::ChangeRole { user, role, .. } => {
                service.change_role(&context, &caller, self.user(user), role).await?
            }
            Command::Disable { user, .. } => service.disable_user(&context, &caller, self.user(user)).await?,
            Command::Enable { user, .. } => service.enable_user(&context, &caller, self.user(user)).await?,
            Command::Erase { user, .. } => {
                let by = Eraser::Caller(Box::new(caller));
                return service.erase_user(&context, by, self.user(user)).await.map(|_| Said::Done);
            }
            Command::RevokeSession { session, .. } => {
                let session = model.recent_session(session).map(|session| self.sessions[session].1);
                let session = session.unwrap_or(SessionId(Uuid::now_v7()));
                return service.revoke_session(&context, &caller, session).await.map(|()| Said::Done);
            }
            Command::RevokeSessions { user, .. } => {
                let user = user.map(|user| self.user(user));
                return service
                    .revoke_sessions(&context, &caller, user)
                    .await
                    .map(|ended| Said::Revoked(usize::try_from(ended).unwrap()));
            }
            _ => return service.sign_out(&context, &caller).await.map(|()| Said::Done),
        };
        Ok(Said::Person(shown(&user)))
    }

    fn guess(&self, guess: Guess) -> String {
        let token = match guess {
            Guess::Present => self.bootstrap_tokens.last(),
            Guess::Former => self.bootstrap_tokens.iter().rev().nth(1),
            Guess::Wrong => None,
        };
        token.cloned().unwrap_or_else(|| UNKNOWN.to_owned())
    }

    async fn setup_caller(&self, by: SetupBy, allowed: &[SetupState]) -> Result<SetupCaller, ApiError> {
        let token = match by {
            SetupBy::Latest => self.setup_sessions.last().map_or(UNKNOWN, String::as_str),
            SetupBy::Former => self.setup_sessions.iter().rev().nth(1).map_or(UNKNOWN, String::as_str),
            SetupBy::Unknown => UNKNOWN,
            SetupBy::Nobody => return self.service().setup_caller(None, allowed).await,
        };
        self.service().setup_caller(Some(token), allowed).await
    }

    async fn summary(&self, by: SetupBy) -> Result<Said, ApiError> {
        let caller = self.setup_caller(by, &[]).await?;
        let summary = self.service().setup_summary(&context(), &caller).await?;
        let provider = summary.issuer_url.zip(summary.client_id).map(|(issuer, client)| Provider {
            issuer: number_of_issuer(&issuer),
            client: number(&client),
            secret: summary.has_client_secret,
        });
        let owner = summary.owner_email.as_deref().map(number);
        Ok(Said::Summary { state: summary.state.as_str(), provider, owner })
    }

    async fn sign_in(&mut self, model: &Model, who: Person) -> Result<Said, ApiError> {
        self.service().require_ready().await?;
        let (version, who) = (self.world.provider_version().await, vouched_for(model, who));
        let signed_in = self.service().sign_in(&context(), version, who).await?;
        let caller = self.service().authenticate(&context(), &signed_in.session_token).await?;
        self.sessions.push((signed_in.session_token, caller.require_session()?));
        Ok(Said::Person(shown(&signed_in.user)))
    }

    async fn caller(&self, by: By, model: &Model) -> Result<Caller, ApiError> {
        let token = model.session_of(by).map_or(UNKNOWN, |session| self.sessions[session].0.as_str());
        self.service().authenticate(&context(), token).await
    }

    fn user(&self, number: u8) -> UserId {
        self.users.get(usize::from(number)).copied().unwrap_or_else(|| UserId(Uuid::now_v7()))
    }
}

fn subject(number: u8) -> String {
    format!("subject{number}")
}

fn number_of_issuer(url: &str) -> u8 {
    number(url.split('.').next().unwrap())
}

fn vouched_for(model: &Model, who: Person) -> VerifiedIdentity {
    let (email, name) = (who.email.map(email), who.name.map(name));
    let issuer = issuer(model.provider.map_or(0, |provider| provider.issuer));
    let mut identity = identity(&issuer, &subject(who.subject), email.as_deref(), name.as_deref());
    identity.email_verified = match (who.email, who.claim) {
        (Some(_), Claim::Verified) => EmailVerified::True,
        (Some(_), Claim::Unverified) => EmailVerified::False,
        (None, _) | (_, Claim::Absent) => EmailVerified::Absent,
    };
    identity
}

fn shown(user: &UserRow) -> Shown {
    Shown {
        email: number(&user.address),
        role: user.role,
        status: user.status.as_str(),
        name: user.display_name.as_deref().map(number),
    }
}

/// Performs the commands on a new instance, each answered as the model says.
async fn perform_all(backend: Backend, commands: &[Command]) -> Result<(Driver, Model), String> {
    let mut driver = Driver {
        world: World::new(backend).await,
        bootstrap_tokens: Vec::new(),
        setup_sessions: Vec::new(),
        users: Vec::new(),
        sessions: Vec::new(),
    };
    let mut model = Model::new();
    for (step, command) in commands.iter().enumerate() {
        let head = driver.head().await;
        let answered = driver.perform(command, &model).await.map_err(|error| error.code().as_str());
        let expected = model.answer(command);
        expect(&format!("step {step}, {command:?}"), &answered, &expected)?;
        // Wrong guesses are written down; nothing else that is refused is.
        let guesses = matches!(command, Command::Verify(_) | Command::GuessFiveTimes);
        if answered.is_err() && !guesses {
            expect(&format!("events after step {step}, {command:?}"), &driver.head().await, &head)?;
        }
    }
    Ok((driver, model))
}

/// An instance on which the commands have been performed.
pub async fn lived_in(backend: Backend, commands: &[Command]) -> Result<World, String> {
    Ok(perform_all(backend, commands).await?.0.world)
}

async fn run(backend: Backend, commands: &[Command]) -> Result<(), String> {
    let (mut driver, model) = perform_all(backend, commands).await?;
    users_are_as_the_model_says(&driver, &model).await?;
    setup_is_as_the_model_says(&driver, &model).await?;
    sessions_are_as_the_model_says(&driver, &model).await?;
    the_log_is_dense(&driver).await?;
    the_rules_allow_the_log(&driver).await?;
    let before = tables(&driver.world.database).await;
    driver.world.rebuild_after(&[], &all_names()).await;
    expect("rebuilt tables", &tables(&driver.world.database).await, &before)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

async fn users_are_as_the_model_says(driver: &Driver, model: &Model) -> Result<(), String> {
    let reader = driver.service().log.read();
    let rows: Vec<UserRow> = reader.rows("", &[]).await.unwrap();
    let found: BTreeMap<_, _> = rows
        .iter()
        .map(|row| {
            let identity = row.issuer.as_deref().map(number_of_issuer).zip(row.subject.as_deref().map(number));
            let shown = shown(row);
            (row.id, (shown.email, shown.role, shown.status, shown.name, identity))
        })
        .collect();
    let present = || model.users.iter().zip(&driver.users).filter(|(user, _)| !user.gone);
    let expected =
        present().map(|(user, id)| (*id, (user.email, user.role, user.status(), user.name, user.identity))).collect();
    expect("users", &found, &expected)?;
    let owners = found.values().filter(|user| user.1 == Role::Owner).count();
    expect("owners", &owners, &usize::from(matches!(model.state, "owner_created" | "ready")))?;

    let keys: Vec<UniqueKeyRow> = reader.rows("", &[]).await.unwrap();
    let found: BTreeMap<_, _> = keys.into_iter().map(|row| (row.key, row.user_id)).collect();
    let hasher = driver.service().log.hasher();
    let mut expected = BTreeMap::new();
    for (user, id) in present() {
        expected.insert(hasher.address(&email(user.email)), *id);
        if let Some((i, s)) = user.identity {
            expected.insert(hasher.identity(&issuer(i), &subject(s)), *id);
        }
    }
    expect("unique keys", &found, &expected)
}

async fn setup_is_as_the_model_says(driver: &Driver, model: &Model) -> Result<(), String> {
    let reader = driver.service().log.read();
    let row: SetupRow = reader.row("", &[]).await.unwrap().unwrap();
    expect("setup", &row.state.as_str(), &model.state)?;
    let row: Option<IdentityProviderRow> = reader.row("", &[]).await.unwrap();
    let found = row.and_then(|row| {
        let (secret, issuer) = (row.client_secret.is_some(), row.issuer_url?);
        Some(Provider { issuer: number_of_issuer(&issuer), client: number(&row.client_id?), secret })
    });
    expect("provider", &found, &model.provider)
}

/// Live sessions by the tables, and by what their tokens are answered.
async fn sessions_are_as_the_model_says(driver: &Driver, model: &Model) -> Result<(), String> {
    let reader = driver.service().log.read();
    let sessions: Vec<SessionRow> = reader.rows("WHERE t.kind = 'user'", &[]).await.unwrap();
    let users: Vec<UserRow> = reader.rows("", &[]).await.unwrap();
    let epochs: BTreeMap<_, _> = users.iter().map(|user| (user.id, user.session_epoch)).collect();
    let alive = |row: &&SessionRow| row.user_id.and_then(|user| epochs.get(&user)) == Some(&row.user_epoch);
    let found: BTreeSet<_> = sessions.iter().filter(alive).map(|row| row.id).collect();
    let numbered = || model.sessions.iter().zip(&driver.sessions);
    let expected = numbered().filter(|(session, _)| session.alive).map(|(_, (_, id))| *id).collect();
    expect("live sessions", &found, &expected)?;
    for (session, (token, _)) in numbered() {
        let answered = driver.service().authenticate(&context(), token).await;
        let answered = answered.map(|caller| caller.user.id).map_err(|error| error.code().as_str());
        let expected = if session.alive { Ok(driver.users[session.user]) } else { Err("invalid_session") };
        expect("a session", &answered, &expected)?;
    }
    Ok(())
}

async fn the_log_is_dense(driver: &Driver) -> Result<(), String> {
    let reader = driver.service().log.read();
    let events = reader.events(0, i64::MAX, None, None).await.unwrap();
    let mut sequences = BTreeMap::new();
    for (event, position) in events.iter().zip(1..) {
        expect("a position", &event.position, &position)?;
        let sequence = sequences.entry((&event.aggregate_type, &event.aggregate_id)).or_insert(0);
        *sequence += 1;
        expect("a sequence", &event.sequence, sequence)?;
    }
    let length = i64::try_from(events.len()).unwrap();
    expect("the head", &driver.head().await, &length)?;
    let audit: Vec<AuditRow> = reader.rows("ORDER BY t.id", &[]).await.unwrap();
    expect("audit", &audit.iter().map(|row| row.id).collect::<Vec<_>>(), &(1..=length).collect())
}

async fn the_rules_allow_the_log(driver: &Driver) -> Result<(), String> {
    expect("findings", &findings(driver.service()).await, &(Vec::new(), driver.head().await))
}

fn random_cases(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&case(), |commands| runtime.block_on(run(backend, &commands)).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn random_commands_are_answered_as_the_model_says_on_sqlite() {
    random_cases(Backend::Sqlite, 64);
}

#[test]
fn random_commands_are_answered_as_the_model_says_on_postgres() {
    random_cases(Backend::Postgres, 12);
}
