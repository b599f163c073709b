//! `farspan top`, through a pseudo-terminal and without one.

use crate::carriers::Door;
use crate::support::api::{completed, processing, status};
use crate::support::http::{Answer, Reply, Request, Server, lock};
use crate::support::program::{Call, farspan};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::terminal::Terminal;
use crate::support::{SOON, eventually, free_port};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An admin endpoint that says what the test wants.
struct Admin {
    server: Server,
    says: Arc<Mutex<Says>>,
}

#[derive(Default)]
struct Says {
    version: u64,
    runs: Vec<Value>,
    /// The runs that the last version has changed.
    changed: Vec<Value>,
    details: Value,
}

impl Admin {
    fn new() -> Admin {
        let runs = vec![
            run("704c0b60", "running", Value::Null),
            run("9f623b49", "ended", "failure".into()),
            run(
                "hostile \u{1b}[2J\u{1b}]0;owned\u{7} 子",
                "ended",
                "success".into(),
            ),
        ];
        let says = Arc::new(Mutex::new(Says {
            version: 1,
            runs,
            details: details("Processing"),
            ..Says::default()
        }));
        let server = Server::start({
            let says = says.clone();
            move |request| answer(&lock(&says), request)
        });
        Admin { server, says }
    }

    fn top(&self) -> Call {
        farspan(&["top", "--admin", &self.server.url()]).env("TERM", "xterm-256color")
    }

    /// A change of this run.
    fn change(&self, run: Value) {
        let mut says = lock(&self.says);
        says.version += 1;
        says.runs.retain(|other| other["run"] != run["run"]);
        says.runs.push(run.clone());
        says.changed = vec![run];
    }
}

fn answer(says: &Says, request: &Request) -> Reply {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let head = json!({
        "now": "2024-07-05T07:00:00Z", "version": says.version, "live": 1, "ended": says.runs.len() - 1, "held": null
    });
    let mut body = head;
    let since = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("since="));
    let since: u64 = since.map_or(0, |since| since.parse().expect("a number"));
    let mut is_late = false;
    match path {
        "/api/workflows" => {
            body["workflows"] = says.runs.clone().into();
            body["next"] = Value::Null;
        }
        "/api/changes" => {
            is_late = since >= says.version;
            body["reset"] = false.into();
            body["gone"] = json!([]);
            body["workflows"] = if is_late {
                json!([])
            } else {
                says.changed.clone().into()
            };
        }
        _ => body = says.details.clone(),
    }
    let answer = Answer::new(200).body("application/json", body.to_string());
    if is_late {
        return Reply::Late(Duration::from_millis(50), Box::new(answer.into()));
    }
    answer.into()
}

fn run(id: &str, state: &str, result: Value) -> Value {
    let ended = if state == "ended" {
        json!("2024-07-05T06:59:00Z")
    } else {
        Value::Null
    };
    json!({
        "run": format!("key of {id}"), "workflow_id": id, "monitor": "default", "name": "Workflow", "state": state,
        "status": "Processing", "result": result, "error": null, "received": "2024-07-05T06:57:50Z", "queued": null,
        "started": "2024-07-05T06:58:00Z", "ended": ended,
        "stages": {"total": 2, "waiting": 0, "running": 1, "ended": 1, "failed": 0},
        "last_poll": {"at": "2024-07-05T06:59:57Z", "result": "ok", "error": null},
        "next_poll": {"at": "2024-07-05T07:00:07Z", "why": "host paused"},
        "trace": {"trace_id": "55319d0c4a44a2cc3ef02e43117528cb", "root_span_id": "aa", "sampled": true,
                  "exported": false, "url": null}
    })
}

fn details(status: &str) -> Value {
    let mut details = run("704c0b60", "running", Value::Null);
    details["spans"] = json!([{
        "id": "s1", "parent": "aa", "name": "DataLoader", "kind": "stage", "state": "running", "status": status,
        "result": null, "attempt": 2, "queued": null, "started": "2024-07-05T06:58:10Z", "ended": null, "error": null,
        "attributes": {"rows": 12}, "events": [{"at": "2024-07-05T06:58:11Z", "name": status, "attributes": {}}]
    }]);
    details["events"] = json!([]);
    details["attributes"] = json!({"team": "risk"});
    details
}

