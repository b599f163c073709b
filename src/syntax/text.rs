//! What is done to texts everywhere: escaping, percent-encoding. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;
use std::fmt::Write as _;

/// U+FEFF in UTF-8. RFC 8259, section 8.1 lets a reader of JSON ignore it, and .NET likes to write it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What `escape_debug` escapes for the sake of Rust's literals alone.
const QUOTES: [char; 3] = ['"', '\'', '\\'];

/// `bytes` without the byte order mark at their front.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// `text` as an error shows it: escaped, and at most 60 characters of it.
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => escape(&text[..end]) + "…",
        None => escape(text),
    }
}

/// `text` as people read it on a terminal, in the log and in errors. What changes how other text looks is escaped:
/// control and format characters (bidirectional overrides among them), line separators, and what is no character.
/// A combining mark stays behind its letter, for many languages are not written without them.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape_into(text, &mut escaped);
    escaped
}

/// As [`escape`], behind what stands there.
pub fn escape_into(text: &str, escaped: &mut String) {
    for piece in text.split_inclusive(QUOTES) {
        let before = piece.strip_suffix(QUOTES).unwrap_or(piece);
        escaped.extend(before.escape_debug());
        escaped.push_str(&piece[before.len()..]);
    }
}

/// JSON in which the same characters are escaped as JSON has it, so that its texts stay the same.
pub fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() && char != '\u{7f}' || char.escape_debug().len() == 1 {
            escaped.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // A String takes everything.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// The words of a name, in lower case: `api` and `key` of `apiKey`, `api_key` and `API-Key`.
pub fn words(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::with_capacity(2 * name.len());
    let mut was_lower = false;
    for character in name.chars() {
        if character.is_uppercase() && was_lower {
            spaced.push(' ');
        }
        was_lower = character.is_lowercase();
        let kept = if character.is_alphanumeric() {
            character
        } else {
            ' '
        };
        spaced.extend(kept.to_lowercase());
    }
    let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    words.into_iter()
}

/// Appends `value` to a URL as one path segment, or as one value of a query or form. All reserved characters are
/// encoded; so are the dots of the segments `.` and `..`, which would change the path.
pub fn push_segment(url: &mut String, value: &str) {
    if matches!(value, "." | "..") {
        url.push_str(&value.replace('.', "%2E"));
    } else {
        url.extend(utf8_percent_encode(value, RESERVED));
    }
}

/// `value` as one path segment, or as one value of a form.
pub fn segment(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    push_segment(&mut encoded, value);
    encoded
}

/// `text` percent-decoded. `None` where a `%` has no two hexadecimal digits behind it, or the result is not UTF-8.
pub fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    let encoded = |rest: &str| rest.as_bytes().get(..2).is_some_and(is_hexadecimal);
    if !text.split('%').skip(1).all(encoded) {
        return None;
    }
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .ok()
}

/// `text` percent-decoded as W3C Baggage asks: a `%` without two hexadecimal digits stands for itself, and bytes that
/// are not UTF-8 become U+FFFD.
pub fn percent_decoded_lossy(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

fn is_hexadecimal(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_needs_two_hexadecimal_digits() {
        for (text, decoded, lossy) in [
            ("a%20b%2Cc", Some("a b,c"), "a b,c"),
            ("%C3%A4", Some("ä"), "ä"),
            ("ä%c3%a4", Some("ää"), "ää"),
            ("%", None, "%"),
            ("%4", None, "%4"),
            ("a%%41", None, "a%A"),
            ("%zz", None, "%zz"),
            ("%+1", None, "%+1"),
            ("%ä", None, "%ä"),
            ("%FF", None, "\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(text).as_deref(), decoded, "{text}");
            assert_eq!(percent_decoded_lossy(text), lossy, "{text}");
        }
    }

    #[test]
    fn what_is_encoded_as_a_segment_is_decoded_again() {
        arbtest::arbtest(|u| {
            let text: &str = u.arbitrary()?;
            let segment = segment(text);
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
            assert!(segment.bytes().all(unreserved), "{segment}");
            assert!(!matches!(&*segment, "." | ".."));
            assert_eq!(percent_decoded(&segment).as_deref(), Some(text));
            let _ = (shown(text), escape(text), percent_decoded(text));
            Ok(())
        })
        .budget_ms(50);
    }

    #[test]
    fn a_text_is_shown_short_and_escaped() {
        assert_eq!(shown("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(shown(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
        let turned = "\u{202e}".repeat(61);
        assert_eq!(shown(&turned), "\\u{202e}".repeat(60) + "…");
    }

    #[test]
    fn what_changes_how_other_text_looks_is_escaped() {
        for (text, escaped, json) in [
            ("ä \" \\ ' 猫 🎉", "ä \" \\ ' 猫 🎉", "ä \" \\ ' 猫 🎉"),
            ("a\u{202e}b", r"a\u{202e}b", r"a\u202eb"),
            (
                "\u{2066}\u{200f}\u{61c}",
                r"\u{2066}\u{200f}\u{61c}",
                r"\u2066\u200f\u061c",
            ),
            (
                "\u{200b}\u{feff}\u{ad}",
                r"\u{200b}\u{feff}\u{ad}",
                r"\u200b\ufeff\u00ad",
            ),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}", r"\u2028\u2029"),
            ("\u{7f}\u{9b}31m", r"\u{7f}\u{9b}31m", r"\u007f\u009b31m"),
            ("\u{e0041}", r"\u{e0041}", r"\udb40\udc41"),
        ] {
            assert_eq!(escape(text), escaped);
            assert_eq!(escape_json(text), json);
        }
        // A mark is escaped only where it would stand on a character that is not of the text.
        assert_eq!(escape("u\u{308}\"\u{308}"), "u\u{308}\"\\u{308}");
        assert_eq!(escape("\r\n\t\0\u{1b}[2J"), r"\r\n\t\0\u{1b}[2J");
    }

    #[test]
    fn json_that_is_escaped_says_the_same() {
        arbtest::arbtest(|u| {
            let text: &str = u.arbitrary()?;
            let json = escape_json(&serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            Ok(())
        })
        .budget_ms(50);
    }
}
