//! docs/farspan.schema.json: it says what the parser says.

use super::super::PRESETS;
use super::*;
use crate::config::documents::all_keys;
use crate::syntax::json::{ASKED, merge};
use crate::syntax::pointer::Pointer;
use crate::syntax::values;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read(&path).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema() -> Value {
    read("docs/farspan.schema.json")
}

fn files_of(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(path).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The configurations among the examples: one for each preset, and what stands beside programs.
fn examples() -> Vec<PathBuf> {
    let entries = files_of("examples").into_iter();
    let (folders, mut files): (Vec<PathBuf>, Vec<_>) = entries.partition(|entry| entry.is_dir());
    assert_eq!(files.len(), PRESETS.len(), "{files:?}");
    // Other files of theirs are programs and answers of APIs.
    let beside = folders.iter().map(|folder| folder.join("farspan.json"));
    files.extend(beside.filter(|file| file.exists()));
    assert!(files.len() > PRESETS.len(), "{files:?}");
    files
}

/// What JSON Schema's keywords say that the schema uses; of any other it panics.
struct Validator<'s> {
    root: &'s Value,
}

impl Validator<'_> {
    /// The mistakes in a document.
    fn check(&self, document: &Value) -> Vec<String> {
        let mut mistakes = Vec::new();
        self.validate(self.root, document, "", &mut mistakes);
        mistakes
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut mistakes = Vec::new();
        self.validate(schema, value, "", &mut mistakes);
        mistakes.is_empty()
    }

    fn validate(&self, schema: &Value, value: &Value, at: &str, mistakes: &mut Vec<String>) {
        let schema = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return mistakes.push(format!("{at}: may not be there")),
            schema => schema.as_object().unwrap(),
        };
        for (keyword, said) in schema {
            self.keyword(keyword, said, schema, value, at, mistakes);
        }
    }

    fn keyword(
        &self,
        keyword: &str,
        said: &Value,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        mistakes: &mut Vec<String>,
    ) {
        let before = mistakes.len();
        let mut wrong = |is_wrong: bool| {
            if is_wrong {
                mistakes.push(format!("{at}: {keyword}: {said}"));
            }
        };
        let number = || (value.as_f64(), said.as_f64().unwrap());
        let members = || value.as_object().into_iter().flatten();
        let elements = || value.as_array().into_iter().flatten();
        match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples"
            | "writeOnly" | "then" => {}
            "type" => {
                let types = match said {
                    Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                wrong(
                    !types
                        .iter()
                        .any(|kind| is_of(kind.as_str().unwrap(), value)),
                );
            }
            "enum" => wrong(!said.as_array().unwrap().contains(value)),
            "const" => wrong(said != value),
            "minimum" => wrong(matches!(number(), (Some(value), least) if value < least)),
            "maximum" => wrong(matches!(number(), (Some(value), most) if value > most)),
            "minLength" | "maxLength" => {
                let length = value.as_str().map(|text| text.chars().count() as u64);
                let bound = said.as_u64().unwrap();
                let is_least = keyword == "minLength";
                wrong(length.is_some_and(|n| if is_least { n < bound } else { n > bound }));
            }
            "maxItems" => wrong(elements().count() as u64 > said.as_u64().unwrap()),
            "maxProperties" => wrong(members().count() as u64 > said.as_u64().unwrap()),
            "pattern" => {
                let fits = |text: &str| fits_pattern(said.as_str().unwrap(), text);
                wrong(value.as_str().is_some_and(|text| !fits(text)));
            }
            "required" => {
                let has = |key: &Value| value.get(key.as_str().unwrap()).is_some();
                let all = said.as_array().unwrap().iter().all(has);
                wrong(value.is_object() && !all);
            }
            "anyOf" => {
                let mut all = said.as_array().unwrap().iter();
                wrong(!all.any(|schema| self.fits(schema, value)));
            }
            "oneOf" => {
                let all = said.as_array().unwrap().iter();
                let fitting = all.filter(|schema| self.fits(schema, value)).count();
                wrong(value.is_object() && fitting != 1);
            }
            "allOf" => {
                for schema in said.as_array().unwrap() {
                    self.validate(schema, value, at, mistakes);
                }
            }
            "if" => {
                if self.fits(said, value) {
                    self.validate(&schema["then"], value, at, mistakes);
                }
            }
            "$ref" => {
                let pointer = said.as_str().unwrap().strip_prefix('#').unwrap();
                let schema = self.root.pointer(pointer).expect(pointer);
                self.validate(schema, value, at, mistakes);
            }
            "properties" => {
                for (key, value) in members() {
                    if let Some(schema) = said.get(key) {
                        self.validate(schema, value, &format!("{at}.{key}"), mistakes);
                    }
                }
            }
            "additionalProperties" => {
                for (key, value) in members() {
                    let known = schema.get("properties");
                    if known.is_none_or(|known| known.get(key).is_none()) {
                        self.validate(said, value, &format!("{at}.{key}"), mistakes);
                    }
                }
            }
            "propertyNames" => {
                for (key, _) in members() {
                    self.validate(said, &json!(key), &format!("{at}.{key}"), mistakes);
                }
            }
            "items" => {
                for (index, value) in elements().enumerate() {
                    self.validate(said, value, &format!("{at}[{index}]"), mistakes);
                }
            }
            unknown => panic!("the validator does not know {unknown}"),
        }
        assert!(mistakes.len() >= before);
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        unknown => panic!("no type {unknown}"),
    }
}

