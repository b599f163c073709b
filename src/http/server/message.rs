//! Requests and responses as bytes (RFC 9110, 9112).

use crate::core::time::Wall;
use crate::os::clock;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Weak};

/// The longest head of a request, in bytes. Beyond: 431.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest body of a request, in bytes. Beyond: 413.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

pub(super) const HEADERS_MAX: usize = 64;

/// A whole request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// As sent: `GET`.
    pub method: String,
    /// The path as sent, still percent-encoded; begins with `/`, or is `*`.
    pub path: String,
    /// What follows the first `?`, still percent-encoded.
    pub query: Option<String>,
    /// The body, with any chunked coding taken off.
    pub body: Vec<u8>,
    /// The client that waits for the answer.
    pub client: Client,
    headers: Vec<(String, Vec<u8>)>,
}

/// The client of a connection.
#[derive(Clone, Debug, Default)]
pub struct Client(Weak<TcpStream>);

/// What to answer. `Date`, `Content-Length` and `Connection` are the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body. Not sent in answer to HEAD.
    pub body: Vec<u8>,
    /// Whether the client has shown who it is. Its connection may be idle for longer.
    pub is_trusted: bool,
    /// Further headers. One whose value has anything but visible ASCII and spaces in it is left out.
    pub headers: Vec<(&'static str, String)>,
}

impl Client {
    pub(super) fn of(stream: &Arc<TcpStream>) -> Client {
        Client(Arc::downgrade(stream))
    }

    /// Whether the client has closed the connection, or will at least send nothing more on it.
    pub fn has_hung_up(&self) -> bool {
        let Some(stream) = self.0.upgrade() else {
            return true;
        };
        let peek = || {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            peeked
        };
        match peek() {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl HttpRequest {
    /// The first header of that name, in any case of letters; `None` also for a value that is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.values(name).next()?;
        str::from_utf8(value).ok()
    }

    /// Every header whose value is UTF-8, in the order of the request.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.headers.iter();
        pairs.filter_map(|(key, value)| Some((key.as_str(), str::from_utf8(value).ok()?)))
    }

    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }
}

impl Response {
    /// An answer with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            content_type,
            body: body.into(),
            is_trusted: false,
            headers: Vec::new(),
        }
    }

    /// A line of text.
    pub fn text(status: u16, line: &str) -> Response {
        Response::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// A refusal of the server itself, which no handler sees. It is safe for a browser, and no cache keeps it.
    pub(super) fn refusal(status: u16, why: &str) -> Response {
        Response::text(status, why)
            .with_header("Cache-Control", "no-store")
            .with_header("X-Content-Type-Options", "nosniff")
    }

    /// A JSON document.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response::new(status, "application/json", body)
    }

    /// This response with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}

/// A time as HTTP writes it, an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn http_date(time: Wall) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time.as_unix_ns())) {
        Ok(timestamp) => timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        // Cannot happen: jiff reaches further than `Wall`.
        Err(_) => "Thu, 01 Jan 1970 00:00:00 GMT".into(),
    }
}

/// Why the bytes of a connection did not become an [`HttpRequest`].
pub(super) enum RequestError {
    /// Nothing more comes: the connection is closed, broken, or was idle for too long.
    Gone,
    /// The status and the text to answer before closing.
    Refused(u16, &'static str),
}

impl From<io::Error> for RequestError {
    fn from(_: io::Error) -> RequestError {
        RequestError::Gone
    }
}

/// How a body is delimited (RFC 9112, 6.3).
#[derive(Clone, Copy)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
}

pub(super) const HEAD_TOO_LARGE: RequestError =
    RequestError::Refused(431, "the head of the request is too large");
pub(super) const BODY_TOO_LARGE: RequestError =
    RequestError::Refused(413, "the body of the request is too large");

