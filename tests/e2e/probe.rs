//! `farspan probe`: what it shows of saved answers and of an API, and how it says what does not fit.

use crate::chain::built;
use crate::support::api::{FakeApi, completed, processing};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Reply, Server};
use crate::support::program::{Ended, farspan, program};
use crate::support::receiver::Receiver;
use crate::support::{SOON, eventually, free_port};
use serde_json::json;

/// Two requests, of which the second is asked for each element, and a bearer token.
fn builds(base_url: &str) -> String {
    json!({"monitors": [{
        "name": "builds",
        "api": {"base_url": base_url, "auth": {"type": "bearer", "token": "s3cret"}, "headers": {"X-Tenant": "hush"}},
        "request": {"path": "/builds/{id}"},
        "requests": {"steps": {"path": "/builds/{id}/jobs/{stage.key}/steps", "for_each": "jobs"}},
        "workflow": {"id": "/id", "status": "/state", "start": "/begun", "end": "/ended", "error": "/why"},
        "stages": [{"name": "jobs", "list": "/jobs", "key": "/name", "kind": "/name", "status": "/state",
            "start": "/begun", "end": "/ended", "attributes": {"worker": "/worker"},
            "stages": [{"from": "steps", "list": "/steps", "key": "/name", "kind": "/name", "status": "/state",
                "start": "/begun", "end": "/ended"}]}],
        "statuses": {"waiting": "pending", "running": "running", "passed": "success", "failed": "failure"}
    }]})
    .to_string()
}

const BUILD: &str = r#"{"id": "7", "state": "running", "begun": "2026-01-02T03:00:00Z", "jobs": [
    {"name": "compile", "state": "passed", "begun": "2026-01-02T03:00:01Z", "ended": "2026-01-02T03:04:01Z", "worker": "w1"},
    {"name": "test", "state": "runnning", "begun": "2026-01-02T03:05:00Z", "finished": null}]}"#;
const STEPS: &str = r#"{"steps": [{"name": "fetch", "state": "passed", "begun": "2026-01-02T03:00:02Z", "ended": "2026-01-02T03:01:02Z"}]}"#;

#[track_caller]
fn shows(ended: &Ended, code: i32, lines: &[&str]) {
    assert_eq!(ended.code(), Some(code), "{}{}", ended.stdout, ended.stderr);
    for line in lines {
        assert!(
            ended.stdout.contains(line),
            "{line:?} is not in\n{}{}",
            ended.stdout,
            ended.stderr
        );
    }
    assert!(
        !ended.stdout.contains('\x1b'),
        "no terminal: {}",
        ended.stdout
    );
}

#[test]
fn a_saved_body_of_the_default_shape_needs_no_configuration() {
    let files = Files::new();
    let body = files.write("done.json", completed("704c").json().to_string());
    let ended = farspan(&["probe", "--body", &body]).output();
    shows(
        &ended,
        0,
        &[
            "monitor default, workflow 704c\n  status \"Completed\", which means success\n",
            "  start 2024-07-05T06:57:56.1234567Z\n  end 2024-07-05T09:00:00.0000001Z\n  3 stages:\n",
            "    DataLoader: \"Completed\", which means success\n        start 2024-07-05T06:57:57.0000001Z\n",
            "        id DataLoader-1\n",
            "Workflow 704c  2h 02m 03s  ✓ ok\ntrace ",
            "\n  Processor ",
            "Led nowhere",
            "  workflow.error: /workflowErrorMessage\n",
        ],
    );
    // What has not ended is shown as running, up to the last time that the answer knows.
    let mut call = farspan(&["probe", "--body", "-"]).with_stdin().start();
    call.write(processing("704c").json().to_string());
    call.end_input();
    let ended = call.wait(SOON);
    shows(
        &ended,
        0,
        &[
            "Workflow 704c  876ms  … running",
            "DataLoader ",
            "0µs  … running",
        ],
    );
}

