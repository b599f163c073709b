//! How a value is found for each setting: the environment beats the file, the file beats the default.

use super::settings::{MONITORS, RELOADED, SETTINGS, Setting, SettingKind, setting};
use super::{Errors, Secret};
use crate::api::credentials::SecretSource;
use crate::os::environment::Environment;
use crate::os::files;
use crate::syntax::json::{DUPLICATE, WrittenJson};
use crate::syntax::mistake::{Mistakes, Path, Place};
use crate::syntax::text::{escape, shown};
use crate::syntax::values::{self, Reason};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{self, PathBuf};
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValueOrigin {
    Env(&'static str),
    /// The file and the key.
    Key(Arc<str>, &'static str),
    /// A file that holds nothing but this value.
    SecretFile(String),
    Option(&'static str),
    Default,
}

/// As `farspan config` says it.
impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueOrigin::Env(name) => write!(f, "env {name}"),
            ValueOrigin::Key(file, key) => write!(f, "{file}: {key}"),
            ValueOrigin::SecretFile(path) => write!(f, "file {path}"),
            ValueOrigin::Option(name) => write!(f, "option {name}"),
            ValueOrigin::Default => write!(f, "default"),
        }
    }
}

impl ValueOrigin {
    /// The place of a mistake in it.
    pub(super) fn place(&self) -> Place {
        match self {
            ValueOrigin::Env(name) => Place::named(*name),
            ValueOrigin::Key(file, key) => {
                let keys: Vec<&str> = key.split('.').collect();
                Place::in_file(file.clone(), Path::of(&keys))
            }
            other => Place::named(other.to_string()),
        }
    }
}

/// A value as the environment or a file has it.
#[derive(Clone, Debug)]
pub(super) struct FoundValue {
    pub(super) text: String,
    pub(super) origin: ValueOrigin,
}

/// A line of `farspan config`, redacted.
#[derive(Clone, Debug)]
pub(super) struct SettingRow {
    pub(super) name: &'static str,
    pub(super) value: String,
    /// The same as programs read it: whole and not escaped. `None`: it is not set.
    pub(super) whole: Option<String>,
    pub(super) origin: ValueOrigin,
    /// The value, or the content of the file that it names. It is compared and never shown.
    written: Secret,
}

impl SettingRow {
    /// The setting's name and its key in the file.
    pub(super) fn title(&self) -> String {
        match setting(self.name).key {
            Some(key) => format!("{} ({key})", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Whether it says the same as another row of its setting, wherever the value came from.
    pub(super) fn is_same(&self, other: &SettingRow) -> bool {
        self.value == other.value && self.written == other.written
    }

    /// Whether a reload applies it.
    pub(super) fn is_reloaded(&self) -> bool {
        RELOADED.contains(&self.name)
    }
}

/// Finds values and gathers what is wrong with them.
pub(super) struct Resolver<'a> {
    env: &'a Environment,
    file: BTreeMap<&'static str, FoundValue>,
    /// The name of the file, and its monitors.
    monitors: Option<(Arc<str>, WrittenJson)>,
    /// The directory of the file, absolute.
    directory: Option<PathBuf>,
    rows: Vec<SettingRow>,
    /// Whether nothing is known of what the file says.
    pub(super) is_file_unread: bool,
    pub(super) mistakes: Mistakes,
    pub(super) warnings: Vec<String>,
}

impl<'a> Resolver<'a> {
    /// Reads the file and looks through the names of the environment.
    pub(super) fn new(env: &'a Environment, file: Option<&path::Path>) -> Self {
        let mut resolver = Resolver::without_file(env);
        if let Some(path) = file {
            let absolute = files::absolute(path);
            let absolute = absolute.to_string_lossy();
            resolver.show("FARSPAN_CONFIG", &absolute, ValueOrigin::Option("--config"));
            resolver.read_file(path);
        } else if let Some(path) = resolver.take("FARSPAN_CONFIG") {
            resolver.read_file(path::Path::new(&path.text));
        }
        resolver.refuse_what_is_missing();
        resolver
    }

    /// As [`new`](Self::new), where the text of the file is given. `name` stands for the file's.
    pub(super) fn of_text(env: &'a Environment, name: &str, text: &str) -> Self {
        let mut resolver = Resolver::without_file(env);
        if resolver.take("FARSPAN_CONFIG").is_some() {
            let what =
                "names a file, and the configuration is given as a text: remove one of the two";
            resolver.mistakes.add(Place::named("FARSPAN_CONFIG"), what);
        }
        resolver.read_text(&name.into(), Ok(text.as_bytes().to_vec()));
        resolver.refuse_what_is_missing();
        resolver
    }

    fn without_file(env: &'a Environment) -> Self {
        let mut resolver = Resolver {
            env,
            file: BTreeMap::new(),
            monitors: None,
            directory: None,
            rows: Vec::new(),
            is_file_unread: false,
            mistakes: Mistakes::default(),
            warnings: Vec::new(),
        };
        resolver.check_environment();
        resolver
    }

    /// The name of the file, and its monitors as they are written there.
    pub(super) fn take_monitors(&mut self) -> Option<(Arc<str>, WrittenJson)> {
        self.monitors.take()
    }

    /// The directory that the relative paths in the file begin at.
    pub(super) fn directory(&self) -> Option<&path::Path> {
        self.directory.as_deref()
    }

    /// Whether the file has monitors.
    pub(super) fn has_monitors(&self) -> bool {
        self.monitors.is_some()
    }

    /// What was gathered: the rows of `farspan config` and the warnings, or all mistakes.
    pub(super) fn finish(self) -> Result<(Vec<SettingRow>, Vec<String>), Errors> {
        let mistakes = self.mistakes.into_vec();
        if !mistakes.is_empty() {
            return Err(Errors(mistakes));
        }
        let mut rows = self.rows;
        let place = |row: &SettingRow| {
            SETTINGS
                .iter()
                .position(|setting| setting.name() == row.name)
        };
        rows.sort_by_key(place);
        // Two signals may read one variable.
        let mut told = HashSet::new();
        let mut warnings = self.warnings;
        warnings.retain(|warning| told.insert(warning.clone()));
        Ok((rows, warnings))
    }

    /// The value of a setting as it was written, its default if it was not. The name is the setting's last variable.
    pub(super) fn take(&mut self, name: &'static str) -> Option<FoundValue> {
        let found = self
            .written(name)
            .into_iter()
            .next()
            .or_else(|| default(name));
        self.show_found(name, found.as_ref());
        found
    }

    /// A setting whose mistakes are errors.
    pub(super) fn strict<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let found = self.take(name)?;
        match parse(&found.text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.error(name, &found, &reason);
                None
            }
        }
    }

