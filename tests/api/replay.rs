//! `/v1/replay...` and `/v1/users/{id}/why`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{CALLERS, House};
use crate::support::Backend;
use crate::support::second_connection::SecondConnection;
use crate::support::server::{Answer, run};
use crate::text;

const UNKNOWN: &str = "0198c5a2-0000-7000-8000-000000000000";

/// What the command line prints as JSON lines.
async fn printed(house: &House, arguments: &[&str]) -> Vec<Value> {
    let (code, stdout, stderr) =
        run(&house.instance.server.flags, &[&["replay", "--json"][..], arguments].concat()).await;
    assert_eq!(code, 0, "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn owner_and_admin_look_back(backend: Backend) {
    let house = House::new(backend).await;
    let why = format!("/v1/users/{}/why", house.id("developer"));
    for path in ["/v1/replay?position=3", "/v1/replay/diff?from=1&to=3", "/v1/replay?stream=setup/instance", &why] {
        for caller in CALLERS {
            let expected = if ["developer", "qa_viewer"].contains(&caller) { (403, "forbidden") } else { (200, "") };
            House::came_to(&house.get(caller, path).await, expected, &format!("{caller} {path}"));
        }
        house.instance.server.get(path, None).await.refused(401, "missing_auth");
    }
    // What a caller may do is asked before what they ask for.
    house.get("developer", "/v1/replay?at=x").await.refused(403, "forbidden");
    house.get("developer", "/v1/users/x/why").await.refused(403, "forbidden");
}

async fn the_answers_are_what_the_command_line_prints(backend: Backend) {
    let house = House::new(backend).await;
    let events = house.instance.server.events().await;
    let (head, half) = (events.len().to_string(), (events.len() / 2).to_string());
    let get = async |path: String| house.get("owner", &path).await.ok(200);
    for position in ["1", &half, &head] {
        let expected = printed(&house, &["--position", position]).await.remove(0);
        assert_eq!(get(format!("/v1/replay?position={position}")).await, expected);
    }
    let time = events[events.len() / 2]["recorded_at"].as_i64().unwrap() / 1_000_000;
    let expected = printed(&house, &["--at", &time.to_string()]).await.remove(0);
    assert_eq!(get(format!("/v1/replay?at={time}")).await, expected);
    let written = chrono::DateTime::from_timestamp(time, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(get(format!("/v1/replay?at={written}")).await, expected);
    assert_eq!(get("/v1/replay".to_owned()).await["position"].to_string(), head);

    let stream = format!("user/{}", house.id("admin"));
    let expected = printed(&house, &["--stream", &stream, "--position", &head]).await.remove(0);
    assert_eq!(get(format!("/v1/replay?stream={stream}&position={head}")).await, expected);

    let compared = get(format!("/v1/replay/diff?from={half}&to={head}")).await;
    assert_eq!((&compared["from"]["position"].to_string(), &compared["to"]["position"].to_string()), (&half, &head));
    let expected = printed(&house, &["--diff", &half, &head]).await;
    assert!(!expected.is_empty());
    assert_eq!(compared["differences"], json!(expected));

    let expected = printed(&house, &["--why", &stream, "--position", &head]).await.remove(0);
    assert_eq!(get(format!("/v1/users/{}/why?position={head}", house.id("admin"))).await, expected);
}

async fn a_moment_that_there_is_not_is_refused(backend: Backend) {
    let house = House::new(backend).await;
    let why = format!("/v1/users/{}/why", house.id("admin"));
    for path in ["/v1/replay", &why] {
        for query in [
            "at=2999-01-01T00:00:00Z",
            "at=yesterday",
            "at=",
            "position=0",
            "position=-1",
            "position=x",
            "position=1000000",
            "at=5&position=1",
        ] {
            house.get("owner", &format!("{path}?{query}")).await.refused(400, "invalid_input");
        }
    }
    for query in
        ["", "from=1", "to=1", "from=1&to=1000000", "from=0&to=1", "from=1&to=2999-01-01T00:00:00Z", "from=1&to=x"]
    {
        house.get("owner", &format!("/v1/replay/diff?{query}")).await.refused(400, "invalid_input");
    }
    for stream in ["user", "user/", "dream/x", "", "user/%00", "user/a%0Ab"] {
        house.get("owner", &format!("/v1/replay?stream={stream}")).await.refused(400, "invalid_input");
    }
    // What could be a stream and is none is not there, and so is what was none yet.
    house.get("owner", &format!("/v1/replay?stream=user/{UNKNOWN}")).await.refused(404, "not_found");
    house
        .get("owner", &format!("/v1/replay?stream=user/{}&position=1", house.id("admin")))
        .await
        .refused(404, "not_found");
    house.get("owner", &format!("/v1/users/{UNKNOWN}/why")).await.refused(404, "not_found");
    house.get("owner", "/v1/users/x/why").await.refused(404, "not_found");
    house.get("owner", &format!("{why}?position=1")).await.refused(404, "not_found");
}

async fn whoever_was_erased_is_erased_in_every_past_moment(backend: Backend) {
    let house = House::new(backend).await;
    let (server, head) = (&house.instance.server, house.instance.server.events().await.len());
    let bob = house.id("developer");
    let told = async || {
        let mut told = String::new();
        for path in [
            format!("/v1/replay?position={head}"),
            format!("/v1/replay?position={head}&stream=user/{bob}"),
            format!("/v1/replay/diff?from=1&to={head}"),
            format!("/v1/users/{bob}/why?position={head}"),
        ] {
            told.push_str(&house.get("owner", &path).await.ok(200).to_string());
        }
        told
    };
    assert_eq!(told().await.matches("developer@example.com").count(), 4);
    // By another node, or by hand: this one may still have the key in its memory.
    let destroyed = house.instance.database.sql(&format!("DELETE FROM data_keys WHERE id = 'person/{bob}'")).await;
    assert_eq!(destroyed, 1);
    let after = told().await;
    assert!(after.contains(bob) && !after.contains("developer@example.com"), "{after}");
    let why = server.get(&format!("/v1/users/{bob}/why"), Some(house.bearer("owner"))).await.ok(200);
    assert_eq!(text(&why["answer"], "email"), "");
    assert!(why["erased"].as_array().unwrap().contains(&json!("address")), "{why}");
}

on_both_databases!(
    owner_and_admin_look_back,
    the_answers_are_what_the_command_line_prints,
    a_moment_that_there_is_not_is_refused,
    whoever_was_erased_is_erased_in_every_past_moment,
);

/// How long somebody waits for an answer that the lock holds up.
const PATIENCE: Duration = Duration::from_millis(300);
/// Until a server must have noticed that a caller has hung up.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Asks to look back; `None` when there is no answer in time, and the caller hangs up.
async fn look_back(house: &House, caller: &str) -> Option<Answer> {
    tokio::time::timeout(PATIENCE, house.get(caller, "/v1/replay?position=3")).await.ok()
}

/// A lock on the table makes a fold as long as the test likes; SQLite's readers wait for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_looks_back_at_a_time_and_hanging_up_ends_it() {
    let house = House::new(Backend::Postgres).await;
    let mut lock = SecondConnection::open(&house.instance.database).await;
    lock.run("BEGIN").await;
    lock.run("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await;
    // Refused as long as the other has the turn; once it has it itself, the lock holds it up.
    let first = async {
        loop {
            house.get("admin", "/v1/replay?position=3").await.refused(503, "unavailable");
        }
    };
    // Hangs up when it has the turn.
    let second = async {
        loop {
            if let Some(answer) = look_back(&house, "owner").await {
                return answer;
            }
        }
    };
    let refused = tokio::select! {
        () = first => unreachable!("it ends by hanging up"),
        refused = tokio::time::timeout(NOTICED_WITHIN, second) => refused.expect("two look back at once"),
    };
    refused.refused(503, "unavailable");
    assert_eq!(refused.headers["retry-after"], "5");
    // The first has hung up with that: some time later nobody looks back, and this one hangs up in its turn.
    let refusals = async {
        while let Some(answer) = look_back(&house, "owner").await {
            answer.refused(503, "unavailable");
        }
    };
    let noticed = tokio::time::timeout(NOTICED_WITHIN, refusals).await;
    assert!(noticed.is_ok(), "the fold goes on although nobody listens");
    lock.let_go().await;
    let mut answer = house.get("owner", "/v1/replay?position=3").await;
    while answer.status == 503 {
        answer = house.get("owner", "/v1/replay?position=3").await;
    }
    assert_eq!(answer.ok(200)["position"], 3);
}
