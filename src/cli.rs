//! The command line: one table that the parser and the help are both made from.

use crate::core::limits;
use crate::syntax::values::{self, Reason};
use crate::terminal::console::Colours;
use crate::text::shown;
use lexopt::{Arg, Parser};
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
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
    /// Print the version.
    Version,
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
/// Answers of one `farspan probe`.
const BODIES_MAX: usize = 1000;

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
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments that follow the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(args);
    let name = match next(&mut parser, None)? {
        None => return Err(usage("no command", None)),
        Some(Given::Option(name)) => {
            return match name.as_str() {
                "help" | "h" => Ok(Command::Help(help())),
                "version" | "V" => Ok(Command::Version),
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
    let values = Values::read(&mut parser, command)?;
    if values.has("help") {
        return Ok(Command::Help(command.help()));
    }
    if let Some(feature) = command.availability.missing() {
        let error =
            format!("'{name}' is not in this build: it was made without the feature '{feature}'");
        return Err(usage(&error, None));
    }
    (command.build)(&values)
}

struct CommandSpec {
    name: &'static str,
    about: &'static str,
    more: &'static str,
    availability: Availability,
    /// The operands, as the usage has them, and how many at most.
    operands: (&'static str, usize),
    options: &'static [OptionSpec],
    build: fn(&Values) -> Result<Command, UsageError>,
}

#[derive(Clone, Copy, PartialEq)]
enum Availability {
    Always,
    /// Only with the cargo feature `admin`.
    Admin,
    /// Only with the cargo feature `demo`.
    Demo,
}

impl Availability {
    /// The cargo feature that this build lacks.
    fn missing(self) -> Option<&'static str> {
        match self {
            Availability::Admin if cfg!(not(feature = "admin")) => Some("admin"),
            Availability::Demo if cfg!(not(feature = "demo")) => Some("demo"),
            _ => None,
        }
    }
}

struct OptionSpec {
    name: &'static str,
    /// The value's name, if it has one.
    value: Option<&'static str>,
    /// As it would be written; empty: none.
    default: &'static str,
    about: &'static str,
}

const fn flag(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        value: None,
        default: "",
        about,
    }
}

const fn option(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    about: &'static str,
) -> OptionSpec {
    let value = Some(value);
    OptionSpec {
        name,
        value,
        default,
        about,
    }
}

const CONFIG: OptionSpec = option(
    "config",
    "FILE",
    "",
    "The configuration file, JSON; else the one in FARSPAN_CONFIG",
);
const SEED: OptionSpec = option(
    "seed",
    "N",
    "",
    "Repeat what this seed gave; else another one each time",
);
const MONITOR: OptionSpec = option(
    "monitor",
    "NAME",
    "",
    "The monitor, where the configuration has several",
);
const COLOR: OptionSpec = option(
    "color",
    "WHEN",
    "auto",
    "Colours: auto (on a terminal, unless NO_COLOR is set), always or never",
);
const NONE: (&str, usize) = ("", 0);
const PROBE: &str = "\
Without an ID nobody is asked: the answers come from --body, which may be given
often: each page, and each answer of a request for_each, in their order.
Exit codes: 0 the answers fit, 1 they do not or there were none.
";
const TRACE: &str = "\
Spans go where 'farspan run' would send them. Nothing is kept.
Exit codes: 0 all succeeded, 1 some failed, 2 it could not be told.
";
const TOP: &str = "\
On a terminal: a table, and each workflow as a waterfall that grows; ? names the
keys. Without a terminal: a line for each workflow, then one for each change.
The token is the one of FARSPAN_ADMIN_TOKEN or FARSPAN_ADMIN_TOKEN_FILE.
";
const REFUSED: &str = "\
It is kept with the state, the last 256 refusals and 64 MiB at most. 'content'
in the JSON is what can be sent again: a trace request as OTLP/JSON, or a
finished event.
";
const HEALTHCHECK: &str = "\
It asks GET /healthz, or /readyz, where FARSPAN_ADMIN_LISTEN says that farspan
listens, and waits for 2 s. It needs no token.
Exit codes: 0 it is, 1 it is not or does not answer.
";
const SETTINGS: &str =
    "Settings come from the environment and the file: 'farspan help settings'.\n";

#[rustfmt::skip]
const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "run",
        about: "Watch workflows until SIGTERM or SIGINT",
        more: SETTINGS,
        availability: Availability::Always,
        operands: NONE,
        options: &[CONFIG, option("events", "-", "", "Take start events from standard input too, one a line")],
        build: run,
    },
    CommandSpec {
        name: "demo",
        about: "Show it all in one process: scripted API, load, watcher; nothing to install",
        more: "Spans go to a collector too when OTEL_EXPORTER_OTLP_ENDPOINT is set.\n\
               The live page is at FARSPAN_ADMIN_LISTEN. If the default port is taken, it is at a free one.\n",
        availability: Availability::Demo,
        operands: NONE,
        options: &[
            option("workflows", "N", "8", "How many workflows"),
            option("speed", "X", "600", "Divide every duration by X"),
            SEED,
            flag("serve", "Go on when all is traced"),
            flag("open", "Open the live page in the browser"),
            COLOR,
        ],
        build: demo,
    },
    CommandSpec {
        name: "check",
        about: "Validate the whole configuration, then try each endpoint",
        more: SETTINGS,
        availability: Availability::Always,
        operands: NONE,
        options: &[CONFIG, flag("offline", "Only validate the configuration")],
        build: |values| Ok(Command::Check { config: values.config(), offline: values.has("offline") }),
    },
    CommandSpec {
        name: "probe",
        about: "Poll once, or read saved answers, and show what the mapping makes of them",
        more: PROBE,
        availability: Availability::Always,
        operands: ("[ID]", 1),
        options: &[
            option("body", "[NAME=]FILE", "", "A saved answer: to the main request, or to the one of that name; - is standard input"),
            MONITOR,
            CONFIG,
            COLOR,
        ],
        build: probe,
    },
    CommandSpec {
        name: "trace",
        about: "Watch these workflows to their end, and show each trace when it is whole",
        more: TRACE,
        availability: Availability::Always,
        operands: ("ID...", IDS_MAX),
        options: &[
            option("patience", "DUR", "5m", "Give up when the API has given no usable answer for so long"),
            MONITOR,
            CONFIG,
            COLOR,
        ],
        build: trace,
    },
    CommandSpec {
        name: "top",
        about: "Show live and recent workflows of a running farspan",
        more: TOP,
        availability: Availability::Admin,
        operands: NONE,
        options: &[
            option("admin", "URL", "", "The admin endpoint to ask; else the one of FARSPAN_ADMIN_LISTEN"),
            flag("once", "Print the workflows once, a line each"),
            CONFIG,
            COLOR,
        ],
        build: top,
    },
    CommandSpec {
        name: "config",
        about: "Print the effective configuration, and where each value came from",
        more: SETTINGS,
        availability: Availability::Always,
        operands: NONE,
        options: &[CONFIG],
        build: |values| Ok(Command::Config { config: values.config() }),
    },
    CommandSpec {
        name: "refused",
        about: "Show what the collector or a receiver has refused for good",
        more: REFUSED,
        availability: Availability::Always,
        operands: NONE,
        options: &[CONFIG, flag("json", "Print all of it, a line of JSON for each refusal")],
        build: |values| Ok(Command::Refused { config: values.config(), whole: values.has("json") }),
    },
    CommandSpec {
        name: "healthcheck",
        about: "Ask the farspan on this host whether it is alive; for containers without a shell",
        more: HEALTHCHECK,
        availability: Availability::Always,
        operands: NONE,
        options: &[CONFIG, flag("ready", "Ask whether it can do its work")],
        build: |values| Ok(Command::Healthcheck { config: values.config(), asks_ready: values.has("ready") }),
    },
    CommandSpec {
        name: "api",
        about: "Be the scripted external API of the demo",
        more: "",
        availability: Availability::Demo,
        operands: NONE,
        options: &[
            option("listen", "ADDR", "127.0.0.1:8080", "Where to listen, host:port"),
            option("speed", "X", "1", "Divide every duration by X"),
            SEED,
            option("latency", "DUR", "0s", "Wait before each answer"),
            option("fail-rate", "P", "0.1", "The share of stages that fail, 0 to 1"),
        ],
        build: api,
    },
    CommandSpec {
        name: "load",
        about: "Publish start events to Redis, in batches",
        more: "",
        availability: Availability::Demo,
        operands: NONE,
        options: &[
            option("redis-url", "URL", "", "Else FARSPAN_REDIS_URL, else redis://127.0.0.1:6379"),
            option("channel", "NAME", "", "Else FARSPAN_REDIS_CHANNEL, else event.workflow.started"),
            option("workflows", "N", "300", "How many events in all"),
            option("batch", "N", "100", "How many events in one batch"),
            option("batch-wait", "DUR", "2m", "From one batch to the next"),
            option("spread", "DUR", "", "Spread a batch over this time"),
            flag("with-parent", "Give each event a traceparent"),
            SEED,
        ],
        build: load,
    },
];

