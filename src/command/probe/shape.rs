//! The shape of an answer: the keys that it has where a pointer leads nowhere, or all of its outer keys.

use super::Body;
use super::report::line;
use crate::core::limits;
use crate::core::limits::cut;
use crate::syntax::mend::value_of;
use crate::syntax::pointer::{escaped, unescaped};
use crate::syntax::text::{escape, without_byte_order_mark, words};
use crate::syntax::values;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

/// The keys at the place where the pointer leads nowhere, and the one that may be meant: no pointer of `used` leads to it.
/// `None` where the pointer leads to something.
pub(super) fn there_instead(
    pointer: &str,
    bodies: &[Value],
    used: &HashSet<&str>,
) -> Option<(String, Option<String>)> {
    let tokens: Vec<Cow<'_, str>> = pointer
        .split('/')
        .skip(1)
        .map(|token| unescaped(token).map_or(token.into(), |token| token.into_string().into()))
        .collect();
    let ends = bodies.iter().map(|body| end_of(body, &tokens));
    let Some((steps, found)) = ends.max_by_key(|(steps, _)| *steps) else {
        return Some(Default::default());
    };
    let token = tokens.get(steps)?;
    let mut way = String::new();
    for token in &tokens[..steps] {
        let _ = write!(way, "/{}", escape(&escaped(token)));
    }
    let place = if way.is_empty() { "the answer" } else { &way };
    let mut keys: Vec<&str> = Vec::new();
    for value in &found {
        for key in value
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys())
        {
            if !keys.contains(&&**key) {
                keys.push(key);
            }
        }
    }
    if keys.is_empty() {
        let kind = found
            .first()
            .map_or_else(|| "nothing".to_owned(), |value| kind_of(value));
        return Some((format!("{place} is {kind}"), None));
    }
    if keys.len() > LISTED_MAX {
        keys.sort_by_key(|key| !is_wanted(key));
    }
    let shown: Vec<String> = keys.iter().map(|key| escape(key)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let there = format!("{place} has {}", listed(&shown).unwrap_or_default());
    let to = |key: &str| format!("{way}/{}", escaped(key));
    keys.retain(|key| !used.contains(to(key).as_str()));
    let meant = nearest(token, &keys).map(to);
    let deeper = || {
        let below = found.first().and_then(|value| below(value, token))?;
        let pointer = format!("{way}{below}");
        (!used.contains(pointer.as_str())).then_some(pointer)
    };
    Some((there, meant.or_else(deeper)))
}

/// Where the only member with this key is, some objects further down.
fn below(value: &Value, key: &str) -> Option<String> {
    const DEPTH_MAX: usize = 3;
    let mut objects = vec![(String::new(), value)];
    let mut found = None;
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for (way, object) in objects {
            for (name, member) in object.as_object().into_iter().flatten() {
                let way = format!("{way}/{}", escaped(name));
                if member.is_object() {
                    next.push((way, member));
                } else if name == key && found.replace(way).is_some() {
                    return None;
                }
            }
        }
        objects = next;
    }
    found
}

/// A key that is almost the same, or that contains the other one.
pub(super) fn nearest<'k>(token: &str, keys: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let wanted = plain(token);
    let same = keys.iter().find(|key| plain(key) == wanted).copied();
    let near = || values::nearest(token, keys.iter().copied());
    let within = || {
        let mut keys = keys.iter().copied();
        keys.find(|key| {
            let key = plain(key);
            key.len() > 2 && wanted.len() > 2 && (key.contains(&wanted) || wanted.contains(&key))
        })
    };
    same.or_else(near).or_else(within)
}

/// How many steps of the pointer lead to something, and the values there.
fn end_of<'v>(body: &'v Value, tokens: &[Cow<'_, str>]) -> (usize, Vec<&'v Value>) {
    const VALUES_MAX: usize = 1000;
    let mut at = vec![body];
    for (steps, token) in tokens.iter().enumerate() {
        let mut next = Vec::new();
        for value in &at {
            match value {
                Value::Array(elements) if &**token == "*" => next.extend(elements),
                Value::Object(members) if &**token == "*" => {
                    next.extend(members.values());
                }
                Value::Array(elements) => {
                    let index = token.parse().ok().and_then(|at: usize| elements.get(at));
                    next.extend(index);
                }
                Value::Object(members) => next.extend(members.get(&**token)),
                _ => {}
            }
            if next.len() > VALUES_MAX {
                break;
            }
        }
        if next.is_empty() {
            return (steps, at);
        }
        at = next;
    }
    (tokens.len(), at)
}

