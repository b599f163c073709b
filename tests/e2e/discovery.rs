//! Runs without start events: farspan asks for a list of them, and traces each once.

use crate::support::api::{completed, processing, status};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Request, Server, lock};
use crate::support::program::{Call, Farspan, lines_about};
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually, ns, percent_decoded, rfc3339, wall_ns};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An API with a list of runs: `/list`, and each run's state.
struct Api {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    runs: Vec<Value>,
    /// What is answered in the place of the list.
    faults: Vec<Reply>,
    /// What is answered in the place of a run's state.
    poll_faults: Vec<Reply>,
    /// Runs that go on.
    held: HashSet<String>,
    polls: HashMap<String, usize>,
}

const PAGE: usize = 3;

impl Api {
    /// Lists all runs that it has, the oldest first, in pages by `link`, `offset`, `page` or `cursor`.
    fn start(by: &str) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let server = {
            let (state, by) = (state.clone(), by.to_owned());
            Server::start(move |request| {
                let mut state = lock(&state);
                match request.target.strip_prefix("/workflows/") {
                    Some(id) => state.poll(&percent_decoded(id).expect("well encoded")),
                    None => {
                        let fault = state.faults.pop();
                        fault.unwrap_or_else(|| page(&state.runs, &by, request))
                    }
                }
            })
        };
        Api { server, state }
    }

    fn add(&self, id: &str) {
        self.add_run(json!({ "run": { "id": id }, "created": rfc3339(wall_ns()) }));
    }

    fn add_run(&self, run: Value) {
        lock(&self.state).runs.push(run);
    }

    fn polls(&self, id: &str) -> usize {
        lock(&self.state).polls.get(id).copied().unwrap_or(0)
    }

    /// The requests for the list.
    fn lists(&self) -> Vec<Request> {
        let mut requests = self.server.requests();
        requests.retain(|request| request.target.starts_with("/list"));
        requests
    }

    /// Waits until the whole list was asked for again.
    #[track_caller]
    fn await_round(&self) {
        let rounds = || {
            let is_first = |request: &&Request| {
                let query = query(&request.target);
                let mut pages = ["offset", "page", "cursor"].iter();
                !pages.any(|name| query.get(*name).is_some_and(|value| value != "1"))
            };
            self.lists().iter().filter(is_first).count()
        };
        let before = rounds();
        eventually("a whole round", SOON, || rounds() >= before + 2);
    }
}

impl State {
    fn poll(&mut self, id: &str) -> Reply {
        let known = |run: &Value| run["run"]["id"] == *id;
        if !self.runs.iter().any(known) {
            return status(404);
        }
        let polls = self.polls.entry(id.to_owned()).or_default();
        *polls += 1;
        if let Some(fault) = self.poll_faults.pop() {
            return fault;
        }
        if *polls > 1 && !self.held.contains(id) {
            completed(id).reply()
        } else {
            processing(id).reply()
        }
    }
}

fn query(target: &str) -> BTreeMap<String, String> {
    let query = target.split_once('?').map(|(_, query)| query);
    let pairs = query.unwrap_or_default().split('&');
    let decoded = |text: &str| percent_decoded(text).expect("well encoded");
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect()
}

fn page(runs: &[Value], by: &str, request: &Request) -> Reply {
    let query = query(&request.target);
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let begin = match by {
        "offset" => number("offset").unwrap_or(0),
        "page" => (number("page").expect("a page") - 1) * PAGE,
        _ => number("cursor").unwrap_or(0),
    };
    let end = (begin + PAGE).min(runs.len());
    let more = end < runs.len();
    let listed = runs.get(begin..end).unwrap_or_default();
    let mut body = json!({ "runs": listed, "noise": [[{ "x": 1 }]] });
    match by {
        "offset" | "page" => body["total"] = json!(runs.len()),
        "cursor" if more => body["next"] = json!(end.to_string()),
        _ => {}
    }
    let mut answer = Answer::new(200).body("application/json", body.to_string());
    if by == "link" && more {
        let next = format!("</list?cursor={end}>; rel=\"next\"");
        answer = answer.header("Link", next);
    }
    answer.into()
}