/// The head's length, the request without its body, and the minor version; `None` while the head is not whole.
pub(super) fn parse_head(bytes: &[u8]) -> Result<Option<(usize, HttpRequest, u8)>, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => {
            return Err(RequestError::Refused(505, "only HTTP/1 is spoken here"));
        }
        Err(_) => return Err(RequestError::Refused(400, "not an HTTP request")),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(RequestError::Refused(400, "not an HTTP request"));
    };
    let Some((path, query)) = split_target(target) else {
        return Err(RequestError::Refused(400, "bad request target"));
    };
    let request = HttpRequest {
        method: method.into(),
        path: path.into(),
        query: query.map(Into::into),
        body: Vec::new(),
        client: Client::default(),
        headers: head
            .headers
            .iter()
            .map(|header| (header.name.into(), header.value.into()))
            .collect(),
    };
    Ok(Some((head_bytes, request, version)))
}

/// Path and query of the forms of RFC 9112, 3.2; `None` for CONNECT's, which is a proxy's business.
fn split_target(target: &str) -> Option<(&str, Option<&str>)> {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    match path {
        "" if query.is_some() => Some(("/", query)),
        _ if path.starts_with('/') || path == "*" => Some((path, query)),
        _ => None,
    }
}

/// RFC 9112, 6: whatever two readers might understand in two ways is refused.
pub(super) fn framing(request: &HttpRequest, version: u8) -> Result<Framing, RequestError> {
    if version == 1 && request.values("host").count() != 1 {
        return Err(RequestError::Refused(
            400,
            "exactly one Host header is needed",
        ));
    }
    let mut codings = request.values("transfer-encoding");
    let mut lengths = request.values("content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(coding), None) if version == 1 && codings.next().is_none() => {
            if coding.eq_ignore_ascii_case(b"chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(RequestError::Refused(
                    501,
                    "the only transfer coding known is chunked",
                ))
            }
        }
        (None, Some(length)) if lengths.all(|other| other == length) => {
            if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                return Err(RequestError::Refused(400, "bad Content-Length"));
            }
            let length = str::from_utf8(length)
                .ok()
                .and_then(|digits| digits.parse().ok());
            match length {
                Some(length) if length <= BODY_BYTES_MAX => Ok(Framing::Length(length)),
                _ => Err(BODY_TOO_LARGE),
            }
        }
        _ => Err(RequestError::Refused(
            400,
            "the length of the body is ambiguous",
        )),
    }
}

/// Whether a comma-separated header contains this word.
pub(super) fn lists(request: &HttpRequest, name: &str, word: &str) -> bool {
    request
        .values(name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Head and body in one piece, so that they go out in one write.
pub(super) fn encode(response: &Response, head_only: bool, connection: Option<&str>) -> Vec<u8> {
    let Response {
        status,
        content_type,
        body,
        headers,
        ..
    } = response;
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\nDate: {}\r\n",
        reason(*status),
        http_date(clock::now().wall)
    );
    let mut header = |name: &str, value: &str| {
        if value
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            head.extend([name, ": ", value, "\r\n"]);
        }
    };
    let bodiless = matches!(status, 204 | 304);
    if !bodiless {
        header("Content-Type", content_type);
        header("Content-Length", &body.len().to_string());
    }
    for (name, value) in headers {
        header(name, value);
    }
    if let Some(connection) = connection {
        header("Connection", connection);
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if !head_only && !bodiless {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// The reason phrase. Programs ignore it (RFC 9112, 4); it is for people.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        let date = |seconds: i64| http_date(Wall::from_unix_ns(seconds * 1_000_000_000));
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn a_header_cannot_be_split() {
        let response = Response::text(200, "x")
            .with_header("Location", "/a\r\nEvil: yes")
            .with_header("X-Ok", "1 2");
        let text = String::from_utf8(encode(&response, true, None)).unwrap();
        assert!(
            !text.contains("Evil") && text.contains("X-Ok: 1 2\r\n"),
            "{text:?}"
        );
    }
}
