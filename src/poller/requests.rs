//! One poll: the requests that the mapping names, each with its pages, until everything is known or one of them fails.

use super::Target;
use super::record::{Exchange, Record, note_headers};
use super::redirect::{REDIRECTS_MAX, is_redirect, next_page, same_host_redirect};
use super::unchanged::{Unchanged, Validators};
use crate::clock;
use crate::core::limits;
use crate::core::time::{Mono, Wall};
use crate::core::workflow::cut;
use crate::core::{Answer, Poll, PollFailure, PollFailureReason, Polled};
use crate::http::{self, NameCache};
use crate::mapping::definition::{Method, Pages, Request};
use crate::mapping::template::{Variables, push_segment};
use crate::mapping::{self, Gather, Page, Part, Reading, Unreadable};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

/// One of the pool's.
pub(super) struct Poller {
    /// One for each monitor.
    agents: Vec<Agent>,
    names: NameCache,
    unchanged: Arc<Unchanged>,
    /// Reused from poll to poll.
    body: Vec<u8>,
    /// For a probe: everything that goes over the wire.
    record: Option<Record>,
}

/// A body up to this size is read whole and parsed from memory, which is faster; a larger one is parsed as it comes.
const WHOLE_BODY_BYTES: usize = 64 * 1024;
/// Pages of one answer.
const PAGES_MAX: u32 = 100;
/// Elements that one poll asks after one by one.
const EACH_MAX: usize = 100;
/// A poll of many requests may take so long: longer than one request, not so long that a pool of pollers is lost to it.
const POLL_MAX: Duration = Duration::from_secs(120);

/// What a poll has brought beside its answers.
struct Progress {
    begun: Mono,
    requests: u32,
    date: Option<Wall>,
    /// How long the host asks to be left alone though it answered.
    pause: Option<Duration>,
    oddity: Option<Box<str>>,
}

/// One request's answer.
enum Got {
    /// What it said; the links with it.
    Part(Arc<Part>, HeaderMap),
    /// "404 Not Found".
    NotFound,
}

impl Poller {
    pub(super) fn new(agents: Vec<Agent>, names: NameCache, unchanged: Arc<Unchanged>) -> Self {
        Poller {
            agents,
            names,
            unchanged,
            body: Vec::new(),
            record: None,
        }
    }

    /// The same; what it did is in its record.
    pub(super) fn recording(agent: Agent, names: NameCache) -> Self {
        Poller {
            record: Some(Record::default()),
            ..Poller::new(vec![agent], names, Arc::default())
        }
    }

    /// What was recorded.
    pub(super) fn into_record(self) -> Record {
        self.record.unwrap_or_default()
    }

    pub(super) fn poll(&mut self, poll: &Poll, target: &Target) -> Polled {
        let sent = clock::now();
        let mut progress = Progress {
            begun: sent.mono,
            requests: 0,
            date: None,
            pause: None,
            oddity: None,
        };
        let answer = self.ask(poll, target, &mut progress);
        let answer = answer.unwrap_or_else(|failure| {
            if failure.reason == PollFailureReason::Connect {
                self.names.forget();
            }
            Answer::Failed(failure)
        });
        Polled {
            slot: poll.slot,
            generation: poll.generation,
            sent,
            received: clock::now(),
            date: progress.date,
            requests: progress.requests,
            pause: progress.pause,
            answer,
        }
    }

    fn ask(
        &mut self,
        poll: &Poll,
        target: &Target,
        progress: &mut Progress,
    ) -> Result<Answer, PollFailure> {
        let mapping = &*target.mapping;
        let Some(mut gather) = mapping.gather(&poll.workflow_id) else {
            let why = "the id is not made of the parts that the monitor's \"id\" names";
            return Err(failure(PollFailureReason::Shape, why));
        };
        for (number, (name, request)) in mapping.requests().enumerate() {
            let mut each = gather.each(number);
            if each.len() > EACH_MAX {
                progress.odd(|| {
                    format!(
                        "requests.{name}: only the first {EACH_MAX} of {}",
                        each.len()
                    )
                });
                each.truncate(EACH_MAX);
            }
            for (element, variables) in each.iter().enumerate() {
                let asked = Asked {
                    poll,
                    target,
                    number,
                    name,
                    request,
                };
                let found = self.pages(&asked, element, variables, &mut gather, progress)?;
                if !found && number == 0 {
                    return Ok(Answer::NotFound);
                }
                if !found {
                    progress
                        .odd(|| format!("requests.{name}: HTTP 404, taken for nothing there yet"));
                }
            }
        }
        if let Some(record) = &mut self.record {
            record.found_nothing = gather.found_nothing();
        }
        let Reading { snapshot, oddity } = gather.finish().map_err(unreadable)?;
        Ok(Answer::Snapshot {
            snapshot: Box::new(snapshot),
            oddity: oddity.or(progress.oddity.take()),
        })
    }

