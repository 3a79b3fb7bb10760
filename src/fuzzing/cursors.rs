//! Cursors of lists.

use std::sync::OnceLock;

use crate::keys::{InstanceKeys, Key};
use crate::service::Order;
use crate::service::audit::{opened_cursor, sealed_cursor};

const POSITION: i64 = 42;

/// No text opens but the cursor that was given out, and that only for a list in its order. The input is taken for a cursor, and
/// for changes of the real one: pairs of a place and what is written there.
pub fn cursors(data: &[u8]) {
    static ISSUED: OnceLock<(Key, String)> = OnceLock::new();
    let (key, issued) = ISSUED.get_or_init(|| {
        let key = InstanceKeys::derive(&Key::new([7; 32])).cursors;
        #[expect(clippy::expect_used, reason = "without random bytes there is nothing to fuzz")]
        let cursor = sealed_cursor(&key, POSITION, Order::Ascending).expect("random bytes");
        (key, cursor)
    });
    let check = |text: &str| {
        let expected = (text == issued).then_some(POSITION);
        assert_eq!(opened_cursor(key, text, Order::Ascending), expected, "{text:?} for {issued:?}");
        assert_eq!(opened_cursor(key, text, Order::Descending), None, "{text:?} in the other order");
    };
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
        check(&format!("{issued}{text}"));
    }
    let mut changed = issued.clone().into_bytes();
    for change in data.chunks_exact(2) {
        let place = usize::from(change[0]) % changed.len();
        changed[place] = change[1];
    }
    if let Ok(text) = std::str::from_utf8(&changed) {
        check(text);
    }
    check(&issued[..data.len().min(issued.len())]);
}
