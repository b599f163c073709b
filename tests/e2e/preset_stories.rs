//! Presets where a run takes more than one answer: it is run again, its jobs are on several pages, its tasks are tried again.
//! The bodies are written from the documentation that the presets name.

use crate::support::files::Files;
use crate::support::http::{Answer, Request, Server};
use crate::support::monitored::Monitored;
use crate::support::percent_decoded;
use crate::support::spans::Seen;
use crate::support::{SOON, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the API says in the scene at hand: by path and query. `None` is a 404, which no test wants.
type Tells =
    dyn Fn(usize, &str, &BTreeMap<String, String>, &Request) -> Option<Answer> + Send + Sync;

/// An API with scenes, and a farspan that watches it by a preset.
struct Story {
    server: Server,
    scene: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
}

impl Story {
    fn told_by(tells: Box<Tells>) -> Self {
        let (scene, lost) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = {
            let (scene, lost) = (scene.clone(), lost.clone());
            Server::start(move |request| {
                let (path, query) = request
                    .target
                    .split_once('?')
                    .unwrap_or((&request.target, ""));
                let decoded = |text: &str| percent_decoded(text).expect("well encoded");
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                let query = pairs
                    .map(|(key, value)| (decoded(key), decoded(value)))
                    .collect();
                let answer = tells(
                    scene.load(Ordering::SeqCst),
                    &decoded(path),
                    &query,
                    request,
                );
                answer
                    .unwrap_or_else(|| {
                        lost.fetch_add(1, Ordering::SeqCst);
                        Answer::new(404)
                    })
                    .into()
            })
        };
        Story {
            server,
            scene,
            lost,
        }
    }

    fn scene(&self, scene: usize) {
        self.scene.store(scene, Ordering::SeqCst);
    }

    fn watched_by(&self, preset: &str, more: Value) -> Monitored {
        let files = Files::new();
        let auth = match preset {
            "gitlab" => json!({"value_file": files.write("token", "t0ken")}),
            _ => json!({"token_file": files.write("token", "t0ken")}),
        };
        let mut monitor = json!({"name": preset, "preset": preset, "poll": {"interval_by_status": null},
            "api": {"base_url": self.server.url(), "auth": auth, "requests_per_second": null}});
        for (key, value) in more.as_object().expect("an object") {
            monitor[key] = value.clone();
        }
        Monitored::with(files, json!([monitor]))
    }

    /// Waits until all of the scene at hand was seen: two more polls have begun since.
    #[track_caller]
    fn await_seen(&self, path: &str) {
        let polls = || {
            let requests = self.server.requests();
            requests
                .iter()
                .filter(|request| request.target.split('?').next() == Some(path))
                .count()
        };
        let before = polls();
        eventually("two more polls", SOON, || polls() >= before + 2);
    }

    #[track_caller]
    fn assert_all_known(&self) {
        assert_eq!(
            self.lost.load(Ordering::SeqCst),
            0,
            "{:#?}",
            self.server.requests()
        );
    }
}

fn ok(body: &Value) -> Answer {
    Answer::new(200).body("application/json", body.to_string())
}

/// One trace: of each span its name, attempt and result, what it is part of, and the attempt that it follows.
#[track_caller]
fn told(spans: &[Seen]) -> Vec<String> {
    let traces: HashSet<&[u8]> = spans.iter().map(|seen| &*seen.span.trace_id).collect();
    assert_eq!(traces.len(), 1, "one trace");
    let label = |seen: &Seen| {
        let attempt = seen.find("attempt").unwrap_or_else(|| "1 (int)".into());
        let attempt = attempt.trim_end_matches(" (int)").to_owned();
        format!("{}#{attempt}", seen.span.name)
    };
    let by_id: HashMap<&[u8], &Seen> = spans
        .iter()
        .map(|seen| (&*seen.span.span_id, seen))
        .collect();
    assert_eq!(by_id.len(), spans.len(), "a span twice");
    let mut lines: Vec<String> = spans
        .iter()
        .map(|seen| {
            let result = ["cicd.pipeline.result", "cicd.pipeline.task.run.result"];
            let result = result
                .iter()
                .find_map(|key| seen.find(key))
                .expect("a result");
            let mut line = format!("{} {result}", label(seen));
            if let Some(parent) = by_id.get(&*seen.span.parent_span_id) {
                line += &format!(" in {}", label(parent));
                assert!(
                    parent.start() <= seen.start() && seen.end() <= parent.end(),
                    "{line}"
                );
            }
            for link in &seen.span.links {
                match by_id.get(&*link.span_id) {
                    Some(before) => {
                        assert_eq!(link.trace_id, seen.span.trace_id);
                        line += &format!(" after {}", label(before));
                    }
                    None => line += " after another trace",
                }
            }
            line
        })
        .collect();
    lines.sort();
    lines
}

// GitHub Actions: <https://docs.github.com/en/rest/actions/workflow-runs>, <https://docs.github.com/en/rest/actions/workflow-jobs>

const RUN: &str = "/repos/octo-org/octo-repo/actions/runs/30433642";
const RUN_ID: &str = "octo-org/octo-repo/30433642";

fn github_run(attempt: u32, status: &str, conclusion: Option<&str>) -> Value {
    let hour = 8 + attempt;
    let at = |minute: u32| format!("2026-01-22T{hour:02}:{minute:02}:00Z");
    let before = match attempt {
        1 => Value::Null,
        _ => json!(format!(
            "https://api.github.com{RUN}/attempts/{}",
            attempt - 1
        )),
    };
    json!({
        "id": 30433642, "name": "Build", "check_suite_id": 42, "head_branch": "main", "path": ".github/workflows/build.yml@main",
        "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d", "run_number": 562, "event": "push", "status": status,
        "conclusion": conclusion, "workflow_id": 159038, "created_at": "2026-01-22T09:00:00Z", "updated_at": at(30),
        "run_attempt": attempt, "run_started_at": at(0), "previous_attempt_url": before,
        "html_url": "https://github.com/octo-org/octo-repo/actions/runs/30433642", "actor": {"login": "octocat", "id": 1},
        "repository": {"id": 1296269, "name": "octo-repo", "owner": {"login": "octo-org"}, "html_url": "https://github.com/octo-org/octo-repo"},
    })
}

fn github_job(
    id: u64,
    attempt: u32,
    name: &str,
    conclusion: Option<&str>,
    from: u32,
    to: u32,
) -> Value {
    let hour = 8 + attempt;
    let at = |minute: u32| format!("2026-01-22T{hour:02}:{minute:02}:00Z");
    let status = match conclusion {
        Some(_) => "completed",
        None => "in_progress",
    };
    json!({
        "id": id, "run_id": 30433642, "run_attempt": attempt, "status": status, "conclusion": conclusion, "created_at": at(0),
        "started_at": at(from), "completed_at": conclusion.map(|_| at(to)), "name": name, "steps": [],
        "html_url": format!("https://github.com/octo-org/octo-repo/actions/runs/30433642/job/{id}"), "runner_name": "my runner",
    })
}

/// The list of runs tells of it under its id, with another `run_attempt`. Its jobs have ids of their own.
#[test]
fn a_github_run_that_is_run_again_is_another_trace_that_links_to_the_first() {
    let story = Story::told_by(Box::new(|scene, path, query, _| {
        let run = match scene {
            0 => github_run(1, "completed", Some("failure")),
            1 => github_run(2, "in_progress", None),
            _ => github_run(2, "completed", Some("success")),
        };
        let jobs = match scene {
            0 => vec![
                github_job(11, 1, "build", Some("success"), 1, 9),
                github_job(12, 1, "test", Some("failure"), 10, 29),
                github_job(13, 1, "deploy", Some("skipped"), 29, 29),
            ],
            1 => vec![
                github_job(21, 2, "build", Some("success"), 1, 9),
                github_job(22, 2, "test", None, 10, 0),
            ],
            _ => vec![
                github_job(21, 2, "build", Some("success"), 1, 9),
                github_job(22, 2, "test", Some("success"), 10, 19),
                github_job(23, 2, "deploy", Some("success"), 20, 29),
            ],
        };
        match path.strip_prefix(RUN) {
            Some("") => Some(ok(&run)),
            Some("/jobs") => {
                assert_eq!(query["filter"], "latest");
                Some(ok(&json!({"total_count": jobs.len(), "jobs": jobs})))
            }
            _ if path == "/repos/octo-org/octo-repo/actions/runs" => {
                Some(ok(&json!({"total_count": 1, "workflow_runs": [run]})))
            }
            _ => None,
        }
    }));
    let it = story.watched_by(
        "github-actions",
        json!({"discovery": {"enabled": true, "interval": "100ms",
        "lookback": "3650d", "parameters": {"owner": "octo-org", "repo": "octo-repo"}}}),
    );
    let farspan = it.call.start();
    let roots = || {
        let mut roots = it.rig.receiver.spans();
        roots.retain(|seen| seen.is_root() && seen.workflow_id() == RUN_ID);
        roots
    };
    eventually("the first attempt", SOON, || roots().len() == 1);
    story.scene(1);
    story.await_seen(RUN);
    story.scene(2);
    eventually("the second attempt", SOON, || roots().len() == 2);
    farspan.stop();
    it.rig.receiver.assert_each_span_once();
    let (first, second) = match roots() {
        roots if roots[0].attribute("attempt") == "1 (int)" => (roots[0].clone(), roots[1].clone()),
        roots => (roots[1].clone(), roots[0].clone()),
    };
    let of = |root: &Seen| {
        let mut spans = it.rig.receiver.spans();
        spans.retain(|seen| seen.span.trace_id == root.span.trace_id);
        spans
    };
    assert_eq!(
        told(&of(&first)),
        [
            "Workflow#1 failure",
            "build#1 success in Workflow#1",
            "test#1 failure in Workflow#1"
        ]
    );
    assert_eq!(
        told(&of(&second)),
        [
            "Workflow#2 success after another trace",
            "build#1 success in Workflow#2",
            "deploy#1 success in Workflow#2",
            "test#1 success in Workflow#2",
        ]
    );
    assert!(first.span.links.is_empty());
    let link = &second.span.links[0];
    assert_eq!(
        (&link.trace_id, &link.span_id),
        (&first.span.trace_id, &first.span.span_id)
    );
    first.assert_times("2026-01-22T09:00:00Z", "2026-01-22T09:30:00Z");
    second.assert_times("2026-01-22T10:00:00Z", "2026-01-22T10:30:00Z");
    story.assert_all_known();
}

/// A page has a hundred, beside the links that GitHub sends with each.
#[test]
fn the_jobs_of_a_github_run_may_be_on_several_pages() {
    const JOBS: usize = 230;
    let name = |number: usize| format!("job-{number:03}");
    let story = Story::told_by(Box::new(move |scene, path, query, request| {
        let (status, conclusion) = match scene {
            0 => ("in_progress", None),
            _ => ("completed", Some("success")),
        };
        if path == RUN {
            return Some(ok(&github_run(1, status, conclusion)));
        }
        (path == format!("{RUN}/jobs")).then(|| {
            let number = |key: &str| query[key].parse::<usize>().expect("a number");
            let (page, size) = (number("page"), number("per_page"));
            let jobs = ((page - 1) * size..JOBS.min(page * size)).map(|number| {
                // The last of each page ends last.
                let conclusion = match scene == 0 && number % size == size - 1 {
                    true => None,
                    false => Some("success"),
                };
                github_job(number as u64, 1, &name(number), conclusion, 1, 20)
            });
            let body = json!({"total_count": JOBS, "jobs": jobs.collect::<Vec<_>>()});
            let host = request.header("Host").expect("a host");
            let link = |rel: &str, page: usize| format!("<http://{host}{RUN}/jobs?filter=latest&per_page={size}&page={page}>; rel=\"{rel}\"");
            let last = JOBS.div_ceil(size);
            match page < last {
                true => ok(&body).header("Link", format!("{}, {}", link("next", page + 1), link("last", last))),
                false => ok(&body).header("Link", format!("{}, {}", link("prev", page - 1), link("first", 1))),
            }
        })
    }));
    let it = story.watched_by("github-actions", json!({}));
    let farspan = it.start();
    it.rig.submit(RUN_ID);
    eventually("it is watched", SOON, || {
        !story.server.requests().is_empty()
    });
    story.await_seen(RUN);
    story.scene(1);
    let spans = it.spans(RUN_ID);
    farspan.stop();
    let mut expected = vec!["Workflow#1 success".to_owned()];
    expected.extend((0..JOBS).map(|number| format!("{}#1 success in Workflow#1", name(number))));
    assert_eq!(told(&spans), expected);
    story.assert_all_known();
    let requests = story.server.requests();
    let pages: Vec<_> = requests
        .iter()
        .skip(1)
        .take(3)
        .map(|request| request.target.clone())
        .collect();
    let asked = |page: u32| format!("{RUN}/jobs?filter=latest&per_page=100&page={page}");
    assert_eq!(pages, [1, 2, 3].map(asked));
}

/// <https://docs.databricks.com/api/workspace/jobs/getrun>: more than a hundred tasks come with `next_page_token`, and each
/// page tells of the run as well.
#[test]
fn the_tasks_of_a_databricks_run_may_be_on_several_pages_and_be_tried_again() {
    const TASKS: usize = 250;
    const SIZE: usize = 100;
    const RETRIED: usize = 170;
    let name = |number: usize| format!("task_{number:03}");
    let story = Story::told_by(Box::new(move |scene, path, query, _| {
        let at = |second: u64| 1_625_060_460_483_u64 + second * 1000;
        let ended = |result: &str| json!({"life_cycle_state": "TERMINATED", "result_state": result, "state_message": ""});
        let running = json!({"life_cycle_state": "RUNNING", "state_message": "In run"});
        let from = query
            .get("page_token")
            .map_or(0, |token| token["from/+=".len()..].parse().expect("ours"));
        let tasks = (from..TASKS.min(from + SIZE)).map(|number| {
            let (attempt, state, start, end) = match (number, scene) {
                (RETRIED, 0) => (0, ended("FAILED"), at(1), at(9)),
                (RETRIED, 1) => (1, running.clone(), at(10), 0),
                (RETRIED, _) => (1, ended("SUCCESS"), at(10), at(19)),
                _ => (0, ended("SUCCESS"), at(1), at(5)),
            };
            json!({"run_id": 1000 * (1 + attempt) + number as u64, "task_key": name(number), "state": state, "start_time": start,
                "end_time": end, "setup_duration": 0, "attempt_number": attempt})
        });
        let (state, end) = match scene {
            0 | 1 => (running.clone(), 0),
            _ => (ended("SUCCESS"), at(20)),
        };
        let mut body = json!({
            "job_id": 11223344, "run_id": 455644833, "state": state, "start_time": at(0), "end_time": end, "run_name": "A multitask job run",
            "trigger": "PERIODIC", "attempt_number": 0, "tasks": tasks.collect::<Vec<_>>(), "format": "MULTI_TASK",
        });
        if from + SIZE < TASKS {
            body["next_page_token"] = json!(format!("from/+={}", from + SIZE));
        }
        (path == "/api/2.2/jobs/runs/get" && query["run_id"] == "455644833").then(|| ok(&body))
    }));
    let it = story.watched_by("databricks", json!({}));
    let farspan = it.start();
    it.rig.submit("455644833");
    let path = "/api/2.2/jobs/runs/get";
    eventually("it is watched", SOON, || {
        !story.server.requests().is_empty()
    });
    for scene in [1, 2] {
        // Three requests are a poll.
        (0..3).for_each(|_| story.await_seen(path));
        story.scene(scene);
    }
    let spans = it.spans("455644833");
    farspan.stop();
    let mut expected = vec!["Workflow#1 success".to_owned()];
    expected.extend((0..TASKS).map(|number| {
        let result = if number == RETRIED {
            "failure"
        } else {
            "success"
        };
        format!("{}#1 {result} in Workflow#1", name(number))
    }));
    let again = name(RETRIED);
    expected.push(format!("{again}#2 success in Workflow#1 after {again}#1"));
    expected.sort();
    assert_eq!(told(&spans), expected);
    story.assert_all_known();
    let queries: Vec<_> = story
        .server
        .requests()
        .iter()
        .take(3)
        .map(|r| r.target[path.len() + 1..].to_owned())
        .collect();
    assert_eq!(
        queries,
        [
            "run_id=455644833",
            "run_id=455644833&page_token=from%2F%2B%3D100",
            "run_id=455644833&page_token=from%2F%2B%3D200"
        ]
    );
}

/// <https://docs.gitlab.com/api/jobs/#list-pipeline-jobs>, <https://docs.gitlab.com/api/rest/#pagination-link-header>: the newest
/// job is first, and a job that is tried again is a new one of the same name.
#[test]
fn the_jobs_of_a_gitlab_pipeline_may_be_on_several_pages_and_be_tried_again() {
    const PIPELINE: &str = "/api/v4/projects/group/project/pipelines/46";
    let story = Story::told_by(Box::new(move |scene, path, query, request| {
        let at = |second: u32| format!("2026-08-11T11:29:{second:02}.123Z");
        let job = |id: u32, name: &str, status: &str, from: u32, to: Option<u32>| {
            let reason = (status == "failed").then_some("script_failure");
            json!({"id": id, "name": name, "stage": "test", "status": status, "created_at": at(0), "started_at": at(from), "finished_at": to.map(at),
                "failure_reason": reason, "allow_failure": false, "web_url": format!("https://example.com/foo/bar/-/jobs/{id}")})
        };
        let mut jobs = vec![
            job(6, "lint", "success", 1, Some(3)),
            job(7, "rspec", "failed", 1, Some(5)),
            job(8, "unit", "success", 1, Some(4)),
        ];
        if scene > 0 {
            jobs.push(job(9, "rspec", "failed", 6, Some(9)));
        }
        if scene > 1 {
            jobs.push(job(10, "rspec", "success", 10, Some(15)));
            jobs.push(job(11, "deploy", "success", 16, Some(19)));
        }
        jobs.reverse();
        let (status, finished) = match scene {
            0 | 1 => ("running", None),
            _ => ("success", Some(at(20))),
        };
        if path == PIPELINE {
            return Some(ok(
                &json!({"id": 46, "iid": 11, "project_id": 1, "name": "Build pipeline", "status": status, "ref": "main",
                "created_at": at(0), "started_at": at(0), "finished_at": finished}),
            ));
        }
        (path == format!("{PIPELINE}/jobs")).then(|| {
            assert_eq!(query["include_retried"], "true");
            // It may give fewer than it was asked for.
            let page: usize = query.get("page").map_or(1, |page| page.parse().expect("a number"));
            let (from, to) = (2 * (page - 1), jobs.len().min(2 * page));
            let answer = ok(&json!(jobs[from..to]));
            let host = request.header("Host").expect("a host");
            let url = format!("http://{host}/api/v4/projects/group%2Fproject/pipelines/46/jobs?include_retried=true&order_by=id&per_page=100&sort=desc");
            let link = |rel: &str, page: usize| format!("<{url}&page={page}>; rel=\"{rel}\"");
            let mut links = vec![link("first", 1), link("last", jobs.len().div_ceil(2))];
            if to < jobs.len() {
                links.insert(0, link("next", page + 1));
            }
            answer.header("Link", links.join(", "))
        })
    }));
    let it = story.watched_by("gitlab", json!({}));
    let farspan = it.start();
    let id = "group/project#46";
    it.rig.submit(id);
    eventually("it is watched", SOON, || {
        !story.server.requests().is_empty()
    });
    for scene in [1, 2] {
        story.await_seen("/api/v4/projects/group%2Fproject/pipelines/46");
        story.scene(scene);
    }
    let spans = it.spans(id);
    farspan.stop();
    assert_eq!(
        told(&spans),
        [
            "Workflow#1 success",
            "deploy#1 success in Workflow#1",
            "lint#1 success in Workflow#1",
            "rspec#1 failure in Workflow#1",
            "rspec#2 failure in Workflow#1 after rspec#1",
            "rspec#3 success in Workflow#1 after rspec#2",
            "unit#1 success in Workflow#1",
        ]
    );
    let ids = |attempt: &str| {
        let mut rspec = spans.iter().filter(|seen| seen.span.name == "rspec");
        let found =
            rspec.find(|seen| seen.find("attempt").unwrap_or_else(|| "1 (int)".into()) == attempt);
        found.expect("an attempt").attribute("id")
    };
    assert_eq!(["1 (int)", "2 (int)", "3 (int)"].map(ids), ["7", "9", "10"]);
    story.assert_all_known();
}
