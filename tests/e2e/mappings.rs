//! What a monitor can say of an API that has no preset: how its times, words, stages and spans are meant, and when it is asked.

use crate::support::files::Files;
use crate::support::http::{Answer, Request, Server, lock};
use crate::support::monitored::Monitored;
use crate::support::rig::Rig;
use crate::support::spans::Seen;
use crate::support::{SOON, eventually, rfc3339, wall_ns};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An API that answers with what it is told to, whatever it is asked.
struct Api {
    server: Server,
    says: Arc<Mutex<Value>>,
}

impl Api {
    fn saying(body: Value) -> Self {
        let says = Arc::new(Mutex::new(body));
        let server = {
            let says = says.clone();
            Server::start(move |_| {
                Answer::new(200)
                    .body("application/json", lock(&says).to_string())
                    .into()
            })
        };
        Api { server, says }
    }

    fn say(&self, body: Value) {
        *lock(&self.says) = body;
    }

    fn asked(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// What is said now was answered twice.
    #[track_caller]
    fn await_polls(&self) {
        let before = self.asked().len();
        eventually("two polls", SOON, || self.asked().len() >= before + 2);
    }

    /// The plainest monitor that there is, and these keys.
    fn monitor(&self, more: Value) -> Value {
        let mut monitor = json!({
            "name": "plain", "api": {"base_url": self.server.url()}, "request": {"path": "/runs/{id}"},
            "workflow": {"status": "/state", "start": "/start", "end": "/end"},
            "stages": [{"list": "/stages", "key": "/name", "status": "/state", "queued": "/queued", "start": "/start", "end": "/end"}],
            "statuses": {"waiting": "pending", "running": "running", "success": "success", "failed": "failure", "skipped": "skip"},
        });
        for (key, value) in more.as_object().expect("an object") {
            monitor[key] = value.clone();
        }
        monitor
    }
}

const BEGUN: &str = "2026-11-20T09:20:00Z";
const ENDED: &str = "2026-11-20T09:30:00Z";

fn of<'s>(spans: &'s [Seen], name: &str) -> &'s Seen {
    let mut found = spans.iter().filter(|seen| seen.span.name == name);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no span {name}: {spans:#?}"));
    assert!(found.next().is_none(), "two spans {name}");
    one
}

/// One moment in as many ways, and the digits that each way has room for.
#[test]
fn times_in_every_form() {
    let forms = [
        (
            "rfc3339 with nine digits",
            json!("2026-11-20T09:20:48.043123456Z"),
            ".043123456",
        ),
        (
            "rfc3339 with ten digits",
            json!("2026-11-20T09:20:48.0431234567Z"),
            ".043123456",
        ),
        (
            "rfc3339 with an offset",
            json!("2026-11-20T14:50:48.043+05:30"),
            ".043",
        ),
        (
            "rfc3339 behind the line",
            json!("2026-11-19T23:20:48-10:00"),
            "",
        ),
        ("rfc3339 with a space", json!("2026-11-20 09:20:48Z"), ""),
        ("gmt", json!("2026-11-20T09:20:48.043GMT"), ".043"),
        ("seconds", json!(1_795_166_448), ""),
        ("seconds as text", json!("1795166448"), ""),
        ("milliseconds", json!(1_795_166_448_043_u64), ".043"),
        ("milliseconds as text", json!("1795166448043"), ".043"),
        ("microseconds", json!(1_795_166_448_043_123_u64), ".043123"),
        ("microseconds as text", json!("1795166448043123"), ".043123"),
        (
            "nanoseconds",
            json!(1_795_166_448_043_123_456_u64),
            ".043123456",
        ),
        (
            "nanoseconds as text",
            json!("1795166448043123456"),
            ".043123456",
        ),
        ("float seconds", json!(1_795_166_448.043_123), ".043123"),
        (
            "float seconds as text",
            json!("1795166448.043123"),
            ".043123",
        ),
    ];
    let stages = forms.iter().map(|(name, at, _)| json!({"name": name, "state": "success", "start": at, "end": "2026-11-20T09:21:00Z"}));
    let api = Api::saying(
        json!({"state": "success", "start": BEGUN, "end": ENDED, "stages": stages.collect::<Vec<_>>()}),
    );
    let it = Monitored::by(json!([api.monitor(json!({}))]));
    let (spans, log) = it.watch("w");
    assert_eq!(spans.len(), 1 + forms.len());
    for (name, _, digits) in &forms {
        let expected = rfc3339(crate::support::ns(&format!("2026-11-20T09:20:48{digits}Z")));
        let span = of(&spans, name);
        assert_eq!(rfc3339(span.start()), expected, "{name}");
        assert_eq!(span.attribute("startTime"), expected, "{name}");
    }
    assert!(!log.contains("is not a time"), "{log}");
}

