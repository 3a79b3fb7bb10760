//! What the running provider remembers: accounts, keys, open codes, access tokens and how often it was asked.

use crate::account::Account;
use crate::client::Client;
use crate::fault::Fault;
use crate::keys::{KeyError, KeyRing, Rotation};
use crate::profile::ClaimsIn;
use crate::server::Options;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const CODE_TTL: Duration = Duration::from_secs(60);

/// How many requests each endpoint has answered, rightly or wrongly, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Discovery documents.
    pub discovery: u64,
    /// Key sets.
    pub jwks: u64,
    /// Authorization requests: pages shown and answers to them.
    pub authorize: u64,
    /// Token requests.
    pub token: u64,
    /// Userinfo requests.
    pub userinfo: u64,
    /// Requests to places only a careless client goes to: targets of the redirect faults and of `jku`.
    pub trapped: u64,
}

/// One counter of [`Served`].
#[derive(Clone, Copy)]
pub(crate) enum Endpoint {
    Discovery,
    Jwks,
    Authorize,
    Token,
    Userinfo,
    Trap,
}

/// What a code stands for.
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) code_challenge: String,
    pub(crate) nonce: Option<String>,
    pub(crate) scope: String,
    pub(crate) login: String,
    pub(crate) issued: Instant,
}

/// What an access token gives access to.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) login: String,
    pub(crate) scope: String,
}

struct Inner {
    accounts: BTreeMap<String, Account>,
    keys: KeyRing,
    fault: Option<Fault>,
    codes: HashMap<String, Grant>,
    access: HashMap<String, Access>,
}

/// The state all requests share.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) clients: Vec<Client>,
    pub(crate) announced_auth_methods: Vec<String>,
    pub(crate) claims_in: ClaimsIn,
    pub(crate) stall: Duration,
    pub(crate) id_token_ttl_seconds: i64,
    inner: Mutex<Inner>,
    served: [AtomicU64; 6],
    serial: AtomicU64,
}

impl Provider {
    pub(crate) fn new(issuer: String, options: Options) -> Result<Self, KeyError> {
        let accounts = options.accounts.into_iter().map(|account| (account.login.clone(), account)).collect();
        let inner = Inner {
            accounts,
            keys: KeyRing::new(options.algorithm)?,
            fault: options.fault,
            codes: HashMap::new(),
            access: HashMap::new(),
        };
        Ok(Self {
            issuer,
            clients: options.clients,
            announced_auth_methods: options.announced_auth_methods,
            claims_in: options.claims_in,
            stall: options.stall,
            id_token_ttl_seconds: options.id_token_ttl_seconds,
            inner: Mutex::new(inner),
            served: Default::default(),
            serial: AtomicU64::new(0),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // no section under the lock leaves half a change behind
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.inner().fault
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.inner().fault = fault;
    }

    pub(crate) fn with_keys<T>(&self, read: impl FnOnce(&KeyRing) -> T) -> T {
        read(&self.inner().keys)
    }

    pub(crate) fn rotate_keys(&self, rotation: Rotation) -> Result<(), KeyError> {
        self.inner().keys.rotate(rotation)
    }

    pub(crate) fn account(&self, login: &str) -> Option<Account> {
        self.inner().accounts.get(login).cloned()
    }

    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.inner().accounts.values().cloned().collect()
    }

    pub(crate) fn put_account(&self, account: Account) {
        self.inner().accounts.insert(account.login.clone(), account);
    }

    pub(crate) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// A fresh code for the grant; codes that ran out are forgotten on the way.
    pub(crate) fn issue_code(&self, grant: Grant) -> Result<String, KeyError> {
        let code = random_text()?;
        let mut inner = self.inner();
        inner.codes.retain(|_, grant| grant.issued.elapsed() < CODE_TTL);
        inner.codes.insert(code.clone(), grant);
        Ok(code)
    }

    /// Takes the code away, whatever becomes of it; `None` when it is unknown, used before or older than a minute.
    pub(crate) fn take_code(&self, code: &str) -> Option<Grant> {
        self.inner().codes.remove(code).filter(|grant| grant.issued.elapsed() < CODE_TTL)
    }

    pub(crate) fn issue_access(&self, access: Access) -> Result<String, KeyError> {
        let token = random_text()?;
        self.inner().access.insert(token.clone(), access);
        Ok(token)
    }

    pub(crate) fn access(&self, token: &str) -> Option<Access> {
        self.inner().access.get(token).cloned()
    }

    /// A number that no earlier call has returned.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count(&self, endpoint: Endpoint) {
        self.served[endpoint as usize].fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn served(&self) -> Served {
        let read = |endpoint: Endpoint| self.served[endpoint as usize].load(Ordering::SeqCst);
        Served {
            discovery: read(Endpoint::Discovery),
            jwks: read(Endpoint::Jwks),
            authorize: read(Endpoint::Authorize),
            token: read(Endpoint::Token),
            userinfo: read(Endpoint::Userinfo),
            trapped: read(Endpoint::Trap),
        }
    }
}

/// Unix seconds.
pub(crate) fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn random_text() -> Result<String, KeyError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
