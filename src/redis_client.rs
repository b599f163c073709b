//! The link to Redis: what everybody who talks to it has in common.

use redis::{Client, Connection, ErrorKind, RedisError, RedisResult, Value};
use std::time::Duration;

/// A connection whose every answer has to come within `patience`.
///
/// # Errors
/// Redis cannot be reached, or does not let us in.
pub fn connect(client: &Client, patience: Duration) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    Ok(connection)
}

/// The oldest Redis that has all that a stream and a fleet need: XAUTOCLAIM and XTRIM ... MINID.
const VERSION_MIN: (u32, u32) = (6, 2);
const TOO_OLD: &str = "Redis is too old";

/// The version of the Redis at the other end, if it tells.
///
/// # Errors
/// It does not answer at all.
pub fn version(connection: &mut Connection) -> RedisResult<Option<String>> {
    match redis::cmd("INFO").arg("server").query::<String>(connection) {
        Ok(info) => {
            let mut lines = info.lines();
            let version = lines.find_map(|line| line.strip_prefix("redis_version:"));
            Ok(version.map(|version| version.trim().to_owned()))
        }
        // An ACL may forbid to ask, and not everything that speaks the protocol has a version.
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fails if the Redis at the other end is known to be too old for a stream and a fleet. Answers with its version.
///
/// # Errors
/// It is, or does not answer.
pub fn require_version(connection: &mut Connection) -> RedisResult<Option<String>> {
    let found = version(connection)?;
    let is_old = found.as_deref().and_then(major_and_minor);
    match (is_old.is_some_and(|it| it < VERSION_MIN), &found) {
        (true, Some(version)) => {
            let (major, minor) = VERSION_MIN;
            let words = format!(
                "Redis {version} is too old: a stream and FARSPAN_STATE=redis need {major}.{minor} or later"
            );
            Err((ErrorKind::Client, TOO_OLD, words).into())
        }
        _ => Ok(found),
    }
}

/// Whether that is why.
pub fn is_too_old(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Client && error.to_string().starts_with(TOO_OLD)
}

fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Hands a script to Redis, and answers with the name that `EVALSHA` knows it by.
///
/// # Errors
/// As any command.
pub fn load_script(connection: &mut Connection, text: &str) -> RedisResult<String> {
    redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection)
}

/// An error with what can be done about it.
pub fn told(error: &RedisError) -> String {
    if let Some(words) = error.detail().filter(|_| is_too_old(error)) {
        return words.to_owned();
    }
    if error.is_timeout() {
        // The system's words for it are about a resource.
        return "no answer in time".to_owned();
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

/// Whether trying again cannot help before somebody changes something.
pub fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}

/// The elements of an array; of anything else, none.
pub fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) | Value::Set(elements) => elements,
        // RESP3 has maps where RESP2 has keys and values by turns.
        Value::Map(pairs) => pairs.into_iter().flat_map(|(k, v)| [k, v]).collect(),
        _ => Vec::new(),
    }
}

/// The bytes of a string; of anything else, `None`.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// The same as text.
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
