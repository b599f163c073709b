//! A small blocking HTTP/1.1 server: one thread per connection, every size and every wait bounded.
//!
//! In scope: keep-alive, pipelining, HEAD, bodies by length or chunked, `Expect: 100-continue` (RFC 9110, 9112).
//! Out of scope: TLS, compression, streaming answers, upgrades. A request is whole before the handler sees it.

mod message;
mod open;

pub use message::{Client, HttpRequest, Response};

use crate::core::time::Mono;
use crate::os::clock;
use crate::os::threads;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use message::{
    BODY_BYTES_MAX, BODY_TOO_LARGE, Framing, HEAD_BYTES_MAX, HEAD_TOO_LARGE, RequestError, encode,
    framing, lists, parse_head,
};
use open::{ConnectionActivity, OpenConnections};
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const STACK_BYTES: usize = 128 * 1024;
/// How long a stop lets handlers finish their answers before it cuts their connections.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// The pause after `accept` failed, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the accepting thread waits for a request, and for each further step, when it answers one itself.
const ALONE: Duration = Duration::from_secs(1);
/// What is read and thrown away after an early answer, so that closing does not reset the connection before the client
/// has read it (RFC 9112, 9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// A server that is bound and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    bounds: Bounds,
}

/// A server at work. Dropping it stops accepting, lets answers in the making finish within a second, and joins all
/// threads.
#[derive(Debug)]
pub struct Serving {
    local_addr: SocketAddr,
    /// The listening socket, in the type that has a `shutdown`.
    socket: TcpStream,
    stop: Option<Sender<Infallible>>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    connections: usize,
    /// Those of one address.
    connections_of_site: usize,
    /// How long a connection may be idle before a request was answered with trust.
    first: Duration,
    idle: Duration,
    request: Duration,
}

impl Server {
    /// Listens on the first of the addresses that can be had.
    ///
    /// # Errors
    /// When the address does not resolve, is taken, or is not permitted.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Server> {
        let listener = TcpListener::bind(addr)?;
        let local_addr = listener.local_addr()?;
        let bounds = Bounds {
            connections: 256,
            connections_of_site: 256,
            first: Duration::from_secs(75),
            idle: Duration::from_secs(75),
            request: Duration::from_secs(10),
        };
        Ok(Server {
            listener,
            local_addr,
            bounds,
        })
    }

    /// How many connections are served at once; the default is 256. For one more, the connection that waits longest for
    /// a request is closed, once it has waited for 100 ms.
    ///
    /// If all are answering, it gets 503 and is closed: left in the backlog it would look like a server that hangs, and an
    /// accept loop that never waits for a free slot always hears a stop.
    #[must_use]
    pub fn with_connections(mut self, connections_max: usize) -> Server {
        self.bounds.connections = connections_max;
        self
    }

    /// For a server that strangers reach: how many connections one address may have, and how long a connection may be
    /// idle before a request on it was answered with trust ([`Response::is_trusted`]).
    #[must_use]
    pub fn with_strangers(mut self, connections_of_address: usize, idle: Duration) -> Server {
        self.bounds.connections_of_site = connections_of_address;
        self.bounds.first = idle;
        self
    }

    /// `idle`: how long a connection may be idle between requests before it is closed; the default is 75 s.
    /// `request`: how long a request may take from its first byte to its last, and how long the client may take to
    /// read the answer; the default is 10 s each.
    #[must_use]
    #[cfg(test)]
    pub fn with_timeouts(mut self, idle: Duration, request: Duration) -> Server {
        self.bounds.first = self.bounds.first.min(idle);
        self.bounds.idle = idle;
        self.bounds.request = request;
        self
    }

    /// The address it listens on. Port 0 has become a real one.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers requests with `handler`, each connection on its own thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start<H>(self, handler: H) -> io::Result<Serving>
    where
        H: Fn(&HttpRequest) -> Response + Send + Sync + 'static,
    {
        let socket = shutdown_handle(&self.listener)?;
        let (stop, stopped) = bounded(0);
        let (listener, bounds, handler) = (self.listener, self.bounds, Arc::new(handler));
        let acceptor = threads::spawn("serve-accept", STACK_BYTES, move || {
            accept(&listener, bounds, &handler, &stopped);
        })?;
        Ok(Serving {
            local_addr: self.local_addr,
            socket,
            stop: Some(stop),
            acceptor: Some(acceptor),
        })
    }
}

