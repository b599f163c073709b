//! What farspan asks through the proxies of the usual variables, and what it asks without them.

use crate::support::api::completed;
use crate::support::http::lock;
use crate::support::monitored::Monitored;
use crate::support::program::farspan;
use crate::support::rig::Rig;
use crate::support::tls::TlsWay;
use crate::support::{SOON, eventually};
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// An HTTP proxy: it answers whole requests itself, and leads each tunnel to one port of this host.
struct HttpProxy {
    address: SocketAddr,
    /// The heads of all requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    fn start(tunnels_to: u16, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (heads, answer) = (asked.clone(), Arc::new(answer));
        let address = listen(move |mut client| {
            loop {
                let head = read_request(&mut client)?;
                lock(&heads).push(head.clone());
                if head.starts_with("CONNECT ") {
                    let server = TcpStream::connect(("127.0.0.1", tunnels_to))?;
                    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
                    return pipe(&client, &server);
                }
                client.write_all(answer(&head).as_bytes())?;
            }
        });
        HttpProxy { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }

    /// The first lines of all requests, each once.
    fn lines(&self) -> Vec<String> {
        let lines = self.asked().into_iter();
        let mut lines: Vec<String> = lines
            .filter_map(|head| Some(head.lines().next()?.to_owned()))
            .collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

/// A SOCKS5 proxy that looks names up: whatever it is asked for is at one port of this host.
fn socks_proxy(asked: Arc<Mutex<Vec<String>>>, leads_to: u16) -> SocketAddr {
    listen(move |mut client| {
        let mut greeting = [0; 3];
        client.read_exact(&mut greeting)?;
        client.write_all(&[5, 0])?;
        let mut head = [0; 5];
        client.read_exact(&mut head)?;
        assert_eq!(head[3], 3, "a name");
        let mut name = vec![0; usize::from(head[4]) + 2];
        client.read_exact(&mut name)?;
        let port = name.split_off(usize::from(head[4]));
        let port = u16::from_be_bytes([port[0], port[1]]);
        let name = String::from_utf8(name).map_err(io::Error::other)?;
        lock(&asked).push(format!("{name}:{port}"));
        let server = TcpStream::connect(("127.0.0.1", leads_to))?;
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        pipe(&client, &server)
    })
}

/// Serves each connection on its own thread, until the test's process ends.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(client));
        }
    });
    address
}

/// Both ways, until one side has ended.
fn pipe(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let copied = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write).and(copied)
    });
    io::copy(&mut &*client, &mut &*server)?;
    server.shutdown(Shutdown::Write)
}

/// Reads a request with its body; its head.
fn read_request(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    client.read_exact(&mut vec![0; length])?;
    Ok(head)
}

