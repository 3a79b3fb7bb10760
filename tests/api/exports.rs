//! `authlog audit export` and `authlog users export`: what leaves the service, whole.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use devidp::Account;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::house::House;
use crate::support::Backend;
use crate::support::second_connection::SecondConnection;
use crate::support::server::{Server, run, send};
use crate::support::tables;
use crate::text;

const DEADLINE: Duration = Duration::from_secs(25);

async fn exported(server: &Server, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(&server.flags, &[&["audit", "export"][..], arguments].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout
}

fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn listed(house: &House) -> Vec<Value> {
    let list = house.get("owner", "/v1/audit-logs?direction=asc&limit=200").await.ok(200);
    list["entries"].as_array().unwrap().clone()
}

fn time_of(entry: &Value) -> i64 {
    entry["created_at"].as_i64().unwrap()
}

async fn an_export_is_the_list_and_goes_on_by_position_and_time(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let trail = listed(&house).await;
    assert_eq!(lines(&exported(server, &[]).await), trail);
    for position in [0, 1, 7, trail.len() - 1, trail.len()] {
        let rest = exported(server, &["--since-position", &position.to_string()]).await;
        assert_eq!(lines(&rest), trail[position..], "{position}");
    }
    let (first, last) = (time_of(&trail[0]), time_of(&trail[trail.len() - 1]));
    for moment in first..=last {
        let at = moment.to_string();
        let (before, after): (Vec<Value>, Vec<Value>) =
            trail.iter().cloned().partition(|entry| time_of(entry) < moment);
        assert_eq!(lines(&exported(server, &["--to", &at]).await), before, "to {at}");
        assert_eq!(lines(&exported(server, &["--from", &at]).await), after, "from {at}");
        assert_eq!(exported(server, &["--from", &at, "--to", &at]).await, "");
    }
    let both = exported(server, &["--from", &first.to_string(), "--since-position", "5"]).await;
    assert_eq!(lines(&both), trail[5..]);
}

async fn an_export_needs_no_read_model_and_misses_no_event_silently(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let trail = listed(&house).await;
    let mut database = SecondConnection::open(&house.instance.database).await;
    database.run("DELETE FROM audit_1 WHERE id > 3").await;
    database.run("DELETE FROM users_1").await;
    assert_eq!(lines(&exported(server, &[]).await), trail);

    let guard = match backend {
        Backend::Sqlite => "DROP TRIGGER events_never_vanish",
        Backend::Postgres => "ALTER TABLE events DISABLE TRIGGER events_never_change",
    };
    database.run(guard).await;
    for lacking in [trail.len(), 5] {
        assert_eq!(database.run(&format!("DELETE FROM events WHERE position = {lacking}")).await, 1);
        let (code, stdout, stderr) = run(&server.flags, &["audit", "export"]).await;
        let said = format!("it lacks the event at position {lacking}");
        assert_eq!((code, stderr.contains(&said)), (1, true), "{stderr}");
        assert!(lines(&stdout).len() < lacking);
    }
}

async fn a_spreadsheet_gets_every_field_as_text_and_no_formula(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let login = "=1+1";
    house.instance.provider.add_account(Account::new(login));
    house.newcomer(login, "developer").await;
    server.sign_in(login).await.ok(200);
    let trail = listed(&house).await;
    let table = exported(server, &["--format", "csv"]).await;
    let rows: Vec<Vec<String>> = table.strip_suffix("\r\n").unwrap().split("\r\n").map(cells).collect();
    let names = ["id", "actor_id", "actor_email", "action", "resource_type", "resource_id", "details", "created_at"];
    assert_eq!(rows[0], names);
    assert_eq!(rows.len(), trail.len() + 1);
    for (row, entry) in rows[1..].iter().zip(&trail) {
        let expected = names.map(|name| match &entry[name] {
            Value::Null => String::new(),
            Value::String(text) if text.starts_with('=') => format!("'{text}"),
            value => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        });
        assert_eq!(row[..], expected);
    }
    assert!(rows.iter().any(|row| row[2] == "'=1+1@example.com"), "{table}");
    // What goes on has no line of names: put together it is the whole.
    let (since, head) = ("4", table.split_inclusive("\r\n").take(5).collect::<String>());
    assert_eq!(head + &exported(server, &["--format", "csv", "--since-position", since]).await, table);
}

/// The cells of a line (RFC 4180).
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.push(letters.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            letter => cell.push(letter),
        }
    }
    cells.push(cell);
    cells
}

