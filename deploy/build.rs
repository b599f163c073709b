//! The build script: which target and which commit this build is of, for `farspan --version`, and how the static
//! binary is linked.
//!
//! The same sources give the same binary: nothing here reads a clock. A debug build does not ask git, so that a commit
//! does not compile everything again.
#![allow(clippy::print_stdout, reason = "cargo reads it")]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    let of = |name: &str| env::var(name).unwrap_or_default();
    let root = of("CARGO_MANIFEST_DIR");
    let root = Path::new(&root);
    println!("cargo::rerun-if-changed=deploy/build.rs");
    println!("cargo::rerun-if-env-changed=FARSPAN_BUILD_COMMIT");
    println!("cargo::rustc-env=FARSPAN_BUILD_TARGET={}", of("TARGET"));
    let commit = match &*of("FARSPAN_BUILD_COMMIT") {
        "" if of("PROFILE") == "debug" => None,
        "" => {
            watch(root);
            commit_of(root)
        }
        given => Some(given.to_owned()),
    };
    if let Some(commit) = commit {
        println!("cargo::rustc-env=FARSPAN_BUILD_COMMIT={commit}");
    }
    if of("CARGO_CFG_TARGET_ENV") == "musl" && of("PROFILE") == "release" {
        link_small(root);
    }
}

/// A panic ends the process, and the binary has no symbols: the tables that a debugger would unwind with are left out,
/// and the addresses that are set at the start are stored as a bitmap.
fn link_small(root: &Path) {
    let script = root.join("deploy/musl/no-unwind.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    for argument in ["--no-eh-frame-hdr", "-zpack-relative-relocs"] {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
}

/// What a release is made of: when it changes, the commit is asked for again.
fn watch(root: &Path) {
    let mut watched = ["src", "presets", "Cargo.toml", "Cargo.lock"]
        .map(str::to_owned)
        .to_vec();
    watched.extend(git(root, &["rev-parse", "--git-path", "logs/HEAD"]));
    for path in watched.iter().filter(|path| root.join(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// The commit of these sources, `-changed` behind it where they differ from it: asked of git in a clone, read from
/// cargo's note in a package.
pub(crate) fn commit_of(root: &Path) -> Option<String> {
    if !root.join(".git").exists() {
        return packaged(&fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?);
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let sources = ["src", "presets", "Cargo.toml", "Cargo.lock"];
    let changes = git(
        root,
        &[&["status", "--porcelain", "--"][..], &sources].concat(),
    )?;
    let changed = if changes.is_empty() { "" } else { "-changed" };
    Some(format!("{commit}{changed}"))
}

/// `{"git": {"sha1": "0123..."}}`
fn packaged(note: &str) -> Option<String> {
    let (_, behind) = note.split_once("\"sha1\"")?;
    let commit = behind.split('"').nth(1)?;
    let is_commit = commit.len() >= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit[..12].to_owned())
}

/// In a hook, git's variables name the repository of the hook.
const OF_HOOKS: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"];

/// A command of git in this directory.
pub(crate) fn git_in(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    for name in OF_HOOKS {
        command.env_remove(name);
    }
    command.arg("-C").arg(root).args(arguments);
    command
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = git_in(root, arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
