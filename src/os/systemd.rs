//! The service manager, told how farspan is, and its watchdog, fed.
//!
//! The protocol of `man 3 sd_notify`: datagrams of `NAME=value` lines to the socket that `$NOTIFY_SOCKET` names. Nothing
//! here has a thread or a clock: the loop calls [`turn`](Supervisor::turn) whenever it turns, and only then, so a loop
//! that is stuck feeds nothing.
//!
//! `MONOTONIC_USEC`, which belongs to `RELOADING=1` under `Type=notify-reload`, is not sent: that type needs systemd 253,
//! Debian 12 and RHEL 9 have 252, and the standard library does not tell `CLOCK_MONOTONIC`. Hence `Type=notify`.

use crate::core::time::Mono;
use crate::os::environment::Environment;
use std::collections::VecDeque;
use std::fmt;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that started farspan. Without one, reports are dropped at no cost.
#[derive(Debug, Default)]
pub struct Supervisor {
    line: Option<Line>,
}

/// What the service manager acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Started, or done with a reload: `READY=1`.
    Ready,
    /// `RELOADING=1`, until [`Ready`](Self::Ready) is told.
    Reloading,
    /// `STOPPING=1`.
    Stopping,
}

/// What people read in `systemctl status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What the loop is at.
    pub stage: Stage,
    /// Workflows under watch.
    pub watched: usize,
    /// Workflows that have ended.
    pub ended: u64,
    /// Spans that the collector has not acknowledged.
    pub waiting: usize,
    /// Finished events that their receivers have not taken.
    pub untold: usize,
    /// Mistakes for which the last reload was refused.
    pub mistakes: usize,
    /// How much room the state has, where there is one.
    pub state: Option<StateRoom>,
}

/// How much room the state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateRoom {
    /// So many hundredths are taken.
    Taken(u8),
    /// New workflows wait for some.
    Full,
}

impl StateRoom {
    /// Of a state that is not full.
    pub fn of(bytes: u64, bytes_max: u64) -> Self {
        let hundredths = u128::from(bytes) * 100 / u128::from(bytes_max.max(1));
        StateRoom::Taken(u8::try_from(hundredths.min(100)).unwrap_or(100))
    }
}

/// What the loop is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It watches.
    Watching,
    /// It stops, and lets the polls under way end.
    EndingPolls {
        /// How many.
        left: usize,
        /// How long it does so at most.
        within: Duration,
    },
    /// It stops, and sends what is finished.
    Delivering {
        /// How long it does so at most.
        within: Duration,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            watched,
            ended,
            waiting,
            untold,
            mistakes,
            state,
            ..
        } = self;
        match self.stage {
            Stage::Watching => write!(
                f,
                "watching {watched} workflows, {ended} have ended, {waiting} spans wait for the collector"
            )?,
            Stage::EndingPolls { left, within } => write!(
                f,
                "stopping: {left} polls under way, for {within:?} at most; then {waiting} spans to deliver"
            )?,
            Stage::Delivering { within } => write!(
                f,
                "stopping: {waiting} spans to deliver, for {within:?} at most"
            )?,
        }
        if *untold > 0 {
            write!(f, "; {untold} finished events wait to be told")?;
        }
        match state {
            None => {}
            Some(StateRoom::Taken(hundredths)) => write!(f, "; the state takes {hundredths}%")?,
            Some(StateRoom::Full) => write!(f, "; the state is full, new workflows wait")?,
        }
        match mistakes {
            0 => Ok(()),
            1 => write!(
                f,
                "; the last reload was refused for a mistake, see the log"
            ),
            _ => write!(
                f,
                "; the last reload was refused for {mistakes} mistakes, see the log"
            ),
        }
    }
}