#[test]
fn bodies_of_several_requests_become_one_tree_and_mistakes_are_named_with_what_is_there() {
    let files = Files::new();
    let config = files.write("farspan.json", builds("https://ci.example.com"));
    let build = files.write("build.json", BUILD);
    let steps = format!("steps={}", files.write("steps.json", STEPS));
    let arguments = [
        "probe", "--config", &config, "--body", &build, "--body", &steps,
    ];
    let ended = farspan(&arguments).output();
    shows(
        &ended,
        0,
        &[
            "monitor builds, workflow 7\n",
            "    compile: \"passed\", which means success\n",
            "        worker = \"w1\"\n",
            "      fetch [compile/fetch]: \"passed\", which means success\n",
            "\n  compile  ",
            "\n    fetch  ",
            "odd: stages[0].status: \"runnning\" is not among the monitor's statuses (",
            "is \"running\" meant?",
            "  workflow.end: /ended\n  workflow.error: /why\n      the answer has begun, id, jobs, state\n",
        ],
    );

    let wrong = builds("https://ci.example.com")
        .replace("\"/state\"", "\"/stat\"")
        .replace("\"/worker\"", "\"/worker/name\"")
        .replace("\"list\":\"/jobs\"", "\"list\":\"/job\"");
    let config = files.write("farspan.json", wrong);
    let ended = farspan(&["probe", "--config", &config, "--body", &build]).output();
    shows(
        &ended,
        0,
        &[
            "  workflow.status: /stat; is /state meant?\n",
            "  stages[0].list: /job; is /jobs meant?\n",
            "  0 stages\n",
            "status none, which means pending",
            "\nodd: /stat leads nowhere; the answer has id, state, begun, jobs (workflow.status)\n",
        ],
    );
}

