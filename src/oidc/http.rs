//! The way out: one bounded HTTP call at a time, to addresses that may be connected to.
//!
//! Architecture invariant: every byte that comes from a provider comes through [`HttpClient::send`]. It
//! follows no redirect, uses no proxy of the environment, speaks https (http only with a loopback
//! issuer), stops at a number of seconds and bytes, and refuses ambiguous JSON. Addresses are checked
//! where the connection is made: names by the [`GuardedResolver`], which hands the connector checked
//! addresses and nothing else, so that a name cannot lead elsewhere between a check and a connection;
//! addresses written into a URL, which the connector does not resolve, before it is called.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openidconnect::http::header::CONTENT_TYPE;
use openidconnect::http::{Response, StatusCode};
use openidconnect::{HttpRequest, HttpResponse};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::{Host, Url};

use super::OidcOptions;
use super::addresses::refusal;
use super::error::{HttpClientProblem, HttpProblem};
use super::issuer::{has_credentials, is_https_or_loopback};
use super::json::check_unambiguous;

/// Whether plain http may be spoken; only with a provider on loopback, and only to loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainHttp {
    Refused,
    OnLoopback,
}

/// The outgoing client and the CA file it was built with.
pub(super) struct HttpClient {
    ca_file: Option<PathBuf>,
    timeout_seconds: u64,
    max_answer_bytes: usize,
    lookup: Lookup,
    current: RwLock<Built>,
}

/// A client, and the content of the CA file that is in it.
struct Built {
    ca_pem: Option<Vec<u8>>,
    client: reqwest::Client,
}

impl HttpClient {
    /// Builds the client; reads the CA file.
    pub(super) fn new(options: &OidcOptions) -> Result<Self, HttpClientProblem> {
        Self::with_lookup(options, system_lookup)
    }

    fn with_lookup(options: &OidcOptions, lookup: Lookup) -> Result<Self, HttpClientProblem> {
        let ca_pem = match &options.ca_file {
            Some(path) => Some(std::fs::read(path).map_err(unreadable(path))?),
            None => None,
        };
        let client = build(options.ca_file.as_deref(), ca_pem.as_deref(), lookup)?;
        Ok(Self {
            ca_file: options.ca_file.clone(),
            timeout_seconds: options.timeout_seconds,
            max_answer_bytes: options.max_answer_bytes,
            lookup,
            current: RwLock::new(Built { ca_pem, client }),
        })
    }

    /// Reads the CA file again, and builds the client anew if it has changed.
    pub(super) async fn reload(&self) -> Result<(), HttpClientProblem> {
        let Some(path) = &self.ca_file else {
            return Ok(());
        };
        let pem = tokio::fs::read(path).await.map_err(unreadable(path))?;
        let unchanged = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.ca_pem.as_deref() == Some(pem.as_slice())
        };
        if unchanged {
            return Ok(());
        }
        let client = build(Some(path), Some(&pem), self.lookup)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Built { ca_pem: Some(pem), client };
        Ok(())
    }

    /// This client in the form that the `openidconnect` crate calls.
    ///
    /// Its futures own the client: borrowing ones are not `Send` for the crate's callers to prove.
    pub(super) fn caller(
        self: &Arc<Self>,
        plain_http: PlainHttp,
    ) -> impl Fn(HttpRequest) -> Calling + Send + Sync + 'static {
        let client = Arc::clone(self);
        move |request| {
            let client = Arc::clone(&client);
            Box::pin(async move { client.send(request, plain_http).await })
        }
    }

    /// Sends one request and reads its answer.
    pub(super) async fn send(&self, request: HttpRequest, plain_http: PlainHttp) -> Result<HttpResponse, HttpProblem> {
        let request = reqwest::Request::try_from(request).map_err(transport)?;
        check_url(request.url(), plain_http)?;
        let client = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.client.clone()
        };
        let whole = async {
            let answer = client.execute(request).await.map_err(transport)?;
            self.read(answer).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(self.timeout_seconds), whole)
            .await
            .map_err(|_| HttpProblem::TimedOut { seconds: self.timeout_seconds })??;
        if answer.status() == StatusCode::OK {
            check_unambiguous(answer.body()).map_err(HttpProblem::Json)?;
        }
        Ok(answer)
    }

    /// Reads the body as it comes in, and no further than allowed.
    async fn read(&self, mut answer: reqwest::Response) -> Result<HttpResponse, HttpProblem> {
        let limit_bytes = self.max_answer_bytes;
        let too_long = || HttpProblem::TooLong { limit_bytes };
        let announced = answer.content_length().unwrap_or(0);
        if usize::try_from(announced).map_or(true, |length| length > limit_bytes) {
            return Err(too_long());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport)? {
            if chunk.len() > limit_bytes - body.len() {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        let mut whole = Response::new(body);
        *whole.status_mut() = answer.status();
        if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
            whole.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        Ok(whole)
    }
}

/// Refuses URLs that are never called, before anything is resolved or connected.
fn check_url(url: &Url, plain_http: PlainHttp) -> Result<(), HttpProblem> {
    if !is_https_or_loopback(url) || (url.scheme() == "http" && plain_http == PlainHttp::Refused) {
        return Err(HttpProblem::PlainHttp);
    }
    if has_credentials(url) {
        return Err(HttpProblem::UnusableUrl);
    }
    let address = match url.host() {
        None => return Err(HttpProblem::UnusableUrl),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
    };
    match refusal(address) {
        Some(refusal) => Err(HttpProblem::RefusedAddress { address, refusal }),
        None => Ok(()),
    }
}

fn build(ca_file: Option<&Path>, ca_pem: Option<&[u8]>, lookup: Lookup) -> Result<reqwest::Client, HttpClientProblem> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let (Some(path), Some(pem)) = (ca_file, ca_pem) {
        add_certificates(&mut roots, path, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(HttpClientProblem::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(GuardedResolver { lookup })
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("authlog/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| HttpClientProblem::Client(error.without_url()))
}

fn add_certificates(roots: &mut rustls::RootCertStore, path: &Path, pem: &[u8]) -> Result<(), HttpClientProblem> {
    let bad = |reason: String| HttpClientProblem::BadCaFile { path: path.to_owned(), reason };
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(bad("no PEM certificate in it".to_owned()));
    }
    Ok(())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> HttpClientProblem {
    let path = path.to_owned();
    move |source| HttpClientProblem::UnreadableCaFile { path, source }
}

/// URLs are left out of causes: the caller knows which one it called.
fn transport(error: reqwest::Error) -> HttpProblem {
    HttpProblem::Transport(error.without_url())
}

type Calling = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpProblem>> + Send>>;

type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Lookup = fn(String) -> Looking;

/// Asks the system for a name's addresses.
fn system_lookup(name: String) -> Looking {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// Resolves names to addresses that may be connected to.
struct GuardedResolver {
    lookup: Lookup,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let looking = (self.lookup)(name.clone());
        Box::pin(async move {
            let allowed = allowed_addresses(&name, looking.await?)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Keeps what may be connected to; `localhost`, for which plain http is spoken, must be loopback.
fn allowed_addresses(name: &str, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let local = name.trim_end_matches('.').eq_ignore_ascii_case("localhost");
    let allowed: Vec<_> = found
        .into_iter()
        .filter(|address| refusal(address.ip()).is_none())
        .filter(|address| !local || address.ip().is_loopback())
        .collect();
    if allowed.is_empty() {
        let reason = "the name has no address that may be connected to";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(allowed)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
