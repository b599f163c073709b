//! A mistake in the configuration, and its place.

use crate::text::shown;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// `farspan.json: poll.interval: '5' has no unit; ..`
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Gathers mistakes, so that all of them are reported at once.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Adds a mistake.
    pub fn add(&self, place: Place, what: impl fmt::Display) {
        let what = what.to_string();
        self.0.borrow_mut().push(Mistake { place, what });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Takes out those that were added after the first `count`.
    pub fn split_off(&self, count: usize) -> Vec<Mistake> {
        self.0.borrow_mut().split_off(count)
    }

    /// Adds these.
    pub fn extend(&self, mistakes: impl IntoIterator<Item = Mistake>) {
        self.0.borrow_mut().extend(mistakes);
    }

    /// All of them, in the order in which they were added.
    pub fn into_vec(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// A place in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What the path begins in.
    pub within: Within,
    /// The keys and indices on the way from there.
    pub path: Path,
}

/// What a [`Place`] is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// A definition that is read by itself.
    #[default]
    Definition,
    /// A variable of the environment, an option or a file, by its name.
    Named(Arc<str>),
    /// The configuration file, by its name.
    File(Arc<str>),
    /// A monitor of the configuration file; of no file: the one that farspan adds where the file has none.
    Monitor {
        /// The file's name.
        file: Option<Arc<str>>,
        /// The monitor's index in the file.
        index: usize,
        /// The monitor's name, where it has a valid one.
        name: Option<Arc<str>>,
    },
}

impl Place {
    /// A variable, an option or a file.
    pub fn named(name: impl Into<Arc<str>>) -> Place {
        Place {
            within: Within::Named(name.into()),
            path: Path::default(),
        }
    }

    /// In the configuration file of this name.
    pub fn in_file(name: impl Into<Arc<str>>, path: Path) -> Place {
        Place {
            within: Within::File(name.into()),
            path,
        }
    }

    /// A member of what is at this place.
    pub fn key(&self, key: &str) -> Place {
        self.join(&Path::of(&[key]))
    }

    /// An element of what is at this place.
    pub fn index(&self, index: usize) -> Place {
        self.join(&Path::default().at(index))
    }

    /// The place at the end of `path`, which begins here.
    pub fn join(&self, path: &Path) -> Place {
        Place {
            within: self.within.clone(),
            path: self.path.join(path),
        }
    }

    /// The monitor that it is in, without the file: `monitors[0] (airflow)`.
    pub fn monitor(&self) -> String {
        let mut title = String::new();
        if let Within::Monitor { index, name, .. } = &self.within {
            title = format!("monitors[{index}]");
            if let Some(name) = name {
                title.extend([" (", name, ")"]);
            }
        }
        title
    }
}

/// `farspan.json: monitors[0] (airflow).stages[1].list`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.within {
            Within::Definition => {}
            Within::Named(name) => f.write_str(name)?,
            Within::File(name) if self.path.is_empty() => f.write_str(name)?,
            Within::File(name) => write!(f, "{name}: ")?,
            Within::Monitor { file, .. } => {
                if let Some(file) = file {
                    write!(f, "{file}: ")?;
                }
                f.write_str(&self.monitor())?;
                if !self.path.is_empty() {
                    f.write_str(".")?;
                }
            }
        }
        self.path.fmt(f)
    }
}

/// Keys and indices, the outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<KeyOrIndex>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum KeyOrIndex {
    Key(Box<str>),
    Index(usize),
}

impl Path {
    /// The path of these keys.
    pub fn of(keys: &[&str]) -> Path {
        Path(
            keys.iter()
                .map(|key| KeyOrIndex::Key((*key).into()))
                .collect(),
        )
    }

    /// One step further, to a member.
    #[must_use]
    pub fn then(&self, key: &str) -> Path {
        let mut path = self.clone();
        path.0.push(KeyOrIndex::Key(key.into()));
        path
    }

    /// One step further, to an element.
    #[must_use]
    pub fn at(&self, index: usize) -> Path {
        let mut path = self.clone();
        path.0.push(KeyOrIndex::Index(index));
        path
    }

    /// `other` from the end of this one.
    pub fn join(&self, other: &Path) -> Path {
        Path(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Whether it has no step.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the two is the other one or leads into it.
    pub fn is_along(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

/// `stages[1].list`
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                KeyOrIndex::Index(index) => write!(f, "[{index}]")?,
                KeyOrIndex::Key(key) if number == 0 => f.write_str(&shown(key))?,
                KeyOrIndex::Key(key) => write!(f, ".{}", shown(key))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_people_read_them() {
        let path = Path::of(&["stages"]).at(1).then("attributes").then("a\nb");
        let monitor = |file: Option<&str>, name: Option<&str>| Place {
            within: Within::Monitor {
                file: file.map(Into::into),
                index: 0,
                name: name.map(Into::into),
            },
            path: path.clone(),
        };
        for (place, expected) in [
            (Place::named("FARSPAN_LOG"), "FARSPAN_LOG"),
            (
                Place::in_file("farspan.json", Path::default()),
                "farspan.json",
            ),
            (
                Place::in_file("farspan.json", Path::of(&["poll", "interval"])),
                "farspan.json: poll.interval",
            ),
            (
                monitor(Some("f.json"), Some("spark")),
                "f.json: monitors[0] (spark).stages[1].attributes.a\\nb",
            ),
            (
                monitor(None, None),
                "monitors[0].stages[1].attributes.a\\nb",
            ),
            (Place::default().join(&path), "stages[1].attributes.a\\nb"),
        ] {
            assert_eq!(place.to_string(), expected);
        }
    }

    #[test]
    fn a_path_is_along_what_it_leads_into() {
        let path = |keys: &[&str]| Path::of(keys);
        assert!(path(&["a", "b"]).is_along(&path(&["a"])));
        assert!(path(&["a"]).is_along(&path(&["a", "b"])));
        assert!(!path(&["a", "b"]).is_along(&path(&["a", "c"])));
        assert!(!path(&["ab"]).is_along(&path(&["a"])));
        assert!(path(&[]).is_along(&path(&["a"])));
    }
}
