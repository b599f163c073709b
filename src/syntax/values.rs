//! The texts that settings are written in. Pure; an error says what is wrong with the text, its place stands before it.

use http::{HeaderValue, Uri};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Why a text will not do: the rest of a sentence that begins with the text.
pub type Reason = Cow<'static, str>;

const SECOND_NS: u64 = 1_000_000_000;
const UNITS: &[(&str, u64)] = &[
    ("d", 86_400 * SECOND_NS),
    ("h", 3_600 * SECOND_NS),
    ("m", 60 * SECOND_NS),
    ("s", SECOND_NS),
    ("ms", 1_000_000),
];

/// `500ms`, `1.5s`, `10m`, `1h30m`: units from the largest to the smallest, each once.
pub fn duration(text: &str) -> Result<Duration, Reason> {
    const HOW: &str = "is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m";
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("has no unit; write ms, s, m, h or d behind the number".into());
    }
    let mut total_ns = 0_u64;
    let mut rest = text;
    let mut units_left = UNITS;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |b| b.is_ascii_digit() || b == b'.');
        let (unit, after) = split_while(after, |b| b.is_ascii_alphabetic());
        let found = units_left
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or(HOW)?;
        let ns = fixed_point(number, units_left[found].1).ok_or(HOW)?;
        total_ns = total_ns.checked_add(ns).ok_or("is too long a time")?;
        units_left = &units_left[found + 1..];
        rest = after;
    }
    Ok(Duration::from_nanos(total_ns))
}

/// `Z`, `+01:00`, `-0530` or `+01`: seconds east of UTC.
pub fn utc_offset_s(text: &str) -> Result<i32, Reason> {
    const HOW: &str = "is not an offset from UTC; write Z, +01:00 or -0530";
    if text == "Z" {
        return Ok(0);
    }
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(HOW.into()),
    };
    let (hours, minutes) = rest.split_at_checked(2).ok_or(HOW)?;
    let minutes = match minutes {
        "" => "00",
        _ => minutes.strip_prefix(':').unwrap_or(minutes),
    };
    let number = |digits: &str, most: i32| {
        let is_number = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<i32>().ok().filter(|_| is_number);
        number.filter(|number| *number <= most).ok_or(HOW)
    };
    Ok(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60))
}

/// A duration between two bounds, which are written in `bounds` as people write them.
pub fn duration_within(
    text: &str,
    range: RangeInclusive<Duration>,
    bounds: &str,
) -> Result<Duration, Reason> {
    let duration = duration(text)?;
    if range.contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("is out of range; {bounds}").into())
    }
}

/// `1048576`, `1024KiB`, `512MiB` or `1GiB`, between two bounds, which are written in `bounds` as people write them.
pub fn bytes_within(text: &str, range: RangeInclusive<u64>, bounds: &str) -> Result<u64, Reason> {
    const HOW: &str = "is not a size; write a number of bytes, or KiB, MiB or GiB behind it";
    let (number, unit) = split_while(text, |b| b.is_ascii_digit());
    let unit_bytes: u64 = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(HOW.into()),
    };
    if number.is_empty() {
        return Err(HOW.into());
    }
    let bytes = number
        .parse()
        .ok()
        .and_then(|n: u64| n.checked_mul(unit_bytes));
    match bytes {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(format!("is out of range; {bounds}").into()),
    }
}

/// A whole number between two bounds.
pub fn integer(text: &str, range: RangeInclusive<u64>) -> Result<u64, Reason> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "is not a whole number from {} to {}",
            range.start(),
            range.end()
        )
        .into()),
    }
}

/// A number between two bounds. Never NaN.
pub fn number(text: &str, range: RangeInclusive<f64>) -> Result<f64, Reason> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("is not a number from {} to {}", range.start(), range.end()).into()),
    }
}

/// One word out of a few, in any case.
pub fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Reason> {
    match words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
    {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let mut text = String::from("is unknown; write ");
            for (index, (word, _)) in words.iter().enumerate() {
                let before = match index {
                    0 => "",
                    _ if index + 1 == words.len() => " or ",
                    _ => ", ",
                };
                text.extend([before, word]);
            }
            Err(text.into())
        }
    }
}

