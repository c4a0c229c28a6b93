//! Passes over the pools of a batch. The readable twin is `worker/zerokms/keys/pool_passes.py`.
//!
//! A pool is 16 words of 64 bits, two lines of the processor's cache, in a table that the twin keeps.

use crate::table::{NoSlot, Row, Table};

pub const WORDS: usize = 16;
const AVAILABLE: usize = 1;
const WANTED: usize = 2;
const PENDING: usize = 3;
const BORN: usize = 4;
const GENERATION: usize = 5;
const WEIGHT: usize = 6;
const QUEUE: usize = 7;
const SEEN: usize = 8;
const LAST: usize = 9;
const GAP: usize = 10;
const COUNT: usize = 11;
const DEPTH: usize = 12;
const NOT_BEFORE: usize = 13;
const USED: usize = 14;
const WASTED: usize = 15;
const IN_SMALL: i64 = 1;
/// What a pool has that has enough for everybody.
const FOR_ALL: u8 = 2;

/// Batches that follow each other faster are counted as if they did so, in seconds.
const SHORTEST: f64 = 0.05;
/// A pool of which more than this share was never used is not filled ahead of need.
const MOST_WASTED: f64 = 0.05;
/// Of so many keys a pool holds no more than this share of what it has given.
const FEW: i64 = 64;
const SPARE: f64 = 0.1;

/// The pools of a cache, and one of them.
pub type Pools<'t> = Table<'t, WORDS>;
type Pool<'t> = Row<'t, WORDS>;

impl Pool<'_> {
    /// How many keys it holds, or waits for, beyond what is wanted of it.
    #[inline]
    fn held(&self) -> i64 {
        self.int(AVAILABLE) + self.int(PENDING) - self.int(WANTED)
    }

    /// How many keys more it should have, by its demand of `seconds`.
    #[inline]
    fn room(&self, full: i64, seconds: f64) -> (i64, i64) {
        let rate = self.float(COUNT) / self.float(GAP);
        let target = self.int(DEPTH).min((rate * seconds) as i64);
        // Thousands of pools that each hold a key too many are a batch that nobody needs.
        let spare = (self.int(USED) as f64 * SPARE) as i64;
        let target = target.min(spare + (target - FEW).max(0));
        let room = target - self.held().max(0);
        (target, if room < full { room } else { room / full * full })
    }
}

/// Slots, and how many keys for each.
pub type Wanted = (Vec<i64>, Vec<i64>);

