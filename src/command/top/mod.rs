//! `farspan top`: live and recent workflows of a running farspan, from its admin endpoint.
//!
//! On a terminal it has the whole screen: a table, and the open workflow as a waterfall that grows. Without a terminal it
//! prints lines. It only asks; nothing that it does changes anything in farspan.

mod client;
mod keys;
mod lines;
mod screen;
mod state;
mod view;
mod words;

use crate::cli::TopOptions;
use crate::config::AdminTarget;
use crate::http::client::Network;
use crate::os::clock;
use crate::os::environment::Environment;
use crate::os::signals::{self, TerminalSignal};
use crate::os::{threads, tty};
use crate::terminal::console;
use crate::terminal::line::Style;
use client::{AdminClient, Heard};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use keys::Keys;
use screen::Screen;
use state::{Top, Wish};
use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Read as _};
use std::process::ExitCode;
use std::time::Duration;
use view::Size;
use words::Summary;

/// News that may wait for the screen.
const NEWS_QUEUE: usize = 16;
/// Runs that may wait to be asked for; all but the latest one are skipped.
const WANTED_QUEUE: usize = 64;
/// The screen shows ages and durations in seconds.
const TICK: Duration = Duration::from_secs(1);
/// The bytes of one key come together.
const ESCAPE: Duration = Duration::from_millis(50);

/// Shows the workflows until the user quits or a signal comes.
///
/// # Errors
/// The admin endpoint does not answer at the start, or the terminal cannot be used; with what could help.
pub fn run(
    options: &TopOptions,
    target: AdminTarget,
    env: &Environment,
) -> Result<ExitCode, String> {
    let network = Network::start(target.proxies)?;
    let token = target.token.as_ref().map(|token| token.expose());
    let client = AdminClient::new(&target.url, token, &network)?;
    let listing = client.list()?;
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let style = console::style(env, options.colours);
    if !is_terminal || env.text("TERM") == Some("dumb") || options.once {
        lines::show(client, listing, options.once, style)?;
    } else {
        let (mut top, version) = (Top::new(&target.url), listing.version);
        top.hear(Heard::Listed(listing.into()), clock::now());
        Show::start(client, version, top, style)?.run()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The screen, and everything that it hears of.
struct Show {
    top: Top,
    screen: Screen,
    keys: Keys,
    pressed: Receiver<Vec<u8>>,
    heard: Receiver<Heard>,
    wanted: Sender<Summary>,
    stopped: Receiver<Infallible>,
    signalled: Receiver<TerminalSignal>,
    /// Dropped at the end: the thread that hears of changes ends with it.
    _stop: Sender<Infallible>,
}

impl Show {
    fn start(client: AdminClient, version: u64, top: Top, style: Style) -> Result<Show, String> {
        let thread = |error: io::Error| format!("cannot start a thread: {error}");
        let (stopped, signalled) =
            signals::of_terminal().map_err(|error| format!("cannot listen to signals: {error}"))?;
        let (news, heard) = bounded(NEWS_QUEUE);
        let (wanted, wants) = bounded(WANTED_QUEUE);
        let (stop, stopping) = bounded(0);
        client::follow(client.clone(), version, news.clone(), stopping).map_err(thread)?;
        client::detail(client, wants, news).map_err(thread)?;
        let screen =
            Screen::open(style).map_err(|error| format!("the terminal cannot be set: {error}"))?;
        let pressed = read_keys().map_err(thread)?;
        Ok(Show {
            top,
            screen,
            keys: Keys::default(),
            pressed,
            heard,
            wanted,
            stopped,
            signalled,
            _stop: stop,
        })
    }

    fn run(mut self) -> Result<(), String> {
        let gone = |error: io::Error| format!("the terminal takes nothing more: {error}");
        loop {
            self.draw().map_err(gone)?;
            let wait = if self.keys.is_undecided() {
                ESCAPE
            } else {
                TICK
            };
            let wish = select! {
                recv(self.stopped) -> _ => return Ok(()),
                recv(self.signalled) -> signal => {
                    if let Ok(signal) = signal {
                        self.obey(signal).map_err(gone)?;
                    }
                    None
                }
                recv(self.pressed) -> bytes => match bytes {
                    Ok(bytes) => self.press(&bytes),
                    // The terminal was closed.
                    Err(_) => return Ok(()),
                },
                recv(self.heard) -> heard => match heard {
                    Ok(heard) => self.top.hear(heard, clock::now()),
                    Err(_) => return Err("the threads that ask farspan have ended".to_owned()),
                },
                default(wait) => {
                    let key = self.keys.decide();
                    key.and_then(|key| self.top.press(key, clock::now()))
                }
            };
            match wish {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Details(run)) => self.want(&run),
                None => {}
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let (columns, rows) = tty::size().unwrap_or((80, 24));
        let size = Size { columns, rows };
        let frame = view::draw(&mut self.top, size, clock::now());
        self.screen.show(frame, size)
    }

    fn obey(&mut self, signal: TerminalSignal) -> io::Result<()> {
        match signal {
            // The next frame has the new size.
            TerminalSignal::Resized => Ok(()),
            TerminalSignal::Suspend => self.screen.suspend(),
            TerminalSignal::Continued => self.screen.resume(),
        }
    }

    /// The last wish counts: a quit, or the run that was opened last.
    fn press(&mut self, bytes: &[u8]) -> Option<Wish> {
        let now = clock::now();
        let mut wish = None;
        for key in self.keys.take(bytes) {
            let next = self.top.press(key, now);
            if wish != Some(Wish::Quit) {
                wish = next.or(wish);
            }
        }
        wish
    }

    fn want(&self, run: &str) {
        if let Some(run) = self.top.run(run) {
            // If the queue is full, farspan does not answer, and the next change asks again.
            drop(self.wanted.try_send(run.clone()));
        }
    }
}

/// Starts the thread that reads the terminal. It is not joined: it waits for a key that may never come.
fn read_keys() -> io::Result<Receiver<Vec<u8>>> {
    const QUEUE: usize = 16;
    let (pressed, keys) = bounded(QUEUE);
    let read = move || {
        let mut bytes = [0; 1024];
        loop {
            match io::stdin().read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count @ 1..) if pressed.send(bytes[..count].to_vec()).is_ok() => {}
                _ => return,
            }
        }
    };
    threads::spawn("keys", threads::STACK_BYTES, read)?;
    Ok(keys)
}
