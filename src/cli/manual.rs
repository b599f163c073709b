//! The man page, made from the tables of commands and settings.

use super::commands::{OptionSpec, available};
use crate::config;
use std::fmt::Write as _;

/// As `man` reads it: man(7).
pub(super) fn page() -> String {
    let mut page = format!(
        ".TH FARSPAN 1 \"\" \"farspan {}\" \"User Commands\"\n.ad l\n\
         .SH NAME\nfarspan \\- distributed traces for work in systems that you cannot instrument\n\
         .SH SYNOPSIS\n.B farspan\n.I COMMAND\n[\\fIOPTION\\fR]...\n\
         .SH DESCRIPTION\nfarspan hears that a workflow has started in another system, polls the status API of that \
         system until the workflow ends, and exports what it saw as one OpenTelemetry trace.\n\
         .SH COMMANDS\n",
        crate::VERSION
    );
    for command in available() {
        let operands = command.operands.0;
        let call = format!("farspan {} [OPTION]... {operands}", command.name);
        let _ = writeln!(
            page,
            ".SS {}\n{}.",
            escaped(call.trim()),
            escaped(command.about)
        );
        for option in command.options() {
            let _ = writeln!(page, ".TP\n{}\n{}.", title(option), escaped(option.about));
            if !option.default.is_empty() {
                let _ = writeln!(page, "Default: {}.", escaped(option.default));
            }
        }
        let examples = format!("Examples:\n{}", command.examples.join("\n"));
        for text in [command.more.trim(), examples.as_str()] {
            if !text.is_empty() {
                let _ = writeln!(page, ".PP\n.nf\n{}\n.fi", escaped(text));
            }
        }
    }
    page.push_str(
        ".SH ENVIRONMENT\nThe environment beats the configuration file. An empty variable is an unset one.\n",
    );
    for setting in config::settings() {
        let key = setting.key.map_or(String::new(), |key| format!(" ({key})"));
        let _ = writeln!(
            page,
            ".TP\n\\fB{}\\fR{}\n{}.",
            escaped(setting.name),
            escaped(&key),
            escaped(setting.about)
        );
        if !setting.default.is_empty() {
            let _ = writeln!(page, "Default: {}.", escaped(setting.default));
        }
    }
    page.push_str(
        ".SH EXIT STATUS\n0 done, 1 the work failed, 2 usage or configuration. Some commands have their own, named above.\n",
    );
    page
}

fn title(option: &OptionSpec) -> String {
    let short = option
        .short
        .map_or(String::new(), |short| format!("\\fB\\-{short}\\fR, "));
    let value = option.value.map_or(String::new(), |value| {
        format!(" \\fI{}\\fR", escaped(value))
    });
    format!("{short}\\fB\\-\\-{}\\fR{value}", escaped(option.name))
}

/// A backslash begins a request, and so does a dot or a quotation mark at the beginning of a line.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A list of values without spaces is wider than a page.
    let text = text.replace(',', ",\\:");
    let lines = text.lines().map(|line| {
        let is_request = line.starts_with(['.', '\'']);
        format!("{}{line}", if is_request { "\\&" } else { "" })
    });
    lines.collect::<Vec<_>>().join("\n")
}
