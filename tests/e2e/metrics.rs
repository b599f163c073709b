//! `GET /metrics`, held against promtool and a real Prometheus.

use crate::carriers::Door;
use crate::support::api::{completed, processing, short_story};
use crate::support::folder::Folder;
use crate::support::free_port;
use crate::support::program::{Farspan, program};
use crate::support::receiver::Receiver;
use crate::support::rig::Rig;
use crate::support::{SOON, eventually};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";

fn trace_ids(receiver: &Receiver) -> HashSet<String> {
    let spans = receiver.spans();
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect();
    spans.iter().map(|it| hex(&it.span.trace_id)).collect()
}

fn start(door: &Door, rig: &Rig) -> Farspan {
    let farspan = door.start(&rig.call().env("FARSPAN_METRICS_BUCKETS", "1s,1h"));
    rig.redis
        .await_subscribers(crate::support::redis::CHANNEL, 1);
    farspan
}

/// Asks Prometheus, which may not be ready yet.
pub fn ask(address: &str, path: &str) -> Result<Value, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))
}

/// A Prometheus that scrapes this farspan, and its address. `head`: what its configuration has before that.
fn prometheus(folder: &Folder, door: &Door, head: &str) -> (Farspan, String) {
    let config = folder.path().join("prometheus.yml");
    let targets = format!(
        "{head}\nscrape_configs: [{{job_name: farspan, static_configs: [{{targets: ['{}']}}]}}]\n",
        door.address
    );
    fs::write(&config, targets).expect("the folder is ours");
    let address = format!("127.0.0.1:{}", free_port());
    let data = folder.path().join("data");
    let arguments = [
        &format!("--config.file={}", config.display()),
        &format!("--storage.tsdb.path={}", data.display()),
        &format!("--web.listen-address={address}"),
        "--enable-feature=exemplar-storage",
    ];
    (program("prometheus", &arguments).start(), address)
}

#[test]
fn the_metrics_are_as_promtool_wants_them_and_need_the_token() {
    let (rig, door) = (Rig::new(), Door::new());
    let call = rig.call().env("FARSPAN_ADMIN_TOKEN", "open sesame");
    let farspan = door.start(&call);
    rig.redis
        .await_subscribers(crate::support::redis::CHANNEL, 1);
    assert_eq!(door.ask("GET", "/metrics", &[], "").status, 401);
    let token = ("Authorization", "Bearer open sesame");
    // Whatever its name is: it is one label.
    let hostile = "b\"\\c\n{x=\"1\"} 7";
    rig.api.script("w", short_story("w"));
    rig.api.script(
        "x",
        [completed("x")
            .stage(hostile, "Completed", "", "", "")
            .reply()],
    );
    rig.submit("w");
    rig.submit("x");
    rig.trace("w");
    rig.trace("x");
    let answer = door.ask("GET", "/metrics", &[token], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.head.contains("text/plain; version=0.0.4"),
        "{answer:?}"
    );
    for line in [
        "farspan_start_events_total{source=\"channel\",outcome=\"accepted\"} 2",
        "farspan_workflows_ended_total 2",
        "farspan_source_connected{source=\"channel event.workflow.started\"} 1",
    ] {
        assert!(
            answer.body.contains(&format!("{line}\n")),
            "{}",
            answer.body
        );
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: tests/run installs it");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(answer.body.as_bytes()).expect("it reads");
    drop(stdin);
    let said = promtool.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && words.is_empty(), "{words}");
    farspan.stop();
}

#[test]
fn a_bucket_leads_to_its_trace_through_a_real_prometheus() {
    let (rig, door, folder) = (Rig::new(), Door::new(), Folder::new());
    let farspan = start(&door, &rig);
    rig.api.script("w", short_story("w"));
    rig.api.script("runs", [processing("runs").reply()]);
    rig.submit("w");
    rig.submit("runs");
    let trace = rig.trace("w");
    let text = door
        .ask("GET", "/metrics", &[("Accept", OPEN_METRICS)], "")
        .body;
    assert!(
        text.ends_with("# EOF\n") && text.contains(" # {trace_id=\""),
        "{text}"
    );

    let (prometheus, address) = prometheus(&folder, &door, "global: {scrape_interval: 1s}");
    let seen = eventually("Prometheus has scraped an exemplar", 2 * SOON, || {
        let answer = ask(
            &address,
            "/api/v1/query_exemplars?query=farspan_stage_duration_seconds_bucket&start=0&end=9999999999",
        )?;
        let exemplar = &answer["data"][0]["exemplars"][0];
        match exemplar["labels"]["trace_id"].as_str() {
            Some(id) => Ok((id.to_owned(), exemplar["labels"]["span_id"].to_string())),
            None => Err(answer.to_string()),
        }
    });
    // It counts when the stage ends, and the span leaves a little later.
    eventually("the collector has the exemplar's trace", SOON, || {
        trace_ids(&rig.receiver).contains(&seen.0)
    });
    assert!(seen.1.len() == 18, "{seen:?}");
    let active = ask(
        &address,
        "/api/v1/query?query=cicd_pipeline_run_active%7Bcicd_pipeline_run_state%3D%22executing%22%7D",
    );
    let active = active.expect("it answers");
    assert_eq!(active["data"]["result"][0]["value"][1], "1", "{active}");
    drop(trace);
    prometheus.stop();
    farspan.stop();
}

