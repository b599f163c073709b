//! What real systems answered, played back through the built binary. What the trace has to say is worked out here, from
//! the last recorded bodies, by each system's own rules and nothing of farspan's.

use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Request};
use crate::support::monitored::Monitored;
use crate::support::playback::Playback;
use crate::support::program::Farspan;
use crate::support::spans::{Seen, trace_text};
use crate::support::{SOON, eventually, ns, rfc3339};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

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
}

// Airflow.

const AIRFLOW: [(&str, &str); 3] = [
    ("three_ok", "manual__2026-11-20T09:26:22.634361+00:00"),
    ("three_fail", "manual__2026-11-20T09:26:39.794432+00:00"),
    ("three_retry", "manual__2026-11-20T09:26:51.912764+00:00"),
];
const LOGIN: &str = r#"{"username": "admin", "password": "airflow-password"}"#;

/// Airflow's own gate: no token 401, a bad one 403, a token for a login, by 201.
fn airflow(case: &str) -> Watching {
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
    let playback = Playback::behind(&format!("airflow/{case}"), "run", Box::new(gate));
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
    let log = farspan.stop().stderr;
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
    farspan.stop();
}

#[test]
fn airflow_three_retry() {
    let watching = airflow("three_retry");
    let expected = airflow_expected(&watching.playback);
    assert_eq!(expected.len(), 5, "two attempts at one of three");
    assert_eq!(expected.iter().filter(|t| t.before.is_some()).count(), 1);
    let farspan = watching.start();
    watching.assert_told(&expected);
    farspan.stop();
}

// Buildbot.

fn buildbot(case: &str, build: &str) -> Watching {
    let playback = Playback::of(&format!("buildbot/{case}"), "build");
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
    farspan.stop();
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
    farspan.stop();
}

// Spark: a driver's API is gone once its application has ended.

const SPARK: [(&str, &str); 3] = [
    ("three_ok", "local-1795167752267"),
    ("three_fail", "local-1795167774713"),
    ("three_retry", "local-1795167793238"),
];

fn spark(case: &str) -> Watching {
    let (_, application) = SPARK.iter().find(|(known, _)| *known == case).unwrap();
    let playback = Playback::of(&format!("spark/{case}"), "app");
    let monitor = json!({"name": "spark", "preset": "spark", "poll": {"gone": {"after": "500ms"}}});
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
    farspan.stop();
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

// Both, with farspan killed in the middle.

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
        watching.assert_told(&expected(&watching.playback));
        farspan.stop();
    }
}
