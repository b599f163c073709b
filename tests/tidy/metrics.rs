//! The metrics that dashboards, alerts and pages for operators name are metrics that farspan has.

use super::{root, sources};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn only_metrics_are_named_that_farspan_has() {
    let code: String = sources()
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut named = BTreeSet::new();
    for file in [
        "deploy/grafana/dashboards/farspan-metrics.json",
        "deploy/prometheus/farspan.rules.yml",
        "deploy/prometheus/farspan.test.yml",
        "docs/fleet.md",
        "docs/sizing.md",
        "docs/troubleshooting.md",
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_metric = |word: &&str| {
            let begins = ["farspan_", "cicd_", "process_"];
            begins.iter().any(|begin| word.starts_with(begin)) && !is_label(word)
        };
        named.extend(words.filter(is_metric).map(str::to_owned));
    }
    assert!(named.len() > 30, "{named:?}");
    let is_known = |name: &&String| {
        let parts = ["_bucket", "_count", ""];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        let family = family.unwrap_or(name);
        code.contains(&format!("\"{family}\""))
    };
    let unknown: Vec<&String> = named.iter().filter(|name| !is_known(name)).collect();
    assert!(
        unknown.is_empty(),
        "farspan has no such metrics: {unknown:?}"
    );
}

/// Names of labels that begin as names of metrics do.
fn is_label(word: &str) -> bool {
    [
        "cicd_pipeline_name",
        "cicd_pipeline_result",
        "cicd_pipeline_run_state",
    ]
    .contains(&word)
}
