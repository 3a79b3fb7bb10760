//! Whatever commands come in whatever order: the state after deciding is the state folded from the events, a refusal moves
//! nothing, and the invariants of each aggregate hold. Small ranges of times and values make commands meet.
#![allow(clippy::unwrap_used)]

mod cast;

use std::fmt::Debug;

use aggregates::{
    Actor, ApiToken, ApiTokenCommand, ApiTokenEvent, Credential, IdentityProvider, IdentityProviderCommand,
    IdentityProviderEvent, PinnedOwner, Profile, Protected, RemoteAuthMode, Role, RuntimeMode, Session, SessionCommand,
    SessionEnd, SessionEvent, SessionId, SessionKind, Setup, SetupCommand, SetupError, SetupEvent, SetupState, Status,
    UnixSeconds, User, UserCommand, UserEvent, UserId,
};
use cast::{
    ANNA, API_TOKEN, BOB, INSTANCE, NEWER_SESSION, NOW, OWNER, SESSION, address_of, folded, handle, hash, identity_of,
    profile_of,
};
use cqrs_es::Aggregate;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// One command and what came of it.
struct Step<A: Aggregate> {
    before: A,
    command: A::Command,
    answer: Result<Option<A::Event>, A::Error>,
    after: A,
}

/// Runs the commands on one stream and checks what holds for every aggregate.
fn run<A>(commands: Vec<A::Command>) -> Vec<Step<A>>
where
    A: Aggregate<Services = ()> + Clone + Debug + PartialEq,
    A::Command: Clone + Debug,
    A::Error: PartialEq,
{
    let mut aggregate = A::default();
    let mut history = Vec::new();
    let mut steps = Vec::new();
    for command in commands {
        let before = aggregate.clone();
        let answer = handle(&mut aggregate, command.clone());
        assert_eq!(
            answer,
            handle(&mut before.clone(), command.clone()),
            "{command:?} is decided by state and command alone"
        );
        let answer = answer.map(|mut events| {
            assert!(events.len() <= 1, "{command:?} is one decision");
            history.extend(events.iter().cloned());
            events.pop()
        });
        if !matches!(answer, Ok(Some(_))) {
            assert_eq!(aggregate, before, "{command:?} wrote nothing and moved the state");
        }
        assert_eq!(aggregate, folded(&history), "{command:?} was decided on another state than its events fold to");
        steps.push(Step { before, command, answer, after: aggregate.clone() });
    }
    steps
}

fn time() -> impl Strategy<Value = UnixSeconds> {
    (0..400_i64).prop_map(|seconds| NOW.plus(seconds))
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Owner, Role::Admin, Role::Developer, Role::QaViewer])
}

/// Managers more often than others, so that more than refusals comes about.
fn actor() -> impl Strategy<Value = Actor> {
    let roles =
        select(vec![Role::Owner, Role::Owner, Role::Owner, Role::Admin, Role::Admin, Role::Developer, Role::QaViewer]);
    let credentials =
        select(vec![Credential::Session(SESSION), Credential::Session(SESSION), Credential::ApiToken(API_TOKEN)]);
    (select(vec![OWNER, BOB, ANNA]), roles, credentials).prop_map(|(user_id, role, credential)| Actor {
        user_id,
        role,
        credential,
    })
}

fn setup_command() -> impl Strategy<Value = SetupCommand> {
    let pin = || PinnedOwner { user_id: OWNER, address: address_of(OWNER) };
    prop_oneof![
        1 => Just(SetupCommand::CreateInstance { instance_id: INSTANCE }),
        3 => (0..2_u8, time(), any::<bool>()).prop_map(move |(token, expires_at, pinned)| {
            SetupCommand::IssueBootstrapToken { token_hash: hash(token), expires_at, owner: pinned.then(pin) }
        }),
        12 => (0..3_u8, select(vec![SESSION, NEWER_SESSION]), time()).prop_map(|(token, session_id, now)| {
            SetupCommand::VerifyBootstrapToken { token_hash: hash(token), session_id, now }
        }),
        1 => Just(SetupCommand::SetPreferences { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc }),
        3 => (1..4_u64).prop_map(|provider_version| SetupCommand::AcceptProvider { provider_version }),
        2 => select(vec![OWNER, ANNA]).prop_map(|user_id| SetupCommand::VerifyOwner { user_id }),
        1 => Just(SetupCommand::Complete),
        1 => Just(SetupCommand::Restart),
    ]
}

