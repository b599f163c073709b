//! A definition read from JSON, as a monitor of the configuration file has it. All mistakes are found at once; those
//! that take the whole definition to see are found by [`Mapping::compile`](super::Mapping::compile).

use super::definition::{
    ChildLinks, Definition, Fields, Meaning, Method, Pages, ParentLink, Request, StageList,
    TimeFormat, Times, UnknownStatus, UnsetTime, WorkflowFields,
};
use super::refusals::Refusals;
use super::template::{BodyTemplate, IdPattern, Template};
use farspan_core::snapshot::{Outcome, State};
use farspan_syntax::json::Object;
use farspan_syntax::mistake::Path;
use farspan_syntax::text::segment;
use farspan_syntax::values::{self, Reason};
use serde_json::Value;

/// The definition in a monitor. What cannot be read is left out, and is a mistake.
pub fn definition(monitor: &Object<'_>) -> Definition {
    let id = monitor.parsed("id", IdPattern::parse);
    let slashes_in_ids = monitor.flag("slashes_in_ids").unwrap_or(false);
    let request = |object| {
        let request = request(object, &[]);
        Request {
            path: request.path.allow_slashes(slashes_in_ids),
            ..request
        }
    };
    let requests = monitor.named_objects("requests").into_iter();
    let requests = requests.map(|(name, object)| (name.into(), request(object)));
    let requests = requests.collect();
    monitor.require("request", ": {\"path\": \"/runs/{id}\"}, or name a preset");
    let main = monitor.object("request").map(request);
    monitor.require(
        "workflow",
        ": {\"status\": \"/state\", ..}, or name a preset",
    );
    Definition {
        id,
        slashes_in_ids,
        request: main.unwrap_or_default(),
        requests,
        refusals: monitor.object("refusals").map(refusals).unwrap_or_default(),
        workflow: monitor.object("workflow").map(workflow).unwrap_or_default(),
        stages: monitor.objects("stages").into_iter().map(stages).collect(),
        statuses: monitor.parsed_entries("statuses", meaning),
        status_names: monitor.parsed_entries("status_names", boxed_label),
        unknown_status: monitor
            .parsed("unknown_status", unknown_status)
            .unwrap_or_default(),
        unset_texts: monitor.texts("unset_texts", |text| Ok(text.into())),
        times: monitor.object("times").map(times).unwrap_or_default(),
    }
}

#[cfg(any(test, feature = "internals"))]
impl Definition {
    /// Reads a definition, or a monitor or preset that has one: the keys that are not of a definition are ignored.
    ///
    /// # Errors
    /// All mistakes that a single value shows.
    pub fn from_json(json: &Value) -> Result<Self, Vec<farspan_syntax::mistake::Mistake>> {
        let mistakes = farspan_syntax::mistake::Mistakes::default();
        let read = Object::of(json, farspan_syntax::mistake::Place::default(), &mistakes);
        let definition = read.map(|it| definition(&it));
        match (definition, mistakes.into_vec()) {
            (Some(definition), mistakes) if mistakes.is_empty() => Ok(definition),
            (_, mistakes) => Err(mistakes),
        }
    }
}

/// A request. `parameters` are constants: their values are put into the path.
pub fn request(object: Object<'_>, parameters: &[(Box<str>, String)]) -> Request {
    let method = object.parsed("method", |text| {
        values::one_of(text, &[("GET", Method::Get), ("POST", Method::Post)])
    });
    let path = object.required("path", |text| {
        let mut text = text.to_owned();
        for (name, value) in parameters {
            text = text.replace(&format!("{{{name}}}"), &segment(value));
        }
        Template::parse(&text)
    });
    let read = Request {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        body: object.value("body").cloned().map(BodyTemplate::new),
        pages: object.object("pages").and_then(pages),
        for_each: object.text("for_each").map(Into::into),
        when_attempt_above: object.integer("when_attempt_above", 0..=u32::MAX),
    };
    object.close();
    read
}

fn pages(object: Object<'_>) -> Option<Pages> {
    let word = |key: &'static str, default: &str| -> Box<str> {
        let word = object.parsed(key, values::label);
        word.map_or(default.into(), String::into_boxed_str)
    };
    let size = || object.integer("size", 1..=10_000).unwrap_or(100);
    let ways = ["offset", "page", "cursor", "link"];
    let by = object.required("by", |text| {
        values::one_of(text, &ways.map(|way| (way, way)))
    })?;
    let pages = match by {
        "offset" => Pages::Offset {
            offset: word("offset", "offset"),
            limit: word("limit", "limit"),
            size: size(),
            total: object.pointer("total"),
        },
        "page" => Pages::Page {
            page: word("page", "page"),
            limit: word("limit", "per_page"),
            size: size(),
            first: object.integer("first", 0..=1).unwrap_or(1),
            total: object.pointer("total"),
        },
        "cursor" => {
            object.require("next", ": a JSON Pointer to the next page's token");
            Pages::Cursor {
                param: word("param", "page_token"),
                next: object.pointer("next")?,
            }
        }
        _ => Pages::Link,
    };
    object.close();
    Some(pages)
}

