//! Identity: trace and span ids, and the W3C trace context they travel in.
//!
//! Ids are computed, not drawn: whoever sees the same run gives it the same ids, before and after a restart.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// A trace id. All-zero is invalid and cannot be expressed.
/// <https://www.w3.org/TR/trace-context/#trace-id>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(NonZeroU128);

/// A span id. All-zero is invalid and cannot be expressed.
/// <https://www.w3.org/TR/trace-context/#parent-id>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

/// Where in whose trace: what a `traceparent` and a `tracestate` carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever is done with this context.
    pub span_id: SpanId,
    /// The flags, bit 0 `sampled`, bit 1 `random`.
    pub trace_flags: u8,
    /// Vendors' own fields, passed on unchanged.
    pub trace_state: Option<Box<str>>,
}

impl TraceId {
    /// Big-endian bytes; `None` for all zeros.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        NonZeroU128::new(u128::from_be_bytes(bytes)).map(TraceId)
    }

    /// Big-endian bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl SpanId {
    /// Big-endian bytes; `None` for all zeros.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        NonZeroU64::new(u64::from_be_bytes(bytes)).map(SpanId)
    }

    /// Big-endian bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// 16 lower-case hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}
