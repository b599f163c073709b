//! JSON whose values cannot all be decoded, mended: each such value is lost alone, and not the document around it.
//!
//! Mended are half a surrogate pair (`"\ud83d"`, a text that was cut by UTF-16 units), bytes that are not UTF-8, control
//! characters within a text, numbers that no double can hold (`1e400`), `NaN` and `Infinity`. The rest of the document
//! passes as it is, so that what is no JSON is none afterwards.
//!
//! Pure: no I/O of its own.

use serde::de::IgnoredAny;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, BufReader, Read, Write};

/// Stands before what was put in the place of something else. Unicode keeps this code point free for such use.
const MARK: char = '\u{fdd0}';
/// In the place of what is no character.
const NO_CHARACTER: &str = "\u{fdd0}\u{fffd}";
/// In the place of what is no number.
const NO_NUMBER: &str = "\"\u{fdd0}\"";
/// The longest number that is looked at.
const WORD_BYTES_MAX: usize = 1024;
const CHUNK_BYTES: usize = 8 * 1024;
const _: () = assert!(WORD_BYTES_MAX < CHUNK_BYTES);
/// A number of so many digits without an exponent is one that can be held.
const DIGITS_HELD: usize = 300;

/// A document as it arrives, mended. Its texts may have marks: see [`mended_text`].
///
/// What needs no mending goes straight into the buffer of the caller, if that has room for a chunk.
pub struct Mending<R> {
    document: R,
    /// What has arrived and is not mended yet.
    arrived: Vec<u8>,
    has_ended: bool,
    mender: Mender,
    /// What is not read yet of the mended document begins here.
    read: usize,
}

impl<R: Read> Mending<R> {
    /// For a parser, which reads byte by byte.
    pub fn buffered(document: R) -> BufReader<Self> {
        BufReader::with_capacity(CHUNK_BYTES, Self::new(document))
    }

    fn new(document: R) -> Self {
        Mending {
            document,
            arrived: Vec::new(),
            has_ended: false,
            mender: Mender::default(),
            read: 0,
        }
    }

    /// Reads into `buffer` and leaves there what is as it should be. The rest has arrived and is not mended yet.
    fn read_plain(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = self.arrived.len();
        buffer[..begun].copy_from_slice(&self.arrived);
        let more = self.document.read(&mut buffer[begun..])?;
        self.has_ended = more == 0;
        let arrived = &buffer[..begun + more];
        let is_in_text = self.mender.is_in_text;
        let plain = plain_words(arrived);
        let (plain, is_in_text) = match flips_text_if_plain(&arrived[..plain]) {
            Some(flips) => (plain, is_in_text ^ flips),
            None => plain_length(arrived, is_in_text),
        };
        self.mender.is_in_text = is_in_text;
        self.arrived.clear();
        self.arrived.extend_from_slice(&arrived[plain..]);
        Ok(plain)
    }

    fn mend_more(&mut self) -> io::Result<()> {
        let begun = self.arrived.len();
        self.arrived.resize(begun + CHUNK_BYTES, 0);
        let more = self.document.read(&mut self.arrived[begun..]);
        self.arrived
            .truncate(begun + more.as_ref().copied().unwrap_or(0));
        self.has_ended = more? == 0;
        self.mender.mended.clear();
        self.read = 0;
        let taken = self.mender.mend(&self.arrived, self.has_ended);
        self.arrived.drain(..taken);
        Ok(())
    }
}

impl<R: Read> Read for Mending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.mender.mended.len() && !(self.has_ended && self.arrived.is_empty())
        {
            if self.arrived.len() < WORD_BYTES_MAX && buffer.len() >= CHUNK_BYTES {
                let plain = self.read_plain(buffer)?;
                if plain > 0 {
                    return Ok(plain);
                }
            }
            self.mend_more()?;
        }
        let mended = &self.mender.mended[self.read..];
        let count = mended.len().min(buffer.len());
        buffer[..count].copy_from_slice(&mended[..count]);
        self.read += count;
        Ok(count)
    }
}

/// A whole document, mended. Its texts may have marks: see [`mended_text`].
pub fn mended(document: &[u8]) -> Vec<u8> {
    let mut mender = Mender::default();
    mender.mend(document, true);
    mender.mended
}

/// A text of a mended document without its marks, which is empty in the place of a number. `None`: the text is as it
/// was.
pub fn mended_text(text: &str) -> Option<String> {
    text.contains(MARK).then(|| text.replace(MARK, ""))
}

