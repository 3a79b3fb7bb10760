//! The people, ids and values that the tests speak of.
#![allow(dead_code, unreachable_pub)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aggregates::{
    Actor, ApiTokenId, Credential, InstanceId, LinkedIdentity, Profile, Protected, Role, SessionId, TokenHash,
    UnixSeconds, UserId,
};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use uuid::Uuid;

/// 2026-11-22T00:00:00Z.
pub const NOW: UnixSeconds = UnixSeconds(1_795_305_600);

const fn uuid(last: u8) -> Uuid {
    Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0000 + last as u128)
}

pub const INSTANCE: InstanceId = InstanceId(uuid(0x01));
pub const OWNER: UserId = UserId(uuid(0x10));
pub const ANNA: UserId = UserId(uuid(0x11));
pub const BOB: UserId = UserId(uuid(0x12));
pub const SESSION: SessionId = SessionId(uuid(0x20));
pub const NEWER_SESSION: SessionId = SessionId(uuid(0x21));
pub const API_TOKEN: ApiTokenId = ApiTokenId(uuid(0x30));

/// A hash that tells the tokens of a test apart.
pub const fn hash(of: u8) -> TokenHash {
    TokenHash([of; 32])
}

/// Somebody signed in with a session.
pub const fn signed_in(user_id: UserId, role: Role) -> Actor {
    Actor { user_id, role, credential: Credential::Session(SESSION) }
}

/// A program with somebody's API token.
pub const fn by_api_token(user_id: UserId, role: Role) -> Actor {
    Actor { user_id, role, credential: Credential::ApiToken(API_TOKEN) }
}

pub fn address_of(user: UserId) -> Protected {
    Protected::of_person(user, "somebody@example.com")
}

pub fn identity_of(user: UserId) -> LinkedIdentity {
    LinkedIdentity {
        issuer: "https://id.example.com".to_owned(),
        subject: Protected::of_person(user, "subject-of-somebody"),
    }
}

pub fn profile_of(user: UserId) -> Profile {
    Profile { display_name: Some(Protected::of_person(user, "Some Body")), picture: None }
}

/// The answer of `aggregate` to a command; its own state moves. Aggregates never wait, so one poll is enough, and a second
/// one would be a fault.
pub fn handle<A: Aggregate<Services = ()>>(aggregate: &mut A, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
    let sink = EventSink::default();
    at_once(aggregate.handle(command, &(), &sink))?;
    Ok(at_once(sink.collect()))
}

fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("an aggregate waited for something"),
    }
}

/// The state that a fresh aggregate folds from `events`.
pub fn folded<A: Aggregate>(events: &[A::Event]) -> A {
    events.iter().fold(A::default(), |mut aggregate, event| {
        aggregate.apply(event.clone());
        aggregate
    })
}
