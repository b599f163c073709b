//! A farspan whose file has monitors.

use super::files::Files;
use super::program::{Call, Farspan};
use super::rig::Rig;
use super::spans::Seen;
use super::{SOON, eventually};
use serde_json::{Value, json};

pub struct Monitored {
    pub rig: Rig,
    pub files: Files,
    pub call: Call,
}

impl Monitored {
    /// These monitors, in a hurry where they do not say otherwise.
    pub fn by(monitors: Value) -> Self {
        Monitored::with(Files::new(), monitors)
    }

    /// These monitors, with files that they name.
    pub fn with(files: Files, mut monitors: Value) -> Self {
        for monitor in monitors.as_array_mut().expect("a list of monitors") {
            let poll = &mut monitor["poll"];
            for (key, value) in [("initial_delay", "10ms"), ("interval", "20ms")] {
                if poll[key].is_null() {
                    poll[key] = json!(value);
                }
            }
        }
        let config = json!({ "monitors": monitors }).to_string();
        let rig = Rig::new();
        let call = rig
            .call()
            .without("FARSPAN_API_BASE_URL")
            .without("FARSPAN_POLL_INITIAL_DELAY")
            .without("FARSPAN_POLL_INTERVAL")
            .env("FARSPAN_CONFIG", files.write("farspan.json", config));
        Monitored { rig, files, call }
    }

    #[track_caller]
    pub fn start(&self) -> Farspan {
        self.rig.start_call(&self.call)
    }

    /// Waits for the workflow's own span; all of its spans.
    #[track_caller]
    pub fn spans(&self, id: &str) -> Vec<Seen> {
        eventually(&format!("the trace of {id}"), SOON, || {
            self.rig.receiver.has_root(id)
        });
        self.rig.receiver.assert_each_span_once();
        let mut spans = self.rig.receiver.spans();
        spans.retain(|span| span.workflow_id() == id);
        spans
    }

    /// From a start event to the trace, and then the end of farspan: what it has logged.
    #[track_caller]
    pub fn watch(&self, id: &str) -> (Vec<Seen>, String) {
        let farspan = self.start();
        self.rig.submit(id);
        let spans = self.spans(id);
        (spans, farspan.stop().stderr)
    }
}
