//! One answer with a list of runs, read as it arrives: each run is built on its own, and of a run only what counts.
//!
//! Pure: no I/O but the reader that it is given.

use super::document::{Build, BuildRoom, Json};
use crate::syntax::mend::Mending;
use crate::syntax::pointer::Pointer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;

/// Tokens of a pointer.
type Tokens = Box<[Box<str>]>;

/// What is read of a list.
#[derive(Debug)]
pub(super) struct ListPaths {
    /// To the array of runs.
    runs: Tokens,
    /// In a run.
    of_run: Vec<Tokens>,
    /// In the whole answer.
    of_page: Vec<Tokens>,
}

/// What an answer holds beside its runs.
pub(super) struct ListPage {
    /// What the paths of a page lead to.
    pub(super) json: Json,
    /// How many runs there were. `None`: what stands in their place is no array.
    pub(super) runs: Option<usize>,
}

impl ListPaths {
    pub(super) fn new<'a>(
        runs: &Pointer,
        of_run: impl Iterator<Item = &'a Pointer>,
        of_page: impl Iterator<Item = &'a Pointer>,
    ) -> Self {
        ListPaths {
            runs: path(runs),
            of_run: of_run.map(path).collect(),
            of_page: of_page.map(path).collect(),
        }
    }

    /// Reads an answer, and hands over each run.
    ///
    /// # Errors
    /// It is not JSON, or the reader fails.
    pub(super) fn read(
        &self,
        bytes: impl io::Read,
        each: &mut dyn FnMut(&Json),
    ) -> serde_json::Result<ListPage> {
        let found = RunsFound {
            of_run: self.of_run.iter().map(|path| &**path).collect(),
            each: RefCell::new(each),
            runs: Cell::new(Some(0)),
        };
        let walk = Walk {
            runs: Some(&*self.runs),
            along: self.of_page.iter().map(|path| &**path).collect(),
            found: Some(&found),
            room: &BuildRoom::default(),
        };
        let mut json = serde_json::Deserializer::from_reader(Mending::buffered(bytes));
        let page = walk.deserialize(&mut json)?;
        json.end()?;
        Ok(ListPage {
            json: page,
            runs: found.runs.get(),
        })
    }
}

fn path(pointer: &Pointer) -> Tokens {
    pointer.tokens().map(Into::into).collect()
}

/// What was found of the runs so far.
struct RunsFound<'a> {
    of_run: Vec<&'a [Box<str>]>,
    each: RefCell<&'a mut dyn FnMut(&Json)>,
    runs: Cell<Option<usize>>,
}

/// Builds what the paths lead to, and hands over the runs. What lies beside them stays out: of an array's elements a null
/// is left in each place.
struct Walk<'a> {
    /// What is left of the way to the runs; `None`: they are elsewhere.
    runs: Option<&'a [Box<str>]>,
    /// What is left of the other paths.
    along: Vec<&'a [Box<str>]>,
    found: Option<&'a RunsFound<'a>>,
    room: &'a BuildRoom,
}

