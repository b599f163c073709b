//! The blocks of shell in the README and in docs/, each pasted whole into a fresh shell, as it stands.
//!
//! Two things differ from a reader's: addresses, because tests run side by side, and `cargo`, because a release build takes
//! minutes. `docs/your-own-api.md` has a test of its own in `probe`.

use crate::chain::built;
use crate::support::api::{FakeApi, completed};
use crate::support::container::Container;
use crate::support::demo::DemoApi;
use crate::support::folder::Folder;
use crate::support::program::{Farspan, farspan, program};
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::{SOON, eventually, free_port};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The page and the first line of each block, with the test that pastes it, or with the reason why none can.
const BLOCKS: [(&str, &str, Paste); 15] = [
    (
        "README.md",
        "cargo run --release -- demo --open --serve",
        Paste::By("the_first_command"),
    ),
    (
        "README.md",
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run --release -- demo",
        Paste::By("the_demo_with_a_collector"),
    ),
    ("README.md", "tests/run", Paste::Never("it runs this test")),
    (
        "README.md",
        "cargo install --locked --path .    # farspan itself, into ~/.cargo/bin",
        Paste::By("the_settings_of_the_readme"),
    ),
    (
        "docs/events.md",
        "echo '{\"WorkflowId\": \"3e2fef36\"}' > events.jsonl",
        Paste::By("events_on_standard_input"),
    ),
    (
        "docs/events.md",
        "curl --json '{\"WorkflowId\": \"3e2fef36\"}' http://127.0.0.1:9464/api/workflows",
        Paste::By("an_event_that_is_posted"),
    ),
    (
        "docs/events.md",
        "kcat -q -u -b kafka:9092 -G farspan workflows | farspan run --events -",
        Paste::Never("it needs Kafka and RabbitMQ"),
    ),
    (
        "docs/events.md",
        "export OTEL_TRACES_EXPORTER=console    # with a collector: OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
        Paste::By("the_chain_of_three_programs"),
    ),
    (
        "docs/events.md",
        "redis-server --port 6399 --save '' > redis.log &",
        Paste::By("the_pieces_of_the_demo"),
    ),
    (
        "docs/live-page.md",
        "ssh -L 9464:127.0.0.1:9464 the-host-of-farspan",
        Paste::Never("it needs another host"),
    ),
    (
        "docs/operations.md",
        "curl -s 'localhost:9464/api/workflows?state=live&sort=-duration'    # a page of runs",
        Paste::By("the_routes_of_the_runs"),
    ),
    (
        "docs/install.md",
        "sudo apt install ./farspan_*.deb",
        Paste::Step("tests/deploy/packages"),
    ),
    (
        "docs/install.md",
        "cargo build --release --locked",
        Paste::By("the_steps_that_install_the_service"),
    ),
    (
        "docs/install.md",
        "docker run --name farspan --restart unless-stopped --stop-timeout 35 --read-only --cap-drop ALL --ulimit core=0 \\",
        Paste::By("the_call_that_runs_the_image"),
    ),
    (
        "docs/install.md",
        "deploy/musl/build --smallest",
        Paste::Never("a release build takes minutes: tests/deploy/binaries has made it"),
    ),
];

