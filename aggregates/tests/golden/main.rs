//! What the log holds for each event type and version: `tests/golden/TYPE.VERSION.json`, written by hand, never changed once
//! released, with its shape beside it. In them a sealed value is the path of its field, dots as hyphens, so that the names given to
//! the codec can be compared with where the value stands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../cast/mod.rs"]
mod cast;
mod files;
mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use aggregates::{
    ApiTokenEvent, Event, EventDecodeError, IdentityProviderEvent, KeyId, LinkedIdentity, PinnedOwner, Profile,
    Protected, ProtectedFields, RemoteAuthMode, Role, RuntimeMode, SessionEnd, SessionEvent, SetupEvent, StreamId,
    TokenHash, UserEvent, UserId,
};
use cast::{ANNA, INSTANCE, NOW, OWNER, SESSION};

/// Aggregate type, event type, present version.
fn types() -> Vec<(&'static str, &'static str, &'static str)> {
    let named = |aggregate: &'static str, types: &'static [(&'static str, &'static str)]| {
        types.iter().map(move |(event, version)| (aggregate, *event, *version))
    };
    named("setup", SetupEvent::TYPES)
        .chain(named("session", SessionEvent::TYPES))
        .chain(named("user", UserEvent::TYPES))
        .chain(named("api_token", ApiTokenEvent::TYPES))
        .chain(named("identity_provider", IdentityProviderEvent::TYPES))
        .collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// A sample, without the line end of its file.
fn sample(event_type: &str, version: &str) -> String {
    let name = format!("{event_type}.{version}.json");
    let text = fs::read_to_string(folder().join(&name));
    let text = text.unwrap_or_else(|_| panic!("tests/golden/{name} is missing: write what the log holds"));
    text.strip_suffix('\n').expect("a sample ends its line").to_owned()
}

fn clear(user_id: UserId) -> Protected {
    Protected::of_person(user_id, "clear text")
}

fn identity(user_id: UserId) -> LinkedIdentity {
    LinkedIdentity { issuer: "https://id.example.com".to_owned(), subject: clear(user_id) }
}

fn profile(user_id: UserId) -> Profile {
    Profile { display_name: Some(clear(user_id)), picture: Some(clear(user_id)) }
}

/// 00 01 02 ... 1f.
fn token_hash() -> TokenHash {
    TokenHash(std::array::from_fn(|index| u8::try_from(index).unwrap()))
}

/// The events of the samples before they are sealed: every type, with every field it can have.
fn clear_events() -> Vec<Event> {
    let setup = [
        SetupEvent::InstanceCreated { instance_id: INSTANCE },
        SetupEvent::BootstrapTokenIssued {
            token_hash: token_hash(),
            expires_at: NOW.plus(900),
            owner: Some(PinnedOwner { user_id: OWNER, address: clear(OWNER) }),
        },
        SetupEvent::VerificationFailed { failures: 5 },
        SetupEvent::BootstrapTokenVerified { session_id: SESSION },
        SetupEvent::PreferencesSet { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc },
        SetupEvent::SetupProviderAccepted { provider_version: 7 },
        SetupEvent::OwnerVerified { user_id: OWNER },
        SetupEvent::SetupCompleted {},
        SetupEvent::SetupRestarted {},
    ];
    let session = [
        SessionEvent::SetupSessionOpened { token_hash: token_hash(), opened_at: NOW, expires_at: NOW.plus(1800) },
        SessionEvent::SetupSessionExtended { extended_at: NOW.plus(60), expires_at: NOW.plus(1860) },
        SessionEvent::SetupSessionEnded { reason: SessionEnd::SetupOver },
        SessionEvent::SessionOpened {
            user_id: ANNA,
            token_hash: token_hash(),
            opened_at: NOW,
            expires_at: NOW.plus(86_400),
            user_epoch: 3,
            provider_epoch: 1,
        },
        SessionEvent::SessionKept { user_epoch: 4, provider_epoch: 2 },
        SessionEvent::SessionSignedOut {},
        SessionEvent::SessionRevoked {},
        SessionEvent::SessionExpired {},
    ];
    let api_token = [
        ApiTokenEvent::ApiTokenIssued {
            user_id: ANNA,
            name: clear(ANNA),
            prefix: "alog_0123456".to_owned(),
            token_hash: token_hash(),
            role: Role::Developer,
            issued_at: NOW,
            expires_at: Some(NOW.plus(86_400)),
            token_epoch: 2,
        },
        ApiTokenEvent::ApiTokenRevoked { revoked_by: OWNER },
    ];
    let provider = [
        IdentityProviderEvent::ProviderConfigured {
            issuer_url: "https://id.example.com".to_owned(),
            client_id: "authlog".to_owned(),
            client_secret: Some(Protected::of_instance("clear text")),
            version: 7,
            session_epoch: 1,
        },
        IdentityProviderEvent::ProviderRemoved { version: 8 },
        IdentityProviderEvent::SignInsRefused { reason: "user_not_found".to_owned(), count: 3 },
    ];
    setup
        .map(Event::from)
        .into_iter()
        .chain(session.map(Event::from))
        .chain(clear_user_events().map(Event::from))
        .chain(api_token.map(Event::from))
        .chain(provider.map(Event::from))
        .collect()
}

fn clear_user_events() -> [UserEvent; 13] {
    [
        UserEvent::OwnerRegistered { address: clear(OWNER), identity: identity(OWNER), profile: profile(OWNER) },
        UserEvent::OwnerDiscarded { address: clear(OWNER), identity: identity(OWNER) },
        UserEvent::UserInvited { address: clear(ANNA), role: Role::QaViewer, invited_by: OWNER },
        UserEvent::InvitationAccepted { identity: identity(ANNA), profile: profile(ANNA) },
        UserEvent::ProfileChanged { profile: profile(ANNA) },
        UserEvent::RoleChanged { role: Role::Admin, changed_by: OWNER },
        UserEvent::UserDisabled { disabled_by: OWNER },
        UserEvent::UserEnabled { enabled_by: OWNER },
        UserEvent::UserErased { address: clear(ANNA), identity: Some(identity(ANNA)), erased_by: Some(OWNER) },
        UserEvent::SessionsRevoked { revoked_by: Some(OWNER), kept: Some(SESSION) },
        UserEvent::OwnerRecoveryOpened {
            subject: Some(clear(OWNER)),
            address: Some(clear(OWNER)),
            expires_at: NOW.plus(900),
        },
        UserEvent::OwnerIdentityReplaced {
            identity: identity(OWNER),
            profile: profile(OWNER),
            released: Some(identity(OWNER)),
        },
        UserEvent::IdentityUnlinked { released: identity(ANNA) },
    ]
}

/// Seals as the log's codec does, knowing nothing of the event but what [`ProtectedFields`] says.
fn seal(event: &mut Event) {
    for (field, value) in event.protected_fields() {
        let Protected::Clear { key, .. } = value else { panic!("{field} is not clear") };
        *value = Protected::Sealed { key: key.clone(), sealed: field.replace('.', "-") };
    }
}

#[test]
fn every_type_has_a_sample_that_reads_and_is_written_back_byte_for_byte() {
    for (aggregate, event_type, version) in types() {
        let sample = sample(event_type, version);
        let event = Event::decode(aggregate, event_type, version, &sample).unwrap();
        assert_eq!((event.event_type(), event.event_version()), (event_type.to_owned(), version.to_owned()));
        assert_eq!(event.encode().unwrap(), sample);
    }
}

#[test]
fn every_type_is_among_the_clear_events_of_this_test_once() {
    let written = clear_events().iter().map(|event| (event.event_type(), event.event_version())).collect::<Vec<_>>();
    let known =
        types().iter().map(|(_, event, version)| ((*event).to_owned(), (*version).to_owned())).collect::<Vec<_>>();
    assert_eq!(written, known);
}

#[test]
fn type_names_are_unique_across_the_aggregates() {
    let names = types().iter().map(|(_, event_type, _)| *event_type).collect::<BTreeSet<_>>();
    assert_eq!(names.len(), types().len());
    let aggregates = types().iter().map(|(aggregate, ..)| *aggregate).collect::<BTreeSet<_>>();
    assert_eq!(aggregates, BTreeSet::from(StreamId::TYPES));
}

/// A field that `protected_fields` forgets stays clear, and then the event cannot be written at all.
#[test]
fn sealing_what_an_event_names_as_protected_leaves_nothing_clear() {
    for mut event in clear_events() {
        seal(&mut event);
        let written = event.encode().unwrap_or_else(|error| panic!("{}: {error}", event.event_type()));
        assert_eq!(written, sample(&event.event_type(), &event.event_version()));
    }
}

/// The name is part of what a sealed value is bound to, so it says where the value stands and stands there alone.
#[test]
fn each_protected_field_is_named_by_its_path() {
    for mut event in clear_events() {
        seal(&mut event);
        let event_type = event.event_type();
        let payload: serde_json::Value = serde_json::from_str(&event.encode().unwrap()).unwrap();
        let fields = event.protected_fields();
        let names = fields.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), fields.len(), "{event_type} names a field twice");
        for (name, value) in fields {
            let found = payload.pointer(&format!("/{event_type}/{}", name.replace('.', "/")));
            assert_eq!(found, Some(&serde_json::to_value(value).unwrap()), "{event_type}: {name}");
        }
    }
}

