//! The configuration of a watcher inside another program. It takes only if it is asked what belongs to the program: a port,
//! a directory and standard output.

use super::load::load;
use super::resolver::{Resolver, SettingRow, ValueOrigin};
use super::{Config, Errors, StateConfig};
use crate::os::environment::Environment;
use crate::syntax::mistake::Mistake;
use std::path::PathBuf;

/// Where the keys of a configuration file are.
#[derive(Clone, Debug, Default)]
pub enum ConfigKeys {
    /// In the file that `FARSPAN_CONFIG` names, if it does.
    #[default]
    Unnamed,
    /// In this file.
    File(PathBuf),
    /// In this text.
    Text(String),
}

/// What a mistake in a text calls it.
const TEXT: &str = "the configuration";

impl Config {
    /// As [`load_to_watch`](Self::load_to_watch), for a watcher inside another program. Unless it is configured there is no
    /// admin endpoint, and no state is stored.
    ///
    /// # Errors
    /// All mistakes. Spans for standard output are one.
    pub fn load_embedded(env: &Environment, keys: &ConfigKeys) -> Result<Config, Errors> {
        let resolver = match keys {
            ConfigKeys::Unnamed => Resolver::new(env, None),
            ConfigKeys::File(file) => Resolver::new(env, Some(file)),
            ConfigKeys::Text(text) => Resolver::of_text(env, TEXT, text),
        };
        let mut config = load(resolver, env, true)?;
        if config.export.console {
            let what = "'console' writes to standard output, which belongs to the program: use otlp or none";
            return Err(Errors(vec![
                config.mistake_in("OTEL_TRACES_EXPORTER", what),
            ]));
        }
        if !config.is_asked_for("FARSPAN_ADMIN_LISTEN") {
            config.admin = None;
        }
        if !config.is_asked_for("FARSPAN_STATE") && !config.is_asked_for("FARSPAN_STATE_DIR") {
            config.state = StateConfig::None;
        }
        for name in ["FARSPAN_LOG", "FARSPAN_LOG_FORMAT"] {
            if let Some(row) = config.row(name).filter(|_| config.is_asked_for(name)) {
                let place = row.origin.place();
                let warning = format!("{place}: has no effect: the logger of the program decides");
                config.warnings.push(warning);
            }
        }
        Ok(config)
    }

    /// Whether this setting has a value that was written for farspan.
    fn is_asked_for(&self, name: &str) -> bool {
        let by_default = [ValueOrigin::Default, ValueOrigin::Env("STATE_DIRECTORY")];
        self.row(name)
            .is_some_and(|row| row.whole.is_some() && !by_default.contains(&row.origin))
    }

    fn row(&self, name: &str) -> Option<&SettingRow> {
        self.rows.iter().find(|row| row.name == name)
    }

    fn mistake_in(&self, name: &'static str, what: &str) -> Mistake {
        Mistake {
            place: self
                .row(name)
                .map_or_else(|| ValueOrigin::Env(name).place(), |row| row.origin.place()),
            what: what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)], keys: &ConfigKeys) -> Config {
        let api = [("FARSPAN_API_BASE_URL", "http://api")];
        let env = Environment::from_pairs(api.iter().chain(pairs).copied());
        Config::load_embedded(&env, keys).unwrap()
    }

    #[test]
    fn what_belongs_to_the_program_is_taken_only_if_it_is_asked_for() {
        // systemd gives it to the program.
        let config = load(
            &[("STATE_DIRECTORY", "/var/lib/program")],
            &ConfigKeys::Unnamed,
        );
        assert!(config.admin.is_none());
        assert_eq!(config.state, StateConfig::None);
    }

    #[cfg(all(feature = "admin", feature = "file"))]
    #[test]
    fn it_is_asked_for_by_a_variable_or_by_a_key() {
        let config = load(
            &[
                ("FARSPAN_STATE", "file"),
                ("STATE_DIRECTORY", "/var/lib/program"),
            ],
            &ConfigKeys::Text(r#"{"admin": {"listen": "127.0.0.1:0"}}"#.to_owned()),
        );
        assert_eq!(config.admin.unwrap().listen, "127.0.0.1:0");
        assert_eq!(config.state, StateConfig::File("/var/lib/program".into()));
        let config = load(&[("FARSPAN_STATE_DIR", "/state")], &ConfigKeys::Unnamed);
        assert_eq!(config.state, StateConfig::File("/state".into()));
    }

    #[test]
    fn a_text_and_the_name_of_a_file_contradict_each_other() {
        let env = Environment::from_pairs([("FARSPAN_CONFIG", "farspan.json")]);
        let mistakes = Config::load_embedded(&env, &ConfigKeys::Text("{}".to_owned())).unwrap_err();
        let first = mistakes.iter().next().unwrap().to_string();
        assert_eq!(
            first,
            "FARSPAN_CONFIG: names a file, and the configuration is given as a text: remove one of the two"
        );
    }
}
