//! A TCP connection with as few system calls as a request can have: send, receive, and one look before it is used again.
//!
//! ureq's own TCP transport looks with three calls, because std can only make a whole socket non-blocking and blocking
//! again, and sets each timeout whose rest is a little shorter than before.

use crate::os::clock;
use rustix::net::RecvFlags;
use std::fmt::Debug;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

/// Opens a TCP connection where the connectors before it have none.
#[derive(Debug)]
pub(super) struct TcpConnector;

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpConnection<TcpStream>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let stream = open(&details.addrs, details.timeout)?;
        stream.set_nodelay(true)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Either::B(TcpConnection::new(stream, buffers))))
    }
}

/// Tries the addresses in their order. Each may take half of the time that is left, and the last one all of it.
fn open(addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, ureq::Error> {
    /// For an address whose turn comes when the time is nearly over.
    const LEAST: Duration = Duration::from_millis(10);
    let until = clock::now().mono + *timeout.after;
    let mut failed = ureq::Error::ConnectionFailed;
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.since(clock::now().mono);
        if left.is_zero() {
            return Err(ureq::Error::Timeout(timeout.reason));
        }
        let is_last = tried + 1 == addresses.len();
        let share = if is_last { left } else { left / 2 };
        match TcpStream::connect_timeout(address, share.max(LEAST)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = timed_out_or(error, timeout),
        }
    }
    Err(failed)
}

/// What a connection asks of the system. Each is one system call.
pub(super) trait SocketCalls: Debug + Send + Sync + 'static {
    /// Sends all of it, at once if there is room.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits for bytes and reads some.
    fn receive(&mut self, to: &mut [u8]) -> io::Result<usize>;
    /// Whether it is open and holds no byte. Does not wait.
    fn is_open_and_empty(&self) -> bool;
    fn set_send_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl SocketCalls for TcpStream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn receive(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.read(to)
    }

    fn is_open_and_empty(&self) -> bool {
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(self, &mut [0], look) == Err(rustix::io::Errno::WOULDBLOCK)
    }

    fn set_send_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(timeout)
    }

    fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)
    }
}

/// A connection and its buffers.
#[derive(Debug)]
pub(super) struct TcpConnection<S> {
    socket: S,
    buffers: Hidden,
    /// As the system has them. `None` as at the start: no limit.
    send_timeout: Option<Duration>,
    receive_timeout: Option<Duration>,
}

/// Not shown: bytes of requests and answers.
struct Hidden(LazyBuffers);

impl Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl<S: SocketCalls> TcpConnection<S> {
    pub(super) fn new(socket: S, buffers: LazyBuffers) -> Self {
        TcpConnection {
            socket,
            buffers: Hidden(buffers),
            send_timeout: None,
            receive_timeout: None,
        }
    }
}

impl<S: SocketCalls> Transport for TcpConnection<S> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers.0
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        if let Some(limit) = limit_to_set(self.send_timeout, timeout)? {
            self.socket.set_send_timeout(limit)?;
            self.send_timeout = limit;
        }
        let sent = self.socket.send(&self.buffers.0.output()[..amount]);
        sent.map_err(|error| timed_out_or(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        if let Some(limit) = limit_to_set(self.receive_timeout, timeout)? {
            self.socket.set_receive_timeout(limit)?;
            self.receive_timeout = limit;
        }
        let received = receive(&mut self.socket, self.buffers.0.input_append_buf(), timeout);
        let received = received.map_err(|error| timed_out_or(error, timeout))?;
        self.buffers.0.input_appended(received);
        Ok(received > 0)
    }

    fn is_open(&mut self) -> bool {
        self.socket.is_open_and_empty()
    }
}

