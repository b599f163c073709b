//! The operating system: the clock, files, signals, the log, the terminal, and the service manager.

pub mod browser;
#[cfg(feature = "tls")]
pub mod certificates;
pub mod clock;
pub mod environment;
pub mod files;
mod log_line;
pub mod logging;
pub mod process;
pub mod redaction;
pub mod signals;
pub mod systemd;
pub mod threads;
pub mod tty;
