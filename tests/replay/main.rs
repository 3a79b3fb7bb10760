//! Looking back: what the log says was true at a moment, why, and whether it could have come so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod moments;
#[path = "../support/mod.rs"]
mod support;
mod why;

use serde_json::Value;
use support::server::{Server, run};

/// The lines that `authlog replay --json` prints.
async fn lines(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let (code, stdout, stderr) = run(&server.flags, &[&["replay", "--json"][..], arguments].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn document(server: &Server, arguments: &[&str]) -> Value {
    let mut lines = lines(server, arguments).await;
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

async fn head(server: &Server) -> String {
    server.events().await.len().to_string()
}
