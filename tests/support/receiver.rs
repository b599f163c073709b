//! An OTLP/HTTP receiver that holds every request against the specification, and misbehaves when told to.

use super::http::{Answer, Reply, Request, Server, lock};
use super::spans::{Seen, seen};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex};

pub struct Receiver {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

/// One export request.
#[derive(Clone)]
pub struct Export {
    pub http: Request,
    /// Decompressed.
    pub bytes: Vec<u8>,
    pub spans: Vec<Seen>,
    /// The spans' bytes, as they stand in the request.
    pub raw_spans: Vec<Vec<u8>>,
    /// Whether the answer was a success, so that its spans count as delivered.
    pub accepted: bool,
}

impl Export {
    /// Whether any span belongs to this workflow.
    pub fn is_about(&self, id: &str) -> bool {
        self.spans.iter().any(|span| span.workflow_id() == id)
    }
}

type Rule = Box<dyn FnMut(&Export) -> Option<Reply> + Send>;

#[derive(Default)]
struct State {
    exports: Vec<Export>,
    metrics: Vec<ExportMetricsServiceRequest>,
    complaints: Vec<String>,
    next: VecDeque<Reply>,
    rule: Option<Rule>,
    any_path: bool,
    any_agent: bool,
    relaxed: bool,
}

impl Receiver {
    pub fn start() -> Self {
        let mut receiver = Receiver::stopped();
        receiver.server.resume();
        receiver
    }

    /// Refuses connections until its server is resumed.
    pub fn stopped() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let handler = {
            let state = state.clone();
            move |request: &Request| answer(&state, request)
        };
        let host = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        Receiver {
            server: Server::stopped(host, handler),
            state,
        }
    }

    /// Answers the next request so, before any rule is asked. May be said several times.
    pub fn next(&self, reply: impl Into<Reply>) {
        lock(&self.state).next.push_back(reply.into());
    }

    /// From now on answers by this rule; `None` is a success.
    pub fn rule(&self, rule: impl FnMut(&Export) -> Option<Reply> + Send + 'static) {
        lock(&self.state).rule = Some(Box::new(rule));
    }

    /// From now on every request is a success.
    pub fn behave(&self) {
        let mut state = lock(&self.state);
        state.rule = None;
        state.next.clear();
    }

    /// Does not insist on `/v1/traces`.
    pub fn any_path(&self) {
        lock(&self.state).any_path = true;
    }

    /// Takes spans from others than farspan too.
    pub fn any_agent(&self) {
        lock(&self.state).any_agent = true;
    }

    /// Takes anything for a success and complains of nothing: for `check`, which may knock as it likes.
    pub fn relaxed(&self) {
        lock(&self.state).relaxed = true;
    }

    /// Every request so far that could be decoded.
    #[track_caller]
    pub fn exports(&self) -> Vec<Export> {
        let state = lock(&self.state);
        assert!(
            state.complaints.is_empty(),
            "against the OTLP specification: {:?}",
            state.complaints
        );
        state.exports.clone()
    }

