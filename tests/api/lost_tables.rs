//! A read model's table that somebody has dropped: the service says which, and a rebuild brings it back.

use serde_json::{Value, json};

use crate::house::House;
use crate::support::Backend;
use crate::support::server::run;

async fn a_dropped_table_is_named_and_a_rebuild_brings_it_back(backend: Backend) {
    let house = House::new(backend).await;
    let (server, database) = (&house.instance.server, &house.instance.database);
    let users = house.get("owner", "/v1/users").await.ok(200);
    for name in ["users", "audit"] {
        database.sql(&format!("DROP TABLE {name}_1")).await;
        assert_eq!(server.get("/readyz", None).await.ok(503)["aside"], json!([name]));

        let (code, stdout, stderr) = run(&server.flags, &["projections", "status", "--json"]).await;
        let hint = format!("`authlog projections rebuild {name}`");
        assert!(code == 0 && stderr.contains(&hint), "{code}: {stderr}");
        let shown: Value = serde_json::from_str(&stdout).unwrap();
        let missing = |model: &&Value| model["state"] == "missing";
        let missing: Vec<_> = shown["projections"].as_array().unwrap().iter().filter(missing).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!((&missing[0]["name"], &missing[0]["rows"]), (&json!(name), &Value::Null));
        let (code, _, stderr) = run(&server.flags, &["projections", "verify"]).await;
        assert!(code == 3 && stderr.contains(&hint), "{code}: {stderr}");

        if name == "audit" {
            house.newcomer("somebody-new", "qa_viewer").await;
            assert_eq!(server.get("/readyz", None).await.ok(503)["aside"], json!([name]));
        }
        let (code, _, stderr) = run(&server.flags, &["projections", "rebuild", name]).await;
        assert_eq!(code, 0, "{stderr}");
        server.get("/readyz", None).await.ok(200);
        let (code, stdout, stderr) = run(&server.flags, &["projections", "verify"]).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        if name == "users" {
            assert_eq!(house.get("owner", "/v1/users").await.ok(200), users);
        }
    }
}

on_both_databases!(a_dropped_table_is_named_and_a_rebuild_brings_it_back);
