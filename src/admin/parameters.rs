//! The parameters of a request: those of its query, and the one in its path.

use crate::http::server::HttpRequest;
use crate::syntax::text::{percent_decoded, shown};
use std::borrow::Cow;
use std::str::FromStr;

/// The parameters of a query. A later one of the same name beats an earlier one.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// A text that says which parameter is not UTF-8.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, String> {
        let query = request.query.as_deref().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| Some(percent_decoded(&text.replace('+', " "))?.into_owned());
            let wrong = || format!("the parameter {} is not percent-encoded UTF-8", shown(name));
            Ok((
                decode(name).ok_or_else(wrong)?,
                decode(value).ok_or_else(wrong)?,
            ))
        });
        Ok(Parameters(decoded.collect::<Result<_, String>>()?))
    }

    /// Its value; `None` if it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Its value as one of these words.
    ///
    /// # Errors
    /// A text that names the words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == value);
        let Some((_, meant)) = found else {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let (value, words) = (shown(value), words.join(", "));
            return Err(format!("{name}={value} is not known; it is one of {words}"));
        };
        Ok(Some(*meant))
    }

    /// Its value as a number of at most `most`.
    ///
    /// # Errors
    /// A text that names the numbers that would do.
    pub(super) fn number<T: FromStr + Ord + std::fmt::Display + Copy>(
        &self,
        name: &str,
        (least, most): (T, T),
    ) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.parse().ok();
        let number = number.filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| {
            let value = shown(value);
            format!("{name}={value} is not a whole number from {least} to {most}")
        })
    }
}

/// The last segment of a request's path, decoded. `None` if it is not UTF-8.
pub(super) fn last_segment(request: &HttpRequest) -> Option<String> {
    percent_decoded(request.path.rsplit('/').next()?).map(Cow::into_owned)
}
