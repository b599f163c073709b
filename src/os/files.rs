//! Files that a configuration names, read whole up to a bound. No error shows the content of a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The most bytes of a file with settings or certificates.
const BYTES_MAX: u64 = 1024 * 1024;
/// The most bytes of a file with a secret, which goes into a header or is a short body.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The bytes of a file.
///
/// # Errors
/// What is wrong with the file, as a text that follows its name.
pub fn read(path: &Path) -> Result<Vec<u8>, Cow<'static, str>> {
    read_bounded(path, BYTES_MAX)
}

/// The secret in a file, without the white space around it.
///
/// # Errors
/// What is wrong with the file, as a text that follows its name.
pub fn read_secret(path: &Path) -> Result<String, Cow<'static, str>> {
    let bytes = read_bounded(path, SECRET_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| "holds no UTF-8")?;
    match text.trim() {
        "" => Err("is empty".into()),
        text => Ok(text.to_owned()),
    }
}

/// The path from the root of the file system; a relative one begins at the working directory. Without a working
/// directory it stays as it is.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Cow<'static, str>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("cannot be read: {error}").into()),
        Ok(_) if bytes.len() as u64 > bytes_max => {
            Err(format!("is larger than {} KiB", bytes_max / 1024).into())
        }
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The path of a folder of a test's own. It is not made, and what is there goes with the test.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            Folder::within(&std::env::temp_dir())
        }

        /// For tests that write thousands of files: a sync costs nothing there.
        pub(crate) fn in_memory() -> Self {
            let memory = Path::new("/dev/shm");
            if memory.is_dir() {
                Folder::within(memory)
            } else {
                Folder::new()
            }
        }

        /// With these files, as [`write`](Self::write) writes them.
        pub(crate) fn with(files: &[(&str, &str)]) -> Self {
            let folder = Folder::new();
            for (name, text) in files {
                folder.write(name, text);
            }
            folder
        }

        /// The name is short, because what tests show is cut.
        fn within(directory: &Path) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("fsm{}-{number}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            Folder(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        /// The path of a file in it.
        pub(crate) fn file(&self, name: &str) -> String {
            self.0.join(name).to_string_lossy().into_owned()
        }

        /// `$D` in the text is the path of the folder.
        pub(crate) fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("$D", self.0.to_str().unwrap())).unwrap();
        }

        /// A text without the path of the folder.
        pub(crate) fn shortened(&self, text: &str) -> String {
            text.replace(&self.file(""), "")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let path = std::env::temp_dir().join(format!("farspan-files-{}", std::process::id()));
        let mut text = String::new();
        let largest = "x".repeat(SECRET_BYTES_MAX as usize);
        let too_large = largest.clone() + "x";
        let contents: [&[u8]; 6] = [
            b" s3cr3t\n",
            b"",
            b" \n",
            b"\xff",
            largest.as_bytes(),
            too_large.as_bytes(),
        ];
        for content in contents {
            fs::write(&path, content).unwrap();
            let secret = read_secret(&path).map(|secret| match secret.len() {
                0..100 => secret,
                length => format!("{length} bytes"),
            });
            text += &format!("{secret:?} {:?}\n", read(&path).map(|bytes| bytes.len()));
        }
        fs::write(&path, vec![b'x'; BYTES_MAX as usize + 1]).unwrap();
        text += &format!("{:?}\n", read(&path));
        fs::remove_file(&path).unwrap();
        text += &format!("{:?} {:?}", read_secret(&path), read(&path));
        expect_test::expect![[r#"
            Ok("s3cr3t") Ok(8)
            Err("is empty") Ok(0)
            Err("is empty") Ok(2)
            Err("holds no UTF-8") Ok(1)
            Ok("65536 bytes") Ok(65536)
            Err("is larger than 64 KiB") Ok(65537)
            Err("is larger than 1024 KiB")
            Err("cannot be read: No such file or directory (os error 2)") Err("cannot be read: No such file or directory (os error 2)")"#]].assert_eq(&text);
    }
}
