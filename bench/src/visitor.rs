//! Somebody who signs in again and again, through a provider that runs in this process.

use clap::Args;
use devidp::{Account, Client, DevIdp};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Failure;

const REDIRECT_URI: &str = "http://127.0.0.1/auth/callback";

/// A service whose owner lets the visitor in.
#[derive(Args, Clone)]
pub(crate) struct ServiceArgs {
    /// Address and port of the service.
    #[arg(long)]
    address: String,
    /// The owner's session, not older than a quarter of an hour.
    #[arg(long)]
    token: String,
}

pub(crate) struct Visitor {
    http: reqwest::Client,
    base: String,
    token: String,
    name: String,
    _provider: DevIdp,
}

impl Visitor {
    /// Makes a provider of its own the service's, is invited and signs in for the first time.
    pub(crate) async fn arrive(service: &ServiceArgs) -> Result<Self, Failure> {
        let provider = DevIdp::start(devidp::Options::default())?;
        let name = format!("visitor-{}", Uuid::now_v7().simple());
        provider.add_account(Account::new(&name));
        let settings = json!({
            "issuer_url": provider.issuer(), "client_id": "authlog-test", "client_secret": Client::SECRET,
        });
        let visitor = Self {
            http: http_client()?,
            base: format!("http://{}", service.address),
            token: service.token.clone(),
            name,
            _provider: provider,
        };
        visitor.call(Method::PUT, "/v1/settings/external-access/oidc", Some(settings)).await?;
        visitor.invite(&format!("{}@example.com", visitor.name)).await?;
        let first = visitor.go_to_the_provider().await?;
        visitor.sign_in(first).await?;
        Ok(visitor)
    }

    /// Sends a call of the owner's and reads its answer.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{path} was answered with {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) async fn invite(&self, email: &str) -> Result<(), Failure> {
        let body = json!({ "email": email, "role": "qa_viewer" });
        self.call(Method::POST, "/v1/users/invite", Some(body)).await.map(drop)
    }

    /// Goes to the provider and comes back with what a callback takes.
    pub(crate) async fn go_to_the_provider(&self) -> Result<Value, Failure> {
        let path = format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}");
        let begun = self.call(Method::GET, &path, None).await?;
        let url = begun["authorization_url"].as_str().ok_or("no authorization_url")?;
        let signed_in = devidp::browser::sign_in(url, &self.name, "password").await?;
        Ok(json!({ "code": signed_in.code, "state": signed_in.state, "iss": signed_in.iss }))
    }

    pub(crate) async fn sign_in(&self, callback: Value) -> Result<(), Failure> {
        self.call(Method::POST, "/v1/auth/oidc/callback", Some(callback)).await.map(drop)
    }
}

fn http_client() -> Result<reqwest::Client, Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().tls_certs_only(Vec::<reqwest::Certificate>::new()).build()?)
}