fn pages(by: &str) -> Value {
    match by {
        "offset" => {
            json!({ "by": "offset", "offset": "offset", "limit": "limit", "size": PAGE, "total": "/total" })
        }
        "page" => {
            json!({ "by": "page", "page": "page", "limit": "per_page", "size": PAGE, "first": 1, "total": "/total" })
        }
        "cursor" => json!({ "by": "cursor", "param": "cursor", "next": "/next" }),
        _ => json!({ "by": "link" }),
    }
}

fn monitor(api: &Api, by: &str) -> Value {
    json!({
        "name": "found", "preset": "farspan",
        "api": {
            "base_url": api.server.url(), "headers": { "X-Tenant": "risk" },
            "auth": { "type": "bearer", "token": "s3cr3t" }
        },
        "discovery": {
            "request": { "path": "/list?since={since}&epoch={since_epoch}&ms={since_epoch_ms}", "pages": pages(by) },
            "list": "/runs", "id": "/run/id", "submitted_at": "/created",
            "interval": "100ms", "lookback": "10m"
        }
    })
}

/// The file goes with the test. Nothing but the list tells of workflows.
fn call(rig: &Rig, files: &Files, monitor: &Value) -> Call {
    let config = json!({ "monitors": [monitor] }).to_string();
    rig.call()
        .env("FARSPAN_CONFIG", files.write("farspan.json", config))
        .without("FARSPAN_API_BASE_URL")
        .without("FARSPAN_REDIS_URL")
}

#[track_caller]
fn await_roots(rig: &Rig, count: usize) {
    eventually(&format!("{count} traces"), SOON, || {
        let roots = rig.receiver.distinct_spans();
        match roots.iter().filter(|span| span.is_root()).count() {
            roots if roots >= count => Ok(()),
            roots => Err(format!("{roots}")),
        }
    });
}

#[test]
fn runs_of_every_kind_of_pages_are_each_traced_once() {
    for by in ["link", "offset", "page", "cursor"] {
        let (rig, files, api) = (Rig::new(), Files::new(), Api::start(by));
        let before = wall_ns();
        for n in 0..7 {
            api.add(&format!("a{n}"));
        }
        let farspan = call(&rig, &files, &monitor(&api, by)).start();
        await_roots(&rig, 7);
        // While it watches more come, on a page that was not full and on a new one.
        for n in 0..4 {
            api.add(&format!("b{n}"));
        }
        api.add("a b?c");
        await_roots(&rig, 12);
        api.await_round();
        let polls = api.polls("a0");
        api.await_round();
        assert_eq!(api.polls("a0"), polls, "by {by}: asked after again");
        let ended = farspan.stop();
        assert_eq!(assert_whole(&rig.receiver.spans()).len(), 12, "by {by}");
        rig.receiver.assert_each_span_once();
        ended.assert_says("12 events, 0 duplicates");
        for request in api.lists() {
            assert_eq!(request.header("Authorization"), Some("Bearer s3cr3t"));
            assert_eq!(request.header("X-Tenant"), Some("risk"));
            let query = query(&request.target);
            // Behind a link is what the API has put there.
            if let Some(since) = query.get("since") {
                assert!(ns(since) <= wall_ns() - 600_000_000_000, "{since}");
                assert!(ns(since) >= before - 602_000_000_000, "{since}");
                assert_eq!(query["epoch"], (ns(since) / 1_000_000_000).to_string());
                assert_eq!(query["ms"], (ns(since) / 1_000_000).to_string());
            }
        }
    }
}

