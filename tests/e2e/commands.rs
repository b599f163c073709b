//! The commands that end by themselves, and how they say what is wrong.

use crate::support::SOON;
use crate::support::api::{FakeApi, completed};
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::free_port;
use crate::support::http::{Answer, Server};
use crate::support::program::{Call, Ended, farspan};
use crate::support::rig::Rig;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

fn run() -> Call {
    farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
}

#[test]
fn a_wrong_configuration_is_code_2_and_says_where() {
    let cases = [
        (
            run().without("FARSPAN_API_BASE_URL"),
            "FARSPAN_API_BASE_URL",
        ),
        (
            run().env("FARSPAN_API_BASE_URL", "not a url"),
            "FARSPAN_API_BASE_URL",
        ),
        (
            run().env("FARSPAN_API_BASE_URL", "ftp://example.com"),
            "FARSPAN_API_BASE_URL",
        ),
        (
            run().env("FARSPAN_POLL_INTERVAL", "soon"),
            "FARSPAN_POLL_INTERVAL",
        ),
        (
            run().env("FARSPAN_POLL_INTERVAL", "10"),
            "FARSPAN_POLL_INTERVAL",
        ),
        (
            run().env("FARSPAN_POLL_INTERVAL", "-5s"),
            "FARSPAN_POLL_INTERVAL",
        ),
        (
            run().env("FARSPAN_POLL_TIMEOUT", "0s"),
            "FARSPAN_POLL_TIMEOUT",
        ),
        (run().env("FARSPAN_POLLERS", "0"), "FARSPAN_POLLERS"),
        (run().env("FARSPAN_POLLERS", "some"), "FARSPAN_POLLERS"),
        (
            run().env("FARSPAN_REDIS_URL", "http://127.0.0.1"),
            "FARSPAN_REDIS_URL",
        ),
        (run().env("FARSPAN_LOG", "loud"), "FARSPAN_LOG"),
        (run().env("FARSPAN_LOG_FORMAT", "xml"), "FARSPAN_LOG_FORMAT"),
        (run().env("FARSPAN_STATE", "stone"), "FARSPAN_STATE"),
        (
            run().env("FARSPAN_API_TOKEN_FILE", "/nonexistent/token"),
            "FARSPAN_API_TOKEN_FILE",
        ),
        (
            run().env("FARSPAN_POLL_INTERVALL", "10s"),
            "FARSPAN_POLL_INTERVALL",
        ),
    ];
    for (call, variable) in cases {
        let ended = call.output();
        assert_eq!(ended.code(), Some(2), "{variable}: {ended:?}");
        assert!(ended.stderr.contains(variable), "{variable}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let ended = run()
        .env("FARSPAN_POLL_INTERVAL", "soon")
        .env("FARSPAN_POLLERS", "some")
        .output();
    assert_eq!(ended.code(), Some(2));
    for variable in ["FARSPAN_POLL_INTERVAL", "FARSPAN_POLLERS"] {
        ended.assert_says(variable);
    }
}

/// Code 2 is what tells systemd that starting again mends nothing.
#[test]
fn a_run_without_a_source_is_code_2() {
    let ended = run().without("FARSPAN_REDIS_URL").output();
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    ended.assert_says("FARSPAN_REDIS_URL");
}

#[test]
fn wrong_usage_is_code_2() {
    let calls: [&[&str]; 6] = [
        &["fly"],
        &["run", "--fast"],
        &["run", "extra"],
        &["--nonsense"],
        &["run", "--config"],
        &["demo", "--workflows", "many"],
    ];
    for arguments in calls {
        let ended = farspan(arguments)
            .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
            .output();
        assert_eq!(ended.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}: it says why");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn version_and_help_are_told() {
    let ended = farspan(&["--version"]).output();
    assert_eq!(ended.code(), Some(0));
    assert!(
        ended.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{ended:?}"
    );

    let ended = farspan(&["--help"]).output();
    assert_eq!(ended.code(), Some(0));
    for command in [
        "run", "demo", "check", "probe", "trace", "config", "api", "load",
    ] {
        assert!(ended.stdout.contains(command), "{command}: {ended:?}");
    }
    assert_eq!(ended.stderr, "");
}

#[test]
fn the_version_says_what_the_build_is_made_of() {
    let told = farspan(&["--version"]).output().stdout;
    let lines: Vec<&str> = told.lines().collect();
    let [first, commit, features, target] = lines[..] else {
        panic!("{told}");
    };
    assert_eq!(first, format!("farspan {}", env!("CARGO_PKG_VERSION")));
    assert!(commit.starts_with("commit   "), "{told}");
    assert_eq!(features, "features redis, tls, file, admin, demo");
    assert!(
        target.starts_with("target   ") && target.contains(std::env::consts::ARCH),
        "{told}"
    );
    assert_eq!(farspan(&["-V"]).output().stdout, told);
}

#[test]
fn without_a_command_the_help_is_shown() {
    let ended = farspan(&[]).output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    let help = farspan(&["--help"]).output().stdout;
    assert_eq!(ended.stderr, format!("farspan: no command\n\n{help}"));
}

/// The manual and the completions come from the table that the parser reads: other programs take them.
#[test]
fn the_manual_and_the_completions_are_well_formed() {
    let folder = Folder::new();
    let help = |topic: &str| {
        let text = farspan(&["help", topic]).output().stdout;
        std::fs::write(folder.path().join(topic), &text).unwrap();
        text
    };
    let texts = ["man", "bash", "zsh", "fish"].map(help);
    for command in ["run", "probe", "healthcheck", "init", "load"] {
        for text in &texts {
            assert!(text.contains(command), "{command}: {text}");
        }
    }
    let run = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        let command = command.args(arguments).current_dir(folder.path());
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (is_well, page, warnings) = run("groff", &["-man", "-ww", "-Tascii", "man"]);
    assert!(is_well && warnings.is_empty(), "{warnings}");
    assert!(
        page.contains("FARSPAN_API_BASE_URL") && page.contains("--patience"),
        "{page}"
    );
    assert_eq!(
        run("zsh", &["-n", "zsh"]),
        (true, String::new(), String::new())
    );
    assert_eq!(
        run("fish", &["--no-execute", "fish"]),
        (true, String::new(), String::new())
    );
    let fish = "source fish; complete -C 'farspan probe --bo'";
    let (_, offered, _) = run("fish", &["-c", fish]);
    assert!(offered.starts_with("--body\t"), "{offered}");
    for (words, offered) in [
        ("farspan pro", "probe"),
        ("farspan probe --bo", "--body"),
        ("farspan trace --color al", "always"),
        ("farspan check -c bas", "bash"),
        ("farspan help sett", "settings"),
    ] {
        let script = format!(
            "source ./bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _farspan; echo \"${{COMPREPLY[*]}}\""
        );
        let (_, told, trouble) = run("bash", &["-c", &script]);
        assert_eq!((told.trim(), &*trouble), (offered, ""), "{words}");
    }
}

#[test]
fn init_writes_a_start_that_works_and_never_overwrites() {
    let folder = Folder::new();
    let directory = folder.path().join("new");
    let init = farspan(&["init", directory.to_str().unwrap()]);
    let ended = init.output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let file = directory.join("farspan.json").display().to_string();
    assert!(
        ended
            .stdout
            .contains(&format!("farspan check --config {file}")),
        "{ended:?}"
    );

    // The schema that the file names lies beside it, and the file is as it says.
    let written: Value = serde_json::from_str(&read("farspan.json")).unwrap();
    let schema = written["$schema"]
        .as_str()
        .unwrap()
        .strip_prefix("./")
        .unwrap();
    let schema: Value = serde_json::from_str(&read(schema)).unwrap();
    let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
    compiler
        .add_resource("http://farspan.test/schema", schema)
        .unwrap();
    let schema = compiler
        .compile("http://farspan.test/schema", &mut schemas)
        .unwrap();
    if let Err(wrong) = schemas.validate(&written, schema) {
        panic!("{wrong}");
    }
    let check = farspan(&["check", "--offline", "-c", &file]).output();
    assert_eq!(check.code(), Some(0), "{check:?}");

    // The variables are all there, and none is set.
    let variables = read("farspan.env");
    assert!(
        variables.contains("\n#FARSPAN_API_BASE_URL=\n"),
        "{variables}"
    );
    let call = format!(
        "set -a; . {}/farspan.env; exec {} config --changed",
        directory.display(),
        env!("CARGO_BIN_EXE_farspan")
    );
    let config = std::process::Command::new("sh")
        .args(["-c", &call])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(config.stdout).unwrap(),
        "every setting has its default\n"
    );

    // With one of the files there already, nothing is written.
    std::fs::write(&file, "mine").unwrap();
    std::fs::remove_file(directory.join("farspan.env")).unwrap();
    let again = init.output();
    assert_eq!(again.code(), Some(1), "{again:?}");
    again.assert_says("farspan.json is there already");
    assert_eq!(read("farspan.json"), "mine");
    assert!(!directory.join("farspan.env").exists());
}

#[test]
fn config_shows_everything_but_secrets() {
    let ended = farspan(&["config"])
        .env("FARSPAN_API_BASE_URL", "https://risk.example.com/api")
        .env("FARSPAN_API_TOKEN", "s3cret-token")
        .env(
            "FARSPAN_REDIS_URL",
            "redis://user:hunter2@redis.example.com:6379",
        )
        .env("FARSPAN_POLL_INTERVAL", "7s")
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20qwerty",
        )
        .output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let shown = [
        "https://risk.example.com/api",
        "redis.example.com",
        "FARSPAN_POLL_INTERVAL",
        "7s",
    ];
    for text in shown {
        assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
    }
    for secret in ["s3cret-token", "hunter2", "qwerty"] {
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!output.contains(secret), "{secret}: {output}");
    }
}

