//! The audit trail as it grows, for one caller and no longer than they may read it.
//!
//! History and what is new are one cursor over the log: each page is read after the position of the last entry, and positions have
//! no gap, so nothing is lost or doubled where one becomes the other. Pages are read when they are asked for: a slow reader costs
//! one page.
//!
//! Why nothing is delivered that was committed after the caller's right was taken away (P4): a page is read first, then the
//! caller is checked, by what every commit of that page's time has left.
//!
//! ```text
//! follower   read page ..7 ─────────── check: may read ── deliver ..7 ── read page 8, 9 ── check: may not ── end
//! log                        revoked at 8 ── 9
//! ```

use std::time::Duration;

use aggregates::Role;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::audit::AuditEntry;
use super::{CallContext, Service, store_error};
use crate::error::{ApiError, ErrorCode};
use crate::replay;
use crate::settings::limits::AUDIT_STREAM_KEEP_ALIVE;

/// Entries that are read and delivered at once.
const PAGE_ENTRIES: usize = 100;
/// Whoever has caught up looks again after this at the earliest, however often the log is written to.
const PACE: Duration = Duration::from_millis(100);
/// Where other nodes write, the log is looked at so often.
const POLL: Duration = Duration::from_millis(500);

/// Somebody who follows the trail. Gives its room back when dropped.
pub struct Follower {
    service: Service,
    context: CallContext,
    token: SecretString,
    /// The position of the last entry that was delivered.
    after: i64,
    /// When the caller's right was last checked.
    checked: Instant,
    not_before: Instant,
    head: watch::Receiver<i64>,
    _room: OwnedSemaphorePermit,
}

impl Service {
    /// Lets the holder of a token follow the trail from the entry after `position` on.
    ///
    /// # Errors
    /// `forbidden` below admin, `invalid_input` for a position past the log's end, `unavailable` when there is no room; as
    /// [`Service::authenticate`]; `store_error`.
    pub async fn follow_audit(&self, context: CallContext, token: &str, position: i64) -> Result<Follower, ApiError> {
        let head = self.log.read().read_head().await.map_err(store_error)?.position;
        if position > head {
            return Err(ApiError::invalid_input(format!("There is no position {position}: the log ends at {head}.")));
        }
        let room = std::sync::Arc::clone(&self.followers).try_acquire_owned().map_err(|_| {
            ApiError::new(ErrorCode::Unavailable).with_message("There is no room for another stream; try again later.")
        })?;
        let now = Instant::now();
        Ok(Follower {
            service: self.clone(),
            context,
            token: SecretString::from(token),
            after: position,
            checked: now,
            not_before: now,
            head: self.log.watch_head(),
            _room: room,
        })
    }
}

impl Follower {
    /// The entries that follow, waiting until there are some; none when [`AUDIT_STREAM_KEEP_ALIVE`] has passed without. May be
    /// dropped and called again.
    ///
    /// # Errors
    /// When the caller may no longer read the trail: `invalid_session`, `session_expired`, `forbidden`. `store_error`,
    /// `unavailable`.
    pub async fn next(&mut self) -> Result<Vec<AuditEntry>, ApiError> {
        loop {
            tokio::time::sleep_until(self.not_before).await;
            self.head.mark_unchanged();
            let log = &self.service.log;
            let limit = i64::try_from(PAGE_ENTRIES).unwrap_or(i64::MAX);
            let records = log.read().events(self.after, limit, None, None).await.map_err(store_error)?;
            if records.is_empty() && self.checked.elapsed() < AUDIT_STREAM_KEEP_ALIVE {
                self.wait().await?;
                continue;
            }
            let rows = replay::entries(self.after, &records, log.hasher()).map_err(store_error)?;
            // What the page shows as committed, the memory that sessions are checked by has heard of then.
            log.settled().await;
            self.check().await?;
            let entries = self.service.with_actors(rows).await?;
            self.after = entries.last().map_or(self.after, |entry| entry.row.id);
            let has_caught_up = entries.len() < PAGE_ENTRIES;
            self.not_before = if has_caught_up { self.checked + PACE } else { self.checked };
            return Ok(entries);
        }
    }

    async fn check(&mut self) -> Result<(), ApiError> {
        let caller = self.service.authenticate_again(&self.context, self.token.expose_secret()).await?;
        self.checked = Instant::now();
        caller.require_role(Role::Admin)
    }

    /// Until there may be more, or it is time to check.
    async fn wait(&mut self) -> Result<(), ApiError> {
        let sees_every_write = self.service.log.nodes().is_none();
        tokio::select! {
            moved = self.head.changed() => moved.map_err(|_| ErrorCode::Unavailable)?,
            () = tokio::time::sleep(POLL), if !sees_every_write => {}
            () = tokio::time::sleep_until(self.checked + AUDIT_STREAM_KEEP_ALIVE) => {}
        }
        self.not_before = Instant::now();
        Ok(())
    }
}
