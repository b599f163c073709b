//! One set of numbers in both texts and in OTLP.

use super::*;
use crate::core::PollFailureReason;
use crate::core::ids::{SpanId, TraceId};
use crate::core::metrics::{CommitCounts, Counters, EndedRun, EventFate};
use crate::core::outcome::Ended;
use crate::core::snapshot::State;
use crate::metrics::table::{METRICS, MetricKind};
use crate::metrics::text::TextFormat;
use crate::metrics::{FleetNumbers, OutboxNumbers, StoreNumbers, otlp};
use crate::os::process::ProcessNumbers;
use expect_test::expect;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{exemplar, metric, number_data_point};
use prost::Message;
use std::collections::BTreeSet;

const START_NS: i64 = 1_720_000_000_000_000_000;

fn wall(seconds: i64) -> Wall {
    Wall::from_unix_ns(START_NS + seconds * 1_000_000_000)
}

fn ended(stage: Option<&str>, outcome: Option<Outcome>, waited: Option<u64>, ran: u64) -> Ended {
    let failed = outcome.is_some_and(Outcome::is_failure);
    Ended {
        stage: stage.map(Into::into),
        outcome,
        error_type: if failed { "Broken" } else { "" }.into(),
        is_error: failed && stage.is_some(),
        waited: waited.map(Duration::from_secs),
        ran: Some(Duration::from_secs(ran)),
        span_id: SpanId::from_bytes([7; 8]),
    }
}

fn counters() -> Counters {
    let bounds = [60, 600].map(Duration::from_secs);
    let mut counters = Counters::new(2, Arc::new(bounds));
    let hostile = "evil \"name\"\\ with\na line";
    for (monitor, name) in [(0, "Nightly"), (1, hostile)] {
        let of = EndedRun {
            monitor,
            workflow: name.into(),
            trace_id: TraceId::from_bytes([0xAB; 16]).unwrap(),
        };
        counters.live.enter(monitor, name, State::Running);
        let (good, bad) = (Some(Outcome::Success), Some(Outcome::Failure));
        counters.count_ended(ended(Some("Load"), good, Some(2), 59), &of, wall(100));
        counters.count_ended(ended(Some("Load"), bad, None, 601), &of, wall(101));
        counters.count_ended(ended(Some("Open"), None, None, 60), &of, wall(101));
        counters.count_ended(ended(None, bad, Some(5), 700), &of, wall(102));
        let unsampled = Ended {
            span_id: None,
            ..ended(None, good, None, 5)
        };
        counters.count_ended(unsampled, &of, wall(103));
    }
    let polled = &mut counters.monitors[0];
    polled.polls = 20;
    polled.not_found = 1;
    polled.failed[PollFailureReason::Timeout.index()] = 2;
    (polled.requests, polled.not_modified) = (25, 9);
    for ms in [3, 100, 5001] {
        polled.latency.record(Duration::from_millis(ms));
    }
    polled.lateness.record(Duration::from_micros(1));
    counters.events.count(Origin::Stream, EventFate::Accepted);
    (counters.spans_finished, counters.spans_delivered) = (8, 6);
    (counters.exports[0], counters.state_bytes) = (2, 4096);
    (counters.log_records_made, counters.log_records_delivered) = (5, 3);
    counters.log_records_rejected = 1;
    counters
}

fn numbers() -> Numbers {
    let mut commits = CommitCounts::default();
    (
        commits.stored,
        commits.failed,
        commits.changes,
        commits.bytes,
    ) = (5, 1, 30, 6000);
    commits.duration.record(Duration::from_millis(4));
    Numbers {
        since: wall(0),
        counters: counters(),
        monitors: ["nightly".into(), "other".into()].into(),
        workflows_max: 1000,
        polls_in_flight: 1,
        polls_waiting: 2,
        polls_held: false,
        refused: vec![1],
        outbox: OutboxNumbers {
            spans: 2,
            bytes: 700,
            log_records: 1,
            oldest: Duration::from_millis(1500),
        },
        finished_events_waiting: 3,
        store: Some(StoreNumbers {
            commits,
            bytes_max: 1 << 30,
            is_full: false,
            is_troubled: true,
        }),
        fleet: Some(FleetNumbers {
            is_held: true,
            lapses: 1,
        }),
        sources: vec![("channel event.workflow.started".into(), true)],
        malformed: [0, 0, 4, 0, 0, 0, 0],
        process: ProcessNumbers {
            cpu: Some(Duration::from_millis(1230)),
            resident_bytes: Some(9 << 20),
            virtual_bytes: Some(90 << 20),
            open_fds: Some(20),
            max_fds: Some(1024),
            threads: Some(25),
        },
    }
}

