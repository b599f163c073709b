//! How far a command has come: one line that is redrawn where the output is a terminal, else a line for each change.

use super::console::say;
use super::line::{Style, cut};
use crate::os::environment::Environment;
use std::io::{self, IsTerminal as _, Write as _};

/// The line at the bottom of the output.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    /// Whether the terminal can overwrite a line.
    is_redrawn: bool,
    width: usize,
    /// What was shown last.
    shown: String,
    is_up: bool,
}

impl ProgressLine {
    /// On standard output.
    pub(crate) fn new(env: &Environment, style: Style) -> ProgressLine {
        ProgressLine {
            is_redrawn: io::stdout().is_terminal() && env.text("TERM") != Some("dumb"),
            width: style.width,
            shown: String::new(),
            is_up: false,
        }
    }

    /// Shows how far it has come.
    pub(crate) fn show(&mut self, line: &str) {
        let is_news = self.shown != line;
        if is_news {
            line.clone_into(&mut self.shown);
        }
        if !self.is_redrawn {
            if is_news {
                say(line);
            }
            return;
        }
        // The cursor goes back to the begin of the line, so that a line of the log overwrites this one.
        let line = cut(line, self.width.saturating_sub(1));
        write(&format!("\r\x1b[K{line}\r"));
        self.is_up = true;
    }

    /// Writes a line above.
    pub(crate) fn say(&mut self, line: &str) {
        if std::mem::take(&mut self.is_up) {
            write("\r\x1b[K");
        }
        say(line);
    }
}

/// A closed output is no reason to stop.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