fn workflow(object: Object<'_>) -> WorkflowFields {
    let fields = fields(&object);
    let of_stages = object.texts("times_of_stages", |text| {
        values::one_of(text, &[("start", "start"), ("end", "end")])
    });
    let read = WorkflowFields {
        root: object.pointer("root").unwrap_or_default(),
        fields,
        starts_with_stages: of_stages.contains(&"start"),
        ends_with_stages: of_stages.contains(&"end"),
    };
    object.close();
    read
}

fn fields(object: &Object<'_>) -> Fields {
    let attributes = object.entries("attributes").into_iter();
    let attributes = attributes.map(|(name, value)| {
        let path = Path::of(&["attributes", name]);
        (Box::from(name), object.pointers_at(&path, value))
    });
    Fields {
        id: object.pointers("id"),
        status: object.pointers("status"),
        queued: object.pointers("queued"),
        start: object.pointers("start"),
        end: object.pointers("end"),
        error: object.pointers("error"),
        attempt: object.pointers("attempt"),
        first_attempt: object.integer("first_attempt", 0..=1),
        url: object.pointers("url"),
        complete: object.pointers("complete"),
        attributes: attributes.collect(),
    }
}

fn stages(object: Object<'_>) -> StageList {
    let name = |key| object.parsed(key, boxed_label);
    object.require("list", ": a JSON Pointer to the array or object of stages");
    let read = StageList {
        name: name("name"),
        from: name("from"),
        list: object.pointer("list").unwrap_or_default(),
        kind: object.pointers("kind"),
        key: object.pointers("key"),
        fields: fields(&object),
        except: object.values_at_pointers("except"),
        number_attempts_by: object.pointers("number_attempts_by"),
        parent: object.object("parent").map(parent),
        children: object.object("children").and_then(children),
        stages: object.objects("stages").into_iter().map(stages).collect(),
    };
    object.close();
    read
}

fn parent(object: Object<'_>) -> ParentLink {
    let read = ParentLink {
        key: object.pointers("key"),
        list: object.parsed("list", boxed_label),
    };
    object.close();
    read
}

fn children(object: Object<'_>) -> Option<ChildLinks> {
    let list = object.required("list", boxed_label);
    object.require("ids", ": a JSON Pointer to an array of keys");
    let ids = object.pointer("ids");
    object.close();
    Some(ChildLinks {
        list: list?,
        ids: ids?,
    })
}

fn refusals(object: Object<'_>) -> Refusals {
    let status = object.integer("not_found_status", 400..=599);
    let read = Refusals {
        not_found_status: status.and_then(|status| u16::try_from(status).ok()),
        not_found: object.values_at_pointers("not_found"),
        error: object.pointers("error"),
    };
    object.close();
    read
}

const MEANINGS: &str =
    "pending, running, success, failure, error, timeout, cancellation, skip or unset";

fn meaning(text: &str) -> Result<Meaning, Reason> {
    let ended = |outcome| Ok(Meaning::State(State::Ended(outcome)));
    match text {
        "pending" => Ok(Meaning::State(State::Pending)),
        "running" => Ok(Meaning::State(State::Running)),
        "success" => ended(Outcome::Success),
        "failure" => ended(Outcome::Failure),
        "error" => ended(Outcome::Error),
        "timeout" => ended(Outcome::Timeout),
        "cancellation" => ended(Outcome::Cancellation),
        "skip" => ended(Outcome::Skip),
        "unset" => Ok(Meaning::Unset),
        _ => Err(format!("is unknown; write {MEANINGS}").into()),
    }
}

fn unknown_status(text: &str) -> Result<UnknownStatus, Reason> {
    match (text, meaning(text)) {
        ("fail", _) => Ok(UnknownStatus::Refused),
        (_, Ok(Meaning::State(state))) => Ok(UnknownStatus::Means(state)),
        (_, Ok(Meaning::Unset)) => Ok(UnknownStatus::Unset),
        _ => Err(format!("is unknown; write fail, {MEANINGS}").into()),
    }
}

fn times(object: Object<'_>) -> Times {
    let mut times = Times::default();
    let format = object.parsed("format", |text| {
        let formats = [
            ("auto", TimeFormat::Auto),
            ("rfc3339", TimeFormat::Rfc3339),
            ("epoch_s", TimeFormat::EpochSeconds),
            ("epoch_ms", TimeFormat::EpochMillis),
            ("epoch_us", TimeFormat::EpochMicros),
            ("epoch_ns", TimeFormat::EpochNanos),
        ];
        values::one_of(text, &formats)
    });
    times.format = format.unwrap_or_default();
    times.offset_s = object.parsed("offset", values::utc_offset_s).unwrap_or(0);
    if object.has("offset") && times.are_numbers() {
        object.mistake("offset", "has no meaning for counts since 1970: remove it");
    }
    match object.value("unset") {
        None => {}
        Some(Value::Array(values)) => {
            times.unset.clear();
            for value in values {
                match (value.as_i64(), value.as_str()) {
                    (Some(number), _) => times.unset.push(UnsetTime::Number(number)),
                    (_, Some(text)) if !text.is_empty() => {
                        times.unset.push(UnsetTime::Text(text.into()));
                    }
                    _ => object.mistake("unset", "each must be a whole number or a string"),
                }
            }
        }
        Some(_) => object.mistake("unset", "must be an array of numbers and strings"),
    }
    object.close();
    times
}

fn boxed_label(text: &str) -> Result<Box<str>, Reason> {
    values::label(text).map(String::into_boxed_str)
}
