//! The command line in, an exit code out: all of `main`, which is a crate of its own and sees nothing of the inside.

#[cfg(feature = "admin")]
use crate::cli::TopOptions;
use crate::cli::{self, Command, ProbeOptions};
#[cfg(feature = "admin")]
use crate::config::AdminTarget;
#[cfg(all(feature = "demo", feature = "redis"))]
use crate::config::Redis;
use crate::config::{Config, ConfigOrigin, Errors};
#[cfg(feature = "demo")]
use crate::demo;
use crate::os::environment::Environment;
use crate::os::logging;
use crate::os::logging::Log;
use crate::os::redaction::without_secrets;
use crate::syntax::text::escape;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The work failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const MISUSED: u8 = 2;

/// Runs the command that the arguments of the process say.
pub fn main() -> ExitCode {
    let env = Environment::of_process();
    let code = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => match dispatch(command, &env) {
            Ok(code) => code,
            Err(Unstarted::Misused(errors)) => misused(&errors),
            Err(Unstarted::NoLog(error)) => {
                tell(&format!("cannot start the thread of the log: {error}"));
                ExitCode::from(FAILED)
            }
        },
        Err(error) => {
            let code = misused(&error);
            if let Some(help) = error.help() {
                let _ = write!(io::stderr().lock(), "\n{help}");
            }
            code
        }
    };
    logging::finish();
    code
}

/// Why a command is not run.
enum Unstarted {
    Misused(Errors),
    NoLog(io::Error),
}

impl From<Errors> for Unstarted {
    fn from(errors: Errors) -> Self {
        Unstarted::Misused(errors)
    }
}

fn dispatch(command: Command, env: &Environment) -> Result<ExitCode, Unstarted> {
    match command {
        Command::Help(text) | Command::Version(text) => Ok(print(&text)),
        Command::Config {
            config,
            only_changed,
            json,
        } => show_config(config.as_deref(), only_changed, json, env),
        Command::Init { directory } => Ok(printed(crate::command::init::run(&directory))),
        Command::Refused { config, whole } => {
            let config = Config::load(env, config.as_deref())?;
            start_log_of(&config)?;
            Ok(printed(crate::command::refused::shown(&config, whole)))
        }
        Command::Run {
            config,
            reads_stdin,
        } => run(config, reads_stdin, env),
        Command::Check {
            config,
            offline,
            json,
        } => check(config.as_deref(), offline, json, env),
        #[cfg(feature = "admin")]
        Command::Healthcheck { config, asks_ready } => {
            let target = AdminTarget::load(env, config.as_deref(), None)?;
            start_log(&Log::load_quiet(env)?)?;
            let answered = crate::command::healthcheck::run(target, asks_ready);
            Ok(printed(answered))
        }
        Command::Probe(options) => probe(&options, env),
        Command::Trace(options) => {
            let config = Config::load_to_watch(env, options.config.as_deref())?;
            start_quiet_log(&config, env)?;
            let traced = crate::command::trace::run(&options, config, env);
            Ok(traced.unwrap_or_else(|mistake| misused(&mistake)))
        }
        #[cfg(feature = "admin")]
        Command::Top(options) => Ok(top(&options, env)?),
        #[cfg(feature = "demo")]
        Command::Demo(options) => {
            start_log(&Log::load_quiet(env)?)?;
            Ok(demo::show::run(&options, env)?)
        }
        #[cfg(feature = "demo")]
        Command::Api(options) => {
            start_log(&Log::load(env)?)?;
            Ok(demo::api::run(&options))
        }
        #[cfg(all(feature = "demo", feature = "redis"))]
        Command::Load(options) => {
            start_log(&Log::load(env)?)?;
            let (url, channel) = (options.redis_url.as_deref(), options.channel.as_deref());
            let redis = Redis::for_load(env, url, channel)?;
            Ok(demo::load::run(&options, &redis))
        }
        // The parser has no command of a feature that is left out.
        #[cfg(not(feature = "admin"))]
        Command::Top(_) | Command::Healthcheck { .. } => Ok(ExitCode::from(MISUSED)),
        #[cfg(not(feature = "demo"))]
        Command::Demo(_) | Command::Api(_) | Command::Load(_) => Ok(ExitCode::from(MISUSED)),
        #[cfg(all(feature = "demo", not(feature = "redis")))]
        Command::Load(_) => Ok(ExitCode::from(MISUSED)),
    }
}

