//! Passes over the leases of a batch. The readable twin is `worker/zerokms/keys/passes.py`.
//!
//! A lease is 8 words of 64 bits, one line of the processor's cache, in a table that the twin keeps.

use crate::table::{NoSlot, Row, Table};

pub const WORDS: usize = 8;
const SEEN: usize = 1;
const BORN: usize = 3;
const VALUES: usize = 4;
const BYTES: usize = 5;
const FLAGS: usize = 7;
/// Numbers of half a word, by their place.
const GAP: usize = 4;
const RENEW: usize = 5;
const KEY: usize = 12;
const HELD: usize = 0;
const USED: usize = 1;
const FOLLOWED: usize = 2;
const ASKED: usize = 3;
const RARELY: f64 = 1e9;
/// What a lease is: usable, there or with one to follow, under way.
const FRESH: u8 = 1;
const HOLDS: u8 = 2;
const IS_ASKED: u8 = 4;

/// The leases of a cache, and one of them.
pub type Leases<'t> = Table<'t, WORDS>;
type Lease<'t> = Row<'t, WORDS>;

impl Lease<'_> {
    #[inline]
    fn flag(&self, flag: usize) -> bool {
        self.bytes(FLAGS)[flag] != 0
    }

    #[inline]
    fn set_used(&self) {
        let mut flags = self.bytes(FLAGS);
        flags[USED] = 1;
        self.set(FLAGS, i64::from_ne_bytes(flags));
    }

    #[inline]
    fn is_aged(&self, now: f64, max_age_s: f64) -> bool {
        if max_age_s > 0.0 { now - self.float(BORN) >= max_age_s } else { self.flag(USED) }
    }

    #[inline]
    fn is_fresh(&self, now: f64, max_age_s: f64) -> bool {
        !self.is_aged(now, max_age_s) && self.int(VALUES) > 0 && self.int(BYTES) > 0
    }

    /// Takes values and bytes off it where it is fresh and has room for all; tells whether it had.
    #[inline]
    fn take(&self, fresh: bool, values: i64, bytes: i64) -> bool {
        let fits = fresh && self.int(VALUES) >= values && self.int(BYTES) >= bytes;
        if fits {
            self.set(VALUES, self.int(VALUES) - values);
            self.set(BYTES, self.int(BYTES) - bytes);
            self.set_used();
        }
        fits
    }

    #[inline]
    fn is_near(&self, due: &Ahead) -> bool {
        due.now - self.float(BORN) > self.single(RENEW)
            || (self.int(VALUES) as f64) < due.values
            || (self.int(BYTES) as f64) < due.bytes
    }
}

/// When the next lease of a context is due.
pub struct Ahead {
    pub now: f64,
    pub max_age_s: f64,
    /// The longest gap of a context that will surely use it.
    pub gap: f64,
    /// Values and bytes that a lease has left when the next one is due.
    pub values: f64,
    pub bytes: f64,
}

/// What a batch's leases are like at its begin.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Whether all of them can be used, however much room they have.
    pub fresh: bool,
    /// Whether one is near its end.
    pub near: bool,
    /// For each a byte: whether it had room for all that is wanted of it.
    pub whole: Vec<u8>,
}

impl Leases<'_> {
    /// Notes the use of leases by a batch and takes what is wanted, a slot, values and bytes, off those that have room for
    /// all; tells each one's key. The others are pinned, or all where leases have no age.
    pub fn begin(
        &self,
        wanted: impl ExactSizeIterator<Item = (i64, i64, i64)> + Clone,
        due: &Ahead,
        mut told: impl FnMut(i32),
    ) -> Result<Begun, NoSlot> {
        let mut begun = Begun { fresh: true, near: false, whole: Vec::with_capacity(wanted.len()) };
        let slots = self.fetched(wanted.clone().map(|(slot, ..)| slot));
        for (slot, (_, values, bytes)) in slots.zip(wanted) {
            let lease = self.row(slot)?;
            let (gap, known) = (due.now - lease.float(SEEN), lease.single(GAP));
            let gap = if known >= RARELY { gap } else { known + 0.3 * (gap - known) };
            lease.set_half(GAP, (gap as f32).to_ne_bytes());
            lease.set_float(SEEN, due.now);
            lease.note();
            let fresh = lease.is_fresh(due.now, due.max_age_s);
            begun.fresh &= fresh;
            begun.near |= lease.is_near(due);
            let fits = lease.take(fresh, values, bytes);
            begun.whole.push(u8::from(fits));
            if fits {
                told(lease.short(KEY));
            }
            if !fits || due.max_age_s <= 0.0 {
                lease.pin(1);
            }
        }
        Ok(begun)
    }

    /// For each slot a byte, what its lease is.
    pub fn states(&self, slots: impl Iterator<Item = i64> + Clone, now: f64, max_age_s: f64) -> Result<Vec<u8>, NoSlot> {
        let mut states = Vec::with_capacity(slots.size_hint().0);
        for slot in self.fetched(slots) {
            let lease = self.row(slot)?;
            let fresh = if lease.is_fresh(now, max_age_s) { FRESH } else { 0 };
            let holds = if lease.flag(HELD) || lease.flag(FOLLOWED) { HOLDS } else { 0 };
            let asked = if lease.flag(ASKED) { IS_ASKED } else { 0 };
            states.push(fresh | holds | asked);
        }
        Ok(states)
    }

    /// Takes values and bytes off those leases that have room for all; tells each one's key, and returns a byte for each:
    /// whether it had.
    pub fn take(
        &self,
        wanted: impl Iterator<Item = (i64, i64, i64)> + Clone,
        now: f64,
        max_age_s: f64,
        mut told: impl FnMut(i32),
    ) -> Result<Vec<u8>, NoSlot> {
        let mut whole = Vec::with_capacity(wanted.size_hint().0);
        let slots = self.fetched(wanted.clone().map(|(slot, ..)| slot));
        for (slot, (_, values, bytes)) in slots.zip(wanted) {
            let lease = self.row(slot)?;
            let fits = lease.take(lease.is_fresh(now, max_age_s), values, bytes);
            whole.push(u8::from(fits));
            if fits {
                told(lease.short(KEY));
            }
        }
        Ok(whole)
    }

    /// Those of the slots whose next lease should be fetched now.
    pub fn ahead(&self, slots: impl Iterator<Item = i64>, due: &Ahead) -> Result<Vec<i64>, NoSlot> {
        let mut found = Vec::new();
        for slot in slots {
            let lease = self.row(slot)?;
            if lease.is_near(due)
                && lease.flag(HELD)
                && !lease.is_aged(due.now, due.max_age_s)
                && lease.single(GAP) <= due.gap
                && !lease.flag(ASKED)
                && !lease.flag(FOLLOWED)
            {
                found.push(slot);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_lease_without_room_is_pinned() {
        let words: Vec<Cell<i64>> = (0..WORDS).map(|_| Cell::new(0)).collect();
        let table: Leases<'_> = Table(&words);
        let due = Ahead { now: 0.0, max_age_s: 1.0, gap: 1.0, values: 1.0, bytes: 1.0 };
        let begun = table.begin([(0, 1, 1), (0, 1, 1)].into_iter(), &due, |_| ());
        assert_eq!(begun, Ok(Begun { fresh: false, near: true, whole: vec![0, 0] }));
        assert_eq!(table.row(0).map(|lease| lease.short(0)), Ok(2));
        assert_eq!(table.ahead([1].into_iter(), &due), Err(NoSlot));
    }
}