/// Text for people and for attributes: not empty, nothing that would not print.
pub fn label(text: &str) -> Result<String, Reason> {
    const BYTES_MAX: usize = 256;
    if text.is_empty() || text.len() > BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("must be 1 to {BYTES_MAX} bytes without control characters").into());
    }
    Ok(text.to_owned())
}

/// `host:port`.
pub fn listen_address(text: &str) -> Result<String, Reason> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("is not host:port".into()),
    }
}

/// The page of a trace in its backend. Viewers get it as a link.
pub fn trace_url(text: &str) -> Result<String, Reason> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if !matches!(scheme, "http" | "https") {
        return Err("is not an http:// or https:// URL".into());
    }
    if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        return Err("has a space or a control character within".into());
    }
    if !text.contains("{trace_id}") {
        return Err("has no {trace_id}, which the id of the trace is put in the place of".into());
    }
    Ok(text.to_owned())
}

/// Whether only this host can reach a `host:port`.
pub fn is_this_host(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}

/// What goes into a header in base64: any text. RFC 7617 section 2.
pub fn password(text: &str) -> Result<String, Reason> {
    if text.contains(char::is_control) {
        return Err("has a line break or another control character within".into());
    }
    Ok(text.to_owned())
}

/// What goes behind `Authorization: Bearer `.
pub fn token(text: &str) -> Result<String, Reason> {
    let text = password(text)?;
    match HeaderValue::from_str(&text) {
        Ok(_) if text.is_ascii() => Ok(text),
        _ => Err("cannot be sent in an HTTP header; it must be ASCII".into()),
    }
}

/// An absolute http:// or https:// URL with a host. `instead_of_userinfo` says where a password belongs.
pub fn http_url(text: &str, instead_of_userinfo: &str) -> Result<Uri, Reason> {
    if text.contains('#') {
        return Err("must not have a fragment (#)".into());
    }
    let uri: Uri = text
        .parse()
        .map_err(|_| "is not a URL such as http://host:8080")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => {
            return Err("needs TLS, and this farspan was built without the feature 'tls'".into());
        }
        _ => return Err("must begin with http:// or https://".into()),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(format!("must not have a user or password; {instead_of_userinfo}").into());
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err("has no host".into());
    }
    let has_port = authority.len() > host.len();
    if has_port && uri.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not a number from 1 to 65535".into());
    }
    Ok(uri)
}

/// A base to which paths are appended: no query, no trailing slash.
pub fn base_url(text: &str, instead_of_userinfo: &str) -> Result<String, Reason> {
    let uri = http_url(text, instead_of_userinfo)?;
    if uri.query().is_some() {
        return Err("must not have a query (?)".into());
    }
    Ok(uri.to_string().trim_end_matches('/').to_owned())
}

/// A URL without what it may keep secret: all before the last `@`, and a query, where `unix://` has its password.
pub fn redacted_url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (userinfo, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("(redacted)@", rest),
        None => ("", rest),
    };
    match rest.split_once('?') {
        Some((rest, _)) => format!("{scheme}{userinfo}{rest}?(redacted)"),
        None => format!("{scheme}{userinfo}{rest}"),
    }
}

/// The known word that was probably meant, where one is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within((word.len() / 3).max(1), word, known)
}

/// The known word from which this one differs by so many letters at most.
pub fn nearest_within<'a>(
    near_enough: usize,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const CHARS_MAX: usize = 64;
    if word.len() > CHARS_MAX {
        return None;
    }
    let nearest = known
        .into_iter()
        // Of two that are as near, the one that goes on where the word ends.
        .map(|known| (distance(word, known), !known.starts_with(word), known))
        .min()?;
    (nearest.0 <= near_enough).then_some(nearest.2)
}

/// The shortest known name that has all words of this one, in their order: `REDIS_URL` for `REDIS`.
pub fn nearest_by_words<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let has_all = |known: &&str| {
        let mut words = known.split('_');
        name.split('_').all(|word| words.any(|known| known == word))
    };
    let having = known.into_iter().filter(has_all);
    having.min_by_key(|known| known.len())
}

/// Letters added, taken away, replaced, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

