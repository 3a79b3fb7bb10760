//! The SQL that both databases speak with a different accent. A statement takes at most one argument, `$1`, a JSON text, and
//! answers with rows of one JSON text, so that a group of any size is one statement and one plan. Only rows are inserted in
//! another way: on PostgreSQL from an array of each column, because taking JSON apart cost more than inserting; on SQLite one by
//! one, by a statement that is kept ready and takes one value a column: no message lies between them.
//!
//! `OR ROLLBACK` saves SQLite a copy of every page that a statement changes: whoever is refused begins anew anyway.

use projections::{Column, ColumnKind, Index, Table};

/// Which database is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// The statement that inserts an event, its hash as hexadecimal digits.
const INSERT_EVENTS_SQLITE: &str = "\
INSERT OR ROLLBACK INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, leaf_hash)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, unhex(?10))";

/// The statement that inserts events from an array of each column, their hashes as hexadecimal digits.
const INSERT_EVENTS_POSTGRES: &str = "\
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, leaf_hash)
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json, position, recorded_at,
       decode(leaf_hash, 'hex')
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
       $10::text[]) AS row(aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position,
       recorded_at, leaf_hash)";

/// The columns of [`Dialect::insert_events`], in their order.
pub const EVENT_COLUMNS: [ColumnKind; 10] = {
    use ColumnKind::{Integer, Text};
    [Text, Text, Integer, Text, Text, Text, Text, Integer, Integer, Text]
};

/// The statements that answer the present version of each stream of `[{\"t\": type, \"i\": id}, ...]`, as an array.
const VERSIONS_SQLITE: &str = "\
WITH stream AS MATERIALIZED (SELECT value->>'t' AS t, value->>'i' AS i FROM json_each($1))
SELECT json_group_array(json_object('t', t, 'i', i, 'v', coalesce((SELECT max(sequence) FROM events
         WHERE aggregate_type = t AND aggregate_id = i), 0)))
  FROM stream";

const VERSIONS_POSTGRES: &str = "\
SELECT coalesce(json_agg(json_build_object('t', t, 'i', i, 'v', coalesce((SELECT max(sequence) FROM events
         WHERE aggregate_type = t AND aggregate_id = i), 0))), '[]')::text
  FROM json_to_recordset($1::json) AS stream(t text, i text)";

