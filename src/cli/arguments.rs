//! The arguments of one command as they were written.

use super::commands::{CommandSpec, OptionSpec, count};
use super::{Given, UsageError, dashed, lexopt_error, next, unknown, usage};
use crate::core::limits;
use crate::features;
use crate::syntax::text::shown;
use crate::syntax::values::{self, Reason};
use crate::terminal::console::Colours;
use lexopt::Parser;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The options of one command as they were written.
pub(super) struct Arguments {
    pub(super) command: &'static CommandSpec,
    written: Vec<(&'static str, String)>,
    operands: Vec<String>,
}

impl Arguments {
    pub(super) fn read(
        parser: &mut Parser,
        command: &'static CommandSpec,
    ) -> Result<Arguments, UsageError> {
        let on = Some(command.name);
        let mut written = Vec::new();
        let mut operands = Vec::new();
        while let Some(given) = next(parser, on)? {
            let name = match given {
                Given::Option(name) => name,
                Given::Word(word) if operands.len() < command.operands.1 => {
                    operands.push(word);
                    continue;
                }
                Given::Word(word) if command.operands.1 > 1 => {
                    let most = command.operands.1;
                    let error = format!("'{}' is more than {most}", shown(&word));
                    return Err(usage(&error, on));
                }
                Given::Word(word) => return Err(unknown("argument", &word, None, on)),
            };
            if name == "help" || name == "h" {
                written.push(("help", String::new()));
                continue;
            }
            let is_meant =
                |option: &&OptionSpec| option.name == name || option.short == Some(&name);
            let Some(option) = command.options.iter().find(is_meant) else {
                let known = command.options().map(|option| option.name).chain(["help"]);
                let meant = values::nearest(&name, known).map(dashed);
                return Err(unknown("option", &dashed(&name), meant, on));
            };
            if let Some(missing) = features::missing(option.needs) {
                return Err(usage(&format!("'--{name}' {missing}"), on));
            }
            let value = match option.value {
                Some(_) => parser.value().map_err(|error| lexopt_error(&error, on))?,
                None => OsString::new(),
            };
            let value = value
                .into_string()
                .map_err(|_| usage(&format!("the value of '--{name}' is not UTF-8"), on))?;
            written.push((option.name, value));
        }
        Ok(Arguments {
            command,
            written,
            operands,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The last one counts.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let last = self
            .written
            .iter()
            .rev()
            .find(|(written, _)| *written == name);
        last.map(|(_, value)| value.as_str())
    }

    /// All of them in their order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let written = self.written.iter();
        let these = written.filter(move |(written, _)| *written == name);
        these.map(|(_, value)| value.as_str())
    }

    /// What follows the command's name, if it is one word.
    pub(super) fn operand(&self) -> Option<&str> {
        self.operands.first().map(String::as_str)
    }

    /// What follows the command's name, as ids of workflows; each once.
    pub(super) fn ids(&self) -> Result<Vec<String>, UsageError> {
        let most = limits::WORKFLOW_ID_BYTES_MAX;
        let mut ids: Vec<String> = Vec::new();
        for id in &self.operands {
            if id.is_empty() || id.len() > most {
                let error = format!("'{}' is no id: it has 1 to {most} bytes", shown(id));
                return Err(usage(&error, Some(self.command.name)));
            }
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        Ok(ids)
    }

    pub(super) fn optional<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Result<Option<T>, UsageError> {
        self.text(name)
            .map(|text| self.parsed(name, text, parse))
            .transpose()
    }

    /// An option that has a default.
    pub(super) fn required<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Result<T, UsageError> {
        let option = self
            .command
            .options
            .iter()
            .find(|option| option.name == name);
        let default = option.map_or("", |option| option.default);
        self.parsed(name, self.text(name).unwrap_or(default), parse)
    }

    fn parsed<T>(
        &self,
        name: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Result<T, UsageError> {
        parse(text).map_err(|reason| {
            let error = format!("--{name}: '{}' {reason}", shown(text));
            usage(&error, Some(self.command.name))
        })
    }

    pub(super) fn config(&self) -> Option<PathBuf> {
        self.text("config").map(PathBuf::from)
    }

    pub(super) fn workflows(&self) -> Result<u32, UsageError> {
        self.required("workflows", count)
    }

    /// Bounded on both sides, so that no duration divided by it leaves what a `Duration` holds.
    pub(super) fn speed(&self) -> Result<f64, UsageError> {
        const SPEED: RangeInclusive<f64> = 0.001..=1_000_000.0;
        self.required("speed", |text| values::number(text, SPEED))
    }

    pub(super) fn colours(&self) -> Result<Colours, UsageError> {
        let words = [
            ("auto", Colours::Auto),
            ("always", Colours::Always),
            ("never", Colours::Never),
        ];
        self.required("color", |text| values::one_of(text, &words))
    }

    pub(super) fn seed(&self) -> Result<Option<u64>, UsageError> {
        self.optional("seed", |text| values::integer(text, 0..=u64::MAX))
    }
}
