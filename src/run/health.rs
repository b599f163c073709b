//! How farspan is: what `GET /healthz` and `GET /readyz` answer.
//!
//! The loop is asked and answers with a copy. It never waits for a request.

use crossbeam_channel::{Receiver, Sender, bounded};

#[cfg(feature = "admin")]
use crate::admin::Route;
#[cfg(feature = "admin")]
use crate::http::server::Response;

/// A question to the loop. It takes one answer.
pub(super) type HealthCheck = Sender<Health>;

/// How farspan is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    /// What keeps it from its work, a line each.
    pub(super) troubles: Vec<String>,
}

/// Questions that wait for the loop.
const QUESTIONS_MAX: usize = 16;

/// The two ends of the channel to the loop.
pub(super) fn channel() -> (Sender<HealthCheck>, Receiver<HealthCheck>) {
    bounded(QUESTIONS_MAX)
}

/// The routes. They need no token: probes of Kubernetes have none, and the answers have no secret.
#[cfg(feature = "admin")]
pub(super) fn routes(loop_: &Sender<HealthCheck>) -> Vec<Route> {
    let route = |path, answer: fn(Option<Health>) -> Response| {
        let health_checks = loop_.clone();
        Route {
            method: "GET",
            path,
            is_open: true,
            handler: Box::new(move |_| answer(ask(&health_checks))),
        }
    };
    vec![route("/healthz", healthz), route("/readyz", readyz)]
}

/// `None`: the loop has not answered in time.
#[cfg(feature = "admin")]
fn ask(loop_: &Sender<HealthCheck>) -> Option<Health> {
    use std::time::Duration;
    // Less than the second that a probe of Kubernetes waits.
    const PATIENCE: Duration = Duration::from_millis(800);
    let (answer, answered) = bounded(1);
    loop_.send_timeout(answer, PATIENCE / 2).ok()?;
    answered.recv_timeout(PATIENCE / 2).ok()
}

#[cfg(feature = "admin")]
const STUCK: &str = "the loop has not answered in time, or farspan is stopping";

#[cfg(feature = "admin")]
fn healthz(health: Option<Health>) -> Response {
    match health {
        Some(_) => Response::text(200, "ok"),
        None => Response::text(503, STUCK),
    }
}

#[cfg(feature = "admin")]
fn readyz(health: Option<Health>) -> Response {
    match health {
        Some(health) if health.troubles.is_empty() => Response::text(200, "ready"),
        Some(health) => Response::text(503, &health.troubles.join("\n")),
        None => Response::text(503, STUCK),
    }
}

#[cfg(all(test, feature = "admin"))]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_answer_is_neither_alive_nor_ready() {
        let (asks, questions) = channel();
        for _ in 0..QUESTIONS_MAX + 1 {
            assert_eq!(
                ask(&asks),
                None,
                "the question is not taken, or not answered"
            );
        }
        assert_eq!((healthz(None).status, readyz(None).status), (503, 503));
        assert_eq!(questions.len(), QUESTIONS_MAX);
        drop(questions);
        assert_eq!(ask(&asks), None, "it has ended");
    }
}
