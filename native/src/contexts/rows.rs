//! The rows of a batch's contexts in a cache's directory.

use super::{Contexts, Directory, NONE};
use crate::prefetch::AHEAD;

/// Of the directory with this id, good as long as no more contexts have gone from it.
#[derive(Default)]
pub struct Rows {
    directory: u64,
    gone: u64,
    pub rows: Vec<u32>,
}

impl Rows {
    /// Looks those up that were not found before.
    pub fn look_up(&mut self, id: u64, directory: &Directory, contexts: &Contexts) {
        if self.rows.len() != contexts.len() || (self.directory, self.gone) != (id, directory.gone()) {
            self.rows.clear();
            self.rows.resize(contexts.len(), NONE);
            (self.directory, self.gone) = (id, directory.gone());
        }
        if !self.rows.contains(&NONE) {
            return;
        }
        // In two passes, each of which waits for the memory of many contexts at once.
        for (number, row) in (0..).zip(&mut self.rows).filter(|(_, row)| **row == NONE) {
            *row = directory.likely(contexts.hash(number));
        }
        for number in 0..self.rows.len() {
            if let Some(&row) = self.rows.get(number + AHEAD) {
                directory.soon(row);
            }
            let (row, number) = (&mut self.rows[number], number as u32);
            *row = directory.confirmed(*row, contexts.framed(number), contexts.hash(number));
        }
    }
}
