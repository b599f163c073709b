//! The sources of start events beside Redis: standard input and the admin endpoint.

use super::Loop;
#[cfg(feature = "admin")]
use crate::admin;
use crate::config::Config;
use crate::core::Input;
use crate::core::event::StartEvent;
#[cfg(feature = "admin")]
use crate::intake;
use crate::intake::lines;
use crate::intake::message::Reading;
use crate::intake::posted::{Admission, Posted};
#[cfg(feature = "admin")]
use crate::serve::{Server, Serving};
#[cfg(feature = "admin")]
use crossbeam_channel::bounded;
use crossbeam_channel::{Receiver, Sender, never};
use std::convert::Infallible;

/// Requests between the admin endpoint and the loop.
#[cfg(feature = "admin")]
const POSTED_QUEUE: usize = 16;

/// The admin endpoint, before it answers anybody.
pub(super) struct Endpoint {
    #[cfg(feature = "admin")]
    server: Option<Server>,
}

/// The admin endpoint at work.
pub(super) struct Answering {
    #[cfg(feature = "admin")]
    serving: Option<Serving>,
}

impl Answering {
    /// Answers nobody any more.
    pub(super) fn end(self) {
        #[cfg(feature = "admin")]
        drop(self.serving);
    }
}

impl Endpoint {
    /// Takes the address: first of all, for a second farspan fails here.
    #[cfg(feature = "admin")]
    pub(super) fn bind(config: &Config) -> Result<Self, String> {
        let Some(admin) = &config.admin else {
            return Ok(Endpoint { server: None });
        };
        let listen = &admin.listen;
        let server = admin::bind(listen).map_err(|error| {
            format!("FARSPAN_ADMIN_LISTEN: cannot listen on {listen}: {error}; set another address, or none")
        })?;
        log::info!("POST /api/workflows is answered on {}", server.local_addr());
        Ok(Endpoint {
            server: Some(server),
        })
    }

    #[cfg(not(feature = "admin"))]
    pub(super) fn bind(_: &Config) -> Result<Self, String> {
        Ok(Endpoint {})
    }

    /// Answers from now on; what is posted comes by the channel.
    #[cfg(feature = "admin")]
    pub(super) fn start(
        self,
        config: &Config,
        reading: Reading,
    ) -> Result<(Answering, Receiver<Posted>), String> {
        let (Some(server), Some(admin)) = (self.server, &config.admin) else {
            return Ok((Answering { serving: None }, never()));
        };
        let (posted, received) = bounded(POSTED_QUEUE);
        let entrance = intake::http::Entrance::new(reading, posted);
        let routes = vec![admin::Route {
            method: "POST",
            path: "/api/workflows",
            is_open: false,
            handler: Box::new(move |request| entrance.post(request)),
        }];
        let token = admin.token.as_ref().map(crate::config::Secret::expose);
        let serving = admin::start(server, token, routes)
            .map_err(|error| format!("cannot start the admin endpoint: {error}"))?;
        let answering = Answering {
            serving: Some(serving),
        };
        Ok((answering, received))
    }

    #[cfg(not(feature = "admin"))]
    pub(super) fn start(
        self,
        _: &Config,
        _: Reading,
    ) -> Result<(Answering, Receiver<Posted>), String> {
        Ok((Answering {}, never()))
    }
}

/// Starts to read standard input. The channel that comes back disconnects when it has ended and nothing else was to
/// tell of workflows.
pub(super) fn read_stdin(
    config: &Config,
    reading: Reading,
    events: Sender<StartEvent>,
) -> Result<Receiver<Infallible>, String> {
    let ended = lines::listen(reading, std::io::stdin(), events)
        .map_err(|error| format!("cannot start the reader of standard input: {error}"))?;
    // Where nobody asked for the admin endpoint, nobody is about to call it.
    let has_others =
        config.redis.is_some() || config.admin.as_ref().is_some_and(|it| it.is_asked_for);
    Ok(if has_others { never() } else { ended })
}

impl Loop {
    /// Takes in what was posted, all of it or nothing; its answer waits for the commit.
    pub(super) fn admit(&mut self, posted: Posted) {
        if !self.core.has_room() || self.core.room() < posted.events.len() {
            // Whoever asked may have gone.
            let _ = posted.answer.try_send(Admission::NoRoom);
            return;
        }
        for event in posted.events {
            self.handle(Input::Started(event));
        }
        self.unanswered.push(posted.answer);
    }

    /// All that was admitted is stored.
    pub(super) fn answer_posted(&mut self) {
        for answer in self.unanswered.drain(..) {
            let _ = answer.try_send(Admission::Accepted);
        }
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_idle(&self, events: &Receiver<StartEvent>) -> bool {
        events.is_empty()
            && self.core.watched() == 0
            && self.core.spans_waiting() == 0
            && self.unstored.is_empty()
            && self.unanswered.is_empty()
    }
}
