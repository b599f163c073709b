//! farspan inside a program: this one. Its threads are counted, so that it is a binary of its own.
#![cfg(feature = "file")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a test may fail loudly, and its support has more than is used here"
)]

mod support;

use farspan::{
    Change, Changes, Configuration, Error, ErrorKind, FinishedTrace, Outcome, RunState, RunSummary,
    Span, SpanStatus, StartEvent, Traces, Value, Watcher,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::api::{FakeApi, completed, processing, short_story};
use support::files::Files;
use support::http::Reply;
use support::receiver::Receiver;
use support::spans::Seen;
use support::{SOON, eventually};

/// A program may share it between threads, and keep what it gives.
const _: () = {
    const fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Watcher>();
    is_shared::<Configuration>();
    is_shared::<StartEvent>();
    is_shared::<Error>();
    is_shared::<Changes>();
    is_shared::<Traces>();
    is_shared::<FinishedTrace>();
};

/// The threads of a test would be counted in another one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quick(api: &FakeApi, receiver: &Receiver) -> Configuration {
    Configuration::from_variables([
        ("FARSPAN_API_BASE_URL", api.base_url()),
        ("FARSPAN_POLL_INITIAL_DELAY", "10ms".to_owned()),
        ("FARSPAN_POLL_INTERVAL", "20ms".to_owned()),
        ("FARSPAN_POLLERS", "2".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
    ])
}

/// The names of farspan's threads, as far as they run.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let ours = [
        "farspan",
        "poller-",
        "exporter",
        "store",
        "names-",
        "notify-",
        "serve",
        "discovery-",
        "metrics",
    ];
    let is_ours = |name: &String| ours.iter().any(|it| name.starts_with(it));
    names
        .map(|it| it.trim().to_owned())
        .filter(is_ours)
        .collect()
}

