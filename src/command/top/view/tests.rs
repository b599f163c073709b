use super::*;
use crate::command::top::client::Heard;
use crate::command::top::keys::Key;
use crate::command::top::state::Wish;
use crate::core::time::Mono;
use crate::terminal::line::Style;
use arbtest::arbtest;
use expect_test::{Expect, expect};
use serde_json::{Value, json};
use std::time::Duration;

/// Our own clock is an hour behind farspan's.
fn at(seconds: u64) -> Now {
    let wall = Wall::parse_rfc3339("2024-07-05T06:00:00Z").unwrap();
    Now {
        mono: Mono::from_duration(Duration::from_secs(1000 + seconds)),
        wall: Wall::from_unix_ns(wall.as_unix_ns() + seconds as i64 * 1_000_000_000),
    }
}

fn heard(top: &mut Top, answer: &Value, seconds: u64) -> Option<Wish> {
    let listing = serde_json::from_value(answer.clone()).unwrap();
    top.hear(Heard::Listed(Box::new(listing)), at(seconds))
}

fn running() -> Value {
    json!({
        "run": "r1", "workflow_id": "704c0b60-109f-4f99-af10-bc7670b4f997", "monitor": "default",
        "name": "Workflow", "state": "running", "status": "Processing", "result": null, "error": null,
        "received": "2024-07-05T06:57:50Z", "queued": null, "started": "2024-07-05T06:57:56.1234567Z", "ended": null,
        "stages": {"total": 3, "waiting": 1, "running": 1, "ended": 1, "failed": 0},
        "last_poll": {"at": "2024-07-05T06:59:57Z", "result": "ok", "error": null},
        "next_poll": {"at": "2024-07-05T07:00:07Z", "why": null},
        "trace": {"trace_id": "55319d0c4a44a2cc3ef02e43117528cb", "root_span_id": "aa", "sampled": true,
                  "exported": false, "url": "https://grafana.test/trace/55319d0c4a44a2cc3ef02e43117528cb"}
    })
}

fn listing() -> Value {
    let mut failed = running();
    failed["run"] = "r2".into();
    failed["workflow_id"] = "子の段階 \u{1b}[2J\u{202e}evil".into();
    failed["monitor"] = "airflow".into();
    failed["state"] = "ended".into();
    failed["status"] = "Failed".into();
    failed["result"] = "failure".into();
    failed["error"] = "Entity failed: DataLoader".into();
    failed["started"] = "2024-07-05T04:00:00Z".into();
    failed["ended"] = "2024-07-05T05:12:03Z".into();
    failed["stages"] = json!({"total": 12, "ended": 10, "failed": 2, "waiting": 2, "running": 0});
    failed["next_poll"] = Value::Null;
    let mut paused = running();
    paused["run"] = "r3".into();
    paused["workflow_id"] = "🎉 paused".into();
    paused["state"] = "waiting".into();
    paused["status"] = Value::Null;
    paused["started"] = Value::Null;
    paused["stages"] = json!({"total": 0});
    paused["next_poll"] = json!({"at": "2024-07-05T07:00:12Z", "why": "host paused"});
    let mut troubled = running();
    troubled["run"] = "r4".into();
    troubled["workflow_id"] = "8".into();
    troubled["started"] = "2024-07-05T06:59:00Z".into();
    troubled["last_poll"] =
        json!({"at": "2024-07-05T06:59:57Z", "result": "http_status", "error": "HTTP 503"});
    json!({
        "now": "2024-07-05T07:00:00.000Z", "version": 7, "live": 3, "ended": 1, "held": null,
        "workflows": [running(), failed, paused, troubled], "next": null
    })
}