#[test]
fn what_does_not_fit_is_shown_as_it_is() {
    let files = Files::new();
    let config = files.write("farspan.json", builds("https://ci.example.com"));
    let probe = |text: &str| {
        let body = files.write("body.json", text);
        farspan(&["probe", "--config", &config, "--body", &body]).output()
    };
    shows(
        &probe(r#"{"build": {"id": 7, "status": "ok"}, "more": [1, 2]}"#),
        1,
        &[
            "FAIL: ",
            "of another shape: ",
            "  /build: an object of 2\n  /build/id: the number 7\n  /build/status: the text \"ok\"\n  /more: an array of 2\n  /more/0: the number 1\n",
            "  workflow.status: /state\n",
            "      the answer has build, more\n",
        ],
    );
    shows(
        &probe(r#"{"data": {"run": {"steps": [{"k": "a", "status": "X"}], "status": "Y"}}}"#),
        1,
        &[
            "  /data/run/steps/0/status: the text \"X\"\n",
            "  /data/run/steps/0/k: the text \"a\"\n",
        ],
    );
    let wide: Vec<String> = (0..60).map(|n| format!("\"f{n:02}\": {n}")).collect();
    shows(
        &probe(&format!("{{{}}}", wide.join(", "))),
        1,
        &[
            "  /f39: the number 39\n  20 more are left out: /f40, /f41, ",
            "/f51, 8 more\n",
        ],
    );
    shows(
        &probe("<html>\u{1b}[31mlog in</html>"),
        1,
        &["not JSON: ", r"begins with: <html>\u{1b}[31mlog in</html>"],
    );
    shows(&probe("[]"), 1, &["FAIL: ", "is an array of 0"]);
    shows(&probe(""), 1, &["FAIL: ", "not JSON"]);
    // A time that is none.
    let odd = BUILD.replace("2026-01-02T03:00:00Z", "two o'clock");
    shows(
        &probe(&odd),
        0,
        &["odd: /begun is not a time: \"two o'clock\" (workflow.start)\n"],
    );
    let seconds = BUILD.replace("\"2026-01-02T03:00:00Z\"", "1767322800");
    let config = builds("https://ci.example.com").replace(
        "\"statuses\"",
        "\"times\":{\"format\":\"epoch_ms\"},\"statuses\"",
    );
    let config = files.write("farspan.json", config);
    let body = files.write("body.json", seconds);
    shows(
        &farspan(&["probe", "--config", &config, "--body", &body]).output(),
        0,
        &[
            "  start 1970-01-21T",
            "odd: /begun is a time in 1970: \"1767322800\"; is epoch_s meant? (workflow.start)\n",
        ],
    );
}

/// Monitor, key and what was found: of everything at once, whether it only leaves something out or keeps all from being
/// read.
#[test]
fn all_mistakes_of_a_body_are_named_at_once() {
    const ODD: &str = r#"{"id": "7", "state": "gone", "begun": "two o'clock", "jobs": [
        {"name": "a", "state": "odd", "begun": "three", "try": "second"}, {"name": "b", "state": "odder", "begun": false},
        {"name": "c", "state": "odd", "begun": "2026-01-02T03:00:01Z"}, {"state": "passed"}]}"#;
    let files = Files::new();
    let lenient = builds("https://ci.example.com").replace(
        "\"list\":\"/jobs\"",
        "\"list\":\"/jobs\",\"attempt\":\"/try\"",
    );
    let strict = lenient.replace(
        "\"name\":\"builds\"",
        "\"name\":\"strict\",\"unknown_status\":\"fail\"",
    );
    let body = files.write("odd.json", ODD);
    let probe = |config: &str, body: &str| {
        let config = files.write("farspan.json", config);
        farspan(&["probe", "--config", &config, "--body", body]).output()
    };
    let odd = |ended: &Ended| -> Vec<String> {
        let lines = ended.stdout.lines();
        let odd = lines.filter_map(|line| line.strip_prefix("odd: "));
        odd.map(str::to_owned).collect()
    };
    let unread = [
        "/begun is not a time: \"two o'clock\" (workflow.start)",
        "/jobs/*/begun is not a time: \"three\" (stages[0].start)",
        "/jobs/*/begun is not a time: \"false\" (stages[0].start)",
        "/jobs/*/try is not a whole number: \"second\" (stages[0].attempt)",
        "what is in /jobs has no key and no id; left out (stages[0].list)",
    ];
    let ended = probe(&lenient, &body);
    shows(&ended, 0, &["monitor builds, workflow 7\n"]);
    let among = "is not among the monitor's statuses (failed, passed, running, waiting)";
    let mut expected = vec![
        format!("workflow.status: \"gone\" {among}"),
        format!("stages[0].status: \"odd\" {among}"),
        format!("stages[0].status: \"odder\" {among}"),
    ];
    expected.extend(unread.map(str::to_owned));
    let mut found = odd(&ended);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);

    let ended = probe(&strict, &body);
    let why = "of another shape: /jobs/*/state: unknown status \"odd\"";
    shows(
        &ended,
        1,
        &["monitor strict\n", why, " (stages[0].status)\n"],
    );
    let mut expected = vec![
        "/state: unknown status \"gone\" (workflow.status)".to_owned(),
        "/jobs/*/state: unknown status \"odder\" (stages[0].status)".to_owned(),
    ];
    expected.extend(unread.map(str::to_owned));
    let mut found = odd(&ended);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    // What is there did not lead nowhere, though it was not read.
    assert!(
        !ended.stdout.contains("workflow.status: /state"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("  workflow.end: /ended\n"),
        "{}",
        ended.stdout
    );

    // An answer that probe asks for itself has the same mistakes.
    let server = Server::start(|request| match &*request.target {
        "/builds/7" => Answer::new(200).body("application/json", ODD).into(),
        _ => Answer::new(200).body("application/json", STEPS).into(),
    });
    let config = lenient.replace("https://ci.example.com", &server.url());
    let config = files.write("asked.json", config);
    let asked = farspan(&["probe", "7", "--config", &config]).output();
    let saved = probe(&lenient, &body);
    assert_eq!(odd(&asked), odd(&saved));

    // One pointer's values hide nothing, and there is an end to it.
    let jobs = (0..3000)
        .map(|n| json!({"name": n, "state": "passed", "begun": format!("at {n}"), "try": "first"}));
    let many = json!({"id": "7", "state": "running", "jobs": jobs.collect::<Vec<_>>()});
    let many = files.write("many.json", many.to_string());
    let found = odd(&probe(&lenient, &many));
    assert_eq!(
        found
            .iter()
            .filter(|odd| odd.contains("is not a time"))
            .count(),
        5
    );
    assert!(
        found
            .iter()
            .any(|odd| odd.contains("/try is not a whole number")),
        "{found:?}"
    );
    let jobs = (0..30).map(|n| json!({"name": n, "state": format!("state {n}")}));
    let words = json!({"id": "7", "state": "running", "jobs": jobs.collect::<Vec<_>>()});
    let words = files.write("words.json", words.to_string());
    let found = odd(&probe(&lenient, &words));
    assert_eq!(
        (found.len(), found.last().map(String::as_str)),
        (21, Some("and 10 more"))
    );
}