/// In the log, in `config` and in `check`: `./farspan-state` says nothing to a reader who does not know where farspan
/// was started.
#[test]
fn the_state_is_named_by_its_absolute_path() {
    let folder = Folder::new();
    let state = folder.path().join("farspan-state").display().to_string();
    let call = |command: &str| {
        farspan(&[command])
            .current_dir(folder.path())
            .env("FARSPAN_API_BASE_URL", "http://127.0.0.1:1")
    };
    let shown = call("config").output().stdout;
    let line = shown
        .lines()
        .find(|line| line.starts_with("FARSPAN_STATE_DIR"));
    assert!(line.unwrap().contains(&format!(" {state} ")), "{shown}");
    let checked = call("check").output().stdout;
    assert!(checked.contains(&format!("state {state}: ")), "{checked}");
    let run = call("run").with_arguments(&["run", "--events", "-"]);
    let ended = run.output();
    let told = format!("its state is in {state}\n");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert!(folder.path().join("farspan-state/farspan.redb").exists());
}

#[test]
fn check_tries_every_endpoint() {
    let rig = Rig::new();
    rig.receiver.relaxed();
    let check = |change: &dyn Fn(Call) -> Call| -> Ended {
        let call = farspan(&["check"])
            .env("FARSPAN_API_BASE_URL", rig.api.base_url())
            .env("FARSPAN_REDIS_URL", rig.redis.url())
            .env("FARSPAN_STATE", "none")
            .env("FARSPAN_ADMIN_LISTEN", "none")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", rig.receiver.server.url());
        change(call).output()
    };
    let ended = check(&|call| call);
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    for (key, scheme) in [
        ("FARSPAN_API_BASE_URL", "http"),
        ("FARSPAN_REDIS_URL", "redis"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http"),
    ] {
        let dead = format!("127.0.0.1:{}", free_port());
        let ended = check(&|call| call.env(key, format!("{scheme}://{dead}")));
        assert_eq!(ended.code(), Some(1), "{key}: {ended:?}");
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            output.contains(&dead),
            "it names the dead endpoint: {output}"
        );
    }

    let ended = check(&|call| call.env("FARSPAN_POLLERS", "none"));
    assert_eq!(ended.code(), Some(2), "{ended:?}");
}

