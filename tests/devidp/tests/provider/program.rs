use crate::relying_party::RelyingParty;
use devidp::Fault;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_devidp");

#[tokio::test]
async fn help_lists_every_fault_with_what_it_does() {
    let output = Command::new(PROGRAM).arg("--help").output().await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for fault in Fault::all() {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("- {fault}:")));
        assert!(line.is_some_and(|line| !line.trim_end().ends_with(':')), "{fault} is not explained in:\n{help}");
    }
}

#[tokio::test]
async fn the_program_serves_the_fault_it_is_told_and_refuses_other_addresses() {
    let mut child = Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1:0", "--fault", "discovery-server-error", "--algorithm", "ES256"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ready = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let party = RelyingParty::new(ready.strip_prefix("devidp ready: ").unwrap());
    assert_eq!(party.get("/.well-known/openid-configuration").await.status, 500);
    let key = party.get("/jwks").await.json().unwrap()["keys"][0].clone();
    assert_eq!(key["alg"], "ES256");

    // a program that does not refuse would serve for ever
    let refused = Command::new(PROGRAM).args(["--listen", "0.0.0.0:0"]).kill_on_drop(true).output();
    let refused = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap().unwrap();
    let expected = "devidp: 0.0.0.0:0 is not a loopback address: this provider is for the machine it runs on only\n";
    assert_eq!((refused.status.code(), String::from_utf8(refused.stderr).unwrap().as_str()), (Some(1), expected));
}
