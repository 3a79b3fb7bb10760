//! Read model `unique_keys`: which address and which identity belongs to whom, under keyed hashes.
//!
//! One address is one user, one (issuer, subject) is one identity (promise P3): the key of each is held by one user, and a
//! unit that claims a key of somebody else is refused. What has been erased claims and releases nothing.

use aggregates::{LinkedIdentity, Protected, UserEvent, UserId};
use serde::{Deserialize, Serialize};

use crate::{ClaimKind, Column, FoldError, Key, KeyedHasher, Recorded, Row, Rows, Table, text};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UniqueKeyRow {
    /// [`KeyedHasher::address`] or [`KeyedHasher::identity`].
    pub key: String,
    pub kind: ClaimKind,
    pub user_id: UserId,
}

impl Row for UniqueKeyRow {
    const TABLE: &'static Table = &Table {
        name: "unique_keys",
        version: 1,
        columns: &[Column::text("key").personal(), Column::text("kind"), Column::text("user_id")],
        key: "key",
        owner: None,
        indexes: &[],
    };

    fn key(&self) -> Key {
        Key::Text(self.key.clone())
    }
}

/// What an event does with one key.
enum Step {
    Claim(ClaimKind, String),
    Release(String),
}

/// The steps of an event, in their order.
fn steps(event: &UserEvent, hasher: &KeyedHasher) -> Result<[Option<Step>; 2], &'static str> {
    let address = |address: &Protected| hash_address(hasher, address);
    let identity = |identity: &LinkedIdentity| hash_identity(hasher, identity);
    let claim_address = |hash: String| Step::Claim(ClaimKind::Address, hash);
    let claim_identity = |hash: String| Step::Claim(ClaimKind::Identity, hash);
    Ok(match event {
        UserEvent::OwnerRegistered { address: claimed, identity: linked, .. } => {
            [address(claimed)?.map(claim_address), identity(linked)?.map(claim_identity)]
        }
        UserEvent::OwnerDiscarded { address: freed, identity: unlinked } => {
            [address(freed)?.map(Step::Release), identity(unlinked)?.map(Step::Release)]
        }
        UserEvent::UserErased { address: freed, identity: unlinked, .. } => {
            let unlinked = unlinked.as_ref().map(identity).transpose()?.flatten();
            [address(freed)?.map(Step::Release), unlinked.map(Step::Release)]
        }
        UserEvent::UserInvited { address: claimed, .. } => [address(claimed)?.map(claim_address), None],
        UserEvent::InvitationAccepted { identity: linked, .. } => [identity(linked)?.map(claim_identity), None],
        UserEvent::OwnerIdentityReplaced { identity: linked, released, .. } => {
            let released = released.as_ref().map(identity).transpose()?.flatten();
            [released.map(Step::Release), identity(linked)?.map(claim_identity)]
        }
        UserEvent::IdentityUnlinked { released } => [identity(released)?.map(Step::Release), None],
        UserEvent::ProfileChanged { .. }
        | UserEvent::RoleChanged { .. }
        | UserEvent::UserDisabled { .. }
        | UserEvent::UserEnabled { .. }
        | UserEvent::SessionsRevoked { .. }
        | UserEvent::OwnerRecoveryOpened { .. } => [None, None],
    })
}

fn hash_address(hasher: &KeyedHasher, address: &Protected) -> Result<Option<String>, &'static str> {
    Ok(text::opened(address)?.map(|address| hasher.address(address)))
}

fn hash_identity(hasher: &KeyedHasher, identity: &LinkedIdentity) -> Result<Option<String>, &'static str> {
    Ok(text::opened(&identity.subject)?.map(|subject| hasher.identity(&identity.issuer, subject)))
}

/// An event that cannot be read needs nothing here; folding it says why.
pub(crate) fn need(rows: &mut Rows<UniqueKeyRow>, event: &UserEvent, hasher: &KeyedHasher) {
    for step in steps(event, hasher).into_iter().flatten().flatten() {
        let (Step::Claim(_, hash) | Step::Release(hash)) = step;
        rows.need(Key::Text(hash));
    }
}

pub(crate) fn fold(
    rows: &mut Rows<UniqueKeyRow>,
    recorded: &Recorded<'_>,
    user: UserId,
    event: &UserEvent,
    hasher: &KeyedHasher,
) -> Result<(), FoldError> {
    let steps = steps(event, hasher).map_err(|reason| Rows::<UniqueKeyRow>::broken(recorded, reason))?;
    for step in steps.into_iter().flatten() {
        match step {
            Step::Claim(kind, key) => match rows.known(recorded, &Key::Text(key.clone()))? {
                Some(held) if held.user_id != user => return Err(FoldError::Claimed(kind)),
                Some(_) => {}
                None => rows.put(UniqueKeyRow { key, kind, user_id: user }),
            },
            Step::Release(key) => {
                let key = Key::Text(key);
                if rows.known(recorded, &key)?.is_some_and(|held| held.user_id == user) {
                    rows.remove(key);
                }
            }
        }
    }
    Ok(())
}
