//! What a definition can say.

use super::*;
use expect_test::{Expect, expect};

/// One request, one body.
fn check(definition: Value, body: Value, expected: Expect) {
    let mut definition = definition;
    definition["statuses"] = match definition.get("statuses") {
        Some(statuses) => statuses.clone(),
        None => {
            json!({"queued": "pending", "running": "running", "ok": "success", "failed": "failure",
            "off": "cancellation", "skipped": "skip", "none": "unset"})
        }
    };
    let mapping = compiled(&definition);
    let reading = poll(&mapping, "w", |_, _| body.to_string());
    expected.assert_eq(&told(&reading));
}

#[test]
fn pointers_lead_through_objects_and_arrays_with_any_key() {
    check(
        json!({"workflow": {"root": "/builds/1", "id": "/id", "status": "/a~1b/m~0n/0", "start": "/", "url": "/0"}}),
        json!({"builds": [{"id": 0}, {"a/b": {"m~n": ["ok", "failed"]}, "id": 7, "": 1795166448, "0": "http://x/"}]}),
        expect![[r#"ok=success 09:20:48Z..? id="7" url=http://x/"#]],
    );
}

#[test]
fn the_first_that_is_there_and_set_counts() {
    let definition = json!({
        "workflow": {"status": ["/result", "/state"], "start": ["/started", "/created"], "end": ["/end"],
            "error": ["/error/message", "/error", "/log"]},
    });
    check(
        definition.clone(),
        json!({"state": "running", "result": null, "started": 0, "created": 1795166448, "error": {"message": ""}, "log": "l"}),
        expect![[r#"running=running 09:20:48Z..? "l""#]],
    );
    check(
        definition.clone(),
        json!({"log": "l", "error": "e", "created": 1795166440, "started": 1795166448, "result": "ok", "state": "running"}),
        expect![[r#"ok=success 09:20:48Z..? "e""#]],
    );
    check(
        definition,
        json!({"state": "ok", "result": "none", "started": "soon", "created": 1795166440, "error": {"message": "m"}}),
        expect![[r#"
            ok=success 09:20:40Z..? "m"
            odd: /started is not a time: "soon" (workflow.start)"#]],
    );
}

#[test]
fn a_workflow_may_start_and_end_with_its_stages() {
    let definition = json!({
        "workflow": {"status": "/state", "start": "/created", "end": "/updated", "times_of_stages": ["start", "end"]},
        "stages": [{"list": "/jobs", "key": "/name", "status": "/state", "start": "/from", "end": "/to",
            "stages": [{"list": "/steps", "key": "/name", "status": "/state", "start": "/from", "end": "/to"}]}],
    });
    let ended = json!({"state": "ok", "created": 1795166400, "updated": 1798622400, "jobs": [
        {"name": "a", "state": "ok", "from": 1795166411, "to": 1795166420},
        {"name": "b", "state": "failed", "from": 1795166410, "to": 1795166421,
            "steps": [{"name": "s", "state": "ok", "from": 1795166409, "to": 1795166422}]},
        {"name": "late", "state": "queued", "from": 1795166401},
        {"name": "open", "state": "running", "from": 1795166412, "to": 1795166499}]});
    check(
        definition.clone(),
        ended.clone(),
        expect![[r#"
        ok=success 09:20:09Z..09:20:22Z
          a ok=success 09:20:11Z..09:20:20Z
          b failed=failure 09:20:10Z..09:20:21Z
          b/s "s" ok=success 09:20:09Z..09:20:22Z in=b
          late queued=pending 09:20:01Z..?
          open running=running 09:20:12Z..09:21:39Z"#]],
    );
    let mut running = ended;
    running["state"] = json!("running");
    check(
        definition.clone(),
        running,
        expect![[r#"
        running=running 09:20:09Z..2026-12-30T09:20:00Z
          a ok=success 09:20:11Z..09:20:20Z
          b failed=failure 09:20:10Z..09:20:21Z
          b/s "s" ok=success 09:20:09Z..09:20:22Z in=b
          late queued=pending 09:20:01Z..?
          open running=running 09:20:12Z..09:21:39Z"#]],
    );
    let bare = json!({"state": "ok", "created": 1795166400, "updated": 1795166401, "jobs": []});
    check(definition, bare, expect!["ok=success 09:20:00Z..09:20:01Z"]);
}

#[test]
fn an_id_may_be_any_number_of_64_bits() {
    check(
        json!({"workflow": {"id": "/id", "status": "/s"}, "stages": [{"list": "/jobs", "key": "/no", "id": "/no"}]}),
        json!({"id": u64::MAX, "s": "ok", "jobs": [{"no": u64::MAX}, {"no": u64::MAX - 1}]}),
        expect![[r#"
            ok=success id="18446744073709551615"
              18446744073709551615 pending id="18446744073709551615"
              18446744073709551614 pending id="18446744073709551614""#]],
    );
}

/// Slurm writes `None` where there is no error.
#[test]
fn a_text_that_stands_for_none_is_none() {
    let definition = |unset: Value| {
        json!({
            "workflow": {"complete": "/done", "error": ["/error", "/reason"], "attributes": {"a": "/a"}},
            "unset_texts": unset,
        })
    };
    let body = json!({"done": true, "error": "None", "reason": "N/A", "a": "None"});
    check(
        definition(json!([])),
        body.clone(),
        expect![[r#"pending "None" a="None""#]],
    );
    check(
        definition(json!("None")),
        body.clone(),
        expect![[r#"pending "N/A""#]],
    );
    check(definition(json!(["None", "N/A"])), body, expect!["pending"]);
}

#[test]
fn words_mean_what_the_table_says() {
    let definition = |unknown: &str| {
        json!({
            "workflow": {"status": "/s"}, "unknown_status": unknown,
            "statuses": {"Done": "success", "2": "failure", "true": "success", "TIMED_OUT": "timeout", "infra": "error"},
        })
    };
    for (status, expected) in [
        (json!("done"), expect!["done=success"]),
        (json!(2), expect!["2=failure"]),
        (json!(true), expect!["true=success"]),
        (json!("timed_out"), expect!["timed_out=timeout"]),
        (json!("INFRA"), expect!["INFRA=error"]),
        (json!(null), expect!["pending"]),
        (
            json!("paused"),
            expect![[r#"
                paused=pending
                odd: /s: unknown status "paused" (workflow.status)"#]],
        ),
        (
            json!(["done"]),
            expect![[
                r#"Shape("/s is an array, not a text; is /s/0 meant? (workflow.status) at line 1 column 13")"#
            ]],
        ),
    ] {
        check(definition("pending"), json!({"s": status}), expected);
    }
    check(
        definition("cancellation"),
        json!({"s": "paused"}),
        expect![[r#"
            paused=cancellation
            odd: /s: unknown status "paused" (workflow.status)"#]],
    );
    let mut second = definition("unset");
    second["workflow"]["status"] = json!(["/s", "/t"]);
    check(
        second,
        json!({"s": "paused", "t": "done"}),
        expect![[r#"
            done=success
            odd: /s: unknown status "paused" (workflow.status)"#]],
    );
    check(
        definition("fail"),
        json!({"s": "paused"}),
        expect![[r#"Shape("/s: unknown status \"paused\" (workflow.status)")"#]],
    );
}

#[test]
fn words_that_say_nothing_to_people_have_names() {
    let definition = json!({
        "workflow": {"status": "/s"}, "stages": [{"list": "/jobs", "key": "/k", "status": "/s"}],
        "statuses": {"0": "success", "false": "running", "late": "failure"},
        "status_names": {"0": "Succeeded", "FALSE": "Running"},
    });
    check(
        definition,
        json!({"s": false, "jobs": [{"k": "a", "s": 0}, {"k": "b", "s": "0"}, {"k": "c", "s": "late"}]}),
        expect![[r#"
            Running=running
              a Succeeded=success
              b Succeeded=success
              c late=failure"#]],
    );
}

#[test]
fn times_are_read_as_they_are_said_to_be() {
    let definition = |format: &str| {
        json!({
            "workflow": {"status": "/s", "queued": "/q", "start": "/b", "end": "/e"}, "times": {"format": format},
        })
    };
    check(
        definition("auto"),
        json!({"s": "ok", "q": "2026-11-20T09:20:48.043GMT", "b": 1795166449.955817, "e": "1795166450043"}),
        expect!["ok=success queued 09:20:48.043Z 09:20:49.955817Z..09:20:50.043Z"],
    );
    check(
        definition("auto"),
        json!({"s": "running", "q": "0001-01-01T00:00:00", "b": "1969-12-31T23:59:59.999GMT", "e": -1}),
        expect!["running=running"],
    );
    check(
        definition("epoch_ms"),
        json!({"s": null, "b": 1795166449955i64, "e": "2026-11-20T09:20:48Z"}),
        expect![[r#"
            pending 09:20:49.955Z..?
            odd: /e is not a time: "2026-11-20T09:20:48Z" (workflow.end)"#]],
    );
    check(
        definition("rfc3339"),
        json!({"b": 1795166449, "e": true}),
        expect![[r#"
            pending
            odd: /b is not a time: "1795166449"; is epoch_s meant? (workflow.start)"#]],
    );
    check(
        definition("auto"),
        json!({"s": "ok", "b": {"at": 1}, "e": "soon"}),
        expect![[r#"
            ok=success
            odd: /b is an object, not a text or a number; it has at (workflow.start)"#]],
    );
}

/// A double has 53 bits of the 61 that nanoseconds take.
#[test]
fn a_number_with_a_fraction_or_an_exponent_is_read_to_the_nanosecond_where_times_are_numbers() {
    let read = |format: &str, times: &str| {
        let definition = json!({"workflow": {"status": "/s", "start": "/b", "end": "/e", "attributes": {"begun": "/b"}},
            "statuses": {"ok": "success"}, "times": {"format": format}});
        let body = format!(r#"{{"s": "ok", {times}}}"#);
        told(&poll(&compiled(&definition), "w", |_, _| body.clone()))
    };
    expect!["ok=success 09:20:48.043123456Z..09:20:49.043123457Z begun=1.7951664480431235e18"]
        .assert_eq(&read(
            "epoch_ns",
            r#""b": 1.795166448043123456e18, "e": 1795166449043123457"#,
        ));
    expect!["ok=success 09:20:48.043123456Z..09:20:49.043123457Z begun=1795166448.0431235"]
        .assert_eq(&read(
            "epoch_s",
            r#""b": 1795166448.043123456, "e": 1.795166449043123457E+9"#,
        ));
    expect![[r#"
        ok=success
        odd: /b is an object, not a text or a number (workflow.start)"#]]
    .assert_eq(&read("epoch_ms", r#""b": {"at": [1.5]}, "e": [1]"#));
    expect!["ok=success ?..09:20:50.0435Z"].assert_eq(&read(
        "epoch_ms",
        r#""b": null, "e": "17951664\u0035\u0030043.5""#,
    ));
    expect![[r#"
        ok=success begun="�"
        odd: /b is not all Unicode, U+FFFD stands for the rest: "�" (workflow.start)"#]]
    .assert_eq(&read("epoch_ms", r#""b": "\ud83d", "e": 1e400"#));
    expect![[r#"
        ok=success
        odd: /e is not a number that can be held; left out (workflow.end)"#]]
    .assert_eq(&read("epoch_ms", r#""b": null, "e": -1e400"#));
}

#[test]
fn a_count_of_another_unit_is_taken_as_it_is_said_and_told() {
    let definition = |format: &str| json!({"workflow": {"status": "/s", "start": "/b"}, "times": {"format": format}});
    let odd = |format: &str, start: Value| {
        let mut definition = definition(format);
        definition["statuses"] = json!({"ok": "success"});
        let body = json!({"s": "ok", "b": start});
        let reading = poll(&compiled(&definition), "w", |_, _| body.to_string()).unwrap();
        let start = reading.snapshot.progress.start;
        let oddity = reading.oddity.as_deref().unwrap_or_default();
        format!("{} {oddity}", start.map_or("-".into(), |at| at.to_string()))
    };
    for (format, start, expected) in [
        (
            "epoch_ms",
            json!(1_795_166_448),
            "1970-01-21T18:39:26.448Z /b is a time in 1970: \"1795166448\"; is epoch_s meant? (workflow.start)",
        ),
        (
            "epoch_ms",
            json!("1795166448.5"),
            "1970-01-21T18:39:26.4485Z /b is a time in 1970: \"1795166448.5\"; is epoch_s meant? (workflow.start)",
        ),
        (
            "epoch_s",
            json!(1_795_166_448_043_i64),
            "- /b is not a time: \"1795166448043\"; is epoch_ms meant? (workflow.start)",
        ),
        (
            "auto",
            json!(12.5),
            "1970-01-01T00:00:12.5Z /b is a time in 1970: \"12.5\" (workflow.start)",
        ),
        ("epoch_ms", json!(-1), "- "),
        ("epoch_ms", json!(0), "- "),
        (
            "rfc3339",
            json!("1971-01-01T00:00:00Z"),
            "1971-01-01T00:00:00Z ",
        ),
        ("epoch_s", json!(1_795_166_448), "2026-11-20T09:20:48Z "),
    ] {
        assert_eq!(odd(format, start.clone()), expected, "{format} {start}");
    }
}

#[test]
fn attempts_count_from_where_the_api_begins() {
    let definition = |first: u32| {
        json!({
            "workflow": {"complete": "/done", "attempt": "/try", "first_attempt": first},
            "stages": [{"list": "/jobs", "key": "/name", "attempt": "/try", "first_attempt": first}],
        })
    };
    let body = json!({"try": 0, "jobs": [
        {"name": "a", "try": 0}, {"name": "a", "try": 1}, {"name": "b", "try": "2"}, {"name": "c", "try": null},
        {"name": "d", "try": -7}, {"name": "e", "try": 9e99}, {"name": "f"}]});
    check(
        definition(0),
        body.clone(),
        expect![[r#"
            pending attempt=1
              a pending
              a#2 pending
              b#3 pending
              c pending
              d pending
              e pending
              f pending
            odd: /jobs/*/try is not a whole number: "9000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" (stages[0].attempt)"#]],
    );
    check(
        definition(1),
        body,
        expect![[r#"
            pending attempt=1
              a pending
              b#2 pending
              c pending
              d pending
              e pending
              f pending
            odd: /jobs/*/try is not a whole number: "9000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" (stages[0].attempt)"#]],
    );
}

#[test]
fn further_attributes_keep_their_types() {
    check(
        json!({"workflow": {"status": "/s", "url": "/links/self",
            "attributes": {"text": "/t", "whole": "/i", "share": "/f", "truth": "/b", "either": ["/no", "/t"], "list": "/l"}}}),
        json!({"s": "ok", "t": "x", "i": -7, "f": 0.5, "b": false, "l": [1], "links": {"self": "https://x/7"}}),
        expect![[r#"
            ok=success url=https://x/7 either="x" share=0.5 text="x" truth=false whole=-7
            odd: /l is an array, not a text or a number; is /l/0 meant? (workflow.attributes.list)"#]],
    );
}

#[test]
fn stages_are_an_array_or_an_object_of_them() {
    let fields = json!({"list": "/jobs", "status": "/s", "id": "/id"});
    let definition = json!({"workflow": {"complete": "/done"}, "stages": [fields]});
    check(
        definition.clone(),
        json!({"jobs": {"build": {"s": "ok", "id": 1}, "test": {"s": "running"}, "later": null}}),
        expect![[r#"
            pending
              build ok=success id="1"
              test running=running"#]],
    );
    check(
        definition.clone(),
        json!({"jobs": [{"s": "ok", "id": 1}, {"s": "ok"}, null, {"id": "two"}]}),
        expect![[r#"
            pending
              1 ok=success id="1"
              two pending id="two"
            odd: what is in /jobs has no key and no id; left out (stages[0].list)"#]],
    );
    for (jobs, expected) in [
        (json!(null), expect!["pending"]),
        (json!([]), expect!["pending"]),
        (json!({}), expect!["pending"]),
        (
            json!(7),
            expect![[
                r#"Shape("/jobs is neither an array nor an object (stages[0].list) at line 1 column 9")"#
            ]],
        ),
        (
            json!([7]),
            expect![[
                r#"Shape("what is in /jobs is neither an object nor null: an element has to be an object with the fields of a stage (stages[0].list) at line 1 column 11")"#
            ]],
        ),
        (
            json!([[7]]),
            expect![[
                r#"Shape("what is in /jobs is neither an object nor null: an element has to be an object with the fields of a stage (stages[0].list) at line 1 column 13")"#
            ]],
        ),
        (
            json!({"a": "b"}),
            expect![[
                r#"Shape("what is in /jobs is neither an object nor null: an element has to be an object with the fields of a stage (stages[0].list) at line 1 column 17")"#
            ]],
        ),
    ] {
        check(definition.clone(), json!({"jobs": jobs}), expected);
    }
}

#[test]
fn a_key_is_one_field_or_several_else_the_objects_else_the_id() {
    check(
        json!({"workflow": {"status": "/s"}, "stages": [
            {"list": "/tasks", "key": ["/task", "/map"], "kind": ["/title", "/task"]}]}),
        json!({"s": "ok", "tasks": [{"task": "a", "map": -1, "title": "A"}, {"task": "a", "map": 0}, {"task": "a/0"},
            {"task": "b~"}, {"map": 7}, {"task": "", "map": 7}]}),
        expect![[r#"
            ok=success
              a/-1 "A" pending
              a/0 "a" pending
              a~10/ "a/0" pending
              b~0/ "b~" pending
            odd: what is in /tasks has no key and no id; left out (stages[0].list)"#]],
    );
}

#[test]
fn two_of_one_key_are_told_and_the_later_one_counts() {
    check(
        json!({"workflow": {"status": "/s"}, "stages": [{"list": "/jobs", "key": "/name", "id": "/id", "start": "/at", "end": "/to",
            "queued": "/q", "error": "/e", "url": "/u", "attributes": {"x": "/x"}}]}),
        json!({"s": "ok", "jobs": [{"name": "a", "id": 1, "at": 1795166448, "to": 1795166449, "q": 1795166440, "e": "e", "u": "u", "x": 1}, {"name": "b"}, {"name": "a", "id": 2}]}),
        expect![[r#"
            ok=success
              a pending id="2"
              b pending
            odd: two stages in /jobs have the key "a"; one is left out (stages[0].list)"#]],
    );
}

#[test]
fn a_later_answer_refines_an_earlier_one() {
    let mapping = compiled(&json!({
        "requests": {"more": {"path": "/more/{stage.key}", "for_each": "jobs"}},
        "workflow": {"status": "/s"}, "statuses": {"ok": "success", "running": "running"},
        "stages": [
            {"name": "jobs", "list": "/jobs", "key": "/k", "id": "/id", "status": "/s", "queued": "/q", "start": "/at", "end": "/to",
                "error": "/e", "url": "/u", "attributes": {"x": "/x"}},
            {"from": "more", "list": "/more", "key": "/k", "kind": "/t", "status": "/s", "start": "/at"}]}));
    let reading = poll(&mapping, "w", |name, url| {
        match name {
        "" => json!({"s": "ok", "jobs": [
            {"k": "a", "id": 1, "s": "running", "q": 1795166440, "at": 1795166448, "to": 1795166449, "e": "e", "u": "u", "x": 1}, {"k": "b"}]}),
        _ => json!({"more": [{"k": &url[6..], "t": "T", "s": "ok", "at": 1795166447}]}),
    }.to_string()
    });
    expect![[r#"
        ok=success
          a "T" ok=success queued 09:20:40Z 09:20:47Z..09:20:49Z "e" id="1" url=u x=1
          b "T" ok=success 09:20:47Z..?"#]]
    .assert_eq(&told(&reading));
}

#[test]
fn of_a_key_that_stands_twice_in_an_object_the_later_one_counts() {
    let mapping = compiled(&json!({
        "workflow": {"status": "/s", "start": "/at", "end": ["/to", "/to/time"], "url": "/u"}, "statuses": {"ok": "success"},
        "stages": [{"list": "/jobs", "id": "/id"}]}));
    let body = r#"{"s": "no", "at": 1795166448, "at": {"x": 1}, "to": 1795166448, "to": {"time": 1795166449}, "u": "x", "u": null,
        "jobs": {"a": {"id": 1}, "a": {"id": 2, "id": 3}}, "s": "ok"}"#;
    let reading = poll(&mapping, "w", |_, _| body.to_owned());
    expect![[r#"
        ok=success ?..09:20:49Z
          a pending id="3"
        odd: /at is an object, not a text or a number; it has x (workflow.start)"#]]
    .assert_eq(&told(&reading));
}

#[test]
fn attempts_without_a_number_are_numbered() {
    check(
        json!({"workflow": {"status": "/s"}, "stages": [
            {"list": "/jobs", "key": "/name", "id": "/id", "attempt": "/try", "number_attempts_by": ["/started", "/id"]}]}),
        json!({"s": "ok", "jobs": [
            {"name": "a", "id": 3, "started": null}, {"name": "a", "id": 2, "started": "2026-11-20T09:20:51Z"},
            {"name": "b", "id": 9}, {"name": "a", "id": 1, "started": "2026-11-20T09:20:50.5Z"},
            {"name": "c", "id": 10}, {"name": "c", "id": 9}, {"name": "d", "id": 1, "try": 5}]}),
        expect![[r#"
            ok=success
              a pending id="3"
              a#3 pending id="2"
              b pending id="9"
              a#2 pending id="1"
              c#2 pending id="10"
              c pending id="9"
              d#5 pending id="1""#]],
    );
}

#[test]
fn lists_nest_to_any_depth() {
    check(
        json!({"workflow": {"status": "/s"}, "stages": [
            {"list": "/jobs", "key": "/name", "status": "/s", "stages": [
                {"list": "/steps", "key": "/n", "kind": "/title", "status": "/s", "stages": [
                    {"list": "/sub", "status": "/s"}]},
                {"list": "/services", "name": "services", "key": "/n"}]},
            {"list": "/bridges", "key": "/name"}]}),
        json!({"s": "ok", "bridges": [{"name": "build"}], "jobs": [
            {"steps": [{"n": 1, "title": "checkout", "s": "ok", "sub": {"x": {"s": "ok"}, "y/z": {}}}, {"n": 2, "s": "failed"}],
                "services": {"db": {"n": 1}}, "name": "build", "s": "failed"},
            {"name": "test", "s": "skipped", "steps": null}]}),
        expect![[r#"
            ok=success
              ~2/build "build" pending
              build failed=failure
              build/~services/1 "db" pending in=build
              build/1 "checkout" ok=success in=build
              build/1/x "x" ok=success in=build/1
              build/1/y~1z "y/z" pending in=build/1
              build/2 "2" failed=failure in=build
              test skipped=skip"#]],
    );
}

/// Those of a job that is tried again are not those that have finished.
#[test]
fn nested_stages_have_the_attempt_of_what_they_are_in_unless_they_have_their_own() {
    let steps =
        json!([{"list": "/steps", "key": "/n", "attempt": "/try", "stages": [{"list": "/sub"}]}]);
    check(
        json!({"workflow": {"status": "/s"}, "stages": [
            {"list": "/jobs", "key": "/name", "attempt": "/try", "number_attempts_by": "/at", "stages": steps}]}),
        json!({"s": "ok", "jobs": [
            {"name": "a", "try": 3, "steps": [{"n": 1, "sub": {"x": {}}}, {"n": 2, "try": 7}]},
            {"name": "b", "at": "2026-11-20T09:20:51Z", "steps": [{"n": 1}]},
            {"name": "b", "at": "2026-11-20T09:20:50Z", "steps": [{"n": 1}]}]}),
        expect![[r#"
            ok=success
              a#3 pending
              a/1#3 "1" pending in=a
              a/1/x#3 "x" pending in=a/1
              a/2#7 "2" pending in=a
              b#2 pending
              b/1#2 "1" pending in=b
              b pending
              b/1 "1" pending in=b"#]],
    );
}

#[test]
fn steps_asked_for_have_the_attempt_of_their_job() {
    let mapping = compiled(&json!({
        "request": {"path": "/runs/{id}"},
        "requests": {"steps": {"path": "/runs/{id}/jobs/{stage.key}", "for_each": "jobs"}},
        "workflow": {"status": "/s"},
        "stages": [{"name": "jobs", "list": "/jobs", "key": "/name", "attempt": "/try", "stages": [
            {"from": "steps", "list": "/steps", "key": "/n"}]}],
        "statuses": {"ok": "success"}}));
    let reading = poll(&mapping, "w", |name, _| match name {
        "" => r#"{"s": "ok", "jobs": [{"name": "a", "try": 2}]}"#.to_owned(),
        _ => r#"{"steps": [{"n": 1}]}"#.to_owned(),
    });
    expect![[r#"
        ok=success
          a#2 pending
          a/1#2 "1" pending in=a"#]]
    .assert_eq(&told(&reading));
}

#[test]
fn children_are_named_by_their_parents() {
    let definition = json!({"workflow": {"status": "/s"}, "stages": [
        {"name": "jobs", "list": "/jobs", "key": "/id", "children": {"list": "stages", "ids": "/stages"}},
        {"name": "stages", "list": "/stages", "key": "/id", "attempt": "/try", "first_attempt": 0}]});
    let body = |status: &str| {
        json!({"s": status,
        "stages": [{"id": 2, "try": 0}, {"id": 1, "try": 1}, {"id": 1, "try": 0}, {"id": 5, "try": 0}],
        "jobs": [{"id": 0, "stages": [1, 2, 9]}, {"id": 1, "stages": [2]}]})
    };
    // That nobody has claimed the last one may change.
    check(
        definition.clone(),
        body("running"),
        expect![[r#"
        running=running
          0 pending
          1 pending
          ~stages/2 "2" pending in=0
          ~stages/1#2 "1" pending in=0
          ~stages/1 "1" pending in=0"#]],
    );
    check(
        definition,
        body("ok"),
        expect![[r#"
            ok=success
              0 pending
              1 pending
              ~stages/5 "5" pending
              ~stages/2 "2" pending in=0
              ~stages/1#2 "1" pending in=0
              ~stages/1 "1" pending in=0
            odd: /jobs/*/stages has "9", which is no key in /stages (stages[0].children.ids)"#]],
    );
}

#[test]
fn parents_are_named_by_their_children() {
    check(
        json!({"workflow": {"status": "/s"}, "stages": [
            {"list": "/nodes", "kind": "/title", "status": "/s", "parent": {"key": ["/boundary", "/within"]}}]}),
        json!({"s": "ok", "nodes": {
            "pod": {"title": "step", "within": "group", "s": "ok"}, "group": {"boundary": "root", "s": "ok"},
            "root": {"boundary": "", "s": "ok"}, "lost": {"boundary": "nobody"}, "self": {"boundary": "self"}}}),
        expect![[r#"
            ok=success
              lost pending
              root ok=success
              self pending
              group ok=success in=root
              pod "step" ok=success in=group
            odd: a stage in /nodes names the parent "nobody", which is not there (stages[0].list)"#]],
    );
    check(
        json!({"workflow": {"status": "/s"}, "stages": [{"list": "/nodes", "key": "/k", "parent": {"key": "/p"}}]}),
        json!({"s": "ok", "nodes": [{"k": "a", "p": "b"}, {"k": "b", "p": "c"}, {"k": "c", "p": "a"}, {"k": "d", "p": "c"}]}),
        expect![[r#"
            ok=success
              c pending
              b pending in=c
              d pending in=c
              a pending in=b
            odd: stages are their own ancestors; some of them have no parent now"#]],
    );
    check(
        json!({"workflow": {"status": "/s"}, "stages": [
            {"name": "jobs", "list": "/jobs", "key": "/k"}, {"list": "/steps", "key": "/k", "parent": {"key": "/job", "list": "jobs"}}]}),
        json!({"s": "ok", "steps": [{"k": "s", "job": "j/1"}, {"k": "t"}], "jobs": [{"k": "j/1"}]}),
        expect![[r#"
            ok=success
              j~11 "j/1" pending
              ~2/t "t" pending
              ~2/s "s" pending in=j~11"#]],
    );
}

#[test]
fn what_is_excepted_is_no_stage_and_neither_is_what_is_in_it() {
    check(
        json!({"workflow": {"status": "/s"}, "stages": [{"list": "/nodes", "key": "/k",
            "except": {"/type": ["Group", "Gate"], "/meta/hidden": ["true"]}, "stages": [{"list": "/steps", "key": "/k"}]}]}),
        json!({"s": "ok", "nodes": [
            {"k": "a", "type": "Group", "steps": [{"k": "x"}]},
            {"k": "b", "type": "Pod", "steps": [{"k": "x"}], "meta": {"hidden": false}},
            {"k": "c", "type": "Pod", "meta": {"hidden": true}},
            {"k": "d", "type": "group"}]}),
        expect![[r#"
            ok=success
              b pending
              b/x "x" pending in=b
              d pending"#]],
    );
}

/// One of two lists over the same elements leaves out what the other takes, and each has its own lists within them.
#[test]
fn lists_share_elements_and_leave_out_each_its_own() {
    let steps = json!([{"list": "/steps", "key": "/k"}]);
    let of_type = |name: &str, other: &str| json!({"name": name, "list": "/jobs", "key": "/k", "except": {"/type": [other]}, "stages": steps});
    check(
        json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success"}, "stages": [
            of_type("tasks", "gate"), of_type("gates", "task"), {"name": "first", "list": "/jobs/0/steps", "key": "/k"}]}),
        json!({"s": "ok", "jobs": [
            {"steps": [{"k": 1}, {"k": 2}], "k": "a", "type": "gate"},
            {"k": "b", "type": "task", "steps": [{"k": 1}]},
            {"k": "c", "steps": [{"k": 1}]},
            {"k": "d", "steps": [{"k": 1}], "type": "task"}]}),
        expect![[r#"
            ok=success
              ~gates/a "a" pending
              ~gates/a/1 "1" pending in=~gates/a
              ~first/1 "1" pending
              ~gates/a/2 "2" pending in=~gates/a
              ~first/2 "2" pending
              b pending
              b/1 "1" pending in=b
              c pending
              ~gates/c "c" pending
              c/1 "1" pending in=c
              ~gates/c/1 "1" pending in=~gates/c
              d pending
              d/1 "1" pending in=d"#]],
    );
}

/// A stage counts before what is nested in it.
#[test]
fn of_too_many_nested_ones_the_first_are_watched() {
    let definition = json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success"},
        "stages": [{"list": "/jobs", "key": "/k", "stages": [{"list": "/steps", "key": "/k"}]}]});
    let steps: Vec<_> = (0..limits::STAGES_MAX).map(|k| json!({"k": k})).collect();
    let body = json!({"s": "ok", "jobs": [{"steps": steps, "k": "job"}, {"k": "late"}]});
    let reading = poll(&compiled(&definition), "w", |_, _| body.to_string()).unwrap();
    let stages = &reading.snapshot.stages;
    assert_eq!(stages.len(), limits::STAGES_MAX);
    assert_eq!(
        (stages.get(0).path, stages.get(9_999).path),
        ("job", "job/9998")
    );
    assert!(stages.iter().skip(1).all(|step| step.parent == Some("job")));
    let oddity = "more than 10000 stages: only the first 10000 are watched";
    assert_eq!(reading.oddity.as_deref(), Some(oddity));
}

#[test]
fn a_pointer_may_lead_into_a_list_of_stages() {
    check(
        json!({"workflow": {"status": "/jobs/0/s", "start": "/jobs/0/at", "error": "/jobs/1/why"},
            "stages": [{"list": "/jobs", "key": "/k", "status": "/s", "start": "/at"}, {"name": "again", "list": "/jobs", "key": "/k", "end": "/at"}]}),
        json!({"jobs": [{"k": "a", "s": "ok", "at": 1795166448}, {"k": "b", "s": "failed", "at": 1795166449, "why": "no disk"}]}),
        expect![[r#"
            ok=success 09:20:48Z..? "no disk"
              a ok=success 09:20:48Z..?
              ~again/a "a" pending ?..09:20:48Z
              b failed=failure 09:20:49Z..?
              ~again/b "b" pending ?..09:20:49Z"#]],
    );
}

#[test]
fn requests_are_made_for_each_element() {
    let mapping = compiled(&json!({
        "id": "{dag}/{run}",
        "request": {"path": "/dags/{dag}/runs/{run}"},
        "requests": {
            "log": {"path": "/log/{stage.key.0}/{stage.key.1}?of={stage.id}&n={stage.name}&a={stage.attempt}", "for_each": "tasks"},
            "tasks": {"path": "/dags/{dag}/runs/{run}/tasks"},
            "tries": {"path": "/dags/{dag}/runs/{run}/tasks/{stage.key.0}/{stage.key.1}/tries", "for_each": "tasks", "when_attempt_above": 1}},
        "workflow": {"id": "/run_id", "status": "/state"},
        "statuses": {"ok": "success", "failed": "failure"},
        "stages": [
            {"name": "tasks", "from": "tasks", "list": "/tasks", "key": ["/task", "/map"], "id": "/id", "status": "/state", "attempt": "/try",
                "stages": [{"from": "log", "list": "/lines", "key": "/n"}]},
            {"from": "tries", "list": "/tries", "key": ["/task", "/map"], "status": "/state", "attempt": "/try"}],
    }));
    let names: Vec<_> = mapping.requests().map(|(name, _)| name).collect();
    assert_eq!(names, ["", "tasks", "tries", "log"]);
    let mut asked = Vec::new();
    let reading = poll(&mapping, "etl/r:1", |name, url| {
        asked.push(url.to_owned());
        let task = |task: &str, attempt: u32, state: &str| json!({"task": task, "map": -1, "id": "i", "try": attempt, "state": state});
        match name {
            "" => json!({"run_id": "r:1", "state": "ok"}),
            "tasks" => json!({"tasks": [task("a", 1, "ok"), task("b", 2, "ok")]}),
            "tries" => json!({"tries": [task("b", 1, "failed"), task("b", 2, "ok")]}),
            _ => json!({"lines": [{"n": 1}, {"n": 2}]}),
        }
        .to_string()
    });
    expect![[r#"
        /dags/etl/runs/r%3A1
        /dags/etl/runs/r%3A1/tasks
        /dags/etl/runs/r%3A1/tasks/b/-1/tries
        /log/a/-1?of=i&n=a%2F-1&a=1
        /log/b/-1?of=i&n=b%2F-1&a=2"#]]
    .assert_eq(&asked.join("\n"));
    expect![[r#"
        ok=success id="etl/r:1"
          a/-1 ok=success id="i"
          b/-1#2 ok=success id="i"
          b/-1 failed=failure
          a/-1/1 "1" pending in=a/-1
          a/-1/2 "2" pending in=a/-1
          b/-1/1#2 "1" pending in=b/-1
          b/-1/2#2 "2" pending in=b/-1"#]]
    .assert_eq(&told(&reading));
    assert!(mapping.gather("etl").is_err());
}

#[test]
fn an_id_in_the_answer_is_compared_with_what_the_event_had() {
    let mapping = compiled(&json!({
        "id": "{dag}/{run}", "workflow": {"id": "/id", "status": "/s"}, "statuses": {"ok": "success"}}));
    for (found, id) in [
        ("r", "etl/r"),
        ("etl/r", "etl/r"),
        ("etl", "etl"),
        ("other", "other"),
    ] {
        let reading = poll(&mapping, "etl/r", |_, _| {
            json!({"id": found, "s": "ok"}).to_string()
        });
        assert_eq!(reading.unwrap().snapshot.workflow_id.as_deref(), Some(id));
    }
}

#[test]
fn pages_follow_one_another() {
    let mapping = compiled(&json!({
        "request": {"path": "/w/{id}", "pages": {"by": "cursor", "next": "/page/next"}},
        "requests": {"jobs": {"path": "/w/{id}/jobs", "pages": {"by": "offset", "size": 2, "total": "/total"}}},
        "workflow": {"status": "/s"}, "statuses": {"ok": "success"},
        "stages": [{"list": "/tasks", "key": "/k"}, {"name": "jobs", "from": "jobs", "list": "/jobs", "key": "/k"}]}));
    let mut gather = mapping.gather("w").unwrap();
    for (request, body, expected) in [
        (
            0,
            json!({"s": "ok", "tasks": [{"k": 1}, null, {"k": 2}], "page": {"next": "c 1"}}),
            (3, Some("c 1"), None),
        ),
        (
            0,
            json!({"tasks": [{"k": 3}], "page": {"next": ""}}),
            (1, None, None),
        ),
        (
            1,
            json!({"jobs": [{"k": 1}, {"k": 2}], "total": 3}),
            (2, None, Some(3)),
        ),
        (
            1,
            json!({"jobs": [{"k": 2}, {"k": 3}], "total": "3"}),
            (2, None, Some(3)),
        ),
        (1, json!({"jobs": []}), (0, None, None)),
    ] {
        let part = mapping
            .read_slice(request, body.to_string().as_bytes())
            .unwrap();
        let page = part.page();
        assert_eq!(
            (page.elements, page.next.as_deref(), page.total),
            expected,
            "{body}"
        );
        // One that is known from before may come again.
        gather.put(0, part);
    }
    expect![[r#"
        ok=success
          1 pending
          2 pending
          3 pending
          ~jobs/1 "1" pending
          ~jobs/2 "2" pending
          ~jobs/3 "3" pending"#]]
    .assert_eq(&told(&gather.finish()));
}

#[test]
fn of_too_many_stages_the_first_are_watched() {
    let definition = json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success"}, "stages": [{"list": "/jobs", "key": "/k"}]});
    let jobs: Vec<_> = (0..limits::STAGES_MAX + 5)
        .map(|k| json!({"k": k}))
        .collect();
    let reading = poll(&compiled(&definition), "w", |_, _| {
        json!({"jobs": jobs, "s": "ok"}).to_string()
    })
    .unwrap();
    assert_eq!(
        reading.snapshot.progress.state,
        State::Ended(Outcome::Success)
    );
    let stages = reading.snapshot.stages;
    assert_eq!(stages.len(), limits::STAGES_MAX);
    assert!(
        stages
            .iter()
            .zip(0..)
            .all(|(stage, k)| *stage.path == *k.to_string())
    );
    assert_eq!(
        reading.oddity.as_deref(),
        Some("more than 10000 stages: only the first 10000 are watched")
    );
}

#[test]
fn of_too_many_stages_in_several_answers_too() {
    let mapping = compiled(
        &json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success"},
        "stages": [{"list": "/jobs", "key": "/k"}]}),
    );
    let mut gather = mapping.gather("w").unwrap();
    for page in 0..2 {
        let keys = (0..6_000).map(|k| json!({"k": 6_000 * page + k}));
        let body = json!({"jobs": keys.collect::<Vec<_>>(), "s": "ok"}).to_string();
        gather.put(0, mapping.read_slice(0, body.as_bytes()).unwrap());
    }
    let reading = gather.finish().unwrap();
    assert_eq!(reading.snapshot.stages.len(), limits::STAGES_MAX);
    assert_eq!(reading.snapshot.stages.get(9_999).path, "9999");
    assert!(
        reading
            .oddity
            .unwrap()
            .starts_with("more than 10000 stages")
    );
}

/// A new attempt comes to the front of the list between the first page and the second.
#[test]
fn an_attempt_on_two_pages_is_one() {
    let mapping = compiled(
        &json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success", "ko": "failure"},
        "stages": [{"list": "/jobs", "key": "/name", "id": "/id", "status": "/s", "number_attempts_by": "/id"}]}),
    );
    let job = |id: u32, name: &str, status: &str| json!({"id": id, "name": name, "s": status});
    let pages = [
        json!([job(9, "test", "ko"), job(8, "lint", "ok")]),
        json!([job(8, "lint", "ok"), job(7, "test", "ko")]),
    ];
    let mut gather = mapping.gather("w").unwrap();
    for jobs in pages {
        let body = json!({"s": "ok", "jobs": jobs}).to_string();
        gather.put(0, mapping.read_slice(0, body.as_bytes()).unwrap());
    }
    expect![[r#"
        ok=success
          test#2 ko=failure id="9"
          lint ok=success id="8"
          test ko=failure id="7""#]]
    .assert_eq(&told(&gather.finish()));
}

#[test]
fn too_long_a_path_is_cut_to_one_that_tells() {
    let definition = json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success"}, "stages": [{"list": "/jobs"}]});
    let long = |end: &str| "é".repeat(200) + end;
    let body = json!({"s": "ok", "jobs": {long("a"): {}, long("b"): {}}});
    let reading = poll(&compiled(&definition), "w", |_, _| body.to_string()).unwrap();
    let paths: Vec<_> = reading.snapshot.stages.iter().map(|s| s.path).collect();
    assert_eq!(paths.len(), 2);
    assert_ne!(paths[0], paths[1]);
    assert!(
        paths
            .iter()
            .all(|path| path.len() <= limits::NAME_BYTES_MAX && path.starts_with("éé"))
    );
    assert_eq!(reading.oddity, None);
}

#[test]
fn what_is_odd_in_a_further_answer_is_told_with_its_name() {
    let mapping = compiled(&json!({
        "requests": {"jobs": {"path": "/jobs"}}, "workflow": {"status": "/s"}, "statuses": {"ok": "success"},
        "stages": [{"from": "jobs", "list": "", "key": "/k", "status": "/s", "end": "/e"}]}));
    let read = |body: Value| {
        told(&poll(&mapping, "w", |name, _| match name {
            "" => json!({"s": "ok"}).to_string(),
            _ => body.to_string(),
        }))
    };
    expect![[r#"
        ok=success
          1 what?=running
        odd: jobs: /*/s: unknown status "what?" (stages[0].status)"#]]
    .assert_eq(&read(json!([{"k": 1, "s": "what?"}])));
    expect![[r#"
        ok=success
          1 pending
        odd: jobs: /*/e is not a time: "never" (stages[0].end)"#]]
    .assert_eq(&read(json!([{"k": 1, "e": "never"}])));
    expect![[r#"
        ok=success
        odd: jobs: what is in the answer has no key and no id; left out (stages[0].list)"#]]
    .assert_eq(&read(json!([{"s": "ok"}])));
    expect![[r#"Shape("jobs: the answer is neither an array nor an object (stages[0].list) at line 1 column 4")"#]]
        .assert_eq(&read(json!("no")));
    expect![[r#"Shape("jobs: what is in the answer is neither an object nor null: an element has to be an object with the fields of a stage (stages[0].list) at line 1 column 13")"#]]
    .assert_eq(&read(json!({"error": 404})));
    expect!["ok=success"].assert_eq(&read(json!(null)));
}

#[test]
fn what_found_nothing_is_known() {
    let mapping = compiled(&json!({
        "request": {"path": "/w/{id}", "pages": {"by": "cursor", "next": "/next"}},
        "requests": {"jobs": {"path": "/jobs", "pages": {"by": "offset", "total": "/total"}}},
        "workflow": {"status": "/s", "start": ["/a", "/b"], "end": "/e"}, "statuses": {"ok": "success"},
        "stages": [
            {"from": "jobs", "list": "/jobs", "key": "/k", "url": "/u", "stages": [{"list": "/steps", "key": "/n"}]},
            {"name": "more", "list": "/more", "key": "/k"}, {"name": "none", "list": "/none", "key": "/k"}]}));
    let mut gather = mapping.gather("w").unwrap();
    let main = json!({"s": "ok", "b": null, "e": 7, "none": []}).to_string();
    gather.put(0, mapping.read_slice(0, main.as_bytes()).unwrap());
    gather.put(
        0,
        mapping
            .read_slice(1, br#"{"jobs": [{"k": 1}, {"k": 2}]}"#)
            .unwrap(),
    );
    let missing = gather.found_nothing();
    let missing: Vec<_> = missing
        .iter()
        .map(|m| format!("{} {} in {:?}", m.place, m.pointer, m.request))
        .collect();
    expect![[r#"
        workflow.start /a in ""
        stages[0].url /jobs/*/u in "jobs"
        request.pages.next /next in ""
        requests.jobs.pages.total /total in "jobs"
        stages[0].stages[0].list /jobs/*/steps in "jobs"
        stages[1].list /more in """#]]
    .assert_eq(&missing.join("\n"));
}

#[test]
fn what_is_odd_about_stages_together_names_their_answer() {
    let definition = json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success"}, "request": {"path": "/{id}"},
        "requests": {"jobs": {"path": "/{id}/jobs"}, "steps": {"path": "/{id}/steps"}},
        "stages": [{"from": "jobs", "list": "", "key": "/k", "parent": {"key": "/p"}, "children": {"list": "steps", "ids": "/steps"}},
            {"name": "steps", "from": "steps", "list": "", "key": "/k"}]});
    let odd = |job: Value| {
        let reading = poll(&compiled(&definition), "w", |name, _| match name {
            "jobs" => json!([job]).to_string(),
            "steps" => json!([{"k": "s"}]).to_string(),
            _ => json!({"s": "ok"}).to_string(),
        });
        reading
            .unwrap()
            .oddity
            .map(String::from)
            .unwrap_or_default()
    };
    expect![[r#"jobs: a stage in the answer names the parent "nobody", which is not there (stages[0].list)"#]].assert_eq(&odd(json!({"k": "a", "p": "nobody"})));
    expect![[r#"jobs: /*/steps has "nope", which is no key in the answer of requests.steps (stages[0].children.ids)"#]].assert_eq(&odd(json!({"k": "a", "steps": ["nope"]})));
}

#[test]
fn where_pointers_begin_is_told_where_the_workflow_has_a_root() {
    let odd = |definition: &Value, body: Value| {
        let reading = poll(&compiled(definition), "w", |_, _| body.to_string());
        reading
            .unwrap()
            .oddity
            .map(String::from)
            .unwrap_or_default()
    };
    let list = json!({"workflow": {"root": "/run", "status": "/s"}, "statuses": {"ok": "success"},
        "stages": [{"list": "/steps", "key": "/k"}]});
    let body = json!({"run": {"s": "ok", "steps": []}});
    expect!["/steps leads nowhere; /run has s, steps; a list begins at the answer, not at workflow.root (stages[0].list)"].assert_eq(&odd(&list, body.clone()));
    let status = json!({"workflow": {"root": "/run", "status": ["/run/s", "/run/s"]}, "statuses": {"ok": "success"},
        "stages": [{"list": "/run/steps", "key": "/k"}]});
    let body = json!({"run": {"s": "ok", "steps": [{"k": 1}]}});
    expect!["/run/run/s leads nowhere; /run has s, steps (workflow.status)"]
        .assert_eq(&odd(&status, body));
}

/// A status that is nowhere is told as soon as it ought to be there, and stages once they must be.
#[test]
fn what_leads_nowhere_though_it_ought_to_be_there_is_told() {
    let odd = |definition: &Value, answers: &[(&str, Value)]| {
        let reading = poll(&compiled(definition), "w", |name, _| {
            let answer = answers.iter().find(|(known, _)| *known == name);
            answer.unwrap().1.to_string()
        });
        reading.unwrap().oddity.map(String::from)
    };
    let told = |text: &str| Some(text.to_owned());
    let plain = json!({"workflow": {"id": "/id", "status": "/status", "queued": "/queued", "start": "/start"},
        "statuses": {"ok": "success", "bad": "failure", "busy": "running"}, "stages": [{"list": "/tasks", "key": "/k"}]});
    let status = "/status leads nowhere; the answer has id, state, tasks (workflow.status)";
    let body = json!({"id": 1, "state": "busy", "tasks": [{"k": 1}]});
    assert_eq!(odd(&plain, &[("", body)]), told(status));
    // All but the id is elsewhere.
    let body = json!({"id": 1, "run": {"status": "busy"}});
    let status = "/status leads nowhere; the answer has id, run (workflow.status)";
    assert_eq!(odd(&plain, &[("", body)]), told(status));
    // Worse than what else is odd.
    let body = json!({"id": 1, "start": 1_795_166_448, "queued": "never"});
    let status = "/status leads nowhere; the answer has id, queued, start (workflow.status)";
    assert_eq!(odd(&plain, &[("", body)]), told(status));
    // It may not have begun, or says null.
    for body in [
        json!({"id": 1, "queued": 1_795_166_448}),
        json!({"id": 1, "tasks": []}),
        json!({"status": null, "start": 1_795_166_448, "tasks": null}),
        json!({"status": "busy"}),
        json!({"status": "bad"}),
    ] {
        assert_eq!(odd(&plain, &[("", body.clone())]), None, "{body}");
    }
    let body = json!({"status": "ok", "task\n": []});
    let list = "/tasks leads nowhere; the answer has status, task\\n (stages[0].list)";
    assert_eq!(odd(&plain, &[("", body)]), told(list));

    // Where the workflow is; one of several pointers is enough, and so is whether it is complete.
    let rooted = json!({"workflow": {"root": "/runs/0", "status": ["/phase", "/state"], "complete": "/done", "start": "/start"},
        "statuses": {"ok": "success"}});
    let run = |run: Value| odd(&rooted, &[("", json!({"a": 1, "runs": [run], "z": 2}))]);
    let nowhere = "/runs/0/phase, /runs/0/state, /runs/0/done lead nowhere; /runs/0 has start, status (workflow.status)";
    assert_eq!(
        run(json!({"start": 1_795_166_448, "status": "x"})),
        told(nowhere)
    );
    assert_eq!(run(json!({"start": 1_795_166_448, "done": false})), None);
    assert_eq!(run(json!({"start": 1_795_166_448, "state": null})), None);
    let many = (0..20).map(|n| (format!("{n:02}"), json!(n)));
    let many = many.chain([("start".to_owned(), json!(1_795_166_448))]);
    let nowhere = run(Value::Object(many.collect())).unwrap();
    assert!(
        nowhere.contains("has 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, 10, 11 and 9 more ("),
        "{nowhere}"
    );

    // That it is complete may be left out until it is.
    let complete = json!({"workflow": {"complete": "/done", "start": "/start", "end": "/end"}, "statuses": {"ok": "success"}});
    let run = |run: Value| odd(&complete, &[("", run)]);
    assert_eq!(run(json!({"start": 1_795_166_448, "end": null})), None);
    let nowhere = "/done leads nowhere; the answer has end, finished (workflow.complete)";
    assert_eq!(
        run(json!({"end": 1_795_166_448, "finished": true})),
        told(nowhere)
    );

    // An answer that is there for a list has it.
    let further = json!({"workflow": {"status": "/s"}, "statuses": {"ok": "success", "busy": "running", "new": "pending"},
        "requests": {"jobs": {"path": "/jobs"}}, "stages": [{"from": "jobs", "list": "/jobs", "key": "/k"}]});
    let jobs =
        |status: &str, jobs: Value| odd(&further, &[("", json!({"s": status})), ("jobs", jobs)]);
    let list = "jobs: /jobs leads nowhere; the answer has items (stages[0].list)";
    assert_eq!(jobs("busy", json!({"items": []})), told(list));
    assert_eq!(jobs("ok", json!({"items": []})), told(list));
    assert_eq!(jobs("new", json!({"items": []})), None);
    assert_eq!(jobs("busy", json!({})), None);
    assert_eq!(jobs("busy", json!({"jobs": null})), None);
}

/// Each of these is refused by a strict reader of JSON, and the workflow's end with it.
#[test]
fn a_value_that_cannot_be_decoded_costs_only_itself() {
    let mapping = compiled(&json!({
        "workflow": {"status": "/s", "start": "/at", "error": "/e", "attributes": {"n": "/n", "t": "/t"}},
        "stages": [{"list": "/jobs", "status": "/s"}], "statuses": {"failed": "failure"}}));
    for (damaged, expected) in [
        (
            &br#""e": "row 17: \ud83d", "t": "whole""#[..],
            expect![[r#"
                failed=failure 09:20:48Z..? "row 17: �" t="whole"
                odd: /e is not all Unicode, U+FFFD stands for the rest: "row 17: �" (workflow.error)"#]],
        ),
        (
            b"\"e\": \"Z\xfcrich\"",
            expect![[r#"
                failed=failure 09:20:48Z..? "Z�rich"
                odd: /e is not all Unicode, U+FFFD stands for the rest: "Z�rich" (workflow.error)"#]],
        ),
        (
            br#""n": 1e400, "e": "e""#,
            expect![[r#"
                failed=failure 09:20:48Z..? "e"
                odd: /n is not a number that can be held; left out (workflow.attributes.n)"#]],
        ),
        (
            br#""x": NaN, "y": "\ude00", "\ud83d": 1e400, "e": "e""#,
            expect![[r#"failed=failure 09:20:48Z..? "e""#]],
        ),
        (
            b"\"e\": \"two\nlines\", \"n\": Infinity",
            expect![[r#"
                failed=failure 09:20:48Z..? "two\nlines"
                odd: /n is not a number that can be held; left out (workflow.attributes.n)"#]],
        ),
        (
            br#""jobs": {"a\ud83d": {"s": "failed"}}"#,
            expect![[r#"
                failed=failure 09:20:48Z..?
                  a� failed=failure
                odd: /jobs is not all Unicode, U+FFFD stands for the rest: "a�" (stages[0].list)"#]],
        ),
    ] {
        let body = [
            &br#"{"at": 1795166448, "#[..],
            damaged,
            br#", "s": "failed"}"#,
        ]
        .concat();
        let part = mapping.read_slice(0, &body);
        let streamed = mapping.read_stream(0, &*body);
        assert_eq!(part.as_ref().ok(), streamed.as_ref().ok());
        expected.assert_eq(&told(&part.and_then(|part| mapping.reading("w", part))));
    }
}

/// It is what it would be if no other pointer led through it; only the pointers of one field are a choice.
#[test]
fn a_pointer_to_an_object_is_odd_though_another_one_leads_through_it() {
    let definition = |workflow: Value| json!({"workflow": workflow, "stages": [{"list": "/jobs", "key": "/k", "start": "/at", "url": "/at/url"}]});
    let state = json!({"word": "ok", "message": "bye"});
    let status = json!({"status": "/state", "error": "/state/message"});
    let first = json!({"status": "/state", "error": "/state/0/message"});
    for (workflow, body, expected) in [
        (
            status.clone(),
            json!({"state": state}),
            expect![[
                r#"Shape("/state is an object, not a text; it has message, word (workflow.status) at line 1 column 38")"#
            ]],
        ),
        (
            first,
            json!({"state": [state]}),
            expect![[
                r#"Shape("/state is an array, not a text; is /state/0 meant? (workflow.status) at line 1 column 40")"#
            ]],
        ),
        (
            json!({"status": ["/state/word", "/state"], "error": ["/error/message", "/error"]}),
            json!({"state": state, "error": {"message": "m"}, "jobs": []}),
            expect![[r#"ok=success "m""#]],
        ),
        (
            json!({"status": "/s", "start": "/at", "url": "/at/0"}),
            json!({"s": "ok", "at": []}),
            expect![[r#"
                ok=success
                odd: /at is an array, not a text or a number (workflow.start)"#]],
        ),
        (
            json!({"status": "/s"}),
            json!({"s": "ok", "jobs": [{"k": 1, "at": {"url": "u", "time": 7}}]}),
            expect![[r#"
                ok=success
                  1 pending url=u
                odd: /jobs/*/at is an object, not a text or a number; it has time, url (stages[0].start)"#]],
        ),
    ] {
        check(definition(workflow), body, expected);
    }
}

#[test]
fn a_list_that_refines_another_one_keeps_what_it_does_not_mention() {
    let mapping = compiled(&json!({
        "requests": {"more": {"path": "/more/{stage.key}", "for_each": "jobs"}},
        "workflow": {"status": "/state"}, "statuses": {"BAD": "failure", "LATE": "timeout"},
        "stages": [
            {"name": "jobs", "list": "/jobs", "key": "/id", "kind": "/name", "status": "/state", "start": "/from", "end": "/till",
                "attributes": {"a": "/a", "b": "/b"}},
            {"from": "more", "list": "", "key": "/job", "status": "/state", "error": "/text", "attributes": {"b": "/b", "c": "/c"}}]}));
    let answers = |more: Value| {
        let jobs = json!([{"id": 1, "name": "load", "state": "BAD", "from": 1795166448, "till": 1795166449, "a": 1, "b": 2}]);
        let main = json!({"state": "BAD", "jobs": jobs});
        poll(&mapping, "w", |name, _| match name {
            "" => main.to_string(),
            _ => more.to_string(),
        })
    };
    expect![[r#"
        BAD=failure
          1 "load" BAD=failure 09:20:48Z..09:20:49Z "disk full" b=3 a=1"#]]
    .assert_eq(&told(&answers(
        json!([{"job": 1, "text": "disk full", "b": 3}]),
    )));
    expect![[r#"
        BAD=failure
          1 "load" LATE=timeout 09:20:48Z..09:20:49Z a=1 b=2"#]]
    .assert_eq(&told(&answers(json!([{"job": 1, "state": "LATE"}]))));
}