enum Paste {
    /// The test.
    By(&'static str),
    /// The step of tests/run, which names the first line.
    Step(&'static str),
    /// The reason.
    Never(&'static str),
}

#[test]
fn each_block_is_pasted_or_has_a_reason() {
    let mut found = Vec::new();
    for page in pages() {
        for block in blocks(&page) {
            let first = block.lines().next().unwrap_or_default().to_owned();
            found.push((page.clone(), first));
        }
    }
    let mut listed: Vec<(String, String)> = BLOCKS
        .iter()
        .map(|(page, first, _)| (page.to_string(), first.to_string()))
        .collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
    let here = include_str!("pasted.rs");
    for (page, first, paste) in &BLOCKS {
        match paste {
            Paste::By(test) => {
                let test = format!("#[test]\nfn {test}() {{");
                assert!(here.contains(&test), "{page}: {first}: there is no {test}");
            }
            Paste::Step(script) => {
                let script = fs::read_to_string(root().join(script)).expect("a script");
                assert!(script.contains(first), "{page}: {first}");
            }
            Paste::Never(reason) => assert!(!reason.is_empty(), "{page}: {first}"),
        }
    }
}

#[test]
fn the_first_command() {
    let desk = Desk::new(&[]);
    let shell = desk.paste("README.md", "cargo run --release -- demo --open --serve");
    shell.await_words("All 8 workflows are traced. Ctrl-C ends the demo.");
    eventually("the page is opened", SOON, || {
        let asked = fs::read_to_string(desk.folder.path().join("asked"));
        asked.is_ok_and(|url| url.starts_with("http://127.0.0.1:"))
    });
    shell.interrupt();
    let said = shell.ends();
    assert!(said.contains("8 of 8 workflows traced; "), "{said}");
}

#[test]
fn the_demo_with_a_collector() {
    let receiver = Receiver::start();
    let desk = Desk::new(&[("http://localhost:4318", &receiver.server.url())]);
    let first = "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run --release -- demo";
    let said = desk.paste("README.md", first).ends();
    let delivered = format!("spans delivered to {}", receiver.server.url());
    assert!(said.contains(&delivered), "{said}");
    assert_eq!(receiver.count_roots(|_| true), 8);
}

#[test]
fn the_settings_of_the_readme() {
    let (api, redis, receiver) = (FakeApi::start(), RedisServer::start(), Receiver::start());
    // `check` sends a GET.
    receiver.relaxed();
    api.script("w", [completed("w").reply()]);
    let desk = Desk::new(&[
        ("http://risk-engine.internal:8080", &api.base_url()),
        ("redis://redis.internal:6379", &redis.url()),
        ("http://tempo.internal:4318", &receiver.server.url()),
    ]);
    // Another test may have the default port.
    let admin = format!("127.0.0.1:{}", free_port());
    let desk = desk.with(&[("FARSPAN_ADMIN_LISTEN", &admin)]);
    let shell = desk.paste("README.md", "cargo install");
    redis.await_subscribers(CHANNEL, 1);
    redis.publish(CHANNEL, br#"{"WorkflowId": "w"}"#);
    eventually("the trace", SOON, || receiver.has_root("w"));
    shell.interrupt();
    let said = shell.ends();
    assert!(
        said.contains("ok    Redis"),
        "check tries everything: {said}"
    );
    assert!(!said.contains("FAIL"), "{said}");
}

#[test]
fn events_on_standard_input() {
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    api.script("3e2fef36", [completed("3e2fef36").reply()]);
    let desk = Desk::new(&[]).with(&[
        ("FARSPAN_API_BASE_URL", &api.base_url()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.server.url()),
    ]);
    desk.paste("docs/events.md", "echo '{\"WorkflowId\"").ends();
    assert!(receiver.has_root("3e2fef36"));
}

#[test]
fn an_event_that_is_posted() {
    let running = Running::start();
    let desk = Desk::new(&[("127.0.0.1:9464", &running.admin)]);
    let said = desk.paste("docs/events.md", "curl --json").ends();
    let answer = r#"{"accepted":true,"workflowId":"3e2fef36"}"#;
    assert!(said.contains(answer), "{said}");
    let page = fs::read_to_string(root().join("docs/events.md")).expect("a page");
    assert!(page.contains(answer), "the page has the answer too");
}

#[test]
fn the_routes_of_the_runs() {
    let running = Running::start();
    let id = "704c0b60-7d5b-4c4e";
    let desk = Desk::new(&[("localhost:9464", &running.admin)]);
    running
        .redis
        .publish(CHANNEL, format!(r#"{{"WorkflowId": "{id}"}}"#).as_bytes());
    running.farspan.await_log("watching the workflow");
    let said = desk
        .paste("docs/operations.md", "curl -s 'localhost:9464")
        .ends();
    for part in [
        r#""workflows":["#,
        &format!(r#""workflow_id":"{id}""#),
        r#""exports":["#,
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("no such"), "{said}");
}

/// With another root, and without systemd: what the unit names is there.
#[test]
fn the_steps_that_install_the_service() {
    let desk = Desk::new(&[("/usr/local/", "root/usr/local/"), ("/etc/", "root/etc/")]);
    desk.write("bin/sudo", "#!/bin/sh\nexec \"$@\"\n");
    desk.write("bin/systemctl", "#!/bin/sh\necho \"systemctl $*\"\n");
    for name in [
        "docs/operations.md",
        "systemd/farspan.env",
        "systemd/farspan.service",
    ] {
        let text = fs::read_to_string(root().join(name)).expect("a file");
        desk.write(name, &text);
    }
    let said = desk
        .paste("docs/install.md", "cargo build --release --locked")
        .ends();
    assert!(said.contains("systemctl enable --now farspan\n"), "{said}");
    let unit = fs::read_to_string(root().join("systemd/farspan.service")).expect("the unit");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{key}"))
    };
    for path in [
        "/etc/systemd/system/farspan.service",
        value("ExecStart=").split(' ').next().expect("a program"),
        value("EnvironmentFile=-"),
        value("Documentation=file://"),
    ] {
        let installed = desk.folder.path().join("root").join(&path[1..]);
        assert!(installed.exists(), "{path}: {said}");
    }
}

/// The image as a plain process, with what `docker run` gives it.
#[test]
fn the_call_that_runs_the_image() {
    let (api, redis, receiver) = (FakeApi::start(), RedisServer::start(), Receiver::start());
    let desk = Desk::new(&[]);
    desk.write("bin/docker", "#!/bin/sh\nprintf '%s\\n' \"$@\" > asked\n");
    desk.paste("docs/install.md", "docker run --name farspan")
        .ends();
    let asked = fs::read_to_string(desk.folder.path().join("asked")).expect("docker was called");
    let asked: Vec<String> = asked.lines().map(str::to_owned).collect();
    let port = free_port();
    let state = desk.folder.path().join("state").display().to_string();
    let call = Container::of_docker_run(&asked)
        .with_places(&[
            ("http://risk-engine.internal:8080", &api.base_url()),
            ("redis://redis.internal:6379", &redis.url()),
            ("http://tempo.internal:4318", &receiver.server.url()),
            ("0.0.0.0:9464", &format!("0.0.0.0:{port}")),
            ("/state", &state),
        ])
        .call();
    let farspan = call.start();
    redis.await_subscribers(CHANNEL, 1);
    // From outside, as docker publishes the port: with the token alone.
    let ask = |token: &str| {
        let call = format!(
            "curl -s -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/workflows"
        );
        let output = Command::new("sh")
            .args(["-c", &call])
            .output()
            .expect("curl");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(
        (ask("change-me").as_str(), ask("wrong").as_str()),
        ("200", "401")
    );
    let health = call.with_arguments(&["healthcheck"]).output();
    assert_eq!(health.code(), Some(0), "{health:?}");
    farspan.stop();
}

#[test]
fn the_chain_of_three_programs() {
    let desk = Desk::with_ports();
    let said = desk
        .paste("docs/events.md", "export OTEL_TRACES_EXPORTER")
        .ends();
    assert!(said.contains("submitted "), "{said}");
    assert!(
        said.contains(" has finished: success") || said.contains(" has finished: failure"),
        "{said}"
    );
}

#[test]
fn the_pieces_of_the_demo() {
    let desk = Desk::with_ports();
    let said = desk
        .paste(
            "docs/events.md",
            "redis-server --port 6399 --save '' > redis.log",
        )
        .ends();
    assert!(
        said.contains("3 events on event.workflow.started, 3 of 3 so far"),
        "{said}"
    );
    let ended = said
        .lines()
        .filter(|line| line.starts_with("Workflow "))
        .count();
    assert_eq!(ended, 3, "{said}");
}

/// Redis and a load that is pasted with it: the load waits for both.
#[test]
fn load_waits_for_redis_and_for_a_listener() {
    let mut redis = RedisServer::stopped();
    let api = DemoApi::start("--speed 36000");
    let load = farspan(&["load", "--workflows", "2", "--batch", "2"])
        .env("FARSPAN_REDIS_URL", redis.url())
        .start();
    eventually("it says that it waits", SOON, || {
        load.stdout().contains("does not answer yet")
    });
    redis.resume();
    let watcher = farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_STATE", "none")
        .env("OTEL_TRACES_EXPORTER", "none")
        .start();
    let ended = load.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("2 of 2 so far"), "{ended:?}");
    assert!(!ended.stdout.contains("lost"), "{ended:?}");
    watcher.stop();
}

/// A farspan that the pages presuppose.
struct Running {
    farspan: Farspan,
    redis: RedisServer,
    admin: String,
    _api: FakeApi,
}

impl Running {
    fn start() -> Running {
        let (api, redis) = (FakeApi::start(), RedisServer::start());
        let admin = format!("127.0.0.1:{}", free_port());
        let farspan = farspan(&["run"])
            .env("FARSPAN_API_BASE_URL", api.base_url())
            .env("FARSPAN_REDIS_URL", redis.url())
            .env("FARSPAN_STATE", "none")
            .env("FARSPAN_ADMIN_LISTEN", &admin)
            .env("FARSPAN_LOG", "debug")
            .env("OTEL_TRACES_EXPORTER", "none")
            .start();
        redis.await_subscribers(CHANNEL, 1);
        Running {
            farspan,
            redis,
            admin,
            _api: api,
        }
    }
}

/// Where a reader sits: a copy of what the blocks use, and where the addresses in them really are.
struct Desk {
    folder: Folder,
    real: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Desk {
    fn new(real: &[(&str, &str)]) -> Desk {
        let folder = Folder::new();
        let real = real
            .iter()
            .map(|(told, real)| (told.to_string(), real.to_string()));
        let desk = Desk {
            folder,
            real: real.collect(),
            environment: Vec::new(),
        };
        desk.write(
            "bin/xdg-open",
            "#!/bin/sh\necho \"$1\" > \"${0%/*}/../asked\"\n",
        );
        let chain = fs::read_to_string(root().join("examples/chain/farspan.json"));
        desk.write(
            "examples/chain/farspan.json",
            &desk.placed(&chain.expect("an example")),
        );
        // What cargo would do once it has built.
        desk.write(
            "bin/cargo",
            "#!/bin/sh\n\
             case \"$*\" in\n\
             'run --release -- '*) shift 3; exec farspan \"$@\" ;;\n\
             'run --example submitter') exec \"$SUBMITTER\" ;;\n\
             'run --example consumer') exec \"$CONSUMER\" ;;\n\
             'install --locked --path .') exit 0 ;;\n\
             'build --release --locked') mkdir -p target/release && touch target/release/farspan ;;\n\
             *) echo \"the test knows no cargo $*\" >&2; exit 99 ;;\n\
             esac\n",
        );
        desk
    }

    /// With ports of its own for Redis and the demo's API.
    fn with_ports() -> Desk {
        let (redis, api) = (free_port(), free_port());
        let (redis_port, api_address) = (redis.to_string(), format!("127.0.0.1:{api}"));
        Desk::new(&[("6399", &redis_port), ("127.0.0.1:8081", &api_address)]).with(&[
            ("SUBMITTER", &built("submitter")),
            ("CONSUMER", &built("consumer")),
            // For the two examples, which have the addresses in their source.
            ("FARSPAN_REDIS_URL", &format!("redis://127.0.0.1:{redis}")),
            ("FARSPAN_API_BASE_URL", &format!("http://127.0.0.1:{api}")),
        ])
    }

    fn with(mut self, environment: &[(&str, &str)]) -> Desk {
        let set = environment
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        self.environment.extend(set);
        self
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("permitted");
    }

    fn placed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (told, real) in &self.real {
            text = text.replace(told, real);
        }
        text
    }

    /// Pastes the block that begins so.
    #[track_caller]
    fn paste(&self, page: &str, begin: &str) -> Shell {
        let mut found = blocks(page)
            .into_iter()
            .filter(|block| block.starts_with(begin));
        let block = found
            .next()
            .unwrap_or_else(|| panic!("{page} has no block {begin}"));
        let programs = Path::new(env!("CARGO_BIN_EXE_farspan"))
            .parent()
            .expect("a folder");
        let folder = self.folder.path().display();
        let path = std::env::var("PATH").expect("a path");
        let mut call = program("bash", &[])
            .by(&["setsid", "env", "-C", &folder.to_string()])
            .without("FARSPAN_ADMIN_LISTEN")
            .env(
                "PATH",
                format!("{folder}/bin:{}:{path}", programs.display()),
            )
            .with_stdin();
        for (key, value) in &self.environment {
            call = call.env(key, value);
        }
        let mut shell = call.start();
        shell.write(self.placed(&block));
        shell.end_input();
        let group = shell.id();
        Shell {
            shell: Some(shell),
            group,
        }
    }
}

/// A shell and all that it has started. It is the leader of their group.
struct Shell {
    shell: Option<Farspan>,
    group: u32,
}

impl Shell {
    fn running(&self) -> &Farspan {
        self.shell.as_ref().expect("it has not ended")
    }

    #[track_caller]
    fn await_words(&self, words: &str) {
        eventually(words, 2 * SOON, || self.running().stdout().contains(words));
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        assert!(signal("INT", self.group), "it runs");
    }

    /// Waits for its end: its last command has succeeded, and nothing that it has started is left. What it said.
    #[track_caller]
    fn ends(mut self) -> String {
        let ended = self.shell.take().expect("it has not ended").wait(3 * SOON);
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        eventually("everything has ended", SOON, || !signal("0", self.group));
        ended.stdout + &ended.stderr
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        signal("KILL", self.group);
    }
}

/// Whether there was a process in that group to take it.
fn signal(name: &str, group: u32) -> bool {
    let sent = Command::new("kill")
        .args(["-s", name, "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
    sent.expect("kill").success()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("docs");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("UTF-8"));
    let pages = names.filter(|name| name.ends_with(".md"));
    let mut pages: Vec<String> = pages.map(|name| format!("docs/{name}")).collect();
    pages.push("README.md".to_owned());
    pages
}

/// The blocks of shell of a page.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).expect("a page");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") && line.len() > 3 {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == "```sh" {
                blocks.push(block.join("\n") + "\n");
            }
        } else if line == "```" {
            // A block without a language.
            lines.by_ref().find(|line| *line == "```");
        }
    }
    blocks
}
