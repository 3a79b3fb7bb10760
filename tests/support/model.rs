//! A second opinion: who and what there is, folded from the events as `authlog events --json` prints them.
//!
//! Written from the contract, and by the names of the events alone. Nothing of the aggregates or the read models is used
//! here, so that a mistake there is not made here too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::TestDatabase;
use super::tables;

/// A person with an account or an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct User {
    pub role: String,
    pub status: String,
    /// 1 when an identity is linked.
    pub linked: u8,
    pub created_at: i64,
    pub updated_at: i64,
    pub session_epoch: u64,
    pub token_epoch: u64,
    #[serde(default)]
    pub recovery_expires_at: Option<i64>,
}

/// A session that was not ended; it may have expired.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Session {
    pub kind: String,
    pub token_hash: String,
    #[serde(default)]
    pub user_id: Option<String>,
    pub created_at: i64,
    pub expires_at: i64,
    pub user_epoch: u64,
    pub provider_epoch: u64,
    /// 1 when it was written down that its time has run out.
    pub expired: u8,
}

/// An API token that was not revoked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiToken {
    pub user_id: String,
    pub role: String,
    pub prefix: String,
    pub token_hash: String,
    pub created_at: i64,
    #[serde(default)]
    pub expires_at: Option<i64>,
    pub token_epoch: u64,
}

/// How far setup has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Setup {
    pub instance_id: String,
    pub state: String,
    #[serde(default)]
    pub session_id: Option<String>,
    pub session_ever_opened: u8,
    #[serde(default)]
    pub pinned_owner_id: Option<String>,
    #[serde(default)]
    pub owner_id: Option<String>,
    #[serde(default)]
    pub configured_at: Option<i64>,
}

/// The identity provider, from the first configuration on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Provider {
    #[serde(default)]
    pub issuer_url: Option<String>,
    #[serde(default)]
    pub client_id: Option<String>,
    /// As it stands in the log, sealed.
    #[serde(default)]
    pub client_secret: Option<String>,
    pub version: u64,
    pub session_epoch: u64,
}

/// Everything there is. Ids and hashes are texts, as in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub setup: Option<Setup>,
    pub provider: Option<Provider>,
    pub users: BTreeMap<String, User>,
    pub sessions: BTreeMap<String, Session>,
    pub api_tokens: BTreeMap<String, ApiToken>,
    /// Who holds a unique `address` or `identity`.
    pub claims: BTreeSet<(String, String)>,
    /// Positions with an entry in the audit trail.
    pub audit: BTreeSet<i64>,
}

impl Model {
    /// Folds events as `authlog events --json` prints them, from the first on.
    pub fn of(events: &[Value]) -> Self {
        let mut model = Self::default();
        for event in events {
            model.apply(event);
        }
        model
    }

    /// What the read models of the database hold.
    pub async fn stored(database: &TestDatabase) -> Self {
        let setup = ["instance_id", "state", "session_id", "session_ever_opened", "pinned_owner_id", "owner_id"];
        let setup = [&setup[..], &["configured_at"]].concat();
        let provider = ["issuer_url", "client_id", "client_secret", "version", "session_epoch"];
        let user = ["id", "role", "status", "linked", "created_at", "updated_at", "session_epoch", "token_epoch"];
        let user = [&user[..], &["recovery_expires_at"]].concat();
        let session = ["id", "kind", "token_hash", "user_id", "created_at", "expires_at", "user_epoch"];
        let session = [&session[..], &["provider_epoch", "expired"]].concat();
        let token = ["id", "user_id", "role", "prefix", "token_hash", "created_at", "expires_at", "token_epoch"];
        let claims = tables::read_model(database, "unique_keys", &["kind", "user_id"]).await;
        let audit = tables::read_model(database, "audit", &["id"]).await;
        let model = Self {
            setup: only(tables::read_model(database, "setup", &setup).await),
            provider: only(tables::read_model(database, "identity_provider", &provider).await),
            users: by_id(tables::read_model(database, "users", &user).await),
            sessions: by_id(tables::read_model(database, "sessions", &session).await),
            api_tokens: by_id(tables::read_model(database, "api_tokens", &token).await),
            claims: claims.iter().map(|row| (text(&row["kind"]), text(&row["user_id"]))).collect(),
            audit: audit.iter().map(|row| row["id"].as_i64().unwrap()).collect(),
        };
        assert_eq!(claims.len(), model.claims.len(), "somebody holds two addresses or identities: {claims:?}");
        model
    }

    /// Folds the log of the database and asserts that its read models say the same.
    pub async fn agrees_with(database: &TestDatabase) -> Self {
        let events: Vec<Value> = tables::log(database).await.iter().map(tables::StoredEvent::printed).collect();
        let (model, stored) = (Self::of(&events), Self::stored(database).await);
        assert_eq!(stored.setup, model.setup, "setup");
        assert_eq!(stored.provider, model.provider, "identity_provider");
        assert_eq!(stored.users, model.users, "users");
        assert_eq!(stored.sessions, model.sessions, "sessions");
        assert_eq!(stored.api_tokens, model.api_tokens, "api_tokens");
        assert_eq!(stored.claims, model.claims, "unique_keys");
        assert_eq!(stored.audit, model.audit, "audit");
        let last = events.last().map_or((0, 0), |event| (number(&event["position"]), number(&event["recorded_at"])));
        assert_eq!(tables::head(database).await, last, "log_head");
        model
    }