impl Pools<'_> {
    /// Pins what a batch needs, slots and keys for each, and notes what it wants; a pool that has too little gets deeper, up
    /// to `most`.
    pub fn begin(&self, wanted: impl Iterator<Item = (i64, i64)> + Clone, now: f64, most: i64) -> Result<(), NoSlot> {
        for (slot, (_, count)) in self.fetched(wanted.clone().map(|(slot, _)| slot)).zip(wanted) {
            let pool = self.row(slot)?;
            pool.note();
            pool.pin(1);
            let (seen, gap) = (pool.int(SEEN), (now - pool.float(LAST)).max(SHORTEST));
            // Each by itself: batches of two threads begin in pairs, and the mean of their rates would be beyond the rate.
            if seen > 1 {
                pool.set_float(GAP, pool.float(GAP) + 0.3 * (gap - pool.float(GAP)));
                pool.set_float(COUNT, pool.float(COUNT) + 0.3 * (count as f64 - pool.float(COUNT)));
            } else {
                pool.set_float(GAP, if seen > 0 { gap } else { f64::INFINITY });
                pool.set_float(COUNT, count as f64);
            }
            if seen > 0 && pool.int(AVAILABLE) - pool.int(WANTED) < count {
                pool.set(DEPTH, most.min(count.max(2 * pool.int(DEPTH))));
            }
            pool.add(WANTED, count);
            pool.add(SEEN, 1);
            pool.set_float(LAST, now);
        }
        Ok(())
    }

    /// Those whose oldest key was asked for until `limit`; and what each has: all that everybody wants of it, what is wanted
    /// here alone, or less.
    pub fn look(&self, wanted: impl Iterator<Item = (i64, i64)> + Clone, limit: f64) -> Result<(Vec<i64>, Vec<u8>), NoSlot> {
        let (mut aged, mut has) = (Vec::new(), Vec::with_capacity(wanted.size_hint().0));
        for (slot, (_, count)) in self.begun(wanted.clone().map(|(slot, _)| slot)).zip(wanted) {
            let pool = self.row(slot)?;
            if pool.float(BORN) <= limit {
                aged.push(slot);
            }
            let available = pool.int(AVAILABLE);
            has.push(if available >= pool.int(WANTED) { FOR_ALL } else { u8::from(available >= count) });
        }
        Ok((aged, has))
    }

    /// Takes keys, so many each.
    pub fn take(&self, wanted: impl Iterator<Item = (i64, i64)> + Clone) -> Result<(), NoSlot> {
        for (slot, (_, count)) in self.fetched(wanted.clone().map(|(slot, _)| slot)).zip(wanted) {
            let pool = self.row(slot)?;
            pool.add(AVAILABLE, -count);
            pool.add(WANTED, -count);
            pool.add(USED, count);
        }
        Ok(())
    }

    /// What is wanted of some and nobody has asked for.
    pub fn lacking(&self, slots: impl Iterator<Item = i64> + Clone) -> Result<Wanted, NoSlot> {
        let mut wanted = Wanted::default();
        for slot in self.begun(slots) {
            let lacking = -self.row(slot)?.held();
            if lacking > 0 {
                wanted.0.push(slot);
                wanted.1.push(lacking);
            }
        }
        Ok(wanted)
    }

    /// What should be fetched ahead of a batch's slots, of which it takes so many keys each; `full` keys are a request.
    pub fn ahead(&self, taken: impl Iterator<Item = (i64, i64)> + Clone, now: f64, full: i64, seconds: f64) -> Result<Wanted, NoSlot> {
        let mut wanted = Wanted::default();
        for (slot, (_, count)) in self.fetched(taken.clone().map(|(slot, _)| slot)).zip(taken) {
            let pool = self.row(slot)?;
            let (target, room) = pool.room(full, seconds);
            // Less than a batch takes spares it no wait.
            if room >= full.min((target / 2).max(1))
                && target >= count
                && now >= pool.float(NOT_BEFORE)
                && pool.int(WASTED) as f64 <= MOST_WASTED * pool.int(USED) as f64
            {
                wanted.0.push(slot);
                wanted.1.push(room);
            }
        }
        Ok(wanted)
    }

    /// Notes that keys are under way; the slots stay until these come or fail. Tells the pools' generations.
    pub fn ask(&self, wanted: impl Iterator<Item = (i64, i64)> + Clone) -> Result<Vec<i64>, NoSlot> {
        let mut generations = Vec::with_capacity(wanted.size_hint().0);
        for (slot, (_, count)) in self.begun(wanted.clone().map(|(slot, _)| slot)).zip(wanted) {
            let pool = self.row(slot)?;
            pool.add(PENDING, count);
            pool.pin(1);
            generations.push(pool.int(GENERATION));
        }
        Ok(generations)
    }

    /// Notes that keys are under way no more, asked for in these generations; tells, a byte each, whether that is the
    /// pool's still.
    pub fn came(&self, came: impl Iterator<Item = (i64, (i64, i64))> + Clone) -> Result<Vec<u8>, NoSlot> {
        let mut current = Vec::with_capacity(came.size_hint().0);
        for (slot, (_, (count, generation))) in self.begun(came.clone().map(|(slot, _)| slot)).zip(came) {
            let pool = self.row(slot)?;
            pool.add(PENDING, -count);
            pool.pin(-1);
            current.push(u8::from(pool.int(GENERATION) == generation));
        }
        Ok(current)
    }

    /// Gives pools keys, so many each.
    pub fn put(&self, given: impl Iterator<Item = (i64, i64)> + Clone, born: f64) -> Result<(), NoSlot> {
        for (slot, (_, count)) in self.begun(given.clone().map(|(slot, _)| slot)).zip(given) {
            let pool = self.row(slot)?;
            pool.add(AVAILABLE, count);
            pool.set_float(BORN, pool.float(BORN).min(born));
        }
        Ok(())
    }

    /// States what pools take, `base` each and `key` for each key; tells by how many bytes that is more than before, and by how
    /// many in the small queue.
    pub fn weigh(&self, slots: impl Iterator<Item = i64> + Clone, base: i64, key: i64) -> Result<(i64, i64), NoSlot> {
        let (mut all, mut small) = (0, 0);
        for slot in self.begun(slots) {
            let pool = self.row(slot)?;
            let change = base + key * pool.int(AVAILABLE) - pool.int(WEIGHT);
            pool.add(WEIGHT, change);
            all += change;
            small += if pool.int(QUEUE) == IN_SMALL { change } else { 0 };
        }
        Ok((all, small))
    }
}
