//! Authentication to an API or a receiver, as `auth` has it, and the secrets in it.

use super::read::{INSTEAD_OF_USERINFO, long_duration};
use crate::api::credentials::{Auth, Secret, SecretSource};
use crate::os::files;
use crate::syntax::json::Object;
use crate::syntax::text::escape;
use crate::syntax::values::{self, Reason};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{HeaderName, HeaderValue};

/// Where the files are that a monitor names.
#[derive(Clone, Copy, Default)]
pub(in crate::config) struct Directories<'a> {
    /// The directory of the configuration file, which relative paths begin at.
    pub(in crate::config) of_file: Option<&'a Path>,
    /// systemd's credentials directory.
    pub(in crate::config) of_credentials: Option<&'a Path>,
}

impl Directories<'_> {
    pub(super) fn path_of(&self, text: &str) -> PathBuf {
        match self.of_file {
            Some(directory) => directory.join(text),
            None => PathBuf::from(text),
        }
    }
}

/// Reads `auth`. A login's `url` may be a path after `base_url`.
pub(super) fn authentication(
    auth: &Object<'_>,
    base_url: &str,
    directories: Directories<'_>,
) -> Option<Auth> {
    let as_it_is = |key, key_file| secret(auth, key, key_file, values::token, directories);
    let encoded = |key, key_file| secret(auth, key, key_file, values::password, directories);
    let kind = auth.required("type", |text| {
        let kinds = ["none", "bearer", "basic", "header", "oauth2", "login"];
        values::one_of(text, &kinds.map(|kind| (kind, kind)))
    })?;
    match kind {
        "bearer" => as_it_is("token", "token_file").map(Auth::Bearer),
        "basic" => {
            let username = auth.required("username", |text| {
                if text.contains(':') {
                    return Err("has a colon, which RFC 7617 does not allow".into());
                }
                values::label(text)
            });
            let password = encoded("password", "password_file");
            Some(Auth::Basic {
                username: username?,
                password: password?,
            })
        }
        "header" => {
            let name = auth.required("name", header_name);
            let value = as_it_is("value", "value_file");
            Some(Auth::Header {
                name: name?,
                value: value?,
            })
        }
        "oauth2" => {
            let token_url = auth.required_url("token_url", url);
            let client_id = auth.required("client_id", values::label);
            let client_secret = encoded("client_secret", "client_secret_file");
            let scope = auth.parsed("scope", values::label);
            Some(Auth::OAuth2 {
                token_url: token_url?,
                client_id: client_id?,
                client_secret: client_secret?,
                scope,
            })
        }
        "login" => login(auth, base_url, directories),
        _ => Some(Auth::None),
    }
}

fn login(auth: &Object<'_>, base_url: &str, directories: Directories<'_>) -> Option<Auth> {
    let url = auth.required_url("url", |text| match text.strip_prefix('/') {
        // A missing base_url is a mistake of its own.
        Some(_) if base_url.is_empty() => Ok(String::new()),
        Some(path) => url(&format!("{base_url}/{path}")),
        None => url(text),
    });
    let body = login_body(auth, directories);
    auth.require("token", ": a JSON Pointer to the token in the answer");
    let token = auth.pointer("token");
    let expires_in = auth.pointer("expires_in");
    let lifetime = auth.parsed("lifetime", |text| {
        long_duration(text, Duration::from_secs(10), "it may be 10s to 10000d")
    });
    Some(Auth::Login {
        url: url?,
        body: body?,
        token: token?,
        expires_in,
        lifetime: lifetime.unwrap_or(Duration::from_secs(3600)),
    })
}

fn secret(
    object: &Object<'_>,
    key: &'static str,
    key_file: &'static str,
    parse: fn(&str) -> Result<String, Reason>,
    directories: Directories<'_>,
) -> Option<SecretSource> {
    match (object.has(key), object.has(key_file)) {
        (true, true) => {
            object.mistake(
                key,
                format_args!("{key_file} is set too; remove one of the two"),
            );
            None
        }
        (false, false) => {
            object.require(key, &format!("; or {key_file}, which names a file"));
            None
        }
        (true, false) => {
            let text = object.text(key)?;
            match parse(text) {
                Ok(secret) => Some(SecretSource::Given(Secret::new(secret))),
                Err(reason) => {
                    object.mistake(key, format_args!("the value {reason}"));
                    None
                }
            }
        }
        (false, true) => {
            let (path, text) = file_of(object, key_file, directories)?;
            match parse(&text) {
                Ok(secret) => Some(SecretSource::File(path, Secret::new(secret))),
                Err(reason) => {
                    object.mistake(key_file, format_args!("the value in it {reason}"));
                    None
                }
            }
        }
    }
}

/// The path and the content of a file that holds a secret.
fn file_of(
    object: &Object<'_>,
    key: &'static str,
    directories: Directories<'_>,
) -> Option<(PathBuf, String)> {
    const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY/";
    let text = object.text(key)?;
    let path = match text.strip_prefix(CREDENTIALS) {
        None => directories.path_of(text),
        Some(name) => match directories.of_credentials {
            Some(directory) => directory.join(name),
            None => {
                object.mistake(key, "CREDENTIALS_DIRECTORY is not set; systemd sets it");
                return None;
            }
        },
    };
    match files::read_secret(&path) {
        Ok(text) => Some((path, text)),
        Err(reason) => {
            let path = escape(&path.to_string_lossy());
            object.mistake(key, format_args!("'{path}' {reason}"));
            None
        }
    }
}

fn login_body(auth: &Object<'_>, directories: Directories<'_>) -> Option<SecretSource> {
    match (auth.value("body"), auth.has("body_file")) {
        (Some(_), true) => {
            auth.mistake("body", "body_file is set too; remove one of the two");
            None
        }
        (Some(body), false) => Some(SecretSource::Given(Secret::new(body.to_string()))),
        (None, true) => {
            let (path, text) = file_of(auth, "body_file", directories)?;
            Some(SecretSource::File(path, Secret::new(text)))
        }
        (None, false) => {
            auth.require("body", "; or body_file, which names a file of JSON");
            None
        }
    }
}

pub(super) fn header_name(text: &str) -> Result<String, Reason> {
    /// The headers that farspan sets itself.
    const OURS: &[&str] = &["connection", "content-length", "host", "transfer-encoding"];
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| "is not the name of a header")?;
    if OURS.contains(&name.as_str()) {
        return Err("is a header that farspan sets".into());
    }
    Ok(name.as_str().to_owned())
}

pub(super) fn header_value(text: &str) -> Result<Secret, Reason> {
    HeaderValue::from_str(text).map_err(|_| "has a character that a header cannot have")?;
    Ok(Secret::new(text))
}

fn url(text: &str) -> Result<String, Reason> {
    let _ = values::http_url(text, INSTEAD_OF_USERINFO)?;
    Ok(text.to_owned())
}
