//! The presets that follow documentation: systems that tell a story in their documented words, and the trace of it.

use crate::support::files::Files;
use crate::support::monitored::Monitored;
use crate::support::playback::Playback;
use crate::support::spans::trace_text;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

/// One run, told in some polls: the trace as text, without what is the same for all. Answers with the targets asked for.
fn check(
    preset: &str,
    id: &str,
    api: Value,
    polls: &[&[(&str, Value)]],
    expected: Expect,
) -> Vec<String> {
    let playback = Playback::scripted(polls);
    let files = Files::new();
    let token = files.write("token", "t0ken");
    let api = api.to_string().replace("TOKEN", &token);
    let mut monitor = json!({"name": preset, "preset": preset, "api": serde_json::from_str::<Value>(&api).unwrap()});
    monitor["api"]["base_url"] = json!(playback.server.url());
    // In a hurry, whatever the preset says.
    monitor["api"]["requests_per_second"] = Value::Null;
    monitor["poll"] = json!({"interval_by_status": null});
    let it = Monitored::with(files, json!([monitor]));
    let (spans, log) = it.watch(id);
    let text = trace_text(&spans);
    let (_, text) = text.split_once("\nscope ").unwrap();
    let (_, text) = text.split_once('\n').unwrap();
    let is_of_run = |line: &&str| {
        [
            "  trace: own",
            "  flags: ",
            "  attribute: workflowId=",
            "  attribute: cicd.pipeline.run.id=",
        ]
        .iter()
        .any(|same| line.starts_with(same))
    };
    let lines = text.lines().filter(|line| !is_of_run(line));
    expected.assert_eq(&lines.map(|line| format!("{line}\n")).collect::<String>());
    playback.assert_nothing_stray();
    assert!(!log.contains("in an answer of"), "{log}");
    let requests = playback.server.requests();
    requests.into_iter().map(|request| request.target).collect()
}

