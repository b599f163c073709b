//! Who farspan is to an API: each way of telling it, secrets that change, tokens that lapse, and that none of it leaves
//! its host or stands in a log.

use crate::support::api::{FakeApi, completed, json_answer, processing, short_story};
use crate::support::files::Files;
use crate::support::http::{Answer, Reply, Request, Server, lock};
use crate::support::monitored::Monitored;
use crate::support::program::Farspan;
use crate::support::tls::{Authority, TlsWay};
use crate::support::{SOON, eventually};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No secret of these tests does without this word.
const SECRET: &str = "s3cret";

/// A monitor of the fake API's.
fn monitor(api: &FakeApi, auth: Value) -> Value {
    json!({"name": "guarded", "preset": "farspan", "api": {"base_url": api.base_url(), "auth": auth}})
}

/// What was shown with each request for this workflow.
fn shown(api: &FakeApi, id: &str, header: &str) -> Vec<String> {
    let requests = api.requests_for(id).into_iter();
    let text = |r: Request| r.header(header).unwrap_or("nothing").to_owned();
    requests.map(text).collect()
}

#[track_caller]
fn assert_keeps_secrets(farspan: Farspan) -> String {
    let ended = farspan.stop();
    let output = ended.stdout + &ended.stderr;
    assert!(!output.contains(SECRET), "{output}");
    output
}

fn local_api() -> FakeApi {
    let mut api = FakeApi::stopped(std::net::Ipv4Addr::LOCALHOST.into());
    api.server.resume();
    api
}

#[test]
fn each_way_has_its_header() {
    for (auth, header, expected) in [
        (
            json!({"type": "bearer", "token": "s3cret-token"}),
            "Authorization",
            "Bearer s3cret-token",
        ),
        (
            json!({"type": "basic", "username": "Aladdin", "password": "s3cret sésame"}),
            "Authorization",
            // Aladdin:s3cret sésame
            "Basic QWxhZGRpbjpzM2NyZXQgc8Opc2FtZQ==",
        ),
        (
            json!({"type": "header", "name": "PRIVATE-TOKEN", "value": "s3cret-value"}),
            "Private-Token",
            "s3cret-value",
        ),
        (json!({"type": "none"}), "Authorization", "nothing"),
    ] {
        let api = local_api();
        api.script("w", short_story("w"));
        let mut monitor = monitor(&api, auth);
        monitor["api"]["headers"] = json!({"X-Tenant": "risk", "Accept": "application/x"});
        let it = Monitored::by(json!([monitor]));
        let farspan = it.start();
        it.rig.submit("w");
        it.spans("w");
        assert_keeps_secrets(farspan);
        assert_eq!(shown(&api, "w", header), [expected; 2]);
        assert_eq!(shown(&api, "w", "X-Tenant"), ["risk"; 2]);
        assert_eq!(shown(&api, "w", "Accept"), ["application/x"; 2]);
    }
}

/// A new token in the file is used without a signal or a restart.
#[test]
fn a_secret_in_a_file_is_read_again_when_it_has_changed() {
    for (auth, header, before) in [
        (
            json!({"type": "bearer", "token_file": "secret"}),
            "Authorization",
            "Bearer ",
        ),
        (
            json!({"type": "header", "name": "X-Api-Key", "value_file": "secret"}),
            "X-Api-Key",
            "",
        ),
    ] {
        let api = local_api();
        let files = Files::new();
        // It lies beside the configuration file, and farspan runs elsewhere.
        files.write("secret", "s3cret-one\n");
        let monitor = monitor(&api, auth);
        api.script("w", [processing("w").reply()]);
        let it = Monitored::with(files, json!([monitor]));
        let farspan = it.start();
        it.rig.submit("w");
        eventually("polls", SOON, || api.polls("w") >= 2);
        // Half of it, as careless people write it: what was in it may still do.
        it.files.write("secret", "");
        it.files.write("secret", "s3cret-two\n");
        eventually("the new one, of itself", SOON, || {
            shown(&api, "w", header).pop() == Some(format!("{before}s3cret-two"))
        });
        api.script("w", [completed("w").reply()]);
        it.spans("w");
        assert!(
            shown(&api, "w", header).is_sorted(),
            "never the old one again"
        );
        assert_keeps_secrets(farspan);
    }
}

