//! A client that an API's owner can live with: it asks whether anything has changed, and stays away when it is asked to.

use crate::support::api::{Body, END, START, completed, json_answer, processing};
use crate::support::http::{Answer, Reply, Request, Server, lock};
use crate::support::monitored::Monitored;
use crate::support::program::lines_about;
use crate::support::rig::Rig;
use crate::support::spans::Trace;
use crate::support::{SOON, eventually, wall_ns};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SECOND_NS: u64 = 1_000_000_000;

/// What tells the versions of an answer apart: what the answer says, and what is asked with.
const VALIDATORS: [(&str, &str, [&str; 3]); 2] = [
    (
        "ETag",
        "If-None-Match",
        ["\"one\"", "W/\"two\"", "\"three\""],
    ),
    (
        "Last-Modified",
        "If-Modified-Since",
        [
            "Fri, 20 Nov 2026 09:56:01 GMT",
            "Fri, 20 Nov 2026 09:56:02 GMT",
            "Fri, 20 Nov 2026 09:56:03 GMT",
        ],
    ),
];

/// The standard workflow in three versions, each for some polls: an API that only says what has changed says the same in
/// the end as one that knows nothing of versions, in fewer bytes.
#[test]
fn what_has_not_changed_is_not_sent_again() {
    const POLLS_EACH: usize = 6;
    let rig = Rig::new();
    let story = |id: &str| -> Vec<Body> {
        let waiting = Body::new(id, "Initializing");
        vec![waiting, processing(id), completed(id)]
    };
    for (header, asked_with, versions) in VALIDATORS {
        let bodies = story(header);
        rig.api.decide(header, move |poll, request| {
            let version = (poll / POLLS_EACH).min(2);
            let (body, tag) = (&bodies[version], versions[version]);
            if request.header(asked_with) == Some(tag) {
                Answer::new(304).header(header, tag).into()
            } else {
                json_answer(&body.json()).header(header, tag).into()
            }
        });
    }
    let bodies = story("plain");
    rig.api.decide("plain", move |poll, request| {
        assert_eq!(request.header("If-None-Match"), None);
        bodies[(poll / POLLS_EACH).min(2)].reply()
    });
    let farspan = rig.start();
    for id in ["ETag", "Last-Modified", "plain"] {
        rig.submit(id);
    }
    let plain = rig.trace("plain");
    for (id, asked_with, versions) in VALIDATORS {
        let trace = rig.trace(id);
        assert_same(&trace, &plain);
        let requests = rig.api.requests_for(id);
        let asked: Vec<_> = requests.iter().map(|r| r.header(asked_with)).collect();
        let mut expected = vec![None];
        expected.extend([Some(versions[0]); POLLS_EACH]);
        expected.extend([Some(versions[1]); POLLS_EACH]);
        assert_eq!(asked, expected, "{id}");
    }
    farspan.stop();
}

/// But for their ids, and for when farspan saw it.
#[track_caller]
fn assert_same(trace: &Trace, other: &Trace) {
    trace.root.assert_times(START, END);
    assert_eq!(trace.stage_names(), other.stage_names());
    let pairs = trace.stages.iter().map(|stage| {
        let same = other.stage(&stage.span.name);
        (stage, same)
    });
    for (one, other) in pairs.chain([(&trace.root, &other.root)]) {
        assert_eq!(one.event_names(), other.event_names());
        assert_eq!((one.start(), one.end()), (other.start(), other.end()));
        assert_eq!(one.span.status, other.span.status);
        assert_eq!(one.span.attributes.len(), other.span.attributes.len());
    }
}

/// No version was shown, so nothing can be unchanged.
#[test]
fn a_304_that_nobody_asked_for_is_a_failure_like_others() {
    let rig = Rig::new();
    let story = [Answer::new(304).into(), completed("odd").reply()];
    rig.api.script("odd", story);
    let farspan = rig.start();
    rig.submit("odd");
    rig.trace("odd").root.assert_times(START, END);
    assert!(farspan.stop().stderr.contains("HTTP 304"));
}

