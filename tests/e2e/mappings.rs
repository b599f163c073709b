//! What a monitor can say of an API that has no preset: how its times, words, stages and spans are meant, and when it is asked.

use crate::support::files::Files;
use crate::support::http::{Answer, Request, Server, lock};
use crate::support::monitored::Monitored;
use crate::support::program::lines_about;
use crate::support::rig::Rig;
use crate::support::spans::{assert_nested, brief_text};
use crate::support::{SOON, eventually, rfc3339, wall_ns};
use expect_test::expect;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An API that gives the same answer to every request, until the test changes it.
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

/// One answer with what a monitor can describe: a root, pointers in order of preference, times of several forms, lists in
/// lists, stages that their parent names, what is no stage, further attributes, queue time, a skipped stage, and a word
/// that the table does not have.
#[test]
fn what_a_monitor_says_of_its_api_is_in_the_trace() {
    let api = Api::saying(json!({"data": {
        "run": {"state": "finito", "from": null, "created": "2026-11-20T09:19:00Z", "queued": "2026-11-20T09:15:00Z", "to": ENDED,
            "meta": {"cost": 1.5, "cores": 8, "spot": true, "owner": "me"}},
        "jobs": {"a/b": {"label": "compile", "state": "success", "from": BEGUN, "to": "2026-11-20T09:22:00.043123456Z", "steps": [
            {"label": "fetch", "state": "success", "from": 1_795_166_448_043_u64, "to": "2026-11-20T09:21:30GMT"},
            {"label": "hidden", "state": "success", "from": BEGUN, "to": ENDED, "kind": "group"},
        ]}},
        "groups": [{"id": 1, "members": [11], "label": "group", "state": "success", "queued": "1795166460", "from": 1_795_166_520, "to": ENDED}],
        "tasks": [
            {"id": 11, "label": "task", "state": "success", "queued": -1, "from": "2026-11-20 09:23:00Z", "to": "2026-11-20T10:24:00+01:00"},
            {"id": 12, "label": "other task", "state": "skipped", "from": ENDED, "to": ENDED},
        ],
    }}));
    let fields = json!({"key": "/label", "kind": "/label", "status": "/state", "queued": "/queued", "start": ["/began", "/from"], "end": "/to"});
    let list = |more: Value| {
        let mut list = fields.clone();
        for (key, value) in more.as_object().expect("an object") {
            list[key] = value.clone();
        }
        list
    };
    let monitor = api.monitor(json!({
        "unknown_status": "cancellation", "spans": {"queued": true, "skipped": true},
        "workflow": {"root": "/data/run", "status": "/state", "queued": "/queued", "start": ["/from", "/started", "/created"],
            "end": "/to", "attributes": {"cost": "/meta/cost", "cores": "/meta/cores", "spot": "/meta/spot", "owner": ["/meta/none", "/meta/owner"]}},
        "stages": [
            list(json!({"list": "/data/jobs", "stages": [list(json!({"list": "/steps", "except": {"/kind": ["group"]}}))]})),
            list(json!({"name": "groups", "list": "/data/groups", "children": {"list": "tasks", "ids": "/members"}})),
            list(json!({"name": "tasks", "list": "/data/tasks", "key": "/id", "id": "/id"})),
        ],
    }));
    let it = Monitored::by(json!([monitor]));
    let (spans, log) = it.watch("w");
    assert_nested(&spans);
    let said = "in an answer of the API: /data/run/state: unknown status \"finito\"";
    assert_eq!(lines_about(&log, "plain", said), 1, "{log}");
    expect![[r#"
        Workflow SPAN_KIND_INTERNAL
          parent: none
          start: 2026-11-20T09:15:00Z
          end: 2026-11-20T09:30:00Z
          status: STATUS_CODE_UNSET
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.result=cancellation
          attribute: cores=8 (int)
          attribute: cost=1.5 (double)
          attribute: endTime=2026-11-20T09:30:00Z
          attribute: owner=me
          attribute: queuedTime=2026-11-20T09:15:00Z
          attribute: spot=true (bool)
          attribute: startTime=2026-11-20T09:19:00Z
          attribute: workflowId=w
          event: 2026-11-20T09:30:00Z finito
        Workflow queued SPAN_KIND_INTERNAL
          parent: Workflow
          start: 2026-11-20T09:15:00Z
          end: 2026-11-20T09:19:00Z
          status: STATUS_CODE_UNSET
          attribute: cicd.pipeline.name=Workflow
        compile SPAN_KIND_INTERNAL
          parent: Workflow
          start: 2026-11-20T09:20:00Z
          end: 2026-11-20T09:22:00.043123456Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.task.name=compile
          attribute: cicd.pipeline.task.run.id=compile
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2026-11-20T09:22:00.043123456Z
          attribute: startTime=2026-11-20T09:20:00Z
          attribute: type=compile
          event: 2026-11-20T09:22:00.043123456Z success
        fetch SPAN_KIND_INTERNAL
          parent: compile
          start: 2026-11-20T09:20:48.043Z
          end: 2026-11-20T09:21:30Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.task.name=fetch
          attribute: cicd.pipeline.task.run.id=compile/fetch
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2026-11-20T09:21:30Z
          attribute: startTime=2026-11-20T09:20:48.043Z
          attribute: type=fetch
          event: 2026-11-20T09:21:30Z success
        group queued SPAN_KIND_INTERNAL
          parent: group
          start: 2026-11-20T09:21:00Z
          end: 2026-11-20T09:22:00Z
          status: STATUS_CODE_UNSET
          attribute: cicd.pipeline.name=Workflow
        group SPAN_KIND_INTERNAL
          parent: Workflow
          start: 2026-11-20T09:21:00Z
          end: 2026-11-20T09:30:00Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.task.name=group
          attribute: cicd.pipeline.task.run.id=~groups/group
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2026-11-20T09:30:00Z
          attribute: queuedTime=2026-11-20T09:21:00Z
          attribute: startTime=2026-11-20T09:22:00Z
          attribute: type=group
          event: 2026-11-20T09:30:00Z success
        task SPAN_KIND_INTERNAL
          parent: group
          start: 2026-11-20T09:23:00Z
          end: 2026-11-20T09:24:00Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.task.name=task
          attribute: cicd.pipeline.task.run.id=11
          attribute: cicd.pipeline.task.run.result=success
          attribute: endTime=2026-11-20T09:24:00Z
          attribute: id=11
          attribute: startTime=2026-11-20T09:23:00Z
          attribute: type=task
          event: 2026-11-20T09:24:00Z success
        other task SPAN_KIND_INTERNAL
          parent: Workflow
          start: 2026-11-20T09:30:00Z
          end: 2026-11-20T09:30:00Z
          status: STATUS_CODE_UNSET
          attribute: cicd.pipeline.name=Workflow
          attribute: cicd.pipeline.task.name=other task
          attribute: cicd.pipeline.task.run.id=12
          attribute: cicd.pipeline.task.run.result=skip
          attribute: endTime=2026-11-20T09:30:00Z
          attribute: id=12
          attribute: startTime=2026-11-20T09:30:00Z
          attribute: type=other task
          event: 2026-11-20T09:30:00Z skipped
    "#]]
    .assert_eq(&brief_text(&spans));
}

/// A message that was cut by UTF-16 units ends in half a surrogate pair; so may a name, and a field that no pointer leads
/// to.
#[test]
fn half_a_character_costs_only_its_place_in_the_text() {
    let server = Server::start(|request| {
        let id = request.target.rsplit('/').next().unwrap_or_default();
        let (name, more, error) = match id {
            "error" => ("load", "", r"row 17: \ud83d"),
            "name" => (r"lo\ude00ad", "", "x"),
            _ => ("load", r#""x": "\ud83d", "#, "x"),
        };
        let times = format!(r#""start": "{BEGUN}", "end": "{ENDED}""#);
        let step = format!(
            r#"{{"no": 1, "name": "{name}", "state": "FAILED", {times}, "error": "{error}"}}"#
        );
        let body =
            format!(r#"{{"id": "{id}", "state": "FAILED", {times}, {more}"steps": [{step}]}}"#);
        Answer::new(200).body("application/json", body).into()
    });
    let it = Monitored::by(json!([{
        "name": "x", "api": {"base_url": server.url()}, "request": {"path": "/runs/{id}"},
        "workflow": {"id": "/id", "status": "/state", "start": "/start", "end": "/end", "error": "/error"},
        "stages": [{"list": "/steps", "key": "/no", "kind": "/name", "status": "/state", "start": "/start", "end": "/end", "error": "/error"}],
        "statuses": {"DONE": "success", "FAILED": "failure"},
    }]));
    let farspan = it.start();
    for (id, name, error) in [
        ("error", "load", "row 17: \u{fffd}"),
        ("name", "lo\u{fffd}ad", "x"),
        ("unasked", "load", "x"),
    ] {
        it.rig.submit(id);
        let spans = it.spans(id);
        let stage = spans.iter().find(|span| span.span.name == name);
        let stage = stage.unwrap_or_else(|| panic!("{id}: {}", brief_text(&spans)));
        assert_eq!(stage.error(), Some(error));
        for span in &spans {
            assert_eq!(
                [rfc3339(span.start()), rfc3339(span.end())],
                [BEGUN, ENDED],
                "{id}"
            );
        }
    }
    let log = farspan.stop().stderr;
    let said = "/steps/*/error is not all Unicode, U+FFFD stands for the rest";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

/// Another pointer leads through the object that stands in the place of the status.
#[test]
fn a_status_that_is_an_object_is_said_with_what_it_has() {
    let state = json!({"word": "DONE", "message": "bye"});
    let api = Api::saying(
        json!({"id": "w1", "state": state, "other": {"a": 1}, "from": 1795125612, "till": 1795125699}),
    );
    let workflow =
        json!({"status": "/state", "error": "/state/message", "start": "/from", "end": "/till"});
    let more = json!({"workflow": workflow, "stages": [], "statuses": {"DONE": "success"}});
    let it = Monitored::by(json!([api.monitor(more)]));
    let farspan = it.start();
    it.rig.submit("w1");
    farspan.await_log("/state is an object, not a text; it has message, word (workflow.status)");
}

/// A list of a request for each element has the key and the error only.
#[test]
fn a_list_that_refines_another_one_keeps_its_status_and_name() {
    let server = Server::start(|request| {
        let body = if request.target == "/more/1" {
            json!([{"job": 1, "text": "disk full"}])
        } else {
            json!({"id": "w1", "state": "BAD", "jobs": [{"id": 1, "name": "load", "state": "BAD", "from": 1795125612, "till": 1795125699}]})
        };
        Answer::new(200)
            .body("application/json", body.to_string())
            .into()
    });
    let it = Monitored::by(json!([{
        "name": "m", "api": {"base_url": server.url()}, "request": {"path": "/{id}"},
        "requests": {"more": {"path": "/more/{stage.key}", "for_each": "jobs"}}, "workflow": {"id": "/id", "status": "/state"},
        "stages": [
            {"name": "jobs", "list": "/jobs", "key": "/id", "kind": "/name", "status": "/state", "start": "/from", "end": "/till"},
            {"name": "more", "from": "more", "list": "", "key": "/job", "error": "/text"},
        ],
        "statuses": {"DONE": "success", "BAD": "failure"},
    }]));
    let (spans, _) = it.watch("w1");
    let stage = spans.iter().find(|span| span.span.name == "load");
    let stage = stage.unwrap_or_else(|| panic!("{}", brief_text(&spans)));
    assert_eq!(stage.error(), Some("disk full"));
    assert_eq!(stage.end() - stage.start(), 87_000_000_000);
}

/// It polls on, and says once which pointer found no status.
#[test]
fn a_status_that_is_nowhere_is_said() {
    let api = Api::saying(json!({"id": "w", "phase": "running", "stages": [{"name": "a"}]}));
    let it = Monitored::by(json!([api.monitor(json!({}))]));
    let farspan = it.start();
    it.rig.submit("w");
    let said = "/state leads nowhere; the answer has id, phase, stages (workflow.status)";
    farspan.await_log(said);
    api.await_polls();
    api.say(json!({"state": "success", "start": BEGUN, "end": ENDED, "stages": []}));
    it.spans("w");
    let log = farspan.stop().stderr;
    assert_eq!(log.matches("nowhere").count(), 1, "{log}");
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
    ended.assert_says("monitors[1] (off).workflow.start");
}
