//! The help, made from the table of commands.

use super::commands::{CommandSpec, available};
use crate::features::Feature;
use std::fmt::Write as _;

/// The help of the program.
pub(super) fn help() -> String {
    let mut text = String::from(
        "farspan gives distributed traces to work in systems that you cannot instrument.\n\n\
         Usage: farspan COMMAND [OPTION]...\n\nCommands:\n",
    );
    let rows = available().map(|command| (command.name.to_owned(), command.about.to_owned()));
    table(&mut text, rows.collect());
    text.push_str("\nOptions:\n");
    table(
        &mut text,
        vec![
            (
                "-h, --help".to_owned(),
                "Print this, or a command's own help after its name".to_owned(),
            ),
            (
                "-V, --version".to_owned(),
                "Print the version, the commit, the features and the target".to_owned(),
            ),
        ],
    );
    text.push_str("\nThe settings, with their variables and keys: 'farspan help settings'.\n");
    text.push_str(
        "A man page: 'farspan help man'. Completions: 'farspan help bash', 'zsh' or 'fish'.\n",
    );
    text.push_str("Exit codes: 0 done, 1 the work failed, 2 usage or configuration.\n");
    text
}

/// The version, and what this build is made of.
pub(super) fn version() -> String {
    let built: Vec<&str> = (Feature::ALL.iter())
        .filter(|feature| feature.is_built())
        .map(|feature| feature.name())
        .collect();
    let features = if built.is_empty() {
        "none".to_owned()
    } else {
        built.join(", ")
    };
    let commit = crate::COMMIT.unwrap_or("unknown");
    let (version, target) = (crate::VERSION, crate::TARGET);
    format!("farspan {version}\ncommit   {commit}\nfeatures {features}\ntarget   {target}\n")
}

impl CommandSpec {
    /// Its help.
    pub(super) fn help(&self) -> String {
        let operands = match self.operands.0 {
            "" => String::new(),
            operands => format!(" {operands}"),
        };
        let mut text = format!(
            "{}.\n\nUsage: farspan {} [OPTION]...{operands}\n\nOptions:\n",
            self.about, self.name
        );
        let mut rows = Vec::new();
        for option in self.options() {
            let value = option
                .value
                .map_or(String::new(), |value| format!(" {value}"));
            let default = match option.default {
                "" => String::new(),
                default => format!(" [{default}]"),
            };
            let short = option
                .short
                .map_or(String::new(), |short| format!("-{short}, "));
            rows.push((
                format!("{short}--{}{value}", option.name),
                format!("{}{default}", option.about),
            ));
        }
        rows.push(("-h, --help".to_owned(), "Print this".to_owned()));
        table(&mut text, rows);
        text.push_str("\nExamples:\n");
        for example in self.examples {
            let _ = writeln!(text, "  {example}");
        }
        if !self.more.is_empty() {
            let _ = write!(text, "\n{}", self.more);
        }
        text
    }
}

fn table(text: &mut String, rows: Vec<(String, String)>) {
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    for (name, about) in rows {
        let _ = writeln!(text, "  {name:width$}  {about}");
    }
}