/// What was watched, what had ended and what came meanwhile: each is one trace.
#[test]
fn across_a_kill_each_run_is_traced_once() {
    let (rig, files, folder, api) = (
        Rig::new(),
        Files::new(),
        Folder::new(),
        Api::start("offset"),
    );
    let call = call(&rig, &files, &monitor(&api, "offset"))
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display());
    for id in ["done-1", "done-2", "held-1", "held-2"] {
        api.add(id);
    }
    lock(&api.state).held = ["held-1", "held-2"].map(str::to_owned).into();
    let farspan = call.start();
    await_roots(&rig, 2);
    eventually("the others are polled", SOON, || {
        ["held-1", "held-2"].iter().all(|id| api.polls(id) > 1)
    });
    farspan.kill();
    for id in ["while-away-1", "while-away-2"] {
        api.add(id);
    }
    lock(&api.state).held.clear();
    let done = api.polls("done-1");
    let farspan = call.start();
    await_roots(&rig, 6);
    api.await_round();
    farspan.stop();
    assert_eq!(api.polls("done-1"), done, "nothing is left to be learned");
    // What the kill kept from being acknowledged is sent again, the same.
    assert_eq!(assert_whole(&rig.receiver.distinct_spans()).len(), 6);
    rig.receiver.deliveries();
}

#[test]
fn a_list_that_fails_is_asked_for_less_often_and_then_found_again() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("page"));
    let garbage = Answer::new(200).body("application/json", "{\"runs\": [");
    let shape = Answer::new(200).body("application/json", "{\"runs\": {\"a\": 1}}");
    lock(&api.state).faults = vec![
        garbage.into(),
        shape.into(),
        Reply::Close,
        status(404),
        status(500),
    ];
    for n in 0..4 {
        api.add(&format!("w{n}"));
    }
    let farspan = call(&rig, &files, &monitor(&api, "page")).start();
    await_roots(&rig, 4);
    let times: Vec<_> = api.lists().iter().map(|request| request.at).collect();
    for pair in times[..6].windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= Duration::from_millis(100), "{pause:?}");
    }
    // From the fourth failure on the pauses are eight intervals and more, up to half of it taken off.
    assert!(times[5] - times[4] >= Duration::from_millis(800));
    let ended = farspan.stop();
    let said = |words: &str| lines_about(&ended.stderr, "found", words) > 0;
    assert!(
        said("discovery: server_error: discovery.request: HTTP 500"),
        "{}",
        ended.stderr
    );
    assert!(said("discovery: the API answers again"), "{}", ended.stderr);
    rig.receiver.assert_each_span_once();
}

#[test]
fn a_list_that_asks_for_a_pause_gets_it_and_holds_up_no_stop() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("page"));
    let busy = Answer::new(429).header("Retry-After", 2);
    lock(&api.state).faults = vec![busy.into()];
    api.add("w");
    let farspan = call(&rig, &files, &monitor(&api, "page")).start();
    await_roots(&rig, 1);
    let lists = api.lists();
    assert!(lists[1].at - lists[0].at >= Duration::from_secs(2));
    // Now it never answers.
    lock(&api.state).faults = vec![Reply::Hang; 10];
    let before = api.lists().len();
    eventually("it waits", SOON, || api.lists().len() > before);
    let ended = farspan.stop();
    assert!(!ended.stderr.contains("given up"), "{}", ended.stderr);
}

