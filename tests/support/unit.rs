//! A unit of systemd as plain processes: this end does what systemd does with the lines of the unit file, as far as a
//! process can tell. The sandbox alone is not played: `tests/deploy/unit` has systemd judge it.

use super::files::Files;
use super::program::{Call, Ended, Farspan, program};
use super::systemd::ServiceManager;
use super::{Condition, SOON, eventually};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The keys that are played here.
const PLAYED: [&str; 14] = [
    "EnvironmentFile",
    "ExecReload",
    "ExecStart",
    "LimitCORE",
    "LoadCredential",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "StateDirectory",
    "StateDirectoryMode",
    "TimeoutStopSec",
    "Type",
    "UMask",
    "WatchdogSec",
];

/// Keys, or how they begin, of what only a kernel can play.
const SANDBOX: [&str; 11] = [
    "CapabilityBoundingSet",
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "Private",
    "Protect",
    "Restrict",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "RemoveIPC",
];

/// The lines of a unit's `[Service]`.
#[derive(Clone)]
pub struct Unit {
    lines: Vec<(String, String)>,
}

impl Unit {
    /// Reads `systemd/farspan.service`. A line that neither this file nor the kernel plays is a mistake of the test.
    #[track_caller]
    pub fn of_farspan() -> Unit {
        let text = fs::read_to_string(source("systemd/farspan.service")).expect("the unit");
        Unit::of(&text)
    }

    /// With the credentials that stand in it as comments.
    #[track_caller]
    pub fn with_credentials() -> Unit {
        let text = fs::read_to_string(source("systemd/farspan.service")).expect("the unit");
        let unit = Unit::of(&text.replace("#LoadCredential=", "LoadCredential="));
        assert!(unit.find("LoadCredential").is_some(), "{text}");
        unit
    }

    #[track_caller]
    fn of(text: &str) -> Unit {
        let (_, service) = text.split_once("\n[Service]\n").expect("[Service]");
        let (service, _) = service.split_once("\n[").expect("[Install]");
        let lines = service.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.split_once('='));
        let lines: Vec<(String, String)> = lines
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        for (key, value) in &lines {
            let known = PLAYED.contains(&key.as_str())
                || SANDBOX.iter().any(|begin| key.starts_with(begin));
            assert!(known, "nothing plays {key}={value}");
        }
        Unit { lines }
    }

    /// With another value for a key that it has, as a drop-in gives it.
    #[track_caller]
    pub fn with(mut self, key: &str, value: &str) -> Unit {
        let mut lines = self.lines.iter_mut();
        let line = lines.find(|(name, _)| name == key);
        value.clone_into(&mut line.unwrap_or_else(|| panic!("no {key}")).1);
        self
    }

    fn all(&self, key: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|(name, _)| name == key);
        lines.map(|(_, value)| value.as_str()).collect()
    }

    fn find(&self, key: &str) -> Option<&str> {
        self.all(key).first().copied()
    }

    #[track_caller]
    pub fn value(&self, key: &str) -> &str {
        self.find(key).unwrap_or_else(|| panic!("no {key}"))
    }

    #[track_caller]
    pub fn time(&self, key: &str) -> Duration {
        let text = self.value(key);
        let seconds = text
            .strip_suffix('s')
            .and_then(|number| number.parse().ok());
        Duration::from_secs(seconds.unwrap_or_else(|| panic!("{key}={text}: not in seconds")))
    }
}

/// What happened to the service, in systemd's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Started,
    Ready,
    /// The watchdog was not fed in time, and the process got SIGABRT.
    Stalled,
    Exited(i32),
    Killed(i32),
}

/// The unit, running.
pub struct Service {
    unit: Unit,
    /// Stands for `/`.
    root: Files,
    manager: ServiceManager,
    main: Option<Farspan>,
    read: usize,
    fed_at: Option<Instant>,
    restart_at: Option<Instant>,
    stops: bool,
    pub happened: Vec<Happened>,
    /// What all processes before this one wrote.
    log: String,
}

