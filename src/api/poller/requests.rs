//! One poll: the requests of the mapping, each with its pages, until all are answered or one fails.

use super::unchanged::{Unchanged, Validators};
use super::{Probed, Target};
use crate::api::exchange::{
    Asking, Exchanges, Filled, PAGES_MAX, Paging, PathTold, Reply, Tally, failure, failure_of_io,
    failure_of_variable,
};
use crate::core::limits;
use crate::core::time::Mono;
use crate::core::{Answer, Poll, PollFailure, PollFailureReason, Polled};
use crate::http::client::Network;
use crate::mapping::definition::{Method, Request};
use crate::mapping::{
    Gather, Missing, Oddity, OddityKind, Part, ReadBuffers, Reading, UnreadableBody,
};
use crate::os::clock;
use crate::syntax::text::without_byte_order_mark;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

/// One poller of the pool.
pub(super) struct Poller {
    /// One agent for each monitor.
    agents: Vec<Agent>,
    network: Network,
    unchanged: Arc<Unchanged>,
    /// Reused from poll to poll.
    url: String,
    body: Vec<u8>,
    buffers: ReadBuffers,
}

/// A body up to this size is read whole and parsed from memory, which is faster; a larger one is parsed as it comes.
const WHOLE_BODY_BYTES: usize = 64 * 1024;
/// The most requests of one poll for the elements of one list.
const EACH_MAX: usize = 100;
/// The longest time for all requests of one poll: longer than one request, short enough to give the poller back.
const POLL_MAX: Duration = Duration::from_secs(120);

/// What a poll brings besides its answers.
#[derive(Default)]
struct PollReport {
    begun: Mono,
    tally: Tally,
    oddity: Option<Box<str>>,
    /// For a probe: the pointers that found nothing.
    found_nothing: Vec<Missing>,
    /// For a probe: the oddities that no answer alone shows.
    together: Vec<Oddity>,
}

/// One request's answer: the body as it was read, and the headers. `None`: there is no such workflow, or nothing there
/// yet.
type Got = Option<(Part, HeaderMap)>;

impl Poller {
    pub(super) fn new(agents: Vec<Agent>, network: Network, unchanged: Arc<Unchanged>) -> Self {
        Poller {
            agents,
            network,
            unchanged,
            url: String::new(),
            body: Vec::new(),
            buffers: ReadBuffers::default(),
        }
    }

    pub(super) fn poll(&mut self, poll: &Poll, target: &Target) -> Polled {
        self.poll_with(poll, target, &mut PollReport::default())
    }

    /// Polls, and returns all requests and answers.
    pub(super) fn probe(&mut self, poll: &Poll, target: &Target) -> Probed {
        let mut report = PollReport::default();
        report.tally.exchanges = Some(Exchanges::default());
        let polled = self.poll_with(poll, target, &mut report);
        Probed {
            polled,
            exchanges: report.tally.exchanges.unwrap_or_default().all,
            found_nothing: report.found_nothing,
            together: report.together,
            path: PathTold::Nothing,
        }
    }

