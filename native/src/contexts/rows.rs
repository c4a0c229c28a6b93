//! The rows of a batch's contexts in a cache's directory.

use super::directory::NEAR;
use super::{Contexts, Directory, NONE};
use crate::prefetch::AHEAD;

/// Of the directory with this id, good as long as no more contexts have gone from it.
#[derive(Default)]
pub struct Rows {
    directory: u64,
    gone: u64,
    changes: u64,
    rows: Vec<u32>,
    /// What the rows say of the first families, side by side: each family is asked for, and rows lie far from each other.
    near: Vec<[u32; NEAR]>,
}

impl Rows {
    /// Looks up those that were not found before, and what the directory has changed since.
    pub fn look_up(&mut self, id: u64, directory: &Directory, contexts: &Contexts) {
        let (is_same, changes) = ((self.directory, self.gone) == (id, directory.gone()), directory.changes());
        if self.rows.len() != contexts.len() || !is_same {
            self.rows.clear();
            self.rows.resize(contexts.len(), NONE);
            (self.directory, self.gone) = (id, directory.gone());
        } else if self.changes == changes {
            return;
        }
        self.changes = changes;
        // In two passes, each of which waits for the memory of many contexts at once.
        for (number, row) in (0..).zip(&mut self.rows).filter(|(_, row)| **row == NONE) {
            *row = directory.likely(contexts.hash(number));
        }
        self.near.clear();
        self.near.reserve(self.rows.len());
        for number in 0..self.rows.len() {
            if let Some(&row) = self.rows.get(number + AHEAD) {
                directory.soon(row);
            }
            let (row, number) = (&mut self.rows[number], number as u32);
            *row = directory.confirmed(*row, contexts.framed(number), contexts.hash(number));
            self.near.push(directory.near(*row));
        }
    }

    /// The row of a context by its number in the batch, `NONE` where it has none.
    #[inline]
    pub fn row(&self, number: u32) -> u32 {
        self.rows.get(number as usize).copied().unwrap_or(NONE)
    }

    /// The place that a family has for a context by its number in the batch, `NONE` for none.
    #[inline]
    pub fn place(&self, directory: &Directory, number: u32, family: u32) -> u32 {
        let Some(near) = self.near.get(number as usize) else { return NONE };
        match near.get(family as usize) {
            Some(place) => *place,
            None => directory.place(self.rows[number as usize], family),
        }
    }
}
