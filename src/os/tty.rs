//! The terminal that farspan runs in: its size, and its settings while farspan has the whole screen.

use super::threads::lock;
use rustix::fs::OFlags;
use rustix::process::{getpid, getsid};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic;
use std::sync::{Mutex, Once};

/// The settings to put back; there as long as farspan has the whole screen.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The other screen without wrapping, and what is pasted in brackets.
/// <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html#h3-Functions-using-CSI-_-ordered-by-the-final-character_s_>
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?2004h\x1b[?25l";
const LEAVE: &str = "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Columns and rows of the terminal on standard output. `None`: it is no terminal, or it does not say.
pub fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// Puts the terminal back without waiting for it or for any thread: for the end of a process that may be stuck.
pub fn give_back_at_once() {
    let Ok(before) = BEFORE.try_lock() else {
        return;
    };
    if let Some(before) = &*before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        let mut options = File::options();
        options
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        if let Ok(mut terminal) = options.open("/dev/tty") {
            let _ = terminal.write_all(LEAVE.as_bytes());
        }
    }
}

/// The whole screen of the terminal: keys come at once and without an echo. Dropped, and before a panic is told, the
/// terminal is as it was before.
#[derive(Debug)]
pub struct FullScreen(());

impl FullScreen {
    /// Takes it, on standard input and output.
    ///
    /// # Errors
    /// They are no terminal.
    pub fn take() -> io::Result<FullScreen> {
        static HOOK: Once = Once::new();
        let before = tcgetattr(io::stdin())?;
        *lock(&BEFORE) = Some(before);
        HOOK.call_once(|| {
            let tell = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                give_back();
                tell(panic);
            }));
        });
        let screen = FullScreen(());
        screen.retake()?;
        Ok(screen)
    }

    /// Sets the terminal again as it has to be for the whole screen.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn retake(&self) -> io::Result<()> {
        let Some(before) = lock(&BEFORE).clone() else {
            return Ok(());
        };
        let mut settings = before;
        // Ctrl-C and Ctrl-Z stay signals: they work even if farspan does not.
        let unwanted = LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
        settings.local_modes.remove(unwanted);
        let unwanted = InputModes::IXON | InputModes::ICRNL | InputModes::INLCR;
        settings.input_modes.remove(unwanted);
        settings.special_codes[SpecialCodeIndex::VMIN] = 1;
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &settings)?;
        self.write(ENTER)
    }

    /// Writes to the terminal, unless it was given back already.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn write(&self, text: &str) -> io::Result<()> {
        // Held until all is written, so that nothing is written behind what gives the terminal back.
        let mut stdout = io::stdout().lock();
        if lock(&BEFORE).is_none() {
            return Ok(());
        }
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Gives the terminal back and stops the process until it is continued. The leader of a session has no shell that
    /// could continue it, and does not stop.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn suspend(&self) -> io::Result<()> {
        if getsid(None).is_ok_and(|session| session == getpid()) {
            return Ok(());
        }
        let before = lock(&BEFORE).clone();
        give_back();
        emulate_default_handler(SIGTSTP)?;
        // Continued.
        *lock(&BEFORE) = before;
        self.retake()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        give_back();
    }
}

/// A second call does nothing.
fn give_back() {
    let mut stdout = io::stdout().lock();
    let before = lock(&BEFORE).take();
    if let Some(before) = before {
        let _ = stdout.write_all(LEAVE.as_bytes());
        let _ = stdout.flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    use std::io::Read as _;
    use std::process::Command;

    /// The same test is the program that panics: it runs itself in a terminal.
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        const NAME: &str = "os::tty::tests::a_panic_gives_the_terminal_back_before_it_is_told";
        if std::env::var_os("FARSPAN_TEST_IN_TERMINAL").is_some() {
            let screen = FullScreen::take().unwrap();
            screen.write("on the whole screen").unwrap();
            panic!("as the test wants it");
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let line = open();
        let settings = |line: &File| format!("{:?}", tcgetattr(line).unwrap());
        let before = settings(&line);
        let status = Command::new("setsid")
            .arg("--ctty")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env("FARSPAN_TEST_IN_TERMINAL", "1")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .status()
            .unwrap();
        assert!(!status.success());
        assert_eq!(settings(&line), before);
        drop(line);
        let mut written = Vec::new();
        // The end of a terminal that nothing has open is an error.
        let _ = File::from(master).read_to_end(&mut written);
        let written = String::from_utf8_lossy(&written);
        let at = |text: &str| {
            let found = written.find(text);
            found.unwrap_or_else(|| panic!("{text:?} is not in {written:?}"))
        };
        assert!(at(ENTER) < at("on the whole screen"));
        assert!(at("on the whole screen") < at(LEAVE));
        assert!(at(LEAVE) < at("as the test wants it"));
    }
}
