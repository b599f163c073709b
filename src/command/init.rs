//! `farspan init`: a start for a configuration, each key and variable explained. It never overwrites.

use crate::config;
use crate::syntax::text::escape;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

const FILES: [&str; 3] = ["farspan.json", "farspan.schema.json", "farspan.env"];

/// Writes the configuration file, its schema and the environment file into this directory, which is made where it is
/// missing. Returns what to do next.
///
/// # Errors
/// What could not be written. If one of the files is there already, nothing is written.
pub fn run(directory: &Path) -> Result<String, String> {
    let told = |path: &Path, error: &std::io::Error| format!("{}: {error}", shown(path));
    for name in FILES {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            let path = shown(&path);
            return Err(format!(
                "{path} is there already; nothing was written: name another directory, or move the file away"
            ));
        }
    }
    fs::create_dir_all(directory).map_err(|error| told(directory, &error))?;
    let texts = [
        config::START.to_owned(),
        config::SCHEMA.to_owned(),
        config::environment_file(),
    ];
    for (name, text) in FILES.iter().zip(texts) {
        let path = directory.join(name);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{} was made meanwhile, and is left as it is", shown(&path))
            }
            _ => told(&path, &error),
        })?;
    }
    let file = shown(&directory.join(FILES[0]));
    Ok(format!(
        "{file}: the configuration: write the URL of your status API into api.base_url\n\
         {}: its schema; an editor completes and explains the keys with it\n\
         {}: the same settings and more as variables, for systemd and containers; all are commented out\n\
         Next: farspan check --config {file}\n",
        shown(&directory.join(FILES[1])),
        shown(&directory.join(FILES[2])),
    ))
}

fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy())
}
