//! What a large body costs: 5 MB, 50,000 tasks, read by a mapping that wants the first and the last of them and by one whose
//! stages they are, against skipping the body with serde_json's `IgnoredAny` and against building it as a `Value`.
//!
//! Of 50,000 stages the first 10,000 (`limits::STAGES_MAX`) are watched: the second mapping looks at the fields of each of
//! these, skips the others, and keeps 10,000 stages. So its memory is the snapshot's. The poller reads a body of this size
//! as a stream, and only up to 64 KiB from memory, where `IgnoredAny` skips texts in words of 8 bytes, and a reader of
//! the texts cannot.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

mod support;

use farspan::core::limits::STAGES_MAX;
use farspan::core::snapshot::{Outcome, State};
use farspan::mapping::Mapping;
use farspan::mapping::definition::{Definition, Fields, Meaning, StageList};
use farspan::syntax::pointer::Pointer;
use peak_alloc::PeakAlloc;
use serde::de::IgnoredAny;
use std::fmt::Write;
use std::io::BufReader;
use std::time::{Duration, Instant};
use support::row;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const TASKS: usize = 50_000;
/// The poller's, for a body that is parsed as it comes.
const BUFFER_BYTES: usize = 64 * 1024;
const ROUNDS: usize = 60;
const TARGET: &str = "<= 1.3 x IgnoredAny";
const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    let body = body();
    let body = body.as_bytes();
    let mut small = definition();
    small.stages.clear();
    // A handful out of all of them.
    let of_task = |index: &str, field: &str| vec![Pointer::of(&["tasks", index, field])];
    small.workflow.fields.queued = of_task("0", "start");
    small.workflow.fields.end = of_task("49999", "end");
    let narrow = Mapping::compile(small).expect("no mistakes");
    let wide = Mapping::compile(definition()).expect("no mistakes");
    let stages = read_slice(&wide, body);
    assert_eq!((read_slice(&narrow, body), stages), (0, STAGES_MAX));
    assert_eq!(
        (read_stream(&narrow, body), read_stream(&wide, body)),
        (0, STAGES_MAX)
    );

    let [ignored, narrow_slice, wide_slice, value] = times([
        &|| _ = serde_json::from_slice::<IgnoredAny>(body).expect("JSON"),
        &|| _ = read_slice(&narrow, body),
        &|| _ = read_slice(&wide, body),
        &|| drop(serde_json::from_slice::<serde_json::Value>(body).expect("JSON")),
    ]);
    let size = format!("{:.1} MB body, {TASKS} tasks", body.len() as f64 / 1e6);
    against(
        &format!("{size}, from memory: two of them wanted"),
        TARGET,
        narrow_slice,
        ignored,
        value,
    );
    against(
        &format!("… the first {STAGES_MAX} are its stages"),
        "",
        wide_slice,
        ignored,
        value,
    );
    let [ignored, narrow_stream, wide_stream, value] = times([
        &|| _ = serde_json::from_reader::<_, IgnoredAny>(reader(body)).expect("JSON"),
        &|| _ = read_stream(&narrow, body),
        &|| _ = read_stream(&wide, body),
        &|| drop(serde_json::from_reader::<_, serde_json::Value>(reader(body)).expect("JSON")),
    ]);
    against(
        "… as a stream: two of them wanted",
        TARGET,
        narrow_stream,
        ignored,
        value,
    );
    against(
        "… as a stream, the first 10000 are its stages",
        TARGET,
        wide_stream,
        ignored,
        value,
    );

    let (narrow_peak, _) = allocated(|| read_stream(&narrow, body));
    let (wide_peak, kept) = allocated(|| {
        let part = wide.read_stream(0, reader(body)).expect("the shape");
        wide.reading("w", part).expect("a reading")
    });
    let (value_peak, _) =
        allocated(|| serde_json::from_reader::<_, serde_json::Value>(reader(body)));
    row(
        "… memory beyond the read buffer: two of them wanted",
        "< 1 MiB",
        format!("{:.3} MiB", narrow_peak - BUFFER_BYTES as f64 / MIB),
    );
    row(
        &format!("… {STAGES_MAX} stages kept: at the peak, in the snapshot, a built Value"),
        "< 1 MiB at the peak",
        format!(
            "{:.2} MiB, {kept:.2} MiB, {value_peak:.1} MiB",
            wide_peak - BUFFER_BYTES as f64 / MIB
        ),
    );
}

/// A workflow with its tasks, each with what APIs say of them.
fn body() -> String {
    let mut body = String::from(
        r#"{"id":"w","state":"running","start_date":"2026-11-20T09:20:48.043123Z","tasks":["#,
    );
    for number in 0..TASKS {
        if number > 0 {
            body.push(',');
        }
        let task = format_args!(
            r#"{{"id":"task-{number:05}","state":"success","start":"2026-11-20T09:20:48.04Z","end":1795166450,"try":1,"pool":"a"}}"#
        );
        write!(body, "{task}").expect("a String takes everything");
    }
    body + "]}"
}

fn definition() -> Definition {
    let at = |key: &str| vec![Pointer::of(&[key])];
    let mut definition = Definition::original();
    definition.workflow.fields = Fields {
        id: at("id"),
        status: at("state"),
        start: at("start_date"),
        ..Fields::default()
    };
    definition.stages = vec![StageList {
        list: Pointer::of(&["tasks"]),
        key: at("id"),
        fields: Fields {
            status: at("state"),
            start: at("start"),
            end: at("end"),
            attempt: at("try"),
            ..Fields::default()
        },
        ..StageList::default()
    }];
    let running = ("running".into(), Meaning::State(State::Running));
    let success = Meaning::State(State::Ended(Outcome::Success));
    definition.statuses = vec![running, ("success".into(), success)];
    definition
}

fn reader(body: &[u8]) -> impl std::io::Read {
    BufReader::with_capacity(BUFFER_BYTES, body)
}

/// How many stages there were.
fn read_slice(mapping: &Mapping, body: &[u8]) -> usize {
    let part = mapping.read_slice(0, body).expect("the shape");
    mapping
        .reading("w", part)
        .expect("a reading")
        .snapshot
        .stages
        .len()
}

fn read_stream(mapping: &Mapping, body: &[u8]) -> usize {
    let part = mapping.read_stream(0, reader(body)).expect("the shape");
    mapping
        .reading("w", part)
        .expect("a reading")
        .snapshot
        .stages
        .len()
}

/// Of each the fastest of many rounds, taken in turns: whatever else the machine does only makes them slower.
fn times<const N: usize>(all: [&dyn Fn(); N]) -> [Duration; N] {
    let mut fastest = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (run, fastest) in all.iter().zip(&mut fastest) {
            let start = Instant::now();
            run();
            *fastest = start.elapsed().min(*fastest);
        }
    }
    fastest
}

fn against(what: &str, target: &str, time: Duration, ignored: Duration, value: Duration) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let times = ms(time) / ms(ignored);
    let share = ms(time) / ms(value);
    row(
        what,
        target,
        format!(
            "{times:.2} x: {:.1} ms, {:.1} ms; {share:.2} x a built Value",
            ms(time),
            ms(ignored)
        ),
    );
}

/// What `run` allocated at its peak, and what its value holds, in MiB.
fn allocated<T>(run: impl FnOnce() -> T) -> (f64, f64) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage() as f64;
    let value = run();
    let after = ALLOCATED.current_usage() as f64;
    let peak = ALLOCATED.peak_usage() as f64;
    drop(value);
    ((peak - before) / MIB, (after - before) / MIB)
}
