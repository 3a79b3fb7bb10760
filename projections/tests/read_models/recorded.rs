use aggregates::{KeyId, Protected, ProtectedFields, UnixSeconds};
use projections::{ActorRef, KeyedHasher, Metadata, Recorded};
use uuid::Uuid;

use crate::samples::{api_token, instance_created, personal, session, user};
use crate::store::metadata;

#[test]
fn metadata_reads_back_as_it_was_written() {
    let metadata = Metadata {
        actor: ActorRef::ApiToken { user: user(1), token: api_token(2) },
        request_id: Some(Uuid::from_u128(3)),
        unit_id: Uuid::from_u128(4),
        command: "invite_user".to_owned(),
        source_address: Some(Protected::Sealed { key: KeyId::Person(user(1)), sealed: "AAEC".to_owned() }),
        user_agent: Some(Protected::Sealed { key: KeyId::Strangers("2026-11".to_owned()), sealed: "AwQF".to_owned() }),
    };
    let text = metadata.encode().unwrap();
    assert_eq!(
        text,
        "{\"actor\":\"api_token/00000000-0000-0000-0000-000000003002/user/00000000-0000-0000-0000-000000001001\",\
         \"request_id\":\"00000000-0000-0000-0000-000000000003\",\
         \"unit_id\":\"00000000-0000-0000-0000-000000000004\",\
         \"command\":\"invite_user\",\
         \"source_address\":\"person/00000000-0000-0000-0000-000000001001:AAEC\",\
         \"user_agent\":\"strangers/2026-11:AwQF\"}"
    );
    assert_eq!(Metadata::decode(&text).unwrap(), metadata);
}

#[test]
fn absent_metadata_is_left_out() {
    let metadata = metadata(ActorRef::System);
    let text = metadata.encode().unwrap();
    assert_eq!(
        text,
        "{\"actor\":\"system\",\"unit_id\":\"00000000-0000-0000-0000-000000000009\",\"command\":\"test\"}"
    );
    assert_eq!(Metadata::decode(&text).unwrap(), metadata);
}

#[test]
fn clear_metadata_is_not_written() {
    let mut metadata = metadata(ActorRef::User(user(1)));
    metadata.user_agent = Some(personal(1, "curl"));
    assert!(metadata.encode().is_err());
    metadata.source_address = Some(personal(1, "192.0.2.1"));
    let names: Vec<_> = metadata.protected_fields().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["metadata.source_address", "metadata.user_agent"]);
}

#[test]
fn an_actor_is_its_text() {
    let actors = [
        ActorRef::User(user(1)),
        ActorRef::SetupSession(session(1)),
        ActorRef::ApiToken { user: user(1), token: api_token(1) },
        ActorRef::Operator,
        ActorRef::System,
        ActorRef::Anonymous,
    ];
    for actor in actors {
        assert_eq!(actor.to_string().parse(), Ok(actor));
    }
    let user = user(1);
    for text in ["", "user", "user/", "user/x", "root", "operator/", &format!("user/{user}/"), "api_token/x/user/y"] {
        assert!(text.parse::<ActorRef>().is_err(), "{text:?}");
    }
}

#[test]
fn seconds_are_rounded_down_also_before_1970() {
    for (micros, seconds) in [(1_999_999, 1), (2_000_000, 2), (0, 0), (-1, -1)] {
        let recorded = Recorded {
            position: 1,
            recorded_at_micros: micros,
            stream: &aggregates::StreamId::setup(),
            sequence: 1,
            event: &instance_created().into(),
            metadata: &metadata(ActorRef::System),
        };
        assert_eq!(recorded.recorded_at(), UnixSeconds(seconds));
    }
}

/// Computed by Python's `hmac` over the length-prefixed parts: changing them would orphan every stored key.
#[test]
fn keyed_hashes_never_change() {
    let hasher = KeyedHasher::new(&[7; 32]);
    assert_eq!(hasher.address("ann@example.com"), "da6734add09f14b63fc02eb79acb0bab393132e756e70c11a77a1fd59c919e61");
    assert_eq!(
        hasher.identity("https://id.example.com", "s1"),
        "5c475466b5edea14653e4bb0c975e5f0a4c8802bdfeec8dcd17d0014a8ab6414"
    );
    assert_eq!(hasher.subject("s1"), "2b1fdb8f47a23a467cea9e94168163c35526fc094684e8627e35c6a21bb87449");
    assert_ne!(hasher.identity("ab", "c"), hasher.identity("a", "bc"));
    assert_ne!(hasher.subject("s1"), hasher.address("s1"));
    assert_eq!(format!("{hasher:?}"), "KeyedHasher(..)");
}
