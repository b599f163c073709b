//! The plan of one scripted workflow, and its status document at any time.
//!
//! Pure: no clock, no I/O. Seed and id decide everything but the start; durations are drawn before they are divided by
//! the speed, so a plan is the same at any speed.

use crate::core::time::Wall;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// The external system's times have seven fraction digits, as .NET writes them.
pub const TICK: Duration = Duration::from_nanos(100);

const MINUTE_S: u64 = 60;
const STAGES: [StageScript; 3] = [
    StageScript {
        kind: "DataLoader",
        seconds: 2 * MINUTE_S..10 * MINUTE_S,
        errors: [
            "Market data snapshot is incomplete: 3 of 412 curves are missing",
            "Connection to the trade store timed out after 30 s",
        ],
    },
    StageScript {
        kind: "Processor",
        seconds: 30 * MINUTE_S..240 * MINUTE_S,
        errors: [
            "Calibration did not converge for surface EUR/USD after 500 iterations",
            "Worker 17 was lost: out of memory (limit 32 GiB)",
        ],
    },
    StageScript {
        kind: "OutputGenerator",
        seconds: 5 * MINUTE_S..60 * MINUTE_S,
        errors: [
            "Disk quota exceeded while writing report part 8 of 12",
            "Report template 'exposure-v4' rejected a negative notional",
        ],
    },
];

struct StageScript {
    kind: &'static str,
    seconds: Range<u64>,
    errors: [&'static str; 2],
}

/// How fast scripted workflows go, and how often they fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScriptPace {
    /// Every duration is divided by this. What is no positive number counts as 1.
    pub speed: f64,
    /// The chance of each stage to fail, 0 to 1.
    pub fail_rate: f64,
}

/// What will happen to one workflow. All times are whole ticks of 100 ns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowPlan {
    /// The workflow's id.
    pub workflow_id: String,
    /// It is `Initializing` from here,
    pub start: Wall,
    /// `Processing` from here,
    pub processing: Wall,
    /// and `Completed` or `Failed` from here.
    pub end: Wall,
    /// `Entity failed: <stage>` if it fails.
    pub error: Option<String>,
    /// In sequence, those that are never reached too.
    pub stages: Vec<StagePlan>,
}

/// What will happen to one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagePlan {
    /// `DataLoader`, `Processor` or `OutputGenerator`.
    pub kind: &'static str,
    /// A GUID.
    pub id: String,
    /// `None`: an earlier stage fails, this one never starts.
    pub run: Option<StageRun>,
}

/// The times of a stage that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRun {
    /// It is `Initializing` from here,
    pub start: Wall,
    /// `Processing` from here unless it fails before,
    pub processing: Option<Wall>,
    /// and `Completed` or `Failed` from here.
    pub end: Wall,
    /// Why it fails, if it does.
    pub error: Option<&'static str>,
}

/// The statuses of the external system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ScriptedStatus {
    /// Not reached.
    Null,
    /// Getting ready.
    Initializing,
    /// At work.
    Processing,
    /// Done.
    Completed,
    /// Given up.
    Failed,
}

/// The status document in the default shape: what is absent is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a> {
    /// As asked for.
    pub workflow_id: &'a str,
    /// Never `Null`.
    pub workflow_status: ScriptedStatus,
    /// Known from the start.
    pub workflow_start_time: DotNetTime,
    /// Known once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_end_time: Option<DotNetTime>,
    /// Whether it has ended, well or not.
    pub is_complete: bool,
    /// Known once it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_error_message: Option<&'a str>,
    /// By type, all three of them.
    pub workflow_entities: BTreeMap<&'a str, Entity<'a>>,
}

/// A stage in the status document. Before it starts it has a status and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(
    missing_docs,
    reason = "the external system's own names, as for the workflow"
)]
pub struct Entity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<&'a str>,
    pub entity_status: ScriptedStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_start_time: Option<DotNetTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_end_time: Option<DotNetTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_error_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_complete: Option<bool>,
}

/// A time with seven fraction digits in UTC: `2024-07-05T06:57:56.1234567Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DotNetTime(pub Wall);

/// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). For scripts, not secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl WorkflowPlan {
    /// The plan of this workflow if it starts then (cut to whole ticks).
    pub fn new(seed: u64, workflow_id: &str, start: Wall, pace: ScriptPace) -> WorkflowPlan {
        let mut rng = Rng::new(seed, workflow_id);
        let start = on_tick(start);
        let processing = start + pace.scaled(rng.ticks(2..20));
        let mut at = processing;
        let mut error = None;
        let mut stages = Vec::with_capacity(STAGES.len());
        for script in &STAGES {
            let gap = pace.scaled(rng.ticks(1..15));
            let run = draw_run(&mut rng, script, pace, at + gap);
            let id = rng.guid();
            if error.is_some() {
                stages.push(StagePlan {
                    kind: script.kind,
                    id,
                    run: None,
                });
                continue;
            }
            at = run.end;
            error = run.error.map(|_| format!("Entity failed: {}", script.kind));
            stages.push(StagePlan {
                kind: script.kind,
                id,
                run: Some(run),
            });
        }
        // A failure ends the workflow at once; success takes a moment to be noticed.
        let closing = pace.scaled(rng.ticks(1..5));
        let end = if error.is_some() { at } else { at + closing };
        WorkflowPlan {
            workflow_id: workflow_id.into(),
            start,
            processing,
            end,
            error,
            stages,
        }
    }

    /// How long the workflow takes.
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }

    /// The status document, that long after the start.
    pub fn document_at(&self, elapsed: Duration) -> Document<'_> {
        let now = self.start + elapsed;
        let is_complete = now >= self.end;
        Document {
            workflow_id: &self.workflow_id,
            workflow_status: self.status_at(elapsed),
            workflow_start_time: DotNetTime(self.start),
            workflow_end_time: is_complete.then_some(DotNetTime(self.end)),
            is_complete,
            workflow_error_message: self.error.as_deref().filter(|_| is_complete),
            workflow_entities: self
                .stages
                .iter()
                .map(|stage| (stage.kind, stage.entity_at(now)))
                .collect(),
        }
    }

    /// This status as JSON.
    pub fn body_at(&self, elapsed: Duration) -> Vec<u8> {
        // Cannot fail: no map has keys other than strings, and writing to memory succeeds.
        serde_json::to_vec(&self.document_at(elapsed)).unwrap_or_default()
    }

    /// The workflow's status, that long after the start.
    pub fn status_at(&self, elapsed: Duration) -> ScriptedStatus {
        let now = self.start + elapsed;
        status(now, Some(self.processing), self.end, self.error.is_some())
    }
}

/// One line: what was planned, for how long, and what will fail.
impl fmt::Display for WorkflowPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} takes {:.1?}:", self.workflow_id, self.duration())?;
        for stage in &self.stages {
            match &stage.run {
                Some(run) => write!(f, " {} {:.1?}", stage.kind, run.end.since(run.start))?,
                None => write!(f, " {} never", stage.kind)?,
            }
            if stage.run.as_ref().is_some_and(|run| run.error.is_some()) {
                f.write_str(" FAILS")?;
            }
        }
        Ok(())
    }
}

impl StagePlan {
    fn entity_at(&self, now: Wall) -> Entity<'_> {
        let Some(run) = self.run.as_ref().filter(|run| run.start <= now) else {
            return Entity {
                entity_type: None,
                entity_id: None,
                entity_status: ScriptedStatus::Null,
                entity_start_time: None,
                entity_end_time: None,
                entity_error_message: None,
                is_complete: None,
            };
        };
        let is_complete = run.end <= now;
        Entity {
            entity_type: Some(self.kind),
            entity_id: Some(&self.id),
            entity_status: status(now, run.processing, run.end, run.error.is_some()),
            entity_start_time: Some(DotNetTime(run.start)),
            entity_end_time: is_complete.then_some(DotNetTime(run.end)),
            entity_error_message: run.error.filter(|_| is_complete),
            is_complete: Some(is_complete),
        }
    }
}

impl ScriptPace {
    fn scaled(self, ticks: u64) -> Duration {
        let speed = if self.speed > 0.0 { self.speed } else { 1.0 };
        // `as` saturates. At least one tick, so that no two times of a plan fall together by division.
        let ticks = ((ticks as f64 / speed) as u64).clamp(1, LONGEST_TICKS);
        Duration::from_nanos(ticks * TICK.subsec_nanos() as u64)
    }
}

/// A year: a very slow plan stays within what `Wall` can hold.
const LONGEST_TICKS: u64 = 365 * 86_400 * TICKS_PER_SECOND;
const TICKS_PER_SECOND: u64 = 10_000_000;