#[test]
fn open_metrics() {
    let text = TextFormat::OpenMetrics.render(&families(&numbers()));
    // Without what is many lines of one kind.
    let is_shown = |line: &&str| {
        let is_other = line.contains("evil") || line.contains("monitor=\"other\"");
        let is_zero = line.starts_with("farspan_start_events") && line.ends_with(" 0");
        let is_long = line.contains("_late") && line.contains("_bucket");
        let mut bounds = ["0.005", "0.1", "5.0", "10.0", "+Inf"].iter();
        let is_bound = bounds.any(|bound| line.contains(&format!("le=\"{bound}\"")));
        !is_zero
            && (!is_other || line.starts_with("cicd_pipeline_run_errors"))
            && (!is_long || is_bound)
            && !line.contains(crate::VERSION)
    };
    let lines: Vec<&str> = text.lines().filter(is_shown).collect();
    let expected = expect![[r##"
        # HELP cicd_pipeline_run_duration_seconds How long runs took in each state: `pending` before the start, as far as the API reports it, `executing` from start to end.
        # TYPE cicd_pipeline_run_duration_seconds histogram
        # UNIT cicd_pipeline_run_duration_seconds seconds
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="success",le="60.0"} 1
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="success",le="600.0"} 1
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="success",le="+Inf"} 1
        cicd_pipeline_run_duration_seconds_sum{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="success"} 5
        cicd_pipeline_run_duration_seconds_count{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="success"} 1
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="failure",error_type="Broken",le="60.0"} 0
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="failure",error_type="Broken",le="600.0"} 0
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="failure",error_type="Broken",le="+Inf"} 1 # {trace_id="abababababababababababababababab",span_id="0707070707070707"} 700 1720000102.000
        cicd_pipeline_run_duration_seconds_sum{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="failure",error_type="Broken"} 700
        cicd_pipeline_run_duration_seconds_count{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing",cicd_pipeline_result="failure",error_type="Broken"} 1
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="pending",le="60.0"} 1 # {trace_id="abababababababababababababababab",span_id="0707070707070707"} 5 1720000102.000
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="pending",le="600.0"} 1
        cicd_pipeline_run_duration_seconds_bucket{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="pending",le="+Inf"} 1
        cicd_pipeline_run_duration_seconds_sum{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="pending"} 5
        cicd_pipeline_run_duration_seconds_count{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="pending"} 1
        # HELP cicd_pipeline_run_active Runs under watch now, by state: `pending`, `executing`, or `finalizing` while their last stages and times settle.
        # TYPE cicd_pipeline_run_active gauge
        cicd_pipeline_run_active{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="pending"} 0
        cicd_pipeline_run_active{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="executing"} 1
        cicd_pipeline_run_active{monitor="nightly",cicd_pipeline_name="Nightly",cicd_pipeline_run_state="finalizing"} 0
        # HELP cicd_pipeline_run_errors Stages that failed, and runs that failed although none of their stages did.
        # TYPE cicd_pipeline_run_errors counter
        cicd_pipeline_run_errors_total{monitor="nightly",cicd_pipeline_name="Nightly",error_type="Broken"} 1
        cicd_pipeline_run_errors_total{monitor="other",cicd_pipeline_name="evil \"name\"\\ with\na line",error_type="Broken"} 1
        # HELP cicd_system_errors Polls that failed, by reason; the component is `api`.
        # TYPE cicd_system_errors counter
        cicd_system_errors_total{monitor="nightly",cicd_system_component="api",error_type="timeout"} 2
        # HELP farspan_stage_duration_seconds How long stages took from start to end; `unknown`: the run ended, and no answer said how the stage did.
        # TYPE farspan_stage_duration_seconds histogram
        # UNIT farspan_stage_duration_seconds seconds
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="success",le="60.0"} 1 # {trace_id="abababababababababababababababab",span_id="0707070707070707"} 59 1720000100.000
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="success",le="600.0"} 1
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="success",le="+Inf"} 1
        farspan_stage_duration_seconds_sum{monitor="nightly",workflow="Nightly",stage="Load",result="success"} 59
        farspan_stage_duration_seconds_count{monitor="nightly",workflow="Nightly",stage="Load",result="success"} 1
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="failure",le="60.0"} 0
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="failure",le="600.0"} 0
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="failure",le="+Inf"} 1 # {trace_id="abababababababababababababababab",span_id="0707070707070707"} 601 1720000101.000
        farspan_stage_duration_seconds_sum{monitor="nightly",workflow="Nightly",stage="Load",result="failure"} 601
        farspan_stage_duration_seconds_count{monitor="nightly",workflow="Nightly",stage="Load",result="failure"} 1
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Open",result="unknown",le="60.0"} 1 # {trace_id="abababababababababababababababab",span_id="0707070707070707"} 60 1720000101.000
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Open",result="unknown",le="600.0"} 1
        farspan_stage_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Open",result="unknown",le="+Inf"} 1
        farspan_stage_duration_seconds_sum{monitor="nightly",workflow="Nightly",stage="Open",result="unknown"} 60
        farspan_stage_duration_seconds_count{monitor="nightly",workflow="Nightly",stage="Open",result="unknown"} 1
        # HELP farspan_stage_queue_duration_seconds How long stages waited from the time that the API reports as queued to their start.
        # TYPE farspan_stage_queue_duration_seconds histogram
        # UNIT farspan_stage_queue_duration_seconds seconds
        farspan_stage_queue_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="success",le="60.0"} 1 # {trace_id="abababababababababababababababab",span_id="0707070707070707"} 2 1720000100.000
        farspan_stage_queue_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="success",le="600.0"} 1
        farspan_stage_queue_duration_seconds_bucket{monitor="nightly",workflow="Nightly",stage="Load",result="success",le="+Inf"} 1
        farspan_stage_queue_duration_seconds_sum{monitor="nightly",workflow="Nightly",stage="Load",result="success"} 2
        farspan_stage_queue_duration_seconds_count{monitor="nightly",workflow="Nightly",stage="Load",result="success"} 1
        # HELP farspan_workflows Workflows under watch now, by state: waiting, running, or ended while their last stages and times settle.
        # TYPE farspan_workflows gauge
        farspan_workflows{monitor="nightly",state="waiting"} 0
        farspan_workflows{monitor="nightly",state="running"} 1
        farspan_workflows{monitor="nightly",state="ended"} 0
        # HELP farspan_workflows_max Workflows that may be under watch at one time.
        # TYPE farspan_workflows_max gauge
        farspan_workflows_max 1000
        # HELP farspan_workflows_ended Watches that have ended, however the workflow ended.
        # TYPE farspan_workflows_ended counter
        farspan_workflows_ended_total 0
        # HELP farspan_start_events Start events by the kind of their source and what became of them.
        # TYPE farspan_start_events counter
        farspan_start_events_total{source="stream",outcome="accepted"} 1
        farspan_start_events_total{source="http",outcome="malformed"} 4
        # HELP farspan_runs_refused Runs that the store refused, because another instance owns them or they have finished.
        # TYPE farspan_runs_refused counter
        farspan_runs_refused_total 0
        # HELP farspan_source_connected Whether a channel or a stream of Redis hears start events: 1 or 0.
        # TYPE farspan_source_connected gauge
        farspan_source_connected{source="channel event.workflow.started"} 1
        # HELP farspan_polls Polls by result: `ok`, `not_found`, or the reason of the failure.
        # TYPE farspan_polls counter
        farspan_polls_total{monitor="nightly",result="ok"} 17
        farspan_polls_total{monitor="nightly",result="not_found"} 1
        farspan_polls_total{monitor="nightly",result="timeout"} 2
        # HELP farspan_poll_latency_seconds How long a poll took, with all its requests.
        # TYPE farspan_poll_latency_seconds histogram
        # UNIT farspan_poll_latency_seconds seconds
        farspan_poll_latency_seconds_bucket{monitor="nightly",le="0.005"} 1
        farspan_poll_latency_seconds_bucket{monitor="nightly",le="0.1"} 2
        farspan_poll_latency_seconds_bucket{monitor="nightly",le="5.0"} 2
        farspan_poll_latency_seconds_bucket{monitor="nightly",le="10.0"} 3
        farspan_poll_latency_seconds_bucket{monitor="nightly",le="+Inf"} 3
        farspan_poll_latency_seconds_sum{monitor="nightly"} 5.104
        farspan_poll_latency_seconds_count{monitor="nightly"} 3
        # HELP farspan_poll_lateness_seconds How long after it was due a poll was sent.
        # TYPE farspan_poll_lateness_seconds histogram
        # UNIT farspan_poll_lateness_seconds seconds
        farspan_poll_lateness_seconds_bucket{monitor="nightly",le="0.005"} 1
        farspan_poll_lateness_seconds_bucket{monitor="nightly",le="0.1"} 1
        farspan_poll_lateness_seconds_bucket{monitor="nightly",le="5.0"} 1
        farspan_poll_lateness_seconds_bucket{monitor="nightly",le="10.0"} 1
        farspan_poll_lateness_seconds_bucket{monitor="nightly",le="+Inf"} 1
        farspan_poll_lateness_seconds_sum{monitor="nightly"} 0.000001
        farspan_poll_lateness_seconds_count{monitor="nightly"} 1
        # HELP farspan_requests HTTP requests that polls took, with redirects and further pages.
        # TYPE farspan_requests counter
        farspan_requests_total{monitor="nightly"} 25
        # HELP farspan_requests_not_modified Of these requests: those answered with 304 Not Modified, so that the API sent no body.
        # TYPE farspan_requests_not_modified counter
        farspan_requests_not_modified_total{monitor="nightly"} 9
        # HELP farspan_polls_in_flight Polls that are with the pollers now.
        # TYPE farspan_polls_in_flight gauge
        farspan_polls_in_flight 1
        # HELP farspan_polls_waiting Polls that are due and wait for their host or for a poller.
        # TYPE farspan_polls_waiting gauge
        farspan_polls_waiting 2
        # HELP farspan_polls_held Whether all polls wait, because too much waits to be delivered: 1 or 0.
        # TYPE farspan_polls_held gauge
        farspan_polls_held 0
        # HELP farspan_answers_stale Answers that came when the watch had ended.
        # TYPE farspan_answers_stale counter
        farspan_answers_stale_total 0
        # HELP farspan_api_refuses_credentials Whether the API refused the credentials with its last answer: 1 or 0.
        # TYPE farspan_api_refuses_credentials gauge
        farspan_api_refuses_credentials{monitor="nightly"} 0
        # HELP farspan_outbox_spans Spans that the collector has not acknowledged.
        # TYPE farspan_outbox_spans gauge
        farspan_outbox_spans 2
        # HELP farspan_outbox_bytes The bytes of these spans.
        # TYPE farspan_outbox_bytes gauge
        # UNIT farspan_outbox_bytes bytes
        farspan_outbox_bytes 700
        # HELP farspan_outbox_oldest_seconds For how long the first of these spans has waited; 0: none waits.
        # TYPE farspan_outbox_oldest_seconds gauge
        # UNIT farspan_outbox_oldest_seconds seconds
        farspan_outbox_oldest_seconds 1.5
        # HELP farspan_outbox_log_records Log records of status events that the collector has not acknowledged.
        # TYPE farspan_outbox_log_records gauge
        farspan_outbox_log_records 1
        # HELP farspan_spans_finished Spans that were finished.
        # TYPE farspan_spans_finished counter
        farspan_spans_finished_total 8
        # HELP farspan_spans_delivered Spans that the collector has acknowledged.
        # TYPE farspan_spans_delivered counter
        farspan_spans_delivered_total 6
        # HELP farspan_spans_rejected Spans that the collector refused for good.
        # TYPE farspan_spans_rejected counter
        farspan_spans_rejected_total 0
        # HELP farspan_spans_sent_again Spans of exports that failed and are repeated, once for each repetition.
        # TYPE farspan_spans_sent_again counter
        farspan_spans_sent_again_total 0
        # HELP farspan_log_records_made Log records of status events that were made.
        # TYPE farspan_log_records_made counter
        farspan_log_records_made_total 5
        # HELP farspan_log_records_delivered Log records that the collector has acknowledged.
        # TYPE farspan_log_records_delivered counter
        farspan_log_records_delivered_total 3
        # HELP farspan_log_records_rejected Log records that the collector refused for good.
        # TYPE farspan_log_records_rejected counter
        farspan_log_records_rejected_total 1
        # HELP farspan_exports Export requests with spans, by result.
        # TYPE farspan_exports counter
        farspan_exports_total{result="delivered"} 2
        farspan_exports_total{result="partial"} 0
        farspan_exports_total{result="rejected"} 0
        farspan_exports_total{result="too_large"} 0
        farspan_exports_total{result="retry"} 0
        # HELP farspan_finished_events Finished events that their receivers accepted or refused for good.
        # TYPE farspan_finished_events counter
        farspan_finished_events_total{result="delivered"} 0
        farspan_finished_events_total{result="refused"} 0
        # HELP farspan_finished_events_waiting Finished events that no receiver has accepted.
        # TYPE farspan_finished_events_waiting gauge
        farspan_finished_events_waiting 3
        # HELP farspan_store_commits Commits of the store: `stored` or `failed`.
        # TYPE farspan_store_commits counter
        farspan_store_commits_total{result="stored"} 5
        farspan_store_commits_total{result="failed"} 1
        # HELP farspan_store_commit_duration_seconds How long a commit took, failed ones too.
        # TYPE farspan_store_commit_duration_seconds histogram
        # UNIT farspan_store_commit_duration_seconds seconds
        farspan_store_commit_duration_seconds_bucket{le="0.001"} 0
        farspan_store_commit_duration_seconds_bucket{le="0.002"} 0
        farspan_store_commit_duration_seconds_bucket{le="0.005"} 1
        farspan_store_commit_duration_seconds_bucket{le="0.01"} 1
        farspan_store_commit_duration_seconds_bucket{le="0.025"} 1
        farspan_store_commit_duration_seconds_bucket{le="0.05"} 1
        farspan_store_commit_duration_seconds_bucket{le="0.1"} 1
        farspan_store_commit_duration_seconds_bucket{le="0.25"} 1
        farspan_store_commit_duration_seconds_bucket{le="0.5"} 1
        farspan_store_commit_duration_seconds_bucket{le="1.0"} 1
        farspan_store_commit_duration_seconds_bucket{le="2.5"} 1
        farspan_store_commit_duration_seconds_bucket{le="5.0"} 1
        farspan_store_commit_duration_seconds_bucket{le="10.0"} 1
        farspan_store_commit_duration_seconds_bucket{le="30.0"} 1
        farspan_store_commit_duration_seconds_bucket{le="60.0"} 1
        farspan_store_commit_duration_seconds_bucket{le="120.0"} 1
        farspan_store_commit_duration_seconds_bucket{le="+Inf"} 1
        farspan_store_commit_duration_seconds_sum 0.004
        farspan_store_commit_duration_seconds_count 1
        # HELP farspan_store_changes Changes in these commits.
        # TYPE farspan_store_changes counter
        farspan_store_changes_total 30
        # HELP farspan_store_written_bytes The bytes of these changes, without what the store adds to them.
        # TYPE farspan_store_written_bytes counter
        # UNIT farspan_store_written_bytes bytes
        farspan_store_written_bytes_total 6000
        # HELP farspan_store_bytes What the store holds: records, spans and finished events that wait, finished runs, and the keys of all these.
        # TYPE farspan_store_bytes gauge
        # UNIT farspan_store_bytes bytes
        farspan_store_bytes 4096
        # HELP farspan_store_max_bytes With so many bytes in the store new workflows wait (FARSPAN_STATE_MAX_BYTES).
        # TYPE farspan_store_max_bytes gauge
        # UNIT farspan_store_max_bytes bytes
        farspan_store_max_bytes 1073741824
        # HELP farspan_store_full Whether new workflows wait because the store holds so much: 1 or 0.
        # TYPE farspan_store_full gauge
        farspan_store_full 0
        # HELP farspan_store_troubled Whether the store cannot be written, so that nothing is polled or exported: 1 or 0.
        # TYPE farspan_store_troubled gauge
        farspan_store_troubled 1
        # HELP farspan_lease_held In a fleet: whether the lease is certainly held, so that exports may leave: 1 or 0.
        # TYPE farspan_lease_held gauge
        farspan_lease_held 1
        # HELP farspan_lease_lapses In a fleet: how often our own lease expired.
        # TYPE farspan_lease_lapses counter
        farspan_lease_lapses_total 1
        # HELP farspan_takeovers In a fleet: commits that brought runs of expired owners.
        # TYPE farspan_takeovers counter
        farspan_takeovers_total 0
        # HELP farspan_runs_taken_over In a fleet: runs under watch that came from expired owners.
        # TYPE farspan_runs_taken_over counter
        farspan_runs_taken_over_total 0
        # HELP farspan_build_info Always 1; the version of farspan is a label.
        # TYPE farspan_build_info gauge
        # HELP process_cpu_seconds CPU time of the process, user and system.
        # TYPE process_cpu_seconds counter
        # UNIT process_cpu_seconds seconds
        process_cpu_seconds_total 1.23
        # HELP process_resident_memory_bytes Resident memory of the process.
        # TYPE process_resident_memory_bytes gauge
        # UNIT process_resident_memory_bytes bytes
        process_resident_memory_bytes 9437184
        # HELP process_virtual_memory_bytes Virtual memory of the process.
        # TYPE process_virtual_memory_bytes gauge
        # UNIT process_virtual_memory_bytes bytes
        process_virtual_memory_bytes 94371840
        # HELP process_open_fds Open file descriptors.
        # TYPE process_open_fds gauge
        process_open_fds 20
        # HELP process_max_fds Open file descriptors that are possible.
        # TYPE process_max_fds gauge
        process_max_fds 1024
        # HELP process_threads Threads of the process.
        # TYPE process_threads gauge
        process_threads 25
        # HELP process_start_time_seconds When the process started, in seconds since 1970.
        # TYPE process_start_time_seconds gauge
        # UNIT process_start_time_seconds seconds
        process_start_time_seconds 1720000000
        # EOF
    "##]];
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

