//! Sessions, given what happened, when a command comes, then events or a refusal.
#![allow(clippy::unnecessary_wraps)] // Expected answers are written as the answers they are compared with.

mod cast;

use aggregates::{Session, SessionCommand, SessionEnd, SessionError, SessionEvent, SessionKind, UnixSeconds};
use cast::{ANNA, NOW, folded, hash};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};

const HALF_AN_HOUR: i64 = 1800;
const A_DAY: i64 = 86_400;

fn given(events: Vec<SessionEvent>) -> AggregateTestExecutor<Session> {
    TestFramework::with(()).given(events)
}

fn setup_opened() -> SessionEvent {
    SessionEvent::SetupSessionOpened { token_hash: hash(1), opened_at: NOW, expires_at: NOW.plus(HALF_AN_HOUR) }
}

fn opened() -> SessionEvent {
    SessionEvent::SessionOpened {
        user_id: ANNA,
        token_hash: hash(1),
        opened_at: NOW,
        expires_at: NOW.plus(A_DAY),
        user_epoch: 3,
        provider_epoch: 1,
    }
}

fn open_setup() -> SessionCommand {
    SessionCommand::OpenSetup { token_hash: hash(1), now: NOW, expires_at: NOW.plus(HALF_AN_HOUR) }
}

fn open() -> SessionCommand {
    SessionCommand::Open {
        user_id: ANNA,
        token_hash: hash(1),
        now: NOW,
        expires_at: NOW.plus(A_DAY),
        user_epoch: 3,
        provider_epoch: 1,
    }
}

fn slide(now: UnixSeconds) -> SessionCommand {
    SessionCommand::Slide { now, expires_at: now.plus(HALF_AN_HOUR) }
}

fn extended(at: UnixSeconds) -> SessionEvent {
    SessionEvent::SetupSessionExtended { extended_at: at, expires_at: at.plus(HALF_AN_HOUR) }
}

fn keep(user_epoch: u64, provider_epoch: u64) -> SessionCommand {
    SessionCommand::Keep { user_epoch, provider_epoch }
}

fn end_setup() -> SessionCommand {
    SessionCommand::EndSetup { reason: SessionEnd::Replaced }
}

