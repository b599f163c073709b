//! The built binary, with a clean environment and its output on record.

use super::http::lock;
use super::{SOON, eventually, within};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A call of farspan that was not made yet.
#[derive(Clone)]
pub struct Call {
    program: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    reads_stdout: bool,
    reads_stderr: bool,
    has_stdin: bool,
    /// A program with arguments that becomes farspan in the end.
    by: Vec<String>,
    directory: PathBuf,
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

    /// Asserts that these words are on its standard error.
    #[track_caller]
    pub fn assert_says(&self, words: &str) {
        assert!(self.stderr.contains(words), "{self:?}");
    }
}

/// How many lines of the log have these words and this monitor.
pub fn lines_about(log: &str, monitor: &str, words: &str) -> usize {
    let monitor = format!("monitor={monitor}");
    let is_about = |line: &&str| line.contains(words) && line.split(' ').any(|it| it == monitor);
    log.lines().filter(is_about).count()
}

/// `farspan ARGUMENTS` in an environment with nothing but PATH and HOME, and without an admin endpoint: two of them could
/// not have its address.
pub fn farspan(arguments: &[&str]) -> Call {
    program(env!("CARGO_BIN_EXE_farspan"), arguments)
}

/// Another program in the place of farspan.
pub fn program(path: &str, arguments: &[&str]) -> Call {
    Call {
        program: path.to_owned(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: [("FARSPAN_ADMIN_LISTEN".to_owned(), "none".to_owned())].into(),
        reads_stdout: true,
        reads_stderr: true,
        has_stdin: false,
        by: Vec::new(),
        directory: std::env::temp_dir(),
    }
}

impl Call {
    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.insert(key.to_owned(), value.to_string());
        self
    }

    /// Another command in the same environment.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self
    }

    /// Started by a program that sets something up and then becomes farspan, as `env` does.
    pub fn by(mut self, words: &[&str]) -> Self {
        self.by.extend(words.iter().map(ToString::to_string));
        self
    }

    /// The same, before every other such program.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.by.splice(0..0, words.iter().map(ToString::to_string));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.environment.remove(key);
        self
    }

    /// Its standard output is neither read nor closed.
    pub fn with_stdout_unread(mut self) -> Self {
        self.reads_stdout = false;
        self
    }

    /// Its standard error is not read before [`Farspan::read_stderr`].
    pub fn with_stderr_unread(mut self) -> Self {
        self.reads_stderr = false;
        self
    }

    /// Started in this directory; else in the one for temporary files.
    pub fn current_dir(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Its standard input is a pipe, open until [`Farspan::end_input`].
    pub fn with_stdin(mut self) -> Self {
        self.has_stdin = true;
        self
    }

    /// With its environment; its standard streams are the test's own until they are set.
    pub fn command(&self) -> Command {
        let mut words = self.by.clone();
        words.push(self.program.clone());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear();
        for key in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command.envs(&self.environment).current_dir(&self.directory);
        command
    }

    pub fn start(&self) -> Farspan {
        let mut command = self.command();
        let mut child = command
            .stdin(if self.has_stdin {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let pipe = child.stdout.take().expect("piped");
        let (stdout, unread) = if self.reads_stdout {
            (Output::read(pipe), None)
        } else {
            (Output::read(std::io::empty()), Some(pipe))
        };
        let stderr = if self.reads_stderr {
            Output::read(child.stderr.take().expect("piped"))
        } else {
            Output::read(std::io::empty())
        };
        let stdin = child.stdin.take();
        Farspan {
            name: self.arguments.join(" "),
            child,
            stdin,
            stdout,
            stderr,
            _unread: unread,
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
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
    _unread: Option<ChildStdout>,
}

impl Farspan {
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits until the log has these words; the failure shows the log.
    #[track_caller]
    pub fn await_log(&self, words: &str) {
        eventually(words, SOON, || {
            let log = self.stderr();
            if log.contains(words) {
                Ok(())
            } else {
                Err(log)
            }
        });
    }

    /// Waits until a line of the log has these words and this monitor.
    #[track_caller]
    pub fn await_log_about(&self, monitor: &str, words: &str) {
        eventually(words, SOON, || {
            let log = self.stderr();
            if lines_about(&log, monitor, words) > 0 {
                Ok(())
            } else {
                Err(log)
            }
        });
    }

    /// Begins to read the standard error of [`Call::with_stderr_unread`].
    pub fn read_stderr(&mut self) {
        self.stderr = Output::read(self.child.stderr.take().expect("unread"));
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Writes to its standard input; waits until it has read as much.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("`with_stdin`");
        stdin.write_all(bytes.as_ref()).expect("it reads");
        stdin.flush().expect("it reads");
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        drop(self.stdin.take());
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
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

    /// SIGKILL: nothing of it is left but what it has stored.
    #[track_caller]
    pub fn kill(self) -> Ended {
        self.signal("KILL");
        self.wait(SOON)
    }

    /// A field of `/proc/PID/status` in KiB, as `VmHWM`.
    #[track_caller]
    pub fn memory_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect(field)
    }

    /// CPU time in user mode and in the system, in hundredths of a second.
    #[track_caller]
    pub fn cpu_ticks(&self) -> (u64, u64) {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("it runs");
        let behind_name = &stat[stat.rfind(')').expect("a name")..];
        let mut fields = behind_name.split_whitespace().skip(12);
        let mut next = || {
            fields
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        };
        (next(), next())
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