/// <https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run>,
/// <https://docs.github.com/en/rest/actions/workflow-jobs#list-jobs-for-a-workflow-run>
#[test]
fn github_actions() {
    const RUN: &str = "/repos/octo-org/octo-repo/actions/runs/30433642";
    const JOBS: &str = "/repos/octo-org/octo-repo/actions/runs/30433642/jobs";
    let run = |status: &str, conclusion: Value, updated: &str| {
        json!({
            "id": 30433642, "name": "Build", "node_id": "MDEyOldvcmtmbG93IFJ1bjI2OTI4OQ==", "check_suite_id": 42,
            "head_branch": "main", "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d",
            "path": ".github/workflows/build.yml@main", "run_number": 562, "event": "push", "display_title": "Update README.md",
            "status": status, "conclusion": conclusion, "workflow_id": 159038, "url": "https://api.github.com/repos/octo-org/octo-repo/actions/runs/30433642",
            "html_url": "https://github.com/octo-org/octo-repo/actions/runs/30433642", "pull_requests": [],
            "created_at": "2026-01-22T19:33:08Z", "updated_at": updated, "run_attempt": 1, "run_started_at": "2026-01-22T19:33:08Z",
            "actor": {"login": "octocat", "id": 1}, "triggering_actor": {"login": "hubot", "id": 2},
            "repository": {"id": 1296269, "name": "octo-repo", "owner": {"login": "octo-org"}, "html_url": "https://github.com/octo-org/octo-repo"},
        })
    };
    let step = |number: u32,
                name: &str,
                status: &str,
                conclusion: Value,
                from: Value,
                to: Value| {
        json!({"name": name, "status": status, "conclusion": conclusion, "number": number, "started_at": from, "completed_at": to})
    };
    let job = |id: u64,
               name: &str,
               status: &str,
               conclusion: Value,
               from: Value,
               to: Value,
               steps: Value| {
        json!({
            "id": id, "run_id": 30433642, "run_attempt": 1, "node_id": "MDg6Q2hlY2tSdW4zOTk0NDQ0OTY=", "status": status, "conclusion": conclusion,
            "created_at": "2026-01-22T19:33:10Z", "started_at": from, "completed_at": to, "name": name, "steps": steps,
            "html_url": format!("https://github.com/octo-org/octo-repo/runs/{id}"), "labels": ["self-hosted"],
            "runner_id": 1, "runner_name": "my runner", "runner_group_id": 2, "runner_group_name": "my group", "workflow_name": "Build",
        })
    };
    let null = Value::Null;
    let time = |second: u32| json!(format!("2026-01-22T19:33:{second:02}Z"));
    let built = |last: Value| {
        json!([
            step(
                1,
                "Set up job",
                "completed",
                json!("success"),
                time(20),
                time(22)
            ),
            step(
                2,
                "Run tests",
                "completed",
                json!("failure"),
                time(22),
                time(40)
            ),
            last,
        ])
    };
    let told: Vec<String> = check(
        "github-actions",
        "octo-org/octo-repo/30433642",
        json!({"auth": {"token_file": "TOKEN"}}),
        &[
            &[
                (RUN, run("queued", null.clone(), "2026-01-22T19:33:08Z")),
                (JOBS, json!({"total_count": 0, "jobs": []})),
            ],
            &[
                (
                    RUN,
                    run("in_progress", null.clone(), "2026-01-22T19:33:20Z"),
                ),
                (
                    JOBS,
                    json!({"total_count": 2, "jobs": [
                        job(1, "build", "in_progress", null.clone(), time(20), null.clone(), json!([
                            step(1, "Set up job", "completed", json!("success"), time(20), time(22)),
                            step(2, "Run tests", "in_progress", null.clone(), time(22), null.clone()),
                            step(3, "Post", "queued", null.clone(), null.clone(), null.clone()),
                        ])),
                        job(2, "lint", "queued", null.clone(), time(10), null.clone(), json!([])),
                    ]}),
                ),
            ],
            &[
                (
                    RUN,
                    run("completed", json!("failure"), "2026-01-22T19:33:50Z"),
                ),
                (
                    JOBS,
                    json!({"total_count": 3, "jobs": [
                        job(1, "build", "completed", json!("failure"), time(20), time(42),
                            built(step(3, "Post", "completed", json!("skipped"), time(40), time(40)))),
                        job(2, "lint", "completed", json!("success"), time(21), time(30), json!([
                            step(1, "Run lint", "completed", json!("success"), time(22), time(29)),
                        ])),
                        job(3, "deploy", "completed", json!("skipped"), time(43), time(43), json!([])),
                    ]}),
                ),
            ],
        ],
        expect![[r#"
            Workflow SPAN_KIND_INTERNAL
              parent: none
              start: 2026-01-22T19:33:08Z
              end: 2026-01-22T19:33:50Z
              status: STATUS_CODE_ERROR
              attribute: attempt=1 (int)
              attribute: cicd.pipeline.name=Build
              attribute: cicd.pipeline.result=failure
              attribute: cicd.pipeline.run.url.full=https://github.com/octo-org/octo-repo/actions/runs/30433642
              attribute: endTime=2026-01-22T19:33:50Z
              attribute: error.type=failure
              attribute: github.actor=hubot
              attribute: github.event=push
              attribute: github.run_number=562 (int)
              attribute: startTime=2026-01-22T19:33:08Z
              attribute: vcs.ref.head.name=main
              attribute: vcs.ref.head.revision=acb5820ced9479c074f688cc328bf03f341a511d
              attribute: vcs.repository.url.full=https://github.com/octo-org/octo-repo
              event: 2026-01-22T19:33:50Z queued
              event: 2026-01-22T19:33:50Z in_progress
              event: 2026-01-22T19:33:50Z failure
            Set up job SPAN_KIND_INTERNAL
              parent: build
              start: 2026-01-22T19:33:20Z
              end: 2026-01-22T19:33:22Z
              status: STATUS_CODE_OK
              attribute: cicd.pipeline.name=Build
              attribute: cicd.pipeline.task.name=Set up job
              attribute: cicd.pipeline.task.run.id=1/1
              attribute: cicd.pipeline.task.run.result=success
              attribute: endTime=2026-01-22T19:33:22Z
              attribute: startTime=2026-01-22T19:33:20Z
              attribute: type=Set up job
              event: 2026-01-22T19:33:22Z success
            build SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-01-22T19:33:20Z
              end: 2026-01-22T19:33:42Z
              status: STATUS_CODE_ERROR
              attribute: cicd.pipeline.name=Build
              attribute: cicd.pipeline.task.name=build
              attribute: cicd.pipeline.task.run.id=1
              attribute: cicd.pipeline.task.run.result=failure
              attribute: cicd.pipeline.task.run.url.full=https://github.com/octo-org/octo-repo/runs/1
              attribute: cicd.worker.name=my runner
              attribute: endTime=2026-01-22T19:33:42Z
              attribute: error.type=failure
              attribute: github.runner.group=my group
              attribute: id=1
              attribute: queuedTime=2026-01-22T19:33:10Z
              attribute: startTime=2026-01-22T19:33:20Z
              attribute: type=build
              event: 2026-01-22T19:33:42Z in_progress
              event: 2026-01-22T19:33:42Z failure
            lint SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-01-22T19:33:21Z
              end: 2026-01-22T19:33:30Z
              status: STATUS_CODE_OK
              attribute: cicd.pipeline.name=Build
              attribute: cicd.pipeline.task.name=lint
              attribute: cicd.pipeline.task.run.id=2
              attribute: cicd.pipeline.task.run.result=success
              attribute: cicd.pipeline.task.run.url.full=https://github.com/octo-org/octo-repo/runs/2
              attribute: cicd.worker.name=my runner
              attribute: endTime=2026-01-22T19:33:30Z
              attribute: github.runner.group=my group
              attribute: id=2
              attribute: queuedTime=2026-01-22T19:33:10Z
              attribute: startTime=2026-01-22T19:33:21Z
              attribute: type=lint
              event: 2026-01-22T19:33:30Z queued
              event: 2026-01-22T19:33:30Z success
            Run tests SPAN_KIND_INTERNAL
              parent: build
              start: 2026-01-22T19:33:22Z
              end: 2026-01-22T19:33:40Z
              status: STATUS_CODE_ERROR
              attribute: cicd.pipeline.name=Build
              attribute: cicd.pipeline.task.name=Run tests
              attribute: cicd.pipeline.task.run.id=1/2
              attribute: cicd.pipeline.task.run.result=failure
              attribute: endTime=2026-01-22T19:33:40Z
              attribute: error.type=failure
              attribute: startTime=2026-01-22T19:33:22Z
              attribute: type=Run tests
              event: 2026-01-22T19:33:40Z in_progress
              event: 2026-01-22T19:33:40Z failure
            Run lint SPAN_KIND_INTERNAL
              parent: lint
              start: 2026-01-22T19:33:22Z
              end: 2026-01-22T19:33:29Z
              status: STATUS_CODE_OK
              attribute: cicd.pipeline.name=Build
              attribute: cicd.pipeline.task.name=Run lint
              attribute: cicd.pipeline.task.run.id=2/1
              attribute: cicd.pipeline.task.run.result=success
              attribute: endTime=2026-01-22T19:33:29Z
              attribute: startTime=2026-01-22T19:33:22Z
              attribute: type=Run lint
              event: 2026-01-22T19:33:29Z success
        "#]],
    );
    assert_eq!(
        told[..2],
        [
            RUN.to_owned(),
            format!("{JOBS}?filter=latest&per_page=100&page=1")
        ]
    );
}

/// <https://docs.gitlab.com/api/pipelines/#get-a-single-pipeline>, <https://docs.gitlab.com/api/jobs/#list-pipeline-jobs>
#[test]
fn gitlab() {
    const PIPELINE: &str = "/api/v4/projects/group/project/pipelines/46";
    const JOBS: &str = "/api/v4/projects/group/project/pipelines/46/jobs";
    let pipeline = |status: &str, started: Value, finished: Value| {
        json!({
            "id": 46, "iid": 11, "project_id": 1, "name": "Build pipeline", "status": status, "ref": "main",
            "sha": "a91957a858320c0e17f3a0eca7cfacbff50ea29a", "before_sha": "a91957a858320c0e17f3a0eca7cfacbff50ea29a", "tag": false,
            "yaml_errors": null, "user": {"name": "Administrator", "username": "root", "id": 1}, "source": "push",
            "created_at": "2026-08-11T11:28:34.085Z", "updated_at": "2026-08-11T11:32:35.169Z", "started_at": started,
            "finished_at": finished, "committed_at": null, "duration": 123.65, "queued_duration": 0.010, "coverage": "30.0",
            "web_url": "https://example.com/foo/bar/pipelines/46",
        })
    };
    let job = |id: u32,
               name: &str,
               stage: &str,
               status: &str,
               started: Value,
               finished: Value,
               reason: Value| {
        json!({
            "id": id, "name": name, "stage": stage, "status": status, "ref": "main", "tag": false, "coverage": null,
            "allow_failure": name == "lint", "created_at": "2026-08-11T11:28:34.100Z", "started_at": started, "finished_at": finished,
            "erased_at": null, "duration": 0.192, "queued_duration": 0.5, "failure_reason": reason,
            "runner": {"id": 32, "description": "shared", "active": true}, "web_url": format!("https://example.com/foo/bar/-/jobs/{id}"),
            "pipeline": {"id": 46, "project_id": 1, "status": "running"}, "user": {"id": 1, "username": "root"},
        })
    };
    let null = Value::Null;
    let time = |second: u32| json!(format!("2026-08-11T11:29:{second:02}.123Z"));
    let script = json!("script_failure");
    let told = check(
        "gitlab",
        "group/project#46",
        json!({"auth": {"value_file": "TOKEN"}}),
        &[
            &[
                (PIPELINE, pipeline("pending", null.clone(), null.clone())),
                (
                    JOBS,
                    json!([
                        job(
                            8,
                            "deploy",
                            "deploy",
                            "created",
                            null.clone(),
                            null.clone(),
                            null.clone()
                        ),
                        job(
                            7,
                            "rspec",
                            "test",
                            "pending",
                            null.clone(),
                            null.clone(),
                            null.clone()
                        ),
                    ]),
                ),
            ],
            &[
                (PIPELINE, pipeline("running", time(0), null.clone())),
                (
                    JOBS,
                    json!([
                        job(
                            8,
                            "deploy",
                            "deploy",
                            "created",
                            null.clone(),
                            null.clone(),
                            null.clone()
                        ),
                        job(
                            7,
                            "rspec",
                            "test",
                            "running",
                            time(1),
                            null.clone(),
                            null.clone()
                        ),
                    ]),
                ),
            ],
            &[
                (PIPELINE, pipeline("running", time(0), null.clone())),
                (
                    JOBS,
                    json!([
                        job(
                            10,
                            "rspec",
                            "test",
                            "running",
                            time(6),
                            null.clone(),
                            null.clone()
                        ),
                        job(
                            9,
                            "lint",
                            "test",
                            "failed",
                            time(2),
                            time(4),
                            script.clone()
                        ),
                        job(
                            8,
                            "deploy",
                            "deploy",
                            "created",
                            null.clone(),
                            null.clone(),
                            null.clone()
                        ),
                        job(
                            7,
                            "rspec",
                            "test",
                            "failed",
                            time(1),
                            time(5),
                            script.clone()
                        ),
                    ]),
                ),
            ],
            &[
                (PIPELINE, pipeline("success", time(0), time(20))),
                (
                    JOBS,
                    json!([
                        job(
                            11,
                            "notify",
                            "deploy",
                            "skipped",
                            null.clone(),
                            null.clone(),
                            null.clone()
                        ),
                        job(
                            10,
                            "rspec",
                            "test",
                            "success",
                            time(6),
                            time(9),
                            null.clone()
                        ),
                        job(
                            9,
                            "lint",
                            "test",
                            "failed",
                            time(2),
                            time(4),
                            script.clone()
                        ),
                        job(
                            8,
                            "deploy",
                            "deploy",
                            "success",
                            time(10),
                            time(19),
                            null.clone()
                        ),
                        job(
                            7,
                            "rspec",
                            "test",
                            "failed",
                            time(1),
                            time(5),
                            script.clone()
                        ),
                    ]),
                ),
            ],
        ],
        expect![[r#"
            Workflow SPAN_KIND_INTERNAL
              parent: none
              start: 2026-08-11T11:29:00.123Z
              end: 2026-08-11T11:29:20.123Z
              status: STATUS_CODE_OK
              attribute: cicd.pipeline.name=Build pipeline
              attribute: cicd.pipeline.result=success
              attribute: cicd.pipeline.run.url.full=https://example.com/foo/bar/pipelines/46
              attribute: endTime=2026-08-11T11:29:20.123Z
              attribute: gitlab.pipeline.source=push
              attribute: gitlab.project.id=1 (int)
              attribute: gitlab.user=root
              attribute: queuedTime=2026-08-11T11:28:34.085Z
              attribute: startTime=2026-08-11T11:29:00.123Z
              attribute: vcs.ref.head.name=main
              attribute: vcs.ref.head.revision=a91957a858320c0e17f3a0eca7cfacbff50ea29a
              event: 2026-08-11T11:29:20.123Z pending
              event: 2026-08-11T11:29:20.123Z running
              event: 2026-08-11T11:29:20.123Z success
            rspec SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-08-11T11:29:01.123Z
              end: 2026-08-11T11:29:05.123Z
              status: STATUS_CODE_ERROR script_failure
              attribute: cicd.pipeline.name=Build pipeline
              attribute: cicd.pipeline.task.name=rspec
              attribute: cicd.pipeline.task.run.id=7
              attribute: cicd.pipeline.task.run.result=failure
              attribute: cicd.pipeline.task.run.url.full=https://example.com/foo/bar/-/jobs/7
              attribute: cicd.worker.name=shared
              attribute: endTime=2026-08-11T11:29:05.123Z
              attribute: error.type=failed
              attribute: gitlab.allow_failure=false (bool)
              attribute: gitlab.queued_duration=0.5 (double)
              attribute: gitlab.stage=test
              attribute: id=7
              attribute: startTime=2026-08-11T11:29:01.123Z
              attribute: type=rspec
              event: 2026-08-11T11:29:05.123Z pending
              event: 2026-08-11T11:29:05.123Z running
              event: 2026-08-11T11:29:05.123Z failed
            lint SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-08-11T11:29:02.123Z
              end: 2026-08-11T11:29:04.123Z
              status: STATUS_CODE_ERROR script_failure
              attribute: cicd.pipeline.name=Build pipeline
              attribute: cicd.pipeline.task.name=lint
              attribute: cicd.pipeline.task.run.id=9
              attribute: cicd.pipeline.task.run.result=failure
              attribute: cicd.pipeline.task.run.url.full=https://example.com/foo/bar/-/jobs/9
              attribute: cicd.worker.name=shared
              attribute: endTime=2026-08-11T11:29:04.123Z
              attribute: error.type=failed
              attribute: gitlab.allow_failure=true (bool)
              attribute: gitlab.queued_duration=0.5 (double)
              attribute: gitlab.stage=test
              attribute: id=9
              attribute: startTime=2026-08-11T11:29:02.123Z
              attribute: type=lint
              event: 2026-08-11T11:29:04.123Z failed
            rspec SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-08-11T11:29:06.123Z
              end: 2026-08-11T11:29:09.123Z
              status: STATUS_CODE_OK
              attribute: attempt=2 (int)
              attribute: cicd.pipeline.name=Build pipeline
              attribute: cicd.pipeline.task.name=rspec
              attribute: cicd.pipeline.task.run.id=10
              attribute: cicd.pipeline.task.run.result=success
              attribute: cicd.pipeline.task.run.url.full=https://example.com/foo/bar/-/jobs/10
              attribute: cicd.worker.name=shared
              attribute: endTime=2026-08-11T11:29:09.123Z
              attribute: gitlab.allow_failure=false (bool)
              attribute: gitlab.queued_duration=0.5 (double)
              attribute: gitlab.stage=test
              attribute: id=10
              attribute: startTime=2026-08-11T11:29:06.123Z
              attribute: type=rspec
              event: 2026-08-11T11:29:09.123Z running
              event: 2026-08-11T11:29:09.123Z success
              link: c4dc2197d7bfac7bad8d0e895b3d7ed7 87e9fd89adda8673
            deploy SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-08-11T11:29:10.123Z
              end: 2026-08-11T11:29:19.123Z
              status: STATUS_CODE_OK
              attribute: cicd.pipeline.name=Build pipeline
              attribute: cicd.pipeline.task.name=deploy
              attribute: cicd.pipeline.task.run.id=8
              attribute: cicd.pipeline.task.run.result=success
              attribute: cicd.pipeline.task.run.url.full=https://example.com/foo/bar/-/jobs/8
              attribute: cicd.worker.name=shared
              attribute: endTime=2026-08-11T11:29:19.123Z
              attribute: gitlab.allow_failure=false (bool)
              attribute: gitlab.queued_duration=0.5 (double)
              attribute: gitlab.stage=deploy
              attribute: id=8
              attribute: startTime=2026-08-11T11:29:10.123Z
              attribute: type=deploy
              event: 2026-08-11T11:29:19.123Z created
              event: 2026-08-11T11:29:19.123Z success
        "#]],
    );
    assert_eq!(
        told[..2],
        [
            "/api/v4/projects/group%2Fproject/pipelines/46",
            "/api/v4/projects/group%2Fproject/pipelines/46/jobs?include_retried=true&per_page=100"
        ]
    );
}

/// <https://docs.databricks.com/api/workspace/jobs/getrun>
#[test]
fn databricks() {
    const RUN: &str = "/api/2.2/jobs/runs/get";
    let at = |second: u64| 1_625_060_460_000_u64 + second * 1000 + 483;
    let state = |life: &str, result: &str, message: &str| match result {
        "" => json!({"life_cycle_state": life, "state_message": message}),
        _ => {
            json!({"life_cycle_state": life, "result_state": result, "state_message": message, "user_cancelled_or_timedout": false})
        }
    };
    let run = |state: Value, end: u64, tasks: Value| {
        json!({
            "job_id": 11223344, "run_id": 455644833, "number_in_job": 455644833, "original_attempt_run_id": 455644833, "state": state,
            "start_time": at(0), "setup_duration": 0, "execution_duration": 0, "cleanup_duration": 0, "end_time": end, "run_duration": 110183,
            "trigger": "PERIODIC", "creator_user_name": "user.name@databricks.com", "run_name": "A multitask job run",
            "run_page_url": "https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833", "run_type": "JOB_RUN",
            "attempt_number": 0, "tasks": tasks, "format": "MULTI_TASK",
        })
    };
    let task = |id: u64, key: &str, attempt: u32, state: Value, start: u64, end: u64| {
        json!({
            "run_id": id, "task_key": key, "description": "..", "job_cluster_key": "auto", "run_page_url": format!("https://my-workspace.cloud.databricks.com/#job/11223344/run/{id}"),
            "state": state, "start_time": start, "end_time": end, "setup_duration": 1000, "execution_duration": 0, "cleanup_duration": 0,
            "attempt_number": attempt, "cluster_instance": {"cluster_id": "0923-164208-meows279", "spark_context_id": "4348585301701786933"}, "run_if": "ALL_SUCCESS",
        })
    };
    let running = || state("RUNNING", "", "In run");
    let ingest = || {
        task(
            2112892,
            "ingest",
            0,
            state("TERMINATED", "SUCCESS", ""),
            at(1),
            at(4),
        )
    };
    check(
        "databricks",
        "455644833",
        json!({"auth": {"token_file": "TOKEN"}}),
        &[
            &[(
                RUN,
                run(
                    state("PENDING", "", "Waiting for cluster"),
                    0,
                    json!([
                        task(2112892, "ingest", 0, state("PENDING", "", ""), 0, 0),
                        task(2112897, "transform", 0, state("BLOCKED", "", ""), 0, 0),
                    ]),
                ),
            )],
            &[(
                RUN,
                run(
                    running(),
                    0,
                    json!([ingest(), task(2112897, "transform", 0, running(), at(5), 0)]),
                ),
            )],
            &[(
                RUN,
                run(
                    running(),
                    0,
                    json!([
                        ingest(),
                        task(
                            2112897,
                            "transform",
                            0,
                            state(
                                "TERMINATED",
                                "FAILED",
                                "Workload failed, see run output for details"
                            ),
                            at(5),
                            at(8)
                        ),
                    ]),
                ),
            )],
            &[(
                RUN,
                run(
                    running(),
                    0,
                    json!([ingest(), task(2112899, "transform", 1, running(), at(9), 0)]),
                ),
            )],
            &[(
                RUN,
                run(
                    state("TERMINATED", "SUCCESS", ""),
                    at(20),
                    json!([
                        ingest(),
                        task(
                            2112899,
                            "transform",
                            1,
                            state("TERMINATED", "SUCCESS", ""),
                            at(9),
                            at(15)
                        ),
                        task(
                            2112901,
                            "on_failure",
                            0,
                            state("SKIPPED", "EXCLUDED", "Run was excluded"),
                            at(15),
                            at(15)
                        ),
                    ]),
                ),
            )],
        ],
        expect![[r#"
            Workflow SPAN_KIND_INTERNAL
              parent: none
              start: 2021-06-30T13:41:00.483Z
              end: 2021-06-30T13:41:20.483Z
              status: STATUS_CODE_OK
              attribute: attempt=1 (int)
              attribute: cicd.pipeline.name=A multitask job run
              attribute: cicd.pipeline.result=success
              attribute: cicd.pipeline.run.url.full=https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833
              attribute: databricks.creator=user.name@databricks.com
              attribute: databricks.job.id=11223344 (int)
              attribute: databricks.trigger=PERIODIC
              attribute: endTime=2021-06-30T13:41:20.483Z
              attribute: startTime=2021-06-30T13:41:00.483Z
              event: 2021-06-30T13:41:20.483Z PENDING
              event: 2021-06-30T13:41:20.483Z RUNNING
              event: 2021-06-30T13:41:20.483Z SUCCESS
            ingest SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2021-06-30T13:41:01.483Z
              end: 2021-06-30T13:41:04.483Z
              status: STATUS_CODE_OK
              attribute: cicd.pipeline.name=A multitask job run
              attribute: cicd.pipeline.task.name=ingest
              attribute: cicd.pipeline.task.run.id=2112892
              attribute: cicd.pipeline.task.run.result=success
              attribute: cicd.pipeline.task.run.url.full=https://my-workspace.cloud.databricks.com/#job/11223344/run/2112892
              attribute: databricks.cluster.id=0923-164208-meows279
              attribute: databricks.setup_duration_ms=1000 (int)
              attribute: endTime=2021-06-30T13:41:04.483Z
              attribute: id=2112892
              attribute: startTime=2021-06-30T13:41:01.483Z
              attribute: type=ingest
              event: 2021-06-30T13:41:04.483Z PENDING
              event: 2021-06-30T13:41:04.483Z SUCCESS
            transform SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2021-06-30T13:41:05.483Z
              end: 2021-06-30T13:41:08.483Z
              status: STATUS_CODE_ERROR Workload failed, see run output for details
              attribute: cicd.pipeline.name=A multitask job run
              attribute: cicd.pipeline.task.name=transform
              attribute: cicd.pipeline.task.run.id=2112897
              attribute: cicd.pipeline.task.run.result=failure
              attribute: cicd.pipeline.task.run.url.full=https://my-workspace.cloud.databricks.com/#job/11223344/run/2112897
              attribute: databricks.cluster.id=0923-164208-meows279
              attribute: databricks.setup_duration_ms=1000 (int)
              attribute: endTime=2021-06-30T13:41:08.483Z
              attribute: error.type=FAILED
              attribute: id=2112897
              attribute: startTime=2021-06-30T13:41:05.483Z
              attribute: type=transform
              event: 2021-06-30T13:41:08.483Z BLOCKED
              event: 2021-06-30T13:41:08.483Z RUNNING
              event: 2021-06-30T13:41:08.483Z FAILED
            transform SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2021-06-30T13:41:09.483Z
              end: 2021-06-30T13:41:15.483Z
              status: STATUS_CODE_OK
              attribute: attempt=2 (int)
              attribute: cicd.pipeline.name=A multitask job run
              attribute: cicd.pipeline.task.name=transform
              attribute: cicd.pipeline.task.run.id=2112899
              attribute: cicd.pipeline.task.run.result=success
              attribute: cicd.pipeline.task.run.url.full=https://my-workspace.cloud.databricks.com/#job/11223344/run/2112899
              attribute: databricks.cluster.id=0923-164208-meows279
              attribute: databricks.setup_duration_ms=1000 (int)
              attribute: endTime=2021-06-30T13:41:15.483Z
              attribute: id=2112899
              attribute: startTime=2021-06-30T13:41:09.483Z
              attribute: type=transform
              event: 2021-06-30T13:41:15.483Z RUNNING
              event: 2021-06-30T13:41:15.483Z SUCCESS
              link: fd8be1df66e69664515d7f0ead138704 6d5e4cdeeb0d3fd1
        "#]],
    );
}

/// <https://argo-workflows.readthedocs.io/en/latest/fields/#nodestatus>
#[test]
fn argo_workflows() {
    const WORKFLOW: &str = "/api/v1/workflows/argo/etl-x7k2p";
    let null = Value::Null;
    let workflow = |phase: &str,
                    from: Value,
                    to: Value,
                    message: Value,
                    nodes: Vec<(String, Value)>| {
        let nodes: serde_json::Map<String, Value> = nodes.into_iter().collect();
        json!({
            "metadata": {"name": "etl-x7k2p", "namespace": "argo", "creationTimestamp": "2026-03-01T10:00:00Z",
                "labels": {"workflows.argoproj.io/workflow-template": "etl"}},
            "status": {"phase": phase, "startedAt": from, "finishedAt": to, "message": message, "nodes": nodes},
        })
    };
    let node = |suffix: &str,
                display: &str,
                kind: &str,
                boundary: &str,
                phase: &str,
                from: Value,
                to: Value,
                message: Value| {
        let id = |suffix: &str| match suffix {
            "" => "etl-x7k2p".to_owned(),
            _ => format!("etl-x7k2p-{suffix}"),
        };
        let mut node = json!({
            "id": id(suffix), "name": format!("etl-x7k2p.{display}"), "displayName": display, "type": kind, "templateName": display,
            "templateScope": "local/etl-x7k2p", "phase": phase, "startedAt": from, "finishedAt": to, "progress": "0/1",
        });
        if boundary != "none" {
            node["boundaryID"] = json!(id(boundary));
        }
        if !message.is_null() {
            node["message"] = message;
        }
        if kind == "Pod" {
            node["hostNodeName"] = json!("node-1");
        }
        (id(suffix), node)
    };
    let time = |second: u32| json!(format!("2026-03-01T10:00:{second:02}Z"));
    let said = |text: &str| json!(text);
    check(
        "argo-workflows",
        "argo/etl-x7k2p",
        json!({"auth": {"token_file": "TOKEN"}}),
        &[
            &[(
                WORKFLOW,
                json!({
                    "metadata": {"name": "etl-x7k2p", "namespace": "argo", "creationTimestamp": "2026-03-01T10:00:00Z"},
                    "status": {"startedAt": null, "finishedAt": null},
                }),
            )],
            &[(
                WORKFLOW,
                workflow(
                    "Running",
                    time(2),
                    null.clone(),
                    null.clone(),
                    vec![
                        node(
                            "",
                            "etl-x7k2p",
                            "DAG",
                            "none",
                            "Running",
                            time(2),
                            null.clone(),
                            null.clone(),
                        ),
                        node(
                            "1",
                            "extract",
                            "Pod",
                            "",
                            "Running",
                            time(2),
                            null.clone(),
                            null.clone(),
                        ),
                    ],
                ),
            )],
            &[(
                WORKFLOW,
                workflow(
                    "Running",
                    time(2),
                    null.clone(),
                    null.clone(),
                    vec![
                        node(
                            "",
                            "etl-x7k2p",
                            "DAG",
                            "none",
                            "Running",
                            time(2),
                            null.clone(),
                            null.clone(),
                        ),
                        node(
                            "1",
                            "extract",
                            "Pod",
                            "",
                            "Succeeded",
                            time(2),
                            time(6),
                            null.clone(),
                        ),
                        node(
                            "2",
                            "transform",
                            "Retry",
                            "",
                            "Running",
                            time(6),
                            null.clone(),
                            null.clone(),
                        ),
                        node(
                            "20",
                            "transform(0)",
                            "Pod",
                            "",
                            "Failed",
                            time(6),
                            time(9),
                            said("Error (exit code 1)"),
                        ),
                        node(
                            "21",
                            "transform(1)",
                            "Pod",
                            "",
                            "Pending",
                            time(10),
                            null.clone(),
                            said("ContainerCreating"),
                        ),
                        node(
                            "3",
                            "report",
                            "Steps",
                            "",
                            "Running",
                            time(6),
                            null.clone(),
                            null.clone(),
                        ),
                        node(
                            "30",
                            "[0]",
                            "StepGroup",
                            "3",
                            "Running",
                            time(6),
                            null.clone(),
                            null.clone(),
                        ),
                        node(
                            "31",
                            "render",
                            "Pod",
                            "3",
                            "Running",
                            time(7),
                            null.clone(),
                            null.clone(),
                        ),
                    ],
                ),
            )],
            &[(
                WORKFLOW,
                workflow(
                    "Failed",
                    time(2),
                    time(30),
                    said("child 'etl-x7k2p-2' failed"),
                    vec![
                        node(
                            "",
                            "etl-x7k2p",
                            "DAG",
                            "none",
                            "Failed",
                            time(2),
                            time(30),
                            null.clone(),
                        ),
                        node(
                            "1",
                            "extract",
                            "Pod",
                            "",
                            "Succeeded",
                            time(2),
                            time(6),
                            null.clone(),
                        ),
                        node(
                            "2",
                            "transform",
                            "Retry",
                            "",
                            "Failed",
                            time(6),
                            time(14),
                            said("No more retries left"),
                        ),
                        node(
                            "20",
                            "transform(0)",
                            "Pod",
                            "",
                            "Failed",
                            time(6),
                            time(9),
                            said("Error (exit code 1)"),
                        ),
                        node(
                            "21",
                            "transform(1)",
                            "Pod",
                            "",
                            "Failed",
                            time(10),
                            time(14),
                            said("Error (exit code 1)"),
                        ),
                        node(
                            "3",
                            "report",
                            "Steps",
                            "",
                            "Succeeded",
                            time(6),
                            time(20),
                            null.clone(),
                        ),
                        node(
                            "30",
                            "[0]",
                            "StepGroup",
                            "3",
                            "Succeeded",
                            time(6),
                            time(20),
                            null.clone(),
                        ),
                        node(
                            "31",
                            "render",
                            "Pod",
                            "3",
                            "Succeeded",
                            time(7),
                            time(12),
                            null.clone(),
                        ),
                        node(
                            "32",
                            "send",
                            "Skipped",
                            "3",
                            "Skipped",
                            time(20),
                            time(20),
                            said("when 'false == true' evaluated false"),
                        ),
                        node(
                            "4",
                            "load",
                            "Skipped",
                            "",
                            "Omitted",
                            time(14),
                            time(14),
                            said("omitted: depends condition not met"),
                        ),
                    ],
                ),
            )],
        ],
        expect![[r#"
            Workflow SPAN_KIND_INTERNAL
              parent: none
              start: 2026-03-01T10:00:02Z
              end: 2026-03-01T10:00:30Z
              status: STATUS_CODE_ERROR child 'etl-x7k2p-2' failed
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.result=failure
              attribute: endTime=2026-03-01T10:00:30Z
              attribute: error.type=Failed
              attribute: k8s.namespace.name=argo
              attribute: queuedTime=2026-03-01T10:00:00Z
              attribute: startTime=2026-03-01T10:00:02Z
              event: 2026-03-01T10:00:30Z Running
              event: 2026-03-01T10:00:30Z Failed
            extract SPAN_KIND_INTERNAL
              parent: etl-x7k2p
              start: 2026-03-01T10:00:02Z
              end: 2026-03-01T10:00:06Z
              status: STATUS_CODE_OK
              attribute: argo.node.type=Pod
              attribute: argo.template=extract
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=extract
              attribute: cicd.pipeline.task.run.id=etl-x7k2p-1
              attribute: cicd.pipeline.task.run.result=success
              attribute: endTime=2026-03-01T10:00:06Z
              attribute: id=etl-x7k2p-1
              attribute: k8s.node.name=node-1
              attribute: startTime=2026-03-01T10:00:02Z
              attribute: type=extract
              event: 2026-03-01T10:00:06Z Running
              event: 2026-03-01T10:00:06Z Succeeded
            etl-x7k2p SPAN_KIND_INTERNAL
              parent: Workflow
              start: 2026-03-01T10:00:02Z
              end: 2026-03-01T10:00:30Z
              status: STATUS_CODE_ERROR
              attribute: argo.node.type=DAG
              attribute: argo.template=etl-x7k2p
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=etl-x7k2p
              attribute: cicd.pipeline.task.run.id=etl-x7k2p
              attribute: cicd.pipeline.task.run.result=failure
              attribute: endTime=2026-03-01T10:00:30Z
              attribute: error.type=Failed
              attribute: id=etl-x7k2p
              attribute: startTime=2026-03-01T10:00:02Z
              attribute: type=etl-x7k2p
              event: 2026-03-01T10:00:30Z Running
              event: 2026-03-01T10:00:30Z Failed
            transform(0) SPAN_KIND_INTERNAL
              parent: etl-x7k2p
              start: 2026-03-01T10:00:06Z
              end: 2026-03-01T10:00:09Z
              status: STATUS_CODE_ERROR Error (exit code 1)
              attribute: argo.node.type=Pod
              attribute: argo.template=transform(0)
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=transform(0)
              attribute: cicd.pipeline.task.run.id=etl-x7k2p-20
              attribute: cicd.pipeline.task.run.result=failure
              attribute: endTime=2026-03-01T10:00:09Z
              attribute: error.type=Failed
              attribute: id=etl-x7k2p-20
              attribute: k8s.node.name=node-1
              attribute: startTime=2026-03-01T10:00:06Z
              attribute: type=transform(0)
              event: 2026-03-01T10:00:09Z Failed
            transform SPAN_KIND_INTERNAL
              parent: etl-x7k2p
              start: 2026-03-01T10:00:06Z
              end: 2026-03-01T10:00:14Z
              status: STATUS_CODE_ERROR No more retries left
              attribute: argo.node.type=Retry
              attribute: argo.template=transform
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=transform
              attribute: cicd.pipeline.task.run.id=etl-x7k2p-2
              attribute: cicd.pipeline.task.run.result=failure
              attribute: endTime=2026-03-01T10:00:14Z
              attribute: error.type=Failed
              attribute: id=etl-x7k2p-2
              attribute: startTime=2026-03-01T10:00:06Z
              attribute: type=transform
              event: 2026-03-01T10:00:14Z Running
              event: 2026-03-01T10:00:14Z Failed
            report SPAN_KIND_INTERNAL
              parent: etl-x7k2p
              start: 2026-03-01T10:00:06Z
              end: 2026-03-01T10:00:20Z
              status: STATUS_CODE_OK
              attribute: argo.node.type=Steps
              attribute: argo.template=report
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=report
              attribute: cicd.pipeline.task.run.id=etl-x7k2p-3
              attribute: cicd.pipeline.task.run.result=success
              attribute: endTime=2026-03-01T10:00:20Z
              attribute: id=etl-x7k2p-3
              attribute: startTime=2026-03-01T10:00:06Z
              attribute: type=report
              event: 2026-03-01T10:00:20Z Running
              event: 2026-03-01T10:00:20Z Succeeded
            render SPAN_KIND_INTERNAL
              parent: report
              start: 2026-03-01T10:00:07Z
              end: 2026-03-01T10:00:12Z
              status: STATUS_CODE_OK
              attribute: argo.node.type=Pod
              attribute: argo.template=render
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=render
              attribute: cicd.pipeline.task.run.id=etl-x7k2p-31
              attribute: cicd.pipeline.task.run.result=success
              attribute: endTime=2026-03-01T10:00:12Z
              attribute: id=etl-x7k2p-31
              attribute: k8s.node.name=node-1
              attribute: startTime=2026-03-01T10:00:07Z
              attribute: type=render
              event: 2026-03-01T10:00:12Z Running
              event: 2026-03-01T10:00:12Z Succeeded
            transform(1) SPAN_KIND_INTERNAL
              parent: etl-x7k2p
              start: 2026-03-01T10:00:10Z
              end: 2026-03-01T10:00:14Z
              status: STATUS_CODE_ERROR Error (exit code 1)
              attribute: argo.node.type=Pod
              attribute: argo.template=transform(1)
              attribute: cicd.pipeline.name=etl
              attribute: cicd.pipeline.task.name=transform(1)
              attribute: cicd.pipeline.task.run.id=etl-x7k2p-21
              attribute: cicd.pipeline.task.run.result=failure
              attribute: endTime=2026-03-01T10:00:14Z
              attribute: error.type=Failed
              attribute: id=etl-x7k2p-21
              attribute: k8s.node.name=node-1
              attribute: startTime=2026-03-01T10:00:10Z
              attribute: type=transform(1)
              event: 2026-03-01T10:00:14Z Pending
              event: 2026-03-01T10:00:14Z Failed
        "#]],
    );
}
