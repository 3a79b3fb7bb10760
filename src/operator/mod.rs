//! What the command line may change, beside a running server or without one.
//!
//! On SQLite one process writes: if a server runs, the command goes to it through a Unix socket in the data directory; if none
//! runs, the command takes the directory's lock and does it itself. On PostgreSQL every process is a node.

pub mod socket;

use aggregates::{EmailAddress, UnixSeconds, UserId};
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, ErrorCode};
use crate::log::rebuild::{Pace, Progress, RebuildError};
use crate::log::rotate::{RotateError, Rotation};
use crate::service::erase::{Erased, Eraser};
use crate::service::recover::RecoverBy;
use crate::service::setup::NewProvider;
use crate::service::{CallContext, Service};

/// A change asked for on the host.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum OperatorCommand {
    IssueBootstrapToken {
        #[serde(default)]
        ttl_seconds: Option<i64>,
        #[serde(default)]
        owner: Option<String>,
    },
    RestartSetup,
    SetProvider {
        issuer_url: String,
        client_id: String,
        /// Goes over the socket in clear, to the server of the same user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<String>,
    },
    RemoveProvider,
    RecoverOwner {
        #[serde(default)]
        subject: Option<String>,
        #[serde(default)]
        email: Option<String>,
        ttl_seconds: i64,
    },
    EraseUser {
        user_id: UserId,
    },
    RebuildProjections {
        names: Vec<String>,
    },
    RotateMasterKey,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum OperatorAnswer {
    BootstrapToken {
        token: String,
        expires_at: UnixSeconds,
    },
    SetupRestarted {
        anything_discarded: bool,
    },
    ProviderSet {
        discovered_issuer: String,
    },
    ProviderRemoved,
    RecoveryOpened {
        expires_at: UnixSeconds,
    },
    UserErased {
        sessions: usize,
        api_tokens: usize,
        /// Whether the database's files are rid of what they held, as far as that is up to authlog.
        wiped: bool,
    },
    /// Not the last word: how far it has come.
    Rebuilding(Progress),
    ProjectionsRebuilt {
        position: i64,
        /// Tables of before that could not be dropped nor emptied.
        #[serde(default)]
        left: Vec<String>,
    },
    /// Not the last word: how far it has come.
    Rotating(Rotation),
    MasterKeyRotated(Rotation),
    Refused {
        code: String,
        message: String,
        /// What really happened, for whoever is on the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
}

impl OperatorCommand {
    /// Carries the command out. `report` hears how far a long one has come.
    pub async fn execute(
        self,
        service: &Service,
        pace: Pace,
        report: &(dyn Fn(OperatorAnswer) + Sync),
    ) -> OperatorAnswer {
        match self.attempt(service, pace, report).await {
            Ok(answer) => answer,
            Err(error) => {
                error.log();
                let message = error.message().to_owned();
                OperatorAnswer::Refused { code: error.code().as_str().to_owned(), message, cause: error.cause() }
            }
        }
    }

    async fn attempt(
        self,
        service: &Service,
        pace: Pace,
        report: &(dyn Fn(OperatorAnswer) + Sync),
    ) -> Result<OperatorAnswer, ApiError> {
        let context = CallContext::default();
        match self {
            Self::IssueBootstrapToken { ttl_seconds, owner } => {
                let owner = owner.as_deref().map(parse_address).transpose()?;
                let ttl_seconds = ttl_seconds.unwrap_or_else(|| service.settings.bootstrap_token_ttl.get());
                let issued = service.issue_bootstrap_token(&context, ttl_seconds, owner).await?;
                Ok(OperatorAnswer::BootstrapToken { token: issued.token, expires_at: issued.expires_at })
            }
            Self::RestartSetup => {
                let anything_discarded = service.restart_setup(&context).await?;
                Ok(OperatorAnswer::SetupRestarted { anything_discarded })
            }
            Self::SetProvider { issuer_url, client_id, client_secret } => {
                let provider = NewProvider::parse(&issuer_url, client_id, client_secret)?;
                let discovered = service.set_provider_by_operator(&context, provider).await?;
                Ok(OperatorAnswer::ProviderSet { discovered_issuer: discovered.issuer.as_str().to_owned() })
            }
            Self::RemoveProvider => {
                service.remove_provider(&context).await?;
                Ok(OperatorAnswer::ProviderRemoved)
            }
            Self::RecoverOwner { subject, email, ttl_seconds } => {
                let by = match (subject, email) {
                    (Some(subject), None) if !subject.is_empty() => RecoverBy::Subject(subject),
                    (None, Some(email)) => RecoverBy::Address(parse_address(&email)?),
                    _ => {
                        return Err(
                            ApiError::new(ErrorCode::InvalidInput).with_message("Give either a subject or an address.")
                        );
                    }
                };
                let expires_at = service.recover_owner(&context, by, ttl_seconds).await?;
                Ok(OperatorAnswer::RecoveryOpened { expires_at })
            }
            Self::EraseUser { user_id } => {
                let erased = service.erase_user(&context, Eraser::Operator, user_id).await?;
                let Erased { sessions, api_tokens, wiped } = erased;
                Ok(OperatorAnswer::UserErased { sessions, api_tokens, wiped })
            }
            Self::RebuildProjections { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let report = |progress| report(OperatorAnswer::Rebuilding(progress));
                let rebuilt = service.log.rebuild(&names, pace, &report).await.map_err(rebuild_error)?;
                Ok(OperatorAnswer::ProjectionsRebuilt { position: rebuilt.head.position, left: rebuilt.left })
            }
            Self::RotateMasterKey => {
                let report = |rotation| report(OperatorAnswer::Rotating(rotation));
                let rotation = service.log.rotate_master_key(&report).await.map_err(rotate_error)?;
                // Keys that the old master key opens are not left lying about.
                service.wipe_remains().await?;
                Ok(OperatorAnswer::MasterKeyRotated(rotation))
            }
        }
    }
}

fn rebuild_error(error: RebuildError) -> ApiError {
    match error {
        RebuildError::UnknownModel(_) => ApiError::new(ErrorCode::InvalidInput).worded(&error),
        RebuildError::Busy | RebuildError::Elsewhere(_) => ApiError::new(ErrorCode::Unavailable).worded(&error),
        RebuildError::Store(_) | RebuildError::History(_) | RebuildError::Fold(_) => {
            ApiError::new(ErrorCode::StoreError)
                .with_message("The rebuild failed; the read models are as they were.")
                .caused_by(error)
        }
    }
}

fn rotate_error(error: RotateError) -> ApiError {
    match error {
        RotateError::NoNextKey => ApiError::new(ErrorCode::InvalidInput).worded(&error),
        RotateError::Elsewhere(_) => ApiError::new(ErrorCode::InvalidState).worded(&error),
        RotateError::Busy => ApiError::new(ErrorCode::Unavailable).worded(&error),
        RotateError::Store(_) | RotateError::Keyring(_) | RotateError::Unfinished => {
            ApiError::new(ErrorCode::StoreError)
                .with_message("The exchange was cut off; both master keys are needed until it is done.")
                .caused_by(error)
        }
    }
}

fn parse_address(text: &str) -> Result<EmailAddress, ApiError> {
    EmailAddress::parse(text).map_err(|error| ApiError::new(ErrorCode::InvalidInput).worded(&error))
}
