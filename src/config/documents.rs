//! `docs/farspan.schema.json` and the tables of `docs/settings.md` and `docs/configuration.md`, made from the two tables of
//! keys. `UPDATE_EXPECT=1 cargo test --lib documents` writes the files.

use super::keys::{AUTH, ConfigKey, Group, KeyKind, MONITOR, PAGES, REQUEST, Rule, STAGES};
use super::monitor::PRESETS;
use super::settings::{self, RELOADED, SETTINGS, Setting};
use expect_test::expect_file;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The objects that several keys have.
const SHARED: [&Group; 4] = [&AUTH, &REQUEST, &PAGES, &STAGES];

#[test]
fn the_schema_is_made_from_the_tables() {
    let mut text = String::new();
    print(&schema(), 0, &mut text);
    text.push('\n');
    expect_file!["../../docs/farspan.schema.json"].assert_eq(&text);
}

#[test]
fn the_environment_file_is_made_from_the_table() {
    let text = settings::environment_file();
    expect_file!["../../systemd/farspan.env"].assert_eq(&text);
    // As it stands it sets nothing, and each default in it is a value that farspan takes.
    let lines = text.lines().filter(|line| !line.is_empty());
    let is_set = |line: &&str| !line.starts_with('#');
    assert_eq!(lines.clone().filter(is_set).count(), 0, "{text}");
    let written = lines.filter_map(|line| line.strip_prefix('#'));
    let pairs: Vec<_> = written.filter_map(|line| line.split_once('=')).collect();
    let pairs = pairs.into_iter().filter(|(name, _)| !name.contains(' '));
    let environment = crate::os::environment::Environment::from_pairs(pairs.clone());
    let config = crate::config::Config::load(&environment, None).unwrap();
    assert_eq!(config.poll.pollers, 16);
    assert_eq!(pairs.count(), SETTINGS.len());
}

#[test]
fn the_start_of_init_is_taken() {
    let start: Value = serde_json::from_str(crate::config::START).unwrap();
    assert_eq!(start["$schema"], "./farspan.schema.json");
    let presets = PRESETS.iter().map(|(name, _)| *name);
    let about = start["monitors"][0]["description"].as_str().unwrap();
    let about = about.to_lowercase().replace(' ', "-");
    for preset in presets.filter(|preset| *preset != "farspan") {
        assert!(about.contains(preset), "{preset}");
    }
}

#[test]
fn the_tables_of_the_documents_are_made_from_the_tables() {
    let page = include_str!("../../docs/settings.md");
    expect_file!["../../docs/settings.md"].assert_eq(&with_tables(page, &mut |_| settings_table()));
    let page = include_str!("../../docs/configuration.md");
    let mut made = Vec::new();
    let text = with_tables(page, &mut |name| {
        made.push(name.to_owned());
        let all = all_groups();
        let group = all.iter().find(|group| group.name == name).expect(name);
        keys_table(group)
    });
    expect_file!["../../docs/configuration.md"].assert_eq(&text);
    let missing = all_groups()
        .into_iter()
        .filter(|group| !made.iter().any(|name| name == group.name));
    let missing: Vec<_> = missing.map(|group| group.name).collect();
    assert!(missing.is_empty(), "no table in the page: {missing:?}");
}

#[test]
fn everything_is_described_in_a_sentence() {
    for group in all_groups() {
        assert!(group.about.ends_with('.'), "{}", group.name);
        for key in group.keys {
            assert!(key.about().ends_with('.'), "{}.{}", group.name, key.name);
        }
    }
    for setting in SETTINGS {
        assert!(!setting.about.is_empty(), "{}", setting.name());
    }
}

/// Prints JSON with what fits into a line on one line.
fn print(value: &Value, indent: usize, text: &mut String) {
    const COLUMNS: usize = 120;
    let flat = value.to_string();
    let (brackets, members): (&str, Vec<(String, &Value)>) = match value {
        _ if indent > 0 && indent + flat.len() <= COLUMNS => return text.push_str(&flat),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| (format!("{key:?}: "), value));
            ("{}", members.collect())
        }
        Value::Array(elements) => ("[]", elements.iter().map(|e| (String::new(), e)).collect()),
        _ => return text.push_str(&flat),
    };
    text.push_str(&brackets[..1]);
    for (number, (key, value)) in members.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(text, "{comma}\n{:1$}{key}", "", indent + 2);
        print(value, indent + 2, text);
    }
    let _ = write!(text, "\n{:indent$}{}", "", &brackets[1..]);
}

