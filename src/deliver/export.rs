//! An exporter: one thread that sends one batch at a time to the collector and says how each ended. Spans and log records
//! have an exporter each.
//!
//! OTLP over HTTP, protobuf. Spans go by opentelemetry-otlp over our own HTTP client, log records by the client alone: the
//! SDK's log record would not have the bytes that are stored. The thread never retries and never drops:
//! the outbox in the core decides what is sent again.
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp>

use crate::core::PollFailureReason;
use crate::core::limits;
use crate::core::limits::cut;
use crate::core::outbox::{Batch, ExportOutcome, Exported, Signal};
use crate::core::time::Now;
use crate::core::view::ExportReport;
use crate::deliver::export_log::ExportLog;
use crate::deliver::is_final;
use crate::deliver::otlp::{self, Resources};
use crate::deliver::refused::RefusedPlace;
use crate::http::client::{self, Network, Timeouts, Trust};
use crate::os::clock;
use crate::os::threads::{self, lock};
use crate::syntax::values::redacted_url;
use crossbeam_channel::{Receiver, Sender};
use flate2::write::GzEncoder;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Compression, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prost::Message;
use std::future::ready;
use std::io::Write;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, header};

/// The collector, and how to send to it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The whole URL, with its path.
    pub endpoint: String,
    /// The user's headers. The headers of the protocol come on top.
    pub headers: Vec<(String, String)>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Whether bodies are compressed with gzip.
    pub gzip: bool,
    /// The certificates that are trusted and shown.
    pub trust: Trust,
    /// Where its requests are remembered.
    pub log: ExportLog,
    /// The variables that say all this.
    pub keys: CollectorKeys,
}

/// The variables of a collector, so that a message about it names those that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectorKeys {
    /// The one with the URL.
    pub endpoint: &'static str,
    /// Whether it is set; else the URL is the default.
    pub is_set: bool,
    /// The one with the headers.
    pub headers: &'static str,
    /// The one that chooses the exporter.
    pub exporter: &'static str,
}

impl CollectorKeys {
    /// What to do about an answer that only a person can change, in brackets; empty if there is nothing to do.
    fn remedy(&self, status: u16) -> String {
        match status {
            300..=399 | 404 | 405 => format!(" ({})", self.is_it()),
            401 | 403 => format!(" ({} has the credentials for the collector)", self.headers),
            407 => " (the proxy wants credentials, which stand in its URL)".to_owned(),
            _ => String::new(),
        }
    }

    /// What to ask about a collector that gives no answer, or that of another server.
    pub fn is_it(&self) -> String {
        let CollectorKeys {
            endpoint, exporter, ..
        } = self;
        if self.is_set {
            return format!("is {endpoint} the collector's URL?");
        }
        format!(
            "{endpoint} is not set: set it to the collector's URL, or {exporter} to none where there is no collector"
        )
    }
}

/// The exporter's thread. It ends when the channel of batches is closed, and is joined when this is dropped.
#[derive(Debug)]
pub struct Exporter {
    thread: Option<JoinHandle<()>>,
}

/// The specification's form: the product, then the exporter.
const USER_AGENT: &str = concat!(
    "farspan/",
    env!("CARGO_PKG_VERSION"),
    " OTel-OTLP-Exporter-Rust/",
    env!("CARGO_PKG_VERSION")
);

