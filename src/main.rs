//! farspan's one binary: the command line in, an exit code out.

use farspan::cli::{self, ApiOptions, Command, DemoOptions, LoadOptions};
use farspan::config::{Config, Environment, Log, Redis};
use farspan::logging;
use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

/// The work failed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let env = Environment::of_process();
    let done = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => dispatch(command, &env),
        Err(error) => Err(misused(&error)),
    };
    done.unwrap_or_else(|code| code)
}

/// An error has been told already; what is left of it is the exit code.
fn dispatch(command: Command, env: &Environment) -> Result<ExitCode, ExitCode> {
    match command {
        Command::Help(text) => print(&text),
        Command::Version => print(&format!("farspan {}\n", farspan::VERSION)),
        Command::Config { config } => {
            let config = Config::load(env, config.as_deref()).map_err(|error| misused(&error))?;
            start_log(&config.log, &config.warnings);
            print(&config.describe())
        }
        Command::Run { config } => {
            let config =
                Config::load_to_watch(env, config.as_deref()).map_err(|error| misused(&error))?;
            start_log(&config.log, &config.warnings);
            placeholder_run(config)
        }
        Command::Check { config } => {
            let config =
                Config::load_to_watch(env, config.as_deref()).map_err(|error| misused(&error))?;
            start_log(&config.log, &config.warnings);
            placeholder_check(config)
        }
        Command::Demo(options) => {
            start_log(&Log::load(env).map_err(|error| misused(&error))?, &[]);
            placeholder_demo(options, env)
        }
        Command::Api(options) => {
            start_log(&Log::load(env).map_err(|error| misused(&error))?, &[]);
            placeholder_api(options)
        }
        Command::Load(options) => {
            start_log(&Log::load(env).map_err(|error| misused(&error))?, &[]);
            let (url, channel) = (options.redis_url.as_deref(), options.channel.as_deref());
            let redis = Redis::for_load(env, url, channel).map_err(|error| misused(&error))?;
            placeholder_load(options, redis)
        }
    }
}

fn start_log(log: &Log, warnings: &[String]) {
    logging::start(log);
    for warning in warnings {
        log::warn!(target: "farspan::config", "{warning}");
    }
}

/// A reader that has gone away (`farspan config | head -1`) has read enough.
fn print(text: &str) -> Result<ExitCode, ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            tell(&error);
            Err(ExitCode::from(FAILED))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn misused(error: &dyn Display) -> ExitCode {
    tell(error);
    ExitCode::from(MISUSED)
}

/// A closed standard error is no reason to panic.
fn tell(error: &dyn Display) {
    let mut stderr = std::io::stderr().lock();
    for line in error.to_string().lines() {
        let _ = writeln!(stderr, "farspan: {line}");
    }
}

// What follows stands in for modules that are built elsewhere, and goes when they come.

fn placeholder_run(_: Config) -> Result<ExitCode, ExitCode> {
    Ok(ExitCode::from(FAILED))
}

fn placeholder_check(_: Config) -> Result<ExitCode, ExitCode> {
    Ok(ExitCode::from(FAILED))
}

fn placeholder_demo(_: DemoOptions, _: &Environment) -> Result<ExitCode, ExitCode> {
    Ok(ExitCode::from(FAILED))
}

fn placeholder_api(_: ApiOptions) -> Result<ExitCode, ExitCode> {
    Ok(ExitCode::from(FAILED))
}

fn placeholder_load(_: LoadOptions, _: Redis) -> Result<ExitCode, ExitCode> {
    Ok(ExitCode::from(FAILED))
}
