//! What real systems answered, played back through the built binary. What the trace has to say is worked out here, from
//! the last recorded bodies, by each system's own rules and nothing of farspan's.

use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Request};
use crate::support::monitored::Monitored;
use crate::support::playback::Playback;
use crate::support::program::{Ended, Farspan};
use crate::support::spans::{Seen, trace_text};
use crate::support::{SOON, eventually, ns, rfc3339};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a span has to say, and what it does say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    start: String,
    name: String,
    end: String,
    attempt: u64,
    pipeline: String,
    queued: Option<String>,
    /// `Ok`, or `Error` and its text.
    status: String,
    result: String,
    /// What it is part of, and the attempt that it links to.
    parent: Option<String>,
    before: Option<String>,
}

impl Told {
    /// Tells it from the others: jobs, stages and attempts share names.
    fn label(&self) -> String {
        format!("{}#{} of {}", self.name, self.attempt, self.start)
    }
}

fn lines(told: &[Told]) -> String {
    let mut told = told.to_vec();
    told.sort();
    told.iter().fold(String::new(), |mut text, told| {
        let _ = writeln!(text, "{told:#?}");
        text
    })
}

/// Holds a workflow's spans against what makes them one trace: a single root, everything within it, no id twice.
#[track_caller]
fn told_by(spans: &[Seen]) -> Vec<Told> {
    let by_id: HashMap<&[u8], &Seen> = spans.iter().map(|s| (&*s.span.span_id, s)).collect();
    assert_eq!(by_id.len(), spans.len(), "a span twice: {spans:#?}");
    let traces: HashSet<&[u8]> = spans.iter().map(|s| &*s.span.trace_id).collect();
    assert_eq!(traces.len(), 1, "one trace: {spans:#?}");
    assert_eq!(spans.iter().filter(|s| s.is_root()).count(), 1);
    let told: HashMap<&[u8], Told> = by_id.iter().map(|(id, s)| (*id, one_told(s))).collect();
    let label = |id: &[u8]| told.get(id).expect("a span of this trace").label();
    let mut all = Vec::new();
    for (id, seen) in &by_id {
        let mut one = told[id].clone();
        if !seen.is_root() {
            let parent = by_id[&*seen.span.parent_span_id];
            let inside = parent.start()..=parent.end();
            assert!(
                inside.contains(&seen.start()) && inside.contains(&seen.end()),
                "outside its parent: {seen:#?}"
            );
            one.parent = Some(match parent.is_root() {
                true => "the workflow".to_owned(),
                false => label(&parent.span.span_id),
            });
        }
        assert!(seen.span.links.len() <= 1, "{seen:#?}");
        for link in &seen.span.links {
            assert_eq!(link.trace_id, seen.span.trace_id);
            one.before = Some(label(&link.span_id));
        }
        all.push(one);
    }
    all
}

/// All of it but what other spans are needed for.
fn one_told(seen: &Seen) -> Told {
    let result = match seen.is_root() {
        true => "cicd.pipeline.result",
        false => "cicd.pipeline.task.run.result",
    };
    let attempt = seen.find("attempt").map_or(1, |text| {
        let number = text.trim_end_matches(" (int)");
        number.parse().expect("a number")
    });
    Told {
        start: rfc3339(seen.start()),
        name: seen.span.name.clone(),
        end: rfc3339(seen.end()),
        attempt,
        pipeline: seen.attribute("cicd.pipeline.name"),
        queued: seen.find("queuedTime"),
        status: match seen.error() {
            Some(text) => format!("Error {text}"),
            None => "Ok".to_owned(),
        },
        result: seen.attribute(result),
        parent: None,
        before: None,
    }
}

/// A farspan between a recording and the rest.
struct Watching {
    it: Monitored,
    playback: Playback,
    id: String,
}

impl Watching {
    /// `monitor` is what a user would have to write.
    fn new(playback: Playback, id: &str, mut monitor: Value, files: Files) -> Self {
        monitor["api"]["base_url"] = json!(playback.server.url());
        Watching {
            it: Monitored::with(files, json!([monitor])),
            playback,
            id: id.to_owned(),
        }
    }

    fn start(&self) -> Farspan {
        let farspan = self.it.start();
        self.it.rig.submit(&self.id);
        farspan
    }

