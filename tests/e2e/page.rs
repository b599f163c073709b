//! The live page of the built binary in headless Chromium. What it must show is in tests/page.

use crate::carriers::Door;
use crate::support::demo::DemoApi;
use crate::support::program::{Call, Farspan, farspan, program};
use crate::support::receiver::Receiver;
use crate::support::{SOON, eventually};
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::Duration;

/// A browser on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(180);

/// Each view, over recorded answers: farspan gives the page itself.
#[test]
fn each_view_of_the_page() {
    let (api, door) = (DemoApi::start("--seed 7"), Door::new());
    let farspan = door.start(&watching(&api));
    let mut script = script("views.mjs", &door);
    eventually("the views are tested", PATIENCE, || {
        still_at_work(&mut script)
    });
    assert_passed(script);
    farspan.stop();
}

/// The page while farspan works, stops and starts again.
#[test]
fn the_page_of_a_farspan_at_work() {
    let (receiver, door) = (Receiver::start(), Door::new());
    // The first workflow takes 9 seconds.
    let api = DemoApi::start("--speed 1500 --seed 7 --fail-rate 0.3");
    let call = watching(&api)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.server.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("FARSPAN_TRACE_URL", "http://tempo.example/trace/{trace_id}");
    let mut farspan = Some(door.start(&call));
    let mut script = script("alive.mjs", &door);
    eventually("the script asks for a stop", PATIENCE, || {
        asked(&mut script, "stop")
    });
    farspan.take().expect("started").stop();
    script.write("done\n");
    eventually("the script asks for a start", PATIENCE, || {
        asked(&mut script, "start")
    });
    farspan = Some(door.start(&call));
    script.write("done\n");
    eventually("the page is tested", PATIENCE, || {
        still_at_work(&mut script)
    });
    assert_passed(script);
    farspan.take().expect("started again").stop();
}

/// A farspan whose start events are posted.
fn watching(api: &DemoApi) -> Call {
    farspan(&["run"])
        .env("FARSPAN_API_BASE_URL", api.base_url())
        .env("FARSPAN_POLL_INITIAL_DELAY", "50ms")
        .env("FARSPAN_POLL_INTERVAL", "200ms")
        .env("FARSPAN_STATE", "none")
        .env("OTEL_TRACES_EXPORTER", "otlp")
}

fn script(name: &str, door: &Door) -> Farspan {
    static INSTALL: Once = Once::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    INSTALL.call_once(|| {
        let mut install = Command::new(folder.join("install"));
        let status = install.stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "tests/page/install"
        );
    });
    let target = env::var_os("CARGO_TARGET_DIR").map(Into::into);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    let script = folder.join(name);
    let url = format!("http://{}", door.address);
    program("node", &[script.to_str().expect("UTF-8"), &url])
        .env("PAGE_MODULES", target.join("page").display())
        .with_stdin()
        .start()
}

fn asked(script: &mut Farspan, what: &str) -> Result<(), String> {
    let said = script.stdout();
    if said.contains(&format!("please {what} farspan")) {
        return Ok(());
    }
    assert!(script.is_running(), "{said}");
    Err(said)
}

fn still_at_work(script: &mut Farspan) -> Result<(), String> {
    if script.is_running() {
        Err(script.stdout())
    } else {
        Ok(())
    }
}

#[track_caller]
fn assert_passed(script: Farspan) {
    let ended = script.wait(SOON);
    assert!(
        ended.stdout.contains("fail 0") && !ended.stdout.contains("pass 0"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
}
