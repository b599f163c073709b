//! A container of farspan's image as a plain process: its arguments, its environment and what the Dockerfile adds to
//! them. What only a container has (names of other containers, paths of volumes) is replaced by what the test has.

use super::program::{Call, farspan};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[derive(Clone, Debug)]
pub struct Container {
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

impl Container {
    /// A service of `docker-compose config --format json`.
    #[track_caller]
    pub fn of_compose(service: &Value) -> Self {
        assert!(service["entrypoint"].is_null(), "{service}");
        let mut environment = environment_of_image();
        for (name, value) in service["environment"].as_object().into_iter().flatten() {
            environment.insert(name.clone(), text(value));
        }
        Container {
            arguments: texts(&service["command"]),
            environment,
        }
    }

    /// A container of a pod, its volumes below `pod.root`.
    #[track_caller]
    pub fn of_pod(pod: &Pod<'_>, spec: &Value, container: &Value) -> Self {
        assert!(container["command"].is_null(), "{container}");
        let mut environment = environment_of_image();
        for variable in container["env"].as_array().into_iter().flatten() {
            let from = &variable["valueFrom"];
            let value = match (&from["fieldRef"]["fieldPath"], &from["secretKeyRef"]) {
                (Value::String(path), _) if path == "metadata.name" => pod.name.to_owned(),
                (Value::Null, Value::Null) => text(&variable["value"]),
                (_, key) => pod.secret(&key["name"], &key["key"]),
            };
            environment.insert(text(&variable["name"]), value);
        }
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        let moved: Vec<(&Value, String, String)> = mounts
            .map(|mount| {
                let path = text(&mount["mountPath"]);
                let own = pod.root.join(path.trim_start_matches('/'));
                (&mount["name"], path, own.display().to_string())
            })
            .collect();
        let here = |text: &str| {
            let places = moved.iter();
            places.fold(text.to_owned(), |text, (_, path, own)| {
                text.replace(path, own)
            })
        };
        for (volume, _, own) in &moved {
            pod.fill(spec, volume, Path::new(own), here);
        }
        for value in environment.values_mut() {
            *value = here(value);
        }
        let of_pod = environment
            .values()
            .filter(|value| value.starts_with("/etc/"));
        assert_eq!(of_pod.count(), 0, "not mounted: {environment:?}");
        Container {
            arguments: texts(&container["args"]),
            environment,
        }
    }

    /// The arguments of a `docker run`. An option that is not known here is a mistake of the test.
    #[track_caller]
    pub fn of_docker_run(words: &[String]) -> Self {
        const WITH_VALUE: [&str; 7] = [
            "--cap-drop",
            "--name",
            "--publish",
            "--restart",
            "--stop-timeout",
            "--ulimit",
            "--volume",
        ];
        let mut environment = environment_of_image();
        let mut words = words.iter().map(String::as_str);
        assert_eq!(words.next(), Some("run"));
        let image = loop {
            match words.next().expect("an image") {
                "--env" => {
                    let pair = words.next().and_then(|pair| pair.split_once('='));
                    let (name, value) = pair.expect("NAME=VALUE");
                    environment.insert(name.to_owned(), value.to_owned());
                }
                option if WITH_VALUE.contains(&option) => {
                    words.next().expect("a value");
                }
                "--read-only" => {}
                image => break image,
            }
        };
        assert_eq!(image, "farspan");
        let arguments: Vec<String> = words.map(str::to_owned).collect();
        let command = || vec!["run".to_owned()];
        Container {
            arguments: if arguments.is_empty() {
                command()
            } else {
                arguments
            },
            environment,
        }
    }

    /// With each of these replaced wherever it stands. A place that stands nowhere is a mistake of the test.
    #[track_caller]
    pub fn with_places(mut self, places: &[(&str, &str)]) -> Self {
        for (place, value) in places {
            let mut is_there = false;
            let words = self.arguments.iter_mut();
            for word in words.chain(self.environment.values_mut()) {
                is_there |= word.contains(place);
                *word = word.replace(place, value);
            }
            assert!(is_there, "{place} is not in {self:?}");
        }
        self
    }

