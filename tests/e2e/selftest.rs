//! The support can be trusted: its servers do what they claim, its checks find what they look for.

use crate::support::api::{completed, json_answer};
use crate::support::http::{Answer, Reply, Server};
use crate::support::proxy::Proxy;
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::spans::{assert_whole, trace_text};
use crate::support::{SOON, ns, percent_decoded, wall_ns, within};
use expect_test::expect;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[test]
fn every_fault_looks_on_the_wire_as_it_should() {
    let answer = Answer::new(200).body("text/plain", "hello");
    let whole =
        "HTTP/1.1 200 Whatever\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    let head = "HTTP/1.1 200 Whatever\r\nContent-Type: text/plain\r\n";
    let cases = [
        (answer.clone().into(), whole.to_owned()),
        (
            Reply::Drip(answer.clone(), Duration::ZERO),
            whole.to_owned(),
        ),
        (
            Reply::Late(Duration::from_millis(10), Box::new(answer.clone().into())),
            whole.to_owned(),
        ),
        (
            Reply::Chunked(answer.clone(), 2),
            format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n2\r\nll\r\n1\r\no\r\n0\r\n\r\n"
            ),
        ),
        (
            Reply::Truncated(answer),
            format!("{head}Content-Length: 1005\r\n\r\nhello"),
        ),
        (Reply::Raw(b"what".to_vec()), "what".to_owned()),
        (Reply::Close, String::new()),
    ];
    for (reply, expected) in cases {
        let server = Server::start(move |_| reply.clone());
        let got = exchange(&server, b"GET /a?b#c HTTP/1.1\r\nX-Y: z\r\n\r\n");
        assert_eq!(got, expected);
        let request = &server.requests()[0];
        assert_eq!((&*request.method, &*request.target), ("GET", "/a?b#c"));
        assert_eq!(request.header("x-y"), Some("z"));
    }
}

#[test]
fn a_server_reads_bodies_and_keeps_connections_until_it_is_stopped() {
    let mut server = Server::start(|_| Answer::new(204).into());
    let requests = b"POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
        POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
        GET /3 HTTP/1.1\r\n\r\n";
    exchange(&server, requests);
    let seen = server.requests();
    let bodies: Vec<&[u8]> = seen.iter().map(|request| &*request.body).collect();
    assert_eq!(bodies, [&b"abc"[..], b"def", b""]);
    assert!(seen.iter().all(|request| request.connection == 0));

    server.stop();
    TcpStream::connect(server.address()).expect_err("refused");
    server.resume();
    server.refuse(true);
    assert_eq!(exchange(&server, b""), "", "closed at once");
    server.refuse(false);
    assert!(exchange(&server, b"GET / HTTP/1.1\r\n\r\n").contains("204"));
}

#[test]
fn a_hanging_answer_ends_with_the_server() {
    let mut server = Server::start(|_| Reply::Hang);
    let mut stream = TcpStream::connect(server.address()).expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let request = within(SOON, || !server.requests().is_empty());
    request.expect("the request arrives");
    server.stop();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn redis_is_real_and_comes_back_on_its_port() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    assert_eq!(redis.publish(CHANNEL, b"to nobody"), 0);
    assert_eq!(redis.subscribers(CHANNEL), 0);
    redis.stop();
    redis.resume();
    assert_eq!(redis.url(), url);
    assert_eq!(redis.publish(CHANNEL, b"to nobody"), 0);
}

