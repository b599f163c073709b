//! A list that grows by whole pieces.
//!
//! A `Vec` that doubles holds three times what it has to while it moves; ten thousand stages are read, held and passed on
//! with little more than they need.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// Elements of a piece. The first one grows as a `Vec` does, for most lists are short.
const PIECE: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pieces<T> {
    /// All are full but the last.
    pieces: Vec<Vec<T>>,
}

/// A place in a list or in a text. None at all takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonZeroU32);

impl Place {
    /// There are none beyond what 32 bits count.
    pub(crate) const MAX: usize = u32::MAX as usize - 1;

    pub(crate) const FIRST: Place = Place(NonZeroU32::MIN);

    pub(crate) fn of(place: usize) -> Self {
        Place(Self::FIRST.0.saturating_add(place.min(Self::MAX) as u32))
    }

    pub(crate) fn get(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Pieces { pieces: Vec::new() }
    }
}

impl<T> Pieces<T> {
    pub(crate) fn len(&self) -> usize {
        match &*self.pieces {
            [] => 0,
            [full @ .., last] => full.len() * PIECE + last.len(),
        }
    }

    pub(crate) fn push(&mut self, element: T) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(element),
            _ => {
                let capacity = if self.pieces.is_empty() { 0 } else { PIECE };
                let mut piece = Vec::with_capacity(capacity);
                piece.push(element);
                self.pieces.push(piece);
            }
        }
    }

    /// Keeps the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        self.pieces.truncate(len.div_ceil(PIECE));
        if let Some(last) = self.pieces.last_mut()
            && !len.is_multiple_of(PIECE)
        {
            last.truncate(len % PIECE);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = T> {
        self.pieces.into_iter().flatten()
    }
}

impl<T> Index<usize> for Pieces<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.pieces[place / PIECE][place % PIECE]
    }
}

impl<T> IndexMut<usize> for Pieces<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.pieces[place / PIECE][place % PIECE]
    }
}

impl<T> FromIterator<T> for Pieces<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut pieces = Pieces::default();
        elements
            .into_iter()
            .for_each(|element| pieces.push(element));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_list() {
        arbtest::arbtest(|u| {
            let (mut pieces, mut list) = (Pieces::default(), Vec::new());
            for _ in 0..u.int_in_range(0..=4)? {
                for _ in 0..u.int_in_range(0..=2 * PIECE)? {
                    pieces.push(list.len());
                    list.push(list.len());
                }
                let len = u.int_in_range(0..=list.len() + PIECE)?;
                if u.arbitrary()? {
                    pieces.truncate(len);
                    list.truncate(len);
                }
                assert_eq!(pieces.len(), list.len());
                assert!(pieces.iter().eq(&list));
                assert!((0..list.len()).all(|place| pieces[place] == list[place]));
                assert_eq!(pieces, list.iter().copied().collect());
            }
            Ok(())
        });
    }
}
