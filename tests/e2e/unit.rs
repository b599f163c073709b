//! `systemd/farspan.service` under a service manager that acts on the lines of that file as systemd does.

use crate::durable::await_commits;
use crate::support::api::{Body, completed};
use crate::support::http::Reply;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::rig::Rig;
use crate::support::unit::{Happened, Service, Unit};
use crate::support::{rfc3339, wall_ns};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// The unit's own watchdog takes half a minute.
fn unit() -> Unit {
    Unit::of_farspan().with("WatchdogSec", "3s")
}

#[track_caller]
fn service(rig: &Rig) -> Service {
    let (api, redis, collector) = (
        rig.api.base_url(),
        rig.redis.url(),
        rig.receiver.server.url(),
    );
    let variables = variables(&api, &redis, &collector);
    Service::new(unit(), &variables, &[])
}

fn variables<'a>(api: &'a str, redis: &'a str, collector: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("FARSPAN_API_BASE_URL", api),
        ("FARSPAN_REDIS_URL", redis),
        ("FARSPAN_POLL_INITIAL_DELAY", "10ms"),
        ("FARSPAN_POLL_INTERVAL", "50ms"),
        ("FARSPAN_ADMIN_LISTEN", "127.0.0.1:0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]
}

/// Workflows of three stages, each of which is over when the test says so. The times lie around now, so that observed
/// ones stand as they are.
struct Workflows {
    ids: Vec<String>,
    stages_done: Arc<AtomicUsize>,
    times: [String; 4],
}

const STAGES: [&str; 3] = ["DataLoader", "Processor", "OutputGenerator"];

impl Workflows {
    fn scripted(rig: &Rig, count: usize) -> Workflows {
        let now = wall_ns();
        let times = [-600, 300, 600, 1200]
            .map(|seconds: i64| rfc3339(now.wrapping_add_signed(seconds * 1_000_000_000)));
        let stages_done = Arc::new(AtomicUsize::new(0));
        let ids: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
        for id in &ids {
            let answers: Vec<Reply> = (0..=STAGES.len())
                .map(|done| Workflows::answer(id, &times, done))
                .collect();
            let done = stages_done.clone();
            rig.api
                .decide(id, move |_, _| answers[done.load(Ordering::SeqCst)].clone());
        }
        Workflows {
            ids,
            stages_done,
            times,
        }
    }

    fn answer(id: &str, times: &[String; 4], done: usize) -> Reply {
        let status = if done == STAGES.len() {
            "Completed"
        } else {
            "Processing"
        };
        let mut body = Body::new(id, status).start(&times[0]);
        if done == STAGES.len() {
            body = body.end(&times[3]);
        }
        for (at, stage) in STAGES.iter().enumerate().take(done + 1) {
            body = if at < done {
                body.stage(stage, "Completed", &times[at], &times[at + 1], "")
            } else {
                body.stage(stage, "Processing", &times[at], "", "")
            };
        }
        body.reply()
    }

    /// One stage more is over. Its span has left in each trace, and it is stored that the collector has it.
    #[track_caller]
    fn go_on(&self, rig: &Rig, service: &mut Service) {
        let done = self.stages_done.fetch_add(1, Ordering::SeqCst) + 1;
        let spans = self.ids.len() * (done + usize::from(done == STAGES.len()));
        service.until("the next spans", |_| match rig.receiver.spans().len() {
            count if count == spans => Ok(()),
            count => Err(format!("{count} spans of {spans}")),
        });
        if done < STAGES.len() {
            await_commits(rig, service.main(), &self.ids[0]);
        }
    }

    #[track_caller]
    fn assert_traced_once(&self, rig: &Rig) {
        rig.receiver.assert_each_span_once();
        for id in &self.ids {
            let trace = rig.trace(id);
            assert_eq!(trace.stages.len(), STAGES.len());
            trace.root.assert_times(&self.times[0], &self.times[3]);
            for (at, stage) in STAGES.iter().enumerate() {
                let span = trace.stage(stage);
                span.assert_times(&self.times[at], &self.times[at + 1]);
            }
            assert_eq!(trace.root.attribute("desk"), "rates");
        }
    }
}

