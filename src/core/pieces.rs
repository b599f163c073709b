//! A list that grows by pieces of a fixed size.
//!
//! A `Vec` that doubles takes three times its content while it moves. This list takes little more than its content, also
//! for the ten thousand stages of one answer.

use std::iter::{Chain, Flatten};
use std::num::NonZeroU32;
use std::{ops, vec};

/// Elements of a piece. The first piece grows as a `Vec` does, because most lists are short.
const PIECE: usize = 512;

/// The list.
#[derive(Clone, Debug, PartialEq)]
pub struct Pieces<T> {
    first: Vec<T>,
    /// All are full but the last. There are none before `first` is full.
    more: Vec<Vec<T>>,
}

/// An index into a list or a text. An `Option` of it takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(NonZeroU32);

impl Index {
    /// The largest index: 32 bits count no further.
    pub const MAX: usize = u32::MAX as usize - 1;

    /// The index 0.
    pub const FIRST: Index = Index(NonZeroU32::MIN);

    /// `index`, or [`MAX`](Self::MAX) where it is larger.
    pub fn of(index: usize) -> Self {
        Index(Self::FIRST.0.saturating_add(index.min(Self::MAX) as u32))
    }

    /// The index as a number.
    pub fn get(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Pieces {
            first: Vec::new(),
            more: Vec::new(),
        }
    }
}

impl<T> Pieces<T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &*self.more {
            [] => self.first.len(),
            [full @ .., last] => (1 + full.len()) * PIECE + last.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Appends an element.
    pub fn push(&mut self, element: T) {
        let last = self.more.last_mut().unwrap_or(&mut self.first);
        if last.len() < PIECE {
            last.push(element);
        } else {
            let mut piece = Vec::with_capacity(PIECE);
            piece.push(element);
            self.more.push(piece);
        }
    }

    /// Keeps the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.first.truncate(len);
        let left = len.saturating_sub(PIECE);
        self.more.truncate(left.div_ceil(PIECE));
        if left < self.more.len() * PIECE
            && let Some(last) = self.more.last_mut()
        {
            last.truncate(left % PIECE);
        }
    }

    /// The elements in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.more.iter().flatten())
    }
}

impl<T> IntoIterator for Pieces<T> {
    type Item = T;
    type IntoIter = Chain<vec::IntoIter<T>, Flatten<vec::IntoIter<Vec<T>>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first
            .into_iter()
            .chain(self.more.into_iter().flatten())
    }
}

impl<T> ops::Index<usize> for Pieces<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        let piece = match place / PIECE {
            0 => &self.first,
            number => &self.more[number - 1],
        };
        &piece[place % PIECE]
    }
}

impl<T> ops::IndexMut<usize> for Pieces<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        let piece = match place / PIECE {
            0 => &mut self.first,
            number => &mut self.more[number - 1],
        };
        &mut piece[place % PIECE]
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