impl Exporter {
    /// Starts the thread. It sends each batch of `batches`, all of one signal, and puts its outcome into `outcomes`. What
    /// the collector refuses for good is kept in `refused`.
    ///
    /// # Errors
    /// A text that says what is wrong with the destination.
    pub fn start(
        signal: Signal,
        destination: &Destination,
        network: &Network,
        (resources, refused): (Resources, RefusedPlace),
        batches: Receiver<Batch>,
        outcomes: Sender<Exported>,
    ) -> Result<Self, String> {
        let exporters = Exporters::new(destination, network, resources)?;
        let run = move || {
            for batch in batches {
                let begun = clock::now();
                let outcome = match signal {
                    Signal::Traces => exporters.export(&batch),
                    Signal::Logs => exporters.export_log_records(&batch),
                };
                let outcome = exporters.keep_refused(&batch, outcome, &refused);
                exporters.report(begun, batch.items.len(), &outcome);
                let outcome = exporters.with_url(outcome);
                let batch = batch.id;
                let exported = Exported {
                    signal,
                    batch,
                    outcome,
                };
                if outcomes.send(exported).is_err() {
                    break;
                }
            }
        };
        let thread = match signal {
            Signal::Traces => threads::spawn("exporter", threads::STACK_BYTES, run),
            Signal::Logs => threads::spawn("log-exporter", threads::STACK_BYTES, run),
        };
        let thread = thread.map_err(|e| format!("cannot start the exporter: {e}"))?;
        Ok(Exporter {
            thread: Some(thread),
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so on standard error.
            drop(thread.join());
        }
    }
}

/// One exporter of opentelemetry-otlp for each resource, all over one client.
struct Exporters {
    resources: Resources,
    exporters: Vec<SpanExporter>,
    client: Arc<CollectorClient>,
    url: Arc<str>,
    log: ExportLog,
}

impl Exporters {
    fn new(
        destination: &Destination,
        network: &Network,
        resources: Resources,
    ) -> Result<Self, String> {
        let client = Arc::new(CollectorClient::new(destination, network)?);
        let exporter = |resource| {
            let mut builder = SpanExporter::builder()
                .with_http()
                .with_shared_http_client(client.clone())
                .with_endpoint(&destination.endpoint)
                .with_protocol(Protocol::HttpBinary)
                .with_timeout(destination.timeout)
                .with_retry_policy(RetryPolicy::disabled());
            if destination.gzip {
                builder = builder.with_compression(Compression::Gzip);
            }
            let mut exporter = builder.build().map_err(|e| e.to_string())?;
            exporter.set_resource(&resource);
            Ok(exporter)
        };
        let exporters = resources.all().map(exporter);
        Ok(Exporters {
            exporters: exporters.collect::<Result<_, String>>()?,
            resources,
            client,
            url: redacted_url(&destination.endpoint).into(),
            log: destination.log.clone(),
        })
    }

    /// All spans of a batch have one resource: the outbox makes it so.
    fn export(&self, batch: &Batch) -> ExportOutcome {
        let monitor = batch.items.first().and_then(|span| span.monitor.as_deref());
        let exporter = &self.exporters[self.resources.index_of(monitor)];
        let decoded = batch
            .items
            .iter()
            .filter_map(|span| otlp::decode(&span.bytes));
        let spans: Vec<SpanData> = decoded.collect();
        let unreadable = batch.items.len() - spans.len();
        let outcome = if spans.is_empty() {
            ExportOutcome::Delivered {
                rejected: 0,
                message: "".into(),
            }
        } else {
            let result = at_once(exporter.export(spans));
            // The exporter knows less than the client: neither Retry-After nor a partial success.
            self.client.take_outcome().unwrap_or_else(|| {
                // It refuses one request without asking the client: one with too large a body.
                ExportOutcome::TooLarge {
                    message: match result {
                        Some(Err(error)) => error.to_string().into(),
                        _ => "the exporter sent nothing".into(),
                    },
                }
            })
        };
        without_unreadable(outcome, batch.signal, unreadable)
    }

