//! The model builds the whole value and looks everything up in it.

use super::*;
use crate::time_format::ParsedTime;
use arbtest::arbitrary::{Result as Arbitrary, Unstructured};
use farspan_core::snapshot::StageSnapshot;
use farspan_syntax::pointer::{escaped, index};
use std::collections::BTreeMap;

struct Model {
    definition: Definition,
    /// Paths are keys as they are.
    plain: bool,
    stages: BTreeMap<(Box<str>, u32), StageSnapshot>,
}

fn lookup<'v>(value: &'v Value, pointer: &Pointer) -> Option<&'v Value> {
    pointer.tokens().try_fold(value, |at, token| match at {
        Value::Object(members) => members.get(token),
        Value::Array(elements) => elements.get(index(token)?),
        _ => None,
    })
}

fn first<T>(value: &Value, pointers: &[Pointer], take: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let mut found = pointers.iter().filter_map(|pointer| lookup(value, pointer));
    found.find_map(take)
}

fn text_of(value: &Value) -> Option<Box<str>> {
    match value {
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => whole.to_string().into(),
            None => number.as_f64()?.to_string().into(),
        }),
        Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
        _ => None,
    }
}

fn whole_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0).then_some(float as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

impl Model {
    fn time(&self, value: &Value, pointers: &[Pointer]) -> Option<Wall> {
        let times = &self.definition.times;
        first(value, pointers, |value| {
            let told = match value {
                Value::String(text) => times.of_text(text),
                Value::Number(number) => match number.as_i64() {
                    Some(whole) => times.of_int(whole),
                    None => times.of_float(number.as_f64()?),
                },
                _ => return None,
            };
            match told {
                ParsedTime::At(time) | ParsedTime::Unlikely(time) => Some(time),
                _ => None,
            }
        })
    }

    fn progress(&self, value: &Value, fields: &Fields) -> Progress {
        let status = first(value, &fields.status, |value| {
            let word = text_of(value)?;
            let mut statuses = self.definition.statuses.iter();
            let known = statuses.find(|(known, _)| known.eq_ignore_ascii_case(&word));
            match known {
                Some((_, Meaning::Unset)) => None,
                Some((_, Meaning::State(state))) => Some((word, *state)),
                None => Some((word, State::Running)),
            }
        });
        let (status, state) = match status {
            Some((word, state)) => (Some(word), state),
            None => (None, State::Pending),
        };
        let (start, end) = (
            self.time(value, &fields.start),
            self.time(value, &fields.end),
        );
        let error = first(value, &fields.error, text_of);
        let is_complete = first(value, &fields.complete, Value::as_bool) == Some(true);
        let state = match state {
            State::Ended(_) => state,
            _ if !is_complete || (state == State::Pending && end.is_none()) => state,
            _ if error.is_some() => State::Ended(Outcome::Failure),
            _ => State::Ended(Outcome::Success),
        };
        Progress {
            status,
            state,
            queued: self.time(value, &fields.queued),
            start,
            end,
            error,
        }
    }

    fn attempt(&self, value: &Value, fields: &Fields) -> Option<u32> {
        let number = first(value, &fields.attempt, whole_of)?;
        let from_one = number - i64::from(fields.first_attempt.unwrap_or(1)) + 1;
        Some(from_one.clamp(1, u32::MAX.into()) as u32)
    }

    fn attributes(&self, value: &Value, fields: &Fields) -> Box<[(Box<str>, Scalar)]> {
        let scalar = |value: &Value| match value {
            Value::Bool(truth) => Some(Scalar::Bool(*truth)),
            Value::Number(number) => Some(match number.as_i64() {
                Some(whole) => Scalar::Int(whole),
                None => Scalar::Float(number.as_f64()?),
            }),
            other => text_of(other).map(Scalar::Str),
        };
        let all = fields.attributes.iter();
        all.filter_map(|(name, at)| Some((name.clone(), first(value, at, scalar)?)))
            .collect()
    }

    fn lists(&mut self, value: &Value, lists: &[StageList], parent: Option<(&str, u32)>) {
        for (number, list) in lists.iter().enumerate() {
            let elements: Vec<(Option<&str>, &Value)> = match lookup(value, &list.list) {
                Some(Value::Array(elements)) => elements.iter().map(|e| (None, e)).collect(),
                Some(Value::Object(members)) => members
                    .iter()
                    .map(|(key, e)| (Some(key.as_str()), e))
                    .collect(),
                _ => continue,
            };
            let before = match (number, &list.name) {
                (0, _) => String::new(),
                (_, Some(name)) => format!("~{name}/"),
                (_, None) => format!("~{}/", number + 1),
            };
            let before = parent
                .map(|(path, _)| format!("{path}/"))
                .unwrap_or_default()
                + &before;
            let mut found = Vec::new();
            for (key, element) in elements
                .into_iter()
                .filter(|(_, element)| !element.is_null())
            {
                if let Some(stage) = self.stage(key, element, list, &before, parent) {
                    found.push((stage, element));
                }
            }
            let mut unnumbered = Vec::new();
            for (number, (stage, element)) in found.iter().enumerate() {
                let has_none = self.attempt(element, &list.fields).is_none();
                if has_none && !list.number_attempts_by.is_empty() {
                    let by = first(element, &list.number_attempts_by, whole_of);
                    unnumbered.push((stage.path.clone(), by.unwrap_or(i64::MAX), number));
                }
            }
            unnumbered.sort();
            let mut last: Option<(Box<str>, u32)> = None;
            for (path, _, number) in unnumbered {
                let attempt = match last {
                    Some((before, attempt)) if before == path => attempt + 1,
                    _ => 1,
                };
                found[number].0.attempt = attempt;
                last = Some((path, attempt));
            }
            for (stage, element) in found {
                let (path, attempt) = (stage.path.clone(), stage.attempt);
                self.put(stage);
                self.lists(element, &list.stages, Some((&path, attempt)));
            }
        }
    }

    fn stage(
        &self,
        member: Option<&str>,
        element: &Value,
        list: &StageList,
        before: &str,
        parent: Option<(&str, u32)>,
    ) -> Option<StageSnapshot> {
        let id = first(element, &list.fields.id, text_of);
        let parts: Vec<String> = match (&list.key[..], member) {
            ([], Some(member)) => vec![member.to_owned()],
            ([], None) => vec![id.as_deref()?.to_owned()],
            (pointers, _) => {
                let part = |p| first(element, std::slice::from_ref(p), text_of);
                pointers
                    .iter()
                    .map(|p| part(p).unwrap_or_default().into())
                    .collect()
            }
        };
        if parts[0].is_empty() {
            return None;
        }
        let joined = |escape: &dyn Fn(&str) -> String| {
            parts
                .iter()
                .map(|part| escape(part))
                .collect::<Vec<_>>()
                .join("/")
        };
        let key = match self.plain {
            true => parts[0].clone(),
            false => joined(&escaped),
        };
        let kind = first(element, &list.kind, text_of);
        let named = member.map(Into::into);
        Some(StageSnapshot {
            path: format!("{before}{key}").into(),
            parent: parent.map(|(path, _)| path.into()),
            attempt: (self.attempt(element, &list.fields))
                .unwrap_or(parent.map_or(1, |(_, attempt)| attempt)),
            kind: kind
                .or(named)
                .unwrap_or_else(|| joined(&str::to_owned).into()),
            id,
            url: first(element, &list.fields.url, text_of),
            attributes: self.attributes(element, &list.fields),
            progress: self.progress(element, &list.fields),
        })
    }

    fn put(&mut self, stage: StageSnapshot) {
        self.stages
            .insert((stage.path.clone(), stage.attempt), stage);
    }

    fn snapshot(mut self, body: &Value) -> Snapshot {
        let definition = self.definition.clone();
        let nothing = Value::Null;
        let WorkflowFields { root, fields, .. } = &definition.workflow;
        let value = lookup(body, root).unwrap_or(&nothing);
        self.lists(body, &definition.stages, None);
        let mut progress = self.progress(value, fields);
        let stages = || self.stages.values().map(|stage| &stage.progress);
        let is_ended = |progress: &Progress| matches!(progress.state, State::Ended(_));
        if definition.workflow.starts_with_stages {
            let begun = stages().filter(|stage| stage.state != State::Pending);
            progress.start = (begun.filter_map(|stage| stage.start).min()).or(progress.start);
        }
        if definition.workflow.ends_with_stages && is_ended(&progress) {
            let ended = stages().filter(|stage| is_ended(stage));
            progress.end = (ended.filter_map(|stage| stage.end).max()).or(progress.end);
        }
        Snapshot {
            workflow_id: first(value, &fields.id, text_of),
            progress,
            attempt: self.attempt(value, fields),
            url: first(value, &fields.url, text_of),
            attributes: self.attributes(value, fields),
            stages: self.stages.into_values().collect(),
        }
    }
}

const KEYS: [&str; 6] = ["a", "b", "c", "0", "1", "x/y"];

fn arbitrary_pointer(
    u: &mut Unstructured<'_>,
    tokens: std::ops::RangeInclusive<usize>,
) -> Arbitrary<Pointer> {
    let tokens: Arbitrary<Vec<_>> = (0..u.int_in_range(tokens)?)
        .map(|_| u.choose(&KEYS).copied())
        .collect();
    Ok(Pointer::of(&tokens?))
}

fn arbitrary_pointers(u: &mut Unstructured<'_>) -> Arbitrary<Pointers> {
    let count = *u.choose(&[0, 0, 1, 1, 2, 3])?;
    (0..count).map(|_| arbitrary_pointer(u, 1..=2)).collect()
}

fn arbitrary_fields(u: &mut Unstructured<'_>) -> Arbitrary<Fields> {
    Ok(Fields {
        id: arbitrary_pointers(u)?,
        status: arbitrary_pointers(u)?,
        queued: arbitrary_pointers(u)?,
        start: arbitrary_pointers(u)?,
        end: arbitrary_pointers(u)?,
        error: arbitrary_pointers(u)?,
        attempt: arbitrary_pointers(u)?,
        first_attempt: *u.choose(&[None, Some(0)])?,
        url: arbitrary_pointers(u)?,
        complete: arbitrary_pointers(u)?,
        attributes: vec![
            ("one".into(), arbitrary_pointers(u)?),
            ("two".into(), arbitrary_pointers(u)?),
        ],
    })
}

fn arbitrary_stages(u: &mut Unstructured<'_>, depth: usize) -> Arbitrary<Vec<StageList>> {
    let count = *u.choose(&[0, 1, 1, 2])?;
    (0..count)
        .map(|_| {
            Ok(StageList {
                list: arbitrary_pointer(u, 0..=2)?,
                kind: arbitrary_pointers(u)?,
                key: arbitrary_pointers(u)?,
                fields: arbitrary_fields(u)?,
                number_attempts_by: arbitrary_pointers(u)?,
                stages: if depth == 0 {
                    Vec::new()
                } else {
                    arbitrary_stages(u, depth - 1)?
                },
                ..StageList::default()
            })
        })
        .collect()
}

fn arbitrary_definition(u: &mut Unstructured<'_>) -> Arbitrary<Definition> {
    let mut fields = arbitrary_fields(u)?;
    fields.status.push(Pointer::of(&["a"]));
    let stages = arbitrary_stages(u, 2)?;
    Ok(Definition {
        workflow: WorkflowFields {
            root: arbitrary_pointer(u, 0..=1)?,
            fields,
            starts_with_stages: !stages.is_empty() && u.arbitrary()?,
            ends_with_stages: !stages.is_empty() && u.arbitrary()?,
        },
        stages,
        times: Times::default(),
        ..Definition::original()
    })
}

/// Mostly objects in arrays in objects, as bodies are.
fn arbitrary_value(u: &mut Unstructured<'_>, depth: usize) -> Arbitrary<Value> {
    if depth == 0 || u.ratio(1, 4)? {
        let scalars = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(2),
            json!(-1),
            json!(1795166448),
            json!(2.5),
            json!("Completed"),
            json!("processing"),
            json!("Null"),
            json!("odd"),
            json!(""),
            json!("0"),
            json!("3"),
            json!("a/b~c"),
            json!("2026-11-20T09:20:48.043GMT"),
            json!("soon"),
        ];
        return Ok(u.choose(&scalars)?.clone());
    }
    if u.ratio(1, 3)? {
        let elements: Arbitrary<Vec<_>> = (0..u.int_in_range(0..=3)?)
            .map(|_| arbitrary_value(u, depth - 1))
            .collect();
        return Ok(Value::Array(elements?));
    }
    let members: Arbitrary<serde_json::Map<_, _>> = (0..u.int_in_range(0..=5)?)
        .map(|_| {
            Ok((
                (*u.choose(&KEYS)?).to_owned(),
                arbitrary_value(u, depth - 1)?,
            ))
        })
        .collect();
    Ok(Value::Object(members?))
}

