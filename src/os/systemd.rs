//! Reports the state of farspan to the service manager and feeds its watchdog.
//!
//! The protocol of `man 3 sd_notify`: datagrams of `NAME=value` lines to the socket that `$NOTIFY_SOCKET` names. This
//! file has no thread and no clock: only the loop calls [`turn`](Supervisor::turn), so a loop that is stuck does not
//! feed the watchdog.
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
    manager: Option<ManagerSocket>,
}

/// What the service manager acts upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Started, or done with a reload: `READY=1`.
    Ready,
    /// `RELOADING=1`, until [`Ready`](Self::Ready) is sent.
    Reloading,
    /// `STOPPING=1`.
    Stopping,
}

/// What people read in `systemctl status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// What the loop is doing.
    pub activity: Activity,
    /// Workflows under watch.
    pub watched: usize,
    /// Workflows that have ended.
    pub ended: u64,
    /// Spans that the collector has not acknowledged.
    pub waiting: usize,
    /// Finished events that their receivers have not accepted.
    pub untold: usize,
    /// Sources of start events that hear nothing.
    pub deaf: usize,
    /// Mistakes for which the last reload was refused.
    pub mistakes: usize,
    /// How much room the state has, where there is one.
    pub state: Option<StateRoom>,
}

/// How much room the state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateRoom {
    /// How many hundredths are taken.
    Taken(u8),
    /// New workflows wait.
    Full,
}

impl StateRoom {
    /// The room of a state that is not full.
    pub fn of(bytes: u64, bytes_max: u64) -> Self {
        let hundredths = u128::from(bytes) * 100 / u128::from(bytes_max.max(1));
        StateRoom::Taken(u8::try_from(hundredths.min(100)).unwrap_or(100))
    }
}

/// What the loop is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It watches workflows.
    Watching,
    /// It stops, and waits for the polls under way.
    EndingPolls {
        /// Polls under way.
        left: usize,
        /// The longest time that it waits.
        within: Duration,
    },
    /// It stops, and sends finished spans and finished events.
    Delivering {
        /// The longest time that it waits.
        within: Duration,
    },
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServiceStatus {
            watched,
            ended,
            waiting,
            untold,
            deaf,
            mistakes,
            state,
            ..
        } = self;
        match self.activity {
            Activity::Watching => write!(
                f,
                "watching {watched} workflows, {ended} have ended, {waiting} spans wait for the collector"
            )?,
            Activity::EndingPolls { left, within } => write!(
                f,
                "stopping: {left} polls under way, for {within:?} at most; then {waiting} spans to deliver"
            )?,
            Activity::Delivering { within } => write!(
                f,
                "stopping: {waiting} spans to deliver, for {within:?} at most"
            )?,
        }
        if *untold > 0 {
            write!(f, "; {untold} finished events wait for their receivers")?;
        }
        if *deaf > 0 {
            write!(f, "; {deaf} sources hear no start events, see the log")?;
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

/// The least time between two reports of numbers that change.
const STATUS_EVERY: Duration = Duration::from_secs(3);
/// The pause before a report that could not be sent is sent again.
const RETRY: Duration = Duration::from_secs(1);
/// The most states that wait until the service manager takes them.
const UNSENT_MAX: usize = 8;

#[derive(Debug)]
struct ManagerSocket {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Half of the time after which the watchdog acts.
    feed_every: Option<Duration>,
    feed_at: Mono,
    unsent: VecDeque<ServiceState>,
    status_sent: Option<ServiceStatus>,
    status_at: Mono,
    /// After a failure nothing is sent before this time.
    retry_at: Option<Mono>,
}

impl Supervisor {
    /// Reads `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID`.
    ///
    /// # Errors
    /// A text that says what is wrong with the socket's address, or why the system gives no socket.
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
            manager: Some(ManagerSocket {
                socket,
                address: address.map_err(why)?,
                feed_every: feed_every(env, std::process::id()),
                feed_at: Mono::default(),
                unsent: VecDeque::new(),
                status_sent: None,
                status_at: Mono::default(),
                retry_at: None,
            }),
        })
    }

    /// Sends a state at the next turn.
    pub fn say(&mut self, state: ServiceState) {
        if let Some(manager) = &mut self.manager {
            if manager.unsent.len() == UNSENT_MAX {
                manager.unsent.pop_front();
            }
            manager.unsent.push_back(state);
        }
    }

    /// Sends what is due, and feeds the watchdog when that is due. Returns how long the loop may wait before it calls
    /// this again; [`Duration::MAX`] if nothing will be due.
    pub fn turn(&mut self, now: Mono, status: ServiceStatus) -> Duration {
        let Some(manager) = &mut self.manager else {
            return Duration::MAX;
        };
        match manager.retry_at {
            Some(at) if now < at => {}
            troubled => match manager.report(now, status) {
                Ok(()) => {
                    manager.retry_at = None;
                    if troubled.is_some() {
                        log::info!("the service manager listens again");
                    }
                }
                Err(error) => {
                    manager.retry_at = Some(now + RETRY);
                    if troubled.is_none() {
                        log::warn!("cannot report to the service manager: {error}; trying again");
                    }
                }
            },
        }
        manager
            .wanted_at(status)
            .map_or(Duration::MAX, |at| at.since(now))
    }
}