fn details() -> Value {
    let mut details = running();
    let times =
        |queued, started, ended| json!({"queued": queued, "started": started, "ended": ended});
    let stage = |id: &str, parent: &str, name: &str, state: &str, result: Value, times: Value| {
        json!({
            "id": id, "parent": parent, "name": name, "kind": "stage", "state": state, "status": null,
            "result": result, "attempt": 1, "error": null, "attributes": {}, "events": [],
            "queued": times["queued"], "started": times["started"], "ended": times["ended"]
        })
    };
    let (start, later) = ("2024-07-05T06:57:58Z", "2024-07-05T06:58:40Z");
    let mut loader = stage(
        "s1",
        "aa",
        "DataLoader",
        "ended",
        "success".into(),
        times(None, Some(start), Some(later)),
    );
    loader["status"] = "Completed".into();
    let mut first = stage(
        "s2",
        "aa",
        "Processor",
        "ended",
        "failure".into(),
        times(None, Some(later), Some("2024-07-05T06:59:00Z")),
    );
    first["error"] = "out of\nmemory".into();
    let mut second = stage(
        "s3",
        "aa",
        "Processor",
        "running",
        Value::Null,
        times(
            Some("2024-07-05T06:59:00Z"),
            Some("2024-07-05T06:59:20Z"),
            None,
        ),
    );
    second["attempt"] = 2.into();
    second["status"] = "Processing".into();
    second["attributes"] = json!({"id": "9f623b49", "rows": 12});
    second["events"] =
        json!([{"at": "2024-07-05T06:59:21Z", "name": "Processing", "attributes": {}}]);
    let step = stage(
        "s4",
        "s3",
        "段階",
        "running",
        Value::Null,
        times(None, Some("2024-07-05T06:59:30Z"), None),
    );
    let output = stage(
        "s5",
        "aa",
        "OutputGenerator",
        "waiting",
        Value::Null,
        times(Some("2024-07-05T06:59:40Z"), None, None),
    );
    let forgotten = stage(
        "s6",
        "aa",
        "Forgotten",
        "ended",
        "success".into(),
        times(None, None, None),
    );
    details["spans"] = json!([forgotten, output, step, second, first, loader]);
    details["events"] =
        json!([{"at": "2024-07-05T06:57:51Z", "name": "Submitted", "attributes": {}}]);
    details["attributes"] = json!({"workflowId": "704c0b60", "team": "risk"});
    details["left_out"] = 0.into();
    details
}

fn opened() -> Top {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(&mut top, &listing(), 0);
    top.press(Key::Char('j'), at(0));
    assert_eq!(
        top.press(Key::Enter, at(0)),
        Some(Wish::Details("r1".to_owned()))
    );
    let details = serde_json::from_value(details()).unwrap();
    top.hear(
        Heard::Detailed("r1".to_owned(), Ok(Box::new(details))),
        at(0),
    );
    let size = Size {
        columns: 80,
        rows: 24,
    };
    draw(&mut top, size, at(0));
    top
}

/// The screen as text: the selected row begins with `>`, another one with a space.
fn text(frame: &Frame) -> String {
    let line = |line: &Line| {
        let mark = if line.is_selected { ">" } else { "|" };
        format!("{mark}{}\n", line.text())
    };
    frame.lines.iter().map(line).collect()
}

fn check(top: &mut Top, columns: usize, rows: usize, seconds: u64, expected: Expect) {
    let size = Size { columns, rows };
    let frame = draw(top, size, at(seconds));
    assert_fits(&frame, size);
    expected.assert_eq(&text(&frame));
}

fn assert_fits(frame: &Frame, size: Size) {
    assert_eq!(frame.lines.len(), size.rows);
    for line in &frame.lines {
        assert_eq!(line.width(), size.columns, "{line:?}");
        let style = Style {
            width: size.columns,
            colour: false,
            ascii: false,
        };
        let written = line.clone().fitted(size.columns).text();
        assert!(
            written.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{written}"
        );
        let placed = line.render_at(1, style);
        assert!(placed.starts_with("\x1b[1;1H"), "{placed}");
    }
    if let Some((column, row)) = frame.cursor {
        assert!((1..=size.columns).contains(&column) && (1..=size.rows).contains(&row));
    }
}