/// The answer to a verification, told from the events alone: the last token issued since the last restart, and what
/// happened to it since.
fn verification_by_history(
    history: &[SetupEvent],
    guess: aggregates::TokenHash,
    session_id: SessionId,
    now: UnixSeconds,
) -> Result<Option<SetupEvent>, SetupError> {
    if history.iter().any(|event| matches!(event, SetupEvent::SetupCompleted {})) {
        return Err(SetupError::AlreadyConfigured);
    }
    let since_restart = history.rsplit(|event| matches!(event, SetupEvent::SetupRestarted {})).next().unwrap();
    let issued = since_restart.iter().rposition(|event| matches!(event, SetupEvent::BootstrapTokenIssued { .. }));
    let Some(issued) = issued else { return Err(SetupError::NoBootstrapToken) };
    let SetupEvent::BootstrapTokenIssued { token_hash, expires_at, .. } = &since_restart[issued] else {
        unreachable!()
    };
    let since = &since_restart[issued..];
    let failures = since.iter().filter(|event| matches!(event, SetupEvent::VerificationFailed { .. })).count();
    let used = since.iter().any(|event| matches!(event, SetupEvent::BootstrapTokenVerified { .. }));
    match (failures, used) {
        (5.., _) => Err(SetupError::TooManyAttempts),
        (_, true) => Err(SetupError::TokenConsumed),
        _ if now >= *expires_at => Err(SetupError::TokenExpired),
        _ if guess == *token_hash => Ok(Some(SetupEvent::BootstrapTokenVerified { session_id })),
        _ => Ok(Some(SetupEvent::VerificationFailed { failures: u8::try_from(failures + 1).unwrap() })),
    }
}

fn session_command() -> impl Strategy<Value = SessionCommand> {
    let epoch = || 0..4_u64;
    let reason = select(vec![SessionEnd::Replaced, SessionEnd::SetupOver, SessionEnd::Expired]);
    prop_oneof![
        1 => (time(), 0..300_i64).prop_map(|(now, life)| {
            SessionCommand::OpenSetup { token_hash: hash(1), now, expires_at: now.plus(life) }
        }),
        10 => (time(), 0..300_i64).prop_map(|(now, life)| SessionCommand::Slide { now, expires_at: now.plus(life) }),
        1 => reason.prop_map(|reason| SessionCommand::EndSetup { reason }),
        1 => (time(), 0..300_i64, epoch(), epoch()).prop_map(|(now, life, user_epoch, provider_epoch)| {
            let expires_at = now.plus(life);
            SessionCommand::Open { user_id: ANNA, token_hash: hash(1), now, expires_at, user_epoch, provider_epoch }
        }),
        4 => (epoch(), epoch()).prop_map(|(user_epoch, provider_epoch)| SessionCommand::Keep { user_epoch, provider_epoch }),
        1 => Just(SessionCommand::SignOut),
        1 => Just(SessionCommand::Revoke),
        1 => Just(SessionCommand::Expire),
    ]
}

