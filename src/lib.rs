//! authlog: an event-sourced authentication service.

pub mod backup;
pub mod cli;
pub mod clock;
pub mod data_dir;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod items;
pub mod keys;
pub mod log;
pub mod oidc;
pub mod operator;
pub mod replay;
pub mod runtime;
pub mod service;
pub mod settings;

/// Rows and events are many small pieces that one thread makes and another gives back: twice as quick as with the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
