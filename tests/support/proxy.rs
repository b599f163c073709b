//! A TCP way to a server that can be slow, silent or cut off, and heals again.

use super::http::lock;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Forwards at once in both directions, until a test changes that. A change holds for open connections too. It never loses or reorders bytes: what was held up goes on when that is over, as
/// with TCP it would.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    way: Way,
    /// Counts the changes: a thread that waits by an older one looks again.
    changes: u64,
    /// Both ends of every connection, so that they can be cut.
    open: Vec<TcpStream>,
    accepted: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Open,
    Delay(Duration),
    Drip(usize, Duration),
    BlackHole,
    Cut,
    /// The proxy is gone.
    Ended,
}

impl Proxy {
    /// To this server, which need not be there yet.
    #[track_caller]
    pub fn to(server: impl ToSocketAddrs) -> Self {
        let server = server.to_socket_addrs().expect("an address").next();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            server: server.expect("an address"),
            state: Mutex::new(State {
                way: Way::Open,
                changes: 0,
                open: Vec::new(),
                accepted: 0,
            }),
            changed: Condvar::new(),
        });
        let accepting = shared.clone();
        thread::spawn(move || accept(&listener, &accepting));
        Proxy { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        lock(&self.shared.state).accepted
    }

    /// Every piece comes this much later, in each direction.
    pub fn delay(&self, by: Duration) {
        self.set(Way::Delay(by));
    }

    /// Hands on so many bytes at a time, with this pause before each.
    pub fn drip(&self, bytes: usize, every: Duration) {
        assert!(bytes > 0, "nothing would ever arrive");
        self.set(Way::Drip(bytes, every));
    }

    /// Accepts, keeps every connection open and hands on nothing: a network that drops all packets.
    pub fn black_hole(&self) {
        self.set(Way::BlackHole);
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.set(Way::Cut);
    }

    /// As at the beginning.
    pub fn restore(&self) {
        self.set(Way::Open);
    }

    fn set(&self, way: Way) {
        let mut state = lock(&self.shared.state);
        state.way = way;
        state.changes += 1;
        if matches!(way, Way::Cut | Way::Ended) {
            for stream in state.open.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Way::Ended);
        // Wakes `accept`.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        {
            let mut state = lock(&shared.state);
            state.accepted += 1;
            match state.way {
                Way::Ended => return,
                Way::Cut => continue,
                _ => {}
            }
            // Forgets those that are over.
            state.open.retain(|stream| stream.peer_addr().is_ok());
            state.open.extend(client.try_clone());
        }
        let shared = shared.clone();
        thread::spawn(move || lead(client, &shared));
    }
}

fn lead(client: TcpStream, shared: &Arc<Shared>) {
    let until_open = |state: &State| match state.way {
        Way::BlackHole => Step::Wait(None),
        _ => Step::Go(1),
    };
    if shared.wait(until_open).is_none() {
        return;
    }
    // A server that is not there shows as a connection that ends.
    let Ok(server) = TcpStream::connect(shared.server) else {
        let _ = client.shutdown(Shutdown::Both);
        return;
    };
    let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    {
        let mut state = lock(&shared.state);
        if matches!(state.way, Way::Cut | Way::Ended) {
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        state.open.extend(server.try_clone());
    }
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let back = shared.clone();
    thread::spawn(move || hand_on(server, to_client, &back));
    hand_on(client, to_server, shared);
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let began = Instant::now();
            let pace = |state: &State| match state.way {
                Way::BlackHole => Step::Wait(None),
                Way::Delay(by) => Step::after(began + by, rest.len()),
                Way::Drip(bytes, every) => Step::after(began + every, bytes.min(rest.len())),
                Way::Open | Way::Cut | Way::Ended => Step::Go(rest.len()),
            };
            let Some(count) = shared.wait(pace) else {
                return;
            };
            if to.write_all(&rest[..count]).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            rest = &rest[count..];
        }
    }
    let not_dark = |state: &State| match state.way {
        Way::BlackHole => Step::Wait(None),
        _ => Step::Go(1),
    };
    if shared.wait(not_dark).is_some() {
        let _ = to.shutdown(Shutdown::Write);
    }
}

enum Step {
    /// So many bytes may go.
    Go(usize),
    /// Until then, or until something changes.
    Wait(Option<Duration>),
}

impl Step {
    fn after(due: Instant, bytes: usize) -> Step {
        match due.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Step::Go(bytes),
            left => Step::Wait(Some(left)),
        }
    }
}

impl Shared {
    /// Waits as `pace` says; `None` when the connection was cut in the meantime.
    fn wait(&self, pace: impl Fn(&State) -> Step) -> Option<usize> {
        let mut state: MutexGuard<'_, State> = lock(&self.state);
        loop {
            if matches!(state.way, Way::Cut | Way::Ended) {
                return None;
            }
            let before = state.changes;
            state = match pace(&state) {
                Step::Go(bytes) => return Some(bytes),
                Step::Wait(None) => self
                    .changed
                    .wait_while(state, |state| state.changes == before)
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
                Step::Wait(Some(time)) => {
                    self.changed
                        .wait_timeout_while(state, time, |state| state.changes == before)
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}
