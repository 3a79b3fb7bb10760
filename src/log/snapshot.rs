//! The log and the wrapped keys as they were at one moment, for a copy. Nothing is opened, so no key is needed; whoever writes goes on.

use super::history::EventSource;
use super::{EventRecord, Head, KeyRow, Location};

/// A moment of a log.
#[derive(Debug)]
pub struct Snapshot {
    source: EventSource,
    head: Head,
}

impl Snapshot {
    /// Holds on to this moment.
    ///
    /// # Errors
    /// When the database fails or there is no log in it.
    pub async fn begin(location: &Location) -> sqlx::Result<Self> {
        let mut source = EventSource::open(&location.target()?).await?;
        source.begin_snapshot().await?;
        let head = source.head().await?;
        Ok(Self { source, head })
    }

    /// Where the log ended.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Every wrapped key that there was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&mut self) -> sqlx::Result<Vec<KeyRow>> {
        let rows = self.source.texts(self.source.dialect().select_all_keys()).await?;
        rows.iter().map(|row| serde_json::from_str(row).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
    }

    /// Some events after a position, in order; none when there are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&mut self, after: i64) -> sqlx::Result<Vec<EventRecord>> {
        self.source.page(after).await
    }
}
