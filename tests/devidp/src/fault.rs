//! Every way in which the provider can misbehave, one at a time.

use clap::ValueEnum;
use std::fmt;

/// One way of misbehaving. All that a variant does not name stays right, so that a client that misses this one check
/// goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Fault {
    // ---- discovery
    /// Discovery answers 500
    DiscoveryServerError,
    /// Discovery answers 200 with text that is not JSON
    DiscoveryNotJson,
    /// The discovery document names another issuer
    DiscoveryWrongIssuer,
    /// The discovery document's issuer holds the placeholder `{tenantid}`, as multi-tenant providers send it
    DiscoveryPlaceholderIssuer,
    /// The discovery document has `issuer` twice: first another one, then the right one
    DiscoveryDuplicateKeys,
    /// The discovery document is over 1 MiB, sent in chunks without a length
    DiscoveryOversized,
    /// Discovery answers only after the stall
    DiscoverySlow,
    /// The discovery document trickles in, a few bytes at a time, over the length of the stall
    DiscoveryDrip,
    /// Discovery redirects to another path of the provider that holds the right document
    DiscoveryRedirect,
    /// The discovery document has no `jwks_uri`
    DiscoveryNoJwksUri,
    /// The discovery document has no `token_endpoint`
    DiscoveryNoTokenEndpoint,
    /// The discovery document has no `authorization_endpoint`
    DiscoveryNoAuthorizationEndpoint,
    /// `jwks_uri` is a link-local address (a cloud's metadata service)
    DiscoveryLinkLocalJwksUri,
    /// `token_endpoint` is a link-local address (a cloud's metadata service)
    DiscoveryLinkLocalTokenEndpoint,
    /// `authorization_endpoint` is a `javascript:` URL
    DiscoveryScriptAuthorizationEndpoint,

    // ---- published keys
    /// The key set answers 500
    JwksServerError,
    /// The key set is not JSON
    JwksNotJson,
    /// Every published key has `kid` twice: first another one, then the right one
    JwksDuplicateKeys,
    /// The key set is over 1 MiB, sent in chunks without a length
    JwksOversized,
    /// The key set answers only after the stall
    JwksSlow,
    /// The key set redirects to another path of the provider that holds the right one
    JwksRedirect,
    /// The key set is empty
    JwksEmpty,
    /// The published keys are for encryption (`use: enc`)
    JwksEncryptionKeys,
    /// The published keys name another algorithm than the token's
    JwksOtherAlgorithm,
    /// The key set holds a symmetric key, and the ID token is signed HS256 with it
    JwksSymmetricKey,
    /// The provider's key is RSA with 1024 bits, the RS256 signature right
    RsaTooWeak,
    /// The provider's key is RSA with 8192 bits, the RS256 signature right (right: no longer one should be taken)
    RsaLongest,
    /// The provider's key is RSA with 8200 bits, the RS256 signature right
    RsaTooLarge,

    // ---- the answer of the authorization endpoint
    /// `iss` in the authorization answer is another issuer
    AuthorizationWrongIssuer,
    /// `iss` is missing in the authorization answer, though discovery promises it
    AuthorizationNoIssuer,
    /// `state` in the authorization answer is another one
    AuthorizationWrongState,
    /// `state` is missing in the authorization answer
    AuthorizationNoState,
    /// `code` is missing in the authorization answer
    AuthorizationNoCode,
    /// The authorization answer is the error `access_denied`
    AccessDenied,
    /// The authorization answer is an error whose description holds script, line breaks and terminal controls
    AuthorizationScriptError,

    // ---- the token endpoint
    /// The token endpoint answers 500
    TokenServerError,
    /// The token endpoint refuses every code with `invalid_grant`
    TokenInvalidGrant,
    /// The token endpoint's answer is not JSON
    TokenNotJson,
    /// The token endpoint's answer is over 1 MiB, sent in chunks without a length
    TokenOversized,
    /// The token endpoint answers only after the stall
    TokenSlow,
    /// The token endpoint's answer trickles in over the length of the stall
    TokenDrip,
    /// The token endpoint redirects (307) to another path of the provider that would take the code
    TokenRedirect,
    /// The token endpoint's answer has `id_token` twice: first another account's, then the right one
    TokenDuplicateKeys,
    /// The token endpoint's answer has no `id_token`
    NoIdToken,
    /// The token endpoint's `id_token` is not a JWT
    IdTokenGarbage,

    // ---- signature and header of the ID token
    /// One bit of the signature is wrong
    SignatureBroken,
    /// Signed by somebody else's key under the provider's key id
    SignatureByStranger,
    /// `alg: none`, no signature
    AlgNone,
    /// `alg: nOnE`, no signature
    AlgNoneMixedCase,
    /// HS256 with the published RSA key (as PEM) for a secret
    Hs256PublicKey,
    /// HS256 with the client secret; with an empty one for a public client
    Hs256ClientSecret,
    /// Signed by somebody else's key, which the header brings along as `jwk`
    EmbeddedJwk,
    /// Signed by somebody else's key, which is served where the header's `jku` points
    JkuHeader,
    /// The header has a `crit` extension nobody knows (RFC 7515 section 4.1.11)
    CritHeader,
    /// The header has `alg` twice: first `none`, then the right one
    HeaderDuplicateKeys,
    /// A key id that is not published, another one with every token; the signature is right
    UnknownKeyId,
    /// No key id; the signature is right (allowed while one key is published)
    NoKeyId,

    // ---- claims of the ID token
    /// `iss` is another issuer
    WrongIssuer,
    /// `aud` is another client
    WrongAudience,
    /// `aud` is missing
    MissingAudience,
    /// `aud` is this client and another one, without `azp`
    ManyAudiencesNoAzp,
    /// `aud` is this client and `azp` another one
    WrongAzp,
    /// `exp` is missing
    MissingExpiry,
    /// `exp` is an hour ago
    Expired,
    /// `exp` is a text instead of a number
    ExpiryNotANumber,
    /// `iat` is missing
    MissingIssuedAt,
    /// `iat` is a day ahead, `exp` after it
    IssuedInFuture,
    /// `nbf` is a day ahead, `exp` after it
    NotYetValid,
    /// `sub` is missing
    MissingSubject,
    /// `sub` is empty
    EmptySubject,
    /// `sub` is a number
    SubjectNotAText,
    /// `sub` has 300 characters, over the 255 that are allowed
    SubjectTooLong,
    /// `nonce` is another one
    WrongNonce,
    /// `nonce` is missing
    MissingNonce,
    /// `at_hash` is that of another access token
    WrongAccessTokenHash,
    /// The payload has `sub` twice: first another one, then the right one
    PayloadDuplicateKeys,

    // ---- address and profile
    /// `email_verified` is the text `"true"`
    EmailVerifiedText,
    /// `email_verified` is the number 1
    EmailVerifiedNumber,
    /// `email` is nowhere
    EmailMissing,
    /// `email` and `email_verified` are in userinfo only
    EmailOnlyInUserinfo,
    /// `email` is in the ID token, `email_verified` only in userinfo
    EmailVerifiedElsewhere,
    /// `email_verified: true` is in the ID token without an address; userinfo has an address that is not verified
    EmailElsewhere,
    /// `email` is a list instead of a text
    EmailNotAText,
    /// `email` goes on after a line break
    EmailLineBreak,
    /// `email` goes on after a NUL
    EmailNul,
    /// `email` has a second `@` and domain
    EmailDoubleAt,
    /// A letter before the `@` is a Cyrillic look-alike
    EmailLookAlikeLocal,
    /// A letter of the domain is a Cyrillic look-alike
    EmailLookAlikeDomain,
    /// `email` is over 254 bytes
    EmailTooLong,
    /// `email` is in upper case (right: it has the same normal form)
    EmailUpperCase,
    /// `name` is script
    NameScript,
    /// `name` holds line breaks and terminal controls
    NameControlCharacters,
    /// `name` has 100,000 characters
    NameTooLong,
    /// `picture` is a `javascript:` URL
    PictureScript,

    // ---- userinfo; all of them leave email and profile out of the ID token, so that userinfo must be asked
    /// Userinfo answers 500
    UserinfoServerError,
    /// Userinfo's answer is not JSON
    UserinfoNotJson,
    /// Userinfo's answer is over 1 MiB, sent in chunks without a length
    UserinfoOversized,
    /// Userinfo answers only after the stall
    UserinfoSlow,
    /// Userinfo redirects to another path of the provider that holds the right answer
    UserinfoRedirect,
    /// Userinfo speaks of another `sub` than the ID token
    UserinfoOtherSubject,
    /// Userinfo has no `sub`
    UserinfoNoSubject,
    /// Userinfo has `sub` twice: first another one, then the right one
    UserinfoDuplicateKeys,
}

impl Fault {
    /// Every fault there is, in the order of the enum.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether email and profile must be left out of the ID token for the fault to be met.
    pub(crate) fn needs_userinfo(self) -> bool {
        matches!(
            self,
            Self::UserinfoServerError
                | Self::UserinfoNotJson
                | Self::UserinfoOversized
                | Self::UserinfoSlow
                | Self::UserinfoRedirect
                | Self::UserinfoOtherSubject
                | Self::UserinfoNoSubject
                | Self::UserinfoDuplicateKeys
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name())
    }
}
