//! The command line: arguments in, one [`Command`] out.

mod arguments;
mod commands;
mod completions;
mod help;
mod manual;

use crate::syntax::text::shown;
use crate::syntax::values;
use crate::terminal::console::Colours;
use arguments::Arguments;
use commands::find;
use lexopt::{Arg, Parser};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What farspan is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Watch until a signal comes.
    Run {
        /// The configuration file, if it was named here.
        config: Option<PathBuf>,
        /// Whether start events come on standard input too.
        reads_stdin: bool,
    },
    /// Everything in one process.
    Demo(DemoOptions),
    /// Validate the configuration and try each endpoint.
    Check {
        /// The configuration file, if it was named here.
        config: Option<PathBuf>,
        /// Whether no endpoint is tried.
        offline: bool,
        /// Whether JSON is printed.
        json: bool,
    },
    /// Poll once, or read saved answers, and show what the mapping makes of them.
    Probe(ProbeOptions),
    /// Watch these workflows to their end.
    Trace(TraceOptions),
    /// Print what was refused for good.
    Refused {
        /// The configuration file, if it was named here.
        config: Option<PathBuf>,
        /// Whether everything is printed, a line of JSON for each.
        whole: bool,
    },
    /// Print the effective configuration.
    Config {
        /// The configuration file, if it was named here.
        config: Option<PathBuf>,
        /// Whether defaults are left out.
        only_changed: bool,
        /// Whether JSON is printed.
        json: bool,
    },
    /// Write a start for a configuration.
    Init {
        /// Where to.
        directory: PathBuf,
    },
    /// Show the workflows of a running farspan.
    Top(TopOptions),
    /// Ask a running farspan how it is.
    Healthcheck {
        /// The configuration file, if it was named here.
        config: Option<PathBuf>,
        /// Whether it is asked if it can do its work, and not if it is alive.
        asks_ready: bool,
    },
    /// Be the scripted external API.
    Api(ApiOptions),
    /// Publish start events.
    Load(LoadOptions),
    /// Print this help.
    Help(String),
    /// Print the version and what this build is made of.
    Version(String),
}

/// `farspan demo`.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoOptions {
    /// How many workflows, 1 to [`WORKFLOWS_MAX`](limits::WORKFLOWS_MAX).
    pub workflows: u32,
    /// Every duration of the scripted API is divided by this; finite, above zero.
    pub speed: f64,
    /// The seed of everything random. `None`: a new one each time.
    pub seed: Option<u64>,
    /// Whether to go on when all workflows are traced.
    pub serve: bool,
    /// Whether to open the live page in the browser.
    pub open: bool,
    /// Whether traces are coloured.
    pub colours: Colours,
}

/// `farspan probe`: an id or a body is there, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeOptions {
    /// The configuration file, if it was named here.
    pub config: Option<PathBuf>,
    /// Of which monitor; may be left out where there is one.
    pub monitor: Option<String>,
    /// Which workflow to ask after; with bodies, whose they are.
    pub id: Option<String>,
    /// `FILE` or `NAME=FILE`; `-` for standard input.
    pub bodies: Vec<String>,
    /// Whether JSON is printed.
    pub json: bool,
    /// Whether the trace is coloured.
    pub colours: Colours,
}

/// `farspan trace`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// The configuration file, if it was named here.
    pub config: Option<PathBuf>,
    /// Of which monitor; may be left out where there is one.
    pub monitor: Option<String>,
    /// Which workflows, 1 to [`IDS_MAX`].
    pub ids: Vec<String>,
    /// How long the API may give no usable answer; at most a day.
    pub patience: Duration,
    /// Whether a line of JSON is printed for each thing that happens.
    pub json: bool,
    /// Whether traces are coloured.
    pub colours: Colours,
}

/// `farspan top`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopOptions {
    /// The configuration file, if it was named here.
    pub config: Option<PathBuf>,
    /// The URL of the admin endpoint, if it was named here.
    pub admin: Option<String>,
    /// Whether the workflows are printed once.
    pub once: bool,
    /// Whether there are colours.
    pub colours: Colours,
}

/// Ids of one `farspan trace`.
pub const IDS_MAX: usize = 1000;

/// `farspan api`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiOptions {
    /// `host:port`.
    pub listen: String,
    /// Every duration is divided by this; finite, above zero.
    pub speed: f64,
    /// The seed of everything random. `None`: a new one each time.
    pub seed: Option<u64>,
    /// The delay of each answer; at most an hour.
    pub latency: Duration,
    /// The share of stages that fail, 0 to 1.
    pub fail_rate: f64,
}

