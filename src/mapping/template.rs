//! Texts with variables: paths and bodies of requests; and the pattern that takes an id apart.

use super::definition::Definition;
use farspan_syntax::text::{percent_decoded_lossy, push_segment};
use farspan_syntax::values::Reason;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::fmt;

/// The values of variables, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variables<'id> {
    /// The variable `id`. Most workflows have no other, so that it alone is not copied.
    id: Option<&'id str>,
    values: Vec<(Cow<'static, str>, Box<str>)>,
}

impl<'id> Variables<'id> {
    /// Sets the variable `id`.
    pub fn set_id(&mut self, id: &'id str) {
        self.id = Some(id);
    }

    /// Sets another variable, also one that is there.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: &str) {
        let name = name.into();
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.values.push((name, value.into())),
        }
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        if name == "id" && self.id.is_some() {
            return self.id;
        }
        let mut values = self.values.iter();
        Some(&*values.find(|(known, _)| *known == name)?.1)
    }

    /// A variable's value in a request.
    fn value(&self, name: &str) -> Result<&str, Unfilled> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Unfilled::NoValue(name.into()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Variable(Box<str>),
}

impl Piece {
    fn begins_query(&self) -> bool {
        matches!(self, Piece::Literal(text) if text.contains('?'))
    }
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

/// The path and query of a request. The value of a variable is percent-encoded as one segment. In the path, a value that
/// could lead to another path is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Whether values in the path may have slashes.
    allows_slashes: bool,
}

/// Why a template has no text for some variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unfilled {
    /// This variable has no value, or an empty one: an empty segment would be another request.
    NoValue(Box<str>),
    /// The value of this variable could lead to another path.
    LeavesPath(Box<str>, LeavesPath),
    /// The value of this variable could change the meaning of the text around it.
    LeavesText(Box<str>),
}

impl fmt::Display for Unfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfilled::NoValue(name) => write!(f, "{{{name}}} has no value"),
            Unfilled::LeavesPath(name, why) => write!(f, "the value of {{{name}}} {why}"),
            Unfilled::LeavesText(name) => write!(f, "the value of {{{name}}} {LEAVES_TEXT}"),
        }
    }
}

const LEAVES_TEXT: &str = "could change the text that it is put into: beside other text it may have letters, digits and -_.~:@+/ only; a text that is the variable alone takes any value";

/// Whether a value means the same inside any text, which may be a query in a language of its own.
fn fits_any_text(value: &str) -> bool {
    let is_harmless = |c: char| c.is_alphanumeric() || "-_.~:@+/".contains(c);
    // Two dashes begin a comment in SQL.
    value.chars().all(is_harmless) && !value.contains("--")
}

/// Why a value could lead to another path, though it is percent-encoded: a proxy may decode it and resolve the segments
/// `.` and `..`, once or several times. RFC 3986 section 6.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeavesPath {
    /// It has a slash or a backslash, and the monitor does not allow slashes.
    Slash,
    /// It has a segment `.` or `..`.
    Dots,
    /// It has a control character.
    Control,
    /// It is percent-encoded more often than `DECODINGS_MAX`.
    Encoded,
}

/// How often a value is decoded to see what it is.
const DECODINGS_MAX: usize = 8;

impl LeavesPath {
    fn of(value: &str, allows_slashes: bool) -> Option<Self> {
        // Nearly all ids are like that, and each poll asks.
        let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if value.bytes().all(is_harmless) {
            return None;
        }
        // A servlet container removes what is behind a semicolon before it resolves dots.
        let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
        let mut value = Cow::Borrowed(value);
        for _ in 0..=DECODINGS_MAX {
            if value.contains(char::is_control) {
                return Some(LeavesPath::Control);
            }
            if !allows_slashes && value.contains(SLASHES) {
                return Some(LeavesPath::Slash);
            }
            if value.split(SLASHES).any(is_dots) {
                return Some(LeavesPath::Dots);
            }
            // It is borrowed where there is nothing to decode.
            let Cow::Owned(decoded) = percent_decoded_lossy(&value) else {
                return None;
            };
            if decoded == *value {
                return None;
            }
            value = Cow::Owned(decoded);
        }
        Some(LeavesPath::Encoded)
    }
}