pub(super) fn report_shape(out: &mut String, body: &Body) {
    let source = escape(&body.source);
    let Ok(json) = value_of(without_byte_order_mark(&body.bytes)) else {
        let excerpt = excerpt(&body.bytes);
        line(out, format_args!("{source} begins with: {excerpt}"));
        return;
    };
    line(out, format_args!("{source} is {}", kind_of(&json)));
    let (mut members, unseen) = members_of(&json);
    if members.len() <= MEMBERS_SHOWN_MAX {
        members.sort_by(|one, other| one.pointer.split('/').cmp(other.pointer.split('/')));
    } else {
        members.sort_by_key(|member| !member.looks_wanted());
    }
    let mut sorted = members.iter();
    for ShownMember { pointer, value, .. } in sorted.by_ref().take(MEMBERS_SHOWN_MAX) {
        line(out, format_args!("  {pointer}: {}", kind_of(value)));
    }
    let left_out: Vec<&str> = sorted.map(|member| &*member.pointer).collect();
    if let Some(text) = listed(&left_out) {
        let count = left_out.len();
        line(out, format_args!("  {count} more are left out: {text}"));
    }
    if unseen {
        let seen = members.len();
        line(
            out,
            format_args!("  the answer has more than these {seen}; the others are left out"),
        );
    }
}

/// Names in one line.
const LISTED_MAX: usize = 12;
/// Members of an answer that are shown.
const MEMBERS_SHOWN_MAX: usize = 40;

/// A value within an answer.
struct ShownMember<'v> {
    /// Where it is, escaped.
    pointer: String,
    key: &'v str,
    value: &'v Value,
}

impl ShownMember<'_> {
    /// Whether it looks like a state, a time or an id, which a mapping needs.
    fn looks_wanted(&self) -> bool {
        !self.value.is_array() && !self.value.is_object() && is_wanted(self.key)
    }
}

/// The members of an answer, those further out first, and of each array the first element. Whether there are more.
fn members_of(answer: &Value) -> (Vec<ShownMember<'_>>, bool) {
    const MEMBERS_MAX: usize = 10_000;
    // A deeper value, or one behind longer keys, is counted as left out.
    const POINTER_BYTES_MAX: usize = 1024;
    let mut unseen = false;
    let mut members: Vec<ShownMember<'_>> = Vec::new();
    let mut outer = (String::new(), answer);
    for place in 0.. {
        let (pointer, value) = &outer;
        let inner = |key: &str| {
            let key = escape(&escaped(cut(key, limits::NAME_BYTES_MAX)));
            format!("{pointer}/{key}")
        };
        match value {
            Value::Object(_) | Value::Array(_) if pointer.len() > POINTER_BYTES_MAX => {
                unseen = true
            }
            Value::Object(object) => {
                members.extend(object.iter().map(|(key, value)| ShownMember {
                    pointer: inner(key),
                    key,
                    value,
                }))
            }
            Value::Array(elements) => members.extend(elements.first().map(|value| ShownMember {
                pointer: inner("0"),
                key: "",
                value,
            })),
            _ => {}
        }
        if members.len() > MEMBERS_MAX {
            members.truncate(MEMBERS_MAX);
            return (members, true);
        }
        let Some(next) = members.get(place) else {
            break;
        };
        outer = (next.pointer.clone(), next.value);
    }
    (members, unseen)
}

/// Whether a key looks like one of a state, a time or an id: `state_type`, `startTime`, `finished_at`, `runId`.
fn is_wanted(key: &str) -> bool {
    const WORDS: &[&str] = &[
        "id",
        "uid",
        "uuid",
        "guid",
        "status",
        "state",
        "phase",
        "result",
        "outcome",
        "conclusion",
        "time",
        "timestamp",
        "date",
        "at",
        "start",
        "started",
        "begin",
        "begun",
        "began",
        "end",
        "ended",
        "finish",
        "finished",
        "complete",
        "completed",
        "created",
        "queued",
        "submitted",
    ];
    words(key).any(|word| WORDS.contains(&&*word))
}