/// The unit is that of the format where there is one: small counts are milliseconds soon after 1970, which is said.
#[test]
fn the_format_of_times_may_be_said() {
    for (format, count, expected) in [
        ("epoch_s", json!(86_400), "1970-01-02T00:00:00Z"),
        ("epoch_ms", json!(86_400_000), "1970-01-02T00:00:00Z"),
        ("epoch_us", json!("86400000000"), "1970-01-02T00:00:00Z"),
        (
            "epoch_ns",
            json!(86_400_000_000_000_u64),
            "1970-01-02T00:00:00Z",
        ),
        (
            "rfc3339",
            json!("1970-01-02T01:00:00+01:00"),
            "1970-01-02T00:00:00Z",
        ),
    ] {
        let api = Api::saying(json!({"state": "success", "start": count, "end": count}));
        let it = Monitored::by(json!([api.monitor(json!({"times": {"format": format}}))]));
        let (spans, log) = it.watch("w");
        of(&spans, "Workflow").assert_times(expected, expected);
        let said = log.contains(" is a time in 1970: \"86400");
        assert_eq!(said, format != "rfc3339", "{log}");
    }
}

/// What stands for no time is none, and the end of what still runs is somebody's guess.
#[test]
fn what_means_no_time_and_an_end_in_the_future_end_nothing() {
    let nothing = [
        json!(0),
        json!(-1),
        json!("0"),
        json!(0.0),
        json!(""),
        Value::Null,
        json!("1969-12-31T23:59:59.999GMT"),
        json!("0001-01-01T00:00:00"),
    ];
    let name = |number: usize| format!("stage-{number}");
    let stages = |state: &str, end: &dyn Fn(usize) -> Value| -> Vec<Value> {
        (0..=nothing.len()).map(|number| json!({"name": name(number), "state": state, "start": BEGUN, "end": end(number)})).collect()
    };
    let planned = rfc3339(wall_ns() + 3_600_000_000_000);
    // The last one says when it thinks that it will have ended.
    let unset = |number: usize| {
        nothing
            .get(number)
            .cloned()
            .unwrap_or_else(|| json!(planned))
    };
    let api = Api::saying(
        json!({"state": "running", "start": BEGUN, "end": planned, "stages": stages("running", &unset)}),
    );
    let it = Monitored::by(json!([api.monitor(json!({}))]));
    let farspan = it.start();
    it.rig.submit("w");
    eventually("a poll", SOON, || !api.asked().is_empty());
    api.await_polls();
    assert_eq!(it.rig.receiver.spans().len(), 0, "nothing has ended");
    let ended = "2026-11-20T09:25:00Z";
    let stages = (0..=nothing.len()).map(|number| match nothing.get(number) {
        Some(unset) => json!({"name": name(number), "state": "success", "queued": unset, "start": unset, "end": ended}),
        // It never says when it has ended.
        None => json!({"name": name(number), "state": "success", "start": BEGUN, "end": null}),
    });
    api.say(json!({"state": "success", "start": BEGUN, "end": ENDED, "stages": stages.collect::<Vec<_>>()}));
    let spans = it.spans("w");
    let log = farspan.stop().stderr;
    assert_eq!(spans.len(), 2 + nothing.len());
    of(&spans, "Workflow").assert_times(BEGUN, ENDED);
    for (number, unset) in nothing.iter().enumerate() {
        let span = of(&spans, &name(number));
        // What was said before stands.
        span.assert_times(BEGUN, ended);
        assert_eq!(span.find("queuedTime"), None, "{unset}");
    }
    let guessed = of(&spans, &name(nothing.len()));
    assert_eq!(guessed.find("endTime"), None);
    assert_ne!(rfc3339(guessed.end()), planned);
    assert!(!log.contains("is not a time"), "{log}");
}