const SLASHES: [char; 2] = ['/', '\\'];

impl fmt::Display for LeavesPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeavesPath::Slash => {
                "has a slash or a backslash, also percent-encoded; if the API has such ids, set the monitor's \"slashes_in_ids\": true"
            }
            LeavesPath::Dots => "has a path segment . or .., also percent-encoded",
            LeavesPath::Control => "has a control character, also percent-encoded",
            LeavesPath::Encoded => "is percent-encoded several times",
        })
    }
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
        Ok(Template {
            pieces,
            allows_slashes: false,
        })
    }

    /// The same, whose values in the path may have slashes.
    pub fn allow_slashes(self, allows_slashes: bool) -> Self {
        Template {
            allows_slashes,
            ..self
        }
    }

    /// The variables in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.pieces)
    }

    /// The variables in its path, without its query.
    pub(super) fn names_in_path(&self) -> impl Iterator<Item = &str> {
        let mut pieces = self.pieces.iter();
        let query = pieces.position(Piece::begins_query);
        names(&self.pieces[..query.unwrap_or(self.pieces.len())])
    }

    /// The variables in its query that are not the whole value of a parameter.
    fn names_beside_text(&self) -> impl Iterator<Item = &str> {
        let in_path = self.names_in_path().count();
        let variables = (0..self.pieces.len()).filter_map(|place| match &self.pieces[place] {
            Piece::Variable(name) => Some((place, &**name)),
            Piece::Literal(_) => None,
        });
        let in_query = variables.skip(in_path);
        in_query.filter_map(|(place, name)| (!self.is_parameter(place)).then_some(name))
    }

    fn is_parameter(&self, place: usize) -> bool {
        let before = place
            .checked_sub(1)
            .and_then(|before| self.pieces.get(before));
        let begins = matches!(before, Some(Piece::Literal(text)) if text.ends_with('='));
        begins
            && match self.pieces.get(place + 1) {
                None => true,
                Some(Piece::Literal(text)) => text.starts_with('&'),
                Some(Piece::Variable(_)) => false,
            }
    }

    /// Appends the text with its variables.
    ///
    /// # Errors
    /// A variable has no value, or one that cannot stand there.
    pub fn render(&self, variables: &Variables<'_>, url: &mut String) -> Result<(), Unfilled> {
        let mut in_path = true;
        for (place, piece) in self.pieces.iter().enumerate() {
            in_path &= !piece.begins_query();
            let name = match piece {
                Piece::Literal(literal) => {
                    url.push_str(literal);
                    continue;
                }
                Piece::Variable(name) => name,
            };
            let value = variables.value(name)?;
            let leaves = LeavesPath::of(value, self.allows_slashes);
            if let Some(why) = leaves.filter(|_| in_path) {
                return Err(Unfilled::LeavesPath(name.clone(), why));
            }
            if !in_path && !self.is_parameter(place) && !fits_any_text(value) {
                return Err(Unfilled::LeavesText(name.clone()));
            }
            push_segment(url, value);
        }
        Ok(())
    }
}

/// The body of a request: any JSON, with variables in its texts. A text that is one variable takes any value. Beside
/// other text a value is held to `fits_any_text`.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyTemplate {
    json: Json,
}

impl BodyTemplate {
    /// Of this JSON. `{name}` in a text is a variable; a brace with a space behind it is not (`{ name }`).
    pub fn new(json: Json) -> Self {
        BodyTemplate { json }
    }

    /// The variables in it.
    pub fn names(&self) -> Vec<String> {
        self.names_where(|_| true)
    }

