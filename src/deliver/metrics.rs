//! The exporter of the metrics: one thread that gets all numbers from the loop at an interval and sends them to the
//! collector.
//!
//! Each request has all that was counted since the start. So a request that fails is not repeated: the next one has its
//! numbers too, and nothing has to be kept.

use super::export::{CollectorClient, Destination};
use crate::core::outbox::ExportOutcome;
use crate::http::client::Network;
use crate::metrics::families::families;
use crate::metrics::{Numbers, otlp};
use crate::os::clock;
use crate::os::threads;
use crate::syntax::values::redacted_url;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::Level;
use std::convert::Infallible;
use std::time::Duration;

/// Where the metrics are sent, and when.
#[derive(Clone, Debug)]
pub struct MetricsDestination {
    /// The collector.
    pub collector: Destination,
    /// The attributes of the resource of the process.
    pub resource: Vec<(String, String)>,
    /// The time from the begin of one request to the begin of the next.
    pub interval: Duration,
}

/// The exporter's thread. It ends after [`send_last`](Self::send_last), or when this is dropped.
#[derive(Debug)]
pub struct MetricsExporter {
    last: Sender<Numbers>,
    /// Disconnects when the thread has ended.
    ended: Receiver<Infallible>,
}

impl MetricsExporter {
    /// Starts the thread. `ask` gets the numbers of now; it may wait for them, and has none if the loop is stopping.
    ///
    /// # Errors
    /// A text that says what is wrong with the destination, or that the system gives no more threads.
    pub fn start(
        destination: MetricsDestination,
        network: &Network,
        ask: impl Fn() -> Option<Numbers> + Send + 'static,
    ) -> Result<Self, String> {
        let trouble = |why: String| format!("the OTLP exporter of the metrics: {why}");
        let (last, received) = bounded(1);
        let (ends, ended) = bounded(0);
        let requests = Requests {
            client: CollectorClient::new(&destination.collector, network).map_err(trouble)?,
            url: redacted_url(&destination.collector.endpoint),
            resource: destination.resource,
            told: None,
        };
        let interval = destination.interval;
        let run = move || {
            let _ends: Sender<Infallible> = ends;
            requests.send_each(interval, &received, ask);
        };
        threads::spawn("metrics", threads::STACK_BYTES, run).map_err(|e| trouble(e.to_string()))?;
        Ok(MetricsExporter { last, ended })
    }

    /// The last numbers. They are sent once the request under way has ended.
    pub fn send_last(&self, last: Numbers) {
        // There is room: this is the only message.
        let _ = self.last.try_send(last);
    }

    /// Whether the thread ends in time, after [`send_last`](Self::send_last). If not, it is left to the end of the process.
    pub fn ends_within(self, within: Duration) -> bool {
        let Self { last, ended } = self;
        drop(last);
        ended.recv_timeout(within) == Err(RecvTimeoutError::Disconnected)
    }
}

/// What the thread has.
struct Requests {
    client: CollectorClient,
    /// Of the collector, without secrets.
    url: String,
    resource: Vec<(String, String)>,
    /// The trouble that the log has a line about. `None`: the last request was accepted as a whole.
    told: Option<MetricsFault>,
}

/// Why a request was not accepted as a whole. The words may differ from request to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricsFault {
    /// Some data points are missing, or the collector warns.
    Partial,
    /// All are missing.
    NotAccepted,
}

impl Requests {
    fn send_each(
        mut self,
        interval: Duration,
        last: &Receiver<Numbers>,
        ask: impl Fn() -> Option<Numbers>,
    ) {
        let mut begun = clock::now().mono;
        loop {
            let passed = clock::now().mono.since(begun);
            match last.recv_timeout(interval.saturating_sub(passed)) {
                Ok(numbers) => return self.send(&numbers),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            begun = clock::now().mono;
            if let Some(numbers) = ask() {
                self.send(&numbers);
            }
        }
    }

    fn send(&mut self, numbers: &Numbers) {
        let now = clock::now().wall;
        let request = otlp::request(&families(numbers), &self.resource, now);
        let Some((trouble, words)) = trouble_of(self.client.post(request)) else {
            if self.told.take().is_some() {
                log::info!("the collector {} accepts metrics again", self.url);
            }
            return;
        };
        // Each outage is one warning, however long it is.
        let is_known = self.told.replace(trouble) == Some(trouble);
        let level = if is_known { Level::Debug } else { Level::Warn };
        let url = &self.url;
        log::log!(
            level,
            "the collector {url} {words}; the next request has all numbers again"
        );
    }
}

/// What is wrong, and what the log says that the collector does. `None`: the request was accepted as a whole.
fn trouble_of(outcome: ExportOutcome) -> Option<(MetricsFault, String)> {
    Some(match outcome {
        ExportOutcome::Delivered { rejected, message } => {
            let words = match (rejected, &*message) {
                (0, "") => return None,
                (0, warning) => format!("warns about the metrics: {warning}"),
                (_, why) => {
                    format!("rejected {rejected} data points of the metrics: {why}")
                }
            };
            (MetricsFault::Partial, words)
        }
        ExportOutcome::Retry { reason: why, .. }
        | ExportOutcome::TooLarge { message: why }
        | ExportOutcome::Rejected { message: why } => {
            let words = format!(
                "did not accept the metrics: {why}; OTEL_EXPORTER_OTLP_METRICS_ENDPOINT can name another one for them"
            );
            (MetricsFault::NotAccepted, words)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(rejected: u64, message: &str) -> ExportOutcome {
        let message = message.into();
        ExportOutcome::Delivered { rejected, message }
    }

    #[test]
    fn whatever_is_not_accepted_as_a_whole_is_trouble() {
        let told = |outcome| trouble_of(outcome).map_or(String::new(), |(_, words)| words);
        assert_eq!(told(delivered(0, "")), "");
        assert_eq!(told(delivered(0, "old")), "warns about the metrics: old");
        assert_eq!(
            told(delivered(3, "old")),
            "rejected 3 data points of the metrics: old"
        );
        for outcome in [
            ExportOutcome::Retry {
                reason: "HTTP 503".into(),
                retry_after: None,
            },
            ExportOutcome::TooLarge {
                message: "HTTP 503".into(),
            },
            ExportOutcome::Rejected {
                message: "HTTP 503".into(),
            },
        ] {
            assert!(told(outcome).starts_with("did not accept the metrics: HTTP 503; OTEL_"));
        }
    }
}
