//! The house's rules, as far as clippy does not know them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/face.rs"]
mod face;
#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/operators.rs"]
mod operators;

#[allow(dead_code, reason = "its main is that of the build")]
#[path = "../deploy/build.rs"]
mod build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From the bottom up. A module imports from the layers below its own: edges do not know each other. A name with a
/// slash is one file of a module.
const LAYERS: [(&str, &[&str]); 11] = [
    ("the build", &["features"]),
    ("how people write values", &["syntax"]),
    ("core", &["core"]),
    ("the host", &["os"]),
    (
        "protocols and texts",
        &[
            "http",
            "mapping",
            "redis_client",
            "terminal/line",
            "terminal/waterfall",
        ],
    ),
    ("the monitored APIs and the metrics", &["api", "metrics"]),
    (
        "edges",
        &["admin", "deliver", "intake", "store", "terminal"],
    ),
    ("the configuration", &["config"]),
    ("the service and the command line", &["cli", "run"]),
    ("commands", &["command", "demo"]),
    (
        "the face, and the program",
        &["dispatch", "embed", "main", "lib"],
    ),
];

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for file in sources() {
        let name = name_of(&file);
        let own = layer_of(&name);
        for (line, import) in imports(&file) {
            let module = import.split("::").next().unwrap();
            let path = import.replacen("::", "/", 1);
            // A file of its own layer beats its module's.
            let named = LAYERS.iter().enumerate();
            let named = named.flat_map(|(layer, (_, names))| names.iter().map(move |n| (layer, n)));
            let matching = named.filter(|(_, n)| **n == module || path.starts_with(**n));
            let imported = matching
                .max_by_key(|(_, n)| n.len())
                .map(|(layer, _)| layer);
            let Some(imported) = imported else { continue };
            let top = name.split('/').next().unwrap();
            let same = top == module;
            if !(imported < own || same) {
                wrong.push(format!(
                    "{}:{line}: {name} imports {import}",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_core_and_the_protocols_of_the_simulation_are_pure() {
    const PURE: [&str; 6] = [
        "core",
        "store/fleet/call",
        "store/fleet/protocol",
        "store/fleet/runs",
        "store/fleet/takeover",
        "intake/entries",
    ];
    const IMPURE: [&str; 14] = [
        "clock::",
        "std::net",
        "std::fs",
        "std::io",
        "std::env",
        "std::thread",
        "std::process",
        "std::sync::Mutex",
        "std::sync::mpsc",
        "SystemTime",
        "Instant",
        "crossbeam",
        "serde",
        "log::",
    ];
    let mut wrong = Vec::new();
    let is_pure = |file: &PathBuf| {
        let name = name_of(file);
        let is_in = |room: &str| name == room || name.starts_with(&format!("{room}/"));
        PURE.into_iter().any(is_in)
    };
    for file in sources().into_iter().filter(is_pure) {
        for (number, line) in code_of(&file) {
            if let Some(impure) = IMPURE.iter().find(|impure| line.contains(*impure)) {
                wrong.push(format!("{}:{number}: {impure}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn one_file_reads_the_environment() {
    let mut wrong = Vec::new();
    for file in sources() {
        let name = name_of(&file);
        if name == "os/environment" {
            continue;
        }
        for (number, line) in code_of(&file) {
            if line.contains("env::var") {
                wrong.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// docs/settings.md names every variable that farspan knows, and none that it does not know.
#[test]
fn the_page_of_settings_names_every_setting() {
    let help = Command::new(env!("CARGO_BIN_EXE_farspan"))
        .args(["help", "settings"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known = variables(&help, "FARSPAN_");
    assert!(known.len() > 10, "{known:?}");
    let page = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let named = variables(&page, "FARSPAN_");
    let missing: Vec<_> = known.iter().filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "not in docs/settings.md: {missing:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "only in docs/settings.md: {unknown:?}");
}

/// systemd kills what has not ended by then.
#[test]
fn the_unit_gives_a_stop_its_time() {
    let unit = fs::read_to_string(root().join("systemd/farspan.service")).unwrap();
    let setting = |name: &str| -> u64 {
        let line = unit.lines().find_map(|line| line.strip_prefix(name));
        let seconds = line.and_then(|value| value.strip_suffix('s'));
        seconds.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
    };
    let longest = farspan::run::STOP_MAX.as_secs();
    assert!(setting("TimeoutStopSec=") > longest + 1);
    assert!(setting("WatchdogSec=") > 10);
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nStateDirectory=farspan\n"));
}

/// Docker and Kubernetes kill what has not ended by then.
#[test]
fn the_containers_give_a_stop_its_time() {
    for (file, key) in [
        ("deploy/compose/compose.yaml", "stop_grace_period: "),
        (
            "deploy/helm/farspan/templates/statefulset.yaml",
            "terminationGracePeriodSeconds: ",
        ),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .unwrap_or_else(|| panic!("{file}: {key}"));
        let seconds: u64 = value.trim_end_matches('s').parse().unwrap();
        assert!(seconds > farspan::run::STOP_MAX.as_secs() + 1, "{file}");
    }
}

/// Where `farspan run` in a clone keeps its state is no part of the source.
#[test]
fn the_state_is_left_out_of_the_source_and_of_the_image() {
    for (file, pattern) in [
        (".gitignore", "farspan-state"),
        (".dockerignore", "**/farspan-state"),
    ] {
        let ignored = fs::read_to_string(root().join(file)).unwrap();
        assert!(ignored.lines().any(|line| line == pattern), "{file}");
    }
}

#[test]
fn what_is_shipped_has_the_version_of_the_manifest() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("Dockerfile", format!("ARG VERSION={version}")),
        (
            "deploy/helm/farspan/Chart.yaml",
            format!("appVersion: \"{version}\""),
        ),
        (
            "deploy/compose/compose.yaml",
            format!("  image: farspan:{version}"),
        ),
        (
            "deploy/helm/farspan/Chart.yaml",
            format!("version: {version}"),
        ),
        (
            "deploy/helm/monitoring/Chart.yaml",
            format!("version: {version}"),
        ),
        (
            "docs/openapi.json",
            format!("    \"version\": \"{version}\","),
        ),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(text.lines().any(|it| it == line), "{file}: {line}");
    }
}

/// `farspan --version` names the commit of a clone, of a clone that was changed, and of a package without git.
#[test]
fn a_build_knows_its_commit() {
    let directory = std::env::temp_dir().join(format!("farspan-build-{}", std::process::id()));
    fs::create_dir_all(directory.join("src")).unwrap();
    assert_eq!(build::commit_of(&directory), None);
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let note = directory.join(".cargo_vcs_info.json");
    fs::write(
        &note,
        format!("{{\"git\": {{\"sha1\": \"{sha}\"}}, \"path_in_vcs\": \"\"}}"),
    )
    .unwrap();
    assert_eq!(build::commit_of(&directory).as_deref(), Some(&sha[..12]));
    fs::remove_file(note).unwrap();

    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let arguments = [&who[..], arguments].concat();
        let output = build::git_in(&directory, &arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::write(directory.join("src/main.rs"), "").unwrap();
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    assert_eq!(build::commit_of(&directory).as_deref(), Some(&*commit));
    fs::write(directory.join("src/main.rs"), "fn main() {}").unwrap();
    assert_eq!(
        build::commit_of(&directory),
        Some(format!("{commit}-changed"))
    );
    fs::remove_dir_all(directory).unwrap();
}

/// A core file would hold the tokens.
#[test]
fn the_unit_forbids_core_files() {
    let unit = fs::read_to_string(root().join("systemd/farspan.service")).unwrap();
    assert!(unit.contains("\nLimitCORE=0\n"));
}

/// Neither a missing file of variables nor a port that is taken for an hour ends the service for good.
#[test]
fn the_unit_tries_for_ever() {
    let unit = fs::read_to_string(root().join("systemd/farspan.service")).unwrap();
    for line in [
        "StartLimitIntervalSec=0",
        "EnvironmentFile=-/etc/farspan/farspan.env",
        "Restart=on-failure",
    ] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn the_manifest_and_the_licence_agree() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("license = \"Apache-2.0\""));
    let licence = fs::read_to_string(root().join("LICENSE")).unwrap();
    assert!(licence.contains("Apache License") && licence.contains("Version 2.0"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 30, "{files:?}");
    files
}

/// `core`, `core/wheel`, `demo/show`, `run`.
fn name_of(file: &Path) -> String {
    let path = file
        .strip_prefix(root().join("src"))
        .unwrap()
        .with_extension("");
    let name = path.to_str().unwrap();
    name.strip_suffix("/mod").unwrap_or(name).to_owned()
}

fn layer_of(name: &str) -> usize {
    let top = name.split('/').next().unwrap();
    let layer = LAYERS
        .iter()
        .rposition(|(_, names)| names.contains(&name) || names.contains(&top));
    // A file of its own layer beats its module's.
    let exact = LAYERS.iter().position(|(_, names)| names.contains(&name));
    exact
        .or(layer)
        .unwrap_or_else(|| panic!("{name} has no layer: give it one in tests/tidy.rs"))
}

/// The lines of a file up to its tests, without comments.
fn code_of(file: &Path) -> Vec<(usize, String)> {
    let name = name_of(file);
    if name.ends_with("/tests") {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.to_owned()));
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect()
}

/// Everything named by a path from the root of farspan or of one of its crates, as a path from the root of farspan.
fn imports(file: &Path) -> Vec<(usize, String)> {
    const CRATES: [&str; 3] = ["core", "mapping", "syntax"];
    let name = name_of(file);
    let room = name.split('/').next().unwrap();
    let own = if CRATES.contains(&room) { room } else { "" };
    let roots = CRATES.map(|it| (format!("farspan_{it}::"), it));
    let mut roots = Vec::from(roots);
    roots.extend([("crate::".into(), own), ("farspan::".into(), "")]);
    let mut imports = Vec::new();
    for (number, line) in code_of(file) {
        for (start, room) in &roots {
            for (at, _) in line.match_indices(start) {
                let rest = &line[at + start.len()..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                let path = &rest[..end.unwrap_or(rest.len())];
                let import = [room, path].into_iter().filter(|it| !it.is_empty());
                imports.push((number, import.collect::<Vec<_>>().join("::")));
            }
        }
    }
    imports
}

fn variables(text: &str, prefix: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
    let words = text.split(|c: char| !is_name(c));
    let mut names: Vec<String> = words
        .filter(|w| w.starts_with(prefix))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}