#[test]
fn check_names_what_each_monitor_lacks_and_which_key_would_mend_it() {
    let server = Server::start(|request| match &*request.target {
        "/closed/builds/farspan-check" => Answer::new(403).into(),
        "/login" => Answer::new(401).into(),
        "/page/builds/farspan-check" => Answer::new(200).body("text/html", "<p>hello").into(),
        "/open/builds/farspan-check" => Answer::new(400).into(),
        target if target.starts_with("/open/builds?since=") => {
            let runs = json!({"builds": [{"id": 1}, {"id": 2}], "total": 2});
            Answer::new(200)
                .body("application/json", runs.to_string())
                .into()
        }
        _ => Answer::new(404).into(),
    });
    let monitor = |name: &str, auth: Value, list: &str| {
        json!({
            "name": name,
            "api": {"base_url": format!("{}/{name}", server.url()), "auth": auth},
            "events": {"redis_stream": format!("{name}-events")},
            "request": {"path": "/builds/{id}"},
            "workflow": {"id": "/id", "status": "/state"},
            "stages": [],
            "statuses": {"done": "success"},
            "discovery": {"enabled": !list.is_empty(), "request": {"path": "/builds?since={since_epoch}"},
                "list": list, "id": "/id"},
        })
    };
    let login = json!({"type": "login", "url": format!("{}/login", server.url()), "body": {"user": "x"}, "token": "/t"});
    let files = Files::new();
    let token = files.write("token", "s3cret");
    let monitors = [
        monitor("closed", json!({"type": "bearer", "token_file": token}), ""),
        monitor("lapsed", login, ""),
        monitor("page", json!({"type": "none"}), ""),
        monitor("open", json!({"type": "none"}), "/builds"),
        monitor("missing", json!({"type": "none"}), "/builds"),
    ];
    let config = files.write("farspan.json", json!({"monitors": monitors}).to_string());
    let rig = Rig::new();
    rig.receiver.relaxed();
    rig.redis.ask::<()>(&["SET", "page-events", "text"]);
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listening.local_addr().unwrap();
    let ended = farspan(&["check", "--config", &config])
        .env("FARSPAN_REDIS_URL", rig.redis.url())
        .env("FARSPAN_STATE_DIR", format!("{token}/below-a-file"))
        .env("FARSPAN_ADMIN_LISTEN", admin)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", rig.receiver.server.url())
        .output();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let url = server.url();
    for line in [
        &format!("FAIL  monitor closed, API {url}/closed: unauthorized: HTTP 403"),
        "farspan.json: monitors[0] (closed).api.auth.token_file right?",
        &format!(
            "FAIL  monitor lapsed, API {url}/lapsed: unauthorized: no token to show the API: HTTP 401"
        ),
        "farspan.json: monitors[1] (lapsed).api.auth.body right?",
        &format!("FAIL  monitor page, API {url}/page: garbage: "),
        "farspan.json: monitors[2] (page).api.base_url the API's",
        &format!(
            "ok    monitor open, API {url}/open: answers (HTTP 400 to the invented id farspan-check)"
        ),
        "ok    monitor open, discovery: 2 runs on the first page",
        &format!("ok    monitor missing, API {url}/missing: answers (HTTP 404"),
        "FAIL  monitor missing, discovery: ",
        "HTTP 404; is discovery.request.path right?",
        "ok    channel event.workflow.started: may be subscribed to",
        "ok    stream open-events: is not there yet",
        "FAIL  stream page-events: is a string and no stream; events.redis_stream of monitor page",
        "FAIL  state ",
        "set FARSPAN_STATE_DIR (state_dir)",
        &format!("FAIL  admin endpoint {admin}: "),
        "ok    collector ",
    ] {
        assert!(
            ended.stdout.contains(line),
            "{line:?} is not in\n{}",
            ended.stdout
        );
    }
    assert!(!ended.stdout.contains("s3cret"), "{}", ended.stdout);

    let asked = server.requests().len();
    let offline = farspan(&["check", "--offline", "--config", &config])
        .env("FARSPAN_REDIS_URL", rig.redis.url())
        .output();
    assert_eq!(
        (offline.code(), &*offline.stdout),
        (Some(0), "ok    configuration\n"),
        "{offline:?}"
    );
    assert_eq!(server.requests().len(), asked, "nobody is asked");
}

