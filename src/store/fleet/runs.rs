//! The changes of a commit, sorted by run: a call writes or refuses each run as a whole. Pure.

use super::call::{RunField, RunWrite, StoredRun, WriteMode};
use crate::core::finished::Notification;
use crate::core::ids::RunKey;
use crate::core::outbox::OutboxItem;
use crate::core::time::Wall;
use crate::core::{Change, Stored};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of each run's fields: a value is set, `None` removes the field.
pub(super) type ChangedRuns = BTreeMap<RunKey, ChangedFields>;
pub(super) type ChangedFields = BTreeMap<RunField, Option<Arc<[u8]>>>;

/// The changes of each run; of two changes to one field the later one counts.
pub(super) fn by_run(changes: &[Change]) -> ChangedRuns {
    let mut runs = ChangedRuns::new();
    for change in changes {
        match change {
            Change::PutWorkflow { run, record } => {
                let fields = runs.entry(*run).or_default();
                fields.insert(RunField::Record, Some(record.as_slice().into()));
            }
            Change::RemoveWorkflow(run) => {
                (runs.entry(*run).or_default()).insert(RunField::Record, None);
            }
            Change::PutItem(span) => {
                let fields = runs.entry(span.run).or_default();
                fields.insert(field_of_item(span), Some(span.bytes.clone()));
            }
            Change::RemoveItems(spans) => {
                for span in spans {
                    (runs.entry(span.run).or_default()).insert(field_of_item(span), None);
                }
            }
            Change::PutNotification(event) => {
                let fields = runs.entry(event.run).or_default();
                fields.insert(field_of_event(event), Some(event.bytes.clone()));
            }
            Change::RemoveNotifications(events) => {
                for event in events {
                    (runs.entry(event.run).or_default()).insert(field_of_event(event), None);
                }
            }
            // Redis notes that a run is done when its last field goes.
            Change::PutFinished(run, _) => drop(runs.entry(*run).or_default()),
            // Redis forgets finished runs after a time.
            Change::RemoveFinished(_) => {}
        }
    }
    runs
}

/// Whether a field is set.
pub(super) fn sets_something(fields: &ChangedFields) -> bool {
    fields.values().any(Option::is_some)
}

/// The write of one run, and about how many bytes it has.
pub(super) fn write_of(run: RunKey, mode: WriteMode, fields: ChangedFields) -> (RunWrite, usize) {
    let mut write = RunWrite {
        run,
        mode,
        set: Vec::new(),
        removed: Vec::new(),
    };
    let mut bytes = 64;
    for (field, value) in fields {
        match value {
            Some(value) => {
                bytes += value.len();
                write.set.push((field, value));
            }
            None => write.removed.push(field),
        }
    }
    (write, bytes)
}

/// Adds a run that was claimed to what the core is to go on with. `now` is when the run counts as finished, if only its
/// spans or its finished event are left.
pub(super) fn restore_into(stored: &mut Stored, it: StoredRun, now: Wall) {
    let run = it.run;
    let mut has_record = false;
    for (field, bytes) in it.fields {
        match field {
            RunField::Record => {
                stored.workflows.push((run, bytes.to_vec()));
                has_record = true;
            }
            RunField::Item {
                signal,
                sequence,
                monitor,
            } => stored.items.push(OutboxItem {
                signal,
                sequence,
                run,
                monitor,
                bytes,
            }),
            RunField::FinishedEvent { sequence, monitor } => {
                stored.notifications.push(Notification {
                    sequence,
                    run,
                    monitor,
                    bytes,
                });
            }
        }
    }
    if !has_record {
        stored.finished.push((run, now));
    }
}

fn field_of_item(item: &OutboxItem) -> RunField {
    RunField::Item {
        signal: item.signal,
        sequence: item.sequence,
        monitor: item.monitor.clone(),
    }
}

fn field_of_event(event: &Notification) -> RunField {
    RunField::FinishedEvent {
        sequence: event.sequence,
        monitor: event.monitor.clone(),
    }
}
