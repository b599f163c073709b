//! The settings of the metrics.

use super::MetricsConfig;
use super::otel;
use super::resolver::{Resolver, ValueOrigin};
use crate::core::limits;
use crate::features::{self, Feature};
use crate::syntax::values::{self, Reason};
use std::sync::Arc;
use std::time::Duration;

/// The default of `FARSPAN_METRICS_BUCKETS`: from a second to a day.
pub(super) const BUCKETS: &str =
    "1s,5s,15s,30s,1m,2m,5m,10m,20m,30m,45m,1h,90m,2h,3h,4h,6h,8h,12h,24h";

const EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const KNOWN: &str = if cfg!(feature = "admin") {
    "prometheus, otlp, both with a comma, or none"
} else {
    "otlp or none"
};

pub(super) fn metrics(resolver: &mut Resolver<'_>) -> MetricsConfig {
    let buckets = resolver.strict("FARSPAN_METRICS_BUCKETS", buckets);
    let exporters = resolver.strict(EXPORTER, exporters).unwrap_or_default();
    if exporters.is_served {
        check_endpoint(resolver);
    }
    otel::exemplar_filter(resolver);
    let is_sent = exporters.is_sent && !otel::is_disabled(resolver);
    MetricsConfig {
        buckets: buckets.unwrap_or_default(),
        is_served: exporters.is_served,
        otlp: is_sent.then(|| otel::metrics(resolver)).flatten(),
    }
}

#[derive(Debug, Default, PartialEq)]
struct MetricsExporters {
    is_served: bool,
    is_sent: bool,
}

fn exporters(text: &str) -> Result<MetricsExporters, Reason> {
    let mut exporters = MetricsExporters::default();
    let mut is_none = false;
    for word in otel::entries(text) {
        match word.to_ascii_lowercase().as_str() {
            "prometheus" => exporters.is_served = true,
            "otlp" => exporters.is_sent = true,
            "none" => is_none = true,
            _ => return Err(format!("is not supported; write {KNOWN}").into()),
        }
    }
    let is_any = exporters != MetricsExporters::default();
    match (is_any, is_none) {
        (true, true) => Err("has none beside other exporters; write one or the other".into()),
        (false, false) => Err(format!("names no exporter; write {KNOWN}").into()),
        _ => Ok(exporters),
    }
}

/// Metrics that were asked for on an endpoint that there is not are a mistake.
fn check_endpoint(resolver: &mut Resolver<'_>) {
    let is_asked_for = resolver.origin_of(EXPORTER) != Some(&ValueOrigin::Default);
    let listen = resolver.take("FARSPAN_ADMIN_LISTEN");
    if is_asked_for && listen.is_some_and(|it| it.text == "none") {
        let remedy = match features::missing(&[Feature::Admin]) {
            Some(missing) => format!("{missing}; write otlp or none"),
            None => "needs the admin endpoint: set FARSPAN_ADMIN_LISTEN (admin.listen) to an address, or write otlp \
                     or none"
                .to_owned(),
        };
        resolver.error_in(EXPORTER, &remedy);
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
    fn exporters_are_known_ones() {
        let told = |text: &str| match exporters(text) {
            Ok(it) => format!("{} {}", it.is_served, it.is_sent),
            Err(reason) => reason.into_owned(),
        };
        assert_eq!(told("prometheus"), "true false");
        assert_eq!(told("OTLP"), "false true");
        assert_eq!(told("otlp, prometheus,"), "true true");
        assert_eq!(told("none"), "false false");
        for unsupported in ["console", "otlp,console", "otlp prometheus"] {
            assert_eq!(
                told(unsupported),
                format!("is not supported; write {KNOWN}")
            );
        }
        assert!(told("none,otlp").starts_with("has none beside"));
        assert!(told(",").starts_with("names no exporter"));
    }

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