#[test]
fn check_lists_all_mistakes_of_a_mapping_at_once() {
    let files = Files::new();
    let config = json!({"monitors": [
        {"name": "one", "api": {"base_url": "http://127.0.0.1:1"}, "request": {"path": "/{id}"},
            "workflow": {"status": "state"}, "stages": [{"list": "/jobs", "id": "/~2"}],
            "statuses": {"done": "succes"}, "times": {"format": "epoch"}},
        {"name": "two", "preset": "airfow"},
    ]});
    let config = files.write("farspan.json", config.to_string());
    for arguments in [
        &["check"][..],
        &["check", "--offline"],
        &["probe", "7"],
        &["run"],
    ] {
        let ended = farspan(&[arguments, &["--config", &config]].concat()).output();
        assert_eq!(ended.code(), Some(2), "{ended:?}");
        for place in [
            "monitors[0] (one).workflow.status: ",
            "monitors[0] (one).stages[0].id: ",
            "monitors[0] (one).statuses.done: ",
            "monitors[0] (one).times.format: ",
            "monitors[1] (two).preset: ",
        ] {
            assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
        }
    }
}

#[test]
fn check_beside_a_running_farspan_is_content() {
    let rig = Rig::new();
    rig.receiver.relaxed();
    let folder = Folder::new();
    let admin = format!("127.0.0.1:{}", free_port());
    let call = rig
        .call()
        .env("FARSPAN_STATE", "file")
        .env("FARSPAN_STATE_DIR", folder.path().display())
        .env("FARSPAN_ADMIN_LISTEN", &admin);
    let check = call.clone().with_arguments(&["check"]);
    let ended = check.output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains(": is writable, and holds nothing yet"),
        "{}",
        ended.stdout
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
    let running = rig.start_call(&call);
    let ended = check.output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    for line in [
        ": is in use: a farspan is running",
        &format!("admin endpoint {admin}: is in use, as the state is"),
    ] {
        assert!(
            ended.stdout.contains(line),
            "{line:?} is not in\n{}",
            ended.stdout
        );
    }
    running.stop();
    let ended = check.output();
    assert!(
        ended.stdout.contains(": is writable; its file has "),
        "{}",
        ended.stdout
    );
}

