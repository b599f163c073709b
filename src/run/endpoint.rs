//! The admin endpoint: takes its address, and has all routes.

#[cfg(feature = "admin")]
use super::build;
#[cfg(feature = "admin")]
use super::health;
use super::health::HealthCheck;
#[cfg(feature = "admin")]
use super::numbers;
use super::numbers::NumbersAsker;
use crate::admin::question::ViewQuestion;
#[cfg(feature = "admin")]
use crate::admin::runs::ViewedConfig;
#[cfg(feature = "admin")]
use crate::admin::{self, Route};
use crate::config::Config;
use crate::deliver::export_log::ExportLog;
#[cfg(feature = "admin")]
use crate::http::server::{Server, Serving};
#[cfg(feature = "admin")]
use crate::intake::http::Entrance;
use crate::intake::message::Dialects;
use crate::intake::posted::Posted;
use crossbeam_channel::Sender;
use std::net::SocketAddr;

/// How the admin endpoint asks the loop.
#[cfg_attr(
    not(feature = "admin"),
    expect(dead_code, reason = "only the admin endpoint asks")
)]
pub(super) struct Asking {
    pub(super) health_checks: Sender<HealthCheck>,
    pub(super) posted: Sender<Posted>,
    /// `None`: the metrics are not served.
    pub(super) numbers: Option<NumbersAsker>,
    pub(super) questions: Sender<ViewQuestion>,
    pub(super) export_log: ExportLog,
}

/// The admin endpoint, before it answers requests.
#[derive(Debug)]
pub struct Endpoint {
    #[cfg(feature = "admin")]
    server: Option<Server>,
}

/// The admin endpoint at work.
pub(super) struct Answering {
    #[cfg(feature = "admin")]
    serving: Option<Serving>,
}

impl Answering {
    /// Closes the endpoint.
    pub(super) fn end(self) {
        #[cfg(feature = "admin")]
        drop(self.serving);
    }
}

impl Endpoint {
    /// Takes the address: first of all, for a second farspan fails here.
    ///
    /// # Errors
    /// A text that says why it cannot listen there.
    #[cfg(feature = "admin")]
    pub fn bind(config: &Config) -> Result<Self, String> {
        let Some(admin) = &config.admin else {
            return Ok(Endpoint { server: None });
        };
        let listen = &admin.listen;
        let server = admin::bind(listen).map_err(|error| {
            format!("FARSPAN_ADMIN_LISTEN: cannot listen on {listen}: {error}; set another address, or none")
        })?;
        Ok(Endpoint {
            server: Some(server),
        })
    }

    /// As [`bind`](Self::bind). The default address may be taken, as by an exporter for Prometheus: that does not end a
    /// farspan with another source of start events.
    ///
    /// # Errors
    /// A text that says why it cannot listen there.
    pub(super) fn bind_if_free(config: &Config, has_other_source: bool) -> Result<Self, String> {
        let is_default = config.admin.as_ref().is_some_and(|it| !it.is_asked_for);
        match Endpoint::bind(config) {
            Err(trouble) if is_default && has_other_source => {
                log::warn!(
                    "{trouble}; farspan goes on without the admin endpoint: there is no live page, no /metrics and no \
                     /healthz"
                );
                Ok(Endpoint::none())
            }
            bound => bound,
        }
    }

    #[cfg(feature = "admin")]
    fn none() -> Self {
        Endpoint { server: None }
    }

    #[cfg(not(feature = "admin"))]
    fn none() -> Self {
        Endpoint {}
    }

    /// There is none.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "admin"))]
    pub fn bind(_: &Config) -> Result<Self, String> {
        Ok(Endpoint {})
    }

    /// Where it listens; `None` if there is no endpoint.
    pub fn address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "admin")]
        return self.server.as_ref().map(Server::local_addr);
        #[cfg(not(feature = "admin"))]
        None
    }

    /// Answers from now on.
    #[cfg(feature = "admin")]
    pub(super) fn start(
        self,
        config: &Config,
        reading: Dialects,
        asking: Asking,
    ) -> Result<Answering, String> {
        let (Some(server), Some(admin)) = (self.server, &config.admin) else {
            return Ok(Answering { serving: None });
        };
        let entrance = Entrance::new(reading, asking.posted.clone());
        let routes = routes(build::viewed(config), entrance, asking);
        let token = admin.token.as_ref().map(crate::config::Secret::expose);
        let serving = admin::start(server, &admin.listen, token, routes)
            .map_err(|error| format!("cannot start the admin endpoint: {error}"))?;
        Ok(Answering {
            serving: Some(serving),
        })
    }

    #[cfg(not(feature = "admin"))]
    pub(super) fn start(self, _: &Config, _: Dialects, _: Asking) -> Result<Answering, String> {
        Ok(Answering {})
    }
}

/// All that is answered. docs/openapi.json has the same.
#[cfg(feature = "admin")]
fn routes(viewed: ViewedConfig, entrance: Entrance, asking: Asking) -> Vec<Route> {
    let mut routes = health::routes(&asking.health_checks);
    routes.extend(asking.numbers.map(numbers::route));
    routes.push(admin::page::route());
    routes.extend(admin::runs::routes(viewed, asking.questions));
    let export_log = asking.export_log;
    routes.push(admin::exports::route(move || export_log.reports()));
    routes.push(Route {
        method: "POST",
        path: "/api/workflows",
        is_open: false,
        handler: Box::new(move |request| entrance.post(request)),
    });
    routes
}

#[cfg(all(test, feature = "admin"))]
mod tests {
    use super::*;
    use crate::intake::carrier::Formats;
    use crossbeam_channel::bounded;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_has_each_route_and_no_other_and_says_which_need_the_token() {
        let asking = Asking {
            posted: bounded(0).0,
            health_checks: health::channel().0,
            numbers: Some(numbers::channel().0),
            questions: bounded(0).0,
            export_log: ExportLog::default(),
        };
        let viewed = ViewedConfig {
            monitors: Vec::new(),
            trace_url: None,
        };
        let entrance = Entrance::new(Dialects::new(0, Formats::ALL), bounded(0).0);
        let routes: BTreeSet<_> = routes(viewed, entrance, asking)
            .iter()
            .map(|route| {
                (
                    route.path.to_owned(),
                    route.method.to_lowercase(),
                    route.is_open,
                )
            })
            .collect();

        let document: Value =
            serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
                documented.insert((path.clone(), method.clone(), is_open));
            }
        }
        assert_eq!(routes, documented);
    }
}
