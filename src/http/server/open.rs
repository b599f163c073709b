//! The open connections: how many there are, from which addresses, and which one makes room for a new one.

use super::Bounds;
use crate::core::time::Mono;
use crate::os::clock;
use crate::os::threads::lock;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// The connections that have a thread.
#[derive(Default)]
pub(super) struct OpenConnections(Vec<OpenConnection>);

struct OpenConnection {
    thread: JoinHandle<()>,
    stream: Weak<TcpStream>,
    site: IpAddr,
    activity: Arc<ConnectionActivity>,
}

/// What a connection is doing, as its own thread and the accepting thread know it.
#[derive(Debug)]
pub(super) struct ConnectionActivity(Mutex<Doing>);

#[derive(Clone, Copy, Debug)]
struct Doing {
    /// Since when it waits for a whole request. `None`: it answers one.
    waiting_since: Option<Mono>,
    /// Whether a request of it was answered with trust.
    is_trusted: bool,
    /// Whether it is closed, to make room for another one.
    is_closed: bool,
}

impl ConnectionActivity {
    /// Of a new connection.
    pub(super) fn new() -> Self {
        ConnectionActivity(Mutex::new(Doing {
            waiting_since: Some(clock::now().mono),
            is_trusted: false,
            is_closed: false,
        }))
    }

    /// A request is whole. Returns whether it may be answered.
    pub(super) fn begin(&self) -> bool {
        let mut doing = lock(&self.0);
        doing.waiting_since = None;
        !doing.is_closed
    }

    /// The request is answered. The next one is waited for.
    pub(super) fn end(&self, is_trusted: bool) {
        let mut doing = lock(&self.0);
        doing.waiting_since = Some(clock::now().mono);
        doing.is_trusted |= is_trusted;
    }

    pub(super) fn is_trusted(&self) -> bool {
        lock(&self.0).is_trusted
    }
}

/// How long each connection may wait for its request before another one can take its place. Without it, many clients that
/// connect again and again close the connection of an honest one before its request is there.
const GRACE: Duration = Duration::from_millis(100);

impl OpenConnections {
    pub(super) fn add(
        &mut self,
        thread: JoinHandle<()>,
        stream: Weak<TcpStream>,
        (address, activity): (IpAddr, Arc<ConnectionActivity>),
    ) {
        self.0.push(OpenConnection {
            thread,
            stream,
            site: site(address),
            activity,
        });
    }

    /// Whether there is room for a connection from `address`. If need be, another one is closed for it, and this is
    /// waited for until the server stops.
    pub(super) fn make_room(
        &mut self,
        address: IpAddr,
        bounds: &Bounds,
        stopped: &Receiver<Infallible>,
    ) -> bool {
        loop {
            self.0.retain(|connection| !connection.thread.is_finished());
            let seen: Vec<Seen> = self.0.iter().map(OpenConnection::seen).collect();
            match room(&seen, site(address), bounds, clock::now().mono) {
                Room::Free => return true,
                Room::Instead(index) => return self.0[index].close(),
                Room::In(wait) if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) => {}
                Room::In(_) | Room::Full => return false,
            }
        }
    }

    /// Idle connections end at once, because they read the end; answers in the making get `grace`.
    pub(super) fn stop(self, all_gone: &Receiver<Infallible>, grace: Duration) {
        let shutdown = |how| {
            for stream in self.0.iter().filter_map(|open| open.stream.upgrade()) {
                let _ = stream.shutdown(how);
            }
        };
        shutdown(Shutdown::Read);
        if all_gone.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
            shutdown(Shutdown::Both);
        }
        for open in self.0 {
            let _ = open.thread.join();
        }
    }
}

impl OpenConnection {
    fn seen(&self) -> Seen {
        let doing = *lock(&self.activity.0);
        Seen {
            site: self.site,
            waiting_since: doing.waiting_since,
            is_trusted: doing.is_trusted,
            is_closed: doing.is_closed,
        }
    }

    /// Closes it if it still waits for a request.
    fn close(&self) -> bool {
        let mut doing = lock(&self.activity.0);
        if doing.waiting_since.is_none() {
            return false;
        }
        doing.is_closed = true;
        if let Some(stream) = self.stream.upgrade() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        true
    }
}

