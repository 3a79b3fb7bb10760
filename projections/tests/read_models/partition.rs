//! The rows do not depend on how the log was cut when it was folded.

use aggregates::{
    ApiTokenEvent, Event, IdentityProviderEvent, LinkedIdentity, PinnedOwner, Protected, RemoteAuthMode, Role,
    RuntimeMode, SessionEnd, SessionEvent, SetupEvent, StreamId, UnixSeconds, UserEvent,
};
use projections::{ReadModels, TABLES};
use proptest::prelude::*;
use serde_json::Value;

use crate::samples::{
    ISSUER, api_token, bootstrap_token_issued, instance_created, invited, owner_registered, personal, profile,
    provider_configured, session, session_opened, setup_session_opened, token_issued, user,
};
use crate::store::{Entry, Log, Store};

/// Writes events that a log could hold one by one, not all of which fit together: units that do not are refused.
struct Author {
    log: Log,
    users: u128,
    sessions: u128,
    tokens: u128,
}

/// What to write: which event, about whom, with what.
type Choice = (u8, u8, u8);

impl Author {
    fn new() -> (Self, Vec<Entry>) {
        let mut log = Log::default();
        let first = log.write(StreamId::setup(), instance_created());
        (Self { log, users: 0, sessions: 0, tokens: 0 }, vec![first])
    }

    fn write(&mut self, (what, whom, with): Choice) -> Entry {
        let (stream, event) = match what % 5 {
            0 => (StreamId::setup(), setup_event(whom, with).into()),
            1 => self.session_event(whom, with),
            2 | 3 => self.user_event(whom, with),
            _ => self.other_event(whom, with),
        };
        self.log.write(stream, event)
    }

    fn session_event(&mut self, whom: u8, with: u8) -> (StreamId, Event) {
        if self.sessions == 0 || with.is_multiple_of(3) {
            self.sessions += 1;
            let n = self.sessions;
            let opened =
                if whom.is_multiple_of(2) { setup_session_opened(n) } else { session_opened(n, u128::from(whom)) };
            return (StreamId::session(session(n)), opened.into());
        }
        let event = match with % 7 {
            0 | 1 => SessionEvent::SetupSessionExtended {
                extended_at: UnixSeconds(with.into()),
                expires_at: UnixSeconds(i64::from(with) + 9),
            },
            2 => SessionEvent::SetupSessionEnded { reason: SessionEnd::Replaced },
            3 => SessionEvent::SessionKept { user_epoch: with.into(), provider_epoch: whom.into() },
            4 => SessionEvent::SessionSignedOut {},
            5 => SessionEvent::SessionRevoked {},
            _ => SessionEvent::SessionExpired {},
        };
        (StreamId::session(session(u128::from(whom) % self.sessions + 1)), event.into())
    }

    fn user_event(&mut self, whom: u8, with: u8) -> (StreamId, Event) {
        let address = format!("{}@example.com", with % 6);
        if self.users == 0 || with.is_multiple_of(4) {
            self.users += 1;
            let n = self.users;
            let event = match whom % 8 {
                0 => owner_registered(n, &address, "s0"),
                1 => UserEvent::UserInvited { address: Protected::Erased, role: Role::Admin, invited_by: user(1) },
                _ => invited(n, &address),
            };
            return (StreamId::user(user(n)), event.into());
        }
        let n = u128::from(whom) % self.users + 1;
        (StreamId::user(user(n)), change_of_user(n, whom, with, &address).into())
    }

    fn other_event(&mut self, whom: u8, with: u8) -> (StreamId, Event) {
        match with % 5 {
            0 => (StreamId::identity_provider(), provider_configured(with.into(), Some("AAEC")).into()),
            1 => {
                (StreamId::identity_provider(), IdentityProviderEvent::ProviderRemoved { version: with.into() }.into())
            }
            2 if self.tokens > 0 => (
                StreamId::api_token(api_token(u128::from(whom) % self.tokens + 1)),
                ApiTokenEvent::ApiTokenRevoked { revoked_by: user(1) }.into(),
            ),
            _ => {
                self.tokens += 1;
                let issued = token_issued(self.tokens, u128::from(whom));
                (StreamId::api_token(api_token(self.tokens)), issued.into())
            }
        }
    }
}