impl Serving {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Linux wakes `accept` on a shutdown of the listening socket; elsewhere a connection does.
        let woken = self.socket.shutdown(Shutdown::Both).is_ok()
            || TcpStream::connect_timeout(&self.local_addr, STOP_GRACE).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            // Its panic was reported when it happened.
            let _ = acceptor.join();
        }
    }
}

#[cfg(unix)]
fn shutdown_handle(listener: &TcpListener) -> io::Result<TcpStream> {
    Ok(TcpStream::from(std::os::fd::OwnedFd::from(
        listener.try_clone()?,
    )))
}

#[cfg(windows)]
fn shutdown_handle(listener: &TcpListener) -> io::Result<TcpStream> {
    Ok(TcpStream::from(std::os::windows::io::OwnedSocket::from(
        listener.try_clone()?,
    )))
}

fn is_stopped(stopped: &Receiver<Infallible>) -> bool {
    matches!(stopped.try_recv(), Err(TryRecvError::Disconnected))
}

fn accept<H>(
    listener: &TcpListener,
    bounds: Bounds,
    handler: &Arc<H>,
    stopped: &Receiver<Infallible>,
) where
    H: Fn(&HttpRequest) -> Response + Send + Sync + 'static,
{
    let mut open = OpenConnections::default();
    let mut has_threads = true;
    // Each connection's thread holds a sender: all are gone when the channel disconnects.
    let (alive, all_gone) = bounded::<Infallible>(0);
    loop {
        let accepted = listener.accept();
        if is_stopped(stopped) {
            break;
        }
        let (stream, address) = match accepted {
            Ok((stream, address)) => (Arc::new(stream), address.ip()),
            Err(error) => {
                pause_after(&error, stopped);
                continue;
            }
        };
        if !open.make_room(address, &bounds, stopped) {
            turn_away(&stream);
            continue;
        }
        let weak = Arc::downgrade(&stream);
        let activity = Arc::new(ConnectionActivity::new());
        let spawned = {
            let (stream, alive) = (Arc::clone(&stream), alive.clone());
            let activity = Arc::clone(&activity);
            let (handler, stopped) = (Arc::clone(handler), stopped.clone());
            threads::spawn("serve", STACK_BYTES, move || {
                let _alive = alive;
                serve(&stream, bounds, &*handler, &stopped, Some(&activity));
            })
        };
        match spawned {
            Ok(thread) => {
                has_threads = true;
                open.add(thread, weak, (address, activity));
            }
            Err(error) => {
                if std::mem::take(&mut has_threads) {
                    log::warn!(
                        "cannot start a thread for a connection of the HTTP server: {error}; until that is possible \
                         connections are answered one after the other"
                    );
                }
                let bounds = Bounds {
                    first: ALONE,
                    request: ALONE,
                    ..bounds
                };
                serve(&stream, bounds, &**handler, stopped, None);
            }
        }
    }
    drop(alive);
    open.stop(&all_gone, STOP_GRACE);
}

fn pause_after(error: &io::Error, stopped: &Receiver<Infallible>) {
    let of_client = [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted];
    if !of_client.contains(&error.kind()) {
        log::warn!("cannot accept a connection: {error}");
        let _ = stopped.recv_timeout(ACCEPT_PAUSE);
    }
}