/// Events tell of the same runs as the list, with another time of submission and without an attempt.
#[test]
fn a_run_that_is_listed_and_announced_is_traced_once() {
    let (rig, files, folder, api) = (Rig::new(), Files::new(), Folder::new(), Api::start("link"));
    let mut monitor = monitor(&api, "link");
    monitor["events"] = json!({ "redis_channel": "announced" });
    monitor["discovery"]["attempt"] = json!("/attempt");
    let call = call(&rig, &files, &monitor)
        .env("FARSPAN_REDIS_URL", rig.redis.url())
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display());
    let submitted = rfc3339(wall_ns() - 5_000_000_000);
    let announce = |id: &str| {
        let event = json!({ "WorkflowId": id, "SubmittedAt": submitted }).to_string();
        let heard = rig.redis.publish("announced", event.as_bytes());
        assert_eq!(heard, 1, "farspan hears of {id}");
    };
    let list = |id: &str, attempt: u32| {
        let mut state = lock(&api.state);
        state.runs.retain(|run| run["run"]["id"] != *id);
        let created = rfc3339(wall_ns() - 1_000_000_000);
        state
            .runs
            .push(json!({ "run": { "id": id }, "created": created, "attempt": attempt }));
    };
    let runs = ["event first", "list first", "together", "later"];
    lock(&api.state).held = runs.map(str::to_owned).into();
    let farspan = call.start();
    rig.redis.await_subscribers("announced", 1);
    announce("event first");
    farspan.await_log("workflow_id=\"event first\"");
    list("event first", 1);
    list("list first", 1);
    eventually("it is found", SOON, || api.polls("list first") > 0);
    announce("list first");
    list("together", 1);
    announce("together");
    list("later", 1);
    api.await_round();
    let again = || {
        for id in runs {
            announce(id);
        }
        api.await_round();
    };
    again();
    farspan.kill();
    let farspan = call.start();
    rig.redis.await_subscribers("announced", 1);
    again();
    lock(&api.state).held.clear();
    await_roots(&rig, runs.len());
    again();
    farspan.kill();
    // What has been traced is known for as long as it may be listed.
    let farspan = call.start();
    rig.redis.await_subscribers("announced", 1);
    again();
    lock(&api.state).held = ["another".to_owned()].into();
    announce("another");
    list("another", 1);
    eventually("it is polled", SOON, || api.polls("another") > 2);
    // Run again while it is watched as an event without an attempt had it.
    list("another", 2);
    lock(&api.state).held.clear();
    await_roots(&rig, runs.len() + 2);
    announce("another");
    again();
    farspan.stop();
    let mut roots: BTreeMap<String, usize> = BTreeMap::new();
    let spans = rig.receiver.distinct_spans();
    for root in spans.iter().filter(|span| span.is_root()) {
        *roots.entry(root.workflow_id().to_owned()).or_default() += 1;
        assert!(root.event_names().contains(&"Submitted"));
    }
    let mut expected: BTreeMap<String, usize> = runs.map(|id| (id.to_owned(), 1)).into();
    expected.insert("another".to_owned(), 2);
    assert_eq!(roots, expected);
    // What a kill kept from being acknowledged is sent again, the same.
    rig.receiver.deliveries();
}

/// Both hear each event and both list all runs, each at its own time: one has it.
#[test]
fn in_a_fleet_too_a_run_that_is_listed_and_announced_is_traced_once() {
    const RUNS: usize = 12;
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("offset"));
    let mut monitor = monitor(&api, "offset");
    monitor["events"] = json!({ "redis_channel": "announced" });
    monitor["discovery"]["attempt"] = json!("/attempt");
    let call = call(&rig, &files, &monitor)
        .env("FARSPAN_REDIS_URL", rig.redis.url())
        .env("FARSPAN_STATE", "redis")
        .env("FARSPAN_LEASE", "2s");
    let instances: Vec<Farspan> = ["a", "b"]
        .map(|name| call.clone().env("FARSPAN_INSTANCE", name).start())
        .into();
    rig.redis.await_subscribers("announced", 2);
    let submitted = rfc3339(wall_ns() - 5_000_000_000);
    for n in 0..RUNS {
        let id = format!("w{n}");
        let event = json!({ "WorkflowId": id, "SubmittedAt": submitted }).to_string();
        let list = || {
            let created = rfc3339(wall_ns());
            api.add_run(json!({ "run": { "id": id }, "created": created, "attempt": 1 }));
        };
        if n % 2 == 0 {
            list();
            eventually("it is found", SOON, || api.polls(&id) > 0);
        }
        assert_eq!(rig.redis.publish("announced", event.as_bytes()), 2);
        if n % 2 == 1 {
            list();
        }
    }
    await_roots(&rig, RUNS);
    // More than one round of each.
    for _ in 0..4 {
        api.await_round();
    }
    for farspan in instances {
        farspan.stop();
    }
    rig.receiver.assert_each_span_once();
    let roots = rig.receiver.count_roots(|_| true);
    assert_eq!(roots, RUNS);
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), RUNS);
}

