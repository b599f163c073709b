//! A monitor for people: as `farspan config` prints it, and the keys that a message names.

use super::{MonitorConfig, presets};
use crate::api::credentials::{Auth, SecretSource};
use crate::core::PollFailureReason;
use crate::syntax::mistake::Within;
use crate::syntax::text::shown;
use crate::syntax::values;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};

/// What a message about an API names, so that its reader knows where to look.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys {
    /// The base URL, without secrets.
    pub url: String,
    base_url: String,
    credential: String,
}

impl ApiKeys {
    /// Which key could mend this failure, behind a semicolon; empty if none could.
    pub fn remedy(&self, reason: PollFailureReason) -> String {
        use PollFailureReason as Reason;
        let key = &self.base_url;
        match reason {
            Reason::Unauthorized => format!("; is {} right?", self.credential),
            Reason::Connect => format!("; is {key} right, and does a server listen there?"),
            Reason::Tls => {
                "; api.certificate_file or SSL_CERT_FILE name the roots to trust, api.client_certificate_file who farspan \
                 is"
                    .to_owned()
            }
            Reason::Protocol => format!("; is {key} right?"),
            Reason::Garbage | Reason::Redirect => {
                format!("; is {key} the API's, and not a page for people?")
            }
            Reason::Timeout | Reason::Disconnected => {
                let is_tls = self.url.starts_with("https:");
                let proxy = if is_tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
                format!("; is {key} right, and nothing in the way ({proxy}, NO_PROXY)?")
            }
            _ => String::new(),
        }
    }
}

impl MonitorConfig {
    /// What a message about its API names.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys {
            url: values::redacted_url(&self.api.base_url),
            base_url: self.base_url_key(),
            credential: self.credential_key(),
        }
    }

    /// The key that has the base URL of its API.
    fn base_url_key(&self) -> String {
        if self.written.has_in_api("base_url") {
            format!("{}.api.base_url", self.written.place)
        } else {
            "FARSPAN_API_BASE_URL (api.base_url)".to_owned()
        }
    }

    /// The key that has the credential for its API.
    pub fn credential_key(&self) -> String {
        let place = &self.written.place;
        if self.written.has_in_api("auth") {
            let key = self.secret_key().map(|key| format!(".{key}"));
            return format!("{place}.api.auth{}", key.unwrap_or_default());
        }
        let of_settings = match &self.api.auth {
            // A setting names the file, or it is one of systemd's credentials.
            Auth::Bearer(SecretSource::File(path, _)) => {
                let path = path.to_string_lossy();
                format!("FARSPAN_API_TOKEN (api.token) in '{}'", shown(&path))
            }
            _ => "FARSPAN_API_TOKEN (api.token)".to_owned(),
        };
        if self.written.is_added() {
            of_settings
        } else if self.api.auth == Auth::None {
            format!("{place}.api.auth")
        } else {
            format!("{of_settings}, which {place} takes over,")
        }
    }

    /// The key in `auth` that has the secret, or the name of its file.
    fn secret_key(&self) -> Option<&'static str> {
        let (source, keys) = match &self.api.auth {
            Auth::None => return None,
            Auth::Bearer(token) => (token, ["token", "token_file"]),
            Auth::Basic { password, .. } => (password, ["password", "password_file"]),
            Auth::Header { value, .. } => (value, ["value", "value_file"]),
            Auth::OAuth2 { client_secret, .. } => {
                (client_secret, ["client_secret", "client_secret_file"])
            }
            Auth::Login { body, .. } => (body, ["body", "body_file"]),
        };
        Some(keys[usize::from(matches!(source, SecretSource::File(..)))])
    }
}

/// As `farspan config` shows it, without secrets.
impl fmt::Display for MonitorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(false))
    }
}

impl MonitorConfig {
    /// Its name, its preset and its place, then a line for each key.
    pub(in crate::config) fn text(&self, only_changed: bool) -> String {
        let preset = self.preset();
        let preset = preset.map_or(String::new(), |preset| format!(", preset {preset}"));
        let place = self.place_in_file();
        let place = place.as_deref().unwrap_or("default");
        let mut text = format!("monitor {}{preset}  {place}\n", self.name);
        for (key, value) in self.keys_shown(only_changed) {
            let _ = writeln!(text, "  {key}: {value}");
        }
        text
    }

    /// The preset that it names.
    pub(in crate::config) fn preset(&self) -> Option<&str> {
        self.written.preset.as_deref()
    }

    /// `farspan.json: monitors[0]`; `None`: farspan added it to a file without monitors.
    pub(in crate::config) fn place_in_file(&self) -> Option<String> {
        match &self.written.place.within {
            Within::Monitor {
                file: Some(file),
                index,
                ..
            } => Some(format!("{file}: monitors[{index}]")),
            _ => None,
        }
    }

    /// Its keys over those of its preset. With `only_changed` those that its preset has otherwise.
    pub(in crate::config) fn keys_shown(&self, only_changed: bool) -> Map<String, Value> {
        let mut members = self.written.members.clone();
        members.retain(|key, _| !matches!(&**key, "name" | "preset" | "description" | "$schema"));
        if only_changed {
            let preset = self
                .preset()
                .and_then(presets::members_of)
                .unwrap_or_default();
            members.retain(|key, value| preset.get(key) != Some(value));
        }
        if let Some(finished) = members.get_mut("finished") {
            if let Some(auth) = finished.get_mut("auth") {
                *auth = redacted_auth(auth);
            }
            if let Some(url) = finished.get_mut("url") {
                *url = values::redacted_url(url.as_str().unwrap_or_default()).into();
            }
        }
        let mut group = |key: &str, fill: &dyn Fn(&mut Map<String, Value>)| {
            let group = members.entry(key).or_insert(Value::Null);
            if !group.is_object() {
                *group = Value::Object(Map::new());
            }
            group.as_object_mut().into_iter().for_each(fill);
        };
        group("api", &|api| {
            if let Some(auth) = api.get_mut("auth") {
                *auth = redacted_auth(auth);
            }
            let headers = api.get_mut("headers").and_then(Value::as_object_mut);
            for header in headers.into_iter().flat_map(Map::values_mut) {
                *header = Value::from("(redacted)");
            }
            api.insert("base_url".to_owned(), self.api.base_url.as_str().into());
        });
        if only_changed {
            return members;
        }
        // What the settings give to it.
        group("poll", &|poll| {
            for (key, duration) in [
                ("initial_delay", self.poll.initial_delay),
                ("interval", self.poll.interval),
                ("timeout", self.poll.timeout),
            ] {
                let default = || Value::from(format!("{duration:?}"));
                poll.entry(key).or_insert_with(default);
            }
        });
        members
    }
}

/// `auth` without its secrets.
pub(super) fn redacted_auth(auth: &Value) -> Value {
    let mut auth = auth.clone();
    for key in ["token", "password", "value", "client_secret", "body"] {
        // In a login `token` is a pointer into the answer.
        let is_login = auth.get("type").is_some_and(|kind| kind == "login");
        if let Some(secret) = auth.get_mut(key).filter(|_| !(is_login && key == "token")) {
            *secret = Value::from("(redacted)");
        }
    }
    for key in ["url", "token_url"] {
        if let Some(url) = auth.get_mut(key) {
            *url = values::redacted_url(url.as_str().unwrap_or_default()).into();
        }
    }
    auth
}