    /// A whole number within the bounds that the table has.
    pub(super) fn number(&mut self, name: &'static str) -> Option<u32> {
        let bounds = match setting(name).kind {
            SettingKind::Number(least, most) => u64::from(least)..=u64::from(most),
            _ => 0..=u64::from(u32::MAX),
        };
        let number = self.strict(name, |text| values::integer(text, bounds.clone()))?;
        u32::try_from(number).ok()
    }

    /// A setting whose mistakes are warnings, as the OpenTelemetry specification asks: a wrong value is ignored, and the
    /// next weaker one holds. <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
    pub(super) fn lenient<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        for found in self.written(name).into_iter().chain(default(name)) {
            match parse(&found.text) {
                Ok(value) => {
                    self.show_found(name, Some(&found));
                    return Some(value);
                }
                Err(reason) => {
                    let place = found.origin.place();
                    let value = setting(name).shown(&setting(name).redacted(&found.text));
                    self.warnings
                        .push(format!("{place}: '{value}' {reason}; it is ignored"));
                }
            }
        }
        self.show_found(name, None);
        None
    }

    /// A secret that stands in one setting, or in the file that another one names, or in the credential that systemd
    /// hands over. The environment beats the file here too.
    pub(super) fn secret(
        &mut self,
        name: &'static str,
        file_name: &'static str,
        credential: &str,
        parse: impl Fn(&str) -> Result<String, Reason>,
    ) -> Option<Secret> {
        let found = self.secret_and_file(name, file_name, credential, parse);
        found.map(|(secret, _)| secret)
    }

    /// As [`secret`](Self::secret), with the file, so that the secret can be read again when the file changes.
    pub(super) fn secret_source(
        &mut self,
        name: &'static str,
        file_name: &'static str,
        credential: &str,
        parse: impl Fn(&str) -> Result<String, Reason>,
    ) -> Option<SecretSource> {
        match self.secret_and_file(name, file_name, credential, parse)? {
            (secret, Some(path)) => Some(SecretSource::File(path, secret)),
            (secret, None) => Some(SecretSource::Given(secret)),
        }
    }

    /// The secret, and the file that it is in, where it is in one.
    fn secret_and_file(
        &mut self,
        name: &'static str,
        file_name: &'static str,
        credential: &str,
        parse: impl Fn(&str) -> Result<String, Reason>,
    ) -> Option<(Secret, Option<PathBuf>)> {
        let direct = self.take(name);
        let by_file = self.take(file_name);
        let (found, file) = match (direct, by_file) {
            (Some(direct), Some(by_file)) => {
                let both_env =
                    [&direct, &by_file].map(|it| matches!(it.origin, ValueOrigin::Env(_)));
                if both_env[0] == both_env[1] {
                    let (one, other) = (direct.origin.place(), by_file.origin.place());
                    let what = format!("{other} is set too; remove one of the two");
                    self.mistakes.add(one, what);
                    return None;
                }
                if both_env[0] {
                    (direct, None)
                } else {
                    self.secret_file(&by_file)?
                }
            }
            (Some(direct), None) => (direct, None),
            (None, Some(by_file)) => self.secret_file(&by_file)?,
            (None, None) => self.credential(credential)?,
        };
        self.show_found(name, Some(&found));
        match parse(&found.text) {
            Ok(secret) => Some((Secret::new(secret), file)),
            Err(reason) => {
                self.error(name, &found, &reason);
                None
            }
        }
    }

    /// The whole content of the file that a setting names.
    pub(super) fn bytes_of(&mut self, name: &'static str) -> Option<(FoundValue, Vec<u8>)> {
        let found = self.take(name)?;
        match files::read(path::Path::new(&found.text)) {
            Ok(bytes) => {
                self.set_written(name, &String::from_utf8_lossy(&bytes));
                Some((found, bytes))
            }
            Err(reason) => {
                self.error(name, &found, &reason);
                None
            }
        }
    }

    /// Adds a mistake in a value.
    pub(super) fn error(&mut self, name: &'static str, found: &FoundValue, reason: &str) {
        let what = match setting(name).kind {
            SettingKind::Secret => format!("the value {reason}"),
            _ => {
                let value = setting(name).redacted(&found.text);
                format!("'{}' {reason}", setting(name).shown(&value))
            }
        };
        self.mistakes.add(found.origin.place(), what);
    }

    /// Adds a mistake in the value that is in force.
    pub(super) fn error_in(&mut self, name: &'static str, reason: &str) {
        if let Some(row) = self.rows.iter().find(|row| row.name == name) {
            let what = format!("'{}' {reason}", row.value);
            self.mistakes.add(row.origin.place(), what);
        }
    }

    /// Where the value in force came from, once it was asked for.
    pub(super) fn origin_of(&self, name: &str) -> Option<&ValueOrigin> {
        self.rows
            .iter()
            .find(|row| row.name == name)
            .map(|row| &row.origin)
    }

    /// Puts a value into `farspan config`, in the place of the one that was written.
    pub(super) fn show(&mut self, name: &'static str, value: &str, origin: ValueOrigin) {
        self.put_row(name, Some(value.to_owned()), origin);
    }

    fn put_row(&mut self, name: &'static str, whole: Option<String>, origin: ValueOrigin) {
        if setting(name).missing().is_some() {
            return;
        }
        let before = self.rows.iter().position(|row| row.name == name);
        let written = before.map(|at| self.rows.swap_remove(at).written);
        let value = match &whole {
            Some(whole) => setting(name).shown(whole),
            None => "(unset)".to_owned(),
        };
        self.rows.push(SettingRow {
            name,
            value,
            whole,
            origin,
            written: written.unwrap_or(Secret::new("")),
        });
    }

    fn set_written(&mut self, name: &'static str, text: &str) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.written = Secret::new(text);
        }
    }

    fn show_found(&mut self, name: &'static str, found: Option<&FoundValue>) {
        match found {
            Some(found) => {
                let whole = setting(name).redacted(&found.text);
                self.put_row(name, Some(whole), found.origin.clone());
                self.set_written(name, &found.text);
            }
            None => {
                self.put_row(name, None, ValueOrigin::Default);
                self.set_written(name, "");
            }
        }
    }

    /// Adds a mistake for each value of a setting that this build lacks. `none` asks for nothing.
    fn refuse_what_is_missing(&mut self) {
        let mut told = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| setting.is_ours()) {
            let Some(missing) = setting.missing() else {
                continue;
            };
            for found in self.all_written(setting) {
                // Two signals may have one variable.
                let is_told = told.contains(&found.origin);
                if found.text != "none" && !is_told {
                    self.mistakes.add(found.origin.place(), &missing);
                    told.push(found.origin);
                }
            }
        }
    }

    /// What was written for a setting that this build has, the strongest first.
    fn written(&self, name: &'static str) -> Vec<FoundValue> {
        let setting = setting(name);
        match setting.missing() {
            Some(_) => Vec::new(),
            None => self.all_written(setting),
        }
    }

    fn all_written(&self, setting: &'static Setting) -> Vec<FoundValue> {
        let mut written = Vec::new();
        for name in setting.env {
            if let Some(text) = self.env.text(name) {
                // A secret is taken as it is, so that a stray line break in it is found and said.
                let text = match setting.kind {
                    SettingKind::Secret => text.to_owned(),
                    SettingKind::Path => absolute(text.trim()),
                    _ => text.trim().to_owned(),
                };
                written.push(FoundValue {
                    text,
                    origin: ValueOrigin::Env(name),
                });
            }
        }
        written.extend(setting.key.and_then(|key| self.file.get(key)).cloned());
        written
    }

    fn check_environment(&mut self) {
        let known = || {
            SETTINGS
                .iter()
                .flat_map(|setting| setting.env.iter().copied())
        };
        for (name, value) in self.env.iter() {
            let is_known = known().any(|known| known == name);
            if is_known && value.is_none() {
                self.mistakes
                    .add(Place::named(name), "the value is not UTF-8");
            }
            if is_known {
                continue;
            }
            if let Some(meant) = misspelt_otel(name, known()) {
                let warning =
                    format!("{name}: no such setting, so it is ignored; did you mean '{meant}'?");
                self.warnings.push(warning);
            }
            let Some(short) = name.strip_prefix("FARSPAN_") else {
                continue;
            };
            if is_service_link(name, value.unwrap_or_default()) {
                continue;
            }
            let known = || known().filter_map(|known| known.strip_prefix("FARSPAN_"));
            let meant = values::nearest(short, known());
            let meant = meant.or_else(|| values::nearest_by_words(short, known()));
            let meant = meant.map(|meant| format!("FARSPAN_{meant}"));
            let place = Place::named(shown(name));
            self.mistakes
                .add(place, unknown("setting", meant.as_deref()));
        }
    }

    fn secret_file(&mut self, by_file: &FoundValue) -> Option<(FoundValue, Option<PathBuf>)> {
        let path = PathBuf::from(&by_file.text);
        match files::read_secret(&path) {
            Ok(text) => {
                let origin = ValueOrigin::SecretFile(escape(&by_file.text));
                Some((FoundValue { text, origin }, Some(path)))
            }
            Err(reason) => {
                let (place, path) = (by_file.origin.place(), escape(&by_file.text));
                self.mistakes.add(place, format_args!("'{path}' {reason}"));
                None
            }
        }
    }

    fn credential(&mut self, credential: &str) -> Option<(FoundValue, Option<PathBuf>)> {
        let path = path::Path::new(self.env.text("CREDENTIALS_DIRECTORY")?).join(credential);
        if !path.exists() {
            return None;
        }
        let shown_path = escape(&path.to_string_lossy());
        match files::read_secret(&path) {
            Ok(text) => {
                let origin = ValueOrigin::SecretFile(shown_path);
                Some((FoundValue { text, origin }, Some(path)))
            }
            Err(reason) => {
                let place = Place::named("$CREDENTIALS_DIRECTORY");
                self.mistakes
                    .add(place, format_args!("'{shown_path}' {reason}"));
                None
            }
        }
    }

    /// Whether a file was named.
    pub(super) fn has_file(&self) -> bool {
        self.directory.is_some()
    }

    fn read_file(&mut self, path: &path::Path) {
        let name: Arc<str> = shown(&path.to_string_lossy()).into();
        self.directory = files::absolute(path).parent().map(path::Path::to_owned);
        self.read_text(&name, files::read(path));
    }

    fn read_text(&mut self, name: &Arc<str>, bytes: Result<Vec<u8>, Reason>) {
        let place = Place::in_file(name.clone(), Path::default());
        let read = bytes.and_then(|bytes| {
            // serde_json's own text ends with line and column.
            serde_json::from_slice(&bytes).map_err(|error| format!("is not JSON: {error}").into())
        });
        match read {
            Ok(WrittenJson::Group(entries)) => {
                return self.read_group(name, "", &place, entries);
            }
            Ok(_) => self.mistakes.add(place, "is not a JSON object"),
            Err(reason) => self.mistakes.add(place, reason),
        }
        self.is_file_unread = true;
    }

    /// `group` is the dotted key of the object that has these entries; empty for the whole file.
    fn read_group(
        &mut self,
        file: &Arc<str>,
        group: &str,
        within: &Place,
        entries: Vec<(String, WrittenJson)>,
    ) {
        let mut seen: Vec<String> = Vec::new();
        for (entry, node) in entries {
            let place = within.key(&entry);
            let key = if group.is_empty() {
                entry.clone()
            } else {
                format!("{group}.{entry}")
            };
            if seen.contains(&entry) {
                self.mistakes.add(place.clone(), DUPLICATE);
            }
            match key.as_str() {
                "$schema" => {}
                MONITORS => self.monitors = Some((file.clone(), node)),
                key => self.read_key(file, key, &place, entry.contains('.'), node),
            }
            seen.push(entry);
        }
    }

    fn read_key(
        &mut self,
        file: &Arc<str>,
        key: &str,
        place: &Place,
        is_dotted: bool,
        node: WrittenJson,
    ) {
        let known_keys = || SETTINGS.iter().filter_map(|setting| setting.key);
        let setting = SETTINGS.iter().find(|setting| setting.key == Some(key));
        let is_in =
            |known: &str| (known.strip_prefix(key)).is_some_and(|rest| rest.starts_with('.'));
        let is_group = known_keys().any(is_in);
        match (setting, node) {
            (Some(setting), node) if !is_dotted => self.read_value(file, place, setting, node),
            (None, WrittenJson::Group(entries)) if is_group => {
                self.read_group(file, key, place, entries);
            }
            (None, _) if is_group => self.mistakes.add(place.clone(), "must be an object"),
            (Some(_), _) => {
                self.mistakes
                    .add(place.clone(), "write the groups as nested objects");
            }
            (None, _) => {
                let groups = known_keys().filter_map(|key| key.split('.').next());
                let known = known_keys().chain(groups).chain([MONITORS]);
                let meant = values::nearest(key, known);
                self.mistakes.add(place.clone(), unknown("key", meant));
            }
        }
    }

    fn read_value(
        &mut self,
        file: &Arc<str>,
        place: &Place,
        setting: &'static Setting,
        node: WrittenJson,
    ) {
        let Some(key) = setting.key else { return };
        let text = match (setting.kind, node) {
            (SettingKind::Number(..) | SettingKind::Size, WrittenJson::Number(number)) => {
                number.to_string()
            }
            (kind, WrittenJson::Text(text)) if !matches!(kind, SettingKind::Number(..)) => text,
            (kind, other) => {
                let right = match (kind, setting.default) {
                    (SettingKind::Number(..), default) => format!("a number, such as {default}"),
                    (SettingKind::Words(words), _) => format!("one of {}", words.join(", ")),
                    (_, "") => "a string".to_owned(),
                    (_, default) => format!("a string, such as \"{default}\""),
                };
                let what = format!("is {}, must be {right}", other.kind());
                return self.mistakes.add(place.clone(), what);
            }
        };
        let text = match (setting.kind, &self.directory) {
            (SettingKind::Path, Some(directory)) => {
                let path = files::absolute(&directory.join(text));
                let path = path.into_os_string().into_string();
                let Ok(path) = path else {
                    let what =
                        "the name of the file's directory is not UTF-8; write an absolute path";
                    return self.mistakes.add(place.clone(), what);
                };
                path
            }
            _ => text,
        };
        let origin = ValueOrigin::Key(file.clone(), key);
        self.file.insert(key, FoundValue { text, origin });
    }
}

