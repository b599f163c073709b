//! Answers that refuse: which of them mean that there is no such workflow, and which successful ones hold an error.
//!
//! Pure: no I/O.

use super::definition::Pointers;
use farspan_core::limits::cut;
use farspan_syntax::pointer::Pointer;
use serde_json::Value;

/// How one API refuses, beside the statuses of HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusals {
    /// The status of a refusal that means "not found" beside 404. `None`: a successful answer may mean it.
    pub not_found_status: Option<u16>,
    /// The values that such a body has, each at its pointer; `null` is null. Empty: any body.
    pub not_found: Vec<(Pointer, Vec<Box<str>>)>,
    /// Where a successful answer has an error. Null, `false`, an empty text, array or object is none.
    pub error: Pointers,
}

/// The most of a refusal that is shown, in bytes.
const WORDS_BYTES_MAX: usize = 160;
/// The members that have the text of a refusal, the most telling one first.
const TELLING: [&str; 9] = [
    "error_description",
    "message",
    "detail",
    "reason",
    "title",
    "error",
    "errors",
    "msg",
    "status",
];

impl Refusals {
    /// Whether this is the answer about a workflow that there is not.
    pub fn is_not_found(&self, status: u16, body: &[u8]) -> bool {
        let is_success = (200..300).contains(&status);
        match self.not_found_status {
            Some(wanted) if wanted != status => return false,
            None if !is_success || self.not_found.is_empty() => return false,
            _ => {}
        }
        if self.not_found.is_empty() {
            return true;
        }
        let json: Option<Value> = serde_json::from_slice(body).ok();
        json.is_some_and(|json| {
            self.not_found.iter().all(|(pointer, wanted)| {
                let found = json.pointer(&pointer.to_string()).and_then(scalar);
                found.is_some_and(|found| wanted.iter().any(|wanted| **wanted == *found))
            })
        })
    }

    /// The error in a successful answer.
    pub fn error(&self, body: &[u8]) -> Option<String> {
        if self.error.is_empty() {
            return None;
        }
        let json: Value = serde_json::from_slice(body).ok()?;
        let mut found = self
            .error
            .iter()
            .filter_map(|at| json.pointer(&at.to_string()));
        let error = found.find(|value| !is_none(value))?;
        Some(telling(error).unwrap_or_else(|| cleaned(&error.to_string())))
    }

    /// Whether a successful answer may refuse.
    pub fn looks_into_answers(&self) -> bool {
        !self.error.is_empty() || (self.not_found_status.is_none() && !self.not_found.is_empty())
    }
}

/// What a refusal says, on one line and cut. Empty: nothing.
pub fn words_of(body: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return telling(&json).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('<') {
        return cleaned(&without_tags(&text));
    }
    cleaned(&text)
}

/// The most telling text in a value.
fn telling(json: &Value) -> Option<String> {
    let text = match json {
        Value::String(text) => cleaned(text),
        Value::Array(elements) => return elements.iter().find_map(telling),
        Value::Object(members) => {
            let mut told = TELLING.iter().filter_map(|key| members.get(*key));
            return told.find_map(telling);
        }
        _ => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

/// On one line, without control characters, cut.
fn cleaned(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control(), " ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    let short = cut(&text, WORDS_BYTES_MAX);
    if short.len() < text.len() {
        format!("{short}…")
    } else {
        text
    }
}

fn without_tags(html: &str) -> String {
    // What is before the body is for machines, but for the title.
    let mut text = String::new();
    for piece in html.split('<').skip(1) {
        let (tag, after) = piece.split_once('>').unwrap_or((piece, ""));
        if !tag.starts_with("style") && !tag.starts_with("script") {
            text.push_str(after);
            text.push(' ');
        }
    }
    text
}

fn is_none(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        value => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    #[test]
    fn not_found_by_status_by_body_and_by_both() {
        let at = |text: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).into()).collect();
            vec![(pointer(text), values)]
        };
        let databricks = Refusals {
            not_found_status: Some(400),
            not_found: at("/error_code", &["INVALID_PARAMETER_VALUE"]),
            ..Refusals::default()
        };
        let code =
            br#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "Run 1 does not exist."}"#;
        assert!(databricks.is_not_found(400, code));
        assert!(!databricks.is_not_found(400, br#"{"error_code": "QUOTA"}"#));
        assert!(!databricks.is_not_found(400, b"<html>"));
        assert!(!databricks.is_not_found(500, code) && !databricks.is_not_found(200, code));
        assert!(!databricks.looks_into_answers());
        let gone = Refusals {
            not_found_status: Some(410),
            ..Refusals::default()
        };
        assert!(gone.is_not_found(410, b"") && !gone.is_not_found(200, b""));
        let graphql = Refusals {
            not_found: at("/data/run", &["null"]),
            ..Refusals::default()
        };
        assert!(graphql.is_not_found(200, br#"{"data": {"run": null}}"#));
        assert!(!graphql.is_not_found(200, br#"{"data": {"run": {"state": 1}}}"#));
        assert!(!graphql.is_not_found(200, br#"{"data": null}"#));
        assert!(!graphql.is_not_found(500, br#"{"data": {"run": null}}"#));
        assert!(graphql.looks_into_answers());
        assert!(!Refusals::default().is_not_found(200, b"{}"));
    }

    #[test]
    fn an_error_in_a_successful_answer_has_its_text() {
        let refusals = Refusals {
            error: vec![pointer("/errors"), pointer("/ok")],
            ..Refusals::default()
        };
        for (body, error) in [
            (
                r#"{"errors": [{"path": [1], "message": "no\n  access"}]}"#,
                Some("no access"),
            ),
            (r#"{"errors": {"code": 7}}"#, Some(r#"{"code":7}"#)),
            (r#"{"errors": [], "ok": "x"}"#, Some("x")),
            (r#"{"errors": null, "ok": false}"#, None),
            (r#"{"errors": "", "ok": {}}"#, None),
            ("[]", None),
        ] {
            assert_eq!(refusals.error(body.as_bytes()).as_deref(), error, "{body}");
        }
        assert_eq!(Refusals::default().error(br#"{"errors": [1]}"#), None);
    }

    #[test]
    fn the_words_of_a_refusal_are_on_one_line_and_cut() {
        for (body, words) in [
            (&b""[..], ""),
            (b"{}", ""),
            (b"  Run 7\r\n\tis\x1b[2J gone ", "Run 7 is [2J gone"),
            (
                br#"{"error": "invalid_client", "error_description": "bad secret"}"#,
                "bad secret",
            ),
            (br#"{"error": {"code": 5, "message": "quota"}}"#, "quota"),
            (br#"{"errors": [{"detail": "a"}, "b"]}"#, "a"),
            (br#"["x"]"#, "x"),
            (
                b"<html><style>a{}</style><title>502 Bad</title><body><h1>Gateway</h1>",
                "502 Bad Gateway",
            ),
            (b"\xff", "\u{fffd}"),
        ] {
            assert_eq!(words_of(body), words);
        }
        let long = words_of("ü".repeat(1000).as_bytes());
        assert_eq!(long.chars().count(), WORDS_BYTES_MAX / 2 + 1);
    }
}
