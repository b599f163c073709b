//! `farspan refused`: what the collector or a receiver has refused for good.

use crate::config::{Config, StateConfig};
use crate::run;
use crate::syntax::text::escape;
use std::fmt::Write as _;

/// A line for each refusal, oldest first; with `whole` its JSON.
///
/// # Errors
/// Why they cannot be read.
pub fn shown(config: &Config, whole: bool) -> Result<String, String> {
    if config.state == StateConfig::None {
        let remedy = "set FARSPAN_STATE (state) to file or redis";
        return Err(format!("without a state nothing is kept: {remedy}"));
    }
    let mut text = String::new();
    for (place, refused) in run::refused_place(config)?.all()? {
        if whole {
            let json = serde_json::to_string(&refused).map_err(|e| e.to_string())?;
            let _ = writeln!(text, "{json}");
        } else {
            let (by, reason) = (escape(&refused.by), escape(&refused.reason));
            let (at, what) = (escape(&refused.at), escape(&refused.what));
            let _ = writeln!(text, "{at}  {by} refused {what}: {reason}  ({place})");
        }
    }
    if text.is_empty() && !whole {
        text.push_str("nothing was refused\n");
    }
    Ok(text)
}
