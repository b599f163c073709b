//! The configuration, read again while farspan runs: what may change does, and everything else is named.

use super::resolver::SettingRow;
use super::{Config, Errors};
use crate::os::environment::Environment;
use std::path::PathBuf;

/// Where a configuration was read, so that it can be read again. The environment of a process never changes, so what
/// is new can only stand in files: the configuration file and those that hold secrets.
#[derive(Clone, Debug)]
pub struct ConfigOrigin {
    /// The process's environment.
    pub env: Environment,
    /// What `--config` named.
    pub file: Option<PathBuf>,
}

impl ConfigOrigin {
    /// Reads it, to watch.
    ///
    /// # Errors
    /// All mistakes.
    pub fn load(&self) -> Result<Config, Errors> {
        Config::load_to_watch(&self.env, self.file.as_deref())
    }
}

/// A setting that a newer configuration has otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// For the log: the setting, its new value and the one before, without secrets.
    pub text: String,
    /// Whether the new value is in force. If not, it will be after a restart.
    pub in_force: bool,
}

impl SettingChange {
    pub(super) fn after_restart(text: String) -> SettingChange {
        SettingChange {
            text,
            in_force: false,
        }
    }
}

impl Config {
    /// Takes over from a newer configuration what can change while farspan runs: the API's token, the delays and the
    /// timeout of polls, the log's level, and of each monitor what it says of polls and its secrets. Says what is new,
    /// and which new warnings there are.
    pub fn take_over(&mut self, newer: Config) -> (Vec<SettingChange>, Vec<String>) {
        let mut changes = self.changes(&newer);
        for row in &mut self.rows {
            let newer = newer.rows.iter().find(|newer| newer.name == row.name);
            if let Some(newer) = newer.filter(|newer| newer.is_reloaded()) {
                *row = newer.clone();
            }
        }
        if let (Some(api), Some(newer)) = (&mut self.api, newer.api) {
            api.token = newer.token;
        }
        for new in &newer.monitors {
            match self.monitors.iter_mut().find(|old| old.name == new.name) {
                Some(old) => changes.extend(old.take_over(new)),
                None => changes.push(SettingChange::after_restart(format!(
                    "{} is new",
                    new.title()
                ))),
            }
        }
        for old in &self.monitors {
            if !newer.monitors.iter().any(|new| new.name == old.name) {
                let text = format!("{} is no longer there", old.title());
                changes.push(SettingChange::after_restart(text));
            }
        }
        self.poll.initial_delay = newer.poll.initial_delay;
        self.poll.interval = newer.poll.interval;
        self.poll.timeout = newer.poll.timeout;
        self.log.level = newer.log.level;
        let before = [
            std::mem::replace(&mut self.warnings, newer.warnings),
            std::mem::replace(&mut self.source_warnings, newer.source_warnings),
        ]
        .concat();
        let warnings = self.warnings.iter().chain(&self.source_warnings);
        let new = warnings.filter(|warning| !before.contains(warning));
        (changes, new.cloned().collect())
    }

    fn changes(&self, newer: &Config) -> Vec<SettingChange> {
        let mut changes = Vec::new();
        for new in &newer.rows {
            let old = self.rows.iter().find(|old| old.name == new.name);
            // Every configuration has the same rows, but for those of variants that only one of them uses.
            if old.is_some_and(|old| old.is_same(new)) {
                continue;
            }
            changes.push(SettingChange {
                text: told(old, new),
                in_force: new.is_reloaded(),
            });
        }
        for old in &self.rows {
            if !newer.rows.iter().any(|new| new.name == old.name) {
                let text = format!("{} is no longer used", old.title());
                changes.push(SettingChange::after_restart(text));
            }
        }
        changes
    }
}

