//! What viewers get from the admin endpoint.

use crate::carriers::Door;
use crate::support::api::{END, START, completed, processing, status};
use crate::support::files::Files;
use crate::support::http::Answer as HttpAnswer;
use crate::support::program::{Call, Farspan, farspan};
use crate::support::rig::Rig;
use crate::support::{SOON, eventually};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A farspan with its admin endpoint.
pub struct Viewed {
    pub rig: Rig,
    pub door: Door,
    pub farspan: Farspan,
}

impl Viewed {
    pub fn start() -> Self {
        Viewed::start_with(|call| call)
    }

    pub fn start_with(change: impl FnOnce(Call) -> Call) -> Self {
        let (rig, door) = (Rig::new(), Door::new());
        let farspan = door.start(&change(rig.call()));
        rig.redis
            .await_subscribers(crate::support::redis::CHANNEL, 1);
        Viewed { rig, door, farspan }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.door.ask("GET", path, &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Waits until a run is as it should be.
    #[track_caller]
    pub fn await_run(&self, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{id} is seen so"), SOON, || {
            let answer = self
                .door
                .ask("GET", &format!("/api/workflows/{id}"), &[], "");
            let run = answer.json();
            if answer.status == 200 && is_so(&run) {
                Ok(run)
            } else {
                Err(answer.body)
            }
        })
    }
}

