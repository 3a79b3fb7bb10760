//! Setup, given what happened, when a command comes, then events or a refusal.
#![allow(clippy::unwrap_used)]

mod cast;

use aggregates::{
    MAX_VERIFICATION_FAILURES, PinnedOwner, RemoteAuthMode, RuntimeMode, Setup, SetupCommand, SetupError, SetupEvent,
    SetupState, UnixSeconds,
};
use cast::{INSTANCE, NEWER_SESSION, NOW, OWNER, SESSION, address_of, folded, hash};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};

const RIGHT: u8 = 1;
const WRONG: u8 = 2;

fn given(events: Vec<SetupEvent>) -> AggregateTestExecutor<Setup> {
    TestFramework::with(()).given(events)
}

fn created() -> SetupEvent {
    SetupEvent::InstanceCreated { instance_id: INSTANCE }
}

fn issued() -> SetupEvent {
    SetupEvent::BootstrapTokenIssued { token_hash: hash(RIGHT), expires_at: NOW.plus(900), owner: None }
}

fn verified() -> SetupEvent {
    SetupEvent::BootstrapTokenVerified { session_id: SESSION }
}

fn failed(times: u8) -> Vec<SetupEvent> {
    (1..=times).map(|failures| SetupEvent::VerificationFailed { failures }).collect()
}

fn preferences() -> SetupEvent {
    SetupEvent::PreferencesSet { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc }
}

fn provider(provider_version: u64) -> SetupEvent {
    SetupEvent::SetupProviderAccepted { provider_version }
}

fn owner() -> SetupEvent {
    SetupEvent::OwnerVerified { user_id: OWNER }
}

/// What happened on the straight way to `state`.
fn history_to(state: SetupState) -> Vec<SetupEvent> {
    let way = [created(), issued(), verified(), provider(1), owner(), SetupEvent::SetupCompleted {}];
    let steps = match state {
        SetupState::Uninitialized => 1,
        SetupState::BootstrapPending => 3,
        SetupState::IdpConfigured => 4,
        SetupState::OwnerCreated => 5,
        SetupState::Ready => 6,
    };
    way[..steps].to_vec()
}

const STATES: [SetupState; 5] = [
    SetupState::Uninitialized,
    SetupState::BootstrapPending,
    SetupState::IdpConfigured,
    SetupState::OwnerCreated,
    SetupState::Ready,
];

fn issue() -> SetupCommand {
    SetupCommand::IssueBootstrapToken { token_hash: hash(RIGHT), expires_at: NOW.plus(900), owner: None }
}

fn verify(token: u8, now: UnixSeconds) -> SetupCommand {
    SetupCommand::VerifyBootstrapToken { token_hash: hash(token), session_id: SESSION, now }
}

fn set_preferences() -> SetupCommand {
    SetupCommand::SetPreferences { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc }
}

#[test]
fn the_way_to_ready_passes_through_every_state_in_order() {
    for state in STATES {
        assert_eq!(folded::<Setup>(&history_to(state)).state, state);
    }
}