#[test]
fn a_stall_and_a_kill_end_in_a_restart_that_goes_on_with_each_trace() {
    let rig = Rig::new();
    let workflows = Workflows::scripted(&rig, 10);
    let mut service = service(&rig);
    service.start();
    rig.redis.await_subscribers(CHANNEL, 1);
    for id in &workflows.ids {
        rig.publish(&json!({ "WorkflowId": id, "attributes": { "desk": "rates" } }));
    }
    workflows.go_on(&rig, &mut service);

    let stalled = wall_ns();
    service.main().signal("STOP");
    service.until("the next process is ready", |it| {
        it.count(&Happened::Ready) == 2
    });
    service.until("its state is read", |it| {
        it.log().contains("restored 10 workflows")
    });
    workflows.go_on(&rig, &mut service);

    service.main().signal("KILL");
    service.until("the third process is ready", |it| {
        it.count(&Happened::Ready) == 3
    });
    workflows.go_on(&rig, &mut service);
    workflows.assert_traced_once(&rig);
    // What was observed before the stall is still known.
    let trace = rig.trace("w0");
    assert!(trace.root.event_time("Processing") < stalled);

    service.stop();
    assert_eq!(
        service.happened,
        [
            Happened::Started,
            Happened::Ready,
            Happened::Stalled,
            Happened::Killed(SIGABRT),
            Happened::Started,
            Happened::Ready,
            Happened::Killed(SIGKILL),
            Happened::Started,
            Happened::Ready,
            Happened::Exited(0),
        ]
    );
    assert!(!service.will_restart());
    // Only the service's user reads its state.
    let state = service.state();
    let mode = |path| fs::metadata(path).expect("the state").permissions().mode() & 0o777;
    assert_eq!(
        (mode(state.clone()), mode(state.join("farspan.redb"))),
        (0o700, 0o600)
    );
}

/// For longer than the watchdog waits.
#[test]
fn a_farspan_that_has_nothing_to_do_feeds_the_watchdog_in_time() {
    let rig = Rig::new();
    let mut service = service(&rig);
    service.start();
    let limit = unit().time("WatchdogSec");
    let end = wall_ns() + 2 * u64::try_from(limit.as_nanos()).expect("seconds");
    service.until("twice the time of the watchdog", |_| wall_ns() > end);
    service.reload();
    service.stop();
    let once = [Happened::Started, Happened::Ready];
    assert_eq!(service.happened[..2], once, "{:?}", service.happened);
    assert_eq!(
        service.happened[2..],
        [Happened::Ready, Happened::Exited(0)]
    );
    assert!(
        service.log().contains("reloaded; nothing has changed"),
        "{}",
        service.log()
    );
}

#[test]
fn a_mistake_in_the_environment_file_is_not_started_again() {
    let rig = Rig::new();
    let (api, redis) = (rig.api.base_url(), rig.redis.url());
    let mut variables = variables(&api, &redis, "http://127.0.0.1:4318");
    variables[3] = ("FARSPAN_POLL_INTERVAL", "often");
    let mut service = Service::new(unit(), &variables, &[]);
    service.begin();
    service.until("the end", |it| !it.is_running());
    assert_eq!(service.happened, [Happened::Started, Happened::Exited(2)]);
    assert!(!service.will_restart());
    let log = service.log();
    assert!(
        log.contains("FARSPAN_POLL_INTERVAL: 'often' is not a duration"),
        "{log}"
    );
}

#[test]
fn the_credentials_of_the_unit_reach_the_api_and_redis() {
    let redis = RedisServer::with_password("s3cret");
    let rig = Rig::new();
    rig.api.script("w", [completed("w").reply()]);
    let unit = Unit::with_credentials().with("WatchdogSec", "3s");
    let (api, collector) = (rig.api.base_url(), rig.receiver.server.url());
    let mut variables = variables(&api, "", &collector).to_vec();
    variables.retain(|(name, _)| *name != "FARSPAN_REDIS_URL");
    let credentials = [
        ("api-token", "t0ken\n"),
        ("redis-url", &redis.url_with_password("s3cret")),
        ("admin-token", "adm1n"),
    ];
    let mut service = Service::new(unit, &variables, &credentials);
    service.start();
    redis.await_subscribers(CHANNEL, 1);
    redis.publish(CHANNEL, br#"{"WorkflowId": "w"}"#);
    service.until("the trace", |_| rig.receiver.has_root("w"));
    let requests = rig.api.requests_for("w");
    assert_eq!(requests[0].header("authorization"), Some("Bearer t0ken"));
    service.stop();
    assert!(!service.log().contains("s3cret"), "{}", service.log());
}
