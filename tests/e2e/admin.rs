//! The admin endpoint under attack.

use crate::support::api::completed;
use crate::support::free_port;
use crate::support::rig::Rig;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// As many connections as there may be, each idle and without a token: a request with the token is answered all the same.
#[test]
fn idle_connections_shut_no_client_out() {
    let rig = Rig::new();
    let address = format!("127.0.0.1:{}", free_port());
    let call = rig
        .call()
        .env("FARSPAN_ADMIN_LISTEN", &address)
        .env("FARSPAN_ADMIN_TOKEN", "t0k3n");
    let farspan = rig.start_call(&call);
    let connect = || TcpStream::connect(&address).expect("connected");
    let _idle: Vec<TcpStream> = (0..64).map(|_| connect()).collect();
    for id in ["first", "second"] {
        rig.api.script(id, [completed(id).reply()]);
        let body = format!(r#"{{"WorkflowId": "{id}"}}"#);
        let mut stream = connect();
        write!(
            stream,
            "POST /api/workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0k3n\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        rig.trace(id);
    }
    farspan.stop();
}
