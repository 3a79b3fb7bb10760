//! Read model `users`: everybody with an account or an invitation, as the API shows them and as sessions and sign-ins check
//! them.

use std::fmt;

use aggregates::{LinkedIdentity, Profile, Protected, Role, Status, UnixSeconds, UserEvent, UserId};
use serde::{Deserialize, Serialize};

use crate::{Column, FoldError, Index, Key, KeyedHasher, Recorded, Row, Rows, Table, table::bit, text};

/// What the next sign-in must show to become the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryKind {
    Subject,
    Address,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRow {
    pub id: UserId,
    /// In normal form; empty when it has been erased.
    pub address: String,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub display_name: Option<String>,
    pub picture: Option<String>,
    pub role: Role,
    pub status: Status,
    /// Whether an identity is linked, also one that has been erased.
    #[serde(with = "bit")]
    pub linked: bool,
    pub created_at: UnixSeconds,
    /// Moves with what the API shows.
    pub updated_at: UnixSeconds,
    pub session_epoch: u64,
    pub token_epoch: u64,
    /// [`KeyedHasher::subject`] or [`KeyedHasher::address`], as `recovery_kind` says; absent beside a kind it has been erased
    /// and nothing fits.
    pub recovery_hash: Option<String>,
    pub recovery_kind: Option<RecoveryKind>,
    pub recovery_expires_at: Option<UnixSeconds>,
}

impl Row for UserRow {
    const TABLE: &'static Table = &Table {
        name: "users",
        version: 1,
        columns: &[
            Column::text("id"),
            Column::text("address").personal(),
            Column::text("issuer").personal().nullable(),
            Column::text("subject").personal().nullable(),
            Column::text("display_name").personal().nullable(),
            Column::text("picture").personal().nullable(),
            Column::text("role"),
            Column::text("status"),
            Column::integer("linked"),
            Column::integer("created_at"),
            Column::integer("updated_at"),
            Column::integer("session_epoch"),
            Column::integer("token_epoch"),
            Column::text("recovery_hash").personal().nullable(),
            Column::text("recovery_kind").nullable(),
            Column::integer("recovery_expires_at").nullable(),
        ],
        key: "id",
        owner: None,
        // None for role and status: of a handful of values, they are sorted as they are read.
        indexes: &[Index::on(&["created_at", "id"]), Index::on(&["address", "id"])],
    };

    fn key(&self) -> Key {
        Key::Id(self.id.0)
    }
}

/// Personal data does not get into logs by way of `{:?}`.
impl fmt::Debug for UserRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRow").field("id", &self.id).finish_non_exhaustive()
    }
}

impl UserRow {
    /// Whether their key is gone although the log does not erase them: it was restored as it was before it did.
    pub fn is_without_key(&self) -> bool {
        self.address.is_empty()
    }

    fn link(&mut self, identity: &LinkedIdentity, profile: &Profile) -> Result<(), &'static str> {
        self.linked = true;
        self.issuer = Some(text::storable(&identity.issuer));
        self.subject = text::column(Some(&identity.subject))?;
        if self.status == Status::Invited {
            self.status = Status::Active;
        }
        self.show(profile)
    }

    /// An account that waits to be claimed shows nothing of the identity it had.
    fn unlink(&mut self) {
        self.linked = false;
        self.issuer = None;
        self.subject = None;
        self.display_name = None;
        self.picture = None;
        if self.status == Status::Active {
            self.status = Status::Invited;
        }
    }

    fn show(&mut self, profile: &Profile) -> Result<(), &'static str> {
        self.display_name = text::column(profile.display_name.as_ref())?;
        self.picture = text::column(profile.picture.as_ref())?;
        Ok(())
    }

    fn end_sessions_and_tokens(&mut self) {
        self.session_epoch += 1;
        self.token_epoch += 1;
    }

    fn open_recovery(
        &mut self,
        subject: Option<&Protected>,
        address: Option<&Protected>,
        expires_at: UnixSeconds,
        hasher: &KeyedHasher,
    ) -> Result<(), &'static str> {
        (self.recovery_kind, self.recovery_hash) = match (subject, address) {
            (Some(subject), _) => {
                (Some(RecoveryKind::Subject), text::opened(subject)?.map(|subject| hasher.subject(subject)))
            }
            (None, Some(address)) => {
                (Some(RecoveryKind::Address), text::opened(address)?.map(|address| hasher.address(address)))
            }
            (None, None) => (None, None),
        };
        self.recovery_expires_at = Some(expires_at);
        Ok(())
    }

    fn close_recovery(&mut self) {
        self.recovery_hash = None;
        self.recovery_kind = None;
        self.recovery_expires_at = None;
    }
}