/// A status that has changed waits for the next change so long.
const STATUS_EVERY: Duration = Duration::from_secs(3);
/// What could not be sent is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// States that wait until the service manager takes them.
const UNSAID_MAX: usize = 8;

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Half of what the watchdog waits.
    feed_every: Option<Duration>,
    feed_at: Mono,
    unsaid: VecDeque<State>,
    status_said: Option<Status>,
    status_at: Mono,
    /// Nothing is sent before, once sending has failed.
    retry_at: Option<Mono>,
}

impl Supervisor {
    /// The one that `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID` speak of.
    ///
    /// # Errors
    /// A text that says what is wrong with the socket's address, or that there is no socket to be had.
    pub fn of(env: &Environment) -> Result<Self, String> {
        let Some(name) = env.text("NOTIFY_SOCKET") else {
            return Ok(Supervisor::default());
        };
        let why = |error: io::Error| format!("$NOTIFY_SOCKET '{name}': {error}");
        let address = match name.as_bytes() {
            #[cfg(target_os = "linux")]
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => {
                return Err(format!(
                    "$NOTIFY_SOCKET '{name}' is neither /path nor @name"
                ));
            }
        };
        let socket = UnixDatagram::unbound().map_err(why)?;
        // A service manager that is slow to read must not hold up the loop.
        socket.set_nonblocking(true).map_err(why)?;
        Ok(Supervisor {
            line: Some(Line {
                socket,
                address: address.map_err(why)?,
                feed_every: feed_every(env, std::process::id()),
                feed_at: Mono::default(),
                unsaid: VecDeque::new(),
                status_said: None,
                status_at: Mono::default(),
                retry_at: None,
            }),
        })
    }

    /// Has a state told at the next turn.
    pub fn say(&mut self, state: State) {
        if let Some(line) = &mut self.line {
            if line.unsaid.len() == UNSAID_MAX {
                line.unsaid.pop_front();
            }
            line.unsaid.push_back(state);
        }
    }

    /// The loop turns: tells what is to be told and feeds the watchdog when it is time. Returns how long the loop may
    /// rest before it comes again; [`Duration::MAX`] where no service manager waits for it.
    pub fn turn(&mut self, now: Mono, status: Status) -> Duration {
        let Some(line) = &mut self.line else {
            return Duration::MAX;
        };
        match line.retry_at {
            Some(at) if now < at => {}
            troubled => match line.tell(now, status) {
                Ok(()) => {
                    line.retry_at = None;
                    if troubled.is_some() {
                        log::info!("the service manager listens again");
                    }
                }
                Err(error) => {
                    line.retry_at = Some(now + RETRY);
                    if troubled.is_none() {
                        log::warn!("cannot tell the service manager: {error}; trying again");
                    }
                }
            },
        }
        line.wanted_at(status)
            .map_or(Duration::MAX, |at| at.since(now))
    }
}

impl Line {
    fn tell(&mut self, now: Mono, status: Status) -> io::Result<()> {
        while let Some(state) = self.unsaid.front() {
            self.send(match state {
                State::Ready => "READY=1",
                State::Reloading => "RELOADING=1",
                State::Stopping => "STOPPING=1",
            })?;
            self.unsaid.pop_front();
        }
        if let Some(every) = self.feed_every
            && now >= self.feed_at
        {
            self.send("WATCHDOG=1")?;
            self.feed_at = now + every;
        }
        if self.status_due(status).is_some_and(|at| now >= at) {
            self.send(&format!("STATUS={status}"))?;
            self.status_said = Some(status);
            self.status_at = now;
        }
        Ok(())
    }

    fn send(&self, text: &str) -> io::Result<()> {
        // Not connected: a service manager that was restarted has another socket at the same address.
        self.socket
            .send_to_addr(text.as_bytes(), &self.address)
            .map(drop)
    }

    /// When the status is to be told, if it has changed: at once where the stage or the configuration did, or the state
    /// is full or no more.
    fn status_due(&self, status: Status) -> Option<Mono> {
        match self.status_said {
            Some(said) if said == status => None,
            Some(said) => {
                let same_kind =
                    std::mem::discriminant(&said.stage) == std::mem::discriminant(&status.stage);
                let is_full = |status: Status| status.state == Some(StateRoom::Full);
                let same_kind = same_kind && is_full(said) == is_full(status);
                match same_kind && said.mistakes == status.mistakes {
                    true => Some(self.status_at + STATUS_EVERY),
                    false => Some(Mono::default()),
                }
            }
            None => Some(Mono::default()),
        }
    }

