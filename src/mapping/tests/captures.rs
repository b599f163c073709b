//! Bodies that real systems answered (`tests/captures`), read by definitions such as a user would write.

use super::*;
use expect_test::{Expect, expect};
use std::fs;
use std::path::Path;

/// What the requests of one poll were answered with, by the request's name in the capture. Without a poll's number: the
/// last answer that each got.
fn bodies(case: &str, poll: Option<u64>) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(case);
    let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let mut bodies = Vec::new();
    for line in index.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let wanted = poll.is_none_or(|poll| line["poll"] == poll);
        if let Some(file) = line["file"]
            .as_str()
            .filter(|_| wanted && line["status"] == 200)
        {
            let target = line["target"].as_str().unwrap().to_owned();
            bodies.retain(|(known, _)| *known != target);
            bodies.push((target, fs::read_to_string(folder.join(file)).unwrap()));
        }
    }
    bodies
}

/// `names` are the capture's names for the mapping's requests.
fn check(
    definition: &Value,
    id: &str,
    case: &str,
    poll_number: Option<u64>,
    names: &[(&str, &str)],
    expected: Expect,
) {
    let bodies = bodies(case, poll_number);
    let mapping = compiled(definition);
    let reading = poll(&mapping, id, |name, url| {
        let (_, target) = names.iter().find(|(known, _)| *known == name).unwrap();
        // One was captured for the task that is retried.
        assert!(
            *target != "tries" || url.ends_with("/transform/tries"),
            "{url}"
        );
        let body = bodies.iter().find(|(known, _)| known == target);
        body.unwrap_or_else(|| panic!("{target}")).1.clone()
    });
    expected.assert_eq(&told(&reading));
}

fn airflow() -> Value {
    json!({
        "id": "{dag_id}/{dag_run_id}",
        "request": {"path": "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"},
        "requests": {
            "tasks": {"path": "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances",
                "pages": {"by": "offset", "size": 100, "total": "/total_entries"}},
            "tries": {"path": "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{stage.key.0}/tries",
                "for_each": "tasks", "when_attempt_above": 1}},
        "workflow": {"id": "/dag_run_id", "status": "/state", "queued": "/queued_at", "start": "/start_date", "end": "/end_date",
            "attributes": {"airflow.run_type": "/run_type"}},
        "stages": [
            {"name": "tasks", "from": "tasks", "list": "/task_instances", "key": ["/task_id", "/map_index"], "kind": "/task_display_name",
                "status": "/state", "queued": ["/scheduled_when", "/queued_when"], "start": "/start_date", "end": "/end_date", "attempt": "/try_number"},
            {"name": "tries", "from": "tries", "list": "/task_instances", "key": ["/task_id", "/map_index"], "kind": "/task_display_name",
                "status": "/state", "queued": ["/scheduled_when", "/queued_when"], "start": "/start_date", "end": "/end_date", "attempt": "/try_number"}],
        "statuses": {"queued": "pending", "scheduled": "pending", "up_for_retry": "failure", "upstream_failed": "skip", "skipped": "skip",
            "running": "running", "success": "success", "failed": "failure"},
    })
}

const AIRFLOW: &[(&str, &str)] = &[("", "run"), ("tasks", "tis"), ("tries", "tries")];
const AIRFLOW_RUN: &str = "three_retry/manual__2026-11-20T09:26:51.912764+00:00";

