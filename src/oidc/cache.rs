//! Remembering what providers say about themselves.
//!
//! One entry for each (issuer, version of the configuration), with a lifetime, and few of them. Whoever
//! needs an entry that is missing or too old fetches it while the others wait for that one fetch, and
//! take its outcome, also a failure. An unknown key id has the keys fetched again, but at most once in an
//! interval, counted whether it succeeds or not: however many tokens name keys that do not exist, the
//! provider is asked once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::FetchFailure;
use super::keys::SigningKey;
use super::provider::Provider;

/// How many configurations are remembered; a service has one, and a few while it is being changed.
const MAX_ENTRIES: usize = 8;

/// An issuer and the version of the configuration that names it.
pub(super) type Key = (String, u64);

pub(super) struct ProviderCache {
    lifetime: Duration,
    key_refetch_interval: Duration,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

struct Entry {
    inserted: Instant,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    provider: Option<(Instant, Arc<Provider>)>,
    keys_refetched: Option<Instant>,
    failure: Option<(Instant, FetchFailure)>,
}

impl State {
    /// The failure of a fetch that ended while the caller waited for it.
    fn failure_since(&self, waiting_since: Instant) -> Option<FetchFailure> {
        let (failed, failure) = self.failure.as_ref()?;
        (*failed >= waiting_since).then(|| failure.clone())
    }

    fn note<T>(&mut self, outcome: Result<T, FetchFailure>) -> Result<T, FetchFailure> {
        self.failure = match &outcome {
            Ok(_) => None,
            Err(failure) => Some((Instant::now(), failure.clone())),
        };
        outcome
    }
}

impl ProviderCache {
    pub(super) fn new(lifetime: Duration, key_refetch_interval: Duration) -> Self {
        Self { lifetime, key_refetch_interval, entries: Mutex::new(HashMap::new()) }
    }

    /// What is remembered, or else what `fetch` brings.
    pub(super) async fn get<F>(
        &self,
        key: &Key,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Arc<Provider>, FetchFailure>
    where
        F: Future<Output = Result<Provider, FetchFailure>> + Send,
    {
        let waiting_since = Instant::now();
        let entry = self.entry(key);
        let mut state = entry.state.lock().await;
        if let Some((fetched, provider)) = &state.provider
            && (fetched.elapsed() < self.lifetime || *fetched >= waiting_since)
        {
            return Ok(Arc::clone(provider));
        }
        if let Some(failure) = state.failure_since(waiting_since) {
            return Err(failure);
        }
        let outcome = fetch().await;
        let provider = Arc::new(state.note(outcome)?);
        state.provider = Some((Instant::now(), Arc::clone(&provider)));
        Ok(provider)
    }

    /// Newer keys than `known`, from `fetch` or from somebody else's fetch; `None` if there are none to be
    /// had before the interval is over.
    pub(super) async fn newer_keys<F>(
        &self,
        key: &Key,
        known: &Arc<Provider>,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Option<Arc<Provider>>, FetchFailure>
    where
        F: Future<Output = Result<Vec<SigningKey>, FetchFailure>> + Send,
    {
        let waiting_since = Instant::now();
        let entry = self.entry(key);
        let mut state = entry.state.lock().await;
        if let Some((_, present)) = &state.provider
            && !Arc::ptr_eq(present, known)
        {
            return Ok(Some(Arc::clone(present)));
        }
        if let Some(failure) = state.failure_since(waiting_since) {
            return Err(failure);
        }
        let interval = self.key_refetch_interval;
        if state.keys_refetched.is_some_and(|last| last.elapsed() < interval) {
            return Ok(None);
        }
        state.keys_refetched = Some(Instant::now());
        let outcome = fetch().await;
        let keys = state.note(outcome)?;
        let provider = Arc::new(Provider { keys, ..Provider::clone(known) });
        // The endpoints are as old as before; only the keys are new.
        let fetched = state.provider.as_ref().map_or(waiting_since, |(at, _)| *at);
        state.provider = Some((fetched, Arc::clone(&provider)));
        Ok(Some(provider))
    }

    /// The entry of this key; the oldest one makes room.
    fn entry(&self, key: &Key) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(key) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAX_ENTRIES {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.inserted);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                entries.remove(&oldest);
            }
        }
        let entry = Arc::new(Entry { inserted: Instant::now(), state: tokio::sync::Mutex::default() });
        entries.insert(key.clone(), Arc::clone(&entry));
        entry
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
