//! farspan's own programs together: the scripted API, the load, the watcher, and the demo that is all of them.

use crate::carriers::Door;
use crate::support::demo::{DemoApi, publish_load};
use crate::support::folder::Folder;
use crate::support::program::farspan;
use crate::support::receiver::Receiver;
use crate::support::redis::{CHANNEL, RedisServer};
use crate::support::reported::{assert_as_reported, get};
use crate::support::spans::assert_whole;
use crate::support::{SOON, eventually};
use std::collections::HashSet;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

const WORKFLOWS: usize = 150;

#[test]
fn a_burst_through_the_real_programs_is_whole_and_exact() {
    let redis = RedisServer::start();
    let receiver = Receiver::start();
    // At this speed a workflow takes between half a second and six.
    let api = DemoApi::start("--speed 3600 --seed 7");
    let watcher = farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_REDIS_URL", redis.url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "50ms")
        .env("FARSPAN_POLL_INTERVAL", "300ms")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .start();
    redis.await_subscribers(CHANNEL, 1);

    let options = format!("--workflows {WORKFLOWS} --batch 50 --batch-wait 500ms --with-parent");
    publish_load(&redis, &options);

    eventually("every workflow's end", 3 * SOON, || {
        match receiver.count_roots(|_| true) {
            WORKFLOWS => Ok(()),
            roots => Err(format!("{roots} roots")),
        }
    });
    watcher.stop();

    let traces = assert_whole(&receiver.spans());
    assert_eq!(traces.len(), WORKFLOWS);
    receiver.assert_each_span_once();
    let parents: HashSet<_> = traces
        .values()
        .map(|trace| &trace.root.span.parent_span_id)
        .collect();
    assert!(
        parents.iter().all(|parent| !parent.is_empty()),
        "--with-parent"
    );

    let mut failed = 0;
    for (id, trace) in &traces {
        let body = get(&api.address, &format!("/workflows/{id}"));
        assert_as_reported(trace, &body);
        failed += usize::from(trace.root.error().is_some());
    }
    // About one stage in ten fails, so about a quarter of the workflows.
    assert!((5..WORKFLOWS / 2).contains(&failed), "{failed} failed");
}

#[test]
fn the_demo_shows_whole_traces_and_ends() {
    let receiver = Receiver::start();
    let ended = farspan(&["demo", "--workflows", "6", "--speed", "3600"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("FARSPAN_STATE", "none")
        .env("FARSPAN_ADMIN_LISTEN", "none")
        .start()
        .wait(2 * SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let shown = ended.stdout.matches("DataLoader").count();
    assert!(shown >= 6, "a waterfall for each: {}", ended.stdout);
    for part in [
        "\n6 of 6 workflows traced; ",
        "\n6 traces have each stage and each time as the API has them.\n",
    ] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
    let traces = assert_whole(&receiver.spans());
    assert_eq!(traces.len(), 6, "a collector gets them too");
}

#[test]
fn a_demo_that_is_stopped_says_so() {
    let demo = farspan(&["demo", "--workflows", "500", "--speed", "60"]).start();
    eventually("its progress", SOON, || {
        demo.stdout().contains(" of 500 workflows and ")
    });
    demo.signal("INT");
    let ended = demo.wait(SOON);
    assert!(ended.stdout.contains("\nStopped: "), "{}", ended.stdout);
    assert!(
        ended.stdout.contains(" of 500 workflows traced"),
        "{}",
        ended.stdout
    );
}

#[test]
fn the_demo_needs_nothing() {
    let ended = farspan(&["demo", "--workflows", "3", "--speed", "3600"])
        .start()
        .wait(2 * SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("Workflow"), "{}", ended.stdout);
}

/// `xdg-open` is a script that writes down what it is asked for. The default port is taken or free: the page is at
/// another port than the one that is taken.
#[test]
fn the_demo_shows_its_page_and_opens_it() {
    let folder = Folder::new();
    let opener = folder.path().join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\necho \"$1\" > \"${0%/*}/asked\"\n").expect("written");
    std::fs::set_permissions(&opener, Permissions::from_mode(0o755)).expect("permitted");
    let _taken = TcpListener::bind("127.0.0.1:9464");
    let path = std::env::var("PATH").expect("a path");
    let demo = farspan(&[
        "demo",
        "--workflows",
        "2",
        "--speed",
        "3600",
        "--serve",
        "--open",
    ])
    .without("FARSPAN_ADMIN_LISTEN")
    .env("PATH", format!("{}:{path}", folder.path().display()))
    .start();
    eventually("both traces", SOON, || {
        let said = demo.stdout();
        let traces = said
            .lines()
            .filter(|line| line.starts_with("trace "))
            .count();
        if traces == 2 { Ok(()) } else { Err(said) }
    });
    let said = demo.stdout();
    let (_, page) = said
        .split_once("The live page, until you stop this: ")
        .expect("the page's address");
    let page = page.lines().next().expect("an address");
    let address = page
        .strip_prefix("http://")
        .expect("a URL")
        .trim_end_matches('/');
    assert_ne!(address, "127.0.0.1:9464");
    eventually(
        "the opener is asked",
        SOON,
        || match std::fs::read_to_string(folder.path().join("asked")) {
            Ok(asked) if asked.trim() == page => Ok(()),
            asked => Err(format!("{asked:?}")),
        },
    );
    let door = Door {
        address: address.to_owned(),
    };
    let answer = door.ask("GET", "/", &[], "");
    assert!(answer.body.contains("<title>farspan</title>"), "{answer:?}");
    let runs = get(address, "/api/workflows?state=ended");
    assert_eq!(
        runs["workflows"].as_array().map(Vec::len),
        Some(2),
        "{runs}"
    );
    demo.stop();
}

#[test]
fn the_demo_has_no_page_to_open_without_an_endpoint() {
    let ended = farspan(&["demo", "--open"]).output();
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("FARSPAN_ADMIN_LISTEN is none: set an address"),
        "{ended:?}"
    );
}

/// A proxy that the environment names for the internet has no part in what is on this host.
#[test]
fn the_demo_runs_behind_a_proxy() {
    let nobody = "http://127.0.0.1:9";
    let ended = farspan(&["demo", "--workflows", "2", "--speed", "3600"])
        .env("HTTP_PROXY", nobody)
        .env("HTTPS_PROXY", nobody)
        .env("ALL_PROXY", nobody)
        .start()
        .wait(2 * SOON);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}
