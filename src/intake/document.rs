//! JSON as a start event may hold it: in the order in which it was written, no deeper than what counts in it.
//!
//! Pure: no I/O.

use crate::mapping::definition::Times;
use crate::mapping::time_format::ParsedTime;
use crate::syntax::mend::{Mending, leniently, mended_text, without_marks};
use crate::syntax::pointer::Pointer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::io;

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
            let node = ToDepth(DEPTH_MAX).deserialize(&mut json)?;
            json.end()?;
            Ok(node)
        })
    }

    /// An object of which only these fields are built.
    pub(super) fn parse_fields(
        bytes: &[u8],
        wanted: &dyn Fn(&str) -> bool,
    ) -> serde_json::Result<Json> {
        leniently(bytes, |bytes| {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            let node = OnlyFields(wanted).deserialize(&mut json)?;
            json.end()?;
            Ok(node)
        })
    }

    /// A document of which only what these paths lead to is built, as it arrives.
    pub(super) fn parse_along(
        bytes: impl io::Read,
        paths: &[Box<[PathStep]>],
    ) -> serde_json::Result<Json> {
        let mut json = serde_json::Deserializer::from_reader(Mending::new(bytes));
        let paths = paths.iter().map(|path| &**path).collect();
        let node = Along(paths).deserialize(&mut json)?;
        json.end()?;
        Ok(node)
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
                while let Some(node) = seq.next_element_seed(OnlyFields(self.0))? {
                    all.push(node);
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

/// Builds a value that is at most so deep.
struct ToDepth(u8);

impl<'de> DeserializeSeed<'de> for ToDepth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Json, D::Error> {
        match self.0 {
            0 => json
                .deserialize_ignored_any(IgnoredAny)
                .map(|_| Json::Unreadable),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for ToDepth {
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
        Ok(match mended_text(text) {
            None => Json::Text(text.into()),
            Some(mended) if mended.is_empty() => Json::Unreadable,
            Some(mended) => Json::Mended(mended.into()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(ToDepth(self.0 - 1))? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let key = without_marks(&key).into();
            entries.push((key, map.next_value_seed(ToDepth(self.0 - 1))?));
        }
        Ok(Json::Object(entries))
    }
}

/// One step of a path into a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PathStep {
    /// To the field of this name, or to the element of this number.
    To(Box<str>),
    /// To every element of an array.
    Each,
}

impl PathStep {
    /// Those of a pointer.
    pub(super) fn of(pointer: &Pointer) -> impl Iterator<Item = PathStep> {
        pointer.tokens().map(|token| PathStep::To(token.into()))
    }
}

/// Builds what these paths lead to. What lies beside them stays out: of an array's elements a null is left in each place.
struct Along<'a>(Vec<&'a [PathStep]>);

impl<'a> Along<'a> {
    /// What goes on behind such a step.
    fn behind(&self, is_it: impl Fn(&PathStep) -> bool) -> Option<Along<'a>> {
        let paths = self.0.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            is_it(first).then_some(rest)
        });
        let paths: Vec<_> = paths.collect();
        (!paths.is_empty()).then_some(Along(paths))
    }
}

impl<'de> DeserializeSeed<'de> for Along<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Json, D::Error> {
        if self.0.iter().any(|path| path.is_empty()) {
            ToDepth(DEPTH_MAX).deserialize(json)
        } else {
            json.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Along<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Unreadable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Unreadable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Unreadable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Unreadable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(Json::Unreadable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        loop {
            let index = elements.len().to_string();
            let along = self.behind(|step| match step {
                PathStep::To(token) => **token == *index,
                PathStep::Each => true,
            });
            let element = match along {
                Some(along) => seq.next_element_seed(along)?,
                None => seq.next_element::<IgnoredAny>()?.map(|_| Json::Null),
            };
            match element {
                Some(element) => elements.push(element),
                None => return Ok(Json::Array(elements)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let is_it = |step: &PathStep| matches!(step, PathStep::To(token) if **token == *key);
            match self.behind(is_it) {
                Some(along) => entries.push((key.into(), map.next_value_seed(along)?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Json::Object(entries))
    }
}

/// Builds an object of which only these fields count. What else it holds may be of any depth, and one of them that
/// cannot be read spoils no other.
struct OnlyFields<'a>(&'a dyn Fn(&str) -> bool);

impl<'de> DeserializeSeed<'de> for OnlyFields<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Json, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OnlyFields<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a start event: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if (self.0)(&key) {
                let value = map.next_value::<&RawValue>()?.get();
                let node = Json::parse(value.as_bytes()).unwrap_or(Json::Unreadable);
                entries.push((key.into(), node));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Json::Object(entries))
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
    fn of_a_document_only_what_is_pointed_to_is_built() {
        let path = |steps: &[&str]| -> Box<[PathStep]> {
            let step = |step: &&str| match *step {
                "*" => PathStep::Each,
                token => PathStep::To(token.into()),
            };
            steps.iter().map(step).collect()
        };
        let paths = [
            path(&["runs", "*", "id"]),
            path(&["runs", "*", "tags", "1"]),
            path(&["total"]),
        ];
        let built = |text: &str| format!("{:?}", Json::parse_along(text.as_bytes(), &paths));
        let document = r#"{"total": 2, "big": [[[]]], "runs": [
            {"x": {"id": 7}, "id": "a", "tags": ["b", {"c": 1}, "d"]}, 5, {"id": null}]}"#;
        expect_test::expect![[r#"Ok(Object([("total", Number(Number(2))), ("runs", Array([Object([("id", Text("a")), ("tags", Array([Null, Object([("c", Number(Number(1)))]), Null]))]), Unreadable, Object([("id", Null)])]))]))"#]]
            .assert_eq(&built(document));
        assert!(built("[1, {}]").starts_with("Ok(Array([Null, Null]))"));
        assert!(built(r#"{"runs": [{"id": }]}"#).starts_with("Err("));
        assert!(built(r#"{} {}"#).starts_with("Err("));
        let deep = format!(r#"{{"total": {}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(built(&deep).contains("Unreadable"));
    }

    #[test]
    fn what_is_too_deep_is_skipped() {
        let deep = format!(r#"{{"a": {}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        let node = Json::parse(deep.as_bytes()).unwrap();
        assert!(format!("{node:?}").contains("Unreadable"));
    }
}
