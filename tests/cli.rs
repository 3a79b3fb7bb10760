//! The command line, beside a running server and without one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use devidp::{Account, DevIdp};
use reqwest::Method;
use serde_json::{Value, json};
use support::second_connection::SecondConnection;
use support::server::{Instance, Server, flags, run};
use support::{Backend, TestDatabase};

async fn json_of(flags: &[String], arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(flags, arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

async fn a_bootstrap_token_is_issued_with_and_without_a_server(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let flags = flags(&database);
    let without = json_of(&flags, &["setup", "token", "--json", "--ttl", "1h"]).await;
    let mut server = Server::start(&database).await;
    let verify = |token: Value| server.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token }));
    let beside = json_of(&flags, &["setup", "token", "--json"]).await;
    verify(without["token"].clone()).await.refused(401, "invalid_token");
    verify(beside["token"].clone()).await.ok(200);
    assert_eq!(beside["token"].as_str().unwrap().len(), 64);
    let status = json_of(&flags, &["setup", "status", "--json"]).await;
    assert_eq!(status, server.get("/v1/public/setup-status", None).await.ok(200));
    assert_eq!(server.stop().await, 0);
    assert_eq!(json_of(&flags, &["setup", "status", "--json"]).await, status);
}

async fn setup_begins_again_after_a_restart_and_nobody_keeps_anything(backend: Backend) {
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let database = TestDatabase::new(backend).await;
    let server = Server::start(&database).await;
    let setup = server.open_setup_session().await;
    server.configure(&setup, provider.issuer()).await.ok(200);
    let redirect = json!({ "redirect_uri": support::server::REDIRECT_URI });
    let begun = server.post("/v1/setup/owner/start-oidc", Some(&setup), redirect).await.ok(200);
    let callback = support::server::at_the_provider(&begun, "alice").await;
    server.post("/v1/setup/owner/verify-oidc", Some(&setup), callback).await.ok(200);

    let (code, _, stderr) = run(&server.flags, &["setup", "restart"]).await;
    assert_eq!((code, stderr.contains("--yes")), (2, true), "{stderr}");
    let (code, _, stderr) = run(&server.flags, &["setup", "restart", "--yes"]).await;
    assert_eq!(code, 0, "{stderr}");
    let status = server.get("/v1/public/setup-status", None).await.ok(200);
    assert_eq!(status["state"], "uninitialized");
    server.get("/v1/setup/summary", Some(&setup)).await.refused(401, "invalid_session");

    let owner = server.set_up(&provider).await;
    assert_eq!(server.get("/v1/users", Some(&owner)).await.ok(200)["total"], 1);
    let (code, _, stderr) = run(&server.flags, &["setup", "restart", "--yes"]).await;
    assert_eq!((code, stderr.contains("already_configured")), (1, true), "{stderr}");
}

async fn the_provider_is_shown_removed_and_set_from_the_host(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let shown = json_of(&server.flags, &["idp", "show", "--json"]).await;
    assert_eq!(shown["issuer_url"], instance.provider.issuer());
    assert_eq!(shown["has_client_secret"], true);
    let (code, _, stderr) = run(&server.flags, &["idp", "remove", "--yes"]).await;
    assert_eq!(code, 0, "{stderr}");
    server
        .get("/v1/auth/oidc/start?redirect_uri=http://127.0.0.1:1/auth/callback", None)
        .await
        .refused(500, "oidc_not_configured");
    server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    let (code, _, stderr) = run(&server.flags, &["idp", "show"]).await;
    assert_eq!((code, stderr.contains("authlog idp set")), (1, true), "{stderr}");

    let secret = instance.database.folder.path().join("secret.txt");
    std::fs::write(&secret, format!("{}\n", devidp::Client::SECRET)).unwrap();
    let secret = secret.display().to_string();
    let set = ["idp", "set", "--yes", "--issuer-url", instance.provider.issuer(), "--client-id", "authlog-test"];
    let (code, _, stderr) = run(&server.flags, &[&set[..], &["--client-secret-file", &secret]].concat()).await;
    assert_eq!(code, 0, "{stderr}");
    server.get("/v1/users/me", Some(&instance.owner)).await.ok(200);
    server.sign_in("alice").await.ok(200);
}

