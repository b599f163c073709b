//! SIGTERM and SIGINT stop, SIGHUP reloads.

use super::threads;
use crossbeam_channel::{Receiver, Sender, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
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
    let (stop, stopped) = bounded(0);
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
