use crate::relying_party::{IdToken, RelyingParty, STATE, query};
use devidp::wire::{Answer, Request, WireError};
use devidp::{DevIdp, Fault, Options};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use url::Url;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const STALL: Duration = Duration::from_millis(400);
const MIB: usize = 1024 * 1024;

fn start(fault: Fault) -> (DevIdp, RelyingParty) {
    let provider = DevIdp::start(Options { fault: Some(fault), stall: STALL, ..Options::default() }).unwrap();
    let party = RelyingParty::new(provider.issuer());
    (provider, party)
}

/// One of the four endpoints a client's server calls, with whatever it takes to get a right answer from it.
#[derive(Clone, Copy, Debug)]
enum Called {
    Discovery,
    Jwks,
    Token,
    Userinfo,
}

impl Called {
    async fn request(self, party: &RelyingParty) -> Request {
        match self {
            Self::Discovery => Request::get(&party.url(DISCOVERY)),
            Self::Jwks => Request::get(&party.url("/jwks")),
            Self::Token => party.token_request(&party.url("/token"), &party.code("alice").await, &[]),
            Self::Userinfo => {
                let tokens = party.sign_in("alice").await.json().unwrap();
                let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
                Request::get(&party.url("/userinfo")).header("Authorization", &bearer)
            }
        }
    }

    /// A member that only the right document has.
    fn member(self) -> &'static str {
        match self {
            Self::Discovery => "issuer",
            Self::Jwks => "keys",
            Self::Token => "id_token",
            Self::Userinfo => "sub",
        }
    }
}

#[tokio::test]
async fn an_endpoint_can_fail_or_talk_nonsense() {
    use Called::{Discovery, Jwks, Token, Userinfo};
    for (fault, called) in [
        (Fault::DiscoveryServerError, Discovery),
        (Fault::JwksServerError, Jwks),
        (Fault::TokenServerError, Token),
        (Fault::UserinfoServerError, Userinfo),
    ] {
        let (_provider, party) = start(fault);
        let answer = called.request(&party).await.send().await.unwrap();
        assert_eq!((answer.status, answer.json().unwrap()), (500, json!({"error": "server_error"})), "{fault}");
    }
    for (fault, called) in [
        (Fault::DiscoveryNotJson, Discovery),
        (Fault::JwksNotJson, Jwks),
        (Fault::TokenNotJson, Token),
        (Fault::UserinfoNotJson, Userinfo),
    ] {
        let (_provider, party) = start(fault);
        let answer = called.request(&party).await.send().await.unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{fault}");
        assert!(answer.json().is_err(), "{fault}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_oversized_answer_is_right_and_has_no_length() {
    for (fault, called) in [
        (Fault::DiscoveryOversized, Called::Discovery),
        (Fault::JwksOversized, Called::Jwks),
        (Fault::TokenOversized, Called::Token),
        (Fault::UserinfoOversized, Called::Userinfo),
    ] {
        let (_provider, party) = start(fault);
        let answer = called.request(&party).await.send().await.unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, None), "{fault}");
        assert!(answer.body.len() > MIB && answer.body.len() < 2 * MIB, "{fault}: {}", answer.body.len());
        assert!(!answer.json().unwrap()[called.member()].is_null(), "{fault}");
    }
}

#[tokio::test]
async fn a_slow_or_dripping_answer_takes_the_stall_and_is_right() {
    for (fault, called) in [
        (Fault::DiscoverySlow, Called::Discovery),
        (Fault::DiscoveryDrip, Called::Discovery),
        (Fault::JwksSlow, Called::Jwks),
        (Fault::TokenSlow, Called::Token),
        (Fault::TokenDrip, Called::Token),
        (Fault::UserinfoSlow, Called::Userinfo),
    ] {
        let (_provider, party) = start(fault);
        let late = called.request(&party).await.within(STALL / 2).send().await;
        assert!(matches!(late, Err(WireError::Late(..))), "{fault}: {late:?}");
        let request = called.request(&party).await;
        let begun = Instant::now();
        let answer: Answer = request.send().await.unwrap();
        assert!(begun.elapsed() >= STALL * 9 / 10, "{fault}: {:?}", begun.elapsed());
        assert!(!answer.json().unwrap()[called.member()].is_null(), "{fault}");
    }
}

#[tokio::test]
async fn a_redirect_leads_to_a_trap_that_would_have_answered_rightly() {
    for (fault, called) in [
        (Fault::DiscoveryRedirect, Called::Discovery),
        (Fault::JwksRedirect, Called::Jwks),
        (Fault::UserinfoRedirect, Called::Userinfo),
    ] {
        let (provider, party) = start(fault);
        let request = called.request(&party).await;
        let answer = request.clone().send().await.unwrap();
        assert_eq!((answer.status, provider.served().trapped), (307, 0), "{fault}");
        let target = Url::parse(answer.header("location").unwrap()).unwrap();
        let followed = request.to(&target).send().await.unwrap();
        assert!(!followed.json().unwrap()[called.member()].is_null(), "{fault}");
        assert_eq!(provider.served().trapped, 1, "{fault}");
    }
    let (provider, party) = start(Fault::TokenRedirect);
    let code = party.code("alice").await;
    let answer = party.exchange(&code, &[]).await;
    assert_eq!((answer.status, provider.served().trapped), (307, 0));
    let target = Url::parse(answer.header("location").unwrap()).unwrap();
    let followed = party.token_request(&target, &code, &[]).send().await.unwrap();
    assert_eq!((followed.status, provider.served().trapped), (200, 1));
}

