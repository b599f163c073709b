//! SIGTERM and SIGINT.

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
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
    const EXIT_AT_ONCE: i32 = 130;
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&seen))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (stop, stopped) = bounded(0);
    let listen = move || {
        signals.forever().next();
        seen.store(true, Ordering::SeqCst);
        drop(stop);
    };
    // Not joined: it waits for a signal that may never come.
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(listen)?;
    Ok(stopped)
}
