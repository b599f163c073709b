//! What a poll costs at the pace of real life, where polls are rare and each may come alone: the built binary with its
//! state in a file, and beside it in the same run a bare blocking loop and a plain asyncio script. A case takes two
//! minutes.
//!
//! ```text
//! cargo bench --bench calm                                              # all cases
//! cargo bench --bench calm -- 500-10s                                   # those whose name has this in it
//! FARSPAN_BENCH_BEFORE=/path/to/farspan cargo bench --bench calm        # another build beside it
//! FARSPAN_BENCH_BESIDE=/path/to/farspan cargo bench --bench calm        # only another build, at the same time
//! FARSPAN_BENCH_SECONDS=60 cargo bench --bench calm                     # a longer look at farspan
//! ```
//!
//! Two builds that are measured one after the other differ by what the machine does meanwhile. At the same time they
//! share it.
#![allow(
    clippy::restriction,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly"
)]

#[path = "support/bare.rs"]
mod bare;
#[path = "../tests/support/mod.rs"]
mod servers;
mod support;

use bare::Bare;
use servers::folder::Folder;
use servers::free_port;
use servers::program::{Farspan, program};
use servers::receiver::Receiver;
use servers::redis::{CHANNEL, RedisServer};
use servers::threads::{Thread, Threads};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Nginx, median, memory_of, row};

/// Enough workflows that one is polled in each moment, and so few that each has its own.
struct Case {
    name: &'static str,
    title: &'static str,
    workflows: usize,
    interval: Duration,
    /// What the issue of a cheap poll asks for, against the asyncio script or against the build before.
    target: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "500-10s",
        title: "500 workflows, 10 s",
        workflows: 500,
        interval: Duration::from_secs(10),
        target: "<= 0.5 x asyncio",
    },
    Case {
        name: "500-500ms",
        title: "500 workflows, 500 ms",
        workflows: 500,
        interval: Duration::from_millis(500),
        target: "<= 0.35 x asyncio",
    },
    Case {
        name: "5000-10s",
        title: "5,000 workflows, 10 s",
        workflows: 5_000,
        interval: Duration::from_secs(10),
        target: "",
    },
    Case {
        name: "50000-10s",
        title: "50,000 workflows, 10 s",
        workflows: 50_000,
        interval: Duration::from_secs(10),
        target: "<= 0.65 x before",
    },
];

/// After the first answers: their commit, and the export of the spans that they bring (OTEL_BSP_SCHEDULE_DELAY).
const SETTLED_AFTER: Duration = Duration::from_secs(6);
const BARE: Duration = Duration::from_secs(8);
const ASYNCIO: Duration = Duration::from_secs(20);
/// Windows in which two builds are compared.
const WINDOWS: u32 = 10;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = wanted.iter().filter(|a| !a.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|a| name.contains(*a));
    let seconds = std::env::var("FARSPAN_BENCH_SECONDS");
    let seconds = seconds.map_or(30, |text| text.parse().expect("FARSPAN_BENCH_SECONDS"));
    let before = std::env::var_os("FARSPAN_BENCH_BEFORE").map(PathBuf::from);
    if let Some(other) = std::env::var_os("FARSPAN_BENCH_BESIDE").map(PathBuf::from) {
        for case in CASES.iter().filter(|case| is_wanted(case.name)) {
            case.beside(&other, Duration::from_secs(seconds));
        }
        return;
    }
    let python = python_with_aiohttp();
    if let Err(why) = &python {
        eprintln!("calm: NOT MEASURED: the asyncio script: {why}");
    }
    for case in CASES.iter().filter(|case| is_wanted(case.name)) {
        let window = Duration::from_secs(seconds);
        let one = case.bare(1);
        let ours = case.farspan(Path::new(env!("CARGO_BIN_EXE_farspan")), window);
        let before = before.as_ref().map(|binary| case.farspan(binary, window));
        let ten = case.bare(10);
        let asyncio = python.as_ref().ok().map(|python| case.asyncio(python));
        let again = case.bare(1);
        if !(0.8..1.25).contains(&(again.cpu_us / one.cpu_us)) {
            eprintln!(
                "calm: {}: THE MACHINE DID SOMETHING ELSE: the bare loop cost {:.0} us first and {:.0} us last",
                case.name, one.cpu_us, again.cpu_us
            );
        }
        case.report(&ours, before.as_ref(), &[one, ten], asyncio.as_ref());
    }
}

