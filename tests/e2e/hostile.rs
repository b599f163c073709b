//! Thousands of start events made to do harm, with good ones in between: every good one is traced, and that is all that
//! happens. `FARSPAN_HOSTILE_SEED` replays.

use crate::support::api::{END, START, completed};
use crate::support::program::Farspan;
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually};
use std::collections::HashSet;

const EVENTS: usize = 5_400;
const STREAM: &str = "hostile";
const EVENT_BYTES_MAX: usize = 1 << 20;
const ID_BYTES_MAX: usize = 512;
/// Of a debug build with 16 pollers; all events together are more than ten times that.
const MEMORY_KIB_MAX: u64 = 48 * 1024;
const LINE_BYTES_MAX: usize = 8 * 1024;

#[test]
fn over_pubsub() {
    let mut rng = Rng::seeded();
    let events = events(&mut rng);
    let rig = Rig::new();
    script(&rig, &events);
    // Redis would drop a subscriber that is 32 MiB behind, and this one runs a debug build.
    let _: String = rig.redis.ask(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 0 0 0",
    ]);
    let farspan = rig.start();
    let messages = events.iter().map(|event| &*event.bytes);
    rig.redis.publish_all(CHANNEL, messages);
    let log = assert_only_good_ones(&rig, farspan, &events, || Ok(()));
    let good = events.iter().filter(|event| event.id.is_some()).count();
    // At `debug` each good one has two lines of its own.
    let lines = log.lines().count();
    assert!(lines < 2 * good + 100, "{lines} lines");
    assert_told(&log, "malformed start event");
}

#[test]
fn in_a_stream() {
    let mut rng = Rng::seeded();
    let mut events = events(&mut rng);
    let rig = Rig::new();
    // Entries whose own fields are the event, besides those with a message.
    let fields: Vec<Fields> = (0..300).map(|n| fields(&mut rng, n)).collect();
    script(&rig, &events);
    let mut connection = redis::Client::open(rig.redis.url())
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let mut dead = HashSet::new();
    for chunk in events.chunks(100) {
        let mut pipe = redis::pipe();
        for event in chunk {
            let add = pipe.cmd("XADD").arg(STREAM).arg("*");
            add.arg("message").arg(&event.bytes);
        }
        let ids: Vec<String> = pipe.query(&mut connection).expect("XADD");
        let entries = ids.into_iter().zip(chunk);
        let malformed = entries.filter(|(_, event)| event.id.is_none());
        dead.extend(malformed.map(|(id, _)| id));
    }
    for pairs in &fields {
        let mut add = redis::cmd("XADD");
        add.arg(STREAM).arg("*");
        for (name, value) in pairs {
            add.arg(name).arg(value);
        }
        let id: String = add.query(&mut connection).expect("XADD");
        dead.insert(id);
    }
    // Ids as fields are taken as they are.
    for n in 0..100 {
        let id = trick(&mut rng, EVENTS + n);
        rig.api.script(&id, [completed(&id).reply()]);
        let mut add = redis::cmd("XADD");
        add.arg(STREAM).arg("*").arg("workflow_id").arg(&id);
        add.exec(&mut connection).expect("XADD");
        events.push(Event {
            id: Some(id),
            bytes: Vec::new(),
        });
    }
    let call = rig.call().env("FARSPAN_REDIS_STREAM", STREAM);
    let call = call.env("FARSPAN_LOG", "info");
    let farspan = rig.start_call(&call);
    let settled = || match rig.redis.pending(STREAM) {
        0 => Ok(()),
        pending => Err(format!("{pending} pending")),
    };
    let log = assert_only_good_ones(&rig, farspan, &events, settled);
    let good = events.iter().filter(|event| event.id.is_some()).count();
    // At `info` each good one has a line at its end.
    let lines = log.lines().count();
    assert!(lines < good + 100, "{lines} lines: {log}");
    assert_told(&log, &format!("moved to {STREAM}.dead: "));
    assert_eq!(rig.redis.pending(STREAM), 0);

    let mut after = "-".to_owned();
    let mut buried = HashSet::new();
    loop {
        let page: Vec<(String, Fields)> = rig.redis.ask(&[
            "XRANGE",
            &format!("{STREAM}.dead"),
            &after,
            "+",
            "COUNT",
            "100",
        ]);
        for (_, fields) in &page {
            let [(reason, why), (id, of)] = &fields[..2] else {
                panic!("{fields:?}");
            };
            assert_eq!((&**reason, &**id), (&b"reason"[..], &b"id"[..]));
            assert!((5..400).contains(&why.len()), "{why:?}");
            let of = String::from_utf8(of.clone()).expect("an id");
            assert!(buried.insert(of), "buried twice");
        }
        match page.last() {
            Some((last, _)) => after = format!("({last}"),
            None => break,
        }
    }
    assert_eq!(buried.len(), dead.len());
    assert!(buried == dead, "every malformed entry, and no other");
}

