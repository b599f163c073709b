//! `farspan config`: the configuration in force without its secrets, as text and as JSON.

use super::Config;
use super::monitor::MonitorConfig;
use super::resolver::{SettingRow, ValueOrigin};
use super::settings::setting;
use crate::syntax::text::shown;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

impl Config {
    /// Each setting, its value, where the value came from, and the monitors, merged over their presets. With
    /// `only_changed` what differs from the defaults and the presets.
    pub fn describe(&self, only_changed: bool) -> String {
        let rows: Vec<[String; 3]> = (self.rows_shown(only_changed))
            .map(|row| {
                let value = row.value.clone();
                [row.name.to_owned(), value, row.origin.to_string()]
            })
            .collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        };
        let (names, values) = (width(0), width(1));
        let mut text = String::new();
        for [name, value, origin] in &rows {
            let _ = writeln!(text, "{name:names$}  {value:values$}  {origin}");
        }
        if only_changed && rows.is_empty() {
            text.push_str("every setting has its default\n");
        }
        if !only_changed {
            text.push_str("\nresource\n");
            for (key, value) in &self.resource {
                let _ = writeln!(text, "  {}={}", shown(key), shown(value));
            }
        }
        for monitor in self.monitors_shown(only_changed) {
            text.push('\n');
            text.push_str(&monitor.text(only_changed));
        }
        text
    }

    /// The same for programs: the definition `config` in `docs/output.schema.json`.
    pub fn to_json(&self, only_changed: bool) -> Value {
        let settings: Vec<Value> = self.rows_shown(only_changed).map(row_json).collect();
        let resource: Map<String, Value> = (self.resource.iter())
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        let monitors: Vec<Value> = (self.monitors_shown(only_changed))
            .map(|monitor| {
                json!({
                    "name": monitor.name,
                    "preset": monitor.preset(),
                    "place": monitor.place_in_file(),
                    "keys": monitor.keys_shown(only_changed),
                })
            })
            .collect();
        json!({"settings": settings, "resource": resource, "monitors": monitors})
    }

    fn rows_shown(&self, only_changed: bool) -> impl Iterator<Item = &SettingRow> {
        let differs = |row: &SettingRow| {
            let default = setting(row.name).default;
            row.origin != ValueOrigin::Default && row.whole.as_deref() != Some(default)
        };
        let is_shown = move |row: &&SettingRow| !only_changed || differs(row);
        self.rows.iter().filter(is_shown)
    }

    /// The monitor that farspan adds to a file without any is a default too.
    fn monitors_shown(&self, only_changed: bool) -> impl Iterator<Item = &MonitorConfig> {
        let is_shown =
            move |monitor: &&MonitorConfig| !only_changed || monitor.place_in_file().is_some();
        self.monitors.iter().filter(is_shown)
    }
}

fn row_json(row: &SettingRow) -> Value {
    let (origin, place) = match &row.origin {
        ValueOrigin::Env(name) => ("environment", Some((*name).to_owned())),
        ValueOrigin::Key(file, key) => ("file", Some(format!("{file}: {key}"))),
        ValueOrigin::SecretFile(path) => ("secret_file", Some(path.clone())),
        ValueOrigin::Option(name) => ("option", Some((*name).to_owned())),
        ValueOrigin::Default => ("default", None),
    };
    json!({
        "name": row.name,
        "key": setting(row.name).key,
        "value": row.whole,
        "origin": origin,
        "place": place,
    })
}
