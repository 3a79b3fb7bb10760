//! When the provider's documents are fetched, and how often.

use authlog::oidc::{OidcClient, OidcError, OidcOptions};
use devidp::{Fault, Options, Rotation};

use crate::house::{House, Outcome, outcome, quick};

#[tokio::test]
async fn configuring_asks_anew_and_needs_a_usable_key() {
    let house = House::new();
    for round in 1..=2 {
        let discovered = house.client.discover(&house.issuer()).await.unwrap();
        assert_eq!(discovered.issuer, house.issuer());
        let endpoint = |path: &str| format!("{}/{path}", house.idp.issuer());
        assert_eq!(discovered.authorization_endpoint.as_str(), endpoint("authorize"));
        assert_eq!(discovered.token_endpoint.as_str(), endpoint("token"));
        assert_eq!(discovered.userinfo_endpoint.unwrap().as_str(), endpoint("userinfo"));
        assert_eq!(discovered.jwks_uri.as_str(), endpoint("jwks"));
        let served = house.idp.served();
        assert_eq!((served.discovery, served.jwks), (round, round));
    }
    for fault in [Fault::JwksEmpty, Fault::JwksEncryptionKeys, Fault::RsaTooWeak, Fault::RsaTooLarge] {
        house.idp.set_fault(fault);
        let refused = house.client.discover(&house.issuer()).await;
        assert!(matches!(refused, Err(OidcError::Discovery(_))), "{fault}");
    }
}

#[tokio::test]
async fn documents_are_fetched_once_for_a_version_of_the_configuration() {
    let mut house = House::new();
    for _ in 0..3 {
        house.sign_in("alice").await.unwrap();
        house.warm().await;
    }
    let served = house.idp.served();
    assert_eq!((served.discovery, served.jwks, served.token), (1, 1, 3));
    house.config.version += 1;
    house.sign_in("alice").await.unwrap();
    let served = house.idp.served();
    assert_eq!((served.discovery, served.jwks, served.token), (2, 2, 4));
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    for rotation in [Rotation::Add, Rotation::Replace, Rotation::SameKeyId] {
        let house = House::new();
        house.sign_in("alice").await.unwrap();
        house.idp.rotate_keys(rotation).unwrap();
        house.sign_in("alice").await.unwrap();
        house.sign_in("bob").await.unwrap();
        let served = house.idp.served();
        assert_eq!((served.discovery, served.jwks), (1, 2), "{rotation:?}");
    }
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_makes_one_fetch() {
    let house = std::sync::Arc::new(House::new());
    house.warm().await;
    house.idp.set_fault(Fault::UnknownKeyId);
    let flood: Vec<_> = (0..30)
        .map(|_| {
            let house = std::sync::Arc::clone(&house);
            tokio::spawn(async move { outcome(&house.sign_in("alice").await) })
        })
        .collect();
    for one in flood {
        assert_eq!(one.await.unwrap(), Outcome::IdToken);
    }
    // Nor do those that come one after the other, each with yet another key id.
    for _ in 0..5 {
        assert_eq!(outcome(&house.sign_in("alice").await), Outcome::IdToken);
    }
    let served = house.idp.served();
    assert_eq!((served.discovery, served.jwks, served.token), (1, 2, 35));
    house.idp.clear_fault();
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::Verified);
}

#[tokio::test]
async fn a_key_that_is_new_after_the_interval_is_fetched_again() {
    let patient = OidcOptions { key_refetch_interval_seconds: 0, ..quick() };
    let house = House::with(Options::default(), &patient);
    for _ in 0..3 {
        house.idp.rotate_keys(Rotation::Replace).unwrap();
        house.sign_in("alice").await.unwrap();
    }
    assert_eq!(house.idp.served().jwks, 3);
}

#[tokio::test]
async fn a_provider_that_was_away_is_asked_again() {
    let house = House::new();
    house.idp.set_fault(Fault::DiscoveryServerError);
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::Discovery);
    house.idp.clear_fault();
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::Verified);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_a_discovery_error() {
    let house = House::new();
    let issuer = house.issuer();
    let House { idp, client, .. } = house;
    drop(idp);
    let refused = client.discover(&issuer).await;
    assert!(matches!(refused, Err(OidcError::Discovery(_))));
}

#[tokio::test]
async fn a_ca_file_gone_bad_is_noticed_when_documents_are_fetched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, include_str!("../../src/oidc/testdata/localhost.pem")).unwrap();
    let options = OidcOptions { ca_file: Some(ca_file.clone()), ..quick() };
    let mut house = House::with(Options::default(), &options);
    house.warm().await;
    std::fs::write(&ca_file, "gone bad").unwrap();
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::Verified, "nothing is fetched");
    house.config.version += 1;
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::HttpClient);
    let refused = house.client.discover(&house.issuer()).await;
    assert!(matches!(refused, Err(OidcError::HttpClient(_))));
    let restarted = OidcClient::new(&options).err();
    assert!(matches!(restarted, Some(OidcError::HttpClient(_))));
}