impl Rng {
    /// A generator that gives equal numbers for equal seed and name.
    pub fn new(seed: u64, name: &str) -> Rng {
        // FNV-1a over the name; splitmix64's own mixing spreads it.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut rng = Rng(seed);
        Rng(rng.u64() ^ hash)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A GUID of version 4.
    pub fn guid(&mut self) -> String {
        let (high, low) = (self.u64(), self.u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            (low >> 48) & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }

    fn ticks(&mut self, seconds: Range<u64>) -> u64 {
        let (low, high) = (
            seconds.start * TICKS_PER_SECOND,
            seconds.end * TICKS_PER_SECOND,
        );
        // The bias of the remainder is below one in 10^8.
        low + self.u64() % (high - low)
    }
}

impl fmt::Display for DotNetTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0.as_unix_ns())) {
            Ok(timestamp) => write!(f, "{timestamp:.7}"),
            // Cannot happen: jiff reaches further than `Wall`.
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for DotNetTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Always draws the same count of numbers, so that one stage's fate does not change another's.
fn draw_run(rng: &mut Rng, script: &StageScript, pace: ScriptPace, start: Wall) -> StageRun {
    let ticks = rng.ticks(script.seconds.clone());
    let initializing = (ticks as f64 * (0.02 + 0.06 * rng.unit())) as u64;
    let fails = rng.unit() < pace.fail_rate;
    let failing = (ticks as f64 * (0.02 + 0.96 * rng.unit())) as u64;
    let error = script.errors[usize::from(rng.unit() < 0.5)];
    let processing = start + pace.scaled(initializing);
    let end = start + pace.scaled(if fails { failing } else { ticks });
    StageRun {
        start,
        processing: (processing < end).then_some(processing),
        end,
        error: fails.then_some(error),
    }
}

fn status(now: Wall, processing: Option<Wall>, end: Wall, fails: bool) -> ScriptedStatus {
    match processing {
        _ if now >= end && fails => ScriptedStatus::Failed,
        _ if now >= end => ScriptedStatus::Completed,
        Some(processing) if now >= processing => ScriptedStatus::Processing,
        _ => ScriptedStatus::Initializing,
    }
}

/// The last whole tick up to then.
pub fn on_tick(time: Wall) -> Wall {
    let tick_ns = i64::from(TICK.subsec_nanos());
    Wall::from_unix_ns(
        time.as_unix_ns()
            .div_euclid(tick_ns)
            .saturating_mul(tick_ns),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbtest::arbtest;
    use expect_test::expect;

    const START: Wall = Wall::from_unix_ns(1_720_162_676_123_456_789);

    fn plan(id: &str, fail_rate: f64) -> WorkflowPlan {
        WorkflowPlan::new(
            7,
            id,
            START,
            ScriptPace {
                speed: 1.0,
                fail_rate,
            },
        )
    }

    fn times(plan: &WorkflowPlan) -> Vec<Wall> {
        let mut times = vec![plan.start, plan.processing, plan.end];
        for run in plan.stages.iter().filter_map(|stage| stage.run.as_ref()) {
            times.extend(
                [Some(run.start), run.processing, Some(run.end)]
                    .into_iter()
                    .flatten(),
            );
        }
        times.sort();
        times
    }

    fn show(plan: &WorkflowPlan, at: Wall) -> String {
        let value: serde_json::Value =
            serde_json::from_slice(&plan.body_at(at.since(plan.start))).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    }

    #[test]
    fn the_document_has_the_default_shape() {
        let plan = plan("704c0b60-0000-4000-8000-000000000000", 1.0);
        expect![[r#"
            {
              "isComplete": false,
              "workflowEntities": {
                "DataLoader": {
                  "entityStatus": "Null"
                },
                "OutputGenerator": {
                  "entityStatus": "Null"
                },
                "Processor": {
                  "entityStatus": "Null"
                }
              },
              "workflowId": "704c0b60-0000-4000-8000-000000000000",
              "workflowStartTime": "2024-07-05T06:57:56.1234567Z",
              "workflowStatus": "Initializing"
            }"#]]
        .assert_eq(&show(&plan, plan.start));
        expect![[r#"
            {
              "isComplete": true,
              "workflowEndTime": "2024-07-05T07:02:33.9438404Z",
              "workflowEntities": {
                "DataLoader": {
                  "entityEndTime": "2024-07-05T07:02:33.9438404Z",
                  "entityErrorMessage": "Connection to the trade store timed out after 30 s",
                  "entityId": "7092a0ff-fc14-46e8-8259-2c5f9b7d67c9",
                  "entityStartTime": "2024-07-05T06:58:16.9581447Z",
                  "entityStatus": "Failed",
                  "entityType": "DataLoader",
                  "isComplete": true
                },
                "OutputGenerator": {
                  "entityStatus": "Null"
                },
                "Processor": {
                  "entityStatus": "Null"
                }
              },
              "workflowErrorMessage": "Entity failed: DataLoader",
              "workflowId": "704c0b60-0000-4000-8000-000000000000",
              "workflowStartTime": "2024-07-05T06:57:56.1234567Z",
              "workflowStatus": "Failed"
            }"#]]
        .assert_eq(&show(&plan, plan.end));
        expect![[r#""704c0b60-0000-4000-8000-000000000000" takes 277.8s: DataLoader 257.0s FAILS Processor never OutputGenerator never"#]].assert_eq(&plan.to_string());
    }

    #[test]
    fn a_plan_is_the_same_at_any_speed_and_other_for_another_seed() {
        let slow = plan("a", 0.1);
        let fast = WorkflowPlan::new(
            7,
            "a",
            START,
            ScriptPace {
                speed: 60.0,
                fail_rate: 0.1,
            },
        );
        assert!(
            (slow.duration().as_secs_f64() / fast.duration().as_secs_f64() - 60.0).abs() < 1e-3
        );
        assert_eq!(slow.stages[0].id, fast.stages[0].id);
        assert_eq!(slow, plan("a", 0.1));
        assert_ne!(
            slow,
            WorkflowPlan::new(
                8,
                "a",
                START,
                ScriptPace {
                    speed: 1.0,
                    fail_rate: 0.1
                }
            )
        );
        assert_ne!(slow.stages, plan("b", 0.1).stages);
    }

    #[test]
    fn one_stage_in_ten_fails() {
        let (mut started, mut failed) = (0, 0);
        for number in 0..2000 {
            for run in plan(&number.to_string(), 0.1)
                .stages
                .into_iter()
                .filter_map(|stage| stage.run)
            {
                started += 1;
                failed += u32::from(run.error.is_some());
            }
        }
        assert!(
            (450..650).contains(&failed) && started > 5000,
            "{failed} of {started}"
        );
    }

    #[test]
    fn the_speed_may_be_nonsense() {
        for speed in [f64::NAN, 0.0, -1.0, f64::INFINITY, f64::MIN_POSITIVE] {
            let plan = WorkflowPlan::new(
                7,
                "a",
                START,
                ScriptPace {
                    speed,
                    fail_rate: f64::NAN,
                },
            );
            assert!(plan.start < plan.end, "{speed}");
        }
    }

    /// Statuses only move forward, what was shown once never changes, stages lie one after another in the workflow.
    #[test]
    fn documents_are_monotone() {
        arbtest(|u| {
            let speed = f64::from(u.int_in_range(1..=100_000_000_u32)?) / 100.0;
            let pace = ScriptPace {
                speed,
                fail_rate: f64::from(u.int_in_range(0..=100_u32)?) / 100.0,
            };
            let start = Wall::from_unix_ns(u.int_in_range(0..=4_000_000_000_000_000_000)?);
            let plan = WorkflowPlan::new(u.arbitrary()?, u.arbitrary()?, start, pace);

            let mut before = plan.processing;
            for run in plan.stages.iter().filter_map(|stage| stage.run.as_ref()) {
                assert!(before < run.start && run.start < run.end && run.end <= plan.end);
                assert!(
                    run.processing
                        .is_none_or(|at| run.start < at && at < run.end)
                );
                before = run.end;
            }
            assert!(times(&plan).iter().all(|at| at.as_unix_ns() % 100 == 0));

            let mut elapsed: Vec<Duration> =
                times(&plan).iter().map(|at| at.since(plan.start)).collect();
            let total_ns = u64::try_from(plan.duration().as_nanos()).unwrap();
            for _ in 0..8 {
                elapsed.push(Duration::from_nanos(u.int_in_range(0..=total_ns + 1_000)?));
            }
            elapsed.sort();
            for pair in elapsed.windows(2) {
                assert_forward(&plan.document_at(pair[0]), &plan.document_at(pair[1]));
            }
            Ok(())
        });
    }

    fn assert_forward(a: &Document<'_>, b: &Document<'_>) {
        fn kept<T: PartialEq + fmt::Debug>(a: Option<T>, b: Option<T>) {
            assert!(a.is_none() || a == b, "{a:?} became {b:?}");
        }
        fn forward(a: ScriptedStatus, b: ScriptedStatus) {
            assert!(
                a <= b && (a < ScriptedStatus::Completed || a == b),
                "{a:?} became {b:?}"
            );
        }
        forward(a.workflow_status, b.workflow_status);
        assert_eq!(a.workflow_start_time, b.workflow_start_time);
        kept(a.workflow_end_time, b.workflow_end_time);
        kept(a.workflow_error_message, b.workflow_error_message);
        for (kind, a) in &a.workflow_entities {
            let b = &b.workflow_entities[kind];
            forward(a.entity_status, b.entity_status);
            kept(a.entity_id, b.entity_id);
            kept(a.entity_start_time, b.entity_start_time);
            kept(a.entity_end_time, b.entity_end_time);
            kept(a.entity_error_message, b.entity_error_message);
        }
    }

    #[test]
    fn guids_look_like_guids() {
        expect!["05091a5b-3ab9-4166-99b9-a89174510236"].assert_eq(&Rng::new(1, "x").guid());
    }
}