    fn poll_with(&mut self, poll: &Poll, target: &Target, report: &mut PollReport) -> Polled {
        let sent = clock::now();
        report.begun = sent.mono;
        let answer = self.ask(poll, target, report);
        let answer = answer.unwrap_or_else(|failure| {
            if failure.reason == PollFailureReason::Connect {
                self.network.forget_names();
            }
            Answer::Failed(failure)
        });
        Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent,
            received: clock::now(),
            date: report.tally.date,
            requests: report.tally.requests,
            not_modified: report.tally.not_modified,
            pause: report.tally.pause,
            answer,
        }
    }

    fn ask(
        &mut self,
        poll: &Poll,
        target: &Target,
        report: &mut PollReport,
    ) -> Result<Answer, PollFailure> {
        let mapping = &*target.mapping;
        let mut gather = mapping.gather(&poll.workflow_id).map_err(|why| {
            let why = format!("the workflow's id {why}");
            failure(PollFailureReason::Shape, &why)
        })?;
        if report.tally.exchanges.is_some() {
            gather.gather_oddities();
        }
        let mut failed = None;
        for (number, (name, request)) in mapping.requests().enumerate() {
            let asked = Asked {
                poll,
                target,
                number,
                name,
                request,
            };
            match self.requests(&asked, &mut gather, report) {
                Ok(true) => {}
                Ok(false) if number == 0 => return Ok(Answer::NotFound),
                Ok(false) => report.odd(OddityKind::NotFound(name.into())),
                Err(failure) if number == 0 => return Err(failure),
                Err(failure) => {
                    let is_of_host = failure.reason.is_of_host();
                    failed.get_or_insert(failure);
                    if is_of_host {
                        break;
                    }
                }
            }
        }
        if report.tally.exchanges.is_some() && failed.is_none() {
            report.found_nothing = gather.found_nothing();
        }
        let reading = gather.finish().map_err(unreadable);
        if let Some(failure) = failed {
            return match reading {
                Ok(reading) if reading.snapshot.has_ended() => Ok(Answer::Partial {
                    snapshot: Box::new(reading.snapshot),
                    failure,
                }),
                _ => Err(failure),
            };
        }
        let Reading {
            snapshot,
            oddity,
            together,
        } = reading?;
        report.together.splice(0..0, together);
        Ok(Answer::Snapshot {
            snapshot: Box::new(snapshot),
            oddity: oddity.or(report.oddity.take()),
        })
    }

    /// Makes a request: once, or for each element that it is for. Returns whether all were found.
    fn requests(
        &mut self,
        asked: &Asked<'_>,
        gather: &mut Gather<'_>,
        report: &mut PollReport,
    ) -> Result<bool, PollFailure> {
        let (api, request) = (&asked.target.api, asked.request);
        let Some(mut each) = gather.each(asked.number) else {
            let url = std::mem::take(&mut self.url);
            let filled = Filled::new(api, request, gather.variables(), url);
            let filled = filled.map_err(|why| failure_of_variable(&asked.title(), why))?;
            let found = self.pages(asked, 0, &filled, gather, report);
            self.url = filled.url;
            return found;
        };
        if each.len() > EACH_MAX {
            report.odd(OddityKind::TooManyRequests {
                name: asked.name.into(),
                made: EACH_MAX,
                elements: each.len(),
            });
            each.truncate(EACH_MAX);
        }
        let (mut all_found, mut failed) = (true, None);
        for (element, variables) in each.iter().enumerate() {
            let filled = match Filled::new(api, request, variables, String::new()) {
                Ok(filled) => filled,
                // The other elements have their requests, and the workflow its end.
                Err((_, why)) => {
                    let name = asked.name.into();
                    report.odd(OddityKind::NotRequested { name, why });
                    continue;
                }
            };
            match self.pages(asked, element, &filled, gather, report) {
                Ok(found) => all_found &= found,
                Err(failure) if failure.reason.is_of_host() => return Err(failure),
                Err(failure) => drop(failed.get_or_insert(failure)),
            }
        }
        failed.map_or(Ok(all_found), Err)
    }

    /// Requests all pages of an answer. Returns whether there is an answer.
    fn pages(
        &mut self,
        asked: &Asked<'_>,
        element: usize,
        filled: &Filled,
        gather: &mut Gather<'_>,
        report: &mut PollReport,
    ) -> Result<bool, PollFailure> {
        let mut paging = Paging::new(filled, asked.request.pages.as_ref());
        let mut at = paging.first();
        for number in 0..PAGES_MAX {
            if clock::now().mono.since(report.begun) >= POLL_MAX {
                let why = format!("its requests took longer than {POLL_MAX:?} together");
                return Err(failure(PollFailureReason::Timeout, &why));
            }
            let got = self.get(asked, &at.url, at.body.as_deref(), report)?;
            let Some((part, links)) = got else {
                return Ok(number > 0);
            };
            let page = part.page().clone();
            gather.put(element, part);
            let next = paging.next(&page, &at.url, &links)?;
            if let Some(host) = paging.elsewhere() {
                let (request, host) = (asked.title().into(), host.into());
                report.odd(OddityKind::LinkElsewhere { request, host });
            }
            match next {
                None => return Ok(true),
                Some(next) => at = next,
            }
        }
        report.odd(OddityKind::TooManyPages {
            request: asked.title().into(),
            made: PAGES_MAX as usize,
        });
        Ok(true)
    }

    fn get(
        &mut self,
        asked: &Asked<'_>,
        url: &str,
        body: Option<&[u8]>,
        report: &mut PollReport,
    ) -> Result<Got, PollFailure> {
        let monitor = asked.poll.monitor;
        let known = match body {
            None => self.unchanged.known(monitor, url),
            Some(_) => None,
        };
        let conditions = known
            .as_ref()
            .map(|(validators, _)| validators.conditions());
        let title = (!asked.name.is_empty()).then(|| asked.title());
        let asking = Asking {
            agent: &self.agents[usize::from(monitor)],
            api: &asked.target.api,
            title: title.as_deref(),
            traceparent: asked.poll.traceparent.as_deref(),
            tracestate: None,
            body,
            refusals: Some(&asked.target.mapping.definition().refusals),
            conditions: conditions.as_deref().unwrap_or_default(),
        };
        match (asking.ask(url, &mut report.tally)?, known) {
            (Reply::Found(response), _) => self.read(asked, url, response, &mut report.tally),
            (Reply::Unchanged, Some((validators, part))) => {
                report.tally.not_modified += 1;
                Ok(Some((Arc::unwrap_or_clone(part), validators.linked())))
            }
            (Reply::Unchanged | Reply::NotFound, _) => Ok(None),
        }
    }

    fn read(
        &mut self,
        asked: &Asked<'_>,
        url: &str,
        response: Response<ureq::Body>,
        tally: &mut Tally,
    ) -> Result<Got, PollFailure> {
        let (parts, body) = response.into_parts();
        let mut body = body
            .into_with_config()
            .limit(limits::BODY_BYTES_MAX)
            .reader();
        self.body.clear();
        // A probe wants to see all of it.
        let whole_bytes = match &tally.exchanges {
            Some(_) => limits::BODY_BYTES_MAX as usize,
            None => WHOLE_BODY_BYTES,
        };
        let whole = (&mut body).take(whole_bytes as u64 + 1);
        let read = { whole }.read_to_end(&mut self.body);
        read.map_err(|e| failure_of_io(&e))?;
        let mapping = &asked.target.mapping;
        if let Some(exchanges) = &mut tally.exchanges {
            exchanges.read(&self.body);
        }
        let is_whole = self.body.len() <= whole_bytes;
        let refusals = &mapping.definition().refusals;
        if is_whole && refusals.looks_into_answers() {
            if refusals.is_not_found(parts.status.as_u16(), &self.body) {
                return Ok(None);
            }
            if let Some(error) = refusals.error(&self.body) {
                let why = format!("{}: the answer is an error: \"{error}\"", asked.title());
                return Err(failure(PollFailureReason::Status, &why));
            }
        }
        let part = if is_whole {
            mapping.read_slice_with(asked.number, &self.body, &mut self.buffers)
        } else {
            let begun = without_byte_order_mark(&self.body);
            mapping.read_stream(asked.number, begun.chain(body))
        };
        let part = part.map_err(unreadable)?;
        if asked.request.method == Method::Get && is_whole {
            let validators = Validators::of(&parts.headers);
            let monitor = asked.poll.monitor;
            self.unchanged
                .keep(monitor, url, validators, &part, self.body.len());
        }
        Ok(Some((part, parts.headers)))
    }
}

impl PollReport {
    fn odd(&mut self, kind: OddityKind) {
        let oddity = Oddity::of_all(kind);
        self.oddity.get_or_insert_with(|| oddity.text());
        // A probe reports no more of them than there are requests.
        if self.tally.exchanges.is_some() && !self.together.contains(&oddity) {
            self.together.push(oddity);
        }
    }
}

/// One request of a poll.
struct Asked<'a> {
    poll: &'a Poll,
    target: &'a Target,
    number: usize,
    name: &'a str,
    request: &'a Request,
}

impl Asked<'_> {
    fn title(&self) -> String {
        if self.name.is_empty() {
            "request".to_owned()
        } else {
            format!("requests.{}", self.name)
        }
    }
}

fn unreadable(unreadable: UnreadableBody) -> PollFailure {
    match unreadable {
        UnreadableBody::Io(error) => failure_of_io(&error),
        UnreadableBody::Garbage(what) => failure(
            PollFailureReason::Garbage,
            &format!("the answer is not JSON: {what}"),
        ),
        UnreadableBody::Shape(what) => failure(PollFailureReason::Shape, &what),
    }
}
