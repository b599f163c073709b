//! The trace context that comes with an event, in whichever of seven formats it was written.
//!
//! A [`Carrier`] is what one place of an event holds of the formats' keys: an object of the event, the fields of a
//! stream's entry, the headers of a request. Keys are matched without regard to case, hyphens and underscores, so
//! `traceparent`, `TRACEPARENT`, `X-B3-TraceId` and `X_B3_TRACEID` are read alike.
//!
//! Where several formats are there, the first of [`Format`] that is well-formed counts. What is malformed is said, and
//! is never more than left out.
//!
//! Pure: no I/O.

use crate::core::event::Sampling;
use crate::core::ids::{SAMPLED, SpanId, TraceContext, TraceId};
use crate::core::limits;
use crate::core::limits::cut;
use crate::syntax::text::percent_decoded_lossy;
use opentelemetry::trace::TraceState;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// A way to write a trace context, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// <https://www.w3.org/TR/trace-context/>
    W3c,
    /// One key, `b3`. <https://github.com/openzipkin/b3-propagation#single-header>
    B3Single,
    /// `X-B3-TraceId` and the others. <https://github.com/openzipkin/b3-propagation#multiple-headers>
    B3Multi,
    /// `uber-trace-id`. <https://www.jaegertracing.io/docs/1.21/client-libraries/#propagation-format>
    Jaeger,
    /// `x-datadog-trace-id` and the others.
    Datadog,
    /// `X-Honeycomb-Trace`.
    Honeycomb,
    /// `X-Amzn-Trace-Id`. <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
    Xray,
}

impl Format {
    const ALL: [Format; 7] = [
        Format::W3c,
        Format::B3Single,
        Format::B3Multi,
        Format::Jaeger,
        Format::Datadog,
        Format::Honeycomb,
        Format::Xray,
    ];

    /// What is said of one that is malformed.
    fn mistake(self) -> &'static str {
        match self {
            Format::W3c => "traceparent is not a W3C trace context",
            Format::B3Single => "b3 is not a B3 trace context",
            Format::B3Multi => "X-B3-* is not a B3 trace context",
            Format::Jaeger => "uber-trace-id is not a Jaeger trace context",
            Format::Datadog => "x-datadog-* is not a Datadog trace context",
            Format::Honeycomb => "X-Honeycomb-Trace is not a Honeycomb trace context",
            Format::Xray => "X-Amzn-Trace-Id is not an AWS X-Ray trace context",
        }
    }
}

/// Which formats are read, and whether baggage is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Formats(u8);

impl Formats {
    /// None of them, and no baggage.
    pub const NONE: Formats = Formats(0);
    /// All of them, and baggage.
    pub const ALL: Formats = Formats(u8::MAX);
    /// The W3C baggage, which is no trace context.
    pub const BAGGAGE: Formats = Formats(1 << 7);
    /// The words of `OTEL_PROPAGATORS` that mean something here.
    /// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration>
    pub const WORDS: [(&str, Formats); 9] = [
        ("tracecontext", Formats::of(Format::W3c)),
        ("baggage", Formats::BAGGAGE),
        ("b3", Formats::B3),
        ("b3multi", Formats::B3),
        ("jaeger", Formats::of(Format::Jaeger)),
        ("datadog", Formats::of(Format::Datadog)),
        ("honeycomb", Formats::of(Format::Honeycomb)),
        ("xray", Formats::of(Format::Xray)),
        ("none", Formats::NONE),
    ];
    /// A B3 propagator reads both, whichever it writes.
    const B3: Formats = Formats::of(Format::B3Single).with(Formats::of(Format::B3Multi));

    const fn of(format: Format) -> Formats {
        Formats(1 << format as u8)
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, others: Formats) -> Formats {
        Formats(self.0 | others.0)
    }

    /// Whether all of those are among these.
    pub const fn has(self, others: Formats) -> bool {
        self.0 & others.0 == others.0
    }
}

impl std::fmt::Debug for Formats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Formats::ALL {
            return f.write_str("all");
        }
        let words = Formats::WORDS.iter().filter(|(word, formats)| {
            *formats != Formats::NONE && *word != "b3multi" && self.has(*formats)
        });
        f.debug_set().entries(words.map(|(word, _)| word)).finish()
    }
}

/// What a well-formed carrier says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inherited {
    /// Whose child the workflow is, if the carrier names a span.
    pub parent: Option<TraceContext>,
    /// Who decides whether it is recorded.
    pub sampling: Sampling,
    /// Ids that had to be hashed to fit, as they were: attributes.
    pub originals: Vec<(&'static str, Box<str>)>,
}