async fn the_owner_is_recovered_with_another_subject_and_the_old_one_is_nobody(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    instance.provider.add_account(Account { subject: "alice-2".into(), ..Account::new("alina") });
    server.sign_in("alina").await.refused(403, "user_not_found");
    let opened = json_of(&server.flags, &["owner", "recover", "--subject", "alice-2", "--yes", "--json"]).await;
    assert!(opened["expires_at"].as_i64().is_some());
    let signed_in = server.sign_in("alina").await.ok(200);
    assert_eq!(
        (&signed_in["user"]["role"], &signed_in["user"]["email"]),
        (&json!("owner"), &json!("alice@example.com"))
    );
    server.get("/v1/users/me", Some(&instance.owner)).await.refused(401, "invalid_session");
    server.sign_in("alice").await.refused(403, "user_not_found");
    server.sign_in("alina").await.ok(200);
}

async fn refused_sign_ins_are_one_counted_event_a_reason(backend: Backend) {
    let mut instance = Instance::ready(backend).await;
    for _ in 0..3 {
        instance.server.sign_in("bob").await.refused(403, "user_not_found");
    }
    assert_eq!(instance.server.stop().await, 0);
    let refused: Vec<Value> =
        instance.server.events().await.into_iter().filter(|event| event["type"] == "SignInsRefused").collect();
    let counts: Vec<_> = refused.iter().map(|event| event["payload"]["SignInsRefused"].clone()).collect();
    assert_eq!(counts, [json!({ "reason": "user_not_found", "count": 3 })]);
}

