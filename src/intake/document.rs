//! JSON as a start event may hold it: in the order in which it was written, no deeper than what counts in it.
//!
//! Pure: no I/O.

use crate::core::limits;
use crate::mapping::definition::Times;
use crate::mapping::time_format::ParsedTime;
use crate::syntax::mend::{leniently, mended_text, without_marks};
use crate::syntax::pointer::Pointer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Box<str>),
    Array(Vec<Json>),
    Object(Vec<(Box<str>, Json)>),
    /// A text, of which U+FFFD stands in the place of what is no character. No id, time or trace context.
    Mended(Box<str>),
    /// What no type can hold: too deep, or too large a number.
    Unreadable,
}

/// Nothing that counts lies deeper, and the parser does not recurse beyond it.
const DEPTH_MAX: u8 = 16;

impl Json {
    /// A value on its own.
    pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<Json> {
        leniently(bytes, |bytes| {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            let built = Build::begin(&BuildRoom::default()).deserialize(&mut json)?;
            json.end()?;
            Ok(built)
        })
    }

    /// An object of which only these fields are built.
    pub(super) fn parse_fields(
        bytes: &[u8],
        wanted: &dyn Fn(&str) -> bool,
    ) -> serde_json::Result<Json> {
        leniently(bytes, |bytes| {
            let mut fields = Vec::new();
            let mut json = serde_json::Deserializer::from_slice(bytes);
            OnlyFields::new(wanted, &mut fields).deserialize(&mut json)?;
            json.end()?;
            Ok(Json::Object(fields))
        })
    }

    /// Those of these fields that an object begins with: its end may be missing.
    pub(super) fn parse_beginning(bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Json {
        let mut fields = Vec::new();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        // It fails where the bytes end, or stop to be JSON.
        let _ = OnlyFields::new(wanted, &mut fields).deserialize(&mut json);
        Json::Object(fields)
    }

    /// An array of such objects.
    #[cfg(feature = "admin")]
    pub(super) fn parse_all(
        bytes: &[u8],
        wanted: &dyn Fn(&str) -> bool,
    ) -> serde_json::Result<Vec<Json>> {
        struct All<'a>(&'a dyn Fn(&str) -> bool);

        impl<'de> Visitor<'de> for All<'_> {
            type Value = Vec<Json>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of start events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Json>, A::Error> {
                let mut all = Vec::new();
                let mut fields = Vec::new();
                while let Some(()) = seq.next_element_seed(OnlyFields::new(self.0, &mut fields))? {
                    all.push(Json::Object(std::mem::take(&mut fields)));
                }
                Ok(all)
            }
        }

        leniently(bytes, |bytes| {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            let all = json.deserialize_seq(All(wanted))?;
            json.end()?;
            Ok(all)
        })
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn time(&self, times: &Times) -> ParsedTime {
        match self {
            Json::Text(text) => times.of_text(text),
            Json::Number(number) => times.of_number(number),
            Json::Null => ParsedTime::Unset,
            Json::Bool(_)
            | Json::Array(_)
            | Json::Object(_)
            | Json::Mended(_)
            | Json::Unreadable => ParsedTime::Nonsense,
        }
    }

    /// As the value of a header: the values of a list are one list.
    pub(super) fn header(&self) -> Option<Cow<'_, str>> {
        match self {
            Json::Text(text) => Some(Cow::Borrowed(text)),
            Json::Number(number) => Some(number.to_string().into()),
            Json::Array(elements) => {
                let texts: Vec<&str> = elements.iter().filter_map(Json::text).collect();
                (!texts.is_empty()).then(|| texts.join(",").into())
            }
            _ => None,
        }
    }

    pub(super) fn entries(&self) -> &[(Box<str>, Json)] {
        match self {
            Json::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The first field of an object that is so and is not null.
    pub(super) fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<&Json> {
        let mut entries = self.entries().iter();
        let found = entries.find(|(key, value)| *value != Json::Null && is_it(key));
        found.map(|(_, value)| value)
    }

    /// The value at a JSON Pointer, if it is not null. <https://www.rfc-editor.org/rfc/rfc6901>
    pub(super) fn at(&self, pointer: &Pointer) -> Option<&Json> {
        let mut node = self;
        for token in pointer.tokens() {
            node = match node {
                Json::Array(elements) => elements.get(token.parse::<usize>().ok()?)?,
                other => other.find(|key| key == token)?,
            };
        }
        (*node != Json::Null).then_some(node)
    }
}

/// How many bytes may still be built.
pub(super) struct BuildRoom(Cell<usize>);

impl Default for BuildRoom {
    fn default() -> Self {
        BuildRoom(Cell::new(limits::BUILT_BYTES_MAX))
    }
}

impl BuildRoom {
    /// Takes so many bytes, if they are there. Returns whether they were.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        self.0.set(left.unwrap_or(self.0.get()));
        left.is_some()
    }
}

