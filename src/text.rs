//! What is done to texts everywhere: cutting, escaping, percent-encoding. Pure.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// U+FEFF in UTF-8. RFC 8259, section 8.1 lets a reader of JSON ignore it, and .NET likes to write it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `bytes` without the byte order mark at their front.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// `text` cut to at most `bytes_max` bytes, at the boundary of a character.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// `text` as an error shows it: at most 60 characters, with control characters escaped.
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown = String::new();
    for (index, char) in text.chars().enumerate() {
        if index == CHARS_MAX {
            shown.push('…');
            break;
        }
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// `text` as a terminal may print it: control and format characters and combining marks are escaped.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => escaped.push(c),
            _ => escaped.extend(c.escape_debug()),
        }
    }
    escaped
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
    fn a_text_is_shown_short_and_without_control_characters() {
        assert_eq!(shown("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(shown(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!((cut("aä", 2), cut("aä", 3), cut("", 3)), ("a", "aä", ""));
    }
}
