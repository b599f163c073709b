//! What is wrong with a definition is told at once, each with its place.

use super::*;
use expect_test::expect;

fn mistakes(definition: &Value) -> String {
    let mistakes = Mapping::compile(defined(definition)).unwrap_err();
    let lines = mistakes.iter().map(|m| format!("{}: {}", m.place, m.what));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_mistakes_are_told_at_once() {
    let definition = json!({
        "id": "{project}/{run}",
        "request": {"path": "/x/{projct}", "body": {"q": "{stage.id}"}, "pages": {"by": "offset"}, "for_each": "jobs"},
        "requests": {
            "jobs": {"path": "/jobs/{stage.key}/{run}"},
            "logs": {"path": "/logs/{stage.key.1}/{stage.kind}", "for_each": "job"},
            "tries": {"path": "/tries/{stage.key.1}", "for_each": "jobs", "when_attempt_above": 1},
            "unread": {"path": "/u", "method": "POST", "when_attempt_above": 2}},
        "workflow": {"start": "/at"},
        "statuses": {"Done": "success", "done": "failure"},
        "stages": [
            {"name": "jobs", "from": "job", "list": "/jobs", "parent": {"list": "nobody"}, "attributes": {"": "/x"},
                "stages": [{"name": "steps", "list": "/steps", "from": "jobs"}]},
            {"name": "jobs", "from": "tries", "list": "/x", "children": {"list": "steps", "ids": "/ids"}},
            {"from": "logs", "list": "/y", "children": {"list": "none", "ids": "/ids"}}],
    });
    expect![[r#"
        request.body: a GET has none; "method": "POST"
        request.for_each: the main request is asked once
        request.path: {projct} is not known: there is {id}, {project}, {run}
        requests.jobs.path: {stage.key} is known only beside for_each
        requests.logs.for_each: no list of stages has the name "job"
        requests.tries.for_each: needs an answer that needs its own
        requests.tries.path: {stage.key.1} is not known: there are {stage.key}, {stage.key.0}, {stage.id}, {stage.name} and {stage.attempt}
        requests.tries.when_attempt_above: the elements of "jobs" have no attempt
        requests.unread: no list of stages is in its answer
        requests.unread.when_attempt_above: has a meaning only with for_each
        stages[0].attributes.: a name has 1 to 256 bytes
        stages[0].from: there is no request "job" among "requests"
        stages[0].parent.key: leads nowhere
        stages[0].parent.list: no list of stages has the name "nobody"
        stages[0].stages[0].from: a list within a list comes from a request for each element of the outer one
        stages[1].children.list: that list is within the elements of another
        stages[1].name: another list has this name
        stages[2].children.list: no list of stages has the name "none"
        statuses.done: has two meanings: upper and lower case are one word
        workflow.status: nothing says when a workflow has ended"#]].assert_eq(&mistakes(&definition));
}

/// A value in the text of a query could end it; GraphQL has variables for that. A field is no variable.
#[test]
fn a_variable_within_the_braces_of_a_query() {
    let query = r#"query { run(ref: "{id}") { {message} state { id } } }"#;
    let definition = json!({
        "request": {"method": "POST", "path": "/graphql", "body": {"query": query, "a": {"run": "run-{id}"}}},
        "workflow": {"complete": "/c"}});
    expect![[r#"
        request.body: {id} stands in a text with braces, as GraphQL has them: for a field write { id }; for the value write $name there, and beside "query" write "variables": {"name": "{id}"}
        request.body: {message} stands in a text with braces, as GraphQL has them: for a field write { message }; for the value write $name there, and beside "query" write "variables": {"name": "{message}"}"#]].assert_eq(&mistakes(&definition));
}

#[test]
fn no_statuses_for_what_is_read_as_one() {
    let definition = json!({"workflow": {"status": "/s"}});
    expect!["statuses: is empty, so that no status means anything"]
        .assert_eq(&mistakes(&definition));
}

#[test]
fn times_of_stages_that_there_are_not() {
    let definition = json!({"workflow": {"status": "/s", "times_of_stages": ["end"]}, "statuses": {"ok": "success"}});
    expect!["workflow.times_of_stages: there are no stages: add stages, or remove it"]
        .assert_eq(&mistakes(&definition));
}

#[test]
fn requests_that_wait_for_each_other() {
    let definition = json!({
        "requests": {"a": {"path": "/a", "for_each": "b"}, "b": {"path": "/b", "for_each": "a"}},
        "workflow": {"complete": "/done"},
        "stages": [{"name": "a", "from": "a", "list": ""}, {"name": "b", "from": "b", "list": ""}],
    });
    expect![[r#"
        requests.a.for_each: needs an answer that needs its own
        requests.b.for_each: needs an answer that needs its own"#]]
    .assert_eq(&mistakes(&definition));
}

#[test]
fn more_than_there_may_be() {
    let deep = "/a".repeat(20);
    let many: Vec<_> = (0..1100).map(|n| format!("/p{n}")).collect();
    let attributes: serde_json::Map<_, _> =
        (0..65).map(|n| (format!("a{n}"), json!("/x"))).collect();
    let lists: Vec<_> = (0..65).map(|n| json!({"list": format!("/l{n}")})).collect();
    for (definition, expected) in [
        (
            json!({"workflow": {"root": deep, "complete": deep}}),
            expect!["workflow.complete: deeper than 32 steps"],
        ),
        (
            json!({"workflow": {"complete": "/c", "start": many}}),
            expect!["workflow.start: more than 1024 pointers in all"],
        ),
        (
            json!({"workflow": {"complete": "/c", "attributes": attributes}}),
            expect!["workflow.attributes: more than 64 attributes"],
        ),
        (
            json!({"workflow": {"complete": "/c"}, "stages": lists}),
            expect!["stages[64]: more than 64 lists of stages"],
        ),
    ] {
        expected.assert_eq(&mistakes(&definition));
    }
}

#[test]
fn the_original_has_none() {
    let mapping = Mapping::original();
    let (name, request) = mapping.requests().next().unwrap();
    let mut gather = mapping.gather("a b").unwrap();
    assert!(gather.each(0).is_none());
    let mut url = String::new();
    request.path.render(gather.variables(), &mut url).unwrap();
    assert_eq!((name, &*url), ("", "/workflows/a%20b"));
}