/// The end of a run that still runs is a plan, and is not shown as a time.
#[test]
fn a_planned_end_is_not_taken() {
    let files = Files::new();
    let config = files.write("farspan.json", builds("https://ci.example.com"));
    let planned = BUILD
        .replace(
            "\"begun\": \"2026-01-02T03:00:00Z\"",
            "\"begun\": \"2026-01-02T03:00:00Z\", \"ended\": \"2100-01-01T00:00:00Z\"",
        )
        .replace("\"finished\": null", "\"ended\": \"2100-01-02T00:00:00Z\"");
    let body = files.write("build.json", planned);
    let ended = farspan(&["probe", "--config", &config, "--body", &body]).output();
    shows(
        &ended,
        0,
        &[
            "\n  end 2100-01-01T00:00:00Z (planned; not taken while it runs)\n",
            "\n        end 2100-01-02T00:00:00Z (planned; not taken while it runs)\n",
            "\n        end 2026-01-02T03:04:01Z\n",
            "Workflow 7  5m 00s  … running\n",
        ],
    );
}

/// A child that is not there may come while the workflow runs.
#[test]
fn a_child_that_never_came_is_named() {
    let files = Files::new();
    let config = json!({"monitors": [{"name": "runs", "api": {"base_url": "http://ci.example.com"}, "request": {"path": "/{id}"},
        "workflow": {"status": "/state"}, "statuses": {"busy": "running", "done": "success"},
        "stages": [{"name": "jobs", "list": "/jobs", "key": "/no", "children": {"list": "steps", "ids": "/steps"}},
            {"name": "steps", "list": "/steps", "key": "/no"}]}]});
    let config = files.write("farspan.json", config.to_string());
    let odd = |state: &str| {
        let run = json!({"state": state, "jobs": [{"no": 1, "steps": ["a", "nope", "nope", "no"]}], "steps": [{"no": "a"}]});
        let body = files.write("run.json", run.to_string());
        let ended = farspan(&["probe", "--config", &config, "--body", &body]).output();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        let lines = ended.stdout.lines();
        let odd = lines.filter_map(|line| line.strip_prefix("odd: "));
        odd.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(odd("busy"), [""; 0]);
    let not_there = |id| {
        format!("/jobs/*/steps has {id:?}, which is no key in /steps (stages[0].children.ids)")
    };
    assert_eq!(odd("done"), ["nope", "no"].map(not_there));
}

#[test]
fn where_a_root_is_missed_or_doubled_the_right_pointer_is_shown() {
    let files = Files::new();
    let config = json!({"monitors": [{"name": "runs", "api": {"base_url": "http://ci.example.com"}, "request": {"path": "/{id}"},
        "workflow": {"root": "/run", "status": "/phase", "start": "/run/from"}, "statuses": {"DONE": "success"},
        "stages": [{"list": "/steps", "key": "/no", "status": ["/phase", "/state"]},
            {"name": "parts", "list": "/run/parts", "key": "/no", "status": ["/phase", "/state"]}]}]});
    let config = files.write("farspan.json", config.to_string());
    let run = json!({"run": {"phase": "DONE", "from": 1_795_166_400, "steps": [], "parts": [
        {"no": 1, "phase": "ODD"}, {"no": 2, "state": "ODD"}]}});
    let body = files.write("run.json", run.to_string());
    let ended = farspan(&["probe", "--config", &config, "--body", &body]).output();
    shows(
        &ended,
        0,
        &[
            "odd: /steps leads nowhere; /run has from, parts, phase, steps; a list begins at the answer, not at workflow.root (stages[0].list)\n",
            "\n  stages[0].list: /steps; is /run/steps meant?\n",
            "\n  workflow.start: /run/run/from; is /run/from meant?\n",
            "odd: stages[1].status: \"ODD\" is not among",
        ],
    );
}

/// What is odd only when elements are put together is all told too.
#[test]
fn all_that_is_odd_about_stages_together_is_named() {
    let names = |n: usize| format!("lost {n}");
    let mut steps = vec![
        json!({"no": "a"}),
        json!({"no": "a"}),
        json!({"no": "b"}),
        json!({"no": "b"}),
        json!({"no": "x", "in": "y"}),
        json!({"no": "y", "in": "x"}),
    ];
    steps.extend((0..9).map(|n| json!({"no": n, "in": names(n)})));
    let run = json!({"state": "busy", "start": "never", "steps": steps}).to_string();
    let answer = run.clone();
    let server = Server::start(move |_| {
        Answer::new(200)
            .body("application/json", answer.as_str())
            .into()
    });
    let files = Files::new();
    let config = json!({"monitors": [{"name": "runs", "api": {"base_url": server.url()}, "request": {"path": "/{id}"},
        "workflow": {"status": "/state", "start": "/start"}, "statuses": {"busy": "running", "done": "success"},
        "stages": [{"list": "/steps", "key": "/no", "parent": {"key": "/in"}}]}]});
    let config = files.write("farspan.json", config.to_string());
    let body = files.write("run.json", run);
    let mut expected = vec![
        "/start is not a time: \"never\" (workflow.start)".to_owned(),
        "two stages in /steps have the key \"a\"; one is left out (stages[0].list)".to_owned(),
        "two stages in /steps have the key \"b\"; one is left out (stages[0].list)".to_owned(),
        "stages are their own ancestors; some of them have no parent now".to_owned(),
    ];
    let lost = |n| {
        let name = names(n);
        format!("a stage in /steps names the parent {name:?}, which is not there (stages[0].list)")
    };
    expected.extend((0..5).map(lost));
    expected.sort();
    for arguments in [&["--body", &body][..], &["7"]] {
        let ended = farspan(&[&["probe", "--config", &config][..], arguments].concat()).output();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        let odd = ended
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("odd: "));
        let mut odd: Vec<_> = odd.collect();
        odd.sort_unstable();
        assert_eq!(odd, expected, "{arguments:?}");
    }
}