fn change_of_user(n: u128, whom: u8, with: u8, address: &str) -> UserEvent {
    let by = user(1);
    let subject = if with > 240 { Protected::Erased } else { personal(n, &format!("s{}", with % 4)) };
    let linked = LinkedIdentity { issuer: ISSUER.to_owned(), subject };
    match with % 12 {
        0 | 1 => UserEvent::InvitationAccepted { identity: linked, profile: profile(n, "name") },
        2 => UserEvent::ProfileChanged { profile: profile(n, address) },
        3 => UserEvent::RoleChanged { role: Role::Admin, changed_by: by },
        4 => UserEvent::UserDisabled { disabled_by: by },
        5 => UserEvent::UserEnabled { enabled_by: by },
        6 => UserEvent::SessionsRevoked { revoked_by: Some(by), kept: None },
        7 => UserEvent::OwnerRecoveryOpened {
            subject: whom.is_multiple_of(2).then(|| personal(n, "s1")),
            address: Some(personal(n, address)),
            expires_at: UnixSeconds(with.into()),
        },
        8 => {
            let released = LinkedIdentity { issuer: ISSUER.to_owned(), subject: personal(n, "s0") };
            UserEvent::OwnerIdentityReplaced { identity: linked, profile: profile(n, "new"), released: Some(released) }
        }
        9 => UserEvent::IdentityUnlinked { released: linked },
        10 => UserEvent::UserErased { address: personal(n, address), identity: Some(linked), erased_by: None },
        _ => UserEvent::OwnerDiscarded { address: personal(n, address), identity: linked },
    }
}

fn setup_event(whom: u8, with: u8) -> SetupEvent {
    let pinned = PinnedOwner { user_id: user(1), address: personal(1, "ann@example.com") };
    match with % 8 {
        0 => bootstrap_token_issued(whom.is_multiple_of(2).then_some(pinned)),
        1 => SetupEvent::VerificationFailed { failures: with },
        2 => SetupEvent::BootstrapTokenVerified { session_id: session(whom.into()) },
        3 => SetupEvent::PreferencesSet { runtime_mode: RuntimeMode::Remote, remote_auth_mode: RemoteAuthMode::Oidc },
        4 => SetupEvent::SetupProviderAccepted { provider_version: with.into() },
        5 => SetupEvent::OwnerVerified { user_id: user(whom.into()) },
        6 => SetupEvent::SetupCompleted {},
        _ => SetupEvent::SetupRestarted {},
    }
}

/// Cuts `items` into pieces of the sizes given, over and over.
fn cut<'a, T>(mut items: &'a [T], sizes: &[usize]) -> Vec<&'a [T]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if items.is_empty() {
            break;
        }
        let (piece, rest) = items.split_at((*size).min(items.len()));
        pieces.push(piece);
        items = rest;
    }
    pieces
}

/// Read models that a caller is checked by.
const CHECKED_BY: [&str; 4] = ["sessions", "api_tokens", "users", "identity_provider"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn however_the_log_is_cut_the_rows_are_equal(
        choices in prop::collection::vec(prop::collection::vec(any::<Choice>(), 1..4), 1..120),
        sizes in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let (mut author, first) = Author::new();
        let mut attempts = vec![first];
        attempts.extend(choices.iter().map(|unit| unit.iter().map(|choice| author.write(*choice)).collect::<Vec<_>>()));
        let attempts: Vec<&[Entry]> = attempts.iter().map(Vec::as_slice).collect();

        let mut live = Store::default();
        let outcomes: Vec<_> = attempts.iter().map(|unit| live.take(unit)).collect();

        let mut grouped = Store::default();
        let of_groups: Vec<_> = cut(&attempts, &sizes).iter().flat_map(|group| grouped.take_batch(group)).collect();
        prop_assert_eq!(&of_groups, &outcomes);
        prop_assert_eq!(&grouped, &live);

        let log: Vec<Entry> = (attempts.iter().zip(&outcomes))
            .filter(|(_, outcome)| outcome.is_ok())
            .flat_map(|(unit, _)| unit.iter().cloned())
            .collect();
        let mut rebuilt = Store::default();
        for page in cut(&log, &sizes) {
            prop_assert_eq!(rebuilt.take(page), Ok(()));
        }
        prop_assert_eq!(&rebuilt, &live);

        for table in TABLES {
            let mut alone = Store::default();
            for page in cut(&log, &sizes) {
                prop_assert_eq!(alone.take_with(ReadModels::only(&[table.name]), &[page]), vec![Ok(())]);
            }
            prop_assert_eq!(alone.table(table.name), live.table(table.name));
        }
    }

    /// What a node forgets when another node has written to a stream rests on this.
    #[test]
    fn what_a_caller_is_checked_by_changes_only_by_its_own_stream_or_its_users(
        choices in prop::collection::vec(any::<Choice>(), 1..200),
    ) {
        let (mut author, first) = Author::new();
        let mut store = Store::default();
        prop_assert_eq!(store.take(&first), Ok(()));
        for choice in choices {
            let entry = author.write(choice);
            let before = CHECKED_BY.map(|table| store.table(table));
            let _ = store.take(std::slice::from_ref(&entry));
            for (table, before) in CHECKED_BY.into_iter().zip(before) {
                let after = store.table(table);
                for row in before.iter().chain(&after).filter(|row| !(before.contains(row) && after.contains(row))) {
                    let own = [&row["id"], &row["user_id"]].contains(&&Value::from(entry.stream.aggregate_id.as_str()));
                    prop_assert!(own, "{} changed {table} {row}", entry.stream);
                }
            }
        }
    }
}
