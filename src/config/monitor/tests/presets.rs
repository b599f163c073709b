//! What every preset has. What it makes of its system's answers is in the recordings that `tests/e2e/playback.rs` plays.

use super::super::PRESETS;
use super::*;
use crate::mapping::definition::Meaning;
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

fn preset(name: &str) -> crate::config::monitor::MonitorConfig {
    one(&format!(
        r#"{{"name": "m", "preset": "{name}", {}}}"#,
        needed(name)
    ))
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
        // The id in an answer is compared with the one that was asked for.
        let workflow = &monitor.mapping.definition().workflow;
        assert!(!workflow.fields.id.is_empty(), "{name}");
        // With what it needs said, discovery works too.
        let json = format!(r#"{{"name": "m", "preset": "{name}", {}}}"#, needed(name));
        let mut json: Value = serde_json::from_str(&json).unwrap();
        if *name != "farspan" {
            json["discovery"]["enabled"] = true.into();
            assert!(one(&json.to_string()).discovery.is_some(), "{name}");
        }
        let recordings = ["captures", "presets"].into_iter().flat_map(|of| {
            let root = env!("CARGO_MANIFEST_DIR");
            std::fs::read_dir(format!("{root}/tests/{of}/{name}"))
        });
        assert!(recordings.flatten().count() >= 2, "{name}");
    }
}

/// A stage that was skipped, or did not run because another failed, is no failure.
#[test]
fn every_word_of_every_system_means_something() {
    let mut text = String::new();
    for (name, _) in PRESETS {
        let monitor = preset(name);
        let definition = monitor.mapping.definition();
        let mut by_meaning: Vec<(String, Vec<String>)> = Vec::new();
        for (word, meaning) in &definition.statuses {
            let mut names = definition.status_names.iter();
            let word = match names.find(|(of, _)| of == word) {
                Some((_, name)) => format!("{word}={name}"),
                None => word.to_string(),
            };
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
          Ended(Cancellation): 6=cancelled
          Ended(Error): 4=exception 5=retry
          Ended(Failure): 2=failure
          Ended(Skip): 3=skipped
          Ended(Success): 0=success 1=warnings
          Running: false=running
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
          Ended(Success): COMPLETE SUCCEEDED true=COMPLETED
          Pending: PENDING
          Running: ACTIVE RUNNING UNKNOWN false=RUNNING
    "#]].assert_eq(&text);
}
