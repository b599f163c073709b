//! The commands and their options: one table that the parser and the help are both made from.

use super::arguments::Arguments;
use super::{
    ApiOptions, Command, DemoOptions, IDS_MAX, LoadOptions, ProbeOptions, TopOptions, TraceOptions,
    UsageError, unknown, usage,
};
use crate::core::limits;
use crate::features::{self, Feature};
use crate::syntax::values::{self, Reason};
use std::time::Duration;

/// Answers of one `farspan probe`.
const BODIES_MAX: usize = 1000;

/// One command, as its parser and its help know it.
pub(super) struct CommandSpec {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) more: &'static str,
    /// Of each group it needs one feature.
    pub(super) needs: &'static [&'static [Feature]],
    /// The operands, as the usage has them, and how many at most.
    pub(super) operands: (&'static str, usize),
    pub(super) options: &'static [OptionSpec],
    /// Calls that the parser takes.
    pub(super) examples: &'static [&'static str],
    pub(super) build: fn(&Arguments) -> Result<Command, UsageError>,
}

impl CommandSpec {
    /// What to say of it where this build lacks a feature that it needs.
    pub(super) fn missing(&self) -> Option<String> {
        self.needs
            .iter()
            .find_map(|one_of| features::missing(one_of))
    }

    /// The options that this build has.
    pub(super) fn options(&self) -> impl Iterator<Item = &'static OptionSpec> {
        let options = self.options.iter();
        options.filter(|option| features::missing(option.needs).is_none())
    }
}

/// One option of a command.
pub(super) struct OptionSpec {
    pub(super) name: &'static str,
    /// One letter that means the same.
    pub(super) short: Option<&'static str>,
    /// The value's name, if it has one.
    pub(super) value: Option<&'static str>,
    /// As it would be written; empty: none.
    pub(super) default: &'static str,
    pub(super) about: &'static str,
    /// It needs one of these features; none: it is always there.
    pub(super) needs: &'static [Feature],
}

const fn flag(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        short: None,
        value: None,
        default: "",
        about,
        needs: &[],
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
        short: None,
        value,
        default,
        about,
        needs: &[],
    }
}

const CONFIG: OptionSpec = OptionSpec {
    short: Some("c"),
    ..option(
        "config",
        "FILE",
        "",
        "The configuration file, JSON; else the one in FARSPAN_CONFIG",
    )
};
const JSON: OptionSpec = flag(
    "json",
    "Print JSON for programs; docs/output.schema.json describes it",
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
Without an ID no API is asked: the answers come from --body, which may be given
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
const INIT: &str = "\
The files come into this directory, or into DIR. A file that is there already is
never changed: then nothing is written.
";
const HEALTHCHECK: &str = "\
It asks GET /healthz, or /readyz, where FARSPAN_ADMIN_LISTEN says that farspan
listens, and waits for 2 s. It needs no token.
Exit codes: 0 it is, 1 it is not or does not answer.
";
const DEMO: &str = if cfg!(feature = "admin") {
    "Spans go to a collector too when OTEL_EXPORTER_OTLP_ENDPOINT is set.\n\
     The live page is at FARSPAN_ADMIN_LISTEN. If the default port is taken, it is at a free one.\n"
} else {
    "Spans go to a collector too when OTEL_EXPORTER_OTLP_ENDPOINT is set.\n"
};
const SETTINGS: &str =
    "Settings come from the environment and the file: 'farspan help settings'.\n";

/// All commands, in the order of the help.
#[rustfmt::skip]
const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "run",
        about: "Watch workflows until SIGTERM or SIGINT",
        more: SETTINGS,
        needs: &[],
        operands: NONE,
        options: &[CONFIG, option("events", "-", "", "Take start events from standard input too, one a line")],
        examples: &["farspan run -c farspan.json", "FARSPAN_API_BASE_URL=http://localhost:8080 farspan run --events - < events.jsonl"],
        build: run,
    },
    CommandSpec {
        name: "demo",
        about: "Show it all in one process: scripted API, load, watcher; nothing to install",
        more: DEMO,
        needs: &[&[Feature::Demo]],
        operands: NONE,
        options: &[
            option("workflows", "N", "8", "How many workflows"),
            option("speed", "X", "600", "Divide every duration by X"),
            SEED,
            flag("serve", "Go on when all is traced"),
            OptionSpec { needs: &[Feature::Admin], ..flag("open", "Open the live page in the browser") },
            COLOR,
        ],
        examples: &["farspan demo", "farspan demo --workflows 50 --speed 3600 --serve"],
        build: demo,
    },
    CommandSpec {
        name: "check",
        about: "Validate the whole configuration, then try each endpoint",
        more: SETTINGS,
        needs: &[],
        operands: NONE,
        options: &[flag("offline", "Only validate the configuration"), JSON, CONFIG],
        examples: &["farspan check -c farspan.json", "farspan check --offline --json"],
        build: |values| Ok(Command::Check { config: values.config(), offline: values.has("offline"), json: values.has("json") }),
    },
    CommandSpec {
        name: "probe",
        about: "Poll once, or read saved answers, and show what the mapping makes of them",
        more: PROBE,
        needs: &[],
        operands: ("[ID]", 1),
        options: &[
            option("body", "[NAME=]FILE", "", "A saved answer: to the main request, or to the one of that name; - is standard input"),
            JSON,
            MONITOR,
            CONFIG,
            COLOR,
        ],
        examples: &["farspan probe -c farspan.json 704c0b60", "farspan probe -c farspan.json --body saved.json --json"],
        build: probe,
    },
    CommandSpec {
        name: "trace",
        about: "Watch these workflows to their end, and show each trace when it is whole",
        more: TRACE,
        needs: &[],
        operands: ("ID...", IDS_MAX),
        options: &[
            option("patience", "DUR", "5m", "Give up when the API has given no usable answer for so long"),
            JSON,
            MONITOR,
            CONFIG,
            COLOR,
        ],
        examples: &["farspan trace 704c0b60 5d1f09aa", "farspan trace --patience 1m --json 704c0b60"],
        build: trace,
    },
    CommandSpec {
        name: "top",
        about: "Show live and recent workflows of a running farspan",
        more: TOP,
        needs: &[&[Feature::Admin]],
        operands: NONE,
        options: &[
            option("admin", "URL", "", "The admin endpoint to ask; else the one of FARSPAN_ADMIN_LISTEN"),
            flag("once", "Print the workflows once, a line each"),
            CONFIG,
            COLOR,
        ],
        examples: &["farspan top", "farspan top --once --admin http://vm-7:9464"],
        build: top,
    },
    CommandSpec {
        name: "config",
        about: "Print the effective configuration, and where each value came from",
        more: SETTINGS,
        needs: &[],
        operands: NONE,
        options: &[flag("changed", "Only what differs from the defaults and the presets"), JSON, CONFIG],
        examples: &["farspan config -c farspan.json --changed", "farspan config --json"],
        build: |values| Ok(Command::Config { config: values.config(), only_changed: values.has("changed"), json: values.has("json") }),
    },
    CommandSpec {
        name: "refused",
        about: "Show what the collector or a receiver has refused for good",
        more: REFUSED,
        needs: &[&[Feature::File, Feature::Redis]],
        operands: NONE,
        options: &[CONFIG, flag("json", "Print all of it, a line of JSON for each refusal")],
        examples: &["farspan refused", "farspan refused --json > refused.jsonl"],
        build: |values| Ok(Command::Refused { config: values.config(), whole: values.has("json") }),
    },
    CommandSpec {
        name: "init",
        about: "Write a start for a configuration: farspan.json with its schema, and farspan.env",
        more: INIT,
        needs: &[],
        operands: ("[DIR]", 1),
        options: &[],
        examples: &["farspan init", "farspan init /etc/farspan"],
        build: |values| Ok(Command::Init { directory: values.operand().unwrap_or(".").into() }),
    },
    CommandSpec {
        name: "healthcheck",
        about: "Ask the farspan on this host whether it is alive; for containers without a shell",
        more: HEALTHCHECK,
        needs: &[&[Feature::Admin]],
        operands: NONE,
        options: &[CONFIG, flag("ready", "Ask whether it can do its work")],
        examples: &["farspan healthcheck --ready"],
        build: |values| Ok(Command::Healthcheck { config: values.config(), asks_ready: values.has("ready") }),
    },
    CommandSpec {
        name: "api",
        about: "Be the scripted external API of the demo",
        more: "",
        needs: &[&[Feature::Demo]],
        operands: NONE,
        options: &[
            option("listen", "ADDR", "127.0.0.1:8080", "Where to listen, host:port"),
            option("speed", "X", "1", "Divide every duration by X"),
            SEED,
            option("latency", "DUR", "0s", "Wait before each answer"),
            option("fail-rate", "P", "0.1", "The share of stages that fail, 0 to 1"),
        ],
        examples: &["farspan api --speed 60 --latency 50ms"],
        build: api,
    },
    CommandSpec {
        name: "load",
        about: "Publish start events to Redis, in batches",
        more: "",
        needs: &[&[Feature::Demo], &[Feature::Redis]],
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
        examples: &["farspan load --workflows 50 --batch 10 --batch-wait 10s --with-parent"],
        build: load,
    },
];

