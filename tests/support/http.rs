//! A small HTTP/1.1 server made for faults: a thread for each connection, every request on record.

use super::{SOON, eventually, free_port, wall_ns};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The request target, raw.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
    pub at_wall_ns: u64,
    /// Which connection, counted from 0.
    pub connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer(Answer),
    /// In chunks of this many bytes.
    Chunked(Answer, usize),
    /// Byte by byte with this pause between them.
    Drip(Answer, Duration),
    /// Promises more than it sends, then closes.
    Truncated(Answer),
    /// Any bytes, then closes.
    Raw(Vec<u8>),
    /// Any pieces, each a moment after the one before, and the connection stays open.
    Verbatim(Vec<Vec<u8>>),
    /// The answer, and in the same write another one that nothing asked for.
    Twice(Answer, Answer),
    /// Reads the request and closes.
    Close,
    /// Reads the request and never answers.
    Hang,
    /// Does it later.
    Late(Duration, Box<Reply>),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    fn head(&self, framing: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += framing;
        head += "\r\n\r\n";
        head.into_bytes()
    }

    pub fn whole(&self) -> Vec<u8> {
        let mut bytes = self.head(&format!("Content-Length: {}", self.body.len()));
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Reply::Answer(answer)
    }
}

type Handler = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A server on a port of its own, which it keeps when it stops and starts again.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<Running>,
}

struct Shared {
    handler: Handler,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    /// Requests that have been read and are not answered yet, but for those that wait for their answer on purpose.
    answering: AtomicUsize,
    /// Whether the server is stopping. It changes only while `requests` is locked: what is read later is not taken in.
    closed: AtomicBool,
    refusing: AtomicBool,
    resetting: AtomicBool,
}

