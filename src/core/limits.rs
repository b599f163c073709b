//! Every bound in one place, with what must hold between them.
//!
//! Nothing in farspan grows without one of these in the way.

use std::time::Duration;

/// The longest workflow id, in bytes.
pub const WORKFLOW_ID_BYTES_MAX: usize = 512;
/// The longest start event, in bytes.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Attributes that one start event may add to its workflow's span.
pub const EVENT_ATTRIBUTES_MAX: usize = 64;
/// The longest attribute value and error message, in bytes: Tempo's `max_attribute_bytes`.
pub const ATTRIBUTE_BYTES_MAX: usize = 2048;
/// The longest name of a status or of a stage, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest W3C `tracestate` that is passed on, in bytes.
pub const TRACE_STATE_BYTES_MAX: usize = 4096;
/// The longest W3C `baggage` that is read, in bytes, and the most members of it: what the specification says that
/// everybody has to take.
pub const BAGGAGE_BYTES_MAX: usize = 8192;
/// See [`BAGGAGE_BYTES_MAX`].
pub const BAGGAGE_MEMBERS_MAX: usize = 64;

/// The longest status body, in bytes.
pub const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Stages of one workflow.
pub const STAGES_MAX: usize = 10_000;

/// Workflows watched at once.
pub const WORKFLOWS_MAX: usize = 100_000;
/// Lately finished runs that are remembered, so that a late duplicate of their event is not traced again.
pub const FINISHED_MAX: usize = 16_384;
/// How long they are remembered.
pub const FINISHED_KEPT: Duration = Duration::from_secs(3600);
/// Threads that poll.
pub const POLLERS_MAX: usize = 1024;

/// How long "not found" is taken for a lag of the API.
pub const NOT_FOUND_TOLERATED: Duration = Duration::from_secs(60);
/// Polls after a workflow's end that wait for its stages, and after a stage's end that wait for its end time.
pub const SETTLE_POLLS: u8 = 2;
/// The longest pause between two polls of a workflow whose API is in trouble, unless the interval is longer.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Encoded spans that wait for the collector, in bytes. Beyond it polls wait, so that nothing has to be dropped.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The encoded spans of one export request, in bytes; a single larger span goes alone.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest pause between two attempts at one batch, unless the collector asks for more.
pub const EXPORT_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Rejected spans that are kept for inspection.
pub const SET_ASIDE_MAX: usize = 256;
/// The largest export request, in bytes before compression (OTLP specification).
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest answer of a collector, in bytes (OTLP specification).
pub const RESPONSE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Start events between the intake and the loop.
pub const INTAKE_QUEUE: usize = 1024;

const _: () = assert!(WORKFLOW_ID_BYTES_MAX < EVENT_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= ATTRIBUTE_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < OUTBOX_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(FINISHED_MAX <= WORKFLOWS_MAX);
const _: () = assert!(INTAKE_QUEUE <= WORKFLOWS_MAX);
const _: () = assert!(BACKOFF_MAX.as_secs() <= RETRY_AFTER_MAX.as_secs());
