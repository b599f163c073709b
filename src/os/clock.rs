//! The only place that reads a clock.

use crate::core::time::{Mono, Now, Wall};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time now, by both clocks.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let instant = Instant::now();
    let since_start = instant.saturating_duration_since(*START.get_or_init(|| instant));
    let wall_ns = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    Now {
        mono: Mono::from_duration(since_start),
        wall: Wall::from_unix_ns(wall_ns),
    }
}
