//! Histories that no order explains are caught, object by object; those that one does are not.
#![allow(clippy::unwrap_used)]

use history::{Answer, Call, Failure, Key, Object, Op, Role, Status, Violation, check};

const USER: Key = Key(7);
const ADDRESS: Key = Key(3);
const SUBJECT: Key = Key(5);

/// A call that is answered.
fn call(client: u32, begun: u64, ended: u64, op: Op, answer: Answer) -> Call {
    Call { client, op, begun_micros: begun, ended_micros: Some(ended), answer }
}

/// A call whose outcome nobody knows.
fn lost(client: u32, begun: u64, op: Op) -> Call {
    Call { client, op, begun_micros: begun, ended_micros: None, answer: Answer::Unknown }
}

#[track_caller]
fn accepted(calls: &[Call]) {
    if let Err(failure) = check(calls) {
        panic!("{failure}");
    }
}

#[track_caller]
fn caught(calls: &[Call]) -> Violation {
    match check(calls) {
        Ok(verdict) => panic!("an order was found: {verdict:?}"),
        Err(Failure::GaveUp(gave_up)) => panic!("{gave_up}"),
        Err(Failure::Violation(violation)) => *violation,
    }
}

fn opened(session: u64) -> Answer {
    Answer::Opened { user: Some(USER), session: Key(session) }
}

fn sign_in(state: u64) -> Op {
    Op::SignIn { user: USER, subject: SUBJECT, state: Key(state) }
}

fn check_session(session: u64) -> Op {
    Op::Check { user: USER, session: Key(session) }
}

fn revoke(session: u64) -> Op {
    Op::Revoke { user: USER, session: Key(session) }
}

const ALIVE: Answer = Answer::Alive { role: Role::Developer };

/// A user who has signed in once, by 20.
fn with_one_session() -> Vec<Call> {
    let found = Op::Found { user: USER, role: Role::Developer, status: Status::Active };
    vec![call(0, 0, 1, found, Answer::Done), call(0, 10, 20, sign_in(1), opened(1))]
}

fn and(mut calls: Vec<Call>, more: impl IntoIterator<Item = Call>) -> Vec<Call> {
    calls.extend(more);
    calls
}

#[test]
fn a_session_that_is_alive_after_its_revocation_was_acknowledged_is_caught() {
    let revoked = call(1, 30, 40, revoke(1), Answer::Done);
    let violation = caught(&and(
        with_one_session(),
        [
            revoked.clone(),
            call(2, 25, 35, check_session(1), ALIVE),
            call(3, 41, 50, check_session(1), ALIVE),
            call(3, 51, 60, check_session(1), Answer::Dead),
        ],
    ));
    assert_eq!(violation.object, Object::User(USER));
    assert_eq!(violation.calls, [revoked.clone(), call(3, 41, 50, check_session(1), ALIVE)]);
    // While it was on its way both answers are right, in that order.
    accepted(&and(
        with_one_session(),
        [
            revoked.clone(),
            call(2, 31, 34, check_session(1), ALIVE),
            call(2, 35, 38, check_session(1), Answer::Dead),
            call(3, 41, 50, check_session(1), Answer::Dead),
        ],
    ));
    caught(&and(
        with_one_session(),
        [revoked, call(2, 31, 34, check_session(1), Answer::Dead), call(3, 35, 38, check_session(1), ALIVE)],
    ));
}

#[test]
fn a_revocation_of_unknown_outcome_may_come_at_any_later_moment_or_never_but_once() {
    let lost = lost(1, 30, revoke(1));
    let alive_then = |answer| {
        and(
            with_one_session(),
            [lost.clone(), call(2, 100, 110, check_session(1), ALIVE), call(2, 1000, 1010, check_session(1), answer)],
        )
    };
    accepted(&alive_then(ALIVE));
    accepted(&alive_then(Answer::Dead));
    caught(&and(alive_then(Answer::Dead), [call(0, 1020, 1030, check_session(1), ALIVE)]));
    // Before it began nobody can have felt it.
    caught(&and(with_one_session(), [lost, call(2, 21, 25, check_session(1), Answer::Dead)]));
}
