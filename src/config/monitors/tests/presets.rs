//! Each preset with answers of its system: of those that were recorded (tests/presets says how they came about), the
//! others as the documentation has them.

use super::super::PRESETS;
use super::*;
use crate::mapping::definition::{Meaning, Pages};
use crate::mapping::template::Variables;
use crate::mapping::tests::told;
use serde_json::Value;

/// What a user has to say beside the preset's name.
fn needed(preset: &str) -> &'static str {
    match preset {
        "airflow" => {
            r#""api": {"base_url": "http://api.test", "auth": {"body_file": "$D/login.json"}}"#
        }
        "argo-workflows" | "databricks" => {
            r#""api": {"base_url": "https://api.test", "auth": {"token_file": "$D/secret"}}"#
        }
        "github-actions" => {
            r#""api": {"auth": {"token_file": "$D/secret"}}, "discovery": {"parameters": {"owner": "o", "repo": "r"}}"#
        }
        "gitlab" => {
            r#""api": {"auth": {"value_file": "$D/secret"}}, "discovery": {"parameters": {"project": "7"}}"#
        }
        _ => r#""api": {"base_url": "http://api.test"}"#,
    }
}

fn preset(name: &str) -> crate::config::monitors::Monitor {
    one(&format!(
        r#"{{"name": "m", "preset": "{name}", {}}}"#,
        needed(name)
    ))
}