    /// Whether that session may act at `now`: it was not ended, has not expired, and nobody has ended all of them since.
    pub fn session_is_alive(&self, id: &str, now: i64) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        let provider_epoch = self.provider.as_ref().map_or(0, |provider| provider.session_epoch);
        let user = session.user_id.as_ref().and_then(|user| self.users.get(user));
        session.expired == 0
            && session.expires_at > now
            && user.is_some_and(|user| user.status == "active" && user.session_epoch == session.user_epoch)
            && session.provider_epoch == provider_epoch
    }

    /// Whether that API token may act at `now`.
    pub fn token_is_alive(&self, id: &str, now: i64) -> bool {
        let Some(token) = self.api_tokens.get(id) else { return false };
        let user = self.users.get(&token.user_id);
        token.expires_at.is_none_or(|expires_at| expires_at > now)
            && user.is_some_and(|user| user.status == "active" && user.token_epoch == token.token_epoch)
    }

    /// Folds one event. Panics at one it does not know: a new event needs an opinion here.
    pub fn apply(&mut self, event: &Value) {
        let (kind, id) = event["stream"].as_str().unwrap().split_once('/').unwrap();
        let now = number(&event["recorded_at"]).div_euclid(1_000_000);
        let (name, payload) = (event["type"].as_str().unwrap(), &event["payload"][event["type"].as_str().unwrap()]);
        assert!(payload.is_object(), "{event}");
        self.audit.insert(number(&event["position"]));
        match kind {
            "setup" => self.apply_setup(name, payload, now),
            "session" => self.apply_session(id, name, payload),
            "user" => self.apply_user(id, name, payload, now),
            "api_token" => self.apply_api_token(id, name, payload),
            "identity_provider" => self.apply_provider(name, payload),
            other => panic!("a stream of type {other}"),
        }
    }

    fn apply_setup(&mut self, name: &str, payload: &Value, now: i64) {
        if name == "InstanceCreated" {
            let instance_id = text(&payload["instance_id"]);
            self.setup = Some(Setup { instance_id, state: "uninitialized".to_owned(), ..Setup::default() });
            return;
        }
        let setup = self.setup.as_mut().expect("InstanceCreated is the first event");
        match name {
            "BootstrapTokenIssued" => {
                setup.pinned_owner_id = payload["owner"]["user_id"].as_str().map(str::to_owned);
                if setup.state == "uninitialized" {
                    "bootstrap_pending".clone_into(&mut setup.state);
                }
            }
            "VerificationFailed" | "PreferencesSet" => {}
            "BootstrapTokenVerified" => {
                setup.session_id = Some(text(&payload["session_id"]));
                setup.session_ever_opened = 1;
            }
            "SetupProviderAccepted" => "idp_configured".clone_into(&mut setup.state),
            "OwnerVerified" => {
                setup.owner_id = Some(text(&payload["user_id"]));
                "owner_created".clone_into(&mut setup.state);
            }
            "SetupCompleted" => {
                "ready".clone_into(&mut setup.state);
                setup.session_id = None;
                setup.configured_at = Some(now);
            }
            "SetupRestarted" => {
                let (instance_id, session_ever_opened) = (setup.instance_id.clone(), setup.session_ever_opened);
                let state = "uninitialized".to_owned();
                *setup = Setup { instance_id, state, session_ever_opened, ..Setup::default() };
            }
            other => panic!("setup has no event {other}"),
        }
    }

    fn apply_provider(&mut self, name: &str, payload: &Value) {
        match name {
            "ProviderConfigured" => self.provider = Some(Provider::deserialize(payload).unwrap()),
            "ProviderRemoved" => {
                let provider = self.provider.as_mut().expect("a provider to remove");
                let version = payload["version"].as_u64().unwrap();
                let session_epoch = provider.session_epoch;
                *provider = Provider { issuer_url: None, client_id: None, client_secret: None, version, session_epoch };
            }
            "SignInsRefused" => {}
            other => panic!("identity_provider has no event {other}"),
        }
    }

    fn apply_session(&mut self, id: &str, name: &str, payload: &Value) {
        match name {
            "SetupSessionOpened" | "SessionOpened" => {
                let kind = if name == "SessionOpened" { "user" } else { "setup" };
                let mut fields: Map<String, Value> = payload.as_object().unwrap().clone();
                fields.insert("kind".to_owned(), kind.into());
                fields.insert("expired".to_owned(), 0.into());
                fields.insert("created_at".to_owned(), payload["opened_at"].clone());
                for epoch in ["user_epoch", "provider_epoch"] {
                    fields.entry(epoch).or_insert(json!(0));
                }
                let opened = Session::deserialize(Value::Object(fields)).unwrap();
                assert_eq!(self.sessions.insert(id.to_owned(), opened), None, "session {id} opened twice");
            }
            "SessionSignedOut" | "SessionRevoked" => self.end_session(id),
            "SetupSessionEnded" if payload["reason"] != "expired" => self.end_session(id),
            "SetupSessionEnded" | "SessionExpired" => self.session(id).expired = 1,
            "SetupSessionExtended" => self.session(id).expires_at = number(&payload["expires_at"]),
            "SessionKept" => {
                let session = self.session(id);
                session.user_epoch = payload["user_epoch"].as_u64().unwrap();
                session.provider_epoch = payload["provider_epoch"].as_u64().unwrap();
            }
            other => panic!("session has no event {other}"),
        }
    }

    fn session(&mut self, id: &str) -> &mut Session {
        self.sessions.get_mut(id).unwrap_or_else(|| panic!("session {id} is not there"))
    }

    fn end_session(&mut self, id: &str) {
        assert!(self.sessions.remove(id).is_some(), "session {id} ended, but it was not there");
    }

    fn apply_api_token(&mut self, id: &str, name: &str, payload: &Value) {
        match name {
            "ApiTokenIssued" => {
                let mut fields: Map<String, Value> = payload.as_object().unwrap().clone();
                fields.insert("created_at".to_owned(), payload["issued_at"].clone());
                let token = ApiToken::deserialize(Value::Object(fields)).unwrap();
                assert_eq!(self.api_tokens.insert(id.to_owned(), token), None, "API token {id} issued twice");
            }
            "ApiTokenRevoked" => assert!(self.api_tokens.remove(id).is_some(), "API token {id} was not there"),
            other => panic!("api_token has no event {other}"),
        }
    }

    fn apply_user(&mut self, id: &str, name: &str, payload: &Value, now: i64) {
        match name {
            "OwnerRegistered" | "UserInvited" => {
                let owner = name == "OwnerRegistered";
                let role = if owner { "owner".to_owned() } else { text(&payload["role"]) };
                let user = User {
                    role,
                    status: if owner { "active" } else { "invited" }.to_owned(),
                    linked: u8::from(owner),
                    created_at: now,
                    updated_at: now,
                    session_epoch: 0,
                    token_epoch: 0,
                    recovery_expires_at: None,
                };
                assert_eq!(self.users.insert(id.to_owned(), user), None, "user {id} came into being twice");
                self.claims.insert(("address".to_owned(), id.to_owned()));
                if owner {
                    self.claims.insert(("identity".to_owned(), id.to_owned()));
                }
                return;
            }
            "OwnerDiscarded" => {
                assert!(self.users.remove(id).is_some(), "owner {id} was not there");
                self.claims.retain(|(_, holder)| holder != id);
                return;
            }
            "UserErased" => {
                assert!(self.users.remove(id).is_some(), "user {id} was not there");
                self.claims.retain(|(_, holder)| holder != id);
                self.sessions.retain(|_, session| session.user_id.as_deref() != Some(id));
                self.api_tokens.retain(|_, token| token.user_id != id);
                return;
            }
            "InvitationAccepted" => {
                self.claims.insert(("identity".to_owned(), id.to_owned()));
            }
            "IdentityUnlinked" => {
                self.claims.remove(&("identity".to_owned(), id.to_owned()));
            }
            _ => {}
        }
        let user = self.users.get_mut(id).unwrap_or_else(|| panic!("user {id} is not there"));
        user.change(name, payload, now);
    }
}

