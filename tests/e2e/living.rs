//! How farspan lives under a service manager, and with a configuration that changes.

use crate::support::api::{completed, processing, status};
use crate::support::files::Files;
use crate::support::http::Reply;
use crate::support::program::{Call, Farspan};
use crate::support::receiver::partial;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::systemd::ServiceManager;
use crate::support::{SOON, eventually, pause};
use serde_json::{Value, json};
use std::time::Duration;

const NO_WATCHDOG: Duration = Duration::ZERO;

#[test]
fn the_service_manager_hears_of_start_reload_and_stop() {
    for manager in [ServiceManager::listen(), ServiceManager::listen_at_path()] {
        let rig = Rig::new();
        rig.api.script("w", [processing("w").reply()]);
        let farspan = rig.start_call(&manager.supervise(&rig.call(), NO_WATCHDOG));
        manager.await_count("READY=1", 1);
        manager.await_status("watching 0 workflows");
        rig.submit("w");
        manager.await_status("watching 1 workflows, 0 have ended");
        rig.api.script("w", [completed("w").reply()]);
        manager.await_status("watching 0 workflows, 1 have ended, 0 spans wait");
        farspan.stop();
        let heard = manager.heard();
        assert_eq!(heard[0], "READY=1");
        let stopping = heard.iter().position(|text| text == "STOPPING=1");
        let stopping = stopping.expect("STOPPING=1 is told");
        assert!(
            heard[stopping + 1].starts_with("STATUS=stopping: "),
            "{heard:?}"
        );
        assert_eq!(manager.count("READY=1"), 1);
        assert_eq!(manager.count("WATCHDOG=1"), 0, "nobody asked for it");
    }
}

/// Nothing turns that has nothing to do.
#[test]
fn an_idle_farspan_takes_no_cpu() {
    let rig = Rig::new();
    let farspan = rig.start();
    let before = farspan.cpu_ticks();
    pause(Duration::from_secs(2));
    let after = farspan.cpu_ticks();
    let ticks = after.0 + after.1 - before.0 - before.1;
    assert!(ticks < 20, "{ticks} hundredths of a second in 2 s");
}

#[test]
fn redis_that_is_down_holds_up_no_readiness() {
    let mut rig = Rig::new();
    rig.redis.stop();
    let manager = ServiceManager::listen();
    let farspan = manager.supervise(&rig.call(), NO_WATCHDOG).start();
    manager.await_count("READY=1", 1);
    farspan.stop();
}

#[test]
fn the_watchdog_is_fed_while_nothing_happens_and_only_while_the_loop_turns() {
    const WATCHDOG: Duration = Duration::from_millis(400);
    let rig = Rig::new();
    let manager = ServiceManager::listen();
    let farspan = rig.start_call(&manager.supervise(&rig.call(), WATCHDOG));
    manager.await_count("WATCHDOG=1", 5);
    farspan.signal("STOP");
    // What was sent before it stopped is read, and then nothing is sent.
    eventually("quiet", SOON, || manager.is_quiet(WATCHDOG));
    assert!(manager.is_quiet(3 * WATCHDOG));
    let before = manager.count("WATCHDOG=1");
    farspan.signal("CONT");
    manager.await_count("WATCHDOG=1", before + 3);
    farspan.stop();
}

#[test]
fn the_watchdog_is_fed_while_it_stops() {
    let rig = Rig::new();
    let late = Reply::Late(Duration::from_secs(2), Box::new(completed("slow").reply()));
    rig.api.script("slow", [late]);
    let manager = ServiceManager::listen();
    let call = manager.supervise(&rig.call(), Duration::from_millis(400));
    let farspan = rig.start_call(&call);
    rig.submit("slow");
    eventually("the poll is under way", SOON, || rig.api.polls("slow") == 1);
    farspan.signal("TERM");
    manager.await_count("STOPPING=1", 1);
    let before = manager.count("WATCHDOG=1");
    manager.await_count("WATCHDOG=1", before + 3);
    let ended = farspan.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    manager.await_status("stopping: 1 polls under way, for 10s at most");
    let stderr = ended.stderr;
    assert!(
        stderr.contains("stopping: 1 polls under way; waiting for 10s at most"),
        "{stderr}"
    );
    assert!(
        stderr.contains("stopping: no polls under way any more after"),
        "{stderr}"
    );
    assert!(rig.receiver.has_root("slow"));
}

