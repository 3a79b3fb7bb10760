//! The relying party against a provider that can be told to misbehave in one way at a time: every way, and the
//! exact answer to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use authlog::oidc::{
    CallbackParams, EmailVerified, ExchangeProblem, IssuerUrl, OidcClient, OidcError, OidcOptions,
    ProviderConfig, VerifiedIdentity,
};
use chrono::{TimeDelta, Utc};
use devidp::{Algorithm, ClaimsIn, Client, DevIdp, Fault, Options, Rotation};

const REDIRECT_URI: &str = "http://127.0.0.1:8787/auth/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const NONCE: &str = "n-0S6_WzA2Mj";

/// A provider and a client of it.
struct House {
    idp: DevIdp,
    client: OidcClient,
    config: ProviderConfig,
}

impl House {
    fn new() -> Self {
        Self::with(Options::default(), &quick())
    }

    fn with(options: Options, client: &OidcOptions) -> Self {
        // Far longer than the client waits, so that a client that waits for all of it is found out.
        let idp = DevIdp::start(Options {
            stall: Duration::from_secs(20),
            ..options
        })
        .unwrap();
        let client = OidcClient::new(client).unwrap();
        let config = config(&idp, "authlog-test");
        Self {
            idp,
            client,
            config,
        }
    }

    async fn authorization_url(&self) -> Result<String, OidcError> {
        let url = self
            .client
            .authorization_url(&self.config, REDIRECT_URI, "the-state", NONCE, VERIFIER)
            .await?;
        Ok(url.into())
    }

    /// Signs somebody in, from the first page to the verified identity.
    async fn sign_in(&self, login: &str) -> Result<VerifiedIdentity, OidcError> {
        let url = self.authorization_url().await?;
        let back = self.idp.sign_in(&url, login).await.unwrap();
        assert_eq!(back.state, "the-state");
        self.exchange(&back.code, back.iss.as_deref()).await
    }

    async fn exchange(&self, code: &str, iss: Option<&str>) -> Result<VerifiedIdentity, OidcError> {
        let params = CallbackParams {
            code,
            redirect_uri: REDIRECT_URI,
            pkce_verifier: VERIFIER,
            nonce: NONCE,
            iss,
        };
        self.client.exchange(&self.config, params, Utc::now()).await
    }

    /// Remembers the provider's documents as they are when nothing is wrong.
    async fn warm(&self) {
        self.client.metadata(&self.config).await.unwrap();
    }

    fn issuer(&self) -> IssuerUrl {
        IssuerUrl::parse(self.idp.issuer()).unwrap()
    }
}

/// A client that gives up sooner than a provider that stalls, and later than a busy machine answers.
fn quick() -> OidcOptions {
    OidcOptions {
        timeout_seconds: 4,
        ..OidcOptions::default()
    }
}

fn config(idp: &DevIdp, client_id: &str) -> ProviderConfig {
    let client = Client::defaults()
        .into_iter()
        .find(|client| client.id == client_id);
    let secret = client.unwrap().secret().map(Into::into);
    ProviderConfig::parse(idp.issuer(), client_id, secret, 1).unwrap()
}

/// The variant of an outcome, and for a success what is known of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Verified,
    Unverified,
    NoWord,
    NoEmail,
    Discovery,
    TokenExchange,
    MissingIdToken,
    IdToken,
    Config,
    HttpClient,
}

fn outcome(result: &Result<VerifiedIdentity, OidcError>) -> Outcome {
    match result {
        Ok(identity) if identity.email.is_none() => Outcome::NoEmail,
        Ok(identity) => match identity.email_verified {
            EmailVerified::True => Outcome::Verified,
            EmailVerified::False => Outcome::Unverified,
            EmailVerified::Absent => Outcome::NoWord,
        },
        Err(OidcError::Discovery(_)) => Outcome::Discovery,
        Err(OidcError::TokenExchange(_)) => Outcome::TokenExchange,
        Err(OidcError::MissingIdToken) => Outcome::MissingIdToken,
        Err(OidcError::IdTokenVerification(_)) => Outcome::IdToken,
        Err(OidcError::Config(_)) => Outcome::Config,
        Err(OidcError::HttpClient(_)) => Outcome::HttpClient,
    }
}