/// The standard variable that was meant. There are many more than farspan reads, so only a name that differs by two
/// letters is taken for a mistake.
fn misspelt_otel<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const LETTERS: usize = 2;
    /// The batches of log records; ours are those of spans, `OTEL_BSP_`.
    const OTHERS: &str = "OTEL_BLRP_";
    if !name.starts_with("OTEL_") || name.starts_with(OTHERS) {
        return None;
    }
    values::nearest_within(LETTERS, name, known)
}

/// Kubernetes sets `FARSPAN_SERVICE_HOST`, `FARSPAN_PORT_9464_TCP` and the like where a service is named farspan.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let has_port_number = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|char: char| char.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && is_url
        || has_port_number
}

fn unknown(what: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("no such {what}; did you mean '{meant}'?"),
        None => format!("no such {what}; see 'farspan help settings'"),
    }
}

/// A path that has no place in a text stays as it is.
pub(super) fn absolute(path: &str) -> String {
    let absolute = files::absolute(path::Path::new(path)).into_os_string();
    absolute.into_string().unwrap_or_else(|_| path.to_owned())
}

fn default(name: &str) -> Option<FoundValue> {
    let text = setting(name).default;
    (!text.is_empty()).then(|| FoundValue {
        text: text.to_owned(),
        origin: ValueOrigin::Default,
    })
}
