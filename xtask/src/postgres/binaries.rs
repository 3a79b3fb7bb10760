//! Where `initdb` and `postgres` are; on Debian, as root, they are installed if they are missing.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, While};
use crate::guard::Guard;

const OLDEST: u32 = 14;

/// A folder with `initdb` and `postgres`, and their major version.
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) version: u32,
}

impl Binaries {
    /// The newest there is.
    pub(crate) fn find_or_install(guard: &Guard) -> Result<Self, Failure> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if !may_install() {
            return Err(Failure::new(format!(
                "PostgreSQL {OLDEST} or later is missing: install its server (Debian: apt-get \
                 install postgresql) or put its bin folder on PATH"
            )));
        }
        install(guard)?;
        Self::find().ok_or_else(|| Failure::new(format!("apt-get installed no PostgreSQL {OLDEST} or later")))
    }

    fn find() -> Option<Self> {
        candidates()
            .into_iter()
            .filter(|folder| folder.join("initdb").is_file())
            .filter_map(|folder| Some(Self { version: version_in(&folder)?, folder }))
            .filter(|binaries| binaries.version >= OLDEST)
            .max_by_key(|binaries| binaries.version)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    // Debian and its kin keep one folder a version and only the clients on PATH; so do the
    // packages of PostgreSQL's own yum repository and Homebrew.
    folders.extend(entries("/usr/lib/postgresql").map(|entry| entry.join("bin")));
    for (place, prefix) in [("/usr", "pgsql-"), ("/opt/homebrew/opt", "postgresql@")] {
        let named =
            |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix));
        folders.extend(entries(place).filter(named).map(|entry| entry.join("bin")));
    }
    folders
}

fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn version_in(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

/// From `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` or `postgres (PostgreSQL) 18beta1`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(2)?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

fn may_install() -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    is_root && Path::new("/etc/debian_version").exists() && Path::new("/usr/bin/apt-get").exists()
}

/// Without the cluster that Debian would make and start along with the package.
fn install(guard: &Guard) -> Result<(), Failure> {
    println!("installing PostgreSQL by apt-get");
    let folder = Path::new("/etc/postgresql-common/createcluster.d");
    let setting = folder.join("authlog-no-cluster.conf");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&setting, "create_main_cluster = false\n"))
        .while_doing(format!("writing {}", setting.display()))?;
    let outcome = apt_get(guard, &["update", "-qq"]).and_then(|()| {
        apt_get(guard, &["install", "-y", "-qq", "--no-upgrade", "--no-install-recommends", "postgresql"])
    });
    remove_if_there(&setting).while_doing(format!("removing {}", setting.display()))?;
    outcome
}

fn apt_get(guard: &Guard, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    guard.run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        let debian = "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)";
        assert_eq!(major_version(debian), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
    }
}
