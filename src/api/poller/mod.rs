//! The pollers: a fixed pool of threads, each with an agent for each API and its open connection.
//!
//! ```text
//! group of polls -> queue -> Poll -> the mapping's requests, page by page -> mapping -> Polled -> queue -> report
//! ```
//!
//! A poller knows no workflow: it takes a poll and sends an answer, which carries the poll's generation. The core decides
//! when the next poll is sent.

mod queue;
mod requests;
mod unchanged;

use crate::api::exchange::{Api, PathTold, path_told};
pub use crate::api::exchange::{Exchange, TIMEOUTS};
use crate::core::{Answer, Poll, Polled};
use crate::http::client::{self, Network, Trust};
use crate::mapping::{Mapping, Missing, Oddity};
use crate::os::threads;
use crossbeam_channel::Sender;
use queue::Work;
pub use queue::{PollerQueue, PollerReport};
use requests::Poller;
use std::sync::Arc;
use std::thread::JoinHandle;
use unchanged::Unchanged;

/// An API to poll.
#[derive(Debug)]
pub struct Target {
    /// The API.
    pub api: Arc<Api>,
    /// Its requests, and how their answers are read.
    pub mapping: Arc<Mapping>,
}

/// A poll and the API to send it to. The target travels with each poll: after a reload each new poll has the new token,
/// and polls under way keep the old one.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The poll.
    pub poll: Poll,
    /// The API of the poll's monitor.
    pub target: Arc<Target>,
}

/// The pool. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Pollers {
    queues: Vec<Arc<PollerQueue>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pollers {
    /// Starts `count` pollers, each with a queue, that answer on `reports`. `apis` are the base URL and the trust of each
    /// monitor's API, in the order of the monitors. A reload does not change them.
    ///
    /// # Errors
    /// A text that says what is wrong with the trust, or that there is no thread to be had.
    pub fn start(
        count: usize,
        apis: &[(String, Trust)],
        network: &Network,
        reports: &Sender<PollerReport>,
    ) -> Result<Self, String> {
        const STACK_BYTES: usize = 256 * 1024;
        let unchanged = Arc::new(Unchanged::default());
        let mut pollers = Pollers {
            queues: Vec::with_capacity(count),
            threads: Vec::with_capacity(count),
        };
        for number in 0..count {
            let agent =
                |(url, trust): &(String, Trust)| client::agent(TIMEOUTS, url, trust, network);
            let agents = apis.iter().map(agent).collect::<Result<_, _>>()?;
            let mut poller = Poller::new(agents, network.clone(), unchanged.clone());
            let queue = Arc::new(PollerQueue::default());
            pollers.queues.push(queue.clone());
            let reports = reports.clone();
            let thread = threads::spawn(format!("poller-{number}"), STACK_BYTES, move || {
                work(&mut poller, &queue, &reports);
            });
            let thread = thread.map_err(|e| format!("cannot start poller {number}: {e}"))?;
            pollers.threads.push(thread);
        }
        Ok(pollers)
    }

    /// The queue of each poller.
    pub fn queues(&self) -> &[Arc<PollerQueue>] {
        &self.queues
    }
}

fn work(poller: &mut Poller, queue: &PollerQueue, reports: &Sender<PollerReport>) {
    let mut answer = None;
    loop {
        match queue.next(answer.take()) {
            Work::Poll(Ask { poll, target }) => answer = Some(poller.poll(&poll, &target)),
            Work::Report(report) => {
                if reports.send(report).is_err() {
                    return;
                }
            }
            Work::End => return,
        }
    }
}

/// One poll with all its requests and answers.
#[derive(Debug)]
pub struct Probed {
    /// Its answer.
    pub polled: Polled,
    /// Its requests in their order.
    pub exchanges: Vec<Exchange>,
    /// The pointers that found nothing, if all requests were answered.
    pub found_nothing: Vec<Missing>,
    /// The oddities that no single answer shows.
    pub together: Vec<Oddity>,
    /// What an answer "404 Not Found" says of the path.
    pub path: PathTold,
}

/// Polls once, on this thread, as a poller would. Where the API does not find the workflow, it asks once more, for a path
/// that no API has.
///
/// # Errors
/// A text that says what is wrong with the trust.
pub fn probe(
    target: &Target,
    trust: &Trust,
    network: &Network,
    workflow_id: &str,
) -> Result<Probed, String> {
    let agent = client::agent(TIMEOUTS, &target.api.base_url, trust, network)?;
    let mut poller = Poller::new(vec![agent.clone()], network.clone(), Arc::default());
    let poll = Poll {
        slot: 0,
        generation: 0,
        monitor: 0,
        workflow_id: workflow_id.into(),
        traceparent: None,
    };
    // What `path_told` finds is said instead.
    target.api.path_doubt.silence();
    let mut probed = poller.probe(&poll, target);
    if let (Answer::NotFound, Some(last)) = (&probed.polled.answer, probed.exchanges.last()) {
        probed.path = path_told(&agent, &target.api, last);
    }
    Ok(probed)
}

impl Drop for Pollers {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close());
        for thread in self.threads.drain(..) {
            // A poller that panicked has said so on standard error.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
