//! Identity: trace and span ids, and the W3C trace context they travel in.
//!
//! Ids are computed, not random: every instance gives the same run the same ids, before and after a restart.

use super::time::Wall;
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// A trace id. All-zero is invalid and cannot be expressed.
/// <https://www.w3.org/TR/trace-context/#trace-id>
///
/// Packed: a `u128` is aligned to 16 bytes, which would waste room in every type that holds one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(Rust, packed(8))]
pub struct TraceId(NonZeroU128);

/// A span id. All-zero is invalid and cannot be expressed.
/// <https://www.w3.org/TR/trace-context/#parent-id>
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

/// A span's trace context: what the headers `traceparent` and `tracestate` carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that the context names.
    pub span_id: SpanId,
    /// The flags, bit 0 `sampled`, bit 1 `random`.
    pub trace_flags: u8,
    /// Fields of tracing vendors, passed on unchanged.
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
    /// The id of a run's own trace, for a run without a parent: the first 16 bytes of a hash over monitor, workflow id
    /// and run version. Its right-most 56 bits are as good as random.
    /// <https://www.w3.org/TR/trace-context-2/#randomness-of-trace-id>
    pub fn of_run(monitor: &str, workflow_id: &str, version: RunVersion) -> Self {
        let hash = FieldHash::new()
            .text(monitor)
            .text(workflow_id)
            .bytes(&version.to_bytes())
            .finish();
        TraceId::from_bytes(first_bytes(&hash)).unwrap_or(TraceId(NonZeroU128::MIN))
    }
}

impl SpanId {
    /// The id of a span of a run (`stage` is `None`) or of a stage, given by its path and attempt. The run is part of
    /// the hash, because many workflows may share the trace of one parent.
    pub fn of_span(
        trace_id: TraceId,
        monitor: &str,
        workflow_id: &str,
        version: RunVersion,
        stage: Option<(&str, u32)>,
        shows: SpanShows,
    ) -> Self {
        let (path, attempt) = stage.unwrap_or_default();
        let fields = FieldHash::new()
            .bytes(&trace_id.to_bytes())
            .text(monitor)
            .text(workflow_id)
            .bytes(&version.to_bytes())
            .text(path)
            .bytes(&attempt.to_be_bytes());
        let fields = match shows {
            SpanShows::Work => fields,
            SpanShows::Wait | SpanShows::Start => fields.text(shows.word()),
        };
        SpanId::from_bytes(first_bytes(&fields.finish())).unwrap_or(SpanId(NonZeroU64::MIN))
    }
}

/// What a span shows of a run or of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanShows {
    /// All of it.
    Work,
    /// How long it waited for its start.
    Wait,
    /// That it has started. The span that is exported at its end has another id: a backend keeps the first span of an
    /// id alone.
    Start,
}

impl SpanShows {
    /// The word that stands in the name of the span and in the hash of its id. It may never change.
    pub fn word(self) -> &'static str {
        match self {
            SpanShows::Work => "",
            SpanShows::Wait => "queued",
            SpanShows::Start => "started",
        }
    }
}

/// What tells two runs of one workflow id apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunVersion {
    /// Neither attempt nor submission time is known: the workflow id has one run.
    Only,
    /// The attempt in the start event.
    Attempt(u32),
    /// The submission time, for a start event without an attempt.
    Submitted(Wall),
}

impl RunVersion {
    fn to_bytes(self) -> [u8; 9] {
        let (tag, number) = match self {
            RunVersion::Only => (0, 0),
            RunVersion::Attempt(attempt) => (1, i64::from(attempt)),
            RunVersion::Submitted(at) => (2, at.as_unix_ns()),
        };
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }
}

/// The rule by which a monitor tells the runs of one workflow id apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunIdentity {
    /// By the attempt in the start event, else by its submission time.
    #[default]
    Event,
    /// By the attempt alone; an event without one means the first. For runs that several sources announce: not every
    /// source knows the attempt, and each may know another submission time.
    Attempt,
}

impl RunIdentity {
    /// The version of the run that has this attempt and submission time.
    pub fn version(self, attempt: Option<u32>, submitted_at: Option<Wall>) -> RunVersion {
        match (self, self.attempt(attempt), submitted_at) {
            (RunIdentity::Attempt, None | Some(1), _) | (RunIdentity::Event, None, None) => {
                RunVersion::Only
            }
            (_, Some(attempt), _) => RunVersion::Attempt(attempt),
            (RunIdentity::Event, None, Some(at)) => RunVersion::Submitted(at),
        }
    }

    /// The version of the run that is the attempt before this one. `None` for the first.
    pub fn before(self, attempt: u32) -> Option<RunVersion> {
        (attempt > 1).then(|| self.version(Some(attempt - 1), None))
    }

    /// Whether one attempt is known to come before another of the same workflow id.
    pub fn is_earlier(self, attempt: Option<u32>, than: Option<u32>) -> bool {
        let attempts = self.attempt(attempt).zip(self.attempt(than));
        attempts.is_some_and(|(attempt, than)| attempt < than)
    }

    /// The number that counts for comparisons.
    fn attempt(self, attempt: Option<u32>) -> Option<u32> {
        match self {
            RunIdentity::Event => attempt,
            RunIdentity::Attempt => Some(attempt.unwrap_or(1).max(1)),
        }
    }
}

/// The key of a workflow (a hash over monitor and workflow id) or of one run of it (with the run version).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey([u8; 16]);

