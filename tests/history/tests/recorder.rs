//! What is noted while threads call, and checked while they go on.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use history::{Answer, Failure, Key, Object, Op, Recorder, Role, Status};

const USER: Key = Key(1);
const ALIVE: Answer = Answer::Alive { role: Role::Developer };

fn found(recorder: &Recorder) {
    recorder.begin(0, Op::Found { user: USER, role: Role::Developer, status: Status::Active }).end(Answer::Done);
}

fn sign_in(session: u64) -> Op {
    Op::SignIn { user: USER, subject: Key(2), state: Key(session) }
}

fn opened(session: u64) -> Answer {
    Answer::Opened { user: Some(USER), session: Key(session) }
}

fn check(session: u64) -> Op {
    Op::Check { user: USER, session: Key(session) }
}

fn revoke(session: u64) -> Op {
    Op::Revoke { user: USER, session: Key(session) }
}

#[test]
fn a_crowd_of_threads_that_guess_behind_a_lock_is_accepted_and_without_one_is_caught() {
    // Failures counted under the lock, and by whoever has read the count before all others have written theirs.
    for (lock, calls) in [(true, 40), (false, 8)] {
        let recorder = Recorder::new();
        recorder.begin(0, Op::IssueToken).end(Answer::Issued { token: Key(1) });
        let (failures, guard, all_have_read) = (AtomicU64::new(0), Mutex::new(()), Barrier::new(calls));
        thread::scope(|scope| {
            for client in 0..calls {
                let (recorder, failures, guard, all_have_read) = (&recorder, &failures, &guard, &all_have_read);
                scope.spawn(move || {
                    let begun = recorder.begin(u32::try_from(client).unwrap(), Op::Verify { token: None });
                    let held = lock.then(|| guard.lock().unwrap());
                    let before = failures.load(Ordering::SeqCst);
                    if !lock {
                        all_have_read.wait();
                    }
                    let answer = if before < 5 { Answer::InvalidToken } else { Answer::TooManyAttempts };
                    if before < 5 {
                        failures.store(before + 1, Ordering::SeqCst);
                    }
                    drop(held);
                    begun.end(answer);
                });
            }
        });
        match recorder.finish() {
            Ok(verdict) => assert!(lock && verdict.calls == 41, "{verdict:?}"),
            Err(Failure::Violation(violation)) => assert!(!lock && violation.object == Object::Setup, "{violation}"),
            Err(Failure::GaveUp(gave_up)) => panic!("{gave_up}"),
        }
    }
}

#[test]
fn a_call_that_is_dropped_is_of_unknown_outcome() {
    for alive in [true, false] {
        let recorder = Recorder::new();
        found(&recorder);
        recorder.begin(0, sign_in(1)).end(opened(1));
        drop(recorder.begin(1, revoke(1)));
        recorder.begin(2, check(1)).end(if alive { ALIVE } else { Answer::Dead });
        let verdict = recorder.finish().unwrap();
        // The sign-in is about a state, a subject and a user.
        assert_eq!((verdict.objects, verdict.calls, verdict.unknown), (3, 5, 1));
    }
}

#[test]
fn what_is_settled_is_checked_and_forgotten_and_what_it_led_to_is_not() {
    let recorder = Recorder::new();
    found(&recorder);
    recorder.begin(0, sign_in(1)).end(opened(1));
    recorder.begin(0, sign_in(2)).end(opened(2));
    let lost = recorder.begin(7, revoke(2));
    let settled = recorder.check_settled().unwrap();
    assert_eq!(settled.calls, 7);
    lost.unknown();
    recorder.begin(0, revoke(1)).end(Answer::Done);
    let slow = recorder.begin(1, check(1));
    recorder.begin(2, check(1)).end(Answer::Dead);
    // While a check is on its way nothing after its beginning is settled.
    assert_eq!(recorder.check_settled().unwrap().calls, 8);
    slow.end(Answer::Dead);
    recorder.begin(2, check(2)).end(Answer::Dead);
    assert_eq!(recorder.check_settled().unwrap().calls, 11);
    // The lost revocation has been felt, long after what was before it was forgotten.
    recorder.begin(3, check(2)).end(ALIVE);
    assert!(matches!(recorder.check_settled(), Err(Failure::Violation(_))));
    // It stays.
    assert!(matches!(recorder.finish(), Err(Failure::Violation(_))));
}

#[test]
fn an_object_that_is_retired_is_checked_to_its_end() {
    let recorder = Recorder::new();
    found(&recorder);
    recorder.begin(0, sign_in(1)).end(opened(1));
    for object in [Object::State(Key(1)), Object::Subject(Key(2)), Object::User(USER)] {
        recorder.retire(object).unwrap();
    }
    let verdict = recorder.finish().unwrap();
    assert_eq!((verdict.objects, verdict.calls), (3, 4));
    recorder.begin(0, check(1)).end(ALIVE);
    assert!(matches!(recorder.retire(Object::User(USER)), Err(Failure::Violation(_))));
}

#[test]
fn a_recorder_is_checked_while_threads_go_on() {
    let recorder = Recorder::new();
    found(&recorder);
    let stopped = AtomicBool::new(false);
    let alive = Mutex::new(std::collections::BTreeSet::new());
    thread::scope(|scope| {
        for client in 0..4_u64 {
            let (recorder, stopped, alive) = (&recorder, &stopped, &alive);
            scope.spawn(move || {
                for number in 0..200 {
                    let (session, caller) = (client * 1000 + number, u32::try_from(client).unwrap());
                    let begun = recorder.begin(caller, sign_in(session));
                    alive.lock().unwrap().insert(session);
                    begun.end(opened(session));
                    let begun = recorder.begin(caller, check(session));
                    let there = alive.lock().unwrap().contains(&session);
                    begun.end(if there { ALIVE } else { Answer::Dead });
                    let begun = recorder.begin(caller, Op::RevokeAll { user: USER, keep: None });
                    alive.lock().unwrap().clear();
                    if number % 10 == 0 { begun.unknown() } else { begun.end(Answer::Done) }
                }
                stopped.store(true, Ordering::SeqCst);
            });
        }
        while !stopped.load(Ordering::SeqCst) {
            recorder.check_settled().unwrap();
        }
    });
    let verdict = recorder.finish().unwrap();
    // A sign-in is about three objects.
    assert_eq!(verdict.calls + verdict.unknown, 1 + 800 * 5);
}

#[test]
fn many_calls_of_unknown_outcome_are_judged() {
    let recorder = Recorder::new();
    found(&recorder);
    for session in 0..500 {
        recorder.begin(0, sign_in(session)).end(opened(session));
        recorder.begin(1, revoke(session)).unknown();
        recorder.begin(1, Op::ChangeRole { user: USER, role: Role::Admin }).unknown();
    }
    recorder.begin(2, check(499)).end(Answer::Alive { role: Role::Admin });
    recorder.begin(2, check(498)).end(Answer::Dead);
    recorder.finish().unwrap();
}

/// Of tokens that are issued at once any may be the last, with all others before it or not: too many places to look at.
#[test]
fn a_stretch_with_too_many_orders_is_given_up_and_that_is_no_pass() {
    let recorder = Recorder::new();
    let begun: Vec<_> = (0..24).map(|client| recorder.begin(client, Op::IssueToken)).collect();
    for (begun, token) in begun.into_iter().zip(0..) {
        begun.end(Answer::Issued { token: Key(token) });
    }
    match recorder.finish() {
        Err(Failure::GaveUp(gave_up)) => assert_eq!((gave_up.object, gave_up.calls), (Object::Setup, 24)),
        other => panic!("{other:?}"),
    }
}
