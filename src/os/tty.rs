//! The terminal that farspan runs in.

use rustix::termios::tcgetwinsize;
use std::io;

/// Columns and rows of the terminal on standard output. `None`: it is no terminal, or it does not say.
pub fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}