#[test]
fn another_process_s_watchdog_is_not_fed() {
    let rig = Rig::new();
    let manager = ServiceManager::listen();
    let call = manager.supervise(&rig.call(), Duration::from_millis(100));
    let farspan = rig.start_call(&call.env("WATCHDOG_PID", 1));
    manager.await_count("READY=1", 1);
    rig.submit("w");
    manager.await_status("watching 1 workflows");
    farspan.stop();
    assert_eq!(manager.count("WATCHDOG=1"), 0);
}

#[test]
fn a_socket_that_is_none_holds_up_nothing() {
    let rig = Rig::new();
    for (id, name, complaint) in [
        ("v", "vsock:2:1234", "is neither /path nor @name"),
        (
            "w",
            "/nowhere/notify",
            "cannot report to the service manager",
        ),
    ] {
        let farspan = rig.start_call(&rig.call().env("NOTIFY_SOCKET", name));
        rig.api.script(id, [completed(id).reply()]);
        rig.submit(id);
        rig.trace(id);
        let ended = farspan.stop();
        assert_eq!(
            ended.stderr.matches(complaint).count(),
            1,
            "{}",
            ended.stderr
        );
        rig.redis.await_subscribers(CHANNEL, 0);
    }
}

/// A farspan whose pace, token and level are in files.
struct Reloading {
    rig: Rig,
    files: Files,
    manager: ServiceManager,
}

impl Reloading {
    fn new() -> Self {
        Reloading {
            rig: Rig::new(),
            files: Files::new(),
            manager: ServiceManager::listen(),
        }
    }

    #[track_caller]
    fn start(&self, config: &Value, token: &str) -> Farspan {
        let call = self.call(config, token);
        self.rig
            .start_call(&self.manager.supervise(&call, NO_WATCHDOG))
    }

    fn call(&self, config: &Value, token: &str) -> Call {
        self.rig
            .call()
            .without("FARSPAN_POLL_INTERVAL")
            .without("FARSPAN_LOG")
            .env(
                "FARSPAN_CONFIG",
                self.files.write("farspan.json", config.to_string()),
            )
            .env("FARSPAN_API_TOKEN_FILE", self.files.write("token", token))
    }

    /// SIGHUP, and the end of what it starts.
    #[track_caller]
    fn reload(&self, farspan: &Farspan) {
        let before = self.manager.count("RELOADING=1");
        farspan.signal("HUP");
        self.manager.await_count("RELOADING=1", before + 1);
        // One for the start, one for each reload.
        self.manager.await_count("READY=1", before + 2);
    }
}

