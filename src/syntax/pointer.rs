//! JSON Pointers, RFC 6901.

use super::values::Reason;
use std::fmt;

/// A path into a JSON document: `/builds/0/state`. The empty one is the document itself.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Pointer {
    tokens: Vec<Box<str>>,
}

/// Tokens of one pointer at most: deeper than any real answer.
pub const TOKENS_MAX: usize = 32;

impl Pointer {
    /// Reads a pointer: empty, or `/` before each token, `~1` for a slash in a key and `~0` for a tilde.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence that begins with `text`.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        if text.is_empty() {
            return Ok(Pointer::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err("is not a JSON Pointer: it has to begin with a slash".into());
        };
        let tokens: Vec<_> = rest
            .split('/')
            .map(unescaped)
            .collect::<Option<_>>()
            .ok_or("is not a JSON Pointer: ~ must be followed by 0 (a tilde) or 1 (a slash)")?;
        if tokens.len() > TOKENS_MAX {
            return Err(format!("has more than {TOKENS_MAX} steps").into());
        }
        Ok(Pointer { tokens })
    }

    /// The pointer of these keys and indexes.
    pub fn of(tokens: &[&str]) -> Self {
        let tokens = tokens.iter().map(|token| (*token).into());
        Pointer {
            tokens: tokens.collect(),
        }
    }

    /// The keys and indexes on the way, the outermost first.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|token| &**token)
    }

    /// Whether it leads into what `other` leads to.
    pub fn is_within(&self, other: &Pointer) -> bool {
        self.tokens.len() > other.tokens.len() && self.tokens.starts_with(&other.tokens)
    }

    /// `other` from where this one leads.
    pub fn join(&self, other: &Pointer) -> Pointer {
        let mut tokens = self.tokens.clone();
        tokens.extend_from_slice(&other.tokens);
        Pointer { tokens }
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({self})")
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", escaped(token))?;
        }
        Ok(())
    }
}

/// `token` as a pointer has it: `~` as `~0`, `/` as `~1`.
pub fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// `token` as [`escaped`] had it. `None` where a tilde is followed by anything but 0 or 1.
pub fn unescaped(token: &str) -> Option<Box<str>> {
    let mut parts = token.split('~');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (tilde_or_slash, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => return None,
        };
        whole.push(tilde_or_slash);
        whole.push_str(rest);
    }
    Some(whole.into())
}

/// The array index that a token is, where it is one: digits, and no zero before others.
pub fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0');
    let digits = token.bytes().all(|b| b.is_ascii_digit());
    (plain && digits).then(|| token.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 5 of the RFC.
    #[test]
    fn the_rfcs_own_examples() {
        let document = serde_json::json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        });
        for (text, expected) in [
            ("", document.clone()),
            ("/foo", serde_json::json!(["bar", "baz"])),
            ("/foo/0", "bar".into()),
            ("/", 0.into()),
            ("/a~1b", 1.into()),
            ("/c%d", 2.into()),
            ("/e^f", 3.into()),
            ("/g|h", 4.into()),
            ("/i\\j", 5.into()),
            ("/k\"l", 6.into()),
            ("/ ", 7.into()),
            ("/m~0n", 8.into()),
        ] {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.to_string(), text);
            let mut found = &document;
            for token in pointer.tokens() {
                found = match index(token) {
                    Some(index) if found.is_array() => &found[index],
                    _ => &found[token],
                };
            }
            assert_eq!(*found, expected, "{text}");
        }
    }

    #[test]
    fn tildes_are_read_once() {
        let pointer = Pointer::parse("/~01/~10").unwrap();
        assert_eq!(pointer.tokens().collect::<Vec<_>>(), ["~1", "/0"]);
    }

    #[test]
    fn what_is_no_pointer_is_told() {
        for text in ["state", "state/x", "/a~", "/a~2", "/~/b", "#/a"] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
        assert!(Pointer::parse(&"/a".repeat(TOKENS_MAX + 1)).is_err());
    }

    #[test]
    fn an_index_is_digits_without_a_leading_zero() {
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("10"), Some(10));
        for token in ["", "01", "-", "-1", "+1", "1e0", "99999999999999999999999"] {
            assert_eq!(index(token), None, "{token}");
        }
    }
}