/// An open connection at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    site: IpAddr,
    waiting_since: Option<Mono>,
    is_trusted: bool,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Room {
    Free,
    /// In the place of the connection with this index.
    Instead(usize),
    /// After this time, in the place of one that waits.
    In(Duration),
    Full,
}

/// The connection that waits longest for a request makes room, one without trust before one with it. Where one site has
/// its share, it is one of its own.
fn room(seen: &[Seen], site: IpAddr, bounds: &Bounds, now: Mono) -> Room {
    let open = || seen.iter().enumerate().filter(|(_, seen)| !seen.is_closed);
    let own = open().filter(|(_, seen)| seen.site == site).count();
    let has_its_share = own >= bounds.connections_of_site;
    if open().count() < bounds.connections && !has_its_share {
        return Room::Free;
    }
    let waiting = open()
        .filter(|(_, seen)| !has_its_share || seen.site == site)
        .filter_map(|(index, seen)| Some((seen.is_trusted, seen.waiting_since?, index)));
    let Some((_, since, index)) = waiting.min() else {
        return Room::Full;
    };
    let left = GRACE.saturating_sub(now.since(since));
    if left.is_zero() {
        Room::Instead(index)
    } else {
        Room::In(left)
    }
}

/// An address, or the network of an IPv6 address: one host has all of its 64 bits.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 4,
        connections_of_site: 3,
        first: Duration::ZERO,
        idle: Duration::ZERO,
        request: Duration::ZERO,
    };

    const NOW: Mono = Mono::from_duration(Duration::from_secs(5));

    fn seen(site: IpAddr, waiting_since_s: Option<u64>, is_trusted: bool) -> Seen {
        let since = |s| Mono::from_duration(Duration::from_secs(s));
        Seen {
            site,
            waiting_since: waiting_since_s.map(since),
            is_trusted,
            is_closed: false,
        }
    }

    #[test]
    fn the_one_that_waits_longest_makes_room_and_trust_counts() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut open = vec![
            seen(a, Some(1), true),
            seen(a, Some(3), false),
            seen(b, Some(2), false),
        ];
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Free);
        open.push(seen(b, None, false));
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Instead(2));
        open[2].waiting_since = None;
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Instead(1));
        open[1].waiting_since = None;
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Instead(0));
        open[0].waiting_since = None;
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Full);
        open[0].is_closed = true;
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Free);
    }

    #[test]
    fn a_site_with_its_share_makes_room_for_itself() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut open = vec![
            seen(a, Some(2), true),
            seen(a, Some(3), true),
            seen(a, Some(4), true),
        ];
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Free);
        assert_eq!(room(&open, a, &BOUNDS, NOW), Room::Instead(0));
        open.push(seen(b, Some(1), false));
        assert_eq!(room(&open, a, &BOUNDS, NOW), Room::Instead(0));
        assert_eq!(room(&open, b, &BOUNDS, NOW), Room::Instead(3));
        for seen in &mut open[..3] {
            seen.waiting_since = None;
        }
        assert_eq!(room(&open, a, &BOUNDS, NOW), Room::Full);
    }

    #[test]
    fn a_connection_has_time_for_its_request_before_it_makes_room() {
        let a = IpAddr::from([10, 0, 0, 1]);
        let since = |ms: u64| Some(Mono::from_duration(Duration::from_millis(5_000 - ms)));
        let mut open = [
            seen(a, Some(1), true),
            seen(a, Some(1), false),
            seen(a, None, false),
        ];
        (open[0].waiting_since, open[1].waiting_since) = (since(70), since(60));
        let wait = Duration::from_millis(40);
        assert_eq!(room(&open, a, &BOUNDS, NOW), Room::In(wait));
        assert_eq!(room(&open, a, &BOUNDS, NOW + wait), Room::Instead(1));
        // One with trust does not make room for one that may have time.
        open[0].waiting_since = since(4_000);
        assert_eq!(room(&open, a, &BOUNDS, NOW), Room::In(wait));
        open[1].waiting_since = None;
        assert_eq!(room(&open, a, &BOUNDS, NOW), Room::Instead(0));
    }

    #[test]
    fn a_host_has_a_whole_network_of_ipv6() {
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8::1"), site("2001:db8::2:3"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
        assert_eq!(site("::ffff:10.0.0.1"), site("10.0.0.1"));
        assert_ne!(site("10.0.0.1"), site("10.0.0.2"));
    }
}
