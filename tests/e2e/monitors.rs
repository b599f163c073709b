//! Several APIs at once, and how each is asked.

use crate::support::api::{FakeApi, START, completed, processing, status};
use crate::support::folder::Folder;
use crate::support::http::Reply;
use crate::support::program::Call;
use crate::support::rig::Rig;
use crate::support::spans::hex;
use crate::support::{SOON, eventually};
use crossbeam_channel::unbounded;
use farspan::config::Config;
use farspan::core::event::StartEvent;
use farspan::os::environment::Environment;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn written(folder: &Folder, monitors: &Value) -> PathBuf {
    let path = folder.path().join("farspan.json");
    fs::write(&path, json!({ "monitors": monitors }).to_string()).expect("a file");
    path
}

/// One monitor of the rig's API, with these members more.
fn call(rig: &Rig, folder: &Folder, more: &Value) -> Call {
    let mut monitor = json!({"name": "risk", "preset": "farspan"});
    let members = monitor.as_object_mut().expect("an object");
    members.extend(more.as_object().cloned().unwrap_or_default());
    let file = written(folder, &json!([monitor]));
    rig.call().env("FARSPAN_CONFIG", file.display())
}

fn event(monitor: u16, id: &str) -> StartEvent {
    StartEvent::new(monitor, id)
}

