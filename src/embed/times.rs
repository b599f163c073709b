//! Times of the core and of the standard library.

use crate::core::time::Wall;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn system_time(wall: Wall) -> SystemTime {
    let ns = wall.as_unix_ns();
    let away = Duration::from_nanos(ns.unsigned_abs());
    let time = if ns < 0 {
        UNIX_EPOCH.checked_sub(away)
    } else {
        UNIX_EPOCH.checked_add(away)
    };
    // Linux has times of many more years.
    time.unwrap_or(UNIX_EPOCH)
}

/// A time that the core cannot hold becomes the nearest one that it can.
pub(super) fn wall(time: SystemTime) -> Wall {
    let ns = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    Wall::from_unix_ns(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_as_it_went() {
        for ns in [
            0,
            1,
            -1,
            1_720_162_671_073_740_700,
            -6_847_804_800_000_000_000,
            i64::MAX,
        ] {
            assert_eq!(wall(system_time(Wall::from_unix_ns(ns))).as_unix_ns(), ns);
        }
        let late = UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 4);
        assert_eq!(wall(late).as_unix_ns(), i64::MAX);
    }
}