impl ManagerSocket {
    fn report(&mut self, now: Mono, status: ServiceStatus) -> io::Result<()> {
        while let Some(state) = self.unsent.front() {
            self.send(match state {
                ServiceState::Ready => "READY=1",
                ServiceState::Reloading => "RELOADING=1",
                ServiceState::Stopping => "STOPPING=1",
            })?;
            self.unsent.pop_front();
        }
        if let Some(every) = self.feed_every
            && now >= self.feed_at
        {
            self.send("WATCHDOG=1")?;
            self.feed_at = now + every;
        }
        if self.status_due(status).is_some_and(|at| now >= at) {
            self.send(&format!("STATUS={status}"))?;
            self.status_sent = Some(status);
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

    /// When the status is due; `None` if it has not changed. Numbers that change wait for [`STATUS_EVERY`].
    fn status_due(&self, status: ServiceStatus) -> Option<Mono> {
        let urgent = |status: ServiceStatus| {
            let is_full = status.state == Some(StateRoom::Full);
            let activity = std::mem::discriminant(&status.activity);
            (activity, is_full, status.mistakes, status.deaf)
        };
        match self.status_sent {
            Some(sent) if sent == status => None,
            Some(sent) if urgent(sent) == urgent(status) => Some(self.status_at + STATUS_EVERY),
            _ => Some(Mono::default()),
        }
    }

    fn wanted_at(&self, status: ServiceStatus) -> Option<Mono> {
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

    fn status(watched: usize) -> ServiceStatus {
        ServiceStatus {
            activity: Activity::Watching,
            watched,
            ended: 0,
            waiting: 0,
            untold: 0,
            deaf: 0,
            mistakes: 0,
            state: None,
        }
    }

    fn at(seconds: f64) -> Mono {
        Mono::from_duration(Duration::from_secs_f64(seconds))
    }

    /// What each turn sends, and how long the loop may wait then.
    struct Turns {
        manager: Manager,
        supervisor: Supervisor,
        text: String,
    }

    impl Turns {
        /// The first turn of a service that is ready.
        fn begin() -> Turns {
            let manager = Manager::listen();
            let mut turns = Turns {
                supervisor: manager.supervisor("20000000"),
                manager,
                text: String::new(),
            };
            turns.turn(1.0, Some(ServiceState::Ready), status(0));
            turns
        }

        fn turn(&mut self, seconds: f64, state: Option<ServiceState>, status: ServiceStatus) {
            if let Some(state) = state {
                self.supervisor.say(state);
            }
            let rest = self.supervisor.turn(at(seconds), status);
            let heard = self.manager.heard();
            self.text += &format!("at {seconds}, rests {rest:?}\n{heard}");
        }
    }

    #[test]
    fn numbers_that_change_are_reported_now_and_then() {
        let mut turns = Turns::begin();
        turns.turn(1.5, None, status(0));
        turns.turn(2.0, None, status(1));
        turns.turn(3.0, None, status(2));
        turns.turn(4.0, None, status(3));
        turns.turn(11.0, None, status(3));
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
        "#]]
        .assert_eq(&turns.text);
    }

    #[test]
    fn a_state_that_is_full_or_no_longer_full_is_reported_at_once() {
        let mut turns = Turns::begin();
        let filled = |state| ServiceStatus {
            state: Some(state),
            ..status(0)
        };
        turns.turn(5.0, None, filled(StateRoom::of(29, 100)));
        turns.turn(5.2, None, filled(StateRoom::Full));
        turns.turn(5.4, None, filled(StateRoom::of(89, 100)));
        expect![[r#"
            at 1, rests 10s
            READY=1
            WATCHDOG=1
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector
            at 5, rests 6s
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector; the state takes 29%
            at 5.2, rests 5.8s
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector; the state is full, new workflows wait
            at 5.4, rests 5.6s
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector; the state takes 89%
        "#]].assert_eq(&turns.text);
    }

    #[test]
    fn a_reload_that_is_refused_is_reported_at_once() {
        let mut turns = Turns::begin();
        turns.turn(2.0, Some(ServiceState::Reloading), status(0));
        let refused = ServiceStatus {
            mistakes: 2,
            ..status(0)
        };
        turns.turn(2.1, Some(ServiceState::Ready), refused);
        expect![[r#"
            at 1, rests 10s
            READY=1
            WATCHDOG=1
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector
            at 2, rests 9s
            RELOADING=1
            at 2.1, rests 8.9s
            READY=1
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector; the last reload was refused for 2 mistakes, see the log
        "#]].assert_eq(&turns.text);
    }

    #[test]
    fn each_part_of_a_stop_is_reported_at_once() {
        let mut turns = Turns::begin();
        let within = Duration::from_secs(10);
        let ending = |left| ServiceStatus {
            activity: Activity::EndingPolls { left, within },
            ..status(3)
        };
        turns.turn(2.0, Some(ServiceState::Stopping), ending(2));
        turns.turn(2.5, None, ending(1));
        let delivering = ServiceStatus {
            activity: Activity::Delivering { within },
            waiting: 7,
            untold: 2,
            ..status(3)
        };
        turns.turn(3.0, None, delivering);
        expect![[r#"
            at 1, rests 10s
            READY=1
            WATCHDOG=1
            STATUS=watching 0 workflows, 0 have ended, 0 spans wait for the collector
            at 2, rests 9s
            STOPPING=1
            STATUS=stopping: 2 polls under way, for 10s at most; then 0 spans to deliver
            at 2.5, rests 2.5s
            at 3, rests 8s
            STATUS=stopping: 7 spans to deliver, for 10s at most; 2 finished events wait for their receivers
        "#]].assert_eq(&turns.text);
    }

    #[test]
    fn what_is_not_taken_is_sent_when_the_manager_takes_it() {
        let mut manager = Manager::listen();
        let mut supervisor = manager.supervisor("");
        let name = manager.name.clone();
        drop(manager);
        supervisor.say(ServiceState::Ready);
        assert_eq!(supervisor.turn(at(1.0), status(0)), RETRY);
        assert_eq!(supervisor.turn(at(1.5), status(0)), RETRY / 2);
        manager = Manager {
            socket: Manager::bind(&name),
            name,
        };
        supervisor.say(ServiceState::Stopping);
        assert_eq!(supervisor.turn(at(1.6), status(0)), RETRY * 2 / 5);
        assert_eq!(manager.heard(), "");
        assert_eq!(supervisor.turn(at(2.0), status(0)), Duration::MAX);
        let heard = manager.heard();
        assert!(heard.starts_with("READY=1\nSTOPPING=1\nSTATUS="), "{heard}");
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        let mut supervisor = Supervisor::of(&Environment::default()).unwrap();
        supervisor.say(ServiceState::Ready);
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