/// Another word runs on, means what it is said to, or keeps the answer from being read; it is named in any case.
#[test]
fn a_word_that_the_table_does_not_have() {
    let last = json!({"state": "finito", "start": BEGUN, "end": ENDED});
    for (policy, result) in [
        ("failure", "failure"),
        ("cancellation", "cancellation"),
        ("success", "success"),
    ] {
        let api = Api::saying(last.clone());
        let it = Monitored::by(json!([api.monitor(json!({"unknown_status": policy}))]));
        let (spans, log) = it.watch("w");
        assert_eq!(
            of(&spans, "Workflow").attribute("cicd.pipeline.result"),
            result
        );
        assert!(log.contains("unknown status \"finito\""), "{log}");
    }
    for (policy, said) in [
        (
            json!({}),
            "/state: unknown status \"finito\" (workflow.status)",
        ),
        (json!({"unknown_status": "fail"}), "(shape)"),
    ] {
        let api = Api::saying(last.clone());
        let it = Monitored::by(json!([api.monitor(policy)]));
        let farspan = it.start();
        it.rig.submit("w");
        eventually(said, SOON, || match farspan.stderr() {
            log if log.contains(said) && log.contains("finito") => Ok(()),
            log => Err(log),
        });
        api.await_polls();
        assert_eq!(it.rig.receiver.spans().len(), 0, "it is asked on");
        api.say(json!({"state": "success", "start": BEGUN, "end": ENDED}));
        it.spans("w");
        farspan.stop();
    }
}

/// It polls on, and says once where the status is not.
#[test]
fn a_status_that_is_nowhere_is_said() {
    let api = Api::saying(json!({"id": "w", "phase": "running", "stages": [{"name": "a"}]}));
    let it = Monitored::by(json!([api.monitor(json!({}))]));
    let farspan = it.start();
    it.rig.submit("w");
    let said = "/state leads nowhere; the answer has id, phase, stages (workflow.status)";
    eventually(said, SOON, || match farspan.stderr() {
        log if log.contains(said) => Ok(()),
        log => Err(log),
    });
    api.await_polls();
    api.say(json!({"state": "success", "start": BEGUN, "end": ENDED, "stages": []}));
    it.spans("w");
    let log = farspan.stop().stderr;
    assert_eq!(log.matches("nowhere").count(), 1, "{log}");
}