/// Farspan reads the file at most once a second; a refusal makes it read the file at once.
#[test]
fn a_refusal_looks_into_the_file_at_once() {
    let api = local_api();
    let files = Files::new();
    let path = files.write("secret", "s3cret-one");
    let monitor = monitor(&api, json!({"type": "bearer", "token_file": path}));
    let wanted = Arc::new(Mutex::new("Bearer s3cret-one"));
    {
        let wanted = wanted.clone();
        api.decide("w", move |poll, request| {
            match request.header("Authorization") == Some(*lock(&wanted)) {
                true if poll > 20 => completed("w").reply(),
                true => processing("w").reply(),
                false => Answer::new(401).into(),
            }
        });
    }
    let it = Monitored::with(files, json!([monitor]));
    let farspan = it.start();
    it.rig.submit("w");
    eventually("polls", SOON, || api.polls("w") >= 2);
    // New in the file first, and then for the API: any refusal finds the new one there.
    it.files.write("secret", "s3cret-two");
    *lock(&wanted) = "Bearer s3cret-two";
    it.spans("w");
    let log = assert_keeps_secrets(farspan);
    assert!(!log.contains("refuses"), "{log}");
}

// Tokens that are asked for.

/// A token endpoint and an API that takes its tokens, each with its number, and none that has lapsed.
struct Granting {
    server: Server,
    state: Arc<Mutex<Granted>>,
}

#[derive(Default)]
struct Granted {
    /// Tokens so far.
    tokens: usize,
    /// The least number that is taken.
    valid_from: usize,
    down: bool,
    finished: bool,
    lifetime_s: Option<u64>,
    slow: bool,
    refusals: usize,
}

impl Granting {
    fn new(path: &'static str, grants: fn(&Request) -> bool) -> Self {
        let state = Arc::new(Mutex::new(Granted::default()));
        let server = {
            let state = state.clone();
            Server::start(move |request| {
                let mut state = lock(&state);
                if request.target == path {
                    return match (state.down, grants(request)) {
                        (true, _) => Answer::new(503).into(),
                        (_, false) => Answer::new(401).into(),
                        (false, true) => state.grant(),
                    };
                }
                let shown = request.header("Authorization").unwrap_or_default();
                let number = shown.strip_prefix("Bearer s3cret-token-");
                match number.and_then(|number| number.parse::<usize>().ok()) {
                    Some(number) if number > state.valid_from => {
                        let id = request.target.trim_start_matches("/workflows/");
                        let body = if state.finished {
                            completed(id)
                        } else {
                            processing(id)
                        };
                        body.reply()
                    }
                    _ => {
                        state.refusals += 1;
                        Answer::new(401).into()
                    }
                }
            })
        };
        Granting { server, state }
    }

    fn monitor(&self, auth: Value) -> Value {
        json!({"name": "guarded", "preset": "farspan", "api": {"base_url": self.server.url(), "auth": auth}})
    }

    fn tokens(&self) -> usize {
        lock(&self.state).tokens
    }

    fn polls(&self) -> usize {
        let requests = self.server.requests().into_iter();
        requests.filter(|r| r.method == "GET").count()
    }

    #[track_caller]
    fn await_polls(&self, more: usize) {
        let before = self.polls();
        eventually("polls", SOON, || self.polls() >= before + more);
    }
}

impl Granted {
    fn grant(&mut self) -> Reply {
        self.tokens += 1;
        let mut body = json!({"access_token": format!("s3cret-token-{}", self.tokens), "token_type": "bearer"});
        if let Some(lifetime) = self.lifetime_s {
            body["expires_in"] = json!(lifetime);
        }
        let answer = json_answer(&body);
        if self.slow {
            Reply::Late(Duration::from_millis(300), Box::new(answer.into()))
        } else {
            answer.into()
        }
    }
}

