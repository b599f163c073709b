//! JSON objects read member by member, so that every mistake is found and has its place.

use super::mistake::{Mistakes, Path, Place};
use super::pointer::Pointer;
use super::values::{self, Reason};
use crate::text::shown;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

/// What is wrong with a key that an object has twice.
pub const DUPLICATE: &str = "duplicate key: it is in this object twice";

/// JSON as it was written. Not `serde_json::Value`, which keeps the last of two equal keys and reports nothing.
#[derive(Clone, Debug)]
pub enum WrittenJson {
    /// An object; its members in their order.
    Group(Vec<(String, WrittenJson)>),
    /// An array.
    List(Vec<WrittenJson>),
    /// A string.
    Text(String),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

impl WrittenJson {
    /// What it is, as errors say it.
    pub fn kind(&self) -> &'static str {
        match self {
            WrittenJson::Group(_) => "an object",
            WrittenJson::Text(_) => "a string",
            WrittenJson::Number(_) => "a number",
            WrittenJson::Bool(_) => "a boolean",
            WrittenJson::Null => "null",
            WrittenJson::List(_) => "an array",
        }
    }

    /// The value. Of two equal keys the last one counts, and the first one is a mistake.
    pub fn into_value(self, place: &Place, mistakes: &Mistakes) -> Value {
        match self {
            WrittenJson::Group(entries) => {
                let mut members = Map::new();
                for (key, node) in entries {
                    let place = place.key(&key);
                    let value = node.into_value(&place, mistakes);
                    if members.insert(key, value).is_some() {
                        mistakes.add(place, DUPLICATE);
                    }
                }
                Value::Object(members)
            }
            WrittenJson::List(nodes) => {
                let nodes = nodes.into_iter().enumerate();
                let value = |(index, node): (usize, WrittenJson)| {
                    node.into_value(&place.index(index), mistakes)
                };
                Value::Array(nodes.map(value).collect())
            }
            WrittenJson::Text(text) => Value::String(text),
            WrittenJson::Number(number) => Value::Number(number),
            WrittenJson::Bool(truth) => Value::Bool(truth),
            WrittenJson::Null => Value::Null,
        }
    }
}