/// Answers the requests of one connection; only one request if it has no `activity`.
fn serve<H>(
    stream: &Arc<TcpStream>,
    bounds: Bounds,
    handler: &H,
    stopped: &Receiver<Infallible>,
    activity: Option<&ConnectionActivity>,
) where
    H: Fn(&HttpRequest) -> Response,
{
    let mut connection = ServerConnection {
        stream,
        client: Client::of(stream),
        buffer: Vec::new(),
        bounds,
        activity,
    };
    if let Err(error) = connection.serve(handler, stopped) {
        log::debug!("connection ended: {error}");
    }
}

/// Never blocks: the answer fits into a new socket's buffer, and what has come in already is read without waiting.
fn turn_away(stream: &TcpStream) {
    let busy = Response::refusal(503, "too many connections").with_header("Retry-After", "1");
    let _ = stream.set_nonblocking(true);
    let mut stream = stream;
    let _ = stream.write_all(&encode(&busy, false, Some("close")));
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; 4096]);
}

struct ServerConnection<'a> {
    stream: &'a TcpStream,
    client: Client,
    /// Read, not yet used: requests may come back to back.
    buffer: Vec<u8>,
    bounds: Bounds,
    /// `None`: it is closed after one answer.
    activity: Option<&'a ConnectionActivity>,
}

