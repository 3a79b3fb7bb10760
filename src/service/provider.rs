//! The identity provider: configure, show, remove.

use aggregates::{
    Event, IdentityProvider, IdentityProviderCommand, IdentityProviderError, KeyId, Role, Setup, SetupState, StreamId,
    UnixSeconds, User,
};
use projections::{ActorRef, IdentityProviderRow};
use secrecy::SecretString;

use super::authenticate::{Caller, forbidden};
use super::decision::{Decide, Decision};
use super::sessions::keep_session;
use super::setup::{ConfigureProviderInSetup, NewProvider};
use super::sign_in::{provider_error, sign_in_error};
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::keys::{Key, OpenError, Place};
use crate::log::KeyringError;
use crate::oidc::{Discovered, IssuerUrl, MAX_CLIENT_ID_BYTES, ProviderConfig};

/// A provider may be exchanged only with a session that is younger than this.
pub const FRESH_SESSION_SECONDS: i64 = 15 * 60;
/// Bytes of an issuer URL and of a client secret at most, each.
pub const MAX_PROVIDER_FIELD_BYTES: usize = 2048;

/// The provider as it is configured, with what it says of itself.
pub struct ShownProvider {
    pub row: IdentityProviderRow,
    pub discovered: Discovered,
}

/// A configuration that has been stored.
pub struct StoredProvider {
    pub discovered_issuer: String,
    pub has_client_secret: bool,
    pub configured_at: UnixSeconds,
}

fn not_configured() -> ApiError {
    ApiError::new(ErrorCode::OidcNotConfigured).with_message("No identity provider is configured.")
}

/// The configuration in force, its secret opened.
pub(super) async fn config(service: &Service) -> Result<ProviderConfig, ApiError> {
    let row = service.provider_row().await?.ok_or_else(not_configured)?;
    let (Some(issuer), Some(client_id)) = (&row.issuer_url, &row.client_id) else { return Err(not_configured()) };
    let client_secret = open_secret(service, &row).await?;
    ProviderConfig::parse(issuer, client_id, client_secret, row.version).map_err(sign_in_error)
}

async fn open_secret(service: &Service, row: &IdentityProviderRow) -> Result<Option<SecretString>, ApiError> {
    let (Some(sealed), Some(sequence)) = (&row.client_secret, row.client_secret_sequence) else { return Ok(None) };
    let damaged =
        || ApiError::new(ErrorCode::DecryptionError).with_message("The stored client secret could not be opened.");
    let key = service.log.keyring().read(&KeyId::Instance).await.map_err(|error| match error {
        KeyringError::Store(error) => store_error(error),
        error => damaged().caused_by(error),
    })?;
    let key = key.ok_or_else(damaged)?;
    let sealed = sealed.strip_prefix("instance:").ok_or_else(damaged)?;
    let opened = open_in_place(&key, sequence, sealed).map_err(|error| damaged().caused_by(error))?;
    let text = String::from_utf8(opened).map_err(|error| damaged().caused_by(error.utf8_error()))?;
    Ok(Some(SecretString::from(text)))
}

/// Opens a secret where its event sealed it. The row does not say by which version of the event; the wrong ones do not open it.
fn open_in_place(key: &Key, sequence: i64, sealed: &str) -> Result<Vec<u8>, OpenError> {
    let (stream, event_type) = (StreamId::identity_provider(), "ProviderConfigured");
    let present = Event::versions().find(|(name, _)| *name == event_type).map_or("1", |(_, version)| version);
    let versions = (1..=present.parse::<u32>().unwrap_or(1)).rev();
    let mut opened = versions.map(|version| {
        let event_version = version.to_string();
        let place =
            Place { stream: &stream, sequence, event_type, event_version: &event_version, field: "client_secret" };
        key.open(&place.context(&KeyId::Instance), sealed)
    });
    opened.find(Result::is_ok).unwrap_or(Err(OpenError))
}

impl NewProvider {
    /// Checks the form of a configuration that a caller gives.
    ///
    /// # Errors
    /// `invalid_input`.
    pub fn parse(issuer_url: &str, client_id: String, client_secret: Option<String>) -> Result<Self, ApiError> {
        let invalid = |message: &'static str| ApiError::invalid_input(message);
        let plain = |text: &str| text.len() <= MAX_PROVIDER_FIELD_BYTES && !text.chars().any(char::is_control);
        if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_BYTES || !plain(&client_id) {
            return Err(ApiError::invalid_input(format!(
                "`client_id` has 1 to {MAX_CLIENT_ID_BYTES} bytes and no control characters."
            )));
        }
        if client_secret.as_ref().is_some_and(|secret| secret.is_empty() || !plain(secret)) {
            return Err(invalid("`client_secret`, when given, has 1 to 2048 bytes and no control characters."));
        }
        if !plain(issuer_url) {
            return Err(invalid("`issuer_url` has at most 2048 bytes and no control characters."));
        }
        IssuerUrl::parse(issuer_url).map_err(|error| ApiError::invalid_input(format!("`issuer_url`: {error}.")))?;
        Ok(Self { issuer_url: issuer_url.to_owned(), client_id, client_secret: client_secret.map(SecretString::from) })
    }
}

impl Service {
    pub(super) async fn provider_row(&self) -> Result<Option<IdentityProviderRow>, ApiError> {
        self.log.read().row::<IdentityProviderRow>("", &[]).await.map_err(store_error)
    }