    /// Asks for all pages of an answer. Whether there was any.
    fn pages(
        &mut self,
        asked: &Asked<'_>,
        element: usize,
        variables: &Variables,
        gather: &mut Gather<'_>,
        progress: &mut Progress,
    ) -> Result<bool, PollFailure> {
        let first = asked.url(variables)?;
        let body = asked.body(variables)?;
        let mut at = Place::default();
        let mut url = at.url(&first, asked.request.pages.as_ref());
        for number in 0..PAGES_MAX {
            if clock::now().mono.since(progress.begun) >= POLL_MAX {
                let why = format!("its requests took longer than {POLL_MAX:?} together");
                return Err(failure(PollFailureReason::Timeout, &why));
            }
            let got = self.get(asked, &url, body.as_deref(), progress)?;
            let Got::Part(part, links) = got else {
                return Ok(number > 0);
            };
            let page = part.page().clone();
            gather.put(element, part);
            let next = match &asked.request.pages {
                None => None,
                Some(Pages::Link) => next_page(&url, &links)
                    .transpose()
                    .map_err(|why| failure(PollFailureReason::Redirect, &why))?,
                Some(pages) => at.go_on(pages, &page).then(|| at.url(&first, Some(pages))),
            };
            match next {
                None => return Ok(true),
                Some(next) => url = next,
            }
        }
        let name = asked.title();
        progress.odd(|| format!("{name}: more than {PAGES_MAX} pages, the rest is left out"));
        Ok(true)
    }

    fn get(
        &mut self,
        asked: &Asked<'_>,
        url: &str,
        body: Option<&[u8]>,
        progress: &mut Progress,
    ) -> Result<Got, PollFailure> {
        let monitor = asked.poll.monitor;
        let known = match body {
            None => self.unchanged.known(monitor, url),
            Some(_) => None,
        };
        let mut again = true;
        loop {
            let validators = known.as_ref().map(|(validators, _)| validators);
            let credential = asked.target.credentials.header()?;
            let response =
                self.send(asked, url, body, credential.as_ref(), validators, progress)?;
            progress.date = http::date(response.headers());
            let status = response.status();
            let now = clock::now().wall;
            let limited = http::rate_limit(response.headers(), now);
            match status.as_u16() {
                304 => {
                    if let Some((validators, part)) = &known {
                        progress.pause = progress.pause.max(limited);
                        return Ok(Got::Part(part.clone(), validators.linked()));
                    }
                }
                200..=299 => {
                    progress.pause = progress.pause.max(limited);
                    return self.read(asked, url, response);
                }
                404 => {
                    if let Some(record) = &mut self.record {
                        record.read_refusal(response);
                    }
                    return Ok(Got::NotFound);
                }
                401 | 403 if limited.is_none() => {
                    let another = asked.target.credentials.refused(credential.as_ref());
                    if another && std::mem::take(&mut again) {
                        continue;
                    }
                }
                _ => {}
            }
            let refusal = refusal(&response, status, limited, now, asked);
            if let Some(record) = &mut self.record {
                record.read_refusal(response);
            }
            return Err(refusal);
        }
    }