/// Each pattern is what the parser takes, as far as a pattern can say it.
fn fits_pattern(pattern: &str, text: &str) -> bool {
    match pattern {
        "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$" => values::duration(text).is_ok(),
        "^(/([^/~]|~[01])*)*$" => Pointer::parse(text).is_ok(),
        "^[A-Za-z0-9_.-]{1,64}$" => super::super::read::monitor_name(text).is_ok(),
        "^[0-9]+(KiB|MiB|GiB)?$" => values::bytes_within(text, 0..=u64::MAX, "").is_ok(),
        "^/" => text.starts_with('/'),
        "^[Hh][Tt][Tt][Pp][Ss]?://" => text.to_ascii_lowercase().starts_with("http"),
        unknown => panic!("the validator does not know {unknown}"),
    }
}

#[test]
fn every_preset_and_every_example_fits() {
    let schema = schema();
    let validator = Validator { root: &schema };
    for (name, text) in PRESETS {
        let mut monitor: Value = serde_json::from_str(text).unwrap();
        merge(&mut monitor, json!({"name": "m"}));
        let mistakes = validator.check(&json!({"monitors": [monitor]}));
        assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
    }
    for example in examples() {
        let document = read(&example);
        let mistakes = validator.check(&document);
        assert!(mistakes.is_empty(), "{}: {mistakes:#?}", example.display());
    }
}

/// They name files that are not here, which are others then.
#[test]
fn every_example_is_a_configuration() {
    fn elsewhere(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    match key.as_str() {
                        "certificate_file" => *value = "$D/roots.pem".into(),
                        key if key.ends_with("_file") => *value = "$D/secret".into(),
                        _ => elsewhere(value),
                    }
                }
            }
            Value::Array(elements) => elements.iter_mut().for_each(elsewhere),
            _ => {}
        }
    }
    for example in examples() {
        let mut document = read(&example);
        elsewhere(&mut document);
        let folder = Folder::with(&FILES);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["argo-server.argo".to_owned()];
        let roots = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        folder.write("roots.pem", &roots.pem());
        let config = load_in(&folder, &document.to_string(), &[]);
        let config = config.unwrap_or_else(|errors| panic!("{}: {errors}", example.display()));
        assert_eq!(config.monitors.len(), 1);
        let preset = config.monitors[0].written.preset.as_deref();
        assert_eq!(
            preset,
            example.file_stem().unwrap().to_str(),
            "one for each preset"
        );
    }
}

/// All keys that the parser asks for in a monitor, as `.api.auth.token`, `*` for the user's own words.
fn asked() -> BTreeSet<String> {
    let fields = json!({"attributes": {"x": "/x"}});
    let mut inner = json!({"list": "/l", "id": "/i", "parent": {}, "children": {}, "except": {}});
    merge(&mut inner, fields.clone());
    let mut stages = inner.clone();
    stages["stages"] = json!([inner]);
    let request = |pages: Value| json!({"path": "/x", "pages": pages});
    let monitor = |auth: Value, pages: Value| {
        json!({"name": "m", "api": {"headers": {}, "auth": auth.clone()}, "events": {}, "id": "{a}",
            "poll": {"interval_by_status": {}, "adaptive": {}, "gone": {}}, "request": request(pages.clone()),
            "requests": {"x": request(pages.clone())}, "refusals": {"not_found": {}}, "workflow": fields, "stages": [stages], "statuses": {}, "times": {},
            "spans": {}, "service": {"attributes": {}}, "trace_context": {}, "finished": {"auth": auth},
            "discovery": {"request": request(pages), "only": {}, "parameters": {}}})
    };
    let kinds = ["none", "bearer", "basic", "header", "oauth2", "login"];
    let ways = ["offset", "page", "cursor", "link"];
    let both = kinds.iter().zip(ways.iter().cycle());
    let monitors = both.map(|(kind, way)| monitor(json!({"type": kind}), json!({"by": way})));
    let monitors: Vec<_> = monitors.collect();
    ASKED.with_borrow_mut(BTreeSet::clear);
    let _ = load(&json!({"monitors": monitors}).to_string(), &[]);
    ASKED.with_borrow(|asked| {
        let asked = asked.iter().map(ToString::to_string);
        let asked = asked.map(|key| key.replace("[0]", "").replace(".x", ".*"));
        asked.map(|key| format!(".{key}")).collect()
    })
}