impl ServerConnection<'_> {
    fn serve<H>(&mut self, handler: &H, stopped: &Receiver<Infallible>) -> io::Result<()>
    where
        H: Fn(&HttpRequest) -> Response,
    {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(self.bounds.request))?;
        loop {
            let (request, version) = match self.read_request() {
                Ok(read) => read,
                Err(RequestError::Gone) => return Ok(()),
                Err(RequestError::Refused(status, why)) => {
                    self.stream.write_all(&encode(
                        &Response::refusal(status, why),
                        false,
                        Some("close"),
                    ))?;
                    return self.linger();
                }
            };
            if self.activity.is_some_and(|activity| !activity.begin()) {
                return Ok(());
            }
            let response = handler(&request);
            let asks = |word| lists(&request, "connection", word);
            let close = self.activity.is_none()
                || is_stopped(stopped)
                || asks("close")
                || (version == 0 && !asks("keep-alive"));
            let connection = match (close, version) {
                (true, _) => Some("close"),
                (false, 0) => Some("keep-alive"),
                (false, _) => None,
            };
            self.stream
                .write_all(&encode(&response, request.method == "HEAD", connection))?;
            if close {
                return self.linger();
            }
            if let Some(activity) = self.activity {
                activity.end(response.is_trusted);
            }
        }
    }

    fn read_request(&mut self) -> Result<(HttpRequest, u8), RequestError> {
        if self.buffer.is_empty() {
            let is_trusted = self.activity.is_some_and(ConnectionActivity::is_trusted);
            let idle = if is_trusted {
                self.bounds.idle
            } else {
                self.bounds.first
            };
            self.fill(clock::now().mono + idle)?;
        }
        let deadline = clock::now().mono + self.bounds.request;
        let (mut request, version, framing) = loop {
            if let Some((head_bytes, request, version)) = parse_head(&self.buffer)? {
                self.buffer.drain(..head_bytes);
                let framing = framing(&request, version)?;
                break (request, version, framing);
            }
            self.fill_request(deadline)?;
        };
        if let Some(expected) = request.header("expect") {
            if !expected.eq_ignore_ascii_case("100-continue") {
                return Err(RequestError::Refused(
                    417,
                    "only 100-continue can be expected",
                ));
            }
            let awaited = !matches!(framing, Framing::Length(0)) && self.buffer.is_empty();
            if awaited && version == 1 {
                self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
        request.client = self.client.clone();
        request.body = match framing {
            Framing::Length(length) => self.take(length, deadline)?,
            Framing::Chunked => self.take_chunks(deadline)?,
        };
        Ok((request, version))
    }

    /// The next `length` bytes.
    fn take(&mut self, length: usize, deadline: Mono) -> Result<Vec<u8>, RequestError> {
        while self.buffer.len() < length {
            self.fill_request(deadline)?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// A chunked body (RFC 9112, 7.1). Extensions and trailers are read and ignored.
    fn take_chunks(&mut self, deadline: Mono) -> Result<Vec<u8>, RequestError> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line(deadline)?;
            let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&line)
            else {
                return Err(RequestError::Refused(400, "bad chunk"));
            };
            // Some readers take a bare line feed for the end of the line (RFC 9112, 2.2), and would see another body.
            if line[..line.len() - 2]
                .iter()
                .any(|byte| byte.is_ascii_control() && *byte != b'\t')
            {
                return Err(RequestError::Refused(400, "bad chunk"));
            }
            if size == 0 {
                break;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > BODY_BYTES_MAX - body.len() {
                return Err(BODY_TOO_LARGE);
            }
            body.append(&mut self.take(size, deadline)?);
            if self.take(2, deadline)? != b"\r\n" {
                return Err(RequestError::Refused(400, "bad chunk"));
            }
        }
        let mut trailer_bytes = 0;
        loop {
            let line_bytes = self.take_line(deadline)?.len();
            trailer_bytes += line_bytes;
            if line_bytes == 2 {
                return Ok(body);
            }
            if trailer_bytes > HEAD_BYTES_MAX {
                return Err(HEAD_TOO_LARGE);
            }
        }
    }

    /// Up to and with the next CRLF.
    fn take_line(&mut self, deadline: Mono) -> Result<Vec<u8>, RequestError> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                return self.take(at + 2, deadline);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(HEAD_TOO_LARGE);
            }
            self.fill_request(deadline)?;
        }
    }

    /// Reads on within a request: running out of time is then the client's fault.
    fn fill_request(&mut self, deadline: Mono) -> Result<(), RequestError> {
        self.fill(deadline).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                RequestError::Refused(408, "the request took too long")
            }
            _ => RequestError::Gone,
        })
    }

    /// Reads what there is, at least one byte.
    fn fill(&mut self, deadline: Mono) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let mut stream = self.stream;
        loop {
            let left = deadline.since(clock::now().mono);
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that no more will come, then reads until the client has closed as well, within bounds.
    fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = clock::now().mono + LINGER;
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX && self.fill(deadline).is_ok() {
            discarded += self.buffer.len();
            self.buffer.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use message::HEADERS_MAX;

    /// Answers with what it understood.
    fn echo(request: &HttpRequest) -> Response {
        let HttpRequest {
            method,
            path,
            query,
            body,
            ..
        } = request;
        let query = query.as_deref().unwrap_or("-");
        Response::text(
            200,
            &format!("{method} {path} {query} {}", String::from_utf8_lossy(body)),
        )
    }

    fn start() -> Serving {
        Server::bind("127.0.0.1:0").unwrap().start(echo).unwrap()
    }

    fn connect(server: &Serving) -> TcpStream {
        let stream = TcpStream::connect(server.local_addr()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn read_to_end(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends all of it and says that this was all, then reads until the server closes.
    fn talk(send: &[u8]) -> String {
        let server = start();
        let mut stream = connect(&server);
        stream.write_all(send).unwrap();
        // Fails when the server has closed already.
        let _ = stream.shutdown(Shutdown::Write);
        read_to_end(stream)
    }

    /// The answer without its Date and Content-Type.
    fn check(send: &str, answer: Expect) {
        let got = talk(send.as_bytes());
        let lines: Vec<&str> = got
            .split("\r\n")
            .filter(|line| !line.starts_with("Date: ") && !line.starts_with("Content-Type: "))
            .collect();
        answer.assert_eq(&lines.join("\n"));
    }

    fn check_status(send: &str, status: u16) {
        let got = talk(send.as_bytes());
        assert!(
            got.starts_with(&format!("HTTP/1.1 {status} ")),
            "{send:.100?} was answered {got:?}"
        );
        assert!(got.contains("Connection: close\r\n"), "{got:?}");
        for header in [
            "Cache-Control: no-store\r\n",
            "X-Content-Type-Options: nosniff\r\n",
        ] {
            assert!(got.contains(header), "{got:?}");
        }
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got:?}");
    }

    #[test]
    fn requests_follow_each_other_on_one_connection() {
        check(
            "GET /a%2Fb?c=d?e HTTP/1.1\r\nHost: x\r\n\r\nHEAD /h HTTP/1.1\r\nhost: x\r\n\r\n\
             POST http://x/p HTTP/1.1\r\nHOST: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost:x\r\n\
             Connection: foo, Close\r\n\r\nGET /never HTTP/1.1\r\nHost: x\r\n\r\n",
            expect![[r#"
                HTTP/1.1 200 OK
                Content-Length: 18

                GET /a%2Fb c=d?e 
                HTTP/1.1 200 OK
                Content-Length: 11

                HTTP/1.1 200 OK
                Content-Length: 16

                POST /p - hello
                HTTP/1.1 200 OK
                Content-Length: 9
                Connection: close

                GET / - 
            "#]],
        );
    }

    #[test]
    fn bodies_come_in_chunks() {
        check(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\n\
             Trailer: t\r\n\r\nGET /next HTTP/1.0\r\n\r\n",
            expect![[r#"
                HTTP/1.1 200 OK
                Content-Length: 23

                POST / - abc0123456789
                HTTP/1.1 200 OK
                Content-Length: 13
                Connection: close

                GET /next - 
            "#]],
        );
    }

    #[test]
    fn a_bare_line_feed_ends_no_line_of_a_chunk() {
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        check_status(&format!("{head}1;a\nb\r\nx\r\n0\r\n\r\n"), 400);
        check_status(&format!("{head}1;a\rb\r\nx\r\n0\r\n\r\n"), 400);
        check_status(&format!("{head}1\nx\r\n0\r\n\r\n"), 400);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        check_status("\x16\x03\x01\x02\x00\x01\x00", 400);
        check_status("hello\r\n\r\n", 400);
        check_status("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505);
        check_status("GET / HTTP/1.1\r\n\r\n", 400);
        check_status("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400);
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
            400,
        );
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            400,
        );
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        );
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            400,
        );
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        );
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nContent-Length: 1\r\n\r\na",
            417,
        );
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let long = "x".repeat(HEAD_BYTES_MAX);
        check_status(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 431);
        check_status(
            &format!(
                "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
                "A: b\r\n".repeat(HEADERS_MAX)
            ),
            431,
        );
        let length = BODY_BYTES_MAX + 1;
        check_status(
            &format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"),
            413,
        );
        check_status(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            413,
        );
        let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunks = chunk.repeat(BODY_BYTES_MAX / 0x8000);
        check_status(&format!("{head}{chunks}1\r\n"), 413);
        check_status(&format!("{head}ffffffffffffffff\r\n"), 413);
    }

    #[test]
    fn a_slow_request_is_told_so_and_an_idle_connection_is_closed() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (idle, request) = (Duration::from_millis(500), Duration::from_millis(50));
        let server = server.with_timeouts(idle, request).start(echo).unwrap();
        let slow = |send: &[u8]| {
            let mut stream = connect(&server);
            stream.write_all(send).unwrap();
            read_to_end(stream)
        };
        assert!(slow(b"GET / HTTP/1.1\r\nHos").starts_with("HTTP/1.1 408 "));
        let half_a_body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell";
        assert!(slow(half_a_body).starts_with("HTTP/1.1 408 "));
        assert_eq!(slow(b""), "");
    }

    #[test]
    fn a_request_that_breaks_off_has_no_answer() {
        assert_eq!(talk(b"GET / HTTP/1.1\r\nHos"), "");
        assert_eq!(talk(b""), "");
    }

    #[test]
    fn the_body_is_asked_for_when_the_client_waits() {
        let server = start();
        let mut stream = connect(&server);
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n",
            )
            .unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"ok").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read_to_end(stream);
        assert!(answer.ends_with("\r\n\r\nPOST / - ok\n"), "{answer:?}");
    }

    /// Answers with trust where the path is `/trusted`.
    fn start_small() -> Serving {
        let server = Server::bind("127.0.0.1:0").unwrap().with_connections(2);
        let server = server.with_strangers(2, Duration::from_millis(500));
        let handler = |request: &HttpRequest| Response {
            is_trusted: request.path == "/trusted",
            ..echo(request)
        };
        server.start(handler).unwrap()
    }

    fn ask(stream: &mut TcpStream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
    }

    #[test]
    fn a_connection_that_only_waits_makes_room_for_a_new_one() {
        let server = start_small();
        let mut trusted = connect(&server);
        ask(&mut trusted, "/trusted");
        trusted.read_exact(&mut [0; 1]).unwrap();
        let idle = connect(&server);
        let mut new = connect(&server);
        ask(&mut new, "/new");
        new.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(read_to_end(idle), "");
        ask(&mut trusted, "/again");
        trusted.shutdown(Shutdown::Write).unwrap();
        assert!(read_to_end(trusted).ends_with("GET /again - \n"));
    }

    #[test]
    fn one_connection_too_many_is_turned_away_while_all_are_answering() {
        let (entered, in_handler) = bounded(1);
        let (leave, left) = bounded::<Infallible>(0);
        let server = Server::bind("127.0.0.1:0").unwrap().with_connections(1);
        let server = server.start(move |request| {
            entered.send(()).unwrap();
            let _ = left.recv();
            echo(request)
        });
        let server = server.unwrap();
        let mut busy = connect(&server);
        ask(&mut busy, "/");
        in_handler.recv().unwrap();
        let answer = read_to_end(connect(&server));
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
        drop(leave);
    }

    #[test]
    fn a_stranger_may_not_be_idle_for_long() {
        let server = start_small();
        assert_eq!(read_to_end(connect(&server)), "");
        let mut trusted = connect(&server);
        ask(&mut trusted, "/trusted");
        trusted
            .set_read_timeout(Some(Duration::from_millis(1500)))
            .unwrap();
        let mut answer = Vec::new();
        let error = trusted.read_to_end(&mut answer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "it stays open");
    }

    #[test]
    fn a_handler_learns_that_its_client_has_hung_up() {
        let (told, hung_up) = bounded(1);
        let server = Server::bind("127.0.0.1:0").unwrap();
        let server = server.start(move |request| {
            told.send(request.client.has_hung_up()).unwrap();
            while !request.client.has_hung_up() {
                let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(5));
            }
            told.send(true).unwrap();
            echo(request)
        });
        let server = server.unwrap();
        let mut client = connect(&server);
        ask(&mut client, "/");
        assert!(!hung_up.recv().unwrap());
        drop(client);
        assert!(hung_up.recv_timeout(Duration::from_secs(5)).unwrap());
    }

    #[test]
    fn a_stop_ends_idle_connections_and_lets_answers_finish() {
        let (entered, in_handler) = bounded(1);
        let server = Server::bind("127.0.0.1:0").unwrap();
        let server = server.start(move |request| {
            entered.send(()).unwrap();
            let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(100));
            echo(request)
        });
        let server = server.unwrap();
        let mut idle = connect(&server);
        let mut busy = connect(&server);
        busy.write_all(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        in_handler.recv().unwrap();
        let addr = server.local_addr();
        let before = clock::now().mono;
        let stopper = std::thread::spawn(move || drop(server));
        let answer = read_to_end(busy);
        assert!(
            answer.ends_with("GET /busy - \n") && answer.contains("Connection: close"),
            "{answer:?}"
        );
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
        stopper.join().unwrap();
        assert!(clock::now().mono.since(before) < Duration::from_secs(5));
        assert!(TcpStream::connect(addr).is_err());
    }
}