    /// From the start event to the trace: it says this, and was made of nothing but what was recorded.
    #[track_caller]
    fn assert_told(&self, expected: &[Told]) -> Vec<Seen> {
        let spans = self.it.spans(&self.id);
        let text = trace_text(&spans);
        assert_eq!(lines(&told_by(&spans)), lines(expected), "{text}");
        self.playback.assert_nothing_stray();
        spans
    }

    /// The same where farspan was killed, perhaps between the collector's answer and its commit: then a batch goes again,
    /// with the same bytes.
    #[track_caller]
    fn assert_told_though_killed(&self, expected: &[Told]) {
        let receiver = &self.it.rig.receiver;
        eventually("the trace", SOON, || receiver.has_root(&self.id));
        receiver.deliveries();
        let mut spans = receiver.distinct_spans();
        spans.retain(|span| span.workflow_id() == self.id);
        assert_eq!(
            lines(&told_by(&spans)),
            lines(expected),
            "{}",
            trace_text(&spans)
        );
        self.playback.assert_nothing_stray();
    }
}

// Airflow.

const AIRFLOW: [(&str, &str); 3] = [
    ("three_ok", "manual__2026-11-20T09:26:22.634361+00:00"),
    ("three_fail", "manual__2026-11-20T09:26:39.794432+00:00"),
    ("three_retry", "manual__2026-11-20T09:26:51.912764+00:00"),
];
const LOGIN: &str = r#"{"username": "admin", "password": "airflow-password"}"#;

#[track_caller]
fn assert_nothing_odd(ended: &Ended) {
    let log = &ended.stderr;
    assert!(!log.contains("in an answer of"), "{log}");
}

/// Airflow's own gate: no token 401, a bad one 403, a token for a login, by 201.
fn airflow(case: &str) -> Watching {
    edited_airflow(case, |_, _| {})
}

fn edited_airflow(case: &str, edit: impl Fn(&str, &mut Value)) -> Watching {
    let (_, run) = AIRFLOW.iter().find(|(known, _)| *known == case).unwrap();
    let gate = |request: &Request| -> Option<Reply> {
        if request.target == "/auth/token" {
            let wanted: Value = serde_json::from_str(LOGIN).unwrap();
            let said: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let granted = request.method == "POST" && said == wanted;
            let token = json!({ "access_token": "airflow-token" }).to_string();
            return Some(match granted {
                true => Answer::new(201).body("application/json", token).into(),
                false => Answer::new(401).into(),
            });
        }
        match request.header("Authorization") {
            None => Some(Answer::new(401).into()),
            Some("Bearer airflow-token") => None,
            Some(_) => Some(Answer::new(403).into()),
        }
    };
    let playback = Playback::edited(&format!("airflow/{case}"), "run", Box::new(gate), edit);
    let files = Files::new();
    let body_file = files.write("login.json", LOGIN);
    let monitor =
        json!({"name": "airflow", "preset": "airflow", "api": {"auth": {"body_file": body_file}}});
    Watching::new(playback, &format!("{case}/{run}"), monitor, files)
}

/// A time as Airflow writes it.
fn iso(value: &Value) -> Option<String> {
    value.as_str().map(|text| rfc3339(ns(text)))
}

