//! The provider, given what happened, when a command comes, then events or a refusal.
mod cast;

use aggregates::{
    IdentityProvider, IdentityProviderCommand, IdentityProviderError, IdentityProviderEvent, Protected, ProviderState,
};
use cast::folded;
use cqrs_es::test::{AggregateTestExecutor, TestFramework};

const ISSUER: &str = "https://id.example.com";
const OTHER_ISSUER: &str = "https://login.example.org";

fn given(events: Vec<IdentityProviderEvent>) -> AggregateTestExecutor<IdentityProvider> {
    TestFramework::with(()).given(events)
}

fn secret() -> Protected {
    Protected::of_instance("hunter2")
}

fn configure(issuer: &str, client: &str, client_secret: Option<Protected>) -> IdentityProviderCommand {
    IdentityProviderCommand::Configure { issuer_url: issuer.to_owned(), client_id: client.to_owned(), client_secret }
}

fn configured(
    (issuer, client): (&str, &str),
    client_secret: Option<Protected>,
    version: u64,
    session_epoch: u64,
) -> IdentityProviderEvent {
    IdentityProviderEvent::ProviderConfigured {
        issuer_url: issuer.to_owned(),
        client_id: client.to_owned(),
        client_secret,
        version,
        session_epoch,
    }
}

fn confidential() -> IdentityProviderEvent {
    configured((ISSUER, "authlog"), Some(secret()), 1, 0)
}

fn removed(version: u64) -> IdentityProviderEvent {
    IdentityProviderEvent::ProviderRemoved { version }
}

#[test]
fn the_first_configuration_ends_no_sessions() {
    for client_secret in [None, Some(secret())] {
        given(vec![]).when(configure(ISSUER, "authlog", client_secret.clone())).then_expect_events(vec![configured(
            (ISSUER, "authlog"),
            client_secret,
            1,
            0,
        )]);
    }
}

#[test]
fn the_same_issuer_and_client_without_a_secret_change_nothing() {
    for history in [vec![confidential()], vec![configured((ISSUER, "authlog"), None, 1, 0)]] {
        given(history).when(configure(ISSUER, "authlog", None)).then_expect_events(vec![]);
    }
}

#[test]
fn a_secret_given_is_always_taken_because_it_cannot_be_compared() {
    given(vec![confidential()])
        .when(configure(ISSUER, "authlog", Some(secret())))
        .then_expect_events(vec![configured((ISSUER, "authlog"), Some(secret()), 2, 0)]);
}

#[test]
fn another_client_of_the_same_issuer_drops_the_secret_and_ends_no_sessions() {
    given(vec![confidential()]).when(configure(ISSUER, "another", None)).then_expect_events(vec![configured(
        (ISSUER, "another"),
        None,
        2,
        0,
    )]);
}

#[test]
fn another_issuer_drops_the_secret_and_ends_the_sessions() {
    given(vec![confidential()]).when(configure(OTHER_ISSUER, "authlog", None)).then_expect_events(vec![configured(
        (OTHER_ISSUER, "authlog"),
        None,
        2,
        1,
    )]);
}

#[test]
fn going_back_to_a_former_issuer_ends_the_sessions_again() {
    given(vec![confidential(), configured((OTHER_ISSUER, "authlog"), None, 2, 1)])
        .when(configure(ISSUER, "authlog", None))
        .then_expect_events(vec![configured((ISSUER, "authlog"), None, 3, 2)]);
}

#[test]
fn what_is_configured_is_removed_once() {
    given(vec![]).when(IdentityProviderCommand::Remove).then_expect_error(IdentityProviderError::NotConfigured);
    given(vec![confidential()]).when(IdentityProviderCommand::Remove).then_expect_events(vec![removed(2)]);
    given(vec![confidential(), removed(2)])
        .when(IdentityProviderCommand::Remove)
        .then_expect_error(IdentityProviderError::NotConfigured);
}

#[test]
fn a_removal_ends_no_sessions_but_voids_what_was_begun_and_forgets_the_secret() {
    let provider = folded::<IdentityProvider>(&[confidential(), removed(2)]);
    let expected =
        IdentityProvider { configured: None, version: 2, session_epoch: 0, last_issuer: Some(ISSUER.to_owned()) };
    assert_eq!(provider, expected);
    given(vec![confidential(), removed(2)])
        .when(configure(ISSUER, "authlog", None))
        .then_expect_events(vec![configured((ISSUER, "authlog"), None, 3, 0)]);
}

#[test]
fn a_removal_in_between_does_not_hide_that_the_issuer_changed() {
    given(vec![confidential(), removed(2)])
        .when(configure(OTHER_ISSUER, "authlog", Some(secret())))
        .then_expect_events(vec![configured((OTHER_ISSUER, "authlog"), Some(secret()), 3, 1)]);
}

#[test]
fn the_state_says_what_is_in_force_and_only_that_there_is_a_secret() {
    let state = |event| folded::<IdentityProvider>(&[event]).configured;
    let expected = |has_client_secret| {
        Some(ProviderState { issuer_url: ISSUER.to_owned(), client_id: "authlog".to_owned(), has_client_secret })
    };
    assert_eq!(state(confidential()), expected(true));
    assert_eq!(state(configured((ISSUER, "authlog"), None, 1, 0)), expected(false));
}

#[test]
fn refused_sign_ins_are_counted_and_none_is_no_event() {
    let count = |count| IdentityProviderCommand::CountRefusals { reason: "user_not_found".to_owned(), count };
    let counted = IdentityProviderEvent::SignInsRefused { reason: "user_not_found".to_owned(), count: 3 };
    TestFramework::<IdentityProvider>::with(())
        .given_no_previous_events()
        .when(count(3))
        .then_expect_events(vec![counted]);
    TestFramework::<IdentityProvider>::with(()).given_no_previous_events().when(count(0)).then_expect_events(vec![]);
}