struct Running {
    stopping: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let mut server = Server::stopped(IpAddr::V4(Ipv4Addr::LOCALHOST), handler);
        server.resume();
        server
    }

    /// A server that refuses connections until [`resume`](Server::resume).
    pub fn stopped(
        host: IpAddr,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Server {
            address: SocketAddr::new(host, free_port()),
            shared: Arc::new(Shared {
                handler: Box::new(handler),
                requests: Mutex::default(),
                connections: AtomicUsize::new(0),
                answering: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
                refusing: AtomicBool::new(false),
                resetting: AtomicBool::new(false),
            }),
            running: None,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Connections accepted so far, refused ones too.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes every new connection at once, or no longer.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Resets every new connection when a request comes by it, or no longer.
    pub fn reset(&self, resetting: bool) {
        self.shared.resetting.store(resetting, Ordering::SeqCst);
    }

    pub fn resume(&mut self) {
        assert!(self.running.is_none(), "already running");
        let listener = eventually("the port is free", SOON, || {
            TcpListener::bind(self.address).map_err(|error| error.to_string())
        });
        self.shared.close(false);
        let stopping = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let accepting = {
            let (shared, stopping, open) = (self.shared.clone(), stopping.clone(), open.clone());
            std::thread::spawn(move || accept(&listener, &shared, &stopping, &open))
        };
        self.running = Some(Running {
            stopping,
            open,
            accepting,
        });
    }

    /// Closes the port and cuts every connection.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.stopping.store(true, Ordering::SeqCst);
        self.shared.close(true);
        // What a client has sent and the test has seen is acknowledged, or else it would come again.
        let until = Instant::now() + Duration::from_secs(1);
        while self.shared.answering.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        // Wakes `accept`.
        drop(TcpStream::connect(self.address));
        let joined = running.accepting.join();
        for stream in lock(&running.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if !std::thread::panicking() {
            joined.expect("the accepting thread");
        }
    }
}

impl Shared {
    fn close(&self, closed: bool) {
        let _requests = lock(&self.requests);
        self.closed.store(closed, Ordering::SeqCst);
    }

    /// Whether the server has not begun to stop. Then the request will be answered.
    fn take_in(&self, request: &Request) -> bool {
        let mut requests = lock(&self.requests);
        let is_open = !self.closed.load(Ordering::SeqCst);
        if is_open {
            self.answering.fetch_add(1, Ordering::SeqCst);
            requests.push(request.clone());
        }
        is_open
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    stopping: &AtomicBool,
    open: &Mutex<Vec<TcpStream>>,
) {
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        if shared.resetting.load(Ordering::SeqCst) {
            // A socket that is closed while something in it is unread is reset.
            std::thread::spawn(move || stream.peek(&mut [0]));
            continue;
        }
        if let Ok(clone) = stream.try_clone() {
            lock(open).push(clone);
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            // A client that goes away is no business of the server's.
            let _ = serve(&stream, connection, &shared);
            // `open` holds a second handle, so dropping this one closes nothing.
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(mut stream: &TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(stream, &mut buffer, connection)? {
        if !shared.take_in(&request) {
            return Ok(());
        }
        let mut reply = (shared.handler)(&request);
        if let Reply::Answer(answer) = &reply {
            let written = stream.write_all(&answer.whole());
            shared.answering.fetch_sub(1, Ordering::SeqCst);
            written?;
            continue;
        }
        shared.answering.fetch_sub(1, Ordering::SeqCst);
        while let Reply::Late(pause, later) = reply {
            std::thread::sleep(pause);
            reply = *later;
        }
        match reply {
            Reply::Answer(answer) => stream.write_all(&answer.whole())?,
            Reply::Chunked(answer, size) => stream.write_all(&chunked(&answer, size))?,
            Reply::Drip(answer, pause) => {
                for byte in answer.whole() {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(pause);
                }
            }
            Reply::Truncated(answer) => {
                let promised = answer.body.len() + 1000;
                stream.write_all(&answer.head(&format!("Content-Length: {promised}")))?;
                return stream.write_all(&answer.body);
            }
            Reply::Raw(bytes) => return stream.write_all(&bytes),
            Reply::Verbatim(pieces) => {
                for piece in pieces {
                    stream.write_all(&piece)?;
                    std::thread::sleep(Duration::from_millis(15));
                }
            }
            Reply::Twice(answer, stray) => {
                stream.write_all(&[answer.whole(), stray.whole()].concat())?;
            }
            Reply::Close => return Ok(()),
            Reply::Hang => {
                // Until the client, or `stop`, ends the connection.
                io::copy(&mut stream, &mut io::sink())?;
                return Ok(());
            }
            Reply::Late(..) => unreachable!("unwrapped above"),
        }
    }
    Ok(())
}

fn chunked(answer: &Answer, size: usize) -> Vec<u8> {
    let mut bytes = answer.head("Transfer-Encoding: chunked");
    for chunk in answer.body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The next request; `None` where the client is done. What was read beyond it stays in `buffer`.
fn read_request(
    mut stream: &TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> io::Result<Option<Request>> {
    let mut more = |buffer: &mut Vec<u8>| -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = stream.read(&mut chunk)?;
        buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    };
    loop {
        if let Some((mut request, head_length)) = parse_head(buffer, connection)? {
            buffer.drain(..head_length);
            loop {
                if let Some((body, length)) = parse_body(&request, buffer)? {
                    buffer.drain(..length);
                    request.body = body;
                    return Ok(Some(request));
                }
                if !more(buffer)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        if !more(buffer)? {
            return Ok(None);
        }
    }
}

fn parse_head(buffer: &[u8], connection: usize) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(buffer).map_err(io::Error::other)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        target: head.path.unwrap_or_default().to_owned(),
        headers: head
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_owned(), value)
            })
            .collect(),
        body: Vec::new(),
        at: Instant::now(),
        at_wall_ns: wall_ns(),
        connection,
    };
    Ok(Some((request, length)))
}

/// The body and how many bytes it took; `None` where it is not there yet.
fn parse_body(request: &Request, buffer: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    if let Some(length) = request.header("Content-Length") {
        let length: usize = length.trim().parse().map_err(io::Error::other)?;
        return Ok(buffer.get(..length).map(|body| (body.to_vec(), length)));
    }
    if request.header("Transfer-Encoding").is_none() {
        return Ok(Some((Vec::new(), 0)));
    }
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let parsed = httparse::parse_chunk_size(&buffer[at..])
            .map_err(|_| io::Error::other("no chunk size"))?;
        let httparse::Status::Complete((size_length, size)) = parsed else {
            return Ok(None);
        };
        let start = at + size_length;
        let end = start + usize::try_from(size).map_err(io::Error::other)?;
        let Some(chunk) = buffer.get(start..end + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..chunk.len() - 2]);
        at = end + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// A panic elsewhere has its own message; the lock itself is always fit for use.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