#[track_caller]
fn no_thread_is_left() {
    eventually("no thread is left", SOON, || match threads() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

#[track_caller]
fn next_trace(traces: &mut Traces) -> FinishedTrace {
    traces.next_within(SOON).unwrap().expect("a trace in time")
}

/// What the collector got is what the program heard of.
#[track_caller]
fn assert_same(span: &Span, seen: &Seen) {
    let ns = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let exported = &seen.span;
    assert_eq!(span.trace_id.to_bytes()[..], exported.trace_id);
    assert_eq!(span.span_id.to_bytes()[..], exported.span_id);
    let parent = span.parent_span_id.map(|id| id.to_bytes().to_vec());
    assert_eq!(parent.unwrap_or_default(), exported.parent_span_id);
    assert_eq!(span.name, exported.name);
    assert_eq!((ns(span.start), ns(span.end)), (seen.start(), seen.end()));
    let error = match &span.status {
        SpanStatus::Error(message) => Some(message.as_str()),
        _ => None,
    };
    assert_eq!(error, seen.error());
    let events: Vec<_> = span
        .events
        .iter()
        .map(|it| (&*it.name, ns(it.time)))
        .collect();
    let exported_events = exported.events.iter();
    let exported_events: Vec<_> = exported_events
        .map(|it| (&*it.name, it.time_unix_nano))
        .collect();
    assert_eq!(events, exported_events);
    assert_eq!(span.attributes.len(), exported.attributes.len());
    for (key, value) in &span.attributes {
        let found = exported
            .attributes
            .iter()
            .find(|it| it.key == *key)
            .unwrap();
        let found = found.value.as_ref().unwrap().value.as_ref().unwrap();
        let is_same = match (value, found) {
            (Value::Text(text), any_value::Value::StringValue(it)) => text == it,
            (Value::Integer(number), any_value::Value::IntValue(it)) => number == it,
            (Value::Float(number), any_value::Value::DoubleValue(it)) => number == it,
            (Value::Bool(truth), any_value::Value::BoolValue(it)) => truth == it,
            _ => false,
        };
        assert!(is_same, "{key}: {value:?}, exported as {found:?}");
    }
}

#[test]
fn two_watchers_in_one_process_each_tell_and_export_their_own_and_leave_no_thread() {
    let _alone = alone();
    let sides: Vec<_> = ["one", "two"]
        .map(|id| (id, FakeApi::start(), Receiver::start()))
        .into_iter()
        .map(|(id, api, receiver)| {
            api.script(id, short_story(id));
            let watcher = Watcher::start(&quick(&api, &receiver)).unwrap();
            (id, api, receiver, watcher)
        })
        .collect();
    let mut heard = Vec::new();
    for (id, _, _, watcher) in &sides {
        let (changes, traces) = (watcher.changes().unwrap(), watcher.traces().unwrap());
        let event = StartEvent::new(*id)
            .with_submitted_at(UNIX_EPOCH + Duration::from_millis(1_720_162_671_073))
            .with_traceparent("00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01")
            .with_attribute("desk", "rates")
            .with_attribute("book", 7);
        let accepted = watcher.submit(&event).unwrap();
        assert_eq!((&*accepted.workflow_id, accepted.ignored), (*id, None));
        // Once more is the same run.
        watcher.submit(&event).unwrap();
        heard.push((changes, traces));
    }
    for ((id, _, receiver, watcher), (mut changes, mut traces)) in sides.into_iter().zip(heard) {
        let ended = eventually("the end", SOON, || {
            match changes.next_within(SOON).unwrap() {
                Some(Change::State(run)) if run.state == RunState::Ended => Some(run),
                _ => None,
            }
        });
        let trace = next_trace(&mut traces);
        assert_eq!(
            (&*ended.workflow_id, ended.outcome),
            (id, Some(Outcome::Success))
        );
        assert_eq!(
            (&ended.run, ended.trace_id),
            (&trace.run.run, trace.run.trace_id)
        );
        assert_eq!(
            ended.trace_id.to_string(),
            "55319d0c4a44a2cc3ef02e43117528cb"
        );
        assert!(trace.has_all_spans);
        assert_eq!(trace.spans.len(), 4, "{trace:#?}");
        let root = trace.spans.last().unwrap();
        assert_eq!(
            (root.span_id, &*root.name),
            (trace.run.root_span_id, "Workflow")
        );
        for (key, value) in [("desk", Value::from("rates")), ("book", Value::Integer(7))] {
            assert!(
                root.attributes.contains(&(key.to_owned(), value)),
                "{root:#?}"
            );
        }
        eventually("the export is told", SOON, || {
            watcher.run(id).unwrap().is_some_and(|run| run.is_exported)
        });
        let runs: Vec<RunSummary> = watcher.runs().map(Result::unwrap).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        assert_eq!(watcher.run(&runs[0].run).unwrap().as_ref(), runs.first());
        assert_eq!(watcher.run("another").unwrap(), None);

        let stopped = watcher.stop(SOON).unwrap();
        assert_eq!((stopped.unfinished, stopped.lost), (0, 0), "{stopped:?}");
        assert!(!stopped.has_unended_threads);
        receiver.assert_each_span_once();
        let exported = receiver.spans();
        assert_eq!(exported.len(), 4);
        for seen in &exported {
            let span = trace
                .spans
                .iter()
                .find(|it| it.span_id.to_bytes()[..] == seen.span.span_id);
            assert_same(span.expect("the span of the program"), seen);
        }
        // Each subscription has its end.
        assert_eq!((traces.next(), traces.missed()), (None, 0));
        assert_eq!(
            changes.next_within(SOON).unwrap_err().kind(),
            ErrorKind::Stopped
        );
    }
    no_thread_is_left();
}

#[test]
fn what_waits_is_read_after_the_stop() {
    let _alone = alone();
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    let watcher = Watcher::start(&quick(&api, &receiver)).unwrap();
    let traces = watcher.traces().unwrap();
    let ids = ["a", "b", "c"];
    for id in ids {
        api.script(id, [completed(id).reply()]);
    }
    let events = ids.map(StartEvent::new);
    assert_eq!(watcher.submit_all(&events).unwrap().len(), 3);
    eventually("all roots", SOON, || {
        ids.iter().all(|id| receiver.has_root(id))
    });
    watcher.stop(SOON).unwrap();
    let mut read: Vec<String> = traces.map(|trace| trace.run.workflow_id).collect();
    read.sort();
    assert_eq!(read, ids);
}

#[test]
fn what_is_accepted_is_stored_and_the_next_watcher_goes_on_with_it() {
    let _alone = alone();
    let (api, receiver, files) = (FakeApi::start(), Receiver::start(), Files::new());
    // It is made at the start.
    let directory = files.write("name", "").replace("name", "state");
    let configuration = quick(&api, &receiver).with_variable("FARSPAN_STATE_DIR", &*directory);
    api.script("kept", [processing("kept").reply()]);
    let watcher = Watcher::start(&configuration).unwrap();
    watcher.submit(&StartEvent::new("kept")).unwrap();
    // A second one in this process does not take the state away.
    let error = Watcher::start(&configuration).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains(&directory), "{error}");
    drop(watcher);
    no_thread_is_left();

    api.script("kept", [completed("kept").reply()]);
    let watcher = Watcher::start(&configuration).unwrap();
    eventually("the trace", SOON, || receiver.has_root("kept"));
    assert_eq!(watcher.stop(SOON).unwrap().lost, 0);
    receiver.assert_each_span_once();
}

#[test]
fn a_request_that_hangs_holds_up_no_stop() {
    let _alone = alone();
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    let hangs = Reply::Late(Duration::from_secs(2), Box::new(Reply::Close));
    api.script("hangs", [hangs]);
    let asked = |watcher: &Watcher, before: usize| {
        watcher.submit(&StartEvent::new("hangs")).unwrap();
        eventually("a poll is under way", SOON, || api.polls("hangs") > before);
    };
    let watcher = Watcher::start(&quick(&api, &receiver)).unwrap();
    asked(&watcher, 0);
    let begun = Instant::now();
    let stopped = watcher.stop(Duration::from_millis(200)).unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(stopped.unfinished, 1);
    assert!(stopped.has_unended_threads);
    no_thread_is_left();

    // One that is dropped waits for it.
    let watcher = Watcher::start(&quick(&api, &receiver)).unwrap();
    asked(&watcher, api.polls("hangs"));
    drop(watcher);
    let pollers = threads()
        .into_iter()
        .filter(|name| name.starts_with("poller-"));
    assert_eq!(pollers.count(), 0);
}

#[test]
fn what_cannot_be_done_is_an_error_that_says_what_to_do() {
    let _alone = alone();
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    let quick = quick(&api, &receiver);
    for (configuration, expected) in [
        (
            Configuration::new(),
            "FARSPAN_API_BASE_URL (api.base_url): is not set; write the status API's URL, http://host:port/path",
        ),
        (
            Configuration::from_json("{\"api\": {\"base_url\": \"x\"}}"),
            "the configuration: api.base_url: 'x' ",
        ),
        (
            Configuration::from_json("{} {}"),
            "the configuration: is not JSON: ",
        ),
        (
            quick
                .clone()
                .with_variable("OTEL_TRACES_EXPORTER", "console"),
            "OTEL_TRACES_EXPORTER: 'console' writes to standard output, which belongs to the program: use otlp or none",
        ),
        (
            Configuration::from_file("/does/not/exist.json"),
            "/does/not/exist.json: cannot be read: ",
        ),
    ] {
        let error = Watcher::start(&configuration).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let warnings = quick.clone().with_variable("FARSPAN_LOG", "debug").check();
    let warning = "FARSPAN_LOG: has no effect: the logger of the program decides";
    assert_eq!(warnings.unwrap(), [warning]);

    api.script("first", [processing("first").reply()]);
    let one_alone = quick.with_variable("FARSPAN_WORKFLOWS_MAX", "1");
    let watcher = Watcher::start(&one_alone).unwrap();
    watcher.submit(&StartEvent::new("first")).unwrap();
    for (event, kind, expected) in [
        (
            StartEvent::new("second"),
            ErrorKind::NoRoom,
            "there is no room for more workflows now",
        ),
        (StartEvent::new(""), ErrorKind::Event, "WorkflowId is empty"),
        (
            StartEvent::from_json("[]"),
            ErrorKind::Event,
            "not a JSON object",
        ),
        (
            StartEvent::new("x").with_monitor("other"),
            ErrorKind::Event,
            "there is no monitor \"other\"",
        ),
    ] {
        let error = watcher.submit(&event).unwrap_err();
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (kind, expected),
            "{event:?}"
        );
    }
    let both = [StartEvent::new("ok"), StartEvent::new("")];
    let error = watcher.submit_all(&both).unwrap_err();
    assert_eq!(error.to_string(), "event 1: WorkflowId is empty");
    let odd = StartEvent::new("first").with_traceparent("none");
    let accepted = watcher.submit(&odd);
    assert_eq!(accepted.unwrap_err().kind(), ErrorKind::NoRoom);

    // Nothing was taken that was not asked for.
    assert!(!threads().iter().any(|name| name.starts_with("serve")));
    let traces: Vec<_> = (0..32).map(|_| watcher.traces().unwrap()).collect();
    assert_eq!(watcher.traces().unwrap_err().kind(), ErrorKind::Busy);
    drop(traces);
    drop(watcher.traces().unwrap());
}
