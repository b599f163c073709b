//! A connection to Redis on which a call has one deadline.
//!
//! The connection of the crate `redis` has a timeout for each read: a Redis that sends a byte a second holds a call for as
//! long as it likes, and a read that a signal interrupts is an error. Encoding, decoding and errors are the crate's. The
//! protocol is RESP2, whatever the URL says.

use crate::core::time::Mono;
#[cfg(feature = "tls")]
use crate::os::certificates;
use crate::os::clock;
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionLike, ErrorKind, Parser, RedisError, RedisResult, Value,
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
#[cfg(feature = "tls")]
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A connection that is open. After an error without an answer it is of no use any more: the rest of an answer may come.
pub struct Connection {
    transport: Transport,
    parser: Parser,
    /// How long a call may take, from its first byte to the last byte of its answer.
    patience: Duration,
    db: i64,
}

enum Transport {
    Plain(Timed),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Timed>>),
}

/// A socket whose reads and writes end at a time.
struct Timed {
    socket: Socket,
    until: Mono,
    /// The most bytes of one answer, and how many are left of it.
    answer_max: usize,
    answer_left: usize,
    /// The timeouts of the socket, as they were last set.
    read_timeout: Duration,
    write_timeout: Duration,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Closes a connection from another thread: what waits for an answer on it fails at once.
#[derive(Debug)]
pub struct Closer(Socket);

impl Closer {
    /// Closes the connection. One that is closed already stays so.
    pub fn close(&self) {
        // It fails only where the connection is gone.
        let _ = match &self.0 {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

impl Connection {
    /// Connects and logs in, in `patience` at most. A name server is waited for as long as the system waits.
    ///
    /// # Errors
    /// Redis cannot be reached in time, or refuses the password or the database.
    pub(super) fn open(client: &Client, patience: Duration) -> RedisResult<Self> {
        let info = client.get_connection_info();
        let login = info.redis_settings();
        let mut connection = Connection {
            transport: Transport::connect(info.addr(), patience)?,
            parser: Parser::new(),
            patience,
            db: login.db(),
        };
        if let Some(password) = login.password() {
            let mut auth = redis::cmd("AUTH");
            auth.arg(login.username()).arg(password);
            let answer = connection.req_command(&auth)?;
            answer.extract_error().map_err(refused)?;
        }
        if connection.db != 0 {
            redis::cmd("SELECT")
                .arg(connection.db)
                .exec(&mut connection)?;
        }
        Ok(connection)
    }

    /// What closes this connection from another thread.
    ///
    /// # Errors
    /// The system gives no second handle to the socket.
    pub fn closer(&mut self) -> RedisResult<Closer> {
        let socket = match &self.transport.stream().socket {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
            Socket::Unix(socket) => Socket::Unix(socket.try_clone()?),
        };
        Ok(Closer(socket))
    }

    /// From now on an answer that is longer loses the connection.
    pub fn limit_answers(&mut self, bytes_max: usize) {
        self.transport.stream().answer_max = bytes_max;
    }

    /// Sends a call. What Redis answers is to be received.
    ///
    /// # Errors
    /// The connection is lost, or takes nothing in time.
    pub fn send(&mut self, call: &Cmd) -> RedisResult<()> {
        let until = clock::now().mono + self.patience;
        Ok(self.transport.send(&call.get_packed_command(), until)?)
    }

    /// Waits so long for the next answer or message. After a timeout nothing is lost, and it can be called again.
    ///
    /// # Errors
    /// None came in time, Redis has answered with an error, or the connection is lost.
    pub fn receive(&mut self, patience: Duration) -> RedisResult<Value> {
        self.transport.stream().until = clock::now().mono + patience;
        let answer = self.parse()?;
        let stream = self.transport.stream();
        stream.answer_left = stream.answer_max;
        answer.extract_error()
    }

    fn parse(&mut self) -> RedisResult<Value> {
        match &mut self.transport {
            Transport::Plain(stream) => self.parser.parse_value(stream),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => self.parser.parse_value(stream),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, call: &[u8]) -> RedisResult<Value> {
        let until = clock::now().mono + self.patience;
        self.transport.send(call, until)?;
        self.parse()
    }

    /// Only the last `count` of `offset + count` answers are given.
    fn req_packed_commands(
        &mut self,
        calls: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let until = clock::now().mono + self.patience;
        self.transport.send(calls, until)?;
        let answers: RedisResult<Vec<Value>> = (0..offset + count).map(|_| self.parse()).collect();
        Ok(answers?.split_off(offset))
    }

    fn get_db(&self) -> i64 {
        self.db
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<Value>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        true
    }
}

impl Transport {
    fn connect(address: &ConnectionAddr, patience: Duration) -> RedisResult<Self> {
        let tcp = |host: &str, port: u16| -> io::Result<Timed> {
            let addresses = (host, port).to_socket_addrs()?;
            Ok(Timed::new(
                Socket::Tcp(connect(addresses, patience)?),
                patience,
            ))
        };
        Ok(match address {
            ConnectionAddr::Tcp(host, port) => Transport::Plain(tcp(host, *port)?),
            ConnectionAddr::Unix(path) => {
                let socket = Socket::Unix(UnixStream::connect(path)?);
                Transport::Plain(Timed::new(socket, patience))
            }
            #[cfg(feature = "tls")]
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            } => Transport::Tls(Box::new(tls(host, tcp(host, *port)?)?)),
            _ => return Err(unsupported("this kind of address")),
        })
    }

    fn send(&mut self, bytes: &[u8], until: Mono) -> io::Result<()> {
        let stream = self.stream();
        (stream.until, stream.answer_left) = (until, stream.answer_max);
        match self {
            Transport::Plain(stream) => stream.write_all(bytes),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn stream(&mut self) -> &mut Timed {
        match self {
            Transport::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => &mut stream.sock,
        }
    }
}

fn connect(
    addresses: impl Iterator<Item = std::net::SocketAddr>,
    patience: Duration,
) -> io::Result<TcpStream> {
    let until = clock::now().mono + patience;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        // One address that swallows everything leaves time for the next.
        let left = until.since(clock::now().mono).max(patience / 8);
        match TcpStream::connect_timeout(&address, left.min(patience / 2)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(feature = "tls")]
fn tls(
    host: &str,
    stream: Timed,
) -> RedisResult<rustls::StreamOwned<rustls::ClientConnection, Timed>> {
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|_| unsupported("a name that no certificate can have"))?;
    let connection = rustls::ClientConnection::new(tls_config()?, name)?;
    Ok(rustls::StreamOwned::new(connection, stream))
}

/// What all connections have in common: the system's certificates are 200 KB.
#[cfg(feature = "tls")]
fn tls_config() -> RedisResult<Arc<rustls::ClientConfig>> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates::of_system().map_err(|mut found| found.errors.remove(0))? {
        roots.add(certificate.clone())?;
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| config.into()).clone())
}

fn unsupported(what: &'static str) -> RedisError {
    (
        ErrorKind::InvalidClientConfig,
        "the Redis URL has",
        what.to_owned(),
    )
        .into()
}

/// A refusal of AUTH has the code WRONGPASS, or, where the server has no password, ERR.
fn refused(error: RedisError) -> RedisError {
    let words = error.detail().unwrap_or_default().to_owned();
    (
        ErrorKind::AuthenticationFailed,
        "Password authentication failed",
        words,
    )
        .into()
}

impl Timed {
    fn new(socket: Socket, patience: Duration) -> Self {
        Timed {
            socket,
            until: clock::now().mono + patience,
            answer_max: usize::MAX,
            answer_left: usize::MAX,
            read_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
        }
    }

    /// The time that is left.
    ///
    /// # Errors
    /// None is left.
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.since(clock::now().mono);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

/// A timeout of the socket may differ so much from the time that is left. It is not set for each read of a fast answer.
const SLACK: Duration = Duration::from_millis(50);

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.answer_left == 0 {
            let words = format!(
                "an answer of Redis is longer than {} bytes",
                self.answer_max
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        let room = buffer.len().min(self.answer_left);
        let buffer = &mut buffer[..room];
        loop {
            let left = self.left()?;
            if self.read_timeout.abs_diff(left) > SLACK {
                self.socket.set_read_timeout(left)?;
                self.read_timeout = left;
            }
            let read = match &mut self.socket {
                Socket::Tcp(socket) => socket.read(buffer),
                Socket::Unix(socket) => socket.read(buffer),
            };
            if !read.as_ref().is_err_and(is_early) {
                let bytes = read.as_ref().map_or(0, |bytes| *bytes);
                self.answer_left = self.answer_left.saturating_sub(bytes);
                return read;
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let left = self.left()?;
            if self.write_timeout.abs_diff(left) > SLACK {
                self.socket.set_write_timeout(left)?;
                self.write_timeout = left;
            }
            let written = match &mut self.socket {
                Socket::Tcp(socket) => socket.write(bytes),
                Socket::Unix(socket) => socket.write(bytes),
            };
            if !written.as_ref().is_err_and(is_early) {
                return written;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A signal came, or a timeout that an earlier call has set ended. The deadline decides.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl Socket {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_read_timeout(Some(timeout)),
            Socket::Unix(socket) => socket.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_write_timeout(Some(timeout)),
            Socket::Unix(socket) => socket.set_write_timeout(Some(timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that reads a call and answers each with these bytes, one each `pause`.
    fn dripping(answer: &'static [u8], pause: Duration) -> (Client, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (_hold, pauses) = crossbeam_channel::bounded::<()>(0);
            let mut call = [0; 1024];
            while stream.read(&mut call).is_ok_and(|count| count > 0) {
                for byte in answer {
                    let _ = pauses.recv_timeout(pause);
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                }
            }
        };
        let client = Client::open(format!("redis://{address}")).unwrap();
        (client, thread::spawn(serve))
    }

    #[test]
    fn an_answer_that_drips_ends_at_the_deadline_of_the_call() {
        let patience = Duration::from_millis(300);
        // Each byte comes in time; the answer would take a minute.
        let (client, server) = dripping(&[b'1'; 6000], Duration::from_millis(10));
        let mut connection = Connection::open(&client, patience).unwrap();
        let begun = clock::now().mono;
        let answer = redis::cmd("PING").query::<Value>(&mut connection);
        let took = clock::now().mono.since(begun);
        assert!(answer.is_err_and(|error| error.is_timeout()));
        assert!(
            took >= patience && took < Duration::from_secs(30),
            "{took:?}"
        );
        drop(connection);
        server.join().unwrap();
    }

    #[test]
    fn an_answer_that_is_too_long_loses_the_connection() {
        const ANSWER: &[u8] = b"$30\r\n012345678901234567890123456789\r\n";
        for (bytes_max, fits) in [(100, true), (20, false)] {
            let (client, server) = dripping(ANSWER, Duration::ZERO);
            let mut connection = Connection::open(&client, Duration::from_secs(30)).unwrap();
            connection.limit_answers(bytes_max);
            let answer = redis::cmd("PING").query::<String>(&mut connection);
            assert_eq!(answer.is_ok(), fits, "{answer:?}");
            drop(connection);
            server.join().unwrap();
        }
    }

    #[test]
    fn each_message_has_the_whole_bound() {
        let (client, server) = dripping(
            b"+0123456789\r\n+0123456789\r\n+0123456789\r\n",
            Duration::ZERO,
        );
        let patience = Duration::from_secs(30);
        let mut connection = Connection::open(&client, patience).unwrap();
        connection.limit_answers(20);
        connection.send(&redis::cmd("SUBSCRIBE")).unwrap();
        for _ in 0..3 {
            assert!(connection.receive(patience).is_ok());
        }
        drop(connection);
        server.join().unwrap();
    }

    #[test]
    fn an_answer_in_pieces_is_whole_and_the_next_call_has_a_deadline_of_its_own() {
        let (client, server) = dripping(b"$4\r\nPONG\r\n", Duration::from_millis(5));
        let patience = Duration::from_secs(30);
        let mut connection = Connection::open(&client, patience).unwrap();
        for _ in 0..3 {
            let answer = redis::cmd("PING").query::<String>(&mut connection);
            assert_eq!(answer.unwrap(), "PONG");
        }
        drop(connection);
        server.join().unwrap();
    }
}
