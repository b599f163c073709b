//! The monitor definitions that ship with farspan.

use crate::syntax::json::{WrittenJson, merge};
use serde_json::{Map, Value};

/// The presets by name, in the order of the documentation.
pub(in crate::config) const PRESETS: &[(&str, &str)] = &[
    ("farspan", include_str!("../../../presets/farspan.json")),
    ("airflow", include_str!("../../../presets/airflow.json")),
    (
        "argo-workflows",
        include_str!("../../../presets/argo-workflows.json"),
    ),
    ("buildbot", include_str!("../../../presets/buildbot.json")),
    (
        "databricks",
        include_str!("../../../presets/databricks.json"),
    ),
    (
        "github-actions",
        include_str!("../../../presets/github-actions.json"),
    ),
    ("gitlab", include_str!("../../../presets/gitlab.json")),
    ("spark", include_str!("../../../presets/spark.json")),
];

/// The name of the monitor that farspan adds where the file has none.
pub const ONLY_NAME: &str = "default";

/// The monitors of a configuration that has none: the preset `farspan` at the settings' API.
pub(super) fn default_monitors() -> WrittenJson {
    let text = |text: &str| WrittenJson::Text(text.to_owned());
    let members = [("name", ONLY_NAME), ("preset", "farspan")];
    let members = members.map(|(key, value)| (key.to_owned(), text(value)));
    WrittenJson::List(vec![WrittenJson::Group(members.into())])
}

/// A monitor merged over the preset that it names.
pub(super) enum OverPreset {
    /// The preset's name, where it names one, and the merged monitor.
    Merged(Option<String>, Value),
    /// There is no such preset. The monitor is as it was.
    Unknown(Value),
}

/// The keys of a preset.
pub(super) fn members_of(name: &str) -> Option<Map<String, Value>> {
    let (_, text) = PRESETS.iter().find(|(known, _)| *known == name)?;
    serde_json::from_str(text).ok()
}

pub(super) fn over_preset(monitor: Value) -> OverPreset {
    let Some(name) = monitor.get("preset").filter(|name| !name.is_null()) else {
        return OverPreset::Merged(None, monitor);
    };
    let Some((name, text)) = PRESETS.iter().find(|(known, _)| name == known) else {
        return OverPreset::Unknown(monitor);
    };
    #[expect(clippy::expect_used, reason = "a test reads all presets")]
    let mut merged: Value = serde_json::from_str(text).expect("a preset is JSON");
    // Keys of one type of authentication mean nothing to another type.
    let kind = monitor.pointer("/api/auth/type");
    if kind.is_some()
        && kind != merged.pointer("/api/auth/type")
        && let Some(api) = merged.get_mut("api").and_then(Value::as_object_mut)
    {
        api.remove("auth");
    }
    merge(&mut merged, monitor);
    OverPreset::Merged(Some((*name).to_owned()), merged)
}
