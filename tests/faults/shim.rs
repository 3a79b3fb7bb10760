//! What is preloaded into a process so that the world looks different to it, as a file says that both can see.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A library to preload and the file that tells it what to do; nothing while there is none.
pub struct Shim {
    library: PathBuf,
    control: PathBuf,
}

impl Shim {
    /// Compiles `tests/faults/{name}.c` into the folder.
    pub fn compile(name: &str, folder: &Path) -> Self {
        let (library, control) = (folder.join(format!("{name}.so")), folder.join(format!("{name}.control")));
        let mut command = Command::new("cc");
        command.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library);
        command.arg(format!("tests/faults/{name}.c")).arg("-ldl").current_dir(env!("CARGO_MANIFEST_DIR"));
        let done = command.output();
        let done = done.unwrap_or_else(|error| panic!("a C compiler, `cc`, is needed to plant faults: {error}"));
        assert!(done.status.success(), "{done:?}");
        Self { library, control }
    }

    /// What a process is to find in its environment.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("FAULT_CONTROL", self.control.to_str().unwrap())]
    }

    pub fn tell(&self, what: &str) {
        // At once: a process that looks meanwhile sees the old one or the new one.
        let next = self.control.with_extension("next");
        std::fs::write(&next, what).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::fs::rename(&next, &self.control).unwrap();
    }

    /// Whether a fault that happens once has not happened yet.
    pub fn is_waiting(&self) -> bool {
        self.control.exists()
    }

    pub fn be_silent(&self) {
        std::fs::remove_file(&self.control).unwrap();
    }
}
