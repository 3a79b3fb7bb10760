//! Random histories of objects that keep the rules are accepted: each call takes effect at one moment between its beginning and its
//! end, and is answered as things stood then. What is simulated here shares nothing with the objects of the crate.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use history::{Answer, Call, Key, Op, Role, Status, check};
use proptest::prelude::*;

/// An instance that does one thing after the other.
#[derive(Default)]
struct Instance {
    tokens: u64,
    failures: u64,
    consumed: bool,
    /// By address; whoever has it is also one subject of the provider.
    users: BTreeMap<u64, Person>,
    states: BTreeSet<u64>,
}

struct Person {
    role: Role,
    disabled: bool,
    linked: bool,
    sessions: BTreeSet<u64>,
}

/// Who has that address.
fn user(address: u64) -> Key {
    Key(100 + address)
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Issue,
    Guess,
    Right(u64),
    Invite(u64, Role),
    SignIn(u64),
    Check(u64, u64),
    Revoke(u64, u64),
    RevokeAll(u64, Option<u64>),
    Disable(u64),
    Enable(u64),
    Role(u64, Role),
}

/// A deed of a client: after which pause it begins, takes effect and ends, and whether the client hears of it.
type Plan = (u32, Deed, u64, u64, u64, u8);

fn deed() -> impl Strategy<Value = Deed> {
    let (who, session) = (0..2_u64, 0..40_u64);
    let role = prop_oneof![Just(Role::Admin), Just(Role::Developer)];
    prop_oneof![
        1 => Just(Deed::Issue),
        4 => Just(Deed::Guess),
        1 => (0..3_u64).prop_map(Deed::Right),
        1 => (who.clone(), role.clone()).prop_map(|(who, role)| Deed::Invite(who, role)),
        4 => who.clone().prop_map(Deed::SignIn),
        8 => (who.clone(), session.clone()).prop_map(|(who, session)| Deed::Check(who, session)),
        3 => (who.clone(), session.clone()).prop_map(|(who, session)| Deed::Revoke(who, session)),
        1 => (who.clone(), proptest::option::of(session)).prop_map(|(who, keep)| Deed::RevokeAll(who, keep)),
        1 => who.clone().prop_map(Deed::Disable),
        1 => who.clone().prop_map(Deed::Enable),
        1 => (who, role).prop_map(|(who, role)| Deed::Role(who, role)),
    ]
}

impl Instance {
    fn verify(&mut self, right: bool, number: u64) -> Answer {
        if self.tokens == 0 {
            return Answer::NoBootstrapToken;
        }
        if self.failures == 5 {
            return Answer::TooManyAttempts;
        }
        if self.consumed {
            return Answer::TokenConsumed;
        }
        if right {
            self.consumed = true;
            return Answer::Opened { user: None, session: Key(number) };
        }
        self.failures += 1;
        Answer::InvalidToken
    }

    /// The `number`th deed of all: a session that it opens has that number. One that nobody hears of, nobody can name.
    fn does(&mut self, deed: Deed, number: u64, heard: bool) -> (Op, Answer) {
        match deed {
            Deed::Issue => {
                self.tokens += 1;
                (self.failures, self.consumed) = (0, false);
                (Op::IssueToken, Answer::Issued { token: Key(self.tokens) })
            }
            Deed::Guess => (Op::Verify { token: None }, self.verify(false, number)),
            Deed::Right(token) => {
                let right = token == self.tokens;
                (Op::Verify { token: Some(Key(token)) }, self.verify(right, number))
            }
            Deed::Invite(who, role) => {
                let op = Op::Invite { address: Key(who), role };
                if self.users.contains_key(&who) {
                    return (op, Answer::AlreadyExists);
                }
                let person = Person { role, disabled: false, linked: false, sessions: BTreeSet::new() };
                self.users.insert(who, person);
                (op, Answer::Invited { user: user(who) })
            }
            Deed::SignIn(who) => {
                // Every third comes back with a `state` that was used.
                let state = if number.is_multiple_of(3) { who } else { 100 + number };
                let op = Op::SignIn { user: user(who), subject: Key(who), state: Key(state) };
                if !self.states.insert(state) {
                    return (op, Answer::InvalidState);
                }
                let Some(person) = self.users.get_mut(&who).filter(|person| !person.disabled) else {
                    return (op, Answer::UserNotFound);
                };
                person.linked = true;
                if heard {
                    person.sessions.insert(number);
                }
                (op, Answer::Opened { user: Some(user(who)), session: Key(number) })
            }
            Deed::Check(who, session) => {
                let op = Op::Check { user: user(who), session: Key(session) };
                let person = self.users.get(&who).filter(|person| person.sessions.contains(&session));
                (op, person.map_or(Answer::Dead, |person| Answer::Alive { role: person.role }))
            }
            Deed::Revoke(who, session) => {
                self.changes(who, Op::Revoke { user: user(who), session: Key(session) }, |person| {
                    person.sessions.remove(&session);
                })
            }
            Deed::RevokeAll(who, keep) => {
                self.changes(who, Op::RevokeAll { user: user(who), keep: keep.map(Key) }, |person| {
                    person.sessions.retain(|session| Some(*session) == keep);
                })
            }
            Deed::Disable(who) => self.changes(who, Op::Disable { user: user(who) }, |person| {
                person.disabled = true;
                person.sessions.clear();
            }),
            Deed::Enable(who) => self.changes(who, Op::Enable { user: user(who) }, |person| person.disabled = false),
            Deed::Role(who, role) => {
                self.changes(who, Op::ChangeRole { user: user(who), role }, |person| person.role = role)
            }
        }
    }

