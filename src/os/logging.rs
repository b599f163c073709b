//! farspan's log: lines on standard error. The facade is the crate `log`.
//!
//! A thread of its own writes the lines, so that a standard error which takes nothing stops no other thread. The lines
//! that wait are bounded in bytes; what does not fit is dropped, and the log says how many lines that were.

use super::log_line::{LineStyle, LogLine};
use super::threads::{self, lock};
use crate::core::limits;
use crate::os::clock;
use log::{Level, LevelFilter, Metadata, Record};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub use super::log_line::LogFormat;

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// This level and the graver ones.
    pub level: LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether the journal of systemd reads the lines: see [`is_journal`].
    pub is_for_journal: bool,
}

/// How long the end of the process waits for standard error to take the last lines.
pub const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Takes the log over, for the whole process. A second call changes nothing.
///
/// # Errors
/// When the system gives no more threads.
pub fn start(log: &Log) -> io::Result<()> {
    let lines = Arc::new(Lines::default());
    let style = LineStyle {
        format: log.format,
        is_for_journal: log.is_for_journal,
    };
    let logger = Logger {
        style,
        lines: Arc::clone(&lines),
    };
    if log::set_boxed_logger(Box::new(logger)).is_err() {
        return Ok(());
    }
    set_level(log.level);
    let write = move || lines.write_to(&mut io::stderr(), style);
    // Not joined: standard error may take nothing for ever.
    threads::spawn("log", threads::STACK_BYTES, write)?;
    // Rust's own hook would wait for standard error, and a release build ends with the panic.
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        log::error!("thread '{}' {panic}", thread.name().unwrap_or("?"));
        finish();
    }));
    Ok(())
}

/// Logs this level and the graver ones from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Whether standard error is the stream that systemd names in `$JOURNAL_STREAM`, as `device:inode` (`man 5
/// systemd.exec`). The variable is inherited by programs whose standard error goes elsewhere.
pub fn is_journal(journal_stream: Option<&str>) -> bool {
    let parsed = journal_stream.and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    let Some(named) = parsed else {
        return false;
    };
    let ours = (io::stderr().as_fd().try_clone_to_owned())
        .and_then(|descriptor| File::from(descriptor).metadata());
    ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == named)
}

/// Waits until all lines are written, but not longer than [`ENDS_WITHIN`].
pub fn finish() {
    log::logger().flush();
}

struct Logger {
    style: LineStyle,
    lines: Arc<Lines>,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_logged(log::max_level(), metadata.level(), metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = LogLine::of(record, clock::now().wall);
            self.lines.push(&line.formatted(self.style));
        }
    }

    fn flush(&self) {
        self.lines.wait_for_end(ENDS_WITHIN);
    }
}

/// The lines between the threads that log and the thread that writes.
#[derive(Default)]
struct Lines {
    unwritten: Mutex<Unwritten>,
    changed: Condvar,
}

#[derive(Default)]
struct Unwritten {
    text: String,
    /// How many lines did not fit behind `text`.
    dropped: u64,
    /// Whether the thread writes what it took before.
    is_writing: bool,
}

impl Unwritten {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.dropped == 0
    }
}

impl Lines {
    fn push(&self, line: &str) {
        let mut unwritten = lock(&self.unwritten);
        if unwritten.text.len() + line.len() <= limits::LOG_BYTES_MAX {
            unwritten.text.push_str(line);
        } else {
            unwritten.dropped += 1;
        }
        self.changed.notify_all();
    }

    /// Writes all lines, as they come, for ever.
    fn write_to(&self, out: &mut impl Write, style: LineStyle) {
        let mut missing = 0;
        loop {
            let (text, dropped) = self.next();
            missing = unsaid(out, style, missing);
            missing += unwritten_lines(out, &text) + dropped;
            missing = unsaid(out, style, missing);
        }
    }

    fn next(&self) -> (String, u64) {
        let mut unwritten = lock(&self.unwritten);
        unwritten.is_writing = false;
        self.changed.notify_all();
        let woken = self.changed.wait_while(unwritten, |it| it.is_empty());
        let mut unwritten = woken.unwrap_or_else(PoisonError::into_inner);
        unwritten.is_writing = true;
        let text = std::mem::take(&mut unwritten.text);
        (text, std::mem::take(&mut unwritten.dropped))
    }

    fn wait_for_end(&self, timeout: Duration) {
        let unwritten = lock(&self.unwritten);
        let is_unwritten = |it: &mut Unwritten| it.is_writing || !it.is_empty();
        drop(
            self.changed
                .wait_timeout_while(unwritten, timeout, is_unwritten),
        );
    }
}

/// Says how many lines are missing. Returns how many are left to be said: none, if standard error takes the line.
fn unsaid(out: &mut impl Write, style: LineStyle, missing: u64) -> u64 {
    if missing == 0 {
        return 0;
    }
    let message = format!(
        "{missing} lines of the log are missing here: standard error did not take them, and no more than {} KiB wait",
        limits::LOG_BYTES_MAX / 1024
    );
    let time = clock::now().wall;
    let notice = LogLine::new(Level::Warn, module_path!(), &message, time);
    if unwritten_lines(out, &notice.formatted(style)) == 0 {
        0
    } else {
        missing
    }
}

