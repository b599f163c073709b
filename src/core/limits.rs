//! Every bound in one place, with the relations that must hold between them. Whatever grows in farspan has a bound here.

use std::time::Duration;

/// The longest workflow id, in bytes.
pub const WORKFLOW_ID_BYTES_MAX: usize = 512;
/// The longest start event, in bytes.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// The longest entry of a stream, in bytes: an event, and what stands beside it.
pub const ENTRY_BYTES_MAX: usize = EVENT_BYTES_MAX + 64 * 1024;
/// What is built in memory of one start event, or of one run of a list, in bytes. A value that would take more is left out.
pub const BUILT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Attributes that one start event may add to its workflow's span.
pub const EVENT_ATTRIBUTES_MAX: usize = 64;
/// The longest attribute value and error message, in bytes: Tempo's `max_attribute_bytes`.
pub const ATTRIBUTE_BYTES_MAX: usize = 2048;
/// The longest name of a status or of a stage, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest W3C `tracestate` that is passed on, in bytes.
pub const TRACE_STATE_BYTES_MAX: usize = 4096;
/// The longest W3C `baggage` that is read, in bytes: the specification's minimum.
pub const BAGGAGE_BYTES_MAX: usize = 8192;
/// The most members of a W3C `baggage` that are read: the specification's minimum.
pub const BAGGAGE_MEMBERS_MAX: usize = 64;

/// Polls that a poller gets together.
pub const GROUP_POLLS_MAX: usize = 32;
/// How long a poller takes for polls that it gets together, by the latency of their host: a later one waits so long for
/// the earlier ones.
pub const GROUP_TIME: Duration = Duration::from_millis(10);
/// After so long the polls that a poller has not begun are taken back, and the answers that it has kept.
pub const GROUP_PATIENCE: Duration = Duration::from_millis(20);
/// Polls are due at times that lie so far apart at most, so that several are due together.
pub const GRID_MAX: Duration = Duration::from_millis(200);
/// How much earlier or later than asked for a poll is due at most, so that others are due together with it.
pub const GRID_SHIFT_MAX: Duration = Duration::from_millis(100);
/// The times of the grid lie closer together where more polls than so many would be due together.
pub const GRID_POLLS: u64 = 32;

/// The longest status body, in bytes.
pub const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Stages of one workflow.
pub const STAGES_MAX: usize = 10_000;
/// Attempts at one stage.
pub const STAGE_ATTEMPTS_MAX: usize = 256;
/// How deeply stages may be nested. A stage that is deeper becomes a child of the workflow.
pub const STAGE_DEPTH_MAX: usize = 64;
/// Attributes that the API's answers may add to one span.
pub const ANSWERED_ATTRIBUTES_MAX: usize = 64;
/// Attributes and URLs from the API's answers that one workflow and its open stages keep, in bytes.
pub const ANSWERED_ATTRIBUTE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Workflows watched at once: the setting's default and its largest value.
pub const WORKFLOWS_MAX: usize = 100_000;
/// Workflows in the table. At the stop events that were heard are taken in beyond the setting, and at the start so are
/// stored workflows, because they are nowhere else.
pub const WORKFLOWS_HELD_MAX: usize = WORKFLOWS_MAX + INTAKE_QUEUE;
/// Lately finished runs that are remembered, so that a late duplicate of their event is not traced again.
pub const FINISHED_MAX: usize = 16_384;
/// How long finished runs are remembered: a run that goes on after its end, such as a pipeline with a manual job, mostly
/// does so within days.
pub const FINISHED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The least value of the setting for the bytes that the store may hold before new workflows wait.
pub const STATE_BYTES_LEAST: u64 = 1024 * 1024;
/// The default of that setting.
#[cfg(any(test, feature = "internals"))]
pub const STATE_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// The bytes that an item of the store takes beside its record or its encoded bytes, at most: its keys, or a finished run
/// and its time.
pub const STORED_KEYS_BYTES: u64 = 24;
/// The bytes that a span's or a finished event's monitor takes in the store, beside its name.
pub const STORED_SEQUENCE_BYTES: usize = 8;
/// The longest record of a workflow, in bytes: no less than the other bounds make possible.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The bytes of fields that a later farspan added to a workflow's record, or to a stage or a state in it. Fields beyond it
/// are left out.
pub const UNKNOWN_FIELDS_BYTES_MAX: usize = 256;
/// Status events of one workflow and its stages that wait for their spans. Later ones are counted, not kept.
pub const OBSERVED_EVENTS_MAX: usize = 32_768;
/// Names of stages and statuses that are known, so that all workflows have each in memory once. None is longer than
/// [`NAME_BYTES_MAX`].
pub const SHARED_TEXTS_MAX: usize = 512;
/// Threads that poll.
pub const POLLERS_MAX: usize = 1024;

