//! The mapping, feature by feature: a definition and bodies in, a snapshot as text out.

mod features;
mod mistakes;
mod model;
mod original;

use super::definition::*;
use super::*;
use farspan_core::event::Value as Scalar;
use farspan_core::snapshot::{Outcome, Progress, State};
use farspan_core::time::Wall;
use farspan_syntax::json::merge;
use farspan_syntax::pointer::Pointer;
use serde_json::{Value, json};
use std::sync::Mutex;

/// A definition, which asks for `/` where it has no request.
fn defined(json: &Value) -> Definition {
    let mut whole = json!({"request": {"path": "/"}, "workflow": {}});
    merge(&mut whole, json.clone());
    Definition::from_json(&whole).unwrap()
}

fn compiled(definition: &Value) -> Mapping {
    Mapping::compile(defined(definition)).unwrap()
}

/// One poll of everything that a mapping asks: `answer` is told the request's name and its URL. Each body is read as a
/// slice and as a stream.
pub(crate) fn poll(
    mapping: &Mapping,
    id: &str,
    mut answer: impl FnMut(&str, &str) -> String,
) -> Result<Reading, UnreadableBody> {
    /// Of the polls of all tests, which have other mappings.
    static BUFFERS: Mutex<Option<ReadBuffers>> = Mutex::new(None);

    let mut gather = mapping.gather(id).unwrap();
    for (number, (name, request)) in mapping.requests().enumerate() {
        let each = gather.each(number);
        let each = each.unwrap_or_else(|| vec![gather.variables().clone()]);
        for (element, variables) in each.iter().enumerate() {
            let mut url = String::new();
            request.path.render(variables, &mut url).unwrap();
            let body = answer(name, &url);
            let mut buffers = BUFFERS.lock().unwrap().take().unwrap_or_default();
            let part = mapping.read_slice_with(number, body.as_bytes(), &mut buffers);
            *BUFFERS.lock().unwrap() = Some(buffers);
            let part = part?;
            let streamed = mapping.read_stream(number, body.as_bytes())?;
            assert_eq!(part, streamed);
            gather.put(element, part);
        }
    }
    gather.finish()
}

/// As text: of each stage the path with its attempt, its span's name, its id, how far it is, its times, and what else
/// there is.
pub(crate) fn told(reading: &Result<Reading, UnreadableBody>) -> String {
    let Reading {
        snapshot, oddity, ..
    } = match reading {
        Ok(reading) => reading,
        Err(unreadable) => return format!("{unreadable:?}"),
    };
    let mut lines = vec![told_of(snapshot.progress.view())];
    let line = &mut lines[0];
    let add = |line: &mut String, name: &str, value: Option<String>| {
        if let Some(value) = value {
            *line += &format!(" {name}={value}");
        }
    };
    add(
        line,
        "id",
        snapshot.workflow_id.as_ref().map(|id| format!("{id:?}")),
    );
    add(line, "attempt", snapshot.attempt.map(|n| n.to_string()));
    add(line, "url", snapshot.url.as_ref().map(ToString::to_string));
    for (name, value) in &snapshot.attributes {
        add(line, name, Some(scalar(value)));
    }
    for stage in &snapshot.stages {
        let mut line = format!("  {}", stage.path);
        if stage.attempt != 1 {
            line += &format!("#{}", stage.attempt);
        }
        if *stage.kind != *stage.path {
            line += &format!(" {:?}", stage.kind);
        }
        line += &format!(" {}", told_of(stage.progress));
        add(
            &mut line,
            "id",
            stage.id.as_ref().map(|id| format!("{id:?}")),
        );
        add(
            &mut line,
            "in",
            stage.parent.as_ref().map(ToString::to_string),
        );
        add(
            &mut line,
            "url",
            stage.url.as_ref().map(ToString::to_string),
        );
        for (name, value) in stage.attributes {
            add(&mut line, name, Some(scalar(value)));
        }
        lines.push(line);
    }
    if let Some(oddity) = oddity {
        lines.push(format!("odd: {oddity}"));
    }
    lines.join("\n")
}

fn told_of(progress: Progress<&str>) -> String {
    let state = progress.state.as_str();
    let mut text = match progress.status {
        Some(status) => format!("{status}={state}"),
        None => state.to_owned(),
    };
    // The day goes without saying.
    let time = |t: Wall| t.to_string().replace("2026-11-20T", "");
    if let Some(queued) = progress.queued {
        text += &format!(" queued {}", time(queued));
    }
    if progress.start.is_some() || progress.end.is_some() {
        let or = |t: Option<Wall>| t.map_or("?".into(), time);
        text += &format!(" {}..{}", or(progress.start), or(progress.end));
    }
    if let Some(error) = &progress.error {
        text += &format!(" {error:?}");
    }
    text
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Str(text) => format!("{text:?}"),
        Scalar::Int(number) => format!("{number}"),
        Scalar::Float(number) => format!("{number:?}"),
        Scalar::Bool(truth) => format!("{truth}"),
    }
}
