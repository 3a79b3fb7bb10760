//! Starting and stopping the provider.

use crate::account::Account;
use crate::browser::{self, BrowserError, SignedIn};
use crate::client::Client;
use crate::fault::Fault;
use crate::keys::{Algorithm, KeyError, Rotation};
use crate::profile::ClaimsIn;
use crate::state::{Provider, Served};
use crate::{authorize, discovery, token, userinfo};
use axum::Router;
use axum::routing::{get, post};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How the provider is set up. The default: a free port of 127.0.0.1, RS256, the default accounts and clients, email
/// and profile in the ID token, no fault.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; refused unless loopback. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How ID tokens are signed.
    pub algorithm: Algorithm,
    /// Where email and profile are found.
    pub claims_in: ClaimsIn,
    /// Who can sign in.
    pub accounts: Vec<Account>,
    /// Who may ask.
    pub clients: Vec<Client>,
    /// `token_endpoint_auth_methods_supported` of the discovery document; what a client really may use is its own matter.
    pub announced_auth_methods: Vec<String>,
    /// The fault to start with.
    pub fault: Option<Fault>,
    /// How long the slow and the dripping faults take.
    pub stall: Duration,
    /// From `iat` to `exp` of an ID token, in seconds.
    pub id_token_ttl_seconds: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            algorithm: Algorithm::default(),
            claims_in: ClaimsIn::default(),
            accounts: Account::defaults(),
            clients: Client::defaults(),
            announced_auth_methods: ["client_secret_basic", "client_secret_post", "none"].map(str::to_owned).to_vec(),
            fault: None,
            stall: Duration::from_secs(30),
            id_token_ttl_seconds: 300,
        }
    }
}

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not loopback.
    #[error("{0} is not a loopback address: this provider is for the machine it runs on only")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on, or no thread could be started.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The signing key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A running provider. Dropping it closes its port and every open connection.
pub struct DevIdp {
    provider: Arc<Provider>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DevIdp {
    /// Starts the provider on a thread and runtime of its own: it answers also while the caller's runtime is busy, and
    /// ends with all its connections when it is dropped. It answers as soon as this has returned.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let listen = options.listen;
        if !listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(listen));
        }
        let failed = |error| StartError::Listen(listen, error);
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let issuer = format!("http://{}", listener.local_addr().map_err(failed)?);
        let provider = Arc::new(Provider::new(issuer, options)?);
        let router = router(Arc::clone(&provider));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let serve = async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await };
            tokio::select! {
                ended = serve => if let Err(error) = ended { eprintln!("devidp: {error}") },
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new().name("devidp".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve)).map_err(failed)?;
        Ok(Self { provider, stop: Some(stop), thread: Some(thread) })
    }

    /// The issuer, `http://127.0.0.1:PORT` without a slash at the end.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// Misbehaves in this one way from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.provider.set_fault(Some(fault));
    }

    /// Behaves from now on.
    pub fn clear_fault(&self) {
        self.provider.set_fault(None);
    }

    /// Adds the account, or replaces the one with this login.
    pub fn add_account(&self, account: Account) {
        self.provider.put_account(account);
    }

    /// Signs with a new key from now on.
    pub fn rotate_keys(&self, rotation: Rotation) -> Result<(), KeyError> {
        self.provider.rotate_keys(rotation)
    }

    /// How many requests were served so far.
    pub fn served(&self) -> Served {
        self.provider.served()
    }

    /// Signs `account` in as a browser would, up to the redirect back to the client (which is not followed).
    pub async fn sign_in(&self, authorization_url: &str, account: &str) -> Result<SignedIn, BrowserError> {
        browser::sign_in(authorization_url, account, "").await
    }
}

impl Drop for DevIdp {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // a closed channel means that the server has ended by itself
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // its panic, if any, is on standard error already
            let _ = thread.join();
        }
    }
}

fn router(provider: Arc<Provider>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery::document))
        .route("/jwks", get(discovery::jwks))
        .route("/authorize", get(authorize::page).post(authorize::answer))
        .route("/token", post(token::endpoint))
        .route("/userinfo", get(userinfo::endpoint).post(userinfo::endpoint))
        .route("/trap/discovery", get(discovery::trapped_document))
        .route("/trap/jwks", get(discovery::trapped_jwks))
        .route("/trap/stranger-jwks", get(discovery::stranger_jwks))
        .route("/trap/token", post(token::trapped))
        .route("/trap/userinfo", get(userinfo::trapped))
        .with_state(provider)
}