    fn wanted_at(&self, status: Status) -> Option<Mono> {
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        let feed_at = self.feed_every.map(|_| self.feed_at);
        [feed_at, self.status_due(status)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Half of `$WATCHDOG_USEC`, as `man 3 sd_watchdog_enabled` advises, unless `$WATCHDOG_PID` is another process.
fn feed_every(env: &Environment, own_id: u32) -> Option<Duration> {
    const LEAST: Duration = Duration::from_millis(10);
    if env
        .text("WATCHDOG_PID")
        .is_some_and(|id| id.parse() != Ok(own_id))
    {
        return None;
    }
    let usec: u64 = env.text("WATCHDOG_USEC")?.parse().ok()?;
    (usec > 0).then(|| (Duration::from_micros(usec) / 2).max(LEAST))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Manager {
        socket: UnixDatagram,
        name: String,
    }

    impl Manager {
        fn listen() -> Manager {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("farspan-test-{}-{number}", std::process::id());
            let socket = Manager::bind(&name);
            Manager { socket, name }
        }

        fn bind(name: &str) -> UnixDatagram {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        }

        fn supervisor(&self, watchdog_usec: &str) -> Supervisor {
            let env = Environment::from_pairs([
                ("NOTIFY_SOCKET", format!("@{}", self.name).as_str()),
                ("WATCHDOG_USEC", watchdog_usec),
            ]);
            Supervisor::of(&env).unwrap()
        }

        fn heard(&self) -> String {
            let mut heard = String::new();
            let mut bytes = [0; 512];
            while let Ok(count) = self.socket.recv(&mut bytes) {
                heard += std::str::from_utf8(&bytes[..count]).unwrap();
                heard.push('\n');
            }
            heard
        }
    }

    fn status(watched: usize) -> Status {
        Status {
            stage: Stage::Watching,
            watched,
            ended: 0,
            waiting: 0,
            untold: 0,
            mistakes: 0,
            state: None,
        }
    }

    fn at(seconds: f64) -> Mono {
        Mono::from_duration(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn a_life() {
        let manager = Manager::listen();
        let mut supervisor = manager.supervisor("20000000");
        let mut text = String::new();
        let mut turn = |seconds: f64, state: Option<State>, status: Status| {
            if let Some(state) = state {
                supervisor.say(state);
            }
            let rest = supervisor.turn(at(seconds), status);
            text += &format!("at {seconds}, rests {rest:?}\n{}", manager.heard());
        };
        let within = Duration::from_secs(10);
        turn(1.0, Some(State::Ready), status(0));
        turn(1.5, None, status(0));
        turn(2.0, None, status(1));
        turn(3.0, None, status(2));
        turn(4.0, None, status(3));
        turn(11.0, None, status(3));
        let filled = |state| Status {
            state: Some(state),
            ..status(3)
        };
        turn(11.2, None, filled(StateRoom::of(29, 100)));
        turn(11.4, None, filled(StateRoom::Full));
        turn(11.6, None, filled(StateRoom::of(89, 100)));
        turn(12.0, Some(State::Reloading), status(3));
        let refused = Status {
            mistakes: 2,
            ..status(3)
        };
        turn(12.1, Some(State::Ready), refused);
        let stage = Stage::EndingPolls { left: 2, within };
        let ending = Status { stage, ..refused };
        turn(13.0, Some(State::Stopping), ending);
        let left = Stage::EndingPolls { left: 1, within };
        turn(
            13.5,
            None,
            Status {
                stage: left,
                ..ending
            },
        );
        let delivering = Status {
            stage: Stage::Delivering { within },
            waiting: 7,
            untold: 2,
            mistakes: 0,
            ..ending
        };
        turn(14.0, None, delivering);
        expect![[r#"
            at 1, rests 10s
            READY=1
            WATCHDOG=1
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector
            at 1.5, rests 9.5s
            at 2, rests 2s
            at 3, rests 1s
            at 4, rests 7s
            STATUS=watching 3 workflows, 0 have ended, 0 spans wait for the collector
            at 11, rests 10s
            WATCHDOG=1
            at 11.2, rests 9.8s
            STATUS=watching 3 workflows, 0 have ended, 0 spans wait for the collector; the state takes 29%
            at 11.4, rests 9.6s
            STATUS=watching 3 workflows, 0 have ended, 0 spans wait for the collector; the state is full, new workflows wait
            at 11.6, rests 9.4s
            STATUS=watching 3 workflows, 0 have ended, 0 spans wait for the collector; the state takes 89%
            at 12, rests 2.6s
            RELOADING=1
            at 12.1, rests 8.9s
            READY=1
            STATUS=watching 3 workflows, 0 have ended, 0 spans wait for the collector; the last reload was refused for 2 mistakes, see the log
            at 13, rests 8s
            STOPPING=1
            STATUS=stopping: 2 polls under way, for 10s at most; then 0 spans to deliver; the last reload was refused for 2 mistakes, see the log
            at 13.5, rests 2.5s
            at 14, rests 7s
            STATUS=stopping: 7 spans to deliver, for 10s at most; 2 finished events wait to be told
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn what_is_not_taken_is_sent_when_the_manager_takes_it() {
        let mut manager = Manager::listen();
        let mut supervisor = manager.supervisor("");
        let name = manager.name.clone();
        drop(manager);
        supervisor.say(State::Ready);
        assert_eq!(supervisor.turn(at(1.0), status(0)), RETRY);
        assert_eq!(supervisor.turn(at(1.5), status(0)), RETRY / 2);
        manager = Manager {
            socket: Manager::bind(&name),
            name,
        };
        supervisor.say(State::Stopping);
        assert_eq!(supervisor.turn(at(1.6), status(0)), RETRY * 2 / 5);
        assert_eq!(manager.heard(), "");
        assert_eq!(supervisor.turn(at(2.0), status(0)), Duration::MAX);
        let heard = manager.heard();
        assert!(heard.starts_with("READY=1\nSTOPPING=1\nSTATUS="), "{heard}");
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        let mut supervisor = Supervisor::of(&Environment::default()).unwrap();
        supervisor.say(State::Ready);
        assert_eq!(supervisor.turn(at(1.0), status(0)), Duration::MAX);
    }

    #[test]
    fn addresses_that_are_none() {
        let of = |name: &str| Supervisor::of(&Environment::from_pairs([("NOTIFY_SOCKET", name)]));
        for wrong in ["run/notify", "vsock:2:1234"] {
            let error = of(wrong).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(of(&format!("/{}", "x".repeat(200))).is_err(), "too long");
        assert!(of("/run/farspan-test-that-is-not-there").is_ok());
    }

    #[test]
    fn whose_watchdog() {
        let every = |pairs: &[(&str, &str)]| {
            feed_every(&Environment::from_pairs(pairs.iter().copied()), 42)
        };
        let half = Some(Duration::from_secs(15));
        assert_eq!(every(&[("WATCHDOG_USEC", "30000000")]), half);
        let ours = [("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "42")];
        assert_eq!(every(&ours), half);
        let others = [("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "41")];
        assert_eq!(every(&others), None);
        assert_eq!(every(&[("WATCHDOG_PID", "42")]), None);
        for usec in ["", "0", "-1", "often"] {
            assert_eq!(every(&[("WATCHDOG_USEC", usec)]), None, "{usec}");
        }
        assert_eq!(
            every(&[("WATCHDOG_USEC", "1")]),
            Some(Duration::from_millis(10))
        );
    }
}