#[test]
fn an_id_is_asked_for_and_everything_on_the_wire_is_shown_but_secrets() {
    let server = Server::start(|request| match &*request.target {
        "/builds/7" => Answer::new(200).body("application/json", BUILD).into(),
        "/builds/7/jobs/compile/steps" => Answer::new(200).body("application/json", STEPS).into(),
        "/builds/8" => Answer::new(401).body("text/plain", "who are you?").into(),
        "/builds/9" | "/builds/%7B7%7D" => Answer::new(200).body("application/json", BUILD).into(),
        "/builds/10" => Answer::new(200).body("text/html", "<p>welcome").into(),
        target if target.starts_with("/builds/") => {
            Answer::new(404).body("text/plain", "no such build").into()
        }
        _ => Answer::new(404).body("text/plain", "nothing here").into(),
    });
    let files = Files::new();
    let config = files.write("farspan.json", builds(&server.url()));
    let probe = |id: &str| farspan(&["probe", id, "--config", &config]).output();
    let ended = probe("7");
    let url = server.url();
    shows(
        &ended,
        0,
        &[
            &format!("GET {url}/builds/7: HTTP 200, {} bytes after ", BUILD.len()),
            &format!("GET {url}/builds/7/jobs/compile/steps: HTTP 200, "),
            &format!("GET {url}/builds/7/jobs/test/steps: HTTP 404, "),
            "    it says: no such build\n",
            "    authorization: (redacted)\n",
            "    x-tenant: (redacted)\n",
            "      fetch [compile/fetch]: \"passed\", which means success\n",
            "Workflow 7 ",
        ],
    );
    for ended in [&ended, &probe("8")] {
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !output.contains("s3cret") && !output.contains("hush"),
            "{output}"
        );
    }
    let sent = server.requests();
    assert_eq!(sent[0].header("Authorization"), Some("Bearer s3cret"));
    shows(
        &probe("8"),
        1,
        &[
            "FAIL: the poll failed (unauthorized): HTTP 401",
            "monitors[0] (builds).api.auth.token right?",
            "it says: who are you?",
        ],
    );
    shows(
        &probe("9"),
        1,
        &[
            "FAIL: asked after \"9\", the answer is about \"7\"",
            "monitor builds, workflow 9",
        ],
    );
    // `run` takes an id that is written in another way; so does `probe`.
    shows(&probe("{7}"), 0, &["monitor builds, workflow {7}"]);
    shows(
        &probe("10"),
        1,
        &["FAIL: the poll failed (garbage)", "begins with: <p>welcome"],
    );
    shows(
        &probe("11"),
        1,
        &[
            "FAIL: the API does not know this workflow (HTTP 404)",
            "it says: no such build",
        ],
    );
}

