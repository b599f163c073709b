//! The shape of an answer: the keys that it has where a pointer leads nowhere, or all of its outer keys.

use super::Body;
use super::report::line;
use crate::syntax::pointer::{escaped, unescaped};
use crate::syntax::values;
use crate::text::{escape, without_byte_order_mark};
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
    const KEYS_MAX: usize = 12;
    let mut listed: Vec<String> = keys.iter().take(KEYS_MAX).map(|key| escape(key)).collect();
    if keys.len() > KEYS_MAX {
        listed.push(format!("{} more", keys.len() - KEYS_MAX));
    }
    let there = format!("{place} has {}", listed.join(", "));
    let to = |key: &str| format!("{way}/{}", escaped(key));
    keys.retain(|key| !used.contains(to(key).as_str()));
    Some((there, nearest(token, &keys).map(to)))
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
    let Ok(json) = serde_json::from_slice::<Value>(without_byte_order_mark(&body.bytes)) else {
        let excerpt = excerpt(&body.bytes);
        line(out, format_args!("{source} begins with: {excerpt}"));
        return;
    };
    line(out, format_args!("{source} is {}", kind_of(&json)));
    let mut lines_left = 40;
    report_members(out, "", &json, 3, &mut lines_left);
}

/// The members of an object, or the first element of an array, each with its pointer.
fn report_members(
    out: &mut String,
    pointer: &str,
    value: &Value,
    depth: usize,
    lines_left: &mut usize,
) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(key, value)| (escape(&escaped(key)), value))
                .collect()
        }
        Value::Array(elements) => {
            let first = elements.first();
            first
                .map(|first| ("0".to_owned(), first))
                .into_iter()
                .collect()
        }
        _ => return,
    };
    for (key, value) in members {
        if *lines_left == 0 {
            return;
        }
        *lines_left -= 1;
        let pointer = format!("{pointer}/{key}");
        line(out, format_args!("  {pointer}: {}", kind_of(value)));
        if depth > 1 {
            report_members(out, &pointer, value, depth - 1, lines_left);
        }
    }
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
