//! How often one source may make the calls that need no token. Counted in this process's memory, which
//! it cannot grow: a source that has been quiet is forgotten, and past 20,000 busy ones neighbours
//! are counted together until it is calmer.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::{HttpState, RateKey, SourceAddress};
use crate::error::{ApiError, ErrorCode};
use crate::settings::limits::RATE_SOURCES;

/// Quiet sources are forgotten this often, and every second while there are too many.
const SWEEP_SECONDS: u64 = 60;

/// Puts the limit of public calls around the routes of this router, its 404 and 405 excepted.
pub fn limit_public_calls<S: Clone + Send + Sync + 'static>(router: Router<S>, state: &HttpState) -> Router<S> {
    router.route_layer(from_fn_with_state(state.clone(), check))
}

async fn check(State(http): State<HttpState>, source: SourceAddress, request: Request, next: Next) -> Response {
    match http.0.public_calls.check(source.rate_key()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// A limit per source and minute; `None` is no limit.
pub(super) struct RateLimit(Option<Counters>);

struct Counters {
    one_by_one: DefaultKeyedRateLimiter<RateKey>,
    neighbourhoods: DefaultKeyedRateLimiter<RateKey>,
    clock: DefaultClock,
    started: Instant,
    swept_at_seconds: AtomicU64,
}

impl RateLimit {
    pub(super) fn new(per_minute: Option<NonZeroU32>) -> Self {
        Self(per_minute.map(|per_minute| Counters {
            one_by_one: DefaultKeyedRateLimiter::keyed(Quota::per_minute(per_minute)),
            neighbourhoods: DefaultKeyedRateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: DefaultClock::default(),
            started: Instant::now(),
            swept_at_seconds: AtomicU64::new(0),
        }))
    }

    /// Counts a call, or refuses it with the seconds to wait.
    pub(super) fn check(&self, source: RateKey) -> Result<(), ApiError> {
        let Some(counters) = &self.0 else { return Ok(()) };
        let verdict = if counters.has_room() {
            counters.one_by_one.check_key(&source)
        } else {
            counters.neighbourhoods.check_key(&source.neighbourhood())
        };
        verdict.map_err(|not_until| {
            let wait = not_until.wait_time_from(counters.clock.now());
            let seconds = wait.as_secs().saturating_add(1).try_into().unwrap_or(u32::MAX);
            ApiError::new(ErrorCode::RateLimited).with_retry_after(seconds)
        })
    }
}

impl Counters {
    /// Whether one more source can be counted by itself, once the quiet ones are forgotten.
    fn has_room(&self) -> bool {
        let now = self.started.elapsed().as_secs();
        let swept_at = self.swept_at_seconds.load(Ordering::Relaxed);
        let full = self.one_by_one.len() >= RATE_SOURCES;
        let due = swept_at + if full { 1 } else { SWEEP_SECONDS };
        let mine = now >= due
            && self.swept_at_seconds.compare_exchange(swept_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            for limiter in [&self.one_by_one, &self.neighbourhoods] {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
        self.one_by_one.len() < RATE_SOURCES
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limit(per_minute: u32) -> RateLimit {
        RateLimit::new(NonZeroU32::new(per_minute))
    }

    fn key(address: &str) -> RateKey {
        SourceAddress::new(address.parse().unwrap()).rate_key()
    }

    fn key_of(bits: u32) -> RateKey {
        SourceAddress::new(std::net::Ipv4Addr::from_bits(bits).into()).rate_key()
    }

    #[test]
    fn each_source_has_its_own_calls() {
        let limit = limit(2);
        for source in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            assert!(limit.check(key(source)).is_ok());
            assert!(limit.check(key(source)).is_ok());
            let refusal = limit.check(key(source)).unwrap_err();
            assert_eq!(refusal.code(), ErrorCode::RateLimited);
            assert_eq!(refusal.into_response().headers()["retry-after"], "30");
        }
        assert!(limit.check(key("2001:db8::2")).is_err(), "the same /64");
        assert!(limit.check(key("2001:db8:0:1::1")).is_ok(), "another /64");
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = limit(0);
        assert!((0..1000).all(|_| limit.check(key("192.0.2.1")).is_ok()));
    }

    #[test]
    fn memory_has_an_end_however_many_sources_call() {
        let limit = limit(1);
        let sources = u32::try_from(RATE_SOURCES).unwrap();
        for bits in 0..sources * 3 {
            let _ = limit.check(key_of(0x0100_0000 + bits));
        }
        let counters = limit.0.as_ref().unwrap();
        assert!(counters.one_by_one.len() <= RATE_SOURCES);
        assert_eq!(counters.neighbourhoods.len(), 1);
        assert!(limit.check(key("1.0.0.1")).is_err());
        assert!(limit.check(key("99.0.0.1")).is_ok(), "another neighbourhood is still served");
    }
}
