//! A carrier, a key and its value in each line: what comes out is never zero, and said as W3C it reads the same.
#![no_main]

use farspan::core::event::Sampling;
use farspan::core::ids::TraceContext;
use farspan::core::limits;
use farspan::intake::carrier::{Carrier, Formats};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let pairs = || text.lines().filter_map(|line| line.split_once(": "));
    let carrier = Carrier::of(pairs());
    let (inherited, mistake) = carrier.read(Formats::ALL);
    let shouted: Vec<_> = pairs()
        .map(|(key, value)| (key.to_uppercase().replace('-', "_"), value))
        .collect();
    // Upper case may be another number of letters beyond ASCII; a key of ours is ASCII.
    if text.is_ascii() {
        let shouted = Carrier::of(shouted.iter().map(|(key, value)| (key.as_str(), *value)));
        assert_eq!(shouted.read(Formats::ALL), (inherited.clone(), mistake));
    }
    assert_eq!(carrier.read(Formats::NONE), (None, None));
    drop(Carrier::of_text(text).map(|carrier| carrier.read(Formats::ALL)));
    for (_, value) in carrier
        .baggage(&["tenant".into(), "a".into()])
        .into_iter()
        .flatten()
    {
        assert!(value.len() <= limits::ATTRIBUTE_BYTES_MAX);
    }
    let Some(inherited) = inherited else { return };
    for (_, original) in &inherited.originals {
        assert!((1..=limits::ATTRIBUTE_BYTES_MAX).contains(&original.len()));
    }
    let Some(parent) = inherited.parent else {
        assert_ne!(inherited.sampling, Sampling::AsParent);
        return;
    };
    assert_ne!(parent.trace_id.to_bytes(), [0; 16]);
    assert_ne!(parent.span_id.to_bytes(), [0; 8]);
    let written = format!(
        "00-{}-{}-{:02x}",
        parent.trace_id, parent.span_id, parent.trace_flags
    );
    let again = TraceContext::from_w3c(&written, parent.trace_state.as_deref());
    assert_eq!(again, Some(parent));
});
