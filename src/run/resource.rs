//! The resource of each monitor's spans: the process's resource, with the monitor's own attributes over it.

use crate::config::Config;
use crate::config::monitor::{MonitorConfig, ServiceConfig};
use crate::core::span;
use crate::deliver::otlp::Resources;
use std::sync::Arc;

pub(super) const NAME: &str = "service.name";
pub(super) const NAMESPACE: &str = "service.namespace";

/// The process's resource and each monitor's own.
pub(super) fn resources(config: &Config) -> Resources {
    let mut resources = Resources::new(&config.resource);
    for monitor in &config.monitors {
        if monitor.service != ServiceConfig::default() {
            let resource = resource(&config.resource, &monitor.service);
            resources.add(&monitor.name, resource);
        }
    }
    resources
}

/// What the core needs to know of a monitor's resource; `None` where it is the process's.
pub(super) fn service(config: &Config, monitor: &MonitorConfig) -> Option<Arc<span::Service>> {
    if monitor.service == ServiceConfig::default() {
        return None;
    }
    let resource = resource(&config.resource, &monitor.service);
    let attribute = |name: &str| {
        let found = resource.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    let name = attribute(NAME).unwrap_or_default();
    Some(Arc::new(span::Service {
        monitor: monitor.name.as_str().into(),
        name: match attribute(NAMESPACE) {
            Some(namespace) => format!("{namespace}/{name}").into(),
            None => name.into(),
        },
    }))
}

/// The monitor's attributes win. Keys stay unique, and a replaced attribute keeps its place.
fn resource(process: &[(String, String)], service: &ServiceConfig) -> Vec<(String, String)> {
    let mut resource = process.to_vec();
    let named = |key: &str, value: &Option<String>| Some((key.to_owned(), value.clone()?));
    let names = [
        named(NAME, &service.name),
        named(NAMESPACE, &service.namespace),
    ];
    let attributes = service.attributes.iter().cloned();
    for (key, value) in attributes.chain(names.into_iter().flatten()) {
        match resource.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = value,
            None => resource.push((key, value)),
        }
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn a_monitor_replaces_and_adds() {
        let process = pairs(&[
            ("service.name", "farspan"),
            ("service.instance.id", "one"),
            ("team", "platform"),
        ]);
        let service = ServiceConfig {
            name: Some("etl".into()),
            namespace: Some("data".into()),
            attributes: pairs(&[("team", "risk"), ("service.name", "loses"), ("tier", "1")]),
        };
        assert_eq!(
            resource(&process, &service),
            pairs(&[
                ("service.name", "etl"),
                ("service.instance.id", "one"),
                ("team", "risk"),
                ("tier", "1"),
                ("service.namespace", "data"),
            ])
        );
        assert_eq!(resource(&process, &ServiceConfig::default()), process);
    }
}
