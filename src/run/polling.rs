//! The way to the pollers.

use super::build;
use crate::api::poller::{Ask, PollerQueue, PollerReport, Target};
use crate::config::Config;
use crate::core::PollGroup;
use crate::http::client::Network;
use std::sync::Arc;

pub(super) struct Polling {
    /// Of each poller.
    pub(super) queues: Vec<Arc<PollerQueue>>,
    /// What is asked of the API of each monitor, with the credentials in force.
    pub(super) targets: Vec<Arc<Target>>,
    /// For the token requests of later credentials.
    pub(super) network: Network,
}

impl Polling {
    /// Gives a group of polls to its poller.
    pub(super) fn send(&self, group: PollGroup) {
        let asks = group.polls.into_iter().map(|poll| Ask {
            target: self.targets[usize::from(poll.monitor)].clone(),
            poll,
        });
        self.queues[usize::from(group.poller)].give(asks);
    }

    /// Takes back the polls that this poller has not begun, and the answers that it keeps.
    pub(super) fn recall(&self, poller: u16) -> PollerReport {
        self.queues[usize::from(poller)].take_back()
    }

    /// The same of all pollers.
    pub(super) fn recall_all(&self) -> impl Iterator<Item = PollerReport> {
        self.queues.iter().map(|queue| queue.take_back())
    }

    /// From now on polls go out as this configuration says.
    ///
    /// # Errors
    /// Which monitor's API cannot be asked so. Then nothing has changed.
    pub(super) fn renew(&mut self, config: &Config) -> Result<&[Arc<Target>], String> {
        self.targets = build::targets(config, &self.network)?;
        Ok(&self.targets)
    }
}
