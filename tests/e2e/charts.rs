//! `deploy/helm/farspan`: the containers that Helm renders run as plain processes, with their arguments, environment,
//! secrets and volumes.

use crate::carriers::Door;
use crate::support::api::{processing, short_story};
use crate::support::container::{Container, Pod, manifest};
use crate::support::folder::Folder;
use crate::support::free_port;
use crate::support::program::Call;
use crate::support::receiver::Receiver;
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const TOKEN: (&str, &str, &str) = ("farspan-admin", "token", "open sesame");

/// The manifests of one render.
fn rendered(values: &str, settings: &[&str]) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("target/deploy-check/venv/bin/python"))
        .args(["tests/deploy/charts.py", "farspan", values])
        .args(settings)
        .current_dir(root)
        .output();
    let output = output.unwrap_or_else(|error| panic!("{error}; run tests/deploy/validators"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The only container of a workload.
fn container(pod: &Pod<'_>, workload: &Value, list: &str) -> Container {
    let spec = &workload["spec"]["template"]["spec"];
    Container::of_pod(pod, spec, &spec[list][0])
}

/// Each probe of the pod succeeds sooner or later.
#[track_caller]
fn await_probes(door: &Door, workload: &Value) {
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], container["ports"][0]["name"], "{get}");
        assert_eq!(container["ports"][0]["containerPort"], 9464);
        let path = get["path"].as_str().expect("a path");
        eventually(probe, SOON, || {
            let answer = door.ask("GET", path, &[], "");
            (answer.status == 200).then_some(()).ok_or(answer.body)
        });
    }
}

fn start(door: &Door, call: &Call) -> crate::support::program::Farspan {
    let farspan = call.start();
    eventually("it listens", SOON, || {
        std::net::TcpStream::connect(&door.address).map_err(|error| error.to_string())
    });
    farspan
}

#[test]
fn with_the_local_values_all_containers_run_and_an_upgrade_goes_on_with_the_state() {
    let settings = [
        "demo.workflows=4",
        "demo.speed=1500",
        "env.FARSPAN_POLL_INTERVAL=200ms",
    ];
    let manifests = rendered("local", &settings);
    let (redis, receiver, folder) = (RedisServer::start(), Receiver::start(), Folder::new());
    let door = Door::new();
    let api_address = format!("127.0.0.1:{}", free_port());
    let (redis_address, collector) = (
        format!("127.0.0.1:{}", redis.port()),
        receiver.server.address().to_string(),
    );
    let call_of = |manifests: &Value| {
        let pod = Pod {
            name: "farspan-0",
            manifests,
            secrets: &[TOKEN],
            root: folder.path(),
        };
        let watcher = container(
            &pod,
            manifest(manifests, "StatefulSet", "farspan"),
            "containers",
        );
        let places = [
            ("farspan-demo-api:8080", &*api_address),
            ("farspan-demo-redis:6379", &redis_address),
            ("monitoring-tempo.monitoring:4318", &collector),
            ("0.0.0.0:9464", &door.address),
        ];
        watcher.with_places(&places).call()
    };
    let of_demo = Pod {
        name: "demo",
        manifests: &manifests,
        secrets: &[],
        root: folder.path(),
    };
    let api = manifest(&manifests, "Deployment", "farspan-demo-api");
    let api = container(&of_demo, api, "containers");
    let api = api
        .with_places(&[("0.0.0.0:8080", &api_address)])
        .call()
        .start();
    let call = call_of(&manifests);
    let farspan = start(&door, &call);
    await_probes(&door, manifest(&manifests, "StatefulSet", "farspan"));

    let job = manifest(&manifests, "Job", "farspan-demo-load-1");
    let waits = container(&of_demo, job, "initContainers");
    let waits = waits
        .with_places(&[("farspan-pods:9464", &door.address)])
        .call()
        .output();
    assert_eq!(waits.code(), Some(0), "{waits:?}");
    let load = container(&of_demo, job, "containers");
    let load = load
        .with_places(&[("farspan-demo-redis:6379", &redis_address)])
        .call()
        .start();
    eventually("all are published and a stage has ended", SOON, || {
        receiver.spans().len() > 2
    });
    let load = load.wait(SOON);
    assert_eq!(load.code(), Some(0), "{load:?}");
    farspan.stop();
    let before = receiver.root_ids().len();
    assert!(before < 4, "the upgrade comes while workflows run");

    let newer = rendered("local", &[&settings[..], &["image.tag=0.2.0"]].concat());
    let farspan = start(&door, &call_of(&newer));
    eventually("all traces", 2 * SOON, || {
        let count = receiver.root_ids().len();
        (count == 4).then_some(()).ok_or(format!("{count} roots"))
    });
    receiver.assert_each_span_once();
    let spans = receiver.spans();
    assert_eq!(assert_whole(&spans).len(), 4);
    let resource = &spans[0].resource;
    assert_eq!(resource["service.name"], "risk-engine");
    assert_eq!(resource["service.namespace"], "farspan");
    farspan.stop();
    api.stop();
}

