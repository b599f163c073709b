//! Which traces are sampled, and the limits of a span.
//!
//! Pure. The decision is that of every OpenTelemetry SDK, so that farspan and the services of one trace agree.

use super::ids::TraceId;
use super::limits;

/// A standard sampler. <https://opentelemetry.io/docs/specs/otel/trace/sdk/#built-in-samplers>
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// This share of all traces, 0 to 1, chosen by the trace id.
    TraceIdRatio(f64),
    /// The parent's sampled flag; without a parent this sampler decides.
    ParentBased(Box<Sampler>),
}

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
    }
}

impl Sampler {
    /// Whether this trace is sampled. `parent_sampled` is the flag in the start event, if there was one.
    pub fn sampled(&self, trace_id: TraceId, parent_sampled: Option<bool>) -> bool {
        match self {
            Sampler::AlwaysOn => true,
            Sampler::AlwaysOff => false,
            Sampler::TraceIdRatio(ratio) => ratio_sampled(*ratio, trace_id),
            Sampler::ParentBased(root) => {
                parent_sampled.unwrap_or_else(|| root.sampled(trace_id, None))
            }
        }
    }
}

/// The limits of a span. What is beyond a limit is dropped and counted.
/// <https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// Attributes of one span.
    pub attributes: usize,
    /// Events of one span.
    pub events: usize,
    /// Links of one span.
    pub links: usize,
    /// The longest text of an attribute, in characters. Never above
    /// [`ATTRIBUTE_BYTES_MAX`](limits::ATTRIBUTE_BYTES_MAX), which bounds the same text in bytes.
    pub attribute_value_chars: usize,
}

impl Default for SpanLimits {
    fn default() -> Self {
        SpanLimits {
            attributes: 128,
            events: 128,
            links: 128,
            attribute_value_chars: limits::ATTRIBUTE_BYTES_MAX,
        }
    }
}

/// As `opentelemetry_sdk` 0.33 has it (`trace/sampler.rs`), and Go and Java with it: the upper 63 bits of the
/// right-most 8 bytes, below the ratio's share of 2^63.
fn ratio_sampled(ratio: f64, trace_id: TraceId) -> bool {
    const TWO_TO_63: f64 = (1_u64 << 63) as f64;
    if ratio >= 1.0 {
        return true;
    }
    let bound = (ratio.max(0.0) * TWO_TO_63) as u64;
    let [.., a, b, c, d, e, f, g, h] = trace_id.to_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1) < bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::SpanKind;
    use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample};

    fn ids() -> impl Iterator<Item = TraceId> {
        // A multiplicative walk through the 128 bits; the edges first.
        let edges = [
            1,
            u128::from(u64::MAX),
            u128::MAX,
            1 << 64,
            1 << 63,
            (1 << 63) - 1,
        ];
        let walk =
            (1..2000_u128).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        (edges.into_iter().chain(walk)).filter_map(|id| TraceId::from_bytes(id.to_be_bytes()))
    }

    #[test]
    fn the_ratio_decides_as_the_sdk_does() {
        for ratio in [0.0, 1e-9, 0.1, 0.25, 0.5, 0.999, 1.0] {
            let sdk = SdkSampler::TraceIdRatioBased(ratio);
            for id in ids() {
                let sdk_id = opentelemetry::TraceId::from_bytes(id.to_bytes());
                let decision = sdk.should_sample(None, sdk_id, "", &SpanKind::Internal, &[], &[]);
                let sdk_sampled = decision.decision == SamplingDecision::RecordAndSample;
                assert_eq!(
                    Sampler::TraceIdRatio(ratio).sampled(id, None),
                    sdk_sampled,
                    "{id} {ratio}"
                );
            }
        }
    }

    #[test]
    fn a_parent_decides_only_where_it_is_asked() {
        let (on, off) = (Sampler::AlwaysOn, Sampler::AlwaysOff);
        let parent_or_off = Sampler::ParentBased(Box::new(off.clone()));
        let id = ids().next().unwrap();
        for (sampler, parent, sampled) in [
            (&on, Some(false), true),
            (&off, Some(true), false),
            (&Sampler::default(), None, true),
            (&Sampler::default(), Some(false), false),
            (&parent_or_off, None, false),
            (&parent_or_off, Some(true), true),
            (&Sampler::TraceIdRatio(0.0), Some(true), false),
            (&Sampler::TraceIdRatio(f64::NAN), None, false),
        ] {
            assert_eq!(
                sampler.sampled(id, parent),
                sampled,
                "{sampler:?} {parent:?}"
            );
        }
    }
}
