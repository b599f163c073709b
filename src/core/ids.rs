//! Identity: trace and span ids, and the W3C trace context they travel in.
//!
//! Ids are computed, not drawn: whoever sees the same run gives it the same ids, before and after a restart.

use super::time::Wall;
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// A trace id. All-zero is invalid and cannot be expressed.
/// <https://www.w3.org/TR/trace-context/#trace-id>
///
/// Packed, because the 16 bytes to which a `u128` is aligned would be lost in everything that holds one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(8))]
pub struct TraceId(NonZeroU128);

/// A span id. All-zero is invalid and cannot be expressed.
/// <https://www.w3.org/TR/trace-context/#parent-id>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

/// Where in whose trace: what a `traceparent` and a `tracestate` carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever is done with this context.
    pub span_id: SpanId,
    /// The flags, bit 0 `sampled`, bit 1 `random`.
    pub trace_flags: u8,
    /// Vendors' own fields, passed on unchanged.
    pub trace_state: Option<Box<str>>,
}

impl TraceId {
    /// Big-endian bytes; `None` for all zeros.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        NonZeroU128::new(u128::from_be_bytes(bytes)).map(TraceId)
    }

    /// Big-endian bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl SpanId {
    /// Big-endian bytes; `None` for all zeros.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        NonZeroU64::new(u64::from_be_bytes(bytes)).map(SpanId)
    }

    /// Big-endian bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", { self.0 })
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// 16 lower-case hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl TraceId {
    /// The id of a run's own trace, where no parent gives it one: the first 16 bytes of the hash of what names the
    /// run. All of it is hashed, so the right-most 56 bits are as good as random.
    /// <https://www.w3.org/TR/trace-context-2/#randomness-of-trace-id>
    pub fn of_run(monitor: &str, workflow_id: &str, edition: Edition) -> Self {
        let hash = Fields::new()
            .text(monitor)
            .text(workflow_id)
            .bytes(&edition.to_bytes())
            .finish();
        TraceId::from_bytes(first_bytes(&hash)).unwrap_or(TraceId(NonZeroU128::MIN))
    }
}

impl SpanId {
    /// The id of a run's span (`stage` is `None`) or of one stage's. The trace is part of it, and so is the run: many
    /// workflows may share one parent's trace.
    pub fn of_span(
        trace_id: TraceId,
        monitor: &str,
        workflow_id: &str,
        edition: Edition,
        stage: Option<(&str, u32)>,
    ) -> Self {
        SpanId::of(span_fields(trace_id, monitor, workflow_id, edition, stage))
    }

    /// The id of the span that shows the wait for the start of the run, or of the stage: one field more is hashed.
    pub fn of_wait(
        trace_id: TraceId,
        monitor: &str,
        workflow_id: &str,
        edition: Edition,
        stage: Option<(&str, u32)>,
    ) -> Self {
        SpanId::of(span_fields(trace_id, monitor, workflow_id, edition, stage).text("queued"))
    }

    fn of(fields: Fields) -> Self {
        SpanId::from_bytes(first_bytes(&fields.finish())).unwrap_or(SpanId(NonZeroU64::MIN))
    }
}

fn span_fields(
    trace_id: TraceId,
    monitor: &str,
    workflow_id: &str,
    edition: Edition,
    stage: Option<(&str, u32)>,
) -> Fields {
    let (path, attempt) = stage.unwrap_or_default();
    Fields::new()
        .bytes(&trace_id.to_bytes())
        .text(monitor)
        .text(workflow_id)
        .bytes(&edition.to_bytes())
        .text(path)
        .bytes(&attempt.to_be_bytes())
}

/// What tells two runs of one workflow id apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Nothing is known: there is one.
    Only,
    /// The attempt, where the event names it.
    Attempt(u32),
    /// Else the time of submission.
    Submitted(Wall),
}

impl Edition {
    fn to_bytes(self) -> [u8; 9] {
        let (tag, number) = match self {
            Edition::Only => (0, 0),
            Edition::Attempt(attempt) => (1, i64::from(attempt)),
            Edition::Submitted(at) => (2, at.as_unix_ns()),
        };
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }
}