    /// Asks the provider for its metadata before it is stored; answers the issuer it calls itself.
    ///
    /// # Errors
    /// `oidc_discovery_failed`.
    pub async fn discover(&self, provider: &NewProvider) -> Result<Discovered, ApiError> {
        let issuer = IssuerUrl::parse(&provider.issuer_url)
            .map_err(|error| ApiError::new(ErrorCode::InvalidInput).with_message(format!("`issuer_url`: {error}.")))?;
        let discovered = self.oidc.discover(&issuer).await;
        discovered.map_err(|error| provider_error(error, ErrorCode::OidcDiscoveryFailed))
    }

    /// The provider and its endpoints.
    ///
    /// # Errors
    /// `oidc_not_configured`, `oidc_discovery_error`.
    pub async fn show_provider(&self) -> Result<ShownProvider, ApiError> {
        let config = self.provider_config().await?;
        let discovered = self.oidc.metadata(&config).await.map_err(sign_in_error)?;
        let row = self.provider_row().await?.ok_or_else(not_configured)?;
        Ok(ShownProvider { row, discovered })
    }

    /// Refuses callers that may not exchange the provider: only the owner, with a fresh session.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may_exchange_provider(&self, caller: &Caller) -> Result<(), ApiError> {
        caller.require_session()?;
        caller.require_role(Role::Owner)?;
        let opened_at = caller.session_opened_at.unwrap_or_default();
        if self.now().0 - opened_at.0 >= FRESH_SESSION_SECONDS {
            return Err(forbidden(
                "Sign in again: the provider is changed only with a session younger than 15 minutes.",
            ));
        }
        Ok(())
    }

    /// Exchanges the provider. When the issuer changes, every session but the caller's ends.
    ///
    /// # Errors
    /// `forbidden`, `oidc_discovery_failed`.
    pub async fn exchange_provider(
        &self,
        context: &CallContext,
        caller: &Caller,
        provider: NewProvider,
    ) -> Result<StoredProvider, ApiError> {
        let discovered = self.discover(&provider).await?;
        self.run(context, ExchangeProvider { caller: Some(caller.clone()), provider }).await?;
        let row = self.provider_row().await?.ok_or_else(not_configured)?;
        Ok(StoredProvider {
            discovered_issuer: discovered.issuer.as_str().to_owned(),
            has_client_secret: row.client_secret.is_some(),
            configured_at: row.configured_at.unwrap_or_default(),
        })
    }

    /// Sets the provider from the host. Before setup is complete it counts as the provider that setup asks for.
    ///
    /// # Errors
    /// `invalid_state` where setup has no place for a provider, `oidc_discovery_failed`.
    pub async fn set_provider_by_operator(
        &self,
        context: &CallContext,
        provider: NewProvider,
    ) -> Result<Discovered, ApiError> {
        let discovered = self.discover(&provider).await?;
        if self.setup_row().await?.state == SetupState::Ready {
            self.run(context, ExchangeProvider { caller: None, provider }).await?;
        } else {
            self.run(context, ConfigureProviderInSetup { session: None, provider }).await?;
        }
        Ok(discovered)
    }

    /// Removes the provider: nobody signs in until another is set. Sessions stay.
    ///
    /// # Errors
    /// `oidc_not_configured`.
    pub async fn remove_provider(&self, context: &CallContext) -> Result<(), ApiError> {
        self.run(context, RemoveProvider).await
    }
}

struct ExchangeProvider {
    /// `None`: the operator.
    caller: Option<Caller>,
    provider: NewProvider,
}

impl Decide for ExchangeProvider {
    type Answer = ();
    const COMMAND: &'static str = "exchange_provider";

    async fn decide(&self, service: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        match &self.caller {
            Some(caller) => {
                service.may_exchange_provider(caller)?;
                let actor = decision.reauthenticate(caller).await?;
                if actor.role != Role::Owner {
                    return Err(forbidden("Only the owner changes the provider."));
                }
            }
            None => decision.acts(ActorRef::Operator),
        }
        let setup = decision.load::<Setup>(StreamId::setup()).await?.aggregate;
        if setup.state != SetupState::Ready {
            return Err(ApiError::new(ErrorCode::SetupIncomplete).with_message("Setup is not complete yet."));
        }
        let mut provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?;
        let before = provider.aggregate.session_epoch;
        decision.handle(&mut provider, self.provider.command()).await.map_err(|error| {
            ApiError::new(ErrorCode::InternalError)
                .with_message("The provider could not be exchanged.")
                .caused_by(error)
        })?;
        let after = provider.aggregate.session_epoch;
        if let Some(caller) = self.caller.as_ref().filter(|_| after != before) {
            let user = decision.load::<User>(StreamId::user(caller.user.id)).await?.aggregate;
            keep_session(decision, caller.require_session()?, user.session_epoch, after).await?;
        }
        Ok(())
    }
}

struct RemoveProvider;

impl Decide for RemoveProvider {
    type Answer = ();
    const COMMAND: &'static str = "remove_provider";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        decision.acts(ActorRef::Operator);
        let mut provider = decision.load::<IdentityProvider>(StreamId::identity_provider()).await?;
        let removed = decision.handle(&mut provider, IdentityProviderCommand::Remove).await;
        removed.map(drop).map_err(|IdentityProviderError::NotConfigured| not_configured())
    }
}
