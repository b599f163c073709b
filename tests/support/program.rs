//! The built binary, with a clean environment and its output on record.

use super::http::lock;
use super::{SOON, eventually, within};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A call of farspan that was not made yet.
#[derive(Clone)]
pub struct Call {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

/// What is left of a program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// `farspan ARGUMENTS` in an environment with nothing but PATH and HOME.
pub fn farspan(arguments: &[&str]) -> Call {
    Call {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: BTreeMap::new(),
    }
}

impl Call {
    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.insert(key.to_owned(), value.to_string());
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.environment.remove(key);
        self
    }

    pub fn start(&self) -> Farspan {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farspan"));
        command.args(&self.arguments).env_clear();
        for key in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        let mut child = command
            .envs(&self.environment)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("farspan starts");
        let stdout = Output::read(child.stdout.take().expect("piped"));
        let stderr = Output::read(child.stderr.take().expect("piped"));
        Farspan {
            name: self.arguments.join(" "),
            child,
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn output(&self) -> Ended {
        self.start().wait(SOON)
    }
}

/// A running farspan; killed with the test, and its output shown if the test fails.
pub struct Farspan {
    name: String,
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Farspan {
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("try_wait").is_none()
    }

    /// Sends a signal by its name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success(), "kill -s {name}: {status}");
    }

    /// SIGKILL: nothing of it is left.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end and for all of its output.
    #[track_caller]
    pub fn wait(mut self, timeout: Duration) -> Ended {
        let what = format!("`farspan {}` ends", self.name);
        let status = eventually(&what, timeout, || self.child.try_wait().expect("try_wait"));
        Ended {
            status,
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }

    /// SIGTERM, and an end with exit code 0.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        let ended = self.wait(SOON);
        assert_eq!(ended.code(), Some(0), "after SIGTERM: {}", ended.stderr);
        ended
    }
}

impl Drop for Farspan {
    fn drop(&mut self) {
        let ended_before = matches!(self.child.try_wait(), Ok(Some(_)));
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let (out, err) = (self.stdout.text(), self.stderr.text());
            eprintln!(
                "--- farspan {} (ended by itself: {ended_before})\n{out}{err}---",
                self.name
            );
        }
    }
}

/// A pipe that a thread empties, so that the program never waits for us.
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl Output {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let reading = {
            let text = text.clone();
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                    lock(&text).extend_from_slice(&chunk[..count]);
                }
            })
        };
        Output {
            text,
            reading: Some(reading),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.text)).into_owned()
    }

    /// Everything, once the program has ended.
    fn all(&mut self) -> String {
        if let Some(reading) = &self.reading {
            let read = within(SOON, || reading.is_finished());
            read.expect("the pipe is closed when the program has ended");
        }
        self.text()
    }
}
