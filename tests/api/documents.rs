//! The codes are told in four places, and the API in its OpenAPI document: they agree.

use std::collections::BTreeSet;
use std::path::Path;

use authlog::error::ErrorCode;
use serde_json::{Value, json};

use crate::Fresh;
use crate::support::Backend;
use crate::support::server::Instance;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The calls of the contract, by path.
const CALLS: [&str; 33] = [
    "GET /auth/callback",
    "GET /healthz",
    "GET /readyz",
    "GET /v1/api-tokens",
    "POST /v1/api-tokens",
    "DELETE /v1/api-tokens/{id}",
    "GET /v1/audit-logs",
    "GET /v1/audit-logs/stream",
    "POST /v1/auth/logout",
    "POST /v1/auth/oidc/callback",
    "GET /v1/auth/oidc/start",
    "GET /v1/public/setup-status",
    "GET /v1/replay",
    "GET /v1/replay/diff",
    "DELETE /v1/sessions",
    "GET /v1/sessions",
    "DELETE /v1/sessions/{id}",
    "GET /v1/settings/external-access/oidc",
    "PUT /v1/settings/external-access/oidc",
    "POST /v1/setup/bootstrap-token/verify",
    "POST /v1/setup/complete",
    "POST /v1/setup/oidc/configure",
    "POST /v1/setup/owner/start-oidc",
    "POST /v1/setup/owner/verify-oidc",
    "POST /v1/setup/preferences",
    "GET /v1/setup/summary",
    "GET /v1/users",
    "POST /v1/users/invite",
    "GET /v1/users/me",
    "DELETE /v1/users/{id}",
    "POST /v1/users/{id}/enable",
    "PATCH /v1/users/{id}/role",
    "GET /v1/users/{id}/why",
];

/// A row of the table in the docs.
struct Row {
    code: String,
    status: String,
    cause: String,
    remedy: String,
    test: String,
}

fn table() -> Vec<Row> {
    let page = read("docs/error-codes.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [code, status, cause, remedy, test] = cells[..] else { panic!("not five cells: {line}") };
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        Row { code: plain(code), status: plain(status), cause: plain(cause), remedy: plain(remedy), test: plain(test) }
    })
    .collect()
}

fn all_codes() -> Vec<&'static str> {
    ErrorCode::ALL.iter().map(|code| code.as_str()).collect()
}

#[test]
fn the_enum_begins_with_the_codes_of_the_contract_in_its_order() {
    let contract: Value = serde_json::from_str(&read("tests/contract/error-codes.json")).unwrap();
    let contract: Vec<(String, u64)> = contract["codes"].as_array().unwrap().iter().map(of_contract).collect();
    let ours: Vec<(String, u64)> =
        ErrorCode::ALL.iter().map(|code| (code.as_str().to_owned(), code.status().as_u16().into())).collect();
    assert_eq!(contract.len(), 31);
    assert_eq!(contract, ours[..31]);
    assert_eq!(ours.len(), 40);
}

fn of_contract(entry: &Value) -> (String, u64) {
    (crate::text(entry, "code").to_owned(), entry["status"].as_u64().unwrap())
}

#[test]
fn the_table_in_the_docs_tells_every_code_with_its_status_and_its_test() {
    let rows = table();
    assert_eq!(rows.iter().map(|row| row.code.as_str()).collect::<Vec<_>>(), all_codes());
    let tests: String = ["authentication", "setup", "oidc", "input", "system", "beyond"]
        .map(|group| read(&format!("tests/api/codes/{group}.rs")))
        .concat();
    for (row, code) in rows.iter().zip(ErrorCode::ALL) {
        let status = code.status().as_u16().to_string();
        match code {
            ErrorCode::InvalidState => assert_eq!(row.status, "409; 400 for a `state` value"),
            _ => assert_eq!(row.status, status, "{}", row.code),
        }
        assert!(!row.cause.is_empty() && !row.remedy.is_empty(), "{}", row.code);
        let named = row.test.trim_start_matches("heavy_");
        assert!(named.starts_with(&row.code), "{} is not named for {}", row.test, row.code);
        assert!(tests.contains(&format!("async fn {}(backend: Backend)", row.test)), "{} does not exist", row.test);
        assert!(tests.contains(&format!("\n    {},\n", row.test)), "{} does not run on both databases", row.test);
    }
}

