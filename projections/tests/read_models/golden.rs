//! Every golden file is folded: one story that has an event of each type, told once by the newest version of each and once by
//! every older one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aggregates::{ApiTokenId, Event, KeyId, Protected, ProtectedFields, SessionId, StreamId, UnixSeconds, UserId};
use uuid::Uuid;

use super::store::{Log, Store};

/// The ids in the files.
const fn id(last: u128) -> Uuid {
    Uuid::from_u128(0x0198_c5a2_0000_7000_8000_0000_0000_0000 + last)
}

/// A unit of the story a line: each event as its type and the last two digits of its stream's id.
const STORY: &[&[(&str, &str)]] = &[
    &[("setup", "InstanceCreated")],
    &[("setup", "BootstrapTokenIssued")],
    &[("setup", "VerificationFailed")],
    &[("setup", "BootstrapTokenVerified"), ("session 20", "SetupSessionOpened")],
    &[("setup", "PreferencesSet"), ("session 20", "SetupSessionExtended")],
    &[("provider", "ProviderConfigured"), ("setup", "SetupProviderAccepted")],
    &[("setup", "OwnerVerified"), ("user 10", "OwnerRegistered")],
    &[
        ("setup", "SetupRestarted"),
        ("session 20", "SetupSessionEnded"),
        ("provider", "ProviderRemoved"),
        ("user 10", "OwnerDiscarded"),
    ],
    &[("provider", "ProviderConfigured"), ("setup", "SetupProviderAccepted")],
    &[("setup", "OwnerVerified"), ("user 10", "OwnerRegistered")],
    &[("setup", "SetupCompleted")],
    &[("user 11", "UserInvited")],
    &[("user 11", "InvitationAccepted"), ("session 21", "SessionOpened")],
    &[("user 11", "ProfileChanged"), ("session 22", "SessionOpened")],
    &[("user 11", "SessionsRevoked"), ("session 22", "SessionKept")],
    &[("session 21", "SessionExpired")],
    &[("session 22", "SessionRevoked")],
    &[("session 23", "SessionOpened")],
    &[("session 23", "SessionSignedOut")],
    &[("user 11", "RoleChanged")],
    &[("token 30", "ApiTokenIssued")],
    &[("token 30", "ApiTokenRevoked")],
    &[("user 11", "UserDisabled")],
    &[("user 11", "UserEnabled")],
    &[("user 10", "OwnerRecoveryOpened")],
    &[("user 11", "IdentityUnlinked"), ("user 10", "OwnerIdentityReplaced")],
    &[("user 11", "InvitationAccepted")],
    &[("refusals", "SignInsRefused")],
    &[("user 11", "UserErased")],
];

fn stream(name: &str) -> StreamId {
    let (kind, last) = name.split_once(' ').unwrap_or((name, "0"));
    let id = id(u128::from_str_radix(last, 16).unwrap());
    match kind {
        "setup" => StreamId::setup(),
        "provider" => StreamId::identity_provider(),
        "refusals" => StreamId::refused_sign_ins(UnixSeconds(1_795_305_600)),
        "session" => StreamId::session(SessionId(id)),
        "token" => StreamId::api_token(ApiTokenId(id)),
        "user" => StreamId::user(UserId(id)),
        other => panic!("{other}"),
    }
}

/// The golden file, lifted, personal data clear: each value says whose it is and what.
fn event(stream: &StreamId, event_type: &str, version: u32) -> Event {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let payload = std::fs::read_to_string(folder.join(format!("{event_type}.{version}.json"))).unwrap();
    let version = version.to_string();
    let mut event = Event::decode(stream.aggregate_type, event_type, &version, payload.trim_end()).unwrap();
    for (field, value) in event.protected_fields() {
        if let Some(key @ KeyId::Person(_)) = value.key().cloned() {
            let what = match (field, event_type) {
                // The owner had another identity before.
                ("identity.subject", "OwnerIdentityReplaced") => "new subject",
                (field, _) => field.rsplit('.').next().unwrap(),
            };
            let text = format!("{what} of {key}");
            *value = Protected::Clear { key, text };
        }
    }
    event
}

fn present_version(event_type: &str) -> u32 {
    let present = Event::versions().find(|(name, _)| *name == event_type);
    present.expect("an event type of today").1.parse().unwrap()
}

#[test]
fn a_story_of_every_event_type_is_folded_in_each_version_that_ever_was() {
    let told: BTreeSet<&str> = STORY.iter().copied().flatten().map(|(_, event_type)| *event_type).collect();
    assert_eq!(told, Event::types().collect(), "the story tells of every type");
    let oldest = told.iter().map(|event_type| present_version(event_type)).max().unwrap();
    for back in 0..oldest {
        let (mut log, mut store) = (Log::default(), Store::default());
        for unit in STORY {
            let write = |(name, event_type): &(&str, &str)| {
                let stream = stream(name);
                let version = present_version(event_type).saturating_sub(back).max(1);
                let event = event(&stream, event_type, version);
                log.write(stream, event)
            };
            let entries: Vec<_> = unit.iter().map(write).collect();
            assert_eq!(store.take(&entries), Ok(()), "{unit:?}, {back} versions ago");
        }
        // Everybody but the owner has been erased, every session and token has ended.
        let users = store.table("users");
        assert_eq!(users.iter().map(|row| row["role"].as_str().unwrap()).collect::<Vec<_>>(), ["owner"]);
        assert_eq!(store.only("setup")["state"], "ready");
        assert_eq!(store.table("api_tokens").len(), 0);
    }
}
