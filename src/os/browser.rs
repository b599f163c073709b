//! The user's browser.

use std::io;
use std::process::{Command, Stdio};

const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Opens an address in the user's browser, by `xdg-open` or `open`. Whether the browser shows it is not known.
///
/// # Errors
/// When there is no such program.
pub fn open(url: &str) -> io::Result<()> {
    let mut opener = Command::new(OPENER);
    // Without a desktop it becomes the browser and ends with it, so it is not waited for.
    opener.arg(url).stdin(Stdio::null());
    opener.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(())
}