/// The first of the texts and how many more there are. `None` without any.
fn listed(texts: &[&str]) -> Option<String> {
    let mut listed = texts[..texts.len().min(LISTED_MAX)].join(", ");
    if let Some(more @ 1..) = texts.len().checked_sub(LISTED_MAX) {
        let _ = write!(listed, ", {more} more");
    }
    (!listed.is_empty()).then_some(listed)
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            let mut shown: String = text.chars().take(60).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("the text \"{}\"", escape(&shown))
        }
        Value::Array(elements) => format!("an array of {}", elements.len()),
        Value::Object(members) => format!("an object of {}", members.len()),
    }
}

/// The beginning of a text, escaped.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const CHARACTERS: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    escape(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(answer: &str, expected: &Expect) {
        let body = Body {
            request: "".into(),
            source: "answer".to_owned(),
            bytes: answer.as_bytes().to_vec(),
        };
        let mut out = String::new();
        report_shape(&mut out, &body);
        expected.assert_eq(&out);
    }

    /// What a GraphQL API answers: the state lies deep, and within an array.
    #[test]
    fn a_deep_answer_is_shown_to_its_ends() {
        check(
            r#"{"data": {"run": {"steps": [{"k": "a", "status": "X"}], "status": "Y"}}}"#,
            &expect![[r#"
                answer is an object of 1
                  /data: an object of 1
                  /data/run: an object of 2
                  /data/run/status: the text "Y"
                  /data/run/steps: an array of 1
                  /data/run/steps/0: an object of 2
                  /data/run/steps/0/k: the text "a"
                  /data/run/steps/0/status: the text "X"
            "#]],
        );
    }

    #[test]
    fn a_wide_answer_shows_first_what_a_mapping_needs_and_says_what_is_left_out() {
        let wide = |count| {
            (0..count)
                .map(|n| format!("\"f{n:02}\": {n}, "))
                .collect::<String>()
        };
        check(
            &format!(
                "{{{}\"state_type\": \"RUNNING\", \"startTime\": null, \"jobID\": 1, \"stateful\": 2}}",
                wide(50)
            ),
            &expect![[r#"
                answer is an object of 54
                  /jobID: the number 1
                  /startTime: null
                  /state_type: the text "RUNNING"
                  /f00: the number 0
                  /f01: the number 1
                  /f02: the number 2
                  /f03: the number 3
                  /f04: the number 4
                  /f05: the number 5
                  /f06: the number 6
                  /f07: the number 7
                  /f08: the number 8
                  /f09: the number 9
                  /f10: the number 10
                  /f11: the number 11
                  /f12: the number 12
                  /f13: the number 13
                  /f14: the number 14
                  /f15: the number 15
                  /f16: the number 16
                  /f17: the number 17
                  /f18: the number 18
                  /f19: the number 19
                  /f20: the number 20
                  /f21: the number 21
                  /f22: the number 22
                  /f23: the number 23
                  /f24: the number 24
                  /f25: the number 25
                  /f26: the number 26
                  /f27: the number 27
                  /f28: the number 28
                  /f29: the number 29
                  /f30: the number 30
                  /f31: the number 31
                  /f32: the number 32
                  /f33: the number 33
                  /f34: the number 34
                  /f35: the number 35
                  /f36: the number 36
                  14 more are left out: /f37, /f38, /f39, /f40, /f41, /f42, /f43, /f44, /f45, /f46, /f47, /f48, 2 more
            "#]],
        );
        let body = format!("{{{}\"z\": 0}}", wide(20_000));
        let mut out = String::new();
        report_shape(
            &mut out,
            &Body {
                request: "".into(),
                source: "answer".to_owned(),
                bytes: body.into_bytes(),
            },
        );
        assert!(
            out.ends_with("  the answer has more than these 10000; the others are left out\n"),
            "{out}"
        );
    }

    #[test]
    fn keys_that_a_mapping_needs_come_first() {
        let keys: String = (0..30).map(|n| format!("\"f{n:02}\": {n}, ")).collect();
        let body = serde_json::from_str(&format!("{{{keys}\"state_type\": \"RUNNING\"}}")).unwrap();
        let (there, meant) = there_instead("/state", &[body], &HashSet::new()).unwrap();
        assert_eq!(
            there,
            "the answer has state_type, f00, f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, 19 more"
        );
        assert_eq!(meant.as_deref(), Some("/state_type"));
    }
}
