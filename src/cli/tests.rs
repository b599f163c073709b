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
                Check { config: Some("b.json"), offline: false, json: false }
            check --offline
                Check { config: None, offline: true, json: false }
            probe 7
                Probe(ProbeOptions { config: None, monitor: None, id: Some("7"), bodies: [], json: false, colours: Auto })
            probe --monitor m --body - --body jobs=j.json --config c
                Probe(ProbeOptions { config: Some("c"), monitor: Some("m"), id: None, bodies: ["-", "jobs=j.json"], json: false, colours: Auto })
            trace 7 8 7 --patience 10s
                Trace(TraceOptions { config: None, monitor: None, ids: ["7", "8"], patience: 10s, json: false, colours: Auto })
            trace -- -7
                Trace(TraceOptions { config: None, monitor: None, ids: ["-7"], patience: 300s, json: false, colours: Auto })
            top
                Top(TopOptions { config: None, admin: None, once: false, colours: Auto })
            top --admin host:9464 --once --color never
                Top(TopOptions { config: None, admin: Some("host:9464"), once: true, colours: Never })
            config
                Config { config: None, only_changed: false, json: false }
            --version
                Version("farspan 0.1.0\ncommit   unknown\nfeatures redis, tls, file, admin, demo\ntarget   x86_64-unknown-linux-gnu\n")
            -V
                Version("farspan 0.1.0\ncommit   unknown\nfeatures redis, tls, file, admin, demo\ntarget   x86_64-unknown-linux-gnu\n")
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

                farspan: no command
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
fn every_example_is_a_call_that_the_parser_takes() {
    for command in commands::available() {
        assert!(!command.examples.is_empty(), "{}", command.name);
        for example in command.examples {
            let words = example.split(' ').skip_while(|word| word.contains('='));
            let words: Vec<&str> = words
                .take_while(|word| !["<", ">"].contains(word))
                .collect();
            assert_eq!(words[..2], ["farspan", command.name], "{example}");
            let parsed = parse(words[1..].iter().map(OsString::from));
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }
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
              init         Write a start for a configuration: farspan.json with its schema, and farspan.env
              healthcheck  Ask the farspan on this host whether it is alive; for containers without a shell
              api          Be the scripted external API of the demo
              load         Publish start events to Redis, in batches

            Options:
              -h, --help     Print this, or a command's own help after its name
              -V, --version  Print the version, the commit, the features and the target

            The settings, with their variables and keys: 'farspan help settings'.
            A man page: 'farspan help man'. Completions: 'farspan help bash', 'zsh' or 'fish'.
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
              -c, --config FILE  The configuration file, JSON; else the one in FARSPAN_CONFIG
              --events -         Take start events from standard input too, one a line
              -h, --help         Print this

            Examples:
              farspan run -c farspan.json
              FARSPAN_API_BASE_URL=http://localhost:8080 farspan run --events - < events.jsonl

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
              -h, --help     Print this

            Examples:
              farspan api --speed 60 --latency 50ms

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
              -h, --help        Print this

            Examples:
              farspan load --workflows 50 --batch 10 --batch-wait 10s --with-parent

            trace --help
            Watch these workflows to their end, and show each trace when it is whole.

            Usage: farspan trace [OPTION]... ID...

            Options:
              --patience DUR     Give up when the API has given no usable answer for so long [5m]
              --json             Print JSON for programs; docs/output.schema.json describes it
              --monitor NAME     The monitor, where the configuration has several
              -c, --config FILE  The configuration file, JSON; else the one in FARSPAN_CONFIG
              --color WHEN       Colours: auto (on a terminal, unless NO_COLOR is set), always or never [auto]
              -h, --help         Print this

            Examples:
              farspan trace 704c0b60 5d1f09aa
              farspan trace --patience 1m --json 704c0b60

            Spans go where 'farspan run' would send them. Nothing is kept.
            Exit codes: 0 all succeeded, 1 some failed, 2 it could not be told.

            healthcheck --help
            Ask the farspan on this host whether it is alive; for containers without a shell.

            Usage: farspan healthcheck [OPTION]...

            Options:
              -c, --config FILE  The configuration file, JSON; else the one in FARSPAN_CONFIG
              --ready            Ask whether it can do its work
              -h, --help         Print this

            Examples:
              farspan healthcheck --ready

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