fn airflow_expected(playback: &Playback) -> Vec<Told> {
    let run = playback.last("run");
    let ended = |state: &Value| match state.as_str() {
        Some("success") => Some(("Ok", "success")),
        // Airflow has no text for it.
        Some("failed") => Some(("Error ", "failure")),
        Some("upstream_failed" | "skipped") => None,
        other => panic!("not ended: {other:?}"),
    };
    let pipeline = run["dag_id"].as_str().expect("a name").to_owned();
    let (status, result) = ended(&run["state"]).expect("a run is never skipped");
    let mut expected = vec![Told {
        start: iso(&run["start_date"]).expect("it started"),
        name: "Workflow".into(),
        end: iso(&run["end_date"]).expect("it ended"),
        attempt: 1,
        pipeline: pipeline.clone(),
        queued: iso(&run["queued_at"]),
        status: status.into(),
        result: result.into(),
        parent: None,
        before: None,
    }];
    // Each task as it is now, and the tries of the one whose tries were recorded.
    let (tasks, tries) = (playback.last("tis"), playback.last("tries"));
    let mut all: BTreeMap<(String, u64), Value> = BTreeMap::new();
    for list in [&tries, &tasks] {
        for instance in list["task_instances"].as_array().expect("a list") {
            let task = instance["task_id"].as_str().expect("a name").to_owned();
            let number = instance["try_number"].as_u64().expect("a number");
            all.insert((task, number), instance.clone());
        }
    }
    let mut before: Option<Told> = None;
    for ((task, number), instance) in all {
        let Some((status, result)) = ended(&instance["state"]) else {
            continue;
        };
        let same = before.filter(|before| before.name == task);
        let told = Told {
            start: iso(&instance["start_date"]).expect("it started"),
            name: task,
            end: iso(&instance["end_date"]).expect("it ended"),
            attempt: number,
            pipeline: pipeline.clone(),
            queued: iso(&instance["queued_when"]),
            status: status.into(),
            result: result.into(),
            parent: Some("the workflow".into()),
            before: same.map(|before| before.label()),
        };
        before = Some(told.clone());
        expected.push(told);
    }
    expected
}

#[test]
fn airflow_three_ok() {
    let watching = airflow("three_ok");
    let expected = airflow_expected(&watching.playback);
    assert_eq!(expected.len(), 4);
    let farspan = watching.start();
    watching.assert_told(&expected);
    let ended = farspan.stop();
    assert_nothing_odd(&ended);
    let log = ended.stderr;
    assert!(
        !log.contains("airflow-token") && !log.contains("airflow-password"),
        "{log}"
    );
}

#[test]
fn airflow_three_fail() {
    let watching = airflow("three_fail");
    let expected = airflow_expected(&watching.playback);
    assert_eq!(expected.len(), 3, "what never ran has no span");
    let farspan = watching.start();
    watching.assert_told(&expected);
    assert_nothing_odd(&farspan.stop());
}

#[test]
fn airflow_three_retry() {
    let watching = airflow("three_retry");
    let expected = airflow_expected(&watching.playback);
    assert_eq!(expected.len(), 5, "two attempts at one of three");
    assert_eq!(expected.iter().filter(|t| t.before.is_some()).count(), 1);
    let farspan = watching.start();
    watching.assert_told(&expected);
    assert_nothing_odd(&farspan.stop());
}

// Buildbot.

fn buildbot(case: &str, build: &str) -> Watching {
    gated_buildbot(case, build, |_| None)
}