#[test]
fn with_the_cloud_values_farspan_reads_each_secret_and_traces_an_entry_of_the_stream() {
    let manifests = rendered(
        "cloud",
        &[
            "env.FARSPAN_POLL_INTERVAL=50ms",
            "env.FARSPAN_POLL_INITIAL_DELAY=10ms",
        ],
    );
    let (rig, folder, door) = (Rig::new(), Folder::new(), Door::new());
    let redis = rig.redis.url();
    let secrets = [
        TOKEN,
        ("risk-engine", "token", "for the API"),
        ("redis", "url", &*redis),
        ("otlp", "headers", "x-scope-orgid=rates"),
    ];
    let pod = Pod {
        name: "farspan-2",
        manifests: &manifests,
        secrets: &secrets,
        root: folder.path(),
    };
    let workload = manifest(&manifests, "StatefulSet", "farspan");
    let (api, collector) = (rig.api.base_url(), rig.receiver.server.url());
    let places = [
        ("https://risk-engine.example.com", &*api),
        ("https://otlp.example.com", &collector),
        ("https://grafana.example.com", "http://localhost:3000"),
        ("0.0.0.0:9464", &door.address),
    ];
    let call = container(&pod, workload, "containers")
        .with_places(&places)
        .call();
    let farspan = start(&door, &call);
    await_probes(&door, workload);
    rig.api.script("w", short_story("w"));
    rig.redis.add(
        "workflows-started",
        &json!({ "WorkflowId": "w" }).to_string(),
    );
    let trace = rig.trace("w");
    assert_eq!(trace.root.resource["service.namespace"], "rates");
    let export = &rig.receiver.exports()[0];
    assert_eq!(export.http.header("x-scope-orgid"), Some("rates"));
    let poll = &rig.api.requests_for("w")[0];
    assert_eq!(poll.header("authorization"), Some("Bearer for the API"));
    let metrics = door.ask(
        "GET",
        "/metrics",
        &[("Authorization", "Bearer open sesame")],
        "",
    );
    assert!(metrics.body.contains("farspan_lease_held 1"), "{metrics:?}");
    eventually("the entry is acknowledged", SOON, || {
        rig.redis.pending("workflows-started") == 0
    });
    farspan.stop();
}

#[test]
fn a_fleet_is_upgraded_pod_by_pod_and_goes_on_with_its_runs() {
    let manifests = rendered(
        "cloud",
        &[
            "env.FARSPAN_POLL_INTERVAL=50ms",
            "env.FARSPAN_POLL_INITIAL_DELAY=10ms",
        ],
    );
    let (rig, folder) = (Rig::new(), Folder::new());
    let redis = rig.redis.url();
    let secrets = [
        TOKEN,
        ("risk-engine", "token", "for the API"),
        ("redis", "url", &*redis),
        ("otlp", "headers", "x-scope-orgid=rates"),
    ];
    let (api, collector) = (rig.api.base_url(), rig.receiver.server.url());
    let start_pod = |name: &str| {
        let door = Door::new();
        let root = folder.path().join(name);
        let pod = Pod {
            name,
            manifests: &manifests,
            secrets: &secrets,
            root: &root,
        };
        let places = [
            ("https://risk-engine.example.com", &*api),
            ("https://otlp.example.com", &collector),
            ("https://grafana.example.com", "http://localhost:3000"),
            ("0.0.0.0:9464", &door.address),
        ];
        let workload = manifest(&manifests, "StatefulSet", "farspan");
        let call = container(&pod, workload, "containers").with_places(&places);
        let farspan = start(&door, &call.call());
        await_probes(&door, workload);
        farspan
    };
    let pods = ["farspan-2", "farspan-1", "farspan-0"];
    let mut running: Vec<_> = pods.map(start_pod).into();
    let ids: Vec<String> = (0..12).map(|number| format!("run-{number}")).collect();
    for id in &ids {
        rig.api.script(id, [processing(id).reply()]);
        let event = json!({ "WorkflowId": id }).to_string();
        rig.redis.add("workflows-started", &event);
    }
    for name in pods {
        eventually("all are polled", SOON, || {
            ids.iter().all(|id| rig.api.polls(id) > 1)
        });
        // As Kubernetes does it: the next pod's turn comes when this one is ready again.
        running.remove(0).stop();
        running.push(start_pod(name));
    }
    for id in &ids {
        rig.api.script(id, short_story(id));
    }
    eventually("all traces", SOON, || {
        rig.receiver.root_ids().len() == ids.len()
    });
    rig.receiver.assert_each_span_once();
    assert_eq!(assert_whole(&rig.receiver.spans()).len(), ids.len());
    running.into_iter().for_each(|farspan| drop(farspan.stop()));
}

#[test]
fn a_configuration_with_monitors_finds_the_files_of_its_secrets() {
    let manifests = rendered("monitors", &[]);
    let workload = manifest(&manifests, "StatefulSet", "farspan");
    let check = |secrets: &[(&str, &str, &str)]| {
        let folder = Folder::new();
        let pod = Pod {
            name: "farspan-0",
            manifests: &manifests,
            secrets,
            root: folder.path(),
        };
        let collector = [("monitoring-tempo.monitoring:4318", "127.0.0.1:4318")];
        let run = container(&pod, workload, "containers").with_places(&collector);
        run.call().with_arguments(&["check", "--offline"]).output()
    };
    let login = r#"{"username": "farspan", "password": "open sesame"}"#;
    let checked = check(&[TOKEN, ("airflow-user", "body.json", login)]);
    assert_eq!(checked.code(), Some(0), "{checked:?}");
    let checked = check(&[TOKEN, ("airflow-user", "other.json", login)]);
    assert_eq!(checked.code(), Some(2), "{checked:?}");
    checked.assert_says("airflow/body.json");
}