/// Every command that reads the configuration says what it ignores of it.
#[test]
fn what_is_odd_about_the_collector_is_said_by_each_command() {
    let api = FakeApi::start();
    api.script("w", [completed("w").reply()]);
    for arguments in [
        &["check", "--offline"][..],
        &["config"],
        &["trace", "w"],
        &["probe", "w"],
    ] {
        let ended = farspan(arguments)
            .env("FARSPAN_API_BASE_URL", api.base_url())
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://127.0.0.1:1/v1/traces",
            )
            .env("OTEL_EXPORTER_OTLP_HEADERS", "nonsense")
            .start()
            .wait(SOON);
        for said in [
            "OTEL_EXPORTER_OTLP_ENDPOINT: ends in /v1/traces already",
            "OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not key=value; it is ignored",
        ] {
            let said = ended.stderr.matches(said).count();
            assert_eq!(said, 1, "{arguments:?}: {ended:?}");
        }
    }
}

/// Answers whatever comes as a web server answers what it does not understand.
fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn a_redis_url_with_the_port_of_a_web_server_is_named_in_one_line() {
    let ended = run()
        .with_arguments(&["check"])
        .env("FARSPAN_REDIS_URL", format!("redis://{}", web_server()))
        .output();
    let line = ended.stdout.lines().find(|line| line.contains("Redis:"));
    let said = line.is_some_and(|line| {
        line.ends_with("what answers is not Redis; is FARSPAN_REDIS_URL (redis.url) right?")
    });
    assert!(said, "{}", ended.stdout);
}

/// TLS to a server that has none: no certificate would help.
#[test]
fn https_to_a_server_of_http_is_named_as_such() {
    let ended = run()
        .with_arguments(&["check"])
        .env("FARSPAN_API_BASE_URL", format!("https://{}", web_server()))
        .output();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let line = ended
        .stdout
        .lines()
        .find(|line| line.contains("API https:"));
    let line = line.expect("a line about the API");
    assert!(line.contains("does not speak TLS"), "{line}");
    assert!(!line.contains("certificate"), "{line}");
}

/// `farspan init` has just written it, and the next command does not name it.
#[test]
fn a_configuration_that_lies_there_and_is_not_read_is_named() {
    let folder = Folder::new();
    let init = farspan(&["init"]).current_dir(folder.path()).output();
    assert_eq!(init.code(), Some(0), "{init:?}");
    let unread =
        "farspan.json is in this directory, and is read only if it is named: --config farspan.json";
    let check = farspan(&["check", "--offline"]).current_dir(folder.path());
    let ended = check.clone().output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains(unread), "{}", ended.stderr);
    let ended = check.clone().env("FARSPAN_API_BASE_URL", "http://api.test");
    let ended = ended.output();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains(unread), "{}", ended.stderr);
    let named = check.env("FARSPAN_CONFIG", "farspan.json").output();
    assert!(!named.stderr.contains(unread), "{}", named.stderr);
}

#[test]
fn a_demo_that_finds_no_browser_says_what_to_open() {
    let files = Files::new();
    let opener = files.write("xdg-open", "#!/bin/sh\nexit 3\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&opener, mode).unwrap();
    let folder = std::path::Path::new(&opener).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let demo = farspan(&["demo", "--workflows", "1", "--speed", "36000", "--open"])
        .env("PATH", path)
        .env("FARSPAN_ADMIN_LISTEN", format!("127.0.0.1:{}", free_port()))
        .start()
        .wait(2 * SOON);
    let page = "xdg-open finds no browser: open http://127.0.0.1:";
    demo.assert_says(page);
}
