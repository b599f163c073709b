//! Every preset, played back through the built binary: `tests/captures` was recorded from real systems, `tests/presets`
//! was written from documentation or edited by hand. `trace.txt` beside a recording is the trace that must come out.

use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Request};
use crate::support::monitored::Monitored;
use crate::support::playback::{Gate, Playback};
use crate::support::program::Farspan;
use crate::support::spans::{Seen, assert_nested, brief_text};
use crate::support::{SOON, eventually, ns, rfc3339};
use expect_test::expect_file;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A farspan that watches a recording, with the collector behind it.
struct Watching {
    it: Monitored,
    playback: Playback,
    id: String,
}

impl Watching {
    /// `case` is a folder in `tests`, named after the preset.
    fn of(case: &str, id: &str) -> Self {
        Watching::with(case, id, |_| {})
    }

    /// With bodies that are changed on the way.
    fn edited(case: &str, id: &str, edit: impl Fn(&str, &mut Value)) -> Self {
        let playback = Playback::edited(case, gate(preset_of(case)), edit);
        Watching::by(preset_of(case), playback, id, |_| {})
    }

    /// With more in the monitor than the preset needs.
    fn with(case: &str, id: &str, more: impl FnOnce(&mut Value)) -> Self {
        let playback = Playback::behind(case, gate(preset_of(case)));
        Watching::by(preset_of(case), playback, id, more)
    }

    fn by(preset: &str, playback: Playback, id: &str, more: impl FnOnce(&mut Value)) -> Self {
        let files = Files::new();
        let auth = match preset {
            "airflow" => json!({"body_file": files.write("login.json", LOGIN)}),
            "argo-workflows" | "databricks" | "github-actions" => {
                json!({"token_file": files.write("token", "t0ken")})
            }
            "gitlab" => json!({"value_file": files.write("token", "t0ken")}),
            _ => Value::Null,
        };
        // The tests do not wait as long as the presets would.
        let mut monitor = json!({
            "name": preset, "preset": preset, "poll": {"interval_by_status": null},
            "api": {"base_url": playback.server.url(), "auth": auth, "requests_per_second": null},
        });
        more(&mut monitor);
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

    /// The trace is the one in `trace.txt`, and came from nothing but what was recorded.
    #[track_caller]
    fn assert_trace(&self) {
        let spans = self.it.spans(&self.id);
        assert_nested(&spans);
        expect_file![self.playback.trace_file()].assert_eq(&brief_text(&spans));
        self.playback.assert_nothing_stray();
    }

    /// The trace where farspan was killed, perhaps between the collector's answer and its commit: then it sends a batch
    /// again, with the same bytes. Status events may be fewer, because polls are lost.
    #[track_caller]
    fn assert_trace_though_killed(&self) {
        let receiver = &self.it.rig.receiver;
        eventually("the trace", SOON, || receiver.has_root(&self.id));
        receiver.deliveries();
        let mut spans = receiver.distinct_spans();
        spans.retain(|span| span.workflow_id() == self.id);
        assert_nested(&spans);
        let expected = std::fs::read_to_string(self.playback.trace_file()).expect("a trace");
        let without_events = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("  event: "));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(
            without_events(&brief_text(&spans)),
            without_events(&expected)
        );
        self.playback.assert_nothing_stray();
    }

    /// Polls of this workflow.
    fn polls(&self) -> usize {
        let requests = self.playback.server.requests();
        let main = requests.iter().filter(|r| r.target.ends_with(&self.id));
        main.count()
    }
}

/// The preset of `captures/airflow/three_ok` is `airflow`.
fn preset_of(case: &str) -> &str {
    case.split('/').nth(1).expect("a preset")
}

const LOGIN: &str = r#"{"username": "admin", "password": "airflow-password"}"#;

/// Airflow answers 401 without a token, 403 to a wrong one, and 201 with a token to a login.
fn gate(preset: &str) -> Gate {
    if preset != "airflow" {
        return Box::new(|_| None);
    }
    Box::new(|request| {
        if request.target == "/auth/token" {
            let wanted: Value = serde_json::from_str(LOGIN).unwrap();
            let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let token = json!({ "access_token": "airflow-token" }).to_string();
            let is_right = request.method == "POST" && sent == wanted;
            let granted = Answer::new(201).body("application/json", token);
            return Some(if is_right { granted } else { Answer::new(401) }.into());
        }
        match request.header("Authorization") {
            None => Some(Answer::new(401).into()),
            Some("Bearer airflow-token") => None,
            Some(_) => Some(Answer::new(403).into()),
        }
    })
}

/// Plays a recording of one run from its start event to its trace.
#[track_caller]
fn play(case: &str, id: &str) {
    let watching = Watching::of(case, id);
    let farspan = watching.start();
    watching.assert_trace();
    assert_quiet(&farspan.stop().stderr);
}

