//! What a watcher is configured by.

use super::Error;
use crate::config::{Config, ConfigKeys};
use crate::os::environment::Environment;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The configuration of a [`Watcher`](crate::Watcher): the keys of a configuration file, and variables.
///
/// The settings are those of `farspan run`, with the same names, and a variable beats a key: `docs/settings.md` has all
/// of them, `docs/configuration.md` has the monitors. The environment of the process is read only by
/// [`from_env`](Self::from_env). These are otherwise than for `farspan run`:
///
/// - The admin endpoint is off, unless `FARSPAN_ADMIN_LISTEN` (`admin.listen`) is set.
/// - No state is stored, unless `FARSPAN_STATE` or `FARSPAN_STATE_DIR` is set.
/// - `OTEL_TRACES_EXPORTER=console` is a mistake, because standard output belongs to the program.
/// - `FARSPAN_LOG` and `FARSPAN_LOG_FORMAT` have no effect, because the logger belongs to the program.
///
/// Nothing is read before [`check`](Self::check) or [`Watcher::start`](crate::Watcher::start).
///
/// ```
/// use farspan::Configuration;
///
/// let text = r#"{"api": {"base_url": "http://risk.example:8080"}, "poll": {"interval": "30s"}}"#;
/// let configuration = Configuration::from_json(text).with_variable("FARSPAN_POLLERS", "four");
///
/// let mistakes = configuration.check().unwrap_err();
/// assert_eq!(mistakes.to_string(), "FARSPAN_POLLERS: 'four' is not a whole number from 1 to 1024");
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Configuration {
    keys: ConfigKeys,
    variables: Environment,
}

impl Configuration {
    /// With no setting at all.
    pub fn new() -> Self {
        Configuration::default()
    }

    /// With the keys of this file. Relative paths in it begin at its directory.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Configuration {
            keys: ConfigKeys::File(path.into()),
            ..Configuration::default()
        }
    }

    /// With the keys of this text, which is what a configuration file would be. Relative paths in it begin at the working
    /// directory.
    pub fn from_json(text: impl Into<String>) -> Self {
        Configuration {
            keys: ConfigKeys::Text(text.into()),
            ..Configuration::default()
        }
    }

    /// With these variables, such as `("FARSPAN_API_BASE_URL", "http://...")`. An empty one counts as unset.
    pub fn from_variables<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        Configuration {
            variables: Environment::from_pairs(variables),
            ..Configuration::default()
        }
    }

    /// With the variables of the process as they are now, and with the file that `FARSPAN_CONFIG` names among them.
    pub fn from_env() -> Self {
        Configuration {
            variables: Environment::of_process(),
            ..Configuration::default()
        }
    }

    /// Sets one variable. It beats the one of the same name that is there already.
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.set(name.into(), value.into());
        self
    }

    /// Checks everything and starts nothing. Returns what would be ignored, and why.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration), with all mistakes.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        Ok(self.load()?.warnings)
    }

    pub(super) fn load(&self) -> Result<Config, Error> {
        let variables = self.variables.clone().with_kernel_host_name();
        Ok(Config::load_embedded(&variables, &self.keys)?)
    }
}

/// Without values: some are secrets.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Configuration");
        match &self.keys {
            ConfigKeys::Unnamed => {}
            ConfigKeys::File(path) => drop(shown.field("file", path)),
            ConfigKeys::Text(_) => drop(shown.field("text", &format_args!("(not shown)"))),
        }
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| name).collect();
        shown.field("variables", &names).finish()
    }
}
