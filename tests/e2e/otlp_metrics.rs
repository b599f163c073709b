//! The metrics over OTLP, held against `GET /metrics` of the same farspan and against the traces that left.

use crate::carriers::Door;
use crate::support::api::short_story;
use crate::support::http::{Answer, Reply, Server};
use crate::support::program::Call;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::{SOON, eventually};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, HistogramDataPoint, Metric, NumberDataPoint,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// The value of each series, by its name with its labels.
type SeriesValues = BTreeMap<String, f64>;

fn watch_one(rig: &Rig, id: &str) {
    rig.api.script(id, short_story(id));
    rig.submit(id);
    rig.trace(id);
}

#[test]
fn the_collector_gets_what_the_endpoint_shows_and_exemplars_that_lead_to_traces() {
    let (rig, door) = (Rig::new(), Door::new());
    let call = rig
        .call()
        .env("FARSPAN_METRICS_BUCKETS", "1s,1h")
        .env("OTEL_METRICS_EXPORTER", "prometheus,otlp")
        .env("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-tenant=a%20b")
        .env("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")
        .env("OTEL_METRIC_EXPORT_INTERVAL", 50);
    let farspan = door.start(&call);
    rig.redis.await_subscribers(CHANNEL, 1);
    let hostile = "b\"\\c\n{x=\"1\"} 7";
    watch_one(&rig, "w");
    rig.api.script(
        "x",
        [crate::support::api::completed("x")
            .stage(hostile, "Completed", "", "", "")
            .reply()],
    );
    rig.submit("x");
    rig.trace("x");

    // Between two texts that are the same, the numbers were these.
    let (text, sent) = eventually("a request between two equal texts", SOON, || {
        let before = scraped(&door);
        let known = rig.receiver.metrics().len();
        eventually("two requests", SOON, || {
            rig.receiver.metrics().len() >= known + 2
        });
        // The second one was asked for behind the first text.
        let sent = rig.receiver.metrics().swap_remove(known + 1);
        let after = scraped(&door);
        if steady(&before) == steady(&after) {
            Ok((before, sent))
        } else {
            Err(after)
        }
    });
    let names = names_in_prometheus();
    let metrics = metrics_of(&sent);
    let mut series = SeriesValues::new();
    for metric in &metrics {
        add_series(metric, &names[&metric.name], &mut series);
        assert_unit(metric, &names[&metric.name], &text);
    }
    series.retain(|name, _| is_steady(name));
    assert_eq!(series, steady(&text));
    assert!(series.len() > 60, "{series:?}");
    let has = |name: &str| metrics.iter().any(|metric| metric.name == name);
    assert!(has("process.cpu.time") && has("process.memory.usage"));

    let spans = rig.receiver.spans();
    let exemplars: Vec<Exemplar> = metrics.iter().flat_map(exemplars_of).collect();
    assert!(exemplars.len() >= 3, "{exemplars:?}");
    for exemplar in &exemplars {
        let span = spans.iter().find(|it| it.span.span_id == exemplar.span_id);
        let span = span.unwrap_or_else(|| panic!("no span of {exemplar:?}"));
        assert_eq!(span.span.trace_id, exemplar.trace_id);
        let took = (span.end() - span.start()) as f64 / 1e9;
        let Some(ExemplarValue::AsDouble(value)) = exemplar.value else {
            panic!("{exemplar:?}");
        };
        assert!((value - took).abs() < 1e-3, "{exemplar:?}: {took}");
    }
    let request = rig.receiver.server.requests();
    let request = request.iter().rfind(|it| it.target == "/v1/metrics");
    let request = request.expect("a request with metrics");
    assert_eq!(request.header("x-tenant"), Some("a b"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    farspan.stop();
}

#[test]
fn the_last_numbers_are_sent_at_the_stop_under_the_resource_of_the_spans() {
    let (rig, door) = (Rig::new(), Door::new());
    let call = rig
        .call()
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("OTEL_RESOURCE_ATTRIBUTES", "team=ours");
    let farspan = door.start(&call);
    rig.redis.await_subscribers(CHANNEL, 1);
    watch_one(&rig, "w");
    assert_eq!(door.ask("GET", "/metrics", &[], "").status, 404);
    assert!(
        rig.receiver.metrics().is_empty(),
        "the interval is a minute"
    );
    farspan.stop();
    let [last] = &rig.receiver.metrics()[..] else {
        panic!("not one request: {:?}", rig.receiver.metrics());
    };
    let spans = rig.receiver.spans();
    assert_eq!(rig.receiver.number("farspan.workflows.ended"), 1);
    let delivered = rig.receiver.number("farspan.spans.delivered");
    assert_eq!(delivered, spans.len() as i64);
    let of_metrics = &last.resource_metrics[0];
    let attributes = &of_metrics.resource.as_ref().expect("a resource").attributes;
    let pairs = attributes.iter().map(|it| (it.key.clone(), text_of(it)));
    assert_eq!(pairs.collect::<BTreeMap<_, _>>(), spans[0].resource);
    let scope = &of_metrics.scope_metrics[0].scope;
    assert_eq!(scope.as_ref(), Some(&spans[0].scope));
}

#[test]
fn a_collector_that_is_away_is_said_once_and_gets_the_sums_later() {
    let rig = Rig::new();
    let answers = AtomicUsize::new(0);
    // Its words differ each time, and the third one is a success.
    let mut away = Server::stopped([127, 0, 0, 1].into(), move |_| {
        match answers.fetch_add(1, Ordering::SeqCst) {
            n @ 0..2 => Answer::new(503).body("text/plain", format!("busy {n}")),
            _ => Answer::new(200),
        }
        .into()
    });
    let farspan = rig.start_call(&metrics_to(&rig, &away));
    farspan.await_log(&format!(
        "the collector {}/v1/metrics did not accept the metrics: ",
        away.url()
    ));
    watch_one(&rig, "w");
    away.resume();
    farspan.await_log("/v1/metrics accepts metrics again");
    let log = farspan.stop().stderr;
    let about = log.lines().filter(|line| line.contains("the metrics: "));
    let (warnings, others): (Vec<&str>, Vec<&str>) = about.partition(|line| line.contains("WARN"));
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(others.len() > 1 && others.iter().all(|it| it.contains("DEBUG")));
}

#[test]
fn a_collector_that_is_silent_holds_up_no_stop() {
    let rig = Rig::new();
    let silent = Server::start(|_| Reply::Hang);
    let farspan = rig.start_call(&metrics_to(&rig, &silent));
    eventually("a request that is not answered", SOON, || {
        !silent.requests().is_empty()
    });
    watch_one(&rig, "w");
    farspan.signal("TERM");
    let log = farspan.wait(Duration::from_secs(8)).stderr;
    let given_up = "the collector has not answered to the last metrics after 2s; given up";
    assert!(log.contains(given_up), "{log}");
}

#[test]
fn what_is_not_supported_is_an_error_with_its_remedy() {
    let rig = Rig::new();
    for (name, value, words) in [
        (
            "OTEL_METRICS_EXPORTER",
            "console",
            "OTEL_METRICS_EXPORTER: 'console' is not supported; write prometheus, otlp, both with a comma, or none",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "delta",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: 'delta' is not supported; write cumulative",
        ),
    ] {
        let call = rig.call().env("OTEL_METRICS_EXPORTER", "otlp");
        let ended = call.env(name, value).output();
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[test]
fn check_asks_the_collector_of_the_metrics_too() {
    let rig = Rig::new();
    rig.receiver.relaxed();
    let call = rig.call().env("OTEL_METRICS_EXPORTER", "otlp");
    let ended = call.with_arguments(&["check"]).output();
    let url = rig.receiver.server.url();
    let line = format!("ok    collector of metrics {url}/v1/metrics: reachable");
    assert!(ended.stdout.contains(&line), "{}", ended.stdout);
}

/// Metrics go to this server five times a second at most, and spans to the rig's receiver.
fn metrics_to(rig: &Rig, server: &Server) -> Call {
    rig.call()
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            format!("{}/v1/metrics", server.url()),
        )
        .env("OTEL_METRIC_EXPORT_INTERVAL", 200)
}

fn scraped(door: &Door) -> String {
    let answer = door.ask("GET", "/metrics", &[("Accept", OPEN_METRICS)], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The series of a text, without those that change by themselves.
fn steady(text: &str) -> SeriesValues {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let series = samples.map(|line| {
        let sample = line.split(" # {").next().expect("the first piece");
        let (name, value) = sample.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    series.filter(|(name, _)| is_steady(name)).collect()
}

fn is_steady(series: &str) -> bool {
    !series.starts_with("process_") || series == "process_start_time_seconds"
}

/// The names for Prometheus by the names in OTLP, as the documents have them.
fn names_in_prometheus() -> HashMap<String, String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = fs::read_to_string(page).expect("the page of the metrics");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let names = rows.filter_map(|row| {
        let mut words = row.split('`').skip(1).step_by(2);
        let prometheus = words.next()?.to_owned();
        Some((words.next()?.to_owned(), prometheus))
    });
    names.collect()
}

fn metrics_of(request: &ExportMetricsServiceRequest) -> Vec<Metric> {
    let metrics = request.resource_metrics[0].scope_metrics[0].metrics.clone();
    let names: BTreeSet<&String> = metrics.iter().map(|metric| &metric.name).collect();
    assert_eq!(names.len(), metrics.len(), "each metric once");
    metrics
}

/// Adds the series as Prometheus has them; `name`: of the metric for Prometheus.
fn add_series(metric: &Metric, name: &str, series: &mut SeriesValues) {
    let mut insert = |name: String, value| {
        assert!(series.insert(name.clone(), value).is_none(), "{name} twice");
    };
    let mut add_numbers = |points: &[NumberDataPoint]| {
        for point in points {
            let value = match point.value {
                Some(Value::AsInt(number)) => number as f64,
                Some(Value::AsDouble(number)) => number,
                None => panic!("{metric:?}"),
            };
            insert(named(name, &point.attributes, None), value);
        }
    };
    match metric.data.as_ref().expect("data") {
        Data::Sum(sum) => {
            assert_eq!(sum.aggregation_temporality, CUMULATIVE, "{metric:?}");
            assert_eq!(sum.is_monotonic, name.ends_with("_total"), "{metric:?}");
            add_numbers(&sum.data_points);
        }
        Data::Gauge(gauge) => add_numbers(&gauge.data_points),
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, CUMULATIVE, "{metric:?}");
            for point in &histogram.data_points {
                add_histogram(point, name, &mut insert);
            }
        }
        other => panic!("{other:?}"),
    }
}

fn add_histogram(point: &HistogramDataPoint, name: &str, insert: &mut impl FnMut(String, f64)) {
    let attributes = &point.attributes;
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    let bounds = point.explicit_bounds.iter();
    let bounds = bounds.map(|bound| format!("{bound:?}"));
    let mut count = 0;
    for (bound, here) in bounds.chain(["+Inf".to_owned()]).zip(&point.bucket_counts) {
        count += here;
        let bucket = named(&format!("{name}_bucket"), attributes, Some(&bound));
        insert(bucket, count as f64);
    }
    assert_eq!(count, point.count);
    insert(
        named(&format!("{name}_count"), attributes, None),
        count as f64,
    );
    let sum = point.sum.expect("a sum");
    insert(named(&format!("{name}_sum"), attributes, None), sum);
}

/// A series as the text writes it.
fn named(name: &str, attributes: &[KeyValue], le: Option<&str>) -> String {
    let pairs = attributes.iter().map(|attribute| {
        let value = text_of(attribute).replace('\\', "\\\\");
        let value = value.replace('"', "\\\"").replace('\n', "\\n");
        format!("{}=\"{value}\"", attribute.key.replace('.', "_"))
    });
    let le = le.map(|le| format!("le=\"{le}\""));
    let labels: Vec<String> = pairs.chain(le).collect();
    if labels.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", labels.join(","))
    }
}

fn text_of(attribute: &KeyValue) -> String {
    let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
    match value {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// Both say the same of a unit, by the rules of the OpenTelemetry specification for Prometheus.
fn assert_unit(metric: &Metric, name: &str, text: &str) {
    let family = name.trim_end_matches("_total");
    let unit = match &*metric.unit {
        "s" => "seconds",
        "By" => "bytes",
        _ => "",
    };
    assert!(family.ends_with(unit), "{metric:?}");
    let said = format!("# UNIT {family} {unit}\n");
    assert_eq!(text.contains(&said), !unit.is_empty(), "{said}");
    assert!(!metric.unit.is_empty() && !metric.description.is_empty());
}

fn exemplars_of(metric: &Metric) -> Vec<Exemplar> {
    match &metric.data {
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.iter();
            points.flat_map(|point| point.exemplars.clone()).collect()
        }
        _ => Vec::new(),
    }
}
