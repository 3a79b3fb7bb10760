//! The leaf hash is what its documentation says, by two programs that share nothing but the file of vectors.

use std::process::Command;

use authlog::log::leaf::{LeafInput, leaf_hash};
use serde::Deserialize;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/leaf_hash.json");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/leaf_hash.py");

#[derive(Deserialize)]
struct Vector {
    name: String,
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: String,
    metadata: String,
    recorded_at: i64,
    leaf_hash: String,
}

#[test]
fn the_leaf_hash_is_that_of_the_golden_vectors() {
    let vectors: Vec<Vector> = serde_json::from_str(&std::fs::read_to_string(VECTORS).unwrap()).unwrap();
    assert!(vectors.len() >= 12);
    for vector in vectors {
        let hash = leaf_hash(&LeafInput {
            position: vector.position,
            aggregate_type: &vector.aggregate_type,
            aggregate_id: &vector.aggregate_id,
            sequence: vector.sequence,
            event_type: &vector.event_type,
            event_version: &vector.event_version,
            payload: &vector.payload,
            metadata: &vector.metadata,
            recorded_at: vector.recorded_at,
        });
        assert_eq!(hex::encode(hash), vector.leaf_hash, "{}", vector.name);
    }
}

#[test]
fn a_python_script_recomputes_the_golden_vectors_and_notices_a_wrong_one() {
    let (code, stderr) = python(SCRIPT);
    assert_eq!((code, stderr.as_str()), (0, ""));

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("leaf_hash.py");
    std::fs::copy(SCRIPT, &copy).unwrap();
    let forged = std::fs::read_to_string(VECTORS).unwrap().replacen("instance", "instances", 1);
    std::fs::write(folder.path().join("leaf_hash.json"), forged).unwrap();
    let (code, stderr) = python(copy.to_str().unwrap());
    assert_eq!((code, stderr.as_str()), (1, "the first event of a log: the leaf hash differs\n"));
}

fn python(script: &str) -> (i32, String) {
    let done = Command::new("python3").arg(script).output();
    let done = done.unwrap_or_else(|error| panic!("python3 is needed to recompute the leaf hashes: {error}"));
    (done.status.code().unwrap_or(-1), String::from_utf8(done.stderr).unwrap())
}