macro_rules! keys {
    ($($key:ident = $name:literal),+ $(,)?) => {
        /// A key of some format, in lower case without hyphens and underscores.
        #[derive(Clone, Copy)]
        enum CarrierKey { $($key),+ }
        const KEYS: &[&str] = &[$($name),+];
    };
}

keys! {
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Baggage = "baggage",
    B3 = "b3",
    B3TraceId = "xb3traceid",
    B3SpanId = "xb3spanid",
    B3Sampled = "xb3sampled",
    B3Flags = "xb3flags",
    Uber = "ubertraceid",
    DatadogTrace = "xdatadogtraceid",
    DatadogParent = "xdatadogparentid",
    DatadogPriority = "xdatadogsamplingpriority",
    DatadogTags = "xdatadogtags",
    Honeycomb = "xhoneycombtrace",
    Amzn = "xamzntraceid",
    AwsHeader = "awstraceheader",
}

/// Whether a key is this name, whatever its case, hyphens and underscores.
fn is_named(key: &str, name: &str) -> bool {
    let letters = key.bytes().filter(|b| !matches!(b, b'_' | b'-'));
    letters.map(|b| b.to_ascii_lowercase()).eq(name.bytes())
}

/// Whether a format uses this key.
pub fn is_key(key: &str) -> bool {
    KEYS.iter().any(|name| is_named(key, name))
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Carrier<'a>([Option<Cow<'a, str>>; KEYS.len()]);

impl Default for Carrier<'_> {
    fn default() -> Self {
        Carrier([const { None }; KEYS.len()])
    }
}