/// `farspan load`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// `None`: the configured one, else the one on this host: [`Redis::for_load`](crate::config::Redis::for_load).
    pub redis_url: Option<String>,
    /// `None`: the configured one, else the default.
    pub channel: Option<String>,
    /// How many events in all, 1 to [`WORKFLOWS_MAX`](limits::WORKFLOWS_MAX).
    pub workflows: u32,
    /// How many events in one batch; 1 or more.
    pub batch: u32,
    /// From the start of one batch to the start of the next; at most a day.
    pub batch_wait: Duration,
    /// The time over which the events of a batch are spread; at most a day. `None`: the load generator chooses.
    pub spread: Option<Duration>,
    /// Whether each event carries a `traceparent`.
    pub with_parent: bool,
    /// The seed of everything random. `None`: a new one each time.
    pub seed: Option<u64>,
}

/// A mistake in the command line, with the help to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    what: String,
    help: Option<String>,
}

impl UsageError {
    /// The help that is shown behind it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments that follow the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(args);
    let name = match next(&mut parser, None)? {
        None => {
            return Err(UsageError {
                what: "no command".to_owned(),
                help: Some(help::help()),
            });
        }
        Some(Given::Option(name)) => {
            return match name.as_str() {
                "help" | "h" => Ok(Command::Help(help::help())),
                "version" | "V" => Ok(Command::Version(help::version())),
                _ => {
                    let meant = values::nearest(&name, ["help", "version"]);
                    Err(unknown("option", &dashed(&name), meant.map(dashed), None))
                }
            };
        }
        Some(Given::Word(word)) => word,
    };
    if name == "help" {
        return help_on(&mut parser);
    }
    let command = find(&name)?;
    let arguments = Arguments::read(&mut parser, command)?;
    if arguments.has("help") {
        return Ok(Command::Help(command.help()));
    }
    (command.build)(&arguments)
}

enum Given {
    /// Without its dashes.
    Option(String),
    Word(String),
}

fn next(parser: &mut Parser, on: Option<&str>) -> Result<Option<Given>, UsageError> {
    match parser.next() {
        Ok(None) => Ok(None),
        Ok(Some(Arg::Long(name))) => Ok(Some(Given::Option(name.to_owned()))),
        Ok(Some(Arg::Short(name))) => Ok(Some(Given::Option(name.to_string()))),
        Ok(Some(Arg::Value(word))) => match word.into_string() {
            Ok(word) => Ok(Some(Given::Word(word))),
            Err(word) => {
                let word = word.to_string_lossy();
                let error = format!("the argument '{}' is not UTF-8", shown(&word));
                Err(usage(&error, on))
            }
        },
        Err(error) => Err(lexopt_error(&error, on)),
    }
}

fn help_on(parser: &mut Parser) -> Result<Command, UsageError> {
    match next(parser, None)? {
        None | Some(Given::Option(_)) => Ok(Command::Help(help::help())),
        Some(Given::Word(topic)) if topic == "settings" => Ok(Command::Help(crate::config::help())),
        Some(Given::Word(topic)) => Ok(Command::Help(match topic.as_str() {
            "man" => manual::page(),
            "bash" => completions::bash(),
            "zsh" => completions::zsh(),
            "fish" => completions::fish(),
            _ => find(&topic)?.help(),
        })),
    }
}

/// With its dashes; a single letter has one.
fn dashed(name: &str) -> String {
    if name.chars().count() == 1 {
        format!("-{name}")
    } else {
        format!("--{name}")
    }
}

fn unknown(what: &str, word: &str, meant: Option<String>, on: Option<&str>) -> UsageError {
    let of = on.map_or(String::new(), |command| format!(" for '{command}'"));
    let meant = meant.map_or(String::new(), |meant| format!("; did you mean '{meant}'?"));
    usage(&format!("unknown {what} '{}'{of}{meant}", shown(word)), on)
}

fn lexopt_error(error: &lexopt::Error, on: Option<&str>) -> UsageError {
    usage(&shown(&error.to_string()), on)
}

fn usage(error: &str, on: Option<&str>) -> UsageError {
    let command = on.map_or(String::new(), |command| format!("{command} "));
    let stop = if error.ends_with('?') { "" } else { ";" };
    UsageError {
        what: format!("{error}{stop} see 'farspan {command}--help'"),
        help: None,
    }
}

#[cfg(test)]
mod tests;
