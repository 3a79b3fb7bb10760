//! Reading: rows of the read models, and the events themselves.
//!
//! Which set of tables is in force may change while the service runs: a rebuild switches. On PostgreSQL, where another process may
//! have done so, every answer comes together with the layout, in one statement and so of one moment; when it is not the one that
//! was asked by, it is learnt and the question asked again. On SQLite this process sees every switch.

use std::sync::{Arc, PoisonError, RwLock};

use aggregates::StreamId;
use projections::{Row, TABLES, Table};
use serde::de::DeserializeOwned;

use super::database::{Arg, Database};
use super::dialect::{Dialect, table_name};
use super::head::{Head, Layout};
use super::{EventRecord, Location};

/// So often a question is asked anew because the layout moved under it. Each time a rebuild has come to its end.
const LAYOUT_ROUNDS: usize = 5;

/// How large a read model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    pub rows: i64,
    /// Of the table and its indexes.
    pub bytes: i64,
}

/// A log that is open for reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) database: Database,
    layout: Arc<RwLock<Arc<Layout>>>,
}

/// The statement that narrows down between which two positions a time lies.
const POSITION_AT: &str = "\
WITH RECURSIVE search (before, after) AS (
  SELECT CAST(0 AS BIGINT), position + 1 FROM log_head
   UNION ALL
  SELECT CASE WHEN recorded_at <= $1 THEN position ELSE before END,
         CASE WHEN recorded_at <= $1 THEN after ELSE position END
    FROM search JOIN events ON position = (before + after) / 2
   WHERE after - before > 1)
SELECT CAST(before AS TEXT) FROM search WHERE after - before = 1";

impl Reader {
    pub(super) fn new(database: Database, layout: Layout) -> Self {
        Self { database, layout: Arc::new(RwLock::new(Arc::new(layout))) }
    }

    /// Opens a log that is there, for reading only.
    ///
    /// # Errors
    /// When there is no log or the database fails.
    pub async fn open(location: &Location) -> sqlx::Result<Self> {
        let database = location.database()?;
        let layout = read_head(&database).await?.layout;
        Ok(Self::new(database, layout))
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on rows are read where this layout says; one that is older than what is known is passed over.
    pub(super) fn learn(&self, layout: Layout) {
        let mut known = self.layout.write().unwrap_or_else(PoisonError::into_inner);
        if !layout.is_older_than(&known) {
            *known = Arc::new(layout);
        }
    }

    /// Rows of a read model; `clause` is what follows the table, which goes by the name `t`: `WHERE t.id = $1`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rows<R: Row>(&self, clause: &str, args: &[Arg]) -> sqlx::Result<Vec<R>> {
        let select = self.database.dialect().select_rows(R::TABLE, &self.table::<R>());
        decoded(&self.texts(&format!("{select} {clause}"), args).await?)
    }