fn run(values: &Arguments) -> Result<Command, UsageError> {
    let stdin = |text: &str| match text {
        "-" => Ok(()),
        _ => Err("is not '-', standard input; write farspan run --events - < FILE".into()),
    };
    Ok(Command::Run {
        config: values.config(),
        reads_stdin: values.optional("events", stdin)?.is_some(),
    })
}

fn probe(values: &Arguments) -> Result<Command, UsageError> {
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
        json: values.has("json"),
        colours: values.colours()?,
    }))
}

fn trace(values: &Arguments) -> Result<Command, UsageError> {
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
        json: values.has("json"),
        colours: values.colours()?,
    }))
}

fn top(values: &Arguments) -> Result<Command, UsageError> {
    Ok(Command::Top(TopOptions {
        config: values.config(),
        admin: values.text("admin").map(str::to_owned),
        once: values.has("once"),
        colours: values.colours()?,
    }))
}

fn demo(values: &Arguments) -> Result<Command, UsageError> {
    Ok(Command::Demo(DemoOptions {
        workflows: values.workflows()?,
        speed: values.speed()?,
        seed: values.seed()?,
        serve: values.has("serve"),
        open: values.has("open"),
        colours: values.colours()?,
    }))
}

fn api(values: &Arguments) -> Result<Command, UsageError> {
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

fn load(values: &Arguments) -> Result<Command, UsageError> {
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

pub(super) fn count(text: &str) -> Result<u32, Reason> {
    let count = values::integer(text, 1..=limits::WORKFLOWS_MAX as u64)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A command that this build has.
pub(super) fn find(name: &str) -> Result<&'static CommandSpec, UsageError> {
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        let known = available().map(|command| command.name).chain(["help"]);
        let meant = values::nearest(name, known).map(str::to_owned);
        return Err(unknown("command", name, meant, None));
    };
    match command.missing() {
        Some(missing) => Err(usage(&format!("'{name}' {missing}"), None)),
        None => Ok(command),
    }
}

/// The commands that this build has.
pub(super) fn available() -> impl Iterator<Item = &'static CommandSpec> {
    COMMANDS
        .iter()
        .filter(|command| command.missing().is_none())
}