    /// All log records of a batch have one resource too.
    fn export_log_records(&self, batch: &Batch) -> ExportOutcome {
        let monitor = batch.items.first().and_then(|item| item.monitor.as_deref());
        let resource = self.resources.attributes_of(monitor);
        let (body, unreadable) = otlp::log_request(resource, &batch.items);
        without_unreadable(self.client.post(body), batch.signal, unreadable)
    }
}

/// The outcome of a batch of which so many stored items could not be sent.
fn without_unreadable(outcome: ExportOutcome, signal: Signal, unreadable: usize) -> ExportOutcome {
    match outcome {
        ExportOutcome::Delivered { rejected, message } if unreadable > 0 => {
            let items = signal.items();
            ExportOutcome::Delivered {
                rejected: rejected + unreadable as u64,
                message: format!("{unreadable} stored {items} cannot be decoded; {message}").into(),
            }
        }
        outcome => outcome,
    }
}

impl Exporters {
    /// Remembers a request for viewers.
    fn report(&self, begun: Now, spans: usize, outcome: &ExportOutcome) {
        let RequestSent { bytes, status } = self.client.take_sent();
        self.log.push(ExportReport {
            at: begun.wall,
            took: clock::now().mono.since(begun.mono),
            spans,
            bytes,
            status,
            outcome: outcome.clone(),
            url: self.url.clone(),
        });
    }

    /// The outcome with the URL in its reason: the log has no other place for it.
    fn with_url(&self, outcome: ExportOutcome) -> ExportOutcome {
        match outcome {
            ExportOutcome::Retry {
                reason,
                retry_after,
            } => ExportOutcome::Retry {
                reason: cut(&format!("{}: {reason}", self.url), limits::NAME_BYTES_MAX).into(),
                retry_after,
            },
            outcome => outcome,
        }
    }

    /// Keeps the batch if the collector will never take all of it, and says so in the outcome. Which spans a partial
    /// success leaves out is not known, so all are kept.
    fn keep_refused(
        &self,
        batch: &Batch,
        mut outcome: ExportOutcome,
        place: &RefusedPlace,
    ) -> ExportOutcome {
        let message = match &mut outcome {
            // A larger batch is split.
            ExportOutcome::TooLarge { message } if batch.items.len() == 1 => message,
            ExportOutcome::Rejected { message } => message,
            ExportOutcome::Delivered { rejected, message } if *rejected > 0 => message,
            _ => return outcome,
        };
        let monitor = batch.items.first().and_then(|span| span.monitor.as_deref());
        let resource = self.resources.attributes_of(monitor);
        let kept = place.keep_items(resource, batch, message);
        *message = format!("{message}; {kept}").into();
        outcome
    }
}

/// What is known of a request beside its outcome.
#[derive(Clone, Copy, Debug, Default)]
struct RequestSent {
    bytes: usize,
    /// `None`: there was no answer.
    status: Option<u16>,
}

/// The result of a future that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// The HTTP client of the exporters. It blocks, and it remembers how the last request ended.
#[derive(Debug)]
pub(super) struct CollectorClient {
    endpoint: String,
    gzip: bool,
    agent: Agent,
    network: Network,
    headers: Vec<(HeaderName, HeaderValue)>,
    keys: CollectorKeys,
    outcome: Mutex<Option<ExportOutcome>>,
    sent: Mutex<RequestSent>,
}

impl CollectorClient {
    pub(super) fn new(destination: &Destination, network: &Network) -> Result<Self, String> {
        let total = destination.timeout;
        let timeouts = Timeouts {
            connect: total.min(Duration::from_secs(5)),
            read: total,
            total,
        };
        let agent = client::agent(timeouts, &destination.endpoint, &destination.trust, network)?;
        let agent_name = HeaderValue::from_static(USER_AGENT);
        let mut headers = vec![(header::USER_AGENT, agent_name)];
        for (name, value) in &destination.headers {
            let header = HeaderName::try_from(name).map_err(|_| format!("header name {name:?}"))?;
            let value = HeaderValue::try_from(value);
            let mut value = value.map_err(|_| format!("the value of header {name}"))?;
            value.set_sensitive(true);
            headers.retain(|(known, _)| *known != header);
            headers.push((header, value));
        }
        Ok(CollectorClient {
            endpoint: destination.endpoint.clone(),
            gzip: destination.gzip,
            agent,
            network: network.clone(),
            headers,
            keys: destination.keys,
            outcome: Mutex::default(),
            sent: Mutex::default(),
        })
    }

