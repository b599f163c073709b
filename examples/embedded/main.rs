//! A program with farspan inside it: it watches one workflow, prints what it hears, and ends when the workflow has.
//!
//!     cargo run --example embedded -- http://127.0.0.1:8080/risk 704c0b60
//!
//! The API is one in the default shape, such as that of `farspan api`. `OTEL_EXPORTER_OTLP_ENDPOINT` and all other settings
//! are read from the environment.
#![allow(clippy::print_stdout, reason = "it is for people")]

use farspan::{Change, Configuration, Error, FinishedTrace, StartEvent, Watcher};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [api, id] = arguments.as_slice() else {
        println!("usage: embedded API_URL WORKFLOW_ID");
        return ExitCode::from(2);
    };
    match watch(api, id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(api: &str, id: &str) -> Result<(), Error> {
    let configuration = Configuration::from_env()
        .with_variable("FARSPAN_API_BASE_URL", api)
        .with_variable("FARSPAN_POLL_INITIAL_DELAY", "0s");
    let watcher = Watcher::start(&configuration)?;
    // Before the start event, so that nothing is missed.
    let (changes, mut traces) = (watcher.changes()?, watcher.traces()?);
    let accepted = watcher.submit(&StartEvent::new(id))?;
    println!("watching {}", accepted.workflow_id);

    // Changes have a thread of their own. It ends with the watcher.
    std::thread::scope(|scope| {
        scope.spawn(|| changes.for_each(|change| print_change(&change)));
        let trace = traces.next();
        if let Some(trace) = &trace {
            print_trace(trace);
        }
        let stopped = watcher.stop(Duration::from_secs(20))?;
        println!("{} spans not delivered", stopped.undelivered_spans);
        Ok(())
    })
}

fn print_change(change: &Change) {
    if let Change::State(run) = change {
        println!("{} is {:?}: {}", run.workflow_id, run.state, run.status);
    }
}

fn print_trace(trace: &FinishedTrace) {
    let outcome = trace.run.outcome.map(|it| it.to_string());
    let outcome = outcome.unwrap_or_else(|| "an end that is not known".to_owned());
    println!("trace {}: {outcome}", trace.run.trace_id);
    for span in &trace.spans {
        let took = span.end.duration_since(span.start).unwrap_or_default();
        println!("  {} {took:.1?}", span.name);
    }
}