fn user_command() -> impl Strategy<Value = UserCommand> {
    let target = || select(vec![ANNA, ANNA, ANNA, BOB]);
    let profile = || select(vec![Profile::default(), profile_of(ANNA)]);
    let value = || option::of(Just(address_of(ANNA)));
    let released = || option::of(Just(identity_of(ANNA)));
    prop_oneof![
        1 => profile().prop_map(|profile| {
            UserCommand::RegisterOwner { address: address_of(ANNA), identity: identity_of(ANNA), profile }
        }),
        1 => Just(UserCommand::DiscardOwner { address: address_of(ANNA), identity: identity_of(ANNA) }),
        3 => (actor(), role()).prop_map(|(actor, role)| UserCommand::Invite { actor, address: address_of(ANNA), role }),
        4 => profile().prop_map(|profile| UserCommand::AcceptInvitation { identity: identity_of(ANNA), profile }),
        1 => profile().prop_map(|profile| UserCommand::ChangeProfile { profile }),
        4 => (actor(), target(), role())
            .prop_map(|(actor, user_id, role)| UserCommand::ChangeRole { actor, user_id, role }),
        4 => (actor(), target()).prop_map(|(actor, user_id)| UserCommand::Disable { actor, user_id }),
        4 => (actor(), target()).prop_map(|(actor, user_id)| UserCommand::Enable { actor, user_id }),
        2 => (actor(), target(), option::of(Just(SESSION)))
            .prop_map(|(actor, user_id, kept)| UserCommand::RevokeSessions { actor, user_id, kept }),
        3 => (value(), value(), time())
            .prop_map(|(subject, address, expires_at)| UserCommand::OpenRecovery { subject, address, expires_at }),
        3 => (profile(), released(), time()).prop_map(|(profile, released, now)| {
            UserCommand::ReplaceOwnerIdentity { identity: identity_of(ANNA), profile, released, now }
        }),
        2 => Just(UserCommand::UnlinkIdentity { released: identity_of(ANNA) }),
    ]
}

fn api_token_command() -> impl Strategy<Value = ApiTokenCommand> {
    prop_oneof![
        3 => (actor(), role(), time(), option::of(time()), 0..3_u64).prop_map(
            |(actor, role, now, expires_at, token_epoch)| ApiTokenCommand::Issue {
                actor,
                name: address_of(actor.user_id),
                prefix: "alog_0123456".to_owned(),
                token_hash: hash(1),
                role,
                now,
                expires_at,
                token_epoch,
            }
        ),
        1 => actor().prop_map(|actor| ApiTokenCommand::Revoke { actor }),
    ]
}

fn provider_command() -> impl Strategy<Value = IdentityProviderCommand> {
    let secret = option::of(Just(Protected::of_instance("hunter2")));
    prop_oneof![
        4 => (select(vec!["https://a.example", "https://b.example"]), select(vec!["one", "two"]), secret).prop_map(
            |(issuer, client, client_secret)| IdentityProviderCommand::Configure {
                issuer_url: issuer.to_owned(),
                client_id: client.to_owned(),
                client_secret,
            }
        ),
        1 => Just(IdentityProviderCommand::Remove),
    ]
}