impl<'a> Walk<'a> {
    /// What goes on behind this token.
    fn behind(&self, token: &str) -> Option<Walk<'a>> {
        let rest = |path: &'a [Box<str>]| {
            let (first, rest) = path.split_first()?;
            (**first == *token).then_some(rest)
        };
        let runs = self.runs.and_then(rest);
        let along: Vec<_> = self.along.iter().copied().filter_map(rest).collect();
        (runs.is_some() || !along.is_empty()).then_some(Walk {
            runs,
            along,
            ..*self
        })
    }

    /// Something that is neither an array nor an object.
    fn leaf(self, is_null: bool) -> Json {
        self.no_array(is_null);
        if is_null {
            Json::Null
        } else {
            Json::Unreadable
        }
    }

    /// Some APIs write null for a list without runs.
    fn no_array(&self, is_null: bool) {
        if let (Some([]), Some(found), false) = (self.runs, self.found, is_null) {
            found.runs.set(None);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Json, D::Error> {
        if self.runs.is_none() && self.along.iter().any(|path| path.is_empty()) {
            Build::begin(self.room).deserialize(json)
        } else {
            json.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(self.leaf(true))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(self.leaf(false))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(self.leaf(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(self.leaf(false))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(self.leaf(false))
    }

    fn visit_str<E>(self, _: &str) -> Result<Json, E> {
        Ok(self.leaf(false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        if let (Some([]), Some(found)) = (self.runs, self.found) {
            return hand_over_runs(seq, found);
        }
        let mut elements = Vec::new();
        for index in 0_usize.. {
            let element = match self.behind(&index.to_string()) {
                Some(walk) => seq.next_element_seed(walk)?,
                None => seq.next_element::<IgnoredAny>()?.map(|_| Json::Null),
            };
            match element {
                // Without room nothing further along is kept.
                Some(element) if self.room.take(size_of::<Json>()) => elements.push(element),
                Some(_) => {}
                None => break,
            }
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        self.no_array(false);
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.behind(&key) {
                Some(walk) => entries.push((key.into(), map.next_value_seed(walk)?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Json::Object(entries))
    }
}

fn hand_over_runs<'de, A: SeqAccess<'de>>(
    mut seq: A,
    found: &RunsFound<'_>,
) -> Result<Json, A::Error> {
    loop {
        let walk = Walk {
            runs: None,
            along: found.of_run.clone(),
            found: None,
            room: &BuildRoom::default(),
        };
        let Some(run) = seq.next_element_seed(walk)? else {
            return Ok(Json::Null);
        };
        (found.each.borrow_mut())(&run);
        found.runs.set(found.runs.get().map(|count| count + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let pointer = |text: &str| Pointer::parse(text).unwrap();
        let of_run = [pointer("/id"), pointer("/tags/1")];
        let of_page = [pointer("/total"), pointer("/meta/next")];
        let paths = ListPaths::new(&pointer("/meta/runs"), of_run.iter(), of_page.iter());
        let mut runs = Vec::new();
        let page = paths.read(text.as_bytes(), &mut |run| runs.push(run.clone()));
        match page {
            Ok(ListPage { json, runs: count }) => format!("{runs:?}\n{count:?} {json:?}"),
            Err(error) => format!("{error}"),
        }
    }

    #[test]
    fn of_a_list_only_what_is_pointed_to_is_built() {
        let text = r#"{"total": 2, "big": [[[]]], "meta": {"x": 1, "runs": [
            {"x": {"id": 7}, "id": "a", "tags": ["b", {"c": 1}, "d"]}, 5, {"id": null}], "next": "n"}}"#;
        expect_test::expect![[r#"
            [Object([("id", Text("a")), ("tags", Array([Null, Object([("c", Number(Number(1)))]), Null]))]), Unreadable, Object([("id", Null)])]
            Some(3) Object([("total", Number(Number(2))), ("meta", Object([("runs", Null), ("next", Text("n"))]))])"#]]
        .assert_eq(&read(text));
        assert!(read("{} {}").starts_with("trailing"));
        assert!(read(r#"{"meta": {"runs": [{"id": }]}}"#).starts_with("expected value"));
        for (nothing, count) in [
            ("[1, {}]", "Some(0)"),
            (r#"{"meta": {"runs": null}}"#, "Some(0)"),
            ("7", "Some(0)"),
        ] {
            assert!(read(nothing).contains(count), "{nothing}");
        }
        for no_array in ["{}", "7", "\"x\"", "true"] {
            let text = format!(r#"{{"meta": {{"runs": {no_array}}}}}"#);
            assert!(read(&text).contains("\nNone "), "{no_array}");
        }
        let deep = format!(r#"{{"total": {}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(read(&deep).contains("Unreadable"));
    }
}
