//! Texts with variables: paths and bodies of requests; and the pattern that takes an id apart.

use crate::syntax::values::Reason;
use crate::text::push_segment;

/// The values of variables, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variables {
    values: Vec<(Box<str>, Box<str>)>,
}

impl Variables {
    /// Sets a variable, also one that is there.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.values.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, old)) => *old = value.into(),
            None => self.values.push((name.into(), value.into())),
        }
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        Some(&*values.find(|(known, _)| **known == *name)?.1)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Variable(Box<str>),
}

/// Splits a text into what is meant as it is and the `{names}` in it. A brace that begins no name is a brace.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        literal.push_str(before);
        let close = from.find('}').filter(|close| is_name(&from[1..*close]));
        let Some(close) = close else {
            literal.push('{');
            rest = &from[1..];
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Variable(from[1..close].into()));
        rest = &from[close + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    pieces
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn names(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Variable(name) => Some(&**name),
        Piece::Literal(_) => None,
    })
}

/// The path and query of a request. What stands for a variable is percent-encoded as one segment, so that no id can
/// leave its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads `/api/v2/dags/{dag_id}/dagRuns?limit=10`.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence that begins with `text`.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        if !text.starts_with('/') {
            return Err("has to begin with a slash".into());
        }
        let pieces = pieces(text);
        for piece in &pieces {
            let Piece::Literal(literal) = piece else {
                continue;
            };
            if let Some(wrong) = literal
                .chars()
                .find(|c| !c.is_ascii_graphic() || matches!(c, '{' | '}' | '#'))
            {
                return Err(format!("has {wrong:?}, which has to be percent-encoded").into());
            }
        }
        Ok(Template { pieces })
    }

    /// The variables in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.pieces)
    }

    /// Appends the text with its variables. `false` where one is missing or empty: an empty segment would ask for
    /// something else.
    #[must_use]
    pub fn render(&self, variables: &Variables, url: &mut String) -> bool {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => url.push_str(literal),
                Piece::Variable(name) => match variables.get(name) {
                    None | Some("") => return false,
                    Some(value) => push_segment(url, value),
                },
            }
        }
        true
    }
}

/// The body of a request: any JSON, with variables in its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyTemplate {
    json: serde_json::Value,
}

impl BodyTemplate {
    /// Of this JSON. `{name}` in a text is a variable; a brace with a space behind it is not (`{ name }`), which is how
    /// GraphQL is written.
    pub fn new(json: serde_json::Value) -> Self {
        BodyTemplate { json }
    }

    /// The variables in it.
    pub fn names(&self) -> Vec<String> {
        fn gather(json: &serde_json::Value, all: &mut Vec<String>) {
            match json {
                serde_json::Value::String(text) => {
                    all.extend(names(&pieces(text)).map(str::to_owned));
                }
                serde_json::Value::Array(elements) => {
                    elements.iter().for_each(|element| gather(element, all));
                }
                serde_json::Value::Object(members) => {
                    members.values().for_each(|member| gather(member, all));
                }
                _ => {}
            }
        }
        let mut all = Vec::new();
        gather(&self.json, &mut all);
        all
    }

    /// The body with its variables. `None` where one is missing.
    pub fn render(&self, variables: &Variables) -> Option<Vec<u8>> {
        fn filled(json: &mut serde_json::Value, variables: &Variables) -> Option<()> {
            match json {
                serde_json::Value::String(text) => {
                    let mut whole = String::with_capacity(text.len());
                    for piece in pieces(text) {
                        whole.push_str(match &piece {
                            Piece::Literal(literal) => literal,
                            Piece::Variable(name) => variables.get(name)?,
                        });
                    }
                    *text = whole;
                    Some(())
                }
                serde_json::Value::Array(elements) => {
                    elements.iter_mut().try_for_each(|e| filled(e, variables))
                }
                serde_json::Value::Object(members) => {
                    members.values_mut().try_for_each(|m| filled(m, variables))
                }
                _ => Some(()),
            }
        }
        let mut json = self.json.clone();
        filled(&mut json, variables)?;
        serde_json::to_vec(&json).ok()
    }
}

/// What a workflow's id is made of: names with literal separators between them. The last one takes the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPattern {
    pieces: Vec<Piece>,
}

