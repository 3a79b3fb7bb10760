-- The log. The first seven columns are those of postgres-es, so that its tools read it. `json`, not `jsonb`: the text is kept
-- as it was written, because the leaf hash is taken over it.
-- Ids are compared byte by byte, whatever the locale of the cluster.
CREATE TABLE events (
  aggregate_type text   COLLATE "C" NOT NULL,
  aggregate_id   text   COLLATE "C" NOT NULL,
  sequence       bigint NOT NULL CHECK (sequence >= 1),
  event_type     text   NOT NULL,
  event_version  text   NOT NULL,
  payload        json   NOT NULL,
  metadata       json   NOT NULL,
  position       bigint NOT NULL UNIQUE CHECK (position >= 1),
  recorded_at    bigint NOT NULL,
  leaf_hash      bytea  NOT NULL CHECK (length(leaf_hash) = 32),
  PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

CREATE FUNCTION refuse_to_change_the_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER events_never_change BEFORE UPDATE OR DELETE ON events
  FOR EACH ROW EXECUTE FUNCTION refuse_to_change_the_log();
CREATE TRIGGER events_never_vanish BEFORE TRUNCATE ON events
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_log();

-- One row: where the log ends, and which set of tables each read model lives in, and which master key wraps new keys. Locking it is what orders the log.
CREATE TABLE log_head (
  id          smallint NOT NULL PRIMARY KEY CHECK (id = 1),
  position    bigint   NOT NULL,
  recorded_at bigint   NOT NULL,
  layout      text     NOT NULL,
  master_key  text     NOT NULL,
  key_destructions bigint NOT NULL DEFAULT 0
);

INSERT INTO log_head (id, position, recorded_at, layout, master_key) VALUES (1, 0, 0, '{}', '');

-- Keys of persons, of the instance and of months, each wrapped with a master key, whose id stands before the colon.
CREATE TABLE data_keys (
  id      text COLLATE "C" NOT NULL PRIMARY KEY,
  wrapped text NOT NULL
);

-- Whoever reads the log with keys it has read before learns from the number that one of them may be gone.
CREATE FUNCTION count_key_destructions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE log_head SET key_destructions = key_destructions + 1;
  RETURN NULL;
END $$;

CREATE TRIGGER data_keys_destroyed AFTER DELETE ON data_keys
  FOR EACH STATEMENT EXECUTE FUNCTION count_key_destructions();

-- Sign-ins that have begun at the provider; the state is here as its SHA-256 only.
CREATE TABLE pending_requests (
  state_hash       text   COLLATE "C" NOT NULL PRIMARY KEY,
  purpose          text   NOT NULL CHECK (purpose IN ('setup', 'sign_in')),
  source           text   NOT NULL,
  redirect_uri     text   NOT NULL,
  setup_session    text,
  provider_version bigint NOT NULL,
  created_at       bigint NOT NULL,
  expires_at       bigint NOT NULL
);

CREATE INDEX pending_requests_by_source ON pending_requests (source, created_at);

-- When a session or an API token was last used. Not in the log: it decides nothing but idleness.
CREATE TABLE last_seen (
  id      text   COLLATE "C" NOT NULL PRIMARY KEY,
  seen_at bigint NOT NULL
);

-- Processes that answer from memory: how often each has looked at the head, and up to which position it has folded.
CREATE TABLE nodes (
  id           text   COLLATE "C" NOT NULL PRIMARY KEY,
  beat         bigint NOT NULL,
  position     bigint NOT NULL,
  lease_millis bigint NOT NULL
) WITH (fillfactor = 20);

-- What one node does for all, and from when on it is to be done again.
CREATE TABLE chores (
  name   text        COLLATE "C" NOT NULL PRIMARY KEY,
  due_at timestamptz NOT NULL
);