/// A run whose steps are asked for apart from it.
fn run_and_steps(server: &Server) -> Value {
    json!({
        "name": "apart",
        "api": {"base_url": server.url()},
        "request": {"path": "/runs/{id}"},
        "requests": {"steps": {"path": "/runs/{id}/steps", "pages": {"by": "link"}}},
        "workflow": {"id": "/id", "status": "/state", "start": "/start", "end": "/end"},
        "stages": [{"from": "steps", "list": "", "key": "/name", "status": "/state", "start": "/start", "end": "/end"}],
        "statuses": {"running": "running", "success": "success", "failed": "failure"},
    })
}

/// Of a poll's answers some have changed and some have not; a page that has not changed still leads to the next.
#[test]
fn one_answer_of_several_may_be_unchanged() {
    let polls = Arc::new(Mutex::new(0));
    let unchanged = Arc::new(Mutex::new([0, 0, 0]));
    let server = {
        let unchanged = unchanged.clone();
        Server::start(move |request: &Request| {
            let mut polls = lock(&polls);
            let step = |name: &str, end: Value| json!({"name": name, "state": if end.is_null() {"running"} else {"success"}, "start": START, "end": end});
            // The run tells of its end in the fifth poll, and the second page of the last step in the fourth.
            let (place, version, body) = match &*request.target {
                "/runs/w" => {
                    *polls += 1;
                    let over = *polls >= 5;
                    let state = if over { "success" } else { "running" };
                    (
                        0,
                        usize::from(over),
                        json!({"id": "w", "state": state, "start": START, "end": over.then_some(END)}),
                    )
                }
                "/runs/w/steps" => (1, 0, json!([step("first", json!(END))])),
                "/runs/w/steps?page=2" => {
                    let over = *polls >= 4;
                    (
                        2,
                        usize::from(over),
                        json!([step("second", json!(over.then_some(END)))]),
                    )
                }
                _ => return Answer::new(404).into(),
            };
            let tag = format!("\"{place}-{version}\"");
            if request.header("If-None-Match") == Some(&tag) {
                lock(&unchanged)[place] += 1;
                return Answer::new(304).into();
            }
            let answer = json_answer(&body).header("ETag", tag);
            match place {
                1 => answer
                    .header("Link", "</runs/w/steps?page=2>; rel=\"next\"")
                    .into(),
                _ => answer.into(),
            }
        })
    };
    let it = Monitored::by(json!([run_and_steps(&server)]));
    let (spans, _) = it.watch("w");
    let mut names: Vec<_> = spans.iter().map(|span| &*span.span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["Workflow", "first", "second"]);
    for span in &spans {
        span.assert_times(START, END);
    }
    // Polls 2 to 4; 2 to 5; 2, 3 and 5.
    assert_eq!(*lock(&unchanged), [3, 4, 3]);
}

/// What one monitor was answered is no answer to another's question, though it has the same URL.
#[test]
fn what_is_unchanged_is_so_for_its_own_url_only() {
    let rig = Rig::new();
    for id in ["one", "two"] {
        rig.api.decide(id, move |poll, request| {
            // A careless server: one tag for all answers.
            match (poll, request.header("If-None-Match")) {
                (0..3, None) => json_answer(&processing(id).json())
                    .header("ETag", "\"v\"")
                    .into(),
                (0..3, Some("\"v\"")) => Answer::new(304).into(),
                _ => completed(id).reply(),
            }
        });
    }
    let farspan = rig.start();
    rig.submit("one");
    rig.submit("two");
    for id in ["one", "two"] {
        rig.trace(id).root.assert_times(START, END);
        let requests = rig.api.requests_for(id);
        assert_eq!(requests[0].header("If-None-Match"), None);
        assert!(requests[1].header("If-None-Match").is_some());
    }
    farspan.stop();
}

// Budgets.

/// Seconds since 1970, as GitHub has it, some seconds from now.
fn epoch_in(seconds: u64) -> String {
    (wall_ns() / SECOND_NS + seconds).to_string()
}

