//! What all users of Redis have in common: connecting, checking the version, reading answers, explaining errors.

mod connection;

pub use connection::{Closer, Connection};

use redis::{Client, Cmd, ErrorKind, RedisError, RedisResult, Value};
use std::time::Duration;

/// Connects and logs in, in `patience` at most; then each call may take as long.
///
/// # Errors
/// Redis cannot be reached in time, or refuses the password or the database.
pub fn connect(client: &Client, patience: Duration) -> RedisResult<Connection> {
    Connection::open(client, patience)
}

/// The oldest version that has what a stream and a fleet need: XAUTOCLAIM and XTRIM ... MINID.
const VERSION_MIN: (u32, u32) = (6, 2);
const TOO_OLD: &str = "Redis is too old";

/// The version of the Redis that we are connected to. `None`: it does not say.
///
/// # Errors
/// Redis does not answer.
pub fn version(connection: &mut Connection) -> RedisResult<Option<String>> {
    match redis::cmd("INFO").arg("server").query::<String>(connection) {
        Ok(info) => {
            let mut lines = info.lines();
            let version = lines.find_map(|line| line.strip_prefix("redis_version:"));
            Ok(version.map(|version| version.trim().to_owned()))
        }
        // An ACL may forbid the question, and a server that speaks Redis's protocol may have no version.
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks that Redis is recent enough for a stream and a fleet, and returns its version. A Redis that does not say its version
/// passes.
///
/// # Errors
/// Redis is too old, or does not answer.
pub fn require_version(connection: &mut Connection) -> RedisResult<Option<String>> {
    let found = version(connection)?;
    let is_old = |version: &&String| major_and_minor(version).is_some_and(|it| it < VERSION_MIN);
    let Some(version) = found.as_ref().filter(is_old) else {
        return Ok(found);
    };
    let (major, minor) = VERSION_MIN;
    let words = format!(
        "Redis {version} is too old: a stream and FARSPAN_STATE=redis need {major}.{minor} or later"
    );
    Err((ErrorKind::Client, TOO_OLD, words).into())
}

/// Whether the error says that Redis is too old.
pub fn is_too_old(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Client && error.to_string().starts_with(TOO_OLD)
}

fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Loads a script into Redis, and returns the digest that `EVALSHA` calls it by.
///
/// # Errors
/// Redis does not answer, or refuses the script.
pub fn load_script(connection: &mut Connection, text: &str) -> RedisResult<String> {
    redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection)
}

/// The error in words, with what an operator can do about it.
pub fn told(error: &RedisError) -> String {
    if let Some(words) = error.detail().filter(|_| is_too_old(error)) {
        return words.to_owned();
    }
    if error.is_timeout() {
        // The operating system's words ("resource temporarily unavailable") say nothing about Redis.
        return "no answer in time".to_owned();
    }
    if error.kind() == ErrorKind::Parse {
        // The client's own words are those of a parser, in several lines.
        return "what answers is not Redis".to_owned();
    }
    let remedy = match error.code() {
        _ if error.kind() == ErrorKind::AuthenticationFailed => "is the password right?",
        Some("WRONGPASS") => "is the password right?",
        Some("NOAUTH") => "write the password into FARSPAN_REDIS_URL",
        Some("NOPERM") => "the ACL of farspan's user has to allow it",
        Some("OOM") => "Redis is full",
        _ if error.to_string().contains("invalid peer certificate") => {
            "SSL_CERT_FILE names the authorities to trust, instead of the system's"
        }
        _ if error.to_string().contains("unknown command") => "farspan needs Redis 6.2 or later",
        _ => return error.to_string(),
    };
    format!("{error} ({remedy})")
}

/// As [`told`], with the rule that the user of `client` lacks where Redis forbids something: `rule` allows it.
pub fn told_with_rule(error: &RedisError, client: &Client, rule: &str) -> String {
    if !is_forbidden(error) {
        return told(error);
    }
    let user = client.get_connection_info().redis_settings().username();
    let user = user.unwrap_or("default");
    format!("{error} (in Redis: ACL SETUSER {user} {rule})")
}

/// Whether the user of this connection may make these calls. None is made: Redis looks at the rights when it queues them
/// for a transaction, which is then discarded.
///
/// # Errors
/// The refusal of the first call that Redis forbids, or Redis does not answer.
pub fn ask_rights(connection: &mut Connection, calls: &[Cmd]) -> RedisResult<()> {
    match redis::cmd("MULTI").exec(connection) {
        // Without the right to begin a transaction nothing is learnt.
        Err(error) if error.code().is_some() => return Ok(()),
        begun => begun?,
    }
    let queued = calls.iter().find_map(|call| {
        let queued = call.query::<Value>(connection);
        queued
            .err()
            .filter(|error| is_refusal(error) || error.is_io_error())
    });
    redis::cmd("DISCARD").exec(connection)?;
    queued.map_or(Ok(()), Err)
}

/// Whether Redis refuses us (password, ACL): every further try fails until an operator changes something.
pub fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
        || is_forbidden(error)
}

/// Whether an ACL forbids a call, or a call of a script.
fn is_forbidden(error: &RedisError) -> bool {
    let is_in_script = || {
        let words = error.to_string();
        words.contains("ACL failure in script") || words.contains("The user executing the script")
    };
    error.code() == Some("NOPERM") || is_in_script()
}

/// The elements of an array. Of any other answer: none.
pub fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}

/// The bytes of a string. Of any other answer: `None`.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// The text of a string. Of any other answer, and of bytes that are not UTF-8: `None`.
pub fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, expected) in [
            ("5.0.7", Some(true)),
            ("6.0.20", Some(true)),
            ("6.2.0", Some(false)),
            ("7.0.15", Some(false)),
            ("10.1", Some(false)),
            ("255.255.255", Some(false)),
            ("unstable", None),
            ("", None),
        ] {
            let found = major_and_minor(version).map(|it| it < VERSION_MIN);
            assert_eq!(found, expected, "{version:?}");
        }
    }
}