impl IdPattern {
    /// Reads `{dag_id}/{dag_run_id}`.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence that begins with `text`.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let pieces = pieces(text);
        let mut known: Vec<&str> = Vec::new();
        for name in names(&pieces) {
            if known.contains(&name) {
                return Err(format!("has {{{name}}} twice").into());
            }
            if name == "id" || name.starts_with("stage.") {
                return Err(format!("has {{{name}}}, which is reserved; use another name").into());
            }
            known.push(name);
        }
        if known.is_empty() {
            return Err("has no part such as {name}".into());
        }
        let adjacent = |two: &[Piece]| matches!(two, [Piece::Variable(_), Piece::Variable(_)]);
        if pieces.windows(2).any(adjacent) {
            return Err("has two parts with nothing between them".into());
        }
        Ok(IdPattern { pieces })
    }

    /// The parts' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.pieces)
    }

    /// Adds an id's parts. `false` where the id does not look like that; no part may be empty.
    #[must_use]
    pub fn take_apart(&self, id: &str, variables: &mut Variables) -> bool {
        let mut rest = id;
        let mut pieces = &self.pieces[..];
        while let Some((piece, after)) = pieces.split_first() {
            pieces = after;
            match piece {
                Piece::Literal(literal) => match rest.strip_prefix(&**literal) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Piece::Variable(name) => {
                    let end = match after {
                        // What ends the id is where it stands last.
                        [Piece::Literal(literal)] => rest.rfind(&**literal),
                        [Piece::Literal(literal), ..] => rest.find(&**literal),
                        _ => Some(rest.len()),
                    };
                    let Some(end) = end.filter(|end| *end > 0) else {
                        return false;
                    };
                    variables.set(name, &rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty()
    }

    /// The id of these parts. `None` where one is missing, or where the whole would come apart otherwise.
    pub fn put_together(&self, parts: &Variables) -> Option<Box<str>> {
        let mut id = String::new();
        for piece in &self.pieces {
            id.push_str(match piece {
                Piece::Literal(literal) => literal,
                Piece::Variable(name) => parts.get(name)?,
            });
        }
        let mut again = Variables::default();
        let is_apart = self.take_apart(&id, &mut again);
        let is_same = |name| again.get(name) == parts.get(name);
        (is_apart && self.names().all(is_same)).then(|| id.into())
    }

    /// An id that looks like that: each part is its own name.
    pub fn example(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) | Piece::Variable(text) => &**text,
        });
        pieces.collect()
    }

    /// The name of the last part: what tells a run from others of its kind.
    pub fn last(&self) -> &str {
        self.names().last().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let mut variables = Variables::default();
        for (name, value) in pairs {
            variables.set(name, value);
        }
        variables
    }

    fn url(template: &str, pairs: &[(&str, &str)]) -> Option<String> {
        let mut url = String::new();
        let template = Template::parse(template).unwrap();
        template.render(&variables(pairs), &mut url).then_some(url)
    }

    #[test]
    fn a_variable_is_one_segment_whatever_it_is() {
        for (id, expected) in [
            ("704c0b60-30b6", "/workflows/704c0b60-30b6?x=704c0b60-30b6"),
            ("../?y#&z", "/workflows/..%2F%3Fy%23%26z?x=..%2F%3Fy%23%26z"),
            (".", "/workflows/%2E?x=%2E"),
            ("..", "/workflows/%2E%2E?x=%2E%2E"),
            ("{id}", "/workflows/%7Bid%7D?x=%7Bid%7D"),
        ] {
            let url = url("/workflows/{id}?x={id}", &[("id", id)]);
            assert_eq!(url.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_path_without_one_of_its_values_is_none() {
        assert_eq!(url("/a/{x}", &[]), None);
        assert_eq!(url("/a/{x}/b", &[("x", "")]), None);
    }

    #[test]
    fn what_cannot_stand_in_a_path_is_told() {
        for text in [
            "",
            "x",
            "http://x/",
            "/a b",
            "/a#b",
            "/{a",
            "/a}",
            "/{a b}",
            "/{}",
            "/ü",
            "/\n",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_body_is_any_json_with_variables_in_its_texts() {
        let body = BodyTemplate::new(serde_json::json!({
            "query": "query($run: ID!) { run(id: $run) { state } }", "variables": {"run": "{id}"},
            "more": [7, null, {"{x}": "{a}-{id}"}],
        }));
        assert_eq!(body.names(), ["a", "id", "id"]);
        let rendered = body.render(&variables(&[("id", "\"{a}"), ("a", "b")]));
        let rendered = String::from_utf8(rendered.unwrap()).unwrap();
        let expected = concat!(
            r#"{"more":[7,null,{"{x}":"b-\"{a}"}],"#,
            r#""query":"query($run: ID!) { run(id: $run) { state } }","variables":{"run":"\"{a}"}}"#
        );
        assert_eq!(rendered, expected);
        assert_eq!(body.render(&variables(&[("id", "7")])), None);
    }

    #[test]
    fn an_id_is_taken_apart_by_what_is_between_its_parts() {
        let parts = |pattern: &str, id: &str| {
            let mut parts = Variables::default();
            let pattern = IdPattern::parse(pattern).unwrap();
            pattern.take_apart(id, &mut parts).then(|| {
                let values: Vec<_> = parts
                    .values
                    .iter()
                    .map(|(n, v)| format!("{n}={v}"))
                    .collect();
                values.join(" ")
            })
        };
        let airflow = "{dag}/{run}";
        assert_eq!(
            parts(airflow, "etl/manual__2026/1").as_deref(),
            Some("dag=etl run=manual__2026/1")
        );
        for id in ["etl", "etl/", "/run", ""] {
            assert_eq!(parts(airflow, id), None, "{id}");
        }
        assert_eq!(
            parts("repo:{o}/{r}#{n}", "repo:a/b#7").as_deref(),
            Some("o=a r=b n=7")
        );
        assert_eq!(parts("repo:{o}", "a"), None);
        assert_eq!(parts("<{x}>", "<a>b>").as_deref(), Some("x=a>b"));
        assert_eq!(parts("<{x}>", "<a>b"), None);
    }

    #[test]
    fn a_pattern_that_cannot_tell_parts_apart_is_told() {
        for text in ["", "x", "{a}{b}", "{a}/{a}", "{id}", "{a}/{stage.key}"] {
            assert!(IdPattern::parse(text).is_err(), "{text}");
        }
    }
}