fn gated_buildbot(
    case: &str,
    build: &str,
    gate: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Watching {
    let playback = Playback::behind(&format!("buildbot/{case}"), "build", Box::new(gate));
    let monitor = json!({"name": "buildbot", "preset": "buildbot"});
    Watching::new(playback, build, monitor, Files::new())
}

fn buildbot_expected(playback: &Playback) -> Vec<Told> {
    let told = |it: &Value, name: &str, parent: Option<&str>| {
        let time = |key: &str| {
            let seconds = it[key].as_u64().unwrap_or_else(|| panic!("no {key}: {it}"));
            rfc3339(seconds * 1_000_000_000)
        };
        assert_eq!(it["complete"], true);
        let text = it["state_string"].as_str().expect("a text");
        let (status, result) = match it["results"].as_u64() {
            Some(0 | 1) => ("Ok".to_owned(), "success"),
            Some(2) => (format!("Error {text}"), "failure"),
            other => panic!("results {other:?}"),
        };
        let start = match parent {
            None => time("started_at"),
            Some(_) => time("locks_acquired_at"),
        };
        Told {
            start,
            name: name.to_owned(),
            end: time("complete_at"),
            attempt: 1,
            // Of a builder the build has the number only.
            pipeline: "Workflow".into(),
            queued: parent.map(|_| time("started_at")),
            status,
            result: result.into(),
            parent: parent.map(str::to_owned),
            before: None,
        }
    };
    let build = playback.last("build");
    let mut expected = vec![told(&build["builds"][0], "Workflow", None)];
    let steps = playback.last("steps");
    for step in steps["steps"].as_array().expect("a list") {
        let name = step["name"].as_str().expect("a name");
        expected.push(told(step, name, Some("the workflow")));
    }
    expected
}

#[test]
fn buildbot_three_ok() {
    let watching = buildbot("three_ok", "1");
    let expected = buildbot_expected(&watching.playback);
    assert_eq!(expected.len(), 5);
    let farspan = watching.start();
    watching.assert_told(&expected);
    assert_nothing_odd(&farspan.stop());
}

#[test]
fn buildbot_three_fail() {
    let watching = buildbot("three_fail", "2");
    let expected = buildbot_expected(&watching.playback);
    assert_eq!(
        expected.len(),
        4,
        "what comes after a failure never appears"
    );
    let farspan = watching.start();
    watching.assert_told(&expected);
    assert_nothing_odd(&farspan.stop());
}

// Spark: a driver's API is gone once its application has ended.

const SPARK: [(&str, &str); 3] = [
    ("three_ok", "local-1795167752267"),
    ("three_fail", "local-1795167774713"),
    ("three_retry", "local-1795167793238"),
];

fn spark(case: &str) -> Watching {
    spark_gone_after(case, "500ms")
}

fn spark_gone_after(case: &str, after: &str) -> Watching {
    let (_, application) = SPARK.iter().find(|(known, _)| *known == case).unwrap();
    let playback = Playback::of(&format!("spark/{case}"), "app");
    let monitor = json!({"name": "spark", "preset": "spark", "poll": {"gone": {"after": after}}});
    Watching::new(playback, application, monitor, Files::new())
}

fn spark_expected(playback: &Playback) -> Vec<Told> {
    let time = |it: &Value, key: &str| {
        let text = it[key].as_str().unwrap_or_else(|| panic!("no {key}: {it}"));
        let at = text.strip_suffix("GMT").expect("GMT");
        rfc3339(ns(&format!("{at}Z")))
    };
    let result = |it: &Value| match it["status"].as_str() {
        Some("SUCCEEDED" | "COMPLETE") => Some("success"),
        Some("FAILED") => Some("failure"),
        Some("SKIPPED") => None,
        other => panic!("not ended: {other:?}"),
    };
    let name = |it: &Value| it["name"].as_str().expect("a name").to_owned();
    let (jobs, stages) = (playback.last("jobs"), playback.last("stages"));
    let application = playback.last("app");
    let pipeline = application["name"].as_str().expect("a name").to_owned();
    let mut expected = Vec::new();
    for job in jobs.as_array().expect("a list") {
        let status = match result(job) {
            Some("success") => "Ok",
            // Its stages have the text.
            _ => "Error ",
        };
        let told = Told {
            start: time(job, "submissionTime"),
            name: name(job),
            end: time(job, "completionTime"),
            attempt: 1,
            pipeline: pipeline.clone(),
            queued: None,
            status: status.into(),
            result: result(job).expect("it ran").into(),
            parent: Some("the workflow".into()),
            before: None,
        };
        for stage in stages.as_array().expect("a list") {
            let of_job = job["stageIds"].as_array().expect("a list");
            let Some(result) = result(stage).filter(|_| of_job.contains(&stage["stageId"])) else {
                continue;
            };
            let status = match stage["failureReason"].as_str() {
                // The whole of Java's stack is more than a span has room for: 2 KiB, ASCII here.
                Some(text) => format!("Error {}", &text[..text.len().min(2048)]),
                None => "Ok".to_owned(),
            };
            expected.push(Told {
                start: time(stage, "firstTaskLaunchedTime"),
                name: name(stage),
                end: time(stage, "completionTime"),
                attempt: stage["attemptId"].as_u64().expect("a number") + 1,
                pipeline: pipeline.clone(),
                queued: Some(time(stage, "submissionTime")),
                status,
                result: result.into(),
                parent: Some(told.label()),
                before: None,
            });
        }
        expected.push(told);
    }
    // It never told of its own end: that is when the last of its jobs had ended.
    let jobs = expected
        .iter()
        .filter(|told| told.parent.as_deref() == Some("the workflow"));
    let end = jobs
        .clone()
        .map(|told| told.end.clone())
        .max()
        .expect("a job");
    let failed = jobs.clone().any(|told| told.result == "failure");
    assert_eq!(application["attempts"][0]["endTimeEpoch"], -1);
    expected.push(Told {
        start: time(&application["attempts"][0], "startTime"),
        name: "Workflow".into(),
        end,
        attempt: 1,
        pipeline,
        queued: None,
        status: if failed { "Error A stage failed" } else { "Ok" }.into(),
        result: if failed { "failure" } else { "success" }.into(),
        parent: None,
        before: None,
    });
    expected
}

/// Waits until all is told, and takes the API away.
#[track_caller]
fn end_of_spark(watching: &mut Watching) {
    let count = watching.playback.count();
    eventually("all of it told, more than once", SOON, || {
        let requests = watching.playback.server.requests();
        let main = requests.iter().filter(|r| r.target.ends_with(&watching.id));
        main.count() > count + 1
    });
    watching.playback.server.stop();
}

#[track_caller]
fn assert_spark(case: &str, count: usize) {
    let mut watching = spark(case);
    let expected = spark_expected(&watching.playback);
    assert_eq!(expected.len(), count);
    let farspan = watching.start();
    end_of_spark(&mut watching);
    watching.assert_told(&expected);
    assert_nothing_odd(&farspan.stop());
}

#[test]
fn spark_three_ok() {
    assert_spark("three_ok", 5);
}

#[test]
fn spark_three_fail() {
    // The stage after the one that failed was skipped.
    assert_spark("three_fail", 4);
}

#[test]
fn spark_three_retry() {
    // It is a stage's tasks that are tried again, and Spark tells of stages.
    assert_spark("three_retry", 5);
}

// Each of them, with farspan killed in the middle.

#[test]
fn killed_in_the_middle_of_a_recording_it_tells_the_same() {
    for (watching, expected, at) in [
        (airflow("three_retry"), airflow_expected as fn(&_) -> _, 10),
        (buildbot("three_fail", "2"), buildbot_expected, 5),
    ] {
        let folder = Folder::new();
        let mut watching = watching;
        watching.it.call = (watching.it.call.clone())
            .env("FARSPAN_STATE", "file")
            .env("FARSPAN_STATE_DIR", folder.path().display());
        watching.playback.hold_at(at);
        let farspan = watching.start();
        eventually("half of it", SOON, || {
            watching.playback.told() == at && !watching.it.rig.receiver.spans().is_empty()
        });
        farspan.kill();
        watching.playback.go_on();
        let farspan = watching.it.start();
        watching.assert_told_though_killed(&expected(&watching.playback));
        farspan.stop();
    }
}

/// Killed while a job runs, and once more when its API has gone and nobody has said so yet.
#[test]
fn killed_in_the_middle_of_spark_it_tells_the_same() {
    for (case, _) in SPARK {
        let folder = Folder::new();
        let mut watching = spark_gone_after(case, "3s");
        watching.it.call = (watching.it.call.clone())
            .env("FARSPAN_STATE", "file")
            .env("FARSPAN_STATE_DIR", folder.path().display());
        let expected = spark_expected(&watching.playback);
        let count = watching.playback.count();
        let has = |poll: usize, target: &str, status: &str| {
            let body = watching.playback.body(poll, target);
            let mut all = body.as_array().expect("a list").iter();
            all.any(|it| it["status"] == status)
        };
        let in_a_job =
            |poll: &usize| has(*poll, "stages", "COMPLETE") && has(*poll, "jobs", "RUNNING");
        let at = (1..=count)
            .find(in_a_job)
            .expect("a job with stages one after the other");
        watching.playback.hold_at(at);
        let farspan = watching.start();
        let spans = || watching.it.rig.receiver.spans().len();
        eventually("half of it", SOON, || {
            watching.playback.told() == at && spans() > 0
        });
        assert!(spans() < expected.len() - 1, "{case}: {} already", spans());
        farspan.kill();
        watching.playback.go_on();
        let farspan = watching.it.start();
        let polls = |watching: &Watching| {
            let requests = watching.playback.server.requests();
            requests
                .iter()
                .filter(|r| r.target.ends_with(&watching.id))
                .count()
        };
        eventually("all of it told", SOON, || watching.playback.told() == count);
        let told = polls(&watching);
        eventually("and seen", SOON, || polls(&watching) > told + 1);
        watching.playback.server.stop();
        eventually("it is missed", SOON, || {
            farspan.stderr().contains("(connect)")
        });
        farspan.kill();
        assert!(
            !watching.it.rig.receiver.has_root(&watching.id),
            "{case}: too early a verdict"
        );
        let farspan = watching.it.start();
        watching.assert_told_though_killed(&expected);
        farspan.stop();
    }
}

// The traps that whoever recorded them fell into: `tests/captures/README.md`. Each is looked for in the recording first.

/// The bodies of a target, poll by poll.
fn bodies(playback: &Playback, target: &str) -> Vec<Value> {
    let polls = 1..=playback.count();
    polls.map(|poll| playback.body(poll, target)).collect()
}

#[test]
fn airflow_an_answer_that_has_changed_is_no_progress_by_itself() {
    let watching = airflow("three_ok");
    let mut runs = bodies(&watching.playback, "run");
    runs.dedup();
    let mut states: Vec<&str> = runs
        .iter()
        .map(|run| run["state"].as_str().unwrap())
        .collect();
    let changes = states.len();
    states.dedup();
    assert!(changes > 3 * states.len(), "{changes} {states:?}");
    let farspan = watching.start();
    let spans = watching.assert_told(&airflow_expected(&watching.playback));
    let root = spans.iter().find(|span| span.is_root()).unwrap();
    // It may go by from one poll to the next, but never comes twice.
    assert_eq!(root.event_names(), states);
    farspan.stop();
}

#[test]
fn airflow_tasks_come_in_any_order() {
    let watching = airflow("three_retry");
    let lists = bodies(&watching.playback, "tis");
    let orders: HashSet<Vec<&str>> = (lists.iter())
        .map(|list| {
            let tasks = list["task_instances"].as_array().unwrap().iter();
            tasks
                .map(|task| task["task_id"].as_str().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(orders.len(), 2);
    let farspan = watching.start();
    watching.assert_told(&airflow_expected(&watching.playback));
    farspan.stop();
}

#[test]
fn airflow_a_second_try_has_taken_the_place_of_the_first() {
    let watching = airflow("three_retry");
    let transform = |list: &Value, number: u64| {
        let tasks = list["task_instances"].as_array().unwrap().iter();
        let mut tasks =
            tasks.filter(|task| task["task_id"] == "transform" && task["try_number"] == number);
        tasks.next().and_then(|task| iso(&task["start_date"]))
    };
    let lists = bodies(&watching.playback, "tis");
    let first = lists.iter().find_map(|list| transform(list, 1));
    let first = first.expect("seen while it ran");
    let last = watching.playback.last("tis");
    assert!(transform(&last, 1).is_none());
    let farspan = watching.start();
    let spans = watching.assert_told(&airflow_expected(&watching.playback));
    let starts = spans
        .iter()
        .filter(|span| span.span.name == "transform")
        .map(|span| rfc3339(span.start()));
    let mut starts: Vec<String> = starts.collect();
    starts.sort();
    assert_eq!(starts, [first, transform(&last, 2).expect("the last")]);
    farspan.stop();
}

#[test]
fn airflow_durations_are_not_believed() {
    let watching = edited_airflow("three_fail", |target, body| {
        let instances = body["task_instances"].as_array_mut();
        match (target, instances) {
            ("run", _) => body["duration"] = json!(86_400.5),
            (_, Some(instances)) => {
                for instance in instances {
                    instance["duration"] = json!(-1.0);
                }
            }
            _ => {}
        }
    });
    let farspan = watching.start();
    watching.assert_told(&airflow_expected(&watching.playback));
    farspan.stop();
}

#[test]
fn airflow_what_an_earlier_failure_kept_from_running_has_times_and_no_span() {
    let watching = airflow("three_fail");
    let last = watching.playback.last("tis");
    let load = &last["task_instances"][2];
    assert_eq!(load["state"], "upstream_failed");
    assert_eq!(
        (&load["try_number"], &load["start_date"]),
        (&json!(0), &load["end_date"])
    );
    assert!(load["start_date"].is_string());
    let farspan = watching.start();
    let spans = watching.it.spans(&watching.id);
    assert!(spans.iter().all(|span| span.span.name != "load"));
    farspan.stop();
}

#[test]
fn airflow_a_run_may_fail_that_never_started() {
    let watching = edited_airflow("three_fail", |target, body| {
        if target == "run" {
            body["start_date"] = Value::Null;
        }
    });
    let farspan = watching.start();
    let spans = watching.it.spans(&watching.id);
    let root = spans.iter().find(|span| span.is_root()).unwrap();
    assert_eq!(root.attribute("cicd.pipeline.result"), "failure");
    assert_eq!(root.find("startTime"), None, "nobody said so");
    assert_eq!(
        Some(rfc3339(root.end())),
        iso(&watching.playback.last("run")["end_date"])
    );
    let first = spans
        .iter()
        .filter(|span| !span.is_root())
        .map(Seen::start)
        .min();
    assert_eq!(Some(root.start()), first, "around what is part of it");
    farspan.stop();
}

#[test]
fn buildbot_says_that_it_is_text() {
    let watching = buildbot("three_ok", "1");
    let said = watching.playback.header("build", "Content-Type").unwrap();
    assert!(said.starts_with("text/plain"), "{said}");
    let farspan = watching.start();
    watching.assert_told(&buildbot_expected(&watching.playback));
    farspan.stop();
}

/// And a 404 is chunked: the connection is good for the next request all the same.
#[test]
fn buildbot_sets_cookies_that_nobody_keeps_and_says_404_in_chunks() {
    let asked = AtomicUsize::new(0);
    let mut watching = gated_buildbot("three_ok", "1", move |_| {
        let not_found = Answer::new(404)
            .header("Set-Cookie", "TWISTED_SESSION=abc; Path=/")
            .body(
                "text/plain; charset=utf-8",
                r#"{"error": "Invalid path: builds/1"}"#,
            );
        let is_early = asked.fetch_add(1, Ordering::SeqCst) < 2;
        is_early.then_some(Reply::Chunked(not_found, 7))
    });
    watching.it.call = watching.it.call.clone().env("FARSPAN_POLLERS", 1);
    let farspan = watching.start();
    watching.assert_told(&buildbot_expected(&watching.playback));
    farspan.stop();
    let requests = watching.playback.server.requests();
    assert!(requests.iter().all(|r| r.header("Cookie").is_none()));
    assert_eq!(watching.playback.server.connections(), 1);
}

#[test]
fn buildbot_a_step_that_waits_has_a_start_already() {
    let watching = buildbot("three_ok", "1");
    let lists = bodies(&watching.playback, "steps");
    let mut steps = lists
        .iter()
        .flat_map(|list| list["steps"].as_array().unwrap());
    assert!(steps.any(|step| step["state_string"] == "pending" && step["started_at"].is_u64()));
    let farspan = watching.start();
    let spans = watching.assert_told(&buildbot_expected(&watching.playback));
    for step in spans.iter().filter(|span| !span.is_root()) {
        assert!(
            step.event_names()
                .iter()
                .all(|name| ["running", "success"].contains(name))
        );
    }
    farspan.stop();
}

#[test]
fn spark_has_an_end_in_1969_and_stages_without_times_and_the_newest_first() {
    let mut watching = spark("three_ok");
    let application = watching.playback.last("app");
    assert_eq!(
        application["attempts"][0]["endTime"],
        "1969-12-31T23:59:59.999GMT"
    );
    let lists = bodies(&watching.playback, "stages");
    let mut stages = lists.iter().flat_map(|list| list.as_array().unwrap());
    assert!(stages.any(|stage| stage.get("submissionTime").is_none()));
    let last = watching.playback.last("stages");
    let ids: Vec<_> = last
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["stageId"].as_u64())
        .collect();
    assert!(ids.is_sorted_by(|one, other| one > other), "{ids:?}");
    let farspan = watching.start();
    end_of_spark(&mut watching);
    let spans = watching.assert_told(&spark_expected(&watching.playback));
    let root = spans.iter().find(|span| span.is_root()).unwrap();
    assert_eq!(root.find("endTime"), None, "nobody said so");
    assert_eq!(root.attribute("farspan.gone"), "true (bool)");
    farspan.stop();
}
