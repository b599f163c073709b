//! farspan killed with -9 again and again, while collector and Redis come and go.
//!
//! ```text
//! FARSPAN_CHAOS_WORKFLOWS=500 FARSPAN_CHAOS_KILLS=50 FARSPAN_CHAOS_SEED=1 \
//!     cargo test --release --test e2e chaos -- --nocapture
//! ```
//!
//! Once with its state in a file and once with it in that Redis, which keeps what it acknowledged.

use crate::support::demo::DemoApi;
use crate::support::files::Files;
use crate::support::folder::Folder;
use crate::support::http::{Answer, Server};
use crate::support::program::{Call, Farspan, farspan};
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::reported::{assert_as_reported, get};
use crate::support::spans::{assert_whole, hex};
use crate::support::{SOON, eventually, pause, within};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

#[test]
fn however_often_it_is_killed_every_workflow_is_one_whole_trace() {
    run("file");
}

#[test]
fn however_often_it_is_killed_with_its_state_in_redis_too() {
    run("redis");
}

fn run(kept: &'static str) {
    let workflows = number("FARSPAN_CHAOS_WORKFLOWS").unwrap_or(60);
    let kills = number("FARSPAN_CHAOS_KILLS").unwrap_or(5);
    let seed = number("FARSPAN_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    say(&format!(
        "chaos: FARSPAN_CHAOS_WORKFLOWS={workflows} FARSPAN_CHAOS_KILLS={kills} FARSPAN_CHAOS_SEED={seed}, state in {kept}"
    ));
    let mut chaos = Chaos::new(workflows as usize, seed, kills, kept);
    chaos.submit_unheard();
    for _ in 0..kills {
        chaos.live_a_while();
        chaos.kill();
    }
    chaos.calm();
    chaos.hold();
}

struct Chaos {
    kept: &'static str,
    redis: RedisServer,
    receiver: Receiver,
    /// Who wants to know of each end.
    next: Server,
    api: DemoApi,
    call: Call,
    watcher: Option<Farspan>,
    ids: Vec<String>,
    submitted_at: String,
    random: u64,
    redis_bounces: u32,
    collector_bounces: u32,
    published: usize,
    kills: u32,
    _state: Folder,
    _files: Files,
}

impl Chaos {
    fn new(workflows: usize, seed: u64, kills: u64, kept: &'static str) -> Self {
        let redis = match kept {
            "redis" => RedisServer::durable(),
            _ => RedisServer::start(),
        };
        let receiver = Receiver::start();
        // The longest workflow takes five hours; the kills are spread over about half of that.
        let seconds = (kills as f64 * 1.2).clamp(6.0, 90.0);
        let speed = format!("{:.0}", 5.0 * 3600.0 / seconds);
        let api = DemoApi::start(&format!("--speed {speed} --seed {seed}"));
        let state = Folder::new();
        let (next, files) = (Server::start(|_| Answer::new(204).into()), Files::new());
        let monitor = json!({ "name": "chaos", "preset": "farspan", "api": { "base_url": api.base_url() },
            "finished": { "url": next.url() } });
        let config = json!({ "monitors": [monitor] }).to_string();
        let call = farspan(&["run"])
            .env("FARSPAN_CONFIG", files.write("farspan.json", config))
            .env("FARSPAN_REDIS_URL", redis.url())
            .env("FARSPAN_POLL_INITIAL_DELAY", "50ms")
            .env("FARSPAN_POLL_INTERVAL", "500ms")
            .env("FARSPAN_STATE", kept)
            .env("FARSPAN_ADMIN_LISTEN", "none")
            .env("FARSPAN_LOG", "info")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "40");
        let call = match kept {
            // One name: each life has at once what the one before it had.
            "redis" => call.env("FARSPAN_INSTANCE", "chaos"),
            _ => call.env("FARSPAN_STATE_DIR", state.path().display()),
        };
        let watcher = call.start();
        redis.await_subscribers(CHANNEL, 1);
        Chaos {
            kept,
            redis,
            receiver,
            next,
            api,
            call,
            watcher: Some(watcher),
            ids: (0..workflows)
                .map(|n| format!("chaos-{seed}-{n}"))
                .collect(),
            submitted_at: "2024-07-05T06:57:51.0737407Z".to_owned(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            redis_bounces: 0,
            collector_bounces: 0,
            published: 0,
            kills: 0,
            _state: state,
            _files: files,
        }
    }

    /// xorshift64*
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// Publishes again whatever the API was never asked after, and some of the rest: the publisher tries until it is
    /// sure, and may be wrong.
    fn submit_unheard(&mut self) {
        let known = self.asked_after();
        let again = self.below(10);
        let events: Vec<String> = (0..)
            .zip(&self.ids)
            .filter(|(n, id)| !known.contains(*id) || n % 10 == again)
            .map(|(_, id)| {
                json!({ "WorkflowId": id, "SubmittedAt": self.submitted_at, "attributes": { "desk": id } })
                    .to_string()
            })
            .collect();
        self.published += events.len();
        for event in events {
            self.redis.publish(CHANNEL, event.as_bytes());
        }
    }

    /// The API logs each workflow that it plans, when it is first asked after.
    fn asked_after(&self) -> HashSet<String> {
        let log = self.api.running.stderr();
        let planned = log.lines().filter(|line| line.contains("planned: "));
        let ids = planned.filter_map(|line| line.split('"').nth(1));
        ids.map(str::to_owned).collect()
    }