#[test]
fn a_workflow_is_found_opened_and_seen_to_grow() {
    let admin = Admin::new();
    let mut terminal = Terminal::start(&admin.top(), 100, 24);
    let screen = terminal.await_screen("1 live, 2 ended  connected");
    for words in [
        "704c0b60",
        "… running",
        "✗ failure",
        "host paused",
        "3 of 3 workflows",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    assert!(screen.contains(r"hostile \u{1b}[2J"), "{screen}");
    assert!(!terminal.written().contains("\x1b]0;"));

    terminal.press("/704c");
    terminal.await_screen("1 of 3 workflows");
    terminal.press("\r\r");
    let screen = terminal.await_screen("DataLoader #2");
    assert!(screen.contains("Workflow 704c0b60  … running"), "{screen}");
    assert!(screen.contains("s ago: ok; next in "), "{screen}");
    assert!(
        screen.contains("team: risk") && screen.contains('━'),
        "{screen}"
    );
    terminal.press("\x1b[B");
    terminal.await_screen("rows: 12");

    // The stage goes on: the open workflow is asked for again.
    lock(&admin.says).details = details("Finalizing");
    admin.change(run("704c0b60", "running", Value::Null));
    terminal.await_screen("status Finalizing");

    terminal.resize(60, 20);
    terminal.await_screen_where("it fits the new size", |screen| {
        screen.lines().any(|line| line.starts_with("Esc back")) && screen.contains("DataLoader #2")
    });
    terminal.press("\x1b");
    terminal.await_screen("1 of 3 workflows");
    terminal.press("?");
    terminal.await_screen("any key: back");
    terminal.press("x");
    terminal.await_screen("Enter open");
    terminal.press("q");
    assert!(terminal.ends().success());
    assert!(
        !terminal.screen().contains("704c0b60"),
        "the shell's screen is back"
    );
}

/// A real farspan, from the start event to the root span at the collector.
#[test]
fn a_real_workflow_is_seen_from_its_start_to_its_end() {
    let (rig, door) = (Rig::new(), Door::new());
    let call = rig.call().env("FARSPAN_ADMIN_TOKEN", "t0k3n");
    let farspan = door.start(&call);
    rig.redis.await_subscribers(CHANNEL, 1);
    rig.api.script("w 1#2", [processing("w 1#2").reply()]);
    rig.submit("w 1#2");
    let top = farspan_top().env("FARSPAN_ADMIN_TOKEN", "t0k3n");
    let top = top.env("FARSPAN_ADMIN_LISTEN", &door.address);
    let mut terminal = Terminal::start(&top, 120, 24);
    terminal.await_screen("w 1#2");
    terminal.press("\r");
    terminal.await_screen_where("the stage runs", |screen| {
        screen.contains("DataLoader") && screen.contains("not exported yet")
    });
    rig.api.script("fails", [status(500)]);
    rig.submit("fails");
    rig.api.script("w 1#2", [completed("w 1#2").reply()]);
    let screen = terminal.await_screen("the collector has it");
    assert!(screen.contains("✓ success"), "{screen}");
    terminal.press("\x1b");
    terminal.await_screen_where("one that fails is seen to", |screen| {
        let row = screen.lines().find(|line| line.contains(" fails "));
        row.is_some_and(|row| row.contains("running") || row.contains("waiting"))
            && row.is_some_and(|row| row.contains("500") || row.contains("server error"))
    });
    terminal.press("q");
    assert!(terminal.ends().success());
    farspan.stop();
}

fn farspan_top() -> Call {
    farspan(&["top"]).env("TERM", "xterm-256color")
}

#[test]
fn any_end_leaves_the_terminal_as_it_was() {
    let admin = Admin::new();
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        let mut terminal = Terminal::start(&admin.top(), 80, 24);
        terminal.await_screen("connected");
        assert!(terminal.look(|screen| screen.alternate_screen() && screen.bracketed_paste()));
        terminal.signal(signal);
        assert!(terminal.ends().success(), "{signal}");
    }
    let mut terminal = Terminal::start(&admin.top(), 80, 24);
    terminal.await_screen("connected");
    terminal.press("\x03");
    assert!(terminal.ends().success(), "Ctrl-C");
}

/// A shell with job control, as people have it.
#[test]
fn it_is_suspended_and_continued() {
    let admin = Admin::new();
    let shell = "set -m; \"$@\"; echo \"suspended by $?\"; stty -a; read line; fg; echo \"ended with $?\"; read line";
    let call = admin.top().under(&["sh", "-c", shell, "sh"]);
    let terminal = Terminal::start(&call, 80, 40);
    terminal.await_screen("connected");
    terminal.press("\x1a");
    let screen = terminal.await_screen("suspended by");
    assert!(!screen.contains("connected"), "{screen}");
    terminal.await_as_it_was();
    terminal.press("\n");
    terminal.await_screen("connected");
    terminal.press("q");
    terminal.await_screen("ended with 0");
    terminal.await_as_it_was();
}