/// The rules of `deploy/prometheus` with minutes of 300 ms, in `for` and in ranges.
fn rules_in_a_hurry() -> String {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/prometheus/farspan.rules.yml"
    );
    let rules = fs::read_to_string(path).expect("the rules");
    let hurried = (1..=60).fold(rules, |rules, minutes| {
        let short = format!("{}ms", minutes * 300);
        rules
            .replace(&format!("for: {minutes}m\n"), &format!("for: {short}\n"))
            .replace(&format!("[{minutes}m]"), &format!("[{short}]"))
    });
    assert!(
        hurried.contains("farspan_spans_delivered_total[3000ms]) == 0\n        for: 1500ms\n"),
        "{hurried}"
    );
    hurried
}

/// The alerts that fire, once all rules are evaluated without an error.
fn firing(address: &str) -> Result<Vec<String>, String> {
    let answer = ask(address, "/api/v1/rules")?;
    let rules = answer["data"]["groups"][0]["rules"].as_array();
    let rules = rules.ok_or_else(|| answer.to_string())?;
    if rules.iter().any(|rule| rule["health"] != "ok") {
        return Err(answer.to_string());
    }
    let firing = rules.iter().filter(|rule| rule["state"] == "firing");
    Ok(firing.map(|rule| rule["name"].to_string()).collect())
}

/// Starts a workflow when the last one of `ids` has ended in its API.
fn let_another_end(rig: &Rig, ids: &mut Vec<String>) {
    if ids.last().is_none_or(|id| rig.api.told_all(id)) {
        let id = format!("w{}", ids.len());
        rig.api.script(&id, short_story(&id));
        rig.submit(&id);
        ids.push(id);
    }
}

#[test]
fn an_alert_fires_while_the_collector_is_gone_and_resolves_when_it_is_back() {
    let (mut rig, door, folder) = (Rig::new(), Door::new(), Folder::new());
    let farspan = start(&door, &rig);
    fs::write(folder.path().join("rules.yml"), rules_in_a_hurry()).expect("the folder is ours");
    let head =
        "global: {scrape_interval: 250ms, evaluation_interval: 250ms}\nrule_files: [rules.yml]";
    let (prometheus, address) = prometheus(&folder, &door, head);
    let mut ids = Vec::new();
    let delivered = "/api/v1/query?query=increase(farspan_spans_delivered_total%5B3s%5D)%3E0";
    eventually(
        "Prometheus sees spans leave, and no alert",
        2 * SOON,
        || {
            let_another_end(&rig, &mut ids);
            let delivered = ask(&address, delivered)?;
            let firing = firing(&address)?;
            let is_well = delivered["data"]["result"][0].is_object() && firing.is_empty();
            is_well
                .then_some(())
                .ok_or(format!("{firing:?} {delivered}"))
        },
    );

    rig.receiver.server.stop();
    let alert = ["\"FarspanExportsNothing\""];
    eventually("the alert fires, and no other", SOON, || {
        let_another_end(&rig, &mut ids);
        let firing = firing(&address)?;
        (firing == alert).then_some(()).ok_or(format!("{firing:?}"))
    });

    rig.receiver.server.resume();
    eventually("it is resolved", 2 * SOON, || {
        let_another_end(&rig, &mut ids);
        let firing = firing(&address)?;
        firing.is_empty().then_some(()).ok_or(format!("{firing:?}"))
    });
    for id in &ids {
        rig.trace(id);
    }
    rig.receiver.assert_each_span_once();
    prometheus.stop();
    farspan.stop();
}
