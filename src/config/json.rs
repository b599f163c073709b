//! JSON as the configuration file has it, and objects of it read member by member, so that every mistake is found and
//! has its place.

use super::values::{self, Reason, shown};
use crate::mapping::pointer::Pointer;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// Not `serde_json::Value`, which would keep the last of two equal keys and say nothing.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Group(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Number(Number),
    Bool(bool),
    Null,
}

impl Node {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Group(_) => "an object",
            Node::Text(_) => "a string",
            Node::Number(_) => "a number",
            Node::Bool(_) => "a boolean",
            Node::Null => "null",
            Node::List(_) => "an array",
        }
    }

    /// The value, with the last of equal keys; that there are such is a mistake.
    pub(super) fn into_value(self, place: &str, mistakes: &RefCell<Vec<String>>) -> Value {
        match self {
            Node::Group(entries) => {
                let mut members = Map::new();
                for (key, node) in entries {
                    let place = format!("{place}.{}", shown(&key));
                    let value = node.into_value(&place, mistakes);
                    if members.insert(key, value).is_some() {
                        let twice = format!("{place}: stands there twice");
                        mistakes.borrow_mut().push(twice);
                    }
                }
                Value::Object(members)
            }
            Node::List(nodes) => {
                let nodes = nodes.into_iter().enumerate();
                let value = |(index, node): (usize, Node)| {
                    node.into_value(&format!("{place}[{index}]"), mistakes)
                };
                Value::Array(nodes.map(value).collect())
            }
            Node::Text(text) => Value::String(text),
            Node::Number(number) => Value::Number(number),
            Node::Bool(truth) => Value::Bool(truth),
            Node::Null => Value::Null,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Group(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = seq.next_element()? {
                    nodes.push(node);
                }
                Ok(Node::List(nodes))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Number(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                // JSON has neither NaN nor infinity.
                Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
                Ok(Node::Bool(truth))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// An object that is being read. Members are asked for by name; [`close`](Self::close) says which were not. `null` is
/// as good as absent.
pub(super) struct Object<'v> {
    place: String,
    members: &'v Map<String, Value>,
    asked: RefCell<Vec<&'static str>>,
    mistakes: &'v RefCell<Vec<String>>,
}

impl<'v> Object<'v> {
    /// Reads `value`; that it is no object is a mistake.
    pub(super) fn of(
        value: &'v Value,
        place: String,
        mistakes: &'v RefCell<Vec<String>>,
    ) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Object {
                place,
                members,
                asked: RefCell::default(),
                mistakes,
            }),
            other => {
                let error = format!("{place}: is {}, must be an object", kind_of(other));
                mistakes.borrow_mut().push(error);
                None
            }
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The place of a member.
    pub(super) fn place_of(&self, key: &str) -> String {
        format!("{}.{}", self.place, shown(key))
    }

    /// Something is wrong with a member.
    pub(super) fn mistake(&self, key: &str, what: impl fmt::Display) {
        let error = format!("{}: {what}", self.place_of(key));
        self.mistakes.borrow_mut().push(error);
    }

    /// Something is wrong with the object.
    pub(super) fn mistaken(&self, what: impl fmt::Display) {
        let error = format!("{}: {what}", self.place);
        self.mistakes.borrow_mut().push(error);
    }

    pub(super) fn value(&self, key: &'static str) -> Option<&'v Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        #[cfg(test)]
        record(&self.place, key);
        self.members.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn text(&self, key: &'static str) -> Option<&'v str> {
        match self.value(key)? {
            Value::String(text) => Some(text),
            other => {
                self.mistake(key, format_args!("is {}, must be a string", kind_of(other)));
                None
            }
        }
    }

    /// A text that means something.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        self.parsed_as(key, parse, shown)
    }

    /// The same for a URL, which may hold a password.
    pub(super) fn parsed_url<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        self.parsed_as(key, parse, |url| shown(&values::redacted_url(url)))
    }

    /// A URL that must be there.
    pub(super) fn required_url<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        if !self.has(key) {
            self.mistake(key, "is missing");
        }
        self.parsed_url(key, parse)
    }

    fn parsed_as<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
        show: impl Fn(&str) -> String,
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.mistake(key, format_args!("'{}' {reason}", show(text)));
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        if !self.has(key) {
            self.mistake(key, "is missing");
        }
        self.parsed(key, parse)
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(truth) => Some(*truth),
            other => {
                let what = format_args!("is {}, must be true or false", kind_of(other));
                self.mistake(key, what);
                None
            }
        }
    }

    /// A number between two bounds.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = self.value(key)?;
        let number = value.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let what = format!("{value} is not a number from {least} to {most}");
            self.mistake(key, what);
        }
        number
    }

    /// A whole number between two bounds.
    pub(super) fn integer(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = self.value(key)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let what = format!("{value} is not a whole number from {least} to {most}");
            self.mistake(key, what);
        }
        number
    }

    pub(super) fn object(&self, key: &'static str) -> Option<Object<'v>> {
        Object::of(self.value(key)?, self.place_of(key), self.mistakes)
    }

    /// An entry as an object.
    pub(super) fn entry(&self, key: &str, name: &str, value: &'v Value) -> Option<Object<'v>> {
        let place = format!("{}.{}", self.place_of(key), shown(name));
        Object::of(value, place, self.mistakes)
    }

    /// The objects of an array; none at all is an empty one.
    pub(super) fn objects(&self, key: &'static str) -> Vec<Object<'v>> {
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
            let place = format!("{}[{index}]", self.place_of(key));
            Object::of(value, place, self.mistakes)
        });
        objects.collect()
    }

    /// The members of an object whose keys are the user's words.
    pub(super) fn entries(&self, key: &'static str) -> Vec<(&'v str, &'v Value)> {
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

    /// Those entries whose values are texts that mean something.
    pub(super) fn parsed_entries<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<(Box<str>, T)> {
        let mut parsed = Vec::new();
        for (name, value) in self.entries(key) {
            let place = format!("{key}.{name}");
            match value.as_str().map(|text| (text, parse(text))) {
                Some((_, Ok(value))) => parsed.push((name.into(), value)),
                Some((text, Err(reason))) => {
                    self.mistake(&place, format_args!("'{}' {reason}", shown(text)));
                }
                None => {
                    let what = format_args!("is {}, must be a string", kind_of(value));
                    self.mistake(&place, what);
                }
            }
        }
        parsed
    }

    /// A JSON Pointer.
    pub(super) fn pointer(&self, key: &'static str) -> Option<Pointer> {
        match Pointer::parse(self.text(key)?) {
            Ok(pointer) => Some(pointer),
            Err(what) => {
                self.mistake(key, what);
                None
            }
        }
    }

    /// A JSON Pointer, or several in order of preference.
    pub(super) fn pointers(&self, key: &'static str) -> Vec<Pointer> {
        match self.value(key) {
            None => Vec::new(),
            Some(value) => self.pointers_in(key, value),
        }
    }

    /// The same, of an entry.
    pub(super) fn pointers_in(&self, key: &str, value: &Value) -> Vec<Pointer> {
        let texts = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        let mut pointers = Vec::new();
        for text in texts {
            match text.as_str().map(Pointer::parse) {
                Some(Ok(pointer)) => pointers.push(pointer),
                Some(Err(what)) => self.mistake(key, what),
                None => {
                    let what = "must be a JSON Pointer, or an array of them";
                    self.mistake(key, what);
                }
            }
        }
        pointers
    }

    /// Texts in an array, or one alone.
    pub(super) fn texts<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Vec<T> {
        let values = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let mut texts = Vec::new();
        for value in values {
            match value.as_str().map(|text| (text, parse(text))) {
                Some((_, Ok(value))) => texts.push(value),
                Some((text, Err(reason))) => {
                    self.mistake(key, format_args!("'{}' {reason}", shown(text)));
                }
                None => self.mistake(key, "must be a string, or an array of them"),
            }
        }
        texts
    }

    /// Says which members nobody asked for.
    pub(super) fn close(self) {
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
pub(super) fn merge(value: &mut Value, over: Value) {
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

#[cfg(test)]
thread_local! {
    /// Every key that was asked for on this thread, behind the place of its object.
    pub(super) static ASKED: RefCell<std::collections::BTreeSet<(String, &'static str)>> = RefCell::default();
}

#[cfg(test)]
fn record(place: &str, key: &'static str) {
    ASKED.with_borrow_mut(|asked| asked.insert((place.to_owned(), key)));
}
