//! serde's visitors: they walk the nodes of the plan as the body is read.

use super::super::plan::{ListId, NodeId, PlanNode};
use super::oddities::SeenKeys;
use super::scratch::Scalar;
use super::{JsonKind, Reader, rounded};
use farspan_syntax::mend::{mended, mended_text};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::fmt;

/// Reads a value at a node of the plan.
pub(super) struct ValueVisitor<'r, 'p> {
    pub(super) reader: &'r mut Reader<'p>,
    pub(super) node: NodeId,
}

impl<'p> ValueVisitor<'_, 'p> {
    fn at(&self) -> &'p PlanNode {
        &self.reader.plan.nodes[self.node as usize]
    }

    fn scalar<E: de::Error>(self, value: Scalar<'_>) -> Result<JsonKind, E> {
        let at = self.at();
        self.reader.scalar(at, value).map_err(E::custom)?;
        Ok(match value {
            Scalar::Null => JsonKind::Null,
            _ => JsonKind::Scalar,
        })
    }
}

impl ValueVisitor<'_, '_> {
    /// Reads a value as it is written, where no pointer leads further.
    fn written<E: de::Error>(self, json: &str) -> Result<JsonKind, E> {
        let at = self.at();
        match json.as_bytes() {
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => {
                self.visit_str(&json[1..json.len() - 1])
            }
            [b'"', ..] => self.mended(json),
            [b'{', ..] => {
                self.reader.inner(at);
                let odd = self.reader.not_single(at, "an object", "");
                odd.map_err(E::custom)?;
                Ok(JsonKind::Object)
            }
            [b'[', ..] => {
                self.reader.inner(at);
                let odd = self.reader.not_single(at, "an array", "");
                odd.map_err(E::custom)?;
                Ok(JsonKind::Array)
            }
            b"null" => self.scalar(Scalar::Null),
            b"true" | b"false" => self.scalar(Scalar::Bool(json == "true")),
            _ => match (json.parse(), rounded(json)) {
                (Ok(whole), _) => self.scalar(Scalar::Int(whole)),
                (Err(_), Some(_)) => self.scalar(Scalar::Decimal(json)),
                (Err(_), None) => self.mended(json),
            },
        }
    }