impl RunKey {
    /// The key of a workflow.
    pub fn of(monitor: &str, workflow_id: &str) -> Self {
        RunKey(first_bytes(
            &FieldHash::new().text(monitor).text(workflow_id).finish(),
        ))
    }

    /// The key of one run of this workflow.
    pub fn of_version(self, version: RunVersion) -> Self {
        RunKey(first_bytes(
            &FieldHash::new()
                .bytes(&self.0)
                .bytes(&version.to_bytes())
                .finish(),
        ))
    }

    /// The key as it is stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// A key as it was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        RunKey(bytes)
    }

    /// A number that spreads the first polls of many workflows over time.
    pub fn spread(self) -> u64 {
        u64::from_be_bytes(first_bytes(&self.0))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// SHA-256 over fields, each after its length, so that no two lists of fields hash the same bytes.
struct FieldHash(sha2::Sha256);

impl FieldHash {
    fn new() -> Self {
        FieldHash(sha2::Sha256::default())
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
    /// Reads the W3C headers. `None` for a `traceparent` that the specification calls invalid. An invalid `tracestate`
    /// is left out and the rest counts, as the specification asks.
    /// <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
    pub fn from_w3c(traceparent: &str, tracestate: Option<&str>) -> Option<TraceContext> {
        let bytes = traceparent.trim_matches([' ', '\t']).as_bytes();
        let (known, later) = bytes.split_at_checked(55)?;
        let [v1, v2, b'-', rest @ ..] = known else {
            return None;
        };
        let version = hex::<1>(&[*v1, *v2])?[0];
        // A later version may add fields after the flags; version 00 has none.
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

    /// The flag `sampled`: the submitter records its part of the trace.
    pub fn sampled(&self) -> bool {
        self.trace_flags & SAMPLED != 0
    }
}

/// Bit 0 of the trace flags.
/// <https://www.w3.org/TR/trace-context/#sampled-flag>
pub const SAMPLED: u8 = 1;
/// Bit 1 of the trace flags: the trace id is random. farspan passes it on unchanged.
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
    // Empty members are allowed and do not count.
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

    /// These values will be in users' backends: they may never change.
    #[test]
    fn ids_never_change() {
        let submitted = RunVersion::Submitted(Wall::from_unix_ns(1_720_162_671_073_740_700));
        let trace = TraceId::of_run("default", "704c0b60", submitted);
        let span =
            |stage, shows| SpanId::of_span(trace, "default", "704c0b60", submitted, stage, shows);
        let stage = Some(("DataLoader", 1));
        let (root, work) = (span(None, SpanShows::Work), span(stage, SpanShows::Work));
        expect_test::expect!["81f0b1b10d47d2b29d1d2d9a8dad06cd 5453d017cb450617 575db11fbe46cf56"]
            .assert_eq(&format!("{trace} {root} {work}"));
        let (wait, start) = (span(stage, SpanShows::Wait), span(stage, SpanShows::Start));
        expect_test::expect!["0464cfbd2b587d95 13f11ba62206a333"]
            .assert_eq(&format!("{wait} {start}"));
    }

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
        let versions = |by: RunIdentity| announced.map(|(attempt, at)| by.version(attempt, at));
        use RunVersion::{Attempt, Only, Submitted};
        assert_eq!(
            versions(RunIdentity::Event),
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
            versions(RunIdentity::Attempt),
            [Only, Only, Only, Only, Attempt(2), Attempt(2)]
        );
        for (by, before_second) in [
            (RunIdentity::Event, Attempt(1)),
            (RunIdentity::Attempt, Only),
        ] {
            let before = [0, 1, 2, 3].map(|attempt| by.before(attempt));
            assert_eq!(before, [None, None, Some(before_second), Some(Attempt(2))]);
        }
        let earlier =
            |by: RunIdentity| announced.map(|(attempt, _)| by.is_earlier(attempt, Some(2)));
        let are = [false, false, true, true, false, false];
        assert_eq!(earlier(RunIdentity::Event), are);
        let are = [true, true, true, true, false, false];
        assert_eq!(earlier(RunIdentity::Attempt), are);
        assert!(!RunIdentity::Event.is_earlier(Some(1), None));
        assert!(!RunIdentity::Attempt.is_earlier(Some(2), None));
    }

    #[test]
    fn every_field_is_part_of_an_id() {
        let base = RunVersion::Attempt(1);
        let mut ids = vec![
            TraceId::of_run("m", "w", base),
            TraceId::of_run("mw", "", base),
            TraceId::of_run("", "mw", base),
            TraceId::of_run("m", "w", RunVersion::Attempt(2)),
            TraceId::of_run("m", "w", RunVersion::Only),
            TraceId::of_run("m", "w", RunVersion::Submitted(Wall::from_unix_ns(1))),
        ];
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6);
        let of = |version, stage, shows| SpanId::of_span(ids[0], "m", "w", version, stage, shows);
        let span = |version, stage| of(version, stage, SpanShows::Work);
        let mut spans = vec![
            span(base, None),
            span(base, Some(("a", 1))),
            span(base, Some(("a", 2))),
            span(base, Some(("b", 1))),
            span(RunVersion::Attempt(2), None),
            of(base, None, SpanShows::Wait),
            of(base, Some(("a", 1)), SpanShows::Wait),
            of(base, None, SpanShows::Start),
            of(base, Some(("a", 1)), SpanShows::Start),
        ];
        spans.sort_unstable();
        spans.dedup();
        assert_eq!(spans.len(), 9);
    }
}
