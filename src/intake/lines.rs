//! Start events from standard input, one a line (NDJSON).
//!
//! Of a line that is too long only the beginning is kept, which names it, one that is no event is counted, and neither stops anything.
//! While the loop has no room nothing is read, and the writer has to wait.

use super::malformed_log::MalformedLog;
use super::message::{self, Beside, Dialects};
use crate::core::event::{Origin, StartEvent};
use crate::core::limits;
use crate::os::threads;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// Reads until `input` ends or the channel of events is closed. The returned channel disconnects when `input`
/// has ended and all its events have been sent to `events`. The thread is not joined: nothing ends its read.
///
/// # Errors
/// There is no thread to be had.
pub fn listen(
    dialects: Dialects,
    input: impl Read + Send + 'static,
    events: Sender<StartEvent>,
) -> io::Result<Receiver<Infallible>> {
    let (ended, over) = bounded(1);
    threads::spawn("lines", threads::STACK_BYTES, move || {
        let told = read(&dialects, BufReader::new(input), &events);
        match told {
            Ok(told) => log::info!("standard input has ended: {told}"),
            Err(error) => log::error!("standard input cannot be read: {error}; it is left"),
        }
        drop(ended);
    })?;
    Ok(over)
}

/// Returns the counts, as text for the log.
fn read(
    dialects: &Dialects,
    mut input: impl BufRead,
    events: &Sender<StartEvent>,
) -> io::Result<String> {
    let mut log = MalformedLog::new(Origin::Stdin);
    let (mut line, mut accepted, mut malformed) = (Vec::new(), 0_u64, 0_u64);
    while let Some(whole) = next_line(&mut input, &mut line)? {
        let read = match whole {
            true if line.iter().all(u8::is_ascii_whitespace) => continue,
            true => message::read(&line, dialects),
            false => Err(message::too_long(&line, &Beside::default(), dialects)),
        };
        match read {
            Ok(mut message) => {
                log.note_oddity(&message);
                message.event.origin = Origin::Stdin;
                accepted += 1;
                if events.send(message.event).is_err() {
                    break;
                }
            }
            Err(why) => {
                log.note_malformed(&why);
                malformed += 1;
            }
        }
    }
    Ok(format!("{accepted} events, {malformed} malformed lines"))
}

/// Puts the next line into `line`, without its end. `false`: it was too long and was skipped; `None`: there is none.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    // With the end that Windows writes.
    const MAX: usize = limits::EVENT_BYTES_MAX + 1;
    line.clear();
    let (mut whole, mut begun) = (true, false);
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() && !begun {
            return Ok(None);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        // The beginning names what is too long.
        let kept = part.len().min(MAX - line.len());
        whole &= kept == part.len();
        line.extend_from_slice(&part[..kept]);
        begun = true;
        let is_over = end.is_some() || chunk.is_empty();
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if is_over {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::carrier::Formats;

    /// The ids of the events in these bytes, read in pieces of this size, and what was said in the end.
    fn heard(bytes: &[u8], piece: usize) -> (Vec<String>, String) {
        let (events, received) = crossbeam_channel::unbounded();
        let input = BufReader::with_capacity(piece, bytes);
        let told = read(&Dialects::new(0, Formats::ALL), input, &events).unwrap();
        drop(events);
        let ids = received.iter().map(|event| event.workflow_id.to_string());
        (ids.collect(), told)
    }

    #[test]
    fn a_line_is_an_event_however_it_ends() {
        let text = b"{\"WorkflowId\": \"a\"}\r\n\n  \r\n{\"WorkflowId\": \"b\"}\nno event\n{\"WorkflowId\": \"c\"}";
        for piece in [1, 2, 7, 4096] {
            let (ids, told) = heard(text, piece);
            assert_eq!(ids, ["a", "b", "c"]);
            assert_eq!(told, "3 events, 1 malformed lines");
        }
        assert_eq!(heard(b"", 10).1, "0 events, 0 malformed lines");
        assert_eq!(heard(b"\n", 10).1, "0 events, 0 malformed lines");
    }

    #[test]
    fn the_longest_line_is_read_and_a_longer_one_skipped() {
        let padded = |id: &str, length: usize| {
            let bare = format!(r#"{{"WorkflowId": "{id}", "pad": ""}}"#).len();
            format!(
                r#"{{"WorkflowId": "{id}", "pad": "{}"}}"#,
                "x".repeat(length - bare)
            )
        };
        let most = limits::EVENT_BYTES_MAX;
        let text = [
            padded("longest", most),
            padded("too long by one", most + 1),
            "y".repeat(10 * most),
            padded("last", 100),
        ];
        for end in ["\n", "\r\n"] {
            let (ids, told) = heard(text.join(end).as_bytes(), 4096);
            assert_eq!(ids, ["longest", "last"]);
            assert_eq!(told, "2 events, 2 malformed lines");
        }
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut input = BufReader::with_capacity(1024, io::repeat(b'x').take(50 << 20));
        let mut line = Vec::new();
        assert_eq!(next_line(&mut input, &mut line).unwrap(), Some(false));
        assert!(line.capacity() <= 4 * limits::EVENT_BYTES_MAX);
        assert_eq!(next_line(&mut input, &mut line).unwrap(), None);
    }

    #[test]
    fn any_bytes_are_lines() {
        arbtest::arbtest(|u| {
            let bytes: Vec<u8> = u.arbitrary()?;
            let piece = u.int_in_range(1..=20)?;
            let mut input = BufReader::with_capacity(piece, bytes.as_slice());
            let (mut line, mut lines) = (Vec::new(), Vec::new());
            while let Some(whole) = next_line(&mut input, &mut line).unwrap() {
                assert!(whole);
                lines.push(line.clone());
            }
            let expected = bytes.split(|byte| *byte == b'\n');
            let expected = expected.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let mut expected: Vec<_> = expected.map(<[u8]>::to_vec).collect();
            if bytes.is_empty() || bytes.ends_with(b"\n") {
                expected.pop();
            }
            assert_eq!(lines, expected);
            Ok(())
        });
    }
}