// One host, one budget.

/// A run that goes on is polled, and a list asked for, without an end.
fn polled_and_listed(rig: &Rig, files: &Files, api: &Api) -> Farspan {
    lock(&api.state).held = ["held".to_owned()].into();
    api.add("held");
    let farspan = call(rig, files, &monitor(api, "link")).start();
    eventually("polls and lists", SOON, || {
        api.polls("held") > 2 && api.lists().len() > 2
    });
    farspan
}

/// After an answer that asks for a pause of two seconds, the host gets no request.
#[track_caller]
fn assert_left_alone(api: &Api, rig: &Rig, begun_ns: u64) {
    // What was on its way when the answer came is forgiven.
    let pause = begun_ns + 400_000_000..begun_ns + 1_900_000_000;
    eventually("polls go on", SOON, || {
        let mut polls = api.server.requests();
        polls.retain(|request| request.target.starts_with("/workflows/"));
        polls
            .last()
            .is_some_and(|last| last.at_wall_ns >= pause.end)
    });
    lock(&api.state).held.clear();
    await_roots(rig, 1);
    api.await_round();
    for request in api.server.requests() {
        assert!(!pause.contains(&request.at_wall_ns), "{}", request.target);
    }
}

#[test]
fn a_pause_that_a_list_is_asked_for_is_one_for_polls_too() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    let farspan = polled_and_listed(&rig, &files, &api);
    let busy = Answer::new(429).header("Retry-After", 2);
    lock(&api.state).faults = vec![busy.into()];
    eventually("it is asked", SOON, || lock(&api.state).faults.is_empty());
    assert_left_alone(&api, &rig, wall_ns());
    let log = farspan.stop().stderr;
    let left = "the API asked for a pause of 2.0s";
    assert_eq!(lines_about(&log, "found", left), 1, "{log}");
}

/// An answer may say so too, of a budget that it has spent.
#[test]
fn a_budget_that_a_list_has_spent_is_spent_for_polls_too() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    let farspan = polled_and_listed(&rig, &files, &api);
    let last = Answer::new(200)
        .body("application/json", "{\"runs\": []}")
        .header("RateLimit-Remaining", 0)
        .header("RateLimit-Reset", 2);
    lock(&api.state).faults = vec![last.into()];
    eventually("it is asked", SOON, || lock(&api.state).faults.is_empty());
    assert_left_alone(&api, &rig, wall_ns());
    farspan.stop();
}

#[test]
fn a_pause_that_a_poll_is_asked_for_is_one_for_lists_too() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    let farspan = polled_and_listed(&rig, &files, &api);
    let busy = Answer::new(429).header("Retry-After", 2);
    lock(&api.state).poll_faults = vec![busy.into()];
    let asked = || lock(&api.state).poll_faults.is_empty();
    eventually("it is asked", SOON, asked);
    assert_left_alone(&api, &rig, wall_ns());
    farspan.stop();
}

