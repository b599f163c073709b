//! `examples/embedded`: a program with farspan inside it, which keeps what belongs to it.

use super::chain::built;
use crate::support::api::{FakeApi, processing, short_story};
use crate::support::program::{Call, program};
use crate::support::receiver::Receiver;
use crate::support::{SOON, eventually};
use std::os::unix::process::ExitStatusExt;

#[test]
fn a_program_with_farspan_inside_it_keeps_its_output_and_its_signals() {
    let example = built("embedded");
    let (api, receiver) = (FakeApi::start(), Receiver::start());
    api.script("one", short_story("one"));
    api.script("endless", [processing("endless").reply()]);
    let url = api.base_url();
    let call = |id| -> Call {
        program(&example, &[&url, id])
            .env("FARSPAN_POLL_INTERVAL", "20ms")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
    };
    let ended = call("one").output();
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{ended:?}");
    // The states between the first and the last one may pass unseen.
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "watching one");
    let of_trace = lines.iter().filter(|line| !line.starts_with("one is "));
    let of_trace: Vec<&str> = of_trace.skip(1).copied().collect();
    let (first, rest) = of_trace.split_first().unwrap();
    assert!(
        first.starts_with("trace ") && first.ends_with(": success"),
        "{first}"
    );
    assert_eq!(
        rest,
        [
            "  DataLoader 183.8s",
            "  OutputGenerator 1726.5s",
            "  Processor 5410.9s",
            "  Workflow 7323.9s",
            "0 spans not delivered",
        ]
    );
    receiver.assert_each_span_once();
    assert!(receiver.has_root("one"));

    // A signal does what it does to any program.
    let watching = call("endless").start();
    eventually("it watches", SOON, || api.polls("endless") > 2);
    watching.signal("TERM");
    let ended = watching.wait(SOON);
    assert_eq!((ended.status.signal(), &*ended.stderr), (Some(15), ""));
}