fn run(values: &Values) -> Result<Command, UsageError> {
    let stdin = |text: &str| match text {
        "-" => Ok(()),
        _ => Err("is not '-', standard input; write farspan run --events - < FILE".into()),
    };
    Ok(Command::Run {
        config: values.config(),
        reads_stdin: values.optional("events", stdin)?.is_some(),
    })
}

fn probe(values: &Values) -> Result<Command, UsageError> {
    let bodies: Vec<String> = values.all("body").map(str::to_owned).collect();
    let id = values.ids()?.pop();
    let on = Some(values.command.name);
    if id.is_none() && bodies.is_empty() {
        return Err(usage("neither an ID nor a --body", on));
    }
    if bodies.len() > BODIES_MAX {
        return Err(usage(&format!("more than {BODIES_MAX} --body"), on));
    }
    Ok(Command::Probe(ProbeOptions {
        config: values.config(),
        monitor: values.text("monitor").map(str::to_owned),
        id,
        bodies,
        colours: values.colours()?,
    }))
}

fn trace(values: &Values) -> Result<Command, UsageError> {
    let ids = values.ids()?;
    if ids.is_empty() {
        return Err(usage("no ID", Some(values.command.name)));
    }
    let within = Duration::from_secs(1)..=HOUR * 24;
    Ok(Command::Trace(TraceOptions {
        config: values.config(),
        monitor: values.text("monitor").map(str::to_owned),
        ids,
        patience: values.required("patience", |text| {
            values::duration_within(text, within.clone(), "it may be 1s to 24h")
        })?,
        colours: values.colours()?,
    }))
}