/// All keys of a monitor, as `.api.auth.token`; `*` stands for the user's words.
pub(super) fn all_keys() -> std::collections::BTreeSet<String> {
    fn walk(kind: &KeyKind, at: &str, keys: &mut std::collections::BTreeSet<String>) {
        match kind {
            KeyKind::Group(group) => {
                for key in group.keys {
                    let at = format!("{at}.{}", key.name);
                    // Two levels of stages are enough.
                    if at.matches(".stages").count() <= 2 || key.name != "stages" {
                        walk(&key.kind, &at, keys);
                    }
                    keys.insert(at);
                }
            }
            KeyKind::List(kind) => walk(kind, at, keys),
            KeyKind::ByName(kind) | KeyKind::ByPointer(kind) => {
                walk(kind, &format!("{at}.*"), keys)
            }
            _ => {}
        }
    }
    let mut keys = std::collections::BTreeSet::new();
    walk(&KeyKind::Group(&MONITOR), "", &mut keys);
    keys
}

/// The page, with a new table between each `<!-- table: NAME -->` and the next `<!-- end -->`.
fn with_tables(page: &str, table: &mut dyn FnMut(&str) -> String) -> String {
    const BEGIN: &str = "<!-- table: ";
    const END: &str = "<!-- end -->";
    let mut parts = page.split(BEGIN);
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").unwrap();
        let (_, rest) = rest.split_once(END).expect(name);
        let _ = write!(text, "{BEGIN}{name} -->\n{}{END}{rest}", table(name));
    }
    text
}

fn settings_table() -> String {
    let mut text = String::from("| variable | key | default | |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let names: Vec<String> = setting.env.iter().rev().map(|name| code(name)).collect();
        let reload = if RELOADED.contains(&setting.name()) {
            ". A reload applies it"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}{reload} |",
            names.join(", or "),
            code(setting.key.unwrap_or_default()),
            code(setting.default),
            setting.about.replace('|', "\\|"),
        );
    }
    text
}

fn keys_table(group: &Group) -> String {
    let mut text = String::from("| key | value | default | |\n|---|---|---|---|\n");
    for key in group.keys {
        let default = match key.default {
            "" => String::new(),
            text => format!("`{}`", text.trim_matches('"')),
        };
        let (name, value, about) = (key.name, value_of(&key.kind), key.about());
        let _ = writeln!(text, "| `{name}` | {value} | {default} | {about} |");
    }
    text
}

/// The kind of a value, in words.
fn value_of(kind: &KeyKind) -> String {
    let words = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    match kind {
        KeyKind::Text | KeyKind::Label => "text".into(),
        KeyKind::Secret => "secret".into(),
        KeyKind::Name => "1 to 64 of `A-Z a-z 0-9 _ - .`".into(),
        KeyKind::Preset => "a preset's name".into(),
        KeyKind::Url => "URL".into(),
        KeyKind::RequestPath => "path".into(),
        KeyKind::Flag => "boolean".into(),
        KeyKind::Integer(least, u32::MAX) => format!("{least} or more"),
        KeyKind::Integer(least, most) => format!("{least} to {most}"),
        KeyKind::Number(least, most) => format!("{least} to {most}"),
        KeyKind::Duration => "duration".into(),
        KeyKind::Pointer => "pointer".into(),
        KeyKind::Pointers => "pointers".into(),
        KeyKind::IdPointers => "pointer, or one for each part".into(),
        KeyKind::Values => "value, or an array".into(),
        KeyKind::Texts => "text, or an array".into(),
        KeyKind::Words(known) => words(known),
        KeyKind::Unset => "array of numbers and texts".into(),
        KeyKind::Json => "any JSON".into(),
        KeyKind::Group(_) => "object".into(),
        KeyKind::List(KeyKind::Words(known)) => format!("array of {}", words(known)),
        KeyKind::List(_) => "array of objects".into(),
        KeyKind::ByName(kind) => format!("by name: {}", value_of(kind)),
        KeyKind::ByPointer(kind) => format!("by pointer: {}", value_of(kind)),
    }
}