const TOKEN_PATH: &str = "/oauth/token";

/// A request of RFC 6749, section 4.4.2: a form, and the client by HTTP Basic, each part encoded first.
fn is_client_credentials(request: &Request) -> bool {
    // A space may be either.
    let body = String::from_utf8_lossy(&request.body).replace("%20", "+");
    let pair = request
        .header("Authorization")
        .and_then(|text| text.strip_prefix("Basic "));
    let pair = pair
        .map(decoded_base64)
        .unwrap_or_default()
        .replace("%20", "+");
    request.method == "POST"
        && request.header("Content-Type") == Some("application/x-www-form-urlencoded")
        && body == "grant_type=client_credentials&scope=read+all"
        && pair == "a+client%2Fid:s3cret+%3A%25%C3%BC"
}

/// RFC 4648, by hand.
fn decoded_base64(text: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').chars();
    let bits: String = digits
        .map(|digit| format!("{:06b}", ALPHABET.find(digit).expect("a digit")))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    let byte = |bits: &[u8]| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap();
    String::from_utf8(bytes.map(byte).collect()).unwrap()
}

fn oauth2() -> (Granting, Monitored) {
    let granting = Granting::new(TOKEN_PATH, is_client_credentials);
    let token_url = format!("{}{TOKEN_PATH}", granting.server.url());
    let auth = json!({"type": "oauth2", "token_url": token_url, "client_id": "a client/id",
        "client_secret": "s3cret :%ü", "scope": "read all"});
    let it = Monitored::by(json!([granting.monitor(auth)]));
    (granting, it)
}

#[test]
fn client_credentials_are_asked_for_once_and_again_when_they_are_refused() {
    let (granting, it) = oauth2();
    let farspan = it.start();
    it.rig.submit("w");
    granting.await_polls(5);
    assert_eq!(granting.tokens(), 1);
    // Revoked.
    lock(&granting.state).valid_from = 1;
    granting.await_polls(5);
    assert_eq!(granting.tokens(), 2);
    assert_eq!(lock(&granting.state).refusals, 1, "asked again at once");
    lock(&granting.state).finished = true;
    it.spans("w");
    let log = assert_keeps_secrets(farspan);
    assert!(!log.contains("refuses"), "{log}");
}

#[test]
fn a_token_is_renewed_before_it_lapses() {
    let (granting, it) = oauth2();
    // Less than a second of it is left for a poll under way.
    lock(&granting.state).lifetime_s = Some(5);
    let farspan = it.start();
    it.rig.submit("w");
    eventually("another token", SOON, || granting.tokens() >= 2);
    let requests = granting.server.requests();
    let mut asked = requests.iter().filter(|r| r.target == TOKEN_PATH);
    let (first, second) = (asked.next().unwrap(), asked.next().unwrap());
    let apart = second.at - first.at;
    assert!(apart < Duration::from_millis(4900), "{apart:?}");
    assert!(apart > Duration::from_millis(500), "{apart:?}");
    lock(&granting.state).finished = true;
    it.spans("w");
    assert_eq!(lock(&granting.state).refusals, 0);
    assert_keeps_secrets(farspan);
}

/// While the token endpoint is down, a token that has not expired stays in use.
#[test]
fn a_token_endpoint_that_is_down_is_waited_for() {
    let (granting, it) = oauth2();
    lock(&granting.state).down = true;
    let farspan = it.start();
    it.rig.submit("w");
    farspan.await_log_about(
        "guarded",
        "the API cannot be polled (server_error): no token to show the API: HTTP 503",
    );
    let requests = granting.server.requests();
    assert!(
        requests.iter().all(|r| r.target == TOKEN_PATH),
        "nothing is asked without"
    );
    lock(&granting.state).down = false;
    granting.await_polls(3);
    lock(&granting.state).finished = true;
    it.spans("w");
    let asked = granting.server.requests().into_iter();
    let asked = asked.filter(|r| r.target == TOKEN_PATH).count();
    assert!(asked <= 4, "{asked} token requests");
    assert_keeps_secrets(farspan);
}

