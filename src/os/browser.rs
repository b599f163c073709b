//! The user's browser.

use crate::os::threads;
use std::io;
use std::process::{Command, Stdio};

const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Opens an address in the user's browser, by `xdg-open` or `open`. Whether the browser shows it is not known; `failed` is
/// told if the program finds no browser.
///
/// # Errors
/// When there is no such program, or no thread that waits for it.
pub fn open(url: &str, failed: impl FnOnce(&str) + Send + 'static) -> io::Result<()> {
    let mut opener = Command::new(OPENER);
    opener.arg(url).stdin(Stdio::null());
    let mut opener = opener.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // Without a desktop it becomes the browser and ends with it.
    let wait = move || {
        if opener.wait().is_ok_and(|status| !status.success()) {
            failed(OPENER);
        }
    };
    threads::spawn("browser", threads::STACK_BYTES, wait).map(drop)
}
