//! Puts frames on the terminal: only the rows that have changed.

use super::view::{Frame, Size};
use crate::os::redaction::without_secrets;
use crate::os::tty::FullScreen;
use crate::terminal::line::{Line, Style};
use std::fmt::Write as _;
use std::io;

/// The terminal, and what is on it.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: FullScreen,
    style: Style,
    size: Size,
    /// What the rows show. Empty: not known.
    shown: Vec<Line>,
}

impl Screen {
    /// Takes the terminal over; it is given back when this is dropped, and when farspan ends in another way.
    ///
    /// # Errors
    /// It cannot be set.
    pub(super) fn open(style: Style) -> io::Result<Screen> {
        Ok(Screen {
            terminal: FullScreen::take()?,
            style,
            size: Size {
                columns: 0,
                rows: 0,
            },
            shown: Vec::new(),
        })
    }

    /// Shows a frame of that size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn show(&mut self, frame: Frame, size: Size) -> io::Result<()> {
        let mut out = String::from("\x1b[?25l");
        if self.shown.is_empty() || size != self.size {
            out.push_str("\x1b[H\x1b[2J");
            self.shown.clear();
            self.size = size;
            self.style.width = size.columns;
        }
        for (index, line) in frame.lines.iter().enumerate() {
            if self.shown.get(index) != Some(line) {
                out.push_str(&line.render_at(index + 1, self.style));
            }
        }
        if let Some((column, row)) = frame.cursor {
            // A String takes everything.
            let _ = write!(out, "\x1b[{row};{column}H\x1b[?25h");
        }
        self.shown = frame.lines;
        self.terminal.write(&without_secrets(&out))
    }

    /// What is on the terminal is not known any more.
    pub(super) fn forget(&mut self) {
        self.shown.clear();
    }

    /// Gives the terminal back until farspan is continued, if something can continue it.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.forget();
        self.terminal.suspend()
    }

    /// Takes the terminal again: another program may have changed it while farspan was stopped.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.forget();
        self.terminal.retake()
    }
}