impl Dialect {
    pub fn insert_events(self) -> &'static str {
        match self {
            Self::Sqlite => INSERT_EVENTS_SQLITE,
            Self::Postgres => INSERT_EVENTS_POSTGRES,
        }
    }

    pub fn versions(self) -> &'static str {
        match self {
            Self::Sqlite => VERSIONS_SQLITE,
            Self::Postgres => VERSIONS_POSTGRES,
        }
    }

    /// Begins a transaction that will write. SQLite takes its write lock at once: a deferred transaction that upgrades fails
    /// when somebody else wrote in between.
    pub fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Locks the head until the transaction ends. SQLite has taken its one write lock with BEGIN IMMEDIATE.
    pub fn lock_head(self) -> &'static str {
        match self {
            Self::Sqlite => self.read_head(),
            Self::Postgres => {
                "SELECT json_build_object('position', position, 'recorded_at', recorded_at, 'layout', layout, 'master_key', master_key)::text FROM log_head FOR UPDATE"
            }
        }
    }

    pub fn read_head(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT json_object('position', position, 'recorded_at', recorded_at, 'layout', layout, 'master_key', master_key) \
                 FROM log_head"
            }
            Self::Postgres => {
                "SELECT json_build_object('position', position, 'recorded_at', recorded_at, 'layout', layout, 'master_key', master_key)::text \
                 FROM log_head"
            }
        }
    }

    /// Moves the head and says where the read models live, from the head as JSON.
    pub fn set_head(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "UPDATE log_head SET position = $1->>'position', recorded_at = $1->>'recorded_at', layout = $1->>'layout', \
                 master_key = $1->>'master_key'"
            }
            Self::Postgres => {
                "UPDATE log_head SET position = ($1::json->>'position')::bigint, \
                 recorded_at = ($1::json->>'recorded_at')::bigint, layout = $1::json->>'layout', \
                 master_key = $1::json->>'master_key'"
            }
        }
    }

    /// Inserts wrapped keys from `[{"id": ..., "wrapped": ...}, ...]`; a key that is there already stays.
    pub fn insert_keys(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "INSERT OR ROLLBACK INTO data_keys (id, wrapped) SELECT value->>'id', value->>'wrapped' FROM json_each($1) WHERE true \
                 ON CONFLICT (id) DO NOTHING"
            }
            Self::Postgres => {
                "INSERT INTO data_keys (id, wrapped) SELECT id, wrapped \
                 FROM json_to_recordset($1::json) AS row(id text, wrapped text) ON CONFLICT (id) DO NOTHING"
            }
        }
    }

    /// The wrapped keys with the ids in the array, as `{"id": ..., "wrapped": ...}`.
    pub fn select_keys(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT json_object('id', id, 'wrapped', wrapped) FROM data_keys \
                 WHERE id IN (SELECT value FROM json_each($1))"
            }
            Self::Postgres => {
                "SELECT json_build_object('id', id, 'wrapped', wrapped)::text FROM data_keys \
                 WHERE id = ANY (ARRAY (SELECT json_array_elements_text($1::json)))"
            }
        }
    }

    /// All wrapped keys, as `{"id": ..., "wrapped": ...}`.
    pub fn select_all_keys(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT json_object('id', id, 'wrapped', wrapped) FROM data_keys ORDER BY id",
            Self::Postgres => "SELECT json_build_object('id', id, 'wrapped', wrapped)::text FROM data_keys ORDER BY id",
        }
    }

    /// How many wrapped keys there are by master key and kind of id, as `{"master_key": ..., "kind": ..., "keys": ...}`.
    pub fn count_keys(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT json_object('master_key', master_key, 'kind', kind, 'keys', count(*)) \
                 FROM (SELECT substr(wrapped, 1, 16) AS master_key, \
                 CASE WHEN instr(id, '/') > 0 THEN substr(id, 1, instr(id, '/') - 1) ELSE id END AS kind FROM data_keys) \
                 GROUP BY master_key, kind ORDER BY master_key, kind"
            }
            Self::Postgres => {
                "SELECT json_build_object('master_key', master_key, 'kind', kind, 'keys', count(*))::text \
                 FROM (SELECT substr(wrapped, 1, 16) AS master_key, split_part(id, '/', 1) AS kind FROM data_keys) AS counted \
                 GROUP BY master_key, kind ORDER BY master_key, kind"
            }
        }
    }

    /// Some wrapped keys that another than the master key of `{"master_key": ...}` wrapped, as `{"id": ..., "wrapped": ...}`, after
    /// the id of its `after`.
    pub fn select_keys_of_others(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT json_object('id', id, 'wrapped', wrapped) FROM data_keys \
                 WHERE id > $1->>'after' AND substr(wrapped, 1, 16) <> $1->>'master_key' ORDER BY id LIMIT 500"
            }
            Self::Postgres => {
                "SELECT json_build_object('id', id, 'wrapped', wrapped)::text FROM data_keys \
                 WHERE id > $1::json->>'after' AND substr(wrapped, 1, 16) <> $1::json->>'master_key' ORDER BY id LIMIT 500"
            }
        }
    }

    /// Says which master key wraps new keys, from `{"master_key": ...}`.
    pub fn set_master_key(self) -> &'static str {
        match self {
            Self::Sqlite => "UPDATE log_head SET master_key = $1->>'master_key'",
            Self::Postgres => "UPDATE log_head SET master_key = $1::json->>'master_key'",
        }
    }

    /// Puts `new` in the place of `old` in `[{"id": ..., "old": ..., "new": ...}, ...]`. A key that has been destroyed meanwhile
    /// stays destroyed.
    pub fn rewrap_keys(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "UPDATE data_keys SET wrapped = given.new \
                 FROM (SELECT value->>'id' AS id, value->>'old' AS old, value->>'new' AS new FROM json_each($1)) AS given \
                 WHERE data_keys.id = given.id AND data_keys.wrapped = given.old"
            }
            Self::Postgres => {
                "UPDATE data_keys SET wrapped = given.new \
                 FROM json_to_recordset($1::json) AS given(id text, old text, new text) \
                 WHERE data_keys.id = given.id AND data_keys.wrapped = given.old"
            }
        }
    }

    /// Deletes the wrapped keys with the ids in the array.
    pub fn delete_keys(self) -> String {
        format!("DELETE FROM data_keys WHERE {}", self.among("id", "text"))
    }

    /// Deletes the times of last use with the ids in the array.
    pub fn delete_last_seen(self) -> String {
        format!("DELETE FROM last_seen WHERE {}", self.among("id", "text"))
    }

    /// Deletes the wrapped keys of the months before `{"before": "strangers/2026-08"}`.
    pub fn delete_old_strangers_keys(self) -> &'static str {
        match self {
            Self::Sqlite => "DELETE FROM data_keys WHERE id LIKE 'strangers/%' AND id < $1->>'before'",
            Self::Postgres => "DELETE FROM data_keys WHERE id LIKE 'strangers/%' AND id < $1::json->>'before'",
        }
    }

    /// A page of whole events as JSON objects; the text after it is the condition, from `WHERE`.
    pub fn select_events(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT json_object('aggregate_type', aggregate_type, 'aggregate_id', aggregate_id, 'sequence', sequence, \
                 'event_type', event_type, 'event_version', event_version, 'payload', payload, 'metadata', metadata, \
                 'position', position, 'recorded_at', recorded_at, 'leaf_hash', lower(hex(leaf_hash))) FROM events"
            }
            Self::Postgres => {
                "SELECT json_build_object('aggregate_type', aggregate_type, 'aggregate_id', aggregate_id, 'sequence', sequence, \
                 'event_type', event_type, 'event_version', event_version, 'payload', payload::text, 'metadata', metadata::text, \
                 'position', position, 'recorded_at', recorded_at, 'leaf_hash', encode(leaf_hash, 'hex'))::text FROM events"
            }
        }
    }

    /// `SELECT` of the table's rows as JSON objects, without a condition. The table goes by the name `t`.
    pub fn select_rows(self, table: &Table, name: &str) -> String {
        format!("SELECT {} FROM {name} AS t", self.row_object(table))
    }

    /// Rows by an array of keys, as one array; with an owner column the array may name owners, too.
    pub fn select_by_keys(self, table: &Table, owner: Option<&str>, set: i64) -> String {
        let (pairs, name) = (row_pairs(table), table_name(table, set));
        let rows = match self {
            Self::Sqlite => format!("json_group_array(json_object({pairs}))"),
            Self::Postgres => format!("coalesce(json_agg(json_build_object({pairs})), '[]')::text"),
        };
        let by_key = self.among(&format!("t.{}", table.key), key_type(table));
        let by_owner = owner.map(|owner| format!(" OR {}", self.among(&format!("t.{owner}"), "text")));
        format!("SELECT {rows} FROM {name} AS t WHERE {by_key}{}", by_owner.unwrap_or_default())
    }

    /// The names of all tables that can be asked without naming a schema.
    pub fn table_names(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table'",
            Self::Postgres => "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)",
        }
    }

    /// The bytes of a table and its indexes, as one text.
    pub fn table_bytes(self, name: &str) -> String {
        match self {
            Self::Sqlite => format!(
                "SELECT CAST(coalesce(sum(pgsize), 0) AS TEXT) FROM dbstat WHERE name IN \
                 (SELECT name FROM sqlite_schema WHERE tbl_name = '{name}')"
            ),
            Self::Postgres => format!("SELECT pg_total_relation_size('{name}'::regclass)::text"),
        }
    }

    /// Inserts a row, on PostgreSQL rows from an array of each column; one whose key is there is an error.
    pub fn insert(self, table: &Table, set: i64) -> String {
        let (name, names) = (table_name(table, set), list(table.columns, |column| column.name.to_owned()));
        match self {
            Self::Sqlite => {
                let values =
                    (1..=table.columns.len()).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ");
                format!("INSERT OR ROLLBACK INTO {name} ({names}) VALUES ({values})")
            }
            Self::Postgres => {
                let arrays = table
                    .columns
                    .iter()
                    .zip(1..)
                    .map(|(column, number)| format!("${number}::{}[]", self.column_type(column.kind)));
                let arrays = arrays.collect::<Vec<_>>().join(", ");
                format!("INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays})")
            }
        }
    }

    /// Inserts rows in PostgreSQL's own text format; one whose key is there is an error.
    pub fn copy(table: &Table, set: i64) -> String {
        let names = list(table.columns, |column| column.name.to_owned());
        format!("COPY {} ({names}) FROM STDIN", table_name(table, set))
    }

    /// The same, and overwrites one whose key is there.
    pub fn upsert(self, table: &Table, set: i64) -> String {
        let overwrite = list(table.columns, |column| format!("{0} = excluded.{0}", column.name));
        format!("{} ON CONFLICT ({}) DO UPDATE SET {overwrite}", self.insert(table, set), table.key)
    }

    pub fn delete_by_keys(self, table: &Table, set: i64) -> String {
        let name = table_name(table, set);
        format!("DELETE FROM {name} WHERE {}", self.among(table.key, key_type(table)))
    }

    /// Deletes the rows of the owners in the array; `None` for a table whose rows have none.
    pub fn delete_by_owners(self, table: &Table, set: i64) -> Option<String> {
        let among = self.among(table.owner?, "text");
        Some(format!("DELETE FROM {} WHERE {among}", table_name(table, set)))
    }

    /// The statements that make an empty table and its indexes.
    pub fn create(self, table: &Table, set: i64) -> Vec<String> {
        let indexes = table.indexes.iter().map(|index| create_index(table, set, index));
        std::iter::once(self.create_table(table, set)).chain(indexes).collect()
    }

    /// The statement that makes an empty table without indexes.
    pub fn create_table(self, table: &Table, set: i64) -> String {
        let name = table_name(table, set);
        let columns = list(table.columns, |column| {
            let key = if column.name == table.key { " PRIMARY KEY" } else { "" };
            let presence = if column.nullable { "" } else { " NOT NULL" };
            format!("{} {}{presence}{key}", column.name, self.stored_type(column.kind))
        });
        // The key is the table: one tree less to write, but for a key that is a number, which is SQLite's own row id.
        let strict = match self {
            Self::Sqlite if key_type(table) == "bigint" => " STRICT",
            Self::Sqlite => " STRICT, WITHOUT ROWID",
            Self::Postgres => "",
        };
        format!("CREATE TABLE IF NOT EXISTS {name} ({columns}){strict}")
    }

    fn row_object(self, table: &Table) -> String {
        let pairs = row_pairs(table);
        match self {
            Self::Sqlite => format!("json_object({pairs})"),
            Self::Postgres => format!("json_build_object({pairs})::text"),
        }
    }

    /// The condition that `column` is one of the elements of the array `$1`. PostgreSQL is given an array and not a subquery: a
    /// plan that was made while the table was small would join the whole of it for ever.
    pub fn among(self, column: &str, postgres_type: &str) -> String {
        match self {
            Self::Sqlite => format!("{column} IN (SELECT value FROM json_each($1))"),
            Self::Postgres => {
                format!("{column} = ANY (ARRAY (SELECT json_array_elements_text($1::json)::{postgres_type}))")
            }
        }
    }

    fn column_type(self, kind: ColumnKind) -> &'static str {
        match (self, kind) {
            (Self::Sqlite, ColumnKind::Text) => "TEXT",
            (Self::Sqlite, ColumnKind::Integer) => "INTEGER",
            (Self::Postgres, ColumnKind::Text) => "text",
            (Self::Postgres, ColumnKind::Integer) => "bigint",
        }
    }

    /// Texts are in the order of their bytes on both databases, whatever the locale of a cluster.
    fn stored_type(self, kind: ColumnKind) -> &'static str {
        match (self, kind) {
            (Self::Postgres, ColumnKind::Text) => "text COLLATE \"C\"",
            _ => self.column_type(kind),
        }
    }
}