    /// Every request with metrics so far.
    #[track_caller]
    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        let state = lock(&self.state);
        assert!(state.complaints.is_empty(), "{:?}", state.complaints);
        state.metrics.clone()
    }

    /// A metric without labels, in the last request with metrics.
    #[track_caller]
    pub fn number(&self, name: &str) -> i64 {
        let requests = self.metrics();
        let last = requests.last().expect("a request with metrics");
        let metrics = &last.resource_metrics[0].scope_metrics[0].metrics;
        let metric = metrics.iter().find(|metric| metric.name == name);
        let points = match metric.and_then(|metric| metric.data.as_ref()) {
            Some(Data::Sum(sum)) => &sum.data_points[..],
            other => panic!("{name}: {other:?}"),
        };
        match points {
            [
                NumberDataPoint {
                    value: Some(Value::AsInt(number)),
                    ..
                },
            ] => *number,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The spans of every request that was answered with success.
    #[track_caller]
    pub fn spans(&self) -> Vec<Seen> {
        let exports = self.exports();
        exports
            .iter()
            .filter(|export| export.accepted)
            .flat_map(|export| export.spans.iter().cloned())
            .collect()
    }

    /// Whether the workflow's own span, its last, was delivered.
    #[track_caller]
    pub fn has_root(&self, id: &str) -> bool {
        self.count_roots(|root| root.workflow_id() == id) > 0
    }

    /// The workflows whose own spans were delivered.
    pub fn root_ids(&self) -> HashSet<String> {
        let state = lock(&self.state);
        let delivered = state.exports.iter().filter(|export| export.accepted);
        delivered
            .flat_map(|export| &export.spans)
            .filter(|span| span.is_root())
            .map(Seen::workflow_id)
            .collect()
    }

    /// How many workflows' own spans were delivered that are like this.
    pub fn count_roots(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        let state = lock(&self.state);
        let delivered = state.exports.iter().filter(|export| export.accepted);
        delivered
            .flat_map(|export| &export.spans)
            .filter(|span| span.is_root() && matches(span))
            .count()
    }

    /// Panics if a span was sent in two shapes, or delivered twice.
    #[track_caller]
    pub fn assert_each_span_once(&self) {
        for (id, count) in self.deliveries() {
            assert_eq!(count, 1, "span {id:02x?} was delivered {count} times");
        }
    }

    /// How often each span was delivered, by its id. Panics if one was sent in two shapes, delivered or not.
    #[track_caller]
    pub fn deliveries(&self) -> HashMap<Vec<u8>, usize> {
        let mut delivered: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut shapes: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        for export in self.exports() {
            for (span, bytes) in export.spans.iter().zip(&export.raw_spans) {
                let id = &span.span.span_id;
                let first = shapes.entry(id.clone()).or_insert_with(|| bytes.clone());
                assert!(first == bytes, "a re-send differs: {span:?}");
                *delivered.entry(id.clone()).or_default() += usize::from(export.accepted);
            }
        }
        delivered.retain(|_, count| *count > 0);
        delivered
    }

    /// The spans of every request that was answered with success, each once, in the order of their first delivery.
    #[track_caller]
    pub fn distinct_spans(&self) -> Vec<Seen> {
        let mut known = HashSet::new();
        let mut spans = self.spans();
        spans.retain(|span| known.insert(span.span.span_id.clone()));
        spans
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let complaints = &lock(&self.state).complaints;
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "{complaints:?}");
        }
    }
}

/// A success.
pub fn accepted() -> Reply {
    protobuf(200, &ExportTraceServiceResponse::default())
}

/// A success, except for some spans.
pub fn partial(rejected_spans: i64, message: &str) -> Reply {
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans,
        error_message: message.to_owned(),
    });
    protobuf(200, &ExportTraceServiceResponse { partial_success })
}

/// A refusal with a `google.rpc.Status` that says why.
pub fn refusal(code: u16, message: &str) -> Reply {
    #[derive(Clone, PartialEq, Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let message = message.to_owned();
    protobuf(code, &Status { code: 3, message })
}

fn protobuf(status: u16, message: &impl Message) -> Reply {
    Answer::new(status)
        .body("application/x-protobuf", message.encode_to_vec())
        .into()
}

fn answer(state: &Mutex<State>, request: &Request) -> Reply {
    let mut state = lock(state);
    if request.target == "/v1/metrics" {
        return match read_metrics(request) {
            Ok(metrics) => {
                state.metrics.push(metrics);
                accepted()
            }
            Err(_) if state.relaxed => accepted(),
            Err(complaint) => {
                state.complaints.push(complaint);
                Answer::new(400).into()
            }
        };
    }
    match read(request, state.any_path, state.any_agent) {
        Err(_) if state.relaxed => accepted(),
        Err(complaint) => {
            state.complaints.push(complaint);
            Answer::new(400).into()
        }
        Ok(mut export) => {
            let reply = match (state.next.pop_front(), &mut state.rule) {
                (Some(reply), _) => reply,
                (None, Some(rule)) => rule(&export).unwrap_or_else(accepted),
                (None, None) => accepted(),
            };
            export.accepted = is_success(&reply);
            state.exports.push(export);
            reply
        }
    }
}