    /// The variables in texts that have braces of their own, such as GraphQL.
    pub fn names_in_language(&self) -> Vec<String> {
        let has_braces =
            |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains(['{', '}']));
        self.names_where(|pieces| pieces.iter().any(has_braces))
    }

    fn names_beside_text(&self) -> Vec<String> {
        self.names_where(|pieces| pieces.len() > 1)
    }

    fn names_where(&self, counts: impl Fn(&[Piece]) -> bool) -> Vec<String> {
        let mut all = Vec::new();
        each_text(&self.json, &mut |text| {
            let pieces = pieces(text);
            if counts(&pieces) {
                all.extend(names(&pieces).map(str::to_owned));
            }
        });
        all
    }

    /// The body with its variables.
    ///
    /// # Errors
    /// A variable has no value, or one that cannot stand there.
    pub fn render(&self, variables: &Variables<'_>) -> Result<Json, Unfilled> {
        let mut json = self.json.clone();
        fill(&mut json, variables)?;
        Ok(json)
    }
}

/// Calls `take` with each text in a value, but not with the keys.
pub fn each_text(json: &Json, take: &mut impl FnMut(&str)) {
    match json {
        Json::String(text) => take(text),
        Json::Array(elements) => elements.iter().for_each(|element| each_text(element, take)),
        Json::Object(members) => members.values().for_each(|member| each_text(member, take)),
        _ => {}
    }
}

fn fill(json: &mut Json, variables: &Variables<'_>) -> Result<(), Unfilled> {
    match json {
        Json::String(text) => {
            let pieces = pieces(text);
            text.clear();
            for piece in &pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Variable(name) => {
                        let value = variables.value(name)?;
                        if pieces.len() > 1 && !fits_any_text(value) {
                            return Err(Unfilled::LeavesText(name.clone()));
                        }
                        text.push_str(value);
                    }
                }
            }
            Ok(())
        }
        Json::Array(elements) => elements.iter_mut().try_for_each(|it| fill(it, variables)),
        Json::Object(members) => members.values_mut().try_for_each(|it| fill(it, variables)),
        _ => Ok(()),
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
    pub fn take_apart(&self, id: &str, variables: &mut Variables<'_>) -> bool {
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
                    variables.set(name.to_string(), &rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty()
    }

    /// The id of these parts. `None` where one is missing, or where the whole would come apart otherwise.
    pub fn put_together(&self, parts: &Variables<'_>) -> Option<Box<str>> {
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

/// Which workflow ids a monitor can ask its API about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdRule {
    /// What an id is made of.
    pub pattern: Option<IdPattern>,
    /// The variables that stand in a path.
    in_paths: Vec<Box<str>>,
    /// The variables that stand beside other text, in a query or a body.
    beside_text: Vec<Box<str>>,
    allows_slashes: bool,
}

/// Why a monitor cannot ask its API about an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongId {
    /// It is not made of the parts that the pattern has.
    NotOfParts,
    /// It stands in a path, and could lead to another one.
    LeavesPath(LeavesPath),
    /// It stands beside other text, and could change its meaning.
    LeavesText,
}

impl fmt::Display for WrongId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrongId::NotOfParts => {
                f.write_str("is not made of the parts that the monitor's \"id\" names")
            }
            WrongId::LeavesPath(why) => why.fmt(f),
            WrongId::LeavesText => f.write_str(LEAVES_TEXT),
        }
    }
}

impl IdRule {
    /// The rule for the ids of this definition.
    pub fn of(definition: &Definition) -> Self {
        let named = definition.requests.iter().map(|(_, request)| request);
        let (mut in_paths, mut beside_text) = (Vec::new(), Vec::new());
        for request in [&definition.request].into_iter().chain(named) {
            in_paths.extend(request.path.names_in_path().map(Into::into));
            beside_text.extend(request.path.names_beside_text().map(Into::into));
            let in_body = request
                .body
                .iter()
                .flat_map(BodyTemplate::names_beside_text);
            beside_text.extend(in_body.map(String::into_boxed_str));
        }
        IdRule {
            pattern: definition.id.clone(),
            in_paths,
            beside_text,
            allows_slashes: definition.slashes_in_ids,
        }
    }

