//! A wall clock of a program's own, which a test can set: Debian's libfaketime. The monotonic clock stays as it is, as it
//! does when a machine's clock is set.

use super::folder::Folder;
use super::program::{Call, Farspan};
use super::{SOON, eventually, ns, wall_ns};
use std::fs;
use std::path::PathBuf;

pub struct WallClock {
    folder: Folder,
    library: PathBuf,
}

impl WallClock {
    /// Right, so far.
    #[track_caller]
    pub fn new() -> Self {
        let clock = WallClock {
            folder: Folder::new(),
            library: library(),
        };
        clock.set(0);
        clock
    }

    /// From now on it is so many seconds ahead of the true time.
    pub fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        fs::rename(&new, self.setting()).expect("a file");
    }

    /// The call with this clock.
    pub fn given_to(&self, call: Call) -> Call {
        call.env("LD_PRELOAD", self.library.display())
            .env("FAKETIME_TIMESTAMP_FILE", self.setting().display())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Waits for a line of the log with `text`, and panics unless it was written with the clock so many seconds ahead.
    #[track_caller]
    pub fn assert_read_by(&self, farspan: &Farspan, text: &str, seconds: i64) {
        let line = eventually(text, SOON, || {
            let log = farspan.stderr();
            let line = log.lines().find(|line| line.contains(text));
            line.map(str::to_owned).ok_or(log)
        });
        let written = ns(line.split(' ').next().expect("a time"));
        let ahead = (i128::from(written) - i128::from(wall_ns())) / 1_000_000_000;
        let off = ahead - i128::from(seconds);
        assert!(off.abs() < 30, "{off} s off, set to {seconds:+}: {line}");
    }

    fn setting(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

/// Where Debian has it: `/usr/lib/x86_64-linux-gnu/faketime`.
#[track_caller]
fn library() -> PathBuf {
    let places = fs::read_dir("/usr/lib").expect("/usr/lib");
    let places = places.filter_map(Result::ok).map(|place| place.path());
    let mut libraries = places.map(|place| place.join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|library| library.exists());
    found.expect("libfaketime is missing (Debian: faketime); run tests/run")
}