#[test]
fn the_table_on_a_common_terminal() {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(&mut top, &listing(), 0);
    check(
        &mut top,
        80,
        10,
        3,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, data 3s old
            |4 of 4 workflows: all, by start
            |STATE      WORKFLOW                      STAGES     DURATION  POLLS, ERROR
            >… running  8                                1/3       1m 03s  HTTP 503, next in…
            |… running  704c0b60-109f-4f99-af10-b…       1/3       2m 06s  6s ago, next in 4s
            |· waiting  🎉 paused                                  2m 13s  host paused, next…
            |✗ failure  子の段階 \u{1b}[2J\u{202e…  10/12 2✗   1h 12m 03s  Entity failed: Da…
            |
            |
            |Enter open  / filter  s sort  r reverse  t which  f follow  ? help  q quit
        "#]],
    );
}

#[test]
fn the_table_on_a_wide_terminal() {
    let mut top = Top::new("http://farspan.internal:9464");
    heard(&mut top, &listing(), 0);
    check(
        &mut top,
        150,
        9,
        0,
        expect![[r#"
            |farspan top  farspan.internal:9464  3 live, 1 ended  connected, data 0s old
            |4 of 4 workflows: all, by start
            |STATE           WORKFLOW                              MONITOR       STATUS             STAGES  STARTED▼           DURATION  POLLS, ERROR
            >… running       8                                     default       Processing            1/3  07-05 06:59:00       1m 00s  HTTP 503, next in 7s
            |… running       704c0b60-109f-4f99-af10-bc7670b4f997  default       Processing            1/3  07-05 06:57:56       2m 03s  3s ago, next in 7s
            |· waiting       🎉 paused                             default                                  07-05 06:57:50       2m 10s  host paused, next in 12s
            |✗ failure       子の段階 \u{1b}[2J\u{202e}evil        airflow       Failed           10/12 2✗  07-05 04:00:00   1h 12m 03s  Entity failed: DataLoader
            |
            |Enter open  / filter  s sort  r reverse  t which  f follow  ? help  q quit
        "#]],
    );
}

#[test]
fn the_table_on_narrow_terminals() {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(&mut top, &listing(), 0);
    check(
        &mut top,
        60,
        8,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, da…
            |4 of 4 workflows: all, by start
            |STATE      WORKFLOW                       STAGES    DURATION
            >… running  8                                 1/3      1m 00s
            |… running  704c0b60-109f-4f99-af10-bc…       1/3      2m 03s
            |· waiting  🎉 paused                                  2m 10s
            |✗ failure  子の段階 \u{1b}[2J\u{202e}…  10/12 2✗  1h 12m 03s
            |Enter open  / filter  s sort  r reverse  t which  f follow …
        "#]],
    );
    check(
        &mut top,
        34,
        8,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 li…
            |4 of 4 workflows: all, by start
            |   WORKFLOW               DURATION
            >…  8                        1m 00s
            |…  704c0b60-109f-4f99…      2m 03s
            |·  🎉 paused                2m 10s
            |✗  子の段階 \u{1b}[2J…  1h 12m 03s
            |Enter open  / filter  s sort  r r…
        "#]],
    );
}

#[test]
fn a_run_is_a_waterfall_that_grows() {
    let mut top = opened();
    check(
        &mut top,
        100,
        24,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, data 0s old
            |Workflow 704c0b60-109f-4f99-af10-bc7670b4f997  … running  2m 03s  since 07-05 06:57:56
            |monitor default  trace 55319d0c4a44a2cc3ef02e43117528cb, not exported yet
            |https://grafana.test/trace/55319d0c4a44a2cc3ef02e43117528cb
            |polled 3s ago: ok; next in 7s
            |
            >Workflow           ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  2m 03s  … running
            |  DataLoader       ━━━━━━━━━━━━━━━━━                                42.0s  ✓ success
            |  Processor                        ━━━━━━━━                         20.0s  ✗ failure: out of\nmemory
            |  Processor #2                            ╌╌╌╌╌╌╌╌━━━━━━━━━━━━━━━   40.0s  … running
            |    段階                                             ━━━━━━━━━━━━   30.0s  … running
            |  OutputGenerator                                        ╌╌╌╌╌╌╌╌   20.0s  · waiting
            |  Forgotten                                                                ✓ success
            |────────────────────────────────────────────────────────────────────────────────────────────────────
            |status Processing  started 07-05 06:57:56
            |@ 07-05 06:57:51  Submitted
            |team: risk
            |workflowId: 704c0b60
            |
            |
            |
            |
            |
            |Esc back  jk select  f follow  ? help  q quit
        "#]],
    );
    check(
        &mut top,
        100,
        24,
        120,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, data 2m 00s old
            |Workflow 704c0b60-109f-4f99-af10-bc7670b4f997  … running  4m 03s  since 07-05 06:57:56
            |monitor default  trace 55319d0c4a44a2cc3ef02e43117528cb, not exported yet
            |https://grafana.test/trace/55319d0c4a44a2cc3ef02e43117528cb
            |polled 2m 03s ago: ok; due for 1m 53s
            |
            >Workflow           ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  4m 03s  … running
            |  DataLoader       ━━━━━━━━━                                        42.0s  ✓ success
            |  Processor                ━━━━━                                    20.0s  ✗ failure: out of\nmemory
            |  Processor #2                 ╌╌╌━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  2m 40s  … running
            |    段階                            ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  2m 30s  … running
            |  OutputGenerator                     ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  2m 20s  · waiting
            |  Forgotten                                                                ✓ success
            |────────────────────────────────────────────────────────────────────────────────────────────────────
            |status Processing  started 07-05 06:57:56
            |@ 07-05 06:57:51  Submitted
            |team: risk
            |workflowId: 704c0b60
            |
            |
            |
            |
            |
            |Esc back  jk select  f follow  ? help  q quit
        "#]],
    );
}

#[test]
fn a_selected_stage_shows_its_events_and_attributes() {
    let mut top = opened();
    for _ in 0..3 {
        top.press(Key::Down, at(0));
    }
    check(
        &mut top,
        80,
        20,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, data 0s old
            |Workflow 704c0b60-109f-4f99-af10-bc7670b4f997  … running  2m 03s  since 07-05 0…
            |monitor default  trace 55319d0c4a44a2cc3ef02e43117528cb, not exported yet
            |https://grafana.test/trace/55319d0c4a44a2cc3ef02e43117528cb
            |polled 3s ago: ok; next in 7s
            |
            |Workflow           ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  2m 03s  … running
            |  DataLoader       ━━━━━━━━━━━                       42.0s  ✓ success
            |  Processor                  ━━━━━━                  20.0s  ✗ failure: out of\n…
            >  Processor #2                    ╌╌╌╌╌━━━━━━━━━━━   40.0s  … running
            |    段階                                  ━━━━━━━━   30.0s  … running
            |  OutputGenerator                           ╌╌╌╌╌╌   20.0s  · waiting
            |  Forgotten                                                 ✓ success
            |────────────────────────────────────────────────────────────────────────────────
            |status Processing  queued 07-05 06:59:00 for 20.0s  started 07-05 06:59:20
            |@ 07-05 06:59:21  Processing
            |id: 9f623b49
            |rows: 12
            |
            |Esc back  jk select  f follow  ? help  q quit
        "#]],
    );
    check(
        &mut top,
        80,
        12,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, data 0s old
            |Workflow 704c0b60-109f-4f99-af10-bc7670b4f997  … running  2m 03s  since 07-05 0…
            |monitor default  trace 55319d0c4a44a2cc3ef02e43117528cb, not exported yet
            |https://grafana.test/trace/55319d0c4a44a2cc3ef02e43117528cb
            |polled 3s ago: ok; next in 7s
            |
            |  DataLoader       ━━━━━━━━━━━                       42.0s  ✓ success
            |  Processor                  ━━━━━━                  20.0s  ✗ failure: out of\n…
            >  Processor #2                    ╌╌╌╌╌━━━━━━━━━━━   40.0s  … running
            |────────────────────────────────────────────────────────────────────────────────
            |… 4 more
            |Esc back  jk select  f follow  ? help  q quit
        "#]],
    );
}

#[test]
fn following_selects_what_runs() {
    let mut top = opened();
    top.press(Key::Char('f'), at(0));
    let frame = draw(
        &mut top,
        Size {
            columns: 80,
            rows: 24,
        },
        at(0),
    );
    let selected = frame.lines.iter().find(|line| line.is_selected).unwrap();
    assert!(selected.text().contains("段階"), "{selected:?}");
    // Who moves the selection does not follow any more.
    top.press(Key::Char('k'), at(0));
    assert!(!top.follows);
}

#[test]
fn a_lost_connection_is_said_with_its_age() {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(&mut top, &listing(), 0);
    let lost = |wait| Heard::Lost("connection refused".to_owned(), Duration::from_secs(wait));
    top.hear(lost(1), at(5));
    top.hear(lost(2), at(6));
    check(
        &mut top,
        80,
        6,
        12,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  NO CONNECTION
            |no answer for 7s, data 12s old, tried every 2s: connection refused
            |4 of 4 workflows: all, by start
            |STATE      WORKFLOW                      STAGES     DURATION  POLLS, ERROR
            >… running  8                                1/3       1m 12s  HTTP 503, due for…
            |Enter open  / filter  s sort  r reverse  t which  f follow  ? help  q quit
        "#]],
    );
    heard(&mut top, &listing(), 20);
    let frame = draw(
        &mut top,
        Size {
            columns: 80,
            rows: 6,
        },
        at(21),
    );
    assert!(text(&frame).contains("connected, data 1s old"));
    assert!(!text(&frame).contains("no answer"));
}

#[test]
fn what_holds_every_poll_is_said() {
    let mut top = Top::new("http://127.0.0.1:9464");
    let mut held = listing();
    held["held"] = "outbox full".into();
    heard(&mut top, &held, 0);
    let frame = draw(
        &mut top,
        Size {
            columns: 80,
            rows: 8,
        },
        at(0),
    );
    assert!(text(&frame).contains("no workflow is polled now: outbox full"));
}

#[test]
fn nothing_to_show_is_said() {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(
        &mut top,
        &json!({"live": 0, "ended": 0, "workflows": []}),
        0,
    );
    check(
        &mut top,
        70,
        6,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  0 live, 0 ended  connected, data 0s old
            |0 of 0 workflows: all, by start
            |STATE      WORKFLOW                                 STAGES    DURATION
            |  farspan watches no workflow, and has watched none lately
            |
            |Enter open  / filter  s sort  r reverse  t which  f follow  ? help  q…
        "#]],
    );
}

#[test]
fn the_filter_is_typed_and_shown() {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(&mut top, &listing(), 0);
    for key in "/AIRFLOW fail".chars() {
        top.press(Key::Char(key), at(0));
    }
    check(
        &mut top,
        80,
        6,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  3 live, 1 ended  connected, data 0s old
            |1 of 4 workflows: all, by start  filter: AIRFLOW fail
            |STATE      WORKFLOW                      STAGES     DURATION  POLLS, ERROR
            >✗ failure  子の段階 \u{1b}[2J\u{202e…  10/12 2✗   1h 12m 03s  Entity failed: Da…
            |
            |filter: AIRFLOW fail  (Enter: keep, Esc: none)
        "#]],
    );
    let frame = draw(
        &mut top,
        Size {
            columns: 80,
            rows: 6,
        },
        at(0),
    );
    assert_eq!(frame.cursor, Some((21, 6)));
    top.press(Key::Enter, at(0));
    assert_eq!(top.rows().len(), 1);
    top.press(Key::Char('x'), at(0));
    assert_eq!(top.filter, "AIRFLOW fail");
    top.press(Key::Escape, at(0));
    assert_eq!(top.rows().len(), 4);
}

#[test]
fn the_help_names_every_key() {
    let mut top = Top::new("http://127.0.0.1:9464");
    top.press(Key::Char('?'), at(0));
    check(
        &mut top,
        90,
        18,
        0,
        expect![[r#"
            |farspan top  127.0.0.1:9464  0 live, 0 ended  connecting
            |
            |  Up Down, k j      select a workflow, or a stage of the open one
            |  PgUp PgDn, Space  a page up or down
            |  Home End, g G     the first, the last
            |  Enter             open the selected workflow
            |  Esc               back to the table; in the table: no filter
            |  /                 filter by words: id, name, monitor, state, error, trace id
            |  s                 sort by start, duration, workflow, state, next poll
            |  r                 reverse the order
            |  t                 which workflows: all, live, ended, failed
            |  f                 follow: select the first row; in a workflow, what runs
            |  ?, h              this
            |  Ctrl-Z            suspend
            |  q, Ctrl-C         quit
            |                    Times are UTC. ╌ waits in a queue, ━ runs or ran.
            |
            |any key: back
        "#]],
    );
    top.press(Key::Char('x'), at(0));
    assert!(!top.has_help);
}

#[test]
fn thousands_of_rows_scroll_and_the_selection_stays_with_its_run() {
    let runs = |count: usize| -> Vec<Value> {
        let run = |index| {
            let mut run = running();
            run["run"] = format!("r{index:05}").into();
            run["workflow_id"] = format!("w{index:05}").into();
            run["started"] = rfc3339(index).into();
            run
        };
        (0..count).map(run).collect()
    };
    let mut top = Top::new("http://127.0.0.1:9464");
    let size = Size {
        columns: 80,
        rows: 24,
    };
    heard(&mut top, &json!({"live": 5000, "workflows": runs(5000)}), 0);
    let selected = |top: &mut Top| {
        let frame = draw(top, size, at(0));
        assert_fits(&frame, size);
        let selected: Vec<&Line> = frame.lines.iter().filter(|line| line.is_selected).collect();
        assert_eq!(selected.len(), 1);
        selected[0].text()
    };
    assert!(selected(&mut top).contains("w04999"));
    top.press(Key::End, at(0));
    assert!(selected(&mut top).contains("w00000"));
    top.press(Key::PageUp, at(0));
    assert!(selected(&mut top).contains("w00020"));
    // Newer ones come in above it.
    heard(&mut top, &json!({"live": 6000, "workflows": runs(6000)}), 1);
    assert!(selected(&mut top).contains("w00020"));
    top.press(Key::Char('f'), at(0));
    assert!(selected(&mut top).contains("w05999"));
}

fn rfc3339(seconds: usize) -> String {
    let start = Wall::parse_rfc3339("2024-07-04T00:00:00Z").unwrap();
    Wall::from_unix_ns(start.as_unix_ns() + seconds as i64 * 1_000_000_000).to_string()
}

#[test]
fn the_order_can_be_chosen() {
    let mut top = Top::new("http://127.0.0.1:9464");
    heard(&mut top, &listing(), 0);
    let ids = |top: &Top| -> String {
        let ids = top.rows().map(|run| run.run.clone());
        ids.collect::<Vec<_>>().join(" ")
    };
    let mut orders = format!("{}: {}\n", top.sort.title(), ids(&top));
    for _ in 0..5 {
        top.press(Key::Char('s'), at(0));
        orders += &format!("{}: {}\n", top.sort.title(), ids(&top));
    }
    top.press(Key::Char('r'), at(0));
    orders += &format!("reversed: {}\n", ids(&top));
    for _ in 0..4 {
        top.press(Key::Char('t'), at(0));
        orders += &format!("{}: {}\n", top.shown.title(), ids(&top));
    }
    expect![[r#"
        start: r4 r1 r3 r2
        duration: r2 r3 r1 r4
        workflow: r1 r4 r2 r3
        state: r4 r1 r3 r2
        next poll: r1 r4 r3 r2
        start: r4 r1 r3 r2
        reversed: r2 r3 r1 r4
        live: r3 r1 r4
        ended: r2
        failed: r2
        all: r2 r3 r1 r4
    "#]]
    .assert_eq(&orders);
}

#[test]
fn any_answer_and_any_keys_fit_any_screen() {
    arbtest(|u| {
        let mut top = Top::new("http://[::1]:1");
        let mut runs = Vec::new();
        for index in 0..u.int_in_range(0..=5)? {
            let mut run = running();
            run["run"] = format!("r{index}").into();
            for key in [
                "workflow_id",
                "monitor",
                "name",
                "status",
                "error",
                "result",
            ] {
                run[key] = u.arbitrary::<&str>()?.into();
            }
            run["state"] = (*u.choose(&["running", "waiting", "ended", "new"])?).into();
            if u.arbitrary()? {
                run["started"] = u.arbitrary::<&str>()?.into();
            }
            runs.push(run);
        }
        heard(&mut top, &json!({"workflows": runs, "live": 1}), 0);
        for _ in 0..u.int_in_range(0..=6)? {
            let size = Size {
                columns: u.int_in_range(1..=130)?,
                rows: u.int_in_range(1..=40)?,
            };
            let key = *u.choose(&[
                Key::Enter,
                Key::Escape,
                Key::Down,
                Key::End,
                Key::PageDown,
                Key::Char('?'),
                Key::Char('/'),
                Key::Char('t'),
                Key::Char('f'),
                Key::Pasted('猫'),
            ])?;
            if let Some(Wish::Details(run)) = top.press(key, at(1)) {
                let details: Value = details();
                let details = serde_json::from_value(details).unwrap();
                top.hear(Heard::Detailed(run, Ok(Box::new(details))), at(1));
            }
            assert_fits(&draw(&mut top, size, at(2)), size);
        }
        Ok(())
    });
}