    fn changes(&mut self, who: u64, op: Op, change: impl FnOnce(&mut Person)) -> (Op, Answer) {
        let Some(person) = self.users.get_mut(&who) else { return (op, Answer::NotFound) };
        change(person);
        (op, Answer::Done)
    }
}

/// What would be seen of the plans: each client does one thing after the other.
fn lived(plans: &[Plan]) -> Vec<Call> {
    let mut free_at = [10_u64; 6];
    let mut moments = Vec::new();
    for (number, (client, deed, pause, before, after, luck)) in plans.iter().enumerate() {
        let begun = free_at[*client as usize] + pause;
        let effect = begun + before;
        free_at[*client as usize] = effect + after + 1;
        moments.push((effect, number as u64, *client, *deed, begun, effect + after, *luck));
    }
    moments.sort_unstable_by_key(|moment| (moment.0, moment.1));
    let mut instance = Instance::default();
    let mut calls = Vec::new();
    for (_, number, client, deed, begun_micros, ended, luck) in moments {
        // Of ten calls one is cut off before it takes effect, and one after.
        if luck == 0 {
            let (op, _) = Instance::default().does(deed, number, false);
            calls.push(Call { client, op, begun_micros, ended_micros: None, answer: Answer::Unknown });
            continue;
        }
        // Of a token or a user that nobody was told of the others here would not know either.
        let heard = luck > 1 || matches!(deed, Deed::Issue | Deed::Invite(..));
        let (op, answer) = instance.does(deed, number, heard);
        let answer = if heard { answer } else { Answer::Unknown };
        calls.push(Call { client, op, begun_micros, ended_micros: heard.then_some(ended), answer });
    }
    calls
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_history_of_an_instance_that_does_one_thing_after_the_other_is_accepted(
        plans in proptest::collection::vec((0..6_u32, deed(), 0..30_u64, 0..20_u64, 0..20_u64, 0..10_u8), 1..120)
    ) {
        let calls = lived(&plans);
        let verdict = check(&calls);
        prop_assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
    }
}

#[test]
fn a_cache_that_answers_from_the_past_is_caught() {
    let found = Op::Found { user: Key(1), role: Role::Developer, status: Status::Active };
    let done = |client, at, op, answer| Call { client, op, begun_micros: at, ended_micros: Some(at + 5), answer };
    let mut calls = vec![done(0, 0, found, Answer::Done)];
    for number in 1..200_u64 {
        let (at, session) = (number * 20, Key(number));
        let sign_in = Op::SignIn { user: Key(1), subject: Key(1), state: session };
        calls.push(done(0, at, sign_in, Answer::Opened { user: Some(Key(1)), session }));
        let check = |session| Op::Check { user: Key(1), session };
        calls.push(done(1, at + 6, check(session), Answer::Alive { role: Role::Developer }));
        calls.push(done(0, at + 12, Op::Revoke { user: Key(1), session }, Answer::Done));
        // Once in two hundred times the other node has not heard of it yet.
        let alive = number == 150;
        let answer = if alive { Answer::Alive { role: Role::Developer } } else { Answer::Dead };
        calls.push(done(1, at + 18, check(session), answer));
    }
    let violation = match check(&calls) {
        Err(history::Failure::Violation(violation)) => violation,
        other => panic!("{other:?}"),
    };
    let seen: Vec<&Op> = violation.calls.iter().map(|call| &call.op).collect();
    assert_eq!(seen.len(), 3, "{violation}");
    calls.retain(|call| call.begun_micros != 150 * 20 + 18);
    check(&calls).unwrap();
}