    fn send(
        &mut self,
        asked: &Asked<'_>,
        url: &str,
        body: Option<&[u8]>,
        credential: Option<&(HeaderName, HeaderValue)>,
        validators: Option<&Validators>,
        progress: &mut Progress,
    ) -> Result<Response<ureq::Body>, PollFailure> {
        let agent = &self.agents[usize::from(asked.poll.monitor)];
        let mut url = std::borrow::Cow::Borrowed(url);
        for _ in 0..=REDIRECTS_MAX {
            progress.requests += 1;
            let mut exchange = self
                .record
                .as_ref()
                .map(|_| Exchange::new(asked, &url, body));
            let response = match body {
                None => {
                    let mut request = with_headers(agent.get(&*url), asked, credential);
                    if let Some(validators) = validators {
                        if let Some(etag) = &validators.etag {
                            request = request.header(header::IF_NONE_MATCH, etag);
                        }
                        if let Some(time) = &validators.last_modified {
                            request = request.header(header::IF_MODIFIED_SINCE, time);
                        }
                    }
                    note_headers(&mut exchange, &request);
                    request.call()
                }
                Some(body) => {
                    let request = with_headers(agent.post(&*url), asked, credential);
                    let request = request.content_type("application/json");
                    note_headers(&mut exchange, &request);
                    request.send(body)
                }
            };
            if let (Some(record), Some(exchange)) = (&mut self.record, exchange) {
                record.add(exchange, response.as_ref().ok());
            }
            let response = response.map_err(|e| failure_of(&e))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let to = same_host_redirect(&url, response.headers());
            url = to
                .map_err(|why| failure(PollFailureReason::Redirect, &why))?
                .into();
        }
        let why = format!("more than {REDIRECTS_MAX} redirects");
        Err(failure(PollFailureReason::Redirect, &why))
    }

    fn read(
        &mut self,
        asked: &Asked<'_>,
        url: &str,
        response: Response<ureq::Body>,
    ) -> Result<Got, PollFailure> {
        let (parts, body) = response.into_parts();
        let mut body = body
            .into_with_config()
            .limit(limits::BODY_BYTES_MAX)
            .reader();
        self.body.clear();
        // A probe wants to see all of it.
        let whole_bytes = match &self.record {
            Some(_) => limits::BODY_BYTES_MAX as usize,
            None => WHOLE_BODY_BYTES,
        };
        let whole = (&mut body).take(whole_bytes as u64 + 1);
        let read = { whole }.read_to_end(&mut self.body);
        read.map_err(|e| failure_of_io(&e))?;
        let mapping = &asked.target.mapping;
        if let Some(record) = &mut self.record {
            record.read(&self.body);
        }
        let is_whole = self.body.len() <= whole_bytes;
        let part = if is_whole {
            mapping.read_slice(asked.number, &self.body)
        } else {
            let rest = io::BufReader::with_capacity(WHOLE_BODY_BYTES, body);
            let begun = &self.body[..];
            let begun = begun
                .strip_prefix(mapping::BYTE_ORDER_MARK)
                .unwrap_or(begun);
            mapping.read_stream(asked.number, begun.chain(rest))
        };
        let part = Arc::new(part.map_err(unreadable)?);
        if asked.request.method == Method::Get && is_whole {
            let validators = Validators::of(&parts.headers);
            let monitor = asked.poll.monitor;
            self.unchanged
                .keep(monitor, url, validators, &part, self.body.len());
        }
        Ok(Got::Part(part, parts.headers))
    }
}

impl Progress {
    fn odd(&mut self, what: impl FnOnce() -> String) {
        self.oddity.get_or_insert_with(|| what().into());
    }
}

/// Which request of which poll.
pub(super) struct Asked<'a> {
    poll: &'a Poll,
    target: &'a Target,
    number: usize,
    pub(super) name: &'a str,
    pub(super) request: &'a Request,
}

impl Asked<'_> {
    fn title(&self) -> String {
        match self.name {
            "" => "request".to_owned(),
            name => format!("requests.{name}"),
        }
    }

    fn url(&self, variables: &Variables) -> Result<String, PollFailure> {
        let base = &self.target.base_url;
        let mut url = String::with_capacity(base.len() + 64 + 3 * self.poll.workflow_id.len());
        url.push_str(base);
        match self.request.path.render(variables, &mut url) {
            true => Ok(url),
            false => Err(self.incomplete("path")),
        }
    }

    fn body(&self, variables: &Variables) -> Result<Option<Vec<u8>>, PollFailure> {
        match (&self.request.body, self.request.method) {
            (None, Method::Get) => Ok(None),
            (None, Method::Post) => Ok(Some(Vec::new())),
            (Some(body), _) => {
                let body = body.render(variables);
                body.map(Some).ok_or_else(|| self.incomplete("body"))
            }
        }
    }

    fn incomplete(&self, what: &str) -> PollFailure {
        let why = format!("{}.{what}: a variable in it has no value", self.title());
        failure(PollFailureReason::Shape, &why)
    }
}

