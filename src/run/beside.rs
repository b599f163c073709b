//! The loop on a thread of its own, beside the threads of a program that embeds it.
//!
//! It takes nothing that belongs to the program: no signal, no standard input or output, no log.

use super::start::{Running, Surroundings, Unended, start_intake, unsupervised};
use super::{Report, build};
use crate::admin::question::ViewQuestion;
use crate::config::Config;
use crate::http::client::Network;
use crate::intake::message::Dialects;
use crate::intake::posted::Posted;
use crate::os::threads;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::convert::Infallible;
use std::thread::JoinHandle;
use std::time::Duration;

/// The loop, and the ways to it.
#[derive(Debug)]
pub struct Beside {
    /// Start events go here.
    pub posted: Sender<Posted>,
    /// Questions of viewers go here.
    pub questions: Sender<ViewQuestion>,
    /// How start events are read.
    pub reading: Dialects,
    stop_within: Sender<Duration>,
    /// Dropped at the stop.
    stop: Option<Sender<Infallible>>,
    ended: Receiver<BesideEnd>,
    thread: JoinHandle<()>,
}

/// What is left of a [`Beside`] whose stop is over.
#[derive(Debug)]
pub struct BesideEnd {
    /// What the loop did.
    pub report: Report,
    /// Whether threads have a request under way. Each ends with it.
    pub has_unended_threads: bool,
}

/// As the main thread has by default on some systems. The loop recurses little.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// What the thread tells once it is ready.
type Ready = Result<(Sender<Posted>, Sender<ViewQuestion>), String>;

impl Beside {
    /// Starts everything, and returns when the loop is about to turn.
    ///
    /// # Errors
    /// A text that says what cannot be started.
    pub fn start(config: Config) -> Result<Self, String> {
        let reading = build::reading(&config);
        let (stop, stopped) = bounded(1);
        let (stop_within, has_deadline) = bounded(1);
        let (ready, is_ready) = bounded(1);
        let (over, ended) = bounded(1);
        let run = move || run(&config, stopped, has_deadline, &ready, &over);
        let thread = threads::spawn("farspan", STACK_BYTES, run)
            .map_err(|error| format!("cannot start the thread of the loop: {error}"))?;
        let started: Ready = is_ready
            .recv()
            .unwrap_or_else(|_| Err("the thread of the loop has panicked".to_owned()));
        let (posted, questions) = match started {
            Ok(ways) => ways,
            Err(trouble) => {
                // It is about to end.
                drop(thread.join());
                return Err(trouble);
            }
        };
        Ok(Beside {
            posted,
            questions,
            reading,
            stop_within,
            stop: Some(stop),
            ended,
            thread,
        })
    }

    /// Stops, and waits until the stop is over, or else also for every thread. `None`: the loop has panicked.
    pub fn stop(mut self, within: Duration, waits_for_threads: bool) -> Option<BesideEnd> {
        let _ = self.stop_within.try_send(within);
        self.stop = None;
        let end = self.ended.recv().ok();
        let is_left = (end.as_ref()).is_some_and(|end| end.has_unended_threads);
        if waits_for_threads || !is_left {
            // If it has panicked, there is no end.
            drop(self.thread.join());
        }
        end
    }
}

fn run(
    config: &Config,
    stopped: Receiver<Infallible>,
    stop_within: Receiver<Duration>,
    ready: &Sender<Ready>,
    over: &Sender<BesideEnd>,
) {
    // What is sent has its place in the channel, and who waits for it may have gone.
    match start_and_run(config, stopped, stop_within, ready) {
        Ok((report, unended)) => {
            let has_unended_threads = !unended.is_empty();
            drop(over.try_send(BesideEnd {
                report,
                has_unended_threads,
            }));
            drop(unended);
        }
        Err(trouble) => drop(ready.try_send(Err(trouble))),
    }
}

fn start_and_run(
    config: &Config,
    stopped: Receiver<Infallible>,
    stop_within: Receiver<Duration>,
    ready: &Sender<Ready>,
) -> Result<(Report, Unended), String> {
    let network = Network::start(config.proxies.clone())?;
    let (mut intake, answering, ways) = start_intake(config, &network, &stopped, false)?;
    intake.is_viewed = true;
    intake.stop_within = stop_within;
    let around = Surroundings {
        network,
        spans: Vec::new(),
        living: unsupervised(config),
        onlooker: None,
    };
    let running = Running::start(config, intake, stopped, around)?;
    let _ = ready.try_send(Ok((ways.posted, ways.questions)));
    let ended = running.run();
    answering.end();
    Ok(ended)
}
