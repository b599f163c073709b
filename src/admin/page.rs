//! The live page: one document with its style and its script inside. It asks this endpoint and nothing else.
//!
//! The policy of the document (CSP Level 3) names the hashes of that style and of that script: a browser runs nothing
//! else, even if a text from outside came into the page as HTML.

use super::Route;
use crate::http::server::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// The parts share one scope and no name leaves it.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("page/words.js"),
    include_str!("page/address.js"),
    include_str!("page/feed.js"),
    include_str!("page/axis.js"),
    include_str!("page/rows.js"),
    include_str!("page/runs.js"),
    include_str!("page/overview.js"),
    include_str!("page/waterfall.js"),
    include_str!("page/facts.js"),
    include_str!("page/exports.js"),
    include_str!("page/main.js"),
    "})();\n",
);
/// What the document has in their places.
const STYLE_MARK: &str = "/*style*/";
const SCRIPT_MARK: &str = "/*script*/";

/// `GET /`. It needs no token: the page has no data, and asks for the token itself.
pub fn route() -> Route {
    let policy = policy();
    Route {
        method: "GET",
        path: "/",
        is_open: true,
        handler: Box::new(move |_| {
            Response::new(200, "text/html; charset=utf-8", document())
                .with_header("Content-Security-Policy", policy.clone())
                .with_header("Cross-Origin-Opener-Policy", "same-origin")
                .with_header("Cross-Origin-Resource-Policy", "same-origin")
                .with_header("X-Frame-Options", "DENY")
        }),
    }
}

fn document() -> String {
    let styled = DOCUMENT.replacen(STYLE_MARK, STYLE, 1);
    styled.replacen(SCRIPT_MARK, SCRIPT, 1)
}

fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source(SCRIPT),
        source(STYLE),
    )
}

/// A hash source: `'sha256-...'`.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between the tags is what the policy names, to the byte.
    #[test]
    fn the_policy_has_the_hashes_of_what_is_in_the_page() {
        let document = document();
        let inside = |open: &str, close: &str| {
            let mut parts = document.split(open);
            let inside = parts.nth(1).unwrap().split(close).next().unwrap();
            assert_eq!(parts.next(), None, "one {open} alone");
            inside.to_owned()
        };
        let policy = policy();
        for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
            let inside = inside(open, close);
            assert!(inside.len() > 5_000, "{open} is filled");
            assert!(policy.contains(&source(&inside)), "{open}: {policy}");
        }
    }

    /// What a browser would refuse at run time, or what would let text from outside become HTML.
    #[test]
    fn nothing_in_the_page_goes_round_the_policy() {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "unsafe-",
        ] {
            assert!(!document().contains(word), "{word}");
            assert!(!policy().contains(word), "{word}");
        }
        // A `style` attribute, an event handler as an attribute, or a thing from elsewhere.
        for word in [" style=", " onclick=", " src=", "@import", "url(", "//cdn"] {
            assert!(!document().contains(word), "{word}");
        }
    }
}