/// A signal interrupts a read that has a timeout, though nothing is wrong: socket(7). It is read again, for as long as
/// the timeout at most.
fn receive(
    socket: &mut impl SocketCalls,
    to: &mut [u8],
    timeout: NextTimeout,
) -> io::Result<usize> {
    let mut until = None;
    loop {
        let received = socket.receive(to);
        let is_interrupted = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
        if !received.as_ref().is_err_and(is_interrupted) {
            return received;
        }
        let now = clock::now().mono;
        let until = *until.get_or_insert(now + *timeout.after);
        if until.since(now).is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// The limit to give to the system; `None` if it has this one. The rest of a request's time is a little different each
/// time, so that a limit is rounded up.
fn limit_to_set(
    set: Option<Duration>,
    timeout: NextTimeout,
) -> Result<Option<Option<Duration>>, ureq::Error> {
    const STEP: Duration = Duration::from_millis(100);
    if timeout.after.is_zero() {
        return Err(ureq::Error::Timeout(timeout.reason));
    }
    let limit = timeout.not_zero().map(|asked| {
        let steps = asked.as_nanos().div_ceil(STEP.as_nanos());
        STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
    });
    Ok((limit != set).then_some(limit))
}

fn timed_out_or(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    match error.kind() {
        // The system says of a timeout that the call would block.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ureq::Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Network, Timeouts};
    use super::super::connection::{ProbedConnection, settings};
    use super::super::proxies::Proxies;
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use ureq::unversioned::transport::time;
    use ureq::{Agent, Timeout};

    const SECONDS: Duration = Duration::from_secs(10);

    /// How often each call was made.
    #[derive(Debug, Default)]
    struct Calls {
        sends: AtomicUsize,
        receives: AtomicUsize,
        looks: AtomicUsize,
        timeouts: AtomicUsize,
    }

    #[derive(Debug)]
    struct Counted(TcpStream, Arc<Calls>);

    impl SocketCalls for Counted {
        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.1.sends.fetch_add(1, Ordering::Relaxed);
            self.0.send(bytes)
        }

        fn receive(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.1.receives.fetch_add(1, Ordering::Relaxed);
            self.0.receive(to)
        }

        fn is_open_and_empty(&self) -> bool {
            self.1.looks.fetch_add(1, Ordering::Relaxed);
            self.0.is_open_and_empty()
        }

        fn set_send_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.1.timeouts.fetch_add(1, Ordering::Relaxed);
            self.0.set_send_timeout(timeout)
        }

        fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.1.timeouts.fetch_add(1, Ordering::Relaxed);
            self.0.set_receive_timeout(timeout)
        }
    }

    /// Opens connections as [`TcpConnector`] does, with a socket that counts.
    #[derive(Debug)]
    struct Counting(Arc<Calls>);

    impl Connector for Counting {
        type Out = ProbedConnection;

        fn connect(
            &self,
            details: &ConnectionDetails<'_>,
            _: Option<()>,
        ) -> Result<Option<ProbedConnection>, ureq::Error> {
            let stream = open(&details.addrs, details.timeout)?;
            let buffers = LazyBuffers::new(16 * 1024, 16 * 1024);
            let connection = TcpConnection::new(Counted(stream, self.0.clone()), buffers);
            Ok(Some(ProbedConnection::new(Box::new(connection))))
        }
    }

    /// Answers every request on one connection, until the client closes it.
    fn serve_one_connection(listener: TcpListener) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .by_ref()
                .map_while(Result::ok)
                .any(|line| line.is_empty())
            {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                (&stream).write_all(answer).unwrap();
            }
        })
    }

    #[test]
    fn a_request_is_sent_and_received_after_one_look() {
        const REQUESTS: usize = 20;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = serve_one_connection(listener);
        let timeouts = Timeouts {
            connect: SECONDS,
            read: SECONDS,
            total: 3 * SECONDS,
        };
        let calls = Arc::new(Calls::default());
        let agent = Agent::with_parts(
            settings(timeouts, None).build(),
            Counting(calls.clone()),
            Network::start(Proxies::default()).unwrap(),
        );
        for _ in 0..REQUESTS {
            let body = agent.get(&url).call().unwrap().body_mut().read_to_string();
            assert_eq!(body.unwrap(), "ok");
        }
        drop(agent);
        serving.join().unwrap();
        let count = |calls: &AtomicUsize| calls.load(Ordering::Relaxed);
        assert_eq!(count(&calls.sends), REQUESTS);
        assert_eq!(count(&calls.receives), REQUESTS);
        assert_eq!(count(&calls.looks), REQUESTS - 1, "none before the first");
        assert_eq!(count(&calls.timeouts), 2, "one to send, one to receive");
    }

    #[test]
    fn a_look_sees_bytes_and_the_end_and_takes_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        assert!(ours.is_open_and_empty());
        theirs.write_all(b"x").unwrap();
        assert!(!ours.is_open_and_empty() && !ours.is_open_and_empty());
        let mut byte = [0];
        assert_eq!(ours.receive(&mut byte).unwrap(), 1);
        assert!(ours.is_open_and_empty());
        drop(theirs);
        assert!(!ours.is_open_and_empty());
    }

    fn within(after: Duration) -> NextTimeout {
        NextTimeout {
            after: after.into(),
            reason: Timeout::Global,
            per_read: None,
            per_write: None,
        }
    }

    #[test]
    fn a_limit_is_set_again_only_if_the_rest_of_the_time_is_another() {
        let set = |set: Option<u64>, asked: u64| {
            let set = set.map(Duration::from_millis);
            limit_to_set(set, within(Duration::from_micros(asked))).unwrap()
        };
        let ms = |ms| Some(Some(Duration::from_millis(ms)));
        assert_eq!(set(None, 9_999_800), ms(10_000));
        assert_eq!(set(Some(10_000), 9_999_900), None);
        assert_eq!(set(Some(10_000), 9_900_000), ms(9_900));
        assert_eq!(set(Some(20_000), 20_000_000), None);
        assert_eq!(set(Some(20_000), 1), ms(100));
        let never = NextTimeout {
            after: time::Duration::NotHappening,
            ..within(SECONDS)
        };
        assert_eq!(limit_to_set(None, never).unwrap(), None);
        assert_eq!(limit_to_set(Some(SECONDS), never).unwrap(), Some(None));
        assert!(limit_to_set(None, within(Duration::ZERO)).is_err());
    }

    /// A socket whose reads are interrupted so often.
    #[derive(Debug)]
    struct Interrupted(usize);

    impl SocketCalls for Interrupted {
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn receive(&mut self, _: &mut [u8]) -> io::Result<usize> {
            let Some(left) = self.0.checked_sub(1) else {
                return Ok(7);
            };
            self.0 = left;
            Err(io::ErrorKind::Interrupted.into())
        }

        fn is_open_and_empty(&self) -> bool {
            true
        }

        fn set_send_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }

        fn set_receive_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_signal_does_not_end_a_read_and_signals_do_not_keep_it_for_ever() {
        let read = receive(&mut Interrupted(3), &mut [0; 8], within(SECONDS));
        assert_eq!(read.unwrap(), 7);
        let soon = within(Duration::from_millis(5));
        let late = receive(&mut Interrupted(usize::MAX), &mut [0; 8], soon);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_next_address_is_tried_and_the_last_error_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (there, gone) = (listener.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let opened = open(&[gone, gone, there], within(SECONDS)).unwrap();
        assert_eq!(opened.peer_addr().unwrap(), there);
        let refused = open(&[gone, gone], within(SECONDS)).unwrap_err();
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        assert!(matches!(&refused, ureq::Error::Io(error) if is_refused(error)));
        let late = open(&[gone], within(Duration::ZERO));
        assert!(matches!(late, Err(ureq::Error::Timeout(Timeout::Global))));
    }
}
