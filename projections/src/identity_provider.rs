//! Read model `identity_provider`: the one OpenID provider. One row, from the first configuration on.

use aggregates::{INSTANCE_STREAM, IdentityProviderEvent, Protected, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::{Column, FoldError, Key, Recorded, Row, Rows, Table, text};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdentityProviderRow {
    /// Always `instance`.
    pub id: String,
    /// Absent when the provider was removed; then all but `version` and `session_epoch` are.
    pub issuer_url: Option<String>,
    pub client_id: Option<String>,
    /// Sealed, `KEY:SEALED` as in the event's payload.
    pub client_secret: Option<String>,
    /// The sequence of the event that sealed the secret: it is part of what the seal is bound to.
    pub client_secret_sequence: Option<i64>,
    pub version: u64,
    pub session_epoch: u64,
    pub configured_at: Option<UnixSeconds>,
}

impl Row for IdentityProviderRow {
    const TABLE: &'static Table = &Table {
        name: "identity_provider",
        version: 1,
        columns: &[
            Column::text("id"),
            Column::text("issuer_url").nullable(),
            Column::text("client_id").nullable(),
            Column::text("client_secret").nullable(),
            Column::integer("client_secret_sequence").nullable(),
            Column::integer("version"),
            Column::integer("session_epoch"),
            Column::integer("configured_at").nullable(),
        ],
        key: "id",
        owner: None,
        indexes: &[],
    };

    fn key(&self) -> Key {
        Key::Instance
    }
}

pub(crate) fn need(rows: &mut Rows<IdentityProviderRow>) {
    rows.need(Key::Instance);
}

pub(crate) fn fold(
    rows: &mut Rows<IdentityProviderRow>,
    recorded: &Recorded<'_>,
    event: &IdentityProviderEvent,
) -> Result<(), FoldError> {
    match event {
        IdentityProviderEvent::ProviderConfigured { issuer_url, client_id, client_secret, version, session_epoch } => {
            let client_secret = client_secret
                .as_ref()
                .map(sealed)
                .transpose()
                .map_err(|reason| Rows::<IdentityProviderRow>::broken(recorded, reason))?
                .flatten();
            rows.put(IdentityProviderRow {
                id: INSTANCE_STREAM.to_owned(),
                issuer_url: Some(text::storable(issuer_url)),
                client_id: Some(text::storable(client_id)),
                client_secret_sequence: client_secret.is_some().then_some(recorded.sequence),
                client_secret,
                version: *version,
                session_epoch: *session_epoch,
                configured_at: Some(recorded.recorded_at()),
            });
            Ok(())
        }
        IdentityProviderEvent::ProviderRemoved { version } => rows.change(recorded, &Key::Instance, |row| {
            *row = IdentityProviderRow {
                id: INSTANCE_STREAM.to_owned(),
                issuer_url: None,
                client_id: None,
                client_secret: None,
                client_secret_sequence: None,
                version: *version,
                session_epoch: row.session_epoch,
                configured_at: None,
            };
        }),
        IdentityProviderEvent::SignInsRefused { .. } => Ok(()),
    }
}

fn sealed(secret: &Protected) -> Result<Option<String>, &'static str> {
    match secret {
        Protected::Sealed { key, sealed } => Ok(Some(format!("{key}:{sealed}"))),
        Protected::Erased => Ok(None),
        Protected::Clear { .. } => Err("a client secret must not be clear"),
    }
}
