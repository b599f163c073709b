//! What an answer says beside the workflow's state: whose state it is, and what the API's clock shows.

use super::api::Polled;
use super::poll_failure::{PollFailure, PollFailureReason};
use super::snapshot::Snapshot;

/// The failure of an answer about another workflow than was asked for: its trace would be wrong, and could not be taken
/// back. Systems write one id with and without braces, hyphens and capitals.
pub fn about_another_workflow(snapshot: &Snapshot, asked: &str) -> Option<PollFailure> {
    let answered = snapshot.workflow_id.as_deref()?;
    let essence = |id: &str| -> Vec<char> {
        let essential = id.chars().filter(|c| c.is_alphanumeric());
        essential.flat_map(char::to_lowercase).collect()
    };
    let same = answered == asked || {
        let essence_asked = essence(asked);
        !essence_asked.is_empty() && essence(answered) == essence_asked
    };
    (!same).then(|| PollFailure {
        reason: PollFailureReason::OtherWorkflow,
        detail: format!("asked after {asked:?}, the answer is about {answered:?}").into(),
        retry_after: None,
    })
}

/// How far the API's clock is ahead of ours, by its `Date` header. The header has whole seconds: a clock that agrees
/// within one second counts as equal.
pub(super) fn skew_ns(polled: &Polled) -> Option<i64> {
    const SECOND_NS: i64 = 1_000_000_000;
    let date = polled.date?.as_unix_ns();
    // Our wall clock may have been set since the request was sent; the other one was not.
    let received = polled.received.wall.as_unix_ns();
    let latency = polled.received.mono.since(polled.sent.mono).as_nanos();
    let latency_ns = i64::try_from(latency).unwrap_or(i64::MAX);
    let least = date.saturating_sub(received);
    let most = least.saturating_add(SECOND_NS).saturating_add(latency_ns);
    if least <= 0 && most >= 0 {
        Some(0)
    } else {
        Some(least / 2 + most / 2)
    }
}
