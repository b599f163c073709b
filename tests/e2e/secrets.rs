//! Every way out of the process that people read, with a secret in every place of the configuration that may have one:
//! none of them shows any, at whatever level and whatever the others answer.

use crate::support::files::Files;
use crate::support::http::{Answer, Request, Server};
use crate::support::program::{Call, Ended, farspan};
use crate::support::redis::RedisServer;
use crate::support::{SOON, eventually};
use serde_json::{Value, json};

/// Each secret has this word, in itself or once it is decoded.
const SECRET: &str = "s3cret";

/// Says back all that it was sent, as some APIs do where they refuse.
fn echo(status: u16, request: &Request) -> Answer {
    let mut said = format!("you sent {} ", request.target);
    for (name, value) in &request.headers {
        said += &format!("{name}: {value} ");
    }
    said += &String::from_utf8_lossy(&request.body);
    Answer::new(status).body("text/plain", said)
}

/// Tokens for those who log in; a run for `good`; everything else is refused.
fn api() -> Server {
    Server::start(|request| {
        if request.target.starts_with("/token") {
            let token = json!({"access_token": "s3cret-fetched", "expires_in": 3600});
            return Answer::new(200)
                .body("application/json", token.to_string())
                .into();
        }
        let id = request
            .target
            .strip_prefix("/runs/")
            .and_then(|rest| rest.split('?').next());
        if let Some(id) = id.filter(|id| id.starts_with("good")) {
            let run = json!({"id": id, "state": "done", "begun": "2026-11-20T09:00:00Z", "ended": "2026-11-20T09:01:00Z"});
            let run = run.to_string();
            return Answer::new(200).body("application/json", run).into();
        }
        echo(
            if request.target.starts_with("/finished") {
                500
            } else {
                401
            },
            request,
        )
        .into()
    })
}

fn monitors(api: &str, files: &Files) -> Value {
    let file = files.write("token", "s3cret-in-file");
    let auths = [
        (
            "bearer",
            json!({"type": "bearer", "token": "s3cret-bearer"}),
        ),
        ("file", json!({"type": "bearer", "token_file": file})),
        (
            "basic",
            json!({"type": "basic", "username": "me", "password": "s3cret \"sésame\""}),
        ),
        (
            "header",
            json!({"type": "header", "name": "X-Key", "value": "s3cret-value"}),
        ),
        (
            "oauth",
            json!({"type": "oauth2", "token_url": format!("{api}/token?code=s3cret-code"), "client_id": "me",
            "client_secret": "s3cret:client"}),
        ),
        (
            "login",
            json!({"type": "login", "url": format!("{api}/token?sig=s3cret%2Dsig"), "token": "/access_token",
            "body": {"user": "me", "password": "s3cret-login"}}),
        ),
    ];
    let monitor = |(name, auth): (&str, Value)| {
        json!({
            "name": name,
            "api": {"base_url": api, "auth": auth, "headers": {"Cookie": "session=s3cret-cookie"}},
            "request": {"path": "/runs/{id}?api_key=s3cret-query&page=1", "method": "POST",
                "body": {"apiKey": "s3cret-body", "query": "run"}},
            "discovery": {"request": {"path": "/list?token=s3cret-list&since={since}"}, "list": "/runs", "id": "/id"},
            "workflow": {"id": "/id", "status": "/state", "start": "/begun", "end": "/ended"},
            "statuses": {"done": "success"},
            "finished": {"url": format!("{api}/finished?code=s3cret-finished"),
                "auth": {"type": "header", "name": "X-Hook", "value": "s3cret-hook"}},
        })
    };
    json!({"monitors": auths.map(monitor)})
}

fn assert_keeps_secrets(what: &str, ended: &Ended) {
    let output = format!("{}{}", ended.stdout, ended.stderr);
    let lower = output.to_lowercase();
    // "me:s3cret" in base64, from its first whole group on.
    for secret in [SECRET, "bwu6czny", "s3cre"] {
        let line = lower.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what}");
    }
    // A dump in hexadecimal has 16 bytes a line, which no search finds: dependencies say nothing below a warning.
    for target in [" ureq", " rustls", " redis::", "\"ureq", "\"rustls"] {
        assert!(!output.contains(target), "{what}: {target}\n{output}");
    }
}

#[test]
fn no_output_at_any_level_has_a_secret() {
    let (api, redis, files) = (
        api(),
        RedisServer::with_password("s3cret-redis"),
        Files::new(),
    );
    let collector = Server::start(|request| echo(401, request).into());
    let config = files.write("farspan.json", monitors(&api.url(), &files).to_string());
    let with = |arguments: &[&str]| -> Call {
        farspan(arguments)
            .env("FARSPAN_CONFIG", &config)
            .env("FARSPAN_REDIS_URL", redis.url_with_password("s3cret-redis"))
            .env("FARSPAN_API_TOKEN", "s3cret-token")
            .env("FARSPAN_ADMIN_TOKEN", "s3cret-admin")
            .env("FARSPAN_ADMIN_LISTEN", "127.0.0.1:0")
            .env("FARSPAN_STATE", "none")
            .env("FARSPAN_POLL_INITIAL_DELAY", "0s")
            .env("FARSPAN_POLL_INTERVAL", "50ms")
            .env(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                format!("{}/v1/traces?sas=s3cret-sas", collector.url()),
            )
            .env(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20s3cret-otlp,x-api-key=s3cret-key",
            )
            .env("OTEL_METRICS_EXPORTER", "otlp")
            .env("OTEL_METRIC_EXPORT_INTERVAL", 50)
            .env(
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                format!("{}/v1/metrics?sas=s3cret-numbers", collector.url()),
            )
            .env(
                "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
                "authorization=Bearer%20s3cret-metrics",
            )
    };
    assert_keeps_secrets("config", &with(&["config"]).output());
    for level in ["error", "info", "trace"] {
        let with = |arguments: &[&str]| with(arguments).env("FARSPAN_LOG", level);
        assert_keeps_secrets("check", &with(&["check"]).output());
        for monitor in ["bearer", "file", "basic", "header", "oauth", "login"] {
            for id in ["good", "w"] {
                let ended = with(&["probe", id, "--monitor", monitor]).output();
                assert!(
                    ended.stdout.contains(&format!("monitor {monitor}")),
                    "{ended:?}"
                );
                assert_keeps_secrets(&format!("probe {monitor} {id}"), &ended);
            }
        }
        let ended = with(&["trace", "good", "--monitor", "oauth"]).output();
        assert!(ended.stdout.contains("1 succeeded"), "{ended:?}");
        assert_keeps_secrets("trace", &ended);
    }
    for format in ["text", "json"] {
        let mut running = with(&["run", "--events", "-"])
            .env("FARSPAN_LOG", "trace")
            .env("FARSPAN_LOG_FORMAT", format)
            .with_stdin()
            .start();
        for monitor in ["bearer", "file", "basic", "header", "oauth", "login"] {
            // The last one has a secret in a field of the log.
            for id in ["good", "w", "good-s3cret-bearer"] {
                running.write(format!(
                    "{}\n",
                    json!({"WorkflowId": format!("{id}-{monitor}"), "Monitor": monitor})
                ));
            }
        }
        eventually("everything is refused", SOON, || {
            let log = running.stderr();
            log.contains("refuses the credentials")
                && log.contains("collector")
                && log.contains("did not accept the metrics")
                && log.contains("receiver of finished events")
                && log.contains("good-(redacted)-oauth")
        });
        assert_keeps_secrets("run", &running.kill());
    }
}