impl Service {
    /// With these variables set in the environment file that ships, and these credentials.
    #[track_caller]
    pub fn new(unit: Unit, variables: &[(&str, &str)], credentials: &[(&str, &str)]) -> Service {
        let root = Files::new();
        let service = Service {
            unit,
            root,
            manager: ServiceManager::listen(),
            main: None,
            read: 0,
            fed_at: None,
            restart_at: None,
            stops: false,
            happened: Vec::new(),
            log: String::new(),
        };
        service.set(variables);
        for load in service.unit.all("LoadCredential") {
            let (name, source) = load.split_once(':').expect("NAME:PATH");
            let content = credentials.iter().find(|(known, _)| known == &name);
            let (_, content) = content.unwrap_or_else(|| panic!("{source} has no content"));
            service.put(&format!("/run/credentials/farspan.service/{name}"), content);
        }
        service
    }

    /// Writes the environment file: the one that ships, with these variables set.
    #[track_caller]
    pub fn set(&self, variables: &[(&str, &str)]) {
        let mut text = fs::read_to_string(source("systemd/farspan.env")).expect("it ships");
        for (name, value) in variables {
            let line = format!("\n#{name}=");
            let (before, after) = text.split_once(&line).expect(name);
            let (_, after) = after.split_once('\n').expect("a line");
            text = format!("{before}\n{name}={value}\n{after}");
        }
        let path = self.unit.value("EnvironmentFile").trim_start_matches('-');
        self.put(path, &text);
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.place(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
        fs::write(path, text).expect("ours");
    }

    /// Where this path of the unit is.
    pub fn place(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub fn state(&self) -> PathBuf {
        self.place(&format!("/var/lib/{}", self.unit.value("StateDirectory")))
    }

    /// `systemctl start`: waits for `READY=1`, as `Type=notify` does.
    #[track_caller]
    pub fn start(&mut self) {
        assert_eq!(self.unit.value("Type"), "notify");
        self.begin();
        self.until("ready", |it| it.happened.last() == Some(&Happened::Ready));
    }

    /// `systemctl reload`.
    #[track_caller]
    pub fn reload(&mut self) {
        let call = Command::new("sh")
            .args(["-c", self.unit.value("ExecReload")])
            .env("MAINPID", self.main().id().to_string())
            .status();
        assert!(call.expect("sh").success());
        let before = self.count(&Happened::Ready);
        self.until("reloaded", |it| it.count(&Happened::Ready) > before);
    }

    /// `systemctl stop`.
    #[track_caller]
    pub fn stop(&mut self) {
        self.stops = true;
        self.main().signal("TERM");
        let timeout = self.unit.time("TimeoutStopSec");
        eventually("stopped", timeout, || {
            self.turn();
            self.main.is_none()
        });
    }

    #[track_caller]
    pub fn main(&self) -> &Farspan {
        self.main.as_ref().expect("it runs")
    }

    pub fn is_running(&self) -> bool {
        self.main.is_some()
    }

    /// Whether systemd will start it again.
    pub fn will_restart(&self) -> bool {
        self.restart_at.is_some()
    }

    pub fn count(&self, happened: &Happened) -> usize {
        self.happened.iter().filter(|it| *it == happened).count()
    }

    /// What all of its processes wrote.
    pub fn log(&self) -> String {
        let running = self.main.as_ref().map(Farspan::stderr);
        self.log.clone() + &running.unwrap_or_default()
    }

    /// Waits for a condition, and is the service manager in the meantime.
    #[track_caller]
    pub fn until<C: Condition>(&mut self, what: &str, mut condition: impl FnMut(&Self) -> C) {
        eventually(what, SOON, || {
            self.turn();
            condition(self)
                .met()
                .map(drop)
                .map_err(|state| format!("{state}; {:?}\n{}", self.happened, self.log()))
        });
    }

    /// Starts the process, and waits for nothing.
    pub fn begin(&mut self) {
        let state = self.state();
        fs::create_dir_all(&state).expect("ours");
        let mode = u32::from_str_radix(self.unit.value("StateDirectoryMode"), 8).expect("octal");
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).expect("ours");
        self.main = Some(self.call().start());
        (self.restart_at, self.fed_at) = (None, None);
        self.happened.push(Happened::Started);
    }

    /// What systemd starts: a clean environment, then that of the file.
    fn call(&self) -> Call {
        let mut words = self.unit.value("ExecStart").split(' ');
        let path = Path::new(words.next().expect("a program"));
        assert!(path.is_absolute() && path.ends_with("farspan"), "{path:?}");
        let arguments: Vec<&str> = words.collect();
        let (umask, core) = (self.unit.value("UMask"), self.unit.value("LimitCORE"));
        let become_it =
            format!("umask {umask} && ulimit -c {core} && export WATCHDOG_PID=$$ && exec \"$@\"");
        let call = program(env!("CARGO_BIN_EXE_farspan"), &arguments)
            .without("FARSPAN_ADMIN_LISTEN")
            .by(&["sh", "-c", &become_it, "sh"])
            .current_dir(Path::new("/"))
            .env("LANG", "C.UTF-8")
            .env("STATE_DIRECTORY", self.state().display());
        let mut call = self.manager.supervise(&call, self.unit.time("WatchdogSec"));
        if self.unit.find("LoadCredential").is_some() {
            let directory = self.place("/run/credentials/farspan.service");
            call = call.env("CREDENTIALS_DIRECTORY", directory.display());
        }
        let path = self.unit.value("EnvironmentFile").trim_start_matches('-');
        let file = fs::read_to_string(self.place(path)).unwrap_or_default();
        let lines = file.lines().filter(|line| !line.starts_with('#'));
        let variables = lines.filter_map(|line| line.split_once('='));
        variables.fold(call, |call, (name, value)| call.env(name, value))
    }

    fn turn(&mut self) {
        let heard = self.manager.heard();
        for text in &heard[self.read..] {
            match text.as_str() {
                "READY=1" => self.happened.push(Happened::Ready),
                "WATCHDOG=1" => {}
                _ => continue,
            }
            self.fed_at = Some(Instant::now());
        }
        self.read = heard.len();
        if self.main.as_mut().is_some_and(|main| !main.is_running()) {
            let ended = self.main.take().expect("seen").wait(SOON);
            self.ended(&ended);
        }
        let limit = self.unit.time("WatchdogSec");
        if let (Some(main), Some(fed_at)) = (&self.main, self.fed_at)
            && fed_at.elapsed() > limit
        {
            self.happened.push(Happened::Stalled);
            self.fed_at = None;
            // A stopped process does not die of SIGABRT alone: systemd sends SIGCONT with each signal.
            main.signal("ABRT");
            main.signal("CONT");
        }
        if self.restart_at.is_some_and(|at| Instant::now() >= at) {
            self.begin();
        }
    }

    fn ended(&mut self, ended: &Ended) {
        self.log += &ended.stderr;
        let code = ended.code();
        let signal = ended.status.signal().unwrap_or_default();
        self.happened.push(match code {
            Some(code) => Happened::Exited(code),
            None => Happened::Killed(signal),
        });
        assert_eq!(self.unit.value("Restart"), "on-failure");
        let mut prevented = self.unit.value("RestartPreventExitStatus").split(' ');
        let is_prevented = prevented.any(|it| it.parse().ok() == code && code.is_some());
        // SIGHUP, SIGINT, SIGPIPE and SIGTERM are clean ends.
        let is_clean = code == Some(0) || (code.is_none() && [1, 2, 13, 15].contains(&signal));
        if !self.stops && !is_clean && !is_prevented {
            self.restart_at = Some(Instant::now() + self.unit.time("RestartSec"));
        }
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
