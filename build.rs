//! Migrations are embedded in the binary: a new one must rebuild it. SQLite must have been compiled with its table of pages.

fn main() {
    // Without it an erased person would stay in the file, and nobody would know before the first erasure.
    let flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    assert!(
        flags.contains("SQLITE_ENABLE_DBPAGE_VTAB"),
        "LIBSQLITE3_FLAGS lacks -DSQLITE_ENABLE_DBPAGE_VTAB: build in the project's folder, where .cargo/config.toml sets it"
    );
    println!("cargo:rerun-if-env-changed=LIBSQLITE3_FLAGS");
    println!("cargo:rerun-if-changed=migrations");
}
