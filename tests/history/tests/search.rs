//! The search against an oracle that knows no short cut: small histories, legal or not, tried in every order there is.
#![allow(clippy::unwrap_used)]

use history::object::State;
use history::{Answer, Call, Key, Object, Op, Role, Status, check_one};
use proptest::prelude::*;

const USER: Key = Key(1);

/// Whether some order explains the calls about one object, those of unknown outcome at any time or never.
fn has_an_order(object: Object, calls: &[Call]) -> bool {
    place_rest(&State::first(object), calls, &mut vec![false; calls.len()])
}

fn place_rest(state: &State, calls: &[Call], placed: &mut [bool]) -> bool {
    let left = |at: &usize| !placed[*at];
    if (0..calls.len()).filter(left).all(|at| calls[at].answer == Answer::Unknown) {
        return true;
    }
    let must_precede = |one: &Call, other: &Call| one.ended_micros.is_some_and(|ended| ended < other.begun_micros);
    let next: Vec<usize> = (0..calls.len())
        .filter(left)
        .filter(|at| !(0..calls.len()).filter(left).any(|other| must_precede(&calls[other], &calls[*at])))
        .collect();
    for at in next {
        let call = &calls[at];
        let stepped = match call.answer {
            Answer::Unknown => state.unheard(&call.op),
            _ => state.step(&call.op, &call.answer),
        };
        if let Some(stepped) = stepped {
            placed[at] = true;
            let found = place_rest(&stepped, calls, placed);
            placed[at] = false;
            if found {
                return true;
            }
        }
    }
    false
}

/// Calls of one object that are answered in ways which now and then fit together.
fn op_and_answer(object: Object) -> BoxedStrategy<(Op, Answer)> {
    let key = (1..3_u64).prop_map(Key);
    let role = prop_oneof![Just(Role::Admin), Just(Role::Developer)];
    match object {
        Object::Setup => {
            let token = prop_oneof![Just(None), key.clone().prop_map(Some)];
            let verified = prop_oneof![
                6 => Just(Answer::InvalidToken),
                2 => Just(Answer::TooManyAttempts),
                1 => Just(Answer::TokenConsumed),
                2 => key.clone().prop_map(|session| Answer::Opened { user: None, session }),
            ];
            prop_oneof![
                2 => key.clone().prop_map(|token| (Op::IssueToken, Answer::Issued { token })),
                6 => (token, verified).prop_map(|(token, answer)| (Op::Verify { token }, answer)),
                1 => (key.clone(), prop_oneof![Just(Answer::Done), Just(Answer::Dead)])
                    .prop_map(|(session, answer)| (Op::CheckSetup { session }, answer)),
                1 => (key, prop_oneof![Just(Answer::Done), Just(Answer::Dead), Just(Answer::AlreadyConfigured)])
                    .prop_map(|(session, answer)| (Op::Complete { session }, answer)),
            ]
            .boxed()
        }
        Object::User(user) => {
            let opened = |session| Answer::Opened { user: Some(USER), session };
            let sign_in = move |state| Op::SignIn { user, subject: Key(9), state };
            let answer = prop_oneof![
                3 => Just(Answer::Dead),
                2 => role.clone().prop_map(|role| Answer::Alive { role }),
            ];
            prop_oneof![
                3 => key.clone().prop_map(move |session| (sign_in(session), opened(session))),
                1 => key.clone().prop_map(move |state| (sign_in(state), Answer::UserNotFound)),
                6 => (key.clone(), answer).prop_map(move |(session, answer)| (Op::Check { user, session }, answer)),
                2 => key.clone().prop_map(move |session| (Op::Revoke { user, session }, Answer::Done)),
                1 => proptest::option::of(key).prop_map(move |keep| (Op::RevokeAll { user, keep }, Answer::Done)),
                1 => Just((Op::Disable { user }, Answer::Done)),
                1 => Just((Op::Enable { user }, Answer::Done)),
                1 => role.prop_map(move |role| (Op::ChangeRole { user, role }, Answer::Done)),
                1 => Just((Op::Erase { user, address: Key(8), subject: None }, Answer::Done)),
            ]
            .boxed()
        }
        Object::Address(address) => {
            let invite = Op::Invite { address, role: Role::Admin };
            let erase = move |user| Op::Erase { user, address, subject: None };
            prop_oneof![
                2 => (Just(invite.clone()), key.clone().prop_map(|user| Answer::Invited { user })),
                2 => Just((invite, Answer::AlreadyExists)),
                1 => (key.clone().prop_map(erase), Just(Answer::Done)),
                1 => (key.prop_map(erase), Just(Answer::NotFound)),
            ]
            .boxed()
        }
        Object::Subject(subject) => {
            let sign_in = move |state| Op::SignIn { user: USER, subject, state: Key(state) };
            let opened = |user: Key| Answer::Opened { user: Some(user), session: user };
            prop_oneof![
                2 => (Just(sign_in(1)), key.clone().prop_map(opened)),
                1 => Just((sign_in(1), Answer::UserNotFound)),
                1 => (key.prop_map(move |user| Op::Erase { user, address: Key(8), subject: Some(subject) }), Just(Answer::Done)),
            ]
            .boxed()
        }
        Object::State(state) => {
            let sign_in = Op::SignIn { user: USER, subject: Key(9), state };
            let opened = Answer::Opened { user: Some(USER), session: Key(1) };
            let answers = prop_oneof![Just(opened), Just(Answer::InvalidState), Just(Answer::UserNotFound)];
            answers.prop_map(move |answer| (sign_in.clone(), answer)).boxed()
        }
    }
}

fn history_of(object: Object) -> impl Strategy<Value = Vec<Call>> {
    let call = (op_and_answer(object), 0..24_u64, 0..10_u64, 0..4_u32);
    proptest::collection::vec(call, 1..7).prop_map(move |calls| {
        let mut history = Vec::new();
        if let Object::User(user) = object {
            let op = Op::Found { user, role: Role::Developer, status: Status::Active };
            history.push(Call { client: 0, op, begun_micros: 0, ended_micros: Some(1), answer: Answer::Done });
        }
        for ((op, answer), begun, took, known) in calls {
            let (begun_micros, client) = (2 + begun, u32::try_from(begun).unwrap());
            let known = known > 0;
            let answer = if known { answer } else { Answer::Unknown };
            history.push(Call { client, op, begun_micros, ended_micros: known.then_some(begun_micros + took), answer });
        }
        history
    })
}

fn agree(object: Object) {
    let orders = std::cell::RefCell::new([0, 0]);
    let config = ProptestConfig {
        cases: 4000,
        max_global_rejects: 200_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&history_of(object), |calls| {
        let expected = has_an_order(object, &calls);
        orders.borrow_mut()[usize::from(expected)] += 1;
        prop_assert_eq!(check_one(object, &calls).is_ok(), expected, "{:#?}", calls);
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
    let orders = orders.into_inner();
    assert!(orders.iter().all(|seen| *seen > 200), "both kinds were to be tried: {orders:?}");
}

#[test]
fn setup_is_judged_as_by_trying_every_order() {
    agree(Object::Setup);
}

#[test]
fn a_user_is_judged_as_by_trying_every_order() {
    agree(Object::User(USER));
}

#[test]
fn an_address_is_judged_as_by_trying_every_order() {
    agree(Object::Address(Key(4)));
}

#[test]
fn a_subject_is_judged_as_by_trying_every_order() {
    agree(Object::Subject(Key(5)));
}

#[test]
fn a_state_is_judged_as_by_trying_every_order() {
    agree(Object::State(Key(6)));
}
