//! Texts that many workflows have in common, such as the names of their stages and their statuses: each is in memory once.
//!
//! Only the texts that were shared last are known here. One that was forgotten is in memory twice, no more.

use super::limits;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct SharedTexts {
    /// A text has one set that it can be in, by its hash.
    sets: Box<[Set]>,
    hasher: RandomState,
}

/// The text that was shared last comes first.
type Set = [Option<Arc<str>>; SET_TEXTS];

/// Of several, because two texts that are often shared may have one set.
const SET_TEXTS: usize = 8;
const SETS: usize = limits::SHARED_TEXTS_MAX / SET_TEXTS;

const _: () = assert!(SETS * SET_TEXTS == limits::SHARED_TEXTS_MAX && SETS.is_power_of_two());

impl Default for SharedTexts {
    fn default() -> Self {
        SharedTexts {
            sets: (0..SETS).map(|_| Set::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl SharedTexts {
    /// Replaces a text by the same text that others have. One that is shared already stays as it is.
    pub(super) fn share(&mut self, text: &mut Arc<str>) {
        if Arc::strong_count(text) > 1 || text.len() > limits::NAME_BYTES_MAX {
            return;
        }
        let hash = self.hasher.hash_one(&**text) as usize;
        let set = &mut self.sets[hash % SETS];
        let known = set.iter().position(|known| known.as_ref() == Some(text));
        set[..=known.unwrap_or(SET_TEXTS - 1)].rotate_right(1);
        match (known, &set[0]) {
            (Some(_), Some(known)) => *text = known.clone(),
            _ => set[0] = Some(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(texts: &mut SharedTexts, text: &str) -> Arc<str> {
        let mut text = text.into();
        texts.share(&mut text);
        text
    }

    #[test]
    fn the_same_text_is_in_memory_once() {
        let mut texts = SharedTexts::default();
        let first = shared(&mut texts, "Processing");
        let other = shared(&mut texts, "Completed");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&shared(&mut texts, "Processing"), &first));
            assert!(Arc::ptr_eq(&shared(&mut texts, "Completed"), &other));
        }
        assert_eq!((&*first, &*other), ("Processing", "Completed"));
    }

    #[test]
    fn texts_that_come_once_do_not_replace_one_that_comes_often() {
        let mut texts = SharedTexts::default();
        let often = shared(&mut texts, "Processing");
        for number in 0..100 * limits::SHARED_TEXTS_MAX {
            shared(&mut texts, &format!("{number}"));
            assert!(Arc::ptr_eq(&shared(&mut texts, "Processing"), &often));
        }
    }

    #[test]
    fn it_keeps_no_more_than_it_may() {
        let mut texts = SharedTexts::default();
        let all: Vec<Arc<str>> = (0..10 * limits::SHARED_TEXTS_MAX)
            .map(|number| shared(&mut texts, &format!("{number}")))
            .collect();
        let kept = all.iter().filter(|text| Arc::strong_count(text) > 1);
        assert_eq!(kept.count(), limits::SHARED_TEXTS_MAX);
        let long = shared(&mut texts, &"x".repeat(limits::NAME_BYTES_MAX + 1));
        assert_eq!(Arc::strong_count(&long), 1);
    }
}