#[test]
fn a_new_interval_and_a_new_token_hold_for_what_is_watched_already() {
    let it = Reloading::new();
    it.rig.api.script("w", [processing("w").reply()]);
    let farspan = it.start(&json!({"poll": {"interval": "1h"}}), "token-1\n");
    it.files
        .write("farspan.json", r#"{"poll": {"interval": "50ms"}}"#);
    it.reload(&farspan);
    it.rig.submit("w");
    eventually("polls", SOON, || it.rig.api.polls("w") >= 3);
    it.files
        .write("farspan.json", r#"{"poll": {"interval": "40ms"}}"#);
    it.files.write("token", "token-2\n");
    it.reload(&farspan);
    eventually("the new token", SOON, || {
        let last = it.rig.api.requests_for("w").pop().expect("polled");
        last.header("authorization") == Some("Bearer token-2")
    });
    let requests = it.rig.api.requests_for("w");
    let tokens: Vec<_> = requests.iter().map(|r| r.header("authorization")).collect();
    assert_eq!(tokens[0], Some("Bearer token-1"));
    assert!(tokens.is_sorted(), "never the old one again: {tokens:?}");

    it.files
        .write("farspan.json", r#"{"poll": {"interval": "1h"}}"#);
    it.reload(&farspan);
    it.rig.api.script("w", [completed("w").reply()]);
    it.files
        .write("farspan.json", r#"{"poll": {"interval": "60ms"}}"#);
    // A workflow whose next poll was an hour away is polled within the new interval.
    it.reload(&farspan);
    it.rig.trace("w");
    let stderr = farspan.stop().stderr;
    for line in [
        "reloaded; from now on FARSPAN_POLL_INTERVAL (poll.interval): '50ms', before '1h'",
        "reloaded; from now on FARSPAN_API_TOKEN (api.token) is another one",
    ] {
        assert!(stderr.contains(line), "{line:?} in {stderr}");
    }
    assert!(!stderr.contains("token-"), "no secret in the log");
}

#[test]
fn a_token_that_is_mended_is_tried_soon() {
    let it = Reloading::new();
    it.rig
        .api
        .decide("w", |_, request| match request.header("authorization") {
            Some("Bearer right") => completed("w").reply(),
            _ => status(401),
        });
    let farspan = it.start(&json!({"poll": {"interval": "2s"}}), "wrong");
    it.rig.submit("w");
    eventually("refused often enough to wait long", SOON, || {
        it.rig.api.polls("w") >= 2
    });
    it.files.write("token", "right");
    it.reload(&farspan);
    it.rig.trace("w");
    farspan.stop();
}

#[test]
fn the_log_changes_its_level() {
    let it = Reloading::new();
    let farspan = it.start(
        &json!({"log": {"level": "info"}, "poll": {"interval": "50ms"}}),
        "t",
    );
    let heard = |id: &str| {
        it.rig.api.script(id, [processing(id).reply()]);
        it.rig.submit(id);
        eventually("it is watched", SOON, || it.rig.api.polls(id) >= 1);
        format!("watching the workflow monitor=default workflow_id={id}")
    };
    heard("quiet");
    it.files.write(
        "farspan.json",
        r#"{"log": {"level": "debug"}, "poll": {"interval": "50ms"}}"#,
    );
    it.reload(&farspan);
    let loud = heard("loud");
    eventually("a line of debug", SOON, || farspan.stderr().contains(&loud));
    it.files
        .write("farspan.json", r#"{"log": {"level": "error"}}"#);
    it.reload(&farspan);
    let stderr = farspan.stop().stderr;
    assert!(!stderr.contains("workflow_id=quiet"), "{stderr}");
    assert!(
        stderr.contains("(log.level): 'debug', before 'info'"),
        "{stderr}"
    );
    assert!(
        stderr.contains("(log.level): 'error', before 'debug'"),
        "{stderr}"
    );
    assert!(!stderr.contains("stopping:"), "{stderr}");
}

#[test]
fn what_takes_a_restart_is_named_each_time() {
    let it = Reloading::new();
    let farspan = it.start(&json!({"poll": {"pollers": 2}}), "t");
    it.files.write(
        "farspan.json",
        r#"{"poll": {"pollers": 3}, "redis": {"channel": "elsewhere"}, "instance": "another"}"#,
    );
    it.reload(&farspan);
    it.reload(&farspan);
    it.files
        .write("farspan.json", r#"{"poll": {"pollers": 2}}"#);
    it.reload(&farspan);
    let stderr = farspan.stop().stderr;
    for (line, times) in [
        (
            "reloaded, but not without a restart: FARSPAN_POLLERS (poll.pollers): '3', before '2'",
            2,
        ),
        (
            "restart: FARSPAN_REDIS_CHANNEL (redis.channel): 'elsewhere', before 'event",
            2,
        ),
        (
            "restart: FARSPAN_INSTANCE (instance): 'another', before '",
            2,
        ),
        ("reloaded; nothing has changed", 1),
    ] {
        assert_eq!(stderr.matches(line).count(), times, "{line:?} in {stderr}");
    }
}

/// Where the state is, who farspan is in a fleet, what it reads: each is a connection, a file or a claim by now.
#[test]
fn each_setting_of_a_fleet_takes_a_restart() {
    let it = Reloading::new();
    let config = |change: &dyn Fn(&mut Value)| {
        let mut config = json!({
            "state": "redis", "lease": "5s", "instance": "a", "poll": {"interval": "50ms"},
            "redis": {"stream": "s"},
        });
        change(&mut config);
        it.files.write("farspan.json", config.to_string());
    };
    let call = it.call(&json!({}), "t").without("FARSPAN_STATE");
    config(&|_| {});
    let farspan = it.rig.start_call(&it.manager.supervise(&call, NO_WATCHDOG));
    let changes: [(&str, Value, &str); 7] = [
        (
            "/state",
            json!("none"),
            "FARSPAN_STATE (state): 'none', before 'redis'",
        ),
        (
            "/state_dir",
            json!("/there"),
            "FARSPAN_STATE_DIR (state_dir): '/there', before '",
        ),
        (
            "/lease",
            json!("7s"),
            "FARSPAN_LEASE (lease): '7s', before '5s'",
        ),
        (
            "/instance",
            json!("b"),
            "FARSPAN_INSTANCE (instance): 'b', before 'a'",
        ),
        (
            "/redis/stream",
            json!("t"),
            "FARSPAN_REDIS_STREAM (redis.stream): 't', before 's'",
        ),
        (
            "/redis/stream_maxlen",
            json!(7),
            "FARSPAN_REDIS_STREAM_MAXLEN (redis.stream_maxlen): '7', before '",
        ),
        (
            "/workflows_max",
            json!(7),
            "FARSPAN_WORKFLOWS_MAX (workflows_max): '7', before '100000'",
        ),
    ];
    for (pointer, value, line) in changes {
        let (place, key) = pointer.rsplit_once('/').expect("a pointer");
        config(&|config| {
            let place = config.pointer_mut(place).expect("an object");
            place[key] = value.clone();
        });
        it.reload(&farspan);
        let line = format!("reloaded, but not without a restart: {line}");
        // The service manager hears of it sooner than we read the log.
        eventually("it is said", SOON, || farspan.stderr().contains(&line));
        let stderr = farspan.stderr();
        assert_eq!(stderr.matches(&line).count(), 1, "{line:?} in {stderr}");
        config(&|_| {});
        it.reload(&farspan);
    }
    // None of it has come into force in between.
    it.rig.api.script("w", [completed("w").reply()]);
    it.rig
        .redis
        .add("s", &json!({"WorkflowId": "w"}).to_string());
    it.rig.trace("w");
    let stderr = farspan.stop().stderr;
    assert_eq!(stderr.matches("reloaded, but").count(), 7, "{stderr}");
    assert_eq!(stderr.matches("nothing has changed").count(), 7, "{stderr}");
}

#[test]
fn a_configuration_with_mistakes_changes_nothing() {
    let it = Reloading::new();
    it.rig.api.script("w", [processing("w").reply()]);
    let farspan = it.start(&json!({"poll": {"interval": "50ms"}}), "token-1");
    it.rig.submit("w");
    it.files.write(
        "farspan.json",
        r#"{"poll": {"interval": "soon", "intervall": "1s"}, "log": {"level": "error"}}"#,
    );
    it.files.write("token", "token\n2");
    it.reload(&farspan);
    it.manager
        .await_status("the last reload was refused for 3 mistakes");
    let polls = it.rig.api.polls("w");
    eventually("polls go on", SOON, || it.rig.api.polls("w") >= polls + 3);
    let last = it.rig.api.requests_for("w").pop().expect("polled");
    assert_eq!(last.header("authorization"), Some("Bearer token-1"));
    it.files.write("farspan.json", "{");
    it.reload(&farspan);
    it.files
        .write("farspan.json", r#"{"poll": {"interval": "40ms"}}"#);
    it.files.write("token", "token-3");
    it.reload(&farspan);
    eventually("the mended one holds", SOON, || {
        let last = it.rig.api.requests_for("w").pop().expect("polled");
        last.header("authorization") == Some("Bearer token-3")
    });
    let status = it.manager.heard().pop().unwrap_or_default();
    assert!(!status.contains("refused"), "{status}");
    let stderr = farspan.stop().stderr;
    for mistake in [
        "poll.interval: 'soon' is not a duration",
        "poll.intervall: no such key; did you mean 'poll.interval'?",
        "the value has a line break",
        "the new configuration has mistakes; the old one stays in force",
        "is not JSON",
    ] {
        assert!(stderr.contains(mistake), "{mistake:?} in {stderr}");
    }
}

#[test]
fn hangups_in_a_row_end_well() {
    let it = Reloading::new();
    let farspan = it.start(&json!({"poll": {"interval": "50ms"}}), "t");
    for _ in 0..20 {
        farspan.signal("HUP");
    }
    it.files
        .write("farspan.json", r#"{"poll": {"interval": "70ms"}}"#);
    farspan.signal("HUP");
    farspan.await_log("(poll.interval): '70ms'");
    farspan.stop();
}

#[test]
fn a_file_that_hangs_holds_nothing_up() {
    let it = Reloading::new();
    it.rig.api.script("w", [completed("w").reply()]);
    let farspan = it.start(&json!({"poll": {"interval": "50ms"}}), "t");
    it.files.fifo("token");
    farspan.signal("HUP");
    it.manager.await_count("RELOADING=1", 1);
    it.rig.submit("w");
    it.rig.trace("w");
    farspan.stop();
}

/// U+202E turns the text behind it around.
#[test]
fn a_text_from_outside_turns_no_text_of_the_log() {
    for (format, escaped) in [("text", r"\u{202e}ecaf"), ("json", r"\u202eecaf")] {
        let rig = Rig::new();
        rig.receiver.next(partial(0, "\u{202e}ecaf"));
        rig.api.script("w", [completed("w").reply()]);
        let farspan = rig.start_call(&rig.call().env("FARSPAN_LOG_FORMAT", format));
        rig.submit("w");
        farspan.await_log("ecaf");
        let stderr = farspan.stop().stderr;
        assert!(!stderr.contains('\u{202e}'), "{stderr}");
        assert!(stderr.contains(escaped), "{stderr}");
    }
}

/// A pipe holds 64 KiB, and 1 MiB of lines waits for it.
#[test]
fn a_standard_error_that_is_not_read_stops_nothing_and_dropped_lines_are_counted() {
    const DUPLICATES: usize = 15_000;
    let rig = Rig::new();
    rig.api.script("first", [processing("first").reply()]);
    rig.api.script("w", [completed("w").reply()]);
    let call = rig.call().env("FARSPAN_LOG", "debug").with_stderr_unread();
    let mut farspan = rig.start_call(&call);
    let event = json!({"WorkflowId": "first"}).to_string();
    let events = std::iter::repeat_n(event.as_bytes(), DUPLICATES + 1);
    rig.redis.publish_all(CHANNEL, events);
    rig.submit("w");
    rig.trace("w");
    // Read again, it has all lines but those that it says are missing.
    farspan.read_stderr();
    let missing = " lines of the log are missing here";
    farspan.await_log(missing);
    let log = farspan.stderr();
    let (before, _) = log.split_once(missing).expect("said");
    let dropped = before.rsplit_once(' ').expect("a number").1;
    let dropped: usize = dropped.parse().expect("a number");
    let written = before.matches("duplicate start event").count();
    assert!(dropped > 0 && written > 0, "{dropped} dropped, {written}");
    let told = written + dropped;
    // The lines of the polls are dropped too.
    assert!((DUPLICATES..DUPLICATES + 1000).contains(&told), "{told}");
    let log = farspan.stop().stderr;
    assert!(log.contains(" polls, 0 failed"), "the last lines: {log}");
}

#[test]
fn a_standard_error_that_is_not_read_holds_up_no_stop() {
    let rig = Rig::new();
    rig.api.script("first", [processing("first").reply()]);
    let call = rig.call().env("FARSPAN_LOG", "debug").with_stderr_unread();
    let farspan = rig.start_call(&call);
    let event = json!({"WorkflowId": "first"}).to_string();
    rig.redis
        .publish_all(CHANNEL, std::iter::repeat_n(event.as_bytes(), 2_000));
    farspan.stop();
}
