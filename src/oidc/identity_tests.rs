#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::client_secret::Ways;
use super::provider::Provider;
use super::token::TokenAnswer;
use super::verify::VerifiedToken;
use super::{
    Discovered, EmailVerified, ExchangeProblem, IssuerUrl, OidcClient, OidcError, OidcOptions, VerifiedIdentity,
};

/// What a person is known by, when the ID token has these claims and userinfo does not answer.
async fn without_userinfo(claims: Value) -> Result<VerifiedIdentity, OidcError> {
    // A port that was free a moment ago: nobody answers there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let url: url::Url = base.parse().unwrap();
    let provider = Provider {
        discovered: Discovered {
            issuer: IssuerUrl::parse(&base).unwrap(),
            authorization_endpoint: url.clone(),
            token_endpoint: url.clone(),
            userinfo_endpoint: Some(url.clone()),
            jwks_uri: url,
        },
        secret_ways: Arc::new(Ways::announced(None)),
        names_issuer_in_answers: false,
        keys: Vec::new(),
    };
    let answer = json!({"access_token": "opaque", "token_type": "Bearer"});
    let answer: TokenAnswer = serde_json::from_value(answer).unwrap();
    let token = VerifiedToken { subject: "alice-1".to_owned(), claims: serde_json::from_value(claims).unwrap() };
    let client = OidcClient::new(&OidcOptions::default()).unwrap();
    client.identity(&provider, &answer, token).await
}

#[tokio::test]
async fn a_person_with_an_address_comes_in_without_a_picture_when_userinfo_is_gone() {
    let claims = json!({"email": "a@example.org", "email_verified": true, "name": "Ada"});
    let ada = without_userinfo(claims).await.unwrap();
    assert_eq!(ada.email.as_deref(), Some("a@example.org"));
    assert_eq!(ada.email_verified, EmailVerified::True);
    assert_eq!((ada.name.as_deref(), ada.picture), (Some("Ada"), None));
}

#[tokio::test]
async fn a_person_whose_address_only_userinfo_has_does_not_come_in_when_it_is_gone() {
    let refused = without_userinfo(json!({"email_verified": true, "name": "Ada"})).await;
    let failed = matches!(&refused, Err(OidcError::TokenExchange(ExchangeProblem::Http(_))));
    assert!(failed, "{refused:?}");
}

#[tokio::test]
async fn an_identity_does_not_show_the_person() {
    let claims = json!({"email": "a@example.org", "name": "Ada", "picture": "https://a.example/"});
    let shown = format!("{:?}", without_userinfo(claims).await.unwrap());
    for part in ["example.org", "Ada", "alice-1", "a.example"] {
        assert!(!shown.contains(part), "{shown}");
    }
}