impl<'de> Deserialize<'de> for WrittenJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WrittenJsonVisitor;

        impl<'de> Visitor<'de> for WrittenJsonVisitor {
            type Value = WrittenJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WrittenJson, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(WrittenJson::Group(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<WrittenJson, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = seq.next_element()? {
                    nodes.push(node);
                }
                Ok(WrittenJson::List(nodes))
            }

            fn visit_str<E>(self, text: &str) -> Result<WrittenJson, E> {
                Ok(WrittenJson::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<WrittenJson, E> {
                Ok(WrittenJson::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<WrittenJson, E> {
                Ok(WrittenJson::Number(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<WrittenJson, E> {
                // JSON has neither NaN nor infinity.
                Ok(Number::from_f64(number).map_or(WrittenJson::Null, WrittenJson::Number))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<WrittenJson, E> {
                Ok(WrittenJson::Bool(truth))
            }

            fn visit_unit<E>(self) -> Result<WrittenJson, E> {
                Ok(WrittenJson::Null)
            }
        }

        deserializer.deserialize_any(WrittenJsonVisitor)
    }
}

/// What `value` is, as errors say it.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// An object that is being read. Members are asked for by name; [`close`](Self::close) reports those that were not.
/// A member that is `null` counts as absent.
pub struct Object<'v> {
    place: Place,
    members: &'v Map<String, Value>,
    asked: RefCell<Vec<&'static str>>,
    mistakes: &'v Mistakes,
}

impl<'v> Object<'v> {
    /// Reads `value`. `None`, and a mistake, where it is no object.
    pub fn of(value: &'v Value, place: Place, mistakes: &'v Mistakes) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Object {
                place,
                members,
                asked: RefCell::default(),
                mistakes,
            }),
            other => {
                mistakes.add(
                    place,
                    format_args!("is {}, must be an object", kind_of(other)),
                );
                None
            }
        }
    }

    /// Where the object is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where mistakes are added.
    pub fn mistakes(&self) -> &'v Mistakes {
        self.mistakes
    }

    /// Something is wrong with a member.
    pub fn mistake(&self, key: &str, what: impl fmt::Display) {
        self.mistakes.add(self.place.key(key), what);
    }

    /// Something is wrong further inside.
    pub fn mistake_at(&self, path: &Path, what: impl fmt::Display) {
        self.mistakes.add(self.place.join(path), what);
    }

    /// Something is wrong with the object.
    pub fn mistaken(&self, what: impl fmt::Display) {
        self.mistakes.add(self.place.clone(), what);
    }

    /// The member as it is.
    pub fn value(&self, key: &'static str) -> Option<&'v Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        #[cfg(feature = "internals")]
        ASKED.with_borrow_mut(|asked| asked.insert(self.place.path.then(key)));
        self.members.get(key).filter(|value| !value.is_null())
    }

    /// Members that mean nothing to farspan.
    pub fn ignore(&self, keys: &[&'static str]) {
        for key in keys {
            self.value(key);
        }
    }

    /// Whether the member is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether the member is there. That it is not is a mistake, with `how` to write it.
    pub fn require(&self, key: &'static str, how: &str) -> bool {
        let has = self.has(key);
        if !has {
            self.mistake(key, format_args!("is missing{how}"));
        }
        has
    }

    /// A text. Anything else is a mistake.
    pub fn text(&self, key: &'static str) -> Option<&'v str> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => {
                self.mistake(key, format_args!("is {}, must be a string", kind_of(other)));
                None
            }
        }
    }

    /// A text that `parse` understands.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        self.parsed_at(&Path::of(&[key]), self.text(key)?, parse, shown)
    }

    /// A text that must be there.
    pub fn required<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        self.require(key, "");
        self.parsed(key, parse)
    }

    /// A URL. A password in it is not shown.
    pub fn parsed_url<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let show = |url: &str| shown(&values::redacted_url(url));
        self.parsed_at(&Path::of(&[key]), self.text(key)?, parse, show)
    }

    /// A URL that must be there.
    pub fn required_url<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        self.require(key, "");
        self.parsed_url(key, parse)
    }

    fn parsed_at<T>(
        &self,
        path: &Path,
        text: &str,
        parse: impl Fn(&str) -> Result<T, Reason>,
        show: impl Fn(&str) -> String,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.mistake_at(path, format_args!("'{}' {reason}", show(text)));
                None
            }
        }
    }

    /// `true` or `false`. Anything else is a mistake.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(truth) => Some(*truth),
            other => {
                let what = format_args!("is {}, must be true or false", kind_of(other));
                self.mistake(key, what);
                None
            }
        }
    }

    /// A number within these bounds.
    pub fn number(&self, key: &'static str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(key)?;
        let number = value.as_f64().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = bounds.into_inner();
            let what = format!("{value} is not a number from {least} to {most}");
            self.mistake(key, what);
        }
        number
    }

    /// A whole number within these bounds.
    pub fn integer(&self, key: &'static str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(key)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = bounds.into_inner();
            let what = format!("{value} is not a whole number from {least} to {most}");
            self.mistake(key, what);
        }
        number
    }

    /// An object. Anything else is a mistake.
    pub fn object(&self, key: &'static str) -> Option<Object<'v>> {
        Object::of(self.value(key)?, self.place.key(key), self.mistakes)
    }

    /// The objects in an object whose keys are the user's words.
    pub fn named_objects(&self, key: &'static str) -> Vec<(&'v str, Object<'v>)> {
        let objects = self.entries(key).into_iter().filter_map(|(name, value)| {
            let place = self.place.key(key).key(name);
            Some((name, Object::of(value, place, self.mistakes)?))
        });
        objects.collect()
    }

    /// The objects in an array.
    pub fn objects(&self, key: &'static str) -> Vec<Object<'v>> {
        let values = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => {
                let what = format_args!("is {}, must be an array of objects", kind_of(other));
                self.mistake(key, what);
                return Vec::new();
            }
        };
        let objects = values.iter().enumerate().filter_map(|(index, value)| {
            Object::of(value, self.place.key(key).index(index), self.mistakes)
        });
        objects.collect()
    }

    /// The members of an object whose keys are the user's words.
    pub fn entries(&self, key: &'static str) -> Vec<(&'v str, &'v Value)> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Object(members)) => {
                let members = members.iter().filter(|(_, value)| !value.is_null());
                members.map(|(key, value)| (&**key, value)).collect()
            }
            Some(other) => {
                let what = format_args!("is {}, must be an object", kind_of(other));
                self.mistake(key, what);
                Vec::new()
            }
        }
    }

    /// The members of such an object, where each is a text that `parse` understands.
    pub fn parsed_entries<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<(Box<str>, T)> {
        let mut entries = Vec::new();
        for (name, value) in self.entries(key) {
            let path = Path::of(&[key, name]);
            if let Some(text) = value.as_str() {
                let parsed = self.parsed_at(&path, text, &parse, shown);
                entries.extend(parsed.map(|value| (name.into(), value)));
            } else {
                let what = format_args!("is {}, must be a string", kind_of(value));
                self.mistake_at(&path, what);
            }
        }
        entries
    }

    /// Texts in an array, or one text.
    pub fn texts<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, Reason>) -> Vec<T> {
        let what = "must be a string, or an array of them";
        match self.value(key) {
            None => Vec::new(),
            Some(value) => self.several(&Path::of(&[key]), value, what, parse),
        }
    }

    /// A JSON Pointer.
    pub fn pointer(&self, key: &'static str) -> Option<Pointer> {
        self.parsed(key, Pointer::parse)
    }

    /// A JSON Pointer, or several in order of preference.
    pub fn pointers(&self, key: &'static str) -> Vec<Pointer> {
        match self.value(key) {
            None => Vec::new(),
            Some(value) => self.pointers_at(&Path::of(&[key]), value),
        }
    }

    /// A JSON Pointer, or several in order of preference, in a value further inside.
    pub fn pointers_at(&self, path: &Path, value: &Value) -> Vec<Pointer> {
        let what = "must be a JSON Pointer, or an array of them";
        self.several(path, value, what, Pointer::parse)
    }

    fn several<T>(
        &self,
        path: &Path,
        value: &Value,
        what: &str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<T> {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let mut all = Vec::new();
        for value in values {
            match value.as_str() {
                Some(text) => all.extend(self.parsed_at(path, text, &parse, shown)),
                None => self.mistake_at(path, what),
            }
        }
        all
    }

    /// Pointers as keys, each with a value or several.
    pub fn values_at_pointers(&self, key: &'static str) -> Vec<(Pointer, Vec<Box<str>>)> {
        let mut all = Vec::new();
        for (pointer, value) in self.entries(key) {
            let path = Path::of(&[key, pointer]);
            let values = match value {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            let texts = values.iter().map(|value| match value {
                Value::String(text) => Some(text.as_str().into()),
                Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
                _ => None,
            });
            match (
                self.parsed_at(&path, pointer, Pointer::parse, shown),
                texts.collect(),
            ) {
                (Some(pointer), Some(texts)) => all.push((pointer, texts)),
                (Some(_), None) => {
                    self.mistake_at(&path, "must be a string, or an array of them");
                }
                (None, _) => {}
            }
        }
        all
    }

    /// Reports the members that were not asked for.
    pub fn close(self) {
        let asked = self.asked.borrow();
        for key in self.members.keys() {
            if asked.iter().any(|asked| asked == key) {
                continue;
            }
            match values::nearest(key, asked.iter().copied()) {
                Some(meant) => {
                    self.mistake(key, format_args!("no such key; did you mean '{meant}'?"));
                }
                None => {
                    let known = asked.join(", ");
                    self.mistake(key, format_args!("no such key; there are {known}"));
                }
            }
        }
    }
}

/// RFC 7396: `over` is merged into `value`; what is null there goes.
pub fn merge(value: &mut Value, over: Value) {
    let Value::Object(over) = over else {
        *value = over;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(members) = value else {
        return;
    };
    for (key, over) in over {
        if over.is_null() {
            members.remove(&key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), over);
        }
    }
}

#[cfg(feature = "internals")]
thread_local! {
    /// For tests: every key that was asked for on this thread.
    pub static ASKED: RefCell<std::collections::BTreeSet<Path>> = RefCell::default();
}
