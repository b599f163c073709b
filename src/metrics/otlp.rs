//! The metrics as OTLP sends them: cumulative from the start of the process, with the same exemplars.
//!
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/>

use super::families::{Family, HistogramPoint, Point, PointValue};
use super::table::MetricKind;
use crate::core::metrics::Exemplar;
use crate::core::time::Wall;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as OtlpExemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// The body of an export request. `resource`: the attributes of farspan's own resource.
pub fn request(families: &[Family], resource: &[(String, String)], now: Wall) -> Vec<u8> {
    let attributes = resource.iter().map(|(key, value)| text(key, value));
    let scope = InstrumentationScope {
        name: "farspan".to_owned(),
        version: crate::VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let metrics = families.iter().map(|family| metric(family, now));
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope),
                metrics: metrics.collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec()
}

fn metric(family: &Family, now: Wall) -> Metric {
    let table = family.metric;
    let numbers = || {
        let points = family.points.iter();
        points
            .filter_map(|point| number_point(point, family.since, now))
            .collect()
    };
    let sum = |is_monotonic| Sum {
        data_points: numbers(),
        aggregation_temporality: CUMULATIVE,
        is_monotonic,
    };
    let data = match table.kind {
        MetricKind::Counter => metric::Data::Sum(sum(true)),
        MetricKind::UpDown => metric::Data::Sum(sum(false)),
        MetricKind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        MetricKind::Histogram => metric::Data::Histogram(Histogram {
            data_points: (family.points.iter())
                .filter_map(|point| histogram_point(point, family.since, now))
                .collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    Metric {
        name: table.otlp.to_owned(),
        description: format!("{}.", table.help),
        unit: table.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// `None`: it is a histogram.
fn number_point(point: &Point, since: Wall, now: Wall) -> Option<NumberDataPoint> {
    let value = match point.value {
        PointValue::Whole(number) => {
            number_data_point::Value::AsInt(i64::try_from(number).unwrap_or(i64::MAX))
        }
        PointValue::Number(number) => number_data_point::Value::AsDouble(number),
        PointValue::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(point),
        start_time_unix_nano: unix_ns(since),
        time_unix_nano: unix_ns(now),
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

/// `None`: it is a number.
fn histogram_point(point: &Point, since: Wall, now: Wall) -> Option<HistogramDataPoint> {
    let PointValue::Histogram(HistogramPoint {
        bounds,
        counts,
        sum,
        exemplars,
    }) = &point.value
    else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: attributes(point),
        start_time_unix_nano: unix_ns(since),
        time_unix_nano: unix_ns(now),
        count: counts.iter().sum(),
        sum: Some(sum.as_secs_f64()),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.to_vec(),
        exemplars: exemplars.iter().flatten().map(exemplar).collect(),
        ..HistogramDataPoint::default()
    })
}

fn exemplar(exemplar: &Exemplar) -> OtlpExemplar {
    OtlpExemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: unix_ns(exemplar.seen),
        span_id: exemplar.span_id.to_bytes().to_vec(),
        trace_id: exemplar.trace_id.to_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.duration.as_secs_f64())),
    }
}

fn attributes(point: &Point) -> Vec<KeyValue> {
    let labels = point.labels.iter();
    labels.map(|(key, value)| text(key, value)).collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn unix_ns(time: Wall) -> u64 {
    u64::try_from(time.as_unix_ns()).unwrap_or(0)
}