/// Writes the text. Returns how many of its lines are not written whole.
fn unwritten_lines(out: &mut impl Write, text: &str) -> u64 {
    /// Another process may have made a shared terminal or pipe one that does not block.
    const AGAIN_AFTER: Duration = Duration::from_millis(50);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(count) if count > 0 => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::park_timeout(AGAIN_AFTER);
            }
            // It is closed, or its disk is full.
            _ => break,
        }
    }
    rest.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// What others write in farspan's log has to be a warning at every level: `info` from a TLS library is no news to farspan's
/// user, and below that an HTTP library dumps each request in hexadecimal, credentials included.
fn is_logged(most: LevelFilter, level: Level, target: &str) -> bool {
    let is_ours = target == "farspan" || target.starts_with("farspan::");
    if is_ours {
        level <= most
    } else {
        level <= most.min(LevelFilter::Warn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, unbounded};

    const TEXT: LineStyle = LineStyle {
        format: LogFormat::Text,
        is_for_journal: false,
    };

    #[test]
    fn only_the_named_stream_is_the_journal() {
        let ours = File::from(io::stderr().as_fd().try_clone_to_owned().unwrap());
        let ours = ours.metadata().unwrap();
        let (device, inode) = (ours.dev(), ours.ino());
        assert!(is_journal(Some(&format!("{device}:{inode}"))));
        assert!(!is_journal(Some(&format!("{device}:{}", inode + 1))));
        for unusable in [None, Some(""), Some("8"), Some("8:x"), Some(":")] {
            assert!(!is_journal(unusable));
        }
    }

    /// Standard error, with a reader that reads once for each item of `reads`.
    struct Pipe {
        begun: Sender<()>,
        reads: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.begun.send(()).unwrap();
            self.reads.recv().unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.written.send(text).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_standard_error_does_not_take_waits_within_its_bound_and_is_counted_beyond() {
        let (begun, writes) = unbounded();
        let (read, reads) = unbounded();
        let (written, texts) = unbounded();
        let mut pipe = Pipe {
            begun,
            reads,
            written,
        };
        let lines = Arc::new(Lines::default());
        let writer = Arc::clone(&lines);
        thread::spawn(move || writer.write_to(&mut pipe, TEXT));
        lines.push("the first\n");
        writes.recv().unwrap();
        // Nothing is read: neither a line nor the end waits for it.
        lines.wait_for_end(Duration::from_millis(10));
        let long = "x".repeat(limits::LOG_BYTES_MAX / 4 - 1) + "\n";
        (0..6).for_each(|_| lines.push(&long));
        assert_eq!(lock(&lines.unwritten).text.len(), limits::LOG_BYTES_MAX);
        // It is read again.
        (0..4).for_each(|_| read.send(()).unwrap());
        lines.wait_for_end(Duration::from_secs(30));
        lines.push("the last\n");
        lines.wait_for_end(Duration::from_secs(30));
        let written: Vec<String> = texts.try_iter().collect();
        let [first, next, notice, last] = &*written else {
            panic!("{} texts are written", written.len());
        };
        assert_eq!((&**first, &**last), ("the first\n", "the last\n"));
        assert!(*next == long.repeat(4));
        assert!(notice.contains(": 2 lines of the log are missing here: "));
        assert_eq!(notice.matches('\n').count(), 1, "{notice}");
    }

    /// Standard error that answers each write with the next of these; it takes everything behind the last one.
    struct Scripted {
        answers: Vec<io::Result<usize>>,
        text: String,
    }

    impl Scripted {
        fn of(mut answers: Vec<io::Result<usize>>) -> Self {
            answers.reverse();
            let text = String::new();
            Scripted { answers, text }
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.answers.pop().unwrap_or(Ok(bytes.len()))?;
            self.text += std::str::from_utf8(&bytes[..count]).unwrap();
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_is_tried_again_and_what_is_never_written_is_counted_until_it_is_said() {
        let full = || Err(ErrorKind::StorageFull.into());
        let again = vec![
            Err(ErrorKind::WouldBlock.into()),
            Ok(2),
            Err(ErrorKind::Interrupted.into()),
            Err(ErrorKind::WouldBlock.into()),
        ];
        let mut out = Scripted::of(again);
        assert_eq!(unwritten_lines(&mut out, "a\nb\nc\n"), 0);
        assert_eq!(out.text, "a\nb\nc\n");
        let mut out = Scripted::of(vec![Ok(3), full(), full()]);
        assert_eq!(unwritten_lines(&mut out, "a\nb\nc\n"), 2);
        assert_eq!(unsaid(&mut out, TEXT, 2), 2);
        assert_eq!(unsaid(&mut out, TEXT, 2), 0);
        assert!(out.text.starts_with("a\nb"), "{}", out.text);
        assert_eq!(
            out.text.matches("2 lines of the log are missing").count(),
            1
        );
    }

    #[test]
    fn others_are_heard_from_warnings_on() {
        for (most, level, target, logged) in [
            (LevelFilter::Info, Level::Info, "farspan::run", true),
            (LevelFilter::Info, Level::Debug, "farspan", false),
            (LevelFilter::Debug, Level::Info, "rustls::client", false),
            (LevelFilter::Debug, Level::Info, "farspanner", false),
            (LevelFilter::Info, Level::Warn, "redis", true),
            (LevelFilter::Error, Level::Warn, "redis", false),
            (LevelFilter::Trace, Level::Trace, "farspan::run", true),
            (LevelFilter::Trace, Level::Trace, "ureq_proto", false),
            (LevelFilter::Trace, Level::Info, "rustls", false),
        ] {
            assert_eq!(
                is_logged(most, level, target),
                logged,
                "{most} {level} {target}"
            );
        }
    }
}
