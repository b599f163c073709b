//! A stored record: what is read is written back as a record that reads the same, and it is a workflow that can be
//! watched on: it holds its invariants, and giving it up finishes spans that hold theirs.
#![no_main]

use farspan::core::outcome::Abandoned;
use farspan::core::sampler::SpanLimits;
use farspan::core::span::Span;
use farspan::core::time::Wall;
use farspan::core::workflow::Naming;
use farspan::core::workflow::record::{decode, encode};
use farspan::deliver::otlp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut record) = decode(bytes) else {
        return;
    };
    let written = encode(&record.monitor, record.deadline, &record.workflow);
    let again = decode(&written).expect("what was written is read");
    assert_eq!(
        encode(&again.monitor, again.deadline, &again.workflow),
        written
    );
    record.workflow.check_invariants();
    let naming = Naming::new(&record.monitor, "Workflow", SpanLimits::default());
    let mut spans = Vec::new();
    let now = Wall::from_unix_ns(1_720_162_671_000_000_000);
    record
        .workflow
        .abandon(Abandoned::TimedOut, now, &naming, &mut spans);
    for (place, span) in spans.iter().enumerate() {
        assert!(span.start <= span.end, "{span:?}");
        otlp::encode(span);
        if let Some(parent) = span.parent.filter(|parent| !parent.remote) {
            let holds = |other: &Span| other.start <= span.start && span.end <= other.end;
            let is_parent = |other: &Span| other.span_id == parent.span_id && holds(other);
            assert!(spans[place + 1..].iter().any(is_parent), "{spans:?}");
        }
    }
});
