//! "404 Not Found" says that the API does not know the workflow, or that the server does not know the path. The answer's
//! body tells which, for most servers. A command that may ask once more compares it with the answer to a path that no API
//! has.

use super::{Api, Asking, Exchange, Tally};
use crate::syntax::text::escape;
use crate::syntax::values::redacted_url;
use serde::de::IgnoredAny;
use std::sync::atomic::{AtomicBool, Ordering};
use ureq::Agent;

/// A segment that no API has in its paths.
const UNKNOWN_SEGMENT: &str = "/farspan-no-such-path";

/// What "404 Not Found" says of the path that was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum PathTold {
    /// The server answers another path in another way, so it knows this one. The other URL.
    Known(String),
    /// The server may not know it: why, and what to do.
    Doubtful(String),
    /// Nothing can be told.
    Nothing,
}

/// Looks at a 404 to a poll, and compares it with the answer to a path that no API has.
pub fn path_told(agent: &Agent, api: &Api, exchange: &Exchange) -> PathTold {
    if exchange.status != Some(404) || exchange.method != "GET" {
        return PathTold::Nothing;
    }
    let url = &exchange.url;
    let unknown = url.strip_prefix(&api.base_url);
    let unknown = unknown.map(|path| format!("{}{UNKNOWN_SEGMENT}{path}", api.base_url));
    let answer = unknown.and_then(|unknown| Some((ask_for(agent, api, &unknown)?, unknown)));
    let by_body = is_doubtful(url, &exchange.body).then(|| doubt(url));
    match answer {
        Some(((404, body), unknown))
            if likeness(&unknown, &body) == likeness(url, &exchange.body) =>
        {
            PathTold::Doubtful(by_body.unwrap_or_else(|| doubt_alike(url, &unknown)))
        }
        Some(((404 | 200..=299, _), unknown)) => PathTold::Known(redacted_url(&unknown)),
        // A server that refuses the credentials there, or is out of order, tells nothing of its paths.
        _ => by_body.map_or(PathTold::Nothing, PathTold::Doubtful),
    }
}

/// The status and the body of an answer, if there is one.
fn ask_for(agent: &Agent, api: &Api, url: &str) -> Option<(u16, Vec<u8>)> {
    let asking = Asking::plain(agent, api);
    let credential = api.credentials.header().ok()?;
    let mut tally = Tally::default();
    let response = asking.send(url, credential.as_ref(), &mut tally).ok()?;
    let status = response.status().as_u16();
    Some((status, tally.refusal(response)))
}

fn doubt_alike(url: &str, unknown: &str) -> String {
    format!(
        "{}: HTTP 404, with the same answer as {}, a path that no API has: either the path is wrong \
         (FARSPAN_API_BASE_URL, api.base_url, request.path), or this API says the same of a workflow that it does not \
         know: farspan probe with the id of a workflow that exists tells",
        escape(&redacted_url(url)),
        escape(&redacted_url(unknown))
    )
}

/// An answer without what differs from request to request: the path, the id, and words with digits such as times.
fn likeness(url: &str, body: &[u8]) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let text = String::from_utf8_lossy(body).replace("\\/", "/");
    let text = if path.is_empty() {
        text
    } else {
        text.replace(path, "")
    };
    let of_word = |c: char| c.is_alphanumeric() || "-_.:+".contains(c);
    let mut alike = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !of_word(c)) {
        let word = piece.trim_end_matches(|c| !of_word(c));
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        alike.push_str(if has_digit { "0" } else { word });
        alike.push_str(&piece[word.len()..]);
    }
    alike
}

/// Says once of an API that its server may not know the path.
#[derive(Debug, Default)]
pub struct PathDoubt {
    is_said: AtomicBool,
}

impl PathDoubt {
    /// Says nothing any more.
    pub fn silence(&self) {
        self.is_said.store(true, Ordering::Relaxed);
    }

    /// Looks at an answer with 404.
    pub(super) fn note(&self, url: &str, body: &[u8]) {
        if !self.is_said.load(Ordering::Relaxed)
            && is_doubtful(url, body)
            && !self.is_said.swap(true, Ordering::Relaxed)
        {
            log::warn!("{}", doubt(url));
        }
    }
}

/// What is doubtful about a path, and what to do.
fn doubt(url: &str) -> String {
    format!(
        "{}: HTTP 404, and the answer is neither JSON nor does it name the workflow: so answers a server that does not \
         know the path; has the API's URL the right path (FARSPAN_API_BASE_URL, api.base_url, request.path)?",
        escape(&redacted_url(url))
    )
}

/// Whether this answer is hardly that of an API that has been asked after a workflow which it does not know. Of an empty
/// answer it cannot be told.
fn is_doubtful(url: &str, body: &[u8]) -> bool {
    let last = url.split(['?', '#']).next().unwrap_or_default();
    let id = last.rsplit('/').next().unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let is_empty = text.trim().is_empty();
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let names_the_workflow = !id.is_empty() && text.contains(id);
    // A page for people may repeat the whole path.
    let is_page = text.trim_start().starts_with('<');
    !is_empty && !is_json && (is_page || !names_the_workflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apis_own_404_is_told_from_that_of_a_server() {
        let url = "http://api.test/base/workflows/run-7?full=1";
        let own = [
            "",
            " \n",
            r#"{"message": "Not Found"}"#,
            "no such app: run-7",
        ];
        for body in own {
            assert!(!is_doubtful(url, body.as_bytes()), "{body}");
        }
        let of_servers = [
            "404 page not found\n",
            "<html><head><title>404 Not Found</title></head></html>",
            "<!DOCTYPE html><pre>Cannot GET /base/workflows/run-7</pre>",
        ];
        for body in of_servers {
            assert!(is_doubtful(url, body.as_bytes()), "{body}");
        }
        assert!(!doubt("http://api.test/a?token=s3cret").contains("s3cret"));
    }

    #[test]
    fn answers_are_alike_but_for_the_path_the_time_and_the_number_of_the_request() {
        let asked = "http://api.test/v1/runs/run-7";
        let unknown = "http://api.test/farspan-no-such-path/v1/runs/run-7";
        let alike = [
            ("", ""),
            (r#"{"detail":"Not Found"}"#, r#"{"detail":"Not Found"}"#),
            (
                r#"{"timestamp":"2026-11-20T09:20:48.043+00:00","status":404,"error":"Not Found","path":"/v1/runs/run-7"}"#,
                r#"{"timestamp":"2026-11-20T09:20:49.51+00:00","status":404,"error":"Not Found","path":"/farspan-no-such-path/v1/runs/run-7"}"#,
            ),
            (
                r#"{"message":"No route: \/v1\/runs\/run-7","trace":"4f1a77be-11d2"}"#,
                r#"{"message":"No route: \/farspan-no-such-path\/v1\/runs\/run-7","trace":"00aae-b9"}"#,
            ),
        ];
        for (one, other) in alike {
            assert_eq!(
                likeness(asked, one.as_bytes()),
                likeness(unknown, other.as_bytes())
            );
        }
        let own = br#"{"error":"no such run","run":"run-7"}"#;
        let of_server = br#"{"error":"Not Found"}"#;
        assert_ne!(likeness(asked, own), likeness(unknown, of_server));
        assert_ne!(likeness(asked, b""), likeness(unknown, of_server));
    }
}