/// Where a long answer is being read.
#[derive(Default)]
struct Place {
    /// Elements so far.
    elements: u64,
    /// Pages so far.
    pages: u32,
    cursor: Option<Box<str>>,
}

impl Place {
    /// The URL of this page.
    fn url(&self, first: &str, pages: Option<&Pages>) -> String {
        let mut url = first.to_owned();
        let mut add = |name: &str, value: &str| {
            url.push(match url.contains('?') {
                true => '&',
                false => '?',
            });
            push_segment(&mut url, name);
            url.push('=');
            push_segment(&mut url, value);
        };
        match pages {
            None | Some(Pages::Link) => {}
            Some(Pages::Offset {
                offset,
                limit,
                size,
                ..
            }) => {
                add(limit, &size.to_string());
                if self.elements > 0 {
                    add(offset, &self.elements.to_string());
                }
            }
            Some(Pages::Page {
                page,
                limit,
                size,
                first,
                ..
            }) => {
                add(limit, &size.to_string());
                add(page, &(first + self.pages).to_string());
            }
            Some(Pages::Cursor { param, .. }) => {
                if let Some(cursor) = &self.cursor {
                    add(param, cursor);
                }
            }
        }
        url
    }

    /// Goes to the next page. Whether there is one.
    fn go_on(&mut self, pages: &Pages, page: &Page) -> bool {
        self.elements += page.elements as u64;
        self.pages += 1;
        match pages {
            Pages::Link => false,
            Pages::Cursor { .. } => {
                let again = self.cursor == page.next;
                self.cursor = page.next.clone().filter(|next| !next.is_empty());
                self.cursor.is_some() && !again
            }
            Pages::Offset { size, .. } | Pages::Page { size, .. } => match page.total {
                Some(total) => page.elements > 0 && self.elements < total,
                None => page.elements as u64 >= u64::from(*size),
            },
        }
    }
}

fn with_headers<B>(
    mut request: ureq::RequestBuilder<B>,
    asked: &Asked<'_>,
    credential: Option<&(HeaderName, HeaderValue)>,
) -> ureq::RequestBuilder<B> {
    let target = asked.target;
    if !target
        .headers
        .iter()
        .any(|(name, _)| name == header::ACCEPT)
    {
        request = request.header(header::ACCEPT, "application/json");
    }
    if let Some(traceparent) = &asked.poll.traceparent {
        request = request.header("traceparent", &**traceparent);
    }
    let headers = target.headers.iter().chain(credential);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// What a status means that is no answer.
fn refusal(
    response: &Response<ureq::Body>,
    status: StatusCode,
    limited: Option<Duration>,
    now: Wall,
    asked: &Asked<'_>,
) -> PollFailure {
    let reason = match status.as_u16() {
        // GitHub says of a budget that is spent that it is forbidden.
        403 if limited.is_some() => PollFailureReason::TooManyRequests,
        401 | 403 => PollFailureReason::Unauthorized,
        429 => PollFailureReason::TooManyRequests,
        500..=599 => PollFailureReason::ServerError,
        _ => PollFailureReason::Status,
    };
    let asks_for_peace = matches!(status.as_u16(), 403 | 429 | 503);
    let retry_after = http::retry_after(response.headers(), now).or(limited);
    let detail = match asked.name {
        "" => format!("HTTP {status}"),
        name => format!("requests.{name}: HTTP {status}"),
    };
    PollFailure {
        retry_after: retry_after.filter(|_| asks_for_peace),
        ..failure(reason, &detail)
    }
}

fn unreadable(unreadable: Unreadable) -> PollFailure {
    match unreadable {
        Unreadable::Io(error) => failure_of_io(&error),
        Unreadable::Garbage(what) => failure(PollFailureReason::Garbage, &what),
        Unreadable::Shape(what) => failure(PollFailureReason::Shape, &what),
    }
}

fn failure(reason: PollFailureReason, detail: &str) -> PollFailure {
    PollFailure {
        reason,
        detail: cut(detail, limits::NAME_BYTES_MAX).into(),
        retry_after: None,
    }
}

fn failure_of(error: &ureq::Error) -> PollFailure {
    failure(http::reason_of(error), &error.to_string())
}

fn failure_of_io(error: &io::Error) -> PollFailure {
    failure(http::reason_of_io(error), &error.to_string())
}
