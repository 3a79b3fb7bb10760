-- The log. The first seven columns are those of sqlite-es, so that its tools read it. The position, and not their key, is the
-- primary key: SQLite keeps a table in the order of one integer, so the whole log is read in its order without a second look-up
-- an event, and an append writes one tree less.
CREATE TABLE events (
  aggregate_type TEXT    NOT NULL,
  aggregate_id   TEXT    NOT NULL,
  sequence       INTEGER NOT NULL CHECK (sequence >= 1),
  event_type     TEXT    NOT NULL,
  event_version  TEXT    NOT NULL,
  payload        TEXT    NOT NULL,
  metadata       TEXT    NOT NULL,
  position       INTEGER NOT NULL PRIMARY KEY CHECK (position >= 1),
  recorded_at    INTEGER NOT NULL,
  leaf_hash      BLOB    NOT NULL CHECK (length(leaf_hash) = 32),
  UNIQUE (aggregate_type, aggregate_id, sequence)
) STRICT;

CREATE TRIGGER events_never_change BEFORE UPDATE ON events
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only');
END;

CREATE TRIGGER events_never_vanish BEFORE DELETE ON events
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only');
END;

-- INSERT OR REPLACE would delete without firing the trigger above. ROLLBACK and not ABORT: it is no weaker, and spares every
-- insert the copies of pages by which SQLite could take back the one statement alone.
CREATE TRIGGER events_are_never_replaced BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE position = new.position)
  OR EXISTS (SELECT 1 FROM events WHERE aggregate_type = new.aggregate_type AND aggregate_id = new.aggregate_id AND sequence = new.sequence)
BEGIN
  SELECT RAISE(ROLLBACK, 'the log is append-only');
END;

-- One row: where the log ends, and which set of tables each read model lives in, and which master key wraps new keys.
CREATE TABLE log_head (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  position    INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  layout      TEXT    NOT NULL,
  master_key  TEXT    NOT NULL,
  key_destructions INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO log_head (id, position, recorded_at, layout, master_key) VALUES (1, 0, 0, '{}', '');

-- Keys of persons, of the instance and of months, each wrapped with a master key, whose id stands before the colon.
CREATE TABLE data_keys (
  id      TEXT NOT NULL PRIMARY KEY,
  wrapped TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever reads the log with keys it has read before learns from the number that one of them may be gone.
CREATE TRIGGER data_keys_destroyed AFTER DELETE ON data_keys
BEGIN
  UPDATE log_head SET key_destructions = key_destructions + 1;
END;

-- Sign-ins that have begun at the provider; the state is here as its SHA-256 only.
CREATE TABLE pending_requests (
  state_hash       TEXT    NOT NULL PRIMARY KEY,
  purpose          TEXT    NOT NULL CHECK (purpose IN ('setup', 'sign_in')),
  source           TEXT    NOT NULL,
  redirect_uri     TEXT    NOT NULL,
  setup_session    TEXT,
  provider_version INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  expires_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_requests_by_source ON pending_requests (source, created_at);

-- When a session or an API token was last used. Not in the log: it decides nothing but idleness.
CREATE TABLE last_seen (
  id      TEXT    NOT NULL PRIMARY KEY,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
