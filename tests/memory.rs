//! What the core holds in memory for workflows under watch, and what is left of a burst when it is over.
//!
//! What is counted is what the whole process has allocated and not given back, without the allocator's own share, so that
//! this is a binary of its own with one test.
#![allow(clippy::unwrap_used, missing_docs)]

use farspan::core::event::StartEvent;
use farspan::core::outbox::{Batch, BatchPolicy, ExportOutcome, Exported};
use farspan::core::outcome::Outcome;
use farspan::core::sampler::{Sampler, SpanLimits};
use farspan::core::snapshot::{Progress, Snapshot, StageSnapshot, State};
use farspan::core::time::{Mono, Now, Wall};
use farspan::core::workflow::Naming;
use farspan::core::{
    Action, Answer, Core, Encoders, Input, Monitor, Outgoing, Pace, Poll, Polled, Settings,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A power of two: the room of collections that double is used up. Not more of them: a debug build looks at all of them after
/// each input.
const WORKFLOWS: usize = 1024;
/// Of one workflow, with one of its three stages finished and one open.
const BYTES_MAX: usize = 832;
const INTERVAL: Duration = Duration::from_secs(10);

#[test]
fn a_workflow_takes_little_memory_and_a_burst_gives_back_what_it_took() {
    let plain = held_after_burst(Collector::Takes);
    let each = plain / WORKFLOWS;
    println!("a workflow: {each} bytes");
    assert!(each <= BYTES_MAX, "{each} bytes for each workflow");
    let after = held_after_burst(Collector::TakesLate);
    println!("after a burst: {after} bytes, without one {plain}");
    assert!(
        after <= plain + plain / 20,
        "{after} bytes after a burst, {plain} without one"
    );
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Collector {
    Takes,
    /// Nothing until a span of each workflow waits.
    TakesLate,
}

/// The bytes that are held when all workflows are under watch, have been answered and have a span delivered.
fn held_after_burst(collector: Collector) -> usize {
    let mut rig = Rig::new(collector);
    let before = held();
    for number in 0..WORKFLOWS {
        // As long as a GUID.
        let id = format!("{number:08x}-109f-4f99-af10-bc7670b4f997");
        rig.handle(Input::Started(StartEvent::new(0, &id)));
    }
    for _ in 0..2 {
        (0..WORKFLOWS).for_each(|_| rig.answer_next());
    }
    let waiting = rig.core.spans_waiting();
    if collector == Collector::TakesLate {
        assert_eq!(waiting, WORKFLOWS);
        rig.collector = Collector::Takes;
        rig.take_batch();
    }
    while rig.core.spans_waiting() > 0 {
        rig.answer_next();
    }
    assert_eq!(rig.core.counters().spans_delivered, WORKFLOWS as u64);
    assert_eq!(rig.core.watched(), WORKFLOWS);
    drop((rig.polls.split_off(0), rig.batch.take()));
    held() - before
}

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    let held = stats.bytes_allocated as isize - stats.bytes_deallocated as isize;
    usize::try_from(held).unwrap()
}

struct Rig {
    core: Core,
    now: Now,
    polls: Vec<Poll>,
    batch: Option<Batch>,
    collector: Collector,
}

impl Rig {
    fn new(collector: Collector) -> Self {
        let now = Now {
            mono: Mono::from_duration(Duration::from_secs(1)),
            wall: Wall::parse_rfc3339("2024-07-05T07:30:00Z").unwrap(),
        };
        let pace = Pace::new(Duration::ZERO, INTERVAL, Duration::from_secs(24 * 3600));
        let settings = Settings {
            monitors: vec![Monitor {
                naming: Naming::new("default", "Workflow", SpanLimits::default()),
                host: 0,
                pace,
                requests_per_second: None,
                send_traceparent: false,
            }],
            pollers: 16,
            workflows_max: WORKFLOWS,
            sampler: Sampler::default(),
            batch: BatchPolicy {
                schedule_delay: Duration::from_secs(1),
                spans_max: 512,
                queue_max: usize::MAX,
            },
            stores: false,
            state_bytes_max: u64::MAX,
            exports: true,
            exports_logs: false,
            buckets: std::sync::Arc::default(),
            seed: 1,
        };
        let encoders = Encoders {
            span: |span| span.name.as_bytes().into(),
            log_record: |_| unreachable!("none is exported"),
            finished_event: |_| unreachable!("there is no receiver"),
        };
        Rig {
            core: Core::new(settings, encoders, now),
            now,
            polls: Vec::new(),
            batch: None,
            collector,
        }
    }

    /// Answers the next poll.
    fn answer_next(&mut self) {
        let poll = loop {
            if let Some(poll) = self.polls.pop() {
                break poll;
            }
            let at = self.core.next_deadline().unwrap();
            let passed = at.since(self.now.mono);
            self.now = Now {
                mono: at,
                wall: self.now.wall + passed,
            };
            self.handle(Input::Tick);
        };
        self.handle(Input::Polled(Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent: self.now,
            received: self.now,
            date: None,
            requests: 1,
            not_modified: 0,
            pause: None,
            answer: Answer::Snapshot {
                snapshot: Box::new(half_way()),
                oddity: None,
            },
        }));
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.now);
        while let Some(action) = self.core.next_action() {
            match action {
                Action::Poll(group) => self.polls.extend(group.polls),
                Action::Send(Outgoing::Export(batch)) => {
                    self.batch = Some(batch);
                    self.take_batch();
                }
                _ => {}
            }
        }
    }

    /// The collector takes the batch under way.
    fn take_batch(&mut self) {
        if self.collector == Collector::TakesLate {
            return;
        }
        if let Some(batch) = self.batch.take() {
            self.core.handle(
                Input::Exported(Exported {
                    signal: batch.signal,
                    batch: batch.id,
                    outcome: ExportOutcome::Delivered {
                        rejected: 0,
                        message: "".into(),
                    },
                }),
                self.now,
            );
        }
    }
}

/// One stage has ended, one runs, one has not begun.
fn half_way() -> Snapshot {
    let time = |text: &str| Wall::parse_rfc3339(text).unwrap();
    let progress = |status: &str, state, end: Option<&str>| Progress {
        status: Some(status.into()),
        state,
        start: Some(time("2024-07-05T06:57:56Z")),
        end: end.map(time),
        ..Progress::default()
    };
    let stage = |path: &str, progress| StageSnapshot {
        path: path.into(),
        attempt: 1,
        kind: path.into(),
        id: Some("9f623b49-7c11-4a3c-8a53-1d1a1b0d7f2e".into()),
        progress,
        ..StageSnapshot::default()
    };
    let ended = State::Ended(Outcome::Success);
    let stages = [
        stage(
            "DataLoader",
            progress("Completed", ended, Some("2024-07-05T07:01:02Z")),
        ),
        stage("Processor", progress("Processing", State::Running, None)),
        StageSnapshot {
            path: "OutputGenerator".into(),
            attempt: 1,
            kind: "OutputGenerator".into(),
            ..StageSnapshot::default()
        },
    ];
    Snapshot {
        progress: progress("Processing", State::Running, None),
        stages: stages.into_iter().collect(),
        ..Snapshot::default()
    }
}
