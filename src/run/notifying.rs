//! Where finished events are sent: a thread for each monitor that has a receiver.

use crate::core::finished::{Notified, Notify};
use crate::deliver::notify::{EventReceiver, Notifier};
use crate::deliver::refused::RefusedPlace;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// The channels to the notifiers, and what waits for them.
pub(super) struct Receivers {
    /// In the order of the monitors. Closed before the threads are joined.
    senders: Vec<Option<Sender<Notify>>>,
    notifiers: Vec<Notifier>,
    /// What became of what went.
    pub(super) notified: Receiver<Notified>,
    /// Without it the channel would be closed, and so always ready, where there is no receiver.
    _outcomes: Sender<Notified>,
}

impl Receivers {
    /// Starts a notifier for each monitor that has a receiver.
    pub(super) fn start(
        receivers: Vec<Option<EventReceiver>>,
        refused: &RefusedPlace,
    ) -> Result<Self, String> {
        let (outcomes, notified) = bounded(receivers.len());
        let (mut senders, mut notifiers) = (Vec::new(), Vec::new());
        for receiver in receivers {
            let Some(way_there) = receiver else {
                senders.push(None);
                continue;
            };
            let (sender, told) = bounded(1);
            let number = notifiers.len();
            let (refused, outcomes) = (refused.clone(), outcomes.clone());
            notifiers.push(Notifier::start(number, way_there, refused, told, outcomes)?);
            senders.push(Some(sender));
        }
        Ok(Receivers {
            senders,
            notifiers,
            notified,
            _outcomes: outcomes,
        })
    }

    /// Hands this to the thread of its receiver.
    pub(super) fn send(&self, notify: Notify) {
        if let Some(Some(sender)) = self.senders.get(usize::from(notify.monitor)) {
            // One at a time, and there is one place.
            if let Err(TrySendError::Disconnected(notify)) = sender.try_send(notify) {
                let number = notify.monitor;
                log::error!(
                    "the thread that sends the finished events of monitor {number} has ended: restart farspan to send them"
                );
            }
        }
    }

    /// The threads. They end, each after the request that it has under way.
    pub(super) fn into_notifiers(self) -> Vec<Notifier> {
        self.notifiers
    }
}
