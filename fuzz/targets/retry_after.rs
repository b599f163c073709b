//! `Retry-After` and `Date` of an answer. The model reads what RFC 9110 prefers, strictly.
#![no_main]

use ::http::{HeaderMap, HeaderValue, header};
use farspan::core::time::{Mono, Wall};
use farspan::http::client;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::rfc2822::DateTimePrinter;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut headers = HeaderMap::new();
    assert_eq!(client::date(&headers), None);
    headers.insert(header::DATE, value.clone());
    let date = client::date(&headers);
    headers.insert(header::RETRY_AFTER, value.clone());
    if date.is_some() {
        // The clock is the answer's own, so this is now.
        let asked = client::retry_after(&headers, Wall::from_unix_ns(0));
        assert_eq!(asked, Some(Duration::ZERO));
    }
    headers.remove(header::DATE);
    for now in [i64::MIN, 0, 1_795_168_560_500_000_000, i64::MAX] {
        let now = Wall::from_unix_ns(now);
        let asked = client::retry_after(&headers, now);
        if let Some(asked) = asked {
            // Whatever is asked for, it can be added to the present.
            assert!(Mono::from_duration(asked) + asked >= Mono::from_duration(asked));
        }
        if let Some(date) = date {
            assert_eq!(asked, Some(date.since(now)));
        }
        if let Ok(text) = value.to_str()
            && (1..=18).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit())
        {
            assert_eq!(asked, Some(Duration::from_secs(text.parse().unwrap())));
        }
    }
    if let Some(date) = date {
        reads_back(date);
    }
});

/// The date as servers write it: `Fri, 20 Nov 2026 09:56:02 GMT`.
fn reads_back(date: Wall) {
    let ns = date.as_unix_ns();
    assert_eq!(ns % 1_000_000_000, 0, "a Date has whole seconds");
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
    let mut text = String::new();
    DateTimePrinter::new()
        .print_timestamp_rfc9110(&timestamp, StdFmtWrite(&mut text))
        .unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::DATE, text.parse().unwrap());
    assert_eq!(client::date(&headers), Some(date), "{text}");
}
