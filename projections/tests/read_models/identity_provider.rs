use aggregates::{IdentityProviderEvent, Protected, StreamId};
use projections::FoldError;
use serde_json::json;

use crate::samples::{ISSUER, provider_configured};
use crate::store::{Log, Store, at};

#[test]
fn the_secret_is_kept_sealed_with_the_sequence_that_opens_it() {
    let mut log = Log::default();
    let mut write = |event| log.write(StreamId::identity_provider(), event);
    let (public, confidential) = (write(provider_configured(1, None)), write(provider_configured(2, Some("AAEC"))));
    let mut store = Store::of(&[&[public]]);
    assert_eq!(
        store.only("identity_provider"),
        json!({
            "id": "instance", "issuer_url": ISSUER, "client_id": "authlog", "client_secret": null,
            "client_secret_sequence": null, "version": 1, "session_epoch": 2, "configured_at": at(1),
        })
    );
    assert_eq!(store.take(&[confidential]), Ok(()));
    assert_eq!(
        store.only("identity_provider"),
        json!({
            "id": "instance", "issuer_url": ISSUER, "client_id": "authlog", "client_secret": "instance:AAEC",
            "client_secret_sequence": 2, "version": 2, "session_epoch": 2, "configured_at": at(2),
        })
    );
    let removed = write(IdentityProviderEvent::ProviderRemoved { version: 3 });
    assert_eq!(store.take(&[removed]), Ok(()));
    assert_eq!(
        store.only("identity_provider"),
        json!({
            "id": "instance", "issuer_url": null, "client_id": null, "client_secret": null,
            "client_secret_sequence": null, "version": 3, "session_epoch": 2, "configured_at": null,
        })
    );
}

#[test]
fn a_clear_client_secret_is_refused() {
    let mut event = provider_configured(1, None);
    if let IdentityProviderEvent::ProviderConfigured { client_secret, .. } = &mut event {
        *client_secret = Some(Protected::of_instance("hunter2"));
    }
    let mut store = Store::default();
    assert_eq!(
        store.take(&[Log::default().write(StreamId::identity_provider(), event)]),
        Err(FoldError::Broken { table: "identity_provider", position: 1, reason: "a client secret must not be clear" })
    );
    assert_eq!(store.table("identity_provider"), Vec::<serde_json::Value>::new());
}
