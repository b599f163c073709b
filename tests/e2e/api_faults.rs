//! An API in trouble: whatever it answers, the workflow stays, and its trace is whole in the end.

use crate::support::api::{
    Body, END, FakeApi, START, completed, json_answer, processing, short_story, status,
};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Server};
use crate::support::monitored::Monitored;
use crate::support::program::farspan;
use crate::support::rig::Rig;
use crate::support::spans::Trace;
use crate::support::threads::Threads;
use crate::support::{SOON, eventually, free_port, wall_ns};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SECOND_NS: u64 = 1_000_000_000;
/// How much longer than the shortest pause of a test a message may be under way.
const SLACK: Duration = Duration::from_millis(50);

#[test]
fn a_workflow_survives_every_kind_of_garbage() {
    let rig = Rig::new();
    let faults = faults();
    for (name, fault) in &faults {
        let story = [
            fault.clone(),
            processing(name).reply(),
            fault.clone(),
            completed(name).reply(),
        ];
        rig.api.script(name, story);
    }
    let mut farspan = rig.start();
    for (name, _) in &faults {
        rig.submit(name);
    }
    for (name, _) in &faults {
        assert_standard(&rig.trace_within(name, 2 * SOON));
    }
    assert!(farspan.is_running());
    farspan.stop();
    rig.receiver.assert_each_span_once();
    rig.api.assert_nothing_stray();
}

/// An upstream that answers twice: the second answer says that a workflow has failed, without its id, and lies in the
/// connection when the poller asks for the next workflow.
#[test]
fn an_answer_too_many_ends_no_workflow() {
    // What one read of farspan's takes: the second answer stays in the socket.
    const READ_BYTES: usize = 16 * 1024;
    let rig = Rig::new();
    let mut going_on = json_answer(&json!({"workflowStatus": "Processing"}));
    while going_on.whole().len() < READ_BYTES {
        going_on.body.push(b' ');
    }
    let stray = json_answer(&json!({"workflowStatus": "Failed", "isComplete": true}));
    let ids: Vec<String> = (0..8).map(|number| format!("w{number}")).collect();
    for id in &ids {
        let (going_on, stray) = (going_on.clone(), stray.clone());
        rig.api.decide(id, move |_, _| {
            Reply::Twice(going_on.clone(), stray.clone())
        });
    }
    let farspan = rig.start_call(&rig.call().env("FARSPAN_POLLERS", 1));
    for id in &ids {
        rig.submit(id);
    }
    eventually("polls", SOON, || {
        ids.iter().all(|id| rig.api.polls(id) >= 20)
    });
    assert_eq!(rig.receiver.spans().len(), 0);
    farspan.stop();
}

/// A container's limit of threads is reached while farspan runs: the API and the collector, both known by a name, are
/// asked all the same, and the admin endpoint answers.
#[test]
fn no_further_thread_is_needed_to_look_up_a_name_or_to_answer() {
    let rig = Rig::new();
    let by_name = |url: &str| url.replace("127.0.0.1", "localhost");
    let admin = format!("127.0.0.1:{}", free_port());
    let call = rig
        .call()
        .env("FARSPAN_API_BASE_URL", by_name(&rig.api.base_url()))
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            by_name(&rig.receiver.server.url()),
        )
        .env("FARSPAN_ADMIN_LISTEN", &admin);
    // The limit does not bind root.
    let is_root = Path::new("/proc/self").metadata().unwrap().uid() == 0;
    let another_user: &[&str] = if is_root {
        &["setpriv", "--reuid=54321", "--clear-groups"]
    } else {
        &["env"]
    };
    let mut farspan = rig.start_call(&call.by(another_user));
    // The limit is for what comes after the start, and Redis is heard before these are there.
    eventually("the last threads of the start", SOON, || {
        let threads = Threads::of(farspan.id());
        ["poller-15", "exporter"]
            .iter()
            .all(|name| threads.named(name).next().is_some())
    });
    let limited = Command::new(another_user[0])
        .args(&another_user[1..])
        .args(["prlimit", "--nproc=1", &format!("--pid={}", farspan.id())])
        .status();
    assert!(limited.expect("prlimit").success());
    rig.api.script("w", [completed("w").reply()]);
    rig.submit("w");
    rig.trace("w");
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&admin).expect("connected");
        let request = b"GET /api/workflows HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(farspan.is_running());
    let log = farspan.stop().stderr;
    let said = "cannot start a thread for a connection";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

