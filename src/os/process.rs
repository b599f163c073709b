//! What Linux says of this process: `/proc/self`. On another system it says nothing.
//! <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>

use std::fs;
use std::time::Duration;

/// The numbers of this process, as far as the system tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessNumbers {
    /// CPU time, user and system.
    pub cpu: Option<Duration>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Open file descriptors that are possible.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// Linux counts CPU time for programs in hundredths of a second (`USER_HZ`) on every architecture that Rust has std for.
const TICK: Duration = Duration::from_millis(10);

/// Reads the numbers of this process.
pub fn numbers() -> ProcessNumbers {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (status, limits) = (read("status"), read("limits"));
    ProcessNumbers {
        cpu: cpu(&read("stat")),
        resident_bytes: kilobytes(&status, "VmRSS:"),
        virtual_bytes: kilobytes(&status, "VmSize:"),
        // One of them is that of this folder.
        open_fds: (fs::read_dir("/proc/self/fd").ok())
            .map(|folder| (folder.count() as u64).saturating_sub(1)),
        max_fds: max_fds(&limits),
        threads: words_of(&status, "Threads:").and_then(|mut words| words.next()?.parse().ok()),
    }
}

/// `utime` and `stime`, which are the 14th and the 15th field. The second one is a name in brackets that may have spaces.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let number: u64 = words_of(status, name)?.next()?.parse().ok()?;
    number.checked_mul(1024)
}

/// The soft limit. `unlimited` is no number.
fn max_fds(limits: &str) -> Option<u64> {
    words_of(limits, "Max open files")?.next()?.parse().ok()
}

fn words_of<'a>(text: &'a str, name: &str) -> Option<impl Iterator<Item = &'a str>> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_the_system_are_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 5 0 0 0 250 50 3 4 20 0 18 0 1 2 3";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        let status = "Name:\tfarspan\nVmSize:\t    2048 kB\nVmRSS:\t      12 kB\nThreads:\t18\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(kilobytes(status, "VmSize:"), Some(2048 * 1024));
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(max_fds(limits), Some(1024));
        for text in ["", "7 (x", "7 (x) S 1", "Max open files unlimited"] {
            assert_eq!((cpu(text), max_fds(text)), (None, None), "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_numbers() {
        let numbers = numbers();
        assert!(numbers.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(numbers.virtual_bytes >= numbers.resident_bytes);
        assert!(numbers.open_fds.is_some_and(|fds| fds >= 3));
        assert!(numbers.threads.is_some_and(|threads| threads >= 1));
        assert!(numbers.cpu.is_some(), "{numbers:?}");
    }
}