/// The monitor and all objects in it.
fn all_groups() -> Vec<&'static Group> {
    fn visit(kind: &'static KeyKind, all: &mut Vec<&'static Group>) {
        match kind {
            KeyKind::Group(group) if all.iter().all(|known| known.name != group.name) => {
                all.push(group);
                group.keys.iter().for_each(|key| visit(&key.kind, all));
            }
            KeyKind::List(kind) | KeyKind::ByName(kind) | KeyKind::ByPointer(kind) => {
                visit(kind, all)
            }
            _ => {}
        }
    }
    static ROOT: KeyKind = KeyKind::Group(&MONITOR);
    let mut all = Vec::new();
    visit(&ROOT, &mut all);
    all
}

fn schema() -> Value {
    let mut defs = Map::new();
    for group in SHARED {
        defs.insert(group.name.into(), described(object(group), group.about));
    }
    defs.insert("monitor".into(), described(object(&MONITOR), MONITOR.about));
    defs.extend(values());
    let mut properties = Map::new();
    properties.insert(
        "$schema".into(),
        json!({"type": "string", "description": "For editors; ignored."}),
    );
    properties.insert(
        settings::MONITORS.into(),
        json!({
            "type": "array",
            "maxItems": 256,
            "description": "The monitors. Without any there is one, called `default`: the preset `farspan` at `api`.",
            "items": {"$ref": "#/$defs/monitor"},
        }),
    );
    for setting in SETTINGS {
        let Some(key) = setting.key else { continue };
        let Some((group, key)) = key.split_once('.') else {
            properties.insert(key.into(), of_setting(setting));
            continue;
        };
        let empty = json!({"type": "object", "additionalProperties": false, "properties": {}, "description": "A group of settings."});
        let group = properties.entry(group).or_insert(empty);
        group["properties"][key] = of_setting(setting);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "farspan's configuration file",
        "description": "Every key is optional. The environment beats the file. Durations are 500ms, 5s, 10m, 12h, 1d, or several as in 1h30m.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "$defs": defs,
    })
}

/// The kinds of values that have a name in the schema.
fn values() -> [(String, Value); 4] {
    let single = ["string", "number", "boolean"];
    let one_or_several =
        |one: Value, several: Value| json!({"anyOf": [one, {"type": "array", "items": several}]});
    let pointer = json!({"$ref": "#/$defs/pointer"});
    [
        (
            "duration".into(),
            json!({
                "type": "string",
                "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$",
                "examples": ["500ms", "10s", "1h30m"],
                "description": "A length of time.",
            }),
        ),
        (
            "pointer".into(),
            json!({
                "type": "string",
                "pattern": "^(/([^/~]|~[01])*)*$",
                "examples": ["/state", "/attempts/0/startTime"],
                "description": "A JSON Pointer, RFC 6901.",
            }),
        ),
        (
            "pointers".into(),
            described(
                one_or_several(pointer.clone(), pointer),
                "A JSON Pointer, or several in order of preference: the first counts that leads to something which is neither null nor unset.",
            ),
        ),
        (
            "values".into(),
            described(
                one_or_several(
                    json!({"type": ["string", "number", "boolean", "null"]}),
                    json!({"type": single}),
                ),
                "A value, or several. Numbers and booleans may be written as texts.",
            ),
        ),
    ]
}

