//! Files of a test's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory, gone with the test.
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("farspan-files-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        Files { directory }
    }

    /// Writes a file as careful people do, so that nobody reads half of it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let (path, new) = (self.directory.join(name), self.directory.join("new"));
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(&new, &path).expect("a file");
        path.display().to_string()
    }

    /// A file whose reader waits for a writer that never comes.
    pub fn fifo(&self, name: &str) {
        let path = self.directory.join(name);
        let _ = std::fs::remove_file(&path);
        let status = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(status.expect("mkfifo").success());
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