async fn read_models_are_compared_with_the_log_and_rebuilt_beside_the_service(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let (bob, bob_session) = server.join(&instance.owner, "bob", "developer").await;
    let verify = async |arguments: &[&str]| {
        run(&server.flags, &[&["projections", "verify", "--json"][..], arguments].concat()).await
    };
    let (code, stdout, stderr) = verify(&[]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let outcome: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&outcome["equal"], outcome["position"].as_u64()),
        (&json!(true), Some(server.events().await.len() as u64))
    );

    let mut database = SecondConnection::open(&instance.database).await;
    let damage = [
        format!("UPDATE users_1 SET role = 'admin' WHERE id = '{bob}'"),
        "DELETE FROM audit_1 WHERE id = 2".to_owned(),
        "INSERT INTO unique_keys_1 (key, kind, user_id) VALUES ('of nobody', 'address', 'x')".to_owned(),
    ];
    for statement in damage {
        assert_eq!(database.run(&statement).await, 1);
    }
    let (code, stdout, stderr) = verify(&[]).await;
    assert_eq!((code, stderr.contains("authlog projections rebuild")), (3, true), "{stderr}");
    let found: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = found.iter().map(|row| (&row["model"], &row["key"])).collect();
    let wrong = [("users", bob.as_str()), ("unique_keys", "of nobody"), ("audit", "2")]
        .map(|(model, key)| (json!(model), json!(key)));
    assert_eq!(seen[..3], [(&wrong[0].0, &wrong[0].1), (&wrong[1].0, &wrong[1].1), (&wrong[2].0, &wrong[2].1)]);
    assert_eq!((&found[0]["live"]["role"], &found[0]["fresh"]["role"]), (&json!("admin"), &json!("developer")));
    assert_eq!((&found[1]["fresh"], &found[2]["live"]), (&Value::Null, &Value::Null));
    let (code, stdout, _) = run(&server.flags, &["projections", "verify", "users"]).await;
    assert_eq!((code, stdout.contains(r#"role is "admin", should be "developer""#)), (3, true), "{stdout}");
    assert_eq!(verify(&["sessions", "setup"]).await.0, 0);

    let rebuild = ["projections", "rebuild", "--json", "users", "unique_keys", "audit"];
    let (code, stdout, stderr) = run(&server.flags, &rebuild).await;
    assert_eq!(code, 0, "{stderr}");
    let outcome: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(outcome["rebuilt"], json!(["users", "unique_keys", "audit"]));
    assert_eq!(verify(&[]).await.0, 0);
    // The service reads and writes the new tables, and its memory knows.
    let me = server.get("/v1/users/me", Some(&bob_session)).await.ok(200);
    assert_eq!(me["user"]["role"], "developer");
    let role = format!("/v1/users/{bob}/role");
    server.call(Method::PATCH, &role, Some(&instance.owner), Some(json!({ "role": "qa_viewer" }))).await.ok(200);
    let listed = server.get("/v1/users?q=bob", Some(&instance.owner)).await.ok(200);
    assert_eq!(listed["users"][0]["role"], "qa_viewer");
    let (code, _, stderr) = run(&server.flags, &["projections", "rebuild", "--all"]).await;
    assert_eq!((code, stderr.contains("Rebuilt up to position")), (0, true), "{stderr}");
    assert_eq!(verify(&[]).await.0, 0);
    for arguments in
        [&["projections", "rebuild"][..], &["projections", "rebuild", "dreams"], &["projections", "verify", "dreams"]]
    {
        let (code, _, stderr) = run(&server.flags, arguments).await;
        assert_eq!(code, 2, "{stderr}");
    }
}

async fn the_size_of_each_read_model_is_shown(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let server = &instance.server;
    let events = server.events().await.len();
    let sizes = async || {
        let status = json_of(&server.flags, &["projections", "status", "--json"]).await;
        let models = status["projections"].as_array().unwrap().clone();
        models
            .into_iter()
            .map(|model| (model["rows"].as_i64().unwrap(), model["bytes"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    let rows: Vec<i64> = sizes().await.into_iter().map(|(rows, _)| rows).collect();
    // Setup, provider, the owner, address and identity, one session, no API token, an entry an event.
    assert_eq!(rows, [1, 1, 1, 2, 1, 0, i64::try_from(events).unwrap()]);
    assert!(sizes().await.iter().all(|(_, bytes)| *bytes >= 4096 && bytes % 4096 == 0), "whole pages");
    let before = sizes().await;
    let mut database = SecondConnection::open(&instance.database).await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
                INSERT INTO unique_keys_1 (key, kind, user_id) SELECT 'of nobody ' || i, 'address', 'x' FROM n";
    assert_eq!(database.run(many).await, 5000);
    let after = sizes().await;
    assert_eq!(after[3].0, before[3].0 + 5000);
    assert!(after[3].1 > before[3].1 + 5000 * 20, "{before:?} {after:?}");
    let (code, stdout, _) = run(&server.flags, &["projections", "status"]).await;
    let kib = (after[3].1 / 1024).to_string();
    let line = stdout.lines().find(|line| line.starts_with("unique_keys ")).unwrap();
    assert_eq!((code, line.split_whitespace().skip(5).collect::<Vec<_>>()), (0, vec!["5002", kib.as_str()]));
}

async fn a_bad_argument_is_named_and_nothing_is_made(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let flags = flags(&database);
    for (arguments, named) in [
        (&["setup", "token", "--owner", "nobody"][..], "--owner"),
        (&["owner", "recover", "--email", "nobody"][..], "--email"),
        (&["events", "--type", "Bogus"][..], "--type"),
    ] {
        let (code, _, stderr) = run(&flags, arguments).await;
        assert_eq!((code, stderr.contains(named)), (2, true), "{stderr}");
    }
    for arguments in [&["events"][..], &["setup", "status"], &["idp", "show"], &["projections", "status"]] {
        let (code, _, stderr) = run(&flags, arguments).await;
        assert_eq!((code, stderr.contains("`authlog serve` makes one")), (1, true), "{stderr}");
    }
}

async fn whoever_may_become_owner_is_told_and_the_next_step_is_that_of_the_state(backend: Backend) {
    let database = TestDatabase::new(backend).await;
    let flags = flags(&database);
    let (_, _, stderr) = run(&flags, &["setup", "token", "--owner", "Carol@Example.com"]).await;
    assert!(stderr.contains("Only carol@example.com can become owner"), "{stderr}");
    assert_eq!(stderr.contains("a new one was made"), backend == Backend::Sqlite, "{stderr}");
    let (_, _, stderr) = run(&flags, &["setup", "status"]).await;
    assert!(stderr.contains("A bootstrap token was issued"), "{stderr}");
    let server = Server::start(&database).await;
    let provider = DevIdp::start(devidp::Options::default()).unwrap();
    let setup = server.open_setup_session().await;
    server.configure(&setup, provider.issuer()).await.ok(200);
    let (_, _, stderr) = run(&flags, &["setup", "status"]).await;
    assert!(stderr.contains("now the owner signs in"), "{stderr}");
}

async fn the_host_is_told_why_a_provider_cannot_be_used(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let set = ["idp", "set", "--yes", "--issuer-url", "http://127.0.0.1:9", "--client-id", "x"];
    let (code, _, stderr) = run(&instance.server.flags, &set).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("(oidc_discovery_failed): "), "{stderr}");
    let recover = ["owner", "recover", "--email", "mallory@example.com"];
    let (code, _, stderr) = run(&instance.server.flags, &recover).await;
    assert_eq!((code, stderr.contains("mallory@example.com becomes the owner's identity")), (2, true), "{stderr}");
}

async fn events_are_read_by_position_stream_and_type(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let flags = &instance.server.flags;
    let all = instance.server.events().await;
    let positions: Vec<i64> = all.iter().map(|event| event["position"].as_i64().unwrap()).collect();
    assert_eq!(positions, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    let lines = async |arguments: &[&str]| {
        let (code, stdout, stderr) = run(flags, &[&["events", "--json"][..], arguments].concat()).await;
        assert_eq!(code, 0, "{stderr}");
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    assert_eq!(lines(&["--from", "3", "--to", "5"]).await, all[2..5]);
    let setup: Vec<Value> = all.iter().filter(|event| event["stream"] == "setup/instance").cloned().collect();
    assert_eq!(lines(&["--stream", "setup/instance"]).await, setup);
    let opened: Vec<Value> = all.iter().filter(|event| event["type"] == "SessionOpened").cloned().collect();
    assert_eq!(lines(&["--type", "SessionOpened"]).await, opened);
    for wrong in [&["--from", "0"][..], &["--stream", "nothing"], &["--from", "5", "--to", "3"]] {
        let (code, stdout, _) = run(flags, &[&["events"][..], wrong].concat()).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{wrong:?}");
    }
    let status = json_of(flags, &["projections", "status", "--json"]).await;
    assert_eq!(status["head"], positions.len());
    assert_eq!(status["projections"].as_array().unwrap().len(), 7);
    assert!(status["projections"].as_array().unwrap().iter().all(|model| model["state"] == "live"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_a_directory_is_refused_with_one_line() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    let server = Server::start(&database).await;
    let (code, _, stderr) = run(&server.flags, &["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains("another authlog is running on the data directory"), "{stderr}");
    for name in ["authlog.sock", "authlog.db", "master.key", "authlog.lock"] {
        let mode = std::fs::metadata(database.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_where_there_is_no_log_says_what_to_do() {
    let database = TestDatabase::new(Backend::Sqlite).await;
    for command in [&["events"][..], &["setup", "status"], &["projections", "status"], &["idp", "show"]] {
        let (code, stdout, stderr) = run(&flags(&database), command).await;
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
        assert!(stderr.contains("there is no log in"), "{stderr}");
    }
}

/// What a provider may tell of a person, and what an operator may paste.
async fn what_could_steer_a_terminal_comes_out_of_no_command(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let renamed = Account { name: Some("Alice \u{202e}gnp.exe".to_owned()), ..Account::new("alice") };
    instance.provider.add_account(renamed);
    let signed_in = instance.server.sign_in("alice").await.ok(200);
    let me = instance.server.get("/v1/users/me", signed_in["session_token"].as_str()).await.ok(200);
    assert_eq!(me["user"]["display_name"], "Alice \u{202e}gnp.exe");
    let steers = |text: &str| text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    let mut told = 0;
    for command in [
        &["replay"][..],
        &["replay", "--json"],
        &["users", "export", "alice@example.com"],
        &["audit", "export"],
        &["events"],
        &["events", "--type", "\u{1b}[2J\u{9b}31m\u{202e}"],
        &["setup", "token", "--owner", "\u{1b}[2J@example.com"],
        &["\u{1b}[2J"],
        &["events", "--config", "\u{1b}[2J"],
    ] {
        let (_, stdout, stderr) = run(&instance.server.flags, command).await;
        assert!(!steers(&stdout) && !steers(&stderr), "{command:?}: {stdout:?} {stderr:?}");
        told += usize::from(stdout.contains("gnp.exe"));
    }
    assert!(told >= 2, "the name is told nowhere");
}

/// The throw-away cluster takes any password; where there is one already, it is that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_password_is_in_no_output() {
    const PASSWORD: &str = "geheim-of-the-database";
    let database = TestDatabase::new(Backend::Postgres).await;
    let mut url = url::Url::parse(database.url.as_ref().unwrap()).unwrap();
    if url.password().is_none() {
        url.set_password(Some(PASSWORD)).unwrap();
    }
    let password = url.password().unwrap().to_owned();
    let mut server = Server::start_by(url.as_str(), &database, &[("RUST_LOG", "trace")]).await;
    server.get("/readyz", None).await.ok(200);
    let metrics = server.get("/metrics", None).await;
    assert_eq!(server.stop().await, 0);
    let mut told = format!("{}{}", server.output.lock().unwrap(), metrics.body);
    // Nobody listens on port 1, and the second names no database at all.
    let folder = database.folder.path().display().to_string();
    for wrong in [format!("postgres://ann:{password}@127.0.0.1:1/log"), format!("mysql://ann:{password}@127.0.0.1/log")]
    {
        let flags = ["--data-dir".to_owned(), folder.clone(), "--database-url".to_owned(), wrong];
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["events"], &["projections", "status"]] {
            let (code, stdout, stderr) = run(&flags, command).await;
            assert!(code != 0 && stderr.contains("database"), "{command:?}: {stderr}");
            told += &format!("{stdout}{stderr}");
        }
    }
    assert!(!told.contains(&password), "{told}");
}

on_both_databases!(
    what_could_steer_a_terminal_comes_out_of_no_command,
    read_models_are_compared_with_the_log_and_rebuilt_beside_the_service,
    the_size_of_each_read_model_is_shown,
    a_bad_argument_is_named_and_nothing_is_made,
    whoever_may_become_owner_is_told_and_the_next_step_is_that_of_the_state,
    the_host_is_told_why_a_provider_cannot_be_used,
    a_bootstrap_token_is_issued_with_and_without_a_server,
    setup_begins_again_after_a_restart_and_nobody_keeps_anything,
    the_provider_is_shown_removed_and_set_from_the_host,
    the_owner_is_recovered_with_another_subject_and_the_old_one_is_nobody,
    refused_sign_ins_are_one_counted_event_a_reason,
    events_are_read_by_position_stream_and_type,
);