fn told(old: Option<&SettingRow>, new: &SettingRow) -> String {
    let title = new.title();
    match old {
        // What differs is secret, or in the file that it names.
        Some(old) if old.value == new.value => format!("{title} is another one"),
        Some(old) => format!("{title}: '{}', before '{}'", new.value, old.value),
        None => format!("{title}: '{}'", new.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DefaultApi, SecretSource};
    use crate::os::files::tests::Folder;
    use expect_test::{Expect, expect};

    /// What a reload says of these two files, a token file beside each.
    fn check(old: (&str, &str), new: (&str, &str), expected: Expect) -> Config {
        let folder = Folder::new();
        let source = ConfigOrigin {
            env: Environment::from_pairs([
                ("FARSPAN_API_BASE_URL", "http://api.test"),
                ("FARSPAN_API_TOKEN_FILE", &folder.file("token")),
                ("HOSTNAME", "vm-1"),
            ]),
            file: Some(folder.path().join("farspan.json")),
        };
        let write = |(json, secret): (&str, &str)| {
            folder.write("farspan.json", json);
            folder.write("token", secret);
        };
        write(old);
        let mut config = source.load().unwrap();
        write(new);
        let (changes, warnings) = config.take_over(source.load().unwrap());
        let (again, _) = config.clone().take_over(source.load().unwrap());
        let mut text = String::new();
        for change in &changes {
            let word = if change.in_force {
                "now    "
            } else {
                "restart"
            };
            text += &format!("{word} {}\n", change.text);
        }
        for warning in warnings {
            text += &format!("warning {warning}\n");
        }
        expected.assert_eq(&text);
        let still = changes.iter().filter(|change| !change.in_force);
        assert!(
            again.iter().eq(still),
            "a restart is still needed: {again:?}"
        );
        config
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let config = check(
            (
                r#"{"poll": {"interval": "10s", "pollers": 4}, "log": {"level": "info"}}"#,
                "token-1",
            ),
            (
                r#"{"poll": {"interval": "2s", "initial_delay": "1s", "timeout": "1h", "pollers": 8},
                    "log": {"level": "debug", "format": "json"}, "instance": "vm-2"}"#,
                "token-2",
            ),
            expect![[r#"
                now     FARSPAN_API_TOKEN (api.token) is another one
                now     FARSPAN_POLL_INITIAL_DELAY (poll.initial_delay): '1s', before '5s'
                now     FARSPAN_POLL_INTERVAL (poll.interval): '2s', before '10s'
                now     FARSPAN_POLL_TIMEOUT (poll.timeout): '1h', before '24h'
                restart FARSPAN_POLLERS (poll.pollers): '8', before '4'
                restart FARSPAN_INSTANCE (instance): 'vm-2', before 'vm-1'
                now     FARSPAN_LOG (log.level): 'debug', before 'info'
                restart FARSPAN_LOG_FORMAT (log.format): 'json', before 'text'
            "#]],
        );
        let Some(DefaultApi {
            token: Some(SecretSource::File(path, read)),
            ..
        }) = &config.api
        else {
            panic!("the token is in a file: {:?}", config.api);
        };
        assert!(path.ends_with("token"), "{path:?}");
        assert_eq!(read.expose(), "token-2");
        assert_eq!(config.poll.interval.as_secs(), 2);
        assert_eq!(config.poll.initial_delay.as_secs(), 1);
        assert_eq!(config.poll.timeout.as_secs(), 3600);
        assert_eq!(config.log.level, log::LevelFilter::Debug);
        assert_eq!((config.poll.pollers, config.instance.as_str()), (4, "vm-1"));
    }

    #[test]
    fn nothing_new() {
        let file = (r#"{"poll": {"interval": "10s"}}"#, "token");
        check(file, file, expect![""]);
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_password_that_has_changed_is_named_and_not_shown() {
        check(
            (r#"{"redis": {"url": "redis://me:one@host"}}"#, "token"),
            (r#"{"redis": {"url": "redis://me:two@host"}}"#, "token"),
            expect![[r#"
                restart FARSPAN_REDIS_URL (redis.url) is another one
            "#]],
        );
    }
}