fn split_while(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !belongs(byte))
        .unwrap_or(text.len());
    // Only ASCII belongs, so this is a boundary between characters.
    text.split_at(end)
}

/// `1.5` of a unit, exactly.
fn fixed_point(number: &str, unit: u64) -> Option<u64> {
    const FRACTION_DIGITS_MAX: usize = 9;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u64 = fraction.parse().ok()?;
    let part = u64::try_from(u128::from(fraction) * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check<T: std::fmt::Debug>(
        texts: &[&str],
        parse: impl Fn(&str) -> Result<T, Reason>,
        expected: Expect,
    ) {
        let mut lines = String::new();
        for text in texts {
            match parse(text) {
                Ok(value) => lines += &format!("{text:?} = {value:?}\n"),
                Err(reason) => lines += &format!("{text:?} {reason}\n"),
            }
        }
        expected.assert_eq(&lines);
    }

    #[test]
    fn offsets_from_utc() {
        for (text, offset_s) in [
            ("Z", Some(0)),
            ("+01:00", Some(3600)),
            ("-0530", Some(-19_800)),
            ("+01", Some(3600)),
            ("+14:00", Some(50_400)),
            ("01:00", None),
            ("+1", None),
            ("+01:", None),
            ("+01:0", None),
            ("+01:60", None),
            ("+24:00", None),
            ("+\u{661}:00", None),
            ("CET", None),
            ("", None),
        ] {
            assert_eq!(utc_offset_s(text).ok(), offset_s, "{text}");
        }
    }

    #[test]
    fn sizes() {
        check(
            &[
                "1048576",
                "1024KiB",
                "1MiB",
                "2GiB",
                "18446744073709551615",
                "1048575",
                "0",
                "17179869184GiB",
                "99999999999999999999",
                "1GB",
                "1 MiB",
                "1.5GiB",
                "MiB",
                "-1",
                "",
            ],
            |text| bytes_within(text, 1 << 20..=u64::MAX, "it may be 1MiB or more"),
            expect![[r#"
                "1048576" = 1048576
                "1024KiB" = 1048576
                "1MiB" = 1048576
                "2GiB" = 2147483648
                "18446744073709551615" = 18446744073709551615
                "1048575" is out of range; it may be 1MiB or more
                "0" is out of range; it may be 1MiB or more
                "17179869184GiB" is out of range; it may be 1MiB or more
                "99999999999999999999" is out of range; it may be 1MiB or more
                "1GB" is not a size; write a number of bytes, or KiB, MiB or GiB behind it
                "1 MiB" is not a size; write a number of bytes, or KiB, MiB or GiB behind it
                "1.5GiB" is not a size; write a number of bytes, or KiB, MiB or GiB behind it
                "MiB" is not a size; write a number of bytes, or KiB, MiB or GiB behind it
                "-1" is not a size; write a number of bytes, or KiB, MiB or GiB behind it
                "" is not a size; write a number of bytes, or KiB, MiB or GiB behind it
            "#]],
        );
    }

    #[test]
    fn durations() {
        let texts = [
            "500ms",
            "5s",
            "10m",
            "12h",
            "1d",
            "1h30m",
            "1.5s",
            "0s",
            "1d2h3m4s5ms",
            "10",
            "",
            "1.5",
            "5 s",
            "5S",
            "30m1h",
            "5s5s",
            "-5s",
            "s",
            ".5s",
            "5.s",
            "1us",
            "é",
            "99999999999d",
            "1.0000000001s",
        ];
        check(
            &texts,
            duration,
            expect![[r#"
            "500ms" = 500ms
            "5s" = 5s
            "10m" = 600s
            "12h" = 43200s
            "1d" = 86400s
            "1h30m" = 5400s
            "1.5s" = 1.5s
            "0s" = 0ns
            "1d2h3m4s5ms" = 93784.005s
            "10" has no unit; write ms, s, m, h or d behind the number
            "" has no unit; write ms, s, m, h or d behind the number
            "1.5" has no unit; write ms, s, m, h or d behind the number
            "5 s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "5S" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "30m1h" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "5s5s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "-5s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            ".5s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "5.s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "1us" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "é" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "99999999999d" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
            "1.0000000001s" is not a duration; write 500ms, 5s, 10m, 12h or 1d, or several as in 1h30m
        "#]],
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn base_urls() {
        let texts = [
            "http://api.test:8080",
            "https://api.test/v1/",
            "HTTP://[::1]:80//",
            "http://api.test/a b",
            "api.test:8080",
            "ftp://api.test",
            "http://",
            "http://:80",
            "http://a:99999",
            "http://a:",
            "http://a:0",
            "http://a/?x=1",
            "http://a/#x",
            "http://me:secret@a",
            "/workflows",
            "",
            "http://ä.test",
        ];
        check(
            &texts,
            |text| base_url(text, "give a token in FARSPAN_API_TOKEN"),
            expect![[r#"
            "http://api.test:8080" = "http://api.test:8080"
            "https://api.test/v1/" = "https://api.test/v1"
            "HTTP://[::1]:80//" = "http://[::1]:80"
            "http://api.test/a b" is not a URL such as http://host:8080
            "api.test:8080" must begin with http:// or https://
            "ftp://api.test" must begin with http:// or https://
            "http://" is not a URL such as http://host:8080
            "http://:80" has no host
            "http://a:99999" has a port that is not a number from 1 to 65535
            "http://a:" has a port that is not a number from 1 to 65535
            "http://a:0" has a port that is not a number from 1 to 65535
            "http://a/?x=1" must not have a query (?)
            "http://a/#x" must not have a fragment (#)
            "http://me:secret@a" must not have a user or password; give a token in FARSPAN_API_TOKEN
            "/workflows" must begin with http:// or https://
            "" is not a URL such as http://host:8080
            "http://ä.test" is not a URL such as http://host:8080
        "#]],
        );
    }

    #[test]
    fn tokens_and_labels() {
        check(
            &["abc.DEF-1=", "a b", "a\nb", "a\tb", "ä"],
            token,
            expect![[r#"
            "abc.DEF-1=" = "abc.DEF-1="
            "a b" = "a b"
            "a\nb" has a line break or another control character within
            "a\tb" has a line break or another control character within
            "ä" cannot be sent in an HTTP header; it must be ASCII
        "#]],
        );
        check(
            &["vm-1", "", "a\u{1b}[2J"],
            label,
            expect![[r#"
            "vm-1" = "vm-1"
            "" must be 1 to 256 bytes without control characters
            "a\u{1b}[2J" must be 1 to 256 bytes without control characters
        "#]],
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        for (url, redacted) in [
            ("redis://localhost:6379/0", "redis://localhost:6379/0"),
            ("redis://me:se@cr/et@host/1", "redis://(redacted)@host/1"),
            (
                "unix:///run/redis.sock?pass=x",
                "unix:///run/redis.sock?(redacted)",
            ),
            ("me:secret@host", "(redacted)@host"),
        ] {
            assert_eq!(redacted_url(url), redacted);
        }
    }

    #[test]
    fn no_text_panics() {
        arbtest::arbtest(|unstructured| {
            let text: &str = unstructured.arbitrary()?;
            let _ = (duration(text), base_url(text, ""), token(text));
            let _ = nearest(text, ["poll.interval"]);
            let _ = (redacted_url(text), number(text, 0.0..=1.0));
            Ok(())
        })
        .budget_ms(100);
    }

    #[test]
    fn suggestions() {
        let known = [
            "poll.interval",
            "poll.timeout",
            "stages",
            "state",
            "statuses",
        ];
        for (word, meant) in [
            ("poll.intervall", Some("poll.interval")),
            ("polltimeout", Some("poll.timeout")),
            ("sttae", Some("state")),
            ("statuse", Some("statuses")),
            ("status", Some("statuses")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        let known = [
            "API_BASE_URL",
            "REDIS_URL_FILE",
            "REDIS_URL",
            "REDIS_CHANNEL",
        ];
        for (name, meant) in [
            ("API_URL", Some("API_BASE_URL")),
            ("REDIS", Some("REDIS_URL")),
            ("URL_REDIS", None),
        ] {
            assert_eq!(nearest_by_words(name, known), meant, "{name}");
        }
    }
}
