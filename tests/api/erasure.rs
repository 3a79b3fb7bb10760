//! `DELETE /v1/users/{id}?erase=true` and `authlog users erase`: a person is forgotten, and the log stays as it is.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::house::{CALLERS, House};
use crate::support::rules::assert_lawful;
use crate::support::server::{Server, run, send};
use crate::support::{Backend, TestDatabase, tables};
use crate::text;

const AGENT: &str = "Prudence-Browser/7.1";
const SOURCE: &str = "203.0.113.77";
const TOKEN_NAME: &str = "deploy key of wilhelmina";

/// Somebody with all that a person can have, and what must be found nowhere once they are erased.
struct Wilhelmina {
    id: String,
    sessions: [String; 2],
    token: String,
    traces: Vec<String>,
}

impl Wilhelmina {
    async fn joins(house: &House) -> Self {
        let account =
            devidp::Account { subject: "subject-of-wilhelmina".to_owned(), ..devidp::Account::new("wilhelmina") };
        let mut traces = vec![account.email.clone().unwrap(), account.subject.clone()];
        traces.extend([account.name.clone(), account.picture.clone()].into_iter().flatten());
        traces.extend([AGENT, SOURCE, TOKEN_NAME].map(str::to_owned));
        house.instance.provider.add_account(account);
        let id = house.newcomer("wilhelmina", "developer").await;
        let sessions = [sign_in(house).await, sign_in(house).await];
        let body = json!({ "name": TOKEN_NAME, "role": "developer" });
        let issued = house.instance.server.post("/v1/api-tokens", Some(&sessions[0]), body).await.ok(201);
        Self { id, sessions, token: text(&issued, "token").to_owned(), traces }
    }

    /// Which of their traces stand in these bytes, in any case of letters.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        self.traces.iter().filter(|trace| text.contains(&trace.to_lowercase())).map(String::as_str).collect()
    }

    async fn is_refused_everywhere(&self, server: &Server) {
        for bearer in self.sessions.iter().chain([&self.token]) {
            server.get("/v1/users/me", Some(bearer)).await.refused(401, "invalid_session");
        }
    }
}

async fn sign_in(house: &House) -> String {
    let server = &house.instance.server;
    let callback = server.callback_body("wilhelmina").await;
    let request = server.request(Method::POST, "/v1/auth/oidc/callback").json(&callback);
    let request = request.header("user-agent", AGENT).header("x-forwarded-for", SOURCE);
    text(&send(request).await.unwrap().ok(200), "session_token").to_owned()
}

async fn house(backend: Backend) -> House {
    House::with(backend, &[("AUTHLOG_TRUSTED_PROXIES", "127.0.0.1")]).await
}

fn path_of(user: &str) -> String {
    format!("/v1/users/{user}?erase=true")
}

