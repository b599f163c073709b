//! SIGTERM and SIGINT stop, SIGHUP reloads. On the whole screen of a terminal there are more.

use super::{threads, tty};
use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A channel that disconnects on the first SIGTERM or SIGINT; the second one ends the process at once.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop() -> io::Result<Receiver<Infallible>> {
    listen(None)
}

/// The channel of [`stop`], and one with an item for each SIGHUP. A SIGHUP that comes while an item waits adds none, and
/// one that comes after the stop is ignored.
///
/// The stop is a channel that disconnects, because many threads wait for it. A reload is a message, because one does.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_and_reload() -> io::Result<(Receiver<Infallible>, Receiver<()>)> {
    let (reload, reloads) = bounded(1);
    Ok((listen(Some(reload))?, reloads))
}

/// What a signal says to a program that has the whole screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalSignal {
    /// The terminal has another size.
    Resized,
    /// Stop until it is continued.
    Suspend,
    /// It was continued.
    Continued,
}

/// For a program that has the whole screen: a channel that disconnects on the first SIGTERM, SIGINT, SIGHUP or SIGQUIT,
/// and one with what else a terminal signals. The second signal ends the process at once, with the terminal put back.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn of_terminal() -> io::Result<(Receiver<Infallible>, Receiver<TerminalSignal>)> {
    const QUEUE: usize = 16;
    let ends = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];
    let mut signals = Signals::new(ends.into_iter().chain([SIGWINCH, SIGTSTP, SIGCONT]))?;
    let (stop, stopped) = bounded(0);
    let (tell, told) = bounded(QUEUE);
    let listen = move || {
        let mut stop = Some(stop);
        for signal in signals.forever() {
            let news = match signal {
                SIGWINCH => TerminalSignal::Resized,
                SIGTSTP => TerminalSignal::Suspend,
                SIGCONT => TerminalSignal::Continued,
                end => {
                    if stop.take().is_none() {
                        tty::give_back_at_once();
                        drop(emulate_default_handler(end));
                    }
                    continue;
                }
            };
            // What waits already makes the screen be drawn again.
            let _ = tell.try_send(news);
        }
    };
    // Not joined: it waits for a signal that may never come.
    threads::spawn("signals", threads::STACK_BYTES, listen)?;
    Ok((stopped, told))
}

fn listen(reload: Option<Sender<()>>) -> io::Result<Receiver<Infallible>> {
    const EXIT_AT_ONCE: i32 = 130;
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&seen))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    if reload.is_some() {
        signals.add_signal(SIGHUP)?;
    }
    let (stop, stopped) = bounded(1);
    let listen = move || {
        for signal in signals.forever() {
            match &reload {
                // If an item waits already, the reload that it begins reads the newest files.
                Some(reload) if signal == SIGHUP => drop(reload.try_send(())),
                _ => break,
            }
        }
        seen.store(true, Ordering::SeqCst);
        drop(stop);
    };
    // Not joined: it waits for a signal that may never come.
    threads::spawn("signals", threads::STACK_BYTES, listen)?;
    Ok(stopped)
}