/// A body with something in the lists, where it can have them.
fn arbitrary_body(u: &mut Unstructured<'_>, lists: &[StageList]) -> Arbitrary<Value> {
    let mut body = arbitrary_value(u, 3)?;
    for list in lists {
        let mut at = &mut body;
        for token in list.list.tokens() {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[token];
        }
        let mut elements = Vec::new();
        for _ in 0..u.int_in_range(0..=3)? {
            let element = arbitrary_body(u, &list.stages)?;
            elements.push(if element.is_object() {
                element
            } else {
                json!({"a": element})
            });
        }
        *at = match u.ratio(1, 3)? {
            true => KEYS
                .iter()
                .map(|key| (*key).to_owned())
                .zip(elements)
                .collect(),
            false => Value::Array(elements),
        };
    }
    Ok(body)
}

fn count_lists(lists: &[StageList]) -> usize {
    lists.iter().map(|list| 1 + count_lists(&list.stages)).sum()
}

#[test]
fn agrees_with_a_built_value_on_any_definition_and_body() {
    let (mut read, mut with_stages) = (0, 0);
    arbtest::arbtest(|u| {
        let definition = arbitrary_definition(u)?;
        let mapping = Mapping::compile(definition.clone()).unwrap();
        for _ in 0..4 {
            let value = arbitrary_body(u, &definition.stages)?;
            let body = value.to_string();
            let sliced = mapping.read_slice(0, body.as_bytes());
            let streamed = mapping.read_stream(0, body.as_bytes());
            let part = match (sliced, streamed) {
                (Ok(part), Ok(same)) => {
                    assert_eq!(part, same);
                    part
                }
                (Err(UnreadableBody::Shape(_)), Err(UnreadableBody::Shape(_))) => continue,
                (sliced, streamed) => panic!("{sliced:?} {streamed:?}"),
            };
            let mut snapshot = mapping.reading("w", part).unwrap().snapshot;
            let mut stages: Vec<_> = snapshot.stages.iter().collect();
            stages.sort_by_key(|stage| (stage.path, stage.attempt));
            snapshot.stages = stages.into_iter().map(StageSnapshot::from).collect();
            let model = Model {
                plain: count_lists(&definition.stages) <= 1
                    && definition.stages.iter().all(|list| list.key.len() <= 1),
                definition: definition.clone(),
                stages: BTreeMap::new(),
            };
            assert_eq!(snapshot, model.snapshot(&value), "{body}\n{definition:#?}");
            read += 1;
            with_stages += usize::from(!snapshot.stages.is_empty());
        }
        Ok(())
    })
    .size_min(4096)
    .budget_ms(3000);
    // Else it would show nothing.
    assert!(read > 50 && with_stages > 5, "{read} {with_stages}");
}

/// Whatever is done to a body, a slice and a stream are understood alike.
#[test]
fn a_slice_and_a_stream_agree_on_any_bytes() {
    arbtest::arbtest(|u| {
        let mapping = Mapping::compile(arbitrary_definition(u)?).unwrap();
        let mut body = arbitrary_value(u, 4)?.to_string().into_bytes();
        for _ in 0..u.int_in_range(0..=3)? {
            let at = u.choose_index(body.len())?;
            body[at] = *u.choose(b"{}[],:\"ab01\\\xff")?;
        }
        body.truncate(u.int_in_range(0..=body.len())?);
        let sliced = mapping.read_slice(0, &body);
        let streamed = mapping.read_stream(0, &body[..]);
        match (&sliced, &streamed) {
            (Ok(part), Ok(same)) => assert_eq!(part, same),
            (Err(UnreadableBody::Shape(_)), Err(UnreadableBody::Shape(_)))
            | (Err(UnreadableBody::Garbage(_)), Err(UnreadableBody::Garbage(_))) => {}
            _ => panic!("{sliced:?} {streamed:?}"),
        }
        Ok(())
    });
}