/// What was seen of one contender.
struct Seen {
    cpu_us: f64,
    /// The share of one core.
    share: f64,
    polls_a_second: f64,
    wakeups_a_second: f64,
    preemptions_a_second: f64,
    rss_mb: f64,
    /// As the report has it, from the start to the end.
    lateness: String,
}

impl Case {
    fn farspan(&self, binary: &Path, window: Duration) -> Seen {
        let watching = self.watching(binary);
        std::thread::sleep(self.interval + SETTLED_AFTER);
        let name = binary.display().to_string();
        let mut seen = self.look_at(&name, watching.watcher.id(), &watching.nginx, window);
        seen.lateness = watching.end();
        seen
    }

    /// This build and another one at the same time: what a poll costs the other one, against this one.
    fn beside(&self, other: &Path, all_windows: Duration) {
        let builds = [Path::new(env!("CARGO_BIN_EXE_farspan")), other];
        let both = builds.map(|binary| self.watching(binary));
        std::thread::sleep(self.interval + SETTLED_AFTER);
        let window = all_windows / WINDOWS;
        let cpu_us_of_both = || {
            let before = both.each_ref().map(Watching::look);
            std::thread::sleep(window);
            let after = both.each_ref().map(Watching::look);
            let [ours, theirs] = [0, 1].map(|it| after[it].cpu_us_a_poll_since(&before[it]));
            (ours, theirs)
        };
        let windows: Vec<(f64, f64)> = (0..WINDOWS).map(|_| cpu_us_of_both()).collect();
        let ratios: Vec<f64> = windows.iter().map(|(ours, theirs)| theirs / ours).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let (ours, theirs): (Vec<f64>, Vec<f64>) = windows.into_iter().unzip();
        let rss = both.each_ref().map(|it| {
            let bytes = memory_of(it.watcher.id(), "VmRSS");
            format!("{:.1} MB", bytes as f64 / (1024.0 * 1024.0))
        });
        row(
            &format!("{}: {} beside this build", self.title, other.display()),
            "<= 1.1 x",
            format!(
                "{:.2} x ({least:.2} to {most:.2} in {WINDOWS} windows): {:.1} us, {:.1} us; RSS {}, {}",
                median(ratios),
                median(theirs),
                median(ours),
                rss[1],
                rss[0],
            ),
        );
        for watching in both {
            watching.end();
        }
    }

