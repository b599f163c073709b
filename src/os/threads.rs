//! Threads and what they share.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// A stack for a thread that waits, reads and writes.
pub const STACK_BYTES: usize = 512 * 1024;

/// Starts a thread, by the name that a debugger and `/proc` show.
///
/// # Errors
/// When the system gives no more threads.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    stack_bytes: usize,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = Builder::new().name(name.into());
    builder.stack_size(stack_bytes).spawn(run)
}

/// Locks what threads share. A poisoned lock is taken all the same: each change under a lock is one assignment or one
/// call, so that a thread that panicked has left whole values behind.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
