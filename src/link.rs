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

/// Hands a script to Redis, and answers with the name that `EVALSHA` knows it by.
///
/// # Errors
/// As any command.
pub fn load_script(connection: &mut Connection, text: &str) -> RedisResult<String> {
    redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection)
}

/// An error with what can be done about it.
pub fn told(error: &RedisError) -> String {
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
