//! Completions for shells, made from the table of commands.

use super::commands::{CommandSpec, OptionSpec, available};
use std::fmt::Write as _;

/// What a shell can complete in the place of a value.
enum Values {
    Files,
    Directories,
    Words(&'static str),
    /// Only the user knows it.
    Unknown,
}

fn values_of(name: &str) -> Values {
    match name {
        "FILE" | "[NAME=]FILE" => Values::Files,
        "[DIR]" => Values::Directories,
        "WHEN" => Values::Words("auto always never"),
        "-" => Values::Words("-"),
        _ => Values::Unknown,
    }
}

/// The names that an option has, with their dashes.
fn names(option: &OptionSpec) -> Vec<String> {
    let short = option.short.map(|short| format!("-{short}"));
    short
        .into_iter()
        .chain([format!("--{}", option.name)])
        .collect()
}

pub(super) fn bash() -> String {
    let commands: Vec<&str> = available().map(|command| command.name).collect();
    let mut text = format!(
        "# Completions of farspan for bash.\n\
         _farspan() {{\n    \
             local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}}\n    \
             COMPREPLY=()\n    \
             if ((COMP_CWORD == 1)); then\n        \
                 mapfile -t COMPREPLY < <(compgen -W '{} help --help --version' -- \"$current\")\n        \
                 return\n    \
             fi\n    \
             case \"$command $previous\" in\n",
        commands.join(" ")
    );
    for command in available() {
        for option in command.options() {
            let Some(value) = option.value else { continue };
            let call = match values_of(value) {
                Values::Files => "-f",
                Values::Directories => "-d",
                Values::Words(words) => &format!("-W '{words}'"),
                Values::Unknown => "-W ''",
            };
            let patterns: Vec<String> = (names(option).iter())
                .map(|name| format!("'{} {name}'", command.name))
                .collect();
            let _ = writeln!(
                text,
                "    {}) mapfile -t COMPREPLY < <(compgen {call} -- \"$current\"); return ;;",
                patterns.join(" | ")
            );
        }
    }
    text.push_str("    esac\n    case \"$command\" in\n");
    for command in available() {
        let options: Vec<String> = command.options().flat_map(names).collect();
        let operands = match values_of(command.operands.0) {
            Values::Directories => "-d ",
            _ => "",
        };
        let _ = writeln!(
            text,
            "    {}) mapfile -t COMPREPLY < <(compgen {operands}-W '{} -h --help' -- \"$current\") ;;",
            command.name,
            options.join(" ")
        );
    }
    let _ = writeln!(
        text,
        "    help) mapfile -t COMPREPLY < <(compgen -W '{} settings' -- \"$current\") ;;\n    esac\n}}\n\
         complete -o filenames -F _farspan farspan",
        commands.join(" ")
    );
    text
}

pub(super) fn zsh() -> String {
    let mut text =
        String::from("#compdef farspan\n_farspan() {\n    local -a commands\n    commands=(\n");
    for command in available() {
        let _ = writeln!(
            text,
            "        '{}:{}'",
            command.name,
            for_zsh(command.about)
        );
    }
    text.push_str(
        "        'help:Show help'\n    )\n    if ((CURRENT == 2)); then\n        _describe command commands\n        \
         return\n    fi\n    local command=$words[2]\n    shift words\n    ((CURRENT--))\n    case $command in\n",
    );
    for command in available() {
        let _ = writeln!(text, "    {})\n        _arguments \\", command.name);
        for option in command.options() {
            let value = option.value.map_or(String::new(), |value| {
                let name = for_zsh(value);
                match values_of(value) {
                    Values::Files => format!(":{name}:_files"),
                    Values::Directories => format!(":{name}:_directories"),
                    Values::Words(words) => format!(":{name}:({words})"),
                    Values::Unknown => format!(":{name}: "),
                }
            });
            for name in names(option) {
                let about = for_zsh(option.about);
                let _ = writeln!(text, "            '*{name}[{about}]{value}' \\");
            }
        }
        if let Values::Directories = values_of(command.operands.0) {
            text.push_str("            '*:DIR:_directories' \\\n");
        }
        text.push_str("            '--help[Print the help]'\n        ;;\n");
    }
    text.push_str("    esac\n}\n_farspan \"$@\"\n");
    text
}

/// In single quotation marks, where colons and brackets have a meaning.
fn for_zsh(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '\'' => escaped.push_str("'\\''"),
            '[' | ']' | ':' | '\\' => {
                escaped.push('\\');
                escaped.push(char);
            }
            _ => escaped.push(char),
        }
    }
    escaped
}

pub(super) fn fish() -> String {
    let mut text = String::from("# Completions of farspan for fish.\ncomplete -c farspan -f\n");
    let begins = |text: &mut String, name: &str, about: &str| {
        let about = for_fish(about);
        let _ = writeln!(
            text,
            "complete -c farspan -n __fish_use_subcommand -a {name} -d '{about}'"
        );
    };
    for command in available() {
        begins(&mut text, command.name, command.about);
    }
    begins(&mut text, "help", "Show help");
    for command in available() {
        of_command(&mut text, command);
    }
    text
}

fn of_command(text: &mut String, command: &CommandSpec) {
    let when = format!("-n '__fish_seen_subcommand_from {}'", command.name);
    for option in command.options() {
        let short = option
            .short
            .map_or(String::new(), |short| format!("-s {short} "));
        let value = match option.value.map(values_of) {
            None => String::new(),
            Some(Values::Files) => "-r -F ".to_owned(),
            Some(Values::Directories) => "-x -a '(__fish_complete_directories)' ".to_owned(),
            Some(Values::Words(words)) => format!("-x -a '{words}' "),
            Some(Values::Unknown) => "-x ".to_owned(),
        };
        let (name, about) = (option.name, for_fish(option.about));
        let _ = writeln!(
            text,
            "complete -c farspan {when} {short}-l {name} {value}-d '{about}'"
        );
    }
    if let Values::Directories = values_of(command.operands.0) {
        let _ = writeln!(
            text,
            "complete -c farspan {when} -a '(__fish_complete_directories)'"
        );
    }
}

fn for_fish(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
