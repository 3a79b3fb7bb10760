//! Read model `setup`: how far first-run setup has come. One row.

use aggregates::{
    INSTANCE_STREAM, InstanceId, RemoteAuthMode, RuntimeMode, SessionId, SetupEvent, SetupState, UnixSeconds, UserId,
};
use serde::{Deserialize, Serialize};

use crate::{Column, FoldError, Key, KeyedHasher, Recorded, Row, Rows, Table, table::bit, text};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetupRow {
    /// Always `instance`.
    pub id: String,
    pub instance_id: InstanceId,
    pub state: SetupState,
    pub runtime_mode: Option<RuntimeMode>,
    pub remote_auth_mode: Option<RemoteAuthMode>,
    /// The one setup session that may act, while setup is under way.
    pub session_id: Option<SessionId>,
    /// Whether there ever was a setup session; a restart does not forget it.
    #[serde(with = "bit")]
    pub session_ever_opened: bool,
    /// [`KeyedHasher::address`] of the address that alone may become owner. Absent beside a `pinned_owner_id` it was erased:
    /// then nobody may.
    pub pinned_owner_hash: Option<String>,
    /// The user id kept for the pinned owner; without one the owner is not pinned.
    pub pinned_owner_id: Option<UserId>,
    pub owner_id: Option<UserId>,
    /// When setup was completed.
    pub configured_at: Option<UnixSeconds>,
    pub updated_at: UnixSeconds,
}

impl Row for SetupRow {
    const TABLE: &'static Table = &Table {
        name: "setup",
        version: 1,
        columns: &[
            Column::text("id"),
            Column::text("instance_id"),
            Column::text("state"),
            Column::text("runtime_mode").nullable(),
            Column::text("remote_auth_mode").nullable(),
            Column::text("session_id").nullable(),
            Column::integer("session_ever_opened"),
            Column::text("pinned_owner_hash").personal().nullable(),
            Column::text("pinned_owner_id").nullable(),
            Column::text("owner_id").nullable(),
            Column::integer("configured_at").nullable(),
            Column::integer("updated_at"),
        ],
        key: "id",
        owner: None,
        indexes: &[],
    };

    fn key(&self) -> Key {
        Key::Instance
    }
}

pub(crate) fn need(rows: &mut Rows<SetupRow>, event: &SetupEvent) {
    match event {
        SetupEvent::InstanceCreated { .. } => rows.need_new(Key::Instance),
        SetupEvent::VerificationFailed { .. } => {}
        _ => rows.need(Key::Instance),
    }
}

pub(crate) fn fold(
    rows: &mut Rows<SetupRow>,
    recorded: &Recorded<'_>,
    event: &SetupEvent,
    hasher: &KeyedHasher,
) -> Result<(), FoldError> {
    let mut change = |change: &dyn Fn(&mut SetupRow)| {
        rows.change(recorded, &Key::Instance, |row| {
            change(row);
            row.updated_at = recorded.recorded_at();
        })
    };
    match event {
        SetupEvent::InstanceCreated { instance_id } => {
            rows.put(created(*instance_id, recorded.recorded_at()));
            Ok(())
        }
        SetupEvent::BootstrapTokenIssued { owner, .. } => {
            let address = owner.as_ref().map(|owner| text::opened(&owner.address)).transpose();
            let address = address.map_err(|reason| Rows::<SetupRow>::broken(recorded, reason))?.flatten();
            let hash = address.map(|address| hasher.address(address));
            change(&|row| {
                row.pinned_owner_hash.clone_from(&hash);
                row.pinned_owner_id = owner.as_ref().map(|owner| owner.user_id);
                if row.state == SetupState::Uninitialized {
                    row.state = SetupState::BootstrapPending;
                }
            })
        }
        // The count of failures decides, and so it is read from the stream; nobody is shown it.
        SetupEvent::VerificationFailed { .. } => Ok(()),
        SetupEvent::BootstrapTokenVerified { session_id } => change(&|row| {
            row.session_id = Some(*session_id);
            row.session_ever_opened = true;
        }),
        SetupEvent::PreferencesSet { runtime_mode, remote_auth_mode } => change(&|row| {
            row.runtime_mode = Some(*runtime_mode);
            row.remote_auth_mode = Some(*remote_auth_mode);
        }),
        SetupEvent::SetupProviderAccepted { .. } => change(&|row| row.state = SetupState::IdpConfigured),
        SetupEvent::OwnerVerified { user_id } => change(&|row| {
            row.owner_id = Some(*user_id);
            row.state = SetupState::OwnerCreated;
        }),
        SetupEvent::SetupCompleted {} => change(&|row| {
            row.state = SetupState::Ready;
            row.session_id = None;
            row.configured_at = Some(recorded.recorded_at());
        }),
        SetupEvent::SetupRestarted {} => change(&|row| {
            let session_ever_opened = row.session_ever_opened;
            *row = SetupRow { session_ever_opened, ..created(row.instance_id, row.updated_at) };
        }),
    }
}

fn created(instance_id: InstanceId, now: UnixSeconds) -> SetupRow {
    SetupRow {
        id: INSTANCE_STREAM.to_owned(),
        instance_id,
        state: SetupState::Uninitialized,
        runtime_mode: None,
        remote_auth_mode: None,
        session_id: None,
        session_ever_opened: false,
        pinned_owner_hash: None,
        pinned_owner_id: None,
        owner_id: None,
        configured_at: None,
        updated_at: now,
    }
}
