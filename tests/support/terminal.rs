//! A terminal with a program in it: a pseudo-terminal, and what would be on its screen.

use super::http::lock;
use super::program::Call;
use super::{SOON, eventually};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

/// What has come out of it, and what that looks like.
struct Output {
    bytes: Vec<u8>,
    parser: vt100::Parser,
}

/// The program is killed with the test, and its screen is shown if the test fails.
pub struct Terminal {
    master: File,
    /// Open as long as this, so that the settings can be read when the program has ended.
    _line: File,
    path: String,
    output: Arc<Mutex<Output>>,
    settings_before: String,
    child: Child,
}

impl Terminal {
    /// Starts the program in a terminal of that size, as the leader of its session.
    pub fn start(call: &Call, columns: u16, rows: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = File::from(master.expect("a pseudo-terminal"));
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let path = ptsname(&master, Vec::new()).expect("ptsname");
        let path = path.into_string().expect("UTF-8");
        tcsetwinsize(&master, size(columns, rows)).expect("tcsetwinsize");
        let open = || File::options().read(true).write(true).open(&path);
        let line = open().expect("the terminal opens");
        let settings_before = settings(&path);
        let child = call
            .clone()
            .under(&["setsid", "--ctty"])
            .command()
            .stdin(open().expect("the terminal opens"))
            .stdout(open().expect("the terminal opens"))
            .stderr(open().expect("the terminal opens"))
            .spawn()
            .expect("setsid of util-linux");
        let parser = vt100::Parser::new(nonzero(rows), nonzero(columns), 1000);
        let bytes = Vec::new();
        let output = Arc::new(Mutex::new(Output { bytes, parser }));
        let mut reader = master.try_clone().expect("dup");
        let reads = output.clone();
        // Ends when the last program has closed the terminal, and this has.
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                let mut output = lock(&reads);
                output.bytes.extend_from_slice(&chunk[..count]);
                output.parser.process(&chunk[..count]);
            }
        });
        Terminal {
            master,
            _line: line,
            path,
            output,
            settings_before,
            child,
        }
    }

    /// What the screen shows, without spaces at the ends of its lines.
    pub fn screen(&self) -> String {
        let output = lock(&self.output);
        let (_, columns) = output.parser.screen().size();
        let rows = output.parser.screen().rows(0, columns.get());
        let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n")
    }

    /// Waits until the screen has these words; the failure shows the screen.
    #[track_caller]
    pub fn await_screen(&self, words: &str) -> String {
        self.await_screen_where(words, |screen| screen.contains(words))
    }

    /// Waits until the screen is like that.
    #[track_caller]
    pub fn await_screen_where(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        eventually(what, SOON, || {
            let screen = self.screen();
            if is_there(&screen) {
                Ok(screen)
            } else {
                Err(screen)
            }
        })
    }

    /// Everything that was written to it.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&lock(&self.output).bytes).into_owned()
    }

    /// Looks at the screen with its colours and modes.
    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(lock(&self.output).parser.screen())
    }

    pub fn press(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).expect("typed");
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let mut output = lock(&self.output);
        output.parser.set_size(nonzero(rows), nonzero(columns));
        tcsetwinsize(&self.master, size(columns, rows)).expect("tcsetwinsize");
    }

    /// Sends a signal to the program by the signal's name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.expect("kill").success(), "kill -s {name}");
    }

    /// The settings of the terminal, as `stty -g` has them.
    pub fn settings(&self) -> String {
        settings(&self.path)
    }

    /// Waits for the end of the program, and that it has left the terminal as it was.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("it ends", SOON, || child.try_wait().expect("try_wait"));
        self.await_as_it_was();
        status
    }

    /// Waits until the terminal is as it was before the program: its settings, the screen of the shell, the cursor.
    #[track_caller]
    pub fn await_as_it_was(&self) {
        eventually("the terminal is as it was", SOON, || {
            let modes = self.look(|screen| {
                [
                    ("on the alternate screen", screen.alternate_screen()),
                    ("without cursor", screen.hide_cursor()),
                    ("bracketed paste", screen.bracketed_paste()),
                ]
            });
            let mut wrong: Vec<&str> = modes.iter().filter(|m| m.1).map(|m| m.0).collect();
            if self.settings() != self.settings_before {
                wrong.push("other settings");
            }
            let written = self.written();
            if written.rfind("\x1b[?7l") > written.rfind("\x1b[?7h") {
                wrong.push("no wrapping");
            }
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(wrong.join(", "))
            }
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the terminal\n{}\n---", self.screen());
        }
    }
}

fn settings(path: &str) -> String {
    let output = Command::new("stty").args(["-g", "-F", path]).output();
    let output = output.expect("stty of coreutils");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn nonzero(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).expect("a size")
}
