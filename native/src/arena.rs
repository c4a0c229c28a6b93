//! Secrets of one size that many may read at once, and that are overwritten when they are given up and nobody reads them.
//!
//! Nothing moves, so that whoever was lent some of them reads them where they lie, without a lock and without a copy.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use zeroize::Zeroize;

use crate::slab;

/// Places of the first block; each later block has as many as all before it.
const FIRST: u32 = 64;
/// Blocks, with as many places as 32 bits can number.
const BLOCKS: usize = 26;
/// The note of a place whose value has been given up.
const GONE: u32 = u32::MAX;

type Block<T> = Box<[UnsafeCell<T>]>;

/// Values by numbers that are used again, each with a note of its owner's.
pub struct Arena<T: Zeroize> {
    blocks: [OnceLock<Block<T>>; BLOCKS],
    state: Mutex<State>,
}

// SAFETY: a place is written to under the lock alone, and only while no reader was lent it; see `Lent::get`.
unsafe impl<T: Zeroize + Send + Sync> Sync for Arena<T> {}

#[derive(Default)]
struct State {
    notes: Vec<u32>,
    free: Vec<u32>,
    /// Given up, each with the last reader that may have been lent it.
    leaving: VecDeque<(u64, u32)>,
    /// Who reads, in the order in which they began.
    readers: VecDeque<u64>,
    last: u64,
}

/// The block of a place, and the place within it.
#[inline]
fn at(number: u32) -> (usize, usize) {
    let from_first = u64::from(number) + u64::from(FIRST);
    let block = from_first.ilog2() - FIRST.ilog2();
    (block as usize, (from_first - (u64::from(FIRST) << block)) as usize)
}

impl<T: Zeroize + Copy + Default> Arena<T> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { blocks: [const { OnceLock::new() }; BLOCKS], state: Mutex::default() })
    }

    /// Takes a value over; returns its number. A note is less than `u32::MAX`.
    pub fn put(&self, value: &T, note: u32) -> u32 {
        let mut state = self.held();
        let State { notes, free, .. } = &mut *state;
        let number = slab::put(notes, free, note);
        let (size, place) = at(number);
        let block = self.blocks[size].get_or_init(|| (0..u64::from(FIRST) << size).map(|_| UnsafeCell::default()).collect());
        // SAFETY: the lock is held, and the place was never lent, or all to whom it was are gone.
        unsafe { *block[place].get() = *value };
        number
    }

    /// Gives a value up: it is overwritten when nobody is left who was lent it. Returns its note.
    pub fn free(&self, number: u32) -> Option<u32> {
        let mut state = self.held();
        let note = state.notes.get_mut(number as usize).filter(|note| **note != GONE)?;
        let note = std::mem::replace(note, GONE);
        let last = state.last;
        state.leaving.push_back((last, number));
        self.settle(&mut state);
        Some(note)
    }

    /// Lends values for as long as the loan is held, and tells each one's note; `None` where there is none of a number.
    pub fn lend(self: &Arc<Self>, numbers: Vec<u32>, mut told: impl FnMut(u32)) -> Option<Lent<T>> {
        let mut state = self.held();
        for &number in &numbers {
            told(*state.notes.get(number as usize).filter(|note| **note != GONE)?);
        }
        state.last += 1;
        let reader = state.last;
        state.readers.push_back(reader);
        Some(Lent { arena: Arc::clone(self), numbers, reader })
    }
}

impl<T: Zeroize> Arena<T> {
    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, state: &mut State) {
        let oldest = state.readers.front().copied().unwrap_or(u64::MAX);
        while let Some(&(_, number)) = state.leaving.front().filter(|(last, _)| *last < oldest) {
            state.leaving.pop_front();
            let (block, place) = at(number);
            if let Some(block) = self.blocks[block].get() {
                // SAFETY: the lock is held, and whoever was lent the place began before it was given up, and is gone.
                unsafe { (*block[place].get()).zeroize() };
            }
            state.free.push(number);
        }
    }
}

impl<T: Zeroize> Drop for Arena<T> {
    fn drop(&mut self) {
        for block in self.blocks.iter_mut().filter_map(OnceLock::get_mut) {
            block.iter_mut().for_each(|place| place.get_mut().zeroize());
        }
    }
}

/// Values that stay as they are for as long as this is held, by their place in what was asked for.
pub struct Lent<T: Zeroize> {
    arena: Arc<Arena<T>>,
    numbers: Vec<u32>,
    reader: u64,
}

impl<T: Zeroize> Lent<T> {
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        let (block, place) = at(*self.numbers.get(index)?);
        let place = self.arena.blocks.get(block)?.get()?.get(place)?;
        // SAFETY: it was there when this loan began, and is written to no sooner than when this and every earlier one have
        // ended.
        Some(unsafe { &*place.get() })
    }
}

impl<T: Zeroize> Drop for Lent<T> {
    fn drop(&mut self) {
        let mut state = self.arena.held();
        let reader = self.reader;
        state.readers.retain(|other| *other != reader);
        self.arena.settle(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_fill_blocks() {
        let mut next = (0, 0);
        for number in 0..5 * FIRST {
            assert_eq!(at(number), next);
            next = if next.1 + 1 == (FIRST as usize) << next.0 { (next.0 + 1, 0) } else { (next.0, next.1 + 1) };
        }
        assert_eq!(at(u32::MAX - FIRST).0, BLOCKS - 1);
    }

    #[test]
    fn what_is_lent_is_overwritten_after_the_last_who_has_it() {
        let arena = Arena::new();
        let numbers: Vec<u32> = (0..200u64).map(|n| arena.put(&n, n as u32)).collect();
        let mut notes = Vec::new();
        let early = arena.lend(numbers, |note| notes.push(note)).unwrap();
        assert_eq!(notes, (0..200).collect::<Vec<_>>());
        let other = arena.lend(vec![8], |_| ()).unwrap();
        assert_eq!((arena.free(7), arena.free(7), arena.free(200)), (Some(7), None, None));
        assert!(arena.lend(vec![6, 7], |_| ()).is_none());
        let later = arena.lend(vec![199, 6], |_| ()).unwrap();
        assert_eq!(arena.put(&1000, 0), 200);
        assert_eq!((early.get(7), early.get(199), early.get(200)), (Some(&7), Some(&199), None));
        drop(early);
        assert_eq!(arena.put(&1001, 0), 201);
        drop(other);
        assert_eq!(arena.lend(vec![7], |_| ()).map(|_| ()), None);
        // SAFETY: nobody writes to it.
        assert_eq!(unsafe { *arena.blocks[0].get().unwrap()[7].get() }, 0);
        assert_eq!(arena.put(&1002, 0), 7);
        assert_eq!((later.get(0), later.get(1), later.len()), (Some(&199), Some(&6), 2));
    }
}