pub(crate) fn need(rows: &mut Rows<UserRow>, user: UserId, event: &UserEvent) {
    match event {
        UserEvent::OwnerRegistered { .. } | UserEvent::UserInvited { .. } => rows.need_new(Key::Id(user.0)),
        _ => rows.need(Key::Id(user.0)),
    }
}

pub(crate) fn fold(
    rows: &mut Rows<UserRow>,
    recorded: &Recorded<'_>,
    user: UserId,
    event: &UserEvent,
    hasher: &KeyedHasher,
) -> Result<(), FoldError> {
    let broken = |reason| Rows::<UserRow>::broken(recorded, reason);
    let now = recorded.recorded_at();
    match event {
        UserEvent::OwnerRegistered { address, identity, profile } => {
            let mut row = invited(user, address, Role::Owner, now).map_err(broken)?;
            row.link(identity, profile).map_err(broken)?;
            rows.put(row);
            Ok(())
        }
        UserEvent::UserInvited { address, role, .. } => {
            rows.put(invited(user, address, *role, now).map_err(broken)?);
            Ok(())
        }
        UserEvent::OwnerDiscarded { .. } | UserEvent::UserErased { .. } => rows.delete(recorded, Key::Id(user.0)),
        _ => {
            let mut changed = Ok(());
            rows.change(recorded, &Key::Id(user.0), |row| changed = change(row, event, now, hasher))?;
            changed.map_err(broken)
        }
    }
}

/// What an event changes of a user that is there.
fn change(row: &mut UserRow, event: &UserEvent, now: UnixSeconds, hasher: &KeyedHasher) -> Result<(), &'static str> {
    match event {
        UserEvent::OwnerRegistered { .. }
        | UserEvent::UserInvited { .. }
        | UserEvent::OwnerDiscarded { .. }
        | UserEvent::UserErased { .. } => {}
        UserEvent::InvitationAccepted { identity, profile } => row.link(identity, profile)?,
        UserEvent::ProfileChanged { profile } => row.show(profile)?,
        UserEvent::RoleChanged { role, .. } => row.role = *role,
        UserEvent::UserDisabled { .. } => {
            row.status = Status::Disabled;
            row.end_sessions_and_tokens();
        }
        UserEvent::UserEnabled { .. } => row.status = if row.linked { Status::Active } else { Status::Invited },
        UserEvent::OwnerIdentityReplaced { identity, profile, .. } => {
            row.link(identity, profile)?;
            row.close_recovery();
            row.end_sessions_and_tokens();
        }
        UserEvent::IdentityUnlinked { .. } => {
            row.unlink();
            row.end_sessions_and_tokens();
        }
        UserEvent::SessionsRevoked { .. } => {
            row.session_epoch += 1;
            return Ok(());
        }
        UserEvent::OwnerRecoveryOpened { subject, address, expires_at } => {
            return row.open_recovery(subject.as_ref(), address.as_ref(), *expires_at, hasher);
        }
    }
    row.updated_at = now;
    Ok(())
}

fn invited(user: UserId, address: &Protected, role: Role, now: UnixSeconds) -> Result<UserRow, &'static str> {
    Ok(UserRow {
        id: user,
        address: text::column(Some(address))?.unwrap_or_default(),
        issuer: None,
        subject: None,
        display_name: None,
        picture: None,
        role,
        status: Status::Invited,
        linked: false,
        created_at: now,
        updated_at: now,
        session_epoch: 0,
        token_epoch: 0,
        recovery_hash: None,
        recovery_kind: None,
        recovery_expires_at: None,
    })
}
