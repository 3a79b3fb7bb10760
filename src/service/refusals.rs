//! Sign-ins that were refused, counted by the reason and written down once a minute: strangers cause them, and strangers must
//! not be able to grow the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::{IdentityProvider, IdentityProviderCommand, StreamId, UnixSeconds};
use projections::ActorRef;

use super::decision::{Decide, Decision};
use super::{CallContext, Service};
use crate::error::{ApiError, ErrorCode};

/// Counts since they were last written down. There are no more reasons than codes.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Refusals {
    pub fn count(&self, reason: ErrorCode) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason.as_str()).or_default() += 1;
    }

    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, counts: BTreeMap<&'static str, u64>) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in counts {
            *present.entry(reason).or_default() += count;
        }
    }
}

impl Service {
    /// Writes the counts since the last time to the log, one event a reason.
    ///
    /// # Errors
    /// When the log does not take them; they are kept for the next time.
    pub async fn write_refusals(&self) -> Result<(), ApiError> {
        let counts = self.refusals.take();
        if counts.is_empty() {
            return Ok(());
        }
        let minute = UnixSeconds(self.now().0.div_euclid(60) * 60);
        let call = CountRefusals { minute, counts: counts.clone() };
        let written = self.run(&CallContext::default(), call).await;
        if written.is_err() {
            self.refusals.put_back(counts);
        }
        written
    }
}

struct CountRefusals {
    minute: UnixSeconds,
    counts: BTreeMap<&'static str, u64>,
}

impl Decide for CountRefusals {
    type Answer = ();
    const COMMAND: &'static str = "count_refused_sign_ins";

    async fn decide(&self, _: &Service, decision: &mut Decision) -> Result<(), ApiError> {
        decision.acts(ActorRef::System);
        let mut minute = decision.load::<IdentityProvider>(StreamId::refused_sign_ins(self.minute)).await?;
        for (reason, count) in &self.counts {
            let command = IdentityProviderCommand::CountRefusals { reason: (*reason).to_owned(), count: *count };
            decision
                .handle(&mut minute, command)
                .await
                .map_err(|error| ApiError::new(ErrorCode::InternalError).caused_by(error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_sign_ins_take_one_number_for_each_reason_however_many_there_are() {
        let refusals = Refusals::default();
        for _ in 0..1000 {
            refusals.count(ErrorCode::UserNotFound);
            refusals.count(ErrorCode::InvalidState);
        }
        let counts = refusals.take();
        assert_eq!(counts, BTreeMap::from([("invalid_state", 1000), ("user_not_found", 1000)]));
        // The log did not take them; more have come meanwhile.
        refusals.count(ErrorCode::UserNotFound);
        refusals.put_back(counts);
        assert_eq!(refusals.take(), BTreeMap::from([("invalid_state", 1000), ("user_not_found", 1001)]));
        assert_eq!(refusals.take(), BTreeMap::new());
    }
}
