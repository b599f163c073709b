//! Looks up the addresses of hosts, and keeps them for a short time.
//!
//! ureq's own resolver looks a name up for every request, even where a connection is open, and starts a thread for it.
//! Where the system gives no further thread it panics. Here the threads are started once, at the start.

use crate::core::time::Mono;
use crate::os::clock;
use crate::os::threads::{self, lock};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The addresses of hosts. Clones share what was looked up.
#[derive(Clone, Debug)]
pub(super) struct Names {
    found: Arc<Mutex<Vec<Found>>>,
    lookups: Sender<Lookup>,
}

#[derive(Clone, Debug)]
struct Found {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    since: Mono,
}

/// One name to look up.
struct Lookup {
    host: String,
    port: u16,
    /// After this time nothing waits for the answer.
    until: Mono,
    answer: Sender<io::Result<Vec<SocketAddr>>>,
}

/// How long addresses are kept.
const ADDRESSES_KEPT: Duration = Duration::from_secs(10);
/// farspan asks a handful of hosts.
const HOSTS_MAX: usize = 64;
/// A name server that is silent holds a lookup for half a minute. The other threads go on.
const THREADS: usize = 4;
/// Each caller waits for one lookup, so that more than this many are never waiting at once.
const LOOKUPS_WAITING_MAX: usize = 64;

impl Names {
    /// Starts the threads. They end when the last clone is dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start() -> io::Result<Names> {
        let found = Arc::default();
        let (lookups, asked) = bounded(LOOKUPS_WAITING_MAX);
        for number in 0..THREADS {
            let (asked, found) = (asked.clone(), Arc::clone(&found));
            // Not joined: a lookup cannot be interrupted.
            threads::spawn(format!("names-{number}"), threads::STACK_BYTES, move || {
                look_up(&asked, &found);
            })?;
        }
        Ok(Names { found, lookups })
    }

    /// The addresses of a host, at least one.
    ///
    /// # Errors
    /// When there are none, or after `timeout` (`TimedOut`).
    pub(super) fn addresses(
        &self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> io::Result<Vec<SocketAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let now = clock::now().mono;
        if let Some(addresses) = find(&self.found, host, port, now) {
            return Ok(addresses);
        }
        let (answer, answered) = bounded(1);
        let lookup = Lookup {
            host: host.to_owned(),
            port,
            until: now + timeout,
            answer,
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the name server does not answer");
        self.lookups
            .send_timeout(lookup, timeout)
            .map_err(|_| late())?;
        let left = (now + timeout).since(clock::now().mono);
        answered.recv_timeout(left).map_err(|_| late())?
    }

    /// Forgets every address: a connection has failed, and the host may have moved.
    pub(super) fn forget(&self) {
        lock(&self.found).clear();
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.found).len()
    }
}

fn find(found: &Mutex<Vec<Found>>, host: &str, port: u16, now: Mono) -> Option<Vec<SocketAddr>> {
    let found = lock(found);
    let fits = |f: &&Found| {
        now.since(f.since) < ADDRESSES_KEPT && f.port == port && f.host.eq_ignore_ascii_case(host)
    };
    found.iter().find(fits).map(|f| f.addresses.clone())
}

fn look_up(asked: &Receiver<Lookup>, found: &Mutex<Vec<Found>>) {
    for lookup in asked {
        let Lookup {
            host,
            port,
            until,
            answer,
        } = lookup;
        let now = clock::now().mono;
        if until.since(now).is_zero() {
            continue;
        }
        // Another thread may have looked the same name up meanwhile.
        let addresses = find(found, &host, port, now).map_or_else(
            || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter),
            Ok,
        );
        let addresses = addresses.and_then(|addresses| {
            if addresses.is_empty() {
                Err(io::ErrorKind::NotFound.into())
            } else {
                Ok(addresses)
            }
        });
        if let Ok(addresses) = &addresses {
            keep(found, (host, port), addresses);
        }
        // The caller may have given up.
        let _ = answer.send(addresses);
    }
}

fn keep(found: &Mutex<Vec<Found>>, (host, port): (String, u16), addresses: &[SocketAddr]) {
    let now = clock::now().mono;
    let mut found = lock(found);
    found.retain(|f| {
        now.since(f.since) < ADDRESSES_KEPT
            && (f.port != port || !f.host.eq_ignore_ascii_case(&host))
    });
    if found.len() < HOSTS_MAX {
        found.push(Found {
            host,
            port,
            addresses: addresses.to_vec(),
            since: now,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_name_is_looked_up_and_an_address_is_one_already() {
        let names = Names::start().unwrap();
        let found = names.addresses("localhost", 80, SOON).unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 80));
        assert_eq!(names.count(), 1);
        let literal = names.addresses("[::1]", 8080, SOON).unwrap();
        assert_eq!(literal, ["[::1]:8080".parse().unwrap()]);
        assert_eq!(names.count(), 1);
        names.forget();
        assert_eq!(names.count(), 0);
        assert!(names.addresses("no.such.name.invalid", 80, SOON).is_err());
    }

    /// As with name servers that are silent: all threads are busy, and the queue grows until it is full.
    #[test]
    fn a_lookup_that_takes_too_long_times_out() {
        let (lookups, _asked) = bounded(1);
        let names = Names {
            found: Arc::default(),
            lookups,
        };
        for _ in 0..2 {
            let late = names.addresses("localhost", 80, Duration::from_millis(5));
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }
}
