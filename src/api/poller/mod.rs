//! The pollers: a fixed pool of threads, each with an agent for each API and its open connection.
//!
//! ```text
//! Poll -> the mapping's requests, page by page -> mapping -> Polled
//! ```
//!
//! A poller knows no workflow: it takes a poll and sends an answer, which carries the poll's generation. The core decides
//! when the next poll is sent.

mod requests;
mod unchanged;

use crate::api::exchange::Api;
pub use crate::api::exchange::{Exchange, TIMEOUTS};
use crate::core::{Poll, Polled};
use crate::http::client::{self, Network, Trust};
use crate::mapping::{Mapping, Missing, Oddity};
use crate::os::threads;
use crossbeam_channel::{Receiver, Sender};
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

/// The pool. Its threads end when the channel of polls is closed, and are joined when it is dropped.
#[derive(Debug)]
pub struct Pollers {
    threads: Vec<JoinHandle<()>>,
}

impl Pollers {
    /// Starts `count` pollers that take polls from `polls` and answer on `answers`. `apis` are the base URL and the trust
    /// of each monitor's API, in the order of the monitors. A reload does not change them.
    ///
    /// # Errors
    /// A text that says what is wrong with the trust, or that there is no thread to be had.
    pub fn start(
        count: usize,
        apis: &[(String, Trust)],
        network: &Network,
        polls: &Receiver<Ask>,
        answers: &Sender<Polled>,
    ) -> Result<Self, String> {
        const STACK_BYTES: usize = 256 * 1024;
        let unchanged = Arc::new(Unchanged::default());
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let agent =
                |(url, trust): &(String, Trust)| client::agent(TIMEOUTS, url, trust, network);
            let agents = apis.iter().map(agent).collect::<Result<_, _>>()?;
            let mut poller = Poller::new(agents, network.clone(), unchanged.clone());
            let (polls, answers) = (polls.clone(), answers.clone());
            let thread = threads::spawn(format!("poller-{number}"), STACK_BYTES, move || {
                for Ask { poll, target } in polls {
                    if answers.send(poller.poll(&poll, &target)).is_err() {
                        break;
                    }
                }
            });
            threads.push(thread.map_err(|e| format!("cannot start poller {number}: {e}"))?);
        }
        Ok(Pollers { threads })
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
}

/// Polls once, on this thread, as a poller would.
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
    let mut poller = Poller::new(vec![agent], network.clone(), Arc::default());
    let poll = Poll {
        slot: 0,
        generation: 0,
        monitor: 0,
        workflow_id: workflow_id.into(),
        traceparent: None,
    };
    Ok(poller.probe(&poll, target))
}

impl Drop for Pollers {
    fn drop(&mut self) {
        for thread in self.threads.drain(..) {
            // A poller that panicked has said so on standard error.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