/// A line for each kind of mistake, and not for each mistake.
#[track_caller]
fn assert_told(log: &str, what: &str) {
    let told = log.matches(what).count();
    assert!((5..40).contains(&told), "{told} times: {log}");
}

fn script(rig: &Rig, events: &[Event]) {
    let good: Vec<&String> = events
        .iter()
        .filter_map(|event| event.id.as_ref())
        .collect();
    for id in &good {
        rig.api.script(id, [completed(id).reply()]);
    }
    let distinct: HashSet<&&String> = good.iter().collect();
    assert_eq!(distinct.len(), good.len(), "the generator repeats itself");
    let bad = events.len() - good.len();
    assert!(
        good.len() > 1000 && bad > 1000,
        "{} good, {bad} bad",
        good.len()
    );
}

/// Waits for all of them, ends farspan and answers with its log.
#[track_caller]
fn assert_only_good_ones(
    rig: &Rig,
    mut farspan: Farspan,
    events: &[Event],
    settled: impl Fn() -> Result<(), String>,
) -> String {
    let good: HashSet<String> = events.iter().filter_map(|event| event.id.clone()).collect();
    let (count, mut before) = (good.len(), 0);
    // As long as there is progress, a slow machine has its time.
    while before < count {
        before = eventually("more traces", 2 * SOON, || {
            match rig.receiver.root_ids().len() {
                roots if roots > before => Ok(roots),
                roots => Err(format!("{roots} of {count}")),
            }
        });
    }
    // Bad ones may come behind the last good one.
    eventually("all is settled", SOON, settled);
    assert!(farspan.is_running());
    let peak = farspan.memory_kib("VmHWM");
    eprintln!("hostile: {count} good of {}, peak {peak} KiB", events.len());
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB at the most");
    let log = farspan.stop().stderr;
    let traces = assert_whole(&rig.receiver.spans());
    assert!(
        traces
            .keys()
            .eq(good.iter().collect::<std::collections::BTreeSet<_>>())
    );
    for trace in traces.values() {
        trace.root.assert_times(START, END);
        assert_eq!(trace.stages.len(), 3);
    }
    rig.receiver.assert_each_span_once();
    rig.api.assert_nothing_stray();
    for request in rig.api.server.requests() {
        let segment = request.target.strip_prefix("/risk/workflows/");
        let segment = segment.unwrap_or_else(|| panic!("left its path: {}", request.target));
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@%".contains(&byte);
        assert!(segment.bytes().all(safe), "{segment}");
        assert!(!matches!(segment, "." | ".." | ""), "{segment:?}");
        assert_eq!(request.header("X-Evil"), None, "{request:?}");
    }
    for line in log.split('\n') {
        assert!(line.len() < LINE_BYTES_MAX, "{} bytes: {line}", line.len());
        let raw = line.chars().find(|char| {
            let turns_text = matches!(char, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            char.is_control() || turns_text || *char == '\u{fffd}'
        });
        assert_eq!(raw, None, "{line}");
    }
    log
}

/// A message, and the id of the workflow that must be traced for it.
struct Event {
    id: Option<String>,
    bytes: Vec<u8>,
}

/// An entry of a stream.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn events(rng: &mut Rng) -> Vec<Event> {
    let mut events: Vec<Event> = (0..EVENTS)
        .map(|n| match rng.below(5) {
            0 => good(format!("plain-{n}")),
            1 | 2 => odd(rng, n),
            _ => Event {
                id: None,
                bytes: malformed(rng, n),
            },
        })
        .collect();
    events.extend(["...", "%", " "].map(|id| good(id.to_owned())));
    events
}