/// Builds a value that is at most so deep, as far as there is room.
pub(super) struct Build<'a> {
    depth: u8,
    room: &'a BuildRoom,
}

impl<'a> Build<'a> {
    pub(super) fn begin(room: &'a BuildRoom) -> Self {
        Build {
            depth: DEPTH_MAX,
            room,
        }
    }

    fn deeper(&self) -> Self {
        Build {
            depth: self.depth - 1,
            room: self.room,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Json, D::Error> {
        if self.depth == 0 {
            let ignored = json.deserialize_ignored_any(IgnoredAny);
            return ignored.map(|_| Json::Unreadable);
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        let number = serde_json::Number::from_f64(number);
        Ok(number.map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        if !self.room.take(text.len()) {
            return Ok(Json::Unreadable);
        }
        Ok(match mended_text(text) {
            None => Json::Text(text.into()),
            Some(mended) if mended.is_empty() => Json::Unreadable,
            Some(mended) => Json::Mended(mended.into()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let room = self.room.0.get();
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(self.deeper())? {
            if !self.room.take(size_of::<Json>()) {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                self.room.0.set(room);
                return Ok(Json::Unreadable);
            }
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let room = self.room.0.get();
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let value = map.next_value_seed(self.deeper())?;
            if !self.room.take(size_of::<(Box<str>, Json)>() + key.len()) {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.room.0.set(room);
                return Ok(Json::Unreadable);
            }
            entries.push((without_marks(&key).into(), value));
        }
        Ok(Json::Object(entries))
    }
}

/// Puts those fields of an object into a list that count. What else it holds may be of any depth, and one of them that
/// cannot be read spoils no other.
struct OnlyFields<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    fields: &'a mut Vec<(Box<str>, Json)>,
    room: BuildRoom,
}

impl<'a> OnlyFields<'a> {
    fn new(wanted: &'a dyn Fn(&str) -> bool, fields: &'a mut Vec<(Box<str>, Json)>) -> Self {
        OnlyFields {
            wanted,
            fields,
            room: BuildRoom::default(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for OnlyFields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OnlyFields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a start event: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if (self.wanted)(&key) {
                let value = map.next_value::<&RawValue>()?.get();
                let mut json = serde_json::Deserializer::from_str(value);
                let value = Build::begin(&self.room).deserialize(&mut json);
                let value = value.unwrap_or(Json::Unreadable);
                self.fields.push((key.into(), value));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Undoes base64, standard alphabet, padded or not. <https://www.rfc-editor.org/rfc/rfc4648#section-4>
pub(super) fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let [_, decoded @ ..] = bits.to_be_bytes();
        match group.len() {
            1 => return None,
            count => bytes.extend_from_slice(&decoded[..count - 1]),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64_decoded(encoded).unwrap(), plain.as_bytes());
        }
        assert_eq!(base64_decoded("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        for bad in ["A", "Zm9vY", "Zm9v\n", "Zm=v", "ä"] {
            assert_eq!(base64_decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pointer_finds_what_is_there() {
        let node =
            Json::parse(br#"{"a": [{"b/c": 1}, {"~": "x"}], "n": null, "": {"": 2}}"#).unwrap();
        let at = |pointer: &str| node.at(&Pointer::parse(pointer).unwrap());
        let found = |pointer: &str| at(pointer).map(|node| node.header());
        assert_eq!(found("/a/0/b~1c"), Some(Some("1".into())));
        assert_eq!(found("/a/1/~0"), Some(Some("x".into())));
        assert_eq!(found("//"), Some(Some("2".into())));
        for nothing in ["/n", "/a/2", "/a/x", "/a/0/b", "/a/0/b~1c/d"] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_too_deep_is_skipped() {
        let deep = format!(r#"{{"a": {}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let node = Json::parse(deep.as_bytes()).unwrap();
        assert!(format!("{node:?}").contains("Unreadable"));
    }

    #[test]
    fn what_would_take_too_much_memory_is_left_out_alone() {
        let many = format!(
            "[{}1]",
            "1,".repeat(limits::BUILT_BYTES_MAX / size_of::<Json>())
        );
        let text = format!(r#"{{"a": 1, "big": {many}, "b": {{"c": {many}}}, "d": 2}}"#);
        let built = Json::parse_fields(text.as_bytes(), &|_| true).unwrap();
        expect_test::expect![[r#"Object([("a", Number(Number(1))), ("big", Unreadable), ("b", Object([("c", Unreadable)])), ("d", Number(Number(2)))])"#]]
            .assert_eq(&format!("{built:?}"));
    }
}