fn answer(content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A proxy as Squid ships takes whole requests for `http://` and refuses tunnels to port 80.
#[test]
fn all_that_is_plain_http_goes_through_the_proxy_with_whole_urls() {
    let done = completed("w").json().to_string();
    let proxy = HttpProxy::start(1, move |head| {
        if head.starts_with("POST http://token.test/") {
            answer(
                "application/json",
                r#"{"access_token": "t", "expires_in": 3600}"#,
            )
        } else if head.starts_with("GET http://api.test:8080/") {
            answer("application/json", &done)
        } else {
            answer("application/x-protobuf", "")
        }
    });
    let auth = json!({"type": "oauth2", "token_url": "http://token.test/token", "client_id": "c", "client_secret": "s"});
    let it = Monitored::by(json!([{
        "name": "elsewhere", "preset": "farspan",
        "api": {"base_url": "http://api.test:8080", "auth": auth},
        "finished": {"url": "http://receiver.test/done"},
    }]));
    let call = it
        .call
        .clone()
        .env(
            "http_proxy",
            format!("http://us%40er:pa55@{}", proxy.address),
        )
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.test:4318");
    let farspan = it.rig.start_call(&call);
    it.rig.submit("w");
    eventually("everything is asked", SOON, || {
        let lines = proxy.lines();
        if lines.len() == 4 {
            Ok(())
        } else {
            Err(lines.join("\n"))
        }
    });
    assert_eq!(
        proxy.lines(),
        [
            "GET http://api.test:8080/workflows/w HTTP/1.1",
            "POST http://collector.test:4318/v1/traces HTTP/1.1",
            "POST http://receiver.test/done HTTP/1.1",
            "POST http://token.test/token HTTP/1.1",
        ]
    );
    // us@er:pa55
    let credentials = "Proxy-Authorization: Basic dXNAZXI6cGE1NQ==\r\n";
    assert!(proxy.asked().iter().all(|head| head.contains(credentials)));
    let log = farspan.stop().stderr;
    assert!(!log.contains("pa55"), "{log}");
}

/// The first URL is of `http://`, so that the agent was made for it; the redirect leads to TLS. Both are the same host,
/// and so is the trust.
#[test]
fn a_redirect_to_https_goes_through_a_tunnel_and_trusts_the_same_certificate() {
    let rig = Rig::new();
    rig.api.script("w", [completed("w").reply()]);
    let way = TlsWay::to(rig.api.server.address().port());
    let proxy = HttpProxy::start(way.port, |head| {
        let target = head.split(' ').nth(1).unwrap().replace("http:", "https:");
        format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n")
    });
    let call = rig
        .call()
        .env("FARSPAN_API_BASE_URL", "http://api.test/risk")
        .env("ALL_PROXY", format!("http://{}", proxy.address))
        .env("SSL_CERT_FILE", way.certificate.display());
    let farspan = rig.start_call(&call);
    rig.submit("w");
    rig.trace("w");
    farspan.stop();
    assert_eq!(
        proxy.lines(),
        [
            "CONNECT api.test:443 HTTP/1.1",
            "GET http://api.test/risk/workflows/w HTTP/1.1"
        ]
    );
}

#[test]
fn a_socks_proxy_is_asked_for_the_name() {
    let rig = Rig::new();
    rig.api.script("w", [completed("w").reply()]);
    let asked = Arc::default();
    let proxy = socks_proxy(Arc::clone(&asked), rig.api.server.address().port());
    let call = rig
        .call()
        .env("FARSPAN_API_BASE_URL", "http://api.test/risk")
        .env("ALL_PROXY", format!("socks5h://{proxy}"));
    let farspan = rig.start_call(&call);
    rig.submit("w");
    rig.trace("w");
    farspan.stop();
    assert!(lock(&asked).iter().all(|target| target == "api.test:80"));
    assert!(!lock(&asked).is_empty());
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let rig = Rig::new();
    let nowhere = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for base_url in ["http://api.test", "https://api.test"] {
        let call = rig
            .call()
            .env("FARSPAN_API_BASE_URL", base_url)
            .env("ALL_PROXY", format!("http://user:s3cret@{nowhere}"));
        let farspan = rig.start_call(&call);
        rig.submit("w");
        farspan.await_log(&format!("proxy http://{nowhere}: "));
        let log = farspan.stop().stderr;
        assert!(log.contains("cannot be polled (connect)"), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[test]
fn what_is_no_proxy_is_refused_at_the_start() {
    for (variable, value, said) in [
        (
            "ALL_PROXY",
            "socks://u:s3cret@proxy.test",
            "has the scheme socks",
        ),
        ("http_proxy", "http://proxy.test:99999", "has a port"),
        ("HTTPS_PROXY", "http//proxy.test", "has a path"),
        ("no_proxy", "api.test,10.0.0.0/33", "10.0.0.0/33"),
    ] {
        let ended = farspan(&["run"])
            .env("FARSPAN_API_BASE_URL", "http://api.test")
            .env(variable, value)
            .output();
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        let line = ended.stderr.lines().find(|line| line.contains(variable));
        let line = line.unwrap_or_else(|| panic!("{}", ended.stderr));
        assert!(line.contains(said), "{line}");
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}