    fn live_a_while(&mut self) {
        match self.below(4) {
            0 => {
                self.redis.stop();
                pause(Duration::from_millis(self.below(200)));
                self.redis.resume();
                self.redis_bounces += 1;
                self.redis.await_subscribers(CHANNEL, 1);
                self.submit_unheard();
            }
            1 => {
                self.receiver.server.stop();
                pause(Duration::from_millis(self.below(300)));
                self.receiver.server.resume();
                self.next.stop();
                pause(Duration::from_millis(self.below(300)));
                self.next.resume();
                self.collector_bounces += 1;
            }
            2 => {
                let every = 2 + self.below(3);
                let mut count = 0;
                self.receiver.rule(move |_| {
                    count += 1;
                    (count % every == 0).then(|| Answer::new(503).into())
                });
            }
            _ => self.receiver.behave(),
        }
        pause(Duration::from_millis(self.below(900)));
    }

    /// Anywhere in a turn: the time since the last action is chance.
    fn kill(&mut self) {
        let watcher = self.watcher.take().expect("it runs");
        let ended = watcher.kill();
        assert!(!ended.stderr.contains("damaged"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        self.kills += 1;
        // Pub/sub loses what comes now.
        if self.below(2) == 0 {
            self.submit_unheard();
        }
        self.watcher = Some(self.call.start());
        self.redis.await_subscribers(CHANNEL, 1);
        self.submit_unheard();
    }

    fn calm(&mut self) {
        self.receiver.behave();
        let all = self.ids.len();
        while within(Duration::from_secs(3), || self.asked_after().len() == all).is_err() {
            self.submit_unheard();
        }
        eventually("every workflow's end", 10 * SOON, || {
            match self.receiver.root_ids().len() {
                count if count == all => Ok(()),
                count => Err(format!("{count} roots")),
            }
        });
        eventually(
            "whoever wants to know of every end does",
            10 * SOON,
            || match self.told().len() {
                count if count == all => Ok(()),
                count => Err(format!("{count} are told")),
            },
        );
        let watcher = self.watcher.take().expect("it runs");
        watcher.stop();
    }

    /// What was told of the ends, and how often, by the run.
    fn told(&self) -> BTreeMap<String, HashMap<Vec<u8>, usize>> {
        let mut told: BTreeMap<String, HashMap<Vec<u8>, usize>> = BTreeMap::new();
        for request in self.next.requests() {
            let event: Value = serde_json::from_slice(&request.body).expect("an event");
            let run = event["MessageId"].as_str().expect("a run").to_owned();
            *told
                .entry(run)
                .or_default()
                .entry(request.body)
                .or_default() += 1;
        }
        told
    }

    fn hold(&self) {
        let exports = self.receiver.exports();
        let mut contents: HashMap<Vec<u8>, HashSet<Vec<u8>>> = HashMap::new();
        let mut trace_ids: BTreeMap<String, HashSet<Vec<u8>>> = BTreeMap::new();
        let (mut sent, mut differ) = (0, 0);
        for export in &exports {
            for (span, bytes) in export.spans.iter().zip(&export.raw_spans) {
                sent += 1;
                let known = contents.entry(span.span.span_id.clone()).or_default();
                differ += usize::from(known.insert(bytes.clone()) && known.len() > 1);
                let id = span.workflow_id();
                let ids = trace_ids.entry(id).or_default();
                ids.insert(span.span.trace_id.clone());
            }
        }
        let spans = self.receiver.distinct_spans();
        let roots = |id: &String| {
            spans
                .iter()
                .any(|span| span.is_root() && span.workflow_id() == *id)
        };
        let lost = self.ids.iter().filter(|id| !roots(id)).count();
        let two_ids = trace_ids.values().filter(|ids| ids.len() > 1).count();
        let twice = self.receiver.spans().len() - spans.len();
        let told = self.told();
        let tellings: usize = told.values().flat_map(HashMap::values).sum();
        let two_ends = told.values().filter(|contents| contents.len() > 1).count();
        say(&format!(
            "chaos: state in {}, {} workflows, {} kills, {} bounces of Redis and {} of the collector, {} events published\n\
             chaos: {} spans, sent {sent} times in {} requests, {twice} of them acknowledged more than once\n\
             chaos: {lost} lost, {two_ids} with two ids, {differ} re-sends that differ\n\
             chaos: {} ends told {tellings} times, {two_ends} in two ways",
            self.kept,
            self.ids.len(),
            self.kills,
            self.redis_bounces,
            self.collector_bounces,
            self.published,
            spans.len(),
            exports.len(),
            told.len(),
        ));
        assert_eq!((lost, two_ids, differ, two_ends), (0, 0, 0, 0));
        let traces = assert_whole(&spans);
        assert_eq!(traces.len(), self.ids.len());
        for (id, trace) in &traces {
            let body: Value = get(&self.api.address, &format!("/workflows/{id}"));
            assert_as_reported(trace, &body);
            assert_eq!(trace.root.attribute("desk"), *id);
        }
        let ended: HashSet<String> = told
            .values()
            .flat_map(HashMap::keys)
            .map(|event| {
                let event: Value = serde_json::from_slice(event).expect("an event");
                let root = &traces[event["WorkflowId"].as_str().expect("an id")]
                    .root
                    .span;
                let (trace_id, span_id) = (hex(&root.trace_id), hex(&root.span_id));
                assert_eq!(event["traceparent"], format!("00-{trace_id}-{span_id}-01"));
                event["WorkflowId"].to_string()
            })
            .collect();
        assert_eq!(ended.len(), self.ids.len());
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect(variable))
}

/// Past the capture of the test's output.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