/// Stopped from outside without a word: what the shell did to the terminal meanwhile is undone.
#[test]
fn the_leader_of_a_session_is_not_suspended_and_is_drawn_again_when_continued() {
    let admin = Admin::new();
    let mut terminal = Terminal::start(&admin.top(), 80, 24);
    terminal.await_screen("connected");
    terminal.press("\x1a");
    terminal.press("?");
    terminal.await_screen("any key: back");
    let written = terminal.written().len();
    terminal.signal("STOP");
    terminal.signal("CONT");
    eventually("it is drawn again", SOON, || {
        terminal.written()[written..].contains("\x1b[2J")
    });
    terminal.press("qq");
    assert!(terminal.ends().success());
}

#[test]
fn a_connection_that_is_lost_is_said_and_tried_again() {
    let mut admin = Admin::new();
    let mut terminal = Terminal::start(&admin.top(), 120, 24);
    terminal.await_screen("connected");
    admin.server.stop();
    let screen = terminal.await_screen("NO CONNECTION");
    assert!(screen.contains("no answer for"), "{screen}");
    assert!(screen.contains("704c0b60"), "the last data stays: {screen}");
    admin.server.resume();
    terminal.await_screen_where("it is connected again", |screen| {
        screen.contains("connected, data") && !screen.contains("no answer for")
    });
    terminal.press("q");
    assert!(terminal.ends().success());
}

#[test]
fn without_a_terminal_each_change_is_a_line() {
    let admin = Admin::new();
    let top = admin.top().start();
    let await_line = |words: &str| {
        eventually(words, SOON, || {
            let lines = top.stdout();
            if lines.contains(words) {
                Ok(())
            } else {
                Err(lines)
            }
        });
    };
    await_line("✗ failure  Workflow 9f623b49");
    await_line("… running  Workflow 704c0b60  Processing  1/2 stages  2m 00s");
    // A poll that changed nothing is no line.
    admin.change(run("704c0b60", "running", Value::Null));
    admin.change(run("704c0b60", "ended", "success".into()));
    await_line("✓ success  Workflow 704c0b60");
    let ended = top.stop();
    assert_eq!(ended.stdout.lines().count(), 4, "{ended:?}");
    assert!(!ended.stdout.contains('\x1b'), "{ended:?}");

    let ended = admin
        .top()
        .with_arguments(&["top", "--once", "--admin", &admin.server.url()]);
    let ended = ended.env("LC_ALL", "C").output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 3, "{ended:?}");
    assert!(ended.stdout.is_ascii(), "{ended:?}");
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let admin = Admin::new();
    let mut terminal = Terminal::start(&admin.top().env("TERM", "dumb"), 150, 24);
    terminal.await_screen("~ running  Workflow 704c0b60");
    assert!(!terminal.written().contains('\x1b'));
    terminal.signal("TERM");
    assert!(terminal.ends().success());
}

#[test]
fn an_endpoint_that_cannot_be_asked_is_named_with_the_remedy() {
    let port = free_port();
    let refused = farspan(&["top"]).env("FARSPAN_ADMIN_LISTEN", format!("0.0.0.0:{port}"));
    let refused = refused.env("FARSPAN_ADMIN_TOKEN", "t0k3n").output();
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    let address = format!("http://127.0.0.1:{port} does not answer");
    for words in [
        &*address,
        "is farspan running there",
        "FARSPAN_ADMIN_LISTEN",
        "--admin",
    ] {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }

    let none = farspan(&["top"]).output();
    assert_eq!(none.code(), Some(2), "{none:?}");
    assert!(
        none.stderr.contains("FARSPAN_ADMIN_LISTEN") && none.stderr.contains("--admin"),
        "{none:?}"
    );

    let server = Server::start(|request| match request.header("authorization") {
        Some("Bearer right") => Answer::new(200).body("text/html", "<html>").into(),
        _ => Answer::new(401).into(),
    });
    let call = farspan(&["top", "--admin", &server.url()]);
    let without = call.output();
    assert_eq!(without.code(), Some(1), "{without:?}");
    without.assert_says("FARSPAN_ADMIN_TOKEN");
    let other = call.env("FARSPAN_ADMIN_TOKEN", "right").output();
    assert_eq!(other.code(), Some(1), "{other:?}");
    other.assert_says("is not that of a farspan");
}
