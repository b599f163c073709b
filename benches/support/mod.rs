//! For all benches: nginx as the API, the time and memory that a process has used, and rows of the README's table.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of this")]

use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One row of the table: what, the figure to reach, the figure measured.
pub fn row(what: &str, target: &str, measured: impl Display) {
    println!("| {what} | {target} | {measured} |");
}

/// The middle one: a machine that does something else now and then must not decide.
pub fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty());
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// User and system time that a process has used so far, all threads together, in steps of 10 ms.
pub fn cpu_of(pid: u32) -> Duration {
    // The kernel's USER_HZ is 100 on every architecture that farspan is built for.
    const TICK_MS: u64 = 10;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || -> u64 { fields.next().expect("proc(5)").parse().expect("a number") };
    Duration::from_millis((ticks() + ticks()) * TICK_MS)
}

/// What this process has used.
pub fn cpu_of_self() -> Duration {
    cpu_of(std::process::id())
}

/// A line of `/proc/PID/status` in bytes, such as `VmHWM`, the most memory that was ever resident.
pub fn memory_of(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let value = status.lines().find_map(|l| l.strip_prefix(line));
    let kib = value.and_then(|v| v.trim_start_matches(':').trim().strip_suffix(" kB"));
    1024 * kib.expect("proc(5)").parse::<u64>().expect("a number")
}

/// nginx as a status API: every workflow is in its second stage and stays there. Gone with the bench.
pub struct Nginx {
    child: Child,
    directory: PathBuf,
    port: u16,
}

/// The default shape, half-way: 0.6 KB. nginx puts the id in.
const BODY: &str = concat!(
    r#"{"workflowId":"$id","workflowStatus":"Processing","workflowStartTime":"2024-07-05T06:57:56.1234567Z","#,
    r#""isComplete":false,"workflowEntities":{"DataLoader":{"entityType":"DataLoader","#,
    r#""entityId":"9f623b49-7c11-4a3c-8a53-1d1a1b0d7f2e","entityStatus":"Completed","#,
    r#""entityStartTime":"2024-07-05T06:57:58.0000001Z","entityEndTime":"2024-07-05T07:01:02.7654321Z","isComplete":true},"#,
    r#""Processor":{"entityType":"Processor","entityId":"1be2a2bb-52a1-4c55-b4a4-6a8bb2f8e0c7","#,
    r#""entityStatus":"Processing","entityStartTime":"2024-07-05T07:01:03.1122334Z","isComplete":false},"#,
    r#""OutputGenerator":{"entityStatus":"Null"}}}"#
);

/// [`BODY`] as nginx gives it for this workflow.
pub fn body_of(workflow_id: &str) -> String {
    BODY.replace("$id", workflow_id)
}

impl Nginx {
    /// Comes back when it answers.
    pub fn start() -> Self {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("farspan-nginx-{port}"));
        fs::create_dir_all(&directory).expect("a directory of its own");
        fs::write(directory.join("nginx.conf"), configuration(port)).expect("its configuration");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&directory)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!(
                "nginx: {error}; install it with `apt-get install nginx-light`, or run benches/run"
            )
        });
        let nginx = Nginx {
            child,
            directory,
            port,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < until, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        nginx
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests that it has answered so far, this one too.
    pub fn requests(&self) -> u64 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("nginx");
        stream
            .write_all(b"GET /requests HTTP/1.0\r\n\r\n")
            .expect("nginx");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("nginx");
        // "server accepts handled requests", then the three numbers.
        let numbers = answer.lines().find(|l| l.starts_with(' '));
        let requests = numbers.and_then(|l| l.split_ascii_whitespace().nth(2));
        requests
            .expect("stub_status")
            .parse()
            .expect("a number of requests")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not `kill`, which is SIGKILL: it would leave the workers behind.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn configuration(port: u16) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    format!(
        "daemon off;
        worker_processes 2;
        pid nginx.pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            {temporary}
            keepalive_requests 1000000000;
            keepalive_timeout 1h;
            default_type application/json;
            server {{
                listen 127.0.0.1:{port};
                location ~ ^/workflows/(?<id>[^/]+)$ {{ return 200 '{BODY}'; }}
                location = /requests {{ stub_status; }}
            }}
        }}"
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
