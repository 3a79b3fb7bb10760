//! Between events in memory and the texts in the log: seals what is protected, opens it again.

use std::collections::HashMap;

use aggregates::{Event, KeyId, Protected, ProtectedFields, StreamId};
use projections::{Metadata, shows_caller};

use super::unit::{StoredEvent, UnitEvent};
use crate::keys::{Key, OpenError, Place};

/// The keys a batch of events needs; a key that was destroyed is not there.
pub type Keys = HashMap<KeyId, Key>;

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("there is no key {0} to seal with")]
    NoKey(KeyId),
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("an event cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the field {field} of {stream} event {sequence}: {source}")]
    Open { stream: StreamId, sequence: i64, field: &'static str, source: OpenError },
}

/// The keys that an event and its metadata are or will be sealed with. What is looked at stays as it is.
pub fn keys_of(event: &mut Event, metadata: &mut Metadata) -> Vec<KeyId> {
    let fields = event.protected_fields().into_iter().chain(metadata.protected_fields());
    fields.filter_map(|(_, value)| value.key().cloned()).collect()
}

/// Seals an event for its place in the log.
///
/// # Errors
/// When a key is missing: nothing is ever written clear instead.
pub fn seal(
    stream: StreamId,
    sequence: i64,
    event: Event,
    metadata: &Metadata,
    keys: &Keys,
) -> Result<UnitEvent, CodecError> {
    let (event_type, event_version) = (event.event_type(), event.event_version());
    let place =
        |field| Place { stream: &stream, sequence, event_type: &event_type, event_version: &event_version, field };
    let mut sealed_event = event.clone();
    seal_fields(sealed_event.protected_fields(), keys, place)?;
    let mut sealed_metadata = metadata.clone();
    seal_fields(sealed_metadata.protected_fields(), keys, place)?;
    let stored = StoredEvent {
        payload: sealed_event.encode()?,
        metadata: sealed_metadata.encode()?,
        event_type: event_type.clone(),
        event_version: event_version.clone(),
    };
    let event = keep_instance_secrets_sealed(event, &mut sealed_event);
    Ok(UnitEvent { stream, sequence, event, metadata: metadata.clone(), stored })
}

fn seal_fields<'p>(
    fields: Vec<(&'static str, &mut Protected)>,
    keys: &Keys,
    place: impl Fn(&'static str) -> Place<'p>,
) -> Result<(), CodecError> {
    for (field, value) in fields {
        if let Protected::Clear { key: id, text } = value {
            let key = keys.get(id).ok_or_else(|| CodecError::NoKey(id.clone()))?;
            let sealed = key.seal(&place(field).context(id), text.as_bytes()).map_err(CodecError::Random)?;
            *value = Protected::Sealed { key: id.clone(), sealed };
        }
    }
    Ok(())
}

/// Folds see personal data clear and the instance's secrets as they are stored.
fn keep_instance_secrets_sealed(mut clear: Event, sealed: &mut Event) -> Event {
    for ((_, clear), (_, sealed)) in clear.protected_fields().into_iter().zip(sealed.protected_fields()) {
        if matches!(clear, Protected::Clear { key: KeyId::Instance, .. }) {
            *clear = sealed.clone();
        }
    }
    clear
}

/// An event read from the log, still sealed.
#[derive(Clone, Debug)]
pub struct SealedEvent {
    pub stream: StreamId,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub event: Event,
    pub metadata: Metadata,
}

impl SealedEvent {
    /// The keys that [`SealedEvent::open`] needs.
    pub fn keys(&mut self) -> Vec<KeyId> {
        let fields = personal_fields(&mut self.event, &mut self.metadata);
        fields.filter_map(|(_, value)| value.key().cloned()).collect()
    }

    /// The stored text of each protected value, with what it says when it is sealed with the key `id`; `None` for another
    /// key's, and for all when `key` is gone.
    ///
    /// # Errors
    /// [`CodecError::Open`] as for [`SealedEvent::open`].
    pub fn texts_for(&mut self, id: &KeyId, key: Option<&Key>) -> Result<HashMap<String, Option<String>>, CodecError> {
        let place = |field| Place {
            stream: &self.stream,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            field,
        };
        let mut texts = HashMap::new();
        for (field, value) in self.event.protected_fields().into_iter().chain(self.metadata.protected_fields()) {
            let Protected::Sealed { key: sealed_with, sealed } = &*value else { continue };
            let key = key.filter(|_| sealed_with == id);
            let text = key.map(|key| open_text(key, id, &place(field), field, sealed)).transpose()?;
            texts.insert(format!("{sealed_with}:{sealed}"), text);
        }
        Ok(texts)
    }

    /// Opens personal data for a fold; what was sealed with a key that is gone becomes [`Protected::Erased`].
    ///
    /// # Errors
    /// [`CodecError::Open`] when a key is there and does not open its value: the log or the key is damaged.
    pub fn open(mut self, keys: &Keys) -> Result<(Event, Metadata), CodecError> {
        self.open_in_place(keys)?;
        Ok((self.event, self.metadata))
    }

    /// The same, where it is.
    pub(super) fn open_in_place(&mut self, keys: &Keys) -> Result<(), CodecError> {
        let place = |field| Place {
            stream: &self.stream,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            field,
        };
        for (field, value) in personal_fields(&mut self.event, &mut self.metadata) {
            let Protected::Sealed { key: id, sealed } = &*value else { continue };
            *value = match keys.get(id) {
                None => Protected::Erased,
                Some(key) => {
                    Protected::Clear { key: id.clone(), text: open_text(key, id, &place(field), field, sealed)? }
                }
            };
        }
        Ok(())
    }

    /// Tries every sealed value whose key is there, also those that no fold looks at.
    ///
    /// # Errors
    /// [`CodecError::Open`] for the first that does not open.
    pub fn try_seals(&self, keys: &Keys) -> Result<(), CodecError> {
        let (mut event, mut metadata) = (self.event.clone(), self.metadata.clone());
        for (field, value) in event.protected_fields().into_iter().chain(metadata.protected_fields()) {
            let place = Place {
                stream: &self.stream,
                sequence: self.sequence,
                event_type: &self.event_type,
                event_version: &self.event_version,
                field,
            };
            if let Protected::Sealed { key: id, sealed } = value
                && let Some(key) = keys.get(id)
            {
                open_text(key, id, &place, field, sealed)?;
            }
        }
        Ok(())
    }
}

/// What a fold looks at and is sealed for a person or a month: not the secrets of the instance, and of whence a call came only
/// what is shown.
fn personal_fields<'a>(
    event: &'a mut Event,
    metadata: &'a mut Metadata,
) -> impl Iterator<Item = (&'static str, &'a mut Protected)> {
    let caller = if shows_caller(event) { metadata.protected_fields() } else { Vec::new() };
    let fields = event.protected_fields().into_iter().chain(caller);
    fields.filter(|(_, value)| value.key() != Some(&KeyId::Instance))
}

