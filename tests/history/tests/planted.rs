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
    let opened = with_one_session()[1].clone();
    assert_eq!(violation.calls, [opened, revoked.clone(), call(3, 41, 50, check_session(1), ALIVE)]);
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

#[test]
fn a_session_that_dies_by_itself_is_caught_and_so_is_one_that_was_never_opened() {
    caught(&and(with_one_session(), [call(1, 30, 40, check_session(1), Answer::Dead)]));
    caught(&and(with_one_session(), [call(1, 30, 40, check_session(2), ALIVE)]));
}

#[test]
fn a_role_that_was_changed_and_shows_the_old_one_afterwards_is_caught() {
    let change = Op::ChangeRole { user: USER, role: Role::Admin };
    let changed = call(0, 30, 40, change.clone(), Answer::Done);
    caught(&and(with_one_session(), [changed.clone(), call(1, 41, 50, check_session(1), ALIVE)]));
    accepted(&and(with_one_session(), [changed, call(1, 39, 50, check_session(1), ALIVE)]));
    // One of unknown outcome may be felt, but then for good.
    let admin = Answer::Alive { role: Role::Admin };
    let felt = and(with_one_session(), [lost(0, 30, change), call(1, 41, 50, check_session(1), admin)]);
    accepted(&felt);
    caught(&and(felt, [call(1, 51, 60, check_session(1), ALIVE)]));
}

#[test]
fn what_ends_all_sessions_ends_each_but_the_one_kept() {
    let two = and(with_one_session(), [call(1, 10, 21, sign_in(2), opened(2))]);
    let all = |keep| call(0, 30, 40, Op::RevokeAll { user: USER, keep }, Answer::Done);
    let kept = Some(Key(2));
    accepted(&and(two.clone(), [all(kept), call(1, 41, 50, check_session(2), ALIVE)]));
    caught(&and(two.clone(), [all(kept), call(1, 41, 50, check_session(1), ALIVE)]));
    caught(&and(two.clone(), [all(None), call(1, 41, 50, check_session(2), ALIVE)]));
    let disabled = call(0, 30, 40, Op::Disable { user: USER }, Answer::Done);
    caught(&and(two.clone(), [disabled.clone(), call(1, 41, 50, check_session(2), ALIVE)]));
    // Enabling brings nothing back, and before it nobody signs in.
    let enabled = call(0, 60, 70, Op::Enable { user: USER }, Answer::Done);
    caught(&and(two.clone(), [disabled.clone(), enabled.clone(), call(1, 71, 80, check_session(2), ALIVE)]));
    caught(&and(two.clone(), [disabled.clone(), call(1, 41, 50, sign_in(3), opened(3)), enabled.clone()]));
    accepted(&and(two.clone(), [disabled.clone(), enabled.clone(), call(1, 71, 80, sign_in(3), opened(3))]));
    caught(&and(two, [disabled, enabled, call(1, 71, 80, sign_in(3), Answer::UserNotFound)]));
}

fn verify(client: u32, begun: u64, token: Option<Key>, answer: Answer) -> Call {
    call(client, begun, begun + 10, Op::Verify { token }, answer)
}

const TOKEN: Option<Key> = Some(Key(11));

fn issued() -> Vec<Call> {
    vec![call(0, 0, 5, Op::IssueToken, Answer::Issued { token: Key(11) })]
}

fn setup_session(session: u64) -> Answer {
    Answer::Opened { user: None, session: Key(session) }
}

/// Guesses of a crowd that calls at once: so many that count, and so many that come to a locked token.
fn guesses(wrong: u32, refused: u32) -> Vec<Call> {
    let answer = |client: u32| if client < wrong { Answer::InvalidToken } else { Answer::TooManyAttempts };
    (0..wrong + refused).map(|client| verify(client, 10 + u64::from(client) % 3, None, answer(client))).collect()
}

#[test]
fn a_sixth_guess_that_counts_is_caught_also_in_a_crowd() {
    accepted(&and(issued(), guesses(5, 35)));
    caught(&and(issued(), guesses(6, 34)));
    caught(&and(issued(), guesses(4, 36)));
    // Of two whose outcome nobody knows one may have been the fifth, and both may have come after it.
    let lost_guesses = [lost(90, 10, Op::Verify { token: None }), lost(91, 10, Op::Verify { token: None })];
    accepted(&and(issued(), and(guesses(4, 36), lost_guesses.clone())));
    accepted(&and(issued(), and(guesses(5, 35), lost_guesses.clone())));
    accepted(&and(issued(), and(guesses(3, 37), lost_guesses.clone())));
    caught(&and(issued(), and(guesses(2, 38), lost_guesses)));
    // The right token does not open what is locked.
    caught(&and(issued(), and(guesses(5, 0), [verify(1, 50, TOKEN, setup_session(1))])));
    accepted(&and(issued(), and(guesses(5, 0), [verify(1, 50, TOKEN, Answer::TooManyAttempts)])));
}

