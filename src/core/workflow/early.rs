//! What is shown of a run before its spans are finished: spans that say that something has started, and status events as
//! log records.
//!
//! Both are made when an answer shows the change, which is stored with them in one commit: each is made once, also when
//! farspan is restarted.

use super::observed::{Observation, Observed};
use super::spans::{AttributeList, Run, StageName};
use super::stages::{StageSight, add_task};
use super::{KEYS, Naming, Workflow};
use crate::event::Value;
use crate::ids::SpanShows;
use crate::limits;
use crate::limits::cut;
use crate::log_record::{LogRecord, Severity};
use crate::outcome::Outcome;
use crate::snapshot::State;
use crate::span::{STARTED, Span};
use crate::time::Wall;

/// What an answer has changed: of the workflow, and of stages by their indexes.
pub(super) type News<'a> = (Observation, &'a [(usize, Observation)]);

/// The workflow, or one of its stages.
struct WorkflowOrStage<'a> {
    name: &'a str,
    observed: &'a Observed,
    stage: Option<StageSight<'a>>,
}

impl Workflow {
    /// Shows what the monitor wants to be shown early.
    pub(super) fn show_early(
        &self,
        (of_run, of_stages): News<'_>,
        naming: &Naming,
        spans: &mut Vec<Span>,
        log_records: &mut Vec<LogRecord>,
    ) {
        let run = self.run(naming);
        let workflow = WorkflowOrStage {
            name: &naming.workflow,
            observed: &self.observed,
            stage: None,
        };
        let stages = of_stages.iter().filter_map(|(index, news)| {
            let stage = self.stages.sight_of(*index)?;
            let subject = WorkflowOrStage {
                name: stage.kind,
                observed: stage.observed,
                stage: Some(stage),
            };
            Some((subject, *news))
        });
        for (subject, news) in [(workflow, of_run)].into_iter().chain(stages) {
            if let Some(time) = news.new_status_at
                && naming.status_events.are_logged()
            {
                log_records.push(self.log_record(&subject, time, run));
            }
            if news.has_started && naming.started {
                spans.push(self.started_span(&subject, run));
            }
        }
    }

    /// A span without a duration, which a backend can find while the run goes on. Its parent is the workflow's span, which
    /// comes at the end of the run. It lies outside of it if a later answer corrects the start: the best times count there.
    fn started_span(&self, of: &WorkflowOrStage<'_>, run: Run<'_>) -> Span {
        let seen = of.observed.started_seen.unwrap_or(self.received_at);
        // A start that is still to come is an error of the API.
        let at = (of.observed.start).map_or(seen, |start| start.min(seen));
        let naming = run.naming;
        let mut attributes = AttributeList::new(&naming.limits);
        self.identify(of, run, &mut attributes);
        attributes.add(STARTED, Value::Bool(true));
        attributes.add_times(of.observed);
        if of.stage.is_none() {
            let reported = self.extra.as_ref().map(|extra| &extra.reported);
            attributes.add_some(KEYS.url, reported.and_then(|it| it.url.as_deref()));
            attributes.add_all(self.attributes.clone(), KEYS.is_taken);
        }
        let subject = (of.span_name(), of.name);
        run.span_beside(
            subject,
            SpanShows::Start,
            run.span_id(None),
            (at, at),
            attributes,
        )
    }

    fn log_record(&self, of: &WorkflowOrStage<'_>, time: Wall, run: Run<'_>) -> LogRecord {
        let naming = run.naming;
        let (status, ended) = (of.observed.status(), of.ended());
        let failed = ended.is_some_and(Outcome::is_failure);
        let mut attributes = AttributeList::new(&naming.limits);
        self.identify(of, run, &mut attributes);
        attributes.add("farspan.status", status);
        attributes.add_some(of.result_key(), ended.map(Outcome::as_str));
        let mut body = format!("{}: {status}", of.name);
        if failed {
            attributes.add("error.type", status);
            if let Some(error) = of.observed.error() {
                body = format!("{body}: {error}");
            }
        }
        let (attributes, dropped_attributes) = attributes.into_parts();
        LogRecord {
            trace_id: self.trace_id,
            span_id: run.span_id(of.span_name()),
            trace_flags: run.trace_flags,
            time,
            severity: if failed {
                Severity::Error
            } else {
                Severity::Info
            },
            body: cut(&body, limits::ATTRIBUTE_BYTES_MAX).into(),
            attributes,
            dropped_attributes,
            service: naming.service.clone(),
        }
    }

    /// The attributes that identify it.
    fn identify(&self, of: &WorkflowOrStage<'_>, run: Run<'_>, attributes: &mut AttributeList<'_>) {
        let Some(stage) = of.stage else {
            run.add_to(attributes);
            let answered = self.extra.as_ref().and_then(|extra| extra.attempt);
            if let Some(attempt) = self.attempt.or(answered) {
                attributes.add("attempt", Value::Int(attempt.into()));
            }
            return;
        };
        attributes.add("type", stage.kind);
        attributes.add_some("id", stage.id);
        run.add_to(attributes);
        add_task(attributes, stage.kind, stage.id, stage.name);
        let (_, attempt) = stage.name;
        if attempt != 1 {
            attributes.add("attempt", Value::Int(attempt.into()));
        }
    }
}

impl<'a> WorkflowOrStage<'a> {
    fn span_name(&self) -> Option<StageName<'a>> {
        self.stage.map(|stage| stage.name)
    }

    fn ended(&self) -> Option<Outcome> {
        match self.observed.state {
            State::Ended(outcome) => Some(outcome),
            State::Pending | State::Running => None,
        }
    }

    fn result_key(&self) -> &'static str {
        match self.stage {
            Some(_) => super::stages::KEYS.result,
            None => KEYS.result,
        }
    }
}
