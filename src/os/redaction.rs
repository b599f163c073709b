//! The secrets that this process knows, and texts without them. Whatever farspan prints or logs goes through here.

use crate::os::threads::lock;
use crate::syntax::text::{escape, percent_decoded, segment, words};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Mutex;

static SECRETS: Mutex<Secrets> = Mutex::new(Secrets(VecDeque::new()));

/// Spellings of secrets that are remembered. The oldest one makes room.
const SECRETS_MAX: usize = 4096;
/// A shorter text is in too many others.
const SECRET_BYTES_MIN: usize = 4;
const REDACTED: &str = "(redacted)";

/// From now on no output has this secret, in any of its usual spellings.
pub fn hide(secret: &str) {
    lock(&SECRETS).hide(secret);
}

/// Hides the values of a URL's or a path's query that their names or their looks give away.
pub fn hide_in_query(url: &str) {
    lock(&SECRETS).hide_in_query(url);
}

/// The text without the secrets.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    lock(&SECRETS).removed_from(text)
}

/// Whether what has this name is a secret: `api_key`, `X-Auth-Token`, `clientSecret`.
pub fn is_name_of_secret(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "auth",
        "authorization",
        "apikey",
        "code",
        "cookie",
        "credential",
        "credentials",
        "jwt",
        "key",
        "pass",
        "passwd",
        "password",
        "pwd",
        "sas",
        "secret",
        "session",
        "sig",
        "signature",
        "token",
    ];
    words(name).any(|word| WORDS.contains(&&*word))
}

/// Each spelling of each secret, the oldest first.
struct Secrets(VecDeque<String>);

impl Secrets {
    fn hide(&mut self, secret: &str) {
        if secret.len() < SECRET_BYTES_MIN {
            return;
        }
        let json = serde_json::to_string(secret).unwrap_or_default();
        let decoded = percent_decoded(secret).unwrap_or_default();
        for spelling in [
            secret,
            &segment(secret),
            &escape(secret),
            json.trim_matches('"'),
            &decoded,
        ] {
            let is_known = self.0.iter().any(|known| known == spelling);
            if spelling.len() >= SECRET_BYTES_MIN && !is_known {
                if self.0.len() == SECRETS_MAX {
                    self.0.pop_front();
                }
                self.0.push_back(spelling.to_owned());
            }
        }
    }

    fn hide_in_query(&mut self, url: &str) {
        let Some((_, query)) = url.split_once('?') else {
            return;
        };
        for parameter in query.split(['&', '#']) {
            let (name, value) = parameter.split_once('=').unwrap_or(("", parameter));
            if !value.contains('{') && (is_name_of_secret(name) || looks_random(value)) {
                self.hide(value);
            }
        }
    }

    fn removed_from<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self
            .0
            .iter()
            .filter(|secret| text.contains(secret.as_str()));
        let mut found: Vec<&String> = found.collect();
        // A secret may be a part of another one.
        found.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = Cow::Borrowed(text);
        for secret in found {
            text = text.replace(secret.as_str(), REDACTED).into();
        }
        text
    }
}

/// Long, with letters and digits, and no list or time.
fn looks_random(value: &str) -> bool {
    const BYTES_MIN: usize = 20;
    let is_one_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=%".contains(&byte);
    value.len() >= BYTES_MIN
        && value.bytes().all(is_one_word)
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_hidden_and_the_longest_first() {
        let mut secrets = Secrets(VecDeque::new());
        secrets.hide("redaction-1");
        secrets.hide("redaction-1 \"ü/");
        for (text, expected) in [
            ("redaction-1!", "(redacted)!"),
            ("<redaction-1 \"ü/>", "<(redacted)>"),
            (r#"redaction-1 \"ü/"#, "(redacted)"),
            ("x=redaction-1%20%22%C3%BC%2F&", "x=(redacted)&"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(secrets.removed_from(text), expected, "{text}");
        }
        secrets.hide("abc");
        assert_eq!(secrets.removed_from("abc"), "abc");
    }

    #[test]
    fn a_query_hides_what_looks_secret() {
        for (url, expected) in [
            ("/x?api_key=rdct-2", "/x?api_key=(redacted)"),
            (
                "http://a/x?page=10001&sig=rdct%2D3#f",
                "http://a/x?page=10001&sig=(redacted)#f",
            ),
            ("?x=6fd1c9e0b8a94f5c8a11d2b7", "?x=(redacted)"),
            (
                "?since={since_token}&fields=metadata.name,status.startedAt",
                "?since={since_token}&fields=metadata.name,status.startedAt",
            ),
            (
                "?authToken=rdct-4&order=updated_at",
                "?authToken=(redacted)&order=updated_at",
            ),
            ("/no/query/key=rdct-5", "/no/query/key=rdct-5"),
        ] {
            let mut secrets = Secrets(VecDeque::new());
            secrets.hide_in_query(url);
            assert_eq!(secrets.removed_from(url), expected);
        }
    }
}
