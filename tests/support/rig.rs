//! One of each: Redis, the API, the collector, and a farspan between them.

use super::api::FakeApi;
use super::program::{Call, Farspan, farspan};
use super::receiver::Receiver;
use super::redis::{CHANNEL, RedisServer};
use super::spans::{Trace, assert_whole};
use super::{SOON, eventually};
use serde_json::{Value, json};
use std::time::Duration;

pub struct Rig {
    pub redis: RedisServer,
    pub api: FakeApi,
    pub receiver: Receiver,
}

impl Rig {
    pub fn new() -> Self {
        Rig {
            redis: RedisServer::start(),
            api: FakeApi::start(),
            receiver: Receiver::start(),
        }
    }

    /// `farspan run` between the three, in a hurry.
    pub fn call(&self) -> Call {
        farspan(&["run"])
            .env("FARSPAN_API_BASE_URL", self.api.base_url())
            .env("FARSPAN_REDIS_URL", self.redis.url())
            .env("FARSPAN_POLL_INITIAL_DELAY", "10ms")
            .env("FARSPAN_POLL_INTERVAL", "50ms")
            .env("FARSPAN_STATE", "none")
            .env("FARSPAN_ADMIN_LISTEN", "none")
            .env("FARSPAN_LOG", "debug")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", self.receiver.server.url())
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn start(&self) -> Farspan {
        self.start_call(&self.call())
    }

    #[track_caller]
    pub fn start_call(&self, call: &Call) -> Farspan {
        let farspan = call.start();
        self.redis.await_subscribers(CHANNEL, 1);
        farspan
    }

    /// Publishes the plainest start event for this workflow.
    #[track_caller]
    pub fn submit(&self, id: &str) {
        self.publish(&json!({ "WorkflowId": id }));
    }

    #[track_caller]
    pub fn publish(&self, event: &Value) {
        let heard = self.redis.publish(CHANNEL, event.to_string().as_bytes());
        assert_eq!(heard, 1, "one farspan hears {event}");
    }

    /// Waits until the workflow's own span was delivered, then holds all that was delivered against the invariants.
    #[track_caller]
    pub fn trace(&self, id: &str) -> Trace {
        self.trace_within(id, SOON)
    }

    #[track_caller]
    pub fn trace_within(&self, id: &str, timeout: Duration) -> Trace {
        eventually(&format!("the trace of {id}"), timeout, || {
            let polls = self.api.polls(id);
            if self.receiver.has_root(id) {
                Ok(())
            } else {
                Err(format!("no root yet, {polls} polls"))
            }
        });
        let spans = self.receiver.spans();
        let of_workflow: Vec<_> = spans
            .into_iter()
            .filter(|span| span.workflow_id() == id)
            .collect();
        assert_whole(&of_workflow)
            .remove(id)
            .expect("grouped by workflow id")
    }
}
