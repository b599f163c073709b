//! Monitors as text in; what became of them, or every mistake with its place, as text out.

mod presets;
#[cfg(all(feature = "admin", feature = "file"))]
mod schema;

use crate::config::monitor::Directories;
use crate::config::{Config, reload::ConfigOrigin};
use crate::os::environment::Environment;
use crate::os::files::tests::Folder;
use crate::syntax::mistake::Mistakes;
use expect_test::{Expect, expect};
use std::fmt::Write as _;

fn origin(folder: &Folder, pairs: &[(&str, &str)]) -> ConfigOrigin {
    let pairs = pairs.iter().copied().chain([("HOSTNAME", "vm-1")]);
    ConfigOrigin {
        env: Environment::from_pairs(pairs),
        file: Some(folder.path().join("farspan.json")),
    }
}

const REDIS: (&str, &str) = ("FARSPAN_REDIS_URL", "redis://cache");
const FILES: [(&str, &str); 3] = [
    ("secret", " s3cr3t\n"),
    ("login.json", r#"{"username": "me", "password": "s3cr3t"}"#),
    ("empty.pem", ""),
];

fn load(json: &str, pairs: &[(&str, &str)]) -> Result<Config, String> {
    load_in(&Folder::with(&FILES), json, pairs)
}

fn load_in(folder: &Folder, json: &str, pairs: &[(&str, &str)]) -> Result<Config, String> {
    folder.write("farspan.json", json);
    let loaded = origin(folder, pairs).load();
    loaded.map_err(|errors| errors.to_string())
}

/// The monitors that a file has, as `show` shows them, and the warnings; or the mistakes.
fn check(json: &str, pairs: &[(&str, &str)], show: impl Fn(&Config) -> String, expected: Expect) {
    let folder = Folder::with(&FILES);
    let text = match load_in(&folder, json, pairs) {
        Ok(config) => format!(
            "{}\n{}",
            show(&config),
            [config.warnings.clone(), config.source_warnings.clone()]
                .concat()
                .join("\n")
        ),
        Err(errors) => errors,
    };
    let text = folder.shortened(&text);
    assert!(!text.contains("s3cr3t"), "{text}");
    expected.assert_eq(text.trim_end());
}

/// The mistakes of one monitor, without the place of the monitor itself.
fn check_mistakes(monitor: &str, expected: Expect) {
    let json = format!(r#"{{"monitors": [{monitor}]}}"#);
    let folder = Folder::with(&FILES);
    let text = match load_in(&folder, &json, &[REDIS]) {
        Ok(_) => "none".to_owned(),
        Err(errors) => {
            let shortened = folder.shortened(&errors);
            let own = |line: &str| {
                let own = line.replacen("farspan.json: monitors[0]", "", 1);
                match own.strip_prefix(" (").and_then(|own| own.split_once(')')) {
                    Some((_, own)) => own.to_owned(),
                    None => own,
                }
            };
            shortened.lines().map(own).collect::<Vec<_>>().join("\n")
        }
    };
    assert!(!text.contains("s3cr3t"), "{text}");
    expected.assert_eq(&text);
}

/// With what a monitor needs, and this.
fn with(more: &str) -> String {
    let mut monitor = serde_json::json!({"name": "m", "api": {"base_url": "http://api.test"}, "request": {"path": "/runs/{id}"},
            "workflow": {"status": "/state"}, "statuses": {"ok": "success"}});
    let more = serde_json::from_str(&format!("{{{more}}}")).unwrap();
    crate::syntax::json::merge(&mut monitor, more);
    monitor.to_string()
}

fn one(json: &str) -> crate::config::monitor::MonitorConfig {
    let json = format!(r#"{{"monitors": [{json}]}}"#);
    load(&json, &[REDIS]).unwrap().monitors.remove(0)
}

#[test]
fn without_monitors_there_is_one_of_the_settings() {
    check(
        "{}",
        &[
            ("FARSPAN_API_BASE_URL", "http://api.test/"),
            ("FARSPAN_API_TOKEN", "s3cr3t"),
            ("FARSPAN_POLL_INTERVAL", "20s"),
            REDIS,
        ],
        |config| {
            let monitor = &config.monitors[0];
            assert_eq!(config.monitors.len(), 1);
            let mut original = crate::mapping::definition::Definition::original();
            original.statuses.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(*monitor.mapping.definition(), original);
            format!(
                "{monitor}{:#?}",
                (&monitor.api, &monitor.poll, &monitor.spans)
            )
        },
        expect![[r#"
            monitor default, preset farspan  default
              api: {"base_url":"http://api.test"}
              poll: {"initial_delay":"5s","interval":"20s","timeout":"86400s"}
              request: {"path":"/workflows/{id}"}
              stages: [{"complete":"/isComplete","end":"/entityEndTime","error":"/entityErrorMessage","id":"/entityId","kind":"/entityType","list":"/workflowEntities","start":"/entityStartTime","status":"/entityStatus"}]
              statuses: {"Completed":"success","Failed":"failure","Initializing":"running","Null":"unset","Processing":"running"}
              workflow: {"complete":"/isComplete","end":"/workflowEndTime","error":"/workflowErrorMessage","id":"/workflowId","start":"/workflowStartTime","status":"/workflowStatus"}
            (
                MonitorApi {
                    base_url: "http://api.test",
                    headers: [],
                    auth: Bearer(
                        Given(
                            (redacted),
                        ),
                    ),
                    certificate: None,
                    client_certificate: None,
                    client_key: None,
                    requests_per_second: None,
                    send_traceparent: false,
                },
                Pace {
                    initial_delay: 5s,
                    spreads_first_polls: true,
                    interval: 20s,
                    timeout: 86400s,
                    interval_by_status: [],
                    adaptive: None,
                    gone_after: None,
                    pause_max: 3600s,
                },
                Spans {
                    workflow: "Workflow",
                    status_ok: true,
                    skipped: false,
                    queued: false,
                    started: false,
                    status_events: Span,
                },
            )"#]],
    );
}

#[test]
fn a_monitor_that_says_everything() {
    let monitor = one(r#"{
        "name": "A-1_b.c", "description": "d", "enabled": true,
        "api": {"base_url": "https://api.test/base/", "headers": {"X-Tenant": "risk"}, "requests_per_second": 0.5,
            "send_traceparent": true, "auth": {"type": "basic", "username": "me", "password": "p"}},
        "events": {"redis_channel": "c", "redis_stream": "s", "id": {"dag": "/d", "run": "/r"}, "submitted_at": "/at",
            "context": "/headers"},
        "id": "{dag}/{run}", "slashes_in_ids": true,
        "poll": {"initial_delay": "1s", "interval": "2s", "timeout": "1h", "interval_by_status": {"queued": "1m"},
            "adaptive": {"share": 0.1, "min": "5s", "max": "5m"}, "gone": {"after": "30s"}},
        "request": {"method": "POST", "path": "/runs/{run}?d={dag}", "body": {"query": "{id}"}},
        "requests": {"steps": {"path": "/steps/{stage.key}/{stage.id}", "for_each": "jobs", "when_attempt_above": 1,
            "pages": {"by": "page", "page": "p", "limit": "n", "size": 7, "first": 0, "total": "/total"}}},
        "workflow": {"root": "/r", "id": "/i", "status": ["/a", "/b"], "queued": "/q", "start": "/s", "end": "/e", "times_of_stages": ["start"],
            "error": "/x", "attempt": "/n", "first_attempt": 0, "url": "/u", "complete": "/c", "attributes": {"k": ["/k", "/l"]}},
        "stages": [{"name": "jobs", "list": "/jobs", "kind": "/k", "key": ["/a", "/b"], "attempt": "/n",
            "except": {"/type": ["Group", 7], "/hidden": true},
            "children": {"list": "parts", "ids": "/parts"}, "stages": [{"from": "steps", "list": "", "id": "/id",
            "number_attempts_by": "/at"}]},
            {"name": "parts", "list": "/parts", "id": "/id", "parent": {"key": "/p", "list": "jobs"}}],
        "statuses": {"ok": "success", "wait": "pending", "Queued": "pending", "null": "unset"},
        "unknown_status": "fail", "unset_texts": ["None"],
        "times": {"format": "rfc3339", "offset": "+01:00", "unset": [0, "1970"]},
        "spans": {"workflow": "Run", "status_ok": "unset", "skipped": true, "queued": true, "started": true, "status_events": "both"},
        "service": {"name": "etl", "namespace": "data", "attributes": {"team": "risk"}},
        "trace_context": {"use": "link", "baggage": ["a", "b"]},
        "discovery": {"request": {"path": "/{team}/runs?since={since}", "pages": {"by": "cursor", "next": "/next"}},
            "parameters": {"team": "a/b"}, "list": "/runs", "id": {"dag": "/d", "run": "/r"}, "submitted_at": "/at",
            "attempt": "/n", "only": {"/type": ["a", 7]}, "interval": "1m", "lookback": "2h"},
        "finished": {"url": "https://next.test/hook", "auth": {"type": "bearer", "token": "t"}}
    }"#);
    expect![[r#"
        (
            "A-1_b.c",
            MonitorApi {
                base_url: "https://api.test/base",
                headers: [
                    (
                        "x-tenant",
                        (redacted),
                    ),
                ],
                auth: Basic {
                    username: "me",
                    password: Given(
                        (redacted),
                    ),
                },
                certificate: None,
                client_certificate: None,
                client_key: None,
                requests_per_second: Some(
                    0.5,
                ),
                send_traceparent: true,
            },
            Events {
                redis_channel: Some(
                    "c",
                ),
                redis_stream: Some(
                    "s",
                ),
                id: [
                    (
                        "dag",
                        Pointer(/d),
                    ),
                    (
                        "run",
                        Pointer(/r),
                    ),
                ],
                submitted_at: Some(
                    Pointer(/at),
                ),
                context: Some(
                    Pointer(/headers),
                ),
            },
            Pace {
                initial_delay: 1s,
                spreads_first_polls: true,
                interval: 2s,
                timeout: 3600s,
                interval_by_status: [
                    (
                        "queued",
                        60s,
                    ),
                ],
                adaptive: Some(
                    Adaptive {
                        share: 0.1,
                        min: 5s,
                        max: 300s,
                    },
                ),
                gone_after: Some(
                    30s,
                ),
                pause_max: 3600s,
            },
            Spans {
                workflow: "Run",
                status_ok: false,
                skipped: true,
                queued: true,
                started: true,
                status_events: Both,
            },
            ServiceConfig {
                name: Some(
                    "etl",
                ),
                namespace: Some(
                    "data",
                ),
                attributes: [
                    (
                        "team",
                        "risk",
                    ),
                ],
            },
            Context {
                used_as: Link,
                baggage: [
                    "a",
                    "b",
                ],
            },
            Some(
                RunList {
                    request: Request {
                        method: Get,
                        path: Template {
                            pieces: [
                                Literal(
                                    "/a%2Fb/runs?since=",
                                ),
                                Variable(
                                    "since",
                                ),
                            ],
                            allows_slashes: false,
                        },
                        body: None,
                        pages: Some(
                            Cursor {
                                param: "page_token",
                                next: Pointer(/next),
                            },
                        ),
                        for_each: None,
                        when_attempt_above: None,
                    },
                    runs: Pointer(/runs),
                    id: [
                        (
                            "dag",
                            Pointer(/d),
                        ),
                        (
                            "run",
                            Pointer(/r),
                        ),
                    ],
                    submitted_at: [
                        Pointer(/at),
                    ],
                    attempt: [
                        Pointer(/n),
                    ],
                    only: [
                        (
                            Pointer(/type),
                            [
                                "a",
                                "7",
                            ],
                        ),
                    ],
                    interval: 60s,
                    lookback: 7200s,
                },
            ),
            Some(
                Http {
                    url: "https://next.test/hook",
                    auth: Bearer(
                        Given(
                            (redacted),
                        ),
                    ),
                },
            ),
        )
    "#]]
    .assert_debug_eq(&(
        &monitor.name,
        &monitor.api,
        &monitor.events,
        &monitor.poll,
        &monitor.spans,
        &monitor.service,
        &monitor.context,
        &monitor.discovery,
        &monitor.finished,
    ));
    expect![[r#"Definition { id: Some(IdPattern { pieces: [Variable("dag"), Literal("/"), Variable("run")] }), slashes_in_ids: true, request: Request { method: Post, path: Template { pieces: [Literal("/runs/"), Variable("run"), Literal("?d="), Variable("dag")], allows_slashes: true }, body: Some(BodyTemplate { json: Object {"query": String("{id}")} }), pages: None, for_each: None, when_attempt_above: None }, requests: [("steps", Request { method: Get, path: Template { pieces: [Literal("/steps/"), Variable("stage.key"), Literal("/"), Variable("stage.id")], allows_slashes: true }, body: None, pages: Some(Page { page: "p", limit: "n", size: 7, first: 0, total: Some(Pointer(/total)) }), for_each: Some("jobs"), when_attempt_above: Some(1) })], refusals: Refusals { not_found_status: None, not_found: [], error: [] }, workflow: WorkflowFields { root: Pointer(/r), fields: Fields { id: [Pointer(/i)], status: [Pointer(/a), Pointer(/b)], queued: [Pointer(/q)], start: [Pointer(/s)], end: [Pointer(/e)], error: [Pointer(/x)], attempt: [Pointer(/n)], first_attempt: Some(0), url: [Pointer(/u)], complete: [Pointer(/c)], attributes: [("k", [Pointer(/k), Pointer(/l)])] }, starts_with_stages: true, ends_with_stages: false }, stages: [StageList { name: Some("jobs"), from: None, list: Pointer(/jobs), kind: [Pointer(/k)], key: [Pointer(/a), Pointer(/b)], fields: Fields { id: [], status: [], queued: [], start: [], end: [], error: [], attempt: [Pointer(/n)], first_attempt: None, url: [], complete: [], attributes: [] }, except: [(Pointer(/hidden), ["true"]), (Pointer(/type), ["Group", "7"])], number_attempts_by: [], parent: None, children: Some(ChildLinks { list: "parts", ids: Pointer(/parts) }), stages: [StageList { name: None, from: Some("steps"), list: Pointer(), kind: [], key: [], fields: Fields { id: [Pointer(/id)], status: [], queued: [], start: [], end: [], error: [], attempt: [], first_attempt: None, url: [], complete: [], attributes: [] }, except: [], number_attempts_by: [Pointer(/at)], parent: None, children: None, stages: [] }] }, StageList { name: Some("parts"), from: None, list: Pointer(/parts), kind: [], key: [], fields: Fields { id: [Pointer(/id)], status: [], queued: [], start: [], end: [], error: [], attempt: [], first_attempt: None, url: [], complete: [], attributes: [] }, except: [], number_attempts_by: [], parent: Some(ParentLink { key: [Pointer(/p)], list: Some("jobs") }), children: None, stages: [] }], statuses: [("Queued", State(Pending)), ("null", Unset), ("ok", State(Ended(Success))), ("wait", State(Pending))], status_names: [], unknown_status: Refused, unset_texts: ["None"], times: Times { format: Rfc3339, unset: [Number(0), Text("1970")], offset_s: 3600 } }"#]].assert_eq(&format!("{:?}", monitor.mapping.definition()));
}

#[test]
fn what_a_preset_says_can_be_said_otherwise_and_taken_back() {
    check(
        r#"{"monitors": [{"name": "etl", "preset": "airflow", "id": null,
            "api": {"base_url": "http://airflow.test", "auth": {"type": "bearer", "token": "s3cr3t"}, "headers": {"a": "s3cr3t"}},
            "request": {"path": "/r/{id}"}, "requests": null, "discovery": null,
            "workflow": {"queued": null, "attributes": null},
            "stages": [{"list": "/x", "id": "/id"}],
            "statuses": {"none": null, "failed": "error", "lost": "error"}}]}"#,
        &[REDIS],
        |config| config.monitors[0].to_string(),
        expect![[r#"
            monitor etl, preset airflow  farspan.json: monitors[0]
              api: {"auth":{"token":"(redacted)","type":"bearer"},"base_url":"http://airflow.test","headers":{"a":"(redacted)"}}
              poll: {"initial_delay":"5s","interval":"10s","timeout":"86400s"}
              request: {"path":"/r/{id}"}
              stages: [{"id":"/id","list":"/x"}]
              statuses: {"deferred":"running","failed":"error","lost":"error","queued":"pending","removed":"skip","restarting":"running","running":"running","scheduled":"pending","skipped":"skip","success":"success","up_for_reschedule":"running","up_for_retry":"failure","upstream_failed":"skip"}
              workflow: {"end":"/end_date","id":"/dag_run_id","start":"/start_date","status":"/state"}"#]],
    );
}

#[test]
fn the_presets_way_to_authenticate_may_be_named_again() {
    for kind in [r#""type": "login", "#, ""] {
        let json = r#"{"name": "m", "preset": "airflow", "api": {"base_url": "http://a", "auth": {KIND"body": {}}}}"#;
        let auth = one(&json.replace("KIND", kind)).api.auth;
        expect![[r#"Login { url: "http://a/auth/token", body: Given((redacted)), token: Pointer(/access_token), expires_in: None, lifetime: 3600s }"#]]
            .assert_eq(&format!("{auth:?}"));
    }
}

#[test]
fn secrets_come_from_files_that_are_there() {
    let auth = |auth: &str| {
        let api = r#""api": {"auth": AUTH, "base_url": "http://api.test/b"}"#;
        let auth = one(&with(&api.replace("AUTH", auth))).api.auth;
        let text = format!("{auth:?}");
        let file = text
            .find("fsm")
            .map(|at| (at, text[at..].find('/').unwrap()));
        match file {
            Some((at, slash)) => format!("{}..{}\n", &text[..at], &text[at + slash..]),
            None => text + "\n",
        }
        .replace(std::env::temp_dir().to_str().unwrap(), "")
    };
    let all = [
        r#"{"type": "none"}"#,
        r#"{"type": "bearer", "token_file": "$D/secret"}"#,
        r#"{"type": "basic", "username": "me", "password_file": "$D/secret"}"#,
        r#"{"type": "header", "name": "X-Key", "value_file": "$D/secret"}"#,
        r#"{"type": "oauth2", "token_url": "https://id.test/t", "client_id": "me", "client_secret": "x", "scope": "all"}"#,
        r#"{"type": "login", "url": "/auth/token", "body_file": "$D/login.json", "token": "/t", "expires_in": "/e"}"#,
        r#"{"type": "login", "url": "https://id.test/t", "body": {"a": "b"}, "token": "/t", "lifetime": "5m"}"#,
    ];
    expect![[r#"
        None
        Bearer(File("/../secret", (redacted)))
        Basic { username: "me", password: File("/../secret", (redacted)) }
        Header { name: "x-key", value: File("/../secret", (redacted)) }
        OAuth2 { token_url: "https://id.test/t", client_id: "me", client_secret: Given((redacted)), scope: Some("all") }
        Login { url: "http://api.test/b/auth/token", body: File("/../login.json", (redacted)), token: Pointer(/t), expires_in: Some(Pointer(/e)), lifetime: 3600s }
        Login { url: "https://id.test/t", body: Given((redacted)), token: Pointer(/t), expires_in: None, lifetime: 300s }
    "#]].assert_eq(&all.map(auth).concat());
}

#[test]
fn a_relative_file_lies_beside_the_configuration_file() {
    check_mistakes(
        &with(
            r#""api": {"base_url": "http://a", "certificate_file": "empty.pem", "auth": {"type": "bearer", "token_file": "secret"}}"#,
        ),
        expect![".api.certificate_file: 'empty.pem' holds no PEM certificate"],
    );
    check_mistakes(
        &with(
            r#""api": {"base_url": "http://a", "auth": {"type": "bearer", "token_file": "none"}}"#,
        ),
        expect![
            ".api.auth.token_file: 'none' cannot be read: No such file or directory (os error 2)"
        ],
    );
}

#[test]
fn a_token_of_the_settings_goes_only_to_their_api() {
    let json = r#"{"monitors": [{"name": "a", "preset": "farspan"},
        {"name": "b", "preset": "farspan", "api": {"base_url": "http://other.test"}, "events": {"redis_channel": "b"}}]}"#;
    let settings = [
        ("FARSPAN_API_BASE_URL", "http://api.test"),
        ("FARSPAN_API_TOKEN", "s3cr3t"),
        REDIS,
    ];
    let show = |config: &Config| {
        let monitors = config.monitors.iter();
        let shown = monitors.map(|m| format!("{} {:?}\n", m.api.base_url, m.api.auth));
        shown.collect()
    };
    check(
        json,
        &settings,
        show,
        expect![[r#"
        http://api.test Bearer(Given((redacted)))
        http://other.test None"#]],
    );
}

#[test]
fn all_mistakes_at_once_each_at_its_place() {
    check_mistakes(
        r#"{"name": "a b", "enabled": "yes", "api": {"base_url": "http://me:s3cr3t@api.test", "requests_per_second": 0,
            "headers": {"Host": "x", "X-A": "s3cr3t\n", "X-B": 7, "bad name": "x"}, "certificate_file": "$D/none",
            "client_key_file": "$D/empty.pem", "auth": {"type": "bearer", "token": "s3cr3t\n"}, "tokn": "s3cr3t"},
            "events": {"redis_chanel": "c", "id": 7},
            "id": "{a}{b}", "poll": {"interval": "5", "timeout": 7, "interval_by_status": {"queued": "soon"},
            "adaptive": {"share": 2, "min": "2m", "max": "1m"}, "gone": {}},
            "request": {"method": "PUT", "path": "runs", "pages": {"by": "offset", "size": 0, "next": "/n"}},
            "requests": {"steps": {"path": "/x/{nobody}", "pages": {"by": "cursor"}}},
            "workflow": {"root": "x", "status": [7], "attributes": {"a": "b"}, "first_attempt": 2},
            "stages": [{"lst": "/a"}, {"list": "tasks", "from": "nowhere", "except": {"x": "y", "/z": {}}}, 7],
            "statuses": {"ok": "good", "no": 7}, "unknown_status": "oops",
            "times": {"format": "iso", "unset": [1.5], "offset": "CET"}, "spans": {"status_ok": "maybe", "skipped": "no"},
            "service": {"attributes": {"a": ""}}, "trace_context": {"use": "child", "baggage": [7]},
            "discovery": {"request": {"path": "/runs/{x}", "for_each": "a"}, "only": {"x": "y"}, "parameters": {"y": ""}},
            "finished": {"redis_channel": "a", "url": "ftp://x:s3cr3t@y", "redis_stream_maxlen": 0, "auth": {"type": "login", "url": "/l", "body": {}, "token": "/t"}}, "stage": []}"#,
        expect![[r#"
            .enabled: is a string, must be true or false
            .name: 'a b' must be 1 to 64 of A-Z a-z 0-9 _ - .
            .id: '{a}{b}' has two parts with nothing between them
            .requests.steps.pages.next: is missing: a JSON Pointer to the next page's token
            .request.method: 'PUT' is unknown; write GET or POST
            .request.path: 'runs' has to begin with a slash
            .request.pages.size: 0 is not a whole number from 1 to 10000
            .request.pages.next: no such key; there are by, offset, limit, size, total
            .workflow.status: must be a JSON Pointer, or an array of them
            .workflow.first_attempt: 2 is not a whole number from 0 to 1
            .workflow.attributes.a: 'b' is not a JSON Pointer: it has to begin with a slash
            .workflow.root: 'x' is not a JSON Pointer: it has to begin with a slash
            .stages[2]: is a number, must be an object
            .stages[0].list: is missing: a JSON Pointer to the array or object of stages
            .stages[0].lst: no such key; did you mean 'list'?
            .stages[1].list: 'tasks' is not a JSON Pointer: it has to begin with a slash
            .stages[1].except./z: must be a string, or an array of them
            .stages[1].except.x: 'x' is not a JSON Pointer: it has to begin with a slash
            .statuses.no: is a number, must be a string
            .statuses.ok: 'good' is unknown; write pending, running, success, failure, error, timeout, cancellation, skip or unset
            .unknown_status: 'oops' is unknown; write fail, pending, running, success, failure, error, timeout, cancellation, skip or unset
            .times.format: 'iso' is unknown; write auto, rfc3339, epoch_s, epoch_ms, epoch_us or epoch_ns
            .times.offset: 'CET' is not an offset from UTC; write Z, +01:00 or -0530
            .times.unset: each must be a whole number or a string
            .api.base_url: 'http://(redacted)@api.test' must not have a user or password; write it in api.auth
            .api.headers.Host: is a header that farspan sets
            .api.headers.X-A: the value has a character that a header cannot have
            .api.headers.X-B: is a number, must be a string
            .api.headers.bad name: is not the name of a header
            .api.auth.token: the value has a line break or another control character within
            .api.certificate_file: 'none' cannot be read: No such file or directory (os error 2)
            .api.client_key_file: 'empty.pem' holds no PEM private key
            .api: client_certificate_file and client_key_file go together; one is missing
            .api.requests_per_second: 0 is not a number from 0.001 to 100000
            .api.tokn: no such key; there are base_url, headers, auth, certificate_file, client_certificate_file, client_key_file, requests_per_second, send_traceparent
            .events.id: is a number, must be an object
            .events.redis_chanel: no such key; did you mean 'redis_channel'?
            .poll.interval: '5' has no unit; write ms, s, m, h or d behind the number
            .poll.timeout: is a number, must be a string
            .poll.interval_by_status.queued: 'soon' is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            .poll.adaptive.share: 2 is not a number from 0.001 to 1
            .poll.adaptive: min is longer than max
            .poll.gone.after: is missing
            .spans.status_ok: 'maybe' is unknown; write ok or unset
            .spans.skipped: is a string, must be true or false
            .service.attributes.a: '' must be 1 to 256 bytes without control characters
            .trace_context.use: 'child' is unknown; write parent, link or ignore
            .trace_context.baggage: must be a string, or an array of them
            .discovery.parameters.y: '' must be 1 to 256 bytes without control characters
            .discovery.request.path: {x} is not known; there are since, since_epoch, since_epoch_ms, or "parameters": {"x": ".."} beside the request
            .discovery.request.for_each: a discovery asks once
            .discovery.id: is missing: a JSON Pointer to a run's id in its element
            .discovery.list: is missing: a JSON Pointer to the array of runs
            .discovery.only.x: 'x' is not a JSON Pointer: it has to begin with a slash
            .finished.redis_stream_maxlen: 0 is not a whole number from 1 to 4294967295
            .finished.url: 'ftp://(redacted)@y' must begin with http:// or https://
            .finished.auth.url: must begin with http:// or https://
            .finished: must have one of redis_channel, redis_stream and url
            .requests.steps.path: {nobody} is not known: there is {id}
            .stages[1].from: there is no request "nowhere" among "requests"
            .stage: no such key; did you mean 'stages'?"#]],
    );
}

#[test]
fn what_is_missing() {
    check_mistakes(
        r#"{}"#,
        expect![[r#"
            .name: is missing
            .request: is missing: {"path": "/runs/{id}"}, or name a preset
            .workflow: is missing: {"status": "/state", ..}, or name a preset
            .api: is missing; write {"base_url": "http://host:port/path"}"#]],
    );
    check_mistakes(
        r#"{"name": "m", "preset": "airflow"}"#,
        expect![[r#"
        .api.base_url: is missing; write http://host:port/path
        .api.auth.body: is missing; or body_file, which names a file of JSON"#]],
    );
    check_mistakes(
        &with(
            r#""stages": [{}], "requests": {"x": {}}, "discovery": {}, "finished": {}, "poll": {"adaptive": {}}"#,
        ),
        expect![[r#"
            .requests.x.path: is missing
            .stages[0].list: is missing: a JSON Pointer to the array or object of stages
            .discovery.request: is missing: {"path": "/runs?since={since}"}
            .discovery.id: is missing: a JSON Pointer to a run's id in its element
            .discovery.list: is missing: a JSON Pointer to the array of runs
            .finished: must have one of redis_channel, redis_stream and url"#]],
    );
    check_mistakes(
        &with(r#""finished": {"url": "receiver:8080"}"#),
        expect![".finished.url: 'receiver:8080' must begin with http:// or https://"],
    );
    for (auth, expected) in [
        ("{}", expect![".api.auth.type: is missing"]),
        (
            r#"{"type": "beaer"}"#,
            expect![
                ".api.auth.type: 'beaer' is unknown; write none, bearer, basic, header, oauth2 or login"
            ],
        ),
        (
            r#"{"type": "bearer"}"#,
            expect![".api.auth.token: is missing; or token_file, which names a file"],
        ),
        (
            r#"{"type": "basic"}"#,
            expect![[r#"
            .api.auth.username: is missing
            .api.auth.password: is missing; or password_file, which names a file"#]],
        ),
        (
            r#"{"type": "basic", "username": "a:b", "password": "s3cr3t", "password_file": "$D/secret"}"#,
            expect![[r#"
            .api.auth.username: 'a:b' has a colon, which RFC 7617 does not allow
            .api.auth.password: password_file is set too; remove one of the two"#]],
        ),
        (
            r#"{"type": "header", "name": "", "value_file": "$CREDENTIALS_DIRECTORY/x"}"#,
            expect![[r#"
                .api.auth.name: '' is not the name of a header
                .api.auth.value_file: CREDENTIALS_DIRECTORY is not set; systemd sets it"#]],
        ),
        (
            r#"{"type": "oauth2", "token_url": "https://a:s3cr3t@b", "client_id": "", "client_secret_file": "$D/none"}"#,
            expect![[r#"
                .api.auth.token_url: 'https://(redacted)@b' must not have a user or password; write it in api.auth
                .api.auth.client_id: '' must be 1 to 256 bytes without control characters
                .api.auth.client_secret_file: 'none' cannot be read: No such file or directory (os error 2)"#]],
        ),
        (
            r#"{"type": "login", "url": "auth", "token": "t", "body": "s3cr3t", "body_file": "$D/login.json"}"#,
            expect![[r#"
                .api.auth.url: 'auth' must begin with http:// or https://
                .api.auth.body: body_file is set too; remove one of the two
                .api.auth.token: 't' is not a JSON Pointer: it has to begin with a slash"#]],
        ),
        (
            r#"{"type": "login", "url": "/auth", "lifetime": "1s", "password": "s3cr3t"}"#,
            expect![[r#"
            .api.auth.body: is missing; or body_file, which names a file of JSON
            .api.auth.token: is missing: a JSON Pointer to the token in the answer
            .api.auth.lifetime: '1s' is out of range; it may be 10s to 10000d
            .api.auth.password: no such key; there are type, url, body, body_file, token, expires_in, lifetime"#]],
        ),
    ] {
        let api = r#""api": {"base_url": "http://api.test", "auth": AUTH}"#;
        check_mistakes(&with(&api.replace("AUTH", auth)), expected);
    }
}

/// What the preset would have said is not missed, and what goes with some preset is no mistake.
#[test]
fn an_unknown_preset_hides_nothing() {
    let monitor = r#"{"name": "é", "preset": "airfow", "enabled": 1, "api": {"base_url": "ftp://x", "auth": {"body_file": "$D/none", "token": "t"}},
        "id": "{a}{b}", "events": {"id": {"dag_id": "/d"}, "redis": "c"}, "poll": {"interval": "5", "interval_by_status": {"queued": "1m"}},
        "discovery": {"enabled": true, "interval": "1y"}, "stages": [{"kind": "k"}], "requests": {"tries": {"for_each": "jobs"}},
        "spans": {"queued": "yes"}, "polls": {}}"#;
    check_mistakes(
        monitor,
        expect![[r#"
            .preset: "airfow" is unknown; there are farspan, airflow, argo-workflows, buildbot, databricks, github-actions, gitlab, spark
            .enabled: is a number, must be true or false
            .name: 'é' must be 1 to 64 of A-Z a-z 0-9 _ - .
            .id: '{a}{b}' has two parts with nothing between them
            .stages[0].list: is missing: a JSON Pointer to the array or object of stages
            .stages[0].kind: 'k' is not a JSON Pointer: it has to begin with a slash
            .api.base_url: 'ftp://x' must begin with http:// or https://
            .events.id: the id's pattern has no part {dag_id}
            .events.redis: no such key; there are redis_channel, redis_stream, id, submitted_at, context
            .poll.interval: '5' has no unit; write ms, s, m, h or d behind the number
            .spans.queued: is a string, must be true or false
            .discovery.interval: '1y' is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            .requests.tries.for_each: no list of stages has the name "jobs"
            .polls: no such key; did you mean 'poll'?"#]],
    );
    check_mistakes(
        r#"{"name": "m", "preset": "airfow", "api": {"base_url": "http://a", "auth": {"token_file": "$D/secret"}}}"#,
        expect![[
            r#".preset: "airfow" is unknown; there are farspan, airflow, argo-workflows, buildbot, databricks, github-actions, gitlab, spark"#
        ]],
    );
    check_mistakes(
        r#"{"name": "m", "preset": "airfow", "api": {"base_url": "http://a"}, "workflow": {"attributes": {"a": "/a"}}, "discovery": {"enabled": true},
            "request": {"path": "/dags/{dag_id}/{dag_run_id}"}}"#,
        expect![[
            r#".preset: "airfow" is unknown; there are farspan, airflow, argo-workflows, buildbot, databricks, github-actions, gitlab, spark"#
        ]],
    );
}

/// What only the whole definition shows has its place too.
#[test]
fn what_does_not_fit_together() {
    check_mistakes(
        &with(
            r#""id": "{a}/{b}", "events": {"id": {"a": "/a", "c": "/c"}},
            "request": {"path": "/x/{c}", "body": {}}, "requests": {"y": {"path": "/y", "for_each": "z"}},
            "stages": [{"name": "s", "list": "/l", "from": "w", "children": {"list": "q", "ids": "/i"}},
                {"name": "s", "list": "/m", "parent": {"list": "r"}}],
            "discovery": {"request": {"path": "/r"}, "list": "", "id": {"a": "/a"}}"#,
        ),
        expect![[r#"
            .events.id: the id's pattern has no part {c}
            .events.id: does not say where the part {b} is
            .discovery.id: does not say where the part {b} is
            .request.body: a GET has none; "method": "POST"
            .request.path: {c} is not known: there is {a}, {b}, {id}
            .requests.y: no list of stages is in its answer
            .requests.y.for_each: no list of stages has the name "z"
            .stages[0].children.list: no list of stages has the name "q"
            .stages[0].from: there is no request "w" among "requests"
            .stages[1].name: another list has this name
            .stages[1].parent.key: leads nowhere
            .stages[1].parent.list: no list of stages has the name "r""#]],
    );
}

/// It could be read, and would watch nothing to its end.
#[test]
fn what_would_never_work_is_a_mistake() {
    for (more, expected) in [
        (
            r#""request": {"path": "/runs/current"}"#,
            expect![
                ".request.path: names neither {id} nor a part of it, so that the answer is the same for all workflows; write /runs/{id}"
            ],
        ),
        (
            r#""request": {"path": "/runs", "method": "POST", "body": {"of": ["{id}"]}}"#,
            expect!["none"],
        ),
        (
            r#""id": "{a}/{b}", "request": {"path": "/runs?b={b}"}"#,
            expect!["none"],
        ),
        (
            r#""statuses": {"ok": null, "BUSY": "running", "WAITING": "pending"}"#,
            expect![
                ".statuses: no word means an end (success, failure, error, timeout, cancellation or skip), and there is no workflow.complete: no workflow would ever end"
            ],
        ),
        (
            r#""statuses": {"ok": null, "BUSY": "running"}, "workflow": {"complete": "/done"}"#,
            expect!["none"],
        ),
        (
            r#""statuses": {"ok": null, "BUSY": "running"}, "unknown_status": "success""#,
            expect!["none"],
        ),
        (
            r#""statuses": {"ok": null, "BUSY": "running"}, "poll": {"gone": {"after": "30s"}}"#,
            expect!["none"],
        ),
        (
            r#""statuses": {"ok": "succes", "BUSY": "running"}, "poll": {"interval_by_status": {"ok": "1s"}}"#,
            expect![
                ".statuses.ok: 'succes' is unknown; write pending, running, success, failure, error, timeout, cancellation, skip or unset"
            ],
        ),
        (
            r#""statuses": {"QUEUED": "pending", "3": "pending"}, "status_names": {"3": "Held"},
                "poll": {"interval_by_status": {"queued": "1s", "queue": "1s", "3": "1s", "held": "1s", "a/b": "1s"}}"#,
            expect![[r#"
                .poll.interval_by_status.a/b: is not among the statuses; add it there with its meaning
                .poll.interval_by_status.queue: is not among the statuses; did you mean 'queued'?"#]],
        ),
    ] {
        check_mistakes(&with(more), expected);
    }
}

#[test]
fn what_is_no_list_of_monitors() {
    for (json, expected) in [
        (
            r#"{"monitors": {}}"#,
            expect!["farspan.json: monitors: is an object, must be an array of objects"],
        ),
        (
            r#"{"monitors": ["airflow", null]}"#,
            expect![[r#"
            farspan.json: monitors[0]: is a string, must be an object
            farspan.json: monitors[1]: is null, must be an object"#]],
        ),
        (
            r#"{"monitors": []}"#,
            expect!["farspan.json: monitors: none is enabled; there is nothing to watch"],
        ),
        (
            r#"{"monitors": [{"name": "a", "preset": "airfow"}]}"#,
            expect![[
                r#"farspan.json: monitors[0] (a).preset: "airfow" is unknown; there are farspan, airflow, argo-workflows, buildbot, databricks, github-actions, gitlab, spark"#
            ]],
        ),
        (
            r#"{"monitors": [{"name": "a", "name": "b", "preset": "spark"}]}"#,
            expect![[r#"
                farspan.json: monitors[0].name: duplicate key: it is in this object twice
                farspan.json: monitors[0] (b).api: is missing; write {"base_url": "http://host:port/path"}"#]],
        ),
        (
            r#"{"monitor": []}"#,
            expect![[r#"
            farspan.json: monitor: no such key; did you mean 'monitors'?
            FARSPAN_API_BASE_URL (api.base_url): is not set; write the status API's URL, http://host:port/path"#]],
        ),
    ] {
        check(json, &[REDIS], |_| String::new(), expected);
    }
    let many = vec!["{}"; 257].join(", ");
    let many = format!(r#"{{"monitors": [{many}]}}"#);
    check(
        &many,
        &[REDIS],
        |_| String::new(),
        expect!["farspan.json: monitors: more than 256 monitors"],
    );
}

/// Which monitor hears of an event that names none.
#[test]
fn events_find_their_monitor() {
    let monitors = |all: &[&str]| {
        let all = all.iter().enumerate().map(|(n, more)| {
            format!(r#"{{"name": "m{n}", "preset": "farspan", "api": {{"base_url": "http://a"}}, {more}}}"#)
        });
        format!(
            r#"{{"monitors": [{}]}}"#,
            all.collect::<Vec<_>>().join(", ")
        )
    };
    let default = |config: &Config| format!("{:?}", super::default_of(&config.monitors));
    let channel = |name: &str| format!(r#""events": {{"redis_channel": "{name}"}}"#);
    let discovery = r#""discovery": {"request": {"path": "/"}, "list": "", "id": "/id"}"#;
    let nothing = r#""description": """#;
    let (a, b) = (&*channel("a"), &*channel("b"));
    for (all, expected) in [
        (&[nothing][..], expect!["Some(0)"]),
        (&[a], expect!["Some(0)"]),
        (&[nothing, a, discovery], expect!["Some(0)"]),
        (&[a, b], expect!["None"]),
        (
            &[nothing, nothing, a],
            expect![[r#"
                None
                the monitors m0, m1 have no events.redis_channel, events.redis_stream or discovery: they get only events that name their monitor"#]],
        ),
        (&[nothing, r#""enabled": false"#], expect!["Some(0)"]),
        (
            &[a, r#""events": {"redis_stream": "a"}"#, a],
            expect![
                "farspan.json: monitors[2] (m2).events.redis_channel: is that of 'm0'; leave it out in both, and let events name their monitor"
            ],
        ),
    ] {
        check(&monitors(all), &[REDIS], default, expected);
    }
    check(
        &monitors(&[nothing, a]),
        &[],
        default,
        expect![
            "farspan.json: monitors[1] (m1).events.redis_channel: needs FARSPAN_REDIS_URL (redis.url), which is not set"
        ],
    );
    check(&monitors(&[discovery]), &[], default, expect!["Some(0)"]);
    check(
        &monitors(&[nothing, nothing, r#""name": "m0""#]),
        &[],
        default,
        expect![[r#"
        farspan.json: monitors[2].name: duplicate key: it is in this object twice
        farspan.json: monitors[2] (m0).name: 'm0': another monitor has this name"#]],
    );
    let for_all = channel("event.workflow.started");
    check(
        &monitors(&[&for_all, nothing]),
        &[REDIS],
        default,
        expect![
            "farspan.json: monitors[0] (m0).events.redis_channel: is redis.channel, which is for all monitors; leave it out"
        ],
    );
    let stream = [r#""events": {"redis_stream": "s"}"#];
    let settings = [REDIS, ("FARSPAN_REDIS_STREAM", "s")];
    check(
        &monitors(&stream),
        &settings,
        default,
        expect![
            "farspan.json: monitors[0] (m0).events.redis_stream: is redis.stream, which is for all monitors; leave it out"
        ],
    );
    let finished = [a, r#""finished": {"redis_channel": "a"}"#];
    check(
        &monitors(&finished),
        &[REDIS],
        default,
        expect![
            "farspan.json: monitors[1] (m1).finished.redis_channel: is that of 'm0'; it would be read as a start event"
        ],
    );
    let finished = [r#""finished": {"redis_stream": "s"}"#];
    check(
        &monitors(&finished),
        &settings,
        default,
        expect![
            "farspan.json: monitors[0] (m0).finished.redis_stream: is redis.stream, where it would be read as a start event"
        ],
    );
    let finished = [r#""finished": {"redis_stream": "a", "redis_stream_maxlen": 5}"#];
    check(
        &monitors(&finished),
        &[],
        default,
        expect![
            "farspan.json: monitors[0] (m0).finished.redis_stream: needs FARSPAN_REDIS_URL (redis.url), which is not set"
        ],
    );
}

#[test]
fn farspan_config_shows_the_monitors_without_secrets() {
    check(
        r#"{"monitors": [{"name": "gh", "preset": "github-actions", "api": {"auth": {"token": "s3cr3t"}, "headers": {"X-A": "s3cr3t"}}},
            {"name": "login", "preset": "airflow", "api": {"base_url": "http://a", "auth": {"body": {"password": "s3cr3t"}}}},
            {"name": "plain", "preset": "farspan"}]}"#,
        &[("FARSPAN_API_BASE_URL", "http://api.test"), REDIS],
        |config| {
            let text = config.describe(false);
            let monitors = text.split("\nmonitor ").skip(1);
            let mut shown = String::new();
            for monitor in monitors {
                let lines = monitor.lines();
                for line in lines.filter(|line| !line.starts_with("  ") || line.contains("api:")) {
                    let _ = writeln!(shown, "{line}");
                }
            }
            shown
        },
        expect![[r#"
            gh, preset github-actions  farspan.json: monitors[0]
              api: {"auth":{"token":"(redacted)","type":"bearer"},"base_url":"https://api.github.com","headers":{"Accept":"(redacted)","X-A":"(redacted)","X-GitHub-Api-Version":"(redacted)"},"requests_per_second":1}
            login, preset airflow  farspan.json: monitors[1]
              api: {"auth":{"body":"(redacted)","lifetime":"1h","token":"/access_token","type":"login","url":"/auth/token"},"base_url":"http://a"}
            plain, preset farspan  farspan.json: monitors[2]
              api: {"base_url":"http://api.test"}

            the monitors gh, login, plain have no events.redis_channel, events.redis_stream or discovery: they get only events that name their monitor"#]],
    );
}

/// What a reload says of two files, and what the one in force says of polls after it.
fn check_reload(old: &str, new: &str, expected: Expect) {
    let folder = Folder::with(&FILES);
    let source = origin(
        &folder,
        &[REDIS, ("FARSPAN_API_BASE_URL", "http://api.test")],
    );
    folder.write("farspan.json", old);
    let mut config = source.load().unwrap();
    folder.write("farspan.json", new);
    let (changes, _) = config.take_over(source.load().unwrap());
    let mut text = String::new();
    for change in &changes {
        let when = if change.in_force {
            "now    "
        } else {
            "restart"
        };
        let _ = writeln!(text, "{when} {}", change.text);
    }
    for monitor in &config.monitors {
        let _ = writeln!(
            text,
            "{}: {:?} {:?}",
            monitor.name, monitor.poll.interval, monitor.api.auth
        );
    }
    assert!(!text.contains("s3cr3t"), "{text}");
    expected.assert_eq(&text);
    let (again, _) = config.take_over(source.load().unwrap());
    let still = changes.iter().filter(|change| !change.in_force);
    assert!(
        again.iter().eq(still),
        "a restart is still needed: {again:?}"
    );
}

#[test]
fn a_reload_takes_what_is_about_polls_and_secrets() {
    check_reload(
        r#"{"monitors": [{"name": "a", "preset": "airflow", "api": {"base_url": "http://a", "auth": {"body": {"p": "s3cr3t"}}}, "poll": {"interval": "5s"}},
            {"name": "b", "preset": "farspan", "api": {"auth": {"type": "bearer", "token": "s3cr3t"}}}, {"name": "c", "preset": "farspan"}]}"#,
        r#"{"poll": {"interval": "20s"},
            "monitors": [{"name": "b", "preset": "farspan", "request": {"path": "/x/{id}"},
            "api": {"auth": {"type": "bearer", "token": "s3cr3t2"}, "headers": {"X-A": "s3cr3t"}}},
            {"name": "a", "preset": "airflow", "api": {"base_url": "http://b", "auth": {"body": {"p": "s3cr3t2"}}}, "poll": {"interval": "1s", "timeout": "1h"}},
            {"name": "d", "preset": "farspan", "description": "new"}]}"#,
        expect![[r#"
            now     FARSPAN_POLL_INTERVAL (poll.interval): '20s', before '10s'
            now     monitors[0] (b).api.auth has another secret
            restart monitors[0] (b).api.headers has changed
            restart monitors[0] (b).request has changed
            restart monitors[1] (a).api.auth has another secret
            restart monitors[1] (a).api.base_url has changed
            now     monitors[1] (a).poll.interval: "1s", before "5s"
            now     monitors[1] (a).poll.timeout: "1h", before unset
            restart monitors[2] (d) is new
            restart monitors[2] (c) is no longer there
            a: 1s Login { url: "http://a/auth/token", body: Given((redacted)), token: Pointer(/access_token), expires_in: None, lifetime: 3600s }
            b: 20s Bearer(Given((redacted)))
            c: 10s None
        "#]],
    );
    check_reload(
        r#"{"monitors": [{"name": "a", "preset": "farspan", "api": {"auth": {"type": "bearer", "token": "s3cr3t"}}}]}"#,
        r#"{"monitors": [{"name": "a", "preset": "farspan", "api": {"auth": {"type": "basic", "username": "u", "password": "s3cr3t"}}}]}"#,
        expect![[r#"
            restart monitors[0] (a).api.auth has changed
            a: 10s Bearer(Given((redacted)))
        "#]],
    );
}

/// Presets and a monitor that says everything, each with some values exchanged for others: mistakes or not, each has
/// its place, and nothing panics.
#[test]
fn whatever_a_file_says_it_is_read() {
    fn places(value: &mut serde_json::Value) -> Vec<&mut serde_json::Value> {
        match value {
            serde_json::Value::Object(members) => members.values_mut().flat_map(places).collect(),
            serde_json::Value::Array(elements) => elements.iter_mut().flat_map(places).collect(),
            leaf => vec![leaf],
        }
    }
    let words = [
        "",
        "/",
        "/~",
        "/a/~1",
        "{id}",
        "{a}{b}",
        "{",
        "5s",
        "1e999d",
        "99999999999999999999h",
        "http://x",
        "tasks",
        "running",
        "\u{0}",
        "é",
        "$CREDENTIALS_DIRECTORY/",
        "/{stage.key.99}",
        "link",
    ];
    arbtest::arbtest(|u| {
        let (name, text) = super::PRESETS[u.choose_index(super::PRESETS.len())?];
        let mut monitor: serde_json::Value = serde_json::from_str(text).unwrap();
        monitor["name"] = name.into();
        for _ in 0..u.int_in_range(1..=6)? {
            let mut leaves = places(&mut monitor);
            let at = u.choose_index(leaves.len())?;
            *leaves[at] = match u.int_in_range(0..=6)? {
                0 => serde_json::Value::Null,
                1 => u.arbitrary::<i64>()?.into(),
                2 => u.arbitrary::<bool>()?.into(),
                3 => serde_json::json!([words[u.choose_index(words.len())?], {}]),
                4 => {
                    serde_json::json!({words[u.choose_index(words.len())?]: words[u.choose_index(words.len())?]})
                }
                _ => words[u.choose_index(words.len())?].into(),
            };
        }
        let defaults = super::Defaults {
            api: None,
            poll: Config::load(&Environment::default(), None).unwrap().poll,
            directories: Directories::default(),
        };
        let node = serde_json::from_value(serde_json::json!([monitor])).unwrap();
        let mistakes = Mistakes::default();
        super::read(Some(("f".into(), node)), &defaults, &mistakes);
        for mistake in mistakes.into_vec() {
            assert!(
                mistake.to_string().starts_with("f: monitors[0]"),
                "{mistake}"
            );
        }
        Ok(())
    });
}

#[test]
fn a_format_of_times_is_the_one_of_its_name() {
    use crate::mapping::definition::TimeFormat as Format;
    for (name, format) in [
        ("auto", Format::Auto),
        ("rfc3339", Format::Rfc3339),
        ("epoch_s", Format::EpochSeconds),
        ("epoch_ms", Format::EpochMillis),
        ("epoch_us", Format::EpochMicros),
        ("epoch_ns", Format::EpochNanos),
    ] {
        let monitor = one(&format!(
            r#"{{"name": "m", "preset": "farspan", "api": {{"base_url": "http://api.test"}}, "times": {{"format": "{name}"}}}}"#
        ));
        assert_eq!(monitor.mapping.definition().times.format, format);
    }
}

#[test]
fn a_count_has_no_offset() {
    check_mistakes(
        r#"{"name": "m", "preset": "farspan", "api": {"base_url": "http://api.test"},
            "times": {"format": "epoch_ms", "offset": "+01:00"}}"#,
        expect![[r#"
            .times.offset: has no meaning for counts since 1970: remove it"#]],
    );
}
