//! Why a poll can fail.

use std::time::Duration;

/// A failed poll.
#[derive(Clone, Debug)]
pub struct PollFailure {
    /// The reason, by which failures are counted.
    pub reason: PollFailureReason,
    /// Details for the log, of bounded length.
    pub detail: Box<str>,
    /// The pause that the host asked for (429, 503).
    pub retry_after: Option<Duration>,
}

/// The reasons for which a poll can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PollFailureReason {
    /// No connection: refused, unreachable, no such host.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No answer, or no whole answer, in time.
    Timeout,
    /// The connection broke within the answer.
    Disconnected,
    /// Not HTTP.
    Protocol,
    /// A status that is neither an answer nor one of those below.
    Status,
    /// 5xx.
    ServerError,
    /// 401 or 403.
    Unauthorized,
    /// 429.
    TooManyRequests,
    /// A redirect to another host, or too many.
    Redirect,
    /// A body over [`BODY_BYTES_MAX`](super::limits::BODY_BYTES_MAX).
    TooLarge,
    /// A body that is not JSON.
    Garbage,
    /// JSON of another shape than the mapping's.
    Shape,
    /// A body about another workflow.
    OtherWorkflow,
}

impl PollFailureReason {
    /// All reasons, in the order of the counters.
    pub const ALL: [PollFailureReason; 14] = [
        PollFailureReason::Connect,
        PollFailureReason::Tls,
        PollFailureReason::Timeout,
        PollFailureReason::Disconnected,
        PollFailureReason::Protocol,
        PollFailureReason::Status,
        PollFailureReason::ServerError,
        PollFailureReason::Unauthorized,
        PollFailureReason::TooManyRequests,
        PollFailureReason::Redirect,
        PollFailureReason::TooLarge,
        PollFailureReason::Garbage,
        PollFailureReason::Shape,
        PollFailureReason::OtherWorkflow,
    ];

    /// Its index in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether every request to the host fails for this reason. Otherwise the reason lies in one monitor's requests or
    /// expectations.
    pub fn is_of_host(self) -> bool {
        match self {
            PollFailureReason::Connect
            | PollFailureReason::Timeout
            | PollFailureReason::Disconnected
            | PollFailureReason::Protocol
            | PollFailureReason::ServerError
            | PollFailureReason::TooManyRequests => true,
            PollFailureReason::Tls
            | PollFailureReason::Status
            | PollFailureReason::Unauthorized
            | PollFailureReason::Redirect
            | PollFailureReason::TooLarge
            | PollFailureReason::Garbage
            | PollFailureReason::Shape
            | PollFailureReason::OtherWorkflow => false,
        }
    }

    /// The word for logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            PollFailureReason::Connect => "connect",
            PollFailureReason::Tls => "tls",
            PollFailureReason::Timeout => "timeout",
            PollFailureReason::Disconnected => "disconnected",
            PollFailureReason::Protocol => "protocol",
            PollFailureReason::Status => "status",
            PollFailureReason::ServerError => "server_error",
            PollFailureReason::Unauthorized => "unauthorized",
            PollFailureReason::TooManyRequests => "too_many_requests",
            PollFailureReason::Redirect => "redirect",
            PollFailureReason::TooLarge => "too_large",
            PollFailureReason::Garbage => "garbage",
            PollFailureReason::Shape => "shape",
            PollFailureReason::OtherWorkflow => "other_workflow",
        }
    }
}