/// The statement that makes an index.
pub fn create_index(table: &Table, set: i64, index: &Index) -> String {
    let (name, by) = (table_name(table, set), index_name(table, set, index));
    let (unique, columns) = (if index.unique { "UNIQUE " } else { "" }, index.columns.join(", "));
    let rows = index.only.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    format!("CREATE {unique}INDEX IF NOT EXISTS {by} ON {name} ({columns}){rows}")
}

/// The name of an index on a read model's table in one set: `users_1_by_address_id`.
pub fn index_name(table: &Table, set: i64, index: &Index) -> String {
    format!("{}_by_{}", table_name(table, set), index.columns.join("_"))
}

/// Deletes some rows of a table, whichever.
pub fn delete_some(table: &Table, name: &str, rows: usize) -> String {
    format!("DELETE FROM {name} WHERE {0} IN (SELECT {0} FROM {name} LIMIT {rows})", table.key)
}

/// The name of a read model's table in one set: `users_1`, `users_2`, ...
pub fn table_name(table: &Table, set: i64) -> String {
    format!("{}_{set}", table.name)
}

/// The arguments that make a JSON object of a row.
fn row_pairs(table: &Table) -> String {
    list(table.columns, |column| format!("'{0}', t.{0}", column.name))
}

fn key_type(table: &Table) -> &'static str {
    let integer = |column: &&Column| column.name == table.key && column.kind == ColumnKind::Integer;
    if table.columns.iter().any(|column| integer(&column)) { "bigint" } else { "text" }
}

fn list(columns: &[Column], item: impl Fn(&Column) -> String) -> String {
    columns.iter().map(item).collect::<Vec<_>>().join(", ")
}