    /// All of it, and nothing else.
    #[track_caller]
    pub fn call(&self) -> Call {
        let elsewhere = self.elsewhere();
        assert!(elsewhere.is_empty(), "not of this test: {elsewhere:?}");
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let call = farspan(&words).without("FARSPAN_ADMIN_LISTEN");
        let environment = self.environment.iter();
        environment.fold(call, |call, (name, value)| call.env(name, value))
    }

    /// URLs of other hosts than this one.
    fn elsewhere(&self) -> Vec<&String> {
        let words = self.arguments.iter().chain(self.environment.values());
        let is_elsewhere = |word: &&String| {
            let host = word.split_once("://").map(|(_, rest)| rest);
            host.is_some_and(|host| {
                !host.starts_with("127.0.0.1:") && !host.starts_with("localhost:")
            })
        };
        words.filter(is_elsewhere).collect()
    }
}

/// Where a pod's containers run.
pub struct Pod<'a> {
    pub name: &'a str,
    /// All manifests of the release.
    pub manifests: &'a Value,
    /// Name, key and content of each secret of the namespace.
    pub secrets: &'a [(&'a str, &'a str, &'a str)],
    /// Its volumes. A claim keeps what it has.
    pub root: &'a Path,
}

impl Pod<'_> {
    #[track_caller]
    fn secret(&self, name: &Value, key: &Value) -> String {
        let is_it = |(n, k, _): &&(&str, &str, &str)| name == n && key == k;
        let secret = self.secrets.iter().find(is_it);
        let (_, _, content) = secret.unwrap_or_else(|| panic!("no secret {name} with {key}"));
        (*content).to_owned()
    }

    /// Puts into this folder what the volume has. `here` replaces paths.
    #[track_caller]
    fn fill(&self, spec: &Value, volume: &Value, own: &Path, here: impl Fn(&str) -> String) {
        fs::create_dir_all(own).expect("the folder is ours");
        let write = |name: &str, content: &str| fs::write(own.join(name), content).expect("ours");
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        // What is none of these is a claim.
        for of_volume in volumes.filter(|it| it["name"] == *volume) {
            let secret = &of_volume["secret"];
            for item in secret["items"].as_array().into_iter().flatten() {
                let content = self.secret(&secret["secretName"], &item["key"]);
                write(&text(&item["path"]), &content);
            }
            if secret["items"].is_null() {
                let is_it = |(name, ..): &&(&str, &str, &str)| secret["secretName"] == *name;
                let keys = self.secrets.iter().filter(is_it);
                keys.for_each(|(_, key, content)| write(key, content));
            }
            if let Value::String(map) = &of_volume["configMap"]["name"] {
                let map = manifest(self.manifests, "ConfigMap", map);
                for (name, content) in map["data"].as_object().expect("data") {
                    write(name, &here(&text(content)));
                }
            }
        }
    }
}

/// The manifest of this kind and name.
#[track_caller]
pub fn manifest<'a>(manifests: &'a Value, kind: &str, name: &str) -> &'a Value {
    let all = manifests.as_array().expect("manifests");
    let is_it = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
    let found = all.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The variables of the Dockerfile's last stage. Its entrypoint is farspan itself.
#[track_caller]
fn environment_of_image() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let file = fs::read_to_string(path).expect("the Dockerfile");
    let (_, stage) = file
        .rsplit_once("\nFROM scratch\n")
        .expect("its last stage");
    assert!(stage.contains("\nENTRYPOINT [\"/farspan\"]\n"), "{stage}");
    let variables = stage.lines().filter_map(|line| line.strip_prefix("ENV "));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        (name.to_owned(), value.to_owned())
    };
    variables.map(pair).collect()
}

#[track_caller]
pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(text).collect()
}

#[track_caller]
pub fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_else(|| panic!("a text: {value}"));
    text.to_owned()
}
