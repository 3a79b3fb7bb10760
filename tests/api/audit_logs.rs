//! `/v1/audit-logs`.

use serde_json::{Value, json};

use crate::house::House;
use crate::support::Backend;
use crate::text;

async fn entries(house: &House, query: &str) -> Vec<Value> {
    let listed = house.get("owner", &format!("/v1/audit-logs?{query}")).await.ok(200);
    listed["entries"].as_array().unwrap().clone()
}

fn ids(entries: &[Value]) -> Vec<i64> {
    entries.iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
}

async fn owner_and_admin_read_the_trail_and_it_is_the_log(backend: Backend) {
    let house = House::new(backend).await;
    for (caller, status) in [("owner", 200), ("admin", 200), ("developer", 403), ("qa_viewer", 403), ("token", 200)] {
        assert_eq!(house.get(caller, "/v1/audit-logs").await.status, status, "{caller}");
    }
    let log = house.instance.server.events().await;
    let trail = entries(&house, "limit=200&direction=asc").await;
    assert_eq!(ids(&trail), log.iter().map(|event| event["position"].as_i64().unwrap()).collect::<Vec<_>>());
    for (entry, event) in trail.iter().zip(&log) {
        let snake: String = text(event, "type")
            .char_indices()
            .flat_map(|(at, letter)| {
                let gap = (letter.is_ascii_uppercase() && at > 0).then_some('_');
                gap.into_iter().chain(letter.to_lowercase())
            })
            .collect();
        assert_eq!(text(entry, "action"), snake);
        if let Some(details) = entry.get("details") {
            serde_json::from_str::<Value>(details.as_str().unwrap()).unwrap();
        }
    }
    let told = format!("{trail:?}");
    for secret in [house.bearer("owner"), house.bearer("token"), devidp::Client::SECRET] {
        assert!(!told.contains(secret));
    }
}

async fn the_trail_is_filtered_by_what_happened_who_did_it_and_when(backend: Backend) {
    let house = House::new(backend).await;
    let invited = entries(&house, "action=user_invited").await;
    assert_eq!(invited.len(), 3);
    assert!(
        invited.iter().all(|entry| entry["actor_email"] == "alice@example.com" && entry["resource_type"] == "user")
    );
    assert_eq!(entries(&house, "action=user_").await.len(), 0, "exact");
    assert_eq!(entries(&house, "action=%25").await.len(), 0);
    let by_admin = entries(&house, &format!("actor_id={}&limit=200", house.id("admin"))).await;
    assert!(by_admin.iter().all(|entry| entry["actor_id"] == house.id("admin")));
    assert!(by_admin.iter().any(|entry| entry["action"] == "api_token_issued"));
    assert_eq!(entries(&house, "resource_type=user&q=ALICE@&action=user_invited").await.len(), 3);
    let all = entries(&house, "limit=200&direction=asc").await;
    let (first, last) = (all[0]["created_at"].as_i64().unwrap(), all[all.len() - 1]["created_at"].as_i64().unwrap());
    assert_eq!(entries(&house, &format!("from_ts={first}&to_ts={}&limit=200", last + 1)).await.len(), all.len());
    let before_last = all.iter().filter(|entry| entry["created_at"].as_i64().unwrap() < last).count();
    assert_eq!(entries(&house, &format!("to_ts={last}&limit=200")).await.len(), before_last);
    assert_eq!(entries(&house, &format!("from_ts={last}&limit=200")).await.len(), all.len() - before_last);
}

async fn cursors_walk_the_whole_trail_once_and_are_nobodys_to_make(backend: Backend) {
    let house = House::new(backend).await;
    for direction in ["asc", "desc"] {
        let whole = ids(&entries(&house, &format!("limit=200&direction={direction}")).await);
        let (mut walked, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let go_on = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let path = format!("/v1/audit-logs?limit=4&direction={direction}{go_on}");
            let page = house.get("owner", &path).await.ok(200);
            assert_eq!(page["total"], whole.len());
            walked.extend(ids(page["entries"].as_array().unwrap()));
            pages += 1;
            assert!(pages <= whole.len());
            let Some(next) = page.get("next_cursor") else { break };
            cursor = Some(next.as_str().unwrap().to_owned());
        }
        assert_eq!(walked, whole);
    }
    let page = house.get("owner", "/v1/audit-logs?limit=1").await.ok(200);
    let cursor = text(&page, "next_cursor");
    let changed = format!("{}{}", if cursor.starts_with('A') { 'B' } else { 'A' }, &cursor[1..]);
    for query in [
        format!("cursor={cursor}&offset=0"),
        format!("cursor={cursor}&offset=1"),
        format!("cursor={cursor}&direction=asc"),
        format!("cursor={cursor}&sort=action"),
        format!("cursor={changed}"),
        "cursor=".to_owned(),
        "cursor=5".to_owned(),
        "cursor=AAAAAAAAAAU".to_owned(),
    ] {
        house.get("owner", &format!("/v1/audit-logs?{query}")).await.refused(400, "invalid_input");
    }
}

async fn sorts_are_closed_sets_and_ties_are_broken_by_id(backend: Backend) {
    let house = House::new(backend).await;
    for sort in ["created_at", "actor_email", "action", "resource_type"] {
        for direction in ["asc", "desc"] {
            let by = format!("sort={sort}&direction={direction}");
            let whole = entries(&house, &format!("{by}&limit=200")).await;
            let key =
                |entry: &Value| (entry.get(sort).map(ToString::to_string).unwrap_or_default(), entry["id"].as_i64());
            let mut sorted = whole.clone();
            sorted.sort_by_key(key);
            if direction == "desc" {
                sorted.reverse();
            }
            assert_eq!(ids(&whole), ids(&sorted), "{by}");
            let pages = [
                entries(&house, &format!("{by}&limit=3")).await,
                entries(&house, &format!("{by}&limit=3&offset=3")).await,
            ];
            assert_eq!(ids(&pages.concat()), ids(&whole)[..6], "{by}");
        }
    }
    for query in ["sort=id", "sort=action;--", "direction=DESC", "limit=0", "limit=201", "from_ts=x", "actor_id=1"] {
        house.get("owner", &format!("/v1/audit-logs?{query}")).await.refused(400, "invalid_input");
    }
    let default = house.get("owner", "/v1/audit-logs").await.ok(200);
    assert!(default["entries"].as_array().unwrap().len() <= 50);
    assert_eq!(default.get("next_cursor"), None, "{}", json!(default["total"]));
}

on_both_databases!(
    owner_and_admin_read_the_trail_and_it_is_the_log,
    the_trail_is_filtered_by_what_happened_who_did_it_and_when,
    cursors_walk_the_whole_trail_once_and_are_nobodys_to_make,
    sorts_are_closed_sets_and_ties_are_broken_by_id,
);