/// The first answer to a workflow names a budget that is spent: until the next one, for two or three seconds, that
/// host gets no request.
#[track_caller]
fn assert_left_alone(
    status: u16,
    headers: impl Fn() -> Vec<(&'static str, String)> + Send + 'static,
) -> String {
    let rig = Rig::new();
    rig.api.script("other", [processing("other").reply()]);
    let farspan = rig.start();
    rig.submit("other");
    eventually("polls", SOON, || rig.api.polls("other") >= 2);
    rig.api.decide("spent", move |poll, _| {
        let answer = match status {
            200 => json_answer(&processing("spent").json()),
            _ => Answer::new(status),
        };
        match poll {
            0 => {
                let headers = headers().into_iter();
                headers
                    .fold(answer, |answer, (name, value)| answer.header(name, value))
                    .into()
            }
            _ => completed("spent").reply(),
        }
    });
    rig.submit("spent");
    rig.trace("spent").root.assert_times(START, END);
    let spent = rig.api.requests_for("spent");
    let (answered, again) = (spent[0].at_wall_ns, spent[1].at_wall_ns);
    let apart = again - answered;
    assert!(
        (19 * SECOND_NS / 10..5 * SECOND_NS).contains(&apart),
        "{status}: asked again after {apart} ns"
    );
    // What was on its way when the answer came is forgiven.
    let pause = answered + 4 * SECOND_NS / 10..answered + 18 * SECOND_NS / 10;
    for request in rig.api.server.requests() {
        assert!(!pause.contains(&request.at_wall_ns), "{}", request.target);
    }
    rig.api.script("other", [completed("other").reply()]);
    rig.trace("other");
    farspan.stop().stderr
}

/// GitHub says that it is forbidden; what lets farspan in is none the worse for it.
#[test]
fn a_budget_that_is_spent_is_no_wrong_token() {
    let log = assert_left_alone(403, || {
        vec![
            ("X-RateLimit-Remaining", "0".into()),
            ("X-RateLimit-Reset", epoch_in(2)),
        ]
    });
    assert!(log.contains("too_many_requests"), "{log}");
    assert!(!log.contains("unauthorized"), "{log}");
}

/// The answer counts; the next one has to wait.
#[test]
fn the_last_request_of_a_budget_is_the_last_one() {
    assert_left_alone(200, || {
        vec![
            ("X-RateLimit-Remaining", "0".into()),
            ("X-RateLimit-Reset", epoch_in(2)),
        ]
    });
}

/// A budget that is said to be spent in each answer, until a time that has passed or that is none, is no line each.
#[test]
fn a_budget_without_a_time_to_wait_for_is_not_logged_with_each_poll() {
    for reset in ["0", "1000000000", "18446744073709551615"] {
        let rig = Rig::new();
        let spent = move |answer: Answer| -> Reply {
            let answer = answer.header("X-RateLimit-Remaining", "0");
            answer.header("X-RateLimit-Reset", reset).into()
        };
        rig.api.decide("w", move |poll, _| match poll {
            0..10 => spent(json_answer(&processing("w").json())),
            _ => spent(json_answer(&completed("w").json())),
        });
        let farspan = rig.start();
        rig.submit("w");
        rig.trace("w");
        let log = farspan.stop().stderr;
        assert_eq!(
            log.matches("asked for a pause").count(),
            0,
            "{reset}: {log}"
        );
    }
}

/// A pause of a day is held to an hour, and the log says so.
#[test]
fn a_pause_has_a_bound() {
    let rig = Rig::new();
    let day = Answer::new(429).header("Retry-After", "86400");
    rig.api.script("w", [day.into()]);
    let farspan = rig.start();
    rig.submit("w");
    let said = "asked for a pause of 86400.0s (held to 3600s by poll.pause_max)";
    eventually("the bound", SOON, || farspan.stderr().contains(said));
    farspan.stop();
}

/// What is said in so many words comes before what follows from a budget.
#[test]
fn retry_after_comes_before_a_budget() {
    assert_left_alone(403, || {
        vec![
            ("Retry-After", "2".into()),
            ("X-RateLimit-Remaining", "0".into()),
            ("X-RateLimit-Reset", epoch_in(3600)),
        ]
    });
}

/// GitHub's secondary limit: forbidden for a while, with some of the budget left.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit>
#[test]
fn a_refusal_with_a_time_is_no_wrong_token() {
    let log = assert_left_alone(403, || {
        vec![
            ("Retry-After", "2".into()),
            ("X-RateLimit-Remaining", "4000".into()),
            ("X-RateLimit-Reset", epoch_in(3600)),
        ]
    });
    assert!(log.contains("too_many_requests"), "{log}");
    assert!(!log.contains("unauthorized"), "{log}");
}

/// A budget that is not spent, or that says nothing one can read, holds up nothing.
#[test]
fn a_budget_that_is_not_spent_holds_up_nothing() {
    let rig = Rig::new();
    let budgets = [
        ("59", "9999999999"),
        ("x", "9999999999"),
        ("0", "later"),
        ("-1", "60"),
    ];
    let budget = |answer: Answer, n: usize| -> Reply {
        let (remaining, reset) = budgets[n];
        (answer.header("X-RateLimit-Remaining", remaining))
            .header("X-RateLimit-Reset", reset)
            .into()
    };
    let running = (0..budgets.len()).map(|n| budget(json_answer(&processing("w").json()), n));
    let story: Vec<Reply> = running.chain([completed("w").reply()]).collect();
    rig.api.script("w", story);
    let farspan = rig.start();
    rig.submit("w");
    rig.trace("w");
    let requests = rig.api.requests_for("w");
    let took = requests[4].at_wall_ns - requests[0].at_wall_ns;
    assert!(took < 2 * SECOND_NS, "{took} ns");
    farspan.stop();
}

// Several monitors of one host.

/// Two monitors, each with a channel of its own: `(name, channel)`.
fn two(server: &Server, requests_per_second: Value) -> Monitored {
    let monitor = |name: &str| {
        let mut monitor = run_and_steps(server);
        monitor["name"] = json!(name);
        monitor["requests"] = json!({});
        monitor["stages"] = json!([]);
        monitor["events"] = json!({ "redis_channel": name });
        monitor["api"]["requests_per_second"] = requests_per_second.clone();
        monitor
    };
    Monitored::by(json!([monitor("one"), monitor("two")]))
}

fn submit(it: &Monitored, channel: &str, id: &str) {
    it.rig.redis.await_subscribers(channel, 1);
    let event = json!({ "WorkflowId": id }).to_string();
    it.rig.redis.publish(channel, event.as_bytes());
}

/// A host does not ask a monitor for peace: it asks farspan.
#[test]
fn a_host_that_asks_one_monitor_for_peace_has_it_from_all() {
    for is_date in [false, true] {
        let state = Arc::new(Mutex::new((false, false, Vec::new())));
        let server = {
            let state = state.clone();
            Server::start(move |request: &Request| {
                let mut state = lock(&state);
                let (throttle, over, asked) = &mut *state;
                asked.push((request.target.clone(), request.at_wall_ns));
                let id = request.target.trim_start_matches("/runs/");
                if *throttle && id == "of-one" {
                    *throttle = false;
                    asked.clear();
                    asked.push(("throttled".to_owned(), wall_ns()));
                    let retry_after = if is_date {
                        in_http_date(3)
                    } else {
                        "2".to_owned()
                    };
                    return Answer::new(429).header("Retry-After", &retry_after).into();
                }
                let body = json!({"id": id, "state": if *over {"success"} else {"running"}, "start": START, "end": over.then_some(END)});
                json_answer(&body).into()
            })
        };
        let it = two(&server, Value::Null);
        let farspan = it.call.start();
        submit(&it, "one", "of-one");
        submit(&it, "two", "of-two");
        eventually("polls of both", SOON, || {
            let state = lock(&state);
            let of = |id: &str| {
                state
                    .2
                    .iter()
                    .filter(|(target, _)| target.ends_with(id))
                    .count()
            };
            of("of-one") > 2 && of("of-two") > 2
        });
        *lock(&state) = (true, true, Vec::new());
        for id in ["of-one", "of-two"] {
            it.spans(id);
        }
        let asked = lock(&state).2.clone();
        let (first, throttled) = asked[0].clone();
        assert_eq!(first, "throttled");
        // What was on its way when the answer came is forgiven.
        let pause = throttled + 4 * SECOND_NS / 10..throttled + 18 * SECOND_NS / 10;
        for (target, at) in &asked {
            assert!(!pause.contains(at), "{target} after {} ns", at - throttled);
        }
        let log = farspan.stop().stderr;
        let said = lines_about(&log, "one", "the API asked for a pause of");
        assert_eq!(said, 1, "{log}");
    }
}

/// Neither token is right, and the log names both, though it is one host and one kind of trouble; both mended, it says so.
#[test]
fn of_two_monitors_with_wrong_tokens_both_are_named() {
    let refuses = Arc::new(Mutex::new(true));
    let server = {
        let refuses = refuses.clone();
        Server::start(move |request: &Request| {
            if *lock(&refuses) {
                return Answer::new(401).into();
            }
            let id = request.target.trim_start_matches("/runs/");
            json_answer(&json!({"id": id, "state": "success", "start": START, "end": END})).into()
        })
    };
    let it = two(&server, Value::Null);
    let farspan = it.call.start();
    let says = |what: &str| {
        eventually(what, SOON, || {
            let log = farspan.stderr();
            let of = |name: &str| lines_about(&log, name, &format!("the API {what}"));
            of("one") == 1 && of("two") == 1
        });
    };
    submit(&it, "one", "of-one");
    submit(&it, "two", "of-two");
    says("refuses the credentials: HTTP 401");
    *lock(&refuses) = false;
    for id in ["of-one", "of-two"] {
        it.spans(id);
    }
    says("answers again");
    farspan.stop();
}

fn in_http_date(seconds: u64) -> String {
    let date = wall_ns() / SECOND_NS + seconds;
    let timestamp = jiff::Timestamp::from_second(date.cast_signed()).expect("a time");
    timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// What a host is asked in a second is what its monitors may ask of it, however much there is to ask.
#[test]
fn a_rate_holds_for_all_that_a_host_is_asked() {
    let over = Arc::new(Mutex::new(false));
    let server = {
        let over = over.clone();
        Server::start(move |request: &Request| {
            let over = *lock(&over);
            let id = request.target.trim_start_matches("/runs/");
            let body = json!({"id": id, "state": if over {"success"} else {"running"}, "start": START, "end": over.then_some(END)});
            json_answer(&body).into()
        })
    };
    let it = two(&server, json!(20));
    let farspan = it.call.start();
    let ids: Vec<(&str, String)> = (0..20)
        .map(|n| (["one", "two"][n % 2], format!("w-{n}")))
        .collect();
    for (channel, id) in &ids {
        submit(&it, channel, id);
    }
    eventually("two seconds of polls", SOON, || {
        // Requests that come at the same time may be written down in any order.
        let times = || server.requests().into_iter().map(|r| r.at_wall_ns);
        let (first, last) = (times().min()?, times().max()?);
        (last - first > 2 * SECOND_NS).then_some(())
    });
    let requests = server.requests();
    let first = requests.iter().map(|r| r.at_wall_ns).min().expect("polls");
    let within = |from: u64, to: u64| {
        let times = requests.iter().map(|r| r.at_wall_ns - first);
        times.filter(|at| (from..to).contains(at)).count()
    };
    let (all, second) = (within(0, 2 * SECOND_NS), within(SECOND_NS, 2 * SECOND_NS));
    // Twenty a second, and as many as may come at once.
    assert!((10..=25).contains(&second), "{second} in the second second");
    // Where the first request is late on its way, the two seconds end later too.
    assert!(all <= 65, "{all} in two seconds");
    *lock(&over) = true;
    for (_, id) in &ids {
        it.spans(id);
    }
    farspan.stop();
}