    /// Sends an encoded request and says how it ended.
    pub(super) fn post(&self, mut body: Vec<u8>) -> ExportOutcome {
        let mut request =
            Request::post(&self.endpoint).header(header::CONTENT_TYPE, "application/x-protobuf");
        if self.gzip {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
            // It writes to memory, which takes everything.
            if encoder.write_all(&body).is_ok()
                && let Ok(compressed) = encoder.finish()
            {
                body = compressed;
                request = request.header(header::CONTENT_ENCODING, "gzip");
            }
        }
        let outcome = match request.body(Bytes::from(body)) {
            Ok(request) => {
                // The client remembers how it has ended.
                let _ = self.send(request);
                self.take_outcome()
            }
            Err(error) => Some(retry(&error.to_string())),
        };
        outcome.unwrap_or_else(|| retry("the client sent nothing"))
    }

    fn take_outcome(&self) -> Option<ExportOutcome> {
        lock(&self.outcome).take()
    }

    fn take_sent(&self) -> RequestSent {
        std::mem::take(&mut lock(&self.sent))
    }

    /// Sends the body with our headers. The exporter's own come from the environment, which the configuration has read.
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut request = self.agent.post(&head.uri);
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            if let Some(value) = head.headers.get(&name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        lock(&self.sent).bytes = body.len();
        let answer = request.send(&body[..]).inspect_err(|error| {
            self.network.forget_names();
            let why = no_answer(error, head.uri.port_u16());
            *lock(&self.outcome) = Some(retry(&format!("{why} ({})", self.keys.is_it())));
        })?;
        let (head, body) = answer.into_parts();
        lock(&self.sent).status = Some(head.status.as_u16());
        let body = body.into_with_config().limit(limits::RESPONSE_BYTES_MAX);
        let answer = Response::from_parts(head, body.read_to_vec().unwrap_or_default());
        *lock(&self.outcome) = Some(outcome_of(&answer, &self.keys));
        Ok(answer.map(Bytes::from))
    }
}

impl HttpClient for CollectorClient {
    fn send_bytes<'client, 'future>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'client: 'future,
        Self: 'future,
    {
        Box::pin(ready(self.send(request)))
    }
}

/// Why a collector at that port has given no answer, and what to do about it.
pub fn no_answer(error: &ureq::Error, port: Option<u16>) -> String {
    const GRPC_PORT: u16 = 4317;
    let is_connected = client::reason_of(error) != PollFailureReason::Connect;
    if client::speaks_no_http(error) || (port == Some(GRPC_PORT) && is_connected) {
        return "the server does not speak HTTP/1.1, and this looks like gRPC: farspan exports OTLP over HTTP, for which \
                a collector has port 4318"
            .to_owned();
    }
    client::told(error)
}

fn retry(reason: &str) -> ExportOutcome {
    ExportOutcome::Retry {
        reason: cut(reason, limits::NAME_BYTES_MAX).into(),
        retry_after: None,
    }
}

/// What an answer means for the batch.
/// <https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp-response>
fn outcome_of(answer: &Response<Vec<u8>>, keys: &CollectorKeys) -> ExportOutcome {
    let (status, body) = (answer.status().as_u16(), answer.body());
    match status {
        200..=299 => delivered(body),
        413 => ExportOutcome::TooLarge {
            message: refusal(status, body),
        },
        _ if is_final(answer.status()) => ExportOutcome::Rejected {
            message: refusal(status, body),
        },
        _ => ExportOutcome::Retry {
            reason: format!("{}{}", refusal(status, body), keys.remedy(status)).into(),
            retry_after: client::retry_after(answer.headers(), clock::now().wall),
        },
    }
}

/// An answer whose body is not protobuf is a success all the same. The answer to a request with log records has the same
/// fields with the same numbers.
fn delivered(body: &[u8]) -> ExportOutcome {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    ExportOutcome::Delivered {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: cut(&partial.error_message, limits::ATTRIBUTE_BYTES_MAX).into(),
    }
}

/// The message of a `google.rpc.Status`; its other fields are not read.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
}