#[test]
fn the_names_of_the_states_are_those_of_the_contract() {
    let names = STATES.map(SetupState::as_str);
    assert_eq!(names, ["uninitialized", "bootstrap_pending", "idp_configured", "owner_created", "ready"]);
    for state in STATES {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}

#[test]
fn an_instance_is_created_once() {
    given(vec![]).when(SetupCommand::CreateInstance { instance_id: INSTANCE }).then_expect_events(vec![created()]);
    for state in STATES {
        given(history_to(state))
            .when(SetupCommand::CreateInstance { instance_id: INSTANCE })
            .then_expect_error(SetupError::InstanceExists);
    }
}

/// Every command without a token in every state, against the table of the contract: `Some` is the event, `None` nothing.
#[test]
fn each_state_takes_its_commands_and_refuses_the_others() {
    use SetupState::{BootstrapPending, IdpConfigured, OwnerCreated, Ready, Uninitialized};
    let wrong = |state| Err(SetupError::InvalidState(state));
    let over = || Err(SetupError::AlreadyConfigured);
    let accept = || SetupCommand::AcceptProvider { provider_version: 2 };
    let verify_owner = || SetupCommand::VerifyOwner { user_id: OWNER };
    let completed = || SetupEvent::SetupCompleted {};
    let restarted = || SetupEvent::SetupRestarted {};
    let table = [
        (Uninitialized, issue(), Ok(Some(issued()))),
        (Uninitialized, set_preferences(), Ok(Some(preferences()))),
        (Uninitialized, accept(), wrong(Uninitialized)),
        (Uninitialized, verify_owner(), wrong(Uninitialized)),
        (Uninitialized, SetupCommand::Complete, wrong(Uninitialized)),
        (Uninitialized, SetupCommand::Restart, Ok(None)),
        (BootstrapPending, issue(), Ok(Some(issued()))),
        (BootstrapPending, set_preferences(), Ok(Some(preferences()))),
        (BootstrapPending, accept(), Ok(Some(provider(2)))),
        (BootstrapPending, verify_owner(), wrong(BootstrapPending)),
        (BootstrapPending, SetupCommand::Complete, wrong(BootstrapPending)),
        (BootstrapPending, SetupCommand::Restart, Ok(Some(restarted()))),
        (IdpConfigured, issue(), Ok(Some(issued()))),
        (IdpConfigured, set_preferences(), Ok(Some(preferences()))),
        (IdpConfigured, accept(), Ok(Some(provider(2)))),
        (IdpConfigured, verify_owner(), Ok(Some(owner()))),
        (IdpConfigured, SetupCommand::Complete, wrong(IdpConfigured)),
        (IdpConfigured, SetupCommand::Restart, Ok(Some(restarted()))),
        (OwnerCreated, issue(), Ok(Some(issued()))),
        (OwnerCreated, set_preferences(), Ok(Some(preferences()))),
        (OwnerCreated, accept(), wrong(OwnerCreated)),
        (OwnerCreated, verify_owner(), wrong(OwnerCreated)),
        (OwnerCreated, SetupCommand::Complete, Ok(Some(completed()))),
        (OwnerCreated, SetupCommand::Restart, Ok(Some(restarted()))),
        (Ready, issue(), over()),
        (Ready, set_preferences(), over()),
        (Ready, accept(), over()),
        (Ready, verify_owner(), over()),
        (Ready, SetupCommand::Complete, over()),
        (Ready, SetupCommand::Restart, over()),
    ];
    for (state, command, expected) in table {
        let said = format!("{state:?}: {command:?}");
        let answer = given(history_to(state)).when(command).inspect_result();
        assert_eq!(answer, expected.map(|event| event.into_iter().collect()), "{said}");
    }
}

#[test]
fn the_right_token_opens_the_session_named() {
    given(vec![created(), issued()]).when(verify(RIGHT, NOW)).then_expect_events(vec![verified()]);
}

#[test]
fn verifying_without_any_token_issued_is_refused() {
    given(vec![created()]).when(verify(RIGHT, NOW)).then_expect_error(SetupError::NoBootstrapToken);
}

#[test]
fn wrong_guesses_are_counted_one_by_one() {
    for before in 0..MAX_VERIFICATION_FAILURES {
        given(vec![created(), issued()])
            .and(failed(before))
            .when(verify(WRONG, NOW))
            .then_expect_events(vec![SetupEvent::VerificationFailed { failures: before + 1 }]);
    }
}

#[test]
fn after_four_wrong_guesses_the_right_token_is_taken() {
    given(vec![created(), issued()]).and(failed(4)).when(verify(RIGHT, NOW)).then_expect_events(vec![verified()]);
}

#[test]
fn a_sixth_guess_is_refused_even_with_the_right_token() {
    for token in [RIGHT, WRONG] {
        given(vec![created(), issued()])
            .and(failed(5))
            .when(verify(token, NOW))
            .then_expect_error(SetupError::TooManyAttempts);
    }
}

#[test]
fn a_token_is_used_once_whatever_is_guessed_afterwards() {
    for token in [RIGHT, WRONG] {
        given(vec![created(), issued(), verified()])
            .when(verify(token, NOW))
            .then_expect_error(SetupError::TokenConsumed);
    }
}

#[test]
fn a_token_lives_until_the_second_before_its_expiry() {
    given(vec![created(), issued()]).when(verify(RIGHT, NOW.plus(899))).then_expect_events(vec![verified()]);
    for token in [RIGHT, WRONG] {
        given(vec![created(), issued()]).when(verify(token, NOW.plus(900))).then_expect_error(SetupError::TokenExpired);
    }
}

/// Ready, none issued, locked, consumed, expired, wrong: what holds earlier in this order is what is said.
#[test]
fn the_checks_on_a_verification_come_in_the_order_of_the_contract() {
    let late = NOW.plus(10_000);
    given(history_to(SetupState::Ready)).when(verify(WRONG, late)).then_expect_error(SetupError::AlreadyConfigured);
    given(vec![created()]).when(verify(WRONG, late)).then_expect_error(SetupError::NoBootstrapToken);
    let locked_and_consumed = [vec![created(), issued()], failed(5), vec![verified()]].concat();
    given(locked_and_consumed).when(verify(WRONG, late)).then_expect_error(SetupError::TooManyAttempts);
    given(vec![created(), issued(), verified()]).when(verify(WRONG, late)).then_expect_error(SetupError::TokenConsumed);
    given(vec![created(), issued()]).when(verify(WRONG, late)).then_expect_error(SetupError::TokenExpired);
}

#[test]
fn issuing_again_replaces_a_locked_token_and_its_count() {
    let reissued = SetupEvent::BootstrapTokenIssued { token_hash: hash(3), expires_at: NOW.plus(900), owner: None };
    let history = [vec![created(), issued()], failed(5), vec![reissued]].concat();
    given(history.clone()).when(verify(3, NOW)).then_expect_events(vec![verified()]);
    given(history).when(verify(RIGHT, NOW)).then_expect_events(vec![SetupEvent::VerificationFailed { failures: 1 }]);
}

#[test]
fn a_newer_token_opens_a_session_that_replaces_the_one_before() {
    for state in [SetupState::BootstrapPending, SetupState::IdpConfigured, SetupState::OwnerCreated] {
        let newer = SetupEvent::BootstrapTokenVerified { session_id: NEWER_SESSION };
        let history = [history_to(state), vec![issued(), newer]].concat();
        let setup = folded::<Setup>(&history);
        assert_eq!((setup.session, setup.state), (Some(NEWER_SESSION), state));
    }
}

#[test]
fn issuing_and_verifying_take_nothing_back_that_setup_has_reached() {
    for state in [SetupState::IdpConfigured, SetupState::OwnerCreated] {
        assert_eq!(folded::<Setup>(&[history_to(state), vec![issued()]].concat()).state, state);
    }
}

#[test]
fn a_pinned_owner_belongs_to_the_token_and_goes_with_it() {
    let pin = PinnedOwner { user_id: OWNER, address: address_of(OWNER) };
    let pinned = SetupEvent::BootstrapTokenIssued {
        token_hash: hash(RIGHT),
        expires_at: NOW.plus(900),
        owner: Some(pin.clone()),
    };
    given(vec![created()])
        .when(SetupCommand::IssueBootstrapToken {
            token_hash: hash(RIGHT),
            expires_at: NOW.plus(900),
            owner: Some(pin),
        })
        .then_expect_events(vec![pinned.clone()]);
    let pin_after = |history: &[SetupEvent]| folded::<Setup>(history).token.unwrap().pinned_owner;
    assert_eq!(pin_after(&[created(), pinned.clone()]), Some(OWNER));
    assert_eq!(pin_after(&[created(), pinned, issued()]), None);
}

#[test]
fn the_same_preferences_again_are_nothing_new() {
    given(vec![created(), issued(), verified(), preferences()]).when(set_preferences()).then_expect_events(vec![]);
}

#[test]
fn the_same_provider_again_is_nothing_new() {
    given(history_to(SetupState::IdpConfigured))
        .when(SetupCommand::AcceptProvider { provider_version: 1 })
        .then_expect_events(vec![]);
}

#[test]
fn a_restart_forgets_everything_but_the_instance_and_whose_session_it_was() {
    for state in [SetupState::BootstrapPending, SetupState::IdpConfigured, SetupState::OwnerCreated] {
        let history = [history_to(state), vec![preferences(), SetupEvent::SetupRestarted {}]].concat();
        let expected = Setup { instance_id: Some(INSTANCE), session: Some(SESSION), ..Setup::default() };
        assert_eq!(folded::<Setup>(&history), expected);
        given(history.clone()).when(SetupCommand::Restart).then_expect_events(vec![]);
        given(history).when(verify(RIGHT, NOW)).then_expect_error(SetupError::NoBootstrapToken);
    }
}

#[test]
fn setup_walks_to_ready_again_after_a_restart() {
    let again =
        [history_to(SetupState::OwnerCreated), vec![SetupEvent::SetupRestarted {}, issued(), verified()]].concat();
    given(again.clone())
        .when(SetupCommand::AcceptProvider { provider_version: 1 })
        .then_expect_events(vec![provider(1)]);
    given(again)
        .and(vec![provider(1), owner()])
        .when(SetupCommand::Complete)
        .then_expect_events(vec![SetupEvent::SetupCompleted {}]);
}
