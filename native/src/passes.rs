//! Passes over the leases of a batch. The readable twin is `worker/zerokms/keys/passes.py`.
//!
//! A lease is 16 words of 64 bits in a table that the twin keeps; times are the bits of floats.

use std::cell::Cell;

pub const WORDS: usize = 16;
const PINS: usize = 0;
const USES: usize = 1;
const SEEN: usize = 2;
const GAP: usize = 3;
const BORN: usize = 4;
const RENEW: usize = 5;
const VALUES: usize = 6;
const BYTES: usize = 7;
const NOT_BEFORE: usize = 8;
const KEY: usize = 9;
const FLAGS: usize = 10;
const USED: usize = 1;
const FOLLOWED: usize = 2;
const ASKED: usize = 3;
const OFTEN: i64 = 3;
const RARELY: f64 = 1e9;

/// One lease.
struct Lease<'t>(&'t [Cell<i64>]);

impl Lease<'_> {
    fn int(&self, word: usize) -> i64 {
        self.0[word].get()
    }

    fn float(&self, word: usize) -> f64 {
        f64::from_bits(self.int(word) as u64)
    }

    fn flag(&self, flag: usize) -> bool {
        self.int(FLAGS).to_ne_bytes()[flag] != 0
    }

    fn set(&self, word: usize, value: i64) {
        self.0[word].set(value);
    }

    fn set_float(&self, word: usize, value: f64) {
        self.set(word, value.to_bits() as i64);
    }

    fn set_used(&self) {
        let mut flags = self.int(FLAGS).to_ne_bytes();
        flags[USED] = 1;
        self.set(FLAGS, i64::from_ne_bytes(flags));
    }

    fn is_fresh(&self, now: f64, max_age_s: f64) -> bool {
        let aged = if max_age_s > 0.0 { now - self.float(BORN) >= max_age_s } else { self.flag(USED) };
        !aged && self.int(VALUES) > 0 && self.int(BYTES) > 0
    }

    fn is_near(&self, due: &Ahead) -> bool {
        due.now - self.float(BORN) > self.float(RENEW)
            || (self.int(VALUES) as f64) < due.values
            || (self.int(BYTES) as f64) < due.bytes
    }
}

/// The leases of a cache.
pub struct Table<'t>(pub &'t [Cell<i64>]);

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

/// A slot that is not in the table.
#[derive(Debug, PartialEq, Eq)]
pub struct NoSlot;

impl<'t> Table<'t> {
    fn lease(&self, slot: i64) -> Result<Lease<'t>, NoSlot> {
        let at = usize::try_from(slot).map_err(|_| NoSlot)?.checked_mul(WORDS).ok_or(NoSlot)?;
        self.0.get(at..at + WORDS).map(Lease).ok_or(NoSlot)
    }

    /// Pins leases for a batch and notes the use; tells whether all of them can be used, and whether one is near its end.
    pub fn begin(&self, slots: impl Iterator<Item = i64>, due: &Ahead) -> Result<(bool, bool), NoSlot> {
        let (mut fresh, mut near) = (true, false);
        for slot in slots {
            let lease = self.lease(slot)?;
            let (gap, known) = (due.now - lease.float(SEEN), lease.float(GAP));
            lease.set_float(GAP, if known >= RARELY { gap } else { known + 0.3 * (gap - known) });
            lease.set_float(SEEN, due.now);
            lease.set(USES, (lease.int(USES) + 1).min(OFTEN));
            lease.set(PINS, lease.int(PINS) + 1);
            fresh &= lease.is_fresh(due.now, due.max_age_s);
            near |= lease.is_near(due);
        }
        Ok((fresh, near))
    }

    /// Lets go of what a batch pinned.
    pub fn end(&self, slots: impl Iterator<Item = i64>) -> Result<(), NoSlot> {
        for slot in slots {
            let lease = self.lease(slot)?;
            lease.set(PINS, lease.int(PINS) - 1);
        }
        Ok(())
    }

    /// For each slot a byte: whether its lease can be used.
    pub fn fresh(&self, slots: impl Iterator<Item = i64>, now: f64, max_age_s: f64) -> Result<Vec<u8>, NoSlot> {
        let mut fresh = Vec::with_capacity(slots.size_hint().0);
        for slot in slots {
            fresh.push(u8::from(self.lease(slot)?.is_fresh(now, max_age_s)));
        }
        Ok(fresh)
    }

    /// Takes values and bytes off those leases that have room for all; returns a byte for each, and the taken's keys.
    pub fn take(
        &self,
        wanted: impl Iterator<Item = (i64, i64, i64)>,
        now: f64,
        max_age_s: f64,
    ) -> Result<(Vec<u8>, Vec<i64>), NoSlot> {
        let count = wanted.size_hint().0;
        let (mut whole, mut keys) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (slot, values, bytes) in wanted {
            let lease = self.lease(slot)?;
            let fits = lease.is_fresh(now, max_age_s) && lease.int(VALUES) >= values && lease.int(BYTES) >= bytes;
            whole.push(u8::from(fits));
            if fits {
                lease.set(VALUES, lease.int(VALUES) - values);
                lease.set(BYTES, lease.int(BYTES) - bytes);
                lease.set_used();
                keys.push(lease.int(KEY));
            }
        }
        Ok((whole, keys))
    }

    /// Those of the slots whose next lease should be fetched now.
    pub fn ahead(&self, slots: impl Iterator<Item = i64>, due: &Ahead) -> Result<Vec<i64>, NoSlot> {
        let mut found = Vec::new();
        for slot in slots {
            let lease = self.lease(slot)?;
            if lease.is_near(due)
                && lease.is_fresh(due.now, due.max_age_s)
                && lease.float(GAP) <= due.gap
                && !lease.flag(ASKED)
                && !lease.flag(FOLLOWED)
                && due.now >= lease.float(NOT_BEFORE)
            {
                found.push(slot);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_beyond_the_table_is_refused() {
        let words: Vec<Cell<i64>> = (0..WORDS).map(|_| Cell::new(0)).collect();
        let table = Table(&words);
        let due = Ahead { now: 0.0, max_age_s: 1.0, gap: 1.0, values: 1.0, bytes: 1.0 };
        assert_eq!(table.begin([0, 0].into_iter(), &due), Ok((false, true)));
        assert_eq!(words[PINS].get(), 2);
        for slot in [1, -1, i64::MAX] {
            assert_eq!(table.end([slot].into_iter()), Err(NoSlot));
        }
    }
}