/// Polls and the lists of two discoveries, each of which would ask for more than all of it.
#[test]
fn a_rate_holds_for_polls_and_lists_together() {
    const SECOND_NS: u64 = 1_000_000_000;
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    let runs: Vec<String> = (0..7).map(|n| format!("w{n}")).collect();
    lock(&api.state).held = runs.iter().cloned().collect();
    for id in &runs {
        api.add(id);
    }
    let named = |name: &str| {
        let mut monitor = monitor(&api, "link");
        monitor["name"] = json!(name);
        monitor["api"]["requests_per_second"] = json!(10);
        monitor["api"]["headers"]["X-Of"] = json!(name);
        monitor["poll"] = json!({ "initial_delay": "10ms", "interval": "50ms" });
        monitor
    };
    let config = json!({ "monitors": [named("one"), named("two")] }).to_string();
    let farspan = (rig.call())
        .env("FARSPAN_CONFIG", files.write("farspan.json", config))
        .without("FARSPAN_API_BASE_URL")
        .without("FARSPAN_REDIS_URL")
        .start();
    let first = || Some(api.server.requests().first()?.at_wall_ns);
    eventually("five seconds of requests", SOON, || {
        first().is_some_and(|first| wall_ns() > first + 5 * SECOND_NS)
    });
    let first = first().expect("a request");
    let requests = api.server.requests();
    let within = |what: &dyn Fn(&Request) -> bool| {
        // All runs are known by then.
        let window = first + 2 * SECOND_NS..first + 5 * SECOND_NS;
        let within = requests.iter().filter(|r| window.contains(&r.at_wall_ns));
        within.filter(|request| what(request)).count()
    };
    let all = within(&|_| true);
    assert!((15..=35).contains(&all), "{all} in three seconds");
    let polls = within(&|request| request.target.starts_with("/workflows/"));
    assert!(polls >= 5, "{polls} polls of {all} requests");
    for name in ["one", "two"] {
        let lists = within(&|r| r.target.starts_with("/list") && r.header("X-Of") == Some(name));
        assert!(lists >= 3, "{lists} lists of {name}, {all} requests");
    }
    farspan.stop();
}

#[test]
fn only_runs_that_are_wanted_and_young_enough_are_traced() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    let run = |id: &str, kind: &str, age_s: u64, more: Value| {
        let mut run = json!({ "run": { "id": id }, "kind": kind, "created": rfc3339(wall_ns() - age_s * 1_000_000_000) });
        for (key, value) in more.as_object().expect("an object") {
            run[key] = value.clone();
        }
        api.add_run(run);
    };
    run("wanted", "nightly", 10, json!({ "ok": true }));
    run("also wanted", "manual", 500, json!({ "ok": true }));
    run("of another kind", "test", 10, json!({ "ok": true }));
    run("not ok", "nightly", 10, json!({ "ok": false }));
    run("says nothing", "nightly", 10, json!({}));
    run("too old", "nightly", 700, json!({ "ok": true }));
    run("", "nightly", 10, json!({ "ok": true }));
    run(
        "without a time",
        "nightly",
        10,
        json!({ "ok": true, "created": null }),
    );
    let mut monitor = monitor(&api, "link");
    monitor["discovery"]["only"] = json!({ "/kind": ["nightly", "manual"], "/ok": true });
    // Where the API is not told from when on, farspan looks itself.
    monitor["discovery"]["request"]["path"] = json!("/list");
    let farspan = call(&rig, &files, &monitor).start();
    await_roots(&rig, 3);
    api.await_round();
    let ended = farspan.stop();
    let traced = assert_whole(&rig.receiver.spans());
    let ids: Vec<_> = traced.keys().map(String::as_str).collect();
    assert_eq!(ids, ["also wanted", "wanted", "without a time"]);
    ended.assert_says("WorkflowId is empty");
}

/// A run that is run again is listed under its id with another attempt: another trace.
#[test]
fn another_attempt_is_another_trace_and_ids_may_come_in_parts() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("cursor"));
    let mut monitor = monitor(&api, "cursor");
    monitor["id"] = json!("{project}/{number}");
    monitor["slashes_in_ids"] = json!(true);
    monitor["request"] = json!({ "path": "/workflows/{id}" });
    monitor["discovery"]["id"] = json!({ "project": "/project", "number": "/n" });
    monitor["discovery"]["attempt"] = json!(["/try", "/attempt"]);
    let run = json!({ "run": { "id": "etl/7" }, "project": "etl", "n": 7, "attempt": 1 });
    api.add_run(run.clone());
    let farspan = call(&rig, &files, &monitor).start();
    await_roots(&rig, 1);
    api.await_round();
    let mut again = run;
    again["try"] = json!("2");
    lock(&api.state).runs[0] = again;
    await_roots(&rig, 2);
    api.await_round();
    farspan.stop();
    let spans = rig.receiver.spans();
    let roots: Vec<_> = spans.iter().filter(|span| span.is_root()).collect();
    assert_eq!(roots.len(), 2);
    assert!(roots.iter().all(|root| root.workflow_id() == "etl/7"));
    assert_ne!(roots[0].span.trace_id, roots[1].span.trace_id);
}