fn top(values: &Values) -> Result<Command, UsageError> {
    Ok(Command::Top(TopOptions {
        config: values.config(),
        admin: values.text("admin").map(str::to_owned),
        once: values.has("once"),
        colours: values.colours()?,
    }))
}

fn demo(values: &Values) -> Result<Command, UsageError> {
    let open = values.has("open");
    if open && !cfg!(feature = "admin") {
        let error =
            "--open: there is no live page in this build: it was made without the feature 'admin'";
        return Err(usage(error, Some("demo")));
    }
    Ok(Command::Demo(DemoOptions {
        workflows: values.workflows()?,
        speed: values.speed()?,
        seed: values.seed()?,
        serve: values.has("serve"),
        open,
        colours: values.colours()?,
    }))
}

fn api(values: &Values) -> Result<Command, UsageError> {
    Ok(Command::Api(ApiOptions {
        listen: values.required("listen", values::listen_address)?,
        speed: values.speed()?,
        seed: values.seed()?,
        latency: values.required("latency", |text| {
            values::duration_within(text, Duration::ZERO..=HOUR, "it may be 0s to 1h")
        })?,
        fail_rate: values.required("fail-rate", |text| values::number(text, 0.0..=1.0))?,
    }))
}

fn load(values: &Values) -> Result<Command, UsageError> {
    let wait = |text: &str| {
        values::duration_within(text, Duration::ZERO..=HOUR * 24, "it may be 0s to 24h")
    };
    let text = |text: &str| Ok(text.to_owned());
    Ok(Command::Load(LoadOptions {
        redis_url: values.optional("redis-url", text)?,
        channel: values.optional("channel", text)?,
        workflows: values.workflows()?,
        batch: values.required("batch", count)?,
        batch_wait: values.required("batch-wait", wait)?,
        spread: values.optional("spread", wait)?,
        with_parent: values.has("with-parent"),
        seed: values.seed()?,
    }))
}

const HOUR: Duration = Duration::from_secs(3600);

