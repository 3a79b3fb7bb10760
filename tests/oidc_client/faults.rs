//! Every way in which a provider can misbehave, and the exact answer to it.

use devidp::{Fault, Rotation};

use crate::house::{House, Outcome, outcome};

/// What a sign-in comes to under this fault; `None` if the fault ends it at the browser.
#[expect(clippy::too_many_lines, reason = "a table: one match without a catch-all over every fault")]
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
        | F::RsaLongest
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