fn is_success(reply: &Reply) -> bool {
    match reply {
        Reply::Answer(answer)
        | Reply::Chunked(answer, _)
        | Reply::Drip(answer, _)
        | Reply::Twice(answer, _) => answer.status == 200,
        Reply::Late(_, later) => is_success(later),
        Reply::Truncated(_) | Reply::Raw(_) | Reply::Verbatim(_) | Reply::Close | Reply::Hang => {
            false
        }
    }
}

/// Reads a request as the OTLP/HTTP specification has it; an error says what it got wrong.
fn read(request: &Request, any_path: bool, any_agent: bool) -> Result<Export, String> {
    if !any_path && request.target != "/v1/traces" {
        return Err(format!("path {}", request.target));
    }
    let bytes = read_bytes(request, any_agent)?;
    let message =
        ExportTraceServiceRequest::decode(&*bytes).map_err(|error| format!("protobuf: {error}"))?;
    let spans = seen(&message);
    if spans.is_empty() {
        return Err("an empty envelope".into());
    }
    let raw_spans = raw_spans(&bytes)?;
    assert_eq!(raw_spans.len(), spans.len());
    Ok(Export {
        http: request.clone(),
        bytes,
        spans,
        raw_spans,
        accepted: false,
    })
}

fn read_metrics(request: &Request) -> Result<ExportMetricsServiceRequest, String> {
    let bytes = read_bytes(request, false)?;
    let message = ExportMetricsServiceRequest::decode(&*bytes)
        .map_err(|error| format!("protobuf: {error}"))?;
    let is_whole = matches!(&*message.resource_metrics, [one] if one.scope_metrics.len() == 1);
    if is_whole {
        Ok(message)
    } else {
        Err(format!("not one resource with one scope: {message:?}"))
    }
}

/// The body, decompressed, of a request whose headers are right.
fn read_bytes(request: &Request, any_agent: bool) -> Result<Vec<u8>, String> {
    let said = |name| request.header(name).unwrap_or_default();
    if request.method != "POST" {
        return Err(format!("method {}", request.method));
    }
    if said("Content-Type") != "application/x-protobuf" {
        return Err(format!("content type {:?}", said("Content-Type")));
    }
    let agent = said("User-Agent");
    let is_farspan = agent.starts_with("farspan/") && agent.contains("OTel-OTLP-Exporter-Rust/");
    if !any_agent && !is_farspan {
        return Err(format!("user agent {agent:?}"));
    }
    let mut bytes = request.body.clone();
    match said("Content-Encoding") {
        "" | "identity" => {}
        "gzip" => {
            bytes.clear();
            flate2::read::GzDecoder::new(&*request.body)
                .read_to_end(&mut bytes)
                .map_err(|error| format!("gzip: {error}"))?;
        }
        other => return Err(format!("content encoding {other:?}")),
    }
    Ok(bytes)
}

/// The spans of an encoded request, still encoded.
fn raw_spans(request: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(message, repeated, tag = "1")]
        resources: Vec<Resource>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Resource {
        #[prost(message, repeated, tag = "2")]
        scopes: Vec<Scope>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Scope {
        #[prost(bytes = "vec", repeated, tag = "2")]
        spans: Vec<Vec<u8>>,
    }
    let request = Request::decode(request).map_err(|error| format!("protobuf: {error}"))?;
    let resources = request.resources.into_iter();
    let scopes = resources.flat_map(|resource| resource.scopes);
    Ok(scopes.flat_map(|scope| scope.spans).collect())
}