impl<'a> Carrier<'a> {
    /// Of these keys and values those that a format uses.
    pub fn of<V: Into<Cow<'a, str>>>(pairs: impl IntoIterator<Item = (&'a str, V)>) -> Self {
        let mut carrier = Carrier::default();
        for (key, value) in pairs {
            carrier.put(key, value);
        }
        carrier
    }

    /// Of a text that is a whole context in one of the formats that need but one key; `None` where it looks like none.
    pub fn of_text(text: &'a str) -> Option<Self> {
        let is_hex_then_hyphen = |text: &str| {
            let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
            matches!(digits, 16 | 32) && text[digits..].starts_with('-')
        };
        let key = match text.trim() {
            text if text.starts_with("1;") => "x-honeycomb-trace",
            text if text.starts_with("Root=") => "x-amzn-trace-id",
            text if text.len() >= 55 && text.as_bytes()[2] == b'-' => "traceparent",
            text if text.split(':').count() == 4 => "uber-trace-id",
            text if is_hex_then_hyphen(text) => "b3",
            _ => return None,
        };
        Some(Carrier::of([(key, text)]))
    }

    /// Puts a value in, if a format uses the key. The first of equal keys counts, but those that are lists are one
    /// list, as the lines of an HTTP header are.
    pub fn put(&mut self, key: &str, value: impl Into<Cow<'a, str>>) {
        let Some(place) = KEYS.iter().position(|name| is_named(key, name)) else {
            return;
        };
        let is_list =
            place == CarrierKey::Tracestate as usize || place == CarrierKey::Baggage as usize;
        match &mut self.0[place] {
            Some(known) if is_list => {
                let known = known.to_mut();
                known.push(',');
                known.push_str(&value.into());
            }
            Some(_) => {}
            none => *none = Some(value.into()),
        }
    }

    fn get(&self, key: CarrierKey) -> Option<&str> {
        Some(self.0[key as usize].as_deref()?.trim())
    }

    /// The context, and what is to be said of one that is malformed.
    pub fn read(&self, formats: Formats) -> (Option<Inherited>, Option<&'static str>) {
        let mut mistake = None;
        for format in Format::ALL {
            if !formats.has(Formats::of(format)) {
                continue;
            }
            match self.read_as(format) {
                None => {}
                Some(Some(inherited)) => {
                    if format == Format::W3c && self.drops_trace_state(&inherited) {
                        mistake
                            .get_or_insert("tracestate is not a W3C trace state; it is left out");
                    }
                    return (Some(inherited), mistake);
                }
                Some(None) => {
                    mistake.get_or_insert(format.mistake());
                }
            }
        }
        (None, mistake)
    }

    /// `None` where nothing of the format is there, `Some(None)` where it is malformed.
    fn read_as(&self, format: Format) -> Option<Option<Inherited>> {
        Some(match format {
            Format::W3c => self.w3c()?,
            Format::B3Single => b3_single(self.get(CarrierKey::B3)?),
            Format::B3Multi => self.b3_multi()?,
            Format::Jaeger => jaeger(self.get(CarrierKey::Uber)?),
            Format::Datadog => self.datadog()?,
            Format::Honeycomb => honeycomb(self.get(CarrierKey::Honeycomb)?),
            Format::Xray => xray(
                self.get(CarrierKey::Amzn)
                    .or_else(|| self.get(CarrierKey::AwsHeader))?,
            ),
        })
    }

    fn drops_trace_state(&self, inherited: &Inherited) -> bool {
        let is_there = self
            .get(CarrierKey::Tracestate)
            .is_some_and(|it| !it.is_empty());
        let parent = inherited.parent.as_ref();
        is_there && parent.is_some_and(|parent| parent.trace_state.is_none())
    }

    fn w3c(&self) -> Option<Option<Inherited>> {
        let parent = self.get(CarrierKey::Traceparent)?;
        let state = self.get(CarrierKey::Tracestate).and_then(trace_state);
        let parent = TraceContext::from_w3c(parent, state.as_deref());
        Some(parent.map(|parent| Inherited {
            parent: Some(parent),
            ..Inherited::default()
        }))
    }

    fn b3_multi(&self) -> Option<Option<Inherited>> {
        let (trace, span) = (
            self.get(CarrierKey::B3TraceId),
            self.get(CarrierKey::B3SpanId),
        );
        let (sampled, flags) = (
            self.get(CarrierKey::B3Sampled),
            self.get(CarrierKey::B3Flags),
        );
        [trace, span, sampled, flags].into_iter().flatten().next()?;
        let read = || {
            let decision = match (flags, sampled) {
                (Some("1"), _) => Some(true),
                (_, None) => None,
                (_, Some(word)) => Some(truth(word)?),
            };
            match (trace, span) {
                (None, None) => Some(without_ids(decision)),
                _ => child(b3_trace_id(trace?)?, b3_span_id(span?)?, decision),
            }
        };
        Some(read())
    }

    fn datadog(&self) -> Option<Option<Inherited>> {
        let (trace, span) = (
            self.get(CarrierKey::DatadogTrace),
            self.get(CarrierKey::DatadogParent),
        );
        if trace.is_none() && span.is_none() {
            return None;
        }
        let read = || {
            let lower: u64 = decimal(trace?)?;
            let decision = match self.get(CarrierKey::DatadogPriority) {
                Some(priority) => Some(priority.parse::<i64>().ok()? > 0),
                None => None,
            };
            let tags = self.get(CarrierKey::DatadogTags).unwrap_or_default();
            let tid = tags
                .split(',')
                .find_map(|tag| tag.trim().strip_prefix("_dd.p.tid="));
            // Datadog's own tracers leave a bad one out and go on with the lower half.
            let upper = tid
                .filter(|tid| tid.len() == 16)
                .and_then(hex)
                .unwrap_or_default();
            // A lower half of zero is no id to Datadog.
            (lower != 0).then_some(())?;
            child(upper << 64 | u128::from(lower), decimal(span?)?, decision)
        };
        Some(read())
    }

    /// The values of these keys in the W3C baggage, decoded, each at most once.
    /// <https://www.w3.org/TR/baggage/#baggage-http-header-format>
    pub fn baggage(&self, wanted: &[Box<str>]) -> Option<Vec<(Box<str>, Box<str>)>> {
        let text = self.get(CarrierKey::Baggage)?;
        let mut found: Vec<(Box<str>, Box<str>)> = Vec::new();
        if text.len() > limits::BAGGAGE_BYTES_MAX {
            return Some(found);
        }
        for member in text.split(',').take(limits::BAGGAGE_MEMBERS_MAX) {
            // Behind the first semicolon stand properties.
            let pair = member.split(';').next().unwrap_or_default();
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let key = percent_decoded_lossy(key.trim());
            if wanted.iter().any(|wanted| **wanted == *key)
                && !found.iter().any(|(known, _)| **known == *key)
            {
                let value = percent_decoded_lossy(value.trim());
                found.push((key.into(), cut(&value, limits::ATTRIBUTE_BYTES_MAX).into()));
            }
        }
        Some(found)
    }
}

fn child(trace_id: u128, span_id: u64, decision: Option<bool>) -> Option<Inherited> {
    let parent = TraceContext {
        trace_id: TraceId::from_bytes(trace_id.to_be_bytes())?,
        span_id: SpanId::from_bytes(span_id.to_be_bytes())?,
        trace_flags: if decision == Some(true) { SAMPLED } else { 0 },
        trace_state: None,
    };
    let sampling = match decision {
        Some(_) => Sampling::AsParent,
        None => Sampling::Undecided,
    };
    Some(Inherited {
        parent: Some(parent),
        sampling,
        originals: Vec::new(),
    })
}

