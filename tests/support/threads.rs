//! What each thread of a process has used, as `/proc` tells it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// One thread, by the number that the kernel gave it.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    pub name: String,
    pub cpu: Duration,
    /// How often it waited for something, and so had to be woken.
    pub waits: u64,
    /// How often it had to make room for another thread.
    pub preemptions: u64,
}

/// All threads of a process. What a thread that has ended had used is gone.
#[derive(Clone, Debug)]
pub struct Threads(BTreeMap<u32, Thread>);

impl Threads {
    /// As they stand now.
    pub fn of(pid: u32) -> Self {
        let folder = format!("/proc/{pid}/task");
        let tasks = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let threads = tasks.filter_map(|task| {
            let id = task.ok()?.file_name().to_str()?.parse().ok()?;
            Some((id, Thread::at(&format!("{folder}/{id}"))?))
        });
        Threads(threads.collect())
    }

    /// Those with this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Thread> {
        self.0.values().filter(move |thread| thread.name == name)
    }

    /// What they have used since then.
    pub fn since(&self, then: &Threads) -> Vec<Thread> {
        let used = self.0.iter().map(|(id, now)| {
            let before = then.0.get(id).cloned().unwrap_or_default();
            Thread {
                name: now.name.clone(),
                cpu: now.cpu.saturating_sub(before.cpu),
                waits: now.waits - before.waits,
                preemptions: now.preemptions - before.preemptions,
            }
        });
        used.collect()
    }
}

impl Thread {
    /// The thread that asks.
    pub fn own() -> Self {
        Thread::at("/proc/thread-self").expect("proc(5)")
    }

    /// `None` when it has ended.
    fn at(folder: &str) -> Option<Self> {
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(':').map(str::trim)
        };
        // The first number is the time on a CPU in ns. `stat` would tell it in steps of 10 ms.
        let path = format!("{folder}/schedstat");
        let schedule = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}; the kernel needs CONFIG_SCHED_INFO"));
        let cpu_ns = schedule.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Thread {
            name: field("Name")?.to_owned(),
            cpu: Duration::from_nanos(cpu_ns),
            waits: field("voluntary_ctxt_switches")?.parse().ok()?,
            preemptions: field("nonvoluntary_ctxt_switches")?.parse().ok()?,
        })
    }
}