fn good(id: String) -> Event {
    let bytes = format!(r#"{{"WorkflowId":{}}}"#, json(&id)).into_bytes();
    Event {
        id: Some(id),
        bytes,
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a text")
}

/// An id that would do harm if a program took it for a path, a command or markup.
fn trick(rng: &mut Rng, n: usize) -> String {
    match rng.below(8) {
        0 => format!("{n}?all=true#top"),
        1 => format!("user:pw@example.com:1 {n}"),
        2 => format!("\u{202e}{n}\u{2066}\u{200f}\u{2028}"),
        3 => format!("\u{feff}{n}\u{1f4a3}\u{0301}"),
        4 => format!("%zz%25-{n}%"),
        5 => format!("..{n}"),
        6 => format!("{:x<1$}", format!("{n}-"), ID_BYTES_MAX),
        _ => format!("{n}-{}", "ü".repeat((ID_BYTES_MAX - 8) / 2)),
    }
}

/// An id that leaves its path once a proxy has decoded it.
fn leaving(rng: &mut Rng, n: usize) -> String {
    match rng.below(10) {
        0 => format!("../../admin/stray-{n}"),
        1 => format!("..%2f..%2fstray-{n}"),
        2 => format!("%2e%2e/stray-{n}/%2e%2e"),
        3 => format!("/stray-{n}"),
        4 => format!(r"..\..\stray-{n}"),
        5 => format!("http://user:pw@example.com:1/stray-{n}"),
        6 => format!("stray-{n}\r\nX-Evil: 1\r\n\r\nGET /{n} HTTP/1.1"),
        7 => format!("\0stray-{n}\0"),
        8 => format!("\u{1b}[2J\u{1b}]0;stray-{n}\u{7}\u{8}\u{9b}31m\u{85}"),
        _ => format!("%2500%250d%250astray-{n}"),
    }
}

/// Good, however it looks.
fn odd(rng: &mut Rng, n: usize) -> Event {
    let id = trick(rng, n);
    let quoted = json(&id);
    let text = match rng.below(14) {
        0..=4 => format!(r#"{{"WorkflowId":{quoted}}}"#),
        5 => format!("\u{feff}{{\"workflow_id\":{quoted}}}"),
        6 => format!(
            r#"{{"WorkflowId":{quoted},"workflowId":"stray-{n}","WorkflowId":"stray-{n}","workflow_id":null}}"#
        ),
        7 => format!(r#"{{"x":{},"WorkflowId":{quoted}}}"#, rng.digits(60_000)),
        8 => {
            let depth = rng.below(25_000);
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"x":{open}{close},"WorkflowId":{quoted}}}"#)
        }
        9 => {
            let wrong = rng.wrong();
            format!(r#"{{"WorkflowId":{quoted},"SubmittedAt":{wrong},"Timestamp":{wrong}}}"#)
        }
        10 => {
            let wrong = rng.wrong();
            format!(
                r#"{{"WorkflowId":{quoted},"traceparent":{wrong},"attributes":{wrong},"Attempt":{wrong}}}"#
            )
        }
        11 => {
            // Every character of the id as an escape.
            let escapes: String = id.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
            format!(r#"{{"\u0057orkflowId":"{escapes}"}}"#)
        }
        12 => {
            let bare = format!(r#"{{"WorkflowId":{quoted}}}"#);
            let space = " \t\r\n".repeat(EVENT_BYTES_MAX / 4);
            format!("{}{bare}", &space[..EVENT_BYTES_MAX - bare.len()])
        }
        _ => {
            let attributes: Vec<String> = (0..rng.below(300))
                .map(|k| format!(r#""\u0000{k}\u202e":"\u001b[0m{}""#, "y".repeat(k)))
                .collect();
            let attributes = attributes.join(",");
            format!(r#"{{"attributes":{{{attributes}}},"WorkflowId":{quoted}}}"#)
        }
    };
    Event {
        id: Some(id),
        bytes: text.into_bytes(),
    }
}

/// No start event, in one way or another.
fn malformed(rng: &mut Rng, n: usize) -> Vec<u8> {
    let whole = format!(r#"{{"SubmittedAt":"2024-07-05T06:57:51Z","WorkflowId":"stray-{n}"}}"#);
    let with_id = |id: &str| format!(r#"{{"WorkflowId":{id}}}"#);
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    let text = match rng.below(30) {
        0 => whole[..rng.below(whole.len())].to_owned(),
        1 => "[".repeat(1 + rng.below(EVENT_BYTES_MAX)),
        2 => r#"{"WorkflowId":"#.repeat(1 + rng.below(4_000)),
        3 => with_id(&nested("[", "]", 1 + rng.below(30_000))),
        4 => with_id(&nested(r#"{"a":"#, "}", 1 + rng.below(9_000))),
        5 => rng.digits(100 * 1024),
        6 => with_id(&rng.digits(100 * 1024)),
        7 => with_id(&rng.digits(50 * 1024)),
        8 => with_id(&format!("\"{}\"", rng.digits(50 * 1024))),
        9 => with_id(&format!("\"{}\"", "x".repeat(ID_BYTES_MAX + 1))),
        10 => with_id(&format!("\"{}\"", "../".repeat(200 + rng.below(10_000)))),
        11 => with_id(
            [
                "null", "true", "1.5", "-0.0", "1e999", "{}", "[]", "\"\"", "NaN",
            ][rng.below(9)],
        ),
        12 => [
            "",
            " ",
            "\n",
            "null",
            "17",
            "[]",
            "\"stray\"",
            "{}",
            "\u{feff}",
            "\0",
        ][rng.below(10)]
        .to_owned(),
        13 => with_id(&format!("\"{}\"", "y".repeat(EVENT_BYTES_MAX + 1 - 17))),
        14 => format!(
            "{whole}{}",
            " ".repeat(EVENT_BYTES_MAX + 1 - whole.len() + rng.below(50_000))
        ),
        15 => r#"{"Timestamp":"2024-07-05T06:57:51Z","workflow":"stray","Workflow-Id":"stray"}"#
            .to_owned(),
        16 => format!("{whole}{whole}"),
        17 => with_id("\"stray\u{1}\n\""),
        18 => with_id("\"stray\\ud800\""),
        19 => with_id("'stray'"),
        20 => with_id("\"stray\","),
        21 => format!("// {whole}"),
        22 => return rng.invalid_utf8(&whole),
        23 => {
            let utf16 = format!("\u{feff}{whole}");
            return utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
        }
        24 => return vec![0; rng.below(2_000)],
        25..=28 => with_id(&json(&leaving(rng, n))),
        _ => {
            let mut noise: Vec<u8> = (0..1 + rng.below(5_000)).map(|_| rng.byte()).collect();
            noise[0] = 0xff;
            return noise;
        }
    };
    text.into_bytes()
}

/// An entry whose fields are no start event.
fn fields(rng: &mut Rng, n: usize) -> Fields {
    let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let mut pairs = match rng.below(6) {
        0 => vec![pair("WorkflowId", b"")],
        1 => vec![pair("WorkflowId", b"stray\xff\xfe")],
        2 => vec![pair("workflow_id", "x".repeat(ID_BYTES_MAX + 1).as_bytes())],
        3 => vec![
            pair("message", &malformed(rng, n)),
            pair("WorkflowId", b"stray"),
        ],
        4 => vec![(vec![0xff, 0], vec![0xfe; 100])],
        _ => (0..500)
            .map(|k| pair(&format!("\u{202e}{k}"), b"\0"))
            .collect(),
    };
    if rng.below(2) == 0 {
        pairs.push(pair("padding", rng.digits(100 * 1024).as_bytes()));
    }
    pairs
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn seeded() -> Self {
        let seed = std::env::var("FARSPAN_HOSTILE_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
        eprintln!("FARSPAN_HOSTILE_SEED={seed}");
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn digits(&mut self, count: usize) -> String {
        let first = char::from(b'1' + self.byte() % 9);
        std::iter::once(first)
            .chain((1..count).map(|_| char::from(b'0' + self.byte() % 10)))
            .collect()
    }

    /// A value of the wrong type for whatever it is given to.
    fn wrong(&mut self) -> String {
        match self.below(10) {
            7 => "1e999".to_owned(),
            8 => format!("{}1{}", r#"{"a":"#.repeat(3_000), "}".repeat(3_000)),
            0 => "true".to_owned(),
            1 => "[[[]]]".to_owned(),
            2 => "-1e308".to_owned(),
            3 => json("9999-99-99T99:99:99Z\u{202e}\0"),
            4 => "12345678901234567890123".to_owned(),
            5 => r#"[1,{"a":null}]"#.to_owned(),
            6 => format!("[{}]", json(&"\u{1b}".repeat(1000))),
            _ => json(&"-".repeat(5000)),
        }
    }

    /// This text with a byte in it that is not UTF-8.
    fn invalid_utf8(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        // Within the id: after its quote.
        let at = text.find("stray").expect("an id") + self.below(5);
        bytes[at] = [0x80, 0xc0, 0xf5, 0xff][self.below(4)];
        bytes
    }
}
