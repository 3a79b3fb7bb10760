//! Whose process the cluster is: PostgreSQL refuses to run as root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, While};

/// Accounts root may lend to the cluster, the best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The account that owns and runs the cluster.
#[derive(Clone, Copy)]
pub(crate) enum Account {
    /// Whoever called us.
    Own,
    /// We are root and step down to this one.
    Other { user: u32, group: u32 },
}

impl Account {
    pub(crate) fn choose() -> Result<Self, Failure> {
        if id("-u", None) != Some(0) {
            return Ok(Self::Own);
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| {
                let user = id("-u", Some(name)).filter(|user| *user != 0)?;
                let group = id("-g", Some(name))?;
                Some(Self::Other { user, group })
            })
            .ok_or_else(|| {
                let names = UNPRIVILEGED.join("` or `");
                Failure::new(format!("PostgreSQL does not run as root, and no user `{names}` exists"))
            })
    }

    /// Gives a file or folder to the account.
    pub(crate) fn own(self, path: &Path) -> Result<(), Failure> {
        match self {
            Self::Own => Ok(()),
            Self::Other { user, group } => {
                chown(path, Some(user), Some(group)).while_doing(format!("giving {} to user {user}", path.display()))
            }
        }
    }

    /// User and group, if they are not our own.
    pub(crate) fn ids(self) -> Option<(u32, u32)> {
        match self {
            Self::Own => None,
            Self::Other { user, group } => Some((user, group)),
        }
    }

    /// Makes the command's process the account's; supplementary groups are left behind.
    pub(crate) fn take_on(self, command: &mut Command) {
        if let Self::Other { user, group } = self {
            command.uid(user).gid(group);
        }
    }
}

fn id(what: &str, name: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(name).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