fn open_text(
    key: &Key,
    id: &KeyId,
    place: &Place<'_>,
    field: &'static str,
    sealed: &str,
) -> Result<String, CodecError> {
    let opened = key.open(&place.context(id), sealed);
    opened.and_then(|bytes| String::from_utf8(bytes).map_err(|_| OpenError)).map_err(|source| CodecError::Open {
        stream: place.stream.clone(),
        sequence: place.sequence,
        field,
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aggregates::{Fields, Lift, UserEvent, UserId};
    use uuid::Uuid;

    use super::*;

    /// An invented version before the first one, as in the worked example of `aggregates/tests/lifting.rs`.
    const LIFT: Lift = Lift { event_type: "UserInvited", from: "0", to: "1", fields: by_is_called_invited_by };

    fn by_is_called_invited_by(mut fields: Fields) -> Fields {
        let by = fields.remove("by").unwrap();
        fields.insert("invited_by".to_owned(), by);
        fields
    }

    /// What is sealed is bound to the version that was stored, and to that it stays when the event is lifted.
    #[test]
    fn a_value_that_was_sealed_by_an_older_version_opens_after_lifting() {
        let user = UserId(Uuid::from_u128(1));
        let (id, key, stream) = (KeyId::Person(user), Key::new([7; 32]), StreamId::user(user));
        let place =
            Place { stream: &stream, sequence: 1, event_type: "UserInvited", event_version: "0", field: "address" };
        let address = key.seal(&place.context(&id), b"anna@example.com").unwrap();
        let payload = format!(r#"{{"UserInvited":{{"address":"{id}:{address}","role":"developer","by":"{user}"}}}}"#);
        let event = Event::decode_by(&[LIFT], "user", "UserInvited", "0", &payload).unwrap();
        let stored = |event_version: &str| SealedEvent {
            stream: stream.clone(),
            sequence: 1,
            event_type: "UserInvited".to_owned(),
            event_version: event_version.to_owned(),
            event: event.clone(),
            metadata: Metadata::decode(
                r#"{"actor":"system","unit_id":"0198c5a2-0000-7000-8000-000000000001","command":"test"}"#,
            )
            .unwrap(),
        };
        let keys = Keys::from([(id, key.clone())]);
        let (opened, _) = stored("0").open(&keys).unwrap();
        let Event::User(UserEvent::UserInvited { address, invited_by, .. }) = opened else { panic!("{opened:?}") };
        assert_eq!((address.clear(), invited_by), (Some("anna@example.com"), user));
        assert!(matches!(stored("1").open(&keys), Err(CodecError::Open { field: "address", .. })));
    }
}