#[test]
fn a_whole_trace_is_found_whole_and_readable() {
    let receiver = Receiver::start();
    let request = request(two_spans());
    let zipped = gzip(&request.encode_to_vec());
    let answer = post(&receiver, &zipped, "Content-Encoding: gzip\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let spans = receiver.spans();
    let traces = assert_whole(&spans);
    assert_eq!(traces["w"].stage_names(), ["DataLoader"]);
    assert!(receiver.has_root("w") && !receiver.has_root("v"));
    receiver.assert_each_span_once();
    let expected = expect![[r#"
        resource
          service.name=farspan
        scope farspan <version>
        Workflow SPAN_KIND_INTERNAL
          trace: 01010101010101010101010101010101
          parent: 0909090909090909
          flags: 0x301
          start: 2024-07-05T06:57:56.1234567Z
          end: 2024-07-05T09:00:00Z
          status: STATUS_CODE_OK
          attribute: cicd.pipeline.run.id=w
          attribute: workflowId=w
        DataLoader SPAN_KIND_INTERNAL
          trace: 01010101010101010101010101010101
          parent: Workflow
          flags: 0x101
          start: 2024-07-05T06:57:56.1234567Z
          end: 2024-07-05T09:00:00Z
          status: STATUS_CODE_ERROR broken
          attribute: cicd.pipeline.run.id=w
          attribute: workflowId=w
          event: 2024-07-05T09:00:00Z Failed
    "#]];
    expected.assert_eq(&trace_text(&spans));
}

#[test]
fn a_proxy_is_slow_dark_or_cut_off_as_it_is_told() {
    let server = Server::start(|_| Answer::new(204).into());
    let proxy = Proxy::to(server.address());
    let ask = |stream: &mut TcpStream, patience: Duration| -> Option<Duration> {
        let asked = wall_ns();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
        answer_to(stream, patience).then(|| Duration::from_nanos(wall_ns() - asked))
    };
    let moment = Duration::from_millis(300);
    let mut old = TcpStream::connect(proxy.address()).expect("connected");
    ask(&mut old, SOON).expect("an answer");
    proxy.delay(moment);
    let time = ask(&mut old, SOON).expect("an answer");
    assert!(time >= 2 * moment, "late both ways: {time:?}");
    proxy.drip(10, moment / 10);
    let time = ask(&mut old, SOON).expect("an answer");
    assert!(time >= moment / 2, "18 bytes there, 40 back: {time:?}");

    proxy.black_hole();
    let mut new = TcpStream::connect(proxy.address()).expect("accepted all the same");
    assert_eq!(ask(&mut old, moment), None);
    assert_eq!(ask(&mut new, moment), None);
    proxy.restore();
    assert!(answer_to(&mut old, SOON), "what was held up goes on");
    assert!(answer_to(&mut new, SOON));
    assert_eq!(server.requests().len(), 5);

    proxy.cut();
    assert_eq!(ask(&mut old, SOON), None);
    let mut refused = TcpStream::connect(proxy.address()).expect("accepted and closed");
    assert_eq!(ask(&mut refused, SOON), None);
    proxy.restore();
    assert_eq!(ask(&mut old, SOON), None, "over for good");
    let mut newer = TcpStream::connect(proxy.address()).expect("connected");
    ask(&mut newer, SOON).expect("an answer");
    assert_eq!(proxy.connections(), 4);
}

/// Whether the head of an answer comes.
fn answer_to(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return false,
        }
    }
    true
}

type Spoil = fn(&mut Vec<Span>);

#[test]
fn every_flaw_of_a_trace_is_found() {
    let flaws: [(&str, Spoil); 12] = [
        ("no root", |spans| drop(spans.remove(0))),
        ("two roots", |spans| {
            spans[1].parent_span_id.clear();
        }),
        ("a span id twice", |spans| {
            spans[1].span_id = spans[0].span_id.clone();
        }),
        ("a stage twice", |spans| {
            let mut twin = spans[1].clone();
            twin.span_id = vec![7; 8];
            spans.push(twin);
        }),
        ("a zero id", |spans| spans[1].span_id = vec![0; 8]),
        ("an end before its start", |spans| {
            spans[1].end_time_unix_nano = spans[1].start_time_unix_nano - 1;
        }),
        ("a child before its parent", |spans| {
            spans[1].start_time_unix_nano -= 1;
        }),
        ("a child after its parent", |spans| {
            spans[1].end_time_unix_nano += 1
        }),
        ("another trace", |spans| spans[1].trace_id = vec![8; 16]),
        ("no run attribute", |spans| drop(spans[1].attributes.pop())),
        ("flags", |spans| spans[1].flags = 0x1),
        ("an event outside", |spans| {
            spans[1].events[0].time_unix_nano += 1;
        }),
    ];
    for (flaw, spoil) in flaws {
        let receiver = Receiver::start();
        let mut spans = two_spans();
        spoil(&mut spans);
        post(&receiver, &request(spans).encode_to_vec(), "");
        let seen = receiver.spans();
        assert!(!seen.is_empty());
        let found = catch_unwind(AssertUnwindSafe(|| assert_whole(&seen)));
        assert!(found.is_err(), "not found: {flaw}");
    }
}

#[test]
fn the_receiver_complains_of_what_the_specification_forbids() {
    let good = request(two_spans()).encode_to_vec();
    let empty = ExportTraceServiceRequest::default().encode_to_vec();
    let cases: [(&[u8], &str); 3] = [
        (&empty, ""),
        (b"no protobuf", ""),
        (&good, "Content-Encoding: br\r\n"),
    ];
    for (body, header) in cases {
        let receiver = Receiver::start();
        let answer = post(&receiver, body, header);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let found = catch_unwind(AssertUnwindSafe(|| receiver.spans()));
        assert!(found.is_err());
        drop(catch_unwind(AssertUnwindSafe(|| drop(receiver))));
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let main = include_str!("main.rs");
    let rows = main.lines().filter(|line| line.starts_with("//! | "));
    let named: Vec<(&str, &str)> = rows
        .flat_map(|row| row.split('`'))
        .filter_map(|name| name.split_once("::"))
        .collect();
    assert!(named.len() > 60, "{}", named.len());
    for (module, test) in named {
        let path = format!("{}/tests/e2e/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let function = format!("#[test]\nfn {test}() {{");
        assert!(text.contains(&function), "there is no {module}::{test}");
    }
}

#[test]
fn small_things_are_right() {
    assert_eq!(percent_decoded("a%2Fb%C3%BC").as_deref(), Some("a/bü"));
    assert_eq!(percent_decoded("%2"), None);
    assert_eq!(percent_decoded("%zz"), None);
    assert_eq!(ns("1970-01-01T00:00:01.0000001Z"), 1_000_000_100);
    let body = json_answer(&completed("x").json()).body;
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        body["workflowEntities"]["Processor"]["entityId"],
        "Processor-1"
    );
    assert_eq!(within(Duration::ZERO, || false), Err("not yet".into()));
}

/// Sends these bytes, and answers with all that comes back until the server closes or has said enough.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).expect("connected");
    stream.write_all(bytes).expect("sent");
    // Everything was asked: the server reads the end and closes.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("UTF-8")
}

fn post(receiver: &Receiver, body: &[u8], header: &str) -> String {
    let mut request = format!(
        "POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n\
         User-Agent: farspan/1.2.3 OTel-OTLP-Exporter-Rust/1.2.3\r\n{header}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    exchange(&receiver.server, &request)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A workflow with a remote parent, and its one stage.
fn two_spans() -> Vec<Span> {
    let root = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![9; 8],
        flags: 0x301,
        name: "Workflow".into(),
        kind: 1,
        start_time_unix_nano: ns("2024-07-05T06:57:56.1234567Z"),
        end_time_unix_nano: ns("2024-07-05T09:00:00Z"),
        attributes: vec![text("workflowId", "w"), text("cicd.pipeline.run.id", "w")],
        status: Some(Status {
            code: 1,
            message: String::new(),
        }),
        ..Span::default()
    };
    let stage = Span {
        span_id: vec![3; 8],
        parent_span_id: vec![2; 8],
        flags: 0x101,
        name: "DataLoader".into(),
        events: vec![span::Event {
            time_unix_nano: root.end_time_unix_nano,
            name: "Failed".into(),
            ..span::Event::default()
        }],
        status: Some(Status {
            code: 2,
            message: "broken".into(),
        }),
        ..root.clone()
    };
    vec![root, stage]
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "farspan".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![text("service.name", "farspan")],
        ..Resource::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.into())),
        }),
        ..KeyValue::default()
    }
}
