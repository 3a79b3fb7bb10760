//! What the fuzz targets under `fuzz/` run. Each takes any bytes, reads them by the functions that calls are read by, and panics
//! when a property does not hold; what they need to see of a room's inside is in a file of that room.
//!
//! Compiled for tests and for fuzzing only. The corpus is replayed below, so that what was found once stays found.

mod address;
mod cursors;
mod events;

pub use address::address;
pub use cursors::cursors;
pub use events::events;

pub use crate::http::fuzzing::{bearer, headers, redirect_uri};
pub use crate::http::routes::fuzzing::{bodies, queries};
pub use crate::oidc::fuzzing::{id_token, provider_documents};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};

    type Run = fn(&[u8]);

    /// Every target by the name of its folder.
    const TARGETS: [(&str, Run); 10] = [
        ("address", super::address),
        ("bearer", super::bearer),
        ("bodies", super::bodies),
        ("cursors", super::cursors),
        ("events", super::events),
        ("headers", super::headers),
        ("id_token", super::id_token),
        ("provider_documents", super::provider_documents),
        ("queries", super::queries),
        ("redirect_uri", super::redirect_uri),
    ];

    fn entries(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn names(folder: &str) -> BTreeSet<String> {
        entries(folder).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_file_of_the_corpus_holds_the_properties_of_its_target() {
        let mut broken = Vec::new();
        for (target, run) in TARGETS {
            let files = entries(&format!("corpus/{target}"));
            assert!(files.len() > 3, "{target} has next to no corpus");
            for file in files {
                let bytes = std::fs::read(&file).unwrap();
                if catch_unwind(|| run(&bytes)).is_err() {
                    broken.push(file);
                }
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn every_target_is_fuzzed_and_has_a_corpus() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
        assert_eq!(names("fuzz_targets"), targets);
        assert_eq!(names("corpus"), targets);
    }
}
