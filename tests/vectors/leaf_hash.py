"""Recomputes the leaf hashes of leaf_hash.json from the documented encoding (docs/leaf-hash.md), with nothing of authlog.

    python3 leaf_hash.py           checks; exits 1 and names the rows that differ
    python3 leaf_hash.py --write   fills in leaf_hash, for new rows
"""

import hashlib
import json
import pathlib
import struct
import sys

VECTORS = pathlib.Path(__file__).with_name("leaf_hash.json")


def integer(number):
    return struct.pack(">q", number)


def text(characters):
    return characters.encode("utf-8")


FIELDS = [
    ("position", integer),
    ("aggregate_type", text),
    ("aggregate_id", text),
    ("sequence", integer),
    ("event_type", text),
    ("event_version", text),
    ("payload", text),
    ("metadata", text),
    ("recorded_at", integer),
]


def leaf_hash(row):
    encoding = b""
    for name, encode in FIELDS:
        field = encode(row[name])
        encoding += struct.pack(">Q", len(field)) + field
    return hashlib.sha256(b"\x00" + encoding).hexdigest()


def main():
    rows = json.loads(VECTORS.read_text(encoding="utf-8"))
    if sys.argv[1:] == ["--write"]:
        for row in rows:
            row["leaf_hash"] = leaf_hash(row)
        VECTORS.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    different = [row["name"] for row in rows if leaf_hash(row) != row["leaf_hash"]]
    for name in different:
        print(f"{name}: the leaf hash differs", file=sys.stderr)
    if not rows:
        print("there are no rows", file=sys.stderr)
    if rows and not different:
        print(f"all {len(rows)} leaf hashes are right")
    return 1 if different or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