/// Plays a recording whose runs are found by discovery, until there are this many traces.
#[track_caller]
fn play_list(case: &str, count: usize, parameters: &Value) {
    let watching = Watching::with(case, "", |monitor| {
        monitor["discovery"] = json!({"enabled": true, "interval": "100ms", "lookback": "3650d", "parameters": parameters});
    });
    let farspan = watching.it.call.start();
    let receiver = &watching.it.rig.receiver;
    let roots = || {
        receiver
            .spans()
            .iter()
            .filter(|seen| seen.is_root())
            .count()
    };
    eventually("all the traces", SOON, || roots() == count);
    assert_quiet(&farspan.stop().stderr);
    receiver.assert_each_span_once();
    let spans = receiver.spans();
    let mut traces: BTreeMap<&[u8], Vec<Seen>> = BTreeMap::new();
    for seen in &spans {
        let trace = traces.entry(&seen.span.trace_id).or_default();
        trace.push(seen.clone());
    }
    traces.values().for_each(|spans| assert_nested(spans));
    expect_file![watching.playback.trace_file()].assert_eq(&brief_text(&spans));
    watching.playback.assert_nothing_stray();
}

/// The log has nothing odd about an answer, and no secret.
#[track_caller]
fn assert_quiet(log: &str) {
    for word in [
        "in an answer of",
        "airflow-token",
        "airflow-password",
        "t0ken",
    ] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

const AIRFLOW: [(&str, &str); 3] = [
    (
        "captures/airflow/three_ok",
        "three_ok/manual__2026-11-20T09:26:22.634361+00:00",
    ),
    (
        "captures/airflow/three_fail",
        "three_fail/manual__2026-11-20T09:26:39.794432+00:00",
    ),
    (
        "captures/airflow/three_retry",
        "three_retry/manual__2026-11-20T09:26:51.912764+00:00",
    ),
];

#[test]
fn airflow() {
    AIRFLOW.iter().for_each(|(case, id)| play(case, id));
    play_list("presets/airflow/list", 3, &json!({}));
}

#[test]
fn argo_workflows() {
    play("presets/argo-workflows/success", "argo/steps-x7k2p");
    play("presets/argo-workflows/retried", "argo/etl-x7k2p");
    play_list("presets/argo-workflows/failure", 1, &json!({}));
}

#[test]
fn buildbot() {
    play("captures/buildbot/three_ok", "1");
    play("captures/buildbot/three_fail", "2");
    play_list("presets/buildbot/list", 2, &json!({}));
}

#[test]
fn databricks() {
    play("presets/databricks/failure", "455644833");
    play("presets/databricks/retried", "455644833");
    play_list("presets/databricks/success", 1, &json!({}));
}

#[test]
fn farspan() {
    play("presets/farspan/success", "704c0b60");
    play("presets/farspan/failure", "704c0b60");
}

#[test]
fn github_actions() {
    for case in ["success", "failure", "pages"] {
        let case = format!("presets/github-actions/{case}");
        play(&case, "octo-org/octo-repo/30433642");
    }
    let parameters = json!({"owner": "octo-org", "repo": "octo-repo"});
    play_list("presets/github-actions/again", 3, &parameters);
}

/// A run that a bot touches, or whose logs expire, has an `updated_at` long after its end.
#[test]
fn github_ends_a_run_with_its_last_job() {
    let case = "presets/github-actions/success";
    let watching = Watching::edited(case, "octo-org/octo-repo/30433642", |target, body| {
        if target == "run" {
            body["updated_at"] = json!("2026-12-30T09:03:00Z");
        }
    });
    let farspan = watching.start();
    watching.assert_trace();
    farspan.stop();
}

#[test]
fn gitlab() {
    play("presets/gitlab/success", "test-group/test-project#287");
    play("presets/gitlab/yaml_error", "test-group/test-project#287");
    play("presets/gitlab/skipped", "test-group/test-project#288");
    play("presets/gitlab/retried", "group/project#46");
    play_list("presets/gitlab/failure", 1, &json!({"project": "21"}));
}

const SPARK: [(&str, &str); 3] = [
    ("captures/spark/three_ok", "local-1795167752267"),
    ("captures/spark/three_fail", "local-1795167774713"),
    ("captures/spark/three_retry", "local-1795167793238"),
];

/// A driver's API is gone once its application has ended.
#[test]
fn spark() {
    for (case, id) in SPARK {
        let mut watching = spark_gone_after(case, id, "500ms");
        let farspan = watching.start();
        let count = watching.playback.count();
        eventually("every answer, and more than once", SOON, || {
            watching.polls() > count + 1
        });
        watching.playback.server.stop();
        watching.assert_trace();
        assert_quiet(&farspan.stop().stderr);
    }
    play("presets/spark/retried", SPARK[1].1);
    play_list("presets/spark/history", 1, &json!({}));
}

fn spark_gone_after(case: &str, id: &str, after: &str) -> Watching {
    Watching::with(case, id, |monitor| {
        monitor["poll"]["gone"] = json!({ "after": after });
    })
}

// Killed in the middle of a recording.

fn keep_state(watching: &mut Watching, folder: &Folder) {
    watching.it.call = (watching.it.call.clone())
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display());
}