/// All that the database holds: on SQLite the bytes of every file, on PostgreSQL the rows of every table.
async fn holdings(database: &TestDatabase) -> BTreeMap<String, Vec<u8>> {
    if database.url.is_none() {
        let files = std::fs::read_dir(database.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        return files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect();
    }
    let none = "SELECT '' WHERE false";
    let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
    let mut holdings = BTreeMap::new();
    for table in tables::texts(database, none, names).await {
        let rows = tables::texts(database, none, &format!("SELECT t::text FROM {table} AS t")).await;
        holdings.insert(table, rows.join("\n").into_bytes());
    }
    holdings
}

async fn verified(server: &Server) {
    let (code, stdout, stderr) = run(&server.flags, &["projections", "verify"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
}

async fn only_the_owner_erases_and_never_the_owner(backend: Backend) {
    let house = House::new(backend).await;
    let somebody = house.newcomer("somebody", "qa_viewer").await;
    for caller in CALLERS {
        let answer = house.call(caller, Method::DELETE, &path_of(house.id("owner")), None).await;
        answer.refused(403, "forbidden");
        if caller != "owner" {
            house.call(caller, Method::DELETE, &path_of(&somebody), None).await.refused(403, "forbidden");
        }
    }
    let unknown = uuid::Uuid::now_v7().to_string();
    house.call("owner", Method::DELETE, &path_of(&unknown), None).await.refused(404, "not_found");
    let odd = format!("/v1/users/{somebody}?erase=perhaps");
    house.call("owner", Method::DELETE, &odd, None).await.refused(400, "invalid_input");
    // Whoever mistypes it must not believe that somebody was erased who was only disabled.
    let mistyped = format!("/v1/users/{somebody}?earse=true");
    house.call("owner", Method::DELETE, &mistyped, None).await.refused(400, "invalid_input");
    let kept = format!("/v1/users/{somebody}?erase=false");
    let answer = house.call("owner", Method::DELETE, &kept, None).await.ok(200);
    assert_eq!(answer["user"]["status"], "disabled");
    let erased = house.call("owner", Method::DELETE, &path_of(&somebody), None).await.ok(200);
    assert_eq!(erased, json!({ "erased": true, "user_id": somebody, "sessions": 0, "api_tokens": 0 }));
}

async fn an_erased_person_is_in_no_file_and_no_table(backend: Backend) {
    let house = house(backend).await;
    let person = Wilhelmina::joins(&house).await;
    let database = &house.instance.database;
    let before = holdings(database).await;
    let found: std::collections::BTreeSet<&str> = before.values().flat_map(|bytes| person.found_in(bytes)).collect();
    assert_eq!(found.len(), person.traces.len(), "the search finds {found:?} only");

    house.call("owner", Method::DELETE, &path_of(&person.id), None).await.ok(200);

    for (name, bytes) in holdings(database).await {
        assert_eq!(person.found_in(&bytes), Vec::<&str>::new(), "{name}");
    }
    // Rebuilding does not bring them back.
    let (code, _, stderr) = run(&house.instance.server.flags, &["projections", "rebuild", "--all"]).await;
    assert_eq!(code, 0, "{stderr}");
    for (name, bytes) in holdings(database).await {
        assert_eq!(person.found_in(&bytes), Vec::<&str>::new(), "{name}, after a rebuild");
    }
    let output = house.instance.server.output.lock().unwrap().clone();
    assert_eq!(person.found_in(output.as_bytes()), Vec::<&str>::new());
}

async fn the_log_keeps_every_byte_and_still_folds(backend: Backend) {
    let house = house(backend).await;
    let (server, database) = (&house.instance.server, &house.instance.database);
    let person = Wilhelmina::joins(&house).await;
    let others = house.get("owner", "/v1/users").await.ok(200);
    let before = tables::log(database).await;

    let erased = house.call("owner", Method::DELETE, &path_of(&person.id), None).await.ok(200);
    assert_eq!(erased, json!({ "erased": true, "user_id": person.id, "sessions": 2, "api_tokens": 1 }));

    person.is_refused_everywhere(server).await;
    let after = tables::log(database).await;
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);
    let last = after.last().unwrap();
    assert_eq!((&*last.event_type, &*last.aggregate_id), ("UserErased", &*person.id));
    verified(server).await;

    // The past is told without them, and the others are as they were.
    let position = before.last().unwrap().position.to_string();
    let past = server.cli_json(&["replay", "--position", &position, "--json"]).await;
    assert_eq!(person.found_in(past.to_string().as_bytes()), Vec::<&str>::new());
    let remembered = past["users"].as_array().unwrap().iter().find(|user| user["id"] == person.id).unwrap();
    assert_eq!((&remembered["email"], &remembered["role"]), (&json!(""), &json!("developer")));
    let left = house.get("owner", "/v1/users").await.ok(200);
    let expected: Vec<&Value> =
        others["users"].as_array().unwrap().iter().filter(|user| user["id"] != person.id).collect();
    assert_eq!(left["users"].as_array().unwrap().iter().collect::<Vec<_>>(), expected);
    let trail = house.get("owner", "/v1/audit-logs?action=user_erased").await.ok(200);
    assert_eq!(trail["total"], 1);
    assert_eq!(
        (&trail["entries"][0]["resource_id"], &trail["entries"][0]["actor_id"]),
        (&json!(person.id), &json!(house.id("owner")))
    );
    house.call("owner", Method::DELETE, &path_of(&person.id), None).await.refused(404, "not_found");
    house.call("owner", Method::POST, &format!("/v1/users/{}/enable", person.id), None).await.refused(404, "not_found");
}

async fn an_erased_address_is_invited_again_as_somebody_new(backend: Backend) {
    let house = house(backend).await;
    let person = Wilhelmina::joins(&house).await;
    house.call("owner", Method::DELETE, &path_of(&person.id), None).await.ok(200);
    house.instance.server.sign_in("wilhelmina").await.refused(403, "user_not_found");

    let again = house.newcomer("wilhelmina", "qa_viewer").await;
    assert_ne!(again, person.id);
    let session = sign_in(&house).await;
    let me = house.instance.server.get("/v1/users/me", Some(&session)).await.ok(200);
    assert_eq!((&me["user"]["id"], &me["user"]["role"]), (&json!(again), &json!("qa_viewer")));
    person.is_refused_everywhere(&house.instance.server).await;
    verified(&house.instance.server).await;
}

/// Whatever they were about to do comes before the erasure or not at all.
async fn what_a_person_does_while_being_erased_leaves_nothing_behind(backend: Backend) {
    let house = house(backend).await;
    for round in 0..4 {
        let person = Wilhelmina::joins(&house).await;
        let server = &house.instance.server;
        let mut callbacks = Vec::new();
        for _ in 0..4 {
            callbacks.push(server.callback_body("wilhelmina").await);
        }
        let signing_in = async |callback: Value| {
            let request = server.request(Method::POST, "/v1/auth/oidc/callback").json(&callback);
            let request = request.header("user-agent", AGENT).header("x-forwarded-for", SOURCE);
            let answer = send(request).await.unwrap();
            assert!([200, 403].contains(&answer.status.as_u16()), "{answer:?}");
        };
        let issuing = async |number: usize| {
            let body = json!({ "name": format!("{TOKEN_NAME} {number}"), "role": "qa_viewer" });
            let answer = server.post("/v1/api-tokens", Some(&person.sessions[1]), body).await;
            assert!([201, 401].contains(&answer.status.as_u16()), "{answer:?}");
        };
        let signing_out = server.post("/v1/auth/logout", Some(&person.sessions[0]), json!({}));
        let path = path_of(&person.id);
        let erasing = house.call("owner", Method::DELETE, &path, None);
        let mut callbacks = callbacks.into_iter().map(&signing_in);
        let (a, b, c, d) = (callbacks.next(), callbacks.next(), callbacks.next(), callbacks.next());
        let (a, b, c, d) = (a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap());
        let (erased, signed_out, ..) =
            tokio::join!(erasing, signing_out, a, b, issuing(1), issuing(2), c, issuing(3), d);
        erased.ok(200);
        assert!([200, 401].contains(&signed_out.status.as_u16()), "{signed_out:?}");

        for (table, owner) in
            [("users", "id"), ("unique_keys", "user_id"), ("sessions", "user_id"), ("api_tokens", "user_id")]
        {
            let rows = tables::read_model(&house.instance.database, table, &[owner]).await;
            assert!(rows.iter().all(|row| row[owner] != person.id), "{table} in round {round}");
        }
        let log = tables::log(&house.instance.database).await;
        let erasure = log.iter().position(|event| event.event_type == "UserErased" && event.aggregate_id == person.id);
        for event in &log[erasure.unwrap() + 1..] {
            assert!(!format!("{event:?}").contains(&person.id), "after their erasure: {event:?}");
        }
        assert_lawful(&house.instance.database).await;
        verified(server).await;
    }
}

async fn an_operator_erases_after_a_dry_run_and_a_question(backend: Backend) {
    let mut house = house(backend).await;
    let person = Wilhelmina::joins(&house).await;
    let flags = house.instance.server.flags.clone();
    let head = tables::head(&house.instance.database).await;
    let address = "Wilhelmina@Example.com";

    let (code, stdout, stderr) = run(&flags, &["users", "erase", address, "--dry-run", "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    let planned: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(planned, json!({ "user_id": person.id, "erased": false, "sessions": 2, "api_tokens": 1 }));
    assert!(stderr.contains("Would erase the developer wilhelmina@example.com"), "{stderr}");
    let (code, stdout, stderr) = run(&flags, &["users", "erase", &person.id]).await;
    assert_eq!((code, &*stdout), (2, ""));
    assert!(stderr.contains("repeat the command with --yes"), "{stderr}");
    assert_eq!(tables::head(&house.instance.database).await, head);

    let (code, stdout, stderr) = run(&flags, &["users", "erase", address, "--yes", "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    let erased: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(erased, json!({ "user_id": person.id, "erased": true, "sessions": 2, "api_tokens": 1, "wiped": true }));
    person.is_refused_everywhere(&house.instance.server).await;
    let last = tables::log(&house.instance.database).await.pop().unwrap();
    assert_eq!((last.event_type.as_str(), &last.metadata()["actor"]), ("UserErased", &json!("operator")));

    // Without a server, and what is refused.
    let again = house.newcomer("wilhelmina", "qa_viewer").await;
    assert_eq!(house.instance.server.stop().await, 0);
    let (code, stdout, stderr) = run(&flags, &["users", "erase", &again, "--yes"]).await;
    assert_eq!((code, &*stdout), (0, ""), "{stderr}");
    for (who, code, line) in [
        (&*person.id, 1, "there is no such user"),
        (address, 1, "there is no such user"),
        ("alice@example.com", 1, "The owner is not erased"),
        ("not-an-address", 2, "neither a user's id nor an email address"),
    ] {
        for how in ["--yes", "--dry-run"] {
            let refused = run(&flags, &["users", "erase", who, how]).await;
            assert_eq!(refused.0, code, "{who}: {}", refused.2);
            assert!(refused.2.contains(line), "{who}: {}", refused.2);
        }
    }
}

on_both_databases!(
    only_the_owner_erases_and_never_the_owner,
    an_erased_person_is_in_no_file_and_no_table,
    the_log_keeps_every_byte_and_still_folds,
    an_erased_address_is_invited_again_as_somebody_new,
    what_a_person_does_while_being_erased_leaves_nothing_behind,
    an_operator_erases_after_a_dry_run_and_a_question,
);