/// What tells a monitor's runs of one workflow id apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunsBy {
    /// What their events say: the attempt, else the time of submission.
    #[default]
    Event,
    /// The attempt alone, where none is the first: what announces one run in several ways may not know the attempt in
    /// each, nor the same time of submission.
    Attempt,
}

impl RunsBy {
    /// The edition of a run that was announced so.
    pub fn edition(self, attempt: Option<u32>, submitted_at: Option<Wall>) -> Edition {
        match (self, self.attempt(attempt), submitted_at) {
            (RunsBy::Attempt, None | Some(1), _) | (RunsBy::Event, None, None) => Edition::Only,
            (_, Some(attempt), _) => Edition::Attempt(attempt),
            (RunsBy::Event, None, Some(at)) => Edition::Submitted(at),
        }
    }

    /// The edition of the attempt before this one.
    pub fn before(self, attempt: u32) -> Option<Edition> {
        (attempt > 1).then(|| self.edition(Some(attempt - 1), None))
    }

    /// Whether one attempt is known to come before another of the same id.
    pub fn is_earlier(self, attempt: Option<u32>, than: Option<u32>) -> bool {
        let attempts = self.attempt(attempt).zip(self.attempt(than));
        attempts.is_some_and(|(attempt, than)| attempt < than)
    }

    /// What counts as its number.
    fn attempt(self, attempt: Option<u32>) -> Option<u32> {
        match self {
            RunsBy::Event => attempt,
            RunsBy::Attempt => Some(attempt.unwrap_or(1).max(1)),
        }
    }
}

/// What finds a watched run: 16 bytes of a hash over monitor and workflow id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey([u8; 16]);

impl RunKey {
    /// The key of a workflow.
    pub fn of(monitor: &str, workflow_id: &str) -> Self {
        RunKey(first_bytes(
            &Fields::new().text(monitor).text(workflow_id).finish(),
        ))
    }

    /// The key of one edition of it.
    pub fn of_edition(self, edition: Edition) -> Self {
        RunKey(first_bytes(
            &Fields::new()
                .bytes(&self.0)
                .bytes(&edition.to_bytes())
                .finish(),
        ))
    }

    /// The key as it is stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// A key as it was stored.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        RunKey(bytes)
    }

    /// A number to spread polls by.
    pub fn spread(self) -> u64 {
        u64::from_be_bytes(first_bytes(&self.0))
    }
}

/// In hexadecimal digits.
impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// SHA-256 over fields, each behind its length, so that no two lists of fields hash the same bytes.
struct Fields(sha2::Sha256);

impl Fields {
    fn new() -> Self {
        Fields(sha2::Sha256::default())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        use sha2::Digest;
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn finish(self) -> [u8; 32] {
        use sha2::Digest;
        self.0.finalize().into()
    }
}

fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i])
}

impl TraceContext {
    /// Reads the W3C headers. `None` for a `traceparent` that the specification calls invalid; a `tracestate` that is
    /// no good is left out and the rest stands, as the specification asks.
    /// <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
    pub fn from_w3c(traceparent: &str, tracestate: Option<&str>) -> Option<TraceContext> {
        let bytes = traceparent.trim_matches([' ', '\t']).as_bytes();
        let (known, later) = bytes.split_at_checked(55)?;
        let [v1, v2, b'-', rest @ ..] = known else {
            return None;
        };
        let version = hex::<1>(&[*v1, *v2])?[0];
        // A later version may add fields behind the flags; version 00 has none.
        if version == 0xff
            || (version == 0 && !later.is_empty())
            || !matches!(later.first(), None | Some(b'-'))
        {
            return None;
        }
        if rest[32] != b'-' || rest[49] != b'-' {
            return None;
        }
        Some(TraceContext {
            trace_id: TraceId::from_bytes(hex(&rest[..32])?)?,
            span_id: SpanId::from_bytes(hex(&rest[33..49])?)?,
            trace_flags: hex::<1>(&rest[50..52])?[0],
            trace_state: tracestate.and_then(valid_trace_state).map(Box::from),
        })
    }

