//! What a key cache notes of each slot: rows of words, one or two lines of the processor's cache each, in a table that
//! Python keeps.

use std::cell::Cell;

use crate::prefetch;

/// What a row of any table begins with, numbers of half a word: how many batches hold the slot, and how often it was used.
const PINS: usize = 0;
const USES: usize = 1;
/// Words of a line of the processor's cache.
const LINE: usize = 8;
/// Uses are counted up to here.
const OFTEN: i32 = 3;

/// One slot's row of `W` words of 64 bits.
pub struct Row<'t, const W: usize>(&'t [Cell<i64>; W]);

impl<const W: usize> Row<'_, W> {
    #[inline]
    pub fn int(&self, word: usize) -> i64 {
        self.0[word].get()
    }

    #[inline]
    pub fn float(&self, word: usize) -> f64 {
        f64::from_bits(self.int(word) as u64)
    }

    #[inline]
    pub fn bytes(&self, word: usize) -> [u8; 8] {
        self.int(word).to_ne_bytes()
    }

    #[inline]
    pub fn set(&self, word: usize, value: i64) {
        self.0[word].set(value);
    }

    #[inline]
    pub fn set_float(&self, word: usize, value: f64) {
        self.set(word, value.to_bits() as i64);
    }

    #[inline]
    pub fn add(&self, word: usize, count: i64) {
        self.set(word, self.int(word).wrapping_add(count));
    }

    #[inline]
    fn halves(&self, place: usize) -> [[u8; 4]; 2] {
        let [a, b, c, d, e, f, g, h] = self.bytes(place / 2);
        [[a, b, c, d], [e, f, g, h]]
    }

    /// A number of half a word.
    #[inline]
    pub fn short(&self, place: usize) -> i32 {
        i32::from_ne_bytes(self.halves(place)[place % 2])
    }

    #[inline]
    pub fn single(&self, place: usize) -> f64 {
        f64::from(f32::from_ne_bytes(self.halves(place)[place % 2]))
    }

    #[inline]
    pub fn set_half(&self, place: usize, half: [u8; 4]) {
        let mut halves = self.halves(place);
        halves[place % 2] = half;
        let [[a, b, c, d], [e, f, g, h]] = halves;
        self.set(place / 2, i64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }

    /// Counts a use.
    #[inline]
    pub fn note(&self) {
        self.set_half(USES, (self.short(USES) + 1).min(OFTEN).to_ne_bytes());
    }

    /// Has so many batches more hold the slot.
    #[inline]
    pub fn pin(&self, count: i32) {
        self.set_half(PINS, (self.short(PINS) + count).to_ne_bytes());
    }
}

/// The rows of a cache.
pub struct Table<'t, const W: usize>(pub &'t [Cell<i64>]);

/// A slot that is not in the table.
#[derive(Debug, PartialEq, Eq)]
pub struct NoSlot;

impl<'t, const W: usize> Table<'t, W> {
    #[inline]
    pub fn row(&self, slot: i64) -> Result<Row<'t, W>, NoSlot> {
        let at = usize::try_from(slot).map_err(|_| NoSlot)?.checked_mul(W).ok_or(NoSlot)?;
        self.0.get(at..).and_then(|rest| rest.first_chunk()).map(Row).ok_or(NoSlot)
    }

    /// The slots again, with their rows on the way: none reaches into another line than its own.
    pub fn fetched<'a, I: Iterator<Item = i64> + Clone>(&'a self, slots: I) -> impl Iterator<Item = i64> + use<'a, 't, I, W> {
        prefetch::ahead(slots, |slot| {
            if let Ok(row) = self.row(slot) {
                prefetch::fetch(row.0);
            }
        })
    }

    /// The same with the first line alone of each row.
    pub fn begun<'a, I: Iterator<Item = i64> + Clone>(&'a self, slots: I) -> impl Iterator<Item = i64> + use<'a, 't, I, W> {
        prefetch::ahead(slots, |slot| {
            if let Some(words) = self.row(slot).ok().and_then(|row| row.0.first_chunk::<LINE>()) {
                prefetch::fetch(words);
            }
        })
    }

    /// Lets go of what a batch pinned.
    pub fn end(&self, slots: impl Iterator<Item = i64> + Clone) -> Result<(), NoSlot> {
        for slot in self.begun(slots) {
            self.row(slot)?.pin(-1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_beyond_the_table_is_refused() {
        let words: Vec<Cell<i64>> = (0..8).map(|_| Cell::new(0)).collect();
        let table = Table::<4>(&words);
        assert_eq!((table.end([0, 1, 1].into_iter()), table.row(1).map(|row| row.short(PINS))), (Ok(()), Ok(-2)));
        for slot in [2, -1, i64::MAX] {
            assert_eq!(table.end([slot].into_iter()), Err(NoSlot));
        }
    }

    #[test]
    fn halves_of_a_word_are_apart() {
        let words: Vec<Cell<i64>> = (0..4).map(|_| Cell::new(0)).collect();
        let row = Table::<4>(&words).row(0).unwrap();
        (0..9).for_each(|_| row.note());
        row.pin(5);
        row.set_half(5, 1.5f32.to_ne_bytes());
        row.set_float(3, -0.25);
        row.add(3, 0);
        assert_eq!((row.short(PINS), row.short(USES), row.single(5), row.single(4), row.float(3)), (5, OFTEN, 1.5, 0.0, -0.25));
    }
}
