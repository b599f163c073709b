//! The cargo features that farspan can be built with, and how a message names one that this build lacks.

/// A cargo feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Redis as a source, a receiver and a state.
    Redis,
    /// TLS.
    Tls,
    /// The state file.
    File,
    /// The admin endpoint, and the commands that ask it.
    Admin,
    /// The demo with its API and its load.
    Demo,
}

impl Feature {
    /// All of them, in the order of `Cargo.toml`.
    pub const ALL: [Feature; 5] = [
        Feature::Redis,
        Feature::Tls,
        Feature::File,
        Feature::Admin,
        Feature::Demo,
    ];

    /// Its name in `Cargo.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::Redis => "redis",
            Feature::Tls => "tls",
            Feature::File => "file",
            Feature::Admin => "admin",
            Feature::Demo => "demo",
        }
    }

    /// Whether this build has it.
    pub const fn is_built(self) -> bool {
        match self {
            Feature::Redis => cfg!(feature = "redis"),
            Feature::Tls => cfg!(feature = "tls"),
            Feature::File => cfg!(feature = "file"),
            Feature::Admin => cfg!(feature = "admin"),
            Feature::Demo => cfg!(feature = "demo"),
        }
    }
}

/// What to say of something that needs one of these features, as a text that follows its name; `None` where this build
/// has it. What needs no feature is always there.
pub fn missing(one_of: &[Feature]) -> Option<String> {
    if one_of.is_empty() || one_of.iter().any(|feature| feature.is_built()) {
        return None;
    }
    let names: Vec<String> = one_of
        .iter()
        .map(|feature| format!("'{}'", feature.name()))
        .collect();
    let s = if names.len() > 1 { "s" } else { "" };
    Some(format!(
        "is not in this build: it was made without the feature{s} {}",
        names.join(" and ")
    ))
}