fn is_one_of(user: &User, statuses: &[Status]) -> bool {
    user.status().is_some_and(|status| statuses.contains(&status))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_verification_is_answered_as_the_history_tells(commands in vec(setup_command(), 1..60)) {
        let mut history = Vec::new();
        for step in run::<Setup>(commands) {
            if let SetupCommand::VerifyBootstrapToken { token_hash, session_id, now } = step.command {
                prop_assert_eq!(&step.answer, &verification_by_history(&history, token_hash, session_id, now));
            }
            history.extend(step.answer.ok().flatten());
        }
    }

    #[test]
    fn a_bootstrap_token_fails_five_times_at_most_and_opens_one_session(commands in vec(setup_command(), 1..60)) {
        let (mut failures, mut sessions) = (0, 0);
        for step in run::<Setup>(commands) {
            match step.answer {
                Ok(Some(SetupEvent::BootstrapTokenIssued { .. })) => (failures, sessions) = (0, 0),
                Ok(Some(SetupEvent::VerificationFailed { .. })) => failures += 1,
                Ok(Some(SetupEvent::BootstrapTokenVerified { .. })) => sessions += 1,
                _ => {}
            }
            prop_assert!(failures <= 5 && sessions <= 1 && failures + sessions <= 5);
        }
    }

    #[test]
    fn setup_moves_only_along_the_contracts_way_and_ready_is_its_end(commands in vec(setup_command(), 1..60)) {
        use SetupState::{BootstrapPending, IdpConfigured, OwnerCreated, Ready, Uninitialized};
        for step in run::<Setup>(commands) {
            let (from, to) = (step.before.state, step.after.state);
            let way = matches!(
                (from, to, &step.command),
                (Uninitialized, BootstrapPending, SetupCommand::IssueBootstrapToken { .. })
                    | (BootstrapPending, IdpConfigured, SetupCommand::AcceptProvider { .. })
                    | (IdpConfigured, OwnerCreated, SetupCommand::VerifyOwner { .. })
                    | (OwnerCreated, Ready, SetupCommand::Complete)
                    | (BootstrapPending | IdpConfigured | OwnerCreated, Uninitialized, SetupCommand::Restart)
            );
            prop_assert!(from == to || way, "{from:?} -> {to:?} by {:?}", step.command);
            let creates = matches!(step.command, SetupCommand::CreateInstance { .. });
            if from == Ready && !creates {
                prop_assert_eq!(step.answer, Err(SetupError::AlreadyConfigured));
            }
            if from == Ready {
                prop_assert_eq!(step.after.owner, step.before.owner);
            }
        }
    }

    #[test]
    fn an_ended_session_stays_ended_and_a_living_one_never_goes_back(commands in vec(session_command(), 1..40)) {
        for step in run::<Session>(commands) {
            let Step { before, after, answer, .. } = step;
            if before.kind.is_some() {
                prop_assert_eq!((after.kind, after.user_id, after.opened_at), (before.kind, before.user_id, before.opened_at));
                prop_assert!(after.expires_at >= before.expires_at);
                prop_assert!(after.user_epoch >= before.user_epoch && after.provider_epoch >= before.provider_epoch);
            }
            if before.end.is_some() {
                prop_assert!(!matches!(answer, Ok(Some(_))));
            }
            for kind in [SessionKind::Setup, SessionKind::User] {
                let acts = |now| after.check(kind, now).is_ok();
                prop_assert!(!acts(after.expires_at));
                prop_assert_eq!(acts(after.expires_at.plus(-1)), after.kind == Some(kind) && after.end.is_none());
            }
        }
    }

    #[test]
    fn a_setup_session_writes_at_most_one_event_a_minute(commands in vec(session_command(), 1..40)) {
        let mut written = None::<UnixSeconds>;
        for step in run::<Session>(commands) {
            match step.answer {
                Ok(Some(SessionEvent::SetupSessionOpened { opened_at, .. })) => written = Some(opened_at),
                Ok(Some(SessionEvent::SetupSessionExtended { extended_at, expires_at })) => {
                    prop_assert!(extended_at >= written.unwrap().plus(60));
                    prop_assert!(expires_at > step.before.expires_at && extended_at < step.before.expires_at);
                    written = Some(extended_at);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn epochs_only_rise_and_only_by_one(commands in vec(user_command(), 1..60)) {
        for Step { before, after, .. } in run::<User>(commands) {
            prop_assert!(after.session_epoch - before.session_epoch <= 1);
            prop_assert!(after.token_epoch - before.token_epoch <= 1);
            prop_assert!(after.token_epoch - before.token_epoch <= after.session_epoch - before.session_epoch);
            // Whoever could act and no longer can has lost their sessions and tokens with it.
            if before.acting_role().is_some() && after.acting_role().is_none() {
                prop_assert!(after.session_epoch > before.session_epoch && after.token_epoch > before.token_epoch);
            }
        }
    }

    #[test]
    fn the_owner_stays_the_owner_and_nobody_becomes_one(commands in vec(user_command(), 1..60)) {
        for Step { before, command, after, .. } in run::<User>(commands) {
            if before.role == Some(Role::Owner) {
                prop_assert_eq!(after.role, Some(Role::Owner));
                let discarded = matches!(command, UserCommand::DiscardOwner { .. });
                prop_assert!(after.acting_role() == before.acting_role() || discarded);
            } else if after.role == Some(Role::Owner) {
                let registered = matches!(command, UserCommand::RegisterOwner { .. });
                prop_assert!(before.role.is_none() && registered);
            }
            prop_assert!(!(after.role == Some(Role::Owner) && after.disabled));
        }
    }

    #[test]
    fn only_the_active_act_and_enabling_gives_back_what_was_before(commands in vec(user_command(), 1..60)) {
        let mut status_before = None;
        for Step { before, answer, after, .. } in run::<User>(commands) {
            prop_assert_eq!(after.acting_role().is_some(), after.status() == Some(Status::Active));
            match answer {
                Ok(Some(UserEvent::UserDisabled { .. })) => {
                    prop_assert!(is_one_of(&before, &[Status::Invited, Status::Active]));
                    prop_assert_eq!(after.status(), Some(Status::Disabled));
                    status_before = before.status();
                }
                Ok(Some(UserEvent::IdentityUnlinked { .. })) => status_before = Some(Status::Invited),
                Ok(Some(UserEvent::UserEnabled { .. })) => {
                    prop_assert_eq!(before.status(), Some(Status::Disabled));
                    prop_assert_eq!(after.status(), status_before);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nobody_is_managed_by_themselves_or_from_below(commands in vec(user_command(), 1..60)) {
        for Step { before, command, answer, after } in run::<User>(commands) {
            let (actor, target): (Actor, Option<UserId>) = match command {
                UserCommand::Invite { actor, .. } => (actor, None),
                UserCommand::ChangeRole { actor, user_id, .. }
                | UserCommand::Disable { actor, user_id }
                | UserCommand::Enable { actor, user_id } => (actor, Some(user_id)),
                _ => continue,
            };
            if answer.is_ok() {
                prop_assert!(actor.role >= Role::Admin && Some(actor.user_id) != target);
                // Neither the user as they were nor as they are now is of the actor's rank.
                prop_assert!(before.role.is_none_or(|role| role < actor.role) && after.role.unwrap() < actor.role);
            }
        }
    }

    #[test]
    fn an_api_token_never_has_more_than_its_maker_and_a_revoked_one_never_acts(
        commands in vec(api_token_command(), 1..20),
        now in time(),
    ) {
        let mut events = 0;
        for Step { before, command, answer, after } in run::<ApiToken>(commands) {
            if let (ApiTokenCommand::Issue { actor, .. }, Ok(_)) = (&command, &answer) {
                prop_assert!(after.role.unwrap() <= actor.role && after.role.unwrap() < Role::Owner);
                prop_assert_eq!(after.user_id, Some(actor.user_id));
            }
            if let Ok(Some(event)) = &answer {
                events += 1;
                let expected = if before.user_id.is_none() { 1 } else { 2 };
                prop_assert_eq!(events, expected);
                prop_assert_eq!(matches!(event, ApiTokenEvent::ApiTokenRevoked { .. }), events == 2);
            }
            prop_assert!(!(after.revoked && after.check(now).is_ok()));
            prop_assert!(after.revoked || !before.revoked);
        }
    }

    #[test]
    fn the_provider_counts_its_versions_and_ends_sessions_when_the_issuer_changes(
        commands in vec(provider_command(), 1..30),
    ) {
        let mut issuers = Vec::new();
        for Step { before, answer, after, .. } in run::<IdentityProvider>(commands) {
            let written = matches!(answer, Ok(Some(_)));
            prop_assert_eq!(after.version, before.version + u64::from(written));
            if let Ok(Some(IdentityProviderEvent::ProviderConfigured { issuer_url, .. })) = answer {
                issuers.push(issuer_url);
            }
            let changes = issuers.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert_eq!(after.session_epoch, u64::try_from(changes).unwrap());
        }
    }

    /// "A command that changes nothing emits nothing", where the stream can know: what a profile held and whether sessions
    /// are open is not folded, and so is left to who sends the command.
    #[test]
    fn every_event_changes_something(
        setup in vec(setup_command(), 1..60),
        session in vec(session_command(), 1..40),
        user in vec(user_command(), 1..60),
    ) {
        for Step { before, answer, after, .. } in run::<Setup>(setup) {
            let replaced = matches!(answer, Ok(Some(SetupEvent::BootstrapTokenIssued { .. })));
            prop_assert_eq!(matches!(answer, Ok(Some(_))) && !replaced, before != after && !replaced);
        }
        for Step { before, answer, after, .. } in run::<Session>(session) {
            prop_assert_eq!(matches!(answer, Ok(Some(_))), before != after);
        }
        for Step { before, answer, after, .. } in run::<User>(user) {
            let unseen = matches!(answer, Ok(Some(UserEvent::ProfileChanged { .. } | UserEvent::OwnerRecoveryOpened { .. })));
            prop_assert_eq!(matches!(answer, Ok(Some(_))) && !unseen, before != after && !unseen);
        }
    }
}