/// Method, path and operation of every operation.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path =
        |(path, item): (&String, &'_ Value)| (path.clone(), item.as_object().unwrap().keys().cloned().collect());
    let keys: Vec<(String, Vec<String>)> = paths.iter().map(of_path).collect();
    keys.into_iter()
        .flat_map(|(path, methods)| {
            let item = &paths[&path];
            methods.into_iter().map(move |method| (format!("{} {path}", method.to_uppercase()), &item[&method]))
        })
        .collect()
}

async fn the_served_document_lists_the_codes_of_every_operation(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let document = fresh.server.get("/openapi.json", None).await.ok(200);
    assert!(crate::text(&document, "openapi").starts_with("3.1"));
    assert_eq!(document["components"]["schemas"]["ErrorCode"]["enum"], json!(all_codes()));
    let operations = operations(&document);
    assert_eq!(operations.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), CALLS);
    let mut told = BTreeSet::new();
    for (name, operation) in operations {
        assert!(operation["responses"].get("default").is_none(), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
            if response["content"]["application/json"]["schema"]["$ref"] != "#/components/schemas/ErrorEnvelope" {
                assert_eq!((name.as_str(), status.as_str()), ("GET /readyz", "503"));
                continue;
            }
            for code in crate::text(response, "description").split(", ") {
                let known = ErrorCode::ALL.into_iter().find(|known| known.as_str() == code);
                let known = known.unwrap_or_else(|| panic!("{name} {status}: {code} is no code"));
                let of_a_state_value = code == "invalid_state" && status == "400";
                assert!(known.status().as_str() == status || of_a_state_value, "{name} {status}: {code}");
                told.insert(code.to_owned());
            }
        }
    }
    // No operation answers to a method that it is not.
    told.insert("method_not_allowed".to_owned());
    assert_eq!(told, all_codes().into_iter().map(str::to_owned).collect());
}

async fn the_served_document_says_how_the_page_of_a_sign_in_refuses(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let document = fresh.server.get("/openapi.json", None).await.ok(200);
    let answers = &document["paths"]["/auth/callback"]["get"]["responses"];
    let refused = fresh.server.get("/auth/callback?error=access_denied", None).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(answers["400"]["content"]["text/html"]["schema"], json!({"type": "string"}));
}

async fn the_served_document_says_how_far_an_offset_goes(backend: Backend) {
    let instance = Instance::ready(backend).await;
    let document = instance.server.get("/openapi.json", None).await.ok(200);
    for path in ["/v1/users", "/v1/audit-logs"] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let offset = parameters.iter().find(|parameter| parameter["name"] == "offset").unwrap();
        let expected = json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX, "default": 0});
        assert_eq!(offset["schema"], expected, "{path}");
        let status = async |offset: u64| {
            instance.server.get(&format!("{path}?offset={offset}"), Some(&instance.owner)).await.status.as_u16()
        };
        assert_eq!((status(u32::MAX.into()).await, status(u64::from(u32::MAX) + 1).await), (200, 400), "{path}");
    }
}

async fn the_served_document_is_the_one_that_was_reviewed(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let mut document = fresh.server.get("/openapi.json", None).await.ok(200);
    document["info"]["version"] = "(that of the package)".into();
    insta::assert_json_snapshot!("openapi", document);
}

async fn the_docs_page_loads_nothing_from_elsewhere(backend: Backend) {
    let fresh = Fresh::start(backend).await;
    let page = fresh.server.get("/docs", None).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let html = page.ok(200);
    let html = html.as_str().unwrap();
    assert!(html.contains("/v1/users/invite"));
    for foreign in ["src=\"http", "href=\"http", "url(http", "<script", "@import"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
}

on_both_databases!(
    the_served_document_lists_the_codes_of_every_operation,
    the_served_document_says_how_the_page_of_a_sign_in_refuses,
    the_served_document_says_how_far_an_offset_goes,
    the_served_document_is_the_one_that_was_reviewed,
    the_docs_page_loads_nothing_from_elsewhere,
);
