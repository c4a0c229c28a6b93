//! The contexts that a key cache holds.

use hashbrown::HashTable;

use super::NONE;
use crate::prefetch;
use crate::slab;

/// Families whose places lie in a context's row.
pub const NEAR: usize = 10;
/// The longest context that lies in its row.
const INLINE: usize = 64;

/// The places of contexts in a key cache: a row for each context, which has a place for each family (a field, say).
#[derive(Default)]
pub struct Directory {
    table: HashTable<Known>,
    rows: Vec<Row>,
    /// `rows` times `stride` places of the families beyond those in the row.
    far: Vec<u32>,
    stride: usize,
    /// The contexts that do not lie in their rows.
    bytes: Vec<u8>,
    /// Bytes of those that are gone.
    waste: usize,
    free: Vec<u32>,
    /// For each place its row and family.
    held: Vec<(u32, u32)>,
    gone: u64,
    changes: u64,
}

/// Tells contexts apart without a look at their rows, which are seldom near.
struct Known {
    tag: u32,
    row: u32,
}

/// Bits of a hash that the table itself does not compare.
fn tag(hash: u64) -> u32 {
    (hash >> 24) as u32
}

/// Two lines of the processor's cache. A place is `NONE` where a family does not hold the context.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Row {
    hash: u64,
    /// Where it lies in `bytes`, if it does.
    start: usize,
    length: u32,
    holders: u32,
    near: [u32; NEAR],
    text: [u8; INLINE],
}

impl Row {
    #[inline]
    fn framed<'r>(&'r self, bytes: &'r [u8]) -> &'r [u8] {
        let length = self.length as usize;
        self.text.get(..length).unwrap_or_else(|| &bytes[self.start..self.start + length])
    }

    /// How much of `bytes` it takes.
    fn outside(&self) -> usize {
        if self.length as usize > INLINE { self.length as usize } else { 0 }
    }
}

impl Directory {
    /// How many contexts have gone: row numbers are good as long as none has.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// How often a context was given a place, or lost one.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The row of a context, `NONE` where no family holds it.
    pub fn row(&self, framed: &[u8], hash: u64) -> u32 {
        let found = self.table.find(hash, |entry| entry.tag == tag(hash) && self.is(entry.row, framed, hash));
        found.map_or(NONE, |entry| entry.row)
    }

    /// A row that is almost surely the one with this hash, `NONE` where there is none; `confirmed` tells.
    #[inline]
    pub fn likely(&self, hash: u64) -> u32 {
        self.table.find(hash, |entry| entry.tag == tag(hash)).map_or(NONE, |entry| entry.row)
    }

    /// Lets the processor fetch a row.
    #[inline]
    pub fn soon(&self, row: u32) {
        if let Some(row) = self.rows.get(row as usize) {
            prefetch::fetch(row);
        }
    }

    /// The row of a context, which is likely to be this one.
    #[inline]
    pub fn confirmed(&self, likely: u32, framed: &[u8], hash: u64) -> u32 {
        if likely == NONE || self.is(likely, framed, hash) { likely } else { self.row(framed, hash) }
    }

    #[inline]
    fn is(&self, row: u32, framed: &[u8], hash: u64) -> bool {
        let row = &self.rows[row as usize];
        row.hash == hash && row.framed(&self.bytes) == framed
    }

    /// The place that a family has for a row, `NONE` for none.
    #[inline]
    pub fn place(&self, row: u32, family: u32) -> u32 {
        if row == NONE {
            return NONE;
        }
        let (row, family) = (row as usize, family as usize);
        match self.rows[row].near.get(family) {
            Some(place) => *place,
            None if family - NEAR < self.stride => self.far[row * self.stride + family - NEAR],
            None => NONE,
        }
    }

    /// A row's places of the first families.
    #[inline]
    pub fn near(&self, row: u32) -> [u32; NEAR] {
        self.rows.get(row as usize).map_or([NONE; NEAR], |row| row.near)
    }

    fn set(&mut self, row: u32, family: u32, place: u32) {
        self.changes += 1;
        let (row, family) = (row as usize, family as usize);
        match self.rows[row].near.get_mut(family) {
            Some(near) => *near = place,
            None => self.far[row * self.stride + family - NEAR] = place,
        }
    }

    /// Makes room for so many contexts at once, and not at each doubling.
    pub fn reserve(&mut self, count: usize) {
        let Self { rows, table, free, .. } = self;
        rows.reserve(count.saturating_sub(free.len()));
        table.reserve(count, |other| rows[other.row as usize].hash);
    }

    /// Gives a context a place; false where it has one.
    pub fn put(&mut self, framed: &[u8], hash: u64, family: u32, place: u32) -> bool {
        self.put_at(NONE, framed, hash, family, place)
    }

