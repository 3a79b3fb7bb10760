//! Reading: rows of the read models, and the events themselves.

use std::sync::Arc;

use aggregates::StreamId;
use projections::Row;

use super::database::{Arg, Database};
use super::dialect;
use super::head::{Head, Layout};
use super::{EventRecord, Location};

/// A log that is open for reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) database: Database,
    pub(super) layout: Arc<Layout>,
}

impl Reader {
    /// Opens a log that is there, for reading only.
    ///
    /// # Errors
    /// When there is no log or the database fails.
    pub async fn open(location: &Location) -> sqlx::Result<Self> {
        let database = location.database()?;
        let layout = read_head(&database).await?.layout;
        Ok(Self { database, layout: Arc::new(layout) })
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Rows of a read model; `clause` is what follows the table, which goes by the name `t`: `WHERE t.id = $1`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rows<R: Row>(&self, clause: &str, args: &[Arg]) -> sqlx::Result<Vec<R>> {
        let table = R::TABLE;
        let select = self.database.dialect().select_rows(table, self.layout.set_of(table.name));
        let rows = self.database.texts(&format!("{select} {clause}"), args).await?;
        rows.iter().map(|row| serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
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
        let rows = self.database.texts(&sql, args).await?;
        let count = rows.first().and_then(|count| count.parse().ok());
        count.ok_or(sqlx::Error::RowNotFound)
    }

    /// The name of a read model's table, for joins and counts.
    pub fn table<R: Row>(&self) -> String {
        dialect::table_name(R::TABLE, self.layout.set_of(R::TABLE.name))
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
        let rows = self.database.texts(&sql, &args).await?;
        rows.iter().map(|row| serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
    }

    /// The head as the database has it now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_head(&self) -> sqlx::Result<Head> {
        read_head(&self.database).await
    }
}

async fn read_head(database: &Database) -> sqlx::Result<Head> {
    let rows = database.texts(database.dialect().read_head(), &[]).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Head::decode(row).map_err(|error| sqlx::Error::Decode(error.into()))
}