fn follow(server: &Server, since: usize) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authlog"));
    command.args(["audit", "export", "--follow", "--since-position", &since.to_string()]).args(&server.flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

async fn ended(mut child: Child) -> Option<i32> {
    timeout(DEADLINE, child.wait()).await.expect("it goes on").unwrap().code()
}

async fn whoever_follows_sees_what_comes_until_they_stop(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let seen = listed(&house).await.len();
    let mut following = follow(server, seen - 1);
    let mut output = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(DEADLINE, output.next_line()).await.expect("nothing came").unwrap();
        line.map(|line| serde_json::from_str::<Value>(&line).unwrap())
    };
    assert_eq!(next().await, listed(&house).await.last().cloned());
    house.newcomer("newcomer", "developer").await;
    let trail = listed(&house).await;
    assert_eq!(next().await, trail.get(seen).cloned());
    let pid = following.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    assert_eq!((next().await, ended(following).await), (None, Some(0)));

    // Nobody reads any more: the next entry ends it, without a word.
    let mut following = follow(server, seen);
    let mut output = BufReader::new(following.stdout.take().unwrap()).lines();
    timeout(DEADLINE, output.next_line()).await.unwrap().unwrap();
    drop(output);
    house.newcomer("another", "developer").await;
    let done = timeout(DEADLINE, following.wait_with_output()).await.expect("it goes on").unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert!(!String::from_utf8(done.stderr).unwrap().contains("pipe"));
}

async fn a_stretch_that_there_is_not_is_refused_in_one_line(backend: Backend) {
    let house = House::new(backend).await;
    for (arguments, said) in [
        (&["--from", "2999-01-01T00:00:00Z"][..], "lies in the future"),
        (&["--to", "2999-01-01T00:00:00Z"], "lies in the future"),
        (&["--from", "yesterday"], "2026-11-17T14:00:00Z"),
        (&["--from", "2000000", "--to", "1000000"], "lies before"),
        (&["--since-position", "1000000"], "the log ends at"),
        (&["--since-position=-1"], "--since-position"),
        (&["--format", "xml"], "jsonl"),
        (&["--follow", "--to", "1000000"], "--follow"),
    ] {
        let (code, stdout, stderr) =
            run(&house.instance.server.flags, &[&["audit", "export"], arguments].concat()).await;
        assert_eq!((code, stdout.as_str(), stderr.contains(said)), (2, "", true), "{arguments:?}: {stderr}");
    }
}

const AGENT: &str = "Prudence-Browser/7.1";
const SOURCE: &str = "203.0.113.77";

/// Somebody who has signed in twice, has an API token and has used it; answers id, session and token.
async fn pia_joins(house: &House) -> (String, String, String) {
    let server = &house.instance.server;
    house.instance.provider.add_account(Account::new("pia"));
    let id = house.newcomer("pia", "admin").await;
    let mut session = String::new();
    for _ in 0..2 {
        let callback = server.callback_body("pia").await;
        let request = server.request(Method::POST, "/v1/auth/oidc/callback").json(&callback);
        let request = request.header("user-agent", AGENT).header("x-forwarded-for", SOURCE);
        text(&send(request).await.unwrap().ok(200), "session_token").clone_into(&mut session);
    }
    let body = json!({ "name": "pia's key", "role": "admin" });
    let token = server.post("/v1/api-tokens", Some(&session), body).await.ok(201);
    let token = text(&token, "token").to_owned();
    let invited = json!({ "email": "invited-by-pia@example.com", "role": "qa_viewer" });
    server.post("/v1/users/invite", Some(&token), invited).await.ok(201);
    server.post("/v1/auth/logout", Some(&session), json!({})).await.ok(200);
    (id, session, token)
}

