//! What `deploy/` has for Prometheus and Grafana: each query can be parsed, by Prometheus' own tool and by Grafana's
//! parser of TraceQL, and names only attributes that farspan's spans have.

use crate::support::files::Files;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROMTOOL_MISSING: &str = "promtool is missing (Debian: prometheus); run tests/run";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn dashboard(name: &str) -> Value {
    let path = root().join("deploy/grafana/dashboards").join(name);
    let text = fs::read_to_string(&path).expect("a dashboard");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of this key, at any depth.
fn all_of(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == key => found.push(text.clone()),
                    value => all_of(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all_of(item, key, found)),
        _ => {}
    }
}

/// With the values that Grafana puts into a query.
fn filled(query: &str) -> String {
    [
        ("$__rate_interval", "5m"),
        ("$__range", "1h"),
        ("$job", ".*"),
        ("$instance", ".*"),
        ("$monitor", ".*"),
        ("$service", ".*"),
        ("$workflowId", ".*"),
        ("$where", "true"),
    ]
    .iter()
    .fold(query.to_owned(), |query, (name, value)| {
        query.replace(name, value)
    })
}

fn promql() -> Vec<String> {
    let mut found = Vec::new();
    all_of(&dashboard("farspan-metrics.json"), "expr", &mut found);
    assert!(found.len() > 30, "{} queries", found.len());
    found.iter().map(|query| filled(query)).collect()
}

fn traceql() -> Vec<String> {
    let mut found = Vec::new();
    let dashboard = dashboard("farspan-workflows.json");
    all_of(&dashboard["panels"], "query", &mut found);
    // A trace id stands for the whole query.
    found.retain(|query| query != "$trace");
    assert!(found.len() >= 6, "{} queries", found.len());
    found.iter().map(|query| filled(query)).collect()
}

#[track_caller]
fn promtool(arguments: &[&str], folder: &Path) -> Output {
    let call = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = call.expect(PROMTOOL_MISSING);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "promtool {arguments:?}: {out}{said}"
    );
    output
}

#[test]
fn the_alerts_load_and_fire_when_they_should() {
    let folder = root().join("deploy/prometheus");
    promtool(&["check", "rules", "farspan.rules.yml"], &folder);
    promtool(
        &["check", "config", "--syntax-only", "prometheus.yml"],
        &folder,
    );
    promtool(&["test", "rules", "farspan.test.yml"], &folder);
    // Each alert is seen firing.
    let rules = fs::read_to_string(folder.join("farspan.rules.yml")).expect("the rules");
    let tests = fs::read_to_string(folder.join("farspan.test.yml")).expect("their tests");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in alerts {
        let fires = tests.contains(&format!("alertname: {alert}\n        exp_alerts:"));
        assert!(fires, "no test in which {alert} fires");
    }
}

#[test]
fn prometheus_parses_each_query_of_the_dashboard() {
    let rules: Vec<Value> = promql()
        .iter()
        .enumerate()
        .map(|(n, query)| json!({"record": format!("query:{n}"), "expr": query}))
        .collect();
    // JSON is YAML.
    let files = Files::new();
    let path = files.write(
        "queries.yml",
        json!({"groups": [{"name": "queries", "rules": rules}]}).to_string(),
    );
    let folder = PathBuf::from(&path);
    promtool(
        &["check", "rules", &path],
        folder.parent().expect("a folder"),
    );
}

/// `tests/deploy/install` puts the parser into `target/`.
#[test]
fn grafana_parses_each_query_for_tempo() {
    let script = root().join("target/deploy-check/traceql.mjs");
    assert!(
        script.exists(),
        "{} is missing; run tests/deploy/install",
        script.display()
    );
    let parses = |queries: &[String]| {
        let mut node = Command::new("node")
            .arg(&script)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node is missing (Debian: nodejs); run tests/run");
        let mut stdin = node.stdin.take().expect("piped");
        stdin
            .write_all(json!(queries).to_string().as_bytes())
            .expect("its input");
        drop(stdin);
        let output = node.wait_with_output().expect("node");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (well, said) = parses(&traceql());
    assert!(well, "{said}");
    let (well, _) = parses(&["{ span.workflowId = }".to_owned()]);
    assert!(!well, "it takes anything");
}

/// The attributes that docs/spans.md names, with the braces there written out.
fn attributes() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/spans.md")).expect("docs/spans.md");
    let mut known = BTreeSet::new();
    for word in text.split('`').skip(1).step_by(2) {
        match word
            .split_once('{')
            .and_then(|(start, rest)| Some((start, rest.strip_suffix('}')?)))
        {
            Some((start, ends)) => known.extend(ends.split(',').map(|end| format!("{start}{end}"))),
            None => drop(known.insert(word.to_owned())),
        }
    }
    known
}

#[test]
fn the_queries_for_tempo_name_attributes_that_spans_have() {
    let known = attributes();
    for query in traceql() {
        let words = query.split(|c: char| !c.is_alphanumeric() && !"._".contains(c));
        for word in words {
            if let Some(attribute) = word.strip_prefix("span.") {
                assert!(known.contains(attribute), "{attribute} in {query}");
            }
            if let Some(attribute) = word.strip_prefix("resource.") {
                assert!(attribute.starts_with("service."), "{attribute} in {query}");
            }
        }
    }
}
