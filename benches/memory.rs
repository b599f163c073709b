//! What a workflow under watch costs: the core alone, with as many as there may be, in virtual time.
//!
//! Memory is what is resident, so it has the allocator's own share in it. A counting allocator would need `unsafe`.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

mod support;

use farspan::core::event::{Sampling, StartEvent};
use farspan::core::limits::WORKFLOWS_MAX;
use farspan::core::outbox::{BatchPolicy, ExportOutcome, Exported, Signal};
use farspan::core::sampler::{Sampler, SpanLimits};
use farspan::core::time::{Mono, Now, Wall};
use farspan::core::workflow::Naming;
use farspan::core::{
    Action, Answer, Core, Encoders, Input, Monitor, Outgoing, Pace, Poll, Polled, Settings,
};
use farspan::deliver::{notify, otlp};
use farspan::mapping::Mapping;
use std::time::{Duration, Instant};
use support::{body_of, memory_of, row};

const INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    let mut bench = Bench::new();
    let before = resident();
    let started = bench.start_all();
    // The first round makes the stages, the second finds nothing new.
    let first = bench.round();
    let second = bench.round();
    let bytes = (resident() - before) / WORKFLOWS_MAX as u64;
    assert_eq!(bench.core.watched(), WORKFLOWS_MAX);
    assert_eq!(bench.core.spans_waiting(), 0, "all acknowledged");
    let counters = bench.core.counters();
    assert_eq!(counters.polls(), 2 * WORKFLOWS_MAX as u64);
    assert_eq!(counters.spans_delivered, WORKFLOWS_MAX as u64);
    row(
        "memory of a workflow in flight, of 100,000",
        "< 1 KiB",
        format!("{bytes} bytes"),
    );
    let each = |time: Duration| time.as_nanos() / WORKFLOWS_MAX as u128;
    row(
        "core, 100,000 workflows: start event, first answer, next answer",
        "",
        format!(
            "{} ns, {} ns, {} ns",
            each(started),
            each(first),
            each(second)
        ),
    );
}

fn resident() -> u64 {
    memory_of(std::process::id(), "VmRSS")
}

struct Bench {
    core: Core,
    start: Now,
    now: Now,
    polls: Vec<Poll>,
}

impl Bench {
    fn new() -> Self {
        let now = Now {
            mono: Mono::from_duration(Duration::from_secs(1)),
            wall: Wall::parse_rfc3339("2024-07-05T07:30:00Z").expect("a time"),
        };
        let settings = Settings {
            monitors: vec![Monitor {
                naming: Naming::new("default", "Workflow", SpanLimits::default()),
                host: 0,
                pace: Pace::new(
                    Duration::from_secs(5),
                    INTERVAL,
                    Duration::from_secs(24 * 3600),
                ),
                requests_per_second: None,
                send_traceparent: false,
            }],
            pollers: 16,
            workflows_max: WORKFLOWS_MAX,
            sampler: Sampler::default(),
            batch: BatchPolicy {
                schedule_delay: Duration::from_secs(5),
                spans_max: 512,
                queue_max: usize::MAX,
            },
            stores: false,
            state_bytes_max: u64::MAX,
            exports: true,
            exports_logs: true,
            buckets: std::sync::Arc::default(),
            seed: 1,
        };
        let encoders = Encoders {
            span: otlp::encode,
            log_record: |record| format!("{record:?}").into_bytes().into(),
            finished_event: notify::encode,
        };
        Bench {
            core: Core::new(settings, encoders, now),
            start: now,
            now,
            polls: Vec::new(),
        }
    }

    /// The events of all workflows: how long the core took.
    fn start_all(&mut self) -> Duration {
        let mut spent = Duration::ZERO;
        for number in 0..WORKFLOWS_MAX {
            let event = StartEvent {
                monitor: 0,
                workflow_id: id(number).into(),
                submitted_at: Some(self.now.wall),
                attempt: None,
                parent: None,
                sampling: Sampling::AsParent,
                ..StartEvent::new(0, "")
            };
            spent += self.handle(Input::Started(event));
        }
        spent
    }

    /// An answer for every workflow: how long the core took.
    fn round(&mut self) -> Duration {
        let mapping = Mapping::original();
        let mut spent = Duration::ZERO;
        let mut answered = 0;
        while answered < WORKFLOWS_MAX {
            let Some(poll) = self.polls.pop() else {
                let at = self.core.next_deadline().expect("something to wait for");
                let elapsed = at.since(self.start.mono);
                self.now = Now {
                    mono: at,
                    wall: self.start.wall.shifted(elapsed.as_nanos() as i64),
                };
                spent += self.handle(Input::Tick);
                continue;
            };
            let body = body_of(&poll.workflow_id);
            let part = mapping.read_slice(0, body.as_bytes());
            let reading = mapping.reading(&poll.workflow_id, part.expect("the default shape"));
            let reading = reading.expect("any id");
            spent += self.handle(Input::Polled(Polled {
                slot: poll.slot,
                generation: poll.generation,
                sent: self.now,
                received: self.now,
                date: None,
                requests: 1,
                not_modified: 0,
                pause: None,
                answer: Answer::Snapshot {
                    snapshot: Box::new(reading.snapshot),
                    oddity: reading.oddity,
                },
            }));
            answered += 1;
        }
        spent
    }

    fn handle(&mut self, input: Input) -> Duration {
        let start = Instant::now();
        self.core.handle(input, self.now);
        let mut spent = start.elapsed();
        while let Some(action) = self.core.next_action() {
            let start = match action {
                Action::Poll(group) => {
                    self.polls.extend(group.polls);
                    continue;
                }
                // No monitor of this bench has a discovery, and no poll of it hangs.
                Action::List(_) | Action::Recall(_) => continue,
                Action::Finished(_) => continue,
                Action::Send(Outgoing::Export(batch)) => {
                    let outcome = ExportOutcome::Delivered {
                        rejected: 0,
                        message: "".into(),
                    };
                    let batch = batch.id;
                    let start = Instant::now();
                    let input = Input::Exported(Exported {
                        signal: Signal::Traces,
                        batch,
                        outcome,
                    });
                    self.core.handle(input, self.now);
                    start
                }
                Action::Send(_) | Action::Note(_) => continue,
            };
            spent += start.elapsed();
        }
        spent
    }
}

/// As long as a GUID.
fn id(number: usize) -> String {
    format!("{number:08x}-109f-4f99-af10-bc7670b4f997")
}
