//! "404 Not Found" says that the API does not know the workflow, or that the server does not know the path. The answer's
//! body tells which, for most servers.

use crate::syntax::values::redacted_url;
use crate::text::escape;
use serde::de::IgnoredAny;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says once of an API that its server may not know the path.
#[derive(Debug, Default)]
pub struct PathDoubt {
    is_said: AtomicBool,
}

impl PathDoubt {
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
pub fn doubt(url: &str) -> String {
    format!(
        "{}: HTTP 404, and the answer is neither JSON nor does it name the workflow: so answers a server that does not \
         know the path; has the API's URL the right path (FARSPAN_API_BASE_URL, api.base_url, request.path)?",
        escape(&redacted_url(url))
    )
}

/// Whether this answer is hardly that of an API that has been asked after a workflow which it does not know. Of an empty
/// answer it cannot be told.
pub fn is_doubtful(url: &str, body: &[u8]) -> bool {
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
}
