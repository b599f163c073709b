//! CPU of a whole poll (request, parse, transition) against that of a bare GET of the same body, in one run.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

mod support;

use crossbeam_channel::bounded;
use farspan::api::poller;
use farspan::config::{Config, PollConfig};
use farspan::core::event::{Sampling, StartEvent};
use farspan::http::client::{self, Network, Trust};
use farspan::http::proxies::Proxies;
use farspan::os::environment::Environment;
use farspan::run;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{Nginx, body_of, cpu_of_self, median, row};
use ureq::Agent;
use ureq::unversioned::transport::DefaultConnector;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const THREADS: usize = 16;
/// With the interval, more polls than can be made: one is always due.
const WORKFLOWS: usize = 2_000;
const INTERVAL: Duration = Duration::from_millis(10);

fn main() {
    let nginx = Nginx::start();
    let base_url = nginx.base_url();
    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        figures[0].push(cpu_us_for_each(|| gets(&base_url, agent_as_it_comes)));
        figures[1].push(cpu_us_for_each(|| gets(&base_url, agent_with_a_cache)));
        figures[2].push(cpu_us_for_each(|| gets(&base_url, agent_of_ours)));
        figures[3].push(cpu_us_for_each(|| polls(&base_url)));
    }
    let [plain, cached, ours, whole] = figures.map(median);
    row(
        "CPU of a whole poll, against a bare GET through ureq with a caching resolver",
        "<= 1.6 x",
        format!("{:.2} x: {whole:.1} us, {cached:.1} us", whole / cached),
    );
    row(
        "… against a bare GET through ureq as it comes, with a timeout",
        "<= 0.2 x",
        format!("{:.2} x: {plain:.1} us", whole / plain),
    );
    row(
        "… against a bare GET through farspan's own agent",
        "",
        format!("{:.2} x: {ours:.1} us", whole / ours),
    );
}

fn cpu_us_for_each(requests: impl FnOnce() -> u64) -> f64 {
    let before = cpu_of_self();
    let count = requests();
    assert!(count > 1000, "only {count} answers");
    (cpu_of_self() - before).as_secs_f64() * 1e6 / count as f64
}

fn agent_as_it_comes() -> Agent {
    let config = Agent::config_builder().timeout_global(Some(poller::TIMEOUTS.total));
    config.build().into()
}

fn agent_with_a_cache() -> Agent {
    const BUFFER_BYTES: usize = 16 * 1024;
    let config = Agent::config_builder()
        .timeout_global(Some(poller::TIMEOUTS.total))
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES);
    let connector = DefaultConnector::default();
    Agent::with_parts(
        config.build(),
        connector,
        Network::start(Proxies::default()).unwrap(),
    )
}

fn agent_of_ours() -> Agent {
    let network = Network::start(Proxies::default()).unwrap();
    let agent = client::agent(
        poller::TIMEOUTS,
        "http://127.0.0.1",
        &Trust::default(),
        &network,
    );
    agent.expect("nothing to trust")
}

/// Bare GETs from all threads for the length of a round: how many.
fn gets(base_url: &str, agent: fn() -> Agent) -> u64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (stop, count) = (&stop, &count);
            let (agent, id) = (agent(), format!("workflow-{number}"));
            let (url, expected) = (format!("{base_url}/workflows/{id}"), body_of(&id));
            scope.spawn(move || {
                let mut body = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let response = agent.get(&url).call().expect("an answer");
                    body.clear();
                    let mut reader = response.into_body().into_reader();
                    reader.read_to_end(&mut body).expect("a body");
                    count.fetch_add(1, Ordering::Relaxed);
                }
                assert_eq!(body, expected.as_bytes());
            });
        }
        std::thread::sleep(ROUND);
        stop.store(true, Ordering::Relaxed);
    });
    count.into_inner()
}

/// farspan itself, without a collector, for the length of a round: how many polls.
fn polls(base_url: &str) -> u64 {
    let environment = Environment::default();
    let mut config = Config::for_api(&environment, base_url).expect("a good configuration");
    config.poll_at(PollConfig {
        pollers: THREADS,
        interval: INTERVAL,
        initial_delay: Duration::ZERO,
        ..config.poll
    });
    config.admin = None;
    let endpoint = run::Endpoint::bind(&config).expect("none");
    let (events, received) = bounded(WORKFLOWS);
    for number in 0..WORKFLOWS {
        let event = StartEvent {
            monitor: 0,
            workflow_id: format!("workflow-{number}").into(),
            submitted_at: None,
            attempt: None,
            parent: None,
            sampling: Sampling::AsParent,
            ..StartEvent::new(0, "")
        };
        events.send(event).expect("room for all");
    }
    let (stop, stopped) = bounded(1);
    let stopping = std::thread::spawn(move || {
        std::thread::sleep(ROUND);
        drop(stop);
    });
    let report = run::watch(&config, endpoint, received, stopped, Vec::new()).expect("it starts");
    stopping.join().expect("it slept");
    drop(events);
    let failed: u64 = report.counters.polls_failed().iter().sum();
    assert_eq!((failed, report.counters.polls_not_found()), (0, 0));
    assert_eq!(report.unfinished, WORKFLOWS);
    // Of each workflow the first stage.
    assert_eq!(report.counters.spans_finished, WORKFLOWS as u64);
    report.counters.polls()
}
