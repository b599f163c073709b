//! From the key of a workflow or a run to its slot.
//!
//! The keys themselves are in the table. A map would hold each of them a second time, and 100,000 workflows have
//! 200,000 of them: an entry takes 8 bytes here and 20 there.

use super::ids::RunKey;
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SlotIndex {
    entries: HashTable<Entry>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Of the key: the table of entries grows without a look at the keys.
    hash: u32,
    slot: u32,
}

impl SlotIndex {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a key that is not there yet.
    pub(super) fn insert(&mut self, key: RunKey, slot: u32) {
        let entry = Entry {
            hash: self.hash(key),
            slot,
        };
        let spread = |entry: &Entry| spread(entry.hash);
        (self.entries).insert_unique(spread(&entry), entry, spread);
    }

    /// The slot of a key. `is_it`: whether the key is that of the slot.
    pub(super) fn find(&self, key: RunKey, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(key);
        let is_it = |entry: &Entry| entry.hash == hash && is_it(entry.slot);
        Some(self.entries.find(spread(hash), is_it)?.slot)
    }

    /// Removes a key that has this slot.
    pub(super) fn remove(&mut self, key: RunKey, slot: u32) {
        let hash = self.hash(key);
        let of_slot = |entry: &Entry| entry.slot == slot;
        if let Ok(entry) = self.entries.find_entry(spread(hash), of_slot) {
            entry.remove();
        }
    }

    fn hash(&self, key: RunKey) -> u32 {
        self.hasher.hash_one(key) as u32
    }
}

/// To the 64 bits that the table of entries wants: it uses the highest and the lowest ones. The factor is that of Fibonacci
/// hashing.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_is_a_map_of_keys_that_stand_elsewhere() {
        let mut index = SlotIndex::default();
        let mut model: HashMap<RunKey, u32> = HashMap::new();
        let mut keys: HashMap<u32, RunKey> = HashMap::new();
        let key = |number: u32| RunKey::of("monitor", &format!("{}", number % 700));
        // A walk without pattern through all numbers below 2^16.
        for number in (0..20_000_u32).map(|n| n.wrapping_mul(40_503) % 65_536) {
            let key = key(number);
            let find = |index: &SlotIndex| index.find(key, |slot| keys.get(&slot) == Some(&key));
            assert_eq!(find(&index), model.get(&key).copied());
            if let Some(slot) = model.remove(&key) {
                index.remove(key, slot);
                keys.remove(&slot);
            } else {
                index.insert(key, number);
                model.insert(key, number);
                keys.insert(number, key);
            }
            assert_eq!(index.len(), model.len());
        }
        assert!(model.len() > 100);
    }

    #[test]
    fn one_slot_may_have_a_key_whose_hash_is_that_of_another() {
        let mut index = SlotIndex::default();
        let key = RunKey::of("monitor", "w");
        let same = Entry {
            hash: index.hash(key),
            slot: 7,
        };
        index.insert(key, 1);
        (index.entries).insert_unique(spread(same.hash), same, |entry| spread(entry.hash));
        assert_eq!(index.find(key, |slot| slot == 1), Some(1));
        index.remove(key, 1);
        assert_eq!(index.find(key, |slot| slot == 1), None);
        assert_eq!(index.len(), 1);
    }
}
