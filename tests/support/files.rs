//! Files of a test's own.

use super::folder::Folder;
use std::path::Path;

/// A directory, gone with the test.
pub struct Files(Folder);

impl Files {
    pub fn new() -> Self {
        Files(Folder::new())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces a file at once, so that no reader sees half of it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let (path, new) = (self.0.path().join(name), self.0.path().join("new"));
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(&new, &path).expect("a file");
        path.display().to_string()
    }

    /// A file whose reader waits for a writer that never comes.
    pub fn fifo(&self, name: &str) {
        let path = self.0.path().join(name);
        let _ = std::fs::remove_file(&path);
        let status = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(status.expect("mkfifo").success());
    }
}