/// A decision that names no span.
fn without_ids(decision: Option<bool>) -> Inherited {
    let sampling = match decision {
        Some(false) => Sampling::Dropped,
        Some(true) | None => Sampling::Undecided,
    };
    Inherited {
        sampling,
        ..Inherited::default()
    }
}

/// `{trace}-{span}[-{0,1,d}[-{parent}]]`, or the state alone.
fn b3_single(text: &str) -> Option<Inherited> {
    let state = |word| match word {
        "0" => Some(false),
        "1" | "d" => Some(true),
        _ => None,
    };
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    match parts[..] {
        [word] => Some(without_ids(Some(state(word)?))),
        [trace, span] => child(b3_trace_id(trace)?, b3_span_id(span)?, None),
        [trace, span, word] => child(b3_trace_id(trace)?, b3_span_id(span)?, Some(state(word)?)),
        [trace, span, word, parent] => {
            b3_span_id(parent)?;
            child(b3_trace_id(trace)?, b3_span_id(span)?, Some(state(word)?))
        }
        _ => None,
    }
}

fn b3_trace_id(text: &str) -> Option<u128> {
    hex(text).filter(|_| matches!(text.len(), 16 | 32))
}

fn b3_span_id(text: &str) -> Option<u64> {
    let id = hex(text).filter(|_| text.len() == 16)?;
    id.try_into().ok()
}

/// `{trace}:{span}:{parent}:{flags}`, in an HTTP header percent-encoded.
fn jaeger(text: &str) -> Option<Inherited> {
    let text = percent_decoded_lossy(text);
    let parts: Vec<&str> = text.splitn(5, ':').collect();
    let [trace, span, parent, flags] = parts[..] else {
        return None;
    };
    // Deprecated, and 0 where there is none.
    let _: u64 = hex(parent)?.try_into().ok()?;
    let flags: u8 = hex(flags)?.try_into().ok()?;
    let (sampled, debug) = (flags & 1 != 0, flags & 2 != 0);
    child(
        hex(trace)?,
        hex(span)?.try_into().ok()?,
        Some(sampled || debug),
    )
}

/// `1;trace_id=..,parent_id=..[,dataset=..],context=..`. Only what is recorded is passed on.
fn honeycomb(text: &str) -> Option<Inherited> {
    let clauses = || {
        text.strip_prefix("1;")
            .into_iter()
            .flat_map(|it| it.split(','))
    };
    let clause = |wanted: &str| {
        let mut clauses = clauses().filter_map(|clause| clause.trim().split_once('='));
        let (_, value) = clauses.find(|(key, value)| *key == wanted && !value.is_empty())?;
        Some(value)
    };
    let (trace, span) = (clause("trace_id")?, clause("parent_id")?);
    let is_uuid = trace.len() == 36
        && (trace.bytes().enumerate())
            .all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23));
    let plain = if is_uuid {
        trace.replace('-', "")
    } else {
        trace.to_owned()
    };
    let trace_id = hex(&plain).filter(|_| matches!(plain.len(), 16 | 32));
    let span_id = hex(span).filter(|_| span.len() == 16);
    let mut originals = Vec::new();
    let mut hashed = |name, original: &str| {
        let kept = cut(original, limits::ATTRIBUTE_BYTES_MAX);
        originals.push((name, Box::from(kept)));
        let hash: [u8; 32] = Sha256::digest(original.as_bytes()).into();
        let half: [u8; 16] = std::array::from_fn(|at| hash[at]);
        u128::from_be_bytes(half)
    };
    let trace_id = trace_id.unwrap_or_else(|| hashed("honeycomb.trace_id", trace));
    let span_id = span_id.unwrap_or_else(|| hashed("honeycomb.parent_id", span) >> 64);
    let inherited = child(trace_id, span_id.try_into().ok()?, Some(true))?;
    Some(Inherited {
        originals,
        ..inherited
    })
}

