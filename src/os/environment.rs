//! The environment variables.
//!
//! Nothing else in farspan reads the process's environment. One library does: rustls-native-certs for `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Environment variables: those of the process, or any others. An empty variable counts as unset.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `None`: the value is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
    kernel_host_name: Option<String>,
}

impl Environment {
    /// The variables of the process, and the name of the host.
    pub fn of_process() -> Self {
        Environment::from_pairs(std::env::vars_os()).with_kernel_host_name()
    }

    /// These variables. The name of the host is `HOSTNAME`.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            if !value.is_empty() {
                variables.insert(
                    name.to_string_lossy().into_owned(),
                    value.into_string().ok(),
                );
            }
        }
        Environment {
            variables,
            kernel_host_name: None,
        }
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: String, value: String) {
        if value.is_empty() {
            self.variables.remove(&name);
        } else {
            self.variables.insert(name, Some(value));
        }
    }

    /// The same with the name of the host that the kernel has.
    pub(crate) fn with_kernel_host_name(self) -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Environment {
            kernel_host_name: host_name.map(|name| name.trim().to_owned()),
            ..self
        }
    }

    /// Only the variables whose names are `wanted`.
    pub(crate) fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let mut environment = self.clone();
        environment.variables.retain(|name, _| wanted(name));
        environment
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The value of a variable that is set, not empty and UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.as_deref()
    }

    pub(crate) fn host_name(&self) -> Option<&str> {
        let kernel = self
            .kernel_host_name
            .as_deref()
            .filter(|name| !name.is_empty());
        kernel.or_else(|| self.text("HOSTNAME"))
    }
}
