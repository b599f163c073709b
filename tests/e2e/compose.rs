//! `deploy/compose`: each container of farspan's image runs as a plain process, with the arguments and the environment
//! that docker-compose reads from the file, beside a real Redis and a real Prometheus.

use crate::metrics::ask;
use crate::support::container::{Container, text, texts};
use crate::support::folder::Folder;
use crate::support::free_port;
use crate::support::program::{Call, Farspan, program};
use crate::support::receiver::Receiver;
use crate::support::redis::RedisServer;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file as docker-compose reads it, with the demo's API in a hurry.
fn services() -> Value {
    let program = root().join("target/deploy-check/venv/bin/docker-compose");
    let output = Command::new(&program)
        .args([
            "--file",
            "deploy/compose/compose.yaml",
            "config",
            "--format",
            "json",
        ])
        .env("DEMO_SPEED", "5000")
        .current_dir(root())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run tests/deploy/validators",
            program.display()
        )
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What the containers find under their names and paths.
struct Place {
    redis: RedisServer,
    receiver: Receiver,
    folder: Folder,
    api: String,
    admin: String,
    token: String,
}

impl Place {
    fn new(config: &Value) -> Self {
        Place {
            redis: RedisServer::start(),
            receiver: Receiver::start(),
            folder: Folder::new(),
            api: format!("127.0.0.1:{}", free_port()),
            admin: format!("127.0.0.1:{}", free_port()),
            token: text(&config["secrets"]["admin-token"]["file"]),
        }
    }

    fn farspan(&self, service: &Value) -> Call {
        let redis = format!("127.0.0.1:{}", self.redis.port());
        let collector = self.receiver.server.address().to_string();
        let state = self.folder.path().join("state").display().to_string();
        let places = [
            ("redis:6379", &*redis),
            ("api:8080", &self.api),
            ("tempo:4318", &collector),
            ("0.0.0.0:9464", &self.admin),
            ("/run/secrets/admin-token", &self.token),
            ("/state", &state),
        ];
        Container::of_compose(service).with_places(&places).call()
    }

    /// The Prometheus of the file, by its own arguments and files, at this address.
    fn prometheus(&self, service: &Value, address: &str) -> Farspan {
        let folder = self.folder.path().join("prometheus");
        fs::create_dir(&folder).expect("the folder is ours");
        let mut words = texts(&service["command"]);
        for mount in service["volumes"].as_array().expect("volumes") {
            let target = text(&mount["target"]);
            let name = Path::new(&target).file_name().expect("a name");
            let own = folder.join(name).display().to_string();
            if mount["type"] == "bind" {
                let file = fs::read_to_string(text(&mount["source"])).expect("a file");
                let file = file.replace("farspan:9464", &self.admin);
                fs::write(&own, file.replace("/run/secrets/admin-token", &self.token))
                    .expect("ours");
            }
            for word in &mut words {
                *word = word.replace(&format!("={target}"), &format!("={own}"));
            }
        }
        words.push(format!("--web.listen-address={address}"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        program("prometheus", &words).start()
    }
}

#[test]
fn each_container_of_ours_runs_as_a_process_until_a_trace_is_whole_and_prometheus_leads_to_it() {
    let config = services();
    let (services, place) = (&config["services"], Place::new(&config));
    let api = Container::of_compose(&services["api"]);
    let api = api
        .with_places(&[("0.0.0.0:8080", &place.api)])
        .call()
        .start();
    let farspan_call = place.farspan(&services["farspan"]);
    let farspan = farspan_call.start();
    // What starts the load: the file's own check of farspan's health.
    let check = texts(&services["farspan"]["healthcheck"]["test"]);
    assert_eq!(check[..2], ["CMD", "/farspan"]);
    let check: Vec<&str> = check[2..].iter().map(String::as_str).collect();
    let check = farspan_call.clone().with_arguments(&check);
    eventually("farspan is healthy", SOON, || {
        let ended = check.output();
        (ended.code() == Some(0)).then_some(()).ok_or(ended.stderr)
    });
    let redis = format!("127.0.0.1:{}", place.redis.port());
    let load = Container::of_compose(&services["load"]);
    let load = load.with_places(&[("redis:6379", &redis)]).call().start();

    let address = format!("127.0.0.1:{}", free_port());
    let prometheus = place.prometheus(&services["prometheus"], &address);
    let id = eventually("a whole trace", 2 * SOON, || {
        place.receiver.root_ids().into_iter().next()
    });
    let spans = place.receiver.spans();
    let spans: Vec<_> = spans
        .into_iter()
        .filter(|span| span.workflow_id() == id)
        .collect();
    assert_whole(&spans);
    let resource = &spans[0].resource;
    assert_eq!(resource["service.name"], "risk-engine");
    assert_eq!(resource["service.namespace"], "demo");

    let query = "/api/v1/query_exemplars?query=cicd_pipeline_run_duration_seconds_bucket&start=0&end=9999999999";
    let trace_id = eventually("an exemplar leads to a trace", 2 * SOON, || {
        let answer = ask(&address, query)?;
        let id = &answer["data"][0]["exemplars"][0]["labels"]["trace_id"];
        id.as_str().map(str::to_owned).ok_or(answer.to_string())
    });
    let has_it = |id: &str| {
        let spans = place.receiver.spans();
        let hex = |id: &[u8]| {
            id.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        spans.iter().any(|span| hex(&span.span.trace_id) == id)
    };
    // A run counts when it ends, and its spans leave a little later.
    eventually("the collector has the exemplar's trace", SOON, || {
        has_it(&trace_id)
            .then_some(())
            .ok_or_else(|| trace_id.clone())
    });
    let rules = ask(&address, "/api/v1/rules")
        .expect("an answer")
        .to_string();
    assert!(rules.contains("FarspanExportsNothing"), "{rules}");
    prometheus.stop();
    farspan.stop();
    load.stop();
    api.stop();
}

#[test]
fn the_file_mounts_files_that_are_there_and_names_versions_and_this_hosts_ports() {
    let config = services();
    let ours = format!("farspan:{}", env!("CARGO_PKG_VERSION"));
    for (name, service) in config["services"].as_object().expect("services") {
        let image = text(&service["image"]);
        let (_, version) = image.split_once(':').expect("a version");
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit() || c == 'v'),
            "{image}"
        );
        assert_eq!(service["build"].is_null(), image != ours, "{name}");
        for mount in service["volumes"].as_array().into_iter().flatten() {
            // Docker makes a folder in the place of a file that is missing.
            let path = PathBuf::from(text(&mount["source"]));
            assert!(
                mount["type"] == "volume" || path.exists(),
                "{name}: {mount}"
            );
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
    }
}