#[test]
fn a_token_that_opens_two_sessions_is_caught() {
    let once = [verify(1, 10, TOKEN, setup_session(1)), verify(2, 12, TOKEN, Answer::TokenConsumed)];
    accepted(&and(issued(), once.clone()));
    let violation = caught(&and(issued(), [once[0].clone(), verify(2, 12, TOKEN, setup_session(2))]));
    assert_eq!(violation.object, Object::Setup);
    // Setup ends once, and with it the session.
    let complete = |client, begun, session, answer| call(client, begun, begun + 5, Op::Complete { session }, answer);
    let completed = and(issued(), and(once.to_vec(), [complete(1, 30, Key(1), Answer::Done)]));
    accepted(&and(completed.clone(), [complete(2, 32, Key(1), Answer::AlreadyConfigured)]));
    caught(&and(completed.clone(), [complete(2, 40, Key(1), Answer::Done)]));
    caught(&and(completed, [call(0, 40, 50, Op::IssueToken, Answer::Issued { token: Key(12) })]));
}

fn invite(client: u32, begun: u64, answer: Answer) -> Call {
    call(client, begun, begun + 10, Op::Invite { address: ADDRESS, role: Role::Developer }, answer)
}

#[test]
fn an_address_that_is_two_users_is_caught() {
    let invited = |user| Answer::Invited { user: Key(user) };
    accepted(&[invite(0, 0, invited(1)), invite(1, 0, Answer::AlreadyExists), invite(2, 20, Answer::AlreadyExists)]);
    let violation = caught(&[invite(0, 0, invited(1)), invite(1, 5, invited(2))]);
    assert_eq!((violation.object, violation.calls.len()), (Object::Address(ADDRESS), 2));
    // It is known to none before somebody was invited.
    caught(&[invite(1, 0, Answer::AlreadyExists), invite(0, 11, invited(1))]);
    // Erasing frees it.
    let erased = call(0, 20, 30, Op::Erase { user: Key(1), address: ADDRESS, subject: None }, Answer::Done);
    accepted(&[invite(0, 0, invited(1)), erased.clone(), invite(1, 31, invited(2))]);
    caught(&[invite(0, 0, invited(1)), erased, invite(1, 31, Answer::AlreadyExists)]);
    // An invitation of unknown outcome may be the reason, and then nobody else has it.
    let lost = lost(3, 0, Op::Invite { address: ADDRESS, role: Role::Developer });
    accepted(&[lost.clone(), invite(0, 5, Answer::AlreadyExists)]);
    caught(&[lost, invite(0, 5, Answer::AlreadyExists), invite(1, 16, invited(2))]);
}

#[test]
fn a_subject_that_signs_in_as_two_users_is_caught() {
    let as_user = |user, session| Answer::Opened { user: Some(Key(user)), session: Key(session) };
    let invited = |user| {
        let op = Op::Invite { address: Key(user), role: Role::Developer };
        call(0, 0, 5, op, Answer::Invited { user: Key(user) })
    };
    let sign_in = |client, state, answer| {
        call(client, 10, 20, Op::SignIn { user: Key(1), subject: SUBJECT, state: Key(state) }, answer)
    };
    accepted(&[invited(1), sign_in(0, 1, as_user(1, 1)), sign_in(1, 2, as_user(1, 2))]);
    let violation = caught(&[invited(1), invited(2), sign_in(0, 1, as_user(1, 1)), sign_in(1, 2, as_user(2, 2))]);
    assert_eq!(violation.object, Object::Subject(SUBJECT));
}

#[test]
fn a_state_that_signs_in_twice_is_caught() {
    let used = |answer| and(with_one_session(), [call(1, 12, 22, sign_in(1), answer)]);
    accepted(&used(Answer::InvalidState));
    assert_eq!(caught(&used(opened(2))).object, Object::State(Key(1)));
    // A session is opened once.
    let again = and(with_one_session(), [call(1, 12, 22, sign_in(2), opened(1))]);
    assert_eq!(caught(&again).object, Object::User(USER));
}

#[test]
fn a_violation_is_told_as_a_timeline_of_each_client() {
    let revoked = call(1, 3_000, 4_000, revoke(1), Answer::Done);
    let calls =
        and(with_one_session(), [revoked, call(3, 5_000, 9_000, check_session(1), ALIVE), lost(2, 4_500, revoke(1))]);
    let told = caught(&calls).to_string();
    let expected = "\
user 7: no order of these 4 calls explains their answers
  before: no such user
  client 0       0.000 ms  ||                                                 SignIn 7 as 5 by 1 -> Opened { user: Some(7), session: 1 }
  client 1       2.990 ms                 |------|                            Revoke session 1 -> Done
  client 2       4.490 ms                         |-------------------------> Revoke session 1 -> Unknown
  client 3       4.990 ms                            |---------------------|  Check session 1 -> Alive { role: Developer }
";
    assert_eq!(told, expected);
}

/// Either of two lost calls can have ended the first session; only one of them can still end the second.
#[test]
fn which_of_two_lost_calls_was_felt_is_left_open_until_it_matters() {
    let all = lost(8, 25, Op::RevokeAll { user: USER, keep: None });
    let one = lost(9, 25, revoke(1));
    for lost in [[all.clone(), one.clone()], [one, all]] {
        let felt = and(with_one_session(), lost);
        let felt = and(felt, [call(1, 30, 40, check_session(1), Answer::Dead), call(1, 50, 60, sign_in(2), opened(2))]);
        let felt = and(felt, [call(1, 70, 75, check_session(2), ALIVE)]);
        accepted(&and(felt.clone(), [call(1, 80, 90, check_session(2), Answer::Dead)]));
        caught(&and(felt, [call(1, 80, 90, check_session(2), Answer::Dead), call(1, 91, 95, check_session(2), ALIVE)]));
    }
}
