//! Roles, what a role may do, and who is asking.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ApiTokenId, SessionId, UserId};

/// Ordered: a later variant may do all that an earlier one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    QaViewer,
    Developer,
    Admin,
    Owner,
}

/// A role that is not one of the four.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of admin, developer and qa_viewer")]
pub struct RoleError;

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QaViewer => "qa_viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role with which an API token of this role acts for somebody of the role `user`: the lower one, never owner.
    #[must_use]
    pub fn as_api_token_of(self, user: Self) -> Self {
        self.min(user).min(Self::Admin)
    }

    /// Owners and admins see and manage other people.
    pub fn manages(self) -> bool {
        self >= Self::Admin
    }

    /// Whether somebody of this role may make, change, disable, enable or end the sessions of somebody of `other`:
    /// the owner everybody, an admin everybody below admin, others nobody.
    pub fn outranks(self, other: Self) -> bool {
        self.manages() && self > other
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "qa_viewer" => Ok(Self::QaViewer),
            "developer" => Ok(Self::Developer),
            "admin" => Ok(Self::Admin),
            "owner" => Ok(Self::Owner),
            _ => Err(RoleError),
        }
    }
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Invited,
    Active,
    Disabled,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// Who asks for a change, with the role they act with at this moment: folded from their own stream, not from a read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    pub user_id: UserId,
    pub role: Role,
    pub credential: Credential,
}

/// What the actor showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Session(SessionId),
    ApiToken(ApiTokenId),
}