    /// The variables that an id brings: itself, and its parts.
    ///
    /// # Errors
    /// No request can be made for this id.
    pub fn variables<'id>(&self, id: &'id str) -> Result<Variables<'id>, WrongId> {
        let mut variables = Variables::default();
        let pattern = self.pattern.as_ref();
        if pattern.is_some_and(|pattern| !pattern.take_apart(id, &mut variables)) {
            return Err(WrongId::NotOfParts);
        }
        variables.set_id(id);
        let mut in_paths = self.in_paths.iter().filter_map(|name| variables.get(name));
        if let Some(why) = in_paths.find_map(|value| LeavesPath::of(value, self.allows_slashes)) {
            return Err(WrongId::LeavesPath(why));
        }
        let mut beside_text = self
            .beside_text
            .iter()
            .filter_map(|name| variables.get(name));
        if !beside_text.all(fits_any_text) {
            return Err(WrongId::LeavesText);
        }
        Ok(variables)
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::Request;
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables<'static> {
        let mut variables = Variables::default();
        for (name, value) in pairs {
            variables.set(name.to_string(), value);
        }
        variables
    }

    fn url(template: &str, pairs: &[(&str, &str)]) -> Option<String> {
        let mut url = String::new();
        let template = Template::parse(template).unwrap();
        template.render(&variables(pairs), &mut url).ok()?;
        Some(url)
    }

    #[test]
    fn a_variable_is_one_segment() {
        for (id, expected) in [
            ("704c0b60-30b6", "/workflows/704c0b60-30b6?x=704c0b60-30b6"),
            ("?y#&z", "/workflows/%3Fy%23%26z?x=%3Fy%23%26z"),
            ("...", "/workflows/...?x=..."),
            ("{id}", "/workflows/%7Bid%7D?x=%7Bid%7D"),
        ] {
            let url = url("/workflows/{id}?x={id}", &[("id", id)]);
            assert_eq!(url.as_deref(), Some(expected));
        }
        let in_query = url("/x?id={id}", &[("id", "a/../b")]);
        assert_eq!(in_query.as_deref(), Some("/x?id=a%2F..%2Fb"));
    }

    /// Each with and without `slashes_in_ids`.
    #[test]
    fn an_id_that_could_lead_to_another_path_is_refused() {
        use LeavesPath::{Control, Dots, Encoded, Slash};
        for (id, by_default, with_slashes) in [
            ("a", None, None),
            ("..a", None, None),
            ("50%", None, None),
            ("50%25", None, None),
            ("a%zz", None, None),
            (".", Some(Dots), Some(Dots)),
            ("..", Some(Dots), Some(Dots)),
            ("..;x", Some(Dots), Some(Dots)),
            ("%2e%2E", Some(Dots), Some(Dots)),
            ("%252e.", Some(Dots), Some(Dots)),
            ("a/b", Some(Slash), None),
            ("a\\b", Some(Slash), None),
            ("group%2Fproject", Some(Slash), None),
            ("%25255C", Some(Slash), None),
            ("../../../admin/delete", Some(Slash), Some(Dots)),
            ("a/./b", Some(Slash), Some(Dots)),
            ("a%2f..", Some(Slash), Some(Dots)),
            ("a\\..\\b", Some(Slash), Some(Dots)),
            ("a\r\nHost: b", Some(Control), Some(Control)),
            ("a%00", Some(Control), Some(Control)),
            ("a%250a", Some(Control), Some(Control)),
            ("%252525252525252525", Some(Encoded), Some(Encoded)),
        ] {
            for (allows, expected) in [(false, by_default), (true, with_slashes)] {
                let template = Template::parse("/x/{id}").unwrap().allow_slashes(allows);
                let rendered = template.render(&variables(&[("id", id)]), &mut String::new());
                let why = expected.map(|why| Unfilled::LeavesPath("id".into(), why));
                assert_eq!(rendered.err(), why, "{id:?} with slashes: {allows}");
            }
        }
    }

    #[test]
    fn ids_are_held_to_the_paths_that_they_stand_in() {
        let rule = |id: Option<&str>, paths: [&str; 2], slashes_in_ids| {
            let request = |path| Request {
                path: Template::parse(path).unwrap(),
                ..Request::default()
            };
            IdRule::of(&Definition {
                id: id.map(|id| IdPattern::parse(id).unwrap()),
                request: request(paths[0]),
                requests: vec![("more".into(), request(paths[1]))],
                slashes_in_ids,
                ..Definition::default()
            })
        };
        let slash = Err(WrongId::LeavesPath(LeavesPath::Slash));
        let told = |rule: &IdRule, id| rule.variables(id).map(|_| ());
        let plain = rule(None, ["/x?id={id}", "/y/{id}?a"], false);
        assert_eq!(told(&plain, "a/b"), slash);
        let in_query = rule(None, ["/x?id={id}", "/y"], false);
        assert_eq!(told(&in_query, "a/../b"), Ok(()));
        // The separator between the parts is in no path, and neither is {run}.
        let parts = rule(Some("{dag}/{run}"), ["/x/{dag}", "/y?run={run}"], false);
        assert_eq!(told(&parts, "etl/a/b"), Ok(()));
        assert_eq!(told(&parts, "..%2fx/b"), slash);
        assert_eq!(told(&parts, "etl"), Err(WrongId::NotOfParts));
        let slashes = rule(Some("{project}#{run}"), ["/x/{project}", "/y"], true);
        assert_eq!(told(&slashes, "group/project#7"), Ok(()));
        let dots = Err(WrongId::LeavesPath(LeavesPath::Dots));
        assert_eq!(told(&slashes, "group/../x#7"), dots);
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
            "more": [7, null, {"{x}": "{a}-{b}"}],
        }));
        assert_eq!(body.names(), ["a", "b", "id"]);
        let pairs = [("id", "\"{a}"), ("a", "b"), ("b", "x/1")];
        let rendered = body.render(&variables(&pairs)).unwrap().to_string();
        let expected = concat!(
            r#"{"more":[7,null,{"{x}":"b-x/1"}],"#,
            r#""query":"query($run: ID!) { run(id: $run) { state } }","variables":{"run":"\"{a}"}}"#
        );
        assert_eq!(rendered, expected);
        let without = |a| body.render(&variables(&[("id", "7"), a])).unwrap_err();
        for pair in [("b", ""), ("a", "")] {
            assert_eq!(without(pair), Unfilled::NoValue("a".into()));
        }
    }

    /// A query in a language of its own ends where a value has its quote, in a body and in a URL.
    #[test]
    fn a_value_does_not_change_the_text_around_it() {
        let body = BodyTemplate::new(serde_json::json!({"sql": "SELECT * WHERE id = '{id}'"}));
        let definition = Definition {
            request: Request {
                path: Template::parse("/q?run={id}&jql=id%20=%20%22{id}%22").unwrap(),
                body: Some(body.clone()),
                ..Request::default()
            },
            ..Definition::default()
        };
        let path = &definition.request.path;
        let rule = IdRule::of(&definition);
        let leaves = Unfilled::LeavesText("id".into());
        for (id, fits) in [
            ("etl:manual__2026-11-20T09:00:00+00:00", true),
            ("größe/7.1~x@y", true),
            ("x' OR 'a'='a", false),
            ("x\") { secret } y(id: \"", false),
            ("x\\", false),
            ("x{y}", false),
            ("x--", false),
            ("a b", false),
            ("\u{202e}", false),
        ] {
            let values = variables(&[("id", id)]);
            let expected = (!fits).then(|| leaves.clone());
            assert_eq!(body.render(&values).err(), expected, "{id}");
            let rendered = path.render(&values, &mut String::new());
            assert_eq!(rendered.err(), expected, "{id}");
            let told = rule.variables(id).err();
            assert_eq!(told, (!fits).then_some(WrongId::LeavesText), "{id}");
        }
        let alone = url("/q?a=1&run={id}&b={id}", &[("id", "x' y")]);
        assert_eq!(alone.as_deref(), Some("/q?a=1&run=x%27%20y&b=x%27%20y"));
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