#[test]
fn all_pollers_share_a_token() {
    let (granting, it) = oauth2();
    lock(&granting.state).slow = true;
    let farspan = it.start();
    let ids: Vec<String> = (0..32).map(|n| format!("w-{n}")).collect();
    for id in &ids {
        it.rig.submit(id);
    }
    granting.await_polls(64);
    lock(&granting.state).finished = true;
    for id in &ids {
        it.spans(id);
    }
    assert_eq!(granting.tokens(), 1);
    assert_eq!(lock(&granting.state).refusals, 0);
    assert_keeps_secrets(farspan);
}

/// The API refuses every token that is granted: farspan asks for one more token, and not for another with each poll.
#[test]
fn a_token_that_is_never_taken_is_no_endless_loop() {
    let (granting, it) = oauth2();
    lock(&granting.state).valid_from = usize::MAX;
    let farspan = it.start();
    it.rig.submit("w");
    farspan.await_log_about(
        "guarded",
        "the API refuses the credentials: HTTP 401 Unauthorized",
    );
    granting.await_polls(6);
    let (polls, tokens) = (granting.polls(), granting.tokens());
    assert!(tokens <= polls, "{tokens} tokens for {polls} requests");
    assert_keeps_secrets(farspan);
}

// A login.

#[test]
fn a_login_brings_a_token() {
    let granting = Granting::new("/auth/token", |request| {
        let said: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        request.method == "POST"
            && request.header("Content-Type") == Some("application/json")
            && said == json!({"username": "u", "password": "s3cret-password"})
    });
    let files = Files::new();
    let body_file = files.write("login", r#"{"username": "u", "password": "s3cret-wrong"}"#);
    let auth = json!({"type": "login", "url": "/auth/token", "body_file": body_file, "token": "/access_token"});
    let it = Monitored::with(files, json!([granting.monitor(auth)]));
    let farspan = it.start();
    it.rig.submit("w");
    // A wrong password.
    farspan.await_log_about(
        "guarded",
        "the API refuses the credentials: no token to show the API: HTTP 401",
    );
    // It is corrected in the file.
    it.files.write(
        "login",
        r#"{"username": "u", "password": "s3cret-password"}"#,
    );
    granting.await_polls(3);
    lock(&granting.state).valid_from = 1;
    granting.await_polls(3);
    lock(&granting.state).finished = true;
    it.spans("w");
    assert_eq!(granting.tokens(), 2);
    assert_keeps_secrets(farspan);
}

/// By the lifetime in the answer, and where that says nothing, by the monitor's.
#[test]
fn a_login_is_renewed_before_its_token_lapses() {
    for (said, configured) in [(Some(5), "1h"), (None, "10s")] {
        let granting = Granting::new("/auth/token", |request| request.method == "POST");
        lock(&granting.state).lifetime_s = said;
        let auth = json!({"type": "login", "url": "/auth/token", "body": {"password": "s3cret"}, "token": "/access_token",
            "expires_in": "/expires_in", "lifetime": configured});
        let it = Monitored::by(json!([granting.monitor(auth)]));
        let farspan = it.start();
        it.rig.submit("w");
        eventually("another token", SOON, || granting.tokens() >= 2);
        let requests = granting.server.requests();
        let mut asked = requests.iter().filter(|r| r.target == "/auth/token");
        let (first, second) = (asked.next().unwrap(), asked.next().unwrap());
        let apart = (second.at - first.at).as_secs_f64();
        let lifetime = said.map_or(10.0, |seconds| seconds as f64);
        assert!((0.5..lifetime - 0.1).contains(&apart), "{apart} s");
        lock(&granting.state).finished = true;
        it.spans("w");
        assert_eq!(lock(&granting.state).refusals, 0);
        assert_keeps_secrets(farspan);
    }
}

// Where it goes.

/// No redirect takes a secret to another host, whichever status and header it comes with.
#[test]
fn no_secret_leaves_its_host() {
    let elsewhere = Server::start(|_| completed("w").reply());
    for auth in [
        json!({"type": "bearer", "token": "s3cret-token"}),
        json!({"type": "header", "name": "X-Api-Key", "value": "s3cret-token"}),
        json!({"type": "login", "url": "/workflows/login", "body": {"password": "s3cret"}, "token": "/token"}),
    ] {
        let api = local_api();
        let to = format!("{}/w", elsewhere.url());
        let redirect: Reply = Answer::new(307).header("Location", &to).into();
        api.script("w", [redirect.clone(), redirect.clone(), redirect.clone()]);
        api.script("login", [redirect]);
        let it = Monitored::by(json!([monitor(&api, auth)]));
        let farspan = it.start();
        it.rig.submit("w");
        farspan.await_log_about("guarded", "the API ");
        assert!(!it.rig.receiver.has_root("w"), "not followed");
        assert_keeps_secrets(farspan);
    }
    assert_eq!(elsewhere.requests().len(), 0, "nothing went there");
}

// TLS.

/// Each monitor has its own authority and its own certificate to show.
#[test]
fn an_api_that_wants_to_see_a_certificate() {
    let api = local_api();
    for id in ["w", "x"] {
        api.script(id, short_story(id));
    }
    let (theirs, ours) = (Authority::new(), Authority::new());
    let way = TlsWay::guarded(api.server.address().port(), &theirs, &ours);
    let client = ours.certificate("farspan");
    let monitor = |name: &str, channel: &str, with: Value| {
        let mut monitor = json!({"name": name, "preset": "farspan", "events": {"redis_channel": channel},
            "api": {"base_url": format!("{}/risk", way.url()), "certificate_file": theirs.certificate}});
        for (key, value) in with.as_object().unwrap() {
            monitor["api"][key] = value.clone();
        }
        monitor
    };
    let shows =
        json!({"client_certificate_file": client.certificate, "client_key_file": client.key});
    let it = Monitored::by(json!([
        monitor("shows", "shown", shows),
        monitor("shows-none", "not-shown", json!({})),
    ]));
    let farspan = it.call.start();
    for channel in ["shown", "not-shown"] {
        it.rig.redis.await_subscribers(channel, 1);
    }
    it.rig.redis.publish("shown", br#"{"WorkflowId": "w"}"#);
    it.spans("w");
    it.rig.redis.publish("not-shown", br#"{"WorkflowId": "x"}"#);
    farspan.await_log_about("shows-none", "the API cannot be polled");
    assert_eq!(api.polls("x"), 0, "it was not let in");
    farspan.stop();
}

// Proxies.

/// The usual variables count for APIs elsewhere, and not for those they except.
#[test]
fn an_api_elsewhere_is_asked_by_the_proxy_of_the_usual_variables() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let proxy = {
        let asked = asked.clone();
        Server::start(move |request| {
            lock(&asked).push(format!("{} {}", request.method, request.target));
            Answer::new(502).into()
        })
    };
    let it = Monitored::by(json!([
        {"name": "elsewhere", "preset": "farspan", "api": {"base_url": "http://api.test:8080", "auth": {"type": "bearer", "token": "s3cret"}}},
    ]));
    let call = it.call.clone().env("HTTP_PROXY", proxy.url());
    let farspan = it.rig.start_call(&call);
    it.rig.submit("w");
    eventually("the proxy is asked", SOON, || !lock(&asked).is_empty());
    let first = lock(&asked)[0].clone();
    assert!(first.contains("api.test:8080"), "{first}");
    farspan.await_log_about("elsewhere", "the API cannot be polled");
    assert_keeps_secrets(farspan);
    let count = lock(&asked).len();
    let call = call.env("NO_PROXY", "api.test");
    let farspan = it.rig.start_call(&call);
    it.rig.submit("w");
    farspan.await_log_about("elsewhere", "the API cannot be polled");
    assert_eq!(lock(&asked).len(), count);
    assert_keeps_secrets(farspan);
}
