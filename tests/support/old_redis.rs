//! What an old redis-server answers, as far as farspan asks: one that can no longer be installed.

use super::http::lock;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// At a port; gone, with its connections, when it is dropped.
pub struct OldRedis {
    port: u16,
    connections: Arc<Mutex<Option<Vec<TcpStream>>>>,
    accepting: Option<JoinHandle<()>>,
}

impl OldRedis {
    #[track_caller]
    pub fn start(port: u16, version: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let known = connections.clone();
        let accepting = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                match &mut *lock(&known) {
                    Some(known) => known.extend(client.try_clone()),
                    None => return,
                }
                thread::spawn(move || drop(serve(client, version)));
            }
        });
        OldRedis {
            port,
            connections,
            accepting: Some(accepting),
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for OldRedis {
    fn drop(&mut self) {
        for connection in lock(&self.connections).take().into_iter().flatten() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(client: TcpStream, version: &str) -> io::Result<()> {
    let mut answers = client.try_clone()?;
    let mut commands = BufReader::new(client);
    while let Some(words) = command(&mut commands)? {
        let name = words[0].to_uppercase();
        let answer = match name.as_str() {
            "PING" => "+PONG\r\n".to_owned(),
            "INFO" => bulk(&format!(
                "# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n"
            )),
            "SUBSCRIBE" => format!("*3\r\n{}{}:1\r\n", bulk("subscribe"), bulk(&words[1])),
            "SCRIPT" => bulk(&"0".repeat(40)),
            "XGROUP" => "+OK\r\n".to_owned(),
            "XREADGROUP" => "*-1\r\n".to_owned(),
            _ => format!("-ERR unknown command `{name}`, with args beginning with: \r\n"),
        };
        answers.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// `None` when the client has gone.
fn command(from: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let Some(count) = number(from, '*')? else {
        return Ok(None);
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let Some(length) = number(from, '$')? else {
            return Ok(None);
        };
        let mut word = vec![0; length + 2];
        from.read_exact(&mut word)?;
        words.push(String::from_utf8_lossy(&word[..length]).into_owned());
    }
    Ok(Some(words))
}

fn number(from: &mut impl BufRead, sign: char) -> io::Result<Option<usize>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let digits = line.trim_end().strip_prefix(sign);
    let number = digits.and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| io::Error::other(line))
}
