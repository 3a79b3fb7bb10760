#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Key, MAX_ENTRIES, ProviderCache};
use crate::oidc::IssuerUrl;
use crate::oidc::client_secret::Ways;
use crate::oidc::error::{DiscoveryProblem, FetchFailure};
use crate::oidc::keys::SigningKey;
use crate::oidc::provider::{Discovered, Provider};

const HOUR: Duration = Duration::from_secs(3600);

fn provider() -> Provider {
    let url: url::Url = "https://idp.example/endpoint".parse().unwrap();
    Provider {
        discovered: Discovered {
            issuer: IssuerUrl::parse("https://idp.example").unwrap(),
            authorization_endpoint: url.clone(),
            token_endpoint: url.clone(),
            userinfo_endpoint: None,
            jwks_uri: url,
        },
        secret_ways: Arc::new(Ways::announced(None)),
        names_issuer_in_answers: false,
        keys: Vec::new(),
    }
}

fn key(version: u64) -> Key {
    ("https://idp.example".to_owned(), version)
}

/// Counts fetches, and lets every other task run before it answers.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Counted {
    async fn provider(&self) -> Result<Provider, FetchFailure> {
        self.count().await;
        Ok(provider())
    }

    async fn keys(&self) -> Result<Vec<SigningKey>, FetchFailure> {
        self.count().await;
        Ok(Vec::new())
    }

    async fn failure<T>(&self) -> Result<T, FetchFailure> {
        self.count().await;
        Err(DiscoveryProblem::NoUsableKey.into())
    }

    async fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }

    fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Lets 50 callers do the same at once, and gives their answers.
async fn crowd<T, F>(call: impl Fn() -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..50).map(|_| tokio::spawn(call())).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn a_crowd_shares_one_fetch_and_later_callers_its_outcome() {
    let cache = Arc::new(ProviderCache::new(HOUR, HOUR));
    let fetches = Arc::new(Counted::default());
    for _ in 0..2 {
        let answers = crowd(|| {
            let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
            async move { cache.get(&key(1), || fetches.provider()).await }
        });
        assert!(answers.await.iter().all(Result::is_ok));
    }
    assert_eq!(fetches.so_far(), 1);
}

#[tokio::test]
async fn a_crowd_shares_a_failure_and_the_next_caller_tries_again() {
    let cache = Arc::new(ProviderCache::new(HOUR, HOUR));
    let fetches = Arc::new(Counted::default());
    let answers = crowd(|| {
        let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
        async move { cache.get(&key(1), || fetches.failure()).await }
    });
    assert!(answers.await.iter().all(Result::is_err));
    assert_eq!(fetches.so_far(), 1);
    assert!(cache.get(&key(1), || fetches.provider()).await.is_ok());
    assert_eq!(fetches.so_far(), 2);
}

#[tokio::test]
async fn who_waited_for_a_fetch_takes_its_outcome_however_short_its_life() {
    let cache = Arc::new(ProviderCache::new(Duration::ZERO, HOUR));
    let fetches = Arc::new(Counted::default());
    let answers = crowd(|| {
        let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
        async move { cache.get(&key(1), || fetches.provider()).await }
    });
    assert!(answers.await.iter().all(Result::is_ok));
    assert_eq!(fetches.so_far(), 1);
}

#[tokio::test]
async fn another_version_or_an_old_entry_is_fetched_anew() {
    let fetches = Counted::default();
    let cache = ProviderCache::new(HOUR, HOUR);
    cache.get(&key(1), || fetches.provider()).await.unwrap();
    cache.get(&key(2), || fetches.provider()).await.unwrap();
    assert_eq!(fetches.so_far(), 2);
    let forgetful = ProviderCache::new(Duration::ZERO, HOUR);
    forgetful.get(&key(1), || fetches.provider()).await.unwrap();
    forgetful.get(&key(1), || fetches.provider()).await.unwrap();
    assert_eq!(fetches.so_far(), 4);
}

#[tokio::test]
async fn unknown_key_ids_have_the_keys_fetched_once_in_an_interval() {
    let cache = Arc::new(ProviderCache::new(HOUR, HOUR));
    let fetches = Arc::new(Counted::default());
    let known = cache.get(&key(1), || async { Ok(provider()) }).await.unwrap();
    let answers = crowd(|| {
        let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
        let known = Arc::clone(&known);
        async move { cache.newer_keys(&key(1), &known, || fetches.keys()).await }
    });
    assert!(answers.await.iter().all(|answer| matches!(answer, Ok(Some(_)))));
    assert_eq!(fetches.so_far(), 1);
    let present = cache.get(&key(1), || fetches.provider()).await.unwrap();
    let again = cache.newer_keys(&key(1), &present, || fetches.keys()).await;
    assert!(matches!(again, Ok(None)));
    assert_eq!(fetches.so_far(), 1);
}

#[tokio::test]
async fn a_failed_fetch_of_keys_counts_and_is_shared() {
    let cache = Arc::new(ProviderCache::new(HOUR, HOUR));
    let fetches = Arc::new(Counted::default());
    let known = cache.get(&key(1), || async { Ok(provider()) }).await.unwrap();
    let answers = crowd(|| {
        let (cache, fetches) = (Arc::clone(&cache), Arc::clone(&fetches));
        let known = Arc::clone(&known);
        async move { cache.newer_keys(&key(1), &known, || fetches.failure()).await }
    });
    assert!(answers.await.iter().all(Result::is_err));
    let later = cache.newer_keys(&key(1), &known, || fetches.keys()).await;
    assert!(matches!(later, Ok(None)));
    assert_eq!(fetches.so_far(), 1);
}

#[tokio::test]
async fn few_entries_are_kept() {
    let cache = ProviderCache::new(HOUR, HOUR);
    for version in 0..100 {
        cache.get(&key(version), || async { Ok(provider()) }).await.unwrap();
    }
    assert_eq!(cache.entries.lock().unwrap().len(), MAX_ENTRIES);
}
