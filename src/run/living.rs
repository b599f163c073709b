//! A long life: the configuration is read again on SIGHUP, and the service manager gets the status.
//!
//! ```text
//! SIGHUP ──▶ the thread `reload` ──Begun──▶ loop: RELOADING=1
//!            reads every file    ──Read───▶ loop: takes over what can change, names the rest; READY=1
//! ```
//!
//! Files are read beside the loop, for a file may hang. What it takes over, the loop hands on by value: the core gets an
//! input, and a poller gets its target with each poll.

use crate::config::{Config, ConfigOrigin, Errors};
use crate::os::clock;
use crate::os::logging;
use crate::os::systemd::{Activity, ServiceState, ServiceStatus, Supervisor};
use crossbeam_channel::{Receiver, bounded};
use std::io;
use std::time::Duration;

/// What the loop has for it.
pub(super) struct Living {
    supervisor: Supervisor,
    reloads: Receiver<Reload>,
    /// What counts now. Elsewhere in the loop is the configuration of the start.
    in_force: Config,
    pub(super) activity: Activity,
    /// For which the last reload was refused.
    pub(super) mistakes: usize,
}

/// How far a reload has come.
pub(super) enum Reload {
    /// The files are about to be read.
    Begun,
    /// They were.
    Read(Box<Result<Config, Errors>>),
}

/// Starts the thread that reads the configuration again for each item of `hangups`.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn read_anew(
    source: ConfigOrigin,
    hangups: Receiver<()>,
) -> io::Result<Receiver<Reload>> {
    let (sent, reloads) = bounded(1);
    let read = move || {
        for () in hangups {
            let begun = sent.send(Reload::Begun);
            let read = Reload::Read(Box::new(source.load()));
            if begun.and_then(|()| sent.send(read)).is_err() {
                break;
            }
        }
    };
    // Not joined: it waits for a signal that may never come, or for a file.
    let thread = std::thread::Builder::new().name("reload".into());
    thread.spawn(read)?;
    Ok(reloads)
}

impl Living {
    pub(super) fn new(config: &Config, supervisor: Supervisor, reloads: Receiver<Reload>) -> Self {
        Living {
            supervisor,
            reloads,
            in_force: config.clone(),
            activity: Activity::Watching,
            mistakes: 0,
        }
    }

    pub(super) fn reloads(&self) -> Receiver<Reload> {
        self.reloads.clone()
    }

    pub(super) fn say(&mut self, state: ServiceState) {
        self.supervisor.say(state);
    }

    /// Tells the service manager the state. Returns how long the loop may wait before it does so again.
    pub(super) fn supervise(&mut self, status: ServiceStatus) -> Duration {
        self.supervisor.turn(clock::now().mono, status)
    }

    /// Takes a step of a reload. Returns the configuration that is in force from now on, if it is another one.
    pub(super) fn reload(&mut self, reload: Reload) -> Option<&Config> {
        let read = match reload {
            Reload::Begun => {
                log::info!("SIGHUP: the configuration is read again");
                self.say(ServiceState::Reloading);
                return None;
            }
            Reload::Read(read) => *read,
        };
        self.say(ServiceState::Ready);
        match read {
            Ok(newer) => {
                self.mistakes = 0;
                self.take_over(newer);
                Some(&self.in_force)
            }
            Err(mistakes) => {
                self.mistakes = mistakes.iter().count();
                for mistake in mistakes.iter() {
                    log::error!("{mistake}");
                }
                log::error!("the new configuration has mistakes; the old one stays in force");
                None
            }
        }
    }

    fn take_over(&mut self, newer: Config) {
        let in_force = &mut self.in_force;
        // Logged at the lower of both levels, so that a change of the level is logged too.
        logging::set_level(in_force.log.level.max(newer.log.level));
        let (changes, warnings) = in_force.take_over(newer);
        for warning in warnings {
            log::warn!("{warning}");
        }
        if changes.is_empty() {
            log::info!("reloaded; nothing has changed");
        }
        for change in changes {
            let text = change.text;
            if change.in_force {
                log::info!("reloaded; from now on {text}");
            } else {
                log::warn!("reloaded, but not without a restart: {text}");
            }
        }
        logging::set_level(in_force.log.level);
    }
}