/// For how long an API may answer "not found" before the watch ends: it may know a new workflow late.
pub const NOT_FOUND_TOLERATED: Duration = Duration::from_secs(60);
/// Further polls after a workflow's end that wait for its stages, and after a stage's end that wait for its end time.
pub const SETTLE_POLLS: u8 = 2;
/// Polls of a workflow that has ended that may fail in a row because of a further request. Then it ends without what that
/// request brings.
pub const PARTIAL_ANSWERS_REFUSED: u32 = 2;
/// The longest pause between two polls of a workflow whose API is in trouble, unless the interval is longer.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest pause that a host, a collector or a receiver may ask for. A monitor may allow its host another one.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Encoded spans that wait for the collector, in bytes. Beyond this, polls wait, so that no span has to be dropped.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The encoded spans of one export request, in bytes; a single larger span goes alone.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest pause between two attempts at one batch, unless the collector asks for more.
pub const EXPORT_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Finished events that wait for their receivers, in bytes. Beyond this, polls wait, so that no event has to be dropped.
pub const NOTIFICATIONS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Finished events that go to a receiver in one batch.
pub const NOTIFICATIONS_AT_ONCE: usize = 64;
/// How long a change waits for others to share its commit.
pub const COMMIT_DELAY: Duration = Duration::from_millis(200);
/// How long a commit may take before polls wait for it.
pub const COMMIT_PATIENCE: Duration = Duration::from_secs(2);
/// After a commit has failed, the next one begins so much later.
pub const COMMIT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The largest export request, in bytes before compression (OTLP specification).
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest answer of a collector, in bytes (OTLP specification).
pub const RESPONSE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Start events between the intake and the loop.
pub const INTAKE_QUEUE: usize = 1024;

/// Ended runs, and finished spans of live runs, that are kept for viewers, in bytes.
pub const VIEW_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Runs in one answer to a viewer.
pub const VIEW_RUNS_MAX: usize = 1000;
/// What one answer to a viewer copies of runs, in bytes; one run more fits in.
pub const VIEW_COPY_BYTES_MAX: usize = 1024 * 1024;
/// Stages of a run in one answer to a viewer, without those whose span is finished.
pub const VIEW_STAGES_MAX: usize = 2000;
/// Stages that are counted for one answer to a viewer; those of one run more fit in.
pub const VIEW_STAGES_COUNTED_MAX: usize = 100_000;
/// Changed runs that one question of a viewer may have missed. With more it begins again.
pub const VIEW_CHANGES_MAX: usize = 20_000;
/// Runs that are not shown any more and are remembered, so that viewers hear of it.
pub const VIEW_GONE_MAX: usize = 8192;
/// Ended runs that wait for one follower, in bytes; one run more fits in.
pub const FOLLOWED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The same, as a number.
pub const FOLLOWED_RUNS_MAX: usize = 4096;

/// Series of one metric whose labels come from outside: names of workflows, stages and errors. Further names count as
/// `other`, for each monitor.
pub const METRIC_SERIES_MAX: usize = 1000;
/// The buckets of one histogram, without the one that has no bound.
pub const METRIC_BUCKETS_MAX: usize = 64;

/// Lines of the log that wait for standard error, in bytes.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;

/// `text` cut to at most `bytes_max` bytes, at the boundary of a character.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

const _: () = assert!(WORKFLOW_ID_BYTES_MAX < EVENT_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= ATTRIBUTE_BYTES_MAX);
const _: () = assert!(STAGE_ATTEMPTS_MAX < STAGES_MAX && STAGE_DEPTH_MAX < STAGES_MAX);
const _: () = assert!(ANSWERED_ATTRIBUTES_MAX * ATTRIBUTE_BYTES_MAX < ANSWERED_ATTRIBUTE_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < OUTBOX_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(FINISHED_MAX <= WORKFLOWS_MAX);
const _: () = assert!(INTAKE_QUEUE <= WORKFLOWS_MAX);
// Finished runs are forgotten by their age, when something else happens: alone they must never fill the state.
const _: () = assert!(FINISHED_MAX as u64 * STORED_KEYS_BYTES < STATE_BYTES_LEAST / 2);
// The longest record: every stage open, each text of its largest length, and the most status events.
const STAGE_BYTES_MAX: usize = 3 * NAME_BYTES_MAX
    + WORKFLOW_ID_BYTES_MAX
    + ATTRIBUTE_BYTES_MAX
    + 2 * UNKNOWN_FIELDS_BYTES_MAX
    + 200;
const _: () = assert!(
    STAGES_MAX * STAGE_BYTES_MAX
        + OBSERVED_EVENTS_MAX * (NAME_BYTES_MAX + 12)
        + ANSWERED_ATTRIBUTE_BYTES_MAX
        + EVENT_ATTRIBUTES_MAX * (ATTRIBUTE_BYTES_MAX + NAME_BYTES_MAX)
        + WORKFLOW_ID_BYTES_MAX
        + 2 * TRACE_STATE_BYTES_MAX
        < RECORD_BYTES_MAX
);
const _: () = assert!(BACKOFF_MAX.as_secs() <= RETRY_AFTER_MAX.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!((cut("aä", 2), cut("aä", 3), cut("", 3)), ("a", "aä", ""));
    }
}