/// A token that was wrong and is mended is tried at once, not when the pause has passed.
#[test]
fn a_reload_brings_the_list_new_credentials() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    let mut monitor = monitor(&api, "link");
    monitor["discovery"]["interval"] = json!("1h");
    lock(&api.state).faults = vec![status(401)];
    api.add("w");
    let call = call(&rig, &files, &monitor);
    let farspan = call.start();
    eventually("it is refused", SOON, || api.lists().len() == 1);
    farspan.await_log("unauthorized");
    monitor["api"]["auth"]["token"] = json!("an0ther");
    let config = json!({ "monitors": [monitor] }).to_string();
    files.write("farspan.json", config);
    farspan.signal("HUP");
    await_roots(&rig, 1);
    let last = api.lists().pop().expect("a list");
    assert_eq!(last.header("Authorization"), Some("Bearer an0ther"));
    farspan.stop();
}

/// A long list costs its requests each round, and nothing else: what is known is not told again.
#[test]
fn runs_by_the_thousand_are_told_once() {
    let (rig, files) = (Rig::new(), Files::new());
    const RUNS: usize = 2_000;
    let server = Server::start(|request| {
        if request.target.starts_with("/workflows/") {
            return status(404);
        }
        let offset = query(&request.target)
            .get("offset")
            .map_or(0, |text| text.parse().unwrap());
        let runs: Vec<_> = (offset..offset + 500).map(|n| json!({ "id": n })).collect();
        let body = json!({ "runs": runs, "total": RUNS }).to_string();
        Answer::new(200).body("application/json", body).into()
    });
    let monitor = json!({
        "name": "many", "preset": "farspan", "api": { "base_url": server.url() }, "poll": { "initial_delay": "1h" },
        "discovery": {
            "request": { "path": "/list", "pages": { "by": "offset", "offset": "offset", "limit": "limit", "size": 500, "total": "/total" } },
            "list": "/runs", "id": "/id", "interval": "100ms"
        }
    });
    let farspan = call(&rig, &files, &monitor)
        .env("FARSPAN_LOG", "info")
        .start();
    let lists = || server.requests().len();
    eventually("three rounds", SOON, || match lists() {
        12.. => Ok(()),
        n => Err(format!("{n}")),
    });
    let ended = farspan.stop();
    let expected = "2000 events, 0 duplicates";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("2000 runs are listed, 2000 of them new"),
        "{}",
        ended.stderr
    );
}

/// The longest answer that is read, of runs so short that their count is the greatest.
#[test]
fn a_list_of_the_greatest_length_takes_little_memory() {
    let (rig, files, api) = (Rig::new(), Files::new(), Api::start("link"));
    api.add_run(json!({ "run": { "id": "w" }, "kind": "wanted" }));
    let wanted = r#"{"run": {"id": "w"}, "kind": "wanted"}"#;
    let others = r#",{"run":{"id":7,"x":[[],{}]},"kind":[1,1,1,1]}"#.repeat((16 << 20) / 48);
    let list = format!(r#"{{"runs": [{wanted}{others}]}}"#);
    assert!((14 << 20..16 << 20).contains(&list.len()), "{}", list.len());
    lock(&api.state)
        .faults
        .push(Answer::new(200).body("application/json", list).into());
    let mut monitor = monitor(&api, "link");
    monitor["discovery"]["only"] = json!({ "/kind": "wanted" });
    let farspan = call(&rig, &files, &monitor).start();
    await_roots(&rig, 1);
    farspan.await_log("100 pages or 10000 runs are listed");
    let peak = farspan.memory_kib("VmHWM");
    assert!(peak < 40 << 10, "{peak} KiB at the most");
}