fn of_setting(setting: &Setting) -> Value {
    let default = match setting.kind {
        settings::SettingKind::Number(..) => setting
            .default
            .parse::<u32>()
            .map_or(Value::Null, Value::from),
        _ => setting.default.into(),
    };
    let mut schema = match setting.kind {
        settings::SettingKind::Duration => json!({"$ref": "#/$defs/duration"}),
        settings::SettingKind::Words(words) => json!({ "enum": words }),
        settings::SettingKind::Number(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        settings::SettingKind::Size => json!({"anyOf": [
            {"type": "integer", "minimum": crate::core::limits::STATE_BYTES_LEAST},
            {"type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)?$"},
        ]}),
        _ => json!({"type": "string"}),
    };
    if !setting.default.is_empty() {
        schema["default"] = default;
    }
    described(schema, setting.about)
}

fn described(mut schema: Value, about: &str) -> Value {
    schema["description"] = about.into();
    schema
}

fn object(group: &Group) -> Value {
    let properties = group
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), of_key(group, key)));
    let properties: Map<String, Value> = properties.collect();
    let mut schema =
        json!({"type": "object", "additionalProperties": false, "properties": properties});
    match group.rule {
        Rule::None => {}
        Rule::Required(key) => schema["required"] = json!([key]),
        Rule::Monitor => {
            schema["required"] = json!(["name"]);
            schema["anyOf"] =
                json!([{"required": ["preset"]}, {"required": ["request", "workflow"]}]);
        }
        Rule::OneOf(keys) => {
            let one =
                |key: &&str| json!({"required": [key], "properties": {*key: {"type": "string"}}});
            let ways: Vec<Value> = keys.iter().map(one).collect();
            schema["if"] = json!({"type": "object"});
            schema["then"] = json!({ "oneOf": ways });
        }
        Rule::By(key, words) => {
            let rules = words.iter().map(|(word, keys)| {
                let is_it = json!({"properties": {key: {"const": word}}, "required": [key]});
                json!({"if": is_it, "then": {"propertyNames": {"enum": keys}}})
            });
            schema["allOf"] = rules.collect();
        }
    }
    schema
}

/// `null` is as good as absent, but for what is required.
fn of_key(group: &Group, key: &ConfigKey) -> Value {
    let is_required = match group.rule {
        Rule::Required(required) => required == key.name,
        Rule::Monitor => key.name == "name",
        _ => false,
    };
    let schema = of_kind(&key.kind);
    let mut schema = if is_required {
        schema
    } else {
        nullable(schema)
    };
    let parsed = |json: &str| serde_json::from_str::<Value>(json).expect(key.name);
    if !key.default.is_empty() {
        schema["default"] = parsed(key.default);
    }
    if !key.example.is_empty() {
        schema["examples"] = json!([parsed(key.example)]);
    }
    described(schema, key.about())
}

fn nullable(mut schema: Value) -> Value {
    if schema["$ref"].is_string() {
        return json!({"anyOf": [schema, {"type": "null"}]});
    }
    if let Some(all) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        all.push(json!({"type": "null"}));
    } else if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    } else if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
    schema
}

fn of_kind(kind: &KeyKind) -> Value {
    let named = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    match kind {
        KeyKind::Text => json!({"type": "string"}),
        KeyKind::Label => json!({"type": "string", "minLength": 1, "maxLength": 256}),
        KeyKind::Secret => json!({"type": "string", "writeOnly": true}),
        KeyKind::Name => text("^[A-Za-z0-9_.-]{1,64}$"),
        KeyKind::Preset => {
            json!({"enum": PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>()})
        }
        KeyKind::Url => text("^[Hh][Tt][Tt][Pp][Ss]?://"),
        KeyKind::RequestPath => text("^/"),
        KeyKind::Flag => json!({"type": "boolean"}),
        KeyKind::Integer(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        KeyKind::Number(least, most) => {
            json!({"type": "number", "minimum": least, "maximum": most})
        }
        KeyKind::Duration => named("duration"),
        KeyKind::Pointer => named("pointer"),
        KeyKind::Pointers => named("pointers"),
        KeyKind::IdPointers => {
            let parts = nullable(named("pointer"));
            json!({"anyOf": [named("pointer"), {"type": "object", "additionalProperties": parts}]})
        }
        KeyKind::Values => named("values"),
        KeyKind::Texts => {
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
        }
        KeyKind::Words(words) => json!({ "enum": words }),
        KeyKind::Unset => json!({"type": "array", "items": {"type": ["integer", "string"]}}),
        KeyKind::Json => json!({}),
        KeyKind::Group(group) if SHARED.iter().any(|shared| shared.name == group.name) => {
            named(group.name)
        }
        KeyKind::Group(group) => object(group),
        KeyKind::List(kind) => json!({"type": "array", "items": of_kind(kind)}),
        KeyKind::ByName(kind) => {
            json!({"type": "object", "additionalProperties": nullable(of_kind(kind))})
        }
        KeyKind::ByPointer(kind) => json!({
            "type": "object",
            "additionalProperties": of_kind(kind),
            "propertyNames": {"$ref": "#/$defs/pointer"},
        }),
    }
}