/// Answers that say nothing about a workflow. The names are the ids of the workflows that get them.
fn faults() -> Vec<(&'static str, Reply)> {
    let text = |text: &str| -> Reply { Answer::new(200).body("application/json", text).into() };
    let good = |id: &str| json_answer(&completed(id).json());
    let other = Body::new("another", "Failed")
        .start(END)
        .end(END)
        .error("not mine");
    let huge = format!(r#"{{"pad":"{}"}}"#, "a".repeat(17 << 20));
    vec![
        ("empty", text("")),
        ("no-content", status(204)),
        ("html", text("<html><body>It works!</body></html>")),
        ("null", text("null")),
        ("number", text("42")),
        ("string", text("\"Completed\"")),
        ("array", text("[]")),
        ("cut-json", text(r#"{"workflowStatus": "Compl"#)),
        ("two-values", text(r#"{"workflowStatus": "Processing"} {"#)),
        ("status-is-number", text(r#"{"workflowStatus": 7}"#)),
        (
            "stages-are-text",
            text(r#"{"workflowStatus": "Processing", "workflowEntities": "none"}"#),
        ),
        (
            "not-utf8",
            Answer::new(200)
                .body(
                    "application/json",
                    b"{\"workflowStatus\": \"\xff\xfe\"}".to_vec(),
                )
                .into(),
        ),
        ("deep", text(&"[".repeat(100_000))),
        (
            "deep-inside",
            text(&format!(r#"{{"x":{}"#, r#"{"x":"#.repeat(100_000))),
        ),
        ("other-workflow", other.reply()),
        ("huge", text(&huge)),
        ("bad-request", status(400)),
        ("gone", status(410)),
        ("internal", status(500)),
        ("bad-gateway", status(502)),
        ("unavailable", status(503)),
        ("teapot", status(418)),
        ("strange-status", status(999)),
        ("close", Reply::Close),
        ("truncated", Reply::Truncated(good("truncated"))),
        (
            "not-http",
            Reply::Raw(b"\x16\x03\x01 hello, I am no HTTP server\r\n\r\n".to_vec()),
        ),
        ("zeros", Reply::Raw(vec![0; 4096])),
        ("endless-line", Reply::Raw(vec![b'a'; 1 << 20])),
        (
            "bad-length",
            Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}".to_vec()),
        ),
        (
            "negative-length",
            Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}".to_vec()),
        ),
        (
            "two-lengths",
            Reply::Raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 999\r\n\r\n{}".to_vec(),
            ),
        ),
        (
            "giant-length",
            Reply::Raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}".to_vec(),
            ),
        ),
        (
            "bad-chunk",
            Reply::Raw(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n".to_vec(),
            ),
        ),
        (
            "drip-of-garbage",
            Reply::Drip(
                Answer::new(200).body("application/json", "{]"),
                Duration::from_millis(2),
            ),
        ),
        ("redirect-nowhere", Answer::new(302).into()),
        (
            "redirect-garbage",
            Answer::new(302).header("Location", "http://[::bad").into(),
        ),
    ]
}

#[test]
fn an_answer_that_drips_is_read_to_its_end() {
    let rig = Rig::new();
    let answer = json_answer(&completed("drip").json());
    rig.api
        .script("drip", [Reply::Drip(answer, Duration::from_millis(1))]);
    let _farspan = rig.start();
    rig.submit("drip");
    assert_standard(&rig.trace("drip"));
}

/// A byte a second for ever: there is a limit to the whole of an answer too.
#[test]
fn an_answer_that_drips_for_ever_is_given_up() {
    let rig = Rig::new();
    let answer = json_answer(&completed("endless").json());
    let drip = Reply::Drip(answer, Duration::from_millis(500));
    let story = [drip, completed("endless").reply()];
    rig.api.script("endless", story);
    rig.api.script("healthy", short_story("healthy"));
    let call = rig.call().env("FARSPAN_POLLERS", 2);
    let farspan = rig.start_call(&call);
    rig.submit("endless");
    eventually("the poll that drips", SOON, || {
        rig.api.polls("endless") == 1
    });
    rig.submit("healthy");
    assert_standard(&rig.trace("healthy"));
    assert_standard(&rig.trace_within("endless", 3 * SOON));
    let log = farspan.stop().stderr;
    assert!(log.contains("the API cannot be polled (timeout)"), "{log}");
}

/// Bytes after the length that an answer claims belong to no answer, least of all to the next one.
#[test]
fn an_answer_longer_than_it_says_answers_nothing_else() {
    let rig = Rig::new();
    let truth = completed("long").json().to_string();
    let stray = Body::new("", "Failed")
        .start(START)
        .end(END)
        .error("smuggled");
    let mut stray = stray.json();
    // Without it nothing would tell it from an answer about this one.
    stray.as_object_mut().unwrap().remove("workflowId");
    let stray = stray.to_string();
    let answer = |body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let running = processing("long").json().to_string();
    let at_once = answer(&running) + &answer(&stray);
    let later = [answer(&running), answer(&stray)];
    let cut = answer(&truth).replace(&format!("{}", truth.len()), "20");
    let story = [
        Reply::Verbatim(vec![at_once.into_bytes()]),
        Reply::Verbatim(later.map(String::into_bytes).into()),
        Reply::Verbatim(vec![cut.into_bytes()]),
        processing("long").reply(),
        completed("long").reply(),
    ];
    rig.api.script("long", story);
    let call = rig.call().env("FARSPAN_POLLERS", 1);
    let mut farspan = rig.start_call(&call);
    rig.submit("long");
    assert_standard(&rig.trace("long"));
    assert!(farspan.is_running());
    farspan.stop();
    rig.receiver.assert_each_span_once();
}

#[test]
fn an_answer_that_never_comes_holds_up_nothing_and_is_asked_for_again() {
    let rig = Rig::new();
    rig.api.script(
        "hangs",
        [
            Reply::Hang,
            processing("hangs").reply(),
            completed("hangs").reply(),
        ],
    );
    rig.api.script("healthy", short_story("healthy"));
    let _farspan = rig.start();
    rig.submit("hangs");
    eventually("the poll that hangs", SOON, || rig.api.polls("hangs") == 1);
    rig.submit("healthy");
    assert_standard(&rig.trace("healthy"));
    assert_eq!(
        rig.api.polls("hangs"),
        1,
        "one poll of a workflow at a time"
    );
    assert_standard(&rig.trace_within("hangs", 3 * SOON));
}

#[test]
fn an_api_that_is_down_is_waited_for() {
    let mut rig = Rig::new();
    rig.api.script("patient", short_story("patient"));
    rig.api.script("refused", short_story("refused"));
    rig.api.server.stop();
    let mut farspan = rig.start();
    rig.submit("patient");

    // From a closed port to one that closes every connection, to a server that answers.
    rig.api.server.refuse(true);
    rig.api.server.resume();
    let before = rig.api.server.connections();
    rig.submit("refused");
    eventually("refused connections", SOON, || {
        rig.api.server.connections() > before + 3
    });
    rig.api.server.refuse(false);
    assert_standard(&rig.trace("patient"));
    assert_standard(&rig.trace("refused"));
    assert!(farspan.is_running());
}

#[test]
fn an_api_that_goes_away_and_comes_back_is_watched_again() {
    let mut rig = Rig::new();
    rig.api.script("between", [processing("between").reply()]);
    let _farspan = rig.start();
    rig.submit("between");
    eventually("the first polls", SOON, || rig.api.polls("between") >= 3);
    rig.api.server.stop();
    rig.api.script("between", [completed("between").reply()]);
    rig.api.server.resume();
    assert_standard(&rig.trace("between"));
}

#[test]
fn errors_are_never_answered_by_polling_faster_than_the_interval() {
    let rig = Rig::new();
    rig.api.script("ill", [status(500)]);
    let _farspan = rig.start_call(&rig.call().env("FARSPAN_POLL_INTERVAL", "200ms"));
    rig.submit("ill");
    eventually("five polls", SOON, || rig.api.polls("ill") >= 5);
    let times: Vec<Instant> = rig.api.requests_for("ill").iter().map(|r| r.at).collect();
    for pair in times.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause + SLACK >= Duration::from_millis(200), "{pause:?}");
    }
}

#[test]
fn the_pauses_after_failures_grow_and_end_with_them() {
    let rig = Rig::new();
    let mut story = vec![status(503); 7];
    story.extend((0..20).map(|_| processing("ill").reply()));
    story.push(completed("ill").reply());
    rig.api.script("ill", story);
    let farspan = rig.start_call(&rig.call().env("FARSPAN_POLL_INTERVAL", "100ms"));
    rig.submit("ill");
    assert_standard(&rig.trace_within("ill", 2 * SOON));
    let times: Vec<Instant> = rig.api.requests_for("ill").iter().map(|r| r.at).collect();
    let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // 100 ms doubled seven times is 12.8 s, of which chance takes up to half.
    let (failing, well) = pauses.split_at(7);
    assert!(failing[6] >= Duration::from_secs(6), "{failing:?}");
    for (n, pause) in failing.iter().enumerate() {
        let most = Duration::from_millis(200 << n) + Duration::from_secs(2);
        assert!(*pause < most, "{failing:?}");
    }
    assert!(
        well.iter().all(|pause| *pause < Duration::from_secs(3)),
        "{well:?}"
    );
    let log = farspan.stop().stderr;
    assert!(log.contains("28 polls, 7 failed"), "{log}");
}

#[test]
fn a_slow_api_is_asked_by_few_over_connections_that_are_kept() {
    const POLLERS: usize = 4;
    let rig = Rig::new();
    let ids: Vec<String> = (0..24).map(|n| format!("slow-{n}")).collect();
    for id in &ids {
        let late = short_story(id)
            .into_iter()
            .map(|reply| Reply::Late(Duration::from_millis(150), Box::new(reply)));
        rig.api.script(id, late);
    }
    let call = rig.call().env("FARSPAN_POLLERS", POLLERS);
    let farspan = rig.start_call(&call);
    for id in &ids {
        rig.submit(id);
    }
    for id in &ids {
        assert_standard(&rig.trace(id));
    }
    farspan.stop();
    let connections: HashSet<usize> = rig
        .api
        .server
        .requests()
        .iter()
        .map(|r| r.connection)
        .collect();
    assert!(
        connections.len() <= POLLERS,
        "{} connections of {POLLERS} pollers",
        connections.len()
    );
    rig.api.assert_nothing_stray();
}

#[test]
fn a_host_that_asks_for_a_pause_by_seconds_gets_it_for_all_workflows() {
    for code in [429, 503] {
        assert_pause(code, "3", |answered| answered + 3 * SECOND_NS);
    }
}

#[test]
fn a_host_that_asks_for_a_pause_by_date_gets_it_for_all_workflows() {
    for code in [429, 503] {
        // HTTP dates have whole seconds.
        let date = wall_ns() / SECOND_NS + 6;
        let timestamp = jiff::Timestamp::from_second(date.cast_signed()).expect("a time");
        let text = timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert_pause(code, &text, |_| date * SECOND_NS);
    }
}

/// One workflow's poll is answered with `code` and `Retry-After`; that host gets no request until `until`.
fn assert_pause(code: u16, retry_after: &str, until: impl Fn(u64) -> u64) {
    let rig = Rig::new();
    let others = ["one", "two", "three"];
    for id in others {
        rig.api.script(id, [processing(id).reply()]);
    }
    let _farspan = rig.start();
    for id in others {
        rig.submit(id);
    }
    for id in others {
        eventually("the first polls", SOON, || rig.api.polls(id) >= 2);
    }
    let throttle = Answer::new(code).header("Retry-After", retry_after);
    rig.api.script(
        "throttled",
        [
            throttle.into(),
            processing("throttled").reply(),
            completed("throttled").reply(),
        ],
    );
    rig.submit("throttled");
    assert_standard(&rig.trace("throttled"));

    let throttled = rig.api.requests_for("throttled");
    let (answered, again) = (throttled[0].at_wall_ns, throttled[1].at_wall_ns);
    // Polls of others that were on their way when the answer came are forgiven.
    let pause = answered + 4 * SECOND_NS / 10..until(answered) - SECOND_NS / 20;
    assert!(
        !pause.is_empty(),
        "the test took too long to ask for a pause"
    );
    assert!(again >= pause.end, "{code} was polled again too soon");
    for request in rig.api.server.requests() {
        let during = pause.contains(&request.at_wall_ns);
        assert!(!during, "{} was polled during the pause", request.target);
    }
    for id in others {
        rig.api.script(id, [completed(id).reply()]);
    }
    for id in others {
        assert_standard(&rig.trace(id));
    }
}

#[test]
fn the_token_is_sent_and_a_refusal_is_tried_again() {
    let rig = Rig::new();
    let mut story = vec![status(401), status(403)];
    story.extend(short_story("guarded"));
    rig.api.script("guarded", story);
    let call = rig.call().env("FARSPAN_API_TOKEN", "s3cret-token");
    let farspan = rig.start_call(&call);
    rig.submit("guarded");
    assert_standard(&rig.trace("guarded"));
    for request in rig.api.server.requests() {
        assert_eq!(request.header("Authorization"), Some("Bearer s3cret-token"));
    }
    let ended = farspan.stop();
    let output = ended.stdout + &ended.stderr;
    assert!(!output.contains("s3cret-token"), "{output}");
}

#[test]
fn a_lasting_refusal_is_logged_once() {
    let rig = Rig::new();
    let mut story = vec![status(401); 5];
    story.extend(short_story("guarded"));
    rig.api.script("guarded", story);
    let farspan = rig.start_call(&rig.call().env("FARSPAN_LOG", "info"));
    rig.submit("guarded");
    assert_standard(&rig.trace("guarded"));
    let log = farspan.stop().stderr;
    let lines = log.lines().filter(|line| line.contains("401")).count();
    assert_eq!(lines, 1, "{log}");
}

#[test]
fn the_token_may_come_from_a_file() {
    let rig = Rig::new();
    rig.api.script("guarded", [processing("guarded").reply()]);
    let folder = Folder::new();
    let path = folder.path().join("token");
    std::fs::write(&path, "from-a-file\n").expect("a temporary file");
    let call = rig.call().env("FARSPAN_API_TOKEN_FILE", path.display());
    let farspan = rig.start_call(&call);
    rig.submit("guarded");
    let shown = |token: &str| {
        let last = rig.api.requests_for("guarded").pop();
        last.is_some_and(|last| last.header("Authorization") == Some(token))
    };
    eventually("the token", SOON, || shown("Bearer from-a-file"));
    // Kubernetes replaces the file now and then, without notice.
    let newer = path.with_extension("newer");
    std::fs::write(&newer, "from-a-newer-file\n").expect("a temporary file");
    std::fs::rename(&newer, &path).expect("the same directory");
    eventually("the newer one", SOON, || shown("Bearer from-a-newer-file"));
    rig.api.script("guarded", short_story("guarded"));
    assert_standard(&rig.trace("guarded"));
    let log = farspan.stop().stderr;
    assert!(!log.contains("from-a-"), "{log}");
}

#[test]
fn redirects_are_followed_on_the_same_host_only() {
    let rig = Rig::new();
    let mut other = FakeApi::stopped(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    other.server.resume();
    other.script("away", [completed("away").reply()]);

    let to = |url: String| -> Reply { Answer::new(307).header("Location", url).into() };
    rig.api
        .script("moved", [to("/risk/workflows/moved-here".into())]);
    rig.api.script(
        "moved-absolutely",
        [to(format!("{}/workflows/moved-there", rig.api.base_url()))],
    );
    // The body at the new place still tells of the workflow that was asked for.
    rig.api.script("moved-here", [completed("moved").reply()]);
    rig.api
        .script("moved-there", [completed("moved-absolutely").reply()]);
    rig.api.script("loop", [to("/risk/workflows/loop".into())]);
    rig.api.script(
        "away",
        [
            to(format!("{}/workflows/away", other.base_url())),
            to(format!("//{}/risk/workflows/away", other.server.address())),
            processing("away").reply(),
        ],
    );
    let call = rig.call().env("FARSPAN_API_TOKEN", "s3cret-token");
    let mut farspan = rig.start_call(&call);
    for id in ["moved", "moved-absolutely", "loop", "away"] {
        rig.submit(id);
    }
    assert_standard(&rig.trace("moved"));
    assert_standard(&rig.trace("moved-absolutely"));
    eventually("away was asked for again", SOON, || {
        rig.api.told_all("away")
    });
    assert!(!rig.receiver.has_root("away"), "not followed");
    assert_eq!(other.server.requests().len(), 0, "nothing left its host");
    assert!(farspan.is_running());
    rig.api.script("away", [completed("away").reply()]);
    assert_standard(&rig.trace("away"));
}

#[test]
fn what_the_mapping_does_not_ask_for_is_skipped() {
    let rig = Rig::new();
    let mut body = completed("padded").json();
    let padding: Vec<_> = (0..20_000)
        .map(|n| json!({"n": n, "text": "x".repeat(20)}))
        .collect();
    let fields = body.as_object_mut().expect("an object");
    fields.insert(
        "aaa".into(),
        json!({"workflowStatus": "Failed", "deep": [[[[1]]]]}),
    );
    fields.insert("zzz".into(), padding.into());
    rig.api.script("padded", [json_answer(&body).into()]);
    let _farspan = rig.start();
    rig.submit("padded");
    assert_standard(&rig.trace("padded"));
}

/// The standard workflow, whole, with the API's times.
#[track_caller]
fn assert_standard(trace: &Trace) {
    trace.root.assert_times(START, END);
    assert_eq!(trace.root.error(), None);
    assert_eq!(
        trace.stage_names(),
        ["DataLoader", "OutputGenerator", "Processor"]
    );
    for (kind, start, end) in crate::support::api::STAGES {
        trace.stage(kind).assert_times(start, end);
        assert_eq!(trace.stage(kind).error(), None);
    }
}

/// What "not found" looks like is said by the mapping; the API's own words are in the log and in `probe`.
#[test]
fn a_run_that_does_not_exist_is_not_polled_to_its_timeout() {
    let refusal =
        r#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "Run 7 does\n not exist."}"#;
    let server = Server::start(move |_| Answer::new(400).body("application/json", refusal).into());
    let mut monitor = json!({"name": "m", "api": {"base_url": server.url()}, "request": {"path": "/{id}"},
        "workflow": {"status": "/state"}, "statuses": {"DONE": "success"}});
    let files = Files::new();
    let words = r#"HTTP 400 Bad Request: "Run 7 does not exist.""#;
    let probe = |monitor: &Value| {
        let config = json!({"monitors": [monitor]}).to_string();
        let config = files.write("farspan.json", config);
        let ended = farspan(&["probe", "7", "--config", &config]).output();
        format!("{}{}", ended.stdout, ended.stderr)
    };
    let said = probe(&monitor);
    assert!(said.contains(words), "{said}");
    let it = Monitored::by(json!([monitor]));
    let running = it.start();
    it.rig.submit("7");
    eventually("the API's words", SOON, || running.stderr().contains(words));
    running.stop();

    monitor["refusals"] =
        json!({"not_found_status": 400, "not_found": {"/error_code": "INVALID_PARAMETER_VALUE"}});
    let said = probe(&monitor);
    assert!(
        said.contains("the API does not know this workflow"),
        "{said}"
    );
}

#[test]
fn a_token_endpoint_says_why_without_the_secret() {
    let tokens = Server::start(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let echo = json!({"error": "invalid_client", "error_description": format!("no: {body}")});
        Answer::new(401)
            .body("application/json", echo.to_string())
            .into()
    });
    let auth = json!({"type": "login", "url": format!("{}/login", tokens.url()), "token": "/token",
        "body": {"user": "me", "password": "s3cret-word"}});
    let monitor = json!({"name": "m", "api": {"base_url": tokens.url(), "auth": auth}, "request": {"path": "/{id}"},
        "workflow": {"status": "/state"}, "statuses": {"DONE": "success"}});
    let it = Monitored::by(json!([monitor]));
    let running = it.start();
    it.rig.submit("7");
    let said = "HTTP 401 Unauthorized to the request for one: \"no: {";
    eventually("the words of the token endpoint", SOON, || {
        running.stderr().contains(said)
    });
    let log = running.stop().stderr;
    assert!(
        log.contains("(redacted)") && !log.contains("s3cret-word"),
        "{log}"
    );
}

/// A base URL with a wrong path: the server answers with a page for people.
#[test]
fn a_server_that_does_not_know_the_path_is_named_at_once_and_once() {
    let rig = Rig::new();
    let page = "<html><head><title>404 Not Found</title></head></html>";
    for id in ["a", "b"] {
        let answer = Answer::new(404).body("text/html", page);
        rig.api.decide(id, move |_, _| answer.clone().into());
    }
    let farspan = rig.start();
    for id in ["a", "b"] {
        rig.submit(id);
        eventually("polls", SOON, || rig.api.polls(id) >= 2);
    }
    let log = farspan.stop().stderr;
    let lines = log.lines().filter(|line| line.contains("HTTP 404"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{log}");
    let asked = format!("{}/workflows/", rig.api.base_url());
    for part in [&asked, "does not know the path", "FARSPAN_API_BASE_URL"] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }

    let server = Server::start(move |_| Answer::new(404).body("text/html", page).into());
    let check = rig.call().env("FARSPAN_API_BASE_URL", server.url());
    let check = check.env("OTEL_TRACES_EXPORTER", "none");
    let said = check.clone().with_arguments(&["check"]).output().stdout;
    assert!(
        said.contains("WARN  monitor default, API http://"),
        "{said}"
    );
    assert!(
        said.contains("/workflows/farspan-check: HTTP 404, and the answer is neither"),
        "{said}"
    );
    let json = check.with_arguments(&["check", "--json"]).output().stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON alone");
    assert!(json.to_string().contains("the answer is neither"), "{json}");
}

/// Spring Boot's answer to a path that it does not know is JSON that names the path. A second request, for a path that no
/// API has, tells it from the API's own words.
#[test]
fn a_wrong_path_is_told_by_a_second_request_where_its_404_is_json() {
    let requests = AtomicU32::new(0);
    let server = Server::start(move |request| {
        let clock = format!("12:00:0{}", requests.fetch_add(1, Ordering::Relaxed) % 10);
        let body = match request.target.strip_prefix("/right/workflows/") {
            Some(id) => json!({"error": "no such workflow", "id": id}),
            None => {
                json!({"timestamp": clock, "status": 404, "error": "Not Found", "path": request.target})
            }
        };
        let body = body.to_string();
        Answer::new(404).body("application/json", body).into()
    });
    let rig = Rig::new();
    let said = |arguments: &[&str], base: &str| {
        let call = rig.call().with_arguments(arguments);
        let call = call.env("FARSPAN_API_BASE_URL", format!("{}/{base}", server.url()));
        call.env("OTEL_TRACES_EXPORTER", "none").output().stdout
    };
    let unknown = format!("{}/wrong/farspan-no-such-path/workflows/", server.url());
    let wrong = said(&["check"], "wrong");
    for part in [
        "ok    monitor default, API ",
        "WARN  monitor default, API ",
        "/wrong/workflows/farspan-check: HTTP 404, with the same answer as ",
        &unknown,
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    let wrong = said(&["probe", "run-7"], "wrong");
    assert!(
        wrong.contains("FAIL: ") && wrong.contains(&format!("{unknown}run-7")),
        "{wrong}"
    );

    let right = said(&["check"], "right");
    assert!(!right.contains("WARN"), "{right}");
    let right = said(&["probe", "run-7"], "right");
    assert!(
        right.contains("FAIL: the API does not know this workflow (HTTP 404); the path is known: "),
        "{right}"
    );
}
