//! The way to the pollers.

use super::build;
use crate::api::poller::{Ask, Target};
use crate::config::Config;
use crate::core::Poll;
use crate::http::client::Network;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;

pub(super) struct Polling {
    pub(super) polls: Sender<Ask>,
    /// The other end, to take back polls that no poller has begun.
    pub(super) at_hand: Receiver<Ask>,
    pub(super) pollers: usize,
    /// What is asked of the API of each monitor, with the credentials in force.
    pub(super) targets: Vec<Arc<Target>>,
    /// For the token requests of later credentials.
    pub(super) network: Network,
}

impl Polling {
    /// Hands a poll to the pollers. The core never has more of them under way than there are places.
    pub(super) fn send(&self, poll: Poll) {
        let target = self.targets[usize::from(poll.monitor)].clone();
        drop(self.polls.try_send(Ask { poll, target }));
    }

    /// Whether there is another poll for each poller.
    pub(super) fn has_enough(&self) -> bool {
        self.polls.len() >= self.pollers
    }

    /// Takes back the polls that no poller has begun, the last one first.
    pub(super) fn recall(&self) -> impl Iterator<Item = Poll> + use<> {
        let asks: Vec<Ask> = self.at_hand.try_iter().collect();
        asks.into_iter().rev().map(|ask| ask.poll)
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
