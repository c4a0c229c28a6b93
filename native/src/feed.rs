//! The keys of one slot's values, handed out value by value.

use std::sync::Arc;

use crate::aead::{Cipher, KEY_BYTES, TAIL_BYTES};
use crate::envelope::{KeyLabel, FINGERPRINT_BYTES, IV_BYTES};
use crate::keys::{KeyBatch, Taken};
use crate::prefetch;
use crate::program::Slot;
use crate::seal::Unsealed;
use crate::vault::{Granted, FRONT_BYTES};
use crate::walk::NONE;

/// Ciphers are kept where a batch has at most so many leases: those of more take longer to come from memory than to be set
/// up anew for each value.
const KEPT: usize = 64;

pub enum Feed {
    Leased(Leases),
    Single(Singles),
}

impl Feed {
    /// Whether its leases are too many to be near when their turn comes.
    pub fn is_far(&self) -> bool {
        matches!(self, Self::Leased(leases) if leases.are_far())
    }

    /// What a value may grow by, at most.
    pub fn growth(&self) -> usize {
        match self {
            Self::Leased(leases) => leases.growth,
            Self::Single(_) => 256,
        }
    }
}

/// Stretches of keys, context after context, in the order in which they were granted.
struct Chains<T> {
    /// For each context its present stretch, and its last one.
    heads: Vec<u32>,
    tails: Vec<u32>,
    links: Vec<Link<T>>,
}

struct Link<T> {
    left: u32,
    next: u32,
    of: T,
}

impl<T> Chains<T> {
    fn new(contexts: usize) -> Self {
        Self { heads: vec![NONE; contexts], tails: vec![NONE; contexts], links: Vec::new() }
    }

    fn push(&mut self, context: u32, left: u32, of: T) -> Result<(), Unsealed> {
        let number = self.links.len() as u32;
        let tail = self.tails.get_mut(context as usize).ok_or(Unsealed::Keys)?;
        match std::mem::replace(tail, number) {
            NONE => self.heads[context as usize] = number,
            last => self.links[last as usize].next = number,
        }
        self.links.push(Link { left, next: NONE, of });
        Ok(())
    }

    /// The stretch for a context's next value, and its number.
    #[inline]
    fn next(&mut self, context: usize) -> Option<(u32, &mut Link<T>)> {
        let head = self.heads.get_mut(context)?;
        while *head != NONE && self.links[*head as usize].left == 0 {
            *head = self.links[*head as usize].next;
        }
        let number = *head;
        let link = self.links.get_mut(number as usize)?;
        link.left -= 1;
        Some((number, link))
    }
}

/// What a value is sealed with.
pub struct Sealing<'f> {
    pub cipher: &'f Cipher,
    /// How much of the associated data is the envelope's header.
    pub header: usize,
    /// The associated data up to what is bound.
    pub aad: &'f mut Vec<u8>,
}

struct Lease {
    granted: u32,
    key: u32,
}

/// What the associated data at hand was made for.
struct Present {
    number: u32,
    granted: u32,
    label: u32,
    tag: usize,
    header: usize,
    shared: usize,
}

pub struct Leases {
    granted: Vec<Arc<Granted>>,
    chains: Chains<Lease>,
    growth: usize,
    present: Present,
    aad: Vec<u8>,
    /// Of each lease where there are few, else of the present one alone.
    ciphers: Vec<Option<Cipher>>,
}

impl Leases {
    /// Takes how many contexts the slot has.
    pub fn new(contexts: usize) -> Self {
        Self {
            granted: Vec::new(),
            chains: Chains::new(contexts),
            growth: 0,
            present: Present { number: NONE, granted: NONE, label: NONE, tag: 0, header: 0, shared: 0 },
            aad: Vec::new(),
            ciphers: Vec::new(),
        }
    }