async fn document(server: &Server, who: &str) -> Value {
    let (code, stdout, stderr) = run(&server.flags, &["users", "export", who]).await;
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// The positions of the events that name somebody, or are of a stream that was opened for them.
async fn concerning(house: &House, id: &str) -> Vec<i64> {
    let (mut streams, mut positions) = (BTreeSet::from([id.to_owned()]), Vec::new());
    for event in tables::log(&house.instance.database).await {
        let (payload, kind) = (event.payload(), event.event_type.as_str());
        if ["SessionOpened", "ApiTokenIssued"].contains(&kind) && payload[kind]["user_id"] == id {
            streams.insert(event.aggregate_id.clone());
        }
        let named = event.payload.contains(id) || event.metadata.contains(id);
        if named || streams.contains(&event.aggregate_id) {
            positions.push(event.position);
        }
    }
    positions
}

async fn a_person_gets_all_that_is_held_about_them_and_nothing_of_others(backend: Backend) {
    let house = House::with(backend, &[("AUTHLOG_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let server = &house.instance.server;
    let (id, session, token) = pia_joins(&house).await;
    // Somebody else acts on them.
    let role = format!("/v1/users/{id}/role");
    house.call("owner", Method::PATCH, &role, Some(json!({ "role": "developer" }))).await.ok(200);
    let held = document(server, "Pia@Example.com").await;
    assert_eq!(held, document(server, &id).await);

    let users = house.get("owner", "/v1/users?q=pia").await.ok(200)["users"].as_array().unwrap().clone();
    assert_eq!(Some(&held["user"]), users.iter().find(|user| user["id"] == id.as_str()));
    assert_eq!(held["identities"], json!([{ "issuer": house.instance.provider.issuer(), "subject": "pia-1" }]));
    let sessions = held["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(
        sessions.iter().all(|held| held["source_address"] == SOURCE && held["user_agent"] == AGENT),
        "{sessions:?}"
    );
    let tokens = held["api_tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), &tokens[0]["name"], text(&tokens[0], "prefix")), (1, &json!("pia's key"), &token[..12]));
    assert_eq!(held["pending"], json!([]));

    let events = held["events"].as_array().unwrap();
    let positions: Vec<i64> = events.iter().map(|event| event["position"].as_i64().unwrap()).collect();
    assert_eq!(positions, concerning(&house, &id).await);
    let of_type = |name: &str| events.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
    assert_eq!(of_type("UserInvited")[0]["payload"]["UserInvited"]["address"], "pia@example.com");
    let accepted = &of_type("InvitationAccepted")[0]["payload"]["InvitationAccepted"];
    assert_eq!(
        (&accepted["profile"]["display_name"], &accepted["identity"]["subject"]),
        (&json!("Pia Example"), &json!("pia-1"))
    );
    // By them about somebody else, and by somebody else about them: neither's address is theirs to read.
    assert_eq!(of_type("UserInvited").len(), 2);
    assert_eq!(of_type("UserInvited")[1]["payload"]["UserInvited"].get("address"), None);
    assert_eq!(of_type("RoleChanged")[0].get("source_address"), None);
    let text = held.to_string();
    let hash = |secret: &str| aggregates::TokenHash::of(secret).to_string();
    for secret in
        [&session, &token, &hash(&session), &hash(&token), "invited-by-pia", "alice@", "person/", "strangers/"]
    {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

async fn a_document_goes_to_a_new_file_that_nobody_else_reads(backend: Backend) {
    let house = House::new(backend).await;
    let server = &house.instance.server;
    let invited = house.newcomer("invited", "developer").await;
    let file = house.instance.database.folder.path().join("held.json");
    let path = file.display().to_string();
    let export = ["users", "export", "invited@example.com", "--output", &path];
    let (code, stdout, stderr) = run(&server.flags, &export).await;
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, document(server, &invited).await);
    assert_eq!(written["pending"], json!([{ "kind": "invitation", "role": "developer" }]));
    let (code, _, stderr) = run(&server.flags, &export).await;
    assert_eq!((code, stderr.lines().count(), stderr.contains("is there already")), (1, 1, true), "{stderr}");
}

async fn of_somebody_unknown_or_erased_nothing_is_told(backend: Backend) {
    let house = House::with(backend, &[("AUTHLOG_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let server = &house.instance.server;
    let (id, ..) = pia_joins(&house).await;
    let erase = format!("/v1/users/{id}?erase=true");
    house.call("owner", Method::DELETE, &erase, None).await.ok(200);
    for who in ["pia@example.com", "nobody@example.com", "0198c5a2-0000-7000-8000-000000000000"] {
        let (code, stdout, stderr) = run(&server.flags, &["users", "export", who]).await;
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{who}: {stderr}");
        assert!(stderr.contains("there is no such user"), "{stderr}");
    }
    let (code, _, stderr) = run(&server.flags, &["users", "export", "no address"]).await;
    assert_eq!((code, stderr.contains("USER|ADDRESS")), (2, true), "{stderr}");
    // Their events are there, without what they said of them; the trail no longer names them.
    let held = document(server, &id).await;
    assert_eq!(
        (held.get("user"), &held["identities"], held["sessions"].as_array().unwrap().len()),
        (None, &json!([]), 2)
    );
    let told = held.to_string() + &exported(server, &[]).await;
    for trace in ["pia@", "Pia Example", "pia-1", "pia's key", AGENT, SOURCE] {
        assert!(!told.contains(trace), "{trace} in {told}");
    }
    assert_eq!(lines(&exported(server, &[]).await), listed(&house).await);
}

on_both_databases!(
    an_export_is_the_list_and_goes_on_by_position_and_time,
    an_export_needs_no_read_model_and_misses_no_event_silently,
    a_spreadsheet_gets_every_field_as_text_and_no_formula,
    whoever_follows_sees_what_comes_until_they_stop,
    a_stretch_that_there_is_not_is_refused_in_one_line,
    a_person_gets_all_that_is_held_about_them_and_nothing_of_others,
    a_document_goes_to_a_new_file_that_nobody_else_reads,
    of_somebody_unknown_or_erased_nothing_is_told,
);
