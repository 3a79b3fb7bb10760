//! Every page: its links, its words, its blocks.

use std::path::Path;

use crate::markdown::{anchors, blocks, pages, prose, quoted, read, root};

/// How each kind of block is held to what it says.
const KINDS: [&str; 14] = [
    "",
    "text",
    "toml",
    // What the test command runs itself.
    "sh demo",
    // The walk: see `walk.rs`.
    "sh serve",
    "sh values",
    "sh walk",
    "sh by-hand owner",
    "sh by-hand sign-in",
    "sh operate",
    "sh stopped",
    "sh before-ready",
    // The runtime role: see `role.rs`.
    "sql roles",
    "sql grants",
];
/// Needs a database elsewhere; its flags are compared with the help.
const SHOWN: [&str; 2] = ["sh shown", "sh owner"];

#[test]
fn every_block_is_of_a_kind_that_something_checks() {
    for page in pages() {
        for block in blocks(&page) {
            let kind = block.kind.as_str();
            assert!(KINDS.contains(&kind) || SHOWN.contains(&kind), "{page}: nothing checks {block:?}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let folder = Path::new(&page).parent().unwrap();
            let target = if file.is_empty() { page.clone() } else { folder.join(file).to_str().unwrap().to_owned() };
            assert!(root().join(&target).is_file(), "{page} links to {link}");
            if let Some(anchor) = anchor {
                assert!(anchors(&target).iter().any(|known| known == anchor), "{page} links to {link}");
            }
        }
    }
}

#[test]
fn every_file_that_is_named_is_there() {
    let folders = ["src/", "tests/", "aggregates/", "projections/", "migrations/", "generate/", "xtask/", "docs/"];
    for page in pages() {
        let text = prose(&page);
        for name in quoted(&text) {
            // `src/setup.rs` stands in a row of its crate.
            let in_a_crate = ["aggregates", "projections"].iter().any(|member| root().join(member).join(name).exists());
            if folders.iter().any(|folder| name.starts_with(folder)) && !name.contains(' ') {
                assert!(in_a_crate || root().join(name).exists(), "{page} names {name}");
            }
        }
    }
}

#[test]
fn no_page_names_a_path_of_somebodys_machine() {
    for page in pages() {
        let text = read(&page);
        for forbidden in ["/work/", "/root/", "/home/", "/tmp/", "/Users/"] {
            assert!(!text.contains(forbidden), "{page} names {forbidden}");
        }
    }
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = read("README.md");
    for page in pages().into_iter().filter(|page| page != "README.md") {
        assert!(readme.contains(&format!("]({page})")), "README.md does not link to {page}");
    }
}
