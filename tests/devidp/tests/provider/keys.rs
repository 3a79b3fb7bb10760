use crate::relying_party::RelyingParty;
use devidp::{Algorithm, DevIdp, Options, Rotation};
use serde_json::Value;

fn key_ids(keys: &[Value]) -> Vec<&str> {
    keys.iter().map(|key| key["kid"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn keys_are_added_replaced_or_exchanged_under_their_id() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        let provider = DevIdp::start(Options { algorithm, ..Options::default() }).unwrap();
        let party = RelyingParty::new(provider.issuer());
        let name = algorithm.name().to_ascii_lowercase();
        let mut before = party.keys().await;
        for (rotation, expected) in [
            (Rotation::Add, vec![format!("{name}-2"), format!("{name}-1")]),
            (Rotation::Replace, vec![format!("{name}-3")]),
            (Rotation::SameKeyId, vec![format!("{name}-3")]),
        ] {
            provider.rotate_keys(rotation).unwrap();
            let keys = party.keys().await;
            assert_eq!(key_ids(&keys), expected, "{rotation:?}");
            let token = party.id_token("alice").await;
            assert_eq!(token.header()["kid"], keys[0]["kid"]);
            assert!(token.is_signed_by(&keys[0]));
            assert!(!token.is_signed_by(&before[0]), "{rotation:?}: still the old key");
            before = keys;
        }
    }
}