/// `Root=1-8hex-24hex;Parent=16hex;Sampled=0 or 1`. A load balancer names only a root, which is not a span.
fn xray(text: &str) -> Option<Inherited> {
    let field = |wanted: &str| {
        let mut fields = text
            .split(';')
            .filter_map(|field| field.trim().split_once('='));
        let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim())
    };
    let decision = match field("Sampled") {
        None | Some("" | "?") => None,
        Some(word) => Some(truth(word)?),
    };
    let root: Vec<&str> = field("Root")?.splitn(4, '-').collect();
    let ["1", time, random] = root[..] else {
        return None;
    };
    let trace_id = hex(time).filter(|_| time.len() == 8)? << 96
        | hex(random).filter(|_| random.len() == 24)?;
    match field("Parent") {
        Some(span) => child(trace_id, b3_span_id(span)?, decision),
        None => Some(without_ids(decision)),
    }
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "true" | "True" | "TRUE" => Some(true),
        "0" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// 1 to 32 hexadecimal digits, with zeros put before them.
fn hex(text: &str) -> Option<u128> {
    // `from_str_radix` would take a sign too.
    let digits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// As the SDK's type writes what it has read; `None` for what it refuses. So the exporter, which reads it again, sends it
/// unchanged.
fn trace_state(text: &str) -> Option<String> {
    let state: TraceState = text.parse().ok()?;
    Some(state.header()).filter(|text| !text.is_empty())
}

fn decimal(text: &str) -> Option<u64> {
    text.parse()
        .ok()
        .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(pairs: &[(&str, &str)], expected: Expect) {
        let (inherited, mistake) = Carrier::of(pairs.iter().copied()).read(Formats::ALL);
        expected.assert_eq(&told(inherited.as_ref(), mistake));
    }

    fn told(inherited: Option<&Inherited>, mistake: Option<&str>) -> String {
        let mut text = match inherited {
            None => "nothing".to_owned(),
            Some(it) => {
                let parent = it.parent.as_ref().map(|parent| {
                    let state = parent.trace_state.as_deref().unwrap_or_default();
                    let (trace, span) = (parent.trace_id, parent.span_id);
                    format!("{trace} {span} {:02x}{state}", parent.trace_flags)
                });
                let parent = parent.unwrap_or("no parent".into());
                format!("{parent} {:?}{}", it.sampling, originals(it))
            }
        };
        if let Some(mistake) = mistake {
            text += &format!("; {mistake}");
        }
        text
    }

    fn originals(inherited: &Inherited) -> String {
        let originals = inherited.originals.iter();
        originals
            .map(|(name, value)| format!(" {name}={value}"))
            .collect()
    }

    /// The examples of each format's own specification.
    #[test]
    fn w3c() {
        check(
            &[
                (
                    "traceparent",
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                ),
                ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            ],
            expect![
                "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 01rojo=00f067aa0ba902b7,congo=t61rcWkgMzE AsParent"
            ],
        );
        check(
            &[(
                "TRACEPARENT",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            )],
            expect!["4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 00 AsParent"],
        );
        check(
            &[(
                "traceparent",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            )],
            expect!["nothing; traceparent is not a W3C trace context"],
        );
        check(
            &[("traceparent", "")],
            expect!["nothing; traceparent is not a W3C trace context"],
        );
    }

    #[test]
    fn b3_in_one_key() {
        check(
            &[(
                "b3",
                "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
            )],
            expect!["80f198ee56343ba864fe8b2a57d3eff7 e457b5a2e4d86bd1 01 AsParent"],
        );
        check(
            &[("B3", "a3ce929d0e0e4736-00f067aa0ba902b7-d")],
            expect!["0000000000000000a3ce929d0e0e4736 00f067aa0ba902b7 01 AsParent"],
        );
        check(
            &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0")],
            expect!["80f198ee56343ba864fe8b2a57d3eff7 e457b5a2e4d86bd1 00 AsParent"],
        );
        check(
            &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1")],
            expect!["80f198ee56343ba864fe8b2a57d3eff7 e457b5a2e4d86bd1 00 Undecided"],
        );
        check(&[("b3", "0")], expect!["no parent Dropped"]);
        check(&[("b3", "1")], expect!["no parent Undecided"]);
        for bad in [
            "",
            "2",
            "-",
            "a3ce929d0e0e4736",
            "a3ce929d0e0e4736-00f067aa0ba902b",
            "a3ce929d0e0e473-00f067aa0ba902b7",
            "a3ce929d0e0e4736-00f067aa0ba902b7-x",
            "a3ce929d0e0e4736-0000000000000000-1",
            "0000000000000000-00f067aa0ba902b7-1",
            "a3ce929d0e0e4736-00f067aa0ba902b7-1-2",
            "a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90-1",
            "+3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            check(
                &[("b3", bad)],
                expect!["nothing; b3 is not a B3 trace context"],
            );
        }
    }

    #[test]
    fn b3_in_many_keys() {
        let ids = [
            ("X-B3-TraceId", "463ac35c9f6413ad48485a3953bb6124"),
            ("X-B3-SpanId", "a2fb4a1d1a96d312"),
        ];
        let [trace, span] = ids;
        check(
            &[
                trace,
                span,
                ("X-B3-ParentSpanId", "0020000000000001"),
                ("X-B3-Sampled", "1"),
            ],
            expect!["463ac35c9f6413ad48485a3953bb6124 a2fb4a1d1a96d312 01 AsParent"],
        );
        check(
            &[trace, span, ("x-b3-sampled", "false")],
            expect!["463ac35c9f6413ad48485a3953bb6124 a2fb4a1d1a96d312 00 AsParent"],
        );
        check(
            &[
                ("X_B3_TRACEID", trace.1),
                ("X_B3_SPANID", span.1),
                ("X_B3_FLAGS", "1"),
            ],
            expect!["463ac35c9f6413ad48485a3953bb6124 a2fb4a1d1a96d312 01 AsParent"],
        );
        check(
            &[trace, span],
            expect!["463ac35c9f6413ad48485a3953bb6124 a2fb4a1d1a96d312 00 Undecided"],
        );
        check(&[("X-B3-Sampled", "0")], expect!["no parent Dropped"]);
        check(
            &[trace],
            expect!["nothing; X-B3-* is not a B3 trace context"],
        );
        check(
            &[trace, span, ("X-B3-Sampled", "maybe")],
            expect!["nothing; X-B3-* is not a B3 trace context"],
        );
        check(
            &[trace, span, ("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-1")],
            expect!["0000000000000000a3ce929d0e0e4736 00f067aa0ba902b7 01 AsParent"],
        );
    }

    #[test]
    fn jaeger() {
        check(
            &[("uber-trace-id", "3bd7a6bd2c6fc7a7:5d8f2c1c0a3b9e11:0:1")],
            expect!["00000000000000003bd7a6bd2c6fc7a7 5d8f2c1c0a3b9e11 01 AsParent"],
        );
        check(
            &[("Uber-Trace-Id", "abc%3A1f%3a0%3A2")],
            expect!["00000000000000000000000000000abc 000000000000001f 01 AsParent"],
        );
        check(
            &[("uber-trace-id", "abc:1f:0:0")],
            expect!["00000000000000000000000000000abc 000000000000001f 00 AsParent"],
        );
        for bad in [
            "",
            ":::",
            "abc:1f:0",
            "abc:1f:0:0:0",
            "0:1f:0:1",
            "abc:0:0:1",
            "abc:1f:0:100",
            "463ac35c9f6413ad48485a3953bb61240:1f:0:1",
            "abc:463ac35c9f6413ad4:0:1",
        ] {
            check(
                &[("uber-trace-id", bad)],
                expect!["nothing; uber-trace-id is not a Jaeger trace context"],
            );
        }
    }

    #[test]
    fn datadog() {
        check(
            &[
                ("x-datadog-trace-id", "1234567890123456789"),
                ("x-datadog-parent-id", "9876543210987654321"),
                ("x-datadog-sampling-priority", "2"),
                ("x-datadog-tags", "_dd.p.dm=-4,_dd.p.tid=640cfd8d00000000"),
            ],
            expect!["640cfd8d00000000112210f47de98115 891087b8e3b70cb1 01 AsParent"],
        );
        check(
            &[
                ("X-Datadog-Trace-Id", "18446744073709551615"),
                ("X-Datadog-Parent-Id", "1"),
                ("X-Datadog-Sampling-Priority", "-1"),
                ("X-Datadog-Tags", "_dd.p.tid=nonsense"),
            ],
            expect!["0000000000000000ffffffffffffffff 0000000000000001 00 AsParent"],
        );
        check(
            &[("x-datadog-trace-id", "5"), ("x-datadog-parent-id", "6")],
            expect!["00000000000000000000000000000005 0000000000000006 00 Undecided"],
        );
        for (trace, span) in [
            ("0", "6"),
            ("5", "0"),
            ("18446744073709551616", "6"),
            ("+5", "6"),
            ("", "6"),
            ("5f", "6"),
        ] {
            check(
                &[("x-datadog-trace-id", trace), ("x-datadog-parent-id", span)],
                expect!["nothing; x-datadog-* is not a Datadog trace context"],
            );
        }
    }

    #[test]
    fn honeycomb() {
        check(
            &[(
                "X-Honeycomb-Trace",
                "1;trace_id=7f042f75651d9782dcff93a45fa99be0,parent_id=c998e73e5420f609,context=e30=",
            )],
            expect!["7f042f75651d9782dcff93a45fa99be0 c998e73e5420f609 01 AsParent"],
        );
        check(
            &[(
                "x-honeycomb-trace",
                "1;trace_id=3f2504e0-4f89-11d3-9a0c-0305e82c3301,parent_id=c998e73e5420f609,dataset=a%2Cb,context=eyJhIjoxfQ==",
            )],
            expect!["3f2504e04f8911d39a0c0305e82c3301 c998e73e5420f609 01 AsParent"],
        );
        check(
            &[(
                "x-honeycomb-trace",
                "1;trace_id=c998e73e5420f609,parent_id=c998e73e5420f609",
            )],
            expect!["0000000000000000c998e73e5420f609 c998e73e5420f609 01 AsParent"],
        );
        // The first 16 and the first 8 bytes of what sha256sum says.
        check(
            &[(
                "x-honeycomb-trace",
                "1;trace_id=weekly run,parent_id=step=2",
            )],
            expect![
                "4a5e4984e90c886bb773297c22f1b085 b8fe6c80ea47971f 01 AsParent honeycomb.trace_id=weekly run honeycomb.parent_id=step=2"
            ],
        );
        for bad in [
            "",
            "1;",
            "2;trace_id=c998e73e5420f609,parent_id=c998e73e5420f609",
            "1;trace_id=a",
            "1;trace_id=,parent_id=b",
            "1;trace_id=00000000000000000000000000000000,parent_id=c998e73e5420f609",
            "1;trace_id=a,parent_id=0000000000000000",
        ] {
            check(
                &[("x-honeycomb-trace", bad)],
                expect!["nothing; X-Honeycomb-Trace is not a Honeycomb trace context"],
            );
        }
    }

    #[test]
    fn xray() {
        check(
            &[(
                "X-Amzn-Trace-Id",
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            )],
            expect!["5759e988bd862e3fe1be46a994272793 53995c3f42cd8ad8 01 AsParent"],
        );
        check(
            &[(
                "AWSTraceHeader",
                "Self=1-0-0; Root=1-5759e988-bd862e3fe1be46a994272793; Parent=53995c3f42cd8ad8; Sampled=0; Lineage=a:1",
            )],
            expect!["5759e988bd862e3fe1be46a994272793 53995c3f42cd8ad8 00 AsParent"],
        );
        check(
            &[(
                "_X_AMZN_TRACE_ID",
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=?",
            )],
            expect!["5759e988bd862e3fe1be46a994272793 53995c3f42cd8ad8 00 Undecided"],
        );
        check(
            &[(
                "X-Amzn-Trace-Id",
                "Root=1-67891233-abcdef012345678912345678",
            )],
            expect!["no parent Undecided"],
        );
        for bad in [
            "",
            "Root=",
            "Parent=53995c3f42cd8ad8",
            "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "Root=1-5759e98-bd862e3fe1be46a994272793a;Parent=53995c3f42cd8ad8",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0000000000000000",
            "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8",
        ] {
            check(
                &[("x-amzn-trace-id", bad)],
                expect!["nothing; X-Amzn-Trace-Id is not an AWS X-Ray trace context"],
            );
        }
    }

    const B3: (&str, &str) = ("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-1");
    const W3C: (&str, &str) = (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );

    #[test]
    fn the_first_that_is_well_formed_counts() {
        check(
            &[B3, W3C],
            expect!["4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 01 AsParent"],
        );
        check(
            &[B3, ("traceparent", "00-0-0-0")],
            expect![
                "0000000000000000a3ce929d0e0e4736 00f067aa0ba902b7 01 AsParent; traceparent is not a W3C trace context"
            ],
        );
        check(&[("tracestate", "a=1")], expect!["nothing"]);
        check(&[("parent", "a"), ("", "b")], expect!["nothing"]);
    }

    #[test]
    fn only_what_is_asked_for_is_read() {
        let word = |wanted: &str| {
            Formats::WORDS
                .iter()
                .find(|(word, _)| *word == wanted)
                .unwrap()
                .1
        };
        let read = |formats| {
            Carrier::of([B3, W3C])
                .read(formats)
                .0
                .map(|it| it.parent.unwrap().trace_id.to_string())
        };
        assert!(read(word("none")).is_none());
        assert!(read(word("baggage").with(word("jaeger"))).is_none());
        assert_eq!(
            read(word("b3multi")).unwrap(),
            "0000000000000000a3ce929d0e0e4736"
        );
        assert_eq!(
            read(word("tracecontext")).unwrap(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(
            format!("{:?}", word("b3").with(word("xray"))),
            r#"{"b3", "xray"}"#
        );
    }

    #[test]
    fn a_whole_context_in_one_text() {
        for (text, known) in [
            (W3C.1, true),
            (B3.1, true),
            ("3bd7a6bd2c6fc7a7:5d8f2c1c0a3b9e11:0:1", true),
            (
                "1;trace_id=7f042f75651d9782dcff93a45fa99be0,parent_id=c998e73e5420f609",
                true,
            ),
            (
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
                true,
            ),
            ("DHL", false),
            ("", false),
            ("12:30:00", false),
            ("ä", false),
        ] {
            let carrier = Carrier::of_text(text);
            assert_eq!(carrier.is_some(), known, "{text}");
            if let Some(carrier) = carrier {
                assert!(carrier.read(Formats::ALL).0.is_some(), "{text}");
            }
        }
    }

    #[test]
    fn lines_of_a_list_are_one_list() {
        let carrier = Carrier::of([
            W3C,
            ("tracestate", "a=1"),
            ("TraceState", "b=2"),
            ("traceparent", "other"),
        ]);
        let (inherited, mistake) = carrier.read(Formats::ALL);
        assert_eq!(mistake, None);
        let parent = inherited.unwrap().parent.unwrap();
        assert_eq!(parent.trace_state.as_deref(), Some("a=1,b=2"));
    }

    #[test]
    fn baggage() {
        let read = |text: &str, wanted: &[&str]| {
            let wanted: Vec<Box<str>> = wanted.iter().map(|key| Box::from(*key)).collect();
            Carrier::of([("Baggage", text)])
                .baggage(&wanted)
                .map(|found| format!("{found:?}"))
        };
        // Of the specification.
        let text = "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue";
        assert_eq!(
            read(text, &["key2", "key1"]).unwrap(),
            r#"[("key1", "value1"), ("key2", "value2")]"#
        );
        let text = "serverNode=DF%2028,userId=Am%C3%A9lie,isProduction=false,userId=again";
        assert_eq!(
            read(text, &["userId", "serverNode"]).unwrap(),
            r#"[("serverNode", "DF 28"), ("userId", "Amélie")]"#
        );
        assert_eq!(
            read("a=%ff%4,b", &["a", "b"]).unwrap(),
            "[(\"a\", \"\u{fffd}%4\")]"
        );
        assert_eq!(read("a=1", &[]).unwrap(), "[]");
        assert_eq!(
            read(&format!("a=1,b={}", "x".repeat(8192)), &["a"]).unwrap(),
            "[]"
        );
        assert_eq!(Carrier::default().baggage(&["a".into()]), None);
    }

    #[test]
    fn any_text_is_read_or_left_out() {
        const KEYS_AND_VALUES: [(&str, &str); 8] = [
            W3C,
            B3,
            ("X-B3-TraceId", "463ac35c9f6413ad48485a3953bb6124"),
            ("X-B3-SpanId", "a2fb4a1d1a96d312"),
            ("uber-trace-id", "3bd7a6bd2c6fc7a7:5d8f2c1c0a3b9e11:0:1"),
            ("x-datadog-trace-id", "1234567890123456789"),
            (
                "x-honeycomb-trace",
                "1;trace_id=7f042f75651d9782dcff93a45fa99be0,parent_id=c998e73e5420f609",
            ),
            (
                "x-amzn-trace-id",
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            ),
        ];
        arbtest::arbtest(|u| {
            let (key, value) = *u.choose(&KEYS_AND_VALUES)?;
            let mut value = value.as_bytes().to_vec();
            for _ in 0..u.int_in_range(0..=4)? {
                let at = u.choose_index(value.len())?;
                value[at] = if u.arbitrary()? { b'0' } else { u.arbitrary()? };
            }
            value.truncate(u.int_in_range(0..=value.len())?);
            let value = String::from_utf8_lossy(&value);
            let key = if u.arbitrary()? {
                key.to_uppercase()
            } else {
                key.to_owned()
            };
            let other = (u.arbitrary::<&str>()?, u.arbitrary::<&str>()?);
            let carrier =
                Carrier::of([(key.as_str(), &*value), ("x-datadog-parent-id", "7"), other]);
            drop(carrier.baggage(&["a".into()]));
            drop(Carrier::of_text(&value).map(|carrier| carrier.read(Formats::ALL)));
            if let (Some(inherited), _) = carrier.read(Formats::ALL)
                && let Some(parent) = inherited.parent
            {
                assert_ne!(parent.trace_id.to_bytes(), [0; 16]);
                assert_ne!(parent.span_id.to_bytes(), [0; 8]);
            }
            Ok(())
        });
    }
}
