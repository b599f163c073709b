//! The last answer of each URL, for "304 Not Modified". RFC 9110 sections 8.8, 13 and 15.4.5.
//!
//! A cache that all pollers share: an answer that is not in it is requested whole.

use crate::mapping::Part;
use crate::os::threads::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Unchanged {
    kept: Mutex<CachedAnswers>,
}

#[derive(Debug, Default)]
struct CachedAnswers {
    /// By monitor and URL.
    answers: HashMap<(u16, Box<str>), CachedAnswer>,
    bytes: usize,
    /// Counts uses, to find the answers that were not used for longest.
    clock: u64,
}

#[derive(Clone, Debug)]
struct CachedAnswer {
    validators: Validators,
    part: Arc<Part>,
    bytes: usize,
    used: u64,
}

/// The validators of an answer: headers that tell its versions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<HeaderValue>,
    pub(super) last_modified: Option<HeaderValue>,
    /// `Link`, which a 304 may leave out though the next page is still there.
    links: Vec<HeaderValue>,
}

impl Validators {
    /// The validators in an answer's headers, if there are any.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let etag = headers.get(header::ETAG).cloned();
        let last_modified = headers.get(header::LAST_MODIFIED).cloned();
        if etag.is_none() && last_modified.is_none() {
            return None;
        }
        Some(Validators {
            etag,
            last_modified,
            links: headers.get_all(header::LINK).iter().cloned().collect(),
        })
    }

    /// The headers of a conditional request for this version.
    pub(super) fn conditions(&self) -> Vec<(HeaderName, HeaderValue)> {
        let etag = self.etag.iter().cloned();
        let etag = etag.map(|etag| (header::IF_NONE_MATCH, etag));
        let time = self.last_modified.iter().cloned();
        etag.chain(time.map(|time| (header::IF_MODIFIED_SINCE, time)))
            .collect()
    }

    /// The links as headers again.
    pub(super) fn linked(&self) -> HeaderMap {
        let links = self.links.iter().cloned();
        links.map(|link| (header::LINK, link)).collect()
    }
}

/// The bound for all answers, measured by their bodies: what is kept of a body is smaller than the body.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest answer that is kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What an answer takes besides its body and its URL.
const ENTRY_BYTES: usize = 512;

impl Unchanged {
    /// The last answer of a URL and its validators.
    pub(super) fn known(&self, monitor: u16, url: &str) -> Option<(Validators, Arc<Part>)> {
        let mut kept = self.lock();
        if kept.answers.is_empty() {
            return None;
        }
        kept.clock += 1;
        let clock = kept.clock;
        let answer = kept.answers.get_mut(&(monitor, url.into()))?;
        answer.used = clock;
        Some((answer.validators.clone(), answer.part.clone()))
    }

    /// Keeps an answer. Without validators, nothing is kept for that URL.
    pub(super) fn keep(
        &self,
        monitor: u16,
        url: &str,
        validators: Option<Validators>,
        part: &Part,
        body_bytes: usize,
    ) {
        let mut kept = self.lock();
        let bytes = body_bytes + url.len() + ENTRY_BYTES;
        let validators = validators.filter(|_| bytes <= ANSWER_BYTES_MAX);
        if validators.is_none() && kept.answers.is_empty() {
            return;
        }
        let key = (monitor, url.into());
        if let Some(before) = kept.answers.remove(&key) {
            kept.bytes -= before.bytes;
        }
        let Some(validators) = validators else { return };
        kept.make_room(bytes);
        kept.clock += 1;
        kept.bytes += bytes;
        let answer = CachedAnswer {
            validators,
            part: Arc::new(part.clone()),
            bytes,
            used: kept.clock,
        };
        kept.answers.insert(key, answer);
    }

    fn lock(&self) -> MutexGuard<'_, CachedAnswers> {
        lock(&self.kept)
    }
}

impl CachedAnswers {
    /// Removes the half of all answers that was not used for longest, so that this is rarely needed.
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes <= BYTES_MAX {
            return;
        }
        let mut uses: Vec<u64> = self.answers.values().map(|answer| answer.used).collect();
        uses.sort_unstable();
        let middle = uses.get(uses.len() / 2).copied().unwrap_or_default();
        self.answers.retain(|_, answer| answer.used > middle);
        self.bytes = self.answers.values().map(|answer| answer.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    fn validators(etag: &str) -> Option<Validators> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, etag.parse().unwrap());
        Validators::of(&headers)
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let part = Mapping::original().read_slice(0, br#"{"workflowStatus": "Failed"}"#);
        let part = part.unwrap();
        let unchanged = Unchanged::default();
        let large = ANSWER_BYTES_MAX - 1024;
        let fit = BYTES_MAX / ANSWER_BYTES_MAX;
        for n in 0..fit {
            unchanged.keep(0, &format!("u{n}"), validators("1"), &part, large);
        }
        assert!(unchanged.known(0, "u0").is_some());
        assert!(unchanged.known(1, "u0").is_none(), "another monitor's");
        unchanged.keep(0, "one more", validators("1"), &part, large);
        assert!(unchanged.known(0, "u0").is_some(), "it was used lately");
        assert!(unchanged.known(0, "u1").is_none());
        assert!(unchanged.lock().bytes <= BYTES_MAX);
        unchanged.keep(0, "u0", None, &part, 10);
        assert!(
            unchanged.known(0, "u0").is_none(),
            "it has no validators any more"
        );
        unchanged.keep(0, "huge", validators("1"), &part, ANSWER_BYTES_MAX);
        assert!(unchanged.known(0, "huge").is_none());
    }

    #[test]
    fn an_answer_without_validators_has_none() {
        assert_eq!(Validators::of(&HeaderMap::new()), None);
        assert!(validators("\"x\"").is_some());
    }
}