/// The histories that a command can meet.
fn histories() -> [(&'static str, Vec<SessionEvent>); 7] {
    let setup_ended = SessionEvent::SetupSessionEnded { reason: SessionEnd::SetupOver };
    [
        ("never opened", vec![]),
        ("setup session", vec![setup_opened()]),
        ("ended setup session", vec![setup_opened(), setup_ended]),
        ("user session", vec![opened()]),
        ("signed-out user session", vec![opened(), SessionEvent::SessionSignedOut {}]),
        ("revoked user session", vec![opened(), SessionEvent::SessionRevoked {}]),
        ("expired user session", vec![opened(), SessionEvent::SessionExpired {}]),
    ]
}

/// The answer of each history to one command, in the order of [`histories`].
fn answers(command: SessionCommand) -> [Result<Vec<SessionEvent>, SessionError>; 7] {
    histories().map(|(_, history)| given(history).when(command).inspect_result())
}

fn invalid() -> Result<Vec<SessionEvent>, SessionError> {
    Err(SessionError::Invalid)
}

fn exists() -> Result<Vec<SessionEvent>, SessionError> {
    Err(SessionError::Exists)
}

fn nothing() -> Result<Vec<SessionEvent>, SessionError> {
    Ok(vec![])
}

#[test]
fn a_session_is_opened_once_and_its_id_is_never_used_again() {
    let expected = [Ok(vec![opened()]), exists(), exists(), exists(), exists(), exists(), exists()];
    assert_eq!(answers(open()), expected);
    let expected = [Ok(vec![setup_opened()]), exists(), exists(), exists(), exists(), exists(), exists()];
    assert_eq!(answers(open_setup()), expected);
}

#[test]
fn only_a_user_session_signs_out_and_again_is_nothing_new() {
    let done = Ok(vec![SessionEvent::SessionSignedOut {}]);
    let expected = [invalid(), invalid(), invalid(), done, nothing(), nothing(), nothing()];
    assert_eq!(answers(SessionCommand::SignOut), expected);
}

#[test]
fn only_a_user_session_is_revoked_and_again_is_nothing_new() {
    let done = Ok(vec![SessionEvent::SessionRevoked {}]);
    let expected = [invalid(), invalid(), invalid(), done, nothing(), nothing(), nothing()];
    assert_eq!(answers(SessionCommand::Revoke), expected);
}

#[test]
fn both_kinds_expire_once() {
    let done = || Ok(vec![SessionEvent::SessionExpired {}]);
    let expected = [invalid(), done(), nothing(), done(), nothing(), nothing(), nothing()];
    assert_eq!(answers(SessionCommand::Expire), expected);
}

#[test]
fn only_a_setup_session_ends_with_setup_and_again_is_nothing_new() {
    let done = Ok(vec![SessionEvent::SetupSessionEnded { reason: SessionEnd::Replaced }]);
    let expected = [invalid(), done, nothing(), invalid(), invalid(), invalid(), invalid()];
    assert_eq!(answers(end_setup()), expected);
}

#[test]
fn only_a_living_user_session_is_kept() {
    let done = Ok(vec![SessionEvent::SessionKept { user_epoch: 4, provider_epoch: 1 }]);
    let expected = [invalid(), invalid(), invalid(), done, invalid(), invalid(), invalid()];
    assert_eq!(answers(keep(4, 1)), expected);
    let expected = [invalid(), invalid(), invalid(), nothing(), invalid(), invalid(), invalid()];
    assert_eq!(answers(keep(3, 1)), expected);
    assert_eq!(answers(keep(0, 0)), expected);
}

#[test]
fn a_kept_session_moves_to_the_newer_of_each_epoch() {
    for ((user_epoch, provider_epoch), kept) in [((4, 1), (4, 1)), ((3, 2), (3, 2)), ((9, 0), (9, 1)), ((0, 7), (3, 7))]
    {
        let event = SessionEvent::SessionKept { user_epoch: kept.0, provider_epoch: kept.1 };
        given(vec![opened()]).when(keep(user_epoch, provider_epoch)).then_expect_events(vec![event.clone()]);
        let session = folded::<Session>(&[opened(), event]);
        assert_eq!((session.user_epoch, session.provider_epoch), kept);
    }
}

#[test]
fn only_a_living_setup_session_slides() {
    let later = NOW.plus(60);
    let done = Ok(vec![extended(later)]);
    let expected = [invalid(), done, invalid(), invalid(), invalid(), invalid(), invalid()];
    assert_eq!(answers(slide(later)), expected);
}

#[test]
fn sliding_writes_at_most_once_a_minute() {
    given(vec![setup_opened()]).when(slide(NOW.plus(59))).then_expect_events(vec![]);
    given(vec![setup_opened()]).when(slide(NOW.plus(60))).then_expect_events(vec![extended(NOW.plus(60))]);
    let history = vec![setup_opened(), extended(NOW.plus(60))];
    given(history.clone()).when(slide(NOW.plus(119))).then_expect_events(vec![]);
    given(history).when(slide(NOW.plus(120))).then_expect_events(vec![extended(NOW.plus(120))]);
}

#[test]
fn sliding_never_shortens_a_session() {
    for expires_at in [NOW, NOW.plus(HALF_AN_HOUR)] {
        given(vec![setup_opened()])
            .when(SessionCommand::Slide { now: NOW.plus(300), expires_at })
            .then_expect_events(vec![]);
    }
}

#[test]
fn a_clock_that_went_back_slides_nothing() {
    for now in [NOW.plus(-1), NOW.plus(-A_DAY), UnixSeconds(i64::MIN)] {
        given(vec![setup_opened()]).when(slide(now)).then_expect_events(vec![]);
    }
}

#[test]
fn an_expired_setup_session_does_not_slide_back_to_life() {
    given(vec![setup_opened()]).when(slide(NOW.plus(HALF_AN_HOUR))).then_expect_error(SessionError::Expired);
    given(vec![setup_opened(), SessionEvent::SessionExpired {}])
        .when(slide(NOW))
        .then_expect_error(SessionError::Expired);
}

#[test]
fn a_session_acts_until_the_second_before_its_expiry() {
    for (opened, kind, life) in
        [(setup_opened(), SessionKind::Setup, HALF_AN_HOUR), (opened(), SessionKind::User, A_DAY)]
    {
        let session = folded::<Session>(&[opened]);
        assert_eq!(session.check(kind, NOW.plus(life - 1)), Ok(()));
        assert_eq!(session.check(kind, NOW.plus(life)), Err(SessionError::Expired));
    }
}

#[test]
fn a_slid_session_acts_until_its_new_expiry() {
    let session = folded::<Session>(&[setup_opened(), extended(NOW.plus(600))]);
    assert_eq!(session.check(SessionKind::Setup, NOW.plus(600 + HALF_AN_HOUR - 1)), Ok(()));
    assert_eq!(session.check(SessionKind::Setup, NOW.plus(600 + HALF_AN_HOUR)), Err(SessionError::Expired));
}

#[test]
fn a_session_does_not_act_as_one_of_the_other_kind() {
    let check = |kind| histories().map(|(_, history)| folded::<Session>(&history).check(kind, NOW));
    let (fine, invalid, expired) = (Ok(()), Err(SessionError::Invalid), Err(SessionError::Expired));
    let none = || invalid.clone();
    assert_eq!(check(SessionKind::Setup), [none(), fine.clone(), none(), none(), none(), none(), none()]);
    assert_eq!(check(SessionKind::User), [none(), none(), none(), fine, none(), none(), expired]);
}

#[test]
fn an_end_is_told_apart_only_by_whether_time_ran_out() {
    for (reason, expected) in [
        (SessionEnd::Replaced, SessionError::Invalid),
        (SessionEnd::SetupOver, SessionError::Invalid),
        (SessionEnd::SignedOut, SessionError::Invalid),
        (SessionEnd::Revoked, SessionError::Invalid),
        (SessionEnd::Expired, SessionError::Expired),
    ] {
        let session = folded::<Session>(&[setup_opened(), SessionEvent::SetupSessionEnded { reason }]);
        assert_eq!(session.check(SessionKind::Setup, NOW), Err(expected), "{reason:?}");
    }
}
