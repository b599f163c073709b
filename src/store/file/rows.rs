//! The rows of the tables as bytes, pure. All tables have keys and values of one type, because redb is compiled once for
//! each pair of types.

use crate::core::finished::Notification;
use crate::core::ids::RunKey;
use crate::core::outbox::{OutboxItem, Signal};
use crate::core::time::Wall;

/// Ends the name of a monitor: no text in UTF-8 has this byte.
const END_OF_NAME: u8 = 0xff;
/// Stands in the place of a name: no text in UTF-8 has this byte either.
const NO_NAME: u8 = 0xfe;

/// A number as a key, or as a value. Keys are sorted as their numbers are.
pub(super) fn of_number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(super) fn number(row: &[u8]) -> Option<u64> {
    row.try_into().ok().map(u64::from_be_bytes)
}

/// A time as a value, in nanoseconds since the Unix epoch.
pub(super) fn of_time(at: Wall) -> [u8; 8] {
    at.as_unix_ns().to_be_bytes()
}

pub(super) fn time(row: &[u8]) -> Option<Wall> {
    let bytes = row.try_into().ok()?;
    Some(Wall::from_unix_ns(i64::from_be_bytes(bytes)))
}

pub(super) fn run(key: &[u8]) -> Option<RunKey> {
    key.try_into().ok().map(RunKey::from_bytes)
}

/// The run of the item, the name of the monitor whose resource it has, and its bytes. Its sequence is the key.
pub(super) fn of_item(item: &OutboxItem) -> Vec<u8> {
    let mut row = item.run.to_bytes().to_vec();
    put_name(&mut row, item.monitor.as_deref());
    row.extend_from_slice(&item.bytes);
    row
}

pub(super) fn item(signal: Signal, key: &[u8], row: &[u8]) -> Option<OutboxItem> {
    let (run, rest) = row.split_first_chunk()?;
    let (monitor, bytes) = take_name(rest)?;
    Some(OutboxItem {
        signal,
        sequence: number(key)?,
        run: RunKey::from_bytes(*run),
        monitor: monitor.map(Into::into),
        bytes: bytes.into(),
    })
}

/// The sequence of the notification, the name of its monitor, and its text. Its run is the key.
pub(super) fn of_notification(it: &Notification) -> Vec<u8> {
    let mut row = of_number(it.sequence).to_vec();
    put_name(&mut row, Some(&it.monitor));
    row.extend_from_slice(&it.bytes);
    row
}

pub(super) fn notification(key: &[u8], row: &[u8]) -> Option<Notification> {
    let (sequence, rest) = row.split_first_chunk()?;
    let (monitor, bytes) = take_name(rest)?;
    Some(Notification {
        sequence: u64::from_be_bytes(*sequence),
        run: run(key)?,
        monitor: monitor?.into(),
        bytes: bytes.into(),
    })
}

fn put_name(row: &mut Vec<u8>, name: Option<&str>) {
    match name {
        Some(name) => {
            row.extend_from_slice(name.as_bytes());
            row.push(END_OF_NAME);
        }
        None => row.push(NO_NAME),
    }
}

/// The name, and what stands behind it.
fn take_name(row: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let end = row.iter().position(|byte| *byte >= NO_NAME)?;
    let (name, rest) = row.split_at(end);
    let (mark, rest) = rest.split_first()?;
    let name = match *mark {
        END_OF_NAME => Some(str::from_utf8(name).ok()?),
        _ => None,
    };
    Some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for monitor in [None, Some(""), Some("etl"), Some("größe")] {
            let written = OutboxItem {
                signal: Signal::Logs,
                sequence: u64::MAX - 1,
                run: RunKey::from_bytes([0xff; 16]),
                monitor: monitor.map(Into::into),
                bytes: [0xfe, 0xff, 0].into(),
            };
            let (key, row) = (of_number(written.sequence), of_item(&written));
            assert_eq!(item(Signal::Logs, &key, &row), Some(written));
        }
        let written = Notification {
            sequence: 7,
            run: RunKey::from_bytes([3; 16]),
            monitor: "etl".into(),
            bytes: b"{}".as_slice().into(),
        };
        let row = of_notification(&written);
        assert_eq!(notification(&[3; 16], &row), Some(written));
        for at in [i64::MIN, -1, 0, i64::MAX].map(Wall::from_unix_ns) {
            assert_eq!(time(&of_time(at)), Some(at));
        }
    }

    #[test]
    fn what_no_farspan_has_written_is_no_row() {
        for row in [&b""[..], &[1; 15], &[1; 40]] {
            assert_eq!(item(Signal::Traces, &of_number(1), row), None, "{row:?}");
            assert_eq!(notification(&[3; 16], row), None, "{row:?}");
        }
        let mut no_text = [1; 24];
        (no_text[20], no_text[21]) = (0xc0, END_OF_NAME);
        assert_eq!(item(Signal::Traces, &of_number(1), &no_text), None);
        assert_eq!(
            (number(b""), run(&[1; 17]), time(&[1; 7])),
            (None, None, None)
        );
    }
}