    /// The first of [`Reader::rows`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn row<R: Row>(&self, clause: &str, args: &[Arg]) -> sqlx::Result<Option<R>> {
        Ok(self.rows(clause, args).await?.into_iter().next())
    }

    /// How many rows of a read model fit; `clause` as in [`Reader::rows`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count<R: Row>(&self, clause: &str, args: &[Arg]) -> sqlx::Result<i64> {
        let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {} AS t {clause}", self.table::<R>());
        let rows = self.texts(&sql, args).await?;
        let count = rows.first().and_then(|count| count.parse().ok());
        count.ok_or(sqlx::Error::RowNotFound)
    }

    /// The read models whose tables are not there, though the layout says so: somebody has dropped them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lost(&self) -> sqlx::Result<Vec<&'static str>> {
        lost(&self.database).await
    }

    /// How large a read model is. Every page of it is looked at on SQLite, and every row on both databases.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn size(&self, table: &Table) -> sqlx::Result<TableSize> {
        let name = placeholder(table.name);
        let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {name} AS t");
        let (rows, bytes) =
            (self.texts(&sql, &[]).await?, self.texts(&self.database.dialect().table_bytes(&name), &[]).await?);
        let number = |texts: Vec<String>| texts.first().and_then(|text| text.parse().ok());
        Ok(TableSize {
            rows: number(rows).ok_or(sqlx::Error::RowNotFound)?,
            bytes: number(bytes).ok_or(sqlx::Error::RowNotFound)?,
        })
    }

    /// What stands for a read model's table in a clause, for joins and counts: `{users}`.
    pub fn table<R: Row>(&self) -> String {
        placeholder(R::TABLE.name)
    }

    /// Rows of one text column, from the tables that are in force at that moment.
    async fn texts(&self, sql: &str, args: &[Arg]) -> sqlx::Result<Vec<String>> {
        let mut outcome = Err(sqlx::Error::RowNotFound);
        for _ in 0..LAYOUT_ROUNDS {
            let layout = self.layout();
            outcome = self.texts_by(&layout, sql, args).await;
            match &outcome {
                Err(error) if is_undefined_table(error) => {
                    let head = self.read_head().await?;
                    if head.layout == *layout {
                        return outcome;
                    }
                    self.learn(head.layout);
                }
                Ok(rows) if self.database.dialect() == Dialect::Postgres => {
                    let text = rows.first().ok_or(sqlx::Error::RowNotFound)?;
                    let now: Layout = serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))?;
                    if now == *layout {
                        return outcome.map(|mut rows| rows.split_off(1));
                    }
                    self.learn(now);
                }
                _ => return outcome,
            }
        }
        outcome
    }

    async fn texts_by(&self, layout: &Layout, sql: &str, args: &[Arg]) -> sqlx::Result<Vec<String>> {
        let mut sql = sql.to_owned();
        for table in TABLES {
            sql = sql.replace(&placeholder(table.name), &table_name(table, layout.set_of(table.name)));
        }
        if self.database.dialect() == Dialect::Postgres {
            sql = format!("SELECT layout FROM log_head UNION ALL SELECT * FROM ({sql}) AS answer");
        }
        self.database.texts(&sql, args).await
    }

    /// At most `limit` events after the position `after`, in order; `stream` and `event_type` leave out others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(
        &self,
        after: i64,
        limit: i64,
        stream: Option<&StreamId>,
        event_type: Option<&str>,
    ) -> sqlx::Result<Vec<EventRecord>> {
        let mut sql = format!("{} WHERE position > $1", self.database.dialect().select_events());
        let mut args = vec![Arg::Integer(after), Arg::Integer(limit)];
        if let Some(stream) = stream {
            sql.push_str(" AND aggregate_type = $3 AND aggregate_id = $4");
            args.push(stream.aggregate_type.into());
            args.push(stream.aggregate_id.clone().into());
        }
        if let Some(event_type) = event_type {
            args.push(event_type.into());
            sql.push_str(&format!(" AND event_type = ${}", args.len()));
        }
        sql.push_str(" ORDER BY position LIMIT $2");
        decoded(&self.database.texts(&sql, &args).await?)
    }

    /// All events of these streams of one type, in the order of the log.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn streams(&self, aggregate_type: &str, ids: &[String]) -> sqlx::Result<Vec<EventRecord>> {
        let dialect = self.database.dialect();
        let (select, among) = (dialect.select_events(), dialect.among("aggregate_id", "text"));
        let sql = format!("{select} WHERE {among} AND aggregate_type = $2 ORDER BY position");
        let args = [Arg::Text(serde_json::json!(ids).to_string()), aggregate_type.into()];
        decoded(&self.database.texts(&sql, &args).await?)
    }

    /// The position of the last event recorded at this time or before, 0 when there is none. Positions have no gap and times never
    /// run backwards, so halving the distance finds it without an index.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn position_at(&self, unix_micros: i64) -> sqlx::Result<i64> {
        let rows = self.database.texts(POSITION_AT, &[Arg::Integer(unix_micros)]).await?;
        rows.first().and_then(|position| position.parse().ok()).ok_or(sqlx::Error::RowNotFound)
    }

    /// The head as the database has it now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_head(&self) -> sqlx::Result<Head> {
        read_head(&self.database).await
    }
}

fn decoded<T: DeserializeOwned>(rows: &[String]) -> sqlx::Result<Vec<T>> {
    rows.iter().map(|row| serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
}

fn placeholder(name: &str) -> String {
    format!("{{{name}}}")
}

/// The read models whose tables are not there. A rebuild that switches between the two questions makes no difference.
pub(super) async fn lost(database: &Database) -> sqlx::Result<Vec<&'static str>> {
    loop {
        let layout = read_head(database).await?.layout;
        let names = database.texts(database.dialect().table_names(), &[]).await?;
        let is_lost = |table: &&&Table| {
            let state = layout.0.get(table.name);
            state.is_some_and(|state| !names.contains(&table_name(table, state.set)))
        };
        let lost: Vec<&str> = TABLES.iter().filter(is_lost).map(|table| table.name).collect();
        if lost.is_empty() || read_head(database).await?.layout == layout {
            return Ok(lost);
        }
    }
}

/// Whether a table is not there, on either database.
pub(super) fn is_undefined_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}

pub(super) async fn read_head(database: &Database) -> sqlx::Result<Head> {
    let rows = database.texts(database.dialect().read_head(), &[]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Head::decode(row).map_err(|error| sqlx::Error::Decode(error.into()))
}
