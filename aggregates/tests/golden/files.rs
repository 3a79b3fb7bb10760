//! The golden files themselves: all that were ever recorded are there and as they were, and the code's events are as the newest of
//! them say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use aggregates::{
    ApiToken, ApiTokenEvent, Event, IdentityProvider, IdentityProviderEvent, ProtectedFields, Session, SessionEvent,
    Setup, SetupEvent, User, UserEvent,
};
use cqrs_es::Aggregate as _;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::shape::{Shape, shape_of};
use super::{folder, sample, types};

/// What to do about a golden file that does not fit.
const GUIDE: &str = "docs/changing-an-event.md says what to do";
/// One line a file, as `sha256sum` writes and checks them. Lines are added at the end; none is changed or taken away.
const RECORDED: &str = "SHA256SUMS";

fn text_of(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|_| panic!("tests/golden/{name} is missing: {GUIDE}"))
}

/// Digests by file name.
fn recorded() -> BTreeMap<String, String> {
    let text = text_of(RECORDED);
    let lines = text.lines().map(|line| line.split_once("  ").expect("DIGEST  NAME"));
    let recorded: BTreeMap<String, String> = lines.map(|(digest, name)| (name.to_owned(), digest.to_owned())).collect();
    assert_eq!(recorded.len(), text.lines().count(), "a file is recorded twice");
    recorded
}

/// The golden files by name.
type Files = BTreeMap<String, Vec<u8>>;

fn there() -> Files {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != RECORDED).map(|name| (name.clone(), fs::read(folder().join(&name)).unwrap())).collect()
}

/// What of the files is not as it was recorded.
fn not_as_recorded(recorded: &BTreeMap<String, String>, there: &Files) -> Vec<String> {
    let missing = recorded.keys().filter(|name| !there.contains_key(*name)).map(|name| format!("{name} is missing"));
    let other = there.iter().filter_map(|(name, text)| match recorded.get(name) {
        None => Some(format!("{name} is not recorded in {RECORDED}")),
        Some(digest) if hex::encode(Sha256::digest(text)) != *digest => {
            Some(format!("{name} is not what was recorded; a released event is never changed"))
        }
        Some(_) => None,
    });
    missing.chain(other).collect()
}

#[test]
fn every_golden_file_is_as_it_was_recorded_and_none_is_missing() {
    let found = not_as_recorded(&recorded(), &there());
    assert!(found.is_empty(), "tests/golden: {found:#?}: {GUIDE}");
}

#[test]
fn a_golden_file_that_was_changed_or_added_or_taken_away_is_noticed() {
    let (recorded, there) = (recorded(), there());
    let name = "RoleChanged.1.json";
    let spoiled = |spoil: &dyn Fn(&mut Files)| {
        let mut files = there.clone();
        spoil(&mut files);
        not_as_recorded(&recorded, &files)
    };
    let changed = spoiled(&|files| files.get_mut(name).unwrap().push(b'\n'));
    assert_eq!(changed, [format!("{name} is not what was recorded; a released event is never changed")]);
    assert_eq!(spoiled(&|files| drop(files.remove(name))), [format!("{name} is missing")]);
    let added = spoiled(&|files| drop(files.insert("RoleChanged.2.json".to_owned(), b"{}".to_vec())));
    assert_eq!(added, ["RoleChanged.2.json is not recorded in SHA256SUMS"]);
}

/// Every version from the first to the present one, for each type.
fn versions() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    types().into_iter().flat_map(|(aggregate, event_type, present)| {
        let present: u32 = present.parse().expect("versions are 1, 2, 3, ...");
        (1..=present).map(move |version| (aggregate, event_type, version.to_string()))
    })
}

#[test]
fn there_is_a_sample_and_a_shape_of_every_version_that_ever_was_and_of_nothing_else() {
    let wanted = versions().flat_map(|(_, event_type, version)| {
        ["json", "shape"].map(|extension| format!("{event_type}.{version}.{extension}"))
    });
    let wanted: BTreeSet<String> = wanted.collect();
    let recorded: BTreeSet<String> = recorded().into_keys().collect();
    let missing: Vec<_> = wanted.difference(&recorded).collect();
    let unknown: Vec<_> = recorded.difference(&wanted).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}: {GUIDE}");
}

/// A line a field: where it stands and what it is.
fn written(mut shape: Shape, event: &mut Event) -> String {
    for (name, _) in event.protected_fields() {
        if let Some(kind) = shape.get_mut(name) {
            kind.push_str(", sealed");
        }
    }
    let lines = shape.into_iter().map(|(path, kind)| {
        assert!(
            !kind.is_empty(),
            "{} has a field {path} that its sample has not: it needs a new version. {GUIDE}",
            event.event_type()
        );
        format!("{path}: {kind}\n")
    });
    lines.collect()
}

#[test]
fn every_event_has_the_shape_that_was_recorded_for_its_version() {
    for (aggregate, event_type, version) in types() {
        let payload = sample(event_type, version);
        let mut event = Event::decode(aggregate, event_type, version, &payload).unwrap();
        let payload: Value = serde_json::from_str(&payload).unwrap();
        let shape = match aggregate {
            "setup" => shape_of::<SetupEvent>(payload),
            "session" => shape_of::<SessionEvent>(payload),
            "user" => shape_of::<UserEvent>(payload),
            "api_token" => shape_of::<ApiTokenEvent>(payload),
            _ => shape_of::<IdentityProviderEvent>(payload),
        };
        let shape = written(shape.unwrap(), &mut event);
        let file = format!("{event_type}.{version}.shape");
        let recorded = fs::read_to_string(folder().join(&file)).unwrap_or_default();
        assert_eq!(
            shape, recorded,
            "{event_type} has another shape than tests/golden/{file} says: if that is released, the event needs a new version. {GUIDE}"
        );
    }
}

/// A sample without what may be absent.
fn least(event_type: &str, version: &str) -> String {
    let mut payload: Value = serde_json::from_str(&sample(event_type, version)).unwrap();
    for line in text_of(&format!("{event_type}.{version}.shape")).lines() {
        let (path, kind) = line.split_once(": ").unwrap();
        if !kind.starts_with("optional") {
            continue;
        }
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = parent.split('.').filter(|name| !name.is_empty());
        // What stood in a field that is gone already is gone with it.
        let parent = parent.fold(payload.get_mut(event_type), |value, name| value?.get_mut(name));
        parent.and_then(Value::as_object_mut).map(|fields| fields.remove(name));
    }
    payload.to_string()
}

#[test]
fn every_version_is_read_and_folded_today_also_without_what_may_be_absent() {
    for (aggregate, event_type, version) in versions() {
        for payload in [sample(event_type, &version), least(event_type, &version)] {
            let event = Event::decode(aggregate, event_type, &version, &payload);
            match event.unwrap_or_else(|error| panic!("{error}: {GUIDE}")) {
                Event::Setup(event) => Setup::default().apply(event),
                Event::Session(event) => Session::default().apply(event),
                Event::User(event) => User::default().apply(event),
                Event::ApiToken(event) => ApiToken::default().apply(event),
                Event::IdentityProvider(event) => IdentityProvider::default().apply(event),
            }
        }
    }
}

#[test]
fn what_may_be_absent_is_left_out_when_it_is() {
    for (aggregate, event_type, version) in types() {
        let payload = least(event_type, version);
        let event = Event::decode(aggregate, event_type, version, &payload).unwrap();
        let written: Value = serde_json::from_str(&event.encode().unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(&payload).unwrap());
    }
}
