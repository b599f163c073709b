//! What a burst has made large gives its memory back after it: collections of the standard library never do so by
//! themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

/// A collection that can become smaller.
pub(super) trait GiveBack {
    /// Gives memory back if most of it is of no use any more. Call it after something was taken out: it looks at two numbers
    /// unless there is something to give back, and then moves what is left.
    fn give_back(&mut self);
}

/// Room for so many elements is always kept.
const KEPT: usize = 256;
/// At least one place of so many is used, or the rest is given back. There is more room left than is used, so that the
/// collection does not grow again at once.
const PLACES_PER_ELEMENT_MAX: usize = 8;

/// To what capacity a collection shrinks, if it does.
fn smaller(len: usize, capacity: usize) -> Option<usize> {
    let is_loose = capacity > 2 * KEPT && capacity / PLACES_PER_ELEMENT_MAX > len;
    is_loose.then(|| KEPT.max(2 * len))
}

impl<T> GiveBack for VecDeque<T> {
    fn give_back(&mut self) {
        if let Some(capacity) = smaller(self.len(), self.capacity()) {
            self.shrink_to(capacity);
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> GiveBack for HashMap<K, V, S> {
    fn give_back(&mut self) {
        if let Some(capacity) = smaller(self.len(), self.capacity()) {
            self.shrink_to(capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: usize = 100_000;

    #[test]
    fn after_a_burst_the_room_follows_what_is_left() {
        let mut queue: VecDeque<usize> = (0..BURST).collect();
        let mut map: HashMap<usize, usize> = (0..BURST).map(|n| (n, n)).collect();
        for number in 0..BURST {
            assert_eq!(queue.pop_front(), Some(number));
            map.remove(&number);
            queue.give_back();
            map.give_back();
            let left = BURST - number - 1;
            for capacity in [queue.capacity(), map.capacity()] {
                assert!(
                    capacity <= (PLACES_PER_ELEMENT_MAX * (left + 1)).max(4 * KEPT),
                    "{capacity} places for {left}"
                );
            }
        }
    }

    #[test]
    fn a_queue_that_is_filled_and_emptied_again_and_again_hardly_moves() {
        let mut queue = VecDeque::new();
        let mut moves = 0;
        for most in [KEPT, 10 * KEPT, 100 * KEPT] {
            for _ in 0..100 {
                queue.extend(0..most);
                for _ in 0..most {
                    queue.pop_front();
                    let before = queue.capacity();
                    queue.give_back();
                    moves += usize::from(queue.capacity() != before);
                }
            }
        }
        // A filling gives back in a few steps, each a fourth of the one before.
        assert!(moves <= 2 * 100 * 5, "{moves}");
    }
}