    /// The W3C header, in version 00.
    /// <https://www.w3.org/TR/trace-context/#traceparent-header>
    pub fn traceparent(&self) -> String {
        let (trace_id, span_id) = (self.trace_id, self.span_id);
        format!("00-{trace_id}-{span_id}-{:02x}", self.trace_flags)
    }

    /// Whether the submitter records its part of the trace.
    pub fn sampled(&self) -> bool {
        self.trace_flags & SAMPLED != 0
    }
}

/// Bit 0 of the trace flags.
/// <https://www.w3.org/TR/trace-context/#sampled-flag>
pub const SAMPLED: u8 = 1;
/// Bit 1 of the trace flags: the trace id is random. Passed on as it came.
/// <https://www.w3.org/TR/trace-context-2/#random-trace-id-flag>
pub const RANDOM: u8 = 2;

/// Lower-case hexadecimal digits only, as the specification asks.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// <https://www.w3.org/TR/trace-context-2/#tracestate-header-field-values>
fn valid_trace_state(text: &str) -> Option<&str> {
    const MEMBERS_MAX: usize = 32;
    let text = text.trim_matches([' ', '\t']);
    let members = text.split(',').map(|m| m.trim_matches([' ', '\t']));
    // Empty members are allowed, and do not count.
    let members = || members.clone().filter(|m| !m.is_empty());
    let member_ok = |member: &str| {
        let (key, value) = member.split_once('=')?;
        let key_ok = (1..=256).contains(&key.len())
            && key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && key
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'));
        let value_ok = (1..=256).contains(&value.len())
            && value
                .bytes()
                .all(|b| (0x20..0x7f).contains(&b) && b != b'=');
        (key_ok && value_ok).then_some(())
    };
    let ok = text.len() <= super::limits::TRACE_STATE_BYTES_MAX
        && (1..=MEMBERS_MAX).contains(&members().count())
        && members().all(|m| member_ok(m).is_some());
    ok.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01";

    #[test]
    fn reads_a_traceparent() {
        let context = TraceContext::from_w3c(PARENT, Some("vendor=1,other=2")).unwrap();
        assert_eq!(
            context.trace_id.to_string(),
            "55319d0c4a44a2cc3ef02e43117528cb"
        );
        assert_eq!(context.span_id.to_string(), "b87e9a101a090735");
        assert!(context.sampled());
        assert_eq!(context.trace_state.as_deref(), Some("vendor=1,other=2"));
        let later = format!("cc{}-what-comes-next", &PARENT[2..]);
        assert!(TraceContext::from_w3c(&later, None).is_some());
    }

    #[test]
    fn refuses_what_the_specification_calls_invalid() {
        for bad in [
            "",
            &PARENT[..54],
            &format!("{PARENT}-"),
            &format!("{PARENT}x"),
            &format!("ff{}", &PARENT[2..]),
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "_"),
            "00-00000000000000000000000000000000-b87e9a101a090735-01",
            "00-55319d0c4a44a2cc3ef02e43117528cb-0000000000000000-01",
            "00-55319d0c4a44a2cc3ef02e43117528cg-b87e9a101a090735-01",
            "0é-55319d0c4a44a2cc3ef02e43117528cb-b87e9a101a090735-01",
        ] {
            assert_eq!(TraceContext::from_w3c(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_tracestate_is_left_out() {
        let many = vec!["a=1"; 33].join(",");
        for bad in [
            "", " , ", "novalue", "A=1", "_a=1", "@a=1", "a=", "a=b=c", "a=\u{7f}", &many,
        ] {
            let context = TraceContext::from_w3c(PARENT, Some(bad)).unwrap();
            assert_eq!(context.trace_state, None, "{bad}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused() {
        arbtest::arbtest(|u| {
            let mut text = PARENT.as_bytes().to_vec();
            for _ in 0..u.int_in_range(0..=3)? {
                let at = u.choose_index(text.len())?;
                text[at] = u.arbitrary()?;
            }
            text.truncate(u.int_in_range(0..=text.len())?);
            let text = String::from_utf8_lossy(&text);
            if let Some(context) = TraceContext::from_w3c(&text, None) {
                let id = context.trace_id.to_string();
                assert!(text.contains(&id));
            }
            Ok(())
        });
    }

    /// These values are in users' backends: they may never change.
    #[test]
    fn ids_are_what_they_always_were() {
        let submitted = Edition::Submitted(Wall::from_unix_ns(1_720_162_671_073_740_700));
        let trace = TraceId::of_run("default", "704c0b60", submitted);
        let root = SpanId::of_span(trace, "default", "704c0b60", submitted, None);
        let stage = SpanId::of_span(
            trace,
            "default",
            "704c0b60",
            submitted,
            Some(("DataLoader", 1)),
        );
        expect_test::expect!["81f0b1b10d47d2b29d1d2d9a8dad06cd 5453d017cb450617 575db11fbe46cf56"]
            .assert_eq(&format!("{trace} {root} {stage}"));
    }

    /// As long as nothing else announces a monitor's runs, its ids are those.
    #[test]
    fn a_run_is_told_by_its_event_or_by_its_attempt() {
        let at = Wall::from_unix_ns(1);
        let announced = [
            (None, None),
            (None, Some(at)),
            (Some(0), None),
            (Some(1), Some(at)),
            (Some(2), None),
            (Some(2), Some(at)),
        ];
        let editions = |by: RunsBy| announced.map(|(attempt, at)| by.edition(attempt, at));
        use Edition::{Attempt, Only, Submitted};
        assert_eq!(
            editions(RunsBy::Event),
            [
                Only,
                Submitted(at),
                Attempt(0),
                Attempt(1),
                Attempt(2),
                Attempt(2)
            ]
        );
        assert_eq!(
            editions(RunsBy::Attempt),
            [Only, Only, Only, Only, Attempt(2), Attempt(2)]
        );
        for (by, before_second) in [(RunsBy::Event, Attempt(1)), (RunsBy::Attempt, Only)] {
            let before = [0, 1, 2, 3].map(|attempt| by.before(attempt));
            assert_eq!(before, [None, None, Some(before_second), Some(Attempt(2))]);
        }
        let earlier = |by: RunsBy| announced.map(|(attempt, _)| by.is_earlier(attempt, Some(2)));
        let are = [false, false, true, true, false, false];
        assert_eq!(earlier(RunsBy::Event), are);
        let are = [true, true, true, true, false, false];
        assert_eq!(earlier(RunsBy::Attempt), are);
        assert!(!RunsBy::Event.is_earlier(Some(1), None));
        assert!(!RunsBy::Attempt.is_earlier(Some(2), None));
    }

    #[test]
    fn every_field_is_part_of_an_id() {
        let base = Edition::Attempt(1);
        let mut ids = vec![
            TraceId::of_run("m", "w", base),
            TraceId::of_run("mw", "", base),
            TraceId::of_run("", "mw", base),
            TraceId::of_run("m", "w", Edition::Attempt(2)),
            TraceId::of_run("m", "w", Edition::Only),
            TraceId::of_run("m", "w", Edition::Submitted(Wall::from_unix_ns(1))),
        ];
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6);
        let span = |edition, stage| SpanId::of_span(ids[0], "m", "w", edition, stage);
        let mut spans = vec![
            span(base, None),
            span(base, Some(("a", 1))),
            span(base, Some(("a", 2))),
            span(base, Some(("b", 1))),
            span(Edition::Attempt(2), None),
            SpanId::of_wait(ids[0], "m", "w", base, None),
            SpanId::of_wait(ids[0], "m", "w", base, Some(("a", 1))),
        ];
        spans.sort_unstable();
        spans.dedup();
        assert_eq!(spans.len(), 7);
    }
}