#[test]
fn airflow_tells_a_retry() {
    let at = |poll: u64, expected| {
        check(
            &airflow(),
            AIRFLOW_RUN,
            "airflow/three_retry",
            Some(poll),
            AIRFLOW,
            expected,
        )
    };
    at(
        1,
        expect![[r#"
        queued=pending queued 09:26:51.914634Z id="three_retry/manual__2026-11-20T09:26:51.912764+00:00" airflow.run_type="manual"
          extract/-1 "extract" pending
          transform/-1 "transform" pending
          load/-1 "load" pending"#]],
    );
    at(
        9,
        expect![[r#"
        running=running queued 09:26:51.914634Z 09:26:52.622066Z..? id="three_retry/manual__2026-11-20T09:26:51.912764+00:00" airflow.run_type="manual"
          extract/-1 "extract" success=success queued 09:26:52.627187Z 09:26:52.709015Z..09:26:55.778474Z
          load/-1 "load" pending
          transform/-1 "transform" up_for_retry=failure queued 09:26:56.497636Z 09:26:56.57391Z..09:26:59.653819Z"#]],
    );
    at(
        13,
        expect![[r#"
        running=running queued 09:26:51.914634Z 09:26:52.622066Z..? id="three_retry/manual__2026-11-20T09:26:51.912764+00:00" airflow.run_type="manual"
          extract/-1 "extract" success=success queued 09:26:52.627187Z 09:26:52.709015Z..09:26:55.778474Z
          load/-1 "load" pending
          transform/-1#2 "transform" running=running queued 09:27:03.631151Z 09:27:03.714993Z..?
          transform/-1 "transform" failed=failure queued 09:26:56.497636Z 09:26:56.57391Z..09:26:59.653819Z"#]],
    );
    at(
        23,
        expect![[r#"
        success=success queued 09:26:51.914634Z 09:26:52.622066Z..09:27:11.446419Z id="three_retry/manual__2026-11-20T09:26:51.912764+00:00" airflow.run_type="manual"
          extract/-1 "extract" success=success queued 09:26:52.627187Z 09:26:52.709015Z..09:26:55.778474Z
          load/-1 "load" success=success queued 09:27:07.558049Z 09:27:07.672321Z..09:27:10.766906Z
          transform/-1#2 "transform" success=success queued 09:27:03.631151Z 09:27:03.714993Z..09:27:06.800203Z
          transform/-1 "transform" failed=failure queued 09:26:56.497636Z 09:26:56.57391Z..09:26:59.653819Z"#]],
    );
}

#[test]
fn airflow_tells_a_failure() {
    check(
        &airflow(),
        "three_fail/manual__2026-11-20T09:26:39.794432+00:00",
        "airflow/three_fail",
        None,
        AIRFLOW,
        expect![[r#"
            failed=failure queued 09:26:39.79656Z 09:26:40.395254Z..09:26:49.584494Z id="three_fail/manual__2026-11-20T09:26:39.794432+00:00" airflow.run_type="manual"
              extract/-1 "extract" success=success queued 09:26:40.400842Z 09:26:40.478164Z..09:26:43.555249Z
              transform/-1 "transform" failed=failure queued 09:26:44.433788Z 09:26:44.527204Z..09:26:47.60606Z
              load/-1 "load" upstream_failed=skip 09:26:48.557441Z..09:26:48.557441Z"#]],
    );
}

fn buildbot() -> Value {
    json!({
        "request": {"path": "/api/v2/builds/{id}"},
        "requests": {"steps": {"path": "/api/v2/builds/{id}/steps"}},
        "workflow": {"root": "/builds/0", "id": "/buildid", "status": ["/results", "/complete"], "start": "/started_at",
            "end": "/complete_at", "error": "/state_string"},
        "stages": [{"from": "steps", "list": "/steps", "key": "/number", "kind": "/name", "id": "/stepid", "status": ["/results", "/complete"],
            "start": "/started_at", "end": "/complete_at", "error": "/state_string"}],
        "statuses": {"false": "running", "true": "success", "0": "success", "1": "success", "2": "failure", "3": "skip", "4": "error",
            "5": "failure", "6": "cancellation"},
    })
}

#[test]
fn buildbot_tells_a_failure() {
    let at = |poll: u64, expected| {
        check(
            &buildbot(),
            "2",
            "buildbot/three_fail",
            Some(poll),
            &[("", "build"), ("steps", "steps")],
            expected,
        );
    };
    at(
        4,
        expect![[r#"
        false=running 09:23:20Z..? "building" id="2"
          0 "worker_preparation" 0=success 09:23:20Z..09:23:20Z "worker w1 ready" id="5"
          1 "extract" 0=success 09:23:20Z..09:23:23Z "'sh -c ...'" id="6"
          2 "transform" false=running 09:23:23Z..? "pending" id="7""#]],
    );
    at(
        11,
        expect![[r#"
        2=failure 09:23:20Z..09:23:26Z "failed 'sh -c ...' (failure)" id="2"
          0 "worker_preparation" 0=success 09:23:20Z..09:23:20Z "worker w1 ready" id="5"
          1 "extract" 0=success 09:23:20Z..09:23:23Z "'sh -c ...'" id="6"
          2 "transform" 2=failure 09:23:23Z..09:23:26Z "'sh -c ...' (failure)" id="7""#]],
    );
}

fn spark() -> Value {
    json!({
        "request": {"path": "/api/v1/applications/{id}"},
        "requests": {
            "jobs": {"path": "/api/v1/applications/{id}/jobs"},
            "stages": {"path": "/api/v1/applications/{id}/stages?details=false"}},
        "workflow": {"id": "/id", "status": "/attempts/0/completed", "start": "/attempts/0/startTime", "end": "/attempts/0/endTime",
            "attributes": {"spark.app.name": "/name", "spark.version": "/attempts/0/appSparkVersion"}},
        "stages": [
            {"name": "jobs", "from": "jobs", "list": "", "key": "/jobId", "kind": ["/description", "/name"], "status": "/status",
                "start": "/submissionTime", "end": "/completionTime", "children": {"list": "stages", "ids": "/stageIds"}},
            {"name": "stages", "from": "stages", "list": "", "key": "/stageId", "kind": "/name", "attempt": "/attemptId", "first_attempt": 0,
                "status": "/status", "start": "/submissionTime", "end": "/completionTime", "error": "/failureReason"}],
        "statuses": {"false": "running", "true": "success", "RUNNING": "running", "SUCCEEDED": "success", "FAILED": "failure",
            "PENDING": "pending", "ACTIVE": "running", "COMPLETE": "success", "SKIPPED": "skip"},
    })
}

#[test]
fn spark_tells_its_jobs_and_their_stages() {
    let names = [("", "app"), ("jobs", "jobs"), ("stages", "stages")];
    for (case, id, poll, expected) in [
        (
            "spark/three_retry",
            "local-1795167793238",
            Some(3),
            expect![[r#"
                false=running 09:43:12.609Z..? id="local-1795167793238" spark.app.name="three_retry" spark.version="3.5.6"
                  0 "three stage job" RUNNING=running 09:43:15.003Z..?
                  ~stages/2 "collect at /srv/spark_job.py:19" PENDING=pending in=0
                  ~stages/1 "groupByKey at /srv/spark_job.py:19" PENDING=pending in=0
                  ~stages/0 "groupByKey at /srv/spark_job.py:19" ACTIVE=running 09:43:15.027Z..? in=0"#]],
        ),
        (
            "spark/three_retry",
            "local-1795167793238",
            None,
            expect![[r#"
            false=running 09:43:12.609Z..? id="local-1795167793238" spark.app.name="three_retry" spark.version="3.5.6"
              0 "three stage job" SUCCEEDED=success 09:43:15.003Z..09:43:25.293Z
              ~stages/2 "collect at /srv/spark_job.py:19" COMPLETE=success 09:43:22.177Z..09:43:25.286Z in=0
              ~stages/1 "groupByKey at /srv/spark_job.py:19" COMPLETE=success 09:43:18.902Z..09:43:22.174Z in=0
              ~stages/0 "groupByKey at /srv/spark_job.py:19" COMPLETE=success 09:43:15.027Z..09:43:18.894Z in=0"#]],
        ),
    ] {
        check(&spark(), id, case, poll, &names, expected);
    }
}