impl User {
    fn change(&mut self, name: &str, payload: &Value, now: i64) {
        let updated_before = self.updated_at;
        self.updated_at = now;
        match name {
            "InvitationAccepted" => {
                self.linked = 1;
                "active".clone_into(&mut self.status);
            }
            "ProfileChanged" => {}
            "RoleChanged" => self.role = text(&payload["role"]),
            "UserDisabled" => {
                "disabled".clone_into(&mut self.status);
                self.end_everything();
            }
            "UserEnabled" => if self.linked == 1 { "active" } else { "invited" }.clone_into(&mut self.status),
            "SessionsRevoked" => {
                self.session_epoch += 1;
                self.updated_at = updated_before;
            }
            "OwnerRecoveryOpened" => {
                self.recovery_expires_at = Some(number(&payload["expires_at"]));
                self.updated_at = updated_before;
            }
            "OwnerIdentityReplaced" => {
                self.linked = 1;
                self.recovery_expires_at = None;
                self.end_everything();
            }
            "IdentityUnlinked" => {
                self.linked = 0;
                if self.status == "active" {
                    "invited".clone_into(&mut self.status);
                }
                self.end_everything();
            }
            other => panic!("user has no event {other}"),
        }
    }

    fn end_everything(&mut self) {
        self.session_epoch += 1;
        self.token_epoch += 1;
    }
}

fn only<T: DeserializeOwned>(rows: Vec<Value>) -> Option<T> {
    assert!(rows.len() <= 1, "{rows:?}");
    rows.into_iter().next().map(|row| serde_json::from_value(row).unwrap())
}

fn by_id<T: DeserializeOwned>(rows: Vec<Value>) -> BTreeMap<String, T> {
    rows.into_iter().map(|row| (text(&row["id"]), serde_json::from_value(row).unwrap())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}
