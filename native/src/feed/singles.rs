//! Keys that each serve one value.

use std::sync::Arc;

use super::chains::Chains;
use super::Unsealed;
use crate::aead::KEY_BYTES;
use crate::envelope::KeyLabel;
use crate::keys::{KeyBatch, Taken};

/// A stretch of a batch's keys: the first, and how many.
pub type Stretch = (Arc<KeyBatch>, u32, u32);

/// Keys that each serve one value.
pub struct Singles {
    taken: Vec<Taken>,
    chains: Chains<Single>,
}

struct Single {
    taken: usize,
    /// The place of the key for the next value.
    next: usize,
}

impl Singles {
    /// Takes how many contexts the slot has.
    pub fn new(contexts: usize) -> Self {
        Self { taken: Vec::new(), chains: Chains::new(contexts) }
    }

    /// Takes keys over: for each context how many of them, one after the other.
    pub fn push(&mut self, keys: Vec<Stretch>, each: impl Iterator<Item = (u32, u32)>) -> Result<(), Unsealed> {
        let (mut at, mut next) = (self.taken.len(), 0);
        for (batch, start, count) in keys.into_iter().filter(|(_, _, count)| *count > 0) {
            self.taken.push(batch.take(start as usize, count as usize).map_err(|_| Unsealed::Keys)?);
        }
        for (context, mut count) in each {
            while count > 0 {
                let left = self.taken.get(at).ok_or(Unsealed::Keys)?.len() - next;
                let here = count.min(left as u32);
                self.chains.push(context, here, Single { taken: at, next })?;
                next += here as usize;
                count -= here;
                if next == self.taken[at].len() {
                    (at, next) = (at + 1, 0);
                }
            }
        }
        if at == self.taken.len() { Ok(()) } else { Err(Unsealed::Keys) }
    }

    /// The key of a context's next value, and what its envelope carries of it.
    #[inline]
    pub fn next(&mut self, context: usize) -> Option<(&[u8; KEY_BYTES], KeyLabel<'_>)> {
        let single = self.chains.next(context)?;
        single.next += 1;
        self.taken.get(single.taken)?.get(single.next - 1)
    }
}