    /// A text with escapes, or what has to be mended to be one.
    fn mended<E: de::Error>(self, json: &str) -> Result<JsonKind, E> {
        match serde_json::from_slice::<String>(&mended(json.as_bytes())) {
            Ok(text) => self.visit_str(&text),
            Err(_) => self.visit_str(json),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueVisitor<'_, '_> {
    type Value = JsonKind;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<JsonKind, D::Error> {
        if !self.at().is_exact {
            return json.deserialize_any(self);
        }
        let written = Box::<RawValue>::deserialize(json)?;
        self.written(written.get())
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_, '_> {
    type Value = JsonKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<JsonKind, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<JsonKind, E> {
        self.scalar(Scalar::Bool(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<JsonKind, E> {
        self.scalar(Scalar::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<JsonKind, E> {
        let whole = i64::try_from(number).map(Scalar::Int);
        self.scalar(whole.unwrap_or(Scalar::Large(number)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<JsonKind, E> {
        self.scalar(Scalar::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonKind, E> {
        match mended_text(text) {
            None => self.scalar(Scalar::Text(text)),
            Some(mended) => {
                let at = self.at();
                self.reader.note_mended(at, &mended);
                match &*mended {
                    "" => self.scalar(Scalar::Null),
                    mended => self.scalar(Scalar::Text(mended)),
                }
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<JsonKind, A::Error> {
        let at = self.at();
        let Self { reader, .. } = self;
        let is_odd = reader.inner(at);
        let mut count = 0;
        for index in 0.. {
            let member = at.members.iter().find(|m| m.index == Some(index));
            let descent = Descent::of(at, member.map(|m| m.to), reader);
            let is_there = match descent {
                Descent::Skip => seq.next_element::<IgnoredAny>()?.is_some(),
                Descent::Into(node) => seq
                    .next_element_seed(ElementVisitor {
                        reader,
                        lists: &at.lists,
                        node,
                        is_keyed: false,
                    })?
                    .is_some(),
            };
            if !is_there {
                count = index;
                break;
            }
            reader.count(at, matches!(descent, Descent::Skip));
        }
        if is_odd {
            let hint = match count {
                0 => String::new(),
                _ => format!("; is {}/0 meant?", at.pointer),
            };
            let odd = reader.not_single(at, "an array", &hint);
            odd.map_err(de::Error::custom)?;
        }
        Ok(JsonKind::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonKind, A::Error> {
        let at = self.at();
        let Self { reader, node } = self;
        let is_odd = reader.inner(at);
        let mut there = SeenKeys::default();
        loop {
            let is_noted = reader.notes_keys_of(node);
            let is_copied = is_noted || is_odd || !at.lists.is_empty();
            let key = KeyVisitor {
                at,
                copy: is_copied.then_some(&mut reader.key),
            };
            let Some(member) = map.next_key_seed(key)? else {
                break;
            };
            if is_copied {
                reader.mend_key(at);
            }
            if is_noted {
                reader.there.note(&reader.key, node);
            }
            if is_odd {
                there.note(&reader.key, node);
            }
            let descent = Descent::of(at, member, reader);
            match descent {
                Descent::Skip => drop(map.next_value::<IgnoredAny>()?),
                Descent::Into(node) => map.next_value_seed(ElementVisitor {
                    reader,
                    lists: &at.lists,
                    node,
                    is_keyed: true,
                })?,
            }
            reader.count(at, matches!(descent, Descent::Skip));
        }
        if is_odd {
            let hint = match there.list() {
                keys if keys.is_empty() => keys,
                keys => format!("; it has {keys}"),
            };
            let odd = reader.not_single(at, "an object", &hint);
            odd.map_err(de::Error::custom)?;
        }
        Ok(JsonKind::Object)
    }
}

/// Whether an element is skipped or read.
#[derive(Clone, Copy)]
enum Descent {
    Skip,
    Into(NodeId),
}

impl Descent {
    fn of(at: &PlanNode, member: Option<NodeId>, reader: &Reader<'_>) -> Descent {
        // Beyond the bound no element is kept.
        let others_count = at.lists.is_empty() || !reader.is_full();
        let other = at.other.filter(|_| others_count);
        member.or(other).map_or(Descent::Skip, Descent::Into)
    }
}

/// Reads an element of an array or an object.
struct ElementVisitor<'r, 'p> {
    reader: &'r mut Reader<'p>,
    /// The lists that it is an element of.
    lists: &'r [ListId],
    node: NodeId,
    /// Whether it has a key in an object.
    is_keyed: bool,
}

impl<'de> DeserializeSeed<'de> for ElementVisitor<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let ElementVisitor { reader, lists, .. } = self;
        let mark = reader.begin(lists, self.is_keyed);
        let visitor = ValueVisitor {
            reader,
            node: self.node,
        };
        let at = visitor.at();
        let was = visitor.deserialize(json)?;
        let ended = reader.end(lists, at, was, mark);
        ended.map_err(de::Error::custom)
    }
}

/// Matches a key with the members of a node.
struct KeyVisitor<'k> {
    at: &'k PlanNode,
    /// Where it is copied to.
    copy: Option<&'k mut String>,
}

impl<'de> DeserializeSeed<'de> for KeyVisitor<'_> {
    type Value = Option<NodeId>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeyVisitor<'_> {
    type Value = Option<NodeId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if let Some(copy) = self.copy {
            copy.clear();
            copy.push_str(key);
        }
        // Most keys that are as long end otherwise, and need not be compared whole.
        let last = key.as_bytes().last();
        let is_key = |other: &str| other.as_bytes().last() == last && other == key;
        let mut members = self.at.members.iter();
        Ok(members.find(|m| is_key(&m.key)).map(|m| m.to))
    }
}