/// What waited has a span of its own beside what ran, and what was skipped has one too, where a monitor wants them.
#[test]
fn queue_time_and_skipped_stages_are_spans_when_asked_for() {
    let stage = |name: &str, state: &str, queued: &str, start: &str, end: &str| {
        let at = |minute: &str| format!("2026-11-20T09:{minute}:00Z");
        json!({"name": name, "state": state, "queued": at(queued), "start": at(start), "end": at(end)})
    };
    let body = json!({"state": "success", "queued": "2026-11-20T09:15:00Z", "start": BEGUN, "end": ENDED, "stages": [
        stage("build", "success", "20", "22", "25"), stage("test", "success", "25", "25", "29"), stage("deploy", "skipped", "29", "29", "29"),
    ]});
    let workflow =
        json!({"status": "/state", "queued": "/queued", "start": "/start", "end": "/end"});
    for (wanted, expected) in [
        (json!({}), vec!["Workflow", "build", "test"]),
        (
            json!({"skipped": true}),
            vec!["Workflow", "build", "deploy", "test"],
        ),
        (
            json!({"queued": true}),
            vec![
                "Workflow",
                "Workflow queued",
                "build",
                "build queued",
                "test",
            ],
        ),
    ] {
        let api = Api::saying(body.clone());
        let it = Monitored::by(json!([
            api.monitor(json!({"workflow": workflow, "spans": wanted}))
        ]));
        let (spans, _) = it.watch("w");
        let mut names: Vec<&str> = spans.iter().map(|seen| seen.span.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{wanted}");
        if wanted == json!({"skipped": true}) {
            assert_eq!(
                of(&spans, "deploy").attribute("cicd.pipeline.task.run.result"),
                "skip"
            );
        }
        if wanted == json!({"queued": true}) {
            let wait = of(&spans, "build queued");
            assert_eq!(
                [rfc3339(wait.start()), rfc3339(wait.end())],
                ["2026-11-20T09:20:00Z", "2026-11-20T09:22:00Z"]
            );
            let wait = of(&spans, "Workflow queued");
            assert_eq!(
                [rfc3339(wait.start()), rfc3339(wait.end())],
                ["2026-11-20T09:15:00Z", "2026-11-20T09:20:00Z"]
            );
            assert_eq!(
                wait.span.parent_span_id,
                of(&spans, "Workflow").span.span_id
            );
        }
    }
}

/// Arrays in objects in arrays, an answer with a root, pointers in order of preference, what is no stage, and children that their
/// parent names by a list of keys.
#[test]
fn stages_nest_to_any_depth_and_parents_may_name_their_children() {
    let thing = |name: &str, more: Value| {
        let mut thing = json!({"label": name, "state": "success", "from": BEGUN, "to": ENDED});
        for (key, value) in more.as_object().expect("an object") {
            thing[key] = value.clone();
        }
        thing
    };
    let api = Api::saying(
        json!({"data": {"run": {"state": "success", "from": null, "created": BEGUN, "to": ENDED,
        "meta": {"cost": 1.5, "cores": 8, "spot": true, "owner": "me"}},
        "jobs": {
            "a/b": thing("compile", json!({"steps": [
                thing("fetch", json!({"parts": {"x": thing("part x", json!({"bits": [thing("bit 0", json!({"atoms": [thing("atom", json!({}))]}))]}))}})),
                thing("hidden", json!({"kind": "group"})),
            ]})),
        },
        "groups": [{"id": 1, "members": [11, 12], "label": "group 1", "state": "success", "from": BEGUN, "to": ENDED}],
        "tasks": [
            {"id": 11, "label": "task 11", "state": "success", "from": BEGUN, "to": ENDED},
            {"id": 12, "label": "task 12", "state": "success", "from": BEGUN, "to": ENDED},
            {"id": 13, "label": "task 13", "state": "success", "from": BEGUN, "to": ENDED},
        ]}}),
    );
    let level = |list: &str, inner: Value| {
        json!({"list": list, "key": "/label", "kind": "/label", "status": "/state", "start": ["/began", "/from"], "end": "/to",
            "except": {"/kind": ["group"]}, "stages": inner})
    };
    let atoms = level("/atoms", json!([]));
    let bits = level("/bits", json!([atoms]));
    let parts = level("/parts", json!([bits]));
    let steps = level("/steps", json!([parts]));
    let flat = |name: &str, list: &str, more: Value| {
        let mut flat = json!({"name": name, "list": list, "key": "/id", "id": "/id", "kind": "/label", "status": "/state", "start": "/from", "end": "/to"});
        for (key, value) in more.as_object().expect("an object") {
            flat[key] = value.clone();
        }
        flat
    };
    let monitor = api.monitor(json!({
        "workflow": {"root": "/data/run", "status": "/state", "start": ["/from", "/started", "/created"], "end": "/to", "attributes":
            {"cost": "/meta/cost", "cores": "/meta/cores", "spot": "/meta/spot", "owner": ["/meta/nobody", "/meta/owner"]}},
        "stages": [
            level("/data/jobs", json!([steps])),
            flat("groups", "/data/groups", json!({"children": {"list": "tasks", "ids": "/members"}})),
            flat("tasks", "/data/tasks", json!({})),
        ],
    }));
    let it = Monitored::by(json!([monitor]));
    let (spans, _) = it.watch("w");
    let by_id: HashMap<&[u8], &str> = spans
        .iter()
        .map(|seen| (&*seen.span.span_id, seen.span.name.as_str()))
        .collect();
    let parents: BTreeMap<&str, &str> = spans
        .iter()
        .map(|seen| {
            (
                seen.span.name.as_str(),
                by_id
                    .get(&*seen.span.parent_span_id)
                    .copied()
                    .unwrap_or("-"),
            )
        })
        .collect();
    let expected = [
        ("Workflow", "-"),
        ("atom", "bit 0"),
        ("bit 0", "part x"),
        ("compile", "Workflow"),
        ("fetch", "compile"),
        ("group 1", "Workflow"),
        ("part x", "fetch"),
        ("task 11", "group 1"),
        ("task 12", "group 1"),
        ("task 13", "Workflow"),
    ];
    assert_eq!(parents, BTreeMap::from(expected));
    let root = of(&spans, "Workflow");
    root.assert_times(BEGUN, ENDED);
    let said = ["cost", "cores", "spot", "owner"].map(|key| root.attribute(key));
    assert_eq!(said, ["1.5 (double)", "8 (int)", "true (bool)", "me"]);
}

/// Between one request and the next.
fn gaps(requests: &[Request]) -> Vec<Duration> {
    requests
        .windows(2)
        .map(|two| two[1].at - two[0].at)
        .collect()
}

/// A share of what has passed since the start, between two bounds: what is young is asked after often, what is old seldom.
#[test]
fn an_adaptive_interval_grows_with_the_run() {
    let poll = json!({"poll": {"adaptive": {"share": 0.2, "min": "50ms", "max": "600ms"}}});
    let (young, old) = (
        Api::saying(json!({"state": "running"})),
        Api::saying(json!({"state": "running", "start": BEGUN})),
    );
    let named = |api: &Api, name: &str| {
        let mut monitor = api.monitor(poll.clone());
        monitor["name"] = json!(name);
        monitor
    };
    young.say(json!({"state": "running", "start": rfc3339(wall_ns())}));
    let it = Monitored::by(json!([named(&young, "young"), named(&old, "old")]));
    let farspan = it.start();
    it.rig
        .publish(&json!({"WorkflowId": "w", "monitor": "young"}));
    it.rig
        .publish(&json!({"WorkflowId": "w", "monitor": "old"}));
    eventually("four seconds of the old one", SOON, || {
        old.asked().len() >= 8
    });
    let (young, old) = (gaps(&young.asked()), gaps(&old.asked()));
    farspan.stop();
    let seconds =
        |gaps: &[Duration]| gaps.iter().sum::<Duration>().as_secs_f64() / gaps.len() as f64;
    assert!((0.5..0.7).contains(&seconds(&old)), "{old:?}");
    // A fixed interval of either bound would have 80 polls, or 6.
    assert!((9..=40).contains(&young.len()), "{young:?}");
    assert!(seconds(&young[..3]) < 0.35, "{young:?}");
    assert!(seconds(&young[young.len() - 3..]) > 0.45, "{young:?}");
}

/// Many that begin at once are asked after all along the interval, each at its own place.
#[test]
fn a_burst_is_asked_after_all_along_the_interval() {
    const RUNS: usize = 100;
    let api = Api::saying(json!({"state": "running", "start": BEGUN}));
    let it = Monitored::by(json!([api.monitor(json!({"poll": {"interval": "2s"}}))]));
    let farspan = it.start();
    (0..RUNS).for_each(|number| it.rig.submit(&format!("run-{number}")));
    eventually("three polls of each", SOON, || {
        api.asked().len() >= 3 * RUNS
    });
    farspan.stop();
    let asked = api.asked();
    let begun = asked[0].at;
    let mut polls: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for request in asked {
        polls
            .entry(request.target)
            .or_default()
            .push(request.at - begun);
    }
    assert_eq!(polls.len(), RUNS);
    for round in 0..2 {
        // Ten parts of the interval.
        let mut parts = [0; 10];
        for at in polls.values() {
            let place = at[round].as_secs_f64() - 2.0 * round as f64;
            parts[((place / 0.2) as usize).min(9)] += 1;
        }
        assert!(
            parts.iter().all(|polls| (1..=30).contains(polls)),
            "{parts:?}"
        );
    }
    for at in polls.values().filter(|at| at.len() > 1) {
        let apart = (at[1] - at[0]).as_secs_f64();
        assert!((1.0..3.5).contains(&apart), "{at:?}");
    }
}

/// It is as if it were not there, but what is wrong with it is wrong.
#[test]
fn a_monitor_that_is_switched_off_is_not_watched() {
    let (on, off) = (
        Api::saying(json!({"state": "success", "start": BEGUN, "end": ENDED})),
        Api::saying(json!({})),
    );
    let mut switched_off =
        off.monitor(json!({"name": "off", "enabled": false, "events": {"redis_channel": "off"}}));
    let it = Monitored::by(json!([on.monitor(json!({})), switched_off.clone()]));
    let farspan = it.start();
    it.rig
        .publish(&json!({"WorkflowId": "w", "monitor": "off"}));
    it.rig.submit("w");
    it.spans("w");
    assert_eq!(it.rig.redis.subscribers("off"), 0);
    let log = farspan.stop().stderr;
    assert!(log.contains("there is no monitor \"off\""), "{log}");
    assert_eq!(off.asked().len(), 0);
    switched_off["workflow"]["start"] = json!("no pointer");
    let files = Files::new();
    let config = json!({"monitors": [on.monitor(json!({})), switched_off]});
    let ended = Rig::new()
        .call()
        .without("FARSPAN_API_BASE_URL")
        .env(
            "FARSPAN_CONFIG",
            files.write("farspan.json", config.to_string()),
        )
        .output();
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("monitors[1] (off).workflow.start"),
        "{}",
        ended.stderr
    );
}
