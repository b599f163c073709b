//! A store that is a map: all that is left of farspan when it has ended.

use farspan::core::finished::Notification;
use farspan::core::ids::RunKey;
use farspan::core::limits;
use farspan::core::outbox::{OutboxItem, Signal};
use farspan::core::time::Wall;
use farspan::core::{Change, Stored};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Disk {
    workflows: BTreeMap<[u8; 16], Vec<u8>>,
    items: BTreeMap<(Signal, u64), OutboxItem>,
    notifications: BTreeMap<[u8; 16], Notification>,
    finished: BTreeMap<[u8; 16], Wall>,
}

impl Disk {
    pub fn commit(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::PutWorkflow { run, record } => {
                    self.workflows.insert(run.to_bytes(), record);
                }
                Change::RemoveWorkflow(run) => {
                    self.workflows.remove(&run.to_bytes());
                }
                Change::PutItem(item) => {
                    let twin = self.items.insert((item.signal, item.sequence), item);
                    assert_eq!(twin, None, "a sequence for two items");
                }
                Change::RemoveItems(items) => {
                    for item in items {
                        let removed = self.items.remove(&(item.signal, item.sequence));
                        assert_eq!(removed, Some(item), "it was never stored so");
                    }
                }
                Change::PutNotification(notification) => {
                    let run = notification.run.to_bytes();
                    let twin = self.notifications.insert(run, notification);
                    assert_eq!(twin, None, "a run has finished twice");
                }
                Change::RemoveNotifications(notifications) => {
                    for notification in notifications {
                        let run = notification.run.to_bytes();
                        let removed = self.notifications.remove(&run);
                        assert_eq!(removed, Some(notification), "it was never stored so");
                    }
                }
                Change::PutFinished(run, at) => {
                    self.finished.insert(run.to_bytes(), at);
                }
                Change::RemoveFinished(run) => {
                    let removed = self.finished.remove(&run.to_bytes());
                    assert!(removed.is_some(), "it was never stored");
                }
            }
        }
    }

    /// Whether it says that this run is finished.
    pub fn has_finished(&self, run: RunKey) -> bool {
        self.finished.contains_key(&run.to_bytes())
    }

    /// What the core is to have counted.
    pub fn bytes(&self) -> u64 {
        let records = self.workflows.values().map(Vec::len).sum::<usize>();
        let named = |item: &OutboxItem| item.monitor.as_ref().map_or(0, |name| 8 + name.len());
        let items = self.items.values().map(|s| s.bytes.len() + named(s));
        let items = items.sum::<usize>();
        let told = self.notifications.values();
        let told = told.map(|it| it.bytes.len() + 8 + it.monitor.len());
        let told = told.sum::<usize>();
        let delivered = self.items.len() + self.notifications.len();
        let entries = self.workflows.len() + delivered + self.finished.len();
        (records + items + told) as u64 + entries as u64 * limits::STORED_KEYS_BYTES
    }

    pub fn stored(&self) -> Stored {
        let workflows = self.workflows.iter();
        let mut finished: Vec<(RunKey, Wall)> = (self.finished.iter())
            .map(|(run, at)| (RunKey::from_bytes(*run), *at))
            .collect();
        finished.sort_unstable_by_key(|(_, at)| *at);
        Stored {
            workflows: workflows
                .map(|(run, record)| (RunKey::from_bytes(*run), record.clone()))
                .collect(),
            items: self.items.values().cloned().collect(),
            notifications: self.notifications.values().cloned().collect(),
            finished,
        }
    }

    /// Whether it holds nothing that is done with: so many workflows are watched, and nothing waits.
    pub fn is_settled(&self, watched: usize) -> bool {
        let waits = self.items.len() + self.notifications.len();
        self.workflows.len() == watched && waits == 0
    }
}
