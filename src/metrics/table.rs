//! All metrics: their names, units, labels and what they mean. The texts and the documents are made from this table.

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in OTLP.
    pub otlp: &'static str,
    /// Its name for Prometheus, with the unit and, for a counter, `_total`.
    pub prometheus: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Its unit (UCUM), as OTLP has it.
    pub unit: &'static str,
    /// Its labels, as OTLP names them. For Prometheus the dots are underscores.
    pub labels: &'static [&'static str],
    /// One sentence without its full stop.
    pub help: &'static str,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, from the start on.
    Counter,
    /// A sum that grows and shrinks.
    UpDown,
    /// A value of now.
    Gauge,
    /// Durations in buckets. It has exemplars if the durations are those of spans.
    Histogram,
}

impl Metric {
    /// The unit as Prometheus writes it at the end of a name; empty: none.
    pub fn prometheus_unit(&self) -> &'static str {
        match self.unit {
            "s" => "seconds",
            "By" => "bytes",
            _ => "",
        }
    }
}

const NAME: &str = "cicd.pipeline.name";
const STATE: &str = "cicd.pipeline.run.state";
const RESULT: &str = "cicd.pipeline.result";
const ERROR: &str = "error.type";
const COMPONENT: &str = "cicd.system.component";

macro_rules! metrics {
    ($($id:ident: $kind:ident $otlp:literal $prometheus:literal $unit:literal [$($label:expr),*] $help:literal;)*) => {
        $(
            pub(super) static $id: Metric = Metric {
                otlp: $otlp,
                prometheus: $prometheus,
                kind: MetricKind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All metrics, in the order of the documentation.
        pub static METRICS: &[&Metric] = &[$(&$id),*];
    };
}

#[rustfmt::skip]
metrics! {
    RUN_DURATION: Histogram "cicd.pipeline.run.duration" "cicd_pipeline_run_duration_seconds" "s" ["monitor", NAME, STATE, RESULT, ERROR]
        "How long runs took in each state: `pending` before the start, as far as the API reports it, `executing` from start to end";
    RUN_ACTIVE: UpDown "cicd.pipeline.run.active" "cicd_pipeline_run_active" "{run}" ["monitor", NAME, STATE]
        "Runs under watch now, by state: `pending`, `executing`, or `finalizing` while their last stages and times settle";
    RUN_ERRORS: Counter "cicd.pipeline.run.errors" "cicd_pipeline_run_errors_total" "{error}" ["monitor", NAME, ERROR]
        "Stages that failed, and runs that failed although none of their stages did";
    SYSTEM_ERRORS: Counter "cicd.system.errors" "cicd_system_errors_total" "{error}" ["monitor", COMPONENT, ERROR]
        "Polls that failed, by reason; the component is `api`";
    STAGE_DURATION: Histogram "farspan.stage.duration" "farspan_stage_duration_seconds" "s" ["monitor", "workflow", "stage", "result"]
        "How long stages took from start to end; `unknown`: the run ended, and no answer said how the stage did";
    STAGE_QUEUE_DURATION: Histogram "farspan.stage.queue.duration" "farspan_stage_queue_duration_seconds" "s" ["monitor", "workflow", "stage", "result"]
        "How long stages waited from the time that the API reports as queued to their start";
    WORKFLOWS: UpDown "farspan.workflows" "farspan_workflows" "{workflow}" ["monitor", "state"]
        "Workflows under watch now, by state: waiting, running, or ended while their last stages and times settle";
    WORKFLOWS_MAX: Gauge "farspan.workflows.max" "farspan_workflows_max" "{workflow}" []
        "Workflows that may be under watch at one time";
    WORKFLOWS_ENDED: Counter "farspan.workflows.ended" "farspan_workflows_ended_total" "{workflow}" []
        "Watches that have ended, however the workflow ended";
    START_EVENTS: Counter "farspan.start_events" "farspan_start_events_total" "{event}" ["source", "outcome"]
        "Start events by the kind of their source and what became of them";
    RUNS_REFUSED: Counter "farspan.runs.refused" "farspan_runs_refused_total" "{run}" []
        "Runs that the store refused, because another instance owns them or they have finished";
    SOURCE_CONNECTED: Gauge "farspan.source.connected" "farspan_source_connected" "1" ["source"]
        "Whether a channel or a stream of Redis hears start events: 1 or 0";
    POLLS: Counter "farspan.polls" "farspan_polls_total" "{poll}" ["monitor", "result"]
        "Polls by result: `ok`, `not_found`, or the reason of the failure";
    POLL_LATENCY: Histogram "farspan.poll.latency" "farspan_poll_latency_seconds" "s" ["monitor"]
        "How long a poll took, with all its requests";
    POLL_LATENESS: Histogram "farspan.poll.lateness" "farspan_poll_lateness_seconds" "s" ["monitor"]
        "How long after it was due a poll was sent";
    REQUESTS: Counter "farspan.requests" "farspan_requests_total" "{request}" ["monitor"]
        "HTTP requests that polls took, with redirects and further pages";
    NOT_MODIFIED: Counter "farspan.requests.not_modified" "farspan_requests_not_modified_total" "{request}" ["monitor"]
        "Of these requests: those answered with 304 Not Modified, so that the API sent no body";
    POLLS_IN_FLIGHT: UpDown "farspan.polls.in_flight" "farspan_polls_in_flight" "{poll}" []
        "Polls that are with the pollers now";
    POLLS_WAITING: UpDown "farspan.polls.waiting" "farspan_polls_waiting" "{poll}" []
        "Polls that are due and wait for their host or for a poller";
    POLLS_HELD: Gauge "farspan.polls.held" "farspan_polls_held" "1" []
        "Whether all polls wait, because too much waits to be delivered: 1 or 0";
    ANSWERS_STALE: Counter "farspan.answers.stale" "farspan_answers_stale_total" "{answer}" []
        "Answers that came when the watch had ended";
    API_REFUSES: Gauge "farspan.api.refuses_credentials" "farspan_api_refuses_credentials" "1" ["monitor"]
        "Whether the API refused the credentials with its last answer: 1 or 0";
    OUTBOX_SPANS: UpDown "farspan.outbox.spans" "farspan_outbox_spans" "{span}" []
        "Spans that the collector has not acknowledged";
    OUTBOX_BYTES: UpDown "farspan.outbox.size" "farspan_outbox_bytes" "By" []
        "The bytes of these spans";
    OUTBOX_OLDEST: Gauge "farspan.outbox.oldest" "farspan_outbox_oldest_seconds" "s" []
        "For how long the first of these spans has waited; 0: none waits";
    OUTBOX_LOG_RECORDS: UpDown "farspan.outbox.log_records" "farspan_outbox_log_records" "{log_record}" []
        "Log records of status events that the collector has not acknowledged";
    SPANS_FINISHED: Counter "farspan.spans.finished" "farspan_spans_finished_total" "{span}" []
        "Spans that were finished";
    SPANS_DELIVERED: Counter "farspan.spans.delivered" "farspan_spans_delivered_total" "{span}" []
        "Spans that the collector has acknowledged";
    SPANS_REJECTED: Counter "farspan.spans.rejected" "farspan_spans_rejected_total" "{span}" []
        "Spans that the collector refused for good";
    SPANS_SENT_AGAIN: Counter "farspan.spans.sent_again" "farspan_spans_sent_again_total" "{span}" []
        "Spans of exports that failed and are repeated, once for each repetition";
    LOG_RECORDS_MADE: Counter "farspan.log_records.made" "farspan_log_records_made_total" "{log_record}" []
        "Log records of status events that were made";
    LOG_RECORDS_DELIVERED: Counter "farspan.log_records.delivered" "farspan_log_records_delivered_total" "{log_record}" []
        "Log records that the collector has acknowledged";
    LOG_RECORDS_REJECTED: Counter "farspan.log_records.rejected" "farspan_log_records_rejected_total" "{log_record}" []
        "Log records that the collector refused for good";
    EXPORTS: Counter "farspan.exports" "farspan_exports_total" "{export}" ["result"]
        "Export requests with spans, by result";
    FINISHED_EVENTS: Counter "farspan.finished_events" "farspan_finished_events_total" "{event}" ["result"]
        "Finished events that their receivers accepted or refused for good";
    FINISHED_EVENTS_WAITING: UpDown "farspan.finished_events.waiting" "farspan_finished_events_waiting" "{event}" []
        "Finished events that no receiver has accepted";
    STORE_COMMITS: Counter "farspan.store.commits" "farspan_store_commits_total" "{commit}" ["result"]
        "Commits of the store: `stored` or `failed`";
    STORE_COMMIT_DURATION: Histogram "farspan.store.commit.duration" "farspan_store_commit_duration_seconds" "s" []
        "How long a commit took, failed ones too";
    STORE_CHANGES: Counter "farspan.store.changes" "farspan_store_changes_total" "{change}" []
        "Changes in these commits";
    STORE_WRITTEN: Counter "farspan.store.written" "farspan_store_written_bytes_total" "By" []
        "The bytes of these changes, without what the store adds to them";
    STORE_BYTES: UpDown "farspan.store.size" "farspan_store_bytes" "By" []
        "What the store holds: records, spans and finished events that wait, finished runs, and the keys of all these";
    STORE_MAX_BYTES: Gauge "farspan.store.max" "farspan_store_max_bytes" "By" []
        "With so many bytes in the store new workflows wait (FARSPAN_STATE_MAX_BYTES)";
    STORE_FULL: Gauge "farspan.store.full" "farspan_store_full" "1" []
        "Whether new workflows wait because the store holds so much: 1 or 0";
    STORE_TROUBLED: Gauge "farspan.store.troubled" "farspan_store_troubled" "1" []
        "Whether the store cannot be written, so that nothing is polled or exported: 1 or 0";
    LEASE_HELD: Gauge "farspan.lease.held" "farspan_lease_held" "1" []
        "In a fleet: whether the lease is certainly held, so that exports may leave: 1 or 0";
    LEASE_LAPSES: Counter "farspan.lease.lapses" "farspan_lease_lapses_total" "{lapse}" []
        "In a fleet: how often our own lease expired";
    TAKEOVERS: Counter "farspan.takeovers" "farspan_takeovers_total" "{takeover}" []
        "In a fleet: commits that brought runs of expired owners";
    RUNS_TAKEN_OVER: Counter "farspan.runs.taken_over" "farspan_runs_taken_over_total" "{run}" []
        "In a fleet: runs under watch that came from expired owners";
    BUILD_INFO: Gauge "farspan.build.info" "farspan_build_info" "1" ["version"]
        "Always 1; the version of farspan is a label";
    PROCESS_CPU: Counter "process.cpu.time" "process_cpu_seconds_total" "s" []
        "CPU time of the process, user and system";
    PROCESS_RESIDENT: UpDown "process.memory.usage" "process_resident_memory_bytes" "By" []
        "Resident memory of the process";
    PROCESS_VIRTUAL: UpDown "process.memory.virtual" "process_virtual_memory_bytes" "By" []
        "Virtual memory of the process";
    PROCESS_OPEN_FDS: UpDown "process.unix.file_descriptor.count" "process_open_fds" "{file_descriptor}" []
        "Open file descriptors";
    PROCESS_MAX_FDS: Gauge "process.unix.file_descriptor.limit" "process_max_fds" "{file_descriptor}" []
        "Open file descriptors that are possible";
    PROCESS_THREADS: UpDown "process.thread.count" "process_threads" "{thread}" []
        "Threads of the process";
    PROCESS_START: Gauge "process.start_time" "process_start_time_seconds" "s" []
        "When the process started, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_as_prometheus_and_opentelemetry_want_them() {
        let mut names = BTreeSet::new();
        for metric in METRICS {
            let Metric {
                otlp,
                prometheus,
                kind,
                ..
            } = metric;
            assert!(names.insert(*otlp) && names.insert(*prometheus), "{otlp}");
            let name = match kind {
                MetricKind::Counter => prometheus
                    .strip_suffix("_total")
                    .unwrap_or_else(|| panic!("{prometheus} is a counter")),
                _ => prometheus,
            };
            assert!(
                name.ends_with(metric.prometheus_unit()),
                "{prometheus} has its unit"
            );
            assert!(!metric.help.ends_with('.'), "{otlp}");
            // What the OpenTelemetry specification makes of the name.
            // <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>
            if otlp.starts_with("cicd.") {
                let unit = metric.prometheus_unit();
                let unit = if unit.is_empty() {
                    ""
                } else {
                    &format!("_{unit}")
                };
                assert_eq!(name, otlp.replace('.', "_") + unit);
            }
            // An id would be a new series for each run.
            assert!(
                !metric.labels.iter().any(|label| label.ends_with("id")),
                "{otlp}"
            );
        }
    }
}
