//! A container of farspan's image as a plain process: its arguments, its environment and what the Dockerfile adds to
//! them. What only a container has (names of other containers, paths of volumes) is replaced by what the test has.

use super::program::{Call, farspan};
use serde_json::Value;
use std::collections::BTreeMap;
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

/// The variables of the Dockerfile's last stage. Its entrypoint is farspan itself.
#[track_caller]
fn environment_of_image() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let file = std::fs::read_to_string(path).expect("the Dockerfile");
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
