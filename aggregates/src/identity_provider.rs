//! The one OpenID provider that vouches for everybody.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use crate::count::deserialize_count;
use crate::event::domain_event;
use crate::protected::present;
use crate::{Protected, ProtectedFields};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IdentityProviderEvent {
    ProviderConfigured {
        issuer_url: String,
        client_id: String,
        /// Without one the client is public. Configuring the same issuer and client without a secret changes nothing, so
        /// a stored secret stays until either of them does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<Protected>,
        /// Counts configurations; a sign-in that began under another one is void.
        #[serde(deserialize_with = "deserialize_count")]
        version: u64,
        /// Sessions opened under an earlier epoch are dead. Rises when the issuer changes.
        #[serde(deserialize_with = "deserialize_count")]
        session_epoch: u64,
    },
    /// Ends no session: people stay signed in, nobody signs in anew.
    ProviderRemoved {
        #[serde(deserialize_with = "deserialize_count")]
        version: u64,
    },
    /// Sign-ins that were refused within one minute for one reason, an error code of the contract. Strangers cause these, so
    /// they are counted and not written down one by one; each minute has a stream of its own.
    SignInsRefused {
        reason: String,
        #[serde(deserialize_with = "deserialize_count")]
        count: u64,
    },
}

domain_event!(IdentityProviderEvent {
    ProviderConfigured => "1",
    ProviderRemoved => "1",
    SignInsRefused => "1",
});

impl ProtectedFields for IdentityProviderEvent {
    fn protected_fields(&mut self) -> Vec<(&'static str, &mut Protected)> {
        match self {
            Self::ProviderConfigured { client_secret, .. } => present([("client_secret", client_secret.as_mut())]),
            Self::ProviderRemoved { .. } | Self::SignInsRefused { .. } => Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum IdentityProviderCommand {
    Configure { issuer_url: String, client_id: String, client_secret: Option<Protected> },
    Remove,
    CountRefusals { reason: String, count: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityProviderError {
    #[error("no identity provider is configured")]
    NotConfigured,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderState {
    pub issuer_url: String,
    pub client_id: String,
    pub has_client_secret: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IdentityProvider {
    pub configured: Option<ProviderState>,
    pub version: u64,
    pub session_epoch: u64,
    /// The issuer that sessions were last opened under; removal does not forget it.
    pub last_issuer: Option<String>,
}

impl IdentityProvider {
    pub(crate) fn decide(
        &self,
        command: IdentityProviderCommand,
    ) -> Result<Option<IdentityProviderEvent>, IdentityProviderError> {
        match command {
            IdentityProviderCommand::Configure { issuer_url, client_id, client_secret } => {
                let same_client = self
                    .configured
                    .as_ref()
                    .is_some_and(|present| present.issuer_url == issuer_url && present.client_id == client_id);
                if same_client && client_secret.is_none() {
                    return Ok(None);
                }
                let issuer_changes = self.last_issuer.as_ref().is_some_and(|last| *last != issuer_url);
                Ok(Some(IdentityProviderEvent::ProviderConfigured {
                    issuer_url,
                    client_id,
                    client_secret,
                    version: self.version + 1,
                    session_epoch: self.session_epoch + u64::from(issuer_changes),
                }))
            }
            IdentityProviderCommand::Remove => {
                self.configured.as_ref().ok_or(IdentityProviderError::NotConfigured)?;
                Ok(Some(IdentityProviderEvent::ProviderRemoved { version: self.version + 1 }))
            }
            IdentityProviderCommand::CountRefusals { reason, count } => {
                Ok((count > 0).then_some(IdentityProviderEvent::SignInsRefused { reason, count }))
            }
        }
    }
}

impl Aggregate for IdentityProvider {
    const TYPE: &'static str = "identity_provider";
    type Command = IdentityProviderCommand;
    type Event = IdentityProviderEvent;
    type Error = IdentityProviderError;
    type Services = ();

    async fn handle(
        &mut self,
        command: IdentityProviderCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), IdentityProviderError> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: IdentityProviderEvent) {
        match event {
            IdentityProviderEvent::ProviderConfigured {
                issuer_url,
                client_id,
                client_secret,
                version,
                session_epoch,
                ..
            } => {
                self.last_issuer = Some(issuer_url.clone());
                self.configured =
                    Some(ProviderState { issuer_url, client_id, has_client_secret: client_secret.is_some() });
                self.version = version;
                self.session_epoch = session_epoch;
            }
            IdentityProviderEvent::ProviderRemoved { version } => {
                self.configured = None;
                self.version = version;
            }
            IdentityProviderEvent::SignInsRefused { .. } => {}
        }
    }
}
