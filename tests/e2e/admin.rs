//! The admin endpoint under attack, and what it says about farspan.

use crate::carriers::Door;
use crate::support::api::{completed, processing, status};
use crate::support::redis::CHANNEL;
use crate::support::rig::Rig;
use crate::support::{SOON, eventually, free_port};
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

/// Redis forbids the channel, then the API refuses the credentials, and in the end nothing keeps farspan from its work.
#[test]
fn readyz_names_what_keeps_farspan_from_its_work() {
    let (rig, door) = (Rig::new(), Door::new());
    let rules = ["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all"];
    let _: String = rig.redis.ask(&rules);
    let url = rig.redis.url().replace("redis://", "redis://app:pw@");
    let call = rig
        .call()
        .env("FARSPAN_REDIS_URL", url)
        .env("FARSPAN_ADMIN_TOKEN", "t0k3n");
    let farspan = door.start(&call);
    let await_ready = |expected: u16, text: &str| {
        eventually(text, SOON, || {
            let answer = door.ask("GET", "/readyz", &[], "");
            if (answer.status, answer.body.contains(text)) == (expected, true) {
                Ok(())
            } else {
                Err(answer.body)
            }
        });
    };
    await_ready(503, "+subscribe &event.workflow.started");
    assert_eq!(door.ask("GET", "/healthz", &[], "").status, 200);

    let _: String = (rig.redis).ask(&["ACL", "SETUSER", "app", &format!("&{CHANNEL}")]);
    await_ready(200, "ready");
    rig.api.script("w", [status(401)]);
    rig.submit("w");
    await_ready(503, "refuses the credentials");
    let replies = [processing("w").reply(), completed("w").reply()];
    rig.api.script("w", replies);
    rig.trace("w");
    await_ready(200, "ready");
    farspan.stop();
}