/// As [`mended_text`], where it does not matter whether the text was mended.
pub fn without_marks(text: &str) -> Cow<'_, str> {
    mended_text(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The value that a document is, mended where that is needed: a number that cannot be held is null.
pub fn value_of(document: &[u8]) -> serde_json::Result<Value> {
    fn unmark(value: &mut Value) {
        match value {
            Value::String(text) => match mended_text(text) {
                Some(mended) if mended.is_empty() => *value = Value::Null,
                Some(mended) => *text = mended,
                None => {}
            },
            Value::Array(elements) => elements.iter_mut().for_each(unmark),
            Value::Object(members) => {
                let unmarked = std::mem::take(members).into_iter().map(|(key, mut value)| {
                    unmark(&mut value);
                    (without_marks(&key).into_owned(), value)
                });
                *members = unmarked.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    leniently(document, |document| {
        let mut value = serde_json::from_slice(document)?;
        unmark(&mut value);
        Ok(value)
    })
}

/// What `read` makes of a document as it is, else of the mended one.
pub fn leniently<T>(
    document: &[u8],
    read: impl Fn(&[u8]) -> serde_json::Result<T>,
) -> serde_json::Result<T> {
    match read(document) {
        Err(error) if error.is_syntax() => read(&mended(document)),
        read => read,
    }
}

/// Mends a document part by part.
#[derive(Default)]
struct Mender {
    is_in_text: bool,
    mended: Vec<u8>,
}

impl Mender {
    /// Mends what it can of `bytes`, and says how many these were. All of them, if they are the last.
    fn mend(&mut self, bytes: &[u8], are_last: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let (plain, is_in_text) = plain_length(&bytes[at..], self.is_in_text);
            at += self.put(&bytes[at..at + plain]);
            self.is_in_text = is_in_text;
            if at == bytes.len() {
                break;
            }
            let taken = if self.is_in_text {
                self.mend_text(&bytes[at..], are_last)
            } else {
                self.mend_outside(&bytes[at..], are_last)
            };
            // The next bytes decide.
            if taken == 0 {
                break;
            }
            at += taken;
        }
        at
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        self.mended.extend_from_slice(bytes);
        bytes.len()
    }

    fn mend_outside(&mut self, bytes: &[u8], are_last: bool) -> usize {
        let word = length_of(bytes, is_word);
        if word == 0 {
            self.is_in_text = bytes[0] == b'"';
            return self.put(&bytes[..1]);
        }
        if word == bytes.len() && word < WORD_BYTES_MAX && !are_last {
            return 0;
        }
        if is_no_number(&bytes[..word]) {
            self.put(NO_NUMBER.as_bytes());
        } else {
            self.put(&bytes[..word]);
        }
        word
    }

    fn mend_text(&mut self, bytes: &[u8], are_last: bool) -> usize {
        match bytes[0] {
            b'"' => {
                self.is_in_text = false;
                self.put(&bytes[..1])
            }
            b'\\' => self.mend_escape(bytes, are_last),
            control @ ..0x20 => {
                // A Vec takes everything.
                let _ = write!(self.mended, "\\u{control:04x}");
                1
            }
            _ => {
                let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | ..0x20);
                let length = length_of(bytes, is_plain);
                self.mend_characters(&bytes[..length], are_last || length < bytes.len())
            }
        }
    }

    fn mend_characters(&mut self, bytes: &[u8], are_whole: bool) -> usize {
        let Err(error) = std::str::from_utf8(bytes) else {
            return self.put(bytes);
        };
        let valid = self.put(&bytes[..error.valid_up_to()]);
        let invalid = match error.error_len() {
            Some(length) => length,
            None if are_whole => bytes.len() - valid,
            None => return valid,
        };
        self.put(NO_CHARACTER.as_bytes());
        valid + invalid
    }

    fn mend_escape(&mut self, bytes: &[u8], are_last: bool) -> usize {
        const LENGTH: usize = "\\uffff".len();
        let is_code_unit = bytes.get(1).is_none_or(|byte| *byte == b'u');
        if !is_code_unit {
            return self.put(&bytes[..2]);
        }
        if bytes.len() < LENGTH {
            return if are_last { self.put(bytes) } else { 0 };
        }
        let (escape, next) = bytes.split_at(LENGTH);
        match code_unit(escape) {
            Some(0xd800..0xdc00) => {
                if next.len() < LENGTH
                    && b"\\u".starts_with(&next[..next.len().min(2)])
                    && !are_last
                {
                    return 0;
                }
                let is_pair = matches!(code_unit(next), Some(0xdc00..0xe000));
                if is_pair {
                    return self.put(&bytes[..2 * LENGTH]);
                }
                self.put(NO_CHARACTER.as_bytes());
            }
            Some(0xdc00..0xe000) => _ = self.put(NO_CHARACTER.as_bytes()),
            _ => _ = self.put(escape),
        }
        LENGTH
    }
}

/// The length up to the last word, which the next bytes may go on with.
fn plain_words(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(|byte| !is_word(byte));
    end.map_or(0, |last| last + 1)
}

/// Whether a text that is open before the bytes is closed behind them, or the other way round, if nothing needs mending
/// wherever the texts are. Most documents are so as a whole: this takes eight bytes at a time, [`plain_length`] takes
/// each by itself. Whole words are looked at.
fn flips_text_if_plain(bytes: &[u8]) -> Option<bool> {
    const DIGITS: usize = DIGITS_HELD / 2;
    let (mut odd, mut quotes, mut exponents, mut digits_before) = (0, 0, 0, 0);
    let mut look_at = |eight: u64| {
        let ascii = eight & !TOPS;
        odd |= odd_bytes(eight);
        quotes ^= equal(ascii, b'"');
        let digits = digits(ascii);
        // The first byte is the lowest one.
        exponents |= exponent_letters(ascii) & (digits << 8 | digits_before >> 56);
        digits_before = digits;
    };
    let (eights, rest) = bytes.as_chunks();
    for eight in eights {
        look_at(u64::from_le_bytes(*eight));
    }
    look_at(with_spaces(rest));
    // A number of more than DIGITS_HELD digits has such a piece.
    let has_many_digits = || {
        bytes
            .chunks_exact(DIGITS)
            .any(|it| it.iter().all(u8::is_ascii_digit))
    };
    let has = |word: &[u8]| memchr::memmem::find(bytes, word).is_some();
    let needs_mending = odd != 0
        || has_many_digits()
        || exponents != 0 && has_exponent(bytes)
        || has(b"NaN")
        || has(b"Inf");
    (!needs_mending).then(|| quotes.count_ones() % 2 == 1)
}

/// Not zero if one of eight bytes is a control character, a backslash, or not ASCII.
fn odd_bytes(eight: u64) -> u64 {
    let ascii = eight & !TOPS;
    (eight & TOPS) | (!at_least(ascii, b' ') & TOPS) | equal(ascii, b'\\')
}

/// Whether a digit, an `e` and a digit or a sign follow one another in ASCII text.
fn has_exponent(bytes: &[u8]) -> bool {
    // Six of the eight begin three bytes.
    let mut rest = bytes;
    while let Some(eight) = rest.first_chunk() {
        if begins_exponents(u64::from_le_bytes(*eight)) {
            return true;
        }
        rest = &rest[6..];
    }
    begins_exponents(with_spaces(rest))
}

fn begins_exponents(eight: u64) -> bool {
    let digits = digits(eight);
    let signs = equal(eight, b'+') | equal(eight, b'-');
    digits & (exponent_letters(eight) >> 8) & ((digits | signs) >> 16) != 0
}

/// The top bits of those of eight ASCII bytes that are digits.
fn digits(eight: u64) -> u64 {
    at_least(eight, b'0') & !at_least(eight, b'9' + 1)
}

/// The top bits of those of eight ASCII bytes that are `e` or `E`.
fn exponent_letters(eight: u64) -> u64 {
    const CASE: u64 = ONES * 0x20;
    equal(eight | CASE, b'e')
}

/// Fewer than eight bytes and spaces behind them.
fn with_spaces(bytes: &[u8]) -> u64 {
    let mut eight = [b' '; 8];
    for (place, byte) in eight.iter_mut().zip(bytes) {
        *place = *byte;
    }
    u64::from_le_bytes(eight)
}

const ONES: u64 = 0x0101_0101_0101_0101;
/// The top bit of each byte.
const TOPS: u64 = ONES << 7;

/// The top bits of those of eight ASCII bytes that are `wanted`.
fn equal(eight: u64, wanted: u8) -> u64 {
    !(eight ^ (ONES * u64::from(wanted))).wrapping_add(TOPS - ONES) & TOPS
}

/// The top bits of those of eight ASCII bytes that are no less than `bound`.
fn at_least(eight: u64, bound: u8) -> u64 {
    eight.wrapping_add(ONES * u64::from(0x80 - bound)) & TOPS
}

/// How many of the first bytes are surely as they should be, and whether a text is open behind them.
fn plain_length(bytes: &[u8], mut is_in_text: bool) -> (usize, bool) {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        if is_in_text {
            at += plain_text_length(rest);
            let rest = &bytes[at..];
            match rest {
                [b'"', ..] => {
                    at += 1;
                    is_in_text = false;
                }
                [b'\\', b'u', ..] => match code_unit(rest) {
                    Some(0xd800..0xe000) | None => break,
                    Some(_) => at += "\\uffff".len(),
                },
                [b'\\', b' '..=0x7f, ..] => at += 2,
                [0x80..=0xff, ..] => match characters_length(rest) {
                    0 => break,
                    length => at += length,
                },
                _ => break,
            }
        } else if is_word(&byte) {
            let word = &rest[..length_of(rest, is_word)];
            // What comes next may belong to the last word.
            if word.len() == rest.len() || !is_plain_word(word) {
                break;
            }
            at += word.len();
        } else {
            is_in_text = byte == b'"';
            at += 1;
        }
    }
    (at, is_in_text)
}

/// How many of the first bytes are ASCII letters and the like, and neither a quote nor a backslash. Texts are most of a
/// document, hence eight bytes at a time: in `stops` the top bit of a byte is set if the text is plain up to there.
fn plain_text_length(text: &[u8]) -> usize {
    /// The top bits of the bytes below `bound`. Above the first such byte others may be set too.
    fn below(word: u64, bound: u8) -> u64 {
        word.wrapping_sub(ONES * u64::from(bound)) & !word
    }

    let (eights, rest) = text.as_chunks();
    for (number, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        let stops = (quotes | backslashes | below(word, b' ') | word) & TOPS;
        if stops != 0 {
            return 8 * number + stops.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=0x7f);
    text.len() - rest.len() + length_of(rest, is_plain)
}

/// How many of the first bytes are whole characters beyond ASCII.
fn characters_length(text: &[u8]) -> usize {
    let text = &text[..length_of(text, |byte| *byte >= 0x80)];
    match std::str::from_utf8(text) {
        Ok(text) => text.len(),
        Err(error) => error.valid_up_to(),
    }
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn is_plain_word(word: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    matches!(word, b"true" | b"false" | b"null")
        || word.len() <= DIGITS_HELD && word.iter().all(is_plain)
}

fn length_of(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    let end = bytes.iter().position(|byte| !belongs(byte));
    end.unwrap_or(bytes.len())
}

/// The value of `\uXXXX` at the beginning.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether it is a number by its look, and not one that can be held.
fn is_no_number(word: &[u8]) -> bool {
    let may_be_too_large =
        word.len() > DIGITS_HELD || word.iter().any(|byte| matches!(byte, b'e' | b'E'));
    match word {
        b"NaN" | b"Infinity" | b"-Infinity" => true,
        [b'-' | b'0'..=b'9', ..] if may_be_too_large => {
            serde_json::from_slice::<IgnoredAny>(word).is_ok()
                && serde_json::from_slice::<f64>(word).is_err()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::BufRead as _;

    fn streamed(document: &[u8], chunk_bytes: usize) -> Vec<u8> {
        /// Gives so many bytes at a time, at most.
        struct Chunks<'a>(&'a [u8], usize);

        impl Read for Chunks<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = self.0.len().min(self.1).min(buffer.len());
                self.0.read(&mut buffer[..length])
            }
        }

        // With buffers that are too small for a chunk.
        let mut mended = Vec::new();
        let mut mending = Mending::new(Chunks(document, chunk_bytes));
        mending.read_to_end(&mut mended).unwrap();
        let mut parsed = Vec::new();
        let mut mending = Mending::buffered(Chunks(document, chunk_bytes));
        while let chunk @ [_, ..] = mending.fill_buf().unwrap() {
            let length = chunk.len();
            parsed.extend_from_slice(chunk);
            mending.consume(length);
        }
        assert_eq!(parsed, mended);
        mended
    }

    #[test]
    fn each_value_that_cannot_be_decoded_is_lost_alone() {
        let long = format!("{}.5", "9".repeat(400));
        for (document, expected) in [
            (
                &br#"["row 17: \ud83d", 1]"#[..],
                json!(["row 17: \u{fffd}", 1]),
            ),
            (
                br#"["\ud83d\ude00 \uD83d\u0041 \ude00"]"#,
                json!(["😀 \u{fffd}A \u{fffd}"]),
            ),
            (br#"["\ud83d\ud83d\ude00"]"#, json!(["\u{fffd}😀"])),
            (br#"["\\ud83d\"\ud83d\n"]"#, json!(["\\ud83d\"\u{fffd}\n"])),
            (
                b"[\"Z\xfcrich \xe2\x82\", \"\xe2\x82\xac\"]",
                json!(["Z\u{fffd}rich \u{fffd}", "€"]),
            ),
            (b"[\"two\nlines\"]", json!(["two\nlines"])),
            (
                br#"[1e400, -1E+999, 1e30, NaN, -Infinity, "NaN 1e400"]"#,
                json!([null, null, 1e30, null, null, "NaN 1e400"]),
            ),
            (br#"{"\ud83d": 1}"#, json!({"\u{fffd}": 1})),
            (format!("[{long}, 7]").as_bytes(), json!([null, 7])),
        ] {
            let shown = String::from_utf8_lossy(document);
            assert_eq!(value_of(document).unwrap(), expected, "{shown}");
            for chunk_bytes in 1..document.len() {
                assert_eq!(
                    streamed(document, chunk_bytes),
                    mended(document),
                    "{shown} {chunk_bytes}"
                );
            }
        }
    }

    /// Against a look at each byte by itself.
    #[test]
    fn plain_documents_are_found_eight_bytes_at_a_time() {
        fn expected(bytes: &[u8]) -> Option<bool> {
            let is_odd = |byte: &u8| matches!(byte, b'\\' | ..0x20 | 0x80..);
            let is_odd_three = |three: &[u8]| {
                matches!(
                    three,
                    [b'0'..=b'9', b'e' | b'E', b'0'..=b'9' | b'+' | b'-'] | b"NaN" | b"Inf"
                )
            };
            let quotes = bytes.iter().filter(|byte| **byte == b'"').count();
            let is_plain = !bytes.iter().any(is_odd) && !bytes.windows(3).any(is_odd_three);
            is_plain.then_some(quotes % 2 == 1)
        }

        arbtest::arbtest(|u| {
            let alphabet = b"0159eE+-./:;NaInf\"\" {}xX~!#[]";
            let mut bytes = Vec::new();
            for _ in 0..u.int_in_range(0..=40)? {
                let is_any = u.ratio(1, 60)?;
                let byte = if is_any {
                    u.arbitrary()?
                } else {
                    *u.choose(alphabet)?
                };
                bytes.push(byte);
            }
            let shown = String::from_utf8_lossy(&bytes);
            assert_eq!(flips_text_if_plain(&bytes), expected(&bytes), "{shown:?}");
            Ok(())
        });
    }

    #[test]
    fn what_is_no_json_is_none_afterwards() {
        for document in [
            &b""[..],
            b"<html>\xff</html>",
            b"[1e400",
            br#"["\ud83d"#,
            br#"["\ud83"]"#,
            br#"["\x"]"#,
            b"[NaNs]",
            b"[01e400]",
            b"\\ud83d",
        ] {
            let shown = String::from_utf8_lossy(document);
            assert!(value_of(document).is_err(), "{shown}");
        }
    }

    /// Whatever the chunks are; and what serde_json reads stays as it is.
    #[test]
    fn a_stream_is_mended_as_the_whole_is() {
        arbtest::arbtest(|u| {
            const LONG: &[u8] = &[b'x'; 3000];
            const PIECES: [&[u8]; 23] = [
                b"\"",
                b"\\",
                b"u",
                b"\\ud83d",
                b"\\ude00",
                b"\\n",
                b"1",
                b"e400",
                b"-",
                b"NaN",
                b"[",
                b"]",
                b",",
                b" ",
                b"\xe2",
                b"\x82",
                b"\xac",
                b"\n",
                b"text",
                b"Infinity",
                b"\\u00e9",
                b"a text of \xc3\xa9 words",
                LONG,
            ];
            let mut document = Vec::new();
            for _ in 0..u.int_in_range(0..=30)? {
                document.extend_from_slice(u.choose(&PIECES)?);
            }
            let mended = mended(&document);
            let chunk_bytes = *u.choose(&[1, 2, 5, 9, 5000, 9000])?;
            assert_eq!(streamed(&document, chunk_bytes), mended);
            if let Ok(value) = serde_json::from_slice::<Value>(&document) {
                assert_eq!(serde_json::from_slice::<Value>(&mended).unwrap(), value);
            }
            Ok(())
        });
    }
}
