//! API tokens, given what happened, when a command comes, then events or a refusal. Who may issue which is in `roles.rs`.
mod cast;

use aggregates::{Actor, ApiToken, ApiTokenCommand, ApiTokenError, ApiTokenEvent, Protected, Role, UnixSeconds};
use cast::{ANNA, BOB, NOW, by_api_token, folded, hash, signed_in};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};

const A_DEVELOPER: Actor = signed_in(ANNA, Role::Developer);
const AN_ADMIN: Actor = signed_in(BOB, Role::Admin);

fn given(events: Vec<ApiTokenEvent>) -> AggregateTestExecutor<ApiToken> {
    TestFramework::with(()).given(events)
}

fn issue(actor: Actor, role: Role, expires_at: Option<UnixSeconds>) -> ApiTokenCommand {
    ApiTokenCommand::Issue {
        actor,
        name: Protected::of_person(ANNA, "nightly build"),
        prefix: "alog_0123456".to_owned(),
        token_hash: hash(1),
        role,
        now: NOW,
        expires_at,
        token_epoch: 2,
    }
}

fn issued(expires_at: Option<UnixSeconds>) -> ApiTokenEvent {
    ApiTokenEvent::ApiTokenIssued {
        user_id: ANNA,
        name: Protected::of_person(ANNA, "nightly build"),
        prefix: "alog_0123456".to_owned(),
        token_hash: hash(1),
        role: Role::Developer,
        issued_at: NOW,
        expires_at,
        token_epoch: 2,
    }
}

fn revoked(by: Actor) -> ApiTokenEvent {
    ApiTokenEvent::ApiTokenRevoked { revoked_by: by.user_id }
}

#[test]
fn a_token_belongs_to_who_asked_for_it() {
    for expires_at in [None, Some(NOW.plus(1))] {
        given(vec![])
            .when(issue(A_DEVELOPER, Role::Developer, expires_at))
            .then_expect_events(vec![issued(expires_at)]);
    }
    let token = folded::<ApiToken>(&[issued(None)]);
    let expected =
        ApiToken { user_id: Some(ANNA), role: Some(Role::Developer), expires_at: None, token_epoch: 2, revoked: false };
    assert_eq!(token, expected);
}

#[test]
fn a_token_is_issued_once_and_its_id_is_never_used_again() {
    for history in [vec![issued(None)], vec![issued(None), revoked(AN_ADMIN)]] {
        given(history).when(issue(A_DEVELOPER, Role::Developer, None)).then_expect_error(ApiTokenError::Exists);
    }
}

#[test]
fn a_token_that_would_be_born_dead_is_refused() {
    for expires_at in [NOW, NOW.plus(-1), UnixSeconds(i64::MIN)] {
        given(vec![])
            .when(issue(A_DEVELOPER, Role::Developer, Some(expires_at)))
            .then_expect_error(ApiTokenError::ExpiryInThePast);
    }
}

#[test]
fn each_refusal_to_issue_says_why() {
    let table = [
        (by_api_token(ANNA, Role::Admin), Role::QaViewer, "an API token cannot make another one"),
        (signed_in(ANNA, Role::QaViewer), Role::QaViewer, "your role does not permit API tokens"),
        (A_DEVELOPER, Role::Admin, "an API token cannot have a higher role than you"),
        (signed_in(ANNA, Role::Owner), Role::Owner, "an API token cannot have a higher role than you"),
    ];
    for (actor, role, reason) in table {
        given(vec![]).when(issue(actor, role, None)).then_expect_error(ApiTokenError::Forbidden(reason));
    }
}

#[test]
fn a_token_is_revoked_once_by_whoever_comes_first() {
    given(vec![issued(None)])
        .when(ApiTokenCommand::Revoke { actor: A_DEVELOPER })
        .then_expect_events(vec![revoked(A_DEVELOPER)]);
    given(vec![issued(None), revoked(A_DEVELOPER)])
        .when(ApiTokenCommand::Revoke { actor: AN_ADMIN })
        .then_expect_events(vec![]);
}

#[test]
fn a_token_that_never_was_cannot_be_revoked() {
    given(vec![]).when(ApiTokenCommand::Revoke { actor: AN_ADMIN }).then_expect_error(ApiTokenError::NotFound);
}

#[test]
fn an_api_token_revokes_no_token_not_even_itself() {
    for history in [vec![], vec![issued(None)], vec![issued(None), revoked(AN_ADMIN)]] {
        given(history)
            .when(ApiTokenCommand::Revoke { actor: by_api_token(ANNA, Role::Admin) })
            .then_expect_error(ApiTokenError::Forbidden("an API token cannot end API tokens"));
    }
}

#[test]
fn an_expired_token_can_still_be_revoked() {
    given(vec![issued(Some(NOW.plus(1)))])
        .when(ApiTokenCommand::Revoke { actor: A_DEVELOPER })
        .then_expect_events(vec![revoked(A_DEVELOPER)]);
}

#[test]
fn a_token_acts_until_the_second_before_its_expiry_or_for_ever() {
    let expiring = folded::<ApiToken>(&[issued(Some(NOW.plus(60)))]);
    assert_eq!(expiring.check(NOW.plus(59)), Ok(()));
    assert_eq!(expiring.check(NOW.plus(60)), Err(ApiTokenError::Expired));
    assert_eq!(folded::<ApiToken>(&[issued(None)]).check(UnixSeconds(i64::MAX)), Ok(()));
}

#[test]
fn a_revoked_token_or_one_that_never_was_is_invalid_whatever_the_time() {
    let revoked = folded::<ApiToken>(&[issued(Some(NOW.plus(60))), revoked(AN_ADMIN)]);
    for now in [NOW, NOW.plus(60)] {
        assert_eq!(revoked.check(now), Err(ApiTokenError::Invalid));
        assert_eq!(ApiToken::default().check(now), Err(ApiTokenError::Invalid));
    }
}
