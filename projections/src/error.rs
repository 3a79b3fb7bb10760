//! Why a unit cannot be folded.

use serde::{Deserialize, Serialize};

/// What must be unique among all users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// An address belongs to one user.
    Address,
    /// An (issuer, subject) belongs to one user.
    Identity,
}

/// A unit was not folded, or its audit entries were not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The unit claims what another user holds: a conflict of callers, not a fault.
    #[error("the {} belongs to another user", match .0 { ClaimKind::Address => "address", ClaimKind::Identity => "identity" })]
    Claimed(ClaimKind),
    /// The events contradict the rows, or a row was not loaded: the unit must not be written.
    #[error("the read model {table} cannot take the event at position {position}: {reason}")]
    Broken { table: &'static str, position: i64, reason: &'static str },
    /// Only the audit trail failed. All other tables hold the unit; audit holds nothing of it and may be set aside.
    #[error("the audit trail cannot take the event at position {position}: {reason}")]
    Audit { position: i64, reason: &'static str },
}