    /// Takes keys over: for each its context and how many values it serves.
    pub fn push(&mut self, granted: Arc<Granted>, each: impl ExactSizeIterator<Item = (u32, u32)>) -> Result<(), Unsealed> {
        if each.len() != granted.marks.len() {
            return Err(Unsealed::Keys);
        }
        let number = self.granted.len() as u32;
        self.chains.links.reserve(each.len());
        for (key, (context, values)) in each.enumerate() {
            self.chains.push(context, values, Lease { granted: number, key: key as u32 })?;
        }
        let label = granted.labels.iter().map(|label| label.front.len() + label.back.len()).max().unwrap_or_default();
        // Around the label: iv, tag behind its length, fingerprint, and the value's own longer length.
        self.growth = self.growth.max(label + IV_BYTES + 1 + granted.longest_tag() + FINGERPRINT_BYTES + TAIL_BYTES + 4);
        self.granted.push(granted);
        let leases = self.chains.links.len();
        self.ciphers.resize_with(if self.are_far() { 1 } else { leases }, || None);
        Ok(())
    }

    fn are_far(&self) -> bool {
        self.chains.links.len() > KEPT
    }

    /// Lets the processor fetch what a context's next value will need: of many leases it is no longer, or not yet, near.
    #[inline]
    pub fn soon(&self, context: usize) {
        if !self.are_far() {
            return;
        }
        let Some(Link { of: lease, .. }) = self.chains.heads.get(context).and_then(|&head| self.chains.links.get(head as usize)) else {
            return;
        };
        let granted = &self.granted[lease.granted as usize];
        prefetch::fetch(&granted.marks[lease.key as usize]);
        prefetch::fetch(granted.cipher(lease.key));
    }

    /// What a context's next value is sealed with.
    #[inline]
    pub fn next(&mut self, slot: &Slot, context: usize, framed: &[u8]) -> Result<Sealing<'_>, Unsealed> {
        let (number, link) = self.chains.next(context).ok_or(Unsealed::Keys)?;
        let lease = &link.of;
        let are_kept = self.ciphers.len() > 1;
        let cipher = &mut self.ciphers[if are_kept { number as usize } else { 0 }];
        if self.present.number != number {
            let granted = &self.granted[lease.granted as usize];
            let mark = &granted.marks[lease.key as usize];
            let present = &mut self.present;
            present.number = number;
            let tag = granted.tag(lease.key);
            if (present.granted, present.label, present.tag) != (lease.granted, mark.label, tag.len()) {
                (present.granted, present.label, present.tag) = (lease.granted, mark.label, tag.len());
                let label = granted.labels.get(mark.label as usize).ok_or(Unsealed::Keys)?;
                self.aad.clear();
                self.aad.extend_from_slice(&label.front);
                self.aad.extend_from_slice(&mark.iv);
                self.aad.push(tag.len() as u8);
                self.aad.extend_from_slice(tag);
                self.aad.extend_from_slice(&label.back);
                self.aad.extend_from_slice(&slot.fingerprint);
                present.header = self.aad.len();
            } else {
                // Leases of a field differ in these two alone.
                let (iv, rest) = self.aad[FRONT_BYTES..].split_at_mut(IV_BYTES);
                iv.copy_from_slice(&mark.iv);
                match (rest[1..].first_chunk_mut::<32>(), tag.first_chunk()) {
                    // Of a length that is known this is one store.
                    (Some(rest), Some(tag)) if present.tag == 32 => *rest = *tag,
                    _ => rest[1..=tag.len()].copy_from_slice(tag),
                }
                self.aad.truncate(present.header);
            }
            self.aad.extend_from_slice(framed);
            if slot.bind.is_empty() {
                self.aad.extend_from_slice(&[0; 4]);
            }
            present.shared = self.aad.len();
            let key = granted.cipher(lease.key);
            match &mut *cipher {
                Some(_) if are_kept => (),
                Some(cipher) => cipher.set(key)?,
                none => *none = Some(Cipher::new(key)?),
            }
        }
        self.aad.truncate(self.present.shared);
        let cipher = cipher.as_ref().ok_or(Unsealed::Keys)?;
        Ok(Sealing { cipher, header: self.present.header, aad: &mut self.aad })
    }
}

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
        let (_, link) = self.chains.next(context)?;
        link.of.next += 1;
        self.taken.get(link.of.taken)?.get(link.of.next - 1)
    }
}