fn show_config(
    file: Option<&Path>,
    only_changed: bool,
    json: bool,
    env: &Environment,
) -> Result<ExitCode, Unstarted> {
    let config = Config::load(env, file)?;
    start_log_of(&config)?;
    Ok(print(&if json {
        format!("{:#}\n", config.to_json(only_changed))
    } else {
        config.describe(only_changed)
    }))
}

fn run(file: Option<PathBuf>, reads_stdin: bool, env: &Environment) -> Result<ExitCode, Unstarted> {
    let config = Config::load_to_watch(env, file.as_deref())?;
    start_log_of(&config)?;
    let env = env.clone();
    Ok(match crate::run::source_missing(&config, reads_stdin) {
        Some(mistake) => misused(&mistake),
        None => crate::run::run(&config, ConfigOrigin { env, file }, reads_stdin),
    })
}

fn check(
    file: Option<&Path>,
    offline: bool,
    json: bool,
    env: &Environment,
) -> Result<ExitCode, Unstarted> {
    let config = Config::load_to_watch(env, file).inspect_err(|errors| {
        if json {
            let mistakes = crate::command::check::mistakes_json(errors);
            print(&format!("{mistakes:#}\n"));
        }
    })?;
    start_log_of(&config)?;
    Ok(crate::command::check::run(&config, offline, json))
}

fn probe(options: &ProbeOptions, env: &Environment) -> Result<ExitCode, Unstarted> {
    let file = options.config.as_deref();
    let config = if options.bodies.is_empty() {
        Config::load_to_watch(env, file)?
    } else {
        // Saved answers need no API.
        Config::load(env, file)?
    };
    start_quiet_log(&config, env)?;
    let probed = crate::command::probe::run(options, &config, env);
    Ok(probed.unwrap_or_else(|mistake| misused(&mistake)))
}

#[cfg(feature = "admin")]
fn top(options: &TopOptions, env: &Environment) -> Result<ExitCode, Errors> {
    let (file, url) = (options.config.as_deref(), options.admin.as_deref());
    let target = AdminTarget::load(env, file, url)?;
    let shown = crate::command::top::run(options, target, env);
    Ok(shown.unwrap_or_else(|trouble| failed(&trouble)))
}

/// The text of a command, or why it failed.
fn printed(text: Result<String, String>) -> ExitCode {
    text.map_or_else(|trouble| failed(&trouble), |text| print(&text))
}

fn failed(trouble: &str) -> ExitCode {
    tell(&trouble);
    ExitCode::from(FAILED)
}

fn start_log(log: &Log) -> Result<(), Unstarted> {
    logging::start(log).map_err(Unstarted::NoLog)
}

/// With the warnings of the configuration.
fn start_log_of(config: &Config) -> Result<(), Unstarted> {
    start_log(&config.log)?;
    warn(&config.warnings);
    warn(&config.source_warnings);
    Ok(())
}

/// For a command that shows something else than its log.
fn start_quiet_log(config: &Config, env: &Environment) -> Result<(), Unstarted> {
    start_log(&Log::load_quiet(env)?)?;
    warn(&config.warnings);
    Ok(())
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        log::warn!(target: "farspan::config", "{warning}");
    }
}

/// A reader that has gone away (`farspan config | head -1`) has read enough.
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(without_secrets(text).as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            tell(&error);
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn misused(error: &dyn Display) -> ExitCode {
    tell(error);
    ExitCode::from(MISUSED)
}

/// A closed standard error is no reason to panic.
fn tell(error: &dyn Display) {
    // What was logged before stands before it.
    logging::finish();
    let env = Environment::of_process();
    let is_for_journal = logging::is_journal(env.text("JOURNAL_STREAM"));
    let priority = if is_for_journal { "<3>" } else { "" };
    let mut stderr = io::stderr().lock();
    for line in error.to_string().lines() {
        let _ = writeln!(
            stderr,
            "{priority}farspan: {}",
            escape(&without_secrets(line))
        );
    }
}
