//! The metrics as Prometheus reads them: OpenMetrics 1.0 with exemplars, or the text format 0.0.4.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/> and
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use super::families::{Family, HistogramPoint, Point, PointValue};
use super::table::{Metric, MetricKind};
use std::fmt::Write as _;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.0. It alone has exemplars.
    OpenMetrics,
    /// The format of Prometheus, 0.0.4.
    Prometheus,
}

impl TextFormat {
    /// The format that suits an `Accept` header best. OpenMetrics has to be asked for by its name, with at least the
    /// weight of the other. RFC 9110 section 12.5.1.
    pub fn accepted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0.0, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameter = |name: &str| {
                let mut pairs = parts.clone().filter_map(|part| part.split_once('='));
                pairs
                    .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.trim().trim_matches('"'))
            };
            let weight = parameter("q").map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
            match &*media_type {
                "application/openmetrics-text" => {
                    // 0.0.1 is the draft, which differs in nothing that farspan writes.
                    if matches!(parameter("version"), None | Some("1.0.0" | "0.0.1")) {
                        open_metrics = weight.max(open_metrics);
                    }
                }
                "text/plain" => text = weight.max(text),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text {
            TextFormat::OpenMetrics
        } else {
            TextFormat::Prometheus
        }
    }

    /// The media type of the text.
    pub fn content_type(self) -> &'static str {
        match self {
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// All metrics as text.
    pub fn render(self, families: &[Family]) -> String {
        let mut text = TextWriter {
            format: self,
            out: String::with_capacity(32 * 1024),
        };
        for family in families {
            text.family(family);
        }
        if self == TextFormat::OpenMetrics {
            text.out.push_str("# EOF\n");
        }
        text.out
    }
}

struct TextWriter {
    format: TextFormat,
    out: String,
}

impl TextWriter {
    fn family(&mut self, family: &Family) {
        let metric = family.metric;
        let is_open_metrics = self.format == TextFormat::OpenMetrics;
        // OpenMetrics names a counter without the end of its samples.
        let name = if is_open_metrics {
            metric.prometheus.trim_end_matches("_total")
        } else {
            metric.prometheus
        };
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::UpDown | MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {}.", escaped_help(metric.help)));
        self.line(format_args!("# TYPE {name} {kind}"));
        let unit = metric.prometheus_unit();
        if is_open_metrics && !unit.is_empty() {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        for point in &family.points {
            self.point(metric, point);
        }
    }

    fn point(&mut self, metric: &Metric, point: &Point) {
        let labels = labels_of(point);
        match &point.value {
            PointValue::Whole(number) => self.sample(metric, "", &labels, number),
            PointValue::Number(number) => self.sample(metric, "", &labels, number),
            PointValue::Histogram(histogram) => self.histogram(metric, &labels, histogram),
        }
    }

    fn histogram(&mut self, metric: &Metric, labels: &str, histogram: &HistogramPoint) {
        let mut count = 0;
        let bounds = histogram.bounds.iter().map(|bound| self.bound(*bound));
        let bounds: Vec<String> = bounds.chain(["+Inf".to_owned()]).collect();
        for (bucket, (bound, here)) in bounds.iter().zip(&histogram.counts).enumerate() {
            count += here;
            let comma = if labels.is_empty() { "" } else { "," };
            let name = metric.prometheus;
            let _ = write!(
                self.out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
            );
            if self.format == TextFormat::OpenMetrics
                && let Some(Some(exemplar)) = histogram.exemplars.get(bucket)
            {
                let (trace_id, span_id) = (exemplar.trace_id, exemplar.span_id);
                let seconds = exemplar.duration.as_secs_f64();
                let seen_ms = exemplar.seen.as_unix_ns() / 1_000_000;
                let _ = write!(
                    self.out,
                    " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {seconds} {}.{:03}",
                    seen_ms / 1000,
                    seen_ms % 1000,
                );
            }
            self.out.push('\n');
        }
        self.sample(metric, "_sum", labels, histogram.sum.as_secs_f64());
        self.sample(metric, "_count", labels, count);
    }

    fn sample(
        &mut self,
        metric: &Metric,
        suffix: &str,
        labels: &str,
        value: impl std::fmt::Display,
    ) {
        let name = metric.prometheus;
        if labels.is_empty() {
            self.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.line(format_args!("{name}{suffix}{{{labels}}} {value}"));
        }
    }

    /// An upper bound as each format has it: OpenMetrics wants `1.0`, and Prometheus takes `1` for another series.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            TextFormat::OpenMetrics => format!("{bound:?}"),
            TextFormat::Prometheus => format!("{bound}"),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{line}");
    }
}

fn labels_of(point: &Point) -> String {
    let mut text = String::new();
    for (name, value) in &point.labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&name.replace('.', "_"));
        text.push_str("=\"");
        for char in value.chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

fn escaped_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_has_to_be_asked_for() {
        use TextFormat::{OpenMetrics, Prometheus};
        const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Prometheus),
            ("text/plain", Prometheus),
            (PROMETHEUS_2, OpenMetrics),
            (PROMETHEUS_3, OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("APPLICATION/OpenMetrics-Text; Q=0.1", OpenMetrics),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=x", Prometheus),
            ("application/openmetrics-text;version=2.0.0", Prometheus),
            (
                "application/openmetrics-text;q=0.5,text/plain;q=0.6",
                Prometheus,
            ),
            (",;=,q=1;application/openmetrics-text", Prometheus),
        ] {
            assert_eq!(TextFormat::accepted(accept), format, "{accept}");
        }
    }
}
