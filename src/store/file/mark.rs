//! The mark beside the state file: the number of the last commit.
//!
//! It is written after the commit and never synced: it may be behind the file after a power failure, but is never ahead
//! of what was durable. So a file with a smaller number has lost commits.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The number in the mark of this state file. `None`: there is no mark, or it is damaged.
pub(super) fn read(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(path(file)).ok()?;
    let (number, again) = text.trim_end().split_once(' ')?;
    // Written twice, so that a damaged mark is no false alarm.
    number.parse().ok().filter(|_| number == again)
}

/// Writes the number. Without the mark farspan does its work all the same.
pub(super) fn write(file: &Path, number: u64) {
    if let Err(error) = overwrite(&path(file), number) {
        log::warn!("{} cannot be written: {error}", path(file).display());
    }
}

/// In place and of one length, so that a farspan that is killed leaves a whole one.
fn overwrite(path: &Path, number: u64) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut mark = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    mark.write_all(format!("{number:020} {number:020}\n").as_bytes())
}

fn path(file: &Path) -> PathBuf {
    file.with_extension("commits")
}
