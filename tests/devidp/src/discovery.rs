//! The discovery document (OpenID Connect Discovery 1.0 section 3) and the key set (RFC 7517).

use crate::answer::{self, Trouble, troubled, with_duplicate};
use crate::fault::Fault;
use crate::jose;
use crate::keys::{KeyError, KeyRing};
use crate::state::{Endpoint, Provider};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where a cloud's metadata service listens: what a server-side request forgery asks for.
const LINK_LOCAL: &str = "http://169.254.169.254/latest/meta-data";

pub(crate) async fn document(State(provider): State<Arc<Provider>>) -> Response {
    provider.count(Endpoint::Discovery);
    let fault = provider.fault();
    let trouble = match fault {
        Some(Fault::DiscoveryRedirect) => {
            return answer::redirect(&format!("{}/trap/discovery", provider.issuer));
        }
        Some(Fault::DiscoveryServerError) => Some(Trouble::ServerError),
        Some(Fault::DiscoveryNotJson) => Some(Trouble::NotJson),
        Some(Fault::DiscoveryOversized) => Some(Trouble::Oversized),
        Some(Fault::DiscoverySlow) => Some(Trouble::Slow(provider.stall)),
        Some(Fault::DiscoveryDrip) => Some(Trouble::Drip(provider.stall)),
        _ => None,
    };
    troubled(trouble, faulty_metadata(&provider, fault)).await
}

pub(crate) async fn trapped_document(State(provider): State<Arc<Provider>>) -> Response {
    provider.count(Endpoint::Trap);
    answer::json(StatusCode::OK, metadata(&provider).to_string())
}

fn faulty_metadata(provider: &Provider, fault: Option<Fault>) -> String {
    let mut document = metadata(provider);
    let issuer = &provider.issuer;
    match fault {
        Some(Fault::DiscoveryWrongIssuer) => document["issuer"] = json!(other_issuer(issuer)),
        Some(Fault::DiscoveryPlaceholderIssuer) => document["issuer"] = json!(format!("{issuer}/{{tenantid}}/v2.0")),
        Some(Fault::DiscoveryNoJwksUri) => remove(&mut document, "jwks_uri"),
        Some(Fault::DiscoveryNoTokenEndpoint) => remove(&mut document, "token_endpoint"),
        Some(Fault::DiscoveryNoAuthorizationEndpoint) => remove(&mut document, "authorization_endpoint"),
        Some(Fault::DiscoveryLinkLocalJwksUri) => document["jwks_uri"] = json!(LINK_LOCAL),
        Some(Fault::DiscoveryLinkLocalTokenEndpoint) => document["token_endpoint"] = json!(LINK_LOCAL),
        Some(Fault::DiscoveryScriptAuthorizationEndpoint) => {
            document["authorization_endpoint"] = json!("javascript:alert(document.domain)//");
        }
        Some(Fault::DiscoveryDuplicateKeys) => {
            return with_duplicate(&document.to_string(), "issuer", &other_issuer(issuer));
        }
        _ => {}
    }
    document.to_string()
}

/// An issuer that is not the provider's, but looks like it.
pub(crate) fn other_issuer(issuer: &str) -> String {
    format!("{issuer}/other")
}

fn remove(document: &mut Value, name: &str) {
    if let Some(object) = document.as_object_mut() {
        object.remove(name);
    }
}

fn metadata(provider: &Provider) -> Value {
    let issuer = &provider.issuer;
    let algorithm = provider.with_keys(|keys| keys.current().algorithm.name());
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [algorithm],
        "scopes_supported": ["openid", "email", "profile"],
        "claims_supported": ["sub", "email", "email_verified", "name", "picture"],
        "token_endpoint_auth_methods_supported": provider.announced_auth_methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
}

pub(crate) async fn jwks(State(provider): State<Arc<Provider>>) -> Response {
    provider.count(Endpoint::Jwks);
    let fault = provider.fault();
    let trouble = match fault {
        Some(Fault::JwksRedirect) => return answer::redirect(&format!("{}/trap/jwks", provider.issuer)),
        Some(Fault::JwksServerError) => Some(Trouble::ServerError),
        Some(Fault::JwksNotJson) => Some(Trouble::NotJson),
        Some(Fault::JwksOversized) => Some(Trouble::Oversized),
        Some(Fault::JwksSlow) => Some(Trouble::Slow(provider.stall)),
        _ => None,
    };
    match faulty_keys(&provider, fault) {
        Ok(keys) => troubled(trouble, key_set(&keys)).await,
        Err(error) => answer::json(StatusCode::INTERNAL_SERVER_ERROR, json!({"error": error.to_string()}).to_string()),
    }
}

pub(crate) async fn trapped_jwks(State(provider): State<Arc<Provider>>) -> Response {
    provider.count(Endpoint::Trap);
    let keys: Vec<String> =
        provider.with_keys(|keys| keys.published().iter().map(|key| key.jwk().to_string()).collect());
    answer::json(StatusCode::OK, key_set(&keys))
}

/// What the `jku` header points to: the key of whoever signed that token.
pub(crate) async fn stranger_jwks(State(provider): State<Arc<Provider>>) -> Response {
    provider.count(Endpoint::Trap);
    let key = provider.with_keys(KeyRing::stranger);
    answer::json(StatusCode::OK, key_set(&[key.jwk().to_string()]))
}

/// Each key as JSON text, because duplicate names have no place in a [`Value`].
fn faulty_keys(provider: &Provider, fault: Option<Fault>) -> Result<Vec<String>, KeyError> {
    let changed = |change: fn(&mut Value)| {
        move |mut jwk: Value| {
            change(&mut jwk);
            jwk.to_string()
        }
    };
    let keys = jose::published(provider, fault)?.into_iter();
    Ok(match fault {
        Some(Fault::JwksEmpty) => Vec::new(),
        Some(Fault::JwksEncryptionKeys) => keys.map(changed(|jwk| jwk["use"] = json!("enc"))).collect(),
        Some(Fault::JwksOtherAlgorithm) => keys
            .map(changed(|jwk| {
                jwk["alg"] = json!(if jwk["kty"] == "RSA" { "RS512" } else { "ES384" });
            }))
            .collect(),
        Some(Fault::JwksDuplicateKeys) => {
            keys.map(|jwk| with_duplicate(&jwk.to_string(), "kid", "somebody-elses")).collect()
        }
        _ => keys.map(|jwk| jwk.to_string()).collect(),
    })
}

fn key_set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}
