//! The service manager's end of `$NOTIFY_SOCKET`.

use super::program::Call;
use super::{SOON, eventually, within};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub struct ServiceManager {
    socket: UnixDatagram,
    name: String,
    path: Option<PathBuf>,
    heard: Mutex<Vec<String>>,
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("farspan-e2e-{}-{number}", std::process::id())
}

impl ServiceManager {
    /// At an abstract address.
    pub fn listen() -> Self {
        let name = unique();
        let address = SocketAddr::from_abstract_name(&name).expect("short");
        let socket = UnixDatagram::bind_addr(&address).expect("bind");
        ServiceManager::with(socket, format!("@{name}"), None)
    }

    /// At a path.
    pub fn listen_at_path() -> Self {
        let path = std::env::temp_dir().join(unique());
        let socket = UnixDatagram::bind(&path).expect("bind");
        ServiceManager::with(socket, path.display().to_string(), Some(path))
    }

    fn with(socket: UnixDatagram, name: String, path: Option<PathBuf>) -> Self {
        socket.set_nonblocking(true).expect("set_nonblocking");
        ServiceManager {
            socket,
            name,
            path,
            heard: Mutex::default(),
        }
    }

    /// With what the manager sets for its service.
    pub fn supervise(&self, call: &Call, watchdog: Duration) -> Call {
        call.clone()
            .env("NOTIFY_SOCKET", &self.name)
            .env("WATCHDOG_USEC", watchdog.as_micros())
    }

    /// Every datagram so far.
    pub fn heard(&self) -> Vec<String> {
        let mut heard = super::http::lock(&self.heard);
        let mut bytes = [0; 4096];
        while let Ok(count) = self.socket.recv(&mut bytes) {
            heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
        heard.clone()
    }

    /// How many of them are this one.
    pub fn count(&self, datagram: &str) -> usize {
        self.heard()
            .iter()
            .filter(|heard| *heard == datagram)
            .count()
    }

    #[track_caller]
    pub fn await_status(&self, part: &str) {
        eventually(&format!("a STATUS with {part:?}"), SOON, || {
            let heard = self.heard();
            let is_it = |text: &String| text.starts_with("STATUS=") && text.contains(part);
            if heard.iter().any(is_it) {
                Ok(())
            } else {
                Err(format!("{heard:?}"))
            }
        });
    }

    #[track_caller]
    pub fn await_count(&self, datagram: &str, count: usize) {
        eventually(&format!("{count} x {datagram}"), SOON, || {
            match self.count(datagram) {
                so_many if so_many >= count => Ok(()),
                _ => Err(format!("{:?}", self.heard())),
            }
        });
    }

    /// Whether nothing at all comes for so long.
    pub fn is_quiet(&self, time: Duration) -> bool {
        let before = self.heard().len();
        within(time, || self.heard().len() > before).is_err()
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
