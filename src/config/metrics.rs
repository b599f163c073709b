//! The settings of the metrics.

use super::MetricsConfig;
use super::resolver::Resolver;
use crate::core::limits;
use crate::syntax::values::{self, Reason};
use std::sync::Arc;
use std::time::Duration;

/// The default of `FARSPAN_METRICS_BUCKETS`: from a second to a day.
pub(super) const BUCKETS: &str =
    "1s,5s,15s,30s,1m,2m,5m,10m,20m,30m,45m,1h,90m,2h,3h,4h,6h,8h,12h,24h";

pub(super) fn metrics(resolver: &mut Resolver<'_>) -> MetricsConfig {
    let buckets = resolver.strict("FARSPAN_METRICS_BUCKETS", buckets);
    MetricsConfig {
        buckets: buckets.unwrap_or_default(),
    }
}

fn buckets(text: &str) -> Result<Arc<[Duration]>, Reason> {
    let bounds = text.split(',').map(|bound| {
        let bound = bound.trim();
        values::duration(bound).map_err(|reason| format!("'{bound}' {reason}").into())
    });
    let bounds = bounds.collect::<Result<Vec<Duration>, Reason>>()?;
    if bounds.first().is_some_and(Duration::is_zero) || !bounds.is_sorted_by(|a, b| a < b) {
        return Err("must ascend, from more than zero".into());
    }
    if bounds.len() > limits::METRIC_BUCKETS_MAX {
        let most = limits::METRIC_BUCKETS_MAX;
        return Err(format!("has {} buckets; {most} are possible", bounds.len()).into());
    }
    Ok(bounds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_ascend() {
        let told = |text: &str| match buckets(text) {
            Ok(bounds) => format!("{bounds:?}"),
            Err(reason) => reason.into_owned(),
        };
        assert_eq!(buckets(BUCKETS).unwrap().len(), 20);
        assert_eq!(told("500ms, 1m"), "[500ms, 60s]");
        assert_eq!(told("1m,1m"), "must ascend, from more than zero");
        assert_eq!(told("0s,1m"), "must ascend, from more than zero");
        assert_eq!(
            told("1m,60"),
            "'60' has no unit; write ms, s, m, h or d behind the number"
        );
        let many: Vec<String> = (1..=65).map(|n| format!("{n}s")).collect();
        assert_eq!(told(&many.join(",")), "has 65 buckets; 64 are possible");
    }
}