    /// A farspan that has heard of all workflows.
    fn watching(&self, binary: &Path) -> Watching {
        let (nginx, redis, receiver) = (Nginx::start(), RedisServer::start(), Receiver::start());
        let state = Folder::new();
        let watcher = program(&binary.display().to_string(), &["run"])
            .env("FARSPAN_API_BASE_URL", nginx.base_url())
            .env("FARSPAN_REDIS_URL", redis.url())
            .env("FARSPAN_POLL_INITIAL_DELAY", "0s")
            .env("FARSPAN_POLL_INTERVAL", self.interval_text())
            .env("FARSPAN_STATE_DIR", state.path().display())
            .env("FARSPAN_ADMIN_LISTEN", format!("127.0.0.1:{}", free_port()))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
            .start();
        redis.await_subscribers(CHANNEL, 1);
        let events: Vec<String> = (0..self.workflows)
            .map(|number| format!(r#"{{"WorkflowId":"workflow-{number}"}}"#))
            .collect();
        redis.publish_all(CHANNEL, events.iter().map(String::as_bytes));
        Watching {
            watcher,
            nginx,
            _others: (redis, receiver, state),
        }
    }

    fn asyncio(&self, python: &Path) -> Seen {
        let nginx = Nginx::start();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/calm.py");
        let started = Command::new(python)
            .args([script, &nginx.base_url()])
            .arg(self.workflows.to_string())
            .arg(self.interval.as_secs_f64().to_string())
            .stdin(Stdio::null())
            .spawn();
        let child = Ended(started.expect("the script"));
        std::thread::sleep(self.interval + Duration::from_secs(2));
        self.look_at("asyncio", child.0.id(), &nginx, ASYNCIO)
    }

    fn bare(&self, together: usize) -> Seen {
        let nginx = Nginx::start();
        let mut bare = Bare::connect(&nginx.base_url());
        bare.poll(self.workflows, self.interval, together, BARE / 8);
        let start = Instant::now();
        let (polls, used) = bare.poll(self.workflows, self.interval, together, BARE);
        let name = format!("bare loop, {together} at a time");
        let seen = Seen::of(std::process::id(), polls, &[used], start.elapsed());
        self.say(&name, &seen, &BTreeMap::new());
        seen
    }

    /// Looks at a process that polls nginx.
    fn look_at(&self, name: &str, pid: u32, nginx: &Nginx, window: Duration) -> Seen {
        let (requests, threads, start) = (nginx.requests(), Threads::of(pid), Instant::now());
        std::thread::sleep(window);
        let (used, elapsed) = (Threads::of(pid).since(&threads), start.elapsed());
        // Less the question itself.
        let polls = nginx.requests() - requests - 1;
        let seen = Seen::of(pid, polls, &used, elapsed);
        self.say(name, &seen, &by_name(used));
        seen
    }

    fn say(&self, name: &str, seen: &Seen, threads: &BTreeMap<String, Thread>) {
        eprintln!(
            "calm: {}: {name}: {:.0} polls/s, {:.1} us CPU a poll, {:.2}% of a core, {:.0} wake-ups/s, {:.0} preemptions/s, RSS {:.1} MB",
            self.name,
            seen.polls_a_second,
            seen.cpu_us,
            seen.share * 100.0,
            seen.wakeups_a_second,
            seen.preemptions_a_second,
            seen.rss_mb,
        );
        let polls = seen.polls_a_second;
        let seconds = |thread: &Thread| thread.cpu.as_secs_f64();
        let all: f64 = threads.values().map(seconds).sum();
        for (name, thread) in threads {
            let share = seconds(thread) / all;
            eprintln!(
                "calm: {}:   {name}: {:.1} us a poll, {} wake-ups, {} preemptions",
                self.name,
                seen.share * 1e6 / polls * share,
                thread.waits,
                thread.preemptions,
            );
        }
    }

    fn report(&self, ours: &Seen, before: Option<&Seen>, bare: &[Seen; 2], asyncio: Option<&Seen>) {
        let [one, ten] = bare;
        let of = |what: &str, other: &Seen| {
            let ratio = ours.cpu_us / other.cpu_us;
            format!("{ratio:.2} x {what} ({:.0} us)", other.cpu_us)
        };
        let mut cpu = vec![of("bare loop", one), of("bare loop, ten at a time", ten)];
        cpu.insert(
            0,
            asyncio.map_or("no asyncio".to_owned(), |it| of("asyncio", it)),
        );
        cpu.extend(before.map(|it| of("before", it)));
        row(
            &format!("{}: CPU a poll", self.title),
            self.target,
            format!(
                "{:.1} us, {:.2}% of a core: {}",
                ours.cpu_us,
                ours.share * 100.0,
                cpu.join(", ")
            ),
        );
        let than = |ours: f64, before: Option<f64>| match before {
            Some(before) => format!(", {:.2} x before ({before:.1})", ours / before),
            None => String::new(),
        };
        row(
            "… wake-ups a second",
            "<= 0.5 x before",
            format!(
                "{:.0}, {:.2} a poll{}",
                ours.wakeups_a_second,
                ours.wakeups_a_second / ours.polls_a_second,
                than(ours.wakeups_a_second, before.map(|it| it.wakeups_a_second)),
            ),
        );
        row(
            "… lateness",
            "p99 < 20 ms",
            match before {
                Some(before) => format!("{}; before {}", ours.lateness, before.lateness),
                None => ours.lateness.clone(),
            },
        );
        row(
            "… RSS",
            "<= 1 x before",
            format!(
                "{:.1} MB{}",
                ours.rss_mb,
                than(ours.rss_mb, before.map(|it| it.rss_mb))
            ),
        );
    }

    fn interval_text(&self) -> String {
        format!("{}ms", self.interval.as_millis())
    }
}

/// A farspan with the servers around it.
struct Watching {
    watcher: Farspan,
    nginx: Nginx,
    _others: (RedisServer, Receiver, Folder),
}

/// What a farspan has done and used so far.
struct Look {
    requests: u64,
    threads: Threads,
}

impl Watching {
    fn look(&self) -> Look {
        Look {
            requests: self.nginx.requests(),
            threads: Threads::of(self.watcher.id()),
        }
    }

    /// Stops it, and returns what its report says of lateness.
    fn end(self) -> String {
        let ended = self.watcher.stop();
        let polls = ended.stderr.lines().find(|l| l.contains(" polls, "));
        let polls = polls.unwrap_or_else(|| panic!("no report: {}", ended.stderr));
        assert!(polls.contains(" polls, 0 failed"), "{polls}");
        let (_, lateness) = polls.split_once("lateness ").expect("the report's form");
        let (lateness, _) = lateness.split_once("; latency").expect("the report's form");
        lateness.to_owned()
    }
}

impl Look {
    fn cpu_us_a_poll_since(&self, before: &Look) -> f64 {
        let used = self.threads.since(&before.threads);
        let cpu: f64 = used.iter().map(|it| it.cpu.as_secs_f64()).sum();
        // Less the question itself.
        cpu * 1e6 / (self.requests - before.requests - 1) as f64
    }
}

impl Seen {
    fn of(pid: u32, polls: u64, threads: &[Thread], elapsed: Duration) -> Self {
        assert!(polls > 100, "only {polls} polls");
        let cpu: f64 = threads.iter().map(|it| it.cpu.as_secs_f64()).sum();
        let waits: u64 = threads.iter().map(|it| it.waits).sum();
        let preemptions: u64 = threads.iter().map(|it| it.preemptions).sum();
        let seconds = elapsed.as_secs_f64();
        Seen {
            cpu_us: cpu * 1e6 / polls as f64,
            share: cpu / seconds,
            polls_a_second: polls as f64 / seconds,
            wakeups_a_second: waits as f64 / seconds,
            preemptions_a_second: preemptions as f64 / seconds,
            rss_mb: memory_of(pid, "VmRSS") as f64 / (1024.0 * 1024.0),
            lateness: String::new(),
        }
    }
}

/// Those that do the same are told as one: `poller-7` is one of the `poller`s.
fn by_name(threads: Vec<Thread>) -> BTreeMap<String, Thread> {
    let mut all = BTreeMap::new();
    for thread in threads {
        let name = thread
            .name
            .trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        let sum: &mut Thread = all.entry(name.to_owned()).or_default();
        sum.cpu += thread.cpu;
        sum.waits += thread.waits;
        sum.preemptions += thread.preemptions;
    }
    all
}

/// A program that is ended with the bench.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The interpreter of an environment of its own under `target/`, which is made where it is missing.
fn python_with_aiohttp() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calm-python");
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        if output.status.success() {
            Ok(())
        } else {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!(
                "{} {}: {said}",
                program.display(),
                arguments.join(" ")
            ))
        }
    };
    if run(&python, &["-c", "import aiohttp"]).is_err() {
        let place = folder.display().to_string();
        run(Path::new("python3"), &["-m", "venv", "--clear", &place])?;
        run(&python, &["-m", "pip", "install", "--quiet", "aiohttp"])?;
    }
    Ok(python)
}
