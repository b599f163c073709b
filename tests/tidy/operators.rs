//! What the pages for operators quote is there: lines of the log, settings and metrics.

use super::{code_of, name_of, root, sources};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The pages that quote the log.
const QUOTING: [&str; 3] = [
    "docs/troubleshooting.md",
    "docs/upgrade.md",
    "docs/fleet.md",
];

/// What begins a code span that has spaces and is no line of the log.
const COMMANDS: [&str; 13] = [
    "<root span",
    "OTEL_",
    "appendonly ",
    "curl ",
    "docker ",
    "farspan ",
    "helm ",
    "journalctl ",
    "kill ",
    "kubectl ",
    "redis-cli ",
    "sudo ",
    "systemctl ",
];

/// A code span of two words or more is a part of a line that farspan writes. Placeholders cannot be quoted.
#[test]
fn the_lines_of_the_log_that_documents_quote_are_written() {
    let written = written();
    let mut unknown = Vec::new();
    let mut quoted = 0;
    for page in QUOTING {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let spans = text
            .lines()
            .flat_map(|line| line.split('`').skip(1).step_by(2));
        for span in spans {
            let is_command = COMMANDS.iter().any(|begin| span.starts_with(begin));
            if !span.contains(' ') || is_command {
                continue;
            }
            quoted += 1;
            // A kind of failure in brackets is a placeholder.
            let fixed = span.split(" (").next().unwrap_or(span);
            if !written.contains(fixed) {
                unknown.push(format!("{page}: {span}"));
            }
        }
    }
    assert!(quoted > 20, "{quoted} lines");
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn the_settings_that_documents_name_are_there() {
    let help = Command::new(env!("CARGO_BIN_EXE_farspan"))
        .args(["help", "settings"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: BTreeSet<&str> = words(&help).collect();
    let mut unknown = Vec::new();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let named = words(&text).filter(|word| word.starts_with("FARSPAN_"));
        let missing = named.filter(|word| !known.contains(word));
        unknown.extend(missing.map(|word| format!("{}: {word}", path.display())));
    }
    assert!(known.len() > 50, "{help}");
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.len() > 4)
}

/// All code without its tests, with texts that go on in the next line as one.
fn written() -> String {
    let files = sources();
    let product = files
        .iter()
        .filter(|file| !is_test(&name_of(file)))
        .map(|file| code_of(file));
    let mut text = String::new();
    for line in product.flatten().map(|(_, line)| line) {
        let line = line.trim_start();
        match line.strip_suffix('\\') {
            Some(begun) => text.push_str(begun),
            None => text = text + line + "\n",
        }
    }
    text
}

fn is_test(name: &str) -> bool {
    Path::new(name)
        .components()
        .any(|part| part.as_os_str() == "tests")
}
