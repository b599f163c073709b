//! What an API said when it was asked last, for answers of "304 Not Modified". RFC 9110 sections 8.8, 13 and 15.4.5.
//!
//! Shared by all pollers, for any of them may ask next. It is only a cache: what is not there is asked for whole.

use crate::mapping::Part;
use crate::os::threads::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Answers by monitor and URL.
#[derive(Debug, Default)]
pub(super) struct Unchanged {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<(u16, Box<str>), Answer>,
    bytes: usize,
    /// Counts uses, to tell what was not used for longest.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Answer {
    validators: Validators,
    part: Arc<Part>,
    bytes: usize,
    used: u64,
}

/// What tells one version of an answer from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<HeaderValue>,
    pub(super) last_modified: Option<HeaderValue>,
    /// `Link`, which a 304 may leave out though the next page is still there.
    links: Vec<HeaderValue>,
}

impl Validators {
    /// Those of an answer, if it has any.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let validators = Validators {
            etag: headers.get(header::ETAG).cloned(),
            last_modified: headers.get(header::LAST_MODIFIED).cloned(),
            links: headers.get_all(header::LINK).iter().cloned().collect(),
        };
        (validators.etag.is_some() || validators.last_modified.is_some()).then_some(validators)
    }

    /// The headers that ask whether this version still holds.
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

/// What all kept answers may take, measured by the bodies that they were read from: what is kept of a body is less than
/// the body.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// One answer; beyond that it is asked for whole.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What a small answer takes at least, with its key.
const ENTRY_BYTES: usize = 512;

impl Unchanged {
    /// What was said last, and what to ask with whether it still holds.
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

    /// Keeps what was said now; without validators nothing is kept of that URL.
    pub(super) fn keep(
        &self,
        monitor: u16,
        url: &str,
        validators: Option<Validators>,
        part: &Arc<Part>,
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
        let answer = Answer {
            validators,
            part: part.clone(),
            bytes,
            used: kept.clock,
        };
        kept.answers.insert(key, answer);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}

impl Kept {
    /// Lets go of what was not used for longest, half of all at once, so that it is rarely looked for.
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
        let part = Arc::new(part.unwrap());
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