#[tokio::test]
async fn a_fault_of_the_discovery_document_changes_one_member() {
    let right = DevIdp::start(Options::default()).unwrap();
    let document = RelyingParty::new(right.issuer()).discover().await;
    let link_local = json!("http://169.254.169.254/latest/meta-data");
    for (fault, member, value) in [
        (Fault::DiscoveryWrongIssuer, "issuer", json!("ISSUER/other")),
        (Fault::DiscoveryPlaceholderIssuer, "issuer", json!("ISSUER/{tenantid}/v2.0")),
        (Fault::DiscoveryNoJwksUri, "jwks_uri", Value::Null),
        (Fault::DiscoveryNoTokenEndpoint, "token_endpoint", Value::Null),
        (Fault::DiscoveryNoAuthorizationEndpoint, "authorization_endpoint", Value::Null),
        (Fault::DiscoveryLinkLocalJwksUri, "jwks_uri", link_local.clone()),
        (Fault::DiscoveryLinkLocalTokenEndpoint, "token_endpoint", link_local),
        (
            Fault::DiscoveryScriptAuthorizationEndpoint,
            "authorization_endpoint",
            json!("javascript:alert(document.domain)//"),
        ),
    ] {
        let (provider, party) = start(fault);
        let mut expected = document.to_string().replace(right.issuer(), "ISSUER").parse::<Value>().unwrap();
        if value.is_null() {
            expected.as_object_mut().unwrap().remove(member);
        } else {
            expected[member] = value;
        }
        let found = party.get(DISCOVERY).await.text().replace(provider.issuer(), "ISSUER");
        assert_eq!(found.parse::<Value>().unwrap(), expected, "{fault}");
    }
    let (provider, party) = start(Fault::DiscoveryDuplicateKeys);
    let text = party.get(DISCOVERY).await.text();
    assert!(text.starts_with(&format!(r#"{{"issuer":"{}/other","#, provider.issuer())), "{text}");
    assert_eq!(text.matches(r#""issuer":"#).count(), 2);
    assert_eq!(text.parse::<Value>().unwrap()["issuer"], provider.issuer());
}

#[tokio::test]
async fn a_fault_of_the_authorization_answer_changes_one_parameter() {
    for (fault, code, state, issuer) in [
        (Fault::AuthorizationWrongIssuer, true, Some(STATE), Some("/other")),
        (Fault::AuthorizationNoIssuer, true, Some(STATE), None),
        (Fault::AuthorizationWrongState, true, Some("another-state"), Some("")),
        (Fault::AuthorizationNoState, true, None, Some("")),
        (Fault::AuthorizationNoCode, false, Some(STATE), Some("")),
    ] {
        let (provider, party) = start(fault);
        let redirect = party.walk("alice").await;
        let issuer = issuer.map(|suffix| format!("{}{suffix}", provider.issuer()));
        assert_eq!(query(&redirect, "code").is_some(), code, "{fault}");
        assert_eq!((query(&redirect, "state").as_deref(), query(&redirect, "iss")), (state, issuer), "{fault}");
        assert_eq!(query(&redirect, "error"), None);
    }
    for (fault, error, description) in [
        (Fault::AccessDenied, "access_denied", "the person said no"),
        (Fault::AuthorizationScriptError, "server_error", "<script>alert(document.domain)</script>\r\n\u{1b}[2Jroot"),
    ] {
        let (provider, party) = start(fault);
        let redirect = party.walk("alice").await;
        let found = ["code", "error", "error_description", "state", "iss"].map(|name| query(&redirect, name));
        let expected = [None, Some(error), Some(description), Some(STATE), Some(provider.issuer())];
        assert_eq!(found, expected.map(|value| value.map(str::to_owned)), "{fault}");
    }
}

#[tokio::test]
async fn the_token_endpoint_can_refuse_or_leave_out_or_double_the_id_token() {
    let (_provider, party) = start(Fault::TokenInvalidGrant);
    let answer = party.sign_in("alice").await;
    let expected = json!({"error": "invalid_grant", "error_description": "no code is good enough"});
    assert_eq!((answer.status, answer.json().unwrap()), (400, expected));

    let (_provider, party) = start(Fault::NoIdToken);
    let answer = party.sign_in("alice").await;
    assert_eq!((answer.status, answer.json().unwrap().get("id_token")), (200, None));
    assert!(answer.json().unwrap()["access_token"].is_string());

    let (_provider, party) = start(Fault::IdTokenGarbage);
    assert_eq!(party.sign_in("alice").await.json().unwrap()["id_token"], "not-a-token");

    let (_provider, party) = start(Fault::TokenDuplicateKeys);
    let text = party.sign_in("alice").await.text();
    let tokens: Vec<IdToken> =
        text.split(r#""id_token":""#).skip(1).map(|rest| IdToken::read(rest.split('"').next().unwrap())).collect();
    let key = &party.keys().await[0];
    assert!(tokens.iter().all(|token| token.is_signed_by(key)));
    let subjects: Vec<Value> = tokens.iter().map(|token| token.claims()["sub"].clone()).collect();
    assert_eq!(subjects, ["mallory-1", "alice-1"]);
}
