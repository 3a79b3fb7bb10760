//! Streams that were folded lately, so that a call need not read its caller's user, session and provider again.
//!
//! What is remembered may be behind the log, on PostgreSQL by what another node has written. That is harmless for a unit: the
//! log writer checks the version of every stream it was decided on, and [`forgotten`](RememberedStreams::forget) streams are
//! read anew when it refuses. A decision that writes nothing is checked by nobody, so that one is taken again on streams that
//! are read: memory can make a call quicker, and never refuse it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::StreamId;

use crate::log::Loaded;

/// Streams that are kept at most; then all are forgotten and read anew. Each is its state, some hundred bytes.
const REMEMBERED_STREAMS: usize = 4096;

/// The last fold of a stream that this process has seen.
#[derive(Debug, Default)]
pub struct RememberedStreams(Mutex<HashMap<StreamId, Arc<dyn Any + Send + Sync>>>);

impl RememberedStreams {
    pub(super) fn get<A: Clone + Send + Sync + 'static>(&self, stream: &StreamId) -> Option<Loaded<A>> {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.get(stream).and_then(|loaded| loaded.downcast_ref::<Loaded<A>>()).cloned()
    }

    /// Keeps a stream that exists; ids that lead nowhere take no room.
    pub(super) fn keep<A: Clone + Send + Sync + 'static>(&self, loaded: &Loaded<A>) {
        if loaded.version == 0 {
            return;
        }
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= REMEMBERED_STREAMS {
            streams.clear();
        }
        streams.insert(loaded.stream.clone(), Arc::new(loaded.clone()));
    }

    pub(super) fn forget<'a>(&self, forgotten: impl IntoIterator<Item = &'a StreamId>) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in forgotten {
            streams.remove(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aggregates::UserId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn however_many_streams_are_folded_so_many_are_remembered_and_none_that_does_not_exist() {
        let remembered = RememberedStreams::default();
        let stream = |number: usize| StreamId::user(UserId(Uuid::from_u128(number as u128)));
        for number in 0..REMEMBERED_STREAMS * 2 + 7 {
            remembered.keep(&Loaded { aggregate: number, stream: stream(number), version: 1 });
            remembered.keep(&Loaded { aggregate: number, stream: stream(usize::MAX - number), version: 0 });
            assert!(remembered.0.lock().unwrap().len() <= REMEMBERED_STREAMS);
        }
        let last = remembered.get::<usize>(&stream(REMEMBERED_STREAMS * 2 + 6));
        assert_eq!(last.map(|loaded| loaded.aggregate), Some(REMEMBERED_STREAMS * 2 + 6));
    }
}