/// What a sign-in comes to under this fault; `None` if the fault ends it at the browser.
#[expect(
    clippy::too_many_lines,
    reason = "a table: one match without a catch-all over every fault"
)]
fn expected(fault: Fault) -> Option<Outcome> {
    use Fault as F;
    Some(match fault {
        F::DiscoveryServerError
        | F::DiscoveryNotJson
        | F::DiscoveryWrongIssuer
        | F::DiscoveryPlaceholderIssuer
        | F::DiscoveryDuplicateKeys
        | F::DiscoveryOversized
        | F::DiscoverySlow
        | F::DiscoveryDrip
        | F::DiscoveryRedirect
        | F::DiscoveryNoJwksUri
        | F::DiscoveryNoTokenEndpoint
        | F::DiscoveryNoAuthorizationEndpoint
        | F::DiscoveryLinkLocalJwksUri
        | F::DiscoveryLinkLocalTokenEndpoint
        | F::DiscoveryScriptAuthorizationEndpoint
        | F::JwksServerError
        | F::JwksNotJson
        | F::JwksDuplicateKeys
        | F::JwksOversized
        | F::JwksSlow
        | F::JwksRedirect => Outcome::Discovery,

        F::AuthorizationWrongIssuer
        | F::AuthorizationNoIssuer
        | F::TokenServerError
        | F::TokenInvalidGrant
        | F::TokenNotJson
        | F::TokenOversized
        | F::TokenSlow
        | F::TokenDrip
        | F::TokenRedirect
        | F::TokenDuplicateKeys
        | F::UserinfoServerError
        | F::UserinfoNotJson
        | F::UserinfoOversized
        | F::UserinfoSlow
        | F::UserinfoRedirect
        | F::UserinfoDuplicateKeys => Outcome::TokenExchange,

        F::NoIdToken => Outcome::MissingIdToken,

        F::JwksEmpty
        | F::JwksEncryptionKeys
        | F::JwksOtherAlgorithm
        | F::JwksSymmetricKey
        | F::RsaTooWeak
        | F::RsaTooLarge
        | F::IdTokenGarbage
        | F::SignatureBroken
        | F::SignatureByStranger
        | F::AlgNone
        | F::AlgNoneMixedCase
        | F::Hs256PublicKey
        | F::Hs256ClientSecret
        | F::EmbeddedJwk
        | F::JkuHeader
        | F::CritHeader
        | F::HeaderDuplicateKeys
        | F::UnknownKeyId
        | F::WrongIssuer
        | F::WrongAudience
        | F::MissingAudience
        | F::ManyAudiencesNoAzp
        | F::WrongAzp
        | F::MissingExpiry
        | F::Expired
        | F::ExpiryNotANumber
        | F::MissingIssuedAt
        | F::IssuedInFuture
        | F::NotYetValid
        | F::MissingSubject
        | F::EmptySubject
        | F::SubjectNotAText
        | F::SubjectTooLong
        | F::WrongNonce
        | F::MissingNonce
        | F::WrongAccessTokenHash
        | F::PayloadDuplicateKeys
        | F::EmailNotAText
        | F::UserinfoOtherSubject
        | F::UserinfoNoSubject => Outcome::IdToken,

        F::EmailVerifiedText | F::EmailVerifiedNumber | F::EmailElsewhere => Outcome::Unverified,
        F::EmailVerifiedElsewhere => Outcome::NoWord,
        F::EmailMissing => Outcome::NoEmail,

        // Addresses are judged by whoever compares them; here they are passed on as they came.
        F::EmailLineBreak
        | F::EmailNul
        | F::EmailDoubleAt
        | F::EmailLookAlikeLocal
        | F::EmailLookAlikeDomain
        | F::EmailTooLong
        | F::EmailUpperCase
        | F::EmailOnlyInUserinfo
        | F::NoKeyId
        | F::NameScript
        | F::NameControlCharacters
        | F::NameTooLong
        | F::PictureScript => Outcome::Verified,

        F::AuthorizationWrongState
        | F::AuthorizationNoState
        | F::AuthorizationNoCode
        | F::AccessDenied
        | F::AuthorizationScriptError => return None,
    })
}