/// What OpenMetrics has more goes: units, exemplars, the end. Names of counters and whole bounds are written otherwise.
#[test]
fn prometheus_text_differs_from_open_metrics_only_where_it_must() {
    let families = families(&numbers());
    let open_metrics = TextFormat::OpenMetrics.render(&families);
    let types = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let counters: BTreeSet<&str> = types.filter_map(|it| it.strip_suffix(" counter")).collect();
    let expected = open_metrics.lines().filter_map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "UNIT" | "EOF", ..] => None,
            ["#", kind, name, rest] if counters.contains(name) => {
                Some(format!("# {kind} {name}_total {rest}"))
            }
            ["#", ..] => Some(line.to_owned()),
            _ => {
                let sample = line.split(" # {").next()?;
                let is_bucket = sample.contains("le=\"");
                Some(if is_bucket {
                    sample.replace(".0\"} ", "\"} ")
                } else {
                    sample.to_owned()
                })
            }
        }
    });
    let text = TextFormat::Prometheus.render(&families);
    for (line, expected) in text.lines().zip(expected.clone()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text.lines().count(), expected.count());
    for line in [
        "# HELP farspan_spans_delivered_total Spans that the collector has acknowledged.",
        "# TYPE farspan_spans_delivered_total counter",
        "farspan_spans_delivered_total 6",
        "farspan_poll_latency_seconds_bucket{monitor=\"nightly\",le=\"5\"} 2",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}");
    }
}

