//! Keys that each serve one value.

use std::sync::Arc;

use super::chains::Chains;
use super::Unsealed;
use crate::aead::KEY_BYTES;
use crate::envelope::KeyLabel;
use crate::keys::{KeyBatch, Taken};
use crate::stretches::Stretch;

/// Keys of more contexts than this are no longer near when a value's turn comes, unless it comes with its context's others.
const NEAR: usize = 64;

/// Keys that each serve one value.
pub struct Singles {
    taken: Vec<Taken>,
    chains: Chains<Single>,
    are_far: bool,
}

struct Single {
    taken: u32,
    /// The place of the key for the next value.
    next: u32,
}

impl Singles {
    /// Takes how many contexts the slot has.
    pub fn new(contexts: usize) -> Self {
        Self { taken: Vec::new(), chains: Chains::new(contexts), are_far: contexts > NEAR }
    }

    /// Takes keys over, stretches of batches by their numbers: for each context how many of them, one after the other.
    pub fn push(
        &mut self,
        batches: Vec<Arc<KeyBatch>>,
        parts: &[Stretch],
        each: impl Iterator<Item = (u32, u32)>,
    ) -> Result<(), Unsealed> {
        let keys = Taken::of(batches, parts).map_err(|_| Unsealed::Keys)?;
        let (taken, mut next) = (self.taken.len() as u32, 0);
        for (context, count) in each.filter(|(_, count)| *count > 0) {
            self.chains.push(context, count, Single { taken, next })?;
            next += count;
        }
        let is_all = next as usize == keys.len();
        self.taken.push(keys);
        if is_all { Ok(()) } else { Err(Unsealed::Keys) }
    }

    pub(super) fn are_far(&self) -> bool {
        self.are_far
    }

    /// Lets the processor fetch a context's next key.
    #[inline]
    pub(super) fn soon(&self, context: usize) {
        if let Some(single) = self.chains.coming(context) {
            if let Some(keys) = self.taken.get(single.taken as usize) {
                keys.soon(single.next as usize);
            }
        }
    }

    /// The key of a context's next value, and what its envelope carries of it.
    #[inline]
    pub fn next(&mut self, context: usize) -> Option<(&[u8; KEY_BYTES], KeyLabel<'_>)> {
        let single = self.chains.next(context)?;
        single.next += 1;
        self.taken.get(single.taken as usize)?.get(single.next as usize - 1)
    }
}