fn count(text: &str) -> Result<u32, Reason> {
    let count = values::integer(text, 1..=limits::WORKFLOWS_MAX as u64)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The options of one command as they were written.
struct Values {
    command: &'static CommandSpec,
    written: Vec<(&'static str, String)>,
    operands: Vec<String>,
}

impl Values {
    fn read(parser: &mut Parser, command: &'static CommandSpec) -> Result<Values, UsageError> {
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
            let Some(option) = command.options.iter().find(|option| option.name == name) else {
                let known = command
                    .options
                    .iter()
                    .map(|option| option.name)
                    .chain(["help"]);
                let meant = values::nearest(&name, known).map(dashed);
                return Err(unknown("option", &dashed(&name), meant, on));
            };
            let value = match option.value {
                Some(_) => parser.value().map_err(|error| lexopt_error(&error, on))?,
                None => OsString::new(),
            };
            let value = value
                .into_string()
                .map_err(|_| usage(&format!("the value of '--{name}' is not UTF-8"), on))?;
            written.push((option.name, value));
        }
        Ok(Values {
            command,
            written,
            operands,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The last one counts.
    fn text(&self, name: &str) -> Option<&str> {
        let last = self
            .written
            .iter()
            .rev()
            .find(|(written, _)| *written == name);
        last.map(|(_, value)| value.as_str())
    }

    /// All of them in their order.
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let written = self.written.iter();
        let these = written.filter(move |(written, _)| *written == name);
        these.map(|(_, value)| value.as_str())
    }

    /// What follows the command's name, as ids of workflows; each once.
    fn ids(&self) -> Result<Vec<String>, UsageError> {
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

    fn optional<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Result<Option<T>, UsageError> {
        self.text(name)
            .map(|text| self.parsed(name, text, parse))
            .transpose()
    }

    /// An option that has a default.
    fn required<T>(
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

    fn config(&self) -> Option<PathBuf> {
        self.text("config").map(PathBuf::from)
    }

    fn workflows(&self) -> Result<u32, UsageError> {
        self.required("workflows", count)
    }

    /// Bounded on both sides, so that no duration divided by it leaves what a `Duration` holds.
    fn speed(&self) -> Result<f64, UsageError> {
        const SPEED: RangeInclusive<f64> = 0.001..=1_000_000.0;
        self.required("speed", |text| values::number(text, SPEED))
    }

    fn colours(&self) -> Result<Colours, UsageError> {
        let words = [
            ("auto", Colours::Auto),
            ("always", Colours::Always),
            ("never", Colours::Never),
        ];
        self.required("color", |text| values::one_of(text, &words))
    }

    fn seed(&self) -> Result<Option<u64>, UsageError> {
        self.optional("seed", |text| values::integer(text, 0..=u64::MAX))
    }
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

fn find(name: &str) -> Result<&'static CommandSpec, UsageError> {
    COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| {
            let known = COMMANDS.iter().map(|command| command.name).chain(["help"]);
            unknown(
                "command",
                name,
                values::nearest(name, known).map(str::to_owned),
                None,
            )
        })
}

fn help_on(parser: &mut Parser) -> Result<Command, UsageError> {
    match next(parser, None)? {
        None | Some(Given::Option(_)) => Ok(Command::Help(help())),
        Some(Given::Word(topic)) if topic == "settings" => Ok(Command::Help(crate::config::help())),
        Some(Given::Word(topic)) => Ok(Command::Help(find(&topic)?.help())),
    }
}

fn help() -> String {
    let mut text = String::from(
        "farspan gives distributed traces to work in systems that you cannot instrument.\n\n\
         Usage: farspan COMMAND [OPTION]...\n\nCommands:\n",
    );
    let rows = COMMANDS
        .iter()
        .map(|command| (command.name.to_owned(), command.about.to_owned()));
    table(&mut text, rows.collect());
    text.push_str("\nOptions:\n");
    table(
        &mut text,
        vec![
            (
                "--help".to_owned(),
                "Print this, or a command's own help after its name".to_owned(),
            ),
            ("--version".to_owned(), "Print the version".to_owned()),
        ],
    );
    text.push_str("\nThe settings, with their variables and keys: 'farspan help settings'.\n");
    text.push_str("Exit codes: 0 done, 1 the work failed, 2 usage or configuration.\n");
    text
}

impl CommandSpec {
    fn help(&self) -> String {
        let operands = match self.operands.0 {
            "" => String::new(),
            operands => format!(" {operands}"),
        };
        let mut text = format!(
            "{}.\n\nUsage: farspan {} [OPTION]...{operands}\n\nOptions:\n",
            self.about, self.name
        );
        let mut rows = Vec::new();
        for option in self.options {
            let value = option
                .value
                .map_or(String::new(), |value| format!(" {value}"));
            let default = match option.default {
                "" => String::new(),
                default => format!(" [{default}]"),
            };
            rows.push((
                format!("--{}{value}", option.name),
                format!("{}{default}", option.about),
            ));
        }
        rows.push(("--help".to_owned(), "Print this".to_owned()));
        table(&mut text, rows);
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
    UsageError(format!("{error}{stop} see 'farspan {command}--help'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn parsed(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn check(lines: &[&str], expected: Expect) {
        let mut text = String::new();
        for line in lines {
            match parsed(line) {
                Ok(Command::Help(help)) => text += &format!("{line}\n{help}\n"),
                Ok(command) => text += &format!("{line}\n    {command:?}\n"),
                Err(error) => text += &format!("{line}\n    farspan: {error}\n"),
            }
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn commands_without_options() {
        check(
            &[
                "run",
                "run --config a.json",
                "check --config=b.json",
                "check --offline",
                "probe 7",
                "probe --monitor m --body - --body jobs=j.json --config c",
                "trace 7 8 7 --patience 10s",
                "trace -- -7",
                "top",
                "top --admin host:9464 --once --color never",
                "config",
                "--version",
                "-V",
            ],
            expect![[r#"
                run
                    Run { config: None, reads_stdin: false }
                run --config a.json
                    Run { config: Some("a.json"), reads_stdin: false }
                check --config=b.json
                    Check { config: Some("b.json"), offline: false }
                check --offline
                    Check { config: None, offline: true }
                probe 7
                    Probe(ProbeOptions { config: None, monitor: None, id: Some("7"), bodies: [], colours: Auto })
                probe --monitor m --body - --body jobs=j.json --config c
                    Probe(ProbeOptions { config: Some("c"), monitor: Some("m"), id: None, bodies: ["-", "jobs=j.json"], colours: Auto })
                trace 7 8 7 --patience 10s
                    Trace(TraceOptions { config: None, monitor: None, ids: ["7", "8"], patience: 10s, colours: Auto })
                trace -- -7
                    Trace(TraceOptions { config: None, monitor: None, ids: ["-7"], patience: 300s, colours: Auto })
                top
                    Top(TopOptions { config: None, admin: None, once: false, colours: Auto })
                top --admin host:9464 --once --color never
                    Top(TopOptions { config: None, admin: Some("host:9464"), once: true, colours: Never })
                config
                    Config { config: None }
                --version
                    Version
                -V
                    Version
            "#]],
        );
    }

    #[cfg(feature = "demo")]
    #[test]
    fn commands_of_the_demo() {
        let lines = [
            "demo",
            "demo --workflows 3 --speed 60 --seed 7 --serve --open --speed=6",
            "api",
            "api --listen [::1]:0 --latency 200ms --fail-rate 1 --seed 18446744073709551615",
            "load",
            "load --redis-url redis://r --channel c --workflows 5 --batch 2 --batch-wait 1s --spread 30s --with-parent",
        ];
        check(
            &lines,
            expect![[r#"
                demo
                    Demo(DemoOptions { workflows: 8, speed: 600.0, seed: None, serve: false, open: false, colours: Auto })
                demo --workflows 3 --speed 60 --seed 7 --serve --open --speed=6
                    Demo(DemoOptions { workflows: 3, speed: 6.0, seed: Some(7), serve: true, open: true, colours: Auto })
                api
                    Api(ApiOptions { listen: "127.0.0.1:8080", speed: 1.0, seed: None, latency: 0ns, fail_rate: 0.1 })
                api --listen [::1]:0 --latency 200ms --fail-rate 1 --seed 18446744073709551615
                    Api(ApiOptions { listen: "[::1]:0", speed: 1.0, seed: Some(18446744073709551615), latency: 200ms, fail_rate: 1.0 })
                load
                    Load(LoadOptions { redis_url: None, channel: None, workflows: 300, batch: 100, batch_wait: 120s, spread: None, with_parent: false, seed: None })
                load --redis-url redis://r --channel c --workflows 5 --batch 2 --batch-wait 1s --spread 30s --with-parent
                    Load(LoadOptions { redis_url: Some("redis://r"), channel: Some("c"), workflows: 5, batch: 2, batch_wait: 1s, spread: Some(30s), with_parent: true, seed: None })
            "#]],
        );
    }

    #[cfg(feature = "demo")]
    #[test]
    fn mistakes() {
        let lines = [
            "",
            "runn",
            "trance",
            "xyzzy",
            "--hlep",
            "-x",
            "run --foo",
            "run --confg a",
            "run --config",
            "run a.json",
            "run --help=x",
            "demo --serve=1",
            "demo --workflows 0",
            "demo --workflows 100001",
            "demo --speed 0",
            "demo --speed NaN",
            "demo --speed inf",
            "api --fail-rate 1.1",
            "api --listen 8080",
            "api --latency 5",
            "api --latency 2h",
            "load --batch 0",
            "load --seed -1",
            "trace --config a",
            "trace 7 --patience 0s",
            "probe",
            "probe 7 8",
            "healthcheck",
            "run --events FILE",
            "help nothing",
        ];
        check(
            &lines,
            expect![[r#"

                    farspan: no command; see 'farspan --help'
                runn
                    farspan: unknown command 'runn'; did you mean 'run'? see 'farspan --help'
                trance
                    farspan: unknown command 'trance'; did you mean 'trace'? see 'farspan --help'
                xyzzy
                    farspan: unknown command 'xyzzy'; see 'farspan --help'
                --hlep
                    farspan: unknown option '--hlep'; did you mean '--help'? see 'farspan --help'
                -x
                    farspan: unknown option '-x'; see 'farspan --help'
                run --foo
                    farspan: unknown option '--foo' for 'run'; see 'farspan run --help'
                run --confg a
                    farspan: unknown option '--confg' for 'run'; did you mean '--config'? see 'farspan run --help'
                run --config
                    farspan: missing argument for option '--config'; see 'farspan run --help'
                run a.json
                    farspan: unknown argument 'a.json' for 'run'; see 'farspan run --help'
                run --help=x
                    farspan: unexpected argument for option '--help': "x"; see 'farspan run --help'
                demo --serve=1
                    farspan: unexpected argument for option '--serve': "1"; see 'farspan demo --help'
                demo --workflows 0
                    farspan: --workflows: '0' is not a whole number from 1 to 100000; see 'farspan demo --help'
                demo --workflows 100001
                    farspan: --workflows: '100001' is not a whole number from 1 to 100000; see 'farspan demo --help'
                demo --speed 0
                    farspan: --speed: '0' is not a number from 0.001 to 1000000; see 'farspan demo --help'
                demo --speed NaN
                    farspan: --speed: 'NaN' is not a number from 0.001 to 1000000; see 'farspan demo --help'
                demo --speed inf
                    farspan: --speed: 'inf' is not a number from 0.001 to 1000000; see 'farspan demo --help'
                api --fail-rate 1.1
                    farspan: --fail-rate: '1.1' is not a number from 0 to 1; see 'farspan api --help'
                api --listen 8080
                    farspan: --listen: '8080' is not host:port; see 'farspan api --help'
                api --latency 5
                    farspan: --latency: '5' has no unit; write ms, s, m, h or d behind the number; see 'farspan api --help'
                api --latency 2h
                    farspan: --latency: '2h' is out of range; it may be 0s to 1h; see 'farspan api --help'
                load --batch 0
                    farspan: --batch: '0' is not a whole number from 1 to 100000; see 'farspan load --help'
                load --seed -1
                    farspan: --seed: '-1' is not a whole number from 0 to 18446744073709551615; see 'farspan load --help'
                trace --config a
                    farspan: no ID; see 'farspan trace --help'
                trace 7 --patience 0s
                    farspan: --patience: '0s' is out of range; it may be 1s to 24h; see 'farspan trace --help'
                probe
                    farspan: neither an ID nor a --body; see 'farspan probe --help'
                probe 7 8
                    farspan: unknown argument '8' for 'probe'; see 'farspan probe --help'
                healthcheck
                    Healthcheck { config: None, asks_ready: false }
                run --events FILE
                    farspan: --events: 'FILE' is not '-', standard input; write farspan run --events - < FILE; see 'farspan run --help'
                help nothing
                    farspan: unknown command 'nothing'; see 'farspan --help'
            "#]],
        );
    }

    #[test]
    fn help_of_the_program() {
        check(
            &["--help"],
            expect![[r#"
                --help
                farspan gives distributed traces to work in systems that you cannot instrument.

                Usage: farspan COMMAND [OPTION]...

                Commands:
                  run          Watch workflows until SIGTERM or SIGINT
                  demo         Show it all in one process: scripted API, load, watcher; nothing to install
                  check        Validate the whole configuration, then try each endpoint
                  probe        Poll once, or read saved answers, and show what the mapping makes of them
                  trace        Watch these workflows to their end, and show each trace when it is whole
                  top          Show live and recent workflows of a running farspan
                  config       Print the effective configuration, and where each value came from
                  refused      Show what the collector or a receiver has refused for good
                  healthcheck  Ask the farspan on this host whether it is alive; for containers without a shell
                  api          Be the scripted external API of the demo
                  load         Publish start events to Redis, in batches

                Options:
                  --help     Print this, or a command's own help after its name
                  --version  Print the version

                The settings, with their variables and keys: 'farspan help settings'.
                Exit codes: 0 done, 1 the work failed, 2 usage or configuration.

            "#]],
        );
    }

    #[cfg(feature = "demo")]
    #[test]
    fn help_of_commands() {
        check(
            &[
                "run --help",
                "help api",
                "load -h",
                "trace --help",
                "healthcheck --help",
            ],
            expect![[r#"
                run --help
                Watch workflows until SIGTERM or SIGINT.

                Usage: farspan run [OPTION]...

                Options:
                  --config FILE  The configuration file, JSON; else the one in FARSPAN_CONFIG
                  --events -     Take start events from standard input too, one a line
                  --help         Print this

                Settings come from the environment and the file: 'farspan help settings'.

                help api
                Be the scripted external API of the demo.

                Usage: farspan api [OPTION]...

                Options:
                  --listen ADDR  Where to listen, host:port [127.0.0.1:8080]
                  --speed X      Divide every duration by X [1]
                  --seed N       Repeat what this seed gave; else another one each time
                  --latency DUR  Wait before each answer [0s]
                  --fail-rate P  The share of stages that fail, 0 to 1 [0.1]
                  --help         Print this

                load -h
                Publish start events to Redis, in batches.

                Usage: farspan load [OPTION]...

                Options:
                  --redis-url URL   Else FARSPAN_REDIS_URL, else redis://127.0.0.1:6379
                  --channel NAME    Else FARSPAN_REDIS_CHANNEL, else event.workflow.started
                  --workflows N     How many events in all [300]
                  --batch N         How many events in one batch [100]
                  --batch-wait DUR  From one batch to the next [2m]
                  --spread DUR      Spread a batch over this time
                  --with-parent     Give each event a traceparent
                  --seed N          Repeat what this seed gave; else another one each time
                  --help            Print this

                trace --help
                Watch these workflows to their end, and show each trace when it is whole.

                Usage: farspan trace [OPTION]... ID...

                Options:
                  --patience DUR  Give up when the API has given no usable answer for so long [5m]
                  --monitor NAME  The monitor, where the configuration has several
                  --config FILE   The configuration file, JSON; else the one in FARSPAN_CONFIG
                  --color WHEN    Colours: auto (on a terminal, unless NO_COLOR is set), always or never [auto]
                  --help          Print this

                Spans go where 'farspan run' would send them. Nothing is kept.
                Exit codes: 0 all succeeded, 1 some failed, 2 it could not be told.

                healthcheck --help
                Ask the farspan on this host whether it is alive; for containers without a shell.

                Usage: farspan healthcheck [OPTION]...

                Options:
                  --config FILE  The configuration file, JSON; else the one in FARSPAN_CONFIG
                  --ready        Ask whether it can do its work
                  --help         Print this

                It asks GET /healthz, or /readyz, where FARSPAN_ADMIN_LISTEN says that farspan
                listens, and waits for 2 s. It needs no token.
                Exit codes: 0 it is, 1 it is not or does not answer.

            "#]],
        );
    }

    #[test]
    fn what_is_not_utf8_is_said() {
        use std::os::unix::ffi::OsStringExt as _;
        let bad = || OsString::from_vec(vec![0xff]);
        for args in [
            vec![bad()],
            vec!["run".into(), bad()],
            vec!["run".into(), "--config".into(), bad()],
        ] {
            assert!(parse(args).is_err());
        }
    }
}