#[test]
fn an_event_with_any_one_protected_value_clear_or_erased_cannot_be_written() {
    for event in clear_events() {
        for index in 0..event.clone().protected_fields().len() {
            for unsealed in [Protected::of_instance("clear text"), Protected::Erased] {
                let mut event = event.clone();
                seal(&mut event);
                *event.protected_fields()[index].1 = unsealed;
                assert!(event.encode().is_err(), "{} field {index}", event.event_type());
            }
        }
    }
}

#[test]
fn no_clear_value_is_shown_when_an_event_is_printed() {
    for event in clear_events() {
        assert!(!format!("{event:?}").contains("clear text"), "{}", event.event_type());
    }
}

#[test]
fn an_event_is_read_only_as_the_aggregate_type_and_version_of_its_row() {
    let sample = sample("UserDisabled", "1");
    let refusal = |aggregate, event_type, version, payload: &str| {
        Event::decode(aggregate, event_type, version, payload).expect_err("it was read")
    };
    assert!(matches!(
        refusal("person", "UserDisabled", "1", &sample),
        EventDecodeError::UnknownAggregate(name) if name == "person"
    ));
    for (aggregate, event_type, version, payload) in [
        ("setup", "UserDisabled", "1", sample.as_str()),
        ("user", "UserEnabled", "1", &sample),
        ("user", "UserDisabled", "2", &sample),
        ("user", "UserDisabled", "", &sample),
        ("user", "UserDisabled", "1", r#"{"UserDisabled":{}}"#),
        ("user", "UserDisabled", "1", r#"{"UserVanished":{}}"#),
        ("user", "UserDisabled", "1", "not JSON"),
    ] {
        let error = refusal(aggregate, event_type, version, payload);
        assert!(matches!(
            &error,
            EventDecodeError::Payload { event_type: t, event_version: v, .. } if t == event_type && v == version
        ));
    }
}

#[test]
fn a_sealed_value_says_which_key_opens_it() {
    let keys = [KeyId::Person(ANNA), KeyId::Instance, KeyId::Strangers("2026-11".to_owned())];
    let spelled = keys.clone().map(|key| key.to_string());
    assert_eq!(spelled, [format!("person/{ANNA}"), "instance".to_owned(), "strangers/2026-11".to_owned()]);
    assert_eq!(spelled.map(|text| text.parse::<KeyId>().unwrap()), keys);
    for text in ["", "person", "person/", "person/bob", "strangers/", "instance/1", "other/1"] {
        text.parse::<KeyId>().unwrap_err();
        serde_json::from_value::<Protected>(format!("{text}:AAEC").into()).unwrap_err();
    }
    serde_json::from_value::<Protected>("instance".into()).unwrap_err();
}