#[test]
fn a_run_is_shown_with_its_stages_from_its_start_to_its_end() {
    let viewed = Viewed::start();
    let half = processing("w").stage("Processor", "Completed", START, END, "");
    viewed.rig.api.script("w", [half.reply()]);
    viewed.rig.submit("w");
    let run = viewed.await_run("w", |run| run["stages"]["ended"] == 1);
    let stage = |run: &Value, name: &str| {
        let spans = run["spans"].as_array().expect("spans");
        let found = spans.iter().find(|span| span["name"] == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {run}"))
            .clone()
    };
    assert_eq!(run["started"], "2024-07-05T06:57:56.123Z");
    let (open, ended) = (stage(&run, "DataLoader"), stage(&run, "Processor"));
    assert_eq!(
        (&open["state"], &open["ended"]),
        (&json!("running"), &json!(null))
    );
    assert_eq!(
        (&ended["state"], &ended["result"], &ended["ended"]),
        (
            &json!("ended"),
            &json!("success"),
            &json!("2024-07-05T09:00:00.000Z")
        )
    );
    assert_eq!(ended["parent"], run["trace"]["root_span_id"]);

    viewed.rig.api.script("w", [completed("w").reply()]);
    let run = viewed.await_run("w", |run| run["trace"]["exported"] == true);
    assert_eq!(
        (&run["state"], &run["result"]),
        (&json!("ended"), &json!("success"))
    );
    assert_eq!(run["spans"].as_array().map(Vec::len), Some(3));
    let trace = viewed.rig.trace("w");
    let root = &trace.root.span;
    assert_eq!(
        run["trace"]["root_span_id"],
        crate::support::spans::hex(&root.span_id)
    );
    assert_eq!(
        run["events"].as_array().map(Vec::len),
        Some(root.events.len())
    );
    assert_eq!(run["attributes"]["workflowId"], "w");
    viewed.farspan.stop();
}

#[test]
fn a_span_that_only_says_that_a_stage_has_started_is_no_stage() {
    let files = Files::new();
    let monitor =
        json!({"name": "default", "preset": "farspan", "spans": {"started": true, "queued": true}});
    let file = files.write("farspan.json", json!({ "monitors": [monitor] }).to_string());
    let viewed = Viewed::start_with(|call| call.env("FARSPAN_CONFIG", file));
    viewed.rig.api.script("w", [processing("w").reply()]);
    viewed.rig.submit("w");
    eventually("the backend sees that both have started", SOON, || {
        viewed.rig.receiver.spans().len() == 2
    });
    let run = viewed.get("/api/workflows/w");
    let spans = run["spans"].as_array().expect("spans").iter();
    let spans: Vec<_> = spans.map(|span| (&span["name"], &span["state"])).collect();
    assert_eq!(spans, [(&json!("DataLoader"), &json!("running"))]);
    viewed.farspan.stop();
}

/// A skipped stage has no span.
#[test]
fn a_skipped_stage_is_shown_while_its_run_goes_on_and_when_it_has_ended() {
    let files = Files::new();
    let statuses = json!({"Processing": "running", "Completed": "success", "Skipped": "skip"});
    let monitor = json!({"name": "default", "preset": "farspan", "statuses": statuses});
    let file = files.write("farspan.json", json!({ "monitors": [monitor] }).to_string());
    let viewed = Viewed::start_with(|call| call.env("FARSPAN_CONFIG", file));
    let half = processing("w").stage("Processor", "Skipped", "", "", "");
    viewed.rig.api.script("w", [half.reply()]);
    viewed.rig.submit("w");
    let skipped = |run: &Value| {
        let mut spans = run["spans"].as_array().into_iter().flatten();
        let found = spans.find(|span| span["name"] == "Processor");
        found.is_some_and(|span| span["result"] == "skip" && span["state"] == "ended")
    };
    viewed.await_run("w", |run| run["state"] == "running" && skipped(run));
    let whole = completed("w").stage("Processor", "Skipped", "", "", "");
    viewed.rig.api.script("w", [whole.reply()]);
    let run = viewed.await_run("w", |run| run["trace"]["exported"] == true);
    assert!(skipped(&run), "{run}");
    let trace = viewed.rig.trace("w");
    assert_eq!(trace.stages.len(), 2, "{run}");
    viewed.farspan.stop();
}

#[test]
fn the_pages_of_thousands_of_runs_have_each_run_once_in_order() {
    let viewed = Viewed::start_with(|call| call.env("FARSPAN_POLL_INITIAL_DELAY", "1h"));
    let mut ids: Vec<String> = (0..5000).map(|n| format!("w{n:04}")).collect();
    for some in ids.chunks(1000) {
        let events: Vec<Value> = some.iter().map(|id| json!({ "WorkflowId": id })).collect();
        let answer = viewed.door.post(&[], &json!(events).to_string());
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    ids.reverse();
    assert_eq!(viewed.get("/api/workflows")["matching"], 5000);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = viewed.get(&format!("/api/workflows?sort=-name&limit=999{after}"));
        let runs = page["workflows"].as_array().expect("runs");
        assert!(runs.len() <= 999, "{}", runs.len());
        seen.extend(
            runs.iter()
                .map(|run| run["workflow_id"].as_str().map(str::to_owned)),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
        // One that comes meanwhile moves no other.
        let event = json!({ "WorkflowId": "w9999" }).to_string();
        if seen.len() == 999 {
            assert_eq!(viewed.door.post(&[], &event).status, 202);
        }
    }
    assert!(seen.iter().flatten().eq(&ids), "{} runs", seen.len());
    viewed.farspan.stop();
}

#[test]
fn a_viewer_hears_of_the_next_change_at_once() {
    let viewed = Viewed::start_with(|call| call.env("FARSPAN_POLL_INITIAL_DELAY", "1h"));
    viewed.rig.submit("first");
    let seen = eventually("the first", SOON, || {
        let seen = viewed.get("/api/workflows");
        (seen["live"] == 1).then_some(seen)
    });
    let path = format!("/api/changes?since={}&wait=25", seen["version"]);
    let changed = std::thread::scope(|scope| {
        let waits = scope.spawn(|| viewed.get(&path));
        viewed.rig.submit("second");
        waits.join().expect("an answer")
    });
    let ids: Vec<&Value> = changed["workflows"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| &run["workflow_id"])
        .collect();
    assert_eq!(ids, ["second"]);
    assert_eq!(changed["reset"], false);
    viewed.farspan.stop();
}

/// Places for viewers that wait for a change.
const PLACES: usize = 32;

/// As many viewers as there are places for, each waiting for a change after `since`, and a few that found no place.
fn all_places_taken(viewed: &Viewed, since: &str) -> Vec<TcpStream> {
    let wait = || {
        let mut stream = TcpStream::connect(&viewed.door.address).expect("connected");
        let path = format!("/api/changes?since={since}&wait=25");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
        stream
    };
    let mut waiting: Vec<TcpStream> = (0..PLACES).map(|_| wait()).collect();
    let short = format!("/api/changes?since={since}&wait=1");
    eventually("all places are taken", SOON, || {
        // The question may have taken the place of one of them before.
        waiting.push(wait());
        viewed.door.ask("GET", &short, &[], "").status == 503
    });
    waiting
}

#[test]
fn a_stop_lets_viewers_go_that_wait() {
    let viewed = Viewed::start();
    let since = viewed.get("/api/changes")["version"].to_string();
    let waiting = all_places_taken(&viewed, &since);
    viewed.farspan.stop();
    let answered = waiting.into_iter().filter(|mut stream| {
        let mut status = [0; 12];
        stream.read_exact(&mut status).is_ok() && status.ends_with(b" 503")
    });
    let answered = answered.count();
    assert!(answered >= PLACES, "{answered} viewers heard of the stop");
}

#[test]
fn a_viewer_that_hangs_up_while_it_waits_makes_room() {
    // Long before the end of their wait, which is 25 s.
    const SOON_FREE: Duration = Duration::from_secs(12);
    let viewed = Viewed::start();
    let since = viewed.get("/api/changes")["version"].to_string();
    drop(all_places_taken(&viewed, &since));
    let path = format!("/api/changes?since={since}&wait=1");
    eventually("there is room", SOON_FREE, || {
        viewed.door.ask("GET", &path, &[], "").status == 200
    });
    viewed.farspan.stop();
}

#[test]
fn the_requests_to_the_collector_are_shown_with_its_words() {
    let viewed = Viewed::start_with(|call| {
        call.env(
            "FARSPAN_TRACE_URL",
            "https://traces.test/{trace_id}?span={span_id}",
        )
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cr3t")
    });
    let receiver = &viewed.rig.receiver;
    let refusal = |status, words: &str| HttpAnswer::new(status).body("text/plain", words);
    receiver.next(refusal(503, "not now, s3cr3t"));
    viewed.rig.api.script("w", [completed("w").reply()]);
    viewed.rig.submit("w");
    viewed.await_run("w", |run| run["trace"]["exported"] == true);
    receiver.next(refusal(400, "no such tenant"));
    viewed.rig.api.script("x", [completed("x").reply()]);
    viewed.rig.submit("x");
    let exports = eventually("the refusal", SOON, || {
        let exports = viewed.get("/api/exports")["exports"].clone();
        (exports[0]["result"] == "refused for good").then_some(exports)
    });
    let run = viewed.get("/api/workflows/x");
    assert_eq!(run["trace"]["exported"], false);
    let (trace_id, span_id) = (&run["trace"]["trace_id"], &run["trace"]["root_span_id"]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let url = format!(
        "https://traces.test/{}?span={}",
        text(trace_id),
        text(span_id)
    );
    assert_eq!(run["trace"]["url"], url);

    let seen = |export: &Value| {
        let status = export["status"].clone();
        (
            status,
            text(&export["result"]),
            export["spans"].clone(),
            export["rejected"].clone(),
        )
    };
    let seen: Vec<_> = exports
        .as_array()
        .expect("a list")
        .iter()
        .map(seen)
        .collect();
    let expected = [
        (
            json!(400),
            "refused for good".to_owned(),
            json!(4),
            json!(4),
        ),
        (json!(200), "delivered".to_owned(), json!(4), json!(0)),
        (
            json!(503),
            "will be sent again".to_owned(),
            json!(4),
            json!(0),
        ),
    ];
    assert_eq!(seen, expected);
    assert!(
        text(&exports[0]["message"]).contains("HTTP 400: no such tenant"),
        "{exports}"
    );
    assert_eq!(exports[2]["message"], "HTTP 503: not now, (redacted)");
    let sent = receiver.exports();
    assert_eq!(exports[1]["bytes"], sent[1].bytes.len());
    assert_eq!(
        exports[1]["url"],
        format!("{}/v1/traces", receiver.server.url())
    );
    viewed.farspan.stop();
}

/// A page whose name was made to point to this host asks with its own name.
#[test]
fn without_a_token_only_this_host_is_answered() {
    let viewed = Viewed::start();
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(&viewed.door.address).expect("connected");
        write!(
            stream,
            "GET /api/workflows HTTP/1.1\r\n{head}\r\nConnection: close\r\n\r\n"
        )
        .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer[9..12].to_owned()
    };
    for own in [
        "localhost:1",
        "LOCALHOST",
        "farspan.localhost",
        "127.0.0.1",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
    ] {
        assert_eq!(ask(&format!("Host: {own}")), "200", "{own}");
    }
    for foreign in [
        "evil.test",
        "localhost.evil.test",
        "10.0.0.1",
        "127.0.0.1.evil.test",
        "[fe80::1]",
        "",
        "127.0.0.1@evil.test",
    ] {
        assert_eq!(ask(&format!("Host: {foreign}")), "403", "{foreign}");
    }
    assert_eq!(ask("Host: localhost\r\nOrigin: http://localhost"), "200");
    assert_eq!(ask("Host: localhost\r\nOrigin: null"), "403");
    viewed.farspan.stop();
}

/// 200 clients send a byte at a time, and a viewer asks for much and reads nothing.
#[test]
fn who_dribbles_and_who_never_reads_delay_nothing() {
    let viewed = Viewed::start();
    viewed
        .rig
        .api
        .script("steady", [processing("steady").reply()]);
    viewed.rig.submit("steady");
    let events: Vec<Value> = (0..300)
        .map(|n| json!({ "WorkflowId": format!("missing-{n}") }))
        .collect();
    assert_eq!(
        viewed.door.post(&[], &json!(events).to_string()).status,
        202
    );
    let connect = || TcpStream::connect(&viewed.door.address).expect("connected");
    let greedy = connect();
    greedy.set_nonblocking(true).expect("it does not wait");
    let page = "GET /api/workflows?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // As many as go, for answers that no one reads.
    while (&greedy)
        .write(page.repeat(100).as_bytes())
        .is_ok_and(|count| count > 0)
    {}

    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for its threads.
        let _ends = SetAtEnd(&is_over);
        scope.spawn(|| {
            let head = b"GET /api/workflows HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
            let mut clients: Vec<(TcpStream, usize)> = (0..200).map(|_| (connect(), 0)).collect();
            while !is_over.load(Ordering::Relaxed) {
                for (client, sent) in &mut clients {
                    let byte = head.get(*sent).copied().unwrap_or(b'x');
                    *sent += 1;
                    // farspan closes those that wait longest.
                    if *sent > 1000 || client.write_all(&[byte]).is_err() {
                        (*client, *sent) = (connect(), 0);
                    }
                }
            }
        });
        for round in 0..30 {
            let polls = viewed.rig.api.polls("steady");
            assert_eq!(
                viewed.door.ask("GET", "/healthz", &[], "").status,
                200,
                "{round}"
            );
            eventually("polls go on", SOON, || {
                viewed.rig.api.polls("steady") > polls + 1
            });
        }
        viewed.rig.api.script("new", [completed("new").reply()]);
        let posted = viewed.door.post(&[], r#"{"WorkflowId": "new"}"#);
        assert_eq!(posted.status, 202, "{posted:?}");
        viewed.rig.trace("new");
    });
    viewed.farspan.stop();
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn healthcheck_says_by_its_exit_code_how_farspan_is() {
    let viewed = Viewed::start();
    let check = |arguments: &[&str], listen: &str| {
        farspan(arguments)
            .env("FARSPAN_ADMIN_LISTEN", listen)
            .output()
    };
    let own = &viewed.door.address;
    let port = own.rsplit(':').next().expect("a port");
    for listen in [own.clone(), format!("0.0.0.0:{port}")] {
        let well = check(&["healthcheck"], &listen);
        assert_eq!((well.code(), &*well.stdout), (Some(0), "ok\n"), "{well:?}");
    }
    assert_eq!(check(&["healthcheck", "--ready"], own).code(), Some(0));
    viewed.rig.api.script("w", [status(401)]);
    viewed.rig.submit("w");
    eventually("it is not ready", SOON, || {
        let unready = check(&["healthcheck", "--ready"], own);
        let is_unready =
            unready.code() == Some(1) && unready.stderr.contains("refuses the credentials");
        if is_unready {
            Ok(())
        } else {
            Err(format!("{unready:?}"))
        }
    });
    assert_eq!(
        check(&["healthcheck"], own).code(),
        Some(0),
        "alive all the same"
    );
    viewed.farspan.stop();
    let gone = check(&["healthcheck"], own);
    assert!(
        gone.code() == Some(1) && gone.stderr.contains("is farspan running"),
        "{gone:?}"
    );
    let none = check(&["healthcheck"], "none");
    assert!(
        none.code() == Some(2) && none.stderr.contains("FARSPAN_ADMIN_LISTEN"),
        "{none:?}"
    );
}