/// The table of keys, from which the schema is made, has what the parser asks for.
#[test]
fn the_parser_asks_for_the_keys_of_the_table_and_no_others() {
    let (asked, known) = (asked(), all_keys());
    assert!(asked.len() > 150, "{asked:?}");
    let untold: Vec<_> = asked.difference(&known).collect();
    assert!(untold.is_empty(), "not in the table: {untold:#?}");
    let invented: Vec<_> = known.difference(&asked).collect();
    assert!(invented.is_empty(), "only in the table: {invented:#?}");
}

/// What has the wrong shape has it for both.
#[test]
fn what_the_parser_refuses_the_schema_refuses() {
    let schema = schema();
    let validator = Validator { root: &schema };
    let good: Value = serde_json::from_str(&with(r#""description": "d""#)).unwrap();
    let document = |monitor: Value| json!({ "monitors": [monitor] });
    let refuses = |document: &Value| load(&document.to_string(), &[REDIS]).is_err();
    assert!(!refuses(&document(good.clone())));
    assert_eq!(validator.check(&document(good.clone())), [""; 0]);
    let wrongs = [
        json!({"name": null}),
        json!({"name": "a b"}),
        json!({"nam": "a"}),
        json!({"request": null}),
        json!({"workflow": null}),
        json!({"preset": "airfow"}),
        json!({"enabled": "yes"}),
        json!({"api": []}),
        json!({"api": {"base_url": "ftp://x"}}),
        json!({"api": {"base_uri": "x"}}),
        json!({"api": {"headers": {"a": 7}}}),
        json!({"api": {"requests_per_second": 0}}),
        json!({"api": {"auth": {"type": "bearer", "username": "x", "token": "x"}}}),
        json!({"api": {"auth": {"type": "digest"}}}),
        json!({"events": {"id": 7}}),
        json!({"events": {"redis_channel": ""}}),
        json!({"poll": {"interval": "5"}}),
        json!({"poll": {"interval": 5}}),
        json!({"poll": {"adaptive": {"share": 2}}}),
        json!({"poll": {"interval_by_status": {"queued": "soon"}}}),
        json!({"request": {"method": "PUT"}}),
        json!({"request": {"path": "runs"}}),
        json!({"request": {"pages": {"by": "link", "size": 7}}}),
        json!({"request": {"pages": {"by": "offset", "size": 0}}}),
        json!({"requests": {"a": {"path": "/a", "form_each": "b"}}}),
        json!({"workflow": {"status": "state"}}),
        json!({"workflow": {"status": ["/a", 7]}}),
        json!({"workflow": {"first_attempt": 2}}),
        json!({"workflow": {"attributes": {"a": "b"}}}),
        json!({"stages": [{"key": "/k"}]}),
        json!({"stages": [{"list": "/k", "stages": [{"lst": "/a"}]}]}),
        json!({"stages": [{"list": "/k", "id": "/i", "except": {"x": "y"}}]}),
        json!({"stages": {"list": "/k"}}),
        json!({"statuses": {"ok": "good"}}),
        json!({"unknown_status": "unknown"}),
        json!({"times": {"unset": [1.5]}}),
        json!({"times": {"format": "iso"}}),
        json!({"spans": {"status_ok": true}}),
        json!({"trace_context": {"use": "child"}}),
        json!({"discovery": {"request": {"path": "/r"}, "list": "r", "id": "/id"}}),
        json!({"finished": {"redis_channel": "a", "url": "http://x"}}),
    ];
    for wrong in wrongs {
        let mut monitor = good.clone();
        merge(&mut monitor, wrong.clone());
        let document = document(monitor);
        assert!(refuses(&document), "the parser takes {wrong}");
        assert!(
            !validator.check(&document).is_empty(),
            "the schema takes {wrong}"
        );
    }
    for wrong in [
        json!({"monitors": {}}),
        json!({"monitors": ["airflow"]}),
        json!({"monitor": []}),
        json!({"poll": {"interval": 10}}),
        json!({"poll": {"pollers": "16"}}),
        json!({"log": {"level": "loud"}}),
        json!({"api": "http://x"}),
    ] {
        assert!(refuses(&wrong), "the parser takes {wrong}");
        assert!(
            !validator.check(&wrong).is_empty(),
            "the schema takes {wrong}"
        );
    }
}

#[test]
fn the_page_names_every_preset() {
    let page = include_str!("../../../../docs/configuration.md");
    for (name, _) in PRESETS {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}