fn refusal(status: u16, body: &[u8]) -> Box<str> {
    let decoded = RpcStatus::decode(body).unwrap_or_default().message;
    let text = if decoded.is_empty() {
        String::from_utf8_lossy(&body[..body.len().min(limits::NAME_BYTES_MAX)])
    } else {
        decoded.into()
    };
    let text = cut(text.trim(), limits::NAME_BYTES_MAX);
    let colon = if text.is_empty() { "" } else { ": " };
    format!("HTTP {status}{colon}{text}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    const KEYS: CollectorKeys = CollectorKeys {
        endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        is_set: true,
        headers: "OTEL_EXPORTER_OTLP_HEADERS",
        exporter: "OTEL_LOGS_EXPORTER",
    };

    fn answered(status: u16, headers: &[(&str, &str)], body: &[u8]) -> ExportOutcome {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        outcome_of(&response.body(body.to_vec()).unwrap(), &KEYS)
    }

    #[test]
    fn only_a_status_about_the_data_is_final() {
        for status in 200..600 {
            let outcome = answered(status, &[("retry-after", "7")], b"");
            let expected = match status {
                200..=299 => matches!(outcome, ExportOutcome::Delivered { rejected: 0, .. }),
                413 => matches!(outcome, ExportOutcome::TooLarge { .. }),
                400 | 422 | 501 | 505 => matches!(outcome, ExportOutcome::Rejected { .. }),
                300..=399 | 401 | 403 | 404 | 408 | 429 | 500..=599 => matches!(
                    outcome,
                    ExportOutcome::Retry { retry_after: Some(asked), .. } if asked.as_secs() == 7
                ),
                _ => true,
            };
            assert!(expected, "{status}");
        }
    }

    #[test]
    fn trouble_that_a_person_has_to_end_names_the_variable_that_is_set() {
        let reason = |status| match answered(status, &[], b"no such route") {
            ExportOutcome::Retry { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            &*reason(404),
            "HTTP 404: no such route (is OTEL_EXPORTER_OTLP_LOGS_ENDPOINT the collector's URL?)"
        );
        assert!(reason(401).contains("(OTEL_EXPORTER_OTLP_HEADERS has"));
        let unset = CollectorKeys {
            endpoint: "OTEL_EXPORTER_OTLP_ENDPOINT",
            is_set: false,
            ..KEYS
        };
        assert!(unset.is_it().contains("OTEL_LOGS_EXPORTER to none"));
        assert_eq!(&*reason(500), "HTTP 500: no such route");
    }

    #[test]
    fn a_partial_success_tells_how_much_and_why() {
        let body = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too old".into(),
            }),
        };
        assert_eq!(
            answered(200, &[], &body.encode_to_vec()),
            ExportOutcome::Delivered {
                rejected: 3,
                message: "too old".into()
            }
        );
        let html = answered(200, &[], b"<html>");
        assert!(matches!(html, ExportOutcome::Delivered { rejected: 0, .. }));
    }

    #[test]
    fn a_refusal_is_told_in_the_collectors_words() {
        let message = |body: &[u8]| match answered(400, &[], body) {
            ExportOutcome::Rejected { message } => message,
            other => panic!("{other:?}"),
        };
        let status = RpcStatus {
            message: "bad span".into(),
        };
        assert_eq!(&*message(&status.encode_to_vec()), "HTTP 400: bad span");
        assert_eq!(&*message(b"no\n"), "HTTP 400: no");
        assert_eq!(&*message(b""), "HTTP 400");
        assert!(message(&[b'x'; 100_000]).len() < 400);
    }
}