/// Every fault against a client that knows nothing yet; all at once, each with a provider of its own.
#[tokio::test]
async fn every_fault_of_the_provider_has_its_one_outcome() {
    let mut signing_in = Vec::new();
    for &fault in Fault::all() {
        let Some(expected) = expected(fault) else {
            continue;
        };
        signing_in.push(tokio::spawn(async move {
            let house = House::new();
            house.idp.set_fault(fault);
            let result = house.sign_in("alice").await;
            let trapped = house.idp.served().trapped;
            assert_eq!(trapped, 0, "{fault} led the client astray");
            assert_eq!(outcome(&result), expected, "{fault}: {result:?}");
        }));
    }
    for one in signing_in {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn a_fault_of_the_keys_is_met_as_well_when_they_are_fetched_again() {
    for (fault, expected) in [
        (Fault::JwksServerError, Outcome::Discovery),
        (Fault::JwksNotJson, Outcome::Discovery),
        (Fault::JwksDuplicateKeys, Outcome::Discovery),
        (Fault::JwksRedirect, Outcome::Discovery),
        (Fault::JwksEmpty, Outcome::IdToken),
        (Fault::RsaTooWeak, Outcome::IdToken),
        (Fault::RsaTooLarge, Outcome::IdToken),
        (Fault::JwksSymmetricKey, Outcome::IdToken),
    ] {
        let house = House::new();
        house.warm().await;
        house.idp.rotate_keys(Rotation::Replace).unwrap();
        house.idp.set_fault(fault);
        let result = house.sign_in("alice").await;
        assert_eq!(outcome(&result), expected, "{fault}: {result:?}");
    }
}

#[tokio::test]
async fn every_algorithm_signs_in_the_same_person() {
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ] {
        let options = Options {
            algorithm,
            ..Options::default()
        };
        let house = House::with(options, &quick());
        let alice = VerifiedIdentity {
            issuer: house.issuer(),
            subject: "alice-1".to_owned(),
            email: Some("alice@example.com".to_owned()),
            email_verified: EmailVerified::True,
            name: Some("Alice Example".to_owned()),
            picture: Some("https://pictures.example.com/alice.png".to_owned()),
        };
        assert!(
            house.sign_in("alice").await.unwrap() == alice,
            "{algorithm:?}"
        );
        assert_eq!(house.idp.served().userinfo, 0, "the ID token says it all");
    }
}

#[tokio::test]
async fn every_way_of_client_authentication_is_spoken() {
    let announced = |methods: &[&str]| methods.iter().map(ToString::to_string).collect();
    for (client_id, methods) in [
        (
            "authlog-test",
            announced(&["client_secret_basic", "client_secret_post"]),
        ),
        (
            "authlog-test-basic",
            announced(&["client_secret_post", "client_secret_basic"]),
        ),
        ("authlog-test-odd", announced(&["client_secret_basic"])),
        ("authlog-test-post", announced(&["client_secret_post"])),
        (
            "authlog-test-public",
            announced(&["client_secret_basic", "none"]),
        ),
    ] {
        let options = Options {
            announced_auth_methods: methods,
            ..Options::default()
        };
        let mut house = House::with(options, &quick());
        house.config = config(&house.idp, client_id);
        let result = house.sign_in("bob").await;
        assert_eq!(
            outcome(&result),
            Outcome::Verified,
            "{client_id}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_the_provider_cannot_be_given_is_a_configuration_error() {
    let options = Options {
        announced_auth_methods: vec!["private_key_jwt".to_owned()],
        ..Options::default()
    };
    let result = House::with(options, &quick()).sign_in("alice").await;
    assert_eq!(outcome(&result), Outcome::Config);
}

#[tokio::test]
async fn a_wrong_secret_is_a_failed_exchange_that_does_not_show_it() {
    let mut house = House::new();
    house.config.client_secret = Some("wrong-horse".into());
    let error = house.sign_in("alice").await.unwrap_err();
    let refused = matches!(
        &error,
        OidcError::TokenExchange(ExchangeProblem::Refused(code)) if code == "invalid_client"
    );
    assert!(refused, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("horse"));
}

#[tokio::test]
async fn what_the_id_token_leaves_out_comes_from_userinfo() {
    let options = Options {
        claims_in: ClaimsIn::Userinfo,
        ..Options::default()
    };
    let house = House::with(options, &quick());
    let bob = house.sign_in("bob").await.unwrap();
    assert_eq!(bob.email.as_deref(), Some("bob@example.com"));
    assert_eq!(bob.email_verified, EmailVerified::True);
    assert_eq!(bob.name.as_deref(), Some("Bob Example"));
    assert_eq!(
        bob.picture.as_deref(),
        Some("https://pictures.example.com/bob.png")
    );
    assert_eq!(outcome(&house.sign_in("carol").await), Outcome::NoEmail);
    assert_eq!(outcome(&house.sign_in("eve").await), Outcome::Unverified);
    assert_eq!(outcome(&house.sign_in("dave").await), Outcome::NoWord);
}

#[tokio::test]
async fn odd_names_and_pictures_are_dropped() {
    for (fault, has_name, has_picture) in [
        (Fault::NameTooLong, false, true),
        (Fault::NameControlCharacters, false, true),
        (Fault::PictureScript, true, false),
    ] {
        let house = House::new();
        house.idp.set_fault(fault);
        let alice = house.sign_in("alice").await.unwrap();
        let kept = (alice.name.is_some(), alice.picture.is_some());
        assert_eq!(kept, (has_name, has_picture), "{fault}");
    }
}

#[tokio::test]
async fn the_authorization_url_asks_for_a_code_with_pkce() {
    let house = House::new();
    let url: url::Url = house.authorization_url().await.unwrap().parse().unwrap();
    assert!(
        url.as_str()
            .starts_with(&format!("{}/authorize?", house.idp.issuer()))
    );
    let mut asked: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    asked.sort();
    let expected = [
        ("client_id", "authlog-test"),
        (
            "code_challenge",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        ),
        ("code_challenge_method", "S256"),
        ("nonce", NONCE),
        ("redirect_uri", REDIRECT_URI),
        ("response_type", "code"),
        ("scope", "openid email profile"),
        ("state", "the-state"),
    ];
    assert_eq!(
        asked,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn a_code_of_another_issuers_answer_is_not_sent() {
    let house = House::new();
    for iss in [Some("https://evil.example"), None] {
        let result = house.exchange("a-code", iss).await;
        assert_eq!(outcome(&result), Outcome::TokenExchange);
    }
    assert_eq!(house.idp.served().token, 0);
}

#[tokio::test]
async fn an_id_token_is_judged_at_the_time_that_is_passed_in() {
    let house = House::new();
    for (shift_seconds, expected) in [
        (0, Outcome::Verified),
        (200, Outcome::Verified),
        (400, Outcome::IdToken),
        (-30, Outcome::Verified),
        (-120, Outcome::IdToken),
    ] {
        let url = house.authorization_url().await.unwrap();
        let back = house.idp.sign_in(&url, "alice").await.unwrap();
        let params = CallbackParams {
            code: &back.code,
            redirect_uri: REDIRECT_URI,
            pkce_verifier: VERIFIER,
            nonce: NONCE,
            iss: back.iss.as_deref(),
        };
        let now = Utc::now() + TimeDelta::seconds(shift_seconds);
        let result = house.client.exchange(&house.config, params, now).await;
        assert_eq!(outcome(&result), expected, "{shift_seconds} s: {result:?}");
    }
}

#[tokio::test]
async fn configuring_asks_anew_and_needs_a_usable_key() {
    let house = House::new();
    for round in 1..=2 {
        let discovered = house.client.discover(&house.issuer()).await.unwrap();
        assert_eq!(discovered.issuer, house.issuer());
        let endpoint = |path: &str| format!("{}/{path}", house.idp.issuer());
        assert_eq!(
            discovered.authorization_endpoint.as_str(),
            endpoint("authorize")
        );
        assert_eq!(discovered.token_endpoint.as_str(), endpoint("token"));
        assert_eq!(
            discovered.userinfo_endpoint.unwrap().as_str(),
            endpoint("userinfo")
        );
        assert_eq!(discovered.jwks_uri.as_str(), endpoint("jwks"));
        let served = house.idp.served();
        assert_eq!((served.discovery, served.jwks), (round, round));
    }
    for fault in [
        Fault::JwksEmpty,
        Fault::JwksEncryptionKeys,
        Fault::RsaTooWeak,
        Fault::RsaTooLarge,
    ] {
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
    let served = house.idp.served();
    assert_eq!((served.discovery, served.jwks, served.token), (1, 2, 30));
    house.idp.clear_fault();
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::Verified);
}

#[tokio::test]
async fn a_key_that_is_new_after_the_interval_is_fetched_again() {
    let patient = OidcOptions {
        key_refetch_interval_seconds: 0,
        ..quick()
    };
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
    std::fs::write(&ca_file, include_str!("../src/oidc/testdata/localhost.pem")).unwrap();
    let options = OidcOptions {
        ca_file: Some(ca_file.clone()),
        ..quick()
    };
    let mut house = House::with(Options::default(), &options);
    house.warm().await;
    std::fs::write(&ca_file, "gone bad").unwrap();
    assert_eq!(
        outcome(&house.sign_in("alice").await),
        Outcome::Verified,
        "nothing is fetched"
    );
    house.config.version += 1;
    assert_eq!(outcome(&house.sign_in("alice").await), Outcome::HttpClient);
    let refused = house.client.discover(&house.issuer()).await;
    assert!(matches!(refused, Err(OidcError::HttpClient(_))));
    let restarted = OidcClient::new(&options).err();
    assert!(matches!(restarted, Some(OidcError::HttpClient(_))));
}

#[tokio::test]
async fn what_the_caller_must_bring_is_checked() {
    let house = House::new();
    let short = house
        .client
        .authorization_url(&house.config, REDIRECT_URI, "state", NONCE, "too-short")
        .await;
    assert!(matches!(short, Err(OidcError::Config(_))));
    let nowhere = house
        .client
        .authorization_url(&house.config, "not a URL", "state", NONCE, VERIFIER)
        .await;
    assert!(matches!(nowhere, Err(OidcError::Config(_))));
}