    /// The same of a context in a row, `NONE` where that is not known.
    pub fn put_at(&mut self, row: u32, framed: &[u8], hash: u64, family: u32, place: u32) -> bool {
        self.widen((family as usize + 1).saturating_sub(NEAR));
        let row = if row == NONE { self.row(framed, hash) } else { row };
        let row = if row == NONE { self.add(framed, hash) } else { row };
        if self.place(row, family) != NONE {
            return false;
        }
        self.set(row, family, place);
        self.rows[row as usize].holders += 1;
        if self.held.len() <= place as usize {
            self.held.resize(place as usize + 1, (NONE, NONE));
        }
        self.held[place as usize] = (row, family);
        true
    }

    /// Takes a place away from its context.
    pub fn remove(&mut self, place: u32) {
        let Some(held) = self.held.get_mut(place as usize) else { return };
        let (row, family) = std::mem::replace(held, (NONE, NONE));
        if row == NONE {
            return;
        }
        self.set(row, family, NONE);
        let held = &mut self.rows[row as usize];
        held.holders -= 1;
        if held.holders == 0 {
            if let Ok(entry) = self.table.find_entry(held.hash, |other| other.row == row) {
                entry.remove();
            }
            self.waste += held.outside();
            self.free.push(row);
            self.gone += 1;
            if self.waste > self.bytes.len() / 2 + 4096 {
                self.compact();
            }
        }
    }

    /// The hash of a place's context.
    pub fn hash_of(&self, place: u32) -> Option<u64> {
        Some(self.rows.get(self.held.get(place as usize)?.0 as usize)?.hash)
    }

    /// The framed context of a place.
    pub fn framed(&self, place: u32) -> Option<&[u8]> {
        Some(self.rows.get(self.held.get(place as usize)?.0 as usize)?.framed(&self.bytes))
    }

    fn add(&mut self, framed: &[u8], hash: u64) -> u32 {
        let (start, length) = (self.bytes.len(), framed.len() as u32);
        let mut row = Row { hash, start, length, holders: 0, near: [NONE; NEAR], text: [0; INLINE] };
        match row.text.get_mut(..framed.len()) {
            Some(text) => text.copy_from_slice(framed),
            None => self.bytes.extend_from_slice(framed),
        }
        let number = slab::put(&mut self.rows, &mut self.free, row);
        self.far.resize(self.rows.len() * self.stride, NONE);
        let rows = &self.rows;
        self.table.insert_unique(hash, Known { tag: tag(hash), row: number }, |other| rows[other.row as usize].hash);
        number
    }

    /// Makes room for so many families beyond those in the row.
    fn widen(&mut self, families: usize) {
        if families <= self.stride {
            return;
        }
        let stride = families.next_power_of_two();
        let mut far = vec![NONE; self.rows.len() * stride];
        for (new, old) in far.chunks_exact_mut(stride).zip(self.far.chunks_exact(self.stride.max(1))) {
            new[..old.len()].copy_from_slice(old);
        }
        (self.far, self.stride) = (far, stride);
    }

    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.waste);
        for row in self.rows.iter_mut().filter(|row| row.holders > 0 && row.outside() > 0) {
            let start = bytes.len();
            bytes.extend_from_slice(row.framed(&self.bytes));
            row.start = start;
        }
        (self.bytes, self.waste) = (bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::super::samples::framed;
    use super::*;

    #[test]
    fn places_come_and_go() {
        let mut directory = Directory::default();
        // Some of them too long for their rows.
        let framed_of = |round, n: u32| framed(&format!("tenant-{round}-{n:00$}", n as usize % 90));
        for round in 0..3u32 {
            for n in 0..2000u32 {
                let text = framed_of(round, n);
                assert!(directory.put(&text, hash(&text), n % 15, n));
                assert!(!directory.put(&text, hash(&text), n % 15, n));
            }
            for n in 0..2000u32 {
                let text = framed_of(round, n);
                let row = directory.row(&text, hash(&text));
                assert_eq!(directory.confirmed(directory.likely(hash(&text)), &text, hash(&text)), row);
                assert_eq!(directory.confirmed(row, &framed("another"), 0), NONE);
                assert_eq!(directory.place(row, n % 15), n);
                assert_eq!(directory.place(row, (n + 1) % 15), NONE);
                assert_eq!(directory.framed(n), Some(text.as_slice()));
                assert_eq!(directory.hash_of(n), Some(hash(&text)));
                directory.remove(n);
                directory.remove(n);
                assert_eq!(directory.row(&text, hash(&text)), NONE);
                assert_eq!((directory.framed(n), directory.hash_of(n)), (None, None));
            }
        }
        assert_eq!(directory.rows.len(), 2000);
        assert!(directory.bytes.len() < 200_000);
    }
}
