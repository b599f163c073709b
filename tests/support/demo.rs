//! farspan's own demo programs: the scripted API and the load.

use super::program::{Farspan, farspan};
use super::redis::RedisServer;
use super::{SOON, eventually, free_port};
use std::net::TcpStream;

/// `farspan api`, on a port of its own.
pub struct DemoApi {
    /// Host and port.
    pub address: String,
    pub running: Farspan,
}

impl DemoApi {
    /// `options` are those of the command line, apart from `--listen`. Returns when it listens.
    pub fn start(options: &str) -> Self {
        DemoApi::logging("info", options)
    }

    /// Logs from this level on.
    pub fn logging(level: &str, options: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut words = vec!["api", "--listen", &address];
        words.extend(options.split_whitespace());
        let running = farspan(&words).env("FARSPAN_LOG", level).start();
        eventually("the API listens", SOON, || {
            TcpStream::connect(&address).map_err(|error| error.to_string())
        });
        DemoApi { address, running }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// `farspan load` with these options, from its start to its end.
#[track_caller]
pub fn publish_load(redis: &RedisServer, options: &str) {
    let mut words = vec!["load"];
    words.extend(options.split_whitespace());
    let load = farspan(&words).env("FARSPAN_REDIS_URL", redis.url());
    let ended = load.start().wait(SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}