#[test]
fn an_api_that_is_not_there_is_named() {
    let api = format!("http://127.0.0.1:{}", free_port());
    let ended = farspan(&["probe", "7"])
        .env("FARSPAN_API_BASE_URL", &api)
        .output();
    shows(
        &ended,
        1,
        &[
            &format!("GET {api}/workflows/7: no answer"),
            "FAIL: the poll failed (connect)",
            "; is FARSPAN_API_BASE_URL (api.base_url) right, and does a server listen there?",
        ],
    );

    let hanging = Server::start(|_| Reply::Close);
    let ended = farspan(&["probe", "7"])
        .env("FARSPAN_API_BASE_URL", hanging.url())
        .output();
    shows(&ended, 1, &["no answer", "FAIL: the poll failed ("]);
}

#[test]
fn what_is_wrong_with_the_command_line_is_code_2() {
    let files = Files::new();
    let config = files.write("farspan.json", builds("https://ci.example.com"));
    let two = format!("{{\"monitors\": [{}]}}", {
        let one = &builds("https://ci.example.com")[13..];
        let one = &one[..one.len() - 2];
        format!(
            "{one},{}",
            one.replace("\"name\":\"builds\"", "\"name\":\"nightly\"")
        )
    });
    let two = files.write("two.json", two);
    let cases: [(&[&str], &str); 7] = [
        (&["probe"], "neither an ID nor a --body"),
        (&["probe", "7"], "FARSPAN_API_BASE_URL"),
        (&["probe", "--body", "/nonexistent/x"], "/nonexistent/x"),
        (
            &["probe", "--config", &config, "--body", "step=x.json"],
            "no request 'step'",
        ),
        (
            &["probe", "--config", &config, "--monitor", "build", "7"],
            "no monitor 'build' is enabled; there are: builds",
        ),
        (
            &["probe", "--config", &two, "7"],
            "--monitor: say which: builds, nightly",
        ),
        (
            &["probe", "--body", "-", "--body", "-"],
            "one standard input",
        ),
    ];
    for (arguments, said) in cases {
        let ended = farspan(arguments).output();
        assert_eq!(ended.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn the_default_api_is_asked_as_run_would() {
    let api = FakeApi::start();
    api.script("a b", [completed("a b").reply()]);
    let ended = farspan(&["probe", "a b"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .output();
    shows(
        &ended,
        0,
        &[
            "/risk/workflows/a%20b: HTTP 200",
            "Workflow a b  2h 02m 03s  ✓ ok",
        ],
    );
}

/// A fenced block of the page, and the line of text above it.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let mut blocks = Vec::new();
    let mut above = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            if !line.is_empty() {
                above = line.to_owned();
            }
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((kind.to_owned(), above.clone(), body.join("\n") + "\n"));
    }
    blocks
}

/// The file that a block of JSON is: the last name in backquotes above it that ends so.
fn file_of(above: &str) -> String {
    let mut names = above.split('`').filter(|name| name.ends_with(".json"));
    names.next_back().expect("a file's name").to_owned()
}

/// Whether the output is that of the page: `...` on a line of its own stands for any lines, at the end of a line for any
/// rest. The time of the day is not compared.
fn is_as_told(told: &[&str], output: &[&str]) -> bool {
    let timeless = |line: &str| match line.as_bytes() {
        [_, _, b':', _, _, b':', _, _, b'Z', ..] => line[9..].to_owned(),
        _ => line.to_owned(),
    };
    match (told, output) {
        ([], []) => true,
        (["...", rest @ ..], _) => (0..=output.len()).any(|skip| is_as_told(rest, &output[skip..])),
        ([line, told @ ..], [found, output @ ..]) => {
            let same = match line.strip_suffix("...") {
                Some(begin) => found.starts_with(begin),
                None => timeless(line) == timeless(found),
            };
            same && is_as_told(told, output)
        }
        _ => false,
    }
}

#[test]
fn the_page_about_your_own_api_is_true_to_the_letter() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/your-own-api.md")).unwrap();
    let saved = root.join("examples/your-own-api");
    let body = |name: &str| std::fs::read_to_string(saved.join(name)).unwrap();
    let folder = Folder::new();
    std::fs::write(folder.path().join("running.json"), body("running.json")).unwrap();
    let millrace = format!("127.0.0.1:{}", free_port());
    let server = program(&built("millrace"), &[&millrace]).start();
    eventually("Millrace listens", SOON, || {
        server.stdout().contains(&millrace)
    });
    let receiver = Receiver::start();
    receiver.relaxed();
    let admin = format!("127.0.0.1:{}", free_port());
    let real = [
        ("127.0.0.1:8090", millrace),
        ("http://localhost:4318", receiver.server.url()),
        ("127.0.0.1:9464", admin.clone()),
        ("/home/you", folder.path().display().to_string()),
    ];
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_farspan"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut commands = 0;
    for (kind, above, text) in blocks(&page) {
        if kind == "json" {
            let name = file_of(&above);
            if saved.join(&name).exists() {
                assert_eq!(text, body(&name), "{name} is that of the tests");
            }
            let text = text.replace(real[0].0, &real[0].1);
            std::fs::write(folder.path().join(name), text).unwrap();
            continue;
        }
        assert_eq!(kind, "console");
        for step in text.split("$ ").skip(1) {
            let (command, told) = step.split_once('\n').unwrap();
            // Who asks for an address by name waits for callers.
            let listen = if command.contains("--events -") {
                "none"
            } else {
                &admin
            };
            let done = std::process::Command::new("timeout")
                .args(["30", "sh", "-c", &format!("exec 2>&1; {command}")])
                .env_clear()
                .envs([("PATH", path.as_str()), ("FARSPAN_ADMIN_LISTEN", listen)])
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
                .current_dir(folder.path())
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            let mut output = String::from_utf8(done.stdout).unwrap();
            for (told, real) in &real {
                output = output.replace(real, told);
            }
            assert!(
                done.status.success(),
                "{command}: {}\n{output}",
                done.status
            );
            let (told, found): (Vec<_>, Vec<_>) =
                (told.lines().collect(), output.lines().collect());
            assert!(is_as_told(&told, &found), "$ {command}\n{output}");
            commands += 1;
        }
    }
    assert!(commands >= 10, "{commands}");
    // The trace, and the run after it: the same spans.
    let spans = receiver.spans();
    let mut names: Vec<&str> = spans.iter().map(|seen| seen.span.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        ["Workflow", "ingest", "prices", "reconcile", "trades"]
    );
    assert_eq!(spans.len(), 10);
}

#[test]
fn a_wildcard_in_a_list_is_explained() {
    let files = Files::new();
    let config = builds("http://api.test").replace("\"/jobs\"", "\"/jobs/*\"");
    let config = files.write("farspan.json", config);
    let body = files.write("build.json", BUILD);
    let ended = farspan(&["probe", "--config", &config, "--body", &body]).output();
    let note = "note: stages[0].list: /jobs/*: a JSON Pointer has no wildcard";
    shows(&ended, 0, &[note]);
}

#[test]
fn a_key_that_stands_further_down_is_meant() {
    let files = Files::new();
    let config = builds("http://api.test").replace("\"/begun\"", "\"/moment\"");
    let config = files.write("farspan.json", config);
    let body = BUILD.replace(
        "\"jobs\"",
        "\"times\": {\"real\": {\"moment\": \"2026-01-02T03:00:00Z\"}}, \"jobs\"",
    );
    let body = files.write("build.json", body);
    let ended = farspan(&["probe", "--config", &config, "--body", &body]).output();
    let meant = "workflow.start: /moment; is /times/real/moment meant?";
    shows(&ended, 0, &[meant]);
}
