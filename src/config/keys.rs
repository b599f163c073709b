//! The keys of a monitor: one table, from which `docs/farspan.schema.json` and the tables of `docs/configuration.md` are
//! made. A test holds it against what the parser asks for.

/// The keys of one object.
pub(super) struct Group {
    /// Its key, dotted; of `monitors` and of what several objects have, one word.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) rule: Rule,
    pub(super) keys: &'static [ConfigKey],
}

/// One key.
pub(super) struct ConfigKey {
    pub(super) name: &'static str,
    pub(super) kind: KeyKind,
    /// As JSON; empty: none.
    pub(super) default: &'static str,
    /// Empty: the group's.
    pub(super) about: &'static str,
    /// As JSON; empty: none.
    pub(super) example: &'static str,
}

/// Which keys of an object go together.
pub(super) enum Rule {
    None,
    Required(&'static str),
    OneOf(&'static [&'static str]),
    /// A key whose word says which keys there are.
    By(
        &'static str,
        &'static [(&'static str, &'static [&'static str])],
    ),
    /// A name; and a preset, or a request and a workflow.
    Monitor,
}

/// What a value is.
pub(super) enum KeyKind {
    Text,
    /// 1 to 256 bytes.
    Label,
    Secret,
    /// A monitor's name.
    Name,
    /// A preset's name.
    Preset,
    Url,
    RequestPath,
    Flag,
    Integer(u32, u32),
    Number(f64, f64),
    Duration,
    Pointer,
    /// A pointer, or several.
    Pointers,
    /// A pointer, or one for each part of an id.
    IdPointers,
    /// A value, or several.
    Values,
    /// A text, or several.
    Texts,
    Words(&'static [&'static str]),
    /// Numbers and texts.
    Unset,
    Json,
    Group(&'static Group),
    List(&'static KeyKind),
    /// An object whose keys are the user's words.
    ByName(&'static KeyKind),
    /// An object whose keys are pointers.
    ByPointer(&'static KeyKind),
}

const fn key(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    about: &'static str,
) -> ConfigKey {
    ConfigKey {
        name,
        kind,
        default,
        about,
        example: "",
    }
}

impl ConfigKey {
    const fn like(self, example: &'static str) -> ConfigKey {
        ConfigKey { example, ..self }
    }

    pub(super) fn about(&self) -> &'static str {
        match &self.kind {
            KeyKind::Group(group) if self.about.is_empty() => group.about,
            _ => self.about,
        }
    }
}

#[rustfmt::skip]
pub(super) static MONITOR: Group = Group {
    name: "monitor",
    about: "The configuration of one kind of workflow.",
    rule: Rule::Monitor,
    keys: &[
        key("$schema", KeyKind::Text, "", "For editors; ignored."),
        key("description", KeyKind::Text, "", "For people; ignored."),
        key("name", KeyKind::Name, "", "Unique. It is part of every id: a monitor with another name gives other traces.").like("\"airflow\""),
        key("preset", KeyKind::Preset, "", "A monitor definition that ships with farspan. The monitor's own keys are merged over it (RFC 7396): objects key by key, arrays as a whole, and null removes a value."),
        key("enabled", KeyKind::Flag, "true", "false: it is not polled. Its mistakes are still reported."),
        key("api", KeyKind::Group(&MONITOR_API), "", ""),
        key("events", KeyKind::Group(&MONITOR_EVENTS), "", ""),
        key("id", KeyKind::Text, "", "The parts of an id, with literal separators between them. Requests can name the parts. The last part takes the rest.").like("\"{dag_id}/{dag_run_id}\""),
        key("slashes_in_ids", KeyKind::Flag, "false", "true: ids, and the fields of stages, may have slashes and backslashes where they stand in the path of a request. Segments `.` and `..` and control characters are refused all the same."),
        key("poll", KeyKind::Group(&MONITOR_POLL), "", ""),
        key("request", KeyKind::Group(&REQUEST), "", "The request for the workflow itself."),
        key("requests", KeyKind::ByName(&KeyKind::Group(&REQUEST)), "", "Further requests of a poll, by name. A list of stages names its request in `from`."),
        key("refusals", KeyKind::Group(&MONITOR_REFUSALS), "", ""),
        key("workflow", KeyKind::Group(&MONITOR_WORKFLOW), "", ""),
        key("stages", KeyKind::List(&KeyKind::Group(&STAGES)), "", "The lists of stages."),
        key("statuses", KeyKind::ByName(&KeyKind::Words(&["pending", "running", "success", "failure", "error", "timeout", "cancellation", "skip", "unset"])), "", "The meaning of each status. Upper and lower case are one status. Numbers and booleans are statuses too.").like("{\"queued\": \"pending\", \"running\": \"running\", \"ok\": \"success\"}"),
        key("status_names", KeyKind::ByName(&KeyKind::Label), "", "The names of statuses on spans, where a status is a number or a boolean.").like("{\"0\": \"success\", \"false\": \"running\"}"),
        key("unset_texts", KeyKind::Texts, "", "What stands for no text, beside null and an empty text, in errors, URLs, names and attributes: whole texts. For statuses there is `unset`, for times `times.unset`.").like("[\"None\", \"N/A\"]"),
        key("unknown_status", KeyKind::Words(&["fail", "pending", "running", "success", "failure", "error", "timeout", "cancellation", "skip", "unset"]), "\"running\"", "The meaning of any other status. `fail`: the poll fails. `unset`: the next pointer counts. The status is logged either way."),
        key("times", KeyKind::Group(&MONITOR_TIMES), "", ""),
        key("spans", KeyKind::Group(&MONITOR_SPANS), "", ""),
        key("service", KeyKind::Group(&MONITOR_SERVICE), "", ""),
        key("trace_context", KeyKind::Group(&MONITOR_TRACE_CONTEXT), "", ""),
        key("discovery", KeyKind::Group(&MONITOR_DISCOVERY), "", ""),
        key("finished", KeyKind::Group(&MONITOR_FINISHED), "", ""),
    ],
};

#[rustfmt::skip]
static MONITOR_API: Group = Group {
    name: "monitor.api",
    about: "The API, and how it is reached. Without base_url it is the settings' `api`, with its token.",
    rule: Rule::None,
    keys: &[
        key("base_url", KeyKind::Url, "", "The URL that the paths of requests are appended to.").like("\"https://airflow.example.com\""),
        key("headers", KeyKind::ByName(&KeyKind::Text), "", "Headers of each request, by name. They are never shown.").like("{\"X-Tenant\": \"risk\"}"),
        key("auth", KeyKind::Group(&AUTH), "", "Authentication to the API. An `auth` of another `type` replaces the preset's; else the two are merged."),
        key("certificate_file", KeyKind::Text, "", "The PEM file with the root certificates that the API's certificate is checked against, instead of the system's."),
        key("client_certificate_file", KeyKind::Text, "", "The PEM file with farspan's own certificate. It needs client_key_file."),
        key("client_key_file", KeyKind::Text, "", "The PEM file with the key of that certificate."),
        key("requests_per_second", KeyKind::Number(0.001, 100000.0), "", "Requests to this host per second at most. Pages, further requests and listings count too. Of several monitors of one host, the lowest rate holds."),
        key("send_traceparent", KeyKind::Flag, "false", "Whether requests carry the `traceparent` of the workflow's span."),
    ],
};

#[rustfmt::skip]
pub(super) static AUTH: Group = Group {
    name: "auth",
    about: "Authentication: one type and its keys. A secret is given, or is in a file.",
    rule: Rule::By("type", &[
        ("none", &["type"]),
        ("bearer", &["type", "token", "token_file"]),
        ("basic", &["type", "username", "password", "password_file"]),
        ("header", &["type", "name", "value", "value_file"]),
        ("oauth2", &["type", "token_url", "client_id", "client_secret", "client_secret_file", "scope"]),
        ("login", &["type", "url", "body", "body_file", "token", "expires_in", "lifetime"]),
    ]),
    keys: &[
        key("type", KeyKind::Words(&["none", "bearer", "basic", "header", "oauth2", "login"]), "", "The type of authentication."),
        key("token", KeyKind::Secret, "", "bearer: the token (writing it in a file is better). login: the JSON Pointer to the token in the answer."),
        key("token_file", KeyKind::Text, "", "bearer: the file that holds the token; `$CREDENTIALS_DIRECTORY/name` is a credential of systemd. A file of a secret has up to 64 KiB, and is read again when it has changed."),
        key("username", KeyKind::Label, "", "basic: the user's name."),
        key("password", KeyKind::Secret, "", "basic: the password."),
        key("password_file", KeyKind::Text, "", "basic: the file that holds the password."),
        key("name", KeyKind::Text, "", "header: the name of the header.").like("\"X-Api-Key\""),
        key("value", KeyKind::Secret, "", "header: the value of the header."),
        key("value_file", KeyKind::Text, "", "header: the file that holds the value."),
        key("token_url", KeyKind::Url, "", "oauth2: the token endpoint, for client credentials (RFC 6749, 4.4)."),
        key("client_id", KeyKind::Label, "", "oauth2: the client's id."),
        key("client_secret", KeyKind::Secret, "", "oauth2: the client's secret."),
        key("client_secret_file", KeyKind::Text, "", "oauth2: the file that holds the secret."),
        key("scope", KeyKind::Label, "", "oauth2: the scope of the token."),
        key("url", KeyKind::Text, "", "login: the URL to POST to. A path is appended to the base URL.").like("\"/auth/token\""),
        key("body", KeyKind::Json, "", "login: the body of the POST, any JSON."),
        key("body_file", KeyKind::Text, "", "login: the file that holds the body."),
        key("expires_in", KeyKind::Pointer, "", "login: where the answer has the lifetime of the token in seconds."),
        key("lifetime", KeyKind::Duration, "\"1h\"", "login: the lifetime of the token where the answer has none."),
    ],
};

#[rustfmt::skip]
static MONITOR_EVENTS: Group = Group {
    name: "monitor.events",
    about: "The monitor's own sources of start events, and where its events have the id, the time and the trace context.",
    rule: Rule::None,
    keys: &[
        key("redis_channel", KeyKind::Label, "", "A pub/sub channel of the configured Redis, for this monitor only."),
        key("redis_stream", KeyKind::Label, "", "A stream of the configured Redis, for this monitor only."),
        key("id", KeyKind::IdPointers, "", "Where an event has the id: a pointer; or a pointer for each part of the monitor's `id`.").like("\"/id\""),
        key("submitted_at", KeyKind::Pointer, "", "Where an event has the time of submission."),
        key("context", KeyKind::Pointer, "", "Where an event has the trace context, in any known format."),
    ],
};

#[rustfmt::skip]
static MONITOR_POLL: Group = Group {
    name: "monitor.poll",
    about: "When to poll. A key that is missing here has the value of the settings' `poll`. A reload applies all of it.",
    rule: Rule::None,
    keys: &[
        key("initial_delay", KeyKind::Duration, "", "The time from the start event to the first poll."),
        key("interval", KeyKind::Duration, "", "The time from one poll of a workflow to the next."),
        key("timeout", KeyKind::Duration, "", "How long a workflow is watched at most."),
        key("interval_by_status", KeyKind::ByName(&KeyKind::Duration), "", "By status, the interval while the workflow has it. It replaces `interval` and `adaptive`. Upper and lower case are one status.").like("{\"queued\": \"1m\"}"),
        key("adaptive", KeyKind::Group(&MONITOR_POLL_ADAPTIVE), "", ""),
        key("pause_max", KeyKind::Duration, "\"1h\"", "The longest pause that the API may ask for. A longer one is held to it and logged."),
        key("gone", KeyKind::Group(&MONITOR_POLL_GONE), "", ""),
    ],
};

#[rustfmt::skip]
static MONITOR_POLL_ADAPTIVE: Group = Group {
    name: "monitor.poll.adaptive",
    about: "An interval that grows with the age of the workflow. It replaces `interval`.",
    rule: Rule::None,
    keys: &[
        key("share", KeyKind::Number(0.001, 1.0), "0.05", "The interval as a share of the time since the workflow started."),
        key("min", KeyKind::Duration, "", "The shortest interval. Default: `interval`."),
        key("max", KeyKind::Duration, "\"24h\"", "The longest interval."),
    ],
};

#[rustfmt::skip]
static MONITOR_POLL_GONE: Group = Group {
    name: "monitor.poll.gone",
    about: "For an API that ends with its workflow, as a Spark driver's does.",
    rule: Rule::None,
    keys: &[
        key("after", KeyKind::Duration, "", "A workflow has ended when all connections were refused for this long after an answer."),
    ],
};

#[rustfmt::skip]
pub(super) static REQUEST: Group = Group {
    name: "request",
    about: "One request of a poll.",
    rule: Rule::None,
    keys: &[
        key("method", KeyKind::Words(&["GET", "POST"]), "\"GET\"", "The HTTP method."),
        key("path", KeyKind::RequestPath, "", "Path and query, appended to the base URL. `{id}` is the workflow's id, `{name}` a part of it; with `for_each` also `{stage.key}`, `{stage.key.0}`, `{stage.id}`, `{stage.name}` and `{stage.attempt}`. Each value is percent-encoded as one segment; a value that could lead to another path is refused (`slashes_in_ids`).").like("\"/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}\""),
        key("body", KeyKind::Json, "", "The body of a POST: any JSON, with the same variables in its strings. A string that is one variable takes any value; beside other text a value may have letters, digits and `-_.~:@+/` only. GraphQL takes values as `variables`; `{ name }` with spaces is not a variable.").like("{\"query\": \"query($id: ID!) { run(id: $id) { state } }\", \"variables\": {\"id\": \"{id}\"}}"),
        key("pages", KeyKind::Group(&PAGES), "", "How the further pages of a long answer are requested. Default: there is one page."),
        key("for_each", KeyKind::Text, "", "The name of a list of stages. The request is made once for each element."),
        key("when_attempt_above", KeyKind::Integer(0, 4294967295), "", "Only for elements whose attempt is above this number."),
    ],
};

#[rustfmt::skip]
pub(super) static PAGES: Group = Group {
    name: "pages",
    about: "How the further pages of a long answer are requested. A parameter is set in the body of a POST where the body, or its `variables`, has it; else in the query.",
    rule: Rule::By("by", &[
        ("offset", &["by", "offset", "limit", "size", "total"]),
        ("page", &["by", "page", "limit", "size", "first", "total"]),
        ("cursor", &["by", "param", "next"]),
        ("link", &["by"]),
    ]),
    keys: &[
        key("by", KeyKind::Words(&["offset", "page", "cursor", "link"]), "", "`offset`: by the number of elements to skip. `page`: by page number. `cursor`: by a text of the answer before. `link`: by `Link: <..>; rel=\"next\"`, always on the host that was asked."),
        key("offset", KeyKind::Label, "\"offset\"", "The parameter for the number of elements to skip."),
        key("limit", KeyKind::Label, "", "The parameter for the size of a page. Default: `limit`; by page: `per_page`."),
        key("size", KeyKind::Integer(1, 10000), "100", "Elements of a page."),
        key("total", KeyKind::Pointer, "", "Where the answer has the number of all elements. Without it, a page that is not full is the last one."),
        key("page", KeyKind::Label, "\"page\"", "The parameter for the page's number."),
        key("first", KeyKind::Integer(0, 1), "1", "The number of the first page."),
        key("param", KeyKind::Label, "\"page_token\"", "The parameter for the cursor."),
        key("next", KeyKind::Pointer, "", "Where the answer has the cursor of the next page. On the last page it is missing, null or empty."),
    ],
};

#[rustfmt::skip]
static MONITOR_WORKFLOW: Group = Group {
    name: "monitor.workflow",
    about: "Where the answer to `request` has the fields of the workflow.",
    rule: Rule::None,
    keys: &[
        key("root", KeyKind::Pointer, "", "Where the workflow is; its pointers begin there. Default: the answer itself."),
        key("id", KeyKind::Pointers, "", "The API's id."),
        key("status", KeyKind::Pointers, "", "The status; its meaning is in `statuses`. With a status that means `unset`, the next pointer counts. Without a status the work is pending."),
        key("queued", KeyKind::Pointers, "", "The time at which it began to wait."),
        key("start", KeyKind::Pointers, "", "The time at which it started."),
        key("end", KeyKind::Pointers, "", "The time at which it ended. Before that, it is a planned end and is ignored."),
        key("times_of_stages", KeyKind::List(&KeyKind::Words(&["start", "end"])), "", "Times that are those of its stages: `start` of the first that has begun, `end` of the last that has ended. Where no stage has one, the pointers count.").like("[\"end\"]"),
        key("error", KeyKind::Pointers, "", "The error, in the API's words."),
        key("attempt", KeyKind::Pointers, "", "The number of the attempt."),
        key("first_attempt", KeyKind::Integer(0, 1), "1", "The number that the API gives to the first attempt."),
        key("url", KeyKind::Pointers, "", "A page for people."),
        key("complete", KeyKind::Pointers, "", "A boolean, for APIs whose status does not say how it ended: `true` is a failure where there is an error, else a success."),
        key("attributes", KeyKind::ByName(&KeyKind::Pointers), "", "Further attributes of its span: by name a pointer, or several.").like("{\"vcs.ref.head.name\": \"/head_branch\"}"),
    ],
};

#[rustfmt::skip]
pub(super) static STAGES: Group = Group {
    name: "stages",
    about: "A list of stages, and where an element has its fields.",
    rule: Rule::Required("list"),
    keys: &[
        key("name", KeyKind::Label, "", "The name of the list, for `for_each`, `children` and `parent`."),
        key("from", KeyKind::Label, "", "The name of the request whose answer has the list. Default: the main request; of a list within a list the same answer."),
        key("list", KeyKind::Pointer, "", "The pointer to the list: an array, or an object of stages by key. It begins at the answer, not at `workflow.root`; a list within a list begins at each element. An empty text is the answer itself, or the element."),
        key("kind", KeyKind::Pointers, "", "The name of the span. Default: the key in the object, else `key`."),
        key("key", KeyKind::Pointers, "", "What tells a stage from its siblings. With several pointers, each is a part of the key. Default: the key in the object, else `id`."),
        key("except", KeyKind::ByPointer(&KeyKind::Values), "", "Elements with one of these values at a pointer are not stages.").like("{\"/hidden\": \"true\"}"),
        key("number_attempts_by", KeyKind::Pointers, "", "Elements with one key and no attempt are attempts, ordered by this value."),
        key("parent", KeyKind::Group(&STAGES_PARENT), "", ""),
        key("children", KeyKind::Group(&STAGES_CHILDREN), "", ""),
        key("stages", KeyKind::List(&KeyKind::Group(&STAGES)), "", "Lists of stages within each element."),
        key("id", KeyKind::Pointers, "", "The API's id."),
        key("status", KeyKind::Pointers, "", "The status; its meaning is in `statuses`. With a status that means `unset`, the next pointer counts. Without a status the work is pending."),
        key("queued", KeyKind::Pointers, "", "The time at which it began to wait."),
        key("start", KeyKind::Pointers, "", "The time at which it started."),
        key("end", KeyKind::Pointers, "", "The time at which it ended. Before that, it is a planned end and is ignored."),
        key("error", KeyKind::Pointers, "", "The error, in the API's words."),
        key("attempt", KeyKind::Pointers, "", "The number of the attempt."),
        key("first_attempt", KeyKind::Integer(0, 1), "1", "The number that the API gives to the first attempt."),
        key("url", KeyKind::Pointers, "", "A page for people."),
        key("complete", KeyKind::Pointers, "", "A boolean, for APIs whose status does not say how it ended: `true` is a failure where there is an error, else a success."),
        key("attributes", KeyKind::ByName(&KeyKind::Pointers), "", "Further attributes of its span: by name a pointer, or several.").like("{\"vcs.ref.head.name\": \"/head_branch\"}"),
    ],
};

#[rustfmt::skip]
static STAGES_PARENT: Group = Group {
    name: "stages.parent",
    about: "Where an element names its parent.",
    rule: Rule::None,
    keys: &[
        key("key", KeyKind::Pointers, "", "The key of the parent."),
        key("list", KeyKind::Label, "", "The name of the list that has the parent. Default: this list."),
    ],
};

#[rustfmt::skip]
static STAGES_CHILDREN: Group = Group {
    name: "stages.children",
    about: "Where an element names its children.",
    rule: Rule::None,
    keys: &[
        key("list", KeyKind::Label, "", "The name of the list that has the children."),
        key("ids", KeyKind::Pointer, "", "An array of their keys."),
    ],
};

#[rustfmt::skip]
static MONITOR_REFUSALS: Group = Group {
    name: "monitor.refusals",
    about: "How the API refuses, beside HTTP's own statuses: for all requests of a poll.",
    rule: Rule::None,
    keys: &[
        key("not_found_status", KeyKind::Integer(400, 599), "", "The HTTP status that means \"not found\", beside 404."),
        key("not_found", KeyKind::ByPointer(&KeyKind::Values), "", "The values that the body has then, by pointer; `\"null\"` is null. Without `not_found_status`: a successful answer of at most 64 KiB with these values means \"not found\".").like("{\"/data/run\": \"null\"}"),
        key("error", KeyKind::Pointers, "", "Where a successful answer of at most 64 KiB has an error, as GraphQL has it. The poll fails, and the log has the text.").like("\"/errors\""),
    ],
};

#[rustfmt::skip]
static MONITOR_TIMES: Group = Group {
    name: "monitor.times",
    about: "How times are written.",
    rule: Rule::None,
    keys: &[
        key("format", KeyKind::Words(&["auto", "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"]), "\"auto\"", "`auto`: a text as for `rfc3339`, or a number whose size tells the unit."),
        key("offset", KeyKind::Text, "\"Z\"", "The offset from UTC of a time that is written without one.").like("\"+01:00\""),
        key("unset", KeyKind::Unset, "[0, -1, \"1969-12-31\", \"1970-01-01T00:00:00\"]", "What stands for no time, beside null, an empty text and `0001-01-01`: numbers, and the beginnings of texts."),
    ],
};

#[rustfmt::skip]
static MONITOR_SPANS: Group = Group {
    name: "monitor.spans",
    about: "How spans look.",
    rule: Rule::None,
    keys: &[
        key("workflow", KeyKind::Label, "\"Workflow\"", "The name of a workflow's span."),
        key("status_ok", KeyKind::Words(&["ok", "unset"]), "\"ok\"", "The span status of a success: Ok, or Unset as the CI/CD conventions have it."),
        key("skipped", KeyKind::Flag, "false", "Whether skipped stages have spans."),
        key("queued", KeyKind::Flag, "false", "Whether time in a queue has a span."),
        key("started", KeyKind::Flag, "false", "Whether the start of a workflow and of each stage has a span of its own, which is exported at once. See spans.md."),
        key("status_events", KeyKind::Words(&["span", "log", "both"]), "\"span\"", "Where changes of status go: onto the span, which is exported at its end, into log records with the trace's ids, which are exported at once, or both."),
    ],
};

#[rustfmt::skip]
static MONITOR_SERVICE: Group = Group {
    name: "monitor.service",
    about: "The attributes in which the resource of its spans differs from the process's resource.",
    rule: Rule::None,
    keys: &[
        key("name", KeyKind::Label, "", "`service.name`."),
        key("namespace", KeyKind::Label, "", "`service.namespace`."),
        key("attributes", KeyKind::ByName(&KeyKind::Label), "", "Other attributes of the resource.").like("{\"team\": \"risk\"}"),
    ],
};

#[rustfmt::skip]
static MONITOR_TRACE_CONTEXT: Group = Group {
    name: "monitor.trace_context",
    about: "How the trace context of a start event is used.",
    rule: Rule::None,
    keys: &[
        key("use", KeyKind::Words(&["parent", "link", "ignore"]), "\"parent\"", "Whether the workflow's span is a child of the submitter's span, has a link to it, or ignores it."),
        key("baggage", KeyKind::Texts, "", "The keys of baggage that become attributes."),
    ],
};

#[rustfmt::skip]
static MONITOR_DISCOVERY: Group = Group {
    name: "monitor.discovery",
    about: "A list endpoint that is polled for new runs.",
    rule: Rule::None,
    keys: &[
        key("enabled", KeyKind::Flag, "true", "Presets have a discovery with `enabled` off."),
        key("parameters", KeyKind::ByName(&KeyKind::Label), "", "Values of the other variables in the path.").like("{\"owner\": \"octo-org\", \"repo\": \"octo-repo\"}"),
        key("request", KeyKind::Group(&REQUEST), "", "The request for the list. Its variables are `{since}` (RFC 3339), `{since_epoch}` and `{since_epoch_ms}`."),
        key("list", KeyKind::Pointer, "", "Where the answer has the array of runs."),
        key("id", KeyKind::IdPointers, "", "Where a run has its id: a pointer; or a pointer for each part of the monitor's `id`.").like("\"/id\""),
        key("submitted_at", KeyKind::Pointers, "", "Where a run has the time of its submission."),
        key("attempt", KeyKind::Pointers, "", "Where a run has its attempt, counted as `workflow.first_attempt` says."),
        key("only", KeyKind::ByPointer(&KeyKind::Values), "", "Only runs that have one of these values at each pointer.").like("{\"/event\": [\"push\", \"schedule\"]}"),
        key("interval", KeyKind::Duration, "\"30s\"", "The time between two listings."),
        key("lookback", KeyKind::Duration, "\"1h\"", "How far back runs are looked for."),
    ],
};

#[rustfmt::skip]
static MONITOR_FINISHED: Group = Group {
    name: "monitor.finished",
    about: "Where finished events are sent: one of redis_channel, redis_stream and url.",
    rule: Rule::OneOf(&["redis_channel", "redis_stream", "url"]),
    keys: &[
        key("redis_channel", KeyKind::Label, "", "A pub/sub channel of the configured Redis. A client that is not subscribed at that moment misses the event."),
        key("redis_stream", KeyKind::Label, "", "A stream of the configured Redis. An entry has the event in the field `message`, with `traceparent` and `tracestate` beside it."),
        key("redis_stream_maxlen", KeyKind::Integer(1, 4294967295), "100000", "About how many entries the stream keeps."),
        key("url", KeyKind::Url, "", "The URL that each event is POSTed to, with `traceparent` among the headers. Any 2xx accepts it. A 4xx refuses it, except 401, 403, 404, 405, 407, 408 and 429; so do 501 and 505. After any other answer it is sent again."),
        key("auth", KeyKind::Group(&AUTH), "", "Authentication to the url."),
    ],
};