#[test]
fn each_metric_of_the_table_has_its_labels_and_its_place() {
    let families = families(&numbers());
    let names: Vec<&str> = families.iter().map(|family| family.metric.otlp).collect();
    let table: Vec<&str> = METRICS.iter().map(|metric| metric.otlp).collect();
    assert_eq!(names, table);
    for family in &families {
        let metric = family.metric;
        let mut seen = BTreeSet::new();
        for point in &family.points {
            let labels: Vec<_> = point.labels.iter().collect();
            assert!(labels.iter().all(|(name, _)| metric.labels.contains(name)));
            assert!(seen.insert(format!("{labels:?}")), "{labels:?} twice");
            let is_histogram = matches!(point.value, PointValue::Histogram(_));
            assert_eq!(is_histogram, metric.kind == MetricKind::Histogram);
        }
    }
}

/// `UPDATE_EXPECT=1 cargo test --lib documents` writes the table.
#[test]
fn documents_have_each_metric() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    const BEGIN: &str = "<!-- table: metrics -->\n";
    const END: &str = "<!-- end -->";
    let mut table = String::from("| for Prometheus | in OTLP | labels | |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels = metric.labels.iter();
        let labels: Vec<String> = labels
            .map(|label| format!("`{}`", label.replace('.', "_")))
            .collect();
        table += &format!(
            "| `{}` | `{}` | {} | {} |\n",
            metric.prometheus,
            metric.otlp,
            labels.join(", "),
            metric.help
        );
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    expect_test::expect_file![PAGE].assert_eq(&format!("{before}{BEGIN}{table}{END}{after}"));
}

