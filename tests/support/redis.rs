//! A real redis-server.

use super::http::lock;
use super::tls::Certificate;
use super::{SOON, eventually, free_port};
use ::redis::{Client, Commands};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

pub const CHANNEL: &str = "event.workflow.started";

/// Empty, on a port of its own that it keeps; gone with the test.
pub struct RedisServer {
    port: u16,
    password: Mutex<Option<String>>,
    child: Option<Child>,
    /// Where it keeps what it holds, if it does.
    directory: Option<std::path::PathBuf>,
    /// The port and the certificate of its other door.
    tls: Option<(u16, Certificate)>,
}

impl RedisServer {
    pub fn start() -> Self {
        let mut server = RedisServer::stopped();
        server.resume();
        server
    }

    /// A server that refuses connections until [`resume`](RedisServer::resume).
    pub fn stopped() -> Self {
        RedisServer {
            port: free_port(),
            password: Mutex::default(),
            child: None,
            directory: None,
            tls: None,
        }
    }

    /// One that is there for TLS too, with this certificate, on a port of its own.
    pub fn with_tls(certificate: Certificate) -> Self {
        let mut server = RedisServer::stopped();
        server.tls = Some((free_port(), certificate));
        server.resume();
        server
    }

    /// Where it is there for TLS.
    #[track_caller]
    pub fn tls_port(&self) -> u16 {
        self.tls.as_ref().expect("made with TLS").0
    }

    /// One that keeps every write on its disk.
    pub fn durable() -> Self {
        let mut server = RedisServer::stopped();
        let directory = std::env::temp_dir().join(format!("farspan-redis-{}", server.port));
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir_all(&directory).expect("a directory");
        server.directory = Some(directory);
        server.resume();
        server
    }

    /// One that asks for this password.
    pub fn with_password(password: &str) -> Self {
        let mut server = RedisServer::stopped();
        server.password = Mutex::new(Some(password.to_owned()));
        server.resume();
        server
    }

    /// The answer to a command.
    #[track_caller]
    pub fn ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.client().get_connection().expect("a connection");
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = command.query(&mut connection);
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Adds an entry with a message to a stream; answers with its id.
    #[track_caller]
    pub fn add(&self, stream: &str, message: &str) -> String {
        self.ask(&["XADD", stream, "*", "message", message])
    }

    /// Adds many entries on one connection.
    pub fn add_all(&self, stream: &str, messages: &[String]) {
        let mut connection = self.client().get_connection().expect("a connection");
        let mut pipe = ::redis::pipe();
        for message in messages {
            pipe.cmd("XADD")
                .arg(stream)
                .arg("*")
                .arg("message")
                .arg(message);
        }
        let _: ::redis::Value = pipe.query(&mut connection).expect("XADD");
    }

    /// Entries of a stream's group that are not acknowledged.
    #[track_caller]
    pub fn pending(&self, stream: &str) -> usize {
        let about: ::redis::Value = self.ask(&["XPENDING", stream, "farspan"]);
        match about {
            ::redis::Value::Array(parts) => match parts.first() {
                Some(::redis::Value::Int(count)) => usize::try_from(*count).expect("a count"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn url_with_password(&self, password: &str) -> String {
        format!("redis://:{password}@127.0.0.1:{}", self.port)
    }

    /// Asks every new connection for it from now on.
    pub fn set_password(&self, password: &str) {
        let mut connection = self.client().get_connection().expect("a connection");
        let set = ::redis::cmd("CONFIG")
            .arg("SET")
            .arg("requirepass")
            .arg(password)
            .exec(&mut connection);
        set.expect("CONFIG SET");
        *lock(&self.password) = Some(password.to_owned());
    }

    /// Comes back when it answers PING.
    pub fn resume(&mut self) {
        assert!(self.child.is_none(), "already running");
        let mut command = Command::new("redis-server");
        if let Some((port, certificate)) = &self.tls {
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(&certificate.certificate);
            command.arg("--tls-key-file").arg(&certificate.key);
            command
                .arg("--tls-ca-cert-file")
                .arg(&certificate.certificate);
        }
        let child = command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--daemonize", "no"])
            .args(match self.directory {
                Some(_) => ["--appendonly", "yes", "--appendfsync", "always"],
                None => ["--appendonly", "no", "--appendfsync", "no"],
            })
            .args([
                "--requirepass",
                lock(&self.password).as_deref().unwrap_or_default(),
            ])
            .current_dir(self.directory.clone().unwrap_or_else(std::env::temp_dir))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; run tests/run"));
        self.child = Some(child);
        eventually("redis-server answers", SOON, || {
            let mut connection = self.client().get_connection().map_err(|e| e.to_string())?;
            connection.ping::<String>().map_err(|e| e.to_string())
        });
    }

    /// Sends it a signal by its name: `STOP` makes it a server that is there and says nothing, `CONT` ends that.
    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("running");
        let pid = child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill").success(), "kill -s {name} {pid}");
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Publishes and answers how many subscribers got it.
    pub fn publish(&self, channel: &str, message: &[u8]) -> usize {
        let mut connection = self.client().get_connection().expect("a connection");
        connection.publish(channel, message).expect("PUBLISH")
    }

    /// Publishes all of them on one connection, in this order.
    pub fn publish_all<'a>(&self, channel: &str, messages: impl IntoIterator<Item = &'a [u8]>) {
        let mut connection = self.client().get_connection().expect("a connection");
        for message in messages {
            let heard: usize = connection.publish(channel, message).expect("PUBLISH");
            assert_eq!(heard, 1, "one subscriber hears every message");
        }
    }

    pub fn subscribers(&self, channel: &str) -> usize {
        let mut connection = self.client().get_connection().expect("a connection");
        let (_, count): (String, usize) = ::redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query(&mut connection)
            .expect("PUBSUB NUMSUB");
        count
    }

    #[track_caller]
    pub fn await_subscribers(&self, channel: &str, count: usize) {
        eventually(&format!("{count} subscribers"), SOON, || {
            match self.subscribers(channel) {
                subscribers if subscribers == count => Ok(()),
                subscribers => Err(format!("{subscribers} subscribers")),
            }
        });
    }

    fn client(&self) -> Client {
        let url = match &*lock(&self.password) {
            Some(password) => self.url_with_password(password),
            None => self.url(),
        };
        Client::open(url).expect("a Redis URL")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        if let Some(directory) = &self.directory {
            drop(std::fs::remove_dir_all(directory));
        }
    }
}
