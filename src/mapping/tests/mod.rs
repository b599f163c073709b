//! The mapping, feature by feature: a definition and bodies in, a snapshot as text out.

mod features;
mod mistakes;
mod model;
mod original;

use super::definition::*;
use super::pointer::Pointer;
use super::template::{BodyTemplate, IdPattern, Template};
use super::*;
use crate::core::event::Value as Scalar;
use crate::core::snapshot::{Outcome, Progress, State};
use crate::core::time::Wall;
use serde_json::{Value, json};

/// A definition as a configuration writes it.
fn defined(json: &Value) -> Definition {
    let request = |json: &Value| Request {
        method: match json["method"].as_str() {
            Some("POST") => Method::Post,
            _ => Method::Get,
        },
        path: Template::parse(json["path"].as_str().unwrap_or("/")).unwrap(),
        body: json.get("body").cloned().map(BodyTemplate::new),
        pages: pages(&json["pages"]),
        for_each: text(&json["for_each"]),
        when_attempt_above: json["when_attempt_above"].as_u64().map(|n| n as u32),
    };
    let named = json["requests"].as_object().into_iter().flatten();
    let statuses = json["statuses"].as_object().into_iter().flatten();
    let status_names = json["status_names"].as_object().into_iter().flatten();
    let times = &json["times"];
    let mut definition = Definition {
        id: json["id"].as_str().map(|id| IdPattern::parse(id).unwrap()),
        request: request(&json["request"]),
        requests: named
            .map(|(name, r)| (name.as_str().into(), request(r)))
            .collect(),
        workflow: WorkflowFields {
            root: pointer(json["workflow"].get("root").unwrap_or(&json!(""))),
            fields: fields(&json["workflow"]),
        },
        stages: stages(&json["stages"]),
        statuses: statuses
            .map(|(word, meaning)| (word.as_str().into(), meaning_of(meaning.as_str().unwrap())))
            .collect(),
        status_names: status_names
            .map(|(word, name)| (word.as_str().into(), name.as_str().unwrap().into()))
            .collect(),
        unknown_status: match json["unknown_status"].as_str() {
            None => UnknownStatus::default(),
            Some("fail") => UnknownStatus::Refused,
            Some(word) => match meaning_of(word) {
                Meaning::State(state) => UnknownStatus::Means(state),
                Meaning::Unset => unreachable!(),
            },
        },
        times: Times::default(),
    };
    definition.times.format = match times["format"].as_str() {
        Some("rfc3339") => TimeFormat::Rfc3339,
        Some("epoch_s") => TimeFormat::EpochSeconds,
        Some("epoch_ms") => TimeFormat::EpochMillis,
        _ => TimeFormat::Auto,
    };
    definition
}

fn text(json: &Value) -> Option<Box<str>> {
    json.as_str().map(Into::into)
}

fn pointer(json: &Value) -> Pointer {
    Pointer::parse(json.as_str().unwrap()).unwrap()
}

fn pointers(json: &Value) -> Pointers {
    match json {
        Value::Null => Vec::new(),
        Value::Array(all) => all.iter().map(pointer).collect(),
        one => vec![pointer(one)],
    }
}

fn pages(json: &Value) -> Option<Pages> {
    let total = json.get("total").map(pointer);
    let size = json["size"].as_u64().unwrap_or(100) as u32;
    Some(match json["by"].as_str()? {
        "offset" => Pages::Offset {
            offset: "offset".into(),
            limit: "limit".into(),
            size,
            total,
        },
        "page" => Pages::Page {
            page: "page".into(),
            limit: "per_page".into(),
            size,
            first: 1,
            total,
        },
        "cursor" => Pages::Cursor {
            param: "cursor".into(),
            next: pointer(&json["next"]),
        },
        _ => Pages::Link,
    })
}

fn fields(json: &Value) -> Fields {
    let attributes = json["attributes"].as_object().into_iter().flatten();
    Fields {
        id: pointers(&json["id"]),
        status: pointers(&json["status"]),
        queued: pointers(&json["queued"]),
        start: pointers(&json["start"]),
        end: pointers(&json["end"]),
        error: pointers(&json["error"]),
        attempt: pointers(&json["attempt"]),
        first_attempt: json["first_attempt"].as_u64().map(|n| n as u32),
        url: pointers(&json["url"]),
        complete: pointers(&json["complete"]),
        attributes: attributes
            .map(|(name, p)| (name.as_str().into(), pointers(p)))
            .collect(),
    }
}

fn stages(json: &Value) -> Vec<Stages> {
    let all = json.as_array().into_iter().flatten();
    all.map(|json| Stages {
        name: text(&json["name"]),
        from: text(&json["from"]),
        list: pointer(&json["list"]),
        kind: pointers(&json["kind"]),
        key: pointers(&json["key"]),
        fields: fields(json),
        except: except(&json["except"]),
        number_attempts_by: pointers(&json["number_attempts_by"]),
        parent: json.get("parent").map(|parent| Parent {
            key: pointers(parent),
            list: text(&json["parent_of"]),
        }),
        children: json.get("children").map(|children| Children {
            list: text(&children["list"]).unwrap(),
            ids: pointer(&children["ids"]),
        }),
        stages: stages(&json["stages"]),
    })
    .collect()
}

fn except(json: &Value) -> Vec<(Pointer, Vec<Box<str>>)> {
    let all = json.as_object().into_iter().flatten();
    let values = |json: &Value| -> Vec<Box<str>> {
        let values = json.as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap().into()).collect()
    };
    all.map(|(at, json)| (Pointer::parse(at).unwrap(), values(json)))
        .collect()
}

fn meaning_of(word: &str) -> Meaning {
    let outcome = match word {
        "none" => return Meaning::Unset,
        "pending" => return Meaning::State(State::Pending),
        "running" => return Meaning::State(State::Running),
        "success" => Outcome::Success,
        "failure" => Outcome::Failure,
        "error" => Outcome::Error,
        "timeout" => Outcome::Timeout,
        "cancellation" => Outcome::Cancellation,
        "skip" => Outcome::Skip,
        _ => unreachable!("{word}"),
    };
    Meaning::State(State::Ended(outcome))
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
) -> Result<Reading, Unreadable> {
    let mut gather = mapping.gather(id).unwrap();
    for (number, (name, request)) in mapping.requests().enumerate() {
        for (element, variables) in gather.each(number).iter().enumerate() {
            let mut url = String::new();
            assert!(request.path.render(variables, &mut url), "{variables:?}");
            let body = answer(name, &url);
            let part = mapping.read_slice(number, body.as_bytes())?;
            let streamed = mapping.read_stream(number, body.as_bytes())?;
            assert_eq!(part, streamed);
            gather.put(element, part);
        }
    }
    gather.finish()
}

/// As text: of each stage the path with its attempt, its span's name, its id, how far it is, its times, and what else
/// there is.
pub(crate) fn told(reading: &Result<Reading, Unreadable>) -> String {
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