#[test]
fn killed_in_the_middle_of_a_recording_it_tells_the_same() {
    let (case, id) = AIRFLOW[2];
    for (mut watching, at) in [
        (Watching::of(case, id), 10),
        (Watching::of("captures/buildbot/three_fail", "2"), 5),
    ] {
        let folder = Folder::new();
        keep_state(&mut watching, &folder);
        watching.playback.hold_at(at);
        let farspan = watching.start();
        eventually("half of the trace", SOON, || {
            watching.playback.begun() == at && !watching.it.rig.receiver.spans().is_empty()
        });
        farspan.kill();
        watching.playback.go_on();
        let farspan = watching.it.start();
        watching.assert_trace_though_killed();
        farspan.stop();
    }
}

/// Killed while a job runs, and once more when its API has gone but not for long enough.
#[test]
fn killed_in_the_middle_of_spark_it_tells_the_same() {
    for (case, id) in SPARK {
        let folder = Folder::new();
        let mut watching = spark_gone_after(case, id, "3s");
        keep_state(&mut watching, &folder);
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
        let spans = || watching.it.rig.receiver.spans();
        eventually("half of the trace", SOON, || {
            watching.playback.begun() == at && !spans().is_empty()
        });
        let job = |seen: &Seen| seen.find("spark.job.group").is_some();
        assert!(!spans().iter().any(job), "{case}: the job has ended");
        farspan.kill();
        watching.playback.go_on();
        let farspan = watching.it.start();
        eventually("the last answer", SOON, || {
            watching.playback.begun() == count
        });
        let polls = watching.polls();
        eventually("a poll after it", SOON, || watching.polls() > polls + 1);
        watching.playback.server.stop();
        farspan.await_log("(connect)");
        farspan.kill();
        assert!(
            !watching.it.rig.receiver.has_root(&watching.id),
            "{case}: ended too early"
        );
        let farspan = watching.it.start();
        watching.assert_trace_though_killed();
        farspan.stop();
    }
}

// What the recordings do not have by themselves.

#[test]
fn airflow_durations_are_not_believed() {
    let (case, id) = AIRFLOW[1];
    let watching = Watching::edited(case, id, |target, body| {
        if target == "run" {
            body["duration"] = json!(86_400.5);
        }
        let instances = body["task_instances"].as_array_mut();
        for instance in instances.into_iter().flatten() {
            instance["duration"] = json!(-1.0);
        }
    });
    let farspan = watching.start();
    watching.assert_trace();
    farspan.stop();
}

#[test]
fn airflow_a_run_may_fail_that_never_started() {
    let (case, id) = AIRFLOW[1];
    let watching = Watching::edited(case, id, |target, body| {
        if target == "run" {
            body["start_date"] = Value::Null;
        }
    });
    let farspan = watching.start();
    let spans = watching.it.spans(&watching.id);
    let root = spans.iter().find(|span| span.is_root()).unwrap();
    assert_eq!(root.attribute("cicd.pipeline.result"), "failure");
    assert_eq!(root.find("startTime"), None, "the API has none");
    let end = watching.playback.last("run")["end_date"].clone();
    assert_eq!(rfc3339(root.end()), rfc3339(ns(end.as_str().unwrap())));
    let stages = spans.iter().filter(|span| !span.is_root());
    let first = stages.map(Seen::start).min();
    assert_eq!(Some(root.start()), first, "around its stages");
    farspan.stop();
}

/// Buildbot sets a cookie with each answer, and its 404 comes in chunks. The connection stays usable.
#[test]
fn buildbot_sets_cookies_that_are_not_kept_and_says_404_in_chunks() {
    let asked = AtomicUsize::new(0);
    let gate = move |_: &Request| {
        let not_found = Answer::new(404)
            .header("Set-Cookie", "TWISTED_SESSION=abc; Path=/")
            .body(
                "text/plain; charset=utf-8",
                r#"{"error": "Invalid path: builds/1"}"#,
            );
        let is_early = asked.fetch_add(1, Ordering::SeqCst) < 2;
        is_early.then_some(Reply::Chunked(not_found, 7))
    };
    let playback = Playback::behind("captures/buildbot/three_ok", Box::new(gate));
    let mut watching = Watching::by("buildbot", playback, "1", |_| {});
    watching.it.call = watching.it.call.clone().env("FARSPAN_POLLERS", 1);
    let farspan = watching.start();
    watching.assert_trace();
    farspan.stop();
    let requests = watching.playback.server.requests();
    assert!(requests.iter().all(|r| r.header("Cookie").is_none()));
    assert_eq!(watching.playback.server.connections(), 1);
}
