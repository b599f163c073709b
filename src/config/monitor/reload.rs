//! What a reload changes in a monitor: when to poll, and secrets. Everything else waits for a restart.

use super::show::redacted_auth;
use super::{MonitorApi, MonitorConfig};
use crate::config::reload::SettingChange;
use serde_json::{Map, Value};

impl MonitorConfig {
    /// Takes over from a newer configuration what can change while farspan runs, and returns all that has changed.
    pub(in crate::config) fn take_over(&mut self, newer: &MonitorConfig) -> Vec<SettingChange> {
        let mut changes = self.changes(newer);
        let title = newer.title();
        changes.extend(changed_certificates(&title, &self.api, &newer.api));
        self.poll = newer.poll.clone();
        let written = &mut self.written.members;
        match newer.written.members.get("poll") {
            Some(poll) => drop(written.insert("poll".to_owned(), poll.clone())),
            None => drop(written.remove("poll")),
        }
        self.take_over_secret(newer);
        changes
    }

    /// A secret is sent only to the API that it was given for.
    fn take_over_secret(&mut self, newer: &MonitorConfig) {
        let auth =
            |monitor: &MonitorConfig| monitor.written.members.get("api")?.get("auth").cloned();
        let (old, new) = (auth(self), auth(newer));
        let differs = old.as_ref().map(redacted_auth) != new.as_ref().map(redacted_auth);
        if self.api.base_url != newer.api.base_url || differs {
            return;
        }
        // A monitor without `auth` of its own has that of the settings.
        self.api.auth = newer.api.auth.clone();
        let api = self.written.members.get_mut("api");
        if let (Some(own), Some(new)) = (api.and_then(|api| api.get_mut("auth")), new) {
            *own = new;
        }
    }

    fn changes(&self, newer: &MonitorConfig) -> Vec<SettingChange> {
        let title = newer.title();
        let is_same_api = self.api.base_url == newer.api.base_url;
        let mut changes = Vec::new();
        for (key, old, new) in changed(&self.written.members, &newer.written.members) {
            match key {
                // These change nothing by themselves.
                "preset" | "description" | "$schema" => {}
                "poll" => {
                    changes.extend(changed(members(old), members(new)).map(|(key, old, new)| {
                        let shown =
                            |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
                        let (old, new) = (shown(old), shown(new));
                        SettingChange {
                            text: format!("{title}.poll.{key}: {new}, before {old}"),
                            in_force: true,
                        }
                    }))
                }
                "api" => {
                    changes.extend(changed(members(old), members(new)).map(|(key, old, new)| {
                        let is_secret =
                            key == "auth" && old.map(redacted_auth) == new.map(redacted_auth);
                        if is_secret {
                            SettingChange {
                                text: format!("{title}.api.auth has another secret"),
                                in_force: is_same_api,
                            }
                        } else {
                            SettingChange::after_restart(format!("{title}.api.{key} has changed"))
                        }
                    }))
                }
                key => changes.push(SettingChange::after_restart(format!(
                    "{title}.{key} has changed"
                ))),
            }
        }
        changes
    }
}

/// Files of certificates that have other contents.
fn changed_certificates(title: &str, old: &MonitorApi, new: &MonitorApi) -> Vec<SettingChange> {
    let files = [
        ("certificate_file", &old.certificate, &new.certificate),
        (
            "client_certificate_file",
            &old.client_certificate,
            &new.client_certificate,
        ),
        ("client_key_file", &old.client_key, &new.client_key),
    ];
    let mut changes = Vec::new();
    for (key, old, new) in files {
        if let (Some(old), Some(new)) = (old, new)
            && old.path == new.path
            && old.bytes != new.bytes
        {
            let text = format!("{title}.api.{key}: the file has other contents");
            changes.push(SettingChange::after_restart(text));
        }
    }
    changes
}

fn members(value: Option<&Value>) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The members that differ, with both values, sorted by key.
fn changed<'v>(
    old: &'v Map<String, Value>,
    new: &'v Map<String, Value>,
) -> impl Iterator<Item = (&'v str, Option<&'v Value>, Option<&'v Value>)> {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    (keys.into_iter())
        .map(|key| (key.as_str(), old.get(key), new.get(key)))
        .filter(|(_, old, new)| old != new)
}