fn case(preset: &str, case: &str) -> Value {
    let path = format!(
        "{}/tests/presets/{preset}/{case}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_slice(&std::fs::read(&path).expect(&path)).unwrap()
}

/// What the preset makes of a poll's answers, and what it asks that is not there.
fn check(name: &str, id: &str, cases: &[(&str, Expect)]) {
    let monitor = preset(name);
    let mapping = &monitor.mapping;
    for (case_name, expected) in cases {
        let bodies = case(name, case_name);
        let mut gather = mapping.gather(id).expect("the id fits");
        let mut text = String::new();
        for (number, (request_name, request)) in mapping.requests().enumerate() {
            for (element, variables) in gather.each(number).iter().enumerate() {
                let url = url(request.path.render(variables, &mut text), &mut text);
                if *case_name == "retried" || (number == 0 && cases[0].0 == *case_name) {
                    text += &format!("GET {url}\n");
                }
                for body in bodies[request_name].as_array().expect(request_name) {
                    let body = serde_json::to_vec(body).unwrap();
                    let part = mapping.read_slice(number, &body).unwrap();
                    if matches!(request.pages, Some(Pages::Cursor { .. })) {
                        text += &format!("next page: {:?}\n", part.page().next);
                    }
                    gather.put(element, part);
                }
            }
        }
        text += &told(&gather.finish());
        expected.assert_eq(&text);
    }
}

/// Takes a URL that was appended off again.
fn url(is_whole: bool, text: &mut String) -> String {
    assert!(is_whole, "{text}");
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    text.split_off(start)
}

#[test]
fn each_is_there_and_needs_only_what_it_says() {
    for (name, text) in PRESETS {
        let preset_itself: Value = serde_json::from_str(text).unwrap();
        let description = preset_itself["description"].as_str().unwrap();
        let is_tested = description.contains("tested against recordings") || *name == "farspan";
        let is_told =
            description.contains("follows the documentation; not tested against a live system");
        assert!(is_tested != is_told, "{name}: {description}");
        let monitor = preset(name);
        assert!(monitor.discovery.is_none(), "{name} discovers unasked");
        // With what it needs said, discovery works too.
        let json = format!(r#"{{"name": "m", "preset": "{name}", {}}}"#, needed(name));
        let mut json: Value = serde_json::from_str(&json).unwrap();
        if *name != "farspan" {
            json["discovery"]["enabled"] = true.into();
            let discovery = one(&json.to_string()).discovery.unwrap();
            let mut variables = Variables::default();
            variables.set("since", "2026-11-20T09:00:00Z");
            variables.set("since_epoch", "1795165200");
            variables.set("since_epoch_ms", "1795165200000");
            let mut path = String::new();
            assert!(
                discovery.request.path.render(&variables, &mut path),
                "{name}"
            );
        }
        let count = std::fs::read_dir(format!(
            "{}/tests/presets/{name}",
            env!("CARGO_MANIFEST_DIR")
        ));
        assert!(count.unwrap().count() >= 3, "{name}");
    }
}

/// A stage that was skipped, or did not run because another failed, is no failure.
#[test]
fn every_word_of_every_system_means_something() {
    let mut text = String::new();
    for (name, _) in PRESETS {
        let monitor = preset(name);
        let statuses = &monitor.mapping.definition().statuses;
        let mut by_meaning: Vec<(String, Vec<&str>)> = Vec::new();
        for (word, meaning) in statuses {
            let meaning = match meaning {
                Meaning::Unset => "unset".to_owned(),
                Meaning::State(state) => format!("{state:?}"),
            };
            match by_meaning.iter_mut().find(|(known, _)| *known == meaning) {
                Some((_, words)) => words.push(word),
                None => by_meaning.push((meaning, vec![word])),
            }
        }
        by_meaning.sort();
        let _ = writeln!(text, "{name}");
        for (meaning, words) in by_meaning {
            let _ = writeln!(text, "  {meaning}: {}", words.join(" "));
        }
    }
    expect![[r#"
        farspan
          Ended(Failure): Failed
          Ended(Success): Completed
          Running: Initializing Processing
          unset: Null
        airflow
          Ended(Failure): failed up_for_retry
          Ended(Skip): removed skipped upstream_failed
          Ended(Success): success
          Pending: none queued scheduled
          Running: deferred restarting running up_for_reschedule
        argo-workflows
          Ended(Error): Error
          Ended(Failure): Failed
          Ended(Skip): Omitted Skipped
          Ended(Success): Succeeded
          Pending: Pending
          Running: Running
        buildbot
          Ended(Cancellation): 6
          Ended(Error): 4 5
          Ended(Failure): 2
          Ended(Skip): 3
          Ended(Success): 0 1
          Running: false
          unset: true
        databricks
          Ended(Cancellation): CANCELED
          Ended(Error): INTERNAL_ERROR
          Ended(Failure): FAILED
          Ended(Skip): DISABLED EXCLUDED MAXIMUM_CONCURRENT_RUNS_REACHED SKIPPED UPSTREAM_CANCELED UPSTREAM_FAILED
          Ended(Success): SUCCESS SUCCESS_WITH_FAILURES
          Ended(Timeout): TIMEDOUT
          Pending: BLOCKED PENDING QUEUED WAITING_FOR_RETRY
          Running: RUNNING TERMINATING
          unset: TERMINATED
        github-actions
          Ended(Cancellation): cancelled
          Ended(Error): startup_failure
          Ended(Failure): failure
          Ended(Skip): skipped
          Ended(Success): neutral success
          Ended(Timeout): stale timed_out
          Pending: action_required pending queued requested waiting
          Running: in_progress
          unset: completed
        gitlab
          Ended(Cancellation): canceled
          Ended(Failure): failed
          Ended(Skip): skipped
          Ended(Success): success
          Pending: created manual pending preparing scheduled waiting_for_callback waiting_for_resource
          Running: canceling running
        spark
          Ended(Failure): FAILED
          Ended(Skip): SKIPPED
          Ended(Success): COMPLETE SUCCEEDED true
          Pending: PENDING
          Running: ACTIVE RUNNING UNKNOWN false
    "#]].assert_eq(&text);
}

#[test]
fn farspan() {
    check(
        "farspan",
        "704c0b60",
        &[
            (
                "running",
                expect![[r#"
            GET /workflows/704c0b60
            Processing=running 06:57:56.1234567Z..? id="704c0b60"
              DataLoader Completed=success 06:57:57Z..06:58:00Z id="Da-1"
              OutputGenerator pending id="Ou-1"
              Processor Initializing=running 06:58:01Z..? id="Pr-1""#]],
            ),
            (
                "success",
                expect![[r#"
            Completed=success 06:57:56Z..07:00:00Z id="704c0b60"
              DataLoader Completed=success 06:57:57Z..06:58:00Z id="Da-1""#]],
            ),
            (
                "failure",
                expect![[r#"
            Failed=failure 06:57:56Z..07:00:00Z "Entity failed: DataLoader" id="704c0b60"
              DataLoader Failed=failure 06:57:57Z..06:58:00Z "no such file" id="Da-1""#]],
            ),
        ],
    );
}

#[test]
fn airflow() {
    check(
        "airflow",
        "three_retry/manual__2026-11-20T09:26:51.912764+00:00",
        &[
            (
                "running",
                expect![[r#"
                GET /api/v2/dags/three_retry/dagRuns/manual__2026-11-20T09%3A26%3A51.912764%2B00%3A00
                running=running queued 09:26:22.671235Z 09:26:23.493232Z..? id="manual__2026-11-20T09:26:22.634361+00:00" airflow.logical_date="2026-11-20T09:26:22.625487Z" airflow.run_type="manual" airflow.triggered_by="rest_api" cicd.pipeline.name="three_ok"
                  extract/-1 "extract" success=success queued 09:26:23.518645Z 09:26:23.590261Z..09:26:28.731943Z id="01a1f847-44da-7981-ab99-e4d901956af5" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  transform/-1 "transform" running=running queued 09:26:29.48716Z 09:26:29.554396Z..? id="01a1f847-44db-7e71-94de-05d272c9c382" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  load/-1 "load" pending id="01a1f847-44dc-7d8c-839c-6add1cc9c76e" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default""#]],
            ),
            (
                "success",
                expect![[r#"
                success=success queued 09:26:22.671235Z 09:26:23.493232Z..09:26:37.461531Z id="manual__2026-11-20T09:26:22.634361+00:00" airflow.logical_date="2026-11-20T09:26:22.625487Z" airflow.run_type="manual" airflow.triggered_by="rest_api" cicd.pipeline.name="three_ok"
                  extract/-1 "extract" success=success queued 09:26:23.518645Z 09:26:23.590261Z..09:26:28.731943Z id="01a1f847-44da-7981-ab99-e4d901956af5" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  transform/-1 "transform" success=success queued 09:26:29.48716Z 09:26:29.554396Z..09:26:32.63581Z id="01a1f847-44db-7e71-94de-05d272c9c382" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  load/-1 "load" success=success queued 09:26:33.576601Z 09:26:33.642551Z..09:26:36.719774Z id="01a1f847-44dc-7d8c-839c-6add1cc9c76e" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default""#]],
            ),
            (
                "failure",
                expect![[r#"
                failed=failure queued 09:26:39.79656Z 09:26:40.395254Z..09:26:49.584494Z id="manual__2026-11-20T09:26:39.794432+00:00" airflow.run_type="manual" airflow.triggered_by="rest_api" cicd.pipeline.name="three_fail"
                  extract/-1 "extract" success=success queued 09:26:40.406601Z 09:26:40.478164Z..09:26:43.555249Z id="01a1f847-87ba-7da9-ad11-c56ad50132da" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  transform/-1 "transform" failed=failure queued 09:26:44.439307Z 09:26:44.527204Z..09:26:47.60606Z id="01a1f847-87bb-796b-b1c7-dc0e3dd78323" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  load/-1 "load" upstream_failed=skip 09:26:48.557441Z..09:26:48.557441Z id="01a1f847-87bc-7e1b-b714-2520c22cd4b8" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default""#]],
            ),
            (
                "up_for_retry",
                expect![[r#"
                running=running queued 09:26:51.914634Z 09:26:52.622066Z..? id="three_retry/manual__2026-11-20T09:26:51.912764+00:00" airflow.run_type="manual" airflow.triggered_by="rest_api" cicd.pipeline.name="three_retry"
                  extract/-1 "extract" success=success queued 09:26:52.632911Z 09:26:52.709015Z..09:26:55.778474Z id="01a1f847-b70f-7116-abee-74d48ae2f902" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  load/-1 "load" pending id="01a1f847-b711-7e38-a9ff-a0fc84c6832f" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  transform/-1 "transform" up_for_retry=failure queued 09:26:56.503765Z 09:26:56.57391Z..09:26:59.653819Z id="01a1f847-d552-73a0-85f7-77d38e0e69d2" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default""#]],
            ),
            (
                "retried",
                expect![[r#"
                GET /api/v2/dags/three_retry/dagRuns/manual__2026-11-20T09%3A26%3A51.912764%2B00%3A00
                GET /api/v2/dags/three_retry/dagRuns/manual__2026-11-20T09%3A26%3A51.912764%2B00%3A00/taskInstances
                GET /api/v2/dags/three_retry/dagRuns/manual__2026-11-20T09%3A26%3A51.912764%2B00%3A00/taskInstances/transform/-1/tries
                success=success queued 09:26:51.914634Z 09:26:52.622066Z..09:27:11.446419Z id="three_retry/manual__2026-11-20T09:26:51.912764+00:00" airflow.run_type="manual" airflow.triggered_by="rest_api" cicd.pipeline.name="three_retry"
                  extract/-1 "extract" success=success queued 09:26:52.632911Z 09:26:52.709015Z..09:26:55.778474Z id="01a1f847-b70f-7116-abee-74d48ae2f902" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  load/-1 "load" success=success queued 09:27:07.566422Z 09:27:07.672321Z..09:27:10.766906Z id="01a1f847-b711-7e38-a9ff-a0fc84c6832f" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  transform/-1#2 "transform" success=success queued 09:27:03.637643Z 09:27:03.714993Z..09:27:06.800203Z id="01a1f847-d552-73a0-85f7-77d38e0e69d2" airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default"
                  transform/-1 "transform" failed=failure queued 09:26:56.503765Z 09:26:56.57391Z..09:26:59.653819Z airflow.hostname="vm" airflow.operator="@task" airflow.pool="default_pool" airflow.queue="default""#]],
            ),
        ],
    );
}

#[test]
fn buildbot() {
    check(
        "buildbot",
        "1",
        &[
            (
                "running",
                expect![[r#"
                    GET /api/v2/builds/1
                    running=running 09:23:06Z..? "building" id="1" buildbot.build.number=1 buildbot.builder.id=2 buildbot.worker.id=1
                      0 "worker_preparation" success=success queued 09:23:06Z 09:23:06Z..09:23:06Z "worker w1 ready" id="1"
                      1 "extract" success=success queued 09:23:06Z 09:23:06Z..09:23:09Z "'sh -c ...'" id="2"
                      2 "transform" running=running queued 09:23:09Z 09:23:09Z..? "pending" id="3""#]],
            ),
            (
                "success",
                expect![[r#"
                    success=success 09:23:06Z..09:23:16Z "build successful" id="1" buildbot.build.number=1 buildbot.builder.id=2 buildbot.worker.id=1
                      0 "worker_preparation" success=success queued 09:23:06Z 09:23:06Z..09:23:06Z "worker w1 ready" id="1"
                      1 "extract" success=success queued 09:23:06Z 09:23:06Z..09:23:09Z "'sh -c ...'" id="2"
                      2 "transform" success=success queued 09:23:09Z 09:23:09Z..09:23:12Z "'sh -c ...'" id="3"
                      3 "load" success=success queued 09:23:12Z 09:23:12Z..09:23:16Z "'sh -c ...'" id="4""#]],
            ),
            (
                "failure",
                expect![[r#"
                    failure=failure 09:23:20Z..09:23:26Z "failed 'sh -c ...' (failure)" id="2" buildbot.build.number=1 buildbot.builder.id=1 buildbot.worker.id=1
                      0 "worker_preparation" success=success queued 09:23:20Z 09:23:20Z..09:23:20Z "worker w1 ready" id="5"
                      1 "extract" success=success queued 09:23:20Z 09:23:20Z..09:23:23Z "'sh -c ...'" id="6"
                      2 "transform" failure=failure queued 09:23:23Z 09:23:23Z..09:23:26Z "'sh -c ...' (failure)" id="7""#]],
            ),
            (
                "cancelled",
                expect![[r#"
                    cancelled=cancellation 09:23:20Z..09:23:26Z "build stopped: \"not needed\" (cancelled)" id="2" buildbot.build.number=1 buildbot.builder.id=1 buildbot.worker.id=1
                      0 "worker_preparation" success=success queued 09:23:20Z 09:23:20Z..09:23:20Z "worker w1 ready" id="5"
                      1 "extract" success=success queued 09:23:20Z 09:23:20Z..09:23:23Z "'sh -c ...'" id="6"
                      2 "transform" cancelled=cancellation queued 09:23:23Z 09:23:23Z..09:23:26Z "'sh -c ...' (failure)" id="7"
                      3 "load" skipped=skip queued 09:23:23Z 09:23:23Z..09:23:26Z "skipped" id="8""#]],
            ),
        ],
    );
}

#[test]
fn spark() {
    check(
        "spark",
        "local-1795167793238",
        &[
            (
                "running",
                expect![[r#"
                    GET /api/v1/applications/local-1795167793238
                    RUNNING=running 09:42:31.607Z..? id="local-1795167752267" cicd.pipeline.name="three_ok" spark.user="root" spark.version="3.5.6"
                      0 "collect at /srv/spark_job.py:19" RUNNING=running 09:42:34.013Z..? id="0" spark.job.description="three stage job" spark.job.group="g1" spark.tasks=5 spark.tasks.failed=0
                      ~stages/2 "collect at /srv/spark_job.py:19" PENDING=pending id="2" in=0 spark.tasks=1 spark.tasks.failed=0
                      ~stages/1 "groupByKey at /srv/spark_job.py:19" ACTIVE=running queued 09:42:37.956Z 09:42:37.956Z..? id="1" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0
                      ~stages/0 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:34.039Z 09:42:34.151Z..09:42:37.943Z id="0" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0"#]],
            ),
            (
                "success",
                expect![[r#"
                    RUNNING=running 09:42:31.607Z..? id="local-1795167752267" cicd.pipeline.name="three_ok" spark.user="root" spark.version="3.5.6"
                      0 "collect at /srv/spark_job.py:19" SUCCEEDED=success 09:42:34.013Z..09:42:42.754Z id="0" spark.job.description="three stage job" spark.job.group="g1" spark.tasks=5 spark.tasks.failed=0
                      ~stages/2 "collect at /srv/spark_job.py:19" COMPLETE=success queued 09:42:39.641Z 09:42:39.656Z..09:42:42.748Z id="2" in=0 spark.stage.description="three stage job" spark.tasks=1 spark.tasks.failed=0
                      ~stages/1 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:37.956Z 09:42:37.981Z..09:42:39.639Z id="1" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0
                      ~stages/0 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:34.039Z 09:42:34.151Z..09:42:37.943Z id="0" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0"#]],
            ),
            (
                "failure",
                expect![[r#"
                    RUNNING=running 09:42:54.097Z..? id="local-1795167774713" cicd.pipeline.name="three_fail" spark.user="root" spark.version="3.5.6"
                      0 "collect at /srv/spark_job.py:19" FAILED=failure 09:42:56.419Z..09:43:02.008Z id="0" spark.job.description="three stage job" spark.job.group="g1" spark.tasks=5 spark.tasks.failed=1
                      ~stages/2 "collect at /srv/spark_job.py:19" SKIPPED=skip id="2" in=0 spark.tasks=1 spark.tasks.failed=0
                      ~stages/1 "groupByKey at /srv/spark_job.py:19" FAILED=failure queued 09:43:00.322Z 09:43:00.343Z..09:43:02.005Z "Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent failure: Lost task 0.0 in stage 1.0 (TID 2) (localhost executor driver): org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/worker.py\", line 1247, in main\n    process()\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/worker.py\", line 1237, in process\n    out_iter = func(split_index, iterator)\n               ^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 5434, in pipeline_func\n    return func(split, prev_func(split, iterator))\n                       ^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 5434, in pipeline_func\n    return func(split, prev_func(split, iterator))\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 840, in func\n    return f(iterator)\n           ^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 4175, in combine\n    merger.mergeValues(iterator)\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/shuffle.py\", line 256, in mergeValues\n    for k, v in iterator:\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/util.py\", line 83, in wrapper\n    return f(*args, **kwargs)\n           ^^^^^^^^^^^^^^^^^^\n  File \"/srv/spark_job.py\", line 13, in tr\n    if mode==\"fail\": raise ValueError(\"boom: bad row 42\")\n                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\nValueError: boom: bad row 42\n\n\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)\n\tat org.apache.spark.api.python.PythonRunner$$anon$3.read(PythonRunner.scala:784)\n\tat org.apache.spark.api.python.PythonRunner$$anon$3.read(PythonRunner.scala:766)\n\tat org.apach" id="1" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=1
                      ~stages/0 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:56.438Z 09:42:56.537Z..09:43:00.316Z id="0" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0"#]],
            ),
            (
                "retried",
                expect![[r#"
                    GET /api/v1/applications/local-1795167793238
                    GET /api/v1/applications/local-1795167793238/jobs
                    GET /api/v1/applications/local-1795167793238/stages?details=false
                    RUNNING=running 09:42:54.097Z..? id="local-1795167774713" cicd.pipeline.name="three_fail" spark.user="root" spark.version="3.5.6"
                      0 "collect at /srv/spark_job.py:19" RUNNING=running 09:42:56.419Z..? id="0" spark.job.description="three stage job" spark.job.group="g1" spark.tasks=5 spark.tasks.failed=1
                      ~stages/2 "collect at /srv/spark_job.py:19" SKIPPED=skip id="2" in=0 spark.tasks=1 spark.tasks.failed=0
                      ~stages/1#2 "groupByKey at /srv/spark_job.py:19" ACTIVE=running queued 09:43:02.1Z 09:43:02.1Z..? id="1" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=1
                      ~stages/1 "groupByKey at /srv/spark_job.py:19" FAILED=failure queued 09:43:00.322Z 09:43:00.343Z..09:43:02.005Z "Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent failure: Lost task 0.0 in stage 1.0 (TID 2) (localhost executor driver): org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/worker.py\", line 1247, in main\n    process()\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/worker.py\", line 1237, in process\n    out_iter = func(split_index, iterator)\n               ^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 5434, in pipeline_func\n    return func(split, prev_func(split, iterator))\n                       ^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 5434, in pipeline_func\n    return func(split, prev_func(split, iterator))\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 840, in func\n    return f(iterator)\n           ^^^^^^^^^^^\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/rdd.py\", line 4175, in combine\n    merger.mergeValues(iterator)\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/shuffle.py\", line 256, in mergeValues\n    for k, v in iterator:\n  File \"/srv/v-pyspark/lib/python3.11/site-packages/pyspark/python/lib/pyspark.zip/pyspark/util.py\", line 83, in wrapper\n    return f(*args, **kwargs)\n           ^^^^^^^^^^^^^^^^^^\n  File \"/srv/spark_job.py\", line 13, in tr\n    if mode==\"fail\": raise ValueError(\"boom: bad row 42\")\n                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\nValueError: boom: bad row 42\n\n\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)\n\tat org.apache.spark.api.python.PythonRunner$$anon$3.read(PythonRunner.scala:784)\n\tat org.apache.spark.api.python.PythonRunner$$anon$3.read(PythonRunner.scala:766)\n\tat org.apach" id="1" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=1
                      ~stages/0 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:56.438Z 09:42:56.537Z..09:43:00.316Z id="0" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0"#]],
            ),
            (
                "history",
                expect![[r#"
                    COMPLETED=success 09:42:31.607Z..09:42:45Z id="local-1795167752267" cicd.pipeline.name="three_ok" spark.user="root" spark.version="3.5.6"
                      0 "collect at /srv/spark_job.py:19" SUCCEEDED=success 09:42:34.013Z..09:42:42.754Z id="0" spark.job.description="three stage job" spark.job.group="g1" spark.tasks=5 spark.tasks.failed=0
                      ~stages/2 "collect at /srv/spark_job.py:19" COMPLETE=success queued 09:42:39.641Z 09:42:39.656Z..09:42:42.748Z id="2" in=0 spark.stage.description="three stage job" spark.tasks=1 spark.tasks.failed=0
                      ~stages/1 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:37.956Z 09:42:37.981Z..09:42:39.639Z id="1" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0
                      ~stages/0 "groupByKey at /srv/spark_job.py:19" COMPLETE=success queued 09:42:34.039Z 09:42:34.151Z..09:42:37.943Z id="0" in=0 spark.stage.description="three stage job" spark.tasks=2 spark.tasks.failed=0"#]],
            ),
        ],
    );
}

#[test]
fn github_actions() {
    check(
        "github-actions",
        "octo-org/octo-repo/30433642",
        &[
            (
                "queued",
                expect![[r#"
                GET /repos/octo-org/octo-repo/actions/runs/30433642
                queued=pending 09:00:00Z..09:00:00Z id="octo-org/octo-repo/30433642" attempt=1 url=https://github.com/octo-org/octo-repo/actions/runs/30433642 cicd.pipeline.name="Build" github.actor="hubot" github.event="push" github.run_number=562 vcs.ref.head.name="main" vcs.ref.head.revision="acb5820ced9479c074f688cc328bf03f341a511d" vcs.repository.url.full="https://github.com/octo-org/octo-repo"
                  1 "build" queued=pending queued 09:00:01Z id="1" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/1"#]],
            ),
            (
                "running",
                expect![[r#"
                in_progress=running 09:00:00Z..09:00:30Z id="octo-org/octo-repo/30433642" attempt=1 url=https://github.com/octo-org/octo-repo/actions/runs/30433642 cicd.pipeline.name="Build" github.actor="hubot" github.event="push" github.run_number=562 vcs.ref.head.name="main" vcs.ref.head.revision="acb5820ced9479c074f688cc328bf03f341a511d" vcs.repository.url.full="https://github.com/octo-org/octo-repo"
                  1 "build (ubuntu)" in_progress=running queued 09:00:01Z 09:00:10Z..? id="1" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/1 cicd.worker.name="my runner" github.runner.group="my runner group"
                  1/1 "Set up job" success=success 09:00:10Z..09:00:12Z in=1
                  1/2 "Run make" in_progress=running 09:00:12Z..? in=1
                  1/3 "Run tests" pending=pending in=1
                  2 "build (windows)" queued=pending queued 09:00:01Z 09:00:01Z..? id="2" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/2 cicd.worker.name="my runner" github.runner.group="my runner group"
                  3 "deploy" waiting=pending queued 09:00:01Z id="3" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/3"#]],
            ),
            (
                "success",
                expect![[r#"
                success=success 09:00:00Z..09:03:00Z id="octo-org/octo-repo/30433642" attempt=1 url=https://github.com/octo-org/octo-repo/actions/runs/30433642 cicd.pipeline.name="Build" github.actor="hubot" github.event="push" github.run_number=562 vcs.ref.head.name="main" vcs.ref.head.revision="acb5820ced9479c074f688cc328bf03f341a511d" vcs.repository.url.full="https://github.com/octo-org/octo-repo"
                  1 "build" success=success queued 09:00:01Z 09:00:10Z..09:02:59Z id="1" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/1 cicd.worker.name="my runner" github.runner.group="my runner group"
                  1/1 "Set up job" success=success 09:00:10Z..09:00:12Z in=1
                  1/2 "Lint" neutral=success 09:00:12Z..09:00:13Z in=1
                  1/3 "On failure only" skipped=skip 09:02:59Z..09:02:59Z in=1
                  4 "nightly" skipped=skip queued 09:00:01Z 09:03:00Z..09:00:01Z id="4" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/4 cicd.worker.name="my runner" github.runner.group="my runner group""#]],
            ),
            (
                "failure",
                expect![[r#"
                failure=failure 09:00:00Z..09:03:00Z id="octo-org/octo-repo/30433642" attempt=1 url=https://github.com/octo-org/octo-repo/actions/runs/30433642 cicd.pipeline.name="Build" github.actor="hubot" github.event="push" github.run_number=562 vcs.ref.head.name="main" vcs.ref.head.revision="acb5820ced9479c074f688cc328bf03f341a511d" vcs.repository.url.full="https://github.com/octo-org/octo-repo"
                  1 "build" failure=failure queued 09:00:01Z 09:00:10Z..09:02:00Z id="1" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/1 cicd.worker.name="my runner" github.runner.group="my runner group"
                  1/1 "Run make" failure=failure 09:00:12Z..09:02:00Z in=1
                  1/2 "Publish" skipped=skip 09:02:00Z..09:02:00Z in=1
                  2 "test" cancelled=cancellation queued 09:00:01Z 09:00:10Z..09:02:05Z id="2" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/2 cicd.worker.name="my runner" github.runner.group="my runner group"
                  3 "slow" timed_out=timeout queued 09:00:01Z 09:00:10Z..09:02:59Z id="3" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/3 cicd.worker.name="my runner" github.runner.group="my runner group""#]],
            ),
            (
                "run_again",
                expect![[r#"
                success=success 10:00:00Z..10:03:00Z id="octo-org/octo-repo/30433642" attempt=2 url=https://github.com/octo-org/octo-repo/actions/runs/30433642 cicd.pipeline.name="Build" github.actor="hubot" github.event="push" github.run_number=562 vcs.ref.head.name="main" vcs.ref.head.revision="acb5820ced9479c074f688cc328bf03f341a511d" vcs.repository.url.full="https://github.com/octo-org/octo-repo"
                  9 "build" success=success queued 10:00:01Z 10:00:10Z..10:02:59Z id="9" url=https://github.com/octo-org/octo-repo/actions/runs/30433642/job/9 cicd.worker.name="my runner" github.runner.group="my runner group""#]],
            ),
        ],
    );
}

#[test]
fn gitlab() {
    check(
        "gitlab",
        "test-group/test-project#287",
        &[
            (
                "running",
                expect![[r#"
                GET /api/v4/projects/test-group%2Ftest-project/pipelines/287
                running=running queued 01:05:07.2Z 01:05:14Z..? id="test-group/test-project#287" url=http://127.0.0.1:3000/test-group/test-project/-/pipelines/287 cicd.pipeline.name="Build pipeline" gitlab.pipeline.source="push" gitlab.project.id=21 gitlab.user="root" vcs.ref.head.name="main" vcs.ref.head.revision="50f0acb76a40e34a4ff304f7347dcc6587da8a14"
                  deploy manual=pending id="8" url=https://example.com/foo/bar/-/jobs/8 gitlab.allow_failure=false gitlab.stage="deploy"
                  rspec 1/2 pending=pending id="7" url=https://example.com/foo/bar/-/jobs/7 gitlab.allow_failure=false gitlab.stage="test"
                  build running=running 01:05:14Z..? id="6" url=https://example.com/foo/bar/-/jobs/6 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="build""#]],
            ),
            (
                "success",
                expect![[r#"
                success=success queued 01:05:07.2Z 01:05:14Z..01:05:50Z id="test-group/test-project#287" url=http://127.0.0.1:3000/test-group/test-project/-/pipelines/287 cicd.pipeline.name="Build pipeline" gitlab.pipeline.source="push" gitlab.project.id=21 gitlab.user="root" vcs.ref.head.name="main" vcs.ref.head.revision="50f0acb76a40e34a4ff304f7347dcc6587da8a14"
                  deploy skipped=skip id="8" url=https://example.com/foo/bar/-/jobs/8 gitlab.allow_failure=false gitlab.stage="deploy"
                  rspec success=success 01:05:20Z..01:05:49Z id="7" url=https://example.com/foo/bar/-/jobs/7 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="test"
                  build success=success 01:05:14Z..01:05:19.5Z id="6" url=https://example.com/foo/bar/-/jobs/6 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="build""#]],
            ),
            (
                "failure",
                expect![[r#"
                failed=failure queued 01:05:07.2Z 01:05:14Z..01:05:50Z id="test-group/test-project#287" url=http://127.0.0.1:3000/test-group/test-project/-/pipelines/287 cicd.pipeline.name="Build pipeline" gitlab.pipeline.source="push" gitlab.project.id=21 gitlab.user="root" vcs.ref.head.name="main" vcs.ref.head.revision="50f0acb76a40e34a4ff304f7347dcc6587da8a14"
                  deploy skipped=skip id="8" url=https://example.com/foo/bar/-/jobs/8 gitlab.allow_failure=false gitlab.stage="deploy"
                  rspec failed=failure 01:05:20Z..01:05:49Z "script_failure" id="7" url=https://example.com/foo/bar/-/jobs/7 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="test"
                  build canceled=cancellation 01:05:14Z..01:05:19.5Z id="6" url=https://example.com/foo/bar/-/jobs/6 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="build""#]],
            ),
            (
                "retried",
                expect![[r#"
                GET /api/v4/projects/test-group%2Ftest-project/pipelines/287
                GET /api/v4/projects/test-group%2Ftest-project/pipelines/287/jobs?include_retried=true&per_page=100
                running=running queued 01:05:07.2Z 01:05:14Z..? id="test-group/test-project#287" url=http://127.0.0.1:3000/test-group/test-project/-/pipelines/287 cicd.pipeline.name="Build pipeline" gitlab.pipeline.source="push" gitlab.project.id=21 gitlab.user="root" vcs.ref.head.name="main" vcs.ref.head.revision="50f0acb76a40e34a4ff304f7347dcc6587da8a14"
                  rspec#3 success=success 01:06:20Z..01:06:49Z id="12" url=https://example.com/foo/bar/-/jobs/12 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="test"
                  rspec#2 failed=failure 01:05:30Z..01:05:39Z "runner_system_failure" id="9" url=https://example.com/foo/bar/-/jobs/9 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="test"
                  rspec failed=failure 01:05:20Z..01:05:29Z "script_failure" id="7" url=https://example.com/foo/bar/-/jobs/7 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="test"
                  build success=success 01:05:14Z..01:05:19.5Z id="6" url=https://example.com/foo/bar/-/jobs/6 cicd.worker.name="shared-1" gitlab.allow_failure=false gitlab.queued_duration=0.02 gitlab.stage="build""#]],
            ),
            (
                "yaml_error",
                expect![[
                    r#"failed=failure queued 01:05:07.2Z ?..01:05:08Z "jobs config should contain at least one visible job" id="test-group/test-project#287" url=http://127.0.0.1:3000/test-group/test-project/-/pipelines/287 cicd.pipeline.name="Build pipeline" gitlab.pipeline.source="push" gitlab.project.id=21 gitlab.user="root" vcs.ref.head.name="main" vcs.ref.head.revision="50f0acb76a40e34a4ff304f7347dcc6587da8a14""#
                ]],
            ),
        ],
    );
}

#[test]
fn databricks() {
    check(
        "databricks",
        "455644833",
        &[
            (
                "running",
                expect![[r#"
                GET /api/2.2/jobs/runs/get?run_id=455644833
                next page: Some("abc")
                next page: None
                RUNNING=running 09:00:00Z..? "In run" id="455644833" attempt=1 url=https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833 cicd.pipeline.name="A multitask job run" databricks.creator="user.name@databricks.com" databricks.job.id=11223344 databricks.trigger="PERIODIC"
                  Orders_Ingest SUCCESS=success 09:00:01Z..09:00:09Z id="1" url=https://my-workspace.cloud.databricks.com/#job/39832/run/1 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Match RUNNING=running 09:00:09.1Z..? id="2" url=https://my-workspace.cloud.databricks.com/#job/39832/run/2 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Sessionize BLOCKED=pending id="3" url=https://my-workspace.cloud.databricks.com/#job/39832/run/3 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Report QUEUED=pending id="4" url=https://my-workspace.cloud.databricks.com/#job/39832/run/4 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000"#]],
            ),
            (
                "success",
                expect![[r#"
                next page: None
                SUCCESS=success 09:00:00Z..09:01:00Z id="455644833" attempt=1 url=https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833 cicd.pipeline.name="A multitask job run" databricks.creator="user.name@databricks.com" databricks.job.id=11223344 databricks.trigger="PERIODIC"
                  Orders_Ingest SUCCESS=success 09:00:01Z..09:00:09Z id="1" url=https://my-workspace.cloud.databricks.com/#job/39832/run/1 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Match EXCLUDED=skip ?..09:00:09Z "Condition not met" id="2" url=https://my-workspace.cloud.databricks.com/#job/39832/run/2 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000"#]],
            ),
            (
                "terminating",
                expect![[r#"
                next page: None
                TERMINATING=running 09:00:00Z..? id="455644833" attempt=1 url=https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833 cicd.pipeline.name="A multitask job run" databricks.creator="user.name@databricks.com" databricks.job.id=11223344 databricks.trigger="PERIODIC"
                  Orders_Ingest SUCCESS=success 09:00:01Z..09:00:09Z id="1" url=https://my-workspace.cloud.databricks.com/#job/39832/run/1 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000"#]],
            ),
            (
                "failure",
                expect![[r#"
                next page: None
                INTERNAL_ERROR=error 09:00:00Z..09:01:00Z "Task Match failed with message: Workload failed." id="455644833" attempt=1 url=https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833 cicd.pipeline.name="A multitask job run" databricks.creator="user.name@databricks.com" databricks.job.id=11223344 databricks.trigger="PERIODIC"
                  Orders_Ingest SUCCESS=success 09:00:01Z..09:00:09Z id="1" url=https://my-workspace.cloud.databricks.com/#job/39832/run/1 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Match FAILED=failure 09:00:09.1Z..09:00:59Z "Workload failed, see run output for details" id="2" url=https://my-workspace.cloud.databricks.com/#job/39832/run/2 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Sessionize UPSTREAM_FAILED=skip ?..09:00:59Z id="3" url=https://my-workspace.cloud.databricks.com/#job/39832/run/3 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Report TIMEDOUT=timeout 09:00:09.1Z..09:00:58Z "Timed out" id="4" url=https://my-workspace.cloud.databricks.com/#job/39832/run/4 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000"#]],
            ),
            (
                "retried",
                expect![[r#"
                GET /api/2.2/jobs/runs/get?run_id=455644833
                next page: None
                RUNNING=running 09:00:00Z..? id="455644833" attempt=1 url=https://my-workspace.cloud.databricks.com/#job/11223344/run/455644833 cicd.pipeline.name="A multitask job run" databricks.creator="user.name@databricks.com" databricks.job.id=11223344 databricks.trigger="PERIODIC"
                  Match FAILED=failure 09:00:09.1Z..09:00:19Z "boom" id="2" url=https://my-workspace.cloud.databricks.com/#job/39832/run/2 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000
                  Match#2 RUNNING=running 09:00:20Z..? id="7" url=https://my-workspace.cloud.databricks.com/#job/39832/run/7 databricks.cluster.id="0923-164208-meows279" databricks.setup_duration_ms=1000"#]],
            ),
        ],
    );
}

#[test]
fn argo_workflows() {
    check(
        "argo-workflows",
        "argo/steps-x7k2p",
        &[
            (
                "pending",
                expect![[r#"
                GET /api/v1/workflows/argo/steps-x7k2p?fields=metadata.name,metadata.namespace,metadata.creationTimestamp,metadata.labels,status.phase,status.startedAt,status.finishedAt,status.message,status.nodes
                pending queued 08:59:58Z id="argo/steps-x7k2p" k8s.namespace.name="argo""#]],
            ),
            (
                "running",
                expect![[r#"
                Running=running queued 08:59:58Z 09:00:00Z..? id="argo/steps-x7k2p" cicd.pipeline.name="nightly" k8s.namespace.name="argo"
                  steps-x7k2p Running=running 09:00:00Z..? id="steps-x7k2p" argo.node.type="Steps" argo.template="steps-x7k2p"
                  p1 "load" Running=running 09:00:01Z..? "ContainerCreating" id="p1" in=steps-x7k2p argo.node.type="Pod" argo.template="load" k8s.node.name="node-1"
                  p2 "approve" Pending=pending id="p2" in=steps-x7k2p argo.node.type="Suspend" argo.template="approve""#]],
            ),
            (
                "success",
                expect![[r#"
                Succeeded=success queued 08:59:58Z 09:00:00Z..09:05:00Z id="argo/steps-x7k2p" cicd.pipeline.name="nightly" k8s.namespace.name="argo"
                  steps-x7k2p Succeeded=success 09:00:00Z..09:05:00Z id="steps-x7k2p" argo.node.type="DAG" argo.template="steps-x7k2p"
                  d1 "inner" Succeeded=success 09:00:00Z..09:04:00Z id="d1" in=steps-x7k2p argo.node.type="DAG" argo.template="inner"
                  p3 "optional" Skipped=skip 09:04:00Z..09:04:00Z "when 'false' evaluated false" id="p3" in=steps-x7k2p argo.node.type="Skipped" argo.template="optional"
                  p1 "load" Succeeded=success 09:00:01Z..09:03:00Z id="p1" in=d1 argo.node.type="Pod" argo.template="load" k8s.node.name="node-1"
                  p2 "fan(0:a)" Succeeded=success 09:03:00Z..09:04:00Z id="p2" in=d1 argo.node.type="Pod" argo.template="fan""#]],
            ),
            (
                "failure",
                expect![[r#"
                Failed=failure queued 08:59:58Z 09:00:00Z..09:05:00Z "Error (exit code 1)" id="argo/steps-x7k2p" cicd.pipeline.name="nightly" k8s.namespace.name="argo"
                  steps-x7k2p Failed=failure 09:00:00Z..09:05:00Z id="steps-x7k2p" argo.node.type="DAG" argo.template="steps-x7k2p"
                  p1 "load(0)" Failed=failure 09:00:01Z..09:02:00Z "Error (exit code 1)" id="p1" in=steps-x7k2p argo.node.type="Pod" argo.template="load"
                  p2 "load(1)" Error=error 09:02:10Z..09:04:00Z "pod deleted" id="p2" in=steps-x7k2p argo.node.type="Pod" argo.template="load"
                  p3 "publish" Omitted=skip 09:04:00Z..09:04:00Z "omitted: depends condition not met" id="p3" in=steps-x7k2p argo.node.type="Pod" argo.template="publish"
                  r1 "load" Failed=failure 09:00:00Z..09:04:00Z "No more retries left" id="r1" in=steps-x7k2p argo.node.type="Retry" argo.template="load""#]],
            ),
        ],
    );
}

/// The lists that are asked for new runs have what the presets look for.
#[test]
fn discoveries_find_runs() {
    let mut text = String::new();
    for (name, _) in PRESETS.iter().filter(|(name, _)| *name != "farspan") {
        let json = format!(r#"{{"name": "m", "preset": "{name}", {}}}"#, needed(name));
        let mut json: Value = serde_json::from_str(&json).unwrap();
        json["discovery"]["enabled"] = true.into();
        let discovery = one(&json.to_string()).discovery.unwrap();
        let body = &case(name, "discovery")[""][0];
        let at = |value: &Value, pointer: &crate::mapping::pointer::Pointer| {
            value
                .pointer(&pointer.to_string())
                .filter(|value| !value.is_null())
                .cloned()
        };
        let runs = at(body, &discovery.list).unwrap();
        for run in runs.as_array().unwrap() {
            let _ = write!(text, "{name}:");
            for (part, pointer) in &discovery.id {
                let _ = write!(text, " {part}={}", at(run, pointer).unwrap());
            }
            for pointers in [&discovery.submitted_at, &discovery.attempt] {
                let found = pointers.iter().find_map(|pointer| at(run, pointer));
                assert_eq!(found.is_some(), !pointers.is_empty(), "{name}: {run}");
                let _ = found.map(|found| write!(text, " {found}"));
            }
            text.push('\n');
        }
        if let Some(Pages::Offset { total, .. } | Pages::Page { total, .. }) =
            &discovery.request.pages
        {
            assert!(
                at(body, total.as_ref().unwrap()).is_some_and(|n| n.is_u64()),
                "{name}"
            );
        }
    }
    expect![[r#"
        airflow: dag_id="three_ok" dag_run_id="manual__2026-11-20T09:26:22.634361+00:00" "2026-11-20T09:26:22.671235Z"
        airflow: dag_id="three_fail" dag_run_id="manual__2026-11-20T09:26:39.794432+00:00" "2026-11-20T09:26:39.796560Z"
        argo-workflows: name="steps-x7k2p" namespace="argo" "2026-11-20T08:59:58Z"
        buildbot: id=1 1795166586
        buildbot: id=2 1795166600
        databricks: id=455644833 1795165200000
        github-actions: owner="octo-org" repo="octo-repo" run_id=30433642 "2026-11-20T09:00:00Z" 1
        github-actions: owner="octo-org" repo="octo-repo" run_id=30433642 "2026-11-20T10:00:00Z" 2
        gitlab: pipeline_id=287 project=21 "2026-11-20T01:05:07.200Z"
        spark: id="local-1795167752267" "2026-11-20T09:42:31.607GMT"
    "#]].assert_eq(&text);
}