#[test]
fn otlp_has_the_same_numbers_and_exemplars() {
    let families = families(&numbers());
    let resource = [("service.name".to_owned(), "farspan".to_owned())];
    let bytes = otlp::request(&families, &resource, wall(200));
    let request = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
    let [resource_metrics] = &request.resource_metrics[..] else {
        panic!("{request:?}");
    };
    let attributes = &resource_metrics.resource.as_ref().unwrap().attributes;
    assert_eq!(attributes[0].key, "service.name");
    let scope = &resource_metrics.scope_metrics[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "farspan");
    let mut lines = String::new();
    for (family, sent) in families.iter().zip(&scope.metrics) {
        assert_eq!(family.metric.otlp, sent.name);
        let points = match sent.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                let is_counter = family.metric.kind == MetricKind::Counter;
                assert_eq!(
                    (sum.is_monotonic, sum.aggregation_temporality),
                    (is_counter, 2)
                );
                &sum.data_points
            }
            metric::Data::Gauge(gauge) => &gauge.data_points,
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    let exemplars = point.exemplars.iter().map(|it| {
                        let Some(exemplar::Value::AsDouble(value)) = it.value else {
                            panic!("{it:?}");
                        };
                        assert_eq!((it.trace_id.len(), it.span_id.len()), (16, 8));
                        (value, it.time_unix_nano / 1_000_000_000 - 1_720_000_000)
                    });
                    let exemplars: Vec<_> = exemplars.collect();
                    if !exemplars.is_empty() && !lines.contains("evil") {
                        lines += &format!(
                            "{} {} {:?} {:?} {exemplars:?}\n",
                            sent.name, sent.unit, point.sum, point.bucket_counts
                        );
                    }
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(points.len(), family.points.len());
        for (point, sent) in family.points.iter().zip(points) {
            let value = match sent.value {
                Some(number_data_point::Value::AsInt(number)) => number as f64,
                Some(number_data_point::Value::AsDouble(number)) => number,
                None => panic!("{sent:?}"),
            };
            let expected = match point.value {
                PointValue::Whole(number) => number as f64,
                PointValue::Number(number) => number,
                PointValue::Histogram(_) => panic!("{point:?}"),
            };
            assert_eq!(value, expected, "{}", family.metric.otlp);
            assert_eq!(sent.start_time_unix_nano, wall(0).as_unix_ns() as u64);
            assert_eq!(sent.time_unix_nano, wall(200).as_unix_ns() as u64);
        }
    }
    expect![[r#"
        cicd.pipeline.run.duration s Some(700.0) [0, 0, 1] [(700.0, 102)]
        cicd.pipeline.run.duration s Some(5.0) [1, 0, 0] [(5.0, 102)]
        cicd.pipeline.run.duration s Some(700.0) [0, 0, 1] [(700.0, 102)]
        cicd.pipeline.run.duration s Some(5.0) [1, 0, 0] [(5.0, 102)]
        farspan.stage.duration s Some(59.0) [1, 0, 0] [(59.0, 100)]
        farspan.stage.duration s Some(601.0) [0, 0, 1] [(601.0, 101)]
        farspan.stage.duration s Some(60.0) [1, 0, 0] [(60.0, 101)]
        farspan.stage.duration s Some(59.0) [1, 0, 0] [(59.0, 100)]
        farspan.stage.duration s Some(601.0) [0, 0, 1] [(601.0, 101)]
        farspan.stage.duration s Some(60.0) [1, 0, 0] [(60.0, 101)]
        farspan.stage.queue.duration s Some(2.0) [1, 0, 0] [(2.0, 100)]
        farspan.stage.queue.duration s Some(2.0) [1, 0, 0] [(2.0, 100)]
    "#]]
    .assert_eq(&lines);
}
