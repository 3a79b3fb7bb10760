//! A second opinion: who and what there is, folded from the events as `authlog events --json` prints them.
//!
//! Written from the contract, and by the names of the events alone. Nothing of the aggregates or the read models is used
//! here, so that a mistake there is not made here too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Event;

/// Why an event cannot be folded.
type Folded = Result<(), String>;

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
    /// Folds a log from the first event on.
    ///
    /// # Errors
    ///
    /// The first event that cannot be folded, and why.
    pub fn of(events: &[Event]) -> Result<Self, String> {
        let mut model = Self::default();
        for event in events {
            model.apply(event).map_err(|why| format!("{event}: {why}"))?;
        }
        Ok(model)
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

    /// Folds one event.
    ///
    /// # Errors
    ///
    /// When it does not fit what was before it, or is one that is not known here: a new event needs an opinion.
    pub fn apply(&mut self, event: &Event) -> Folded {
        let (id, name, now) = (event.id(), event.event_type.as_str(), event.recorded_at.div_euclid(1_000_000));
        let payload = event.fields();
        ensure(payload.is_object(), || "its payload is not an object with its name".to_owned())?;
        self.audit.insert(event.position);
        match event.kind() {
            "setup" => self.apply_setup(name, payload, now),
            "session" => self.apply_session(id, name, payload),
            "user" => self.apply_user(id, name, payload, now),
            "api_token" => self.apply_api_token(id, name, payload),
            "identity_provider" => self.apply_provider(name, payload),
            other => Err(format!("there are no streams of type {other}")),
        }
    }

    fn apply_setup(&mut self, name: &str, payload: &Value, now: i64) -> Folded {
        if name == "InstanceCreated" {
            let instance_id = text(&payload["instance_id"])?;
            self.setup = Some(Setup { instance_id, state: "uninitialized".to_owned(), ..Setup::default() });
            return Ok(());
        }
        let setup = self.setup.as_mut().ok_or("InstanceCreated is the first event")?;
        match name {
            "BootstrapTokenIssued" => {
                setup.pinned_owner_id = payload["owner"]["user_id"].as_str().map(str::to_owned);
                if setup.state == "uninitialized" {
                    "bootstrap_pending".clone_into(&mut setup.state);
                }
            }
            "VerificationFailed" | "PreferencesSet" => {}
            "BootstrapTokenVerified" => {
                setup.session_id = Some(text(&payload["session_id"])?);
                setup.session_ever_opened = 1;
            }
            "SetupProviderAccepted" => "idp_configured".clone_into(&mut setup.state),
            "OwnerVerified" => {
                setup.owner_id = Some(text(&payload["user_id"])?);
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
            other => return Err(format!("setup has no event {other}")),
        }
        Ok(())
    }

    fn apply_provider(&mut self, name: &str, payload: &Value) -> Folded {
        match name {
            "ProviderConfigured" => self.provider = Some(read(payload.clone())?),
            "ProviderRemoved" => {
                let provider = self.provider.as_mut().ok_or("there is no provider to remove")?;
                let version = count(&payload["version"])?;
                let session_epoch = provider.session_epoch;
                *provider = Provider { issuer_url: None, client_id: None, client_secret: None, version, session_epoch };
            }
            "SignInsRefused" => {}
            other => return Err(format!("identity_provider has no event {other}")),
        }
        Ok(())
    }

    fn apply_session(&mut self, id: &str, name: &str, payload: &Value) -> Folded {
        match name {
            "SetupSessionOpened" | "SessionOpened" => {
                let kind = if name == "SessionOpened" { "user" } else { "setup" };
                let mut fields: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
                fields.insert("kind".to_owned(), kind.into());
                fields.insert("expired".to_owned(), 0.into());
                fields.insert("created_at".to_owned(), payload["opened_at"].clone());
                for epoch in ["user_epoch", "provider_epoch"] {
                    fields.entry(epoch).or_insert(json!(0));
                }
                let opened = read(Value::Object(fields))?;
                let before = self.sessions.insert(id.to_owned(), opened);
                ensure(before.is_none(), || format!("session {id} was opened before"))?;
            }
            "SessionSignedOut" | "SessionRevoked" => self.end_session(id)?,
            "SetupSessionEnded" if payload["reason"] != "expired" => self.end_session(id)?,
            "SetupSessionEnded" | "SessionExpired" => self.session(id)?.expired = 1,
            "SetupSessionExtended" => self.session(id)?.expires_at = number(&payload["expires_at"])?,
            "SessionKept" => {
                let session = self.session(id)?;
                session.user_epoch = count(&payload["user_epoch"])?;
                session.provider_epoch = count(&payload["provider_epoch"])?;
            }
            other => return Err(format!("session has no event {other}")),
        }
        Ok(())
    }

    fn session(&mut self, id: &str) -> Result<&mut Session, String> {
        self.sessions.get_mut(id).ok_or_else(|| format!("session {id} is not there"))
    }

    fn end_session(&mut self, id: &str) -> Folded {
        ensure(self.sessions.remove(id).is_some(), || format!("session {id} ended, but it was not there"))
    }

    fn apply_api_token(&mut self, id: &str, name: &str, payload: &Value) -> Folded {
        match name {
            "ApiTokenIssued" => {
                let mut fields: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
                fields.insert("created_at".to_owned(), payload["issued_at"].clone());
                let token = read(Value::Object(fields))?;
                let before = self.api_tokens.insert(id.to_owned(), token);
                ensure(before.is_none(), || format!("API token {id} was issued before"))?;
            }
            "ApiTokenRevoked" => {
                ensure(self.api_tokens.remove(id).is_some(), || format!("API token {id} was not there"))?;
            }
            other => return Err(format!("api_token has no event {other}")),
        }
        Ok(())
    }

    fn apply_user(&mut self, id: &str, name: &str, payload: &Value, now: i64) -> Folded {
        match name {
            "OwnerRegistered" | "UserInvited" => {
                let owner = name == "OwnerRegistered";
                let role = if owner { "owner".to_owned() } else { text(&payload["role"])? };
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
                let before = self.users.insert(id.to_owned(), user);
                ensure(before.is_none(), || format!("user {id} came into being before"))?;
                self.claims.insert(("address".to_owned(), id.to_owned()));
                if owner {
                    self.claims.insert(("identity".to_owned(), id.to_owned()));
                }
                return Ok(());
            }
            "OwnerDiscarded" => {
                ensure(self.users.remove(id).is_some(), || format!("owner {id} was not there"))?;
                self.claims.retain(|(_, holder)| holder != id);
                return Ok(());
            }
            "UserErased" => {
                ensure(self.users.remove(id).is_some(), || format!("user {id} was not there"))?;
                self.claims.retain(|(_, holder)| holder != id);
                self.sessions.retain(|_, session| session.user_id.as_deref() != Some(id));
                self.api_tokens.retain(|_, token| token.user_id != id);
                return Ok(());
            }
            "InvitationAccepted" => {
                self.claims.insert(("identity".to_owned(), id.to_owned()));
            }
            "IdentityUnlinked" => {
                self.claims.remove(&("identity".to_owned(), id.to_owned()));
            }
            _ => {}
        }
        let user = self.users.get_mut(id).ok_or_else(|| format!("user {id} is not there"))?;
        user.change(name, payload, now)
    }
}

impl User {
    fn change(&mut self, name: &str, payload: &Value, now: i64) -> Folded {
        let updated_before = self.updated_at;
        self.updated_at = now;
        match name {
            "InvitationAccepted" => {
                self.linked = 1;
                "active".clone_into(&mut self.status);
            }
            "ProfileChanged" => {}
            "RoleChanged" => self.role = text(&payload["role"])?,
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
                self.recovery_expires_at = Some(number(&payload["expires_at"])?);
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
            other => return Err(format!("user has no event {other}")),
        }
        Ok(())
    }

    fn end_everything(&mut self) {
        self.session_epoch += 1;
        self.token_epoch += 1;
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Folded {
    if holds { Ok(()) } else { Err(why()) }
}

fn read<T: DeserializeOwned>(fields: Value) -> Result<T, String> {
    serde_json::from_value(fields).map_err(|error| error.to_string())
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"))
}

fn number(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("{value} is no number"))
}

fn count(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{value} is no count"))
}