#[test]
fn an_api_that_hangs_holds_up_no_other_monitor() {
    const POLLS: usize = 30;
    let (mut hangs, answers, folder) = (FakeApi::start(), FakeApi::start(), Folder::new());
    let hanging: Vec<String> = (0..500).map(|n| format!("hangs{n}")).collect();
    let answered: Vec<String> = (0..20).map(|n| format!("answered{n}")).collect();
    for id in &hanging {
        hangs.script(id, [Reply::Hang]);
    }
    for id in &answered {
        answers.script(id, [processing(id).reply()]);
    }
    let monitor = |name: &str, api: &FakeApi| json!({"name": name, "preset": "farspan", "api": {"base_url": api.base_url()}});
    let file = written(
        &folder,
        &json!([monitor("hangs", &hangs), monitor("answers", &answers)]),
    );
    let env = Environment::from_pairs([
        ("FARSPAN_POLL_INITIAL_DELAY", "10ms"),
        ("FARSPAN_POLL_INTERVAL", "100ms"),
        ("FARSPAN_STATE", "none"),
        ("FARSPAN_ADMIN_LISTEN", "none"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]);
    let config = Config::load_to_watch(&env, Some(&file)).expect("a configuration");
    let (events, heard) = unbounded();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let endpoint = farspan::run::Endpoint::bind(&config).expect("none");
    let watching =
        std::thread::spawn(move || farspan::run::watch(&config, endpoint, heard, stopped, vec![]));
    for id in &hanging {
        events.send(event(0, id)).expect("it listens");
    }
    eventually("the first one hangs", SOON, || {
        hangs.server.requests().len() >= 12
    });
    for id in &answered {
        events.send(event(1, id)).expect("it listens");
    }
    eventually("the other goes on", SOON, || {
        let polls = answered.iter().map(|id| answers.polls(id)).min();
        match polls {
            Some(POLLS..) => Ok(()),
            polls => Err(format!("{polls:?} polls")),
        }
    });
    let mut gaps: Vec<Duration> = Vec::new();
    for id in &answered {
        let requests = answers.requests_for(id);
        gaps.extend(requests.windows(2).map(|two| two[1].at - two[0].at));
    }
    gaps.sort_unstable();
    let p99 = gaps[gaps.len() * 99 / 100];
    assert!(
        p99 <= Duration::from_millis(600),
        "{p99:?} between two polls"
    );
    assert!(
        hangs.server.requests().len() <= 12,
        "a quarter is for others"
    );
    hangs.server.stop();
    drop(stop);
    let report = watching.join().expect("no panic").expect("it ran");
    assert_eq!(report.unfinished, hanging.len() + answered.len());
}

#[test]
fn the_api_sees_whose_span_it_is_asked_for_where_it_should() {
    for sends in [true, false] {
        let (rig, folder) = (Rig::new(), Folder::new());
        rig.api
            .script("w", [processing("w").reply(), completed("w").reply()]);
        let farspan = rig.start_call(&call(
            &rig,
            &folder,
            &json!({"api": {"send_traceparent": sends}}),
        ));
        rig.submit("w");
        let root = rig.trace("w").root.span;
        farspan.stop();
        let expected = format!("00-{}-{}-01", hex(&root.trace_id), hex(&root.span_id));
        let requests = rig.api.requests_for("w");
        assert!(requests.len() >= 2);
        for request in &requests {
            let sent = request.header("traceparent");
            assert_eq!(sent, sends.then_some(&*expected));
        }
    }
}

#[test]
fn a_workflow_that_takes_its_api_along_has_ended() {
    let (mut rig, folder) = (Rig::new(), Folder::new());
    rig.api.script("w", [processing("w").reply()]);
    let poll = json!({"poll": {"gone": {"after": "300ms"}}});
    let farspan = rig.start_call(&call(&rig, &folder, &poll));
    rig.submit("w");
    eventually("it is seen", SOON, || rig.api.polls("w") >= 2);
    rig.api.server.stop();
    let trace = rig.trace("w");
    farspan.stop();
    assert_eq!(trace.root.attribute("farspan.gone"), "true (bool)");
    assert_eq!(trace.root.attribute("startTime"), START);
    assert_eq!(trace.root.find("endTime"), None, "nobody has reported it");
    assert_eq!(trace.root.error(), None);
    let stage = trace.stage("DataLoader");
    assert_eq!(stage.attribute("farspan.incomplete"), "true (bool)");
    assert_eq!(stage.end(), trace.root.end());
}

#[test]
fn no_more_requests_a_second_than_the_api_wants() {
    let (rig, folder) = (Rig::new(), Folder::new());
    let ids: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    for id in &ids {
        rig.api.script(id, [processing(id).reply()]);
    }
    let farspan = rig.start_call(&call(
        &rig,
        &folder,
        &json!({"api": {"requests_per_second": 10}}),
    ));
    for id in &ids {
        rig.submit(id);
    }
    eventually("each was asked after twice", 2 * SOON, || {
        ids.iter().all(|id| rig.api.polls(id) >= 2)
    });
    farspan.stop();
    let times: Vec<_> = rig.api.server.requests().iter().map(|r| r.at).collect();
    for (n, from) in times.iter().enumerate() {
        for (count, to) in (1..).zip(&times[n..]) {
            // A request takes a moment to arrive, and the next one less.
            let window = (*to - *from).as_secs_f64() + 0.1;
            assert!(
                f64::from(count) <= 10.0 * window + 11.0,
                "{count} in {window} s"
            );
        }
    }
}

#[test]
fn a_status_has_an_interval_of_its_own_from_a_reload_on() {
    let (rig, folder) = (Rig::new(), Folder::new());
    rig.api.script("w", [processing("w").reply()]);
    let slow = json!({"poll": {"interval": "50ms", "interval_by_status": {"PROCESSING": "1h"}}});
    let farspan = rig.start_call(&call(&rig, &folder, &slow));
    rig.submit("w");
    eventually("it is seen", SOON, || rig.api.polls("w") == 1);
    drop(call(
        &rig,
        &folder,
        &json!({"poll": {"interval_by_status": {"processing": "60ms"}}}),
    ));
    farspan.signal("HUP");
    eventually("it is asked after often", SOON, || rig.api.polls("w") >= 5);
    assert!(
        farspan.stderr().contains("from now on"),
        "{}",
        farspan.stderr()
    );
    farspan.stop();
}

#[test]
fn spans_and_contexts_are_as_their_monitor_wants_them() {
    let (rig, folder) = (Rig::new(), Folder::new());
    rig.api.script("w", [completed("w").reply()]);
    let wanted = json!({"spans": {"status_ok": "unset"}, "trace_context": {"use": "link"}});
    let farspan = rig.start_call(&call(&rig, &folder, &wanted));
    let parent = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";
    rig.publish(&json!({"WorkflowId": "w", "traceparent": parent}));
    eventually("its span", SOON, || rig.receiver.has_root("w"));
    farspan.stop();
    let spans = rig.receiver.spans();
    let root = spans.iter().find(|span| span.is_root()).expect("a root");
    assert_eq!(root.span.status.as_ref().map_or(0, |status| status.code), 0);
    assert_eq!(hex(&root.span.links[0].span_id), "b87e9a101a090735");
    assert_ne!(hex(&root.span.trace_id), "55319d0c4a44a2cc3ef02e43117528cb");
}

#[test]
fn the_log_says_whose_api_is_in_trouble_where_there_are_several() {
    let (rig, folder) = (Rig::new(), Folder::new());
    rig.api.script("w", [status(401)]);
    let file = written(
        &folder,
        &json!([
            {"name": "risk", "preset": "farspan"},
            {"name": "other", "preset": "farspan", "events": {"redis_channel": "others"}},
        ]),
    );
    let farspan = rig.start_call(&rig.call().env("FARSPAN_CONFIG", file.display()));
    rig.submit("w");
    farspan.await_log_about("risk", "the API refuses the credentials: ");
    assert!(
        farspan
            .stderr()
            .contains("monitors[0] (risk).api.auth right?")
    );
    farspan.stop();
}
