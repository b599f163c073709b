//! The status API of docs/your-own-api.md: `cargo run --example millrace`.
//!
//! It wants the token `s3cret`. Of the run `settle-20261119` it says twice that it is busy, and from then on that it has
//! failed. It knows no other run.
#![allow(clippy::print_stdout, reason = "it is for people")]

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

const RUNNING: &str = include_str!("running.json");
const ENDED: &str = include_str!("run.json");
/// Answers that say that the run is busy.
const BUSY_ANSWERS: u32 = 2;

/// The address can be given: `cargo run --example millrace 127.0.0.1:8091`.
fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8090"))?;
    println!("Millrace is at http://{}/v1", listener.local_addr()?);
    let mut answers = 0;
    for stream in listener.incoming().flatten() {
        // A caller that goes away is no reason to end.
        let _ = answer(stream, &mut answers);
    }
    Ok(())
}

fn answer(mut stream: TcpStream, answers: &mut u32) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut has_token = false;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        has_token |= line.eq_ignore_ascii_case("authorization: bearer s3cret");
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/v1/runs/settle-20261119") if has_token => {
            *answers += 1;
            let is_busy = *answers <= BUSY_ANSWERS;
            ("200 OK", if is_busy { RUNNING } else { ENDED })
        }
        _ if !has_token => (
            "401 Unauthorized",
            r#"{"message": "no token, or a wrong one"}"#,
        ),
        Some(path) if path.starts_with("/v1/runs/") => {
            ("404 Not Found", r#"{"message": "no such run"}"#)
        }
        _ => ("404 Not Found", r#"{"message": "no such path"}"#),
    };
    println!("{request}: {status}");
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
