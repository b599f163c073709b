//! The exporter: one thread that sends one batch at a time to the collector and says what became of it.
//!
//! OTLP over HTTP, protobuf. It never retries and never drops: the outbox in the core does the one, and nobody the
//! other. <https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp>

use crate::core::limits;
use crate::core::outbox::{Batch, ExportOutcome};
use crate::deliver::otlp::Envelope;
use crate::http::client::{self, NameCache, Timeouts, Trust};
use crate::os::clock;
use crate::os::threads;
use crate::text::cut;
use crossbeam_channel::{Receiver, Sender};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::io::{self, Write};
use std::thread::JoinHandle;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Response, header};

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The whole URL.
    pub endpoint: String,
    /// Headers of the user's, beside those that the protocol asks for.
    pub headers: Vec<(String, String)>,
    /// For one attempt.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Whom to trust.
    pub trust: Trust,
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
const PROTOBUF: &str = "application/x-protobuf";

impl Exporter {
    /// Starts to send what comes from `batches`, and to tell the outcomes, with the batch's id, to `outcomes`.
    ///
    /// # Errors
    /// A text that says what is wrong with the destination.
    pub fn start(
        destination: &Destination,
        envelope: Envelope,
        batches: Receiver<Batch>,
        outcomes: Sender<(u64, ExportOutcome)>,
    ) -> Result<Self, String> {
        let connection = Connection::new(destination, envelope)?;
        let run = move || {
            for batch in batches {
                let outcome = connection.export(&batch);
                if outcomes.send((batch.id, outcome)).is_err() {
                    break;
                }
            }
        };
        let thread = threads::spawn("exporter", threads::STACK_BYTES, run);
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

struct Connection {
    agent: Agent,
    names: NameCache,
    endpoint: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    gzip: bool,
    envelope: Envelope,
}

impl Connection {
    fn new(destination: &Destination, envelope: Envelope) -> Result<Self, String> {
        let total = destination.timeout;
        let timeouts = Timeouts {
            connect: total.min(Duration::from_secs(5)),
            read: total,
            total,
        };
        let names = NameCache::default();
        let agent = client::agent(timeouts, &destination.endpoint, &destination.trust, &names)?;
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
        Ok(Connection {
            agent,
            names,
            endpoint: destination.endpoint.clone(),
            headers,
            gzip: destination.gzip,
            envelope,
        })
    }

    fn export(&self, batch: &Batch) -> ExportOutcome {
        let body = self.envelope.request(&batch.spans);
        let request = self.agent.post(&self.endpoint);
        let mut request = request.header(header::CONTENT_TYPE, PROTOBUF);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = if self.gzip {
            match compressed(&body) {
                Ok(body) => request
                    .header(header::CONTENT_ENCODING, "gzip")
                    .send(&body[..]),
                // Cannot happen: it writes to memory.
                Err(error) => return retry(&error.to_string()),
            }
        } else {
            request.send(&body[..])
        };
        match sent {
            Ok(response) => outcome_of(response),
            Err(error) => {
                self.names.forget();
                retry(&error.to_string())
            }
        }
    }
}

fn compressed(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

fn retry(reason: &str) -> ExportOutcome {
    ExportOutcome::Retry {
        reason: cut(reason, limits::NAME_BYTES_MAX).into(),
        retry_after: None,
    }
}

/// The specification's table: which statuses to retry, and which never.
fn outcome_of(response: Response<ureq::Body>) -> ExportOutcome {
    let status = response.status();
    let retry_after = client::retry_after(response.headers(), clock::now().wall);
    let body = response.into_body().into_with_config();
    let body = body.limit(limits::RESPONSE_BYTES_MAX).read_to_vec();
    match status.as_u16() {
        200..=299 => delivered(&body.unwrap_or_default()),
        413 => ExportOutcome::TooLarge {
            message: refusal(status.as_u16(), &body.unwrap_or_default()),
        },
        // A redirect is no refusal: whoever put it there may take it away.
        300..=399 | 429 | 502 | 503 | 504 => ExportOutcome::Retry {
            reason: refusal(status.as_u16(), &body.unwrap_or_default()),
            retry_after,
        },
        status => ExportOutcome::Rejected {
            message: refusal(status, &body.unwrap_or_default()),
        },
    }
}

/// A body that is no protobuf is a 200 all the same.
fn delivered(body: &[u8]) -> ExportOutcome {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    ExportOutcome::Delivered {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: cut(&partial.error_message, limits::ATTRIBUTE_BYTES_MAX).into(),
    }
}

/// `google.rpc.Status`, as far as anybody reads it.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
}

fn refusal(status: u16, body: &[u8]) -> Box<str> {
    let decoded = RpcStatus::decode(body).unwrap_or_default().message;
    let text = match decoded.is_empty() {
        false => decoded.into(),
        true => String::from_utf8_lossy(&body[..body.len().min(limits::NAME_BYTES_MAX)]),
    };
    let text = cut(text.trim(), limits::NAME_BYTES_MAX);
    let colon = if text.is_empty() { "" } else { ": " };
    format!("HTTP {status}{colon}{text}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    fn answered(status: u16, headers: &[(&str, &str)], body: &[u8]) -> ExportOutcome {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let body = ureq::Body::builder().data(body.to_vec());
        outcome_of(response.body(body).unwrap())
    }

    #[test]
    fn only_these_statuses_are_retried() {
        for status in 200..600 {
            let outcome = answered(status, &[("retry-after", "7")], b"");
            let expected = match status {
                200..=299 => matches!(outcome, ExportOutcome::Delivered { rejected: 0, .. }),
                413 => matches!(outcome, ExportOutcome::TooLarge { .. }),
                300..=399 | 429 | 502 | 503 | 504 => matches!(
                    outcome,
                    ExportOutcome::Retry { retry_after: Some(asked), .. } if asked.as_secs() == 7
                ),
                _ => matches!(outcome, ExportOutcome::Rejected { .. }),
            };
            assert!(expected, "{status}");
        }
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
