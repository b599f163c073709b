//! What the commands print on a terminal, through a pseudo-terminal.

use crate::support::files::Files;
use crate::support::program::{Call, farspan};
use crate::support::terminal::Terminal;

fn demo() -> Call {
    farspan(&["demo", "--workflows", "2", "--speed", "6000", "--seed", "1"])
        .env("TERM", "xterm-256color")
}

/// The rows of the waterfalls: those with a bar.
fn rows_of(text: &str, bar: char) -> Vec<String> {
    let rows = text.lines().filter(|line| line.contains(bar));
    rows.map(str::to_owned).collect()
}

#[test]
fn a_trace_is_as_wide_as_the_terminal() {
    for (columns, call) in [(80, demo()), (120, demo()), (72, demo().env("COLUMNS", 72))] {
        let mut terminal = Terminal::start(&call, columns.max(80), 60);
        assert!(terminal.ends().success(), "{}", terminal.screen());
        let rows = rows_of(&terminal.screen(), '━');
        assert!(rows.len() >= 2, "{}", terminal.screen());
        // No row has wrapped: each has its bar and its status.
        for row in &rows {
            let has_status = ["ok", "error", "unset"].iter().any(|s| row.contains(s));
            assert!(has_status, "{columns} columns: {row}");
        }
        let widest = rows.iter().map(|row| row.chars().count()).max();
        assert!(widest <= Some(usize::from(columns)), "{widest:?}");
        assert!(widest > Some(usize::from(columns) - 25), "{widest:?}");
        assert!(terminal.written().contains("\x1b[32m"));
    }
}

/// At this speed the demo shows its progress several times.
fn slow_demo() -> Call {
    demo().with_arguments(&["demo", "--workflows", "3", "--speed", "2000", "--seed", "1"])
}

#[test]
fn progress_is_one_line_that_is_redrawn() {
    let mut terminal = Terminal::start(&slow_demo(), 80, 24);
    let progress = "workflows and";
    terminal.await_screen(progress);
    assert!(terminal.ends().success(), "{}", terminal.screen());
    let (written, screen) = (terminal.written(), terminal.screen());
    assert!(
        written.contains("\r\x1b[K0 of 3 workflows and"),
        "{written}"
    );
    // No line wraps: each is on a row of its own.
    let wrapped = terminal.look(|it| (0..24).filter(|row| it.row_wrapped(*row)).count());
    assert_eq!(wrapped, 0, "{screen}");
    assert!(
        !screen.contains(progress),
        "it is gone at the end: {screen}"
    );
    assert!(screen.contains("3 of 3 workflows traced; "), "{screen}");
}

#[test]
fn progress_that_cannot_be_redrawn_is_a_line_for_each_change() {
    let mut terminal = Terminal::start(&slow_demo().env("TERM", "dumb"), 80, 60);
    assert!(terminal.ends().success(), "{}", terminal.screen());
    let screen = terminal.screen();
    let lines = screen.lines().filter(|line| line.contains("workflows and"));
    let lines: Vec<&str> = lines.collect();
    let mut different = lines.clone();
    different.dedup();
    assert!(!lines.is_empty() && lines == different, "{screen}");
    assert!(!terminal.written().contains('\x1b'), "{screen}");
}

#[test]
fn a_dumb_terminal_gets_ascii_without_colours() {
    let calls = [
        demo().env("TERM", "dumb"),
        demo().env("LC_ALL", "C").env("NO_COLOR", 1),
        demo().env("LANG", "de_DE.ISO-8859-1").with_arguments(&[
            "demo",
            "--workflows",
            "2",
            "--speed",
            "6000",
            "--seed",
            "1",
            "--color",
            "never",
        ]),
    ];
    for call in calls {
        let mut terminal = Terminal::start(&call, 80, 60);
        assert!(terminal.ends().success(), "{}", terminal.screen());
        // Progress is redrawn also without colours.
        let written = terminal.written().replace("\r\x1b[K", "");
        assert!(written.is_ascii() && !written.contains('\x1b'), "{written}");
        assert!(rows_of(&written, '=').len() >= 2, "{written}");
        assert!(written.contains("+ ok"), "{written}");
    }
}

/// `--color` beats what is found out, in a pipe too.
#[test]
fn colours_can_be_asked_for() {
    let files = Files::new();
    let body = r#"{"workflowId": "7", "workflowStatus": "Completed", "isComplete": true,
        "workflowStartTime": "2024-07-05T06:57:56Z", "workflowEndTime": "2024-07-05T06:58:56Z"}"#;
    let body = files.write("body.json", body);
    let printed = |arguments: &[&str]| {
        let call = farspan(&["probe", "7", "--body", &body]);
        let mut all = vec!["probe", "7", "--body", &body];
        all.extend(arguments);
        let ended = call.with_arguments(&all).env("NO_COLOR", 1).output();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        ended.stdout
    };
    assert!(printed(&["--color", "always"]).contains("\x1b[32m✓ ok\x1b[0m"));
    assert!(!printed(&["--color=never"]).contains('\x1b'));
    assert!(!printed(&[]).contains('\x1b'));
}
