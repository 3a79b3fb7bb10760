//! No token, secret, address or name stands clear in the log, in any page that the log's table had in the database file or its
//! write-ahead file, or in what the server prints (promise P9). The read models hold clear text, and they may.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::on_both_databases;
use crate::support::server::{REDIRECT_URI, Server, at_the_provider, run, send};
use crate::support::{Backend, TestDatabase, tables};

const SOURCE: &str = "203.0.113.77";
const AGENT: &str = "Prudence-Browser/7.1";
const TOKEN_NAME: &str = "deploy key of wilhelmina";

/// What must stand nowhere, each with what it is.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn keep(&mut self, what: &'static str, secret: &Value) -> String {
        let secret = secret.as_str().unwrap_or_else(|| panic!("{what} is no text: {secret}")).to_owned();
        assert!(secret.len() >= 6, "{what} is too short to be looked for: {secret}");
        self.0.push((what, secret.clone()));
        secret
    }

    /// Those that stand in these bytes, in any case of letters.
    fn found_in(&self, bytes: &[u8]) -> Vec<&(&'static str, String)> {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        self.0.iter().filter(|(_, secret)| text.contains(&secret.to_lowercase())).collect()
    }
}

/// Comes back from the provider; what the redirect carried is secret too.
async fn callback(server: &Server, secrets: &mut Secrets, account: &str) -> Value {
    let begun = server.get(&format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}"), None).await.ok(200);
    secrets.keep("a state", &begun["state"]);
    let callback = at_the_provider(&begun, account).await;
    secrets.keep("a code", &callback["code"]);
    callback
}

async fn sign_in(server: &Server, secrets: &mut Secrets, account: &str) -> String {
    let callback = callback(server, secrets, account).await;
    let request = server.request(Method::POST, "/v1/auth/oidc/callback").json(&callback);
    let request = request.header("user-agent", AGENT).header("x-forwarded-for", SOURCE);
    let signed_in = send(request).await.unwrap().ok(200);
    secrets.keep("a session token", &signed_in["session_token"])
}

fn account(secrets: &mut Secrets, login: &str) -> devidp::Account {
    let account = devidp::Account { subject: format!("subject-of-{login}"), ..devidp::Account::new(login) };
    secrets.keep("an address", &json!(account.email));
    secrets.keep("a subject", &json!(account.subject));
    secrets.keep("a name", &json!(account.name));
    secrets.keep("a picture", &json!(account.picture));
    account
}

/// Setup from the pinned address to the end, as `wilhelmina`.
async fn set_up(server: &Server, secrets: &mut Secrets, provider: &devidp::DevIdp) {
    let issue = ["setup", "token", "--owner", "Wilhelmina@Example.com", "--json"];
    let token = secrets.keep("a bootstrap token", &server.cli_json(&issue).await["token"]);
    let guess = secrets.keep("a wrong bootstrap token", &json!("a guess at the token"));
    let verify = "/v1/setup/bootstrap-token/verify";
    server.post(verify, None, json!({ "token": guess })).await.refused(401, "invalid_token");
    let opened = server.post(verify, None, json!({ "token": token })).await.ok(200);
    let setup = secrets.keep("a setup session's token", &opened["session_token"]);
    secrets.keep("the client secret", &json!(devidp::Client::SECRET));
    server.configure(&setup, provider.issuer()).await.ok(200);
    let begun = server.post("/v1/setup/owner/start-oidc", Some(&setup), json!({ "redirect_uri": REDIRECT_URI })).await;
    let callback = at_the_provider(&begun.ok(200), "wilhelmina").await;
    secrets.keep("a state", &callback["state"]);
    secrets.keep("a code", &callback["code"]);
    server.post("/v1/setup/owner/verify-oidc", Some(&setup), callback).await.ok(200);
    server.post("/v1/setup/complete", Some(&setup), json!({})).await.ok(200);
}

/// One of everything that brings a secret or something personal to the server.
async fn live(server: &Server, secrets: &mut Secrets, provider: &devidp::DevIdp) {
    for login in ["wilhelmina", "ferdinand", "kunigunde"] {
        let account = account(secrets, login);
        provider.add_account(account);
    }
    for (what, secret) in [("a source address", SOURCE), ("a user agent", AGENT), ("a token's name", TOKEN_NAME)] {
        secrets.keep(what, &json!(secret));
    }
    set_up(server, secrets, provider).await;
    let owner = sign_in(server, secrets, "wilhelmina").await;
    let invitation = json!({ "email": " Ferdinand@EXAMPLE.com", "role": "admin" });
    let ferdinand = server.post("/v1/users/invite", Some(&owner), invitation.clone()).await.ok(201);
    server.post("/v1/users/invite", Some(&owner), invitation).await.refused(409, "already_exists");
    let session = sign_in(server, secrets, "ferdinand").await;
    let token = json!({ "name": TOKEN_NAME, "role": "developer" });
    let token = server.post("/v1/api-tokens", Some(&session), token).await.ok(201);
    let token = secrets.keep("an API token", &token["token"]);
    server.get("/v1/users/me", Some(&token)).await.ok(200);
    server.get("/v1/users?q=ferdinand@example", Some(&owner)).await.ok(200);
    server.get("/v1/audit-logs?q=wilhelmina@example.com", Some(&owner)).await.ok(200);

    // Refusals, whose messages and log lines must not tell either.
    let refused = callback(server, secrets, "kunigunde").await;
    server.post("/v1/auth/oidc/callback", None, refused.clone()).await.refused(403, "user_not_found");
    server.post("/v1/auth/oidc/callback", None, refused).await.refused(400, "invalid_state");
    let unknown = secrets.keep("an unknown token", &json!("0123456789abcdef-unknown"));
    server.get("/v1/users/me", Some(&unknown)).await.refused(401, "invalid_session");
    provider.set_fault(devidp::Fault::WrongNonce);
    let refused = callback(server, secrets, "ferdinand").await;
    let refused = server.post("/v1/auth/oidc/callback", None, refused).await;
    refused.refused(502, "id_token_verification_error");
    provider.clear_fault();

    // A changed profile, a recovery, a disabled user.
    let renamed = devidp::Account { name: Some("Ferdinand the Second".to_owned()), ..account(secrets, "ferdinand") };
    secrets.keep("a name", &json!(renamed.name));
    provider.add_account(renamed);
    sign_in(server, secrets, "ferdinand").await;
    server.cli_json(&["owner", "recover", "--subject", "subject-of-kunigunde", "--yes", "--json"]).await;
    let owner = sign_in(server, secrets, "kunigunde").await;
    let path = format!("/v1/users/{}", ferdinand["user"]["id"].as_str().unwrap());
    server.delete(&path, Some(&owner)).await.ok(200);
}

async fn nothing_secret_or_personal_is_in_the_log_or_in_the_output(backend: Backend) {
    let provider = devidp::DevIdp::start(devidp::Options::default()).unwrap();
    let database = TestDatabase::new(backend).await;
    let settings = [("AUTHLOG_TRUSTED_PROXIES", "127.0.0.1"), ("RUST_LOG", "authlog=trace,info")];
    let mut server = Server::start_with(&database, &settings).await;
    let mut secrets = Secrets::default();
    live(&server, &mut secrets, &provider).await;

    // The log, as the table holds it and as the command line prints it.
    let log = tables::log(&database).await;
    assert!(log.iter().any(|event| event.event_type == "OwnerIdentityReplaced"));
    for event in &log {
        assert_eq!(secrets.found_in(format!("{event:?}").as_bytes()), Vec::<&(&str, String)>::new(), "{event:?}");
    }
    let (_, printed, _) = run(&server.flags, &["events"]).await;
    assert_eq!(secrets.found_in(printed.as_bytes()), Vec::<&(&str, String)>::new());

    // The search finds what is there: the read model of users holds addresses and names.
    let users = tables::read_model(&database, "users", &["address", "display_name", "subject"]).await;
    let found = secrets.found_in(format!("{users:?}").as_bytes());
    assert!(found.len() >= 5, "{found:?} in {users:?}");

    if backend == Backend::Sqlite {
        let (event_pages, other_pages) = pages(&database.folder.path().join("authlog.db")).await;
        assert!(String::from_utf8_lossy(&event_pages).contains("OwnerIdentityReplaced"));
        assert_eq!(secrets.found_in(&event_pages), Vec::<&(&str, String)>::new());
        assert!(!secrets.found_in(&other_pages).is_empty(), "the search finds nothing in the pages of the read models");
    }

    let metrics = server.get("/metrics", None).await;
    assert_eq!(secrets.found_in(metrics.body.to_string().as_bytes()), Vec::<&(&str, String)>::new());
    assert_eq!(server.stop().await, 0);
    let output = server.output.lock().unwrap().clone();
    assert!(output.contains("id_token_verification_error"), "the output tells what failed: {output}");
    assert_eq!(secrets.found_in(output.as_bytes()), Vec::<&(&str, String)>::new(), "{output}");
}

/// Every version of every page of the log's table and its indexes that the database file or its write-ahead file holds, and of
/// all other pages.
///
/// SQLite itself says which pages belong to what (`dbstat`). The log only grows, so a page that was once its own is its own still;
/// frames of the write-ahead file that an earlier checkpoint has left behind count too.
async fn pages(file: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut connection = SqliteConnection::connect(&file.display().to_string()).await.unwrap();
    let of_events = "SELECT pageno FROM dbstat WHERE name IN \
                     (SELECT name FROM sqlite_schema WHERE tbl_name = 'events' AND type IN ('table', 'index'))";
    let of_events: Vec<i64> = sqlx::query_scalar(of_events).fetch_all(&mut connection).await.unwrap();
    let of_events: BTreeSet<u64> = of_events.into_iter().map(|page| page.try_into().unwrap()).collect();
    assert!(of_events.len() > 5, "the log has few pages: {of_events:?}");
    let page_size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut connection).await.unwrap();
    let page_size = usize::try_from(page_size).unwrap();
    let (database, wal) = (std::fs::read(file).unwrap(), std::fs::read(file.with_extension("db-wal")).unwrap());
    // Closed only now: the last connection to close would fold the write-ahead file into the database.
    connection.close().await.unwrap();

    // The format of both: https://www.sqlite.org/fileformat2.html, sections 1.2 and 4.1.
    let (wal_header, frame_header) = (32, 24);
    let mut versions: Vec<(u64, &[u8])> =
        database.chunks_exact(page_size).zip(1..).map(|(page, at)| (at, page)).collect();
    let frames = wal[wal_header..].chunks_exact(frame_header + page_size);
    assert!(frames.len() > 0, "the write-ahead file is empty");
    for frame in frames {
        let page = u32::from_be_bytes(frame[..4].try_into().unwrap());
        versions.push((page.into(), &frame[frame_header..]));
    }
    let (events, others): (Vec<_>, Vec<_>) = versions.into_iter().partition(|(page, _)| of_events.contains(page));
    let bytes = |pages: Vec<(u64, &[u8])>| pages.into_iter().flat_map(|(_, page)| page.to_vec()).collect();
    (bytes(events), bytes(others))
}

on_both_databases!(nothing_secret_or_personal_is_in_the_log_or_in_the_output);
